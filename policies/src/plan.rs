//! What a cycle decides: proposals before the brakes, plans after them.

use crate::memory::FleetMemory;
use crate::placement::{PlaceStep, VictimWhy};
use crate::policy::Policy;
use crate::trace::{Hold, Limits, Recommendation, Step};
use contract::{Capacity, InstanceId, Timestamp, Version};
use std::sync::Arc;

/// One fleet's decision with its whole explanation.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// When.
    pub now: Timestamp,
    /// What the clouds are asked to hold now; `None`: a group could not be read.
    pub current: Option<Capacity>,
    /// Instances running for at least the warm-up; `None`: a group could not be read.
    pub serving: Option<Capacity>,
    /// This decision; `None` exactly when current is.
    pub desired: Option<Capacity>,
    /// The rules' answers side by side.
    pub recommendations: Vec<Recommendation>,
    /// The limits in force.
    pub limits: Limits,
    /// The stages, all of them, in order.
    pub trace: Vec<Step>,
    /// Why capacity is kept; present exactly when desired equals current.
    pub hold: Option<Hold>,
}

impl Decision {
    /// More, fewer, or the same?
    pub fn direction(&self) -> Direction {
        match (self.current, self.desired) {
            (Some(current), Some(desired)) if desired > current => Direction::Out,
            (Some(current), Some(desired)) if desired < current => Direction::In,
            _ => Direction::None,
        }
    }

    /// The trace law: it begins at current, every step begins where the last ended, and it ends at desired.
    ///
    /// # Panics
    /// When the law is broken, which is our bug; checked in release too.
    pub fn assert_trace_law(&self) {
        assert_eq!(self.trace.len(), crate::trace::Stage::ALL.len(), "every stage is in the trace");
        let mut at = self.current;
        for (step, stage) in self.trace.iter().zip(crate::trace::Stage::ALL) {
            assert_eq!(step.stage, stage, "stages are in order");
            assert_eq!(step.before, at, "{stage} begins where the last stage ended");
            at = step.after;
        }
        assert_eq!(at, self.desired, "the trace ends at desired");
        assert_eq!(self.hold.is_some(), self.desired == self.current, "a hold is exactly desired == current");
    }
}

/// A decision's direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Scale-out.
    Out,
    /// Scale-in.
    In,
    /// Hold.
    None,
}

impl Direction {
    /// The word used in metrics and logs.
    pub fn word(self) -> &'static str {
        match self {
            Direction::Out => "out",
            Direction::In => "in",
            Direction::None => "none",
        }
    }
}

/// What is left of the brakes over all fleets, in instances. `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Instances that may still be removed.
    pub scale_in: Option<Capacity>,
    /// Instances that may still be added.
    pub scale_out: Option<Capacity>,
}

/// All fleets' plans of one batch.
#[derive(Clone, Debug)]
pub struct Plan {
    /// One for each proposal, in the proposals' order.
    pub fleets: Vec<FleetPlan>,
    /// What is left of the budget afterwards.
    pub budget: Budget,
}

/// One fleet's plan.
#[derive(Clone, Debug)]
pub struct FleetPlan {
    /// The policy it was made under.
    pub policy: Arc<Policy>,
    /// The decision.
    pub decision: Decision,
    /// What happens to the groups.
    pub effect: Effect,
    /// What is carried to the next cycle.
    pub memory: FleetMemory,
}

impl FleetPlan {
    /// How much of the fleet's current capacity is on its way out: calls of this decision, and of earlier ones that have
    /// not shown yet. In the fleet's numbers.
    pub fn leaving(&self) -> Capacity {
        let of_group = |group: &GroupPlan| {
            let at = usize::from(group.group);
            let flight = self.memory.groups.get(at)?.in_flight.as_ref()?;
            let before = if flight.at == self.decision.now { flight.from } else { group.desired? };
            Some(before.saturating_sub(flight.to).saturating_mul(self.policy.groups.get(at)?.weight))
        };
        self.effect.groups().iter().filter_map(of_group).sum()
    }
}

/// Whether a plan may be carried out. `act` takes [`GroupPlan`]s out of `Act` only.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Record it and carry it out.
    Act(Vec<GroupPlan>),
    /// `mode = "observe"`, or no authority: record what would have been done.
    Observe(Vec<GroupPlan>),
}

impl Effect {
    /// The groups' plans, whatever may be done with them.
    pub fn groups(&self) -> &[GroupPlan] {
        match self {
            Effect::Act(groups) | Effect::Observe(groups) => groups,
        }
    }
}

