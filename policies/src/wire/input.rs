//! Input lines: one cycle of one fleet, or history for forecasters.

use super::LineError;
use super::form::{
    WireAuthority, WireDrain, WireFailure, WireForeign, WireGroup, WireInstance, WireLine, WireOutcome, WireOverride,
    WireReading, first_duplicate,
};
use crate::facts::{Authority, FleetFacts, GroupError, GroupFact, MissingWhy, Override, RawReading};
use crate::memory::{DrainEnd, Event, Outcome};
use crate::plan::Budget;
use crate::policy::Policy;
use contract::{CAPACITY_MAX, Foreign, Instance, InstanceId, LaunchFailure, Observation, Suspended, Timestamp};
use std::borrow::Cow;

/// One input line, read.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// One cycle of one fleet.
    Cycle(Box<Cycle>),
    /// History for forecasters: it feeds nothing else.
    History {
        /// The fleet.
        fleet: Box<str>,
        /// For each metric by its name its recorded values, oldest first.
        metrics: Vec<Recorded>,
    },
}

/// A metric's name and its recorded values.
pub type Recorded = (Box<str>, Vec<(Timestamp, f64)>);

/// One cycle of one fleet: [`FleetFacts`] that own their data, with what happened before and the budget.
#[derive(Clone, Debug, PartialEq)]
pub struct Cycle {
    /// The fleet's id.
    pub fleet: Box<str>,
    /// The wall clock.
    pub now: Timestamp,
    /// What is left of the brakes.
    pub budget: Budget,
    groups: Vec<ReadGroup>,
    readings: Vec<(Box<str>, OwnedReading)>,
    outcomes: Vec<OwnedOutcome>,
    drains: Vec<OwnedDrain>,
    restarted: bool,
    override_now: Option<Override>,
    authority: Authority,
}

/// How a call ended; without a provider the first group of the name is meant.
#[derive(Clone, Debug, PartialEq)]
struct OwnedOutcome {
    provider: Option<Box<str>>,
    group: Box<str>,
    outcome: Outcome,
    cannot_launch: bool,
    blames_group: bool,
}

/// What a drainer is done with.
#[derive(Clone, Debug, PartialEq)]
struct OwnedDrain {
    provider: Option<Box<str>>,
    group: Box<str>,
    instance: InstanceId,
    end: DrainEnd,
}

#[derive(Clone, Debug, PartialEq)]
enum OwnedReading {
    One { value: f64, at: Timestamp, members: Option<f64> },
    Each { values: Vec<(InstanceId, f64)>, at: Timestamp },
    Missing(MissingWhy),
}

/// Reads one line.
///
/// # Errors
/// When it is not JSON, or not of this form; the text says where and what would be right.
pub fn parse_line(text: &str) -> Result<Line, LineError> {
    let line: WireLine<'_> = serde_json::from_str(text).map_err(|error| LineError(error.to_string()))?;
    let fleet: Box<str> = line.fleet.as_ref().into();
    if let Some(history) = line.history {
        if line.now.is_some() || line.groups.is_some() || line.readings.is_some() {
            return Err(LineError(
                "a line has either `history` or a cycle (`now`, `groups`, `readings`), not both".into(),
            ));
        }
        let metrics = history.0.into_iter().map(read_history).collect::<Result<_, _>>()?;
        return Ok(Line::History { fleet, metrics });
    }
    let missing = |key: &str| LineError(format!("missing `{key}`: a cycle needs `now`, `groups` and `readings`"));
    let now = line.now.ok_or_else(|| missing("now"))?;
    let groups = line.groups.ok_or_else(|| missing("groups"))?;
    let readings = line.readings.ok_or_else(|| missing("readings"))?;
    let groups = groups.into_iter().map(|group| read_group(group, now)).collect::<Result<Vec<_>, _>>()?;
    if let Some(at) =
        (1..groups.len()).find(|&at| groups[..at].iter().any(|g| g.0 == groups[at].0 && g.1 == groups[at].1))
    {
        return Err(LineError(format!("group `{}/{}` is listed twice", groups[at].0, groups[at].1)));
    }
    let readings = readings.0.into_iter().map(read_reading).collect::<Result<Vec<_>, _>>()?;
    let outcomes = line.outcomes.iter().map(read_outcome).collect::<Result<Vec<_>, _>>()?;
    let budget = line.budget.map_or_else(Budget::default, |b| Budget { scale_in: b.scale_in, scale_out: b.scale_out });
    Ok(Line::Cycle(Box::new(Cycle {
        fleet,
        now,
        budget,
        groups,
        readings,
        outcomes,
        drains: line.drains.iter().map(read_drain).collect(),
        restarted: line.restarted,
        override_now: line.override_now.map(read_override).transpose()?,
        authority: match line.authority {
            None => Authority::Full,
            Some(WireAuthority::NoScaleIn) => Authority::NoScaleIn,
            Some(WireAuthority::Store) => Authority::Store,
            Some(WireAuthority::Owner) => Authority::Owner,
            Some(WireAuthority::HoldAll) => Authority::HoldAll,
        },
    })))
}

