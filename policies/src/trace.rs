//! The explanation of a decision: typed, without text. Text is made where it is shown, by [`Decision::why`] and friends.

mod calculation;

pub use crate::inputs::{Inputs, UndefinedWhy};

use crate::facts::{GroupError, MissingWhy};
pub use crate::forecast::{Bound, Forecaster};
use crate::policy::{Policy, Setting};
pub use calculation::{Calculation, Sizing, SizingBound};
use contract::{Capacity, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// The stages, in the order in which every decision passes through all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Several recommendations become one; a pin replaces it.
    Combine,
    /// Guards veto a direction.
    Guard,
    /// What would be added back at once is not removed.
    Flap,
    /// The envelope over the windows.
    Stabilize,
    /// Min and max.
    Limits,
    /// No further action in a direction for a time after one.
    Cooldown,
    /// So much in so long.
    Pace,
    /// The budget over all fleets.
    Brakes,
    /// Everything that keeps capacity where it is.
    Hold,
    /// Asserts the bounds; never changes anything.
    Bounds,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Stage; 10] = [
        Stage::Combine,
        Stage::Guard,
        Stage::Flap,
        Stage::Stabilize,
        Stage::Limits,
        Stage::Cooldown,
        Stage::Pace,
        Stage::Brakes,
        Stage::Hold,
        Stage::Bounds,
    ];

    /// The stage's name as it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Combine => "combine",
            Stage::Guard => "guard",
            Stage::Flap => "flap",
            Stage::Stabilize => "stabilize",
            Stage::Limits => "limits",
            Stage::Cooldown => "cooldown",
            Stage::Pace => "pace",
            Stage::Brakes => "brakes",
            Stage::Hold => "hold",
            Stage::Bounds => "bounds",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why capacity is kept: the closed list of the safety rules. The same words in `explain`, metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // Each word is explained in `HoldReason::meaning`.
pub enum HoldReason {
    OnTarget,
    Stabilized,
    Cooldown,
    Pace,
    Brake,
    Blind,
    Partial,
    Guard,
    Flap,
    WindowUncovered,
    InFlight,
    GroupUnknown,
    GroupMissing,
    OutOfCapacity,
    Foreign,
    ExternalChange,
    Clock,
    Protected,
    AtMin,
    AtMax,
    Mode,
    Override,
    Owner,
    Store,
}

