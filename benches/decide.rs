//! How many lines a second `skala decide` serves: the real program, lines in from a file, answers out through a pipe.
//!
//! Run with `cargo bench --no-default-features --features jemalloc --bench decide`. It prints lines a second of one core's
//! time (the program has one thread), for a `per-instance` and an `objective` rule and for 2, 10 and 40 instances a line.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)] // A bench, on real time.

mod shared;

use shared::cpu_secs;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write as _};
use std::process::{Command, Stdio};
use std::time::Instant;

const LINES: usize = 100_000;
/// Lines a second that are wanted with 10 instances.
const WANTED: [(&str, &str, f64); 2] = [
    ("per-instance", "kind = \"per-instance\"\nmetric = \"rps\"\ntarget = 100\n", 100_000.0),
    ("objective", "kind = \"objective\"\nmetric = \"rps\"\ncapacity = 125.0\nutilization = 0.8\n", 20_000.0),
];

fn main() {
    let folder = tempfile::tempdir().unwrap();
    println!("lines a second of one core; wall clock in brackets");
    for (name, rule, wanted) in WANTED {
        let policies = folder.path().join(name);
        std::fs::create_dir(&policies).unwrap();
        let policy = format!(
            "[fleet.web]\nmode = \"on\"\nmin = 1\nmax = 500\ninterval = \"1m\"\n\
             [[fleet.web.group]]\nprovider = \"cloud\"\ngroup = \"web\"\n\
             [fleet.web.metric.rps]\nsource = \"prometheus\"\nquery = \"rps\"\n[[fleet.web.rule]]\n{rule}"
        );
        std::fs::write(policies.join("web.toml"), policy).unwrap();
        for instances in [2, 10, 40] {
            let input = folder.path().join("lines.json");
            write_lines(&mut File::create(&input).unwrap(), instances);
            let (cpu, wall) = serve(&policies, File::open(&input).unwrap());
            let [by_cpu, by_wall] = [cpu, wall].map(|secs| LINES as f64 / secs);
            print!("{name:>14}, {instances:>2} instances: {by_cpu:>8.0} ({by_wall:.0})");
            match instances {
                10 => println!("   skala / wanted: {:.1}", by_cpu / wanted),
                _ => println!(),
            }
        }
    }
}

/// A line a minute; a load that varies over the day, with noise, around what the instances carry.
fn write_lines(file: &mut File, instances: usize) {
    let (mut text, mut noise) = (String::new(), 7_u64);
    for line in 0..LINES {
        noise = (noise * 1_103_515_245 + 12_345) % 2_147_483_648;
        let now = 1_700_000_000 + line * 60;
        let turns = line as f64 / 1_440.0;
        let wave = 1.0 + 0.3 * (turns * std::f64::consts::TAU).sin();
        let load = 80.0 * instances as f64 * wave + (noise / 65_536 % 20) as f64;
        write!(
            text,
            "{{\"fleet\":\"web\",\"now\":{now},\"groups\":[{{\"provider\":\"cloud\",\"group\":\"web\",\
             \"desired\":{instances},\"instances\":["
        )
        .unwrap();
        for id in 0..instances {
            let comma = if id == 0 { "" } else { "," };
            write!(
                text,
                "{comma}{{\"id\":\"i-0123456789abc{id:04}\",\"state\":\"running\",\"launched\":1699990000.0,\
                 \"running_since\":1699990090.0,\"zone\":\"a\",\"protected\":false}}"
            )
            .unwrap();
        }
        writeln!(text, "]}}],\"readings\":{{\"rps\":{{\"value\":{load:.1},\"at\":{}}}}}}}", now - 10).unwrap();
    }
    file.write_all(text.as_bytes()).unwrap();
}

/// Seconds of CPU and of wall clock.
fn serve(policies: &std::path::Path, input: File) -> (f64, f64) {
    let from = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_skala"))
        .args(["decide", "--policies"])
        .arg(policies)
        .stdin(input)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut output, mut buffer, mut lines) = (child.stdout.take().unwrap(), vec![0; 1 << 16], 0);
    let mut last = 0;
    loop {
        let read = output.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count();
        last = buffer[read - 1];
    }
    let wall = from.elapsed().as_secs_f64();
    // Its output is closed and nobody has waited for it, so its time can still be read.
    let cpu = cpu_secs(child.id());
    assert!(child.wait().unwrap().success() && lines == LINES && last == b'\n', "{lines} answers");
    (cpu, wall)
}
