//! Scale sets: what is known of them between two observations.
//!
//! `observe`, `write` and `terminate` are the ways in, `fence` stands before every write; `machines` lists a set's machines
//! when there is a reason to, `operations` follows what Azure still works on, `foreign` and `refresh` know who else changes
//! the set, and `native` takes Azure's own scaler's right to do so away and gives it back.

mod fence;
mod foreign;
mod machines;
mod native;
mod observe;
mod operations;
mod refresh;
mod terminate;
mod write;

use crate::Clock;
use crate::limiter::{Wait, Writes};
use crate::shape::{Facts, Machine};
use crate::wire::Wire;
use contract::{Capacity, Epoch, Foreign, LaunchFailure, Owner, ProviderError, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The scale sets of one subscription.
pub(crate) struct Sets {
    wire: Wire,
    /// The way to autoscale settings, which are another service's.
    insights: Wire,
    subscription: String,
    owner: Owner,
    now: Clock,
    memory: Mutex<Memory>,
}

/// What this process remembers; all of it can be lost without harm.
#[derive(Default)]
struct Memory {
    groups: BTreeMap<Box<str>, Group>,
    autoscale: foreign::Listing,
}

/// What this process remembers of one set.
#[derive(Default)]
struct Group {
    /// When the observation began that asked for it first.
    first_seen: Option<Timestamp>,
    known: Option<Known>,
    facts: Facts,
    failures: Vec<LaunchFailure>,
    operations: BTreeMap<Box<str>, operations::Followed>,
    refresh: refresh::Refresh,
    writes: Writes,
    /// Until then the set is known not to be there, if the list does not say otherwise.
    missing: Option<Wait>,
    /// The epoch of our own claim, when this process made one.
    claimed: Option<Epoch>,
    /// The foreign controllers that the last observation showed: a write that finds others is a conflict.
    shown_foreign: Vec<Foreign>,
    written: bool,
}

/// A set's machines as they were last listed.
#[derive(Clone, Debug)]
struct Known {
    etag: Option<Box<str>>,
    capacity: Capacity,
    machines: Vec<Machine>,
    listed: Timestamp,
    /// All machines were there, and none on its way.
    settled: bool,
}

impl Sets {
    pub fn new(wire: Wire, subscription: String, owner: Owner, now: Clock) -> Self {
        let insights = wire.beside();
        Self { wire, insights, subscription, owner, now, memory: Mutex::default() }
    }

    /// The answer to a write. A wait that was said of one set alone is told without its length: the caller would keep every
    /// other set of the subscription waiting for it. Here it is kept all the same.
    pub fn of_one_set<T>(&self, answer: Result<T, ProviderError>) -> Result<T, ProviderError> {
        match answer {
            Err(ProviderError::Throttled { .. }) if !self.wire.is_closed() => {
                Err(ProviderError::Throttled { retry_after: None })
            }
            answer => answer,
        }
    }

    /// Changes the memory; never across a call.
    fn memory<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn group<T>(&self, key: &str, change: impl FnOnce(&mut Group) -> T) -> T {
        self.memory(|memory| change(memory.groups.entry(key.into()).or_default()))
    }
}
