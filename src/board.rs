//! The newest observation of every group and the newest answer to every query, each with the tick that asked for it.
//!
//! In: finished polls. Out: facts of one fleet, borrowed. [`Index`] is built once for each policy set: it interns groups
//! and queries as numbers, so that what many fleets share is asked once and found without a text comparison.
//! Nothing here asks a cloud, judges a number or decides.

use crate::sources::{AnswerIndex, OwnedReading, QueryAsk, pick};
use contract::{GroupId, Observation};
use policies::facts::{GroupError, MissingWhy};
use policies::policy::{Metric, Policy, PolicySet};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A tick's number, counted from 1; 0 is before all ticks.
pub type Tick = u64;

/// What the fleets of one policy set ask for, without repetition.
#[derive(Debug, Default)]
pub struct Index {
    /// Names of providers, sorted.
    pub providers: Vec<Arc<str>>,
    /// Names of sources, sorted.
    pub sources: Vec<Arc<str>>,
    /// All groups.
    pub groups: Vec<GroupKey>,
    /// All distinct queries.
    pub queries: Vec<QueryKey>,
    /// What each fleet of the set needs, in the set's order.
    pub fleets: Vec<Inputs>,
    /// Fleets by query.
    query_readers: Vec<Vec<u32>>,
    /// Fleets by group; one in a valid set.
    group_readers: Vec<Vec<u32>>,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKey {
    /// Index into [`Index::providers`].
    pub provider: u32,
    /// Its name there.
    pub group: GroupId,
}

/// One distinct query.
#[derive(Debug)]
pub struct QueryKey {
    /// Index into [`Index::sources`].
    pub source: u32,
    /// What is asked.
    pub ask: QueryAsk,
}

/// What one fleet needs.
#[derive(Debug, Default)]
pub struct Inputs {
    /// Its groups, in the policy's order.
    pub groups: Box<[u32]>,
    /// Its metrics' queries, in the policy's order.
    pub metrics: Box<[MetricInputs]>,
    /// Its distinct queries.
    pub queries: Box<[u32]>,
}

/// The queries of one metric.
#[derive(Clone, Copy, Debug)]
pub struct MetricInputs {
    /// Of the value.
    pub value: u32,
    /// Of the count of members.
    pub members: Option<u32>,
    /// Of the proof of life.
    pub proof: Option<u32>,
}

/// What makes two questions one.
type AskKey = (u32, Arc<str>, Option<Arc<str>>, Duration);

impl Index {
    /// Interns everything that a policy set asks for.
    pub fn new(set: &PolicySet) -> Self {
        let metrics = || set.fleets.iter().flat_map(|policy| policy.metrics.iter());
        let groups = || set.fleets.iter().flat_map(|policy| policy.groups.iter());
        let providers: BTreeSet<&str> = groups().map(|group| &*group.provider).collect();
        let sources: BTreeSet<&str> = metrics().map(|metric| &*metric.source).collect();
        let mut index = Self {
            providers: providers.into_iter().map(Arc::from).collect(),
            sources: sources.into_iter().map(Arc::from).collect(),
            ..Self::default()
        };
        let keys: BTreeSet<GroupKey> = groups().map(|group| index.group_key(&group.provider, &group.group)).collect();
        index.groups = keys.into_iter().collect();
        let mut asks: BTreeMap<AskKey, (BTreeSet<&str>, Duration)> = BTreeMap::new();
        for metric in metrics() {
            for (kind, key) in index.ask_keys(metric) {
                let (by, max_age) = asks.entry(key).or_insert_with(|| (BTreeSet::new(), metric.max_age));
                *max_age = metric.max_age.min(*max_age);
                by.extend(metric.select.iter().map(|(name, _)| &**name));
                by.extend(metric.by.as_deref().filter(|_| kind == Kind::Value));
            }
        }
        let ids: BTreeMap<AskKey, u32> = asks.keys().cloned().zip(0..).collect();
        for ((source, query, freshness, offset), (by, max_age)) in asks {
            let by = by.into_iter().map(Box::from).collect();
            index.queries.push(QueryKey { source, ask: QueryAsk { query, freshness, offset, by, max_age } });
        }
        index.fleets = set.fleets.iter().map(|policy| index.inputs(policy, &ids)).collect();
        index.note_readers();
        index
    }

    fn group_key(&self, provider: &str, group: &GroupId) -> GroupKey {
        GroupKey { provider: position(&self.providers, provider), group: group.clone() }
    }

    fn ask_keys(&self, metric: &Metric) -> impl Iterator<Item = (Kind, AskKey)> {
        let source = position(&self.sources, &metric.source);
        let extra =
            |kind, query: &Option<Arc<str>>| query.clone().map(|query| (kind, (source, query, None, metric.offset)));
        let value = (Kind::Value, (source, metric.query.clone(), metric.freshness.clone(), metric.offset));
        let members = extra(Kind::Members, &metric.members);
        let proof = extra(Kind::Proof, &metric.absent_zero_if);
        std::iter::once(value).chain(members).chain(proof)
    }

    fn inputs(&self, policy: &Policy, ids: &BTreeMap<AskKey, u32>) -> Inputs {
        let group = |group: &policies::policy::Group| {
            let key = self.group_key(&group.provider, &group.group);
            // Every key was collected above, so it is found.
            self.groups.binary_search(&key).unwrap_or_default() as u32
        };
        let mut queries = BTreeSet::new();
        let metrics = policy.metrics.iter().map(|metric| {
            let mut inputs = MetricInputs { value: 0, members: None, proof: None };
            for (kind, key) in self.ask_keys(metric) {
                let id = ids.get(&key).copied().unwrap_or_default();
                queries.insert(id);
                match kind {
                    Kind::Value => inputs.value = id,
                    Kind::Members => inputs.members = Some(id),
                    Kind::Proof => inputs.proof = Some(id),
                }
            }
            inputs
        });
        let metrics = metrics.collect();
        Inputs { groups: policy.groups.iter().map(group).collect(), metrics, queries: queries.into_iter().collect() }
    }

