//! Fleet desired to group desired, and the choice of victims. Steps of its own after the fleet's trace.
//!
//! A fleet of one group has no choice: all of a change is that group's. A fleet of several is laid out in an order of
//! preference (`fill`), by what is known of each place (`offering`), and moved there without removing what serves before
//! its replacement does (`several`).

pub(crate) mod drain;
mod fill;
pub(crate) mod offering;
mod several;
mod single;
mod spread;
mod stand;
pub(crate) mod victims;

pub use drain::{DrainStage, Draining, Drains};
pub use offering::Offering;
pub(crate) use offering::Sight;
pub(crate) use several::{Asked, lay_out};
pub(crate) use single::{place, unfilled};
pub(crate) use spread::reserve;
pub(crate) use stand::{Closed, Stand};
pub use victims::VictimWhy;

use crate::plan::GroupPlan;
use crate::policy::Policy;
use crate::trace::HoldReason;
use contract::Capacity;

/// One step of a group's part of a plan, in instances.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaceStep {
    /// Desired before it.
    pub before: Capacity,
    /// Desired after it.
    pub after: Capacity,
    /// Why.
    pub why: PlaceWhy,
}

/// Why a group of several got what it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceWhy {
    /// It is preferred to all that have room.
    Preferred,
    /// Those that are preferred have no room.
    NextWithRoom,
    /// It takes what was asked of groups that cannot launch it.
    TakesOver,
    /// What it cannot launch is asked for elsewhere.
    GivesUp,
    /// It cannot launch; this much is asked to see whether it can again.
    Probe,
    /// What drains there is wanted again.
    TakenBack,
    /// It can launch again, and is preferred to where its capacity is: that leaves when this serves.
    Returns,
    /// Others hold more than their own bounds or their share allow: that leaves when this serves.
    Spreads,
    /// What was asked for and has not come is no longer needed.
    Withdrawn,
    /// It is the least preferred that has more than it would be given.
    LeastPreferred,
    /// It is below its own bounds, or above.
    Bounds,
    /// No more of it serves than is needed until what boots serves.
    KeptServing,
    /// It is left alone.
    Closed(HoldReason),
    /// It could not launch lately, so nothing is asked of it and what could not be had again is not taken from it.
    CannotLaunch,
    /// The same, because so many raises in a row had no effect.
    NoEffect(u8),
    /// It holds more than the shares allow, for want of another place.
    AboveShare {
        /// The fleet is to survive the loss of its largest place, and may not.
        survives: bool,
    },
}

/// The plans of a fleet of which no group could be read: nothing.
pub(crate) fn unknown(policy: &Policy) -> Vec<GroupPlan> {
    (0..policy.groups.len()).map(|at| GroupPlan::nothing(u16::try_from(at).unwrap_or(u16::MAX))).collect()
}