impl HoldReason {
    /// All reasons.
    pub const ALL: [HoldReason; 24] = [
        HoldReason::OnTarget,
        HoldReason::Stabilized,
        HoldReason::Cooldown,
        HoldReason::Pace,
        HoldReason::Brake,
        HoldReason::Blind,
        HoldReason::Partial,
        HoldReason::Guard,
        HoldReason::Flap,
        HoldReason::WindowUncovered,
        HoldReason::InFlight,
        HoldReason::GroupUnknown,
        HoldReason::GroupMissing,
        HoldReason::OutOfCapacity,
        HoldReason::Foreign,
        HoldReason::ExternalChange,
        HoldReason::Clock,
        HoldReason::Protected,
        HoldReason::AtMin,
        HoldReason::AtMax,
        HoldReason::Mode,
        HoldReason::Override,
        HoldReason::Owner,
        HoldReason::Store,
    ];

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            HoldReason::OnTarget => "on_target",
            HoldReason::Stabilized => "stabilized",
            HoldReason::Cooldown => "cooldown",
            HoldReason::Pace => "pace",
            HoldReason::Brake => "brake",
            HoldReason::Blind => "blind",
            HoldReason::Partial => "partial",
            HoldReason::Guard => "guard",
            HoldReason::Flap => "flap",
            HoldReason::WindowUncovered => "window_uncovered",
            HoldReason::InFlight => "in_flight",
            HoldReason::GroupUnknown => "group_unknown",
            HoldReason::GroupMissing => "group_missing",
            HoldReason::OutOfCapacity => "out_of_capacity",
            HoldReason::Foreign => "foreign",
            HoldReason::ExternalChange => "external_change",
            HoldReason::Clock => "clock",
            HoldReason::Protected => "protected",
            HoldReason::AtMin => "at_min",
            HoldReason::AtMax => "at_max",
            HoldReason::Mode => "mode",
            HoldReason::Override => "override",
            HoldReason::Owner => "owner",
            HoldReason::Store => "store",
        }
    }

    /// One sentence for a tired operator.
    pub fn meaning(self) -> &'static str {
        match self {
            HoldReason::OnTarget => "The rules ask for what is there.",
            HoldReason::Stabilized => "A recommendation within the window asks otherwise.",
            HoldReason::Cooldown => "Too soon after the last action.",
            HoldReason::Pace => "The rate for this direction is used up for now.",
            HoldReason::Brake => "The budget over all fleets is used up for now.",
            HoldReason::Blind => "No rule has a usable reading.",
            HoldReason::Partial => "A rule without a usable reading blocks scale-in.",
            HoldReason::Guard => "A guard blocks this direction.",
            HoldReason::Flap => "What would be removed would be added back at once.",
            HoldReason::WindowUncovered => "The scale-in window has not been observed whole yet.",
            HoldReason::InFlight => "The last write has not shown at the cloud yet.",
            HoldReason::GroupUnknown => "The group could not be read.",
            HoldReason::GroupMissing => "The cloud says that the group does not exist.",
            HoldReason::OutOfCapacity => "The cloud cannot launch what was asked for.",
            HoldReason::Foreign => "Another controller writes the same group.",
            HoldReason::ExternalChange => "Somebody else changed desired.",
            HoldReason::Clock => "The clock went backwards.",
            HoldReason::Protected => "No removable instance is left.",
            HoldReason::AtMin => "The rules ask for less than min.",
            HoldReason::AtMax => "The rules ask for more than max.",
            HoldReason::Mode => "The fleet's mode does not allow it.",
            HoldReason::Override => "A person holds or pins the fleet.",
            HoldReason::Owner => "Another daemon owns the group, or holds the lease.",
            HoldReason::Store => "The store does not take decisions.",
        }
    }
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A hold and the setting that governs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Why.
    pub reason: HoldReason,
    /// What to change if it should be otherwise.
    pub setting: Setting,
}

/// One stage's effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Which.
    pub stage: Stage,
    /// Capacity before it; `None`: unknown.
    pub before: Option<Capacity>,
    /// Capacity after it; `None`: unknown.
    pub after: Option<Capacity>,
    /// Why it changed, or what it looked at.
    pub why: Why,
}

/// Why a stage did what it did.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// Nothing to say: the stage did not apply.
    Nothing,
    /// How many recommendations there were.
    Combined {
        /// Usable values.
        values: u16,
        /// Rules that abstained.
        abstained: u16,
        /// Rules without a usable reading.
        unknown: u16,
        /// The largest was taken, else the smallest.
        largest: bool,
        /// How much of it is there to survive a loss.
        reserve: Capacity,
    },
    /// All rules are blind.
    Blind,
    /// Blind for so long that capacity is raised as a precaution.
    BlindRaise {
        /// For how long.
        blind_for: Duration,
    },
    /// No rule recommends anything; the bounds alone decide.
    BoundsOnly,
    /// A person's pin.
    Pinned {
        /// Until when.
        until: Timestamp,
    },
    /// A rule without a usable reading blocks scale-in.
    PartialBlocksIn,
    /// A guard blocks the direction.
    Guarded {
        /// Index of the rule.
        rule: u16,
        /// Its metric is unknown, which blocks too.
        unknown: bool,
        /// It was true until lately and lingers.
        lingers: bool,
    },
    /// A rule would add back what is removed.
    Flap {
        /// Index of the rule.
        rule: u16,
    },
    /// The scale-out window's smallest recommendation.
    SmallestInWindow(Duration),
    /// The scale-in window's largest recommendation.
    LargestInWindow(Duration),
    /// The scale-in window is not observed whole.
    Uncovered {
        /// Observed so far.
        observed: Duration,
        /// The window.
        window: Duration,
    },
    /// Raised to min.
    Min(LimitBy),
    /// Cut to max.
    Max(LimitBy),
    /// Max is lower than current, but scale-in is blocked.
    MaxBlocked(HoldReason),
    /// A cooldown runs.
    Cooling {
        /// How long still.
        remaining: Duration,
        /// It is the one after a scale-out.
        after_scale_out: bool,
    },
    /// The rate allows no more.
    Paced {
        /// The furthest capacity that the rates allow now.
        limit: Capacity,
    },
    /// The direction's select is off.
    DirectionOff,
    /// The budget over all fleets.
    Braked {
        /// What was left of it.
        left: Capacity,
    },
    /// What the groups can hold of it, or what one instance counts for, makes another number of it.
    Placed {
        /// What was to be laid out over the groups.
        asked: Capacity,
    },
    /// At most so many instances can be removed.
    Removable {
        /// How many.
        removable: Capacity,
    },
    /// A hold.
    Held(HoldReason),
    /// A group could not be read.
    Group(GroupError),
}

