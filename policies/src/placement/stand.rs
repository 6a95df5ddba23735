//! How one group of several stands: what the planner needs of it, in instances.

use super::offering::Offering;
use super::single::unfilled;
use crate::policy::Group;
use crate::trace::HoldReason;
use contract::{Capacity, InstanceState, Observation};
use std::collections::BTreeMap;

/// Nothing is asked of the group and nothing taken from it, for this reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed(pub HoldReason);

/// One group.
#[derive(Clone, Debug)]
pub(crate) struct Stand {
    /// What it is asked to hold, or was just asked to; of one that could not be read, what it last held.
    pub base: Capacity,
    /// Serving ones; of a group that could not be read, those that did.
    pub serving: Capacity,
    /// Asked for and without an instance.
    pub unfilled: Capacity,
    /// Instances that may be removed.
    pub removable: Capacity,
    /// Of them, those that do not run.
    pub idle: Capacity,
    /// Nothing of it is removed: it could not be had again.
    pub stays: bool,
    /// Raises in a row that had no effect.
    pub fruitless: u8,
    /// Instances that drain and can be taken back; they are not in `base`.
    pub asked_back: Capacity,
    /// Its bounds by policy and cloud.
    pub low: Capacity,
    pub high: Capacity,
    /// A write has not shown yet.
    pub in_flight: bool,
    pub closed: Option<Closed>,
    /// Instances by zone, of those whose zone is known.
    pub zones: BTreeMap<Box<str>, Capacity>,
    pub offering: Offering,
}

impl Stand {
    /// One that could not be read.
    pub fn closed(own: &Group, alive: Capacity, serving: Capacity, why: Closed) -> Self {
        Self {
            base: alive,
            serving,
            unfilled: 0,
            removable: 0,
            stays: false,
            fruitless: 0,
            asked_back: 0,
            idle: 0,
            low: own.min.unwrap_or(0),
            high: own.max.unwrap_or(Capacity::MAX),
            in_flight: false,
            closed: Some(why),
            zones: own.zone.iter().map(|zone| (zone.clone(), alive)).collect(),
            offering: Offering::default(),
        }
    }

    /// One that was read; what stands in its way and what may be removed is for the caller to say.
    pub fn seen(own: &Group, o: &Observation, base: Capacity, offering: Offering) -> Self {
        let mut zones = BTreeMap::new();
        for instance in o.alive() {
            if let Some(zone) = own.zone.as_ref().or(instance.zone.as_ref()) {
                *zones.entry(zone.clone()).or_default() += 1;
            }
        }
        let in_state = |state: InstanceState| o.instances.iter().filter(move |instance| instance.state == state);
        let idle = in_state(InstanceState::Failed).chain(in_state(InstanceState::Pending));
        let bound = |own: Option<Capacity>, cloud: Option<Capacity>, pick: fn(Capacity, Capacity) -> Capacity| {
            own.into_iter().chain(cloud).reduce(pick)
        };
        let high = bound(own.max, o.cloud_max, Capacity::min).unwrap_or(Capacity::MAX);
        Self {
            base,
            serving: offering.serving,
            unfilled: unfilled(o, base),
            removable: 0,
            stays: false,
            fruitless: 0,
            asked_back: 0,
            idle: count(idle.filter(|instance| !instance.protected).count()),
            low: bound(own.min, o.cloud_min, Capacity::max).unwrap_or(0).min(high),
            high,
            in_flight: false,
            closed: None,
            zones,
            offering,
        }
    }
}

fn count(n: usize) -> Capacity {
    Capacity::try_from(n).unwrap_or(Capacity::MAX)
}
