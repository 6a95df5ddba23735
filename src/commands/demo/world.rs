//! What the demo runs: the real daemon on four simulated clouds and a simulated day, many times faster than the wall
//! clock. In comes a speed, out come an [`App`] and the clouds behind it, for whoever shows them.

use contract::{GroupId, InstanceState, Owner, Provider, Timestamp};
use skala::app::{App, Seams, Settings};
use skala::clock::{Clock, ScaledClock};
use skala::control::Control;
use skala::entropy::SeededEntropy;
use skala::policy_sources::{PolicySource, Unreadable};
use skala::sources::MetricSource;
use skala::sources::sim::SimSource;
use skala::store::{Store, hold_all};
use skala::telemetry::ProcessMetrics;

use super::load::{self, Workload};
use policies::policy::SourceFile;
use sim::{Cloud, Script, Sim};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc;

const CLOUDS: &str = include_str!("clouds.toml");
const POLICIES: &str = include_str!("policies.toml");
/// The demo is the same each time.
const SEED: u64 = 7;

/// The demo's own texts are wrong; a test sees to it that they are not.
#[derive(Debug, Error)]
#[error("the demo's clouds: {0}")]
pub struct WrongClouds(String);

/// The simulated world.
#[derive(Clone)]
pub struct World {
    /// Its clock.
    pub clock: Arc<ScaledClock>,
    pub(super) midnight: Timestamp,
    clouds: BTreeMap<String, Cloud>,
    scripts: Vec<(String, Script)>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

impl World {
    /// A world in which it is midnight, and time runs `speed` times as fast as outside.
    ///
    /// # Errors
    /// When the embedded settings are wrong.
    pub fn new(speed: u32) -> Result<Self, WrongClouds> {
        let wrong = |error: &dyn std::fmt::Display| WrongClouds(error.to_string());
        let settings: BTreeMap<String, sim::Settings> = toml::from_str(CLOUDS).map_err(|error| wrong(&error))?;
        let clock = Arc::new(ScaledClock::at_midnight(speed));
        let now: sim::Now = {
            let clock = Arc::clone(&clock);
            Arc::new(move || clock.now())
        };
        let (mut clouds, mut scripts) = (BTreeMap::new(), Vec::new());
        for (name, settings) in settings {
            scripts.extend(settings.faults.iter().map(|script| (name.clone(), script.clone())));
            clouds.insert(name, Cloud::new(settings, Arc::clone(&now)).map_err(|error| wrong(&error))?);
        }
        let midnight = clock.now();
        Ok(Self { clock, midnight, clouds, scripts })
    }

    /// How long the simulated day has run.
    pub fn elapsed(&self) -> Duration {
        self.clock.now().since(self.midnight)
    }

    /// The hour of the simulated day, 0 to 24.
    pub fn hour(&self) -> f64 {
        hour(self.midnight, self.clock.now())
    }

    /// The cloud of a workload.
    pub fn cloud(&self, workload: &Workload) -> Option<&Cloud> {
        self.clouds.get(workload.cloud)
    }

    /// How many instances of a workload run.
    pub fn running(&self, workload: &Workload) -> u32 {
        let truth = self.cloud(workload).and_then(|cloud| cloud.truth(&GroupId::from(workload.group)));
        let running = truth.iter().flat_map(|truth| &truth.instances).filter(|i| i.state == InstanceState::Running);
        u32::try_from(running.count()).unwrap_or(u32::MAX)
    }

    /// The faults on the day's timetable: cloud and script.
    pub fn scripts(&self) -> &[(String, Script)] {
        &self.scripts
    }

    /// The daemon for this world, on a store beside which `hold --all` leaves its file.
    pub fn app(&self, store: &Arc<dyn Store>, store_path: &Path, control: mpsc::Receiver<Control>) -> App {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let hold_file = hold_all::path(store_path);
        let metrics = Arc::new(ProcessMetrics::new());
        let seams = Seams {
            clock,
            entropy: Arc::new(SeededEntropy::new(SEED)),
            store: Arc::clone(store),
            providers: self.providers(&metrics),
            metrics,
            sources: BTreeMap::from([("load".into(), self.source())]),
            drainers: BTreeMap::new(),
            policy_source: Arc::new(Embedded),
            compile: Arc::new(compile),
            hold_all: Arc::new(move |now| hold_all::read(&hold_file).in_force(now)),
            control,
        };
        App::new(seams, Settings::default())
    }

    fn providers(&self, metrics: &Arc<ProcessMetrics>) -> BTreeMap<Arc<str>, Arc<dyn Provider>> {
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
            load::answer(query, at, hour(world.midnight, at), |workload| world.running(workload))
        })))
    }
}

fn hour(midnight: Timestamp, at: Timestamp) -> f64 {
    at.since(midnight).as_secs_f64() / 3600.0 % 24.0
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
struct Embedded;

impl PolicySource for Embedded {
    fn load(&self) -> Result<Vec<SourceFile>, Unreadable> {
        Ok(vec![SourceFile { name: "demo/policies.toml".into(), text: POLICIES.into() }])
    }

    fn fingerprint(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::WORKLOADS;
    use super::*;

    #[test]
    fn the_embedded_texts_are_sound_and_belong_together() {
        let world = World::new(300).unwrap();
        let set = compile(&Embedded.load().unwrap()).unwrap();
        assert_eq!(set.fleets.len(), WORKLOADS.len());
        for workload in &WORKLOADS {
            let fleet = set.fleet(workload.fleet).unwrap();
            assert_eq!((&*fleet.groups[0].provider, fleet.groups[0].group.as_str()), (workload.cloud, workload.group));
            assert!(world.running(workload) > 0, "{}", workload.fleet);
            for metric in &fleet.metrics {
                assert!(load::answer(&metric.query, Timestamp::default(), 1.0, |_| 1).is_ok(), "{}", metric.query);
            }
        }
        assert!(world.scripts().iter().all(|(_, script)| script.until.is_some()), "every fault ends within the day");
    }
}
