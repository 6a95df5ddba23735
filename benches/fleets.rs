//! The whole daemon at size, on simulated clouds: what a fleet costs in CPU, memory and disk, and how long it takes until
//! the last of many fleets behind a slow API is first decided.
//!
//! Run with `cargo bench --no-default-features --features jemalloc --bench fleets` (add `-- 2000` for fewer fleets). It
//! prints counts and ratios; the closest peer's figures it compares with are those of the design: 13 us of CPU an
//! evaluation and 115 MB for 10,000 policies at 1 s, its core with stubs and no store, and 10 s until the last of 200
//! policies is first evaluated.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)] // A bench, on real time.

mod shared;

use contract::{Ask, BoxFuture, Capacity, GuardKind, Observation, Provider, ProviderError, Target, Timestamp};
use policies::policy::{ParseOptions, PolicySet, Severity, SourceFile, parse};
use shared::cpu_secs;
use sim::{Cloud, GroupSettings, Sim};
use skala::app::{App, Seams, Settings};
use skala::clock::{Clock, SystemClock};
use skala::control::Control;
use skala::entropy::SystemEntropy;
use skala::policy_sources::{PolicySource, Unreadable};
use skala::published::Published;
use skala::sources::MetricSource;
use skala::sources::sim::SimSource;
use skala::store::sqlite::SqliteStore;
use skala::store::{Options, Store};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

// The daemon's own; without it the bench would measure another program.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const PEER_MICROS: f64 = 13.0;
const PEER_MEGABYTES: f64 = 115.0;
const PEER_START: f64 = 10.0;
/// Instances of a group.
const INSTANCES: u32 = 3;

fn main() {
    let fleets = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(10_000);
    start_of_many(200, Duration::from_millis(50));
    steady(fleets, Duration::from_secs(20), Duration::from_secs(60));
}

/// Until the last of so many groups, each behind a call of its own that takes so long, is first decided.
fn start_of_many(fleets: usize, call: Duration) {
    let world = World::new(fleets, "15s", |provider| Arc::new(Slow { provider, call }));
    let from = Instant::now();
    let running = world.run();
    running.until(|published| published.process().first_round_done);
    let secs = from.elapsed().as_secs_f64();
    println!("first decision of the last of {fleets} fleets, {} ms a call: {secs:.3} s", call.as_millis());
    println!("  peer / skala: {:.0} (at least 10 wanted)", PEER_START / secs);
}

/// CPU, memory and disk of fleets decided every second.
fn steady(fleets: usize, warm: Duration, measured: Duration) {
    let world = World::new(fleets, "1s", |provider| provider);
    // The simulated cloud and the text of the policies are the world's, not the daemon's.
    let before = resident_megabytes();
    let running = world.run();
    running.until(|published| published.process().first_round_done);
    std::thread::sleep(warm);
    let (cpu, written, decided) = (cpu_secs(std::process::id()), running.world.bytes(), running.decided());
    std::thread::sleep(measured);
    let cpu = cpu_secs(std::process::id()) - cpu;
    let decisions = running.decided() - decided;
    let micros = cpu * 1e6 / decisions as f64;
    let megabytes = resident_megabytes() - before;
    let a_day = (running.world.bytes().saturating_sub(written)) as f64 * 86_400.0 / measured.as_secs_f64();
    println!("{fleets} fleets, one rule each, every second, store on, {} s:", measured.as_secs());
    println!(
        "  decisions: {decisions} ({:.1} % of those due)",
        decisions as f64 / (fleets as f64 * measured.as_secs_f64()) * 100.0
    );
    println!("  CPU an evaluation: {micros:.1} us, skala / peer: {:.2}", micros / PEER_MICROS);
    println!("  memory: {megabytes:.0} MB, skala / peer: {:.2}", megabytes / PEER_MEGABYTES * 10_000.0 / fleets as f64);
    println!("  store grown by: {:.1} MB a day at this rate", a_day / 1e6);
}

struct World {
    directory: tempfile::TempDir,
    seams: Seams,
    _control: mpsc::Sender<Control>,
}

impl World {
    fn new(fleets: usize, interval: &str, wrap: impl Fn(Arc<dyn Provider>) -> Arc<dyn Provider>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (control, asked) = mpsc::channel(1);
        let groups = (0..fleets).map(|n| (format!("g{n}"), group())).collect();
        let settings = sim::Settings { seed: 1, groups, ..sim::Settings::default() };
        let now = Arc::clone(&clock);
        let cloud = Cloud::new(settings, Arc::new(move || now.now())).unwrap();
        let sleep: Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync> =
            Arc::new(|length| Box::pin(tokio::time::sleep(length)));
        let owner = contract::Owner { id: "bench".into() };
        let provider = wrap(Arc::new(Sim::new(cloud, owner, sleep)));
        let source = SimSource::new(Arc::new(move |_, at| Ok(series(fleets, at))));
        let store = SqliteStore::open(&directory.path().join("skala.db"), Options::new("bench")).unwrap();
        let seams = Seams {
            clock,
            entropy: Arc::new(SystemEntropy::default()),
            store: Arc::new(store) as Arc<dyn Store>,
            metrics: Arc::default(),
            providers: BTreeMap::from([("cloud".into(), provider)]),
            sources: BTreeMap::from([("load".into(), Arc::new(source) as Arc<dyn MetricSource>)]),
            drainers: BTreeMap::new(),
            policy_source: Arc::new(Written(policies(fleets, interval))),
            compile: Arc::new(compile),
            hold_all: Arc::new(|_| None),
            control: asked,
        };
        Self { directory, seams, _control: control }
    }

