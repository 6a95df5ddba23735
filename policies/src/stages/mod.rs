//! One step of the trace each, in the order of the safety rules. A [`Walk`] carries the capacity from stage to stage and
//! keeps the trace law by construction.

mod brakes;
mod combine;
mod cooldown;
mod flap;
mod guard;
mod hold;
mod limits;
mod pace;
mod stabilize;

pub(crate) use brakes::brakes;
pub(crate) use combine::{combine, combined, remember};
pub(crate) use cooldown::cooldown;
pub use cooldown::remaining;
pub(crate) use flap::flap;
pub(crate) use guard::{forget, guard, states as guard_states};
pub(crate) use hold::{Placed, hold};
pub(crate) use limits::limits;
pub(crate) use pace::pace;
pub(crate) use stabilize::stabilize;

use crate::policy::Setting;
use crate::trace::{Hold, HoldReason, Limits, Stage, Step, Why};
use contract::{Capacity, Timestamp};

/// A capacity on its way through the stages.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    /// Where it began.
    pub current: Capacity,
    /// Where it is.
    pub at: Capacity,
    /// The steps so far.
    pub trace: Vec<Step>,
    /// What brought it (back) to current, if it is there.
    pub cause: Option<Hold>,
    /// What forbids to go below current from here on, whoever asks.
    pub block_in: Option<Hold>,
    /// The limits in force.
    pub limits: Limits,
    /// A person's pin: it skips guard, flap, stabilize and cooldown.
    pub pin: Option<Pin>,
    /// The decision's time.
    pub now: Timestamp,
    /// The stage that `explain` leaves out.
    without: Option<Stage>,
}

/// A pin as the stages need it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pin {
    pub n: Capacity,
    pub until: Timestamp,
    /// The pace does not apply.
    pub now: bool,
}

impl Walk {
    pub fn new(current: Capacity, limits: Limits, pin: Option<Pin>, now: Timestamp, without: Option<Stage>) -> Self {
        let trace = Vec::with_capacity(Stage::ALL.len());
        Self { current, at: current, trace, cause: None, block_in: None, limits, pin, now, without }
    }

    /// Takes one step. `hold` is named when the step brings the capacity back to current.
    pub fn step(&mut self, stage: Stage, after: Capacity, why: Why, hold: Option<Hold>) {
        let before = self.at;
        let (after, why) = if self.without == Some(stage) { (before, Why::Nothing) } else { (after, why) };
        if after != self.current {
            self.cause = None;
        } else if before != self.current || self.trace.is_empty() {
            self.cause = hold;
        }
        self.at = after;
        self.trace.push(Step { stage, before: Some(before), after: Some(after), why });
    }

    /// A step that changes nothing.
    pub fn pass(&mut self, stage: Stage) {
        self.step(stage, self.at, Why::Nothing, None);
    }

    /// Whether a stage is left out, for an explanation.
    pub fn leaves_out(&self) -> bool {
        self.without.is_some()
    }

    pub fn wants_in(&self) -> bool {
        self.at < self.current
    }

    pub fn wants_out(&self) -> bool {
        self.at > self.current
    }

    /// The capacity that a raised min enforces through cooldown and pace; current when min asks for nothing.
    pub fn floor(&self) -> Capacity {
        self.current.max(self.limits.min.min(self.at))
    }
}

/// A hold by a reason and the setting that governs it.
pub(crate) fn held(reason: HoldReason, setting: Setting) -> Option<Hold> {
    Some(Hold { reason, setting })
}
