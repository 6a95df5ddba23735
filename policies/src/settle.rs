//! From proposals to plans: brakes, holds, bounds and placement.

use crate::plan::{Budget, Effect, FleetPlan, Plan};
use crate::propose::Proposal;

/// Settles a batch of proposals against what is left of the brakes.
pub fn settle(proposals: Vec<Proposal>, budget: Budget) -> Plan {
    let fleets = proposals
        .into_iter()
        .map(|p| FleetPlan {
            policy: p.policy,
            decision: p.decision,
            effect: Effect::Observe(Vec::new()),
            memory: p.memory,
        })
        .collect();
    Plan { fleets, budget }
}
