//! Instances drain before they are terminated, through the real binary with a command that drains them; and what the README
//! and the shipped configuration say of drainers.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Tests, and on real time.

use super::living::{POLICY, readme_block, run, skala};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DRAIN: &str = "[fleet.web.scale_in]\nstabilization = \"0s\"\nrate = []\n[fleet.web.drain]\nwith = \"node\"\n";

/// The daemon; stopped and awaited when dropped.
struct Daemon(Child);

impl Daemon {
    fn start(config: &str, log: &Path) -> Self {
        let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        Self(skala(&["run", "--config", config]).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}

/// A daemon's directory: a simulated cloud, a load in a file, and a drainer that goes on until a file says otherwise.
struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        let at = scene.0.path().display();
        fs::create_dir(scene.0.path().join("policies")).unwrap();
        scene.script("load", &format!("echo \"rps $(cat {at}/rps) $(date +%s)000\""));
        scene.write("asked", "");
        scene.write("status", "75");
        scene.script(
            "node",
            &format!(
                "echo \"$SKALA_DO $SKALA_INSTANCE\" >> {at}/asked; [ $SKALA_DO = return ] || exit $(cat {at}/status)"
            ),
        );
        let text = format!(
            r#"
[daemon]
policies = "policies"
[store]
url = "sqlite://{at}/skala.db"
[api]
socket = "skala.sock"
[provider.cloud]
kind = "sim"
boot = "1s"
groups.web = {{ desired = 3, max = 20 }}
[source.load]
kind = "exec"
command = ["{at}/load"]
env = ["PATH"]
[drainer.node]
kind = "exec"
command = ["{at}/node"]
env = ["PATH"]
"#
        );
        let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        scene.write("skala.toml", &text.replace("skala.sock\"", &format!("skala.sock\"\nlisten = \"{listen}\"")));
        scene.write("policies/web.toml", &format!("{POLICY}{DRAIN}"));
        scene
    }

    fn write(&self, name: &str, text: &str) {
        // Nobody reads half of it.
        let path = self.0.path().join(name);
        fs::write(path.with_extension("new"), text).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    }

