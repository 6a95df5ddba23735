//! The recorded past of a fleet's metrics: which rules could still learn from it, and what they learned. In: a policy and
//! what its rules have learned. Out: what is missing. The shell asks a metrics store for it, has a copy learn it with
//! [`crate::absorb_history`], and puts that in the place of what was learned live meanwhile: nothing waits for it.

use crate::memory::{FleetMemory, Learned, MemoryError};
use crate::policy::{Metric, Policy, RuleKind};
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

/// What a rule begins with that learns its metric's whole past: the delays that it has seen.
pub fn afresh(memory: &FleetMemory, rule: &str) -> Learned {
    memory.objectives.get(rule).map(Learned::afresh).unwrap_or_default()
}

/// Puts what was learned from recorded values into memory, unless the rule has learned from more meanwhile; says whether.
pub fn succeed(memory: &mut FleetMemory, rule: &str, learned: Learned) -> bool {
    learned.succeed(memory.objectives.entry(rule.into()).or_default())
}

/// Drops what rules have learned of loads that they read no more: under the same name, another query is another load.
/// Says which.
pub fn forget_other_loads<'a>(old: &Policy, new: &'a Policy, memory: &mut FleetMemory) -> Vec<&'a str> {
    let same = |a: &Metric, b: &Metric| {
        (&a.source, &a.query, &a.select, a.unit, a.offset) == (&b.source, &b.query, &b.select, b.unit, b.offset)
    };
    let mut changed = Vec::new();
    for (rule, metric) in loads(new) {
        let before = loads(old).find(|(name, _)| *name == rule).map(|(_, metric)| &old.metrics[usize::from(metric)]);
        if before.is_some_and(|before| !same(before, &new.metrics[usize::from(metric)])) {
            memory.objectives.remove(rule);
            changed.push(rule);
        }
    }
    changed
}

/// A memory as bytes, without what its rules have learned: that is large, changes slowly, and is kept apart.
pub fn encode_without_learned(memory: &mut FleetMemory) -> Vec<u8> {
    let objectives = std::mem::take(&mut memory.objectives);
    let bytes = memory.encode();
    memory.objectives = objectives;
    bytes
}

/// What a memory's rules have learned, as bytes; a memory without it takes it back with [`restore_learned`].
pub fn encode_learned(memory: &FleetMemory) -> Vec<u8> {
    FleetMemory { objectives: memory.objectives.clone(), ..FleetMemory::default() }.encode()
}

/// Puts back what [`encode_learned`] wrote, in place of what the memory has.
///
/// # Errors
/// When the bytes come from a newer version, or are nothing learned; the memory is as it was then.
pub fn restore_learned(memory: &mut FleetMemory, bytes: &[u8]) -> Result<(), MemoryError> {
    memory.objectives = FleetMemory::decode(bytes)?.objectives;
    Ok(())
}

/// The rules that learn a load, with its metric.
fn loads(policy: &Policy) -> impl Iterator<Item = (&str, u16)> {
    policy.rules.iter().filter_map(|rule| match &rule.kind {
        RuleKind::Objective(objective) => Some((rule.name.as_ref(), objective.metric)),
        _ => None,
    })
}
