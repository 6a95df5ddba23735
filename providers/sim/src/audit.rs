//! What was done to the simulated cloud, for tests to read: every write that took effect, and how often each operation
//! was called. It decides nothing.

use contract::{ActionId, Capacity, GroupId, InstanceId, Timestamp};
use std::collections::VecDeque;
use std::fmt;

/// One write that took effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// Who: a daemon's id, or `person`.
    pub by: Box<str>,
    /// On which group.
    pub group: GroupId,
    /// What: `raise`, `cancel`, `terminate`, `lower`, `set_desired`, `create`, `delete` ...
    pub what: &'static str,
    /// Which recorded action, for a daemon's write.
    pub action: Option<ActionId>,
    /// Desired before; the instances there were, where the cloud keeps no desired.
    pub before: Capacity,
    /// The same afterwards.
    pub after: Capacity,
    /// The instances that were started or removed in the same call.
    pub instances: Vec<InstanceId>,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, by, group, what, action, before, after, instances } = self;
        write!(f, "{at} {by} {what} {group} {before} -> {after}")?;
        if let Some(action) = action {
            write!(f, " action {action}")?;
        }
        for id in instances {
            write!(f, " {id}")?;
        }
        Ok(())
    }
}

/// The newest entries; a demo that runs for weeks must not fill the memory.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    entries: VecDeque<Entry>,
    changes: u64,
}

const ENTRIES_MAX: usize = 100_000;

impl Audit {
    pub fn push(&mut self, entry: Entry) {
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.changes += u64::from(entry.action.is_some());
        self.entries.push_back(entry);
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.entries.iter().cloned().collect()
    }

    /// Daemons' writes that took effect, also those that are no longer kept.
    pub fn changes(&self) -> u64 {
        self.changes
    }
}

/// How often each operation was called, whatever came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Pages of observations.
    pub observe: u64,
    /// Scale-outs.
    pub raise: u64,
    /// Withdrawals.
    pub cancel: u64,
    /// Removals by name.
    pub terminate: u64,
    /// Lowerings.
    pub lower: u64,
    /// Calls of any kind that were throttled.
    pub throttled: u64,
}

impl Calls {
    /// All writes.
    pub fn writes(&self) -> u64 {
        self.raise + self.cancel + self.terminate + self.lower
    }
}
