//! What is shipped in systemd/: the unit, the default configuration and the alerts, checked by the tools that read them
//! in earnest.

#![allow(clippy::unwrap_used)]

use crate::living::run;
use std::path::PathBuf;
use std::process::Command;

fn shipped(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "systemd", name].iter().collect()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(shipped(name)).unwrap()
}

fn analyze(arguments: &[&str]) -> String {
    let output = Command::new("systemd-analyze").args(arguments).output().expect("systemd-analyze: install systemd");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {text}");
    text
}

#[test]
fn the_unit_is_sound_and_hardened() {
    let unit = shipped("skala.service");
    let text = analyze(&["security", "--offline=true", "--threshold=12", unit.to_str().unwrap()]);
    assert!(text.contains("Overall exposure level"), "{text}");
    // Verified where its binary is; the name of the file is the unit's.
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().join("skala.service");
    std::fs::write(&here, read("skala.service").replace("/usr/bin/skala", env!("CARGO_BIN_EXE_skala"))).unwrap();
    let said = analyze(&["verify", here.to_str().unwrap()]);
    assert_eq!(said.lines().filter(|line| !of_another_unit(line)).collect::<Vec<_>>(), [""; 0]);
}

/// The other units that this machine has are loaded with ours, and what is wrong with one is said
/// too: `keystone.service: Dependency After=keystone.service is dropped.`
fn of_another_unit(line: &str) -> bool {
    let subject = line.split(": ").next().unwrap_or_default();
    let unit = subject.split(':').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    unit.rsplit_once('.').is_some_and(|(name, kind)| name != "skala" && matches!(kind, "service" | "socket" | "target"))
}

#[test]
fn every_command_of_the_unit_is_one_that_skala_knows() {
    let unit = read("skala.service");
    let commands: Vec<&str> = unit.lines().filter_map(|line| Some(line.split_once("=/usr/bin/skala ")?.1)).collect();
    assert_eq!(commands.len(), 3, "{commands:?}");
    for command in commands {
        let arguments: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        assert_eq!(run(&arguments).code, 0, "{command}");
    }
}

#[test]
fn the_default_configuration_is_valid() {
    let config = shipped("skala.toml");
    let said = run(&["check", "--config", config.to_str().unwrap(), "--config-only"]);
    assert_eq!(said.code, 0, "{said:?}");
    // What it shows commented out as the default, and as an example, is valid too.
    let all: String = read("skala.toml")
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with('[') || rest.contains(" = ") => {
                format!("{}\n", rest.trim_start_matches("# "))
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("skala.toml");
    std::fs::write(&path, all).unwrap();
    let said = run(&["check", "--config", path.to_str().unwrap(), "--config-only"]);
    if cfg!(feature = "aws") {
        assert_eq!(said.code, 0, "{said:?}");
    } else {
        // A build without that cloud says so of it and of its metrics, and of nothing else.
        let missing = said.out.matches("which this skala cannot do yet").count();
        assert_eq!((said.out.matches("error:").count(), missing), (2, 2), "{said:?}");
    }
}

#[test]
fn alerts_name_only_metrics_that_exist() {
    let living = crate::living::Living::start();
    let mut scrape = std::net::TcpStream::connect(living.address).unwrap();
    let text = crate::api::ask(&mut scrape, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let alerts = read("alerts.yml");
    let named: std::collections::BTreeSet<&str> = alerts
        .lines()
        .filter(|line| {
            !line.trim_start().starts_with('#') && !line.contains("summary") && !line.contains("description")
        })
        .flat_map(|line| line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_'))
        .filter(|word| word.starts_with("skala_"))
        .collect();
    assert!(named.len() >= 5, "{named:?}");
    for name in named {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
    }
    living.stop();
}
