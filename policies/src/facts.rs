//! What a cycle knows of one fleet: plain borrowed data, gathered by the shell. Absent is a type here, never a number.

use crate::policy::Policy;
use crate::trace::Stage;
use contract::{Capacity, InstanceId, Observation, Timestamp};
use std::fmt;
use std::sync::Arc;

/// Everything that one decision is made from, beside the policy and the memory.
#[derive(Clone, Debug)]
pub struct FleetFacts<'a> {
    /// The wall clock.
    pub now: Timestamp,
    /// One for each of the policy's groups, in its order.
    pub groups: Vec<GroupFact<'a>>,
    /// One for each of the policy's metrics, in its order.
    pub readings: Vec<RawReading<'a>>,
    /// A person's override in force.
    pub override_now: Option<Override>,
    /// What keeps skala as a whole from acting on this fleet.
    pub authority: Authority,
    /// Leaves one stage out, for `explain`: what would it have been without it?
    pub without: Option<Stage>,
}

impl<'a> FleetFacts<'a> {
    /// Facts of a cycle in which nothing stands in the way.
    pub fn new(now: Timestamp, groups: Vec<GroupFact<'a>>, readings: Vec<RawReading<'a>>) -> Self {
        Self { now, groups, readings, override_now: None, authority: Authority::Full, without: None }
    }
}

/// What is known of one group.
#[derive(Clone, Debug)]
pub enum GroupFact<'a> {
    /// Read in this cycle.
    Observed(&'a Observation),
    /// Not read: its capacity is unknown, never 0.
    Unknown(GroupError),
}

/// Why a group could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupError {
    /// The cloud says that it does not exist.
    NotFound,
    /// It was not among the facts.
    NotListed,
    /// No answer in time.
    Timeout,
    /// It has to be read again first: a call's outcome is unclear.
    Unclear,
    /// Any other error, by its code or text.
    Other(Arc<str>),
}

impl GroupError {
    /// Reads an error's code.
    pub fn from_code(code: &str) -> Self {
        match code {
            "not_found" => GroupError::NotFound,
            "not_listed" => GroupError::NotListed,
            "timeout" => GroupError::Timeout,
            "unclear" => GroupError::Unclear,
            other => GroupError::Other(other.into()),
        }
    }
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GroupError::NotFound => "not_found",
            GroupError::NotListed => "not_listed",
            GroupError::Timeout => "timeout",
            GroupError::Unclear => "unclear",
            GroupError::Other(text) => text,
        })
    }
}

/// A metric as its source gave it, before the core judges its age and range.
#[derive(Clone, Debug)]
pub enum RawReading<'a> {
    /// One value.
    Value {
        /// The number, in the metric's own unit.
        value: f64,
        /// The sample's own time.
        at: Timestamp,
        /// How many instances it covers, when the metric has a `members` query; a failed one is `None`.
        members: Option<f64>,
    },
    /// One value for each instance.
    PerInstance {
        /// Instance and number, in the metric's own unit.
        values: &'a [(InstanceId, f64)],
        /// The oldest sample's time.
        at: Timestamp,
    },
    /// No number.
    Missing(MissingWhy),
}

/// Why there is no number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MissingWhy {
    /// It was not among the facts.
    NotGiven,
    /// The source did not answer in time.
    Timeout,
    /// The source could not be reached.
    Unreachable,
    /// The source answered with no series.
    Empty,
    /// More than one series came back and nothing picks one.
    Ambiguous,
    /// NaN or an infinity.
    NotFinite,
    /// Below zero.
    Negative,
    /// A ratio above 1.5: the unit is wrong, or the metric is.
    RatioTooLarge,
    /// Stamped more than 5 s in the future.
    Future,
    /// The source warned that the answer may be incomplete.
    Partial,
    /// The source refused: credentials, a bad query, too many series.
    Refused,
    /// The sample's own time could not be told.
    NoTime,
    /// It has one value where the rule needs one per instance, or the other way round.
    WrongShape,
    /// Any other reason, in the source's words.
    Other(Arc<str>),
}

impl MissingWhy {
    /// One stable word, for the metric `readings_missing_total{why}`.
    pub fn code(&self) -> &'static str {
        match self {
            MissingWhy::NotGiven => "not_given",
            MissingWhy::Timeout => "timeout",
            MissingWhy::Unreachable => "unreachable",
            MissingWhy::Empty => "empty",
            MissingWhy::Ambiguous => "ambiguous",
            MissingWhy::NotFinite => "not_finite",
            MissingWhy::Negative => "negative",
            MissingWhy::RatioTooLarge => "ratio_too_large",
            MissingWhy::Future => "future",
            MissingWhy::Partial => "partial",
            MissingWhy::Refused => "refused",
            MissingWhy::NoTime => "no_time",
            MissingWhy::WrongShape => "wrong_shape",
            MissingWhy::Other(_) => "other",
        }
    }

    /// Reads a reason: a stable word, or anybody's text.
    pub fn from_text(text: &str) -> Self {
        match text {
            "not_given" => MissingWhy::NotGiven,
            "timeout" => MissingWhy::Timeout,
            "unreachable" => MissingWhy::Unreachable,
            "empty" => MissingWhy::Empty,
            "ambiguous" => MissingWhy::Ambiguous,
            "not_finite" => MissingWhy::NotFinite,
            "negative" => MissingWhy::Negative,
            "ratio_too_large" => MissingWhy::RatioTooLarge,
            "future" => MissingWhy::Future,
            "partial" => MissingWhy::Partial,
            "refused" => MissingWhy::Refused,
            "no_time" => MissingWhy::NoTime,
            "wrong_shape" => MissingWhy::WrongShape,
            other => MissingWhy::Other(other.into()),
        }
    }
}

impl fmt::Display for MissingWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MissingWhy::Other(text) => f.write_str(text),
            known => f.write_str(known.code()),
        }
    }
}

/// A person's override; it always ends by itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Override {
    /// Capacity is kept.
    Hold {
        /// Until when.
        until: Timestamp,
        /// Only scale-in is held.
        scale_in_only: bool,
        /// The person's reason.
        reason: Arc<str>,
    },
    /// Capacity is set, within limits, pace and brakes.
    Pin {
        /// To this.
        n: Capacity,
        /// Until when.
        until: Timestamp,
        /// The pace does not apply.
        now: bool,
        /// The person's reason.
        reason: Arc<str>,
    },
}

impl Override {
    /// When it ends.
    pub fn until(&self) -> Timestamp {
        match self {
            Override::Hold { until, .. } | Override::Pin { until, .. } => *until,
        }
    }

    /// The person's reason.
    pub fn reason(&self) -> &str {
        match self {
            Override::Hold { reason, .. } | Override::Pin { reason, .. } => reason,
        }
    }
}

/// What keeps skala as a whole from acting on a fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authority {
    /// Nothing.
    #[default]
    Full,
    /// The disk is full: decisions may add, never remove (safety rule 18).
    NoScaleIn,
    /// The store refuses: nothing may be done (safety rule 18).
    Store,
    /// Another daemon holds the lease or the group's owner tag (safety rule 11).
    Owner,
    /// `hold --all` (safety rule 20).
    HoldAll,
}

/// The policy's group and metric counts must match the facts; a mismatch is our bug, not the world's.
pub(crate) fn assert_shape(policy: &Policy, facts: &FleetFacts<'_>) {
    assert_eq!(policy.groups.len(), facts.groups.len(), "one fact for each group");
    assert_eq!(policy.metrics.len(), facts.readings.len(), "one reading for each metric");
}
