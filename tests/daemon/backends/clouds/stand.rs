//! Where these tests stand: served clouds, a source of readings, and the real binary between them.

use super::super::http::{Message, tcp, unix};
use super::super::process::{Process, free_port};
use contract::{GroupId, Timestamp};
use serde_json::Value;
use sim::{Boot, Cloud, GroupSettings, Settings, Span};
use sim_cloud::{Api, CloudKind, Garble, Kind, Refusal, Reply, Request, Server};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Something that a cloud answered.
#[derive(Clone, Debug)]
pub struct Said {
    pub at: Instant,
    pub kind: Option<Kind>,
    pub answer: String,
}

/// An API, and when it said what.
struct Watched {
    api: Arc<dyn Api>,
    said: Mutex<Vec<Said>>,
}

impl Watched {
    fn note(&self, request: &Request, reply: Reply) -> Reply {
        let answer = String::from_utf8_lossy(&reply.body).into_owned();
        self.said.lock().unwrap().push(Said { at: Instant::now(), kind: self.api.kind(request), answer });
        reply
    }
}

impl Api for Watched {
    fn answer(&self, request: &Request) -> Reply {
        let reply = self.api.answer(request);
        self.note(request, reply)
    }

    fn kind(&self, request: &Request) -> Option<Kind> {
        self.api.kind(request)
    }

    fn is_later_page(&self, request: &Request) -> bool {
        self.api.is_later_page(request)
    }

    fn refusal(&self, refusal: &Refusal, request: &Request) -> Reply {
        let reply = self.api.refusal(refusal, request);
        self.note(request, reply)
    }

    fn garble(&self, garble: Garble, request: &Request, reply: &Reply) -> Option<Reply> {
        self.api.garble(garble, request, reply)
    }

    fn foreign(&self) -> contract::Foreign {
        self.api.foreign()
    }
}

/// A cloud that is served.
pub struct Served {
    pub server: Server,
    pub cloud: Cloud,
    kind: CloudKind,
    watched: Arc<Watched>,
}

impl Served {
    /// A group, full and running; what policies call it.
    pub fn group(&self, name: &str, desired: u32) -> String {
        let zones = ["a", "b", "c"].map(Box::from).into();
        let settings = GroupSettings { min: 0, max: 50, desired, zones, ..GroupSettings::default() };
        let simulated = self.kind.simulated(name);
        self.cloud.create(&simulated, &settings).unwrap();
        self.kind.group_id(&*self.kind.api(self.cloud.clone()), &simulated)
    }

    /// What the cloud is asked to hold.
    pub fn desired(&self, name: &str) -> u32 {
        let group = GroupId::from(self.kind.simulated(name).as_str());
        self.cloud.truth(&group).unwrap().desired.unwrap()
    }

    /// What it answered so far.
    pub fn said(&self) -> Vec<Said> {
        self.watched.said.lock().unwrap().clone()
    }

    /// When it first did, after `from`.
    pub fn first(&self, from: Instant, is: impl Fn(&Said) -> bool) -> Option<Instant> {
        self.said().iter().find(|said| said.at >= from && is(said)).map(|said| said.at)
    }
}

/// Readings: one JSON document of numbers.
pub struct Load {
    pub port: u16,
    values: Arc<Mutex<BTreeMap<String, f64>>>,
}

impl Load {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let values: Arc<Mutex<BTreeMap<String, f64>>> = Arc::default();
        let weak = Arc::downgrade(&values);
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                // The test is over.
                let Some(values) = weak.upgrade() else { return };
                _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
                if Message::read(&mut stream).is_some() {
                    let text = serde_json::to_string(&*values.lock().unwrap()).unwrap();
                    _ = stream.write_all(&Message::answer(200, "application/json", text).bytes(""));
                }
            }
        });
        Self { port, values }
    }

    pub fn set(&self, name: &str, value: f64) {
        self.values.lock().unwrap().insert(name.into(), value);
    }
}

/// All of it.
pub struct Stand {
    pub clouds: BTreeMap<CloudKind, Served>,
    load: Load,
    dir: tempfile::TempDir,
    listen: u16,
    policies: String,
    process: Option<Process>,
    _runtime: tokio::runtime::Runtime,
}

impl Stand {
    /// These clouds, whose machines boot in a second.
    pub fn new(kinds: &[CloudKind]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let serve = |kind: &CloudKind| {
            let settings = Settings { boot: Boot::exactly(Span::secs(1)), ..Settings::default() };
            let now = || Timestamp::default().after(Duration::from_secs_f64(super::super::now()));
            let cloud = Cloud::new(settings, Arc::new(now)).unwrap();
            let watched = Arc::new(Watched { api: kind.api(cloud.clone()), said: Mutex::default() });
            let starting = Server::start_with(Arc::clone(&watched) as Arc<dyn Api>, ([127, 0, 0, 1], 0).into(), false);
            let server = runtime.block_on(starting).unwrap();
            (*kind, Served { server, cloud, kind: *kind, watched })
        };
        let clouds = kinds.iter().map(serve).collect();
        let (dir, listen) = (tempfile::tempdir().unwrap(), free_port());
        std::fs::create_dir(dir.path().join("policies")).unwrap();
        Self { clouds, load: Load::start(), dir, listen, policies: String::new(), process: None, _runtime: runtime }
    }

