//! `pace`: so much in so long, by the HPA's rate policies (hpa.md 1.5). Changes by anybody count.

use super::{Walk, held};
use crate::memory::FleetMemory;
use crate::policy::{Amount, Direction, Policy, Rate, Select, Setting};
use crate::trace::{HoldReason, Stage, Why};
use contract::{CAPACITY_MAX, Capacity, Timestamp};

/// Takes the step.
pub(crate) fn pace(walk: &mut Walk, policy: &Policy, memory: &FleetMemory) {
    let exempt = walk.pin.is_some_and(|pin| pin.now);
    if walk.wants_out() && !exempt {
        let direction = &policy.scale_out;
        if direction.select == Select::Off {
            let hold = held(HoldReason::Pace, Setting::OutSelect);
            walk.step(Stage::Pace, walk.floor(), Why::DirectionOff, hold);
            return;
        }
        let limit = extreme(direction, |rate| out_limit(walk.current, memory, rate, walk.now), Capacity::max);
        let limit = limit.map_or(CAPACITY_MAX, |limit| limit.max(walk.current));
        if walk.at > limit.max(walk.floor()) {
            let hold = held(HoldReason::Pace, Setting::OutRate);
            walk.step(Stage::Pace, limit.max(walk.floor()), Why::Paced { limit }, hold);
            return;
        }
    } else if walk.wants_in() && !exempt {
        let direction = &policy.scale_in;
        if direction.select == Select::Off {
            walk.step(Stage::Pace, walk.current, Why::DirectionOff, held(HoldReason::Pace, Setting::InSelect));
            return;
        }
        let limit = extreme(direction, |rate| in_limit(walk.current, memory, rate, walk.now), Capacity::min);
        let limit = limit.map_or(0, |limit| limit.min(walk.current));
        if walk.at < limit {
            walk.step(Stage::Pace, limit, Why::Paced { limit }, held(HoldReason::Pace, Setting::InRate));
            return;
        }
    }
    walk.pass(Stage::Pace);
}

/// The limit that counts of several: the most generous one, or the strictest.
fn extreme(
    direction: &Direction,
    limit: impl Fn(&Rate) -> Capacity,
    generous: fn(Capacity, Capacity) -> Capacity,
) -> Option<Capacity> {
    let limits = direction.rate.iter().map(limit);
    match direction.select {
        Select::Max => limits.reduce(generous),
        _ => limits.reduce(|a, b| if generous(a, b) == a { b } else { a }),
    }
}

/// Capacity at the period's start: what was added since is taken off, what was removed is put back.
fn start(current: Capacity, memory: &FleetMemory, rate: &Rate, now: Timestamp) -> i64 {
    let since = now.before(rate.per);
    let change: i64 = memory.changes.0.iter().filter(|entry| entry.0 > since).map(|entry| i64::from(entry.1)).sum();
    i64::from(current) - change
}

fn out_limit(current: Capacity, memory: &FleetMemory, rate: &Rate, now: Timestamp) -> Capacity {
    let start = start(current, memory, rate, now).max(0) as f64;
    let limit = match rate.amount {
        Amount::Instances(n) => start + f64::from(n),
        // At least one: a share of nothing would keep an empty fleet empty.
        Amount::Percent(percent) => (start * (100.0 + percent) / 100.0 - 1e-9).ceil().max(start + 1.0),
    };
    limit.min(f64::from(CAPACITY_MAX)) as Capacity
}

fn in_limit(current: Capacity, memory: &FleetMemory, rate: &Rate, now: Timestamp) -> Capacity {
    let start = start(current, memory, rate, now).max(0) as f64;
    let limit = match rate.amount {
        Amount::Instances(n) => start - f64::from(n),
        Amount::Percent(percent) => (start * (100.0 - percent) / 100.0 + 1e-9).floor(),
    };
    limit.clamp(0.0, f64::from(CAPACITY_MAX)) as Capacity
}
