//! Carries out what was recorded. In: [`RecordedAction`]s by value, one chain for each group. Out: how each ended, as a
//! message. A chain ends when its cloud has accepted; nothing here polls, plans or waits for machines, and nothing is
//! sent after its plan has expired or its lease is gone.

use super::lease::LeaseView;
use crate::app::Providers;
use crate::clock::Clock;
use crate::store::ActionRow;
use crate::store::ledger::RecordedAction;
use contract::{Accepted, Epoch, Provider, ProviderError, Target};
use futures_util::FutureExt;
use policies::memory::Outcome;
use policies::plan::Action;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

/// A call that the cloud has not accepted by then may have taken effect.
const DEADLINE: Duration = Duration::from_secs(30);
/// Calls under way over all providers, and to one.
const OVERALL: usize = 64;
const PER_PROVIDER: usize = 16;
/// A clock that is corrected by a little goes back by less than this.
const CLOCK_SLACK: Duration = Duration::from_secs(5);

/// How one action ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub row: ActionRow,
    pub outcome: Outcome,
    /// `accepted`, a provider error's code, or why it was not sent.
    pub code: &'static str,
    /// The error's text, for logs.
    pub text: String,
    /// The cloud's names for what an accepted call began.
    pub operations: Vec<Box<str>>,
}

/// Everything that a call needs.
#[derive(Clone)]
pub(crate) struct Hands {
    clock: Arc<dyn Clock>,
    lease: LeaseView,
    overall: Arc<Semaphore>,
    clouds: Arc<BTreeMap<Arc<str>, Cloud>>,
    ended: mpsc::Sender<Ended>,
}

struct Cloud {
    provider: Arc<dyn Provider>,
    permits: Semaphore,
    /// The cloud asked for patience until then, in monotonic time.
    patience: Mutex<Duration>,
}

impl Hands {
    pub fn new(clock: Arc<dyn Clock>, lease: LeaseView, providers: &Providers, ended: mpsc::Sender<Ended>) -> Self {
        let cloud = |provider: &Arc<dyn Provider>| Cloud {
            provider: Arc::clone(provider),
            permits: Semaphore::new(PER_PROVIDER),
            patience: Mutex::default(),
        };
        let clouds = providers.iter().map(|(name, provider)| (Arc::clone(name), cloud(provider))).collect();
        Self { clock, lease, overall: Arc::new(Semaphore::new(OVERALL)), clouds: Arc::new(clouds), ended }
    }

    /// Starts one group's actions, in order, in a task of their own.
    pub fn start(&self, chain: Vec<RecordedAction>) {
        let hands = self.clone();
        tokio::spawn(async move { hands.carry_out(chain).await });
    }

    async fn carry_out(self, chain: Vec<RecordedAction>) {
        let mut broken = false;
        let mut before = None;
        for action in chain {
            let ended = if broken { not_sent(action.into_row(), "dropped") } else { self.one(action, before).await };
            broken = ended.outcome != Outcome::Accepted;
            before = Some(ended.row.action.to());
            // The actor is gone only when the whole runtime is.
            let _ = self.ended.send(ended).await;
        }
    }

    /// One action; `before` is what the action before it in the chain left behind.
    async fn one(&self, action: RecordedAction, before: Option<contract::Capacity>) -> Ended {
        let lease = action.lease();
        let row = action.into_row();
        let Some(cloud) = self.clouds.get(&row.provider) else { return not_sent(row, "no_provider") };
        // Neither semaphore is ever closed.
        let (Ok(_per), Ok(_overall)) = (cloud.permits.acquire().await, self.overall.acquire().await) else {
            return not_sent(row, "dropped");
        };
        if let Some(why) = self.refusal(&row, lease, cloud) {
            return not_sent(row, why);
        }
        let mut seen = row.seen.clone();
        if before.is_some() {
            // The group is now as the chain's last action left it, which no cloud has put into a token for us yet.
            (seen.desired, seen.token) = (before, None);
        }
        let target = Target { group: (&*row.group_name).into(), action: row.id, seen, lease };
        let call = AssertUnwindSafe(call(&*cloud.provider, &target, &row.action)).catch_unwind();
        let answer = tokio::time::timeout(DEADLINE, call).await;
        let mut operations = Vec::new();
        let (outcome, code, text) = match answer {
            Err(_) => (Outcome::Unclear, "timeout", format!("no answer within {} s", DEADLINE.as_secs())),
            Ok(Err(_)) => (Outcome::Unclear, "fault", "the provider panicked".into()),
            Ok(Ok(Ok(accepted))) => {
                let said = skipped(&accepted);
                operations = accepted.operations;
                (Outcome::Accepted, "accepted", said)
            }
            Ok(Ok(Err(error))) => {
                self.heed(&error, cloud);
                let unclear = error.may_have_taken_effect();
                (if unclear { Outcome::Unclear } else { Outcome::Refused }, error.code(), chain_text(&error))
            }
        };
        Ended { row, outcome, code, text, operations }
    }

    fn refusal(&self, row: &ActionRow, lease: Epoch, cloud: &Cloud) -> Option<&'static str> {
        let monotonic = self.clock.monotonic();
        if self.lease.epoch(monotonic) != Some(lease) {
            return Some("no_lease");
        }
        let now = self.clock.now();
        // A clock that went back would keep a plan alive for ever, so before its time it is not good either.
        if now >= row.expires || now.after(CLOCK_SLACK) < row.at {
            return Some("expired_plan");
        }
        let patience = *cloud.patience.lock().unwrap_or_else(PoisonError::into_inner);
        (monotonic < patience).then_some("throttled")
    }

    fn heed(&self, error: &ProviderError, cloud: &Cloud) {
        if let ProviderError::Throttled { retry_after: Some(wait) } = error {
            let until = self.clock.monotonic() + *wait;
            let mut patience = cloud.patience.lock().unwrap_or_else(PoisonError::into_inner);
            *patience = until.max(*patience);
        }
    }
}

async fn call(provider: &dyn Provider, target: &Target, action: &Action) -> Result<Accepted, ProviderError> {
    let lacks = |what: &str| ProviderError::Invalid { what: format!("this cloud cannot {what}").into() };
    match action {
        Action::Raise { to } => provider.raise(target, *to).await,
        Action::CancelUnfilled { to } => provider.cancel_unfilled(target, *to).await,
        Action::Terminate { instances, .. } => match provider.terminator() {
            Some(terminator) => terminator.terminate(target, instances).await,
            None => Err(lacks("remove instances by name")),
        },
        // Begun by `drains`, beside the calls.
        Action::Drain { .. } => Ok(Accepted::default()),
        Action::Lower { to } => match provider.lowerer() {
            Some(lowerer) => lowerer.lower(target, *to).await,
            None => Err(lacks("lower desired")),
        },
    }
}

fn not_sent(row: ActionRow, code: &'static str) -> Ended {
    Ended { row, outcome: Outcome::Refused, code, text: String::new(), operations: Vec::new() }
}

fn skipped(accepted: &Accepted) -> String {
    match accepted.skipped.len() {
        0 => String::new(),
        n => format!("{n} named instances were gone or protected by then, or the cloud takes no more at once"),
    }
}

/// An error with all its sources, on one line.
pub(crate) fn chain_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