    fn script(&self, name: &str, text: &str) {
        self.write(name, &format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(self.0.path().join(name), PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn config(&self) -> String {
        self.0.path().join("skala.toml").display().to_string()
    }

    fn daemon(&self) -> Daemon {
        Daemon::start(&self.config(), &self.0.path().join("log"))
    }

    /// What the drainer was asked, each once, sorted.
    fn asked(&self) -> Vec<String> {
        let text = fs::read_to_string(self.0.path().join("asked")).unwrap();
        let mut asked: Vec<String> = text.lines().map(str::to_owned).collect();
        asked.sort_unstable();
        asked.dedup();
        asked
    }

    fn log(&self) -> String {
        fs::read_to_string(self.0.path().join("log")).unwrap()
    }

    /// Waits until the fleet's status is so; gives up after 30 s.
    fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let give_up = Instant::now() + Duration::from_secs(30);
        loop {
            let said = run(&["status", "--json", "--config", &self.config()]);
            let fleet =
                serde_json::from_str::<Value>(&said.out).map_or(Value::Null, |status| status["fleets"][0].clone());
            if holds(&fleet) {
                return fleet;
            }
            assert!(Instant::now() < give_up, "waited in vain for {what}: {said:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn group<'a>(fleet: &'a Value, key: &str) -> &'a Value {
    &fleet["groups"][0][key]
}

#[test]
fn instances_drain_and_are_taken_back_and_leave_when_they_have() {
    let scene = Scene::new();
    scene.write("rps", "600");
    let daemon = scene.daemon();
    scene.until("six", |fleet| fleet["serving"] == 6);
    scene.write("rps", "400");
    let fleet = scene.until("two to drain", |fleet| *group(fleet, "draining") == 2);
    assert_eq!((&fleet["desired"], group(&fleet, "current")), (&4.into(), &6.into()), "the cloud holds them");
    let explained = run(&["explain", "web", "--config", &scene.config()]).out;
    assert!(explained.contains("drains before it is terminated") || explained.contains("kept at 4"), "{explained}");
    let begun = Instant::now();
    while scene.asked().len() < 2 && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let asked = scene.asked();
    assert!(asked.len() == 2 && asked.iter().all(|one| one.starts_with("drain ")), "{asked:?}");
    // The load returns: both are told, and nothing is launched.
    scene.write("rps", "600");
    let fleet = scene.until("nothing to drain", |fleet| *group(fleet, "draining") == 0 && fleet["desired"] == 6);
    assert_eq!(*group(&fleet, "current"), 6);
    let begun = Instant::now();
    while scene.asked().len() < 4 && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let returned = |one: &String| one.replace("drain ", "return ");
    assert!(asked.iter().all(|one| scene.asked().contains(&returned(one))), "{:?}", scene.asked());
    // It falls again, and they are done at once.
    scene.write("status", "0");
    scene.write("rps", "300");
    let fleet = scene.until("three", |fleet| *group(fleet, "current") == 3 && *group(fleet, "draining") == 0);
    assert_eq!(fleet["desired"], 3);
    drop(daemon);
}

#[test]
fn a_policys_drainer_must_be_there() {
    let scene = Scene::new();
    let text = fs::read_to_string(scene.config()).unwrap();
    scene.write("skala.toml", &text.replace("[drainer.node]", "[drainer.nodes]"));
    let said = run(&["check", "--config", &scene.config()]);
    assert_eq!(said.code, 78, "{said:?}");
    assert!(
        said.err.contains("skala.toml has no [drainer.node]") || said.out.contains("skala.toml has no [drainer.node]")
    );
    for (from, to, says) in [
        (
            "kind = \"exec\"\ncommand = [\"",
            "kind = \"hook\"\ncommand = [\"",
            "`kind` must be \"webhook\" or \"exec\", not \"hook\"",
        ),
        ("/node\"]", "/node\"]\ntimeout = \"5s\"", "unknown key `timeout`"),
    ] {
        let (before, drainer) = text.split_once("[drainer.node]").unwrap();
        scene.write("skala.toml", &format!("{before}[drainer.node]{}", drainer.replacen(from, to, 1)));
        let said = run(&["check", "--config", &scene.config()]);
        assert!(said.code == 78 && (said.err.contains(says) || said.out.contains(says)), "{said:?}");
    }
}

/// Checks drainers together with a policy that names one.
fn check_drainers(drainers: &str, policy: &str) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("policies")).unwrap();
    let text = format!(
        "[daemon]\npolicies = \"policies\"\n[provider.cloud]\nkind = \"sim\"\n[source.load]\nkind = \"prometheus\"\n\
         url = \"http://127.0.0.1:9090\"\n{drainers}\n"
    );
    fs::write(dir.path().join("skala.toml"), &text).unwrap();
    fs::write(dir.path().join("policies/web.toml"), format!("{POLICY}{policy}")).unwrap();
    let said = run(&["check", "--config", &dir.path().join("skala.toml").display().to_string()]);
    assert_eq!((said.code, said.out.as_str()), (0, "ok: 2 files, 1 fleet\n"), "{text}\n{said:?}");
}

#[test]
fn the_readmes_drainers_and_the_shipped_ones_are_valid() {
    let policy = readme_block("toml", "with = \"balancer\"").replace("fleet.checkout", "fleet.web");
    check_drainers(&readme_block("toml", "[drainer.balancer]"), &policy);
    let shipped = include_str!("../../systemd/skala.toml");
    let from = shipped.find("# [drainer.balancer]").unwrap();
    let lines = shipped[from..].lines().take_while(|line| line.starts_with('#'));
    let lines: Vec<&str> = lines.map(|line| line.trim_start_matches("# ").trim_start_matches('#')).collect();
    check_drainers(&lines.join("\n"), &policy);
}
