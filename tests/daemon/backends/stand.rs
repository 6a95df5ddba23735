//! What scenarios share: one cloud, one Prometheus, one load generator. They are started by the first scenario that needs
//! them and end with the last. Beside each cloud runs a looker, which shows the load generator the instances that there
//! are, as boto3 sees them.

use super::cloud::Cloud;
use super::exporter::Exporter;
use super::now;
use super::prometheus::Prometheus;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(400);

/// Capacity of a group at a time, by an independent reader.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// In seconds since the epoch.
    pub at: f64,
    pub desired: u32,
    pub instances: u32,
}

/// What was seen of one group.
#[derive(Default)]
struct Sight {
    changes: Vec<Seen>,
    ever: BTreeSet<String>,
}

/// The shared part.
pub struct Stand {
    pub looker: Arc<Looker>,
    pub prometheus: Prometheus,
    pub exporter: Arc<Exporter>,
}

impl Stand {
    /// The one that runs, or a new one.
    pub fn get() -> Arc<Self> {
        static SHARED: Mutex<Weak<Stand>> = Mutex::new(Weak::new());
        // A start that failed in one test may still work in the next.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stand) = shared.upgrade() {
            return stand;
        }
        let stand = Arc::new(Self::start());
        *shared = Arc::downgrade(&stand);
        stand
    }

    fn start() -> Self {
        let exporter = Arc::new(Exporter::start());
        let looker = Arc::new(Looker::start(Cloud::start(), Arc::clone(&exporter)));
        Self { looker, prometheus: Prometheus::scraping(exporter.port), exporter }
    }
}

/// A cloud, and a thread that looks at it.
pub struct Looker {
    pub cloud: Arc<Cloud>,
    sights: Arc<Mutex<BTreeMap<String, Sight>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Looker {
    pub fn start(cloud: Cloud, exporter: Arc<Exporter>) -> Self {
        let cloud = Arc::new(cloud);
        let sights = Arc::<Mutex<BTreeMap<String, Sight>>>::default();
        let ended = Arc::new(AtomicBool::new(false));
        let thread = {
            let (cloud, sights, ended) = (Arc::clone(&cloud), Arc::clone(&sights), Arc::clone(&ended));
            std::thread::spawn(move || {
                while !ended.load(Ordering::SeqCst) {
                    look(&cloud, &exporter, &sights);
                    std::thread::sleep(LOOK_EVERY);
                }
            })
        };
        Self { cloud, sights, ended, thread: Some(thread) }
    }

    /// Every capacity of a group that was seen, when it changed.
    pub fn seen(&self, group: &str) -> Vec<Seen> {
        self.sights.lock().unwrap().get(group).map(|sight| sight.changes.clone()).unwrap_or_default()
    }

    /// Every instance that was ever seen in a group. One that lived for less than a look is missed: skala's own cycles are
    /// longer.
    pub fn ever(&self, group: &str) -> Vec<String> {
        let sights = self.sights.lock().unwrap();
        sights.get(group).map(|sight| sight.ever.iter().cloned().collect()).unwrap_or_default()
    }
}

fn look(cloud: &Cloud, exporter: &Exporter, sights: &Mutex<BTreeMap<String, Sight>>) {
    let fleets = exporter.fleets();
    if fleets.is_empty() {
        return;
    }
    let groups = cloud.groups();
    let at = now();
    for fleet in fleets {
        let Some(group) = groups.get(&fleet) else { continue };
        exporter.members(&fleet, &group.ids());
        let mut sights = sights.lock().unwrap();
        let sight = sights.entry(fleet).or_default();
        sight.ever.extend(group.ids());
        let instances = u32::try_from(group.instances.len()).unwrap();
        if sight.changes.last().is_none_or(|last| (last.desired, last.instances) != (group.desired, instances)) {
            sight.changes.push(Seen { at, desired: group.desired, instances });
        }
    }
}

impl Drop for Looker {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}
