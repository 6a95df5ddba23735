//! The real binary as a person runs it: `skala run` with a configuration, policies and a store of its own, and the other
//! commands beside it. Every decision that the daemon shows is noted.

use super::http::{tcp, unix};
use super::now;
use super::process::{Process, free_port, leashed};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const SKALA: &str = env!("CARGO_BIN_EXE_skala");
/// How often the status is looked at: several times in each interval of these tests.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A stop waits for running actions and saves everything.
const STOP_WITHIN: Duration = Duration::from_secs(40);

/// What a daemon is configured with.
pub struct Setup<'a> {
    /// Its own name in owner tags.
    pub id: &'a str,
    /// Providers by name, each with the port of its API.
    pub providers: &'a [(&'a str, u16)],
    /// Prometheus servers by name, each with its port.
    pub sources: &'a [(&'a str, u16)],
}

/// One decision as the status showed it.
#[derive(Clone, Debug)]
pub struct Decided {
    pub fleet: String,
    /// By the daemon's clock, in seconds since the epoch.
    pub at: f64,
    /// Which start of the daemon it belongs to.
    pub life: u32,
    pub current: Option<u64>,
    pub desired: Option<u64>,
    /// The hold's reason; empty: none.
    pub hold: String,
}

#[derive(Default)]
struct Watched {
    decided: Mutex<Vec<Decided>>,
    status: Mutex<Value>,
    life: Mutex<u32>,
    ended: AtomicBool,
}

/// A daemon and everything that belongs to it.
pub struct Daemon {
    dir: tempfile::TempDir,
    listen: u16,
    process: Option<Process>,
    watched: Arc<Watched>,
    watcher: Option<JoinHandle<()>>,
    /// When each life began, and when it ended.
    pub lives: Vec<(f64, Option<f64>)>,
}

impl Daemon {
    /// Writes the configuration; nothing runs yet.
    pub fn new(setup: &Setup<'_>) -> Self {
        let (dir, listen) = (tempfile::tempdir().unwrap(), free_port());
        std::fs::create_dir(dir.path().join("policies")).unwrap();
        let mut config = format!(
            "[daemon]\npolicies = \"policies\"\ninterval = \"1s\"\nid = \"{}\"\n\
             [store]\nurl = \"sqlite://{}\"\n[api]\nsocket = \"skala.sock\"\nlisten = \"127.0.0.1:{listen}\"\n",
            setup.id,
            dir.path().join("skala.db").display(),
        );
        for (name, port) in setup.providers {
            let endpoint = format!("http://127.0.0.1:{port}");
            config.push_str(&format!(
                "[provider.{name}]\nkind = \"aws\"\nregion = \"us-east-1\"\nendpoint_url = \"{endpoint}\"\n"
            ));
        }
        for (name, port) in setup.sources {
            let url = format!("http://127.0.0.1:{port}");
            config.push_str(&format!("[source.{name}]\nkind = \"prometheus\"\nurl = \"{url}\"\ntimeout = \"2s\"\n"));
        }
        std::fs::write(dir.path().join("skala.toml"), config).unwrap();
        Self { dir, listen, process: None, watched: Arc::default(), watcher: None, lives: Vec::new() }
    }

    /// Writes a policy file, all at once.
    pub fn write_policy(&self, name: &str, text: &str) {
        let partial = self.dir.path().join("partial");
        std::fs::write(&partial, text).unwrap();
        std::fs::rename(partial, self.policy_path(name)).unwrap();
    }

    /// Removes a policy file.
    pub fn remove_policy(&self, name: &str) {
        std::fs::remove_file(self.policy_path(name)).unwrap();
    }

    fn policy_path(&self, name: &str) -> PathBuf {
        self.dir.path().join("policies").join(format!("{name}.toml"))
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("skala.sock")
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("skala.toml")
    }

