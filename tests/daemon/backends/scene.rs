//! One scenario: a fleet under test and a control fleet, each with an Auto Scaling group of its own, and a daemon that
//! reaches the cloud through a recorder. `finish` judges everything that must hold in every scenario.

use super::audit::Audit;
use super::cloud::Cloud;
use super::daemon::{Daemon, Setup};
use super::exporter::Show;
use super::now;
use super::policy::Policy;
use super::prometheus::Prometheus;
use super::proxy::{Call, Proxy};
use super::stand::{Looker, Stand};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The daemon's interval.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// What the control fleet carries: three instances' worth.
const CONTROL_LOAD: f64 = 250.0;

/// How a scenario begins.
pub struct Start {
    /// Instances of the fleet under test.
    pub instances: u32,
    /// Its load.
    pub load: f64,
    /// How long its instances boot.
    pub boot: Duration,
    /// Its samples carry times of their own.
    pub stamped: bool,
    /// The control fleet has a provider of its own.
    pub own_provider: bool,
    /// The fleet under test has a Prometheus of its own.
    pub own_prometheus: bool,
    /// The fleet's group is in a simulated AWS; the control fleet's is not.
    pub simulated: bool,
    /// Changes of the usual policy.
    pub policy: fn(&mut Policy),
}

impl Default for Start {
    fn default() -> Self {
        Self {
            instances: 6,
            load: 550.0,
            boot: Duration::ZERO,
            stamped: false,
            own_provider: false,
            own_prometheus: false,
            simulated: false,
            policy: |_| {},
        }
    }
}

/// A running scenario.
pub struct Scene {
    pub stand: Arc<Stand>,
    /// The fleet's cloud.
    pub looker: Arc<Looker>,
    pub cloud: Arc<Cloud>,
    pub name: &'static str,
    pub proxy: Proxy,
    /// Kept for as long as the scene: the control fleet's calls go through it.
    _control_proxy: Option<Proxy>,
    pub own_prometheus: Option<Prometheus>,
    pub daemon: Daemon,
    pub policy: Policy,
    pub control: String,
    pub began: f64,
    /// Instances at the beginning.
    pub first: Vec<String>,
    /// What people did to desired: when, and to what.
    pub by_hand: Vec<(f64, u32)>,
    /// The policy's max was lowered: since when, and to what.
    pub max_since: Vec<(f64, u32)>,
}

impl Scene {
    /// Makes the groups and starts the daemon.
    pub fn start(name: &'static str, start: Start) -> Self {
        let mut scene = Self::prepare(name, start);
        scene.daemon.start();
        scene
    }

    /// Everything but the daemon's start.
    pub fn prepare(name: &'static str, start: Start) -> Self {
        let stand = Stand::get();
        let control = format!("{name}-control");
        let looker = match start.simulated {
            true => Arc::new(Looker::start(Cloud::simulated(), Arc::clone(&stand.exporter))),
            false => Arc::clone(&stand.looker),
        };
        let cloud = Arc::clone(&looker.cloud);
        cloud.create(name, 0, 50, start.instances);
        stand.looker.cloud.create(&control, 0, 50, 3);
        let first = cloud.group(name).ids();
        let control_ids = stand.looker.cloud.group(&control).ids();
        stand.exporter.add(name, start.boot, start.load, &first, start.stamped);
        stand.exporter.add(&control, Duration::ZERO, CONTROL_LOAD, &control_ids, false);
        let proxy = Proxy::before(cloud.port, name);
        let apart = start.own_provider || start.simulated;
        let control_proxy = apart.then(|| Proxy::before(stand.looker.cloud.port, &control));
        let own_prometheus = start.own_prometheus.then(|| Prometheus::scraping(stand.exporter.port));
        let mut policy = Policy::new(name);
        let mut control_policy = Policy::new(&control);
        let mut providers = vec![("aws", proxy.port)];
        let mut sources = vec![("prometheus", stand.prometheus.port)];
        if let Some(proxy) = &control_proxy {
            providers.push(("apart", proxy.port));
            control_policy.provider = "apart";
        }
        if let Some(prometheus) = &own_prometheus {
            sources.push(("own", prometheus.port));
            policy.source = "own";
        }
        (start.policy)(&mut policy);
        let daemon = Daemon::new(&Setup { id: name, providers: &providers, sources: &sources });
        daemon.write_policy("subject", &policy.toml());
        daemon.write_policy("control", &control_policy.toml());
        let began = now();
        Self {
            stand,
            looker,
            cloud,
            name,
            proxy,
            _control_proxy: control_proxy,
            own_prometheus,
            daemon,
            policy,
            control,
            began,
            first,
            by_hand: Vec::new(),
            max_since: Vec::new(),
        }
    }

