//! What the demo runs: the real daemon on simulated clouds and simulated hours, many times faster than the wall clock. In
//! come a plan and a speed, out come an [`App`] and the clouds behind it, for whoever shows them.

use contract::{GroupId, InstanceState, Owner, Provider, Timestamp};
use skala::app::{App, Providers, Seams, Settings};
use skala::clock::{Clock, ScaledClock};
use skala::control::Control;
use skala::entropy::SeededEntropy;
use skala::policy_sources::{PolicySource, Unreadable};
use skala::sources::MetricSource;
use skala::sources::sim::SimSource;
use skala::store::{Store, hold_all};
use skala::telemetry::ProcessMetrics;

use super::load::{self, Place, Workload};
use super::plan::Plan;
use policies::policy::SourceFile;
use sim::{Cloud, Sim};
use sim_cloud::Spec;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc;

/// The demo is the same each time.
const SEED: u64 = 7;

/// The demo's own texts are wrong; a test sees to it that they are not.
#[derive(Debug, Error)]
#[error("the demo's clouds: {0}")]
pub struct WrongClouds(String);

/// Something that goes wrong in a cloud; times count from the beginning.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// The cloud.
    pub cloud: String,
    /// When it begins.
    pub from: Duration,
    /// When it ends.
    pub until: Option<Duration>,
    /// What it is to somebody who looks on.
    pub name: &'static str,
}

/// The simulated world.
#[derive(Clone)]
pub struct World {
    /// Its clock.
    pub clock: Arc<ScaledClock>,
    /// What is shown.
    pub plan: &'static Plan,
    pub(super) begin: Timestamp,
    clouds: BTreeMap<String, Cloud>,
    troubles: Vec<Trouble>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

impl World {
    /// A world at the beginning of a plan, in which time runs `speed` times as fast as outside.
    ///
    /// # Errors
    /// When the embedded settings are wrong.
    pub fn new(plan: &'static Plan, speed: u32) -> Result<Self, WrongClouds> {
        let wrong = |error: &dyn std::fmt::Display| WrongClouds(error.to_string());
        let settings: BTreeMap<String, sim::Settings> = toml::from_str(plan.clouds).map_err(|error| wrong(&error))?;
        let clock = Arc::new(ScaledClock::at_midnight(speed).later(plan.begins));
        let now: sim::Now = {
            let clock = Arc::clone(&clock);
            Arc::new(move || clock.now())
        };
        let (mut clouds, mut troubles) = (BTreeMap::new(), Vec::new());
        for (name, settings) in settings {
            troubles.extend(settings.faults.iter().map(|script| Trouble {
                cloud: name.clone(),
                from: script.from.0,
                until: script.until.map(|until| until.0),
                name: fault_name(&script.fault),
            }));
            clouds.insert(name, Cloud::new(settings, Arc::clone(&now)).map_err(|error| wrong(&error))?);
        }
        for (cloud, text) in plan.troubles {
            let spec: Spec = text.parse().map_err(|error| wrong(&error))?;
            let until = spec.lasts.map(|lasts| spec.from + lasts);
            troubles.push(Trouble { cloud: (*cloud).into(), from: spec.from, until, name: word_name(text) });
        }
        let begin = clock.now();
        Ok(Self { clock, plan, begin, clouds, troubles })
    }

    /// How long it has run.
    pub fn elapsed(&self) -> Duration {
        self.clock.now().since(self.begin)
    }

    /// The hour of the simulated day, 0 to 24.
    pub fn hour(&self) -> f64 {
        self.hour_at(self.clock.now())
    }

    fn hour_at(&self, at: Timestamp) -> f64 {
        (self.plan.begins + at.since(self.begin)).as_secs_f64() / 3600.0 % 24.0
    }

    /// A cloud by its name.
    pub fn cloud(&self, name: &str) -> Option<&Cloud> {
        self.clouds.get(name)
    }

    /// How many instances run in one place.
    pub fn running_at(&self, place: &Place) -> u32 {
        let truth = self.cloud(place.cloud).and_then(|cloud| cloud.truth(&GroupId::from(place.group)));
        let running = truth.iter().flat_map(|truth| &truth.instances).filter(|i| i.state == InstanceState::Running);
        u32::try_from(running.count()).unwrap_or(u32::MAX)
    }

    /// How many instances of a workload run.
    pub fn running(&self, workload: &Workload) -> u32 {
        workload.places.iter().map(|place| self.running_at(place)).sum()
    }

    /// How long instances of one place have been paid for so far, all together.
    pub fn billed(&self, place: &Place) -> Duration {
        self.cloud(place.cloud).map(|cloud| cloud.billed(&GroupId::from(place.group))).unwrap_or_default()
    }

    /// How many calls changed what a workload's clouds hold.
    pub fn changes(&self, workload: &Workload) -> usize {
        let changes = |place: &Place| {
            let audit = self.cloud(place.cloud).map(Cloud::audit).unwrap_or_default();
            audit.iter().filter(|entry| entry.group.as_str() == place.group && &*entry.by != "person").count()
        };
        workload.places.iter().map(changes).sum()
    }

    /// What goes wrong, and when.
    pub fn troubles(&self) -> &[Trouble] {
        &self.troubles
    }