    pub fn cloud(&self, kind: CloudKind) -> &Served {
        &self.clouds[&kind]
    }

    /// A fleet on these groups, each with its priority; an instance carries 100 of the load.
    pub fn fleet(&mut self, name: &str, groups: &[(CloudKind, &str, u32)], load: f64) {
        let text = &mut self.policies;
        _ = writeln!(text, "[fleet.{name}]\nmode = \"on\"\nmin = 1\nmax = 40\nwarmup = \"0s\"\nboot = \"1s\"");
        for (kind, group, priority) in groups {
            _ = writeln!(
                text,
                "[[fleet.{name}.group]]\nprovider = \"{kind}\"\ngroup = \"{group}\"\npriority = {priority}"
            );
        }
        _ = write!(
            text,
            "[fleet.{name}.metric.rps]\nsource = \"load\"\nquery = \"$.{name}\"\nunit = \"count\"\n\
             [[fleet.{name}.rule]]\nkind = \"per-instance\"\nmetric = \"rps\"\ntarget = 100\n\
             tolerance = {{ out = 0.0, in = 0.0 }}\n\
             [fleet.{name}.scale_out]\nrate = [{{ instances = 40, per = \"1s\" }}]\n\
             [fleet.{name}.scale_in]\nstabilization = \"4s\"\nrate = [{{ instances = 40, per = \"1s\" }}]\n"
        );
        self.set_load(name, load);
    }

    pub fn set_load(&self, fleet: &str, load: f64) {
        self.load.set(fleet, load);
    }

    /// Starts `skala run` and waits until every fleet keeps what its load needs.
    pub fn start(&mut self, interval: &str) {
        let mut config = format!(
            "[daemon]\npolicies = \"policies\"\ninterval = \"{interval}\"\n[store]\nurl = \"sqlite://{}\"\n\
             [api]\nsocket = \"skala.sock\"\nlisten = \"127.0.0.1:{}\"\n\
             [source.load]\nkind = \"http-json\"\nurl = \"http://127.0.0.1:{}/\"\ntrust_time = \"fetch\"\n",
            self.dir.path().join("skala.db").display(),
            self.listen,
            self.load.port,
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_skala"));
        command.arg("run").arg("--config").arg(self.dir.path().join("skala.toml"));
        command.env("HOME", self.dir.path()).env("RUST_BACKTRACE", "1");
        for (kind, served) in &self.clouds {
            let access = kind.access(kind.word(), &served.server.url());
            config.push_str(&access.toml);
            command.envs(access.variables);
        }
        std::fs::write(self.dir.path().join("skala.toml"), config).unwrap();
        std::fs::write(self.dir.path().join("policies/fleets.toml"), &self.policies).unwrap();
        self.process = Some(Process::start("skala run", command, &self.dir.path().join("skala.log")));
        self.until("every fleet is on target", |stand| {
            let status = stand.status();
            let fleets = status["fleets"].as_array().map_or(&[][..], Vec::as_slice);
            !fleets.is_empty() && fleets.iter().all(|fleet| fleet["hold"]["reason"] == "on_target")
        });
    }

    /// What the daemon shows; `Null` when it does not answer.
    pub fn status(&self) -> Value {
        let answer = unix(&self.dir.path().join("skala.sock"), "/v1/status", Duration::from_secs(5));
        answer.and_then(|answer| serde_json::from_slice(&answer.body).ok()).unwrap_or_default()
    }

    /// One fleet of it.
    pub fn shown(&self, fleet: &str) -> Value {
        let status = self.status();
        let fleets = status["fleets"].as_array().cloned().unwrap_or_default();
        fleets.into_iter().find(|shown| shown["fleet"] == fleet).unwrap_or_default()
    }

    /// What `skala status` prints.
    pub fn printed(&self) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skala"));
        command.args(["status", "--config"]).arg(self.dir.path().join("skala.toml"));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    }

    /// The daemon's log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("skala.log")).unwrap()
    }

    /// One sample of /metrics without labels.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let answer = tcp(self.listen, "GET", "/metrics", "text/plain", "", Duration::from_secs(5))?;
        answer.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    pub fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is(self) {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("skala.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the daemon's log ends with\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
            eprintln!("--- its last status\n{:#}", self.status());
        }
    }
}
