//! What this process remembers between two observations; all of it can be lost without harm.

use crate::machines::{Machines, Times};
use crate::names::{GroupName, Place};
use crate::shape::{Failed, Head, Member};
use contract::{Ask, Foreign, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A list of instances that nothing has confirmed for so long is read again.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(600);

#[derive(Default)]
pub(crate) struct Memory(Mutex<All>);

#[derive(Default)]
pub(crate) struct All {
    pub groups: BTreeMap<GroupName, Group>,
    pub machines: Machines,
    /// The permissions for want of which operations are not followed, each said once.
    pub unfollowed: BTreeSet<&'static str>,
}

impl Memory {
    /// Changes the memory; never across a call.
    pub fn with<T>(&self, change: impl FnOnce(&mut All) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes what is remembered of a group.
    pub fn group<T>(&self, name: &GroupName, change: impl FnOnce(&mut Group) -> T) -> T {
        self.with(|all| change(all.groups.entry(name.clone()).or_default()))
    }
}

/// What is remembered of one group.
#[derive(Default)]
pub(crate) struct Group {
    pub known: Option<Known>,
    pub times: Times,
    /// Failed launches, with the time when each was last seen.
    pub failures: BTreeMap<Failed, Timestamp>,
    /// Operations that have ended.
    pub ended: BTreeSet<Box<str>>,
    pub autoscaler: Option<Autoscaler>,
    /// The foreign controllers that the last observation showed: a write that finds others is a conflict.
    pub shown_foreign: Option<Vec<Foreign>>,
    /// When this process last wrote to it.
    pub written: Option<Instant>,
    /// When the API last said that there is no such group.
    pub missing: Option<Instant>,
}

/// A group's instances as they were listed.
pub(crate) struct Known {
    /// The group as it was just before.
    pub head: Head,
    pub members: Vec<Member>,
    /// Why those failed that have no zone yet.
    pub undecided: Vec<Failed>,
    /// When they were asked for.
    pub asked: Instant,
    /// Until when it is certain that they are still the same.
    pub confirmed: Instant,
    /// Something hints that they are not.
    pub doubted: bool,
}

/// What is known of a group's native autoscaler.
pub(crate) struct Autoscaler {
    pub link: (Place, Box<str>),
    pub foreign: Option<Foreign>,
    /// When it was last asked for, and whether it has ever answered.
    pub asked: Instant,
    pub known: bool,
    /// How the last try to read it failed.
    pub trouble: Option<&'static str>,
}

impl Group {
    /// The instances are to be listed: the group is in flux, or nothing is known of them. A group that says that it is
    /// stable, with as many idle instances as it should hold, and that says exactly what it said when they were listed,
    /// holds the same ones: each replacement shows as an action while it goes on. What went on and ended between two looks
    /// is found by [`Machines`]' sweep, or, where that tells nothing, when the list is read again: after ten minutes and a
    /// little.
    pub fn in_flux(&self, head: &Head, ask: &Ask) -> bool {
        let Some(known) = &self.known else { return true };
        let whole = u32::try_from(known.members.len()) == Ok(head.desired) && known.members.iter().all(|m| m.settled);
        let written = self.written.is_some_and(|written| written >= known.asked);
        let open = !ask.open_actions.is_empty() || !ask.operations.is_empty();
        !head.is_calm() || !whole || written || open || known.doubted || known.head != *head
    }

    /// Since when nothing has confirmed the list, when that is too long.
    pub fn unconfirmed(&self, now: Instant) -> Option<Instant> {
        let known = self.known.as_ref()?;
        (now.saturating_duration_since(known.confirmed) >= UNCONFIRMED_MAX).then_some(known.confirmed)
    }
}
