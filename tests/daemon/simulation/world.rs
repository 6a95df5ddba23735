//! A world for the daemon: simulated clouds, a load, policies and a store, all in virtual time. Each life of the daemon
//! has a runtime of its own; dropping it is a crash, and what survives is the world's.

use crate::simulation::watch::{Watched, Witness};
use contract::{BoxFuture, Capacity, GroupId, Owner, Provider, Timestamp};
use policies::policy::{PolicySet, Severity, SourceFile};
use sim::{Cloud, Sim};
use skala::app::{App, Drainers, Seams, Settings, StopReason};
use skala::clock::{Clock, SimClock};
use skala::control::{Control, OverrideAsk, OverrideRefused};
use skala::entropy::SeededEntropy;
use skala::policy_sources::{PolicySource, Unreadable};
use skala::published::Published;
use skala::sources::sim::SimSource;
use skala::sources::{Answer, MetricSource, QueryAsk, Recorder};
use skala::store::memory::MemoryStore;
use skala::store::{Options, OverrideRow, Store};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// When every world begins.
pub const EPOCH: Timestamp = Timestamp::from_secs(1_700_000_000);

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// The world's own time, which no skew of a daemon's clock touches.
#[derive(Clone, Default)]
pub struct Time(Arc<Mutex<(Duration, Option<tokio::time::Instant>)>>);

impl Time {
    pub fn elapsed(&self) -> Duration {
        let (before, start) = *self.0.lock().unwrap();
        before + start.map_or(Duration::ZERO, |start| start.elapsed())
    }

    pub fn now(&self) -> Timestamp {
        EPOCH.after(self.elapsed())
    }

    /// Time goes by while no daemon lives.
    pub fn pass(&self, span: Duration) {
        self.0.lock().unwrap().0 += span;
    }

    fn begin(&self) {
        self.0.lock().unwrap().1 = Some(tokio::time::Instant::now());
    }

    fn end(&self) {
        let elapsed = self.elapsed();
        *self.0.lock().unwrap() = (elapsed, None);
    }
}

/// The load of a fleet at a time since the beginning; an error is what its source says instead.
pub type Load = Arc<dyn Fn(&str, Duration) -> Answer + Send + Sync>;

/// Policy files in memory.
#[derive(Clone, Default)]
pub struct Files(Arc<Mutex<(u64, Vec<SourceFile>)>>);

impl Files {
    pub fn set(&self, texts: &[&str]) {
        let named = |(at, text): (usize, &&str)| SourceFile { name: format!("{at}.toml").into(), text: (*text).into() };
        let mut files = self.0.lock().unwrap();
        *files = (files.0 + 1, texts.iter().enumerate().map(named).collect());
    }
}

impl PolicySource for Files {
    fn load(&self) -> Result<Vec<SourceFile>, Unreadable> {
        Ok(self.0.lock().unwrap().1.clone())
    }

    fn fingerprint(&self) -> u64 {
        self.0.lock().unwrap().0
    }
}

/// A source with a past of its own.
struct Source {
    live: SimSource,
    past: Option<Arc<dyn Recorder>>,
}

impl MetricSource for Source {
    fn query<'a>(&'a self, ask: &'a QueryAsk, now: Timestamp) -> BoxFuture<'a, Answer> {
        self.live.query(ask, now)
    }

    fn recorder(&self) -> Option<&dyn Recorder> {
        self.past.as_deref()
    }
}

/// Everything that outlives the daemon.
pub struct World {
    pub seed: u64,
    pub time: Time,
    pub clouds: BTreeMap<&'static str, Cloud>,
    pub store: MemoryStore,
    pub files: Files,
    pub load: Load,
    /// What the source recorded, if it records.
    pub past: Option<Arc<dyn Recorder>>,
    pub drainers: Drainers,
    pub witness: Witness,
    pub settings: Settings,
    /// How far the daemon's clock is off, in microseconds.
    pub skew: Arc<Mutex<i64>>,
    lives: Mutex<u64>,
}

