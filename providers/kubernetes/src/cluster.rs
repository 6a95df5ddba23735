//! One cluster: the way to it, and what is known of it between two observations. All of it can be lost without harm.

use crate::call::{Deadlines, Lane};
use crate::kinds::Kinds;
use crate::login::Login;
use crate::names::Name;
use crate::pods::Zones;
use crate::refusals::Refusals;
use crate::scalers::Scalers;
use crate::{Clock, Parts};
use contract::{Epoch, Foreign, Owner, OwnerTag};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

pub(crate) struct Cluster {
    pub lane: Lane,
    pub deadlines: Deadlines,
    pub owner: Owner,
    pub now: Clock,
    pub node_wait: Duration,
    memory: Mutex<Memory>,
}

#[derive(Default)]
pub(crate) struct Memory {
    pub groups: BTreeMap<Name, Group>,
    pub scalers: Scalers,
    pub refusals: Refusals,
    pub kinds: Kinds,
    pub zones: Zones,
    /// When nodes were last asked for, and whether a pod's node was not among them.
    pub zones_asked: Option<Instant>,
    pub zones_wanted: bool,
    /// When a list of the whole cluster failed or was too long, by operation.
    pub narrow: BTreeMap<&'static str, Instant>,
}

#[derive(Default)]
pub(crate) struct Group {
    /// When the observation began that showed it first.
    pub first_seen: Option<Instant>,
    /// The foreign controllers that the last observation showed: a write that finds others is a conflict.
    pub shown_foreign: Option<Vec<Foreign>>,
    /// It has an autoscaler, resting or not.
    pub beside: bool,
    /// The claim as last read with the object's version then, and the epoch of our own when this process made one.
    pub tag: Option<(OwnerTag, Box<str>)>,
    pub claimed: Option<Epoch>,
    pub written: bool,
}

impl Cluster {
    pub fn new(parts: &Parts) -> Self {
        // An attempt to log in may take what a write may.
        let login = Login::new(parts.config.clone(), parts.clock.clone(), parts.deadlines.write);
        Self {
            lane: Lane::new(login, parts.on_call.clone(), parts.clock.clone()),
            deadlines: parts.deadlines,
            owner: parts.owner.clone(),
            now: parts.clock.clone(),
            node_wait: parts.node_wait,
            memory: Mutex::default(),
        }
    }

    /// Changes the memory; never across a call.
    pub fn memory<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn group<T>(&self, name: &Name, change: impl FnOnce(&mut Group) -> T) -> T {
        self.memory(|memory| change(memory.groups.entry(name.clone()).or_default()))
    }
}
