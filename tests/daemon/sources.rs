//! Readings from a document and a command, through the real binary: a composite goes from one to the next as they break,
//! and everybody can see it. And what the README and the shipped configuration say of sources.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Tests, and on real time.

use super::living::{POLICY, readme_block, run, skala};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A page that answers every request with its text; `{now}` in it is the time.
#[derive(Clone)]
struct Page(Arc<Mutex<String>>);

impl Page {
    /// Starts it; it ends with the process.
    fn serve(text: &str) -> (Self, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let page = Self(Arc::new(Mutex::new(text.into())));
        let shown = page.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                shown.answer(stream);
            }
        });
        (page, port)
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().to_string();
        let body = self.0.lock().unwrap().replace("{now}", &now);
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    }
}

/// The daemon; stopped and awaited when dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// A directory with a daemon's configuration: a document, a command, and both as one source after one that is down.
fn configuration(port: u16) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    fs::create_dir(dir.path().join("policies")).unwrap();
    let down = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!(
        r#"
[daemon]
policies = "policies"
[store]
url = "sqlite://{at}/skala.db"
[api]
socket = "skala.sock"
listen = "127.0.0.1:{listen}"
[provider.cloud]
kind = "sim"
boot = "1s"
groups.web = {{ desired = 3, max = 20 }}
[source.down]
kind = "prometheus"
url = "http://127.0.0.1:{down}"
[source.page]
kind = "http-json"
url = "http://127.0.0.1:{port}/stats"
time = "@.updated"
[source.command]
kind = "exec"
command = ["{at}/command", "rps"]
[source.load]
kind = "composite"
sources = ["down", "page", "command"]
"#
    );
    fs::write(dir.path().join("skala.toml"), text).unwrap();
    let query = "query.down = 'sum by (name) (rps)'\nquery.page = '$.fleets[*].rps'\nquery.command = 'rps'\nselect = { name = \"web\" }";
    fs::write(dir.path().join("policies/web.toml"), POLICY.replace("query  = \"rps\"", query)).unwrap();
    script(&dir.path().join("command"), "echo \"$1{name=\\\"web\\\"} 520 $(date +%s)000\"");
    dir
}

