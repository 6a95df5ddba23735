//! Facts of machines that never change, and the proof that those of quiet groups are still there.
//!
//! A managed instance does not say when it was launched. So now and then all machines of the project are listed, five
//! hundred to a page: it tells launch times, and a group whose machines are all among them, running, holds what it held.
//! In come pages; out go times, and doubts about groups. A fact that is missing stays missing: the core then counts from
//! its own first sight.

use crate::calls::{Calls, Pages};
use crate::errors::transport;
use crate::memory::{All, Memory};
use crate::shape::Member;
use contract::{InstanceId, InstanceState, ProviderError, Timestamp};
use google_cloud_compute_v1::model::Instance;
use google_cloud_compute_v1::model::instance::Status;
use google_cloud_compute_v1::model::instance_aggregated_list::warning::Code as WholeCode;
use google_cloud_compute_v1::model::instances_scoped_list::warning::Code as ScopedCode;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How often all machines are listed while nothing happens, and when machines are there whose facts are unknown.
const SWEEP_EVERY: Duration = Duration::from_secs(300);
const SWEEP_FOR_FACTS: Duration = Duration::from_secs(60);
/// A refusal is tried again after this long.
const DENIED_FOR: Duration = Duration::from_secs(3600);
/// Most pages of one sweep: twenty thousand machines. What lies beyond is neither known nor confirmed.
const PAGES_MAX: usize = 40;
/// How long a sweep may take.
const SWEEP_MAX: Duration = Duration::from_secs(60);
/// A machine that a sweep does not show is waited for in so many more.
const ASKS_MAX: u32 = 3;
/// A machine started longer ago than this has been running since then, as far as warm-up is concerned.
const LONG_AGO: Duration = Duration::from_secs(600);

#[derive(Default)]
pub(crate) struct Machines {
    facts: BTreeMap<u64, Fact>,
    swept: Option<Instant>,
    denied: Option<Instant>,
    sweeping: bool,
}

#[derive(Clone, Copy, Default)]
struct Fact {
    launched: Option<Timestamp>,
    started: Option<Timestamp>,
    asks: u32,
}

impl Machines {
    /// Says whether to sweep now; a sweep that is due counts as begun.
    pub fn take_due(&mut self, numbers: impl Iterator<Item = u64>, now: Instant) -> bool {
        if self.sweeping || self.denied.is_some_and(|at| now.saturating_duration_since(at) < DENIED_FOR) {
            return false;
        }
        let mut unknown = false;
        for number in numbers {
            let fact = self.facts.entry(number).or_default();
            unknown |= fact.launched.is_none() && fact.asks < ASKS_MAX;
        }
        let every = if unknown { SWEEP_FOR_FACTS } else { SWEEP_EVERY };
        let due = self.swept.is_none_or(|at| now.saturating_duration_since(at) >= every);
        self.sweeping |= due;
        due
    }
}

/// When the instances of one group began to run.
#[derive(Default)]
pub(crate) struct Times(BTreeMap<InstanceId, Time>);

#[derive(Default)]
struct Time {
    number: Option<u64>,
    saw_pending: bool,
    running_since: Option<Timestamp>,
}

impl Times {
    /// Notes that an instance was seen, and says when it was launched and since when it has been running.
    pub fn seen(
        &mut self,
        member: &Member,
        machines: &Machines,
        at: Timestamp,
    ) -> (Option<Timestamp>, Option<Timestamp>) {
        let time = self.0.entry(member.id.clone()).or_default();
        if time.number != member.number {
            // Another machine under the same name.
            *time = Time { number: member.number, saw_pending: time.number.is_some(), running_since: None };
        }
        let fact = member.number.and_then(|number| machines.facts.get(&number)).copied().unwrap_or_default();
        match member.state {
            InstanceState::Pending => {
                time.saw_pending = true;
                time.running_since = None;
            }
            InstanceState::Running if time.running_since.is_none() => {
                time.running_since = match (time.saw_pending, fact.started) {
                    (true, _) => Some(at),
                    (false, Some(started)) if at.since(started) > LONG_AGO => Some(started),
                    _ => None,
                };
            }
            _ => {}
        }
        (fact.launched, time.running_since.filter(|_| member.state == InstanceState::Running))
    }

