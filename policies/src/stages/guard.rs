//! `guard`: a guard rule vetoes a direction while it is true, lingers, or is unknown.

use super::Walk;
use crate::memory::FleetMemory;
use crate::policy::{Blocks, Policy, Setting};
use crate::rules::{Context, GuardState};
use crate::trace::{Hold, HoldReason, Stage, Why};

/// Takes the step; `states` is each rule's state, `None` for rules that are no guards.
pub(crate) fn guard(walk: &mut Walk, states: &[Option<(GuardState, Blocks)>]) {
    if walk.pin.is_some() {
        walk.pass(Stage::Guard);
        return;
    }
    let vetoes = |blocks: Blocks, r#in: bool| match blocks {
        Blocks::Both => true,
        Blocks::In => r#in,
        Blocks::Out => !r#in,
    };
    let first = |r#in: bool| {
        states.iter().enumerate().find_map(|(at, state)| match state {
            Some((state, blocks)) if *state != GuardState::Open && vetoes(*blocks, r#in) => {
                Some((u16::try_from(at).unwrap_or(u16::MAX), *state))
            }
            _ => None,
        })
    };
    let hold = |rule: u16| Some(Hold { reason: HoldReason::Guard, setting: Setting::Rule(rule) });
    let blocks_in = first(true);
    if let Some((rule, _)) = blocks_in
        && walk.block_in.is_none()
    {
        walk.block_in = hold(rule);
    }
    let veto = if walk.wants_in() {
        blocks_in
    } else if walk.wants_out() {
        first(false)
    } else {
        None
    };
    match veto {
        Some((rule, state)) => {
            let why =
                Why::Guarded { rule, unknown: state == GuardState::Unknown, lingers: state == GuardState::Lingers };
            walk.step(Stage::Guard, walk.current, why, hold(rule));
        }
        None => walk.pass(Stage::Guard),
    }
}

/// Every rule's guard state; notes when each was last true.
pub(crate) fn states(
    policy: &Policy,
    context: &Context<'_>,
    guards: &mut std::collections::BTreeMap<Box<str>, contract::Timestamp>,
) -> Vec<Option<(GuardState, Blocks)>> {
    let states: Vec<_> = policy.rules.iter().map(|rule| crate::rules::guard(context, rule)).collect();
    for (rule, state) in policy.rules.iter().zip(&states) {
        if matches!(state, Some((GuardState::True, _))) {
            guards.insert(rule.name.clone(), context.now);
        }
    }
    states
}

/// Drops what belongs to rules that no longer exist.
pub(crate) fn forget(policy: &Policy, memory: &mut FleetMemory) {
    let known = |name: &str| policy.rules.iter().any(|rule| rule.name.as_ref() == name);
    memory.guards.retain(|name, _| known(name));
    memory.steps.retain(|name, _| known(name));
    memory.objectives.retain(|name, _| known(name));
    memory.services.retain(|name, _| known(name));
    memory.ceilings.retain(|name, _| known(name));
    memory.occasions.retain(|name, _| known(name));
}
