//! Groups that only a tag holds together: `ec2:VALUE` is the instances with `skala:group` = VALUE, `ec2:KEY=VALUE` those
//! with that tag. EC2 keeps no desired for them, skala's memory does.
//!
//! In come asks, out go observations read with one DescribeInstances per hundred groups of a tag key, pages followed.
//! While a zone is disrupted EC2 refuses every listing that names no instances: then these groups are unknown.
//! A tag that nobody carries is a group without instances, not one that is missing: EC2 does not know the difference.
//! A stopped instance is not part of its group. There is no owner tag: there is no group to put it on. An instance that an
//! Auto Scaling group or a fleet launched shows that one as a foreign controller: it would replace what is removed here.

use super::ended;
use crate::Clock;
use crate::ec2::facts::Facts;
use crate::lane::Lane;
use aws_sdk_ec2::types::{Filter, Instance as Ec2Instance, InstanceStateName};
use contract::{
    Abilities, Ask, Foreign, Instance, InstanceId, InstanceState, LaunchFailure, Observation, ProviderError, Timestamp,
};
use futures_util::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What a name of this kind begins with.
pub(crate) const PREFIX: &str = "ec2:";
/// The tag's key when the name gives none.
const DEFAULT_KEY: &str = "skala:group";
/// Carried by an instance that scale-in must leave alone, unless its value is `false`.
const PROTECTED: &str = "skala:protected";
/// The launch that an instance came from: `ACTION-INDEX/MOST`, the name of one call and how many it asked for.
pub(crate) const LAUNCH: &str = "skala:launch";
/// Carried by what something else launched, and what that is.
const CONTROLLERS: &[(&str, &str)] = &[
    ("aws:autoscaling:groupName", "Auto Scaling group"),
    ("aws:ec2:fleet-id", "EC2 Fleet"),
    ("aws:ec2spot:fleet-request-id", "Spot Fleet"),
];
/// Values in one filter; EC2 takes 200.
const VALUES_MAX: usize = 100;
const PAGES_MAX: usize = 200;
/// Reads in the air at once.
const CONCURRENT: usize = 4;
/// EC2 may show a new instance seconds or minutes later than it answers the launch. So long what it answered is believed.
const UNSEEN_FOR: Duration = Duration::from_secs(300);
/// A refused launch is shown this long.
const FAILURES_KEPT: Duration = Duration::from_secs(1800);
/// The states that are part of a group, those on their way out included; and what EC2 still shows of failed launches.
const STATES: [InstanceStateName; 5] = [
    InstanceStateName::Pending,
    InstanceStateName::Running,
    InstanceStateName::ShuttingDown,
    InstanceStateName::Stopping,
    InstanceStateName::Terminated,
];

/// Also those that are gone or stopped.
pub(crate) const STATES_OF_ANY_TIME: [InstanceStateName; 6] = [
    InstanceStateName::Pending,
    InstanceStateName::Running,
    InstanceStateName::ShuttingDown,
    InstanceStateName::Stopping,
    InstanceStateName::Stopped,
    InstanceStateName::Terminated,
];

/// The tag behind a group's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TagName {
    pub key: Box<str>,
    /// Also the name of the launch template that new instances come from.
    pub value: Box<str>,
}

impl TagName {
    /// Reads `ec2:VALUE` or `ec2:KEY=VALUE`.
    pub fn parse(group: &str) -> Result<Self, ProviderError> {
        let name = group.strip_prefix(PREFIX).unwrap_or_default();
        let (key, value) = name.split_once('=').unwrap_or((DEFAULT_KEY, name));
        // EC2's limits; and its filters would take `*` and `?` for wildcards, which is more than this group.
        let plain = |text: &str, most: usize| {
            !text.is_empty()
                && text.chars().count() <= most
                && !text.contains(['*', '?', '\\'])
                && !text.chars().any(char::is_control)
        };
        if plain(key, 128) && plain(value, 256) {
            return Ok(Self { key: key.into(), value: value.into() });
        }
        let what = format!("{group:?} is not ec2:VALUE or ec2:KEY=VALUE (a tag, without * ? and \\)");
        Err(ProviderError::Invalid { what: what.into() })
    }
}

/// The tagged groups of one account and region.
pub(crate) struct Tagged {
    pub client: aws_sdk_ec2::Client,
    pub lane: Arc<Lane>,
    /// For RunInstances alone, which has a bucket of its own at EC2.
    pub launches: Lane,
    pub now: Clock,
    memory: Mutex<BTreeMap<Box<str>, Group>>,
}

/// What this process remembers of one group.
#[derive(Default)]
pub(crate) struct Group {
    facts: Facts,
    pub failures: Vec<LaunchFailure>,
    /// What RunInstances answered and no read has shown yet.
    pub launched: BTreeMap<InstanceId, Launched>,
}

/// An instance that EC2 said it launched.
pub(crate) struct Launched {
    /// When it said so.
    pub at: Timestamp,
    /// The launch tag it got.
    pub launch: Box<str>,
    pub time: Option<Timestamp>,
    pub zone: Option<Box<str>>,
}

