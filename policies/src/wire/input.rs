//! Input lines: one cycle of one fleet, or history for forecasters.

use super::{LineError, secs};
use crate::facts::{Authority, FleetFacts, GroupError, GroupFact, MissingWhy, Override, RawReading};
use crate::memory::{Event, Outcome};
use crate::plan::Budget;
use crate::policy::Policy;
use contract::{
    Abilities, CAPACITY_MAX, Capacity, Foreign, Instance, InstanceId, InstanceState, LaunchFailure, Observation,
    OwnerTag, Suspended, Timestamp,
};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// One input line, read.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// One cycle of one fleet.
    Cycle(Box<Cycle>),
    /// History for forecasters: it feeds nothing else.
    History {
        /// The fleet.
        fleet: Box<str>,
    },
}

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
    outcomes: Vec<(Box<str>, Outcome)>,
    restarted: bool,
    override_now: Option<Override>,
    authority: Authority,
}

#[derive(Clone, Debug, PartialEq)]
enum OwnedReading {
    One { value: f64, at: Timestamp, members: Option<f64> },
    Each { values: Vec<(InstanceId, f64)>, at: Timestamp },
    Missing(MissingWhy),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WireLine<'a> {
    #[serde(borrow)]
    fleet: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "secs::option")]
    now: Option<Timestamp>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<WireGroup<'a>>>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    readings: Option<Pairs<'a, WireReading<'a>>>,
    #[serde(default, borrow, skip_serializing_if = "Vec::is_empty")]
    outcomes: Vec<WireOutcome<'a>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    restarted: bool,
    #[serde(default, borrow, rename = "override", skip_serializing_if = "Option::is_none")]
    override_now: Option<WireOverride<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    budget: Option<WireBudget>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    authority: Option<WireAuthority>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    history: Option<Pairs<'a, Vec<(f64, f64)>>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WireGroup<'a> {
    #[serde(borrow)]
    provider: Cow<'a, str>,
    #[serde(borrow)]
    group: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    desired: Option<Capacity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cloud_min: Option<Capacity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cloud_max: Option<Capacity>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    instances: Option<Vec<WireInstance<'a>>>,
    #[serde(default, borrow, skip_serializing_if = "Vec::is_empty")]
    launch_failures: Vec<WireFailure<'a>>,
    #[serde(default, borrow, skip_serializing_if = "Vec::is_empty")]
    suspended: Vec<Cow<'a, str>>,
    #[serde(default, borrow, skip_serializing_if = "Vec::is_empty")]
    foreign: Vec<WireForeign<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<OwnerTag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    abilities: Option<Abilities>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "secs::option")]
    at: Option<Timestamp>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WireInstance<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    state: InstanceState,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "secs::option")]
    launched: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "secs::option")]
    running_since: Option<Timestamp>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    zone: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    protected: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    outdated: bool,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WireFailure<'a> {
    kind: contract::FailureKind,
    scope: contract::Scope,
    #[serde(with = "secs")]
    at: Timestamp,
    #[serde(default, borrow, skip_serializing_if = "str::is_empty")]
    message: Cow<'a, str>,
}

#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum WireForeign<'a> {
    #[serde(borrow)]
    Name(Cow<'a, str>),
    Full(Foreign),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WireReading<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Number>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    values: Option<Pairs<'a, Number>>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "secs::option")]
    at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    members: Option<f64>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    missing: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WireOutcome<'a> {
    #[serde(borrow)]
    group: Cow<'a, str>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    provider: Option<Cow<'a, str>>,
    #[serde(borrow)]
    result: Cow<'a, str>,
}