    /// Waits for something.
    pub fn until(&mut self, what: &str, patience: Duration, mut is_so: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + patience;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{}: not within {patience:?}: {what}", self.name);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits while nothing should happen.
    pub fn pass(&self, secs: f64) {
        std::thread::sleep(Duration::from_secs_f64(secs));
    }

    /// The fleet's load from now on.
    pub fn load(&self, load: f64) {
        self.stand.exporter.set_load(self.name, load);
    }

    /// What the fleet's instances show from now on.
    pub fn show(&self, show: Show) {
        self.stand.exporter.show(self.name, show);
    }

    /// Desired of the fleet's group, as boto3 reads it.
    pub fn desired(&self) -> u32 {
        self.cloud.group(self.name).desired
    }

    /// Desired set by a person.
    pub fn set_desired(&mut self, to: u32) {
        self.by_hand.push((now(), to));
        self.cloud.set_desired(self.name, to);
    }

    /// Waits until the group has this capacity.
    pub fn until_desired(&mut self, to: u32, patience: Duration) {
        self.until(&format!("the group's desired is {to}"), patience, |scene| scene.desired() == to);
    }

    /// Waits until the fleet is held for this reason.
    pub fn until_hold(&mut self, reason: &str, patience: Duration) {
        self.until(&format!("the hold is {reason}"), patience, |scene| scene.hold() == reason);
    }

    /// Waits until the fleet's window is covered and it rests.
    pub fn until_settled(&mut self) {
        self.until_hold("on_target", Duration::from_secs(30));
        self.pass(self.policy.window_secs() + 1.5);
    }

    /// The reason of the fleet's present hold; empty: none.
    pub fn hold(&self) -> String {
        self.daemon.fleet(self.name)["hold"]["reason"].as_str().unwrap_or_default().into()
    }

    /// `skala status --json` and `skala explain --json` both give this reason, and the replay is the same plan.
    pub fn assert_explained(&mut self, reason: &str) -> Value {
        let status = self.daemon.json(&["status", "--json"]);
        let fleet = status["fleets"].as_array().unwrap().iter().find(|fleet| fleet["fleet"] == self.name).unwrap();
        assert_eq!(fleet["hold"]["reason"], reason, "{}: status: {fleet:#}", self.name);
        let explained = self.daemon.json(&["explain", self.name, "--json"]);
        assert_eq!(explained["decision"]["hold"]["reason"], reason, "{}: explain: {explained:#}", self.name);
        assert_eq!(explained["replay"]["result"], "identical", "{}: explain: {explained:#}", self.name);
        explained
    }

    /// The calls that change the fleet's group.
    pub fn writes(&self) -> Vec<Call> {
        self.proxy.writes(self.name, &self.looker.ever(self.name))
    }

    /// How often an action was called for the fleet's group.
    pub fn count(&self, action: &str) -> usize {
        self.writes().iter().filter(|call| call.action == action).count()
    }

    /// What the calls and boto3 say about the fleet's group.
    pub fn audit(&self) -> Audit {
        Audit::of(self)
    }

    /// Load falls to three instances' worth: the daemon still works, and its scale-in is by the book.
    pub fn ends_well(mut self) {
        self.load(250.0);
        self.until_desired(3, Duration::from_secs(90));
        assert!(!self.audit().drops().is_empty(), "{}: nothing was judged", self.name);
        self.finish();
    }

    /// What must hold in every scenario.
    pub fn finish(mut self) {
        let audit = self.audit();
        audit.assert_counted();
        audit.assert_drops_justified(self.own_prometheus.as_ref());
        self.assert_control();
        let fleet = self.daemon.fleet(self.name);
        assert!(fleet["fault"].is_null(), "{}: a fault of skala itself: {fleet:#}", self.name);
        if self.daemon.is_running() {
            self.daemon.stop();
        }
        let log = self.daemon.log();
        assert!(!log.contains("panicked"), "{}: a panic\n{log}", self.name);
    }

    /// The control fleet is decided at least every two intervals in every life of the daemon, and never changed.
    pub fn assert_control(&self) {
        let decided = self.daemon.decided(&self.control);
        let lives = decided.last().map_or(0, |last| last.life);
        assert!(lives > 0, "{}: the control fleet was never decided", self.name);
        let most = 2.0 * INTERVAL.as_secs_f64();
        let mut longest: f64 = 0.0;
        for life in 1..=lives {
            let of_life: Vec<f64> = decided.iter().filter(|one| one.life == life).map(|one| one.at).collect();
            longest = of_life.windows(2).map(|pair| pair[1] - pair[0]).fold(longest, f64::max);
        }
        println!("{}: the control fleet's longest pause {longest:.2} s over {} decisions", self.name, decided.len());
        assert!(longest <= most, "{}: the control fleet was not decided for {longest:.2} s", self.name);
        let group = self.stand.looker.cloud.group(&self.control);
        assert_eq!(group.desired, 3, "{}: the control fleet's group", self.name);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::env::var_os("SKALA_ALL_CALLS").is_some() {
            for call in self.proxy.calls() {
                let (after, took) = (call.at - self.began, call.answered_at - call.at);
                eprintln!("{after:8.2} s {took:8.2} s {} {:?}", call.action, call.answered);
            }
        }
        if std::thread::panicking() {
            eprintln!("--- the calls that changed something, as the recorder saw them");
            for call in self.proxy.calls().iter().filter(|call| call.is_write()) {
                let Call { at, action, params, status, answered, .. } = call;
                let after = at - self.began;
                eprintln!("{after:8.2} s  {action} {params:?} behind: {status:?} answered: {answered:?}");
            }
            eprintln!("--- capacity as boto3 saw it");
            for seen in self.looker.seen(self.name) {
                eprintln!("{:8.2} s  desired {} instances {}", seen.at - self.began, seen.desired, seen.instances);
            }
            eprintln!("--- the decisions, when they changed");
            let mut last = (None, None, String::new());
            for one in self.daemon.decided(self.name) {
                let this = (one.current, one.desired, one.hold.clone());
                if this != last {
                    let after = one.at - self.began;
                    eprintln!("{after:8.2} s  life {} current {:?} desired {:?} {}", one.life, this.0, this.1, this.2);
                    last = this;
                }
            }
        }
        if Arc::ptr_eq(&self.looker, &self.stand.looker) {
            _ = self.cloud.clear(self.name);
        }
        self.stand.exporter.remove(self.name);
        self.stand.exporter.remove(&self.control);
    }
}