impl Group {
    /// Drops of the launches what a read has shown, in whatever state, or should have by now.
    pub fn forget_shown(&mut self, shown: &[Ec2Instance], at: Timestamp) {
        let shown: BTreeSet<&str> = shown.iter().filter_map(Ec2Instance::instance_id).collect();
        self.launched.retain(|id, launched| !shown.contains(id.as_str()) && at.since(launched.at) < UNSEEN_FOR);
    }
}

impl Tagged {
    pub fn new(client: aws_sdk_ec2::Client, lane: Arc<Lane>, launches: Lane, now: Clock) -> Self {
        Self { client, lane, launches, now, memory: Mutex::default() }
    }

    /// Changes what is remembered of a group.
    pub fn group<T>(&self, name: &str, change: impl FnOnce(&mut Group) -> T) -> T {
        change(self.memory.lock().unwrap_or_else(PoisonError::into_inner).entry(name.into()).or_default())
    }

    /// Observes groups; the answers are in the order of the asks. All of it takes no longer than one read may: a slow EC2
    /// must not cost the account's Auto Scaling groups their observation.
    pub async fn observe(&self, asks: &[&Ask]) -> Vec<Result<Observation, ProviderError>> {
        let mut by_key: BTreeMap<Box<str>, BTreeSet<Box<str>>> = BTreeMap::new();
        for name in asks.iter().filter_map(|ask| TagName::parse(ask.group.as_str()).ok()) {
            by_key.entry(name.key).or_default().insert(name.value);
        }
        let mut batches: Vec<(Box<str>, Vec<Box<str>>)> = Vec::new();
        for (key, values) in by_key {
            let values: Vec<Box<str>> = values.into_iter().collect();
            batches.extend(values.chunks(VALUES_MAX).map(|batch| (key.clone(), batch.to_vec())));
        }
        let until = Instant::now() + self.lane.deadlines.read;
        let reads: Vec<_> = batches
            .iter()
            .map(|(key, batch)| async move { ((self.now)(), self.read(key, batch, &STATES, until).await) })
            .collect();
        let reads: Vec<_> = futures_util::stream::iter(reads).buffered(CONCURRENT).collect().await;
        let mut answers: BTreeMap<TagName, Result<(Timestamp, Vec<Ec2Instance>), ProviderError>> = BTreeMap::new();
        for ((key, batch), (at, read)) in batches.iter().zip(&reads) {
            for value in batch {
                let tag = TagName { key: key.clone(), value: value.clone() };
                let answer = match read {
                    Ok(found) => Ok((*at, found.iter().filter(|i| carries(i, &tag)).cloned().collect())),
                    Err(error) => Err(error.again()),
                };
                answers.insert(tag, answer);
            }
        }
        asks.iter()
            .map(|ask| {
                let tag = TagName::parse(ask.group.as_str())?;
                match answers.get(&tag) {
                    Some(Ok((at, instances))) => self.shape(ask.group.as_str(), instances, *at),
                    Some(Err(error)) => Err(error.again()),
                    None => Err(ProviderError::Transport { what: "not answered".into(), source: None }),
                }
            })
            .collect()
    }

