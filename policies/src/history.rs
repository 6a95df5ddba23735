//! The recorded past of a fleet's metrics: which rules could still learn from it, and what they learned. In: a policy and
//! what its rules have learned. Out: what is missing. The shell asks a metrics store for it, has a copy learn it with
//! [`crate::absorb_history`], and puts that in the place of what was learned live meanwhile: nothing waits for it.

use crate::memory::{FleetMemory, Learned, MemoryError, Occasion};
use crate::policy::{Policy, RuleKind};
use contract::Timestamp;

/// A gap of up to so many steps is bridged by what comes.
const BRIDGED: u32 = 3;

/// A rule that could learn from recorded values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking<'a> {
    /// Its name.
    pub rule: &'a str,
    /// The metric, an index into [`Policy::metrics`].
    pub metric: u16,
    /// Where what it has learned ends; `None`: it has learned too little to go on from.
    pub since: Option<Timestamp>,
}

/// The rules whose learning has a gap before the reading of now: they have learned next to nothing, or what they learned
/// ends more than a few steps, and more than the policy's gap, before it. `known` gives what a rule has learned, `newest`
/// the time of a metric's reading of now; a rule without one has nothing to decide from, and asks for nothing yet.
pub fn lacking<'a, 'm>(
    policy: &'a Policy,
    known: impl Fn(&str) -> Option<&'m Learned>,
    newest: impl Fn(u16) -> Option<Timestamp>,
) -> Vec<Lacking<'a>> {
    let mut found = Vec::new();
    for (rule, metric) in loads(policy) {
        let Some(now) = newest(metric) else { continue };
        let learned = known(rule).filter(|learned| !learned.is_cold());
        let ends =
            learned.and_then(|learned| Some((learned.newest()?, policy.gap_max().max(learned.step() * BRIDGED))));
        if ends.is_none_or(|(end, gap)| now.since(end) > gap) {
            found.push(Lacking { rule, metric, since: ends.map(|(end, _)| end) });
        }
    }
    found
}

/// Whether a fleet has rules that learn from recorded values.
pub fn learns(policy: &Policy) -> bool {
    loads(policy).next().is_some()
}

/// What a rule knows now, whole: forecasts, their unit, and the calendar's events belong together.
pub fn take_down(memory: &FleetMemory, rule: &str, into: &mut FleetMemory) {
    forget(into, rule);
    if let Some(learned) = memory.objectives.get(rule) {
        into.objectives.insert(rule.into(), learned.clone());
    }
    if let Some(service) = memory.services.get(rule) {
        into.services.insert(rule.into(), service.clone());
    }
    if let Some(occasions) = memory.occasions.get(rule) {
        into.occasions.insert(rule.into(), occasions.clone());
    }
}

/// A memory of its own in which these rules learn recorded values: they go on from what was taken down of them in `known`,
/// or begin their metric's whole past with the delays that were seen and what is known of the instances.
pub fn copy(memory: &FleetMemory, known: &FleetMemory, rules: &[Box<str>]) -> FleetMemory {
    let mut copy = FleetMemory::default();
    for rule in rules {
        if known.objectives.contains_key(rule) {
            take_down(known, rule, &mut copy);
            continue;
        }
        take_down(memory, rule, &mut copy);
        copy.occasions.remove(rule);
        let learned = copy.objectives.entry(rule.clone()).or_default();
        *learned = learned.afresh();
    }
    copy
}

/// Puts what a rule of [`copy`] learned into the fleet's memory, unless the rule has learned from more meanwhile; says
/// whether.
pub fn succeed(memory: &mut FleetMemory, rule: &str, copy: &mut FleetMemory) -> bool {
    let Some(mut learned) = copy.objectives.remove(rule) else { return false };
    if let (Some(live), Some(own)) = (memory.services.get_mut(rule), copy.services.get(rule))
        && let Some((factor, share)) = live.unit_instead_of(own)
    {
        learned.count_in(factor, share);
    }
    if !learned.succeed(memory.objectives.entry(rule.into()).or_default()) {
        return false;
    }
    let is_known = |occasions: &Vec<Occasion>| occasions.iter().any(Occasion::is_known);
    // A past without an occurrence of an event does not make one forgotten.
    if let Some(own) = copy.occasions.remove(rule)
        && (is_known(&own) || !memory.occasions.get(rule).is_some_and(is_known))
    {
        memory.occasions.insert(rule.into(), own);
    }
    true
}

/// Drops everything that a rule has learned.
pub fn forget(memory: &mut FleetMemory, rule: &str) {
    memory.objectives.remove(rule);
    memory.services.remove(rule);
    memory.ceilings.remove(rule);
    memory.occasions.remove(rule);
}

/// A memory as bytes, without what its rules have learned: that is large, changes slowly, and is kept apart.
pub fn encode_without_learned(memory: &mut FleetMemory) -> Vec<u8> {
    let learned = (std::mem::take(&mut memory.objectives), std::mem::take(&mut memory.occasions));
    let bytes = memory.encode();
    (memory.objectives, memory.occasions) = learned;
    bytes
}

/// What a memory's rules have learned, as bytes; a memory without it takes it back with [`restore_learned`].
pub fn encode_learned(memory: &FleetMemory) -> Vec<u8> {
    let (objectives, occasions) = (memory.objectives.clone(), memory.occasions.clone());
    FleetMemory { objectives, occasions, ..FleetMemory::default() }.encode()
}

/// Puts back what [`encode_learned`] wrote, in place of what the memory has.
///
/// # Errors
/// When the bytes come from a newer version, or are nothing learned; the memory is as it was then.
pub fn restore_learned(memory: &mut FleetMemory, bytes: &[u8]) -> Result<(), MemoryError> {
    let learned = FleetMemory::decode(bytes)?;
    (memory.objectives, memory.occasions) = (learned.objectives, learned.occasions);
    Ok(())
}

/// The rules that learn a load, with its metric.
fn loads(policy: &Policy) -> impl Iterator<Item = (&str, u16)> {
    policy.rules.iter().filter_map(|rule| match &rule.kind {
        RuleKind::Objective(objective) => Some((rule.name.as_ref(), objective.metric)),
        _ => None,
    })
}