    fn run(self) -> Running {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let Self { directory, seams, _control } = self;
        let app = App::new(seams, Settings::default());
        let published = app.published();
        runtime.spawn(app.run());
        Running { world: Disk { directory }, published, _control, _runtime: runtime }
    }
}

struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    /// Bytes of the store, without the reserve.
    fn bytes(&self) -> u64 {
        let files = std::fs::read_dir(self.directory.path()).unwrap().flatten();
        let stored = files.filter(|file| !file.file_name().to_string_lossy().ends_with(".reserve"));
        stored.map(|file| file.metadata().map_or(0, |data| data.len())).sum()
    }
}

struct Running {
    world: Disk,
    published: Published,
    _control: mpsc::Sender<Control>,
    _runtime: tokio::runtime::Runtime,
}

impl Running {
    fn until(&self, done: impl Fn(&Published) -> bool) {
        let from = Instant::now();
        while !done(&self.published) {
            assert!(from.elapsed() < Duration::from_secs(120), "it never came");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn decided(&self) -> u64 {
        self.published
            .fleets()
            .1
            .iter()
            .map(|fleet| fleet.decisions.out + fleet.decisions.r#in + fleet.decisions.none)
            .sum()
    }
}

/// A cloud with one call for each group, each of which takes its time; calls run side by side, as an SDK's would.
struct Slow {
    provider: Arc<dyn Provider>,
    call: Duration,
}

impl Provider for Slow {
    fn observe<'a>(&'a self, asks: &'a [Ask]) -> BoxFuture<'a, Vec<Result<Observation, ProviderError>>> {
        Box::pin(async move {
            let mut answers = Vec::with_capacity(asks.len());
            // At most 32 at a time, as a provider without batches would limit itself.
            for some in asks.chunks(32) {
                tokio::time::sleep(self.call).await;
                answers.extend(self.provider.observe(some).await);
            }
            answers
        })
    }

    fn raise<'a>(
        &'a self,
        target: &'a Target,
        to: Capacity,
    ) -> BoxFuture<'a, Result<contract::Accepted, ProviderError>> {
        self.provider.raise(target, to)
    }

    fn cancel_unfilled<'a>(
        &'a self,
        target: &'a Target,
        to: Capacity,
    ) -> BoxFuture<'a, Result<contract::Accepted, ProviderError>> {
        self.provider.cancel_unfilled(target, to)
    }

    fn guard(&self) -> GuardKind {
        self.provider.guard()
    }
}

struct Written(Vec<SourceFile>);

impl PolicySource for Written {
    fn load(&self) -> Result<Vec<SourceFile>, Unreadable> {
        Ok(self.0.clone())
    }

    fn fingerprint(&self) -> u64 {
        1
    }
}

fn group() -> GroupSettings {
    GroupSettings { min: 1, max: 10, desired: INSTANCES, ..GroupSettings::default() }
}

/// Every fleet's load, in one answer; it moves, so that recommendations are not all equal, and stays within tolerance.
fn series(fleets: usize, at: Timestamp) -> Arc<[skala::sources::SeriesPoint]> {
    let wave = (at.as_secs_f64() / 30.0).sin() * 5.0;
    (0..fleets).map(|n| SimSource::point(&[("fleet", &format!("f{n}"))], 285.0 + wave, at)).collect()
}

fn policies(fleets: usize, interval: &str) -> Vec<SourceFile> {
    let file = |(at, names): (usize, &[usize])| {
        let mut text = String::new();
        for n in names {
            let _ = write!(
                text,
                "[fleet.f{n}]\nmode = \"on\"\nmin = 1\nmax = 10\ninterval = \"{interval}\"\n\
                 [[fleet.f{n}.group]]\nprovider = \"cloud\"\ngroup = \"g{n}\"\n\
                 [fleet.f{n}.metric.rps]\nsource = \"load\"\nquery = \"rps\"\nselect = {{ fleet = \"f{n}\" }}\n\
                 [[fleet.f{n}.rule]]\nkind = \"per-instance\"\nmetric = \"rps\"\ntarget = 100\n"
            );
        }
        SourceFile { name: format!("{at:04}.toml").into(), text }
    };
    let all: Vec<usize> = (0..fleets).collect();
    all.chunks(200).enumerate().map(file).collect()
}

fn compile(files: &[SourceFile]) -> Result<PolicySet, String> {
    let (set, found) = parse(files, &ParseOptions::default());
    match found.iter().find(|diagnostic| diagnostic.severity == Severity::Error) {
        Some(error) => Err(error.message.clone()),
        None => Ok(set),
    }
}

fn resident_megabytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0 / 1e6
}
