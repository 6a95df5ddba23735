//! A daemon that lives in this process, on a simulated cloud and on real time, disk and sockets, for tests that talk to
//! it as its users do. In comes policy text, out come a socket, an address, and the binary's answers.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Tests, and on real time: they wait for real sockets.

use contract::Timestamp;
use sim::{Cloud, GroupSettings, Sim};
use skala::api::{Api, Listeners};
use skala::app::{App, Seams, Settings, StopReason};
use skala::clock::{Clock, SystemClock};
use skala::control::Control;
use skala::entropy::SystemEntropy;
use skala::policy_sources::directory::Directory;
use skala::published::Published;
use skala::sources::MetricSource;
use skala::sources::sim::SimSource;
use skala::store::hold_all;
use skala::store::sqlite::SqliteStore;
use skala::store::{Options, Store};
use skala::telemetry::ProcessMetrics;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// One fleet of one group, decided every second.
pub const POLICY: &str = r#"
[fleet.web]
owner    = "web-sre"
mode     = "on"
min      = 1
max      = 10
interval = "1s"
warmup   = "0s"
[[fleet.web.group]]
provider = "cloud"
group    = "web"
[fleet.web.metric.rps]
source = "load"
query  = "rps"
unit   = "count"
[[fleet.web.rule]]
kind   = "per-instance"
metric = "rps"
target = 100
"#;

/// The binary under test.
pub fn skala(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skala"));
    command.args(arguments).stdin(Stdio::null()).env_remove("RUST_LOG").env_remove("JOURNAL_STREAM");
    command
}

/// Runs the binary to its end.
pub fn run(arguments: &[&str]) -> Said {
    Said::new(skala(arguments).output().unwrap())
}

/// The README's first block of a language that has this in it.
pub fn readme_block(language: &str, part: &str) -> String {
    let blocks = include_str!("../../README.md").split("```").skip(1).step_by(2);
    let mut found = blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'));
    found.find(|block| block.contains(part)).unwrap_or_else(|| panic!("a block of {language} with {part}")).to_owned()
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn new(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// The daemon, its cloud, and where to find them.
pub struct Living {
    pub directory: tempfile::TempDir,
    pub socket: PathBuf,
    pub address: SocketAddr,
    pub published: Published,
    pub cloud: Cloud,
    /// What the metric shows, in thousandths; NaN when negative is not possible here.
    load: Arc<AtomicU64>,
    control: mpsc::Sender<Control>,
    stop: watch::Sender<bool>,
    app: tokio::task::JoinHandle<StopReason>,
    api: tokio::task::JoinHandle<()>,
    runtime: tokio::runtime::Runtime,
}

impl Living {
    /// Starts a daemon in a directory of its own, and waits for its first decision.
    pub fn start() -> Self {
        Self::start_with(POLICY)
    }

    /// As [`Living::start`], with other policies.
    pub fn start_with(policy: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Other users have to reach the socket in it.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).unwrap();
        let policies = directory.path().join("policies");
        std::fs::create_dir(&policies).unwrap();
        std::fs::write(policies.join("web.toml"), policy).unwrap();
        write_config(directory.path());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let socket = directory.path().join("skala.sock");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&directory.path().join("skala.db"), Options::new("store-1")).unwrap());
        let load = Arc::new(AtomicU64::new(300_000));
        let cloud = cloud(&clock);
        let (control, asked) = mpsc::channel(16);
        let (stop, stopped) = watch::channel(false);
        let app = App::new(seams(&directory, &clock, &store, &cloud, &load, asked), Settings::default());
        let published = app.published();
        let api = Api { published: published.clone(), control: control.clone(), store, clock };
        let listeners = runtime.block_on(Listeners::bind(Some(&socket), Some(([127, 0, 0, 1], 0).into()))).unwrap();
        let address = listeners.tcp_address().unwrap();
        let api = runtime.spawn(listeners.serve(api, stopped));
        let app = runtime.spawn(app.run());
        let living = Self { directory, socket, address, published, cloud, load, control, stop, app, api, runtime };
        living.until("the first round", |living| living.published.process().first_round_done);
        living
    }

    /// Runs a command with this daemon's configuration.
    pub fn run(&self, arguments: &[&str]) -> Said {
        Said::new(self.command(arguments).output().unwrap())
    }

    /// A command with this daemon's configuration.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = skala(arguments);
        command.arg("--config").arg(self.config());
        command
    }

    pub fn config(&self) -> PathBuf {
        self.directory.path().join("skala.toml")
    }

    /// What the metric shows from now on.
    pub fn set_load(&self, value: f64) {
        self.load.store((value * 1000.0) as u64, Ordering::Relaxed);
    }

    /// Waits until something holds; gives up after 20 s.
    pub fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let give_up = Instant::now() + Duration::from_secs(20);
        while !holds(self) {
            assert!(Instant::now() < give_up, "waited in vain for {what}: {:?}", self.run(&["status"]));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the fleet's last decision was.
    pub fn desired(&self) -> Option<u32> {
        self.published.fleet("web")?.decision.as_ref()?.desired
    }

    /// Stops it as SIGTERM would; its directory stays.
    pub fn stop(self) -> tempfile::TempDir {
        let Self { runtime, control, stop, app, api, directory, .. } = self;
        runtime.block_on(async {
            control.send(Control::Stop).await.unwrap();
            assert_eq!(app.await.unwrap(), StopReason::Asked);
            stop.send(true).unwrap();
            api.await.unwrap();
        });
        directory
    }
}

