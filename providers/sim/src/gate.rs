//! What a call meets before and after it does anything: the account's rate, latency and the scripted faults of calls.
//! In come an operation and its groups, out comes what to wait for and what to answer. It changes no group.

use crate::cloud::State;
use crate::script::{Fault, Operation, Refusal};
use crate::settings::Rate;
use contract::{Ask, GroupId, ProviderError, Scope, Timestamp, micros};
use std::time::Duration;

/// A token bucket in millionths of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    level: i64,
    at: Timestamp,
}

const CALL: i64 = 1_000_000;

impl Bucket {
    pub fn full(rate: Rate, at: Timestamp) -> Self {
        Self { rate, level: i64::from(rate.burst) * CALL, at }
    }

    /// Takes so many calls out, or says how long until there are enough.
    fn take(&mut self, calls: u32, now: Timestamp) -> Result<(), Duration> {
        let (full, per_second) = (i64::from(self.rate.burst) * CALL, i64::from(self.rate.per_second));
        let passed = micros(now.since(self.at));
        self.level = full.min(self.level.saturating_add(passed.saturating_mul(per_second)));
        self.at = self.at.max(now);
        let lacking = i64::from(calls) * CALL - self.level;
        if lacking <= 0 {
            self.level -= i64::from(calls) * CALL;
            return Ok(());
        }
        Err(Duration::from_micros(u64::try_from((lacking + per_second - 1) / per_second).unwrap_or(u64::MAX)))
    }
}

/// Where a refusal holds, when the script says so.
type Zone = Option<Box<str>>;

/// What one call meets.
#[derive(Debug, Default)]
pub(crate) struct Met {
    /// How long it takes before anything happens.
    pub delay: Duration,
    /// What goes wrong, with the script's zone.
    pub fault: Option<(Fault, Zone)>,
    /// Of an observation: what goes wrong for single groups.
    pub single: Vec<(Box<str>, Fault, Zone)>,
}

impl State {
    /// Lets an observation in.
    pub fn admit_read(&mut self, asks: &[Ask]) -> Met {
        let pages = u32::try_from(asks.len()).unwrap_or(u32::MAX).div_ceil(self.rules.settings.page);
        self.calls.observe += u64::from(pages);
        self.admit(Operation::Observe, pages, |name| asks.iter().any(|ask| ask.group.as_str() == name))
    }

    /// Lets a write in.
    pub fn admit_write(&mut self, operation: Operation, group: &GroupId) -> Met {
        match operation {
            Operation::Observe => {}
            Operation::Raise => self.calls.raise += 1,
            Operation::Cancel => self.calls.cancel += 1,
            Operation::Terminate => self.calls.terminate += 1,
            Operation::Lower => self.calls.lower += 1,
        }
        let mut met = self.admit(operation, 1, |name| group.as_str() == name);
        if let Some((_, fault, zone)) = met.single.drain(..).next() {
            met.fault = met.fault.or(Some((fault, zone)));
        }
        met
    }

    fn admit(&mut self, operation: Operation, calls: u32, concerned: impl Fn(&str) -> bool) -> Met {
        let at = self.at;
        let mut met = Met { delay: self.rules.settings.latency.0, ..Met::default() };
        if let Some(Err(wait)) = self.bucket.as_mut().map(|bucket| bucket.take(calls, at)) {
            met.fault = Some((Fault::Throttle { retry_after: Some(crate::Span(wait)) }, None));
        }
        for playing in &mut self.rules.scripts {
            let script = &playing.script;
            let meant = script.operation.is_none_or(|only| only == operation) && script.fault.meets(operation);
            if !meant || !playing.on(at) || !script.group.as_deref().is_none_or(&concerned) {
                continue;
            }
            match (&script.fault, &script.group) {
                (Fault::Latency { span }, _) => met.delay += span.0,
                (fault, Some(group)) => met.single.push((group.clone(), fault.clone(), script.zone.clone())),
                (fault, None) if met.fault.is_none() => met.fault = Some((fault.clone(), script.zone.clone())),
                _ => continue,
            }
            playing.struck += 1;
        }
        if let Some((Fault::Throttle { .. }, _)) = met.fault {
            self.calls.throttled += 1;
        }
        met
    }
}

impl Fault {
    /// Whether calls of this operation can meet it.
    fn meets(&self, operation: Operation) -> bool {
        match self {
            Fault::Refuse { .. } => operation == Operation::Raise,
            Fault::LaterPages => operation == Operation::Observe,
            fault => fault.meets_calls(),
        }
    }

    /// What a read answers that meets it.
    pub(crate) fn of_read(&self, group: &GroupId) -> ProviderError {
        match self {
            Fault::Hang { .. } => transport("timed out"),
            Fault::ErrorBeforeEffect | Fault::ErrorAfterEffect => transport("internal error of the cloud"),
            Fault::BrokenBody => transport("the answer cannot be read"),
            fault => fault.refusal(group, None).unwrap_or_else(|| transport("connection refused")),
        }
    }

    /// What a write answers that meets it, whether or not it took effect.
    pub(crate) fn of_write(&self, group: &GroupId, zone: Option<&str>) -> ProviderError {
        match self {
            Fault::Hang { .. } => unclear("timed out"),
            Fault::ErrorBeforeEffect | Fault::ErrorAfterEffect => unclear("internal error of the cloud"),
            Fault::BrokenBody => unclear("the answer cannot be read"),
            fault => fault.refusal(group, zone).unwrap_or_else(|| transport("connection refused")),
        }
    }

    fn refusal(&self, group: &GroupId, zone: Option<&str>) -> Option<ProviderError> {
        Some(match self {
            Fault::Throttle { retry_after } => ProviderError::Throttled { retry_after: retry_after.map(|span| span.0) },
            Fault::Denied => ProviderError::Denied { what: "the account lacks the permission".into() },
            Fault::Expired => ProviderError::Expired { what: "the token is past its time".into() },
            Fault::Missing => ProviderError::NotFound { what: group.as_str().into() },
            Fault::Refuse { why: Refusal::Quota } => ProviderError::QuotaExceeded { what: "instances".into() },
            Fault::Refuse { why: Refusal::OutOfCapacity } => {
                ProviderError::OutOfCapacity { scope: zone.map_or(Scope::Group, |zone| Scope::Zone(zone.into())) }
            }
            _ => return None,
        })
    }
}

fn transport(what: &str) -> ProviderError {
    ProviderError::Transport { what: what.into(), source: None }
}

fn unclear(what: &str) -> ProviderError {
    ProviderError::Unclear { what: what.into(), source: None }
}