/// Who set a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitBy {
    /// The policy.
    Policy,
    /// An open schedule, by its rule's index.
    Schedule(u16),
    /// The cloud's own bounds.
    Cloud,
    /// The policy's bounds of the groups, some of them at least.
    Group,
}

/// The limits in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Smallest capacity.
    pub min: Capacity,
    /// Largest capacity.
    pub max: Capacity,
    /// Who set min.
    pub min_by: LimitBy,
    /// Who set max.
    pub max_by: LimitBy,
}

/// One rule's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommendation {
    /// Index into the policy's rules.
    pub rule: u16,
    /// What it says.
    pub answer: Answer,
}

/// What a rule says.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A capacity, and how it was found.
    Value(Capacity, Calculation),
    /// A capacity that may only push out: the reading covers too few instances to recommend less.
    OutOnly(Capacity, Calculation),
    /// Nothing to say: no step matches this value.
    Abstain(f64),
    /// No usable reading of this metric.
    Unknown(u16, UnknownWhy),
    /// The readings are there, and what is computed from them is no number.
    Undefined(UndefinedWhy),
}

/// Why a reading is not usable.
#[derive(Clone, Debug, PartialEq)]
pub enum UnknownWhy {
    /// There is none.
    Missing(MissingWhy),
    /// It is too old.
    Stale(Duration),
    /// No instance served at the reading's time, so an average says nothing of the work.
    NothingServing,
    /// There is work, and a service time of 0 says that it takes none.
    TakesNoTime,
}

impl fmt::Display for UnknownWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnknownWhy::Missing(why) => why.fmt(f),
            UnknownWhy::Stale(age) => write!(f, "stale, {} s old", age.as_secs()),
            UnknownWhy::NothingServing => f.write_str("nothing serving"),
            UnknownWhy::TakesNoTime => f.write_str("0, though there is work"),
        }
    }
}

impl Answer {
    /// The capacity, if there is one.
    pub fn value(&self) -> Option<Capacity> {
        match self {
            Answer::Value(value, _) | Answer::OutOnly(value, _) => Some(*value),
            Answer::Abstain(_) | Answer::Unknown(..) | Answer::Undefined(_) => None,
        }
    }

    /// Whether the answer blocks scale-in for want of a usable reading.
    pub fn blocks_scale_in(&self) -> bool {
        matches!(self, Answer::Unknown(..) | Answer::Undefined(_) | Answer::OutOnly(..))
    }
}

/// Text of the typed reasons; needs the policy for the names behind the indices.
pub struct Text<'a>(pub(crate) Kind<'a>, pub(crate) &'a Policy);

pub(crate) enum Kind<'a> {
    Why(&'a Why),
    Answer(&'a Answer),
}

impl Why {
    /// The reason as text.
    pub fn text<'a>(&'a self, policy: &'a Policy) -> Text<'a> {
        Text(Kind::Why(self), policy)
    }
}

impl Answer {
    /// How the answer was found, as text.
    pub fn text<'a>(&'a self, policy: &'a Policy) -> Text<'a> {
        Text(Kind::Answer(self), policy)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Why(why) => crate::text::why(f, why, self.1),
            Kind::Answer(answer) => crate::text::answer(f, answer, self.1),
        }
    }
}