/// One group's part of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupPlan {
    /// Index into the policy's groups.
    pub group: u16,
    /// Its desired after all actions; `None`: unknown.
    pub desired: Option<Capacity>,
    /// What to do, in order; empty: nothing.
    pub actions: Vec<Action>,
    /// Instances that the actions start beside the change of desired, in place of lost ones: brakes count them too.
    pub repairs: Capacity,
    /// Its part of the fleet's change, in the fleet's numbers.
    pub change: i64,
    /// What it is given beside its part of the fleet's change, in the fleet's numbers: what others cannot launch, a probe,
    /// or capacity that returns. Brakes count it too.
    pub moved: Capacity,
    /// A probe of whether it can launch again: up to so many instances.
    pub probe: Option<Capacity>,
    /// How its desired came about, where the fleet has several groups: from what it holds to [`GroupPlan::desired`].
    pub steps: Vec<PlaceStep>,
    /// Why each of the instances to be terminated was chosen, in their order.
    pub victims: Vec<VictimWhy>,
    /// Instances that begin to drain, and why each was chosen: they are terminated by a later plan.
    pub drain: Vec<(InstanceId, VictimWhy)>,
    /// Instances that drained and are wanted again.
    pub take_back: Vec<InstanceId>,
    /// Of the instances to be terminated, so many left the group's desired when they began to drain.
    pub drained: Capacity,
    /// Instances that drain: the cloud holds so many beside [`GroupPlan::desired`] afterwards.
    pub held: Capacity,
    /// The state that the plan was made from: the fence.
    pub seen: Option<Version>,
}

impl GroupPlan {
    /// How much one of its actions starts or removes, as the brakes count it (safety rule 15): in the fleet's numbers.
    /// `before`: what the group held before that action.
    pub fn counted(&self, before: Capacity, action: &Action, weight: u32) -> i32 {
        let units = |after: Capacity| (i64::from(after) - i64::from(before)) * i64::from(weight);
        let difference = match action {
            // What it starts in place of lost instances is not in the difference of what was asked for.
            Action::Raise { to } => {
                units(self.desired.map_or(*to, |desired| desired + self.held)) + i64::from(self.repairs)
            }
            // What only moves elsewhere removes nothing.
            Action::CancelUnfilled { to } => units(*to).max(self.change.min(0)),
            Action::Terminate { to, .. } => units(*to) + i64::from(self.drained) * i64::from(weight),
            other => units(other.to()),
        };
        i32::try_from(difference).unwrap_or(if difference < 0 { i32::MIN } else { i32::MAX })
    }

    /// Nothing is done, and nothing known.
    pub(crate) fn nothing(group: u16) -> Self {
        Self {
            group,
            desired: None,
            actions: Vec::new(),
            repairs: 0,
            change: 0,
            moved: 0,
            probe: None,
            steps: Vec::new(),
            victims: Vec::new(),
            drain: Vec::new(),
            take_back: Vec::new(),
            drained: 0,
            held: 0,
            seen: None,
        }
    }

    /// Whether there is anything to carry out.
    pub fn acts(&self) -> bool {
        !self.actions.is_empty() || !self.drain.is_empty() || !self.take_back.is_empty()
    }

    /// The instances named for termination.
    pub fn terminate(&self) -> &[InstanceId] {
        self.actions
            .iter()
            .find_map(|action| match action {
                Action::Terminate { instances, .. } => Some(instances.as_slice()),
                _ => None,
            })
            .unwrap_or(&[])
    }
}

/// One call to a provider.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Raise desired.
    Raise {
        /// To this.
        to: Capacity,
    },
    /// Withdraw what was asked for and has not started.
    CancelUnfilled {
        /// Lower desired to this.
        to: Capacity,
    },
    /// Remove these instances and lower desired by as many.
    Terminate {
        /// Which.
        instances: Vec<InstanceId>,
        /// Desired afterwards.
        to: Capacity,
    },
    /// Let these instances let go of their work: nothing is asked of a cloud yet.
    Drain {
        /// Which.
        instances: Vec<InstanceId>,
        /// Desired, which stays.
        to: Capacity,
    },
    /// Lower desired; the cloud picks the victims.
    Lower {
        /// To this.
        to: Capacity,
    },
}

impl Action {
    /// The action's word in metrics, journals and logs.
    pub fn word(&self) -> &'static str {
        match self {
            Action::Raise { .. } => "raise",
            Action::CancelUnfilled { .. } => "cancel_unfilled",
            Action::Terminate { .. } => "terminate",
            Action::Drain { .. } => "drain",
            Action::Lower { .. } => "lower",
        }
    }

    /// Desired after it.
    pub fn to(&self) -> Capacity {
        match self {
            Action::Raise { to }
            | Action::CancelUnfilled { to }
            | Action::Terminate { to, .. }
            | Action::Drain { to, .. }
            | Action::Lower { to } => *to,
        }
    }

    pub(crate) fn to_mut(&mut self) -> &mut Capacity {
        match self {
            Action::Raise { to }
            | Action::CancelUnfilled { to }
            | Action::Terminate { to, .. }
            | Action::Drain { to, .. }
            | Action::Lower { to } => to,
        }
    }
}
