//! Facts back into an input line: how the journal keeps them.

use super::form::{
    Number, Pairs, WireAuthority, WireBudget, WireDrain, WireFailure, WireForeign, WireGroup, WireInstance, WireLine,
    WireOutcome, WireOverride, WireReading,
};
use crate::facts::{Authority, FleetFacts, GroupFact, Override, RawReading};
use crate::memory::{Event, Outcome};
use crate::plan::Budget;
use crate::policy::{Group, Policy};
use contract::{Abilities, Instance, LaunchFailure, Suspended};
use std::borrow::Cow;

/// Writes facts as an input line (without a line feed), so that `explain` can replay them.
pub fn facts_json(policy: &Policy, facts: &FleetFacts<'_>, events: &[Event], budget: Budget) -> String {
    let line = WireLine {
        fleet: policy.id.as_ref().into(),
        now: Some(facts.now),
        groups: Some(policy.groups.iter().zip(&facts.groups).map(|(own, fact)| write_group(own, fact)).collect()),
        readings: Some(Pairs(
            policy
                .metrics
                .iter()
                .zip(&facts.readings)
                .map(|(m, r)| (m.name.as_ref().into(), write_reading(r)))
                .collect(),
        )),
        outcomes: events.iter().filter_map(|event| write_outcome(policy, event)).collect(),
        drains: events.iter().filter_map(|event| write_drain(policy, event)).collect(),
        restarted: events.contains(&Event::Restarted),
        override_now: facts.override_now.as_ref().map(write_override),
        budget: (budget != Budget::default())
            .then_some(WireBudget { scale_in: budget.scale_in, scale_out: budget.scale_out }),
        authority: match facts.authority {
            Authority::Full => None,
            Authority::NoScaleIn => Some(WireAuthority::NoScaleIn),
            Authority::Store => Some(WireAuthority::Store),
            Authority::Owner => Some(WireAuthority::Owner),
            Authority::HoldAll => Some(WireAuthority::HoldAll),
        },
        history: None,
    };
    // Plain data with text keys: there is no way for this to fail.
    serde_json::to_string(&line).unwrap_or_default()
}

fn write_group<'a>(own: &'a crate::policy::Group, fact: &'a GroupFact<'_>) -> WireGroup<'a> {
    let mut wire = WireGroup {
        provider: own.provider.as_ref().into(),
        group: own.group.as_str().into(),
        desired: None,
        cloud_min: None,
        cloud_max: None,
        instances: None,
        launch_failures: Vec::new(),
        suspended: Vec::new(),
        foreign: Vec::new(),
        owner: None,
        abilities: None,
        at: None,
        error: None,
    };
    match fact {
        GroupFact::Unknown(error) => wire.error = Some(error.to_string().into()),
        GroupFact::Observed(o) => {
            wire.desired = o.desired;
            wire.cloud_min = o.cloud_min;
            wire.cloud_max = o.cloud_max;
            wire.instances = Some(o.instances.iter().map(write_instance).collect());
            wire.launch_failures = o.launch_failures.iter().map(write_failure).collect();
            wire.suspended = o.suspended.iter().map(write_suspended).collect();
            wire.foreign = o.foreign.iter().map(|foreign| WireForeign::Full(foreign.clone())).collect();
            wire.owner = o.owner.clone();
            wire.abilities = (o.abilities != Abilities::default()).then_some(o.abilities);
            wire.at = Some(o.at);
        }
    }
    wire
}

fn write_instance(instance: &Instance) -> WireInstance<'_> {
    WireInstance {
        id: instance.id.as_str().into(),
        state: instance.state,
        launched: instance.launched,
        running_since: instance.running_since,
        zone: instance.zone.as_deref().map(Cow::from),
        protected: instance.protected,
        outdated: instance.outdated,
    }
}

fn write_failure(failure: &LaunchFailure) -> WireFailure<'_> {
    WireFailure {
        kind: failure.kind,
        scope: failure.scope.clone(),
        at: failure.at,
        message: failure.message.as_ref().into(),
    }
}

fn write_reading<'a>(reading: &'a RawReading<'_>) -> WireReading<'a> {
    let mut wire = WireReading { value: None, values: None, at: None, members: None, missing: None };
    match reading {
        RawReading::Value { value, at, members } => {
            (wire.value, wire.at, wire.members) = (Some(Number(*value)), Some(*at), *members);
        }
        RawReading::PerInstance { values, at } => {
            wire.values = Some(Pairs(values.iter().map(|(id, value)| (id.as_str().into(), Number(*value))).collect()));
            wire.at = Some(*at);
        }
        RawReading::Missing(why) => wire.missing = Some(why.to_string().into()),
    }
    wire
}

fn write_outcome<'a>(policy: &'a Policy, event: &Event) -> Option<WireOutcome<'a>> {
    let Event::Outcome { group, outcome, cannot_launch, blames_group } = event else { return None };
    let result = match outcome {
        Outcome::Refused if *cannot_launch => "out_of_capacity",
        Outcome::Accepted => "accepted",
        Outcome::Refused if *blames_group => "refused",
        Outcome::Refused => "conflict",
        Outcome::Unclear => "unclear",
    };
    let own = policy.groups.get(usize::from(*group))?;
    Some(WireOutcome { group: own.group.as_str().into(), provider: provider(policy, own), result: result.into() })
}

fn write_drain<'a>(policy: &'a Policy, event: &'a Event) -> Option<WireDrain<'a>> {
    let Event::Drain { group, instance, end } = event else { return None };
    let own = policy.groups.get(usize::from(*group))?;
    let (group, instance) = (own.group.as_str().into(), instance.as_str().into());
    Some(WireDrain { group, provider: provider(policy, own), instance, end: *end })
}

/// One name may stand for groups of two clouds.
fn provider<'a>(policy: &Policy, own: &'a Group) -> Option<Cow<'a, str>> {
    (policy.groups.len() > 1).then(|| own.provider.as_ref().into())
}

fn write_override(what: &Override) -> WireOverride<'_> {
    match what {
        Override::Hold { until, scale_in_only, reason } => {
            WireOverride::Hold { until: *until, scale_in_only: *scale_in_only, reason: reason.as_ref().into() }
        }
        Override::Pin { n, until, now, reason } => {
            WireOverride::Pin { n: *n, until: *until, now: *now, reason: reason.as_ref().into() }
        }
    }
}

fn write_suspended(suspended: &Suspended) -> Cow<'_, str> {
    match suspended {
        Suspended::Launch => "launch".into(),
        Suspended::Terminate => "terminate".into(),
        Suspended::Refresh => "refresh".into(),
        Suspended::Other(text) => text.as_ref().into(),
    }
}