    /// The daemon for this world, on a store beside which `hold --all` leaves its file.
    pub fn app(
        &self,
        store: &Arc<dyn Store>,
        store_path: &Path,
        control: mpsc::Receiver<Control>,
        (providers, metrics): (Providers, Arc<ProcessMetrics>),
    ) -> App {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let hold_file = hold_all::path(store_path);
        let seams = Seams {
            clock,
            entropy: Arc::new(SeededEntropy::new(SEED)),
            store: Arc::clone(store),
            providers,
            metrics,
            sources: BTreeMap::from([("load".into(), self.source())]),
            drainers: BTreeMap::new(),
            policy_source: Arc::new(Embedded(self.plan)),
            compile: Arc::new(compile),
            hold_all: Arc::new(move |now| hold_all::read(&hold_file).in_force(now)),
            control,
        };
        App::new(seams, Settings::default())
    }

    /// Providers that reach the clouds within this process.
    pub fn providers(&self, metrics: &Arc<ProcessMetrics>) -> Providers {
        let clock = Arc::clone(&self.clock);
        let sleep: sim::Sleep = Arc::new(move |span| Box::pin(tokio::time::sleep(clock.timer(span))));
        let provider = |(name, cloud): (&String, &Cloud)| {
            let sim = Sim::new(cloud.clone(), Owner { id: "demo".into() }, Arc::clone(&sleep));
            let sim = sim.with_on_call(metrics.on_call(name));
            (Arc::from(name.as_str()), Arc::new(sim) as Arc<dyn Provider>)
        };
        self.clouds.iter().map(provider).collect()
    }

    fn source(&self) -> Arc<dyn MetricSource> {
        let world = self.clone();
        Arc::new(SimSource::new(Arc::new(move |query: &str, at| {
            load::answer(world.plan, query, at, world.hour_at(at), |workload| world.running(workload))
        })))
    }
}

/// What a fault is to somebody who looks on.
fn fault_name(fault: &sim::Fault) -> &'static str {
    use sim::Fault;
    match fault {
        Fault::Throttle { .. } => "turns calls down as too many",
        Fault::ErrorAfterEffect => "does what it is told and answers with an error",
        Fault::ErrorBeforeEffect => "answers with errors",
        Fault::Unsent => "cannot be reached",
        Fault::Hang { .. } => "hangs",
        Fault::OutOfCapacity => "is out of machines in a zone",
        Fault::SetDesired { .. } => "somebody changed desired by hand",
        _ => "has a fault",
    }
}

/// The same of a fault at the wire.
fn word_name(text: &str) -> &'static str {
    match text.split([',', '=']).next() {
        Some("throttle") => "turns calls down as too many",
        Some("error-after") => "does what it is told and answers with an error",
        Some("down") => "cannot be reached",
        Some("hang") => "hangs",
        _ => "has a fault",
    }
}

fn compile(files: &[SourceFile]) -> Result<policies::policy::PolicySet, String> {
    let (set, found) = skala::config::parse_policies(files, policies::policy::INTERVAL_DEFAULT, None);
    match found.first() {
        None => Ok(set),
        Some(first) => Err(format!("line {}: {}", first.line, first.message)),
    }
}

/// The policies in the binary: they never change.
#[derive(Debug)]
struct Embedded(&'static Plan);

impl PolicySource for Embedded {
    fn load(&self) -> Result<Vec<SourceFile>, Unreadable> {
        Ok(vec![SourceFile { name: "demo/policies.toml".into(), text: self.0.policies.into() }])
    }

    fn fingerprint(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::{DAY, EVENING};
    use super::*;
    use sim_cloud::CloudKind;

    #[test]
    fn the_embedded_texts_are_sound_and_belong_together() {
        for plan in [&DAY, &EVENING] {
            let world = World::new(plan, plan.speed).unwrap();
            let set = compile(&Embedded(plan).load().unwrap()).unwrap();
            assert_eq!(set.fleets.len(), plan.workloads.len());
            for workload in plan.workloads {
                let fleet = set.fleet(workload.fleet).unwrap();
                assert_eq!(fleet.groups.len(), workload.places.len());
                for (group, place) in fleet.groups.iter().zip(workload.places) {
                    // Behind HTTP a policy says what the cloud's users do, and that is another name for the same group.
                    let kind = plan.wire.iter().find(|(name, _)| *name == place.cloud).map(|(_, kind)| *kind);
                    let name = group.group.as_str();
                    let simulated = kind.map_or(name.to_owned(), |kind: CloudKind| kind.simulated(name));
                    assert_eq!((&*group.provider, &*simulated), (place.cloud, place.group));
                    assert!(world.cloud(place.cloud).unwrap().truth(&place.group.into()).is_some());
                }
                assert!(world.running(workload) > 0, "{}", workload.fleet);
                for metric in &fleet.metrics {
                    let answer = load::answer(plan, &metric.query, Timestamp::default(), 1.0, |_| 1);
                    assert!(answer.is_ok(), "{}", metric.query);
                }
            }
            let ends = |trouble: &Trouble| trouble.until.is_some_and(|until| until < plan.lasts);
            assert!(world.troubles().iter().all(ends), "every fault ends while it is shown");
            assert!(world.troubles().iter().all(|trouble| trouble.name != "has a fault"));
        }
    }
}
