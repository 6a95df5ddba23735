//! How the day went, judged from outside the daemon: by what the simulated clouds really had and what the load needed.

use super::load::Workload;
use super::world::World;
use contract::Timestamp;
use skala::published::Published;
use std::time::Duration;

/// One fleet's day.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FleetScore {
    /// Time in which fewer instances ran than the load needed.
    pub short: Duration,
    /// Time that instances were paid for, all together.
    pub paid: Duration,
}

/// The day so far.
#[derive(Clone, Debug)]
pub struct Score {
    fleets: Vec<FleetScore>,
    looked: Duration,
}

impl Score {
    /// Nothing was seen yet.
    pub fn new(world: &World) -> Self {
        Self { fleets: vec![FleetScore::default(); world.plan.workloads.len()], looked: Duration::ZERO }
    }

    /// Looks at the world; the time since the last look is judged by what is seen now, so look often.
    pub fn look(&mut self, world: &World) {
        let elapsed = world.elapsed();
        let passed = elapsed.saturating_sub(self.looked);
        self.looked = elapsed;
        for (score, workload) in self.fleets.iter_mut().zip(world.plan.workloads) {
            if world.running(workload) < workload.needed(world.hour()) {
                score.short += passed;
            }
            score.paid = workload.places.iter().map(|place| world.billed(place)).sum();
        }
    }

    /// The fleets' scores, in the order of the table.
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
        let ended = world.begin.after(until);
        let is_in =
            |workload: &&Workload| cloud.is_none_or(|cloud| workload.places.iter().any(|place| place.cloud == cloud));
        let mut met = world.plan.workloads.iter().filter(is_in);
        survived += usize::from(met.all(|workload| is_past(published, workload.fleet, ended)));
    };
    for trouble in world.troubles() {
        judge(Some(&trouble.cloud), trouble.until.unwrap_or(Duration::MAX / 2));
    }
    let blackout = Duration::from_secs_f64(world.plan.blackout.1 * 3600.0);
    judge(None, blackout.saturating_sub(world.plan.begins));
    (over, survived)
}

fn is_past(published: &Published, fleet: &str, ended: Timestamp) -> bool {
    published.fleet(fleet).and_then(|fleet| fleet.last_success).is_some_and(|at| at > ended)
}
