//! How the day went, judged from outside the daemon: by what the simulated clouds really had and what the load needed.

use super::load::{BLACKOUT, WORKLOADS};
use super::world::World;
use contract::{GroupId, Timestamp};
use skala::published::Published;
use std::time::Duration;

/// One fleet's day.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FleetScore {
    /// Time in which fewer instances ran than the load needed.
    pub short: Duration,
    /// Time that instances were paid for, all together.
    pub paid: Duration,
    /// Calls that changed the cloud.
    pub changes: u64,
}

/// The day so far.
#[derive(Clone, Debug, Default)]
pub struct Score {
    fleets: [FleetScore; WORKLOADS.len()],
    looked: Duration,
}

impl Score {
    /// Looks at the world; the time since the last look is judged by what is seen now, so look often.
    pub fn look(&mut self, world: &World) {
        let elapsed = world.elapsed();
        let passed = elapsed.saturating_sub(self.looked);
        self.looked = elapsed;
        for (score, workload) in self.fleets.iter_mut().zip(&WORKLOADS) {
            if world.running(workload) < workload.needed(world.hour()) {
                score.short += passed;
            }
            if let Some(cloud) = world.cloud(workload) {
                score.changes = cloud.changes();
                score.paid = cloud.billed(&GroupId::from(workload.group));
            }
        }
    }

    /// The fleets' scores, in the order of [`WORKLOADS`].
    pub fn fleets(&self) -> &[FleetScore] {
        &self.fleets
    }
}

/// Faults of the timetable that are over, and how many of them the daemon has come through: since the fault's end it
/// has completed a cycle of the fleet that it met.
pub fn faults(world: &World, published: &Published) -> (usize, usize) {
    let (mut over, mut survived) = (0, 0);
    let mut judge = |cloud: Option<&str>, until: Duration| {
        if world.elapsed() <= until + Duration::from_secs(300) {
            return;
        }
        over += 1;
        let ended = world.midnight.after(until);
        let met = WORKLOADS.iter().filter(|workload| cloud.is_none_or(|cloud| cloud == workload.cloud));
        survived += usize::from(met.into_iter().all(|workload| is_past(published, workload.fleet, ended)));
    };
    for (cloud, script) in world.scripts() {
        judge(Some(cloud), script.until.map_or(Duration::MAX / 2, |until| until.0));
    }
    judge(None, Duration::from_secs_f64(BLACKOUT.1 * 3600.0));
    (over, survived)
}

fn is_past(published: &Published, fleet: &str, ended: Timestamp) -> bool {
    published.fleet(fleet).and_then(|fleet| fleet.last_success).is_some_and(|at| at > ended)
}
