//! Scaling groups: what is known of them between two observations.
//!
//! `observe`, `write` and `terminate` are the ways in, `fence` stands before every write; `shape`, `activities` and
//! `foreign` read answers, purely; `listing` asks for groups and `instances` for what is in those that changed; `lookups`
//! asks what neither says, rarely and beside the observation.

mod activities;
mod fence;
mod foreign;
mod instances;
mod listing;
mod lookups;
mod observe;
mod shape;
mod terminate;
mod write;

use crate::Clock;
use crate::wire::Wire;
use contract::{Epoch, Foreign, LaunchFailure, Owner, OwnerTag};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The scaling groups of one account and region.
pub(crate) struct Ess {
    wire: Wire,
    region: Box<str>,
    owner: Owner,
    now: Clock,
    memory: Mutex<Memory>,
}

/// What this process remembers; all of it can be lost without harm.
#[derive(Default)]
struct Memory {
    /// By the groups' ids.
    groups: BTreeMap<Box<str>, Group>,
    account: foreign::Account,
    /// How many groups the region has, from the last answer that told.
    groups_of_region: Option<usize>,
    /// This endpoint does not list the instances of all groups at once.
    one_group_at_a_time: bool,
    /// This endpoint does not know DescribeInstanceRefreshes; when that was last found.
    no_refreshes: Option<Instant>,
}

/// An endpoint that does not know refreshes is asked again after this long.
const NO_REFRESHES_FOR: Duration = Duration::from_secs(3600);

impl Memory {
    /// Whether it was found lately that nobody can ask for refreshes here.
    fn has_no_refreshes(&self, now: Instant) -> bool {
        self.no_refreshes.is_some_and(|at| now.saturating_duration_since(at) < NO_REFRESHES_FOR)
    }
}

/// What this process remembers of one group.
#[derive(Default)]
struct Group {
    listed: Option<Arc<instances::Listed>>,
    facts: shape::Facts,
    /// When the observation began that showed it first.
    first_seen: Option<Instant>,
    /// The foreign controllers that the last observation showed: a write that finds others is a conflict.
    shown_foreign: Option<Vec<Foreign>>,
    failures: Vec<LaunchFailure>,
    activities_asked: Option<Instant>,
    unfilled_at: Option<Instant>,
    refresh: Refresh,
    refresh_asked: Option<Instant>,
    /// The tag as last read, and the epoch of our own claim when this process made one.
    tag: Option<OwnerTag>,
    claimed: Option<Epoch>,
    written: bool,
}

/// Whether a rolling replacement runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Refresh {
    /// Not asked: nothing of the group hints at one. A termination asks before it writes.
    #[default]
    NotAsked,
    /// None runs.
    Idle,
    /// One runs, in the state named.
    Running(Box<str>),
    /// It was asked and not answered: as long as nobody knows, instances are left alone.
    Unknown(Box<str>),
}

impl Ess {
    pub fn new(wire: Wire, region: Box<str>, owner: Owner, now: Clock) -> Self {
        Self { wire, region, owner, now, memory: Mutex::default() }
    }

    /// Changes the memory; never across a call.
    fn memory<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn group<T>(&self, id: &str, change: impl FnOnce(&mut Group) -> T) -> T {
        self.memory(|memory| change(memory.groups.entry(id.into()).or_default()))
    }

    fn parameters(&self) -> crate::api::Parameters {
        crate::api::Parameters::new(&self.region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_there_are_no_refreshes_is_believed_for_an_hour() {
        let found = Instant::now();
        let memory = Memory { no_refreshes: Some(found), ..Memory::default() };
        assert!(memory.has_no_refreshes(found + NO_REFRESHES_FOR / 2));
        assert!(!memory.has_no_refreshes(found + NO_REFRESHES_FOR));
        assert!(!Memory::default().has_no_refreshes(found));
    }
}
