//! Asks clouds and sources on behalf of the fleets that are due. In: what to ask. Out: one message for each provider's
//! answer and each query's, under a deadline. One page of groups or one query text is asked once however many fleets
//! want it. Nothing here judges an answer; an error or a late answer is never an empty one.

use super::recorded::{self, Job, Learned};
use crate::app::{Providers, Sources};
use crate::board::Tick;
use crate::clock::Clock;
use crate::sources::{AnswerIndex, MetricSource, QueryAsk};
use contract::{Ask, Observation, Provider, ProviderError};
use futures_util::{FutureExt, StreamExt, stream};
use policies::facts::{GroupError, MissingWhy};
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

/// Queries under way to one source, over all ticks.
const PER_SOURCE: usize = 16;

/// The longest that a cycle waits for its inputs.
const DEADLINE_MAX: Duration = Duration::from_secs(5);

/// How long a fleet with this interval waits for its inputs.
pub(crate) fn deadline(interval: Duration) -> Duration {
    (interval / 2).min(DEADLINE_MAX)
}

/// A finished poll. `generation` tells the policy set that asked: ids of an older one mean nothing any more.
#[derive(Debug)]
pub(crate) struct Finished {
    pub generation: u64,
    pub tick: Tick,
    pub took: Duration,
    pub what: Answered,
}

/// Why a group could not be read: for the core, and for people in the provider's own words, which say what to do.
#[derive(Clone, Debug)]
pub(crate) struct Unread {
    pub error: GroupError,
    pub text: Option<Arc<str>>,
}

impl From<GroupError> for Unread {
    fn from(error: GroupError) -> Self {
        Self { error, text: None }
    }
}

impl From<ProviderError> for Unread {
    fn from(error: ProviderError) -> Self {
        let text = Some(super::act::chain_text(&error).into());
        let error = match error {
            ProviderError::NotFound { .. } => GroupError::NotFound,
            other => GroupError::Other(other.code().into()),
        };
        Self { error, text }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) enum Answered {
    /// Groups of one provider, in the order of `groups`.
    Groups { groups: Vec<u32>, answers: Vec<Result<Observation, Unread>> },
    /// What was learned from a source's records.
    History(Box<Learned>),
    /// A drainer is done with an instance.
    Drain(super::drains::Done),
    /// One query.
    Query { source: u32, query: u32, answer: AnswerIndex },
}

/// Everything that a poll needs.
#[derive(Clone)]
pub(crate) struct Polls {
    clock: Arc<dyn Clock>,
    providers: Providers,
    sources: Arc<BTreeMap<Arc<str>, Source>>,
    finished: mpsc::Sender<Finished>,
}

struct Source {
    source: Arc<dyn MetricSource>,
    permits: Semaphore,
}

/// One poll's frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub generation: u64,
    pub tick: Tick,
    pub deadline: Duration,
}

impl Polls {
    pub fn new(
        clock: Arc<dyn Clock>,
        providers: &Providers,
        sources: &Sources,
        finished: mpsc::Sender<Finished>,
    ) -> Self {
        let source =
            |source: &Arc<dyn MetricSource>| Source { source: Arc::clone(source), permits: Semaphore::new(PER_SOURCE) };
        let sources = sources.iter().map(|(name, of)| (Arc::clone(name), source(of))).collect();
        Self { clock, providers: providers.clone(), sources: Arc::new(sources), finished }
    }

    /// Asks a provider for some of its groups, in one call.
    pub fn groups(&self, frame: Frame, name: &Arc<str>, groups: Vec<u32>, asks: Vec<Ask>) {
        let polls = self.clone();
        let of = self.providers.get(name).cloned();
        tokio::spawn(async move {
            let from = polls.clock.monotonic();
            let answers = observe(of, &asks, frame.deadline).await;
            polls.send(frame, from, Answered::Groups { groups, answers }).await;
        });
    }

    /// Asks a source some queries, each its own call, a bounded number at a time.
    pub fn queries(&self, frame: Frame, (source, name): (u32, &Arc<str>), queries: Vec<(u32, QueryAsk)>) {
        let polls = self.clone();
        let name = Arc::clone(name);
        tokio::spawn(async move {
            let of = polls.sources.get(&name);
            let end = polls.clock.monotonic() + frame.deadline;
            let all = queries.into_iter().map(|(query, ask)| {
                let polls = &polls;
                async move {
                    // What waited in line for too long is as late as what hung.
                    let left = end.saturating_sub(polls.clock.monotonic());
                    let (answer, from) = polls.ask(of, &ask, left).await;
                    polls.send(frame, from, Answered::Query { source, query, answer: AnswerIndex::new(answer) }).await;
                }
            });
            stream::iter(all).buffer_unordered(PER_SOURCE).for_each(|()| std::future::ready(())).await;
        });
    }

    /// Whether a source can be asked for recorded values.
    pub fn records(&self, name: &Arc<str>) -> bool {
        self.sources.get(name).is_some_and(|of| of.source.recorder().is_some())
    }

    /// Learns from a source's records, however long that takes.
    pub fn history(&self, generation: u64, name: &Arc<str>, job: Job) -> AbortHandle {
        let polls = self.clone();
        let of = self.sources.get(name).map(|of| Arc::clone(&of.source));
        let task = tokio::spawn(async move {
            let from = polls.clock.monotonic();
            let learned = recorded::learn(of.as_deref(), job, &*polls.clock).await;
            let frame = Frame { generation, tick: 0, deadline: Duration::ZERO };
            polls.send(frame, from, Answered::History(Box::new(learned))).await;
        });
        task.abort_handle()
    }

    async fn ask(&self, of: Option<&Source>, ask: &QueryAsk, left: Duration) -> (crate::sources::Answer, Duration) {
        let from = self.clock.monotonic();
        let Some(of) = of else {
            return (Err(MissingWhy::Other("no source of this name in skala.toml".into())), from);
        };
        let asked = async {
            let _permit = of.permits.acquire().await;
            of.source.query(ask, self.clock.now()).await
        };
        let answer = match tokio::time::timeout(left, AssertUnwindSafe(asked).catch_unwind()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(MissingWhy::Other("the source panicked".into())),
            Err(_) => Err(MissingWhy::Timeout),
        };
        (answer, from)
    }

    async fn send(&self, frame: Frame, from: Duration, what: Answered) {
        let took = self.clock.monotonic().saturating_sub(from);
        // The actor is gone only when the whole runtime is.
        let _ = self.finished.send(Finished { generation: frame.generation, tick: frame.tick, took, what }).await;
    }
}

async fn observe(of: Option<Arc<dyn Provider>>, asks: &[Ask], deadline: Duration) -> Vec<Result<Observation, Unread>> {
    let all = |error: GroupError| vec![Err(Unread::from(error)); asks.len()];
    let Some(provider) = of else {
        return all(GroupError::Other("no provider of this name in skala.toml".into()));
    };
    let call = AssertUnwindSafe(provider.observe(asks)).catch_unwind();
    let answers = match tokio::time::timeout(deadline, call).await {
        Ok(Ok(answers)) => answers,
        Ok(Err(_)) => return all(GroupError::Other("the provider panicked".into())),
        Err(_) => return all(GroupError::Timeout),
    };
    let mut answers: Vec<_> = answers.into_iter().map(|answer| answer.map_err(Unread::from)).collect();
    // A provider that answers for fewer groups than it was asked for says nothing of the others.
    answers.resize_with(asks.len(), || Err(GroupError::NotListed.into()));
    answers
}
