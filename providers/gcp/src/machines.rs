//! Facts of machines that never change, and the proof that those of quiet groups are still there.
//!
//! A managed instance does not say when it was launched. So now and then all machines of the project are listed, five
//! hundred to a page: it tells launch times, and a group whose machines are all among them, running, holds what it held.
//! In come pages; out go times, and doubts about groups. A fact that is missing stays missing: the core then counts from
//! its own first sight.

use crate::calls::{Calls, Pages};
use crate::errors::transport;
use crate::memory::{All, Known, Memory};
use crate::names::{GroupName, Place, instance_id, last};
use crate::shape::{Head, Member};
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
/// Groups that nobody has listed yet do not wait for that; those that one such sweep did not tell of are asked.
const SWEEP_FOR_STRANGERS: Duration = Duration::from_secs(10);
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
    swept_for_strangers: Option<Instant>,
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
    /// Says whether to sweep now for groups of which nothing is known; such a sweep counts as begun.
    pub fn take_for_strangers(&mut self, now: Instant) -> bool {
        let lately = |at: Instant, within| now.saturating_duration_since(at) < within;
        let may = !self.sweeping
            && !self.denied.is_some_and(|at| lately(at, DENIED_FOR))
            && !self.swept_for_strangers.is_some_and(|at| lately(at, SWEEP_FOR_STRANGERS));
        if may {
            self.sweeping = true;
            self.swept_for_strangers = Some(now);
        }
        may
    }

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

/// What a sweep saw of one machine.
struct Seen {
    fact: Fact,
    runs: bool,
    /// The group that made it, by its own metadata.
    group: Option<GroupName>,
    zone: Box<str>,
    name: Box<str>,
    template: Option<Box<str>>,
}

/// Lists all machines once, and learns from it: facts, and whether quiet groups hold what they held. `strangers` are
/// groups that are at rest and whose instances nobody has listed yet; one whose machines are all here needs no list of
/// its own, so that a start costs a page for five hundred machines and not a call for each group.
pub(crate) async fn sweep(calls: &Calls, memory: &Memory, strangers: Vec<(GroupName, Head)>) {
    let begun = Instant::now();
    let mut seen: BTreeMap<u64, Seen> = BTreeMap::new();
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
            Ok(()) => {
                confirm(all, &seen, begun);
                meet(all, &seen, strangers, begun);
            }
        }
        learn(all, &seen);
    });
}

/// Groups whose machines are all there and run hold what they held; others are doubted.
fn confirm(all: &mut All, seen: &BTreeMap<u64, Seen>, begun: Instant) {
    for known in all.groups.values_mut().filter_map(|group| group.known.as_mut()).filter(|known| known.asked < begun) {
        let runs = |number: u64| seen.get(&number).is_some_and(|machine| machine.runs);
        // Without a number it cannot be told; the list will be read again in time.
        let told = known.members.iter().all(|member| member.number.is_some());
        match known.members.iter().filter_map(|member| member.number).all(runs) {
            true if told => known.confirmed = begun,
            true => {}
            false => known.doubted = true,
        }
    }
}

/// A group that says that it rests with so many instances, and of which exactly so many machines are there and run, holds
/// these. Metadata can be copied and outlives a group's membership; then the numbers differ, and the group is asked.
fn meet(all: &mut All, seen: &BTreeMap<u64, Seen>, strangers: Vec<(GroupName, Head)>, begun: Instant) {
    let mut of: BTreeMap<&GroupName, Vec<(u64, &Seen)>> = BTreeMap::new();
    for (number, machine) in seen {
        if let Some(group) = &machine.group {
            of.entry(group).or_default().push((*number, machine));
        }
    }
    for (name, head) in strangers {
        let machines = of.get(&name).map(Vec::as_slice).unwrap_or_default();
        let whole = u32::try_from(machines.len()) == Ok(head.desired) && machines.iter().all(|(_, seen)| seen.runs);
        let group = all.groups.entry(name).or_default();
        if group.known.is_some() || !whole || !head.is_calm() {
            continue;
        }
        let mut members: Vec<Member> =
            machines.iter().map(|(number, machine)| member(&head, *number, machine)).collect();
        members.sort_by(|a, b| a.id.cmp(&b.id));
        let undecided = Vec::new();
        group.known = Some(Known { head, members, undecided, asked: begun, confirmed: begun, doubted: false });
    }
}

fn member(head: &Head, number: u64, machine: &Seen) -> Member {
    Member {
        id: instance_id(&machine.zone, &machine.name),
        number: Some(number),
        state: InstanceState::Running,
        zone: machine.zone.clone(),
        unfilled: false,
        settled: true,
        outdated: head.is_outdated(machine.template.as_deref()),
        failure: None,
    }
}

fn learn(all: &mut All, seen: &BTreeMap<u64, Seen>) {
    let known = all.groups.values().filter_map(|group| group.known.as_ref()).flat_map(|known| &known.members);
    let mut facts: BTreeMap<u64, Fact> = BTreeMap::new();
    for number in known.filter_map(|member| member.number) {
        let old = all.machines.facts.get(&number).copied().unwrap_or_default();
        let fact = match seen.get(&number) {
            Some(machine) => machine.fact,
            None => Fact { asks: old.asks + 1, ..old },
        };
        facts.insert(number, fact);
    }
    all.machines.facts = facts;
}

async fn read(calls: &Calls, deadline: Instant, seen: &mut BTreeMap<u64, Seen>) -> Result<(), ProviderError> {
    let mut pages = Pages::default();
    for _ in 0..PAGES_MAX {
        let token = pages.token();
        let page = calls.machines(deadline, token.as_ref()).await.map_err(|failure| failure.error)?;
        let mut whole = page.unreachables.is_empty()
            && !matches!(
                page.warning.as_ref().and_then(|w| w.code.as_ref()),
                Some(WholeCode::Unreachable | WholeCode::PartialSuccess)
            );
        for (scope, list) in &page.items {
            whole &= !matches!(
                list.warning.as_ref().and_then(|w| w.code.as_ref()),
                Some(ScopedCode::Unreachable | ScopedCode::PartialSuccess)
            );
            if let Some(Place::Zone(zone)) = Place::find_in(scope) {
                seen.extend(list.instances.iter().filter_map(|machine| shape(&zone, machine)));
            }
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

fn shape(zone: &str, machine: &Instance) -> Option<(u64, Seen)> {
    let time = |text: Option<&String>| {
        let time: jiff::Timestamp = text?.parse().ok()?;
        Some(Timestamp(time.as_microsecond()))
    };
    let launched = time(machine.creation_timestamp.as_ref());
    let started = time(machine.last_start_timestamp.as_ref()).or(launched);
    // Compute Engine writes these into the metadata of what a managed group makes.
    let metadata = |key: &str| {
        let items = &machine.metadata.as_ref()?.items;
        items.iter().find(|item| item.key.as_deref() == Some(key))?.value.as_deref()
    };
    let group = metadata("created-by")
        .filter(|maker| maker.contains("/instanceGroupManagers/"))
        .and_then(|maker| Some(GroupName { place: Place::find_in(maker)?, name: last(maker).into() }));
    let seen = Seen {
        fact: Fact { launched, started, asks: ASKS_MAX },
        runs: machine.status == Some(Status::Running),
        group,
        zone: zone.into(),
        name: machine.name.as_deref()?.into(),
        template: metadata("instance-template").map(|template| last(template).into()),
    };
    Some((machine.id?, seen))
}

#[cfg(test)]
#[path = "machines_tests.rs"]
mod tests;