fn seams(
    directory: &tempfile::TempDir,
    clock: &Arc<dyn Clock>,
    store: &Arc<dyn Store>,
    cloud: &Cloud,
    load: &Arc<AtomicU64>,
    control: mpsc::Receiver<Control>,
) -> Seams {
    let sleep: sim::Sleep = Arc::new(|duration| Box::pin(tokio::time::sleep(duration)));
    let metrics = Arc::new(ProcessMetrics::new());
    let provider = Sim::new(cloud.clone(), contract::Owner { id: "store-1".into() }, sleep);
    let provider = provider.with_on_call(metrics.on_call("cloud"));
    let load = Arc::clone(load);
    let source: Arc<dyn MetricSource> = Arc::new(SimSource::new(Arc::new(move |_: &str, at: Timestamp| {
        let value = load.load(Ordering::Relaxed) as f64 / 1000.0;
        Ok(Arc::new([SimSource::point(&[], value, at)]))
    })));
    let hold_file = hold_all::path(&directory.path().join("skala.db"));
    Seams {
        clock: Arc::clone(clock),
        entropy: Arc::new(SystemEntropy::default()),
        store: Arc::clone(store),
        metrics,
        providers: BTreeMap::from([("cloud".into(), Arc::new(provider) as Arc<dyn contract::Provider>)]),
        sources: BTreeMap::from([("load".into(), source)]),
        drainers: BTreeMap::new(),
        policy_source: Arc::new(Directory::new(directory.path().join("policies"))),
        compile: Arc::new(|files| {
            let (set, found) = skala::config::parse_policies(files, Duration::from_secs(15), None);
            if found.is_empty() { Ok(set) } else { Err(found[0].message.clone()) }
        }),
        hold_all: Arc::new(move |now| hold_all::read(&hold_file).in_force(now)),
        control,
    }
}

fn cloud(clock: &Arc<dyn Clock>) -> Cloud {
    let groups = BTreeMap::from([("web".to_owned(), GroupSettings { desired: 2, ..GroupSettings::default() })]);
    let boot = sim::Boot::exactly(sim::Span::secs(1));
    let settings = sim::Settings { groups, boot, ..sim::Settings::default() };
    let clock = Arc::clone(clock);
    Cloud::new(settings, Arc::new(move || clock.now())).unwrap()
}

fn write_config(directory: &Path) {
    let at = directory.display();
    let text = format!(
        "[daemon]\npolicies = \"policies\"\n[store]\nurl = \"sqlite://{at}/skala.db\"\n[api]\nsocket = \"skala.sock\"\n"
    );
    std::fs::write(directory.join("skala.toml"), text).unwrap();
}
