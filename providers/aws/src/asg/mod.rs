//! Auto Scaling groups: what is known of them between two observations.
//!
//! `observe`, `write` and `terminate` are the ways in, `fence` stands before every write; `shape`, `activities`, `foreign` and `document` read answers, purely; `native` suspends the group's own scaler;
//! `lookups` asks
//! what the observation itself does not say, rarely and beside it.

pub(crate) mod activities;
mod document;
mod fence;
pub(crate) mod foreign;
pub(crate) mod lookups;
mod native;
pub(crate) mod observe;
pub(crate) mod shape;
mod terminate;
pub(crate) mod write;

use crate::Clock;
use crate::ec2::facts::Facts;
use crate::lane::Lane;
use contract::{Epoch, Foreign, LaunchFailure, Owner, OwnerTag};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What an endpoint was found to lack is asked for again after this long.
const LACKS_FOR: Duration = Duration::from_secs(3600);

/// The Auto Scaling groups of one account and region.
pub(crate) struct Asg {
    pub client: aws_sdk_autoscaling::Client,
    pub ec2: aws_sdk_ec2::Client,
    pub lane: Lane,
    pub ec2_lane: Arc<Lane>,
    pub owner: Owner,
    pub now: Clock,
    memory: Mutex<Memory>,
}

/// What this process remembers; all of it can be lost without harm.
#[derive(Default)]
pub(crate) struct Memory {
    pub groups: BTreeMap<Box<str>, Group>,
    pub account: foreign::Account,
    /// Whether this endpoint lacks DescribeInstanceRefreshes.
    pub no_refreshes: Lack,
    /// Whether this endpoint lacks batches of terminations.
    pub one_at_a_time: Lack,
}

/// What this process remembers of one group.
#[derive(Default)]
pub(crate) struct Group {
    pub facts: Facts,
    /// When the observation began that showed it first.
    pub first_seen: Option<Instant>,
    /// The foreign controllers that the last observation showed: a write that finds others is a conflict.
    pub shown_foreign: Option<Vec<Foreign>>,
    pub failures: Vec<LaunchFailure>,
    /// The zones that it may launch in, as last read.
    pub zones: Vec<Box<str>>,
    pub activities_asked: Option<Instant>,
    pub unfilled_at: Option<Instant>,
    pub refresh: Refresh,
    pub refresh_asked: Option<Instant>,
    /// The tag as last read, and the epoch of our own claim when this process made one.
    pub tag: Option<OwnerTag>,
    pub claimed: Option<Epoch>,
    pub written: bool,
}

/// Something that an endpoint was found not to know. Never for good: what looked like it may have been trouble in between,
/// and endpoints learn.
#[derive(Debug, Default)]
pub(crate) struct Lack {
    found: Option<Instant>,
}

impl Lack {
    /// It was found to be missing.
    pub fn found(&mut self, now: Instant) {
        self.found = Some(now);
    }

    /// It was answered, so it is there.
    pub fn none(&mut self) {
        self.found = None;
    }

    /// Whether it was found to be missing lately.
    pub fn holds(&self, now: Instant) -> bool {
        self.found.is_some_and(|found| now.saturating_duration_since(found) < LACKS_FOR)
    }
}

/// Whether a rolling replacement runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Refresh {
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

impl Asg {
    pub fn new(
        client: aws_sdk_autoscaling::Client,
        lane: Lane,
        (ec2, ec2_lane): (aws_sdk_ec2::Client, Arc<Lane>),
        owner: Owner,
        now: Clock,
    ) -> Self {
        Self { client, ec2, lane, ec2_lane, owner, now, memory: Mutex::default() }
    }

    /// Changes the memory; never across a call.
    pub fn memory<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn group<T>(&self, name: &str, change: impl FnOnce(&mut Group) -> T) -> T {
        self.memory(|memory| change(memory.groups.entry(name.into()).or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_endpoint_lacks_it_lacks_for_a_while() {
        let start = Instant::now();
        let mut lack = Lack::default();
        assert!(!lack.holds(start));
        lack.found(start);
        assert!(lack.holds(start) && lack.holds(start + LACKS_FOR - Duration::from_secs(1)));
        assert!(!lack.holds(start + LACKS_FOR), "not for ever");
        lack.found(start);
        lack.none();
        assert!(!lack.holds(start), "it answered");
    }
}