fn read_history((name, values): (Cow<'_, str>, Vec<(f64, f64)>)) -> Result<Recorded, LineError> {
    let read = |(at, value): (f64, f64)| {
        let at = Timestamp::from_secs_f64(at);
        at.map(|at| (at, value)).ok_or_else(|| LineError(format!("history of `{name}`: a time in seconds since 1970")))
    };
    let values = values.into_iter().map(read).collect::<Result<_, _>>()?;
    Ok((name.as_ref().into(), values))
}

/// Provider, group, and what was observed or the error's code.
type ReadGroup = (Box<str>, Box<str>, Result<Observation, Box<str>>);

fn read_group(group: WireGroup<'_>, now: Timestamp) -> Result<ReadGroup, LineError> {
    let name: Box<str> = group.group.as_ref().into();
    let provider: Box<str> = group.provider.as_ref().into();
    let wrong = |what: &str| LineError(format!("group `{name}`: {what}"));
    if let Some(error) = group.error {
        if group.instances.is_some() || group.desired.is_some() {
            return Err(wrong("`error` stands alone: an unread group has no `desired` and no `instances`"));
        }
        return Ok((provider, name, Err(error.as_ref().into())));
    }
    let abilities = group.abilities.unwrap_or_default();
    if group.desired.is_none() && abilities.keeps_desired {
        return Err(wrong("missing `desired` (or say `error`)"));
    }
    for (key, value) in [("desired", group.desired), ("cloud_min", group.cloud_min), ("cloud_max", group.cloud_max)] {
        if value.is_some_and(|value| value > CAPACITY_MAX) {
            return Err(wrong(&format!("`{key}` is above {CAPACITY_MAX}")));
        }
    }
    let instances = group.instances.ok_or_else(|| wrong("missing `instances`: a group lists all of them"))?;
    if let Some(id) = first_duplicate(instances.iter().map(|instance| instance.id.as_ref())) {
        return Err(wrong(&format!("instance `{id}` is listed twice")));
    }
    let observation = Observation {
        desired: group.desired,
        cloud_min: group.cloud_min,
        cloud_max: group.cloud_max,
        instances: instances.into_iter().map(read_instance).collect(),
        operations: Vec::new(),
        launch_failures: group.launch_failures.into_iter().map(read_failure).collect(),
        suspended: group.suspended.iter().map(|text| read_suspended(text)).collect(),
        foreign: group.foreign.into_iter().map(read_foreign).collect(),
        owner: group.owner,
        abilities,
        token: None,
        at: group.at.unwrap_or(now),
    };
    Ok((provider, name, Ok(observation)))
}

fn read_instance(instance: WireInstance<'_>) -> Instance {
    Instance {
        id: InstanceId(instance.id.as_ref().into()),
        state: instance.state,
        launched: instance.launched,
        running_since: instance.running_since,
        zone: instance.zone.map(|zone| zone.as_ref().into()),
        protected: instance.protected,
        outdated: instance.outdated,
    }
}

fn read_failure(failure: WireFailure<'_>) -> LaunchFailure {
    LaunchFailure { kind: failure.kind, scope: failure.scope, at: failure.at, message: failure.message.as_ref().into() }
}

fn read_suspended(text: &str) -> Suspended {
    match text.to_ascii_lowercase().as_str() {
        "launch" => Suspended::Launch,
        "terminate" => Suspended::Terminate,
        "refresh" => Suspended::Refresh,
        _ => Suspended::Other(text.into()),
    }
}

fn read_foreign(foreign: WireForeign<'_>) -> Foreign {
    match foreign {
        WireForeign::Name(name) => Foreign { name: name.as_ref().into(), removes: None },
        WireForeign::Full(foreign) => foreign,
    }
}

fn read_reading((name, reading): (Cow<'_, str>, WireReading<'_>)) -> Result<(Box<str>, OwnedReading), LineError> {
    let wrong = |what: &str| LineError(format!("reading `{name}`: {what}"));
    let at = || reading.at.ok_or_else(|| wrong("missing `at`, the sample's own time"));
    let owned = match (reading.value, reading.values, &reading.missing) {
        (Some(value), None, None) => {
            if reading.members.is_some_and(|members| members < 0.0) {
                return Err(wrong("`members` is below zero"));
            }
            OwnedReading::One { value: value.0, at: at()?, members: reading.members }
        }
        (None, Some(values), None) => {
            let at = at()?;
            let values = values.0.into_iter().map(|(id, value)| (InstanceId(id.as_ref().into()), value.0)).collect();
            OwnedReading::Each { values, at }
        }
        (None, None, Some(why)) => OwnedReading::Missing(MissingWhy::from_text(why)),
        _ => return Err(wrong("exactly one of `value`, `values` and `missing` is needed")),
    };
    Ok((name.as_ref().into(), owned))
}

fn read_outcome(wire: &WireOutcome<'_>) -> Result<OwnedOutcome, LineError> {
    let outcome = Outcome::from_code(&wire.result).ok_or_else(|| {
        LineError(format!("outcome `{}` of group `{}` is none that a call can have", wire.result, wire.group))
    })?;
    let provider = wire.provider.as_ref().map(|provider| provider.as_ref().into());
    let cannot_launch = Outcome::cannot_launch(&wire.result);
    let blames_group = outcome == Outcome::Refused && Outcome::blames_group(&wire.result);
    Ok(OwnedOutcome { provider, group: wire.group.as_ref().into(), outcome, cannot_launch, blames_group })
}

fn read_drain(wire: &WireDrain<'_>) -> OwnedDrain {
    OwnedDrain {
        provider: wire.provider.as_ref().map(|provider| provider.as_ref().into()),
        group: wire.group.as_ref().into(),
        instance: InstanceId(wire.instance.as_ref().into()),
        end: wire.end,
    }
}

fn read_override(wire: WireOverride<'_>) -> Result<Override, LineError> {
    Ok(match wire {
        WireOverride::Hold { until, scale_in_only, reason } => {
            Override::Hold { until, scale_in_only, reason: reason.as_ref().into() }
        }
        WireOverride::Pin { n, .. } if n > CAPACITY_MAX => {
            return Err(LineError(format!("override: `n` is above {CAPACITY_MAX}")));
        }
        WireOverride::Pin { n, until, now, reason } => Override::Pin { n, until, now, reason: reason.as_ref().into() },
    })
}

impl Cycle {
    /// The facts in the policy's order.
    ///
    /// # Errors
    /// When the line names a group that the policy does not have.
    pub fn facts<'a>(&'a self, policy: &Policy) -> Result<FleetFacts<'a>, LineError> {
        for (provider, group, _) in &self.groups {
            if !policy.groups.iter().any(|own| own.provider == *provider && own.group.as_str() == group.as_ref()) {
                return Err(LineError(format!("fleet `{}` has no group `{provider}/{group}`", self.fleet)));
            }
        }
        let groups = policy.groups.iter().map(|own| {
            let listed = self.groups.iter().find(|g| g.0 == own.provider && g.1.as_ref() == own.group.as_str());
            match listed {
                Some((_, _, Ok(observation))) => GroupFact::Observed(observation),
                Some((_, _, Err(code))) => GroupFact::Unknown(GroupError::from_code(code)),
                None => GroupFact::Unknown(GroupError::NotListed),
            }
        });
        let readings = policy.metrics.iter().map(|metric| {
            match self.readings.iter().find(|(name, _)| *name == metric.name).map(|(_, reading)| reading) {
                Some(OwnedReading::One { value, at, members }) => {
                    RawReading::Value { value: *value, at: *at, members: *members }
                }
                Some(OwnedReading::Each { values, at }) => RawReading::PerInstance { values, at: *at },
                Some(OwnedReading::Missing(why)) => RawReading::Missing(why.clone()),
                None => RawReading::Missing(MissingWhy::NotGiven),
            }
        });
        Ok(FleetFacts {
            now: self.now,
            groups: groups.collect(),
            readings: readings.collect(),
            override_now: self.override_now.clone(),
            authority: self.authority,
            without: None,
        })
    }

    fn group_named(&self, policy: &Policy, provider: Option<&str>, group: &str) -> Result<u16, LineError> {
        let is_meant = |own: &crate::policy::Group| {
            own.group.as_str() == group && provider.is_none_or(|named| *named == *own.provider)
        };
        let at = policy.groups.iter().position(is_meant);
        let at = at.and_then(|at| u16::try_from(at).ok());
        at.ok_or_else(|| LineError(format!("fleet `{}` has no group `{group}`", self.fleet)))
    }

    /// What happened since the last line.
    ///
    /// # Errors
    /// When the line names a group that the policy does not have.
    pub fn events(&self, policy: &Policy) -> Result<Vec<Event>, LineError> {
        let mut events = Vec::with_capacity(self.outcomes.len() + 1);
        for OwnedOutcome { provider, group, outcome, cannot_launch, blames_group } in &self.outcomes {
            let group = self.group_named(policy, provider.as_deref(), group)?;
            let (outcome, cannot_launch, blames_group) = (*outcome, *cannot_launch, *blames_group);
            events.push(Event::Outcome { group, outcome, cannot_launch, blames_group });
        }
        for OwnedDrain { provider, group, instance, end } in &self.drains {
            let at = self.group_named(policy, provider.as_deref(), group)?;
            events.push(Event::Drain { group: at, instance: instance.clone(), end: *end });
        }
        if self.restarted {
            events.push(Event::Restarted);
        }
        Ok(events)
    }
}
