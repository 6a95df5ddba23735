//! The daemon under a service manager: the real binary, told by signals, telling by the datagrams of sd_notify(3).

#![allow(clippy::disallowed_methods)] // It waits for another process, in real time.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const POLICY: &str = r#"
[fleet.web]
mode = "observe"
min = 1
max = 10
interval = "1s"
[[fleet.web.group]]
provider = "cloud"
group = "web"
[fleet.web.metric.rps]
source = "prometheus"
query = "rps"
unit = "count"
[[fleet.web.rule]]
kind = "per-instance"
metric = "rps"
target = 100
"#;

/// A daemon, and where the service manager listens.
struct Service {
    directory: tempfile::TempDir,
    notices: UnixDatagram,
    child: Child,
}

impl Service {
    /// Starts it with a watchdog of two seconds.
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("policies")).unwrap();
        std::fs::write(path("policies/web.toml"), POLICY).unwrap();
        // Nobody listens at the discard port: the fleet is blind, which is a decision like any other.
        let config = "[daemon]\npolicies = \"policies\"\n[api]\nsocket = \"skala.sock\"\nlisten = \"127.0.0.1:0\"\n\
                      [provider.cloud]\nkind = \"sim\"\ngroups = { web = { desired = 2 } }\n\
                      [source.prometheus]\nkind = \"prometheus\"\nurl = \"http://127.0.0.1:9\"\n";
        let store = format!("[store]\nurl = \"sqlite://{}\"\n", path("skala.db").display());
        std::fs::write(path("skala.toml"), format!("{config}{store}")).unwrap();
        let notices = UnixDatagram::bind(path("notify")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_skala"))
            .args(["run", "--config"])
            .arg(path("skala.toml"))
            .env("NOTIFY_SOCKET", path("notify"))
            .env("WATCHDOG_USEC", "2000000")
            .stderr(std::fs::File::create(path("log")).unwrap())
            .spawn()
            .unwrap();
        Self { directory, notices, child }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    /// The next notice, if one comes by then.
    fn notice(&self, until: Instant) -> Option<String> {
        let left = until.saturating_duration_since(Instant::now());
        self.notices.set_read_timeout(Some(left.max(Duration::from_millis(1)))).unwrap();
        let mut bytes = [0; 4096];
        let length = self.notices.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
    }

    /// The first notice with such a line.
    fn until(&self, line: &str) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        let mut seen = Vec::new();
        while let Some(notice) = self.notice(until) {
            if notice.lines().any(|said| said.starts_with(line)) {
                return notice;
            }
            seen.push(notice);
        }
        panic!("no {line}, only {seen:?}\n{}", self.log());
    }

    fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }

    fn skala(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skala"));
        command.args(arguments).args(["--config".as_ref(), self.path("skala.toml").as_os_str()]);
        command
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_says_when_it_is_ready_reloads_and_stops() {
    let mut service = Service::start();
    let ready = service.until("READY=1");
    assert!(ready.contains("STATUS=1 fleets, revision "), "{ready}");
    service.until("WATCHDOG=1");
    let revision = |notice: &str| notice.split_once("revision ").unwrap().1[..16].to_owned();
    // SIGHUP: what systemd waits for begins with the time of the request and ends with being ready again.
    std::fs::write(service.path("policies/web.toml"), POLICY.replace("max = 10", "max = 20")).unwrap();
    service.signal("HUP");
    let reloading = service.until("RELOADING=1");
    assert!(reloading.lines().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading}");
    let again = service.until("READY=1");
    assert_ne!(revision(&again), revision(&ready));
    // A broken file: ready all the same, on the last good policies, and it says so.
    std::fs::write(service.path("policies/web.toml"), "[fleet.web").unwrap();
    service.signal("HUP");
    service.until("RELOADING=1");
    let refused = service.until("READY=1");
    assert!(refused.contains("the last reload failed") && revision(&refused) == revision(&again), "{refused}");
    service.signal("TERM");
    service.until("STOPPING=1");
    assert_eq!(service.child.wait().unwrap().code(), Some(0), "{}", service.log());
    assert!(!Path::new(&service.path("skala.sock")).exists());
}

#[test]
fn a_scheduler_that_is_stuck_does_not_feed_the_watchdog() {
    let service = Service::start();
    service.until("READY=1");
    service.until("WATCHDOG=1");
    // Somebody's shell keeps the database locked; a hold has to be written before it counts, so the actor waits.
    let shell = rusqlite::Connection::open(service.path("skala.db")).unwrap();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut hold = service.skala(&["hold", "web", "--for", "1h", "--reason", "test"]);
    let mut hold = hold.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    // Long enough for what was fed before, and for a heartbeat that was young then.
    while service.notice(began + Duration::from_millis(2_500)).is_some() {}
    while let Some(notice) = service.notice(began + Duration::from_millis(4_000)) {
        assert!(!notice.contains("WATCHDOG=1"), "fed {:?} into the wait: {notice}", began.elapsed());
    }
    shell.execute_batch("ROLLBACK").unwrap();
    service.until("WATCHDOG=1");
    assert!(hold.wait().unwrap().success(), "{}", service.log());
}
