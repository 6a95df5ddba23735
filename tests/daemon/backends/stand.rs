//! What scenarios share: one cloud, one Prometheus, one load generator. They are started by the first scenario that needs
//! them and end with the last. Beside each cloud runs a looker, which shows the load generator the instances that there
//! are, as boto3 sees them.

use super::cloud::Cloud;
use super::exporter::Exporter;
use super::now;
use super::prometheus::Prometheus;
use std::collections::BTreeMap;
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
    seen: Arc<Mutex<BTreeMap<String, Vec<Seen>>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Looker {
    pub fn start(cloud: Cloud, exporter: Arc<Exporter>) -> Self {
        let cloud = Arc::new(cloud);
        let seen = Arc::<Mutex<BTreeMap<String, Vec<Seen>>>>::default();
        let ended = Arc::new(AtomicBool::new(false));
        let thread = {
            let (cloud, seen, ended) = (Arc::clone(&cloud), Arc::clone(&seen), Arc::clone(&ended));
            std::thread::spawn(move || {
                while !ended.load(Ordering::SeqCst) {
                    look(&cloud, &exporter, &seen);
                    std::thread::sleep(LOOK_EVERY);
                }
            })
        };
        Self { cloud, seen, ended, thread: Some(thread) }
    }

    /// Every capacity of a group that was seen, when it changed.
    pub fn seen(&self, group: &str) -> Vec<Seen> {
        self.seen.lock().unwrap().get(group).cloned().unwrap_or_default()
    }
}

fn look(cloud: &Cloud, exporter: &Exporter, seen: &Mutex<BTreeMap<String, Vec<Seen>>>) {
    let fleets = exporter.fleets();
    if fleets.is_empty() {
        return;
    }
    let groups = cloud.groups();
    let at = now();
    for fleet in fleets {
        let Some(group) = groups.get(&fleet) else { continue };
        exporter.members(&fleet, &group.ids());
        let mut seen = seen.lock().unwrap();
        let seen = seen.entry(fleet).or_default();
        let instances = u32::try_from(group.instances.len()).unwrap();
        if seen.last().is_none_or(|last| (last.desired, last.instances) != (group.desired, instances)) {
            seen.push(Seen { at, desired: group.desired, instances });
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
