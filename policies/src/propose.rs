//! From facts to a proposal: rules, then the stages from combine to pace.

use crate::facts::FleetFacts;
use crate::memory::FleetMemory;
use crate::plan::Decision;
use crate::policy::Policy;
use std::sync::Arc;

/// A decision before the brakes.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub(crate) policy: Arc<Policy>,
    pub(crate) decision: Decision,
    pub(crate) memory: FleetMemory,
}

/// Proposes a capacity for one fleet.
///
/// # Panics
/// When the facts do not have one entry for each group and metric of the policy: our bug, caught by the shell.
pub fn propose(policy: &Arc<Policy>, facts: &FleetFacts<'_>, memory: &FleetMemory) -> Proposal {
    crate::facts::assert_shape(policy, facts);
    let limits = crate::trace::Limits {
        min: policy.min,
        max: policy.max,
        min_by: crate::trace::LimitBy::Policy,
        max_by: crate::trace::LimitBy::Policy,
    };
    let decision = Decision {
        now: facts.now,
        current: None,
        serving: None,
        desired: None,
        recommendations: Vec::new(),
        limits,
        trace: Vec::new(),
        hold: None,
    };
    Proposal { policy: Arc::clone(policy), decision, memory: memory.clone() }
}
