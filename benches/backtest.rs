//! How long `skala backtest` takes for 28 days at one-minute steps, the rivals' replays included: the real program.
//!
//! Run with `cargo bench --no-default-features --features jemalloc --bench backtest`. It prints seconds of one core's time.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)] // A bench, on real time.

mod shared;

use shared::cpu_secs;
use std::fmt::Write as _;
use std::io::Read;
use std::process::{Command, Stdio};

const DAYS: usize = 28;
/// Seconds that are allowed.
const WANTED: f64 = 1.0;

const MODEL: &str = "metric = \"rps\"\ncapacity_per_instance = 125.0\nslo_utilization = 0.8\n";
const RULES: [(&str, &str); 2] = [
    ("per-instance", "kind = \"per-instance\"\nmetric = \"rps\"\ntarget = 100\n"),
    ("objective", "kind = \"objective\"\nmetric = \"rps\"\ncapacity = 125.0\nutilization = 0.8\n"),
];

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("rps.csv"), series()).unwrap();
    std::fs::write(path("model.toml"), MODEL).unwrap();
    for (name, rule) in RULES {
        let policy = format!(
            "[fleet.web]\nmode = \"on\"\nmin = 2\nmax = 100\ninterval = \"1m\"\n\
             [[fleet.web.group]]\nprovider = \"cloud\"\ngroup = \"web\"\n\
             [fleet.web.metric.rps]\nsource = \"prometheus\"\nquery = \"rps\"\n[[fleet.web.rule]]\n{rule}"
        );
        std::fs::create_dir(path(name)).unwrap();
        std::fs::write(path(name).join("web.toml"), policy).unwrap();
        let secs = run(&[
            "backtest".into(),
            "--fleet=web".into(),
            format!("--policies={}", path(name).display()),
            format!("--model={}", path("model.toml").display()),
            format!("--series=rps={}", path("rps.csv").display()),
        ]);
        println!("{name:>14}: {DAYS} days in {secs:.2} s, skala / wanted: {:.2}", secs / WANTED);
    }
}

/// A wave over the day, and noise.
fn series() -> String {
    let (mut text, mut noise) = (String::from("timestamp_s,value\n"), 7_u64);
    for step in 0..DAYS * 1_440 {
        noise = (noise * 1_103_515_245 + 12_345) % 2_147_483_648;
        let turns = step as f64 / 1_440.0;
        let load = 1_500.0 * (1.0 + 0.6 * (turns * std::f64::consts::TAU).sin()) + (noise / 65_536 % 300) as f64;
        writeln!(text, "{},{load:.2}", 1_700_006_400 + 60 * step).unwrap();
    }
    text
}

/// Seconds of CPU that the program took.
fn run(arguments: &[String]) -> f64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_skala")).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    // Its output is closed and nobody has waited for it, so its time can still be read.
    let cpu = cpu_secs(child.id());
    assert!(child.wait().unwrap().success() && said.contains("clairvoyant"), "{said}");
    cpu
}
