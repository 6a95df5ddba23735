//! `objective`: forecast the fleet's work as far ahead as a decision takes to have effect, and add the head-room that
//! keeps utilization under the limit for the wanted share of minutes. No count enters it, so instances that still boot
//! are not asked for twice.
//!
//! With `capacity = "learn"` the work of one instance is learned from how busy the instances are (`service`). Until it
//! is trusted, the rule asks for what brings utilization to the limit, and never for less than current; so it does when
//! utilization is unknown. Before the first reading of utilization it is unknown itself.

use super::busy::{Busy, busy};
use super::per_instance::covers_enough;
use super::reading::{FUTURE_MAX, Usable, in_range, judge};
use super::{Context, calendar, whole};
use crate::facts::{FleetFacts, MissingWhy};
use crate::forecast::{Ceiling, Grid, Learned, Loaded, Occasion, Outlook, Terms};
use crate::memory::FleetMemory;
use crate::observe::View;
use crate::policy::{InstanceCapacity, Objective, Policy, RuleKind};
use crate::service::Service;
use crate::trace::{Answer, Bound, Calculation, Forecaster, Sizing, UnknownWhy};
use contract::{CAPACITY_MAX, Capacity, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// A total of this much of what the serving instances can do may be all that they can do (decisions.md section 3, 1).
const CENSORED: f64 = 0.95;
/// What a censored total is multiplied with.
const CENSORED_FACTOR: f64 = 2.0;
/// Readings of work and utilization that are farther apart are of different minutes.
const APART_MAX: Duration = Duration::from_secs(60);
/// More instances than this share of those that serve start, or started within a minute: what is measured is a mixture.
const STARTING_MAX: f64 = 0.2;

fn objectives(policy: &Policy) -> impl Iterator<Item = (&str, &Objective)> {
    policy.rules.iter().filter_map(|rule| match &rule.kind {
        RuleKind::Objective(objective) => Some((rule.name.as_ref(), objective)),
        _ => None,
    })
}

/// What the rule asks for at a time, and the steps that its forecasts count in; `share` is what one instance carries at
/// the highest allowed utilization.
fn terms(policy: &Policy, objective: &Objective, share: f64, learned: &Learned, at: Timestamp) -> (Terms, Grid) {
    let time = jiff::Timestamp::from_microsecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let terms = Terms {
        share,
        coverage: objective.coverage,
        headroom_max: objective.headroom_max,
        min: policy.min,
        window: policy.scale_in_window(),
        offset_secs: i64::from(objective.tz.to_offset(time).seconds()),
        unusual: false,
    };
    let grid = learned.delays.grid(policy, terms.window);
    (terms, grid)
}

/// The fleet's total, when it is known and covers enough instances; its time and whether it covers them.
fn total(context: &Context<'_>, objective: &Objective) -> Result<(f64, Timestamp, bool), UnknownWhy> {
    let metric = context.metric(objective.metric);
    match judge(metric, &context.facts.readings[usize::from(objective.metric)], context.now)? {
        Usable::Each { .. } => Err(UnknownWhy::Missing(MissingWhy::WrongShape)),
        Usable::One { value, at, members } => Ok((value, at, covers_enough(context, metric, at, members))),
    }
}

/// Takes this cycle's readings and boots into what the objectives have learned, before any rule is asked.
pub(crate) fn learn(
    policy: &Policy,
    facts: &FleetFacts<'_>,
    view: &View,
    memory: &mut FleetMemory,
    (last, now): (Option<Timestamp>, Timestamp),
) {
    if objectives(policy).next().is_none() {
        return;
    }
    let mut known = std::mem::take(&mut memory.objectives);
    let mut services = std::mem::take(&mut memory.services);
    let mut ceilings = std::mem::take(&mut memory.ceilings);
    let mut occasions = std::mem::take(&mut memory.occasions);
    let current = view.current.as_ref().map_or(0, |current| *current);
    let context = Context { policy, facts, memory, view, now, current };
    for (name, objective) in objectives(policy) {
        let learned = known.entry(name.into()).or_default();
        learned.forget_after(now.after(FUTURE_MAX));
        learned.delays.observe(policy, facts, last, now);
        // A total over too few instances is no total.
        let Ok((value, at, true)) = total(&context, objective) else { continue };
        learned.delays.observe_lag(now.since(at));
        let share = match objective.capacity {
            InstanceCapacity::Told(capacity) => {
                let (serving, current) = (f64::from(context.serving_at(at)), f64::from(current));
                judge_ceiling(&mut ceilings, name, learned, &Loaded { value, at, capacity, serving, current });
                capacity * objective.utilization
            }
            InstanceCapacity::Learned { from } => {
                let service = services.entry(name.into()).or_default();
                service.forget_after(now.after(FUTURE_MAX));
                if let Ok(busy) = busy(&context, from)
                    && let Some(each) = work_of_one(&context, (value, at), busy)
                {
                    service.take((each, at), (busy.value, busy.at), objective.utilization);
                }
                share_for(service, learned, value)
            }
        };
        let terms = terms(policy, objective, share, learned, at);
        take(objective, name, &mut occasions, learned, (value, at), terms);
    }
    memory.occasions = occasions;
    (memory.objectives, memory.services, memory.ceilings) = (known, services, ceilings);
}

/// Takes a load into what was learned of it, and of the calendar's events where the rule has some.
fn take(
    objective: &Objective,
    name: &str,
    occasions: &mut BTreeMap<Box<str>, Vec<Occasion>>,
    learned: &mut Learned,
    (value, at): (f64, Timestamp),
    (terms, grid): (Terms, Grid),
) {
    if objective.events.is_empty() {
        occasions.remove(name);
        learned.take(value, at, &terms, &grid);
        return;
    }
    calendar::take(objective, occasions.entry(name.into()).or_default(), learned, (value, at), (terms, grid));
}

/// Whether the metric tells what is wanted. Nothing is kept of one that never was beyond what the fleet could do.
fn judge_ceiling(ceilings: &mut BTreeMap<Box<str>, Ceiling>, name: &str, learned: &mut Learned, loaded: &Loaded) {
    if let Some(ceiling) = ceilings.get_mut(name) {
        learned.tells_demand = ceiling.judge(loaded, learned.tells_demand);
    } else {
        // What was said without reasons kept was said of a single reading.
        learned.tells_demand = false;
        if loaded.is_beyond() {
            ceilings.entry(name.into()).or_insert_with(|| Ceiling::new(loaded)).judge(loaded, false);
        }
    }
}

/// One instance's share of the total, when it and utilization are of the same instances at the same time.
fn work_of_one(context: &Context<'_>, (total, at): (f64, Timestamp), busy: Busy) -> Option<f64> {
    let apart = at.since(busy.at).max(busy.at.since(at));
    let serving = f64::from(context.serving_at(at));
    // A total is a rate over the minute before, and so is utilization.
    let differs = |then: Timestamp| (f64::from(context.serving_at(then)) - serving).abs() > STARTING_MAX * serving;
    let mixed = differs(busy.at) || differs(at.min(busy.at).before(APART_MAX));
    let starting = f64::from(context.view.warming()) > STARTING_MAX * serving;
    let usable = busy.covers && serving >= 1.0 && apart <= APART_MAX.max(context.policy.interval);
    (usable && !mixed && !starting).then(|| total / serving)
}

/// The share to forecast with, and the forecasts' own numbers in it.
fn share_for(service: &mut Service, learned: &mut Learned, load: f64) -> f64 {
    let (share, factor) = service.unit(load);
    if let Some(factor) = factor {
        learned.count_in(factor, share);
    }
    share
}

/// Takes recorded values of one metric, oldest first. They teach forecasters and nothing else: no window counts them.
pub(crate) fn learn_history(policy: &Policy, memory: &mut FleetMemory, metric: u16, values: &[(Timestamp, f64)]) {
    for (name, objective) in objectives(policy).filter(|(_, objective)| objective.metric == metric) {
        let learned = memory.objectives.entry(name.into()).or_default();
        let unit = policy.metrics[usize::from(metric)].unit;
        for (at, value) in values.iter().filter(|(_, value)| in_range(*value, unit).is_ok()) {
            let value = *value / unit.full();
            let share = match objective.capacity {
                InstanceCapacity::Told(capacity) => capacity * objective.utilization,
                InstanceCapacity::Learned { .. } => {
                    share_for(memory.services.entry(name.into()).or_default(), learned, value)
                }
            };
            let terms = terms(policy, objective, share, learned, *at);
            take(objective, name, &mut memory.occasions, learned, (value, *at), terms);
        }
    }
}

pub(super) fn recommend(context: &Context<'_>, rule: &str, objective: &Objective) -> Answer {
    match objective.capacity {
        InstanceCapacity::Told(capacity) => {
            let share = capacity * objective.utilization;
            match total(context, objective) {
                Err(why) => Context::unknown(objective.metric, why),
                Ok(total) => by_share(context, rule, objective, total, share, None),
            }
        }
        InstanceCapacity::Learned { from } => by_learned(context, rule, objective, from),
    }
}

fn by_learned(context: &Context<'_>, rule: &str, objective: &Objective, from: u16) -> Answer {
    let service = context.memory.services.get(rule);
    let busy = busy(context, from);
    let Some((service, share)) = service.and_then(|service| Some((service, service.trusted_share()?))) else {
        let busy = match busy {
            Err(why) => return Context::unknown(from, why),
            Ok(busy) => busy,
        };
        let (needed, full) = by_utilization(objective, busy);
        let calculation = Calculation::Learning {
            busy: busy.value,
            serving: busy.serving,
            limit: objective.utilization,
            full,
            windows: service.map_or(0, Service::windows),
        };
        return Answer::OutOnly(needed.max(context.current), calculation);
    };
    let total = match total(context, objective) {
        Err(why) => return Context::unknown(objective.metric, why),
        Ok(total) => total,
    };
    let (capacity, background) = service.capacity().unwrap_or((share / objective.utilization, None));
    let sizing =
        Sizing { capacity, background, windows: service.windows(), bound: service.bound(), unknown: busy.is_err() };
    by_share(context, rule, objective, total, share, Some((sizing, busy.ok())))
}

/// What brings utilization to the limit, and whether it is so high that nobody knows how much is wanted.
fn by_utilization(objective: &Objective, busy: Busy) -> (Capacity, bool) {
    let full = busy.value >= full_at(objective);
    let factor = if full { CENSORED_FACTOR } else { 1.0 };
    (whole(factor * busy.value * f64::from(busy.serving) / objective.utilization), full)
}

/// A fleet that is meant to be fuller than censored is not full at its own target.
fn full_at(objective: &Objective) -> f64 {
    CENSORED.max(objective.utilization + 0.02)
}

fn position(policy: &Policy, name: &str) -> u16 {
    let at = policy.rules.iter().position(|rule| rule.name.as_ref() == name);
    at.and_then(|at| u16::try_from(at).ok()).unwrap_or(u16::MAX)
}

/// The answer when it is known what one instance carries; with what was learned of it, and how busy they are.
fn by_share(
    context: &Context<'_>,
    rule: &str,
    objective: &Objective,
    (now, at, covered): (f64, Timestamp, bool),
    share: f64,
    learned_from: Option<(Sizing, Option<Busy>)>,
) -> Answer {
    let empty = Learned::default();
    let learned = context.memory.objectives.get(rule).unwrap_or(&empty);
    let (terms, grid) = terms(context.policy, objective, share, learned, context.now);
    let nothing = Outlook {
        capacity: whole(now / share),
        forecaster: Forecaster::Level,
        load: now,
        headroom: 0.0,
        bound: Bound::Present,
    };
    let occasions = context.memory.occasions.get(rule).map_or(&[][..], Vec::as_slice);
    let factors = calendar::factors(context.policy, occasions, context.current, at, &grid);
    let outlook = learned.outlook(now / factors.now, &terms, &grid);
    let outlook = outlook.map_or(nothing, |outlook| factors.apply(outlook, whole(now / share)));
    let mut capacity = outlook.capacity.max(whole(now / share)).min(CAPACITY_MAX);
    let mut bound = outlook.bound;
    let full = match learned_from {
        Some((_, busy)) => busy.map(|busy| by_utilization(objective, busy)).filter(|(_, full)| *full),
        None => {
            let done = f64::from(context.serving_at(at)) * share / objective.utilization;
            let full = !learned.tells_demand && done > 0.0 && now >= full_at(objective) * done;
            full.then(|| (whole(CENSORED_FACTOR * now / share), true))
        }
    };
    if let Some((most, _)) = full {
        bound = Bound::Censored;
        capacity = capacity.max(most).max(context.current);
    }
    let ahead = Duration::from_secs(grid.step.unsigned_abs() * grid.ahead as u64);
    let sizing = learned_from.map(|(sizing, _)| sizing);
    let calculation = Calculation::Objective {
        forecaster: outlook.forecaster,
        load: outlook.load,
        ahead,
        headroom: outlook.headroom,
        share,
        now,
        bound,
        event: factors.event.map(|event| (position(context.policy, rule), event)),
        factor: factors.ahead,
        sizing,
    };
    if covered && !sizing.is_some_and(|sizing| sizing.unknown) {
        Answer::Value(capacity, calculation)
    } else {
        Answer::OutOnly(capacity.max(context.current), calculation)
    }
}