/// One life of the daemon.
pub struct Life {
    pub clock: Arc<SimClock>,
    pub control: mpsc::Sender<Control>,
    pub published: Published,
    pub running: tokio::task::JoinHandle<StopReason>,
}

impl World {
    pub fn new(seed: u64, clouds: Vec<(&'static str, sim::Settings)>, policies: &[&str], load: Load) -> Self {
        let time = Time::default();
        let cloud = |settings: sim::Settings| {
            let time = time.clone();
            Cloud::new(sim::Settings { seed, ..settings }, Arc::new(move || time.now())).expect("sound settings")
        };
        let clouds = clouds.into_iter().map(|(name, settings)| (name, cloud(settings))).collect();
        let files = Files::default();
        files.set(policies);
        Self {
            seed,
            witness: Witness::new(time.clone()),
            time,
            clouds,
            store: MemoryStore::new(Options::new(format!("store-{seed}"))),
            files,
            load,
            past: None,
            drainers: Drainers::new(),
            settings: Settings::default(),
            skew: Arc::default(),
            lives: Mutex::default(),
        }
    }

    /// A daemon's seams on this world.
    pub fn seams(
        &self,
        store: Arc<dyn Store>,
        owner: &str,
        control: mpsc::Receiver<Control>,
    ) -> (Seams, Arc<SimClock>) {
        let clock = Arc::new(SimClock::new(self.time.now()));
        clock.skew(*self.skew.lock().unwrap());
        let mut lives = self.lives.lock().unwrap();
        *lives += 1;
        let provider = |(name, cloud): (&&'static str, &Cloud)| {
            let sleep = Arc::new(|span| Box::pin(tokio::time::sleep(span)) as _);
            let of = Sim::new(cloud.clone(), Owner { id: owner.into() }, sleep);
            let watched: Arc<dyn Provider> = Arc::new(Watched::new(name, of, self.witness.clone()));
            (Arc::from(*name), watched)
        };
        let (load, time, witness) = (self.load.clone(), self.time.clone(), self.witness.clone());
        let live = SimSource::new(Arc::new(move |query, _| {
            let answer = load(query, time.elapsed());
            witness.answered(query, &answer);
            answer
        }));
        let source: Arc<dyn MetricSource> = Arc::new(Source { live, past: self.past.clone() });
        let seams = Seams {
            clock: clock.clone(),
            entropy: Arc::new(SeededEntropy::new(self.seed.wrapping_mul(1_000).wrapping_add(*lives))),
            store,
            metrics: Arc::default(),
            providers: self.clouds.iter().map(provider).collect(),
            sources: [(Arc::from("load"), source)].into(),
            drainers: self.drainers.clone(),
            policy_source: Arc::new(self.files.clone()),
            compile: Arc::new(compile),
            hold_all: Arc::new(|_| None),
            control,
        };
        (seams, clock)
    }

    /// Lets a daemon live while `story` goes on. When it ends, the runtime is dropped: unless the story stopped the
    /// daemon, that is a crash.
    pub fn live<T, F: Future<Output = T>>(&self, story: impl FnOnce(Life) -> F) -> T {
        self.live_with(Arc::new(self.store.reopen()), story)
    }

    pub fn live_with<T, F: Future<Output = T>>(&self, store: Arc<dyn Store>, story: impl FnOnce(Life) -> F) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let told = runtime.block_on(async {
            self.time.begin();
            let owner = self.settings.owner.as_deref().map_or_else(|| format!("store-{}", self.seed), str::to_owned);
            let life = self.start(store, &owner).await;
            let told = story(life).await;
            self.time.end();
            told
        });
        drop(runtime);
        self.witness.assert_nothing_wrong();
        told
    }

    /// Starts a daemon in the present runtime.
    pub async fn start(&self, store: Arc<dyn Store>, owner: &str) -> Life {
        let (control, receiver) = mpsc::channel(16);
        let (seams, clock) = self.seams(store, owner, receiver);
        let app = App::new(seams, self.settings.clone());
        let published = app.published();
        Life { clock, control, published, running: tokio::spawn(app.run()) }
    }