    /// Forgets the instances that are not among these.
    pub fn keep(&mut self, members: &[Member]) {
        self.0.retain(|id, _| members.binary_search_by(|member| member.id.cmp(id)).is_ok());
    }
}

/// Lists all machines once, and learns from it.
pub(crate) async fn sweep(calls: &Calls, memory: &Memory) {
    let begun = Instant::now();
    let mut seen: BTreeMap<u64, (Fact, bool)> = BTreeMap::new();
    let complete = read(calls, begun + SWEEP_MAX, &mut seen).await;
    memory.with(|all| {
        all.machines.sweeping = false;
        all.machines.swept = Some(begun);
        match &complete {
            Err(error @ (ProviderError::Denied { .. } | ProviderError::Invalid { .. })) => {
                tracing::warn!(%error, "cannot list machines: launch times stay unknown");
                all.machines.denied = Some(begun);
            }
            Err(error) => tracing::debug!(%error, "cannot list all machines"),
            Ok(()) => confirm(all, &seen, begun),
        }
        learn(all, &seen);
    });
}

/// Groups whose machines are all there and run hold what they held; others are doubted.
fn confirm(all: &mut All, seen: &BTreeMap<u64, (Fact, bool)>, begun: Instant) {
    for known in all.groups.values_mut().filter_map(|group| group.known.as_mut()).filter(|known| known.asked < begun) {
        let runs = |number: u64| seen.get(&number).is_some_and(|(_, runs)| *runs);
        // Without a number it cannot be told; the list will be read again in time.
        let told = known.members.iter().all(|member| member.number.is_some());
        match known.members.iter().filter_map(|member| member.number).all(runs) {
            true if told => known.confirmed = begun,
            true => {}
            false => known.doubted = true,
        }
    }
}

fn learn(all: &mut All, seen: &BTreeMap<u64, (Fact, bool)>) {
    let known = all.groups.values().filter_map(|group| group.known.as_ref()).flat_map(|known| &known.members);
    let mut facts: BTreeMap<u64, Fact> = BTreeMap::new();
    for number in known.filter_map(|member| member.number) {
        let old = all.machines.facts.get(&number).copied().unwrap_or_default();
        let fact = match seen.get(&number) {
            Some((fact, _)) => *fact,
            None => Fact { asks: old.asks + 1, ..old },
        };
        facts.insert(number, fact);
    }
    all.machines.facts = facts;
}

async fn read(calls: &Calls, deadline: Instant, seen: &mut BTreeMap<u64, (Fact, bool)>) -> Result<(), ProviderError> {
    let mut pages = Pages::default();
    for _ in 0..PAGES_MAX {
        let token = pages.token();
        let page = calls.machines(deadline, token.as_ref()).await.map_err(|failure| failure.error)?;
        let mut whole = page.unreachables.is_empty()
            && !matches!(
                page.warning.as_ref().and_then(|w| w.code.as_ref()),
                Some(WholeCode::Unreachable | WholeCode::PartialSuccess)
            );
        for list in page.items.values() {
            whole &= !matches!(
                list.warning.as_ref().and_then(|w| w.code.as_ref()),
                Some(ScopedCode::Unreachable | ScopedCode::PartialSuccess)
            );
            seen.extend(list.instances.iter().filter_map(fact));
        }
        if !whole {
            return Err(transport("some zones cannot be reached"));
        }
        if !pages.go_on("instances.aggregatedList", page.next_page_token.as_ref())? {
            return Ok(());
        }
    }
    Err(transport("the project has more machines than one sweep lists"))
}

fn fact(machine: &Instance) -> Option<(u64, (Fact, bool))> {
    let time = |text: Option<&String>| {
        let time: jiff::Timestamp = text?.parse().ok()?;
        Some(Timestamp(time.as_microsecond()))
    };
    let launched = time(machine.creation_timestamp.as_ref());
    let started = time(machine.last_start_timestamp.as_ref()).or(launched);
    Some((machine.id?, (Fact { launched, started, asks: ASKS_MAX }, machine.status == Some(Status::Running))))
}

#[cfg(test)]
#[path = "machines_tests.rs"]
mod tests;