    /// The instances that carry a tag, in these states. Complete, or an error, which it is at the latest at `until`.
    pub async fn read(
        &self,
        key: &str,
        values: &[Box<str>],
        states: &[InstanceStateName],
        until: Instant,
    ) -> Result<Vec<Ec2Instance>, ProviderError> {
        let by_tag = Filter::builder()
            .name(format!("tag:{key}"))
            .set_values(Some(values.iter().map(|v| v.to_string()).collect()));
        let by_state = Filter::builder()
            .name("instance-state-name")
            .set_values(Some(states.iter().map(|state| state.as_str().to_owned()).collect()));
        let (by_tag, by_state) = (by_tag.build(), by_state.build());
        let mut found: BTreeMap<String, Ec2Instance> = BTreeMap::new();
        let mut tokens = BTreeSet::new();
        let mut token: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let request = self.client.describe_instances().filters(by_tag.clone()).filters(by_state.clone());
            let request = request.max_results(1000).set_next_token(token.take());
            let page = self.lane.read_until("DescribeInstances", until, || request.clone().send());
            let page = page.await.map_err(|f| f.error)?;
            for instance in
                page.reservations.unwrap_or_default().into_iter().flat_map(|r| r.instances.unwrap_or_default())
            {
                let Some(id) = instance.instance_id().filter(|id| !id.is_empty()) else {
                    return Err(nonsense("an instance without an id"));
                };
                found.entry(id.to_owned()).or_insert(instance);
            }
            let Some(next) = page.next_token.filter(|token| !token.is_empty()) else {
                return Ok(found.into_values().collect());
            };
            if !tokens.insert(next.clone()) {
                return Err(nonsense("the same page is offered again and again"));
            }
            token = Some(next);
        }
        Err(nonsense("more pages than a hundred groups can fill"))
    }

    fn shape(&self, name: &str, shown: &[Ec2Instance], at: Timestamp) -> Result<Observation, ProviderError> {
        self.group(name, |group| {
            let mut instances = Vec::with_capacity(shown.len());
            for instance in shown {
                let Some(state) = state(instance) else { continue };
                let id = InstanceId::from(instance.instance_id().unwrap_or_default());
                group.facts.seen(&id, state, at);
                if let Some(time) = instance.launch_time().and_then(|t| Timestamp::from_secs_f64(t.as_secs_f64())) {
                    group.facts.learn(&id, time);
                }
                let (launched, running_since) = group.facts.seen(&id, state, at);
                let zone = instance.placement().and_then(|placement| placement.availability_zone());
                let protected = is_protected(instance);
                let (zone, outdated) = (zone.map(Into::into), false);
                instances.push(Instance { id, state, launched, running_since, zone, protected, outdated });
            }
            group.forget_shown(shown, at);
            for (id, launched) in &group.launched {
                let state = InstanceState::Pending;
                group.facts.seen(id, state, at);
                let (zone, running_since) = (launched.zone.clone(), None);
                let (protected, outdated, launched) = (false, false, launched.time);
                instances.push(Instance { id: id.clone(), state, launched, running_since, zone, protected, outdated });
            }
            group.facts.prune();
            let kept = at.before(FAILURES_KEPT);
            group.failures.retain(|failure| failure.at >= kept);
            let later = shown.iter().filter_map(ended::failed_launch).filter(|failure| failure.at >= kept);
            let launch_failures = group.failures.iter().cloned().chain(later).collect();
            Ok(Observation {
                desired: None,
                cloud_min: None,
                cloud_max: None,
                instances,
                operations: Vec::new(),
                launch_failures,
                suspended: Vec::new(),
                foreign: controllers(shown),
                owner: None,
                abilities: Abilities { keeps_desired: false, ..Abilities::default() },
                token: None,
                at,
            })
        })
    }
}

/// Whether an instance is one of a tag's group.
pub(crate) fn carries(instance: &Ec2Instance, tag: &TagName) -> bool {
    tag_of(instance, &tag.key) == Some(&tag.value)
}

pub(crate) fn tag_of<'a>(instance: &'a Ec2Instance, key: &str) -> Option<&'a str> {
    instance.tags().iter().find(|tag| tag.key() == Some(key)).and_then(|tag| tag.value())
}

/// What else launched instances of a group, by the tags that only AWS can write. It replaces what somebody removes.
pub(crate) fn controllers(shown: &[Ec2Instance]) -> Vec<Foreign> {
    let alive = shown.iter().filter(|i| matches!(state(i), Some(InstanceState::Pending | InstanceState::Running)));
    let named = |instance: &Ec2Instance| {
        let of = |(key, what): &(&str, &str)| tag_of(instance, key).map(|name| format!("{what} {name}"));
        CONTROLLERS.iter().find_map(of)
    };
    let names: BTreeSet<String> = alive.filter_map(named).collect();
    names.into_iter().map(|name| Foreign { name: name.into(), removes: Some(true) }).collect()
}

pub(crate) fn is_protected(instance: &Ec2Instance) -> bool {
    // A state that nobody knows is no reason to kill.
    let state = instance.state().and_then(|state| state.name());
    !state.is_some_and(|state| STATES_OF_ANY_TIME.contains(state))
        || tag_of(instance, PROTECTED).is_some_and(|value| value != "false")
}

/// An instance's state; `None` when it is not part of its group. What is unknown is there and does not serve.
pub(crate) fn state(instance: &Ec2Instance) -> Option<InstanceState> {
    match instance.state().and_then(|state| state.name()) {
        Some(InstanceStateName::Running) => Some(InstanceState::Running),
        Some(InstanceStateName::Pending) => Some(InstanceState::Pending),
        Some(InstanceStateName::ShuttingDown | InstanceStateName::Stopping) => Some(InstanceState::Terminating),
        Some(InstanceStateName::Terminated | InstanceStateName::Stopped) => None,
        _ => Some(InstanceState::Pending),
    }
}

fn nonsense(why: &str) -> ProviderError {
    ProviderError::Transport { what: format!("DescribeInstances: {why}").into(), source: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_tag() {
        let check = |name: &str, expected: Option<(&str, &str)>| {
            let expected = expected.map(|(key, value)| TagName { key: key.into(), value: value.into() });
            assert_eq!(TagName::parse(name).ok(), expected, "{name}");
        };
        check("ec2:web", Some(("skala:group", "web")));
        check("ec2:role=web", Some(("role", "web")));
        check("ec2:role=a=b", Some(("role", "a=b")));
        for bad in ["ec2:", "ec2:=web", "ec2:role=", "ec2:we*", "ec2:w?b", "ec2:r*=web", "ec2:a\nb"] {
            check(bad, None);
        }
    }
}