    pub fn desired(&self, cloud: &str, group: &str) -> Capacity {
        self.clouds[cloud].truth(&GroupId::from(group)).and_then(|truth| truth.desired).expect("a group with desired")
    }
}

impl Life {
    /// Stops the daemon as a person would.
    pub async fn stop(self) -> StopReason {
        self.control.send(Control::Stop).await.expect("a daemon that listens");
        self.running.await.expect("no panic")
    }

    /// Sets the daemon's clock forward or back.
    pub fn jump(&self, world: &World, seconds: i64) {
        self.clock.skew(seconds * 1_000_000);
        *world.skew.lock().unwrap() += seconds * 1_000_000;
        let _ = self.clock.now();
    }

    /// Holds a fleet as a person would.
    pub async fn hold_fleet(&self, fleet: &str, lasts: Duration) -> Result<OverrideRow, OverrideRefused> {
        let (reply, answer) = oneshot::channel();
        let ask = OverrideAsk::Hold { scale_in_only: false };
        let (fleet, reason, by) = (fleet.into(), "a story".into(), "a person".into());
        self.control.send(Control::Override { fleet, ask, lasts, reason, by, reply }).await.unwrap();
        answer.await.unwrap()
    }

    /// The last decision's hold reason, or the empty text.
    pub fn hold(&self, fleet: &str) -> &'static str {
        let status = self.published.fleet(fleet);
        let hold = status.and_then(|status| status.decision.as_ref().and_then(|decision| decision.hold));
        hold.map_or("", |hold| hold.reason.word())
    }

    /// How often the fleet was decided; 0 before the daemon knows it.
    pub fn decisions(&self, fleet: &str) -> u64 {
        let status = self.published.fleet(fleet);
        status.map_or(0, |status| status.decisions.out + status.decisions.r#in + status.decisions.none)
    }
}

fn compile(files: &[SourceFile]) -> Result<PolicySet, String> {
    let (set, found) = skala::config::parse_policies(files, secs(15), None);
    let errors: Vec<String> =
        found.iter().filter(|one| one.severity == Severity::Error).map(|one| one.message.clone()).collect();
    if errors.is_empty() { Ok(set) } else { Err(errors.join("\n")) }
}

/// A fleet `name` on `cloud`, one instance for each 100 of the load of the same name.
pub fn policy(name: &str, cloud: &str, more: &str) -> String {
    format!(
        "[fleet.{name}]\nowner = \"sre\"\nmode = \"on\"\nmin = 2\nmax = 60\ninterval = \"15s\"\n{more}\n\
         [[fleet.{name}.group]]\nprovider = \"{cloud}\"\ngroup = \"{name}\"\n\
         [fleet.{name}.metric.rps]\nsource = \"load\"\nquery = \"{name}\"\nunit = \"count\"\n\
         [[fleet.{name}.rule]]\nname = \"requests\"\nkind = \"per-instance\"\nmetric = \"rps\"\ntarget = 100\n\
         [fleet.{name}.scale_in]\nstabilization = \"5m\"\n"
    )
}

/// A cloud with groups that hold `desired` each.
pub fn cloud(groups: &[(&str, Capacity)]) -> sim::Settings {
    let group = |(name, desired): &(&str, Capacity)| {
        (name.to_string(), sim::GroupSettings { desired: *desired, max: 100, ..Default::default() })
    };
    sim::Settings { groups: groups.iter().map(group).collect(), ..Default::default() }
}

/// An answer of one series.
pub fn value(value: f64, at: Timestamp) -> Answer {
    Ok(Arc::new([SimSource::point(&[], value, at)]))
}

/// A load that is the same for all, by time.
pub fn load(of: impl Fn(&str, Duration) -> f64 + Send + Sync + 'static) -> Load {
    Arc::new(move |query, elapsed| value(of(query, elapsed), EPOCH.after(elapsed)))
}
