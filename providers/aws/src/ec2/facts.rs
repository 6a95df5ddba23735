//! Facts of instances that never change (launch time) or are only seen once (the first time in service), kept so that
//! they are asked for once per instance ever.
//!
//! In come observations and DescribeInstances' answers; out go launch times and `running_since`. A fact that is missing
//! stays missing: the core then counts from its own first sight.

use crate::errors::Failure;
use crate::lane::Lane;
use aws_sdk_ec2::types::Filter;
use contract::{InstanceId, InstanceState, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Ids in one DescribeInstances.
pub(crate) const BATCH: usize = 100;
/// Pages followed for one batch; a hundred instances fit in one.
const PAGES_MAX: usize = 20;
/// An instance launched longer ago than this has been running since its launch, as far as warm-up is concerned.
const LONG_AGO: Duration = Duration::from_secs(600);
/// An instance that EC2 does not show yet is asked for again this much later, and so often.
const ASK_AGAIN: Duration = Duration::from_secs(60);
const ASKS_MAX: u32 = 3;

#[derive(Debug, Default)]
struct Fact {
    launched: Option<Timestamp>,
    saw_pending: bool,
    running_since: Option<Timestamp>,
    asks: u32,
    ask_after: Option<Instant>,
    seen: bool,
}

/// The facts of one group's instances.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    known: BTreeMap<InstanceId, Fact>,
}

impl Facts {
    /// Notes that an instance was seen in a state, and says when it was launched and since when it has been running.
    pub fn seen(
        &mut self,
        id: &InstanceId,
        state: InstanceState,
        at: Timestamp,
    ) -> (Option<Timestamp>, Option<Timestamp>) {
        let fact = self.known.entry(id.clone()).or_default();
        fact.seen = true;
        match state {
            InstanceState::Pending => {
                fact.saw_pending = true;
                // It may come back from being replaced or from standby: then it starts to run anew.
                fact.running_since = None;
            }
            InstanceState::Running if fact.running_since.is_none() => {
                fact.running_since = match (fact.saw_pending, fact.launched) {
                    (true, _) => Some(at),
                    (false, Some(launched)) if at.since(launched) > LONG_AGO => Some(launched),
                    _ => None,
                };
            }
            _ => {}
        }
        let running_since = fact.running_since.filter(|_| state == InstanceState::Running);
        (fact.launched, running_since)
    }

    /// Forgets the instances that were not seen since the last call: they are gone.
    pub fn prune(&mut self) {
        self.known.retain(|_, fact| std::mem::take(&mut fact.seen));
    }

    /// Instances whose facts are to be asked for now; they count as asked.
    pub fn take_unasked(&mut self, now: Instant) -> Vec<InstanceId> {
        let due = |fact: &Fact| {
            fact.launched.is_none() && fact.asks < ASKS_MAX && fact.ask_after.is_none_or(|after| now >= after)
        };
        let mut ids = Vec::new();
        for (id, fact) in self.known.iter_mut().filter(|(_, fact)| due(fact)) {
            fact.asks += 1;
            fact.ask_after = Some(now + ASK_AGAIN);
            ids.push(id.clone());
        }
        ids
    }

    /// Notes that an ask failed, so that it does not count as one of the few.
    pub fn not_told(&mut self, ids: &[InstanceId]) {
        for id in ids {
            if let Some(fact) = self.known.get_mut(id) {
                fact.asks = fact.asks.saturating_sub(1);
            }
        }
    }

    /// Notes a launch time.
    pub fn learn(&mut self, id: &InstanceId, launched: Timestamp) {
        if let Some(fact) = self.known.get_mut(id) {
            fact.launched = Some(launched);
        }
    }
}

/// Asks EC2 for the launch times of at most [`BATCH`] instances. By filter, not by id: one id that EC2 does not know
/// yet would fail the whole call.
pub(crate) async fn launch_times(
    ec2: &aws_sdk_ec2::Client,
    lane: &Lane,
    ids: &[InstanceId],
) -> Result<Vec<(InstanceId, Timestamp)>, Failure> {
    let filter =
        Filter::builder().name("instance-id").set_values(Some(ids.iter().map(|id| id.0.to_string()).collect())).build();
    let mut times = Vec::with_capacity(ids.len());
    let mut token: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let request = ec2.describe_instances().filters(filter.clone()).max_results(1000).set_next_token(token.take());
        let page = lane.read("DescribeInstances", || request.clone().send()).await?;
        for instance in page.reservations().iter().flat_map(|r| r.instances()) {
            let launched = instance.launch_time().and_then(|t| Timestamp::from_secs_f64(t.as_secs_f64()));
            if let (Some(id), Some(launched)) = (instance.instance_id(), launched) {
                times.push((InstanceId::from(id), launched));
            }
        }
        token = page.next_token().filter(|t| !t.is_empty()).map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use InstanceState::{Pending, Running};

    const NOW: Timestamp = Timestamp::from_secs(10_000);

    fn id() -> InstanceId {
        InstanceId::from("i-1")
    }

    #[test]
    fn an_instance_seen_booting_runs_since_it_was_first_seen_running() {
        let mut facts = Facts::default();
        assert_eq!(facts.seen(&id(), Pending, NOW), (None, None));
        facts.learn(&id(), Timestamp::from_secs(1));
        let later = Timestamp::from_secs(10_060);
        assert_eq!(facts.seen(&id(), Running, later), (Some(Timestamp::from_secs(1)), Some(later)));
        assert_eq!(facts.seen(&id(), Running, Timestamp::from_secs(10_090)).1, Some(later));
    }

    #[test]
    fn an_instance_met_running_runs_since_its_launch_only_when_that_is_long_ago() {
        let check = |launched: i64, expected: Option<i64>| {
            let mut facts = Facts::default();
            assert_eq!(facts.seen(&id(), Running, NOW), (None, None));
            facts.learn(&id(), Timestamp::from_secs(launched));
            assert_eq!(facts.seen(&id(), Running, NOW).1, expected.map(Timestamp::from_secs), "{launched}");
        };
        check(5_000, Some(5_000));
        check(9_399, Some(9_399));
        check(9_400, None);
        check(9_990, None);
    }

    #[test]
    fn an_instance_is_asked_for_once_and_forgotten_when_gone() {
        let mut facts = Facts::default();
        let start = Instant::now();
        facts.seen(&id(), Running, NOW);
        assert_eq!(facts.take_unasked(start), vec![id()]);
        assert_eq!(facts.take_unasked(start), vec![]);
        // EC2 does not know it yet: twice more, a minute apart.
        assert_eq!(facts.take_unasked(start + ASK_AGAIN), vec![id()]);
        assert_eq!(facts.take_unasked(start + ASK_AGAIN * 2), vec![id()]);
        assert_eq!(facts.take_unasked(start + ASK_AGAIN * 9), vec![]);
        facts.not_told(&[id()]);
        assert_eq!(facts.take_unasked(start + ASK_AGAIN * 9), vec![id()]);
        facts.learn(&id(), NOW);
        facts.not_told(&[id()]);
        assert_eq!(facts.take_unasked(start + ASK_AGAIN * 99), vec![]);
        facts.prune();
        assert_eq!(facts.known.len(), 1);
        facts.prune();
        assert_eq!(facts.known.len(), 0);
    }
}