    /// Starts `skala run` and waits until it answers.
    pub fn start(&mut self) {
        let mut command = Command::new(SKALA);
        command.arg("run").arg("--config").arg(self.config());
        command
            .env("AWS_ACCESS_KEY_ID", "skala")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("HOME", self.dir.path())
            .env("RUST_BACKTRACE", "1");
        *self.watched.life.lock().unwrap() += 1;
        self.lives.push((now(), None));
        self.process = Some(Process::start("skala run", command, &self.dir.path().join("skala.log")));
        if self.watcher.is_none() {
            let (socket, watched) = (self.socket(), Arc::clone(&self.watched));
            self.watcher = Some(std::thread::spawn(move || watch(&socket, &watched)));
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        while unix(&self.socket(), "/v1/status", Duration::from_secs(2)).is_none() {
            let process = self.process.as_mut().unwrap();
            if let Some(status) = process.ended() {
                panic!("skala run ended with {status}\n{}", process.tail());
            }
            assert!(Instant::now() < deadline, "skala does not answer on its socket\n{}", process.tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.signal("KILL");
        process.wait(Duration::from_secs(10));
        self.lives.last_mut().unwrap().1 = Some(now());
    }

    /// SIGTERM; it must end with 0.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.signal("TERM");
        let status = process.wait(STOP_WITHIN);
        self.lives.last_mut().unwrap().1 = Some(now());
        assert!(status.success(), "a stop ends with {status}\n{}", process.tail());
    }

    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// Runs another command against it: exit code, standard output, standard error.
    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(SKALA);
        command.args(arguments).arg("--config").arg(self.config());
        let output = leashed(&command).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// Runs a command that must succeed, and reads its JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let (code, out, error) = self.run(arguments);
        assert_eq!(code, 0, "skala {arguments:?}: {error}{out}");
        serde_json::from_str(&out).unwrap_or_else(|wrong| panic!("skala {arguments:?}: {wrong}: {out}"))
    }

    /// The newest status that was seen.
    pub fn status(&self) -> Value {
        self.watched.status.lock().unwrap().clone()
    }

    /// One fleet of the newest status.
    pub fn fleet(&self, name: &str) -> Value {
        let status = self.status();
        let fleets = status["fleets"].as_array().cloned().unwrap_or_default();
        fleets.into_iter().find(|fleet| fleet["fleet"] == name).unwrap_or_default()
    }

    /// Every decision that was seen.
    pub fn decided(&self, fleet: &str) -> Vec<Decided> {
        let decided = self.watched.decided.lock().unwrap();
        decided.iter().filter(|one| one.fleet == fleet).cloned().collect()
    }

    /// One sample of /metrics, by its name and labels as they stand there.
    pub fn metric(&self, sample: &str) -> Option<f64> {
        let answer = tcp(self.listen, "GET", "/metrics", "text/plain", "", Duration::from_secs(5))?;
        let text = answer.text();
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))?;
        line.parse().ok()
    }

    /// Its whole log, over all lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("skala.log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = self.log();
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("--- the daemon's log ends with\n{}", lines[lines.len().saturating_sub(50)..].join("\n"));
            eprintln!("--- its last status\n{:#}", self.status());
        }
        self.watched.ended.store(true, Ordering::SeqCst);
        if let Some(watcher) = self.watcher.take() {
            _ = watcher.join();
        }
    }
}

fn watch(socket: &Path, watched: &Watched) {
    while !watched.ended.load(Ordering::SeqCst) {
        let life = *watched.life.lock().unwrap();
        let answer = unix(socket, "/v1/status", Duration::from_secs(5));
        if let Some(status) = answer.and_then(|answer| serde_json::from_slice::<Value>(&answer.body).ok()) {
            note(&status, life, &mut watched.decided.lock().unwrap());
            *watched.status.lock().unwrap() = status;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn note(status: &Value, life: u32, decided: &mut Vec<Decided>) {
    for fleet in status["fleets"].as_array().into_iter().flatten() {
        let (Some(name), Some(at)) = (fleet["fleet"].as_str(), fleet["decided"].as_f64()) else { continue };
        if decided.iter().rev().find(|one| one.fleet == name).is_some_and(|last| last.at == at) {
            continue;
        }
        decided.push(Decided {
            fleet: name.into(),
            at,
            life,
            current: fleet["current"].as_u64(),
            desired: fleet["desired"].as_u64(),
            hold: fleet["hold"]["reason"].as_str().unwrap_or_default().into(),
        });
    }
}
