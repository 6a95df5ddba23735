//! The JSON lines of `skala decide`, which are also how the journal keeps facts and decisions.

use crate::facts::FleetFacts;
use crate::memory::Event;
use crate::plan::{Budget, FleetPlan};
use crate::policy::{Policy, PolicySet};
use contract::{InstanceId, Observation, Timestamp};

/// What is wrong with a line.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{0}")]
pub struct LineError(pub String);

/// One input line, read.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// One cycle of one fleet.
    Cycle(Box<Cycle>),
    /// History for forecasters.
    History {
        /// The fleet.
        fleet: Box<str>,
    },
}

/// One cycle of one fleet: [`FleetFacts`] that own their data, with what happened before and the budget.
#[derive(Clone, Debug, PartialEq)]
pub struct Cycle {
    /// The fleet's id.
    pub fleet: Box<str>,
    /// The wall clock.
    pub now: Timestamp,
    pub(crate) groups: Vec<(Box<str>, Box<str>, Result<Observation, Box<str>>)>,
    pub(crate) readings: Vec<(Box<str>, Vec<(InstanceId, f64)>)>,
    /// What is left of the brakes.
    pub budget: Budget,
}

impl Cycle {
    /// The facts in the policy's order.
    ///
    /// # Errors
    /// When the line names a group that the policy does not have.
    pub fn facts<'a>(&'a self, _policy: &Policy) -> Result<FleetFacts<'a>, LineError> {
        Err(LineError(String::new()))
    }

    /// What happened since the last line.
    ///
    /// # Errors
    /// When the line names a group that the policy does not have, or an unknown result.
    pub fn events(&self, _policy: &Policy) -> Result<Vec<Event>, LineError> {
        Ok(Vec::new())
    }
}

/// Reads one line.
///
/// # Errors
/// When it is not JSON, or not of this form; the text says where and what would be right.
pub fn parse_line(_text: &str) -> Result<Line, LineError> {
    Err(LineError(String::new()))
}

/// Writes facts as an input line (without a line feed), so that `explain` can replay them.
pub fn facts_json(_policy: &Policy, _facts: &FleetFacts<'_>, _events: &[Event], _budget: Budget) -> String {
    String::new()
}

/// Writes a plan as an output line (without a line feed).
pub fn plan_json(_set: &PolicySet, _plan: &FleetPlan) -> String {
    String::new()
}

/// The pure core as a filter over lines: `decide`, `test` and (later) `backtest` are this.
#[derive(Debug)]
pub struct Decider {
    set: PolicySet,
}

impl Decider {
    /// A decider with empty memory.
    pub fn new(set: PolicySet) -> Self {
        Self { set }
    }

    /// Takes one input line, gives one output line (without a line feed), or `None` for a history line.
    pub fn line(&mut self, _text: &str) -> Option<String> {
        let _ = &self.set;
        None
    }

    /// The memory of all fleets as text, for `decide --memory FILE`.
    pub fn save(&self) -> String {
        String::new()
    }

    /// Reads what [`Decider::save`] wrote.
    ///
    /// # Errors
    /// When the text is not a memory, or from a newer skala.
    pub fn load(&mut self, _text: &str) -> Result<(), LineError> {
        Ok(())
    }
}