/// Waits until the fleet's status is so; gives up after 30 s.
fn until(config: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let give_up = Instant::now() + Duration::from_secs(30);
    loop {
        let said = run(&["status", "--json", "--config", config]);
        let fleet = serde_json::from_str::<Value>(&said.out).map_or(Value::Null, |status| status["fleets"][0].clone());
        if holds(&fleet) {
            return fleet;
        }
        assert!(Instant::now() < give_up, "waited in vain for {what}: {said:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_composite_goes_from_one_to_the_next_and_says_so() {
    let good =
        r#"{"fleets": [{"name": "web", "rps": 410, "updated": {now}}, {"name": "other", "rps": 1, "updated": {now}}]}"#;
    let (page, port) = Page::serve(good);
    let dir = configuration(port);
    let config = dir.path().join("skala.toml").display().to_string();
    let checked = run(&["check", "--config", &config]);
    assert_eq!(checked.code, 0, "{checked:?}");
    let log = fs::File::create(dir.path().join("log")).unwrap();
    let daemon = skala(&["run", "--config", &config]).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let daemon = Daemon(daemon);
    let reading = |fleet: &Value, field: &str| fleet["readings"]["rps"][field].clone();
    let fleet = until(&config, "the page's reading", |fleet| reading(fleet, "from") == "page");
    assert_eq!(reading(&fleet, "value"), 410.0);
    until(&config, "a decision from it", |fleet| fleet["desired"] == 5);
    // The page becomes somebody's error page: the command's answer is taken instead, and pushes out.
    *page.0.lock().unwrap() = "<html>sorry</html>".into();
    let fleet = until(&config, "the command's reading", |fleet| reading(fleet, "from") == "command");
    assert_eq!(reading(&fleet, "value"), 520.0);
    until(&config, "a decision from it", |fleet| fleet["desired"] == 6);
    let text = run(&["status", "--config", &config]).out;
    assert!(text.contains(" from command"), "{text}");
    // The command fails as well: unknown, and nothing is removed.
    script(&dir.path().join("command"), "echo 'rps{name=\"web\"} 1'; echo out of order >&2; exit 3");
    let fleet = until(&config, "nobody's reading", |fleet| reading(fleet, "missing") != Value::Null);
    assert_eq!((reading(&fleet, "value"), fleet["desired"].clone()), (Value::Null, 6.into()), "{fleet}");
    let explained = run(&["explain", "web", "--config", &config]).out;
    for reason in ["down: unreachable", "page: malformed_answer", "command: command_failed"] {
        assert!(explained.contains(reason), "{reason}: {explained}");
    }
    // A page whose values have grown old is no better than none; a fresh one is taken again.
    *page.0.lock().unwrap() = good.replace("{now}", "1700000000");
    let fleet = until(&config, "the old reading", |fleet| reading(fleet, "from") == "page");
    assert_eq!((reading(&fleet, "stale"), fleet["desired"].clone()), (true.into(), 6.into()), "{fleet}");
    *page.0.lock().unwrap() = good.replace("410", "700");
    until(&config, "the page again", |fleet| fleet["desired"] == 7);
    let listen = fs::read_to_string(&config).unwrap();
    let listen = listen.split("listen = \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let mut stream = TcpStream::connect(listen).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).unwrap();
    for from in ["page", "command"] {
        let name = format!("skala_source_answers_total{{source=\"load\",from=\"{from}\"}}");
        assert!(metrics.contains(&name), "{metrics}");
    }
    drop(daemon);
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.contains("another source answers") && log.contains("out of order"), "{log}");
}

/// Checks a configuration's sources together with the example of policies that uses them.
fn check_sources(sources: &str) {
    let dir = tempfile::tempdir().unwrap();
    let policies = dir.path().join("policies");
    fs::create_dir(&policies).unwrap();
    let mut policy = include_str!("../../policies/examples/sources.toml").to_owned();
    let mut text = format!("[daemon]\npolicies = \"policies\"\n{sources}\n");
    for name in ["prometheus-a", "prometheus-b"] {
        text += &format!("[source.{name}]\nkind = \"prometheus\"\nurl = \"http://127.0.0.1:9090\"\n");
    }
    // The documents have one Prometheus, the policy has two.
    text = text.replace("sources = [\"prometheus\", ", "sources = [\"prometheus-a\", \"prometheus-b\", ");
    if cfg!(feature = "aws") {
        text += "[provider.aws-prod]\nkind = \"aws\"\nregion = \"eu-west-1\"\n";
    } else {
        // Without that cloud there are its metrics neither.
        let (before, rest) = text.split_once("[source.cloudwatch]").unwrap();
        let (_, after) = rest.split_once("\n[source.").unwrap();
        text =
            format!("{before}\n[source.{after}[provider.aws-prod]\nkind = \"sim\"\n").replace(", \"cloudwatch\"]", "]");
        let lines = policy.lines().filter(|line| !line.starts_with("query.cloudwatch"));
        policy = lines.map(|line| format!("{line}\n")).collect();
    }
    fs::write(dir.path().join("skala.toml"), &text).unwrap();
    fs::write(policies.join("sources.toml"), policy).unwrap();
    let said = run(&["check", "--config", &dir.path().join("skala.toml").display().to_string()]);
    assert_eq!((said.code, said.out.as_str()), (0, "ok: 2 files, 1 fleet\n"), "{text}\n{said:?}");
}

#[test]
fn the_readmes_sources_and_the_shipped_ones_are_valid() {
    check_sources(&readme_block("toml", "kind = \"http-json\""));
    let shipped = include_str!("../../systemd/skala.toml");
    let from = shipped.find("# [source.broker]").unwrap();
    let lines = shipped[from..].lines().take_while(|line| line.starts_with('#'));
    let sources: Vec<&str> = lines.map(|line| line.trim_start_matches("# ").trim_start_matches('#')).collect();
    check_sources(&sources.join("\n"));
}

#[test]
fn the_example_is_valid_without_skala_toml_and_passes_its_tests() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.toml"), include_str!("../../policies/examples/sources.toml")).unwrap();
    let at = dir.path().display().to_string();
    let said = run(&["check", "--policies", &at]);
    assert_eq!((said.code, said.out.as_str()), (0, "ok: 1 file, 1 fleet\n"), "{said:?}");
    let said = run(&["test", &at]);
    assert_eq!(said.code, 0, "{said:?}");
}