#[derive(Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum WireOverride<'a> {
    Hold {
        #[serde(with = "secs")]
        until: Timestamp,
        #[serde(default)]
        scale_in_only: bool,
        #[serde(default)]
        reason: Cow<'a, str>,
    },
    Pin {
        n: Capacity,
        #[serde(with = "secs")]
        until: Timestamp,
        #[serde(default)]
        now: bool,
        #[serde(default)]
        reason: Cow<'a, str>,
    },
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WireBudget {
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    scale_in: Option<Capacity>,
    #[serde(default, rename = "out", skip_serializing_if = "Option::is_none")]
    scale_out: Option<Capacity>,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum WireAuthority {
    NoScaleIn,
    Store,
    Owner,
    HoldAll,
}

/// A number, or one of Prometheus' words for what is none: JSON cannot say NaN.
#[derive(Clone, Copy)]
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, \"NaN\", \"+Inf\" or \"-Inf\"")
            }
            fn visit_f64<E>(self, value: f64) -> Result<Number, E> {
                Ok(Number(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Number, E> {
                match text {
                    "NaN" => Ok(Number(f64::NAN)),
                    "Inf" | "+Inf" => Ok(Number(f64::INFINITY)),
                    "-Inf" => Ok(Number(f64::NEG_INFINITY)),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            value if value.is_finite() => serializer.serialize_f64(value),
            value if value.is_nan() => serializer.serialize_str("NaN"),
            value => serializer.serialize_str(if value > 0.0 { "+Inf" } else { "-Inf" }),
        }
    }
}

/// A JSON object kept in its order, with duplicate keys refused.
struct Pairs<'a, T>(Vec<(Cow<'a, str>, T)>);

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Pairs<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<'a, T>(std::marker::PhantomData<(&'a (), T)>);
        impl<'de: 'a, 'a, T: Deserialize<'de>> Visitor<'de> for Read<'a, T> {
            type Value = Pairs<'a, T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut pairs = Vec::with_capacity(map.size_hint().unwrap_or(4));
                while let Some(pair) = map.next_entry::<Key<'a>, T>()? {
                    pairs.push((pair.0.0, pair.1));
                }
                if let Some(name) = first_duplicate(pairs.iter().map(|(name, _)| name.as_ref())) {
                    return Err(serde::de::Error::custom(format_args!("duplicate key `{name}`")));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Read(std::marker::PhantomData))
    }
}

impl<T: Serialize> Serialize for Pairs<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// A key that borrows from the line where JSON allows it.
#[derive(Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The first name that comes twice; short lists are compared directly, long ones sorted.
fn first_duplicate<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let mut sorted: Vec<&str> = names.collect();
    sorted.sort_unstable();
    sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// Reads one line.
///
/// # Errors
/// When it is not JSON, or not of this form; the text says where and what would be right.
pub fn parse_line(text: &str) -> Result<Line, LineError> {
    let line: WireLine<'_> = serde_json::from_str(text).map_err(|error| LineError(error.to_string()))?;
    let fleet: Box<str> = line.fleet.as_ref().into();
    if line.history.is_some() {
        if line.now.is_some() || line.groups.is_some() || line.readings.is_some() {
            return Err(LineError(
                "a line has either `history` or a cycle (`now`, `groups`, `readings`), not both".into(),
            ));
        }
        return Ok(Line::History { fleet });
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

fn write_suspended(suspended: &Suspended) -> Cow<'_, str> {
    match suspended {
        Suspended::Launch => "launch".into(),
        Suspended::Terminate => "terminate".into(),
        Suspended::Refresh => "refresh".into(),
        Suspended::Other(text) => text.as_ref().into(),
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

fn read_outcome(outcome: &WireOutcome<'_>) -> Result<(Box<str>, Outcome), LineError> {
    let result = Outcome::from_code(&outcome.result).ok_or_else(|| {
        LineError(format!("outcome `{}` of group `{}` is none that a call can have", outcome.result, outcome.group))
    })?;
    Ok((outcome.group.as_ref().into(), result))
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

    /// What happened since the last line.
    ///
    /// # Errors
    /// When the line names a group that the policy does not have.
    pub fn events(&self, policy: &Policy) -> Result<Vec<Event>, LineError> {
        let mut events = Vec::with_capacity(self.outcomes.len() + 1);
        for (group, outcome) in &self.outcomes {
            let at = policy.groups.iter().position(|own| own.group.as_str() == group.as_ref());
            let at = at.and_then(|at| u16::try_from(at).ok());
            let at = at.ok_or_else(|| LineError(format!("fleet `{}` has no group `{group}`", self.fleet)))?;
            events.push(Event::Outcome { group: at, outcome: *outcome });
        }
        if self.restarted {
            events.push(Event::Restarted);
        }
        Ok(events)
    }
}

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
    let Event::Outcome { group, outcome } = event else { return None };
    let result = match outcome {
        Outcome::Accepted => "accepted",
        Outcome::Refused => "refused",
        Outcome::Unclear => "unclear",
    };
    let own = policy.groups.get(usize::from(*group))?;
    Some(WireOutcome { group: own.group.as_str().into(), provider: None, result: result.into() })
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
