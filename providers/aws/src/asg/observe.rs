//! Observing Auto Scaling groups: one DescribeAutoScalingGroups per hundred names, its pages followed.
//!
//! In come asks; out goes one observation or one error for each. A group that is missing from a *complete* answer does
//! not exist; from an incomplete one, it is unknown.

use super::{Asg, shape};
use crate::errors::Failure;
use aws_sdk_autoscaling::types::AutoScalingGroup;
use contract::{Ask, Observation, ProviderError, Timestamp};
use futures_util::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::time::Instant;

/// Names in one call, and records asked for in one page: AWS' largest for both.
const NAMES_MAX: usize = 100;
/// Pages followed for one hundred names; one or two is normal, and AWS may send empty ones.
const PAGES_MAX: usize = 20;
/// Calls in the air at once.
const CONCURRENT: usize = 4;

/// What was answered for up to a hundred names.
struct Answer {
    /// The time before the first call.
    at: Timestamp,
    groups: BTreeMap<String, AutoScalingGroup>,
    /// Why the answer is not complete.
    broken: Option<ProviderError>,
}

impl Asg {
    /// Observes groups; the answers are in the order of the asks.
    pub async fn observe(self: &Arc<Self>, asks: &[&Ask]) -> Vec<Result<Observation, ProviderError>> {
        if asks.is_empty() {
            return Vec::new();
        }
        let start = Instant::now();
        let around = self.look_around(asks.len());
        let names: BTreeSet<&str> = asks.iter().map(|ask| ask.group.as_str()).filter(|name| is_name(name)).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let batches: Vec<&[&str]> = names.chunks(NAMES_MAX).collect();
        let calls: Vec<_> = batches.iter().map(|batch| self.describe(batch)).collect();
        let answers: Vec<Answer> = futures_util::stream::iter(calls).buffered(CONCURRENT).collect().await;
        let mut by_name: BTreeMap<&str, &Answer> = BTreeMap::new();
        for (batch, answer) in batches.iter().zip(&answers) {
            by_name.extend(batch.iter().map(|name| (*name, answer)));
        }
        let mut observations: Vec<_> = asks.iter().map(|ask| self.shape(ask, &by_name)).collect();
        let beside = self.look_beside(asks, &observations, start);
        self.wait_a_little(around.into_iter().chain(beside)).await;
        for (ask, observation) in asks.iter().zip(&mut observations) {
            if let Ok(observation) = observation {
                self.add_lookups(ask.group.as_str(), observation);
            }
        }
        observations
    }

    fn shape(&self, ask: &Ask, answers: &BTreeMap<&str, &Answer>) -> Result<Observation, ProviderError> {
        let name = ask.group.as_str();
        let Some(answer) = answers.get(name) else {
            let what =
                format!("{name:?} is not a name of an Auto Scaling group (1 to 255 characters, no control ones)");
            return Err(ProviderError::Invalid { what: what.into() });
        };
        let Some(group) = answer.groups.get(name) else {
            return Err(match &answer.broken {
                Some(error) => error.again(),
                None => ProviderError::NotFound { what: format!("Auto Scaling group {name}").into() },
            });
        };
        self.group(name, |memory| {
            let observation = shape::observation(group, &mut memory.facts, answer.at)?;
            memory.facts.prune();
            memory.tag = observation.owner.clone();
            memory.zones = group.availability_zones().iter().map(|zone| zone.as_str().into()).collect();
            Ok(observation)
        })
    }

    /// One group, for a write: a fresh read.
    pub async fn describe_one(&self, name: &str) -> Result<AutoScalingGroup, ProviderError> {
        if !is_name(name) {
            return Err(ProviderError::Invalid {
                what: format!("{name:?} is not a name of an Auto Scaling group").into(),
            });
        }
        let mut answer = self.describe(&[name]).await;
        match (answer.groups.remove(name), answer.broken) {
            (Some(group), _) => Ok(group),
            (None, Some(error)) => Err(error),
            (None, None) => Err(ProviderError::NotFound { what: format!("Auto Scaling group {name}").into() }),
        }
    }

    async fn describe(&self, names: &[&str]) -> Answer {
        let mut answer = Answer { at: (self.now)(), groups: BTreeMap::new(), broken: None };
        if let Err(error) = self.describe_into(names, &mut answer.groups).await {
            answer.broken = Some(error);
        }
        answer
    }

    async fn describe_into(
        &self,
        names: &[&str],
        groups: &mut BTreeMap<String, AutoScalingGroup>,
    ) -> Result<(), ProviderError> {
        let names: BTreeSet<&str> = names.iter().copied().collect();
        let mut tokens: BTreeSet<String> = BTreeSet::new();
        let mut token: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let request = self
                .client
                .describe_auto_scaling_groups()
                .set_auto_scaling_group_names(Some(names.iter().map(|name| (*name).to_owned()).collect()))
                .max_records(NAMES_MAX as i32)
                .set_next_token(token.take());
            let page = self
                .lane
                .read("DescribeAutoScalingGroups", || request.clone().send())
                .await
                .map_err(|f: Failure| f.error)?;
            let next = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            for group in page.auto_scaling_groups.unwrap_or_default() {
                // A group shown twice is one group: the first page was the older one, and age is never underestimated.
                match group.auto_scaling_group_name() {
                    Some(name) if names.contains(name) && !groups.contains_key(name) => {
                        groups.insert(name.to_owned(), group);
                    }
                    _ => {}
                }
            }
            // With every name answered the rest of the pages can only repeat.
            let Some(next) = next.filter(|_| groups.len() < names.len()) else {
                return Ok(());
            };
            if !tokens.insert(next.clone()) {
                return Err(nonsense("DescribeAutoScalingGroups: the same page is offered again and again"));
            }
            token = Some(next);
        }
        Err(nonsense("DescribeAutoScalingGroups: more pages than a hundred groups can fill"))
    }
}

fn nonsense(why: &str) -> ProviderError {
    ProviderError::Transport { what: why.into(), source: None }
}

/// An empty name must never be sent: a list without names means *all* groups.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().count() <= 255 && !name.chars().any(char::is_control)
}
