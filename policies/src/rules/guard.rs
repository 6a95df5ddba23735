//! `guard`: a veto while it is true, and for a while after. Unknown vetoes too: an incident often takes its own metric
//! along.

use super::Context;
use super::reading::{Usable, in_range, judge};
use crate::policy::{Blocks, Rule, RuleKind};

/// Whether a guard blocks, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuardState {
    /// It does not.
    Open,
    /// Its condition holds.
    True,
    /// It held until lately.
    Lingers,
    /// Its metric is unknown.
    Unknown,
}

/// A guard rule's state and the directions it blocks; `None` for other rules.
pub(crate) fn guard(context: &Context<'_>, rule: &Rule) -> Option<(GuardState, Blocks)> {
    let RuleKind::Guard { metric, when, blocks, linger } = &rule.kind else { return None };
    let raw = &context.facts.readings[usize::from(*metric)];
    let unit = context.metric(*metric).unit;
    let state = match judge(context.metric(*metric), raw, context.now) {
        Err(_) => GuardState::Unknown,
        Ok(Usable::One { value, .. }) if when.is_met(value) => GuardState::True,
        // With one value per instance, any instance beyond the threshold is enough.
        Ok(Usable::Each { values: [], .. }) => GuardState::Unknown,
        Ok(Usable::Each { values, .. })
            if values.iter().any(|(_, v)| in_range(*v, unit).is_err() || when.is_met(*v / unit.full())) =>
        {
            GuardState::True
        }
        Ok(_) => match context.memory.guards.get(&rule.name) {
            Some(last) if context.now < last.after(*linger) => GuardState::Lingers,
            _ => GuardState::Open,
        },
    };
    Some((state, *blocks))
}