    fn note_readers(&mut self) {
        self.query_readers = vec![Vec::new(); self.queries.len()];
        self.group_readers = vec![Vec::new(); self.groups.len()];
        for (inputs, fleet) in self.fleets.iter().zip(0_u32..) {
            inputs.queries.iter().for_each(|query| self.query_readers[*query as usize].push(fleet));
            inputs.groups.iter().for_each(|group| self.group_readers[*group as usize].push(fleet));
        }
    }

    /// The fleets that read a query.
    pub fn readers_of_query(&self, query: u32) -> &[u32] {
        &self.query_readers[query as usize]
    }

    /// The fleets that read a group.
    pub fn readers_of_group(&self, group: u32) -> &[u32] {
        &self.group_readers[group as usize]
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Value,
    Members,
    Proof,
}

fn position(names: &[Arc<str>], name: &str) -> u32 {
    names.binary_search_by(|known| (**known).cmp(name)).unwrap_or_default() as u32
}

/// One thing that was asked for, with the tick that asked. An answer to an older tick never replaces a newer one's.
#[derive(Debug)]
struct Cell<T> {
    tick: Tick,
    value: Option<T>,
}

/// The newest of everything, for one policy set.
#[derive(Debug, Default)]
pub struct Board {
    groups: Vec<Cell<Result<Observation, GroupError>>>,
    queries: Vec<Cell<AnswerIndex>>,
}

impl Board {
    /// An empty board for an index.
    pub fn new(index: &Index) -> Self {
        Self {
            groups: index.groups.iter().map(|_| Cell { tick: 0, value: None }).collect(),
            queries: index.queries.iter().map(|_| Cell { tick: 0, value: None }).collect(),
        }
    }

    /// Puts a group's observation on the board.
    pub fn put_group(&mut self, group: u32, tick: Tick, observed: Result<Observation, GroupError>) {
        self.groups[group as usize].put(tick, observed);
    }

    /// Puts a query's answer on the board.
    pub fn put_answer(&mut self, query: u32, tick: Tick, answer: AnswerIndex) {
        self.queries[query as usize].put(tick, answer);
    }

    /// What a group showed to a question of `tick` or later; an answer from before does not count as read now.
    pub fn group(&self, group: u32, tick: Tick) -> Result<&Observation, GroupError> {
        match self.groups[group as usize].since(tick) {
            Some(Ok(observation)) => Ok(observation),
            Some(Err(error)) => Err(error.clone()),
            None => Err(GroupError::Timeout),
        }
    }

    /// The tick whose question a group last answered.
    pub fn group_tick(&self, group: u32) -> Tick {
        self.groups[group as usize].tick
    }

    /// One metric's reading out of answers to questions of `tick` or later.
    pub fn reading(&self, metric: &Metric, inputs: MetricInputs, tick: Tick) -> OwnedReading {
        let answer = |query: u32| self.queries[query as usize].since(tick);
        let Some(value) = answer(inputs.value) else { return OwnedReading::Missing(MissingWhy::Timeout) };
        pick(metric, value, inputs.members.and_then(answer), inputs.proof.and_then(answer))
    }
}

impl<T> Cell<T> {
    fn put(&mut self, tick: Tick, value: T) {
        if tick >= self.tick {
            *self = Self { tick, value: Some(value) };
        }
    }

    fn since(&self, tick: Tick) -> Option<&T> {
        self.value.as_ref().filter(|_| self.tick >= tick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policies::policy::SourceFile;

    /// One text for all fleets has to tell their times apart, or a live fleet would vouch for a dead one.
    #[test]
    fn what_picks_a_fleets_series_picks_its_times_too() {
        let fleet = |name: &str| {
            format!(
                r#"
[fleet.{name}]
mode = "on"
min = 1
max = 9
group = [{{ provider = "cloud", group = "{name}" }}]
[fleet.{name}.metric.rps]
source = "load"
query = "sum by (asg) (rps)"
select = {{ asg = "{name}" }}
unit = "count"
members = "count by (asg) (rps)"
absent = {{ zero_if = "count by (asg) (up) > 0" }}
[fleet.{name}.metric.cpu]
source = "load"
query = "avg by (asg, instance) (cpu)"
select = {{ asg = "{name}" }}
by = "instance"
unit = "ratio"
[[fleet.{name}.rule]]
kind = "per-instance"
metric = "rps"
target = 10
[[fleet.{name}.rule]]
kind = "utilization"
metric = "cpu"
target = 0.5
"#
            )
        };
        let file = SourceFile { name: "a.toml".into(), text: fleet("a") + &fleet("b") };
        let (set, found) = crate::config::parse_policies(&[file], std::time::Duration::from_secs(15), None);
        assert!(found.is_empty(), "{found:?}");
        let index = Index::new(&set);
        let asked: Vec<(&str, Vec<&str>)> = index
            .queries
            .iter()
            .map(|query| (&*query.ask.query, query.ask.by.iter().map(|name| &**name).collect()))
            .collect();
        assert_eq!(
            asked,
            [
                ("avg by (asg, instance) (cpu)", vec!["asg", "instance"]),
                ("count by (asg) (rps)", vec!["asg"]),
                ("count by (asg) (up) > 0", vec!["asg"]),
                ("sum by (asg) (rps)", vec!["asg"]),
            ]
        );
    }
}
