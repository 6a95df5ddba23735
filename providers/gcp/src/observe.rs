//! Observing groups: the list of the project, and beside it only what that does not say of groups in flux.
//!
//! In come asks; out goes one observation or one error for each, in the order of the asks. All calls together have one
//! deadline. What was learned in time stays learned when an observation fails.

use crate::Gcp;
use crate::errors::transport;
use crate::list;
use crate::memory::{Group, Known};
use crate::names::GroupName;
use crate::shape::{self, Head, Listed, Member};
use contract::{
    Abilities, ActionId, Ask, Capacity, Instance, LaunchFailure, Observation, OperationInFlight, ProviderError,
    Timestamp,
};
use futures_util::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Calls in the air at once.
const CONCURRENT: usize = 16;
/// Instances in one deleteInstances: the API's most.
pub(crate) const DELETE_BATCH: Capacity = 1000;
/// Failures are kept this long after they were last seen.
const FAILURES_KEPT: Duration = Duration::from_secs(1800);
/// How long an observation waits for facts beside it; a page takes some 100 ms.
const A_LITTLE: Duration = Duration::from_millis(250);
/// So many groups of which nothing is known are asked one by one.
const FEW_STRANGERS: usize = 8;
/// Lists that nothing confirmed are read again, at least so many in one observation, and so many observations at most
/// for all groups at rest: ten minutes, of one every 15 seconds.
const UNCONFIRMED_AT_ONCE: usize = 4;
const UNCONFIRMED_ROUNDS: usize = 40;
/// A group that the API said not to exist is asked for by name this often; the project's list would show it at once.
const MISSING_EVERY: Duration = Duration::from_secs(300);

type Answer = Result<Observation, ProviderError>;

/// One group to observe, with what the list said of it.
struct Subject<'a> {
    ask: &'a Ask,
    name: GroupName,
    head: Head,
    /// Its instances are to be listed.
    flux: bool,
}

impl Gcp {
    pub(crate) async fn observe_all(&self, asks: &[Ask]) -> Vec<Answer> {
        if asks.is_empty() {
            return Vec::new();
        }
        let deadline = Instant::now() + self.calls.lane.deadlines.read;
        let names: Vec<Result<GroupName, ProviderError>> =
            asks.iter().map(|ask| GroupName::parse(&ask.group)).collect();
        let wanted: BTreeSet<&GroupName> = names.iter().flatten().collect();
        if wanted.is_empty() {
            return names.into_iter().map(|name| Err(name.err().unwrap_or_else(|| transport("no answer")))).collect();
        }
        let mut found = list::find(&self.calls, &self.now, &wanted, deadline).await;
        self.look_for_missing(&wanted, &mut found, deadline).await;
        let at = found.at;
        let mut subjects = self.subjects(asks, names, &found);
        self.meet_strangers(&mut subjects, deadline).await;
        self.choose_unconfirmed(&mut subjects);
        let (listed, followed, ()) = futures_util::join!(
            self.list_members(&subjects, deadline),
            self.follow(&subjects, at, deadline),
            self.look_at_autoscalers(subjects.iter().flatten().map(|s| (&s.name, &s.head)), deadline),
        );
        self.sweep_a_little(&subjects).await;
        subjects
            .into_iter()
            .map(|subject| {
                let subject = subject?;
                if let Some(Some(error)) = listed.get(&subject.name) {
                    return Err(error.again());
                }
                let operations = followed.get(&subject.name).cloned().unwrap_or_default();
                self.shape(&subject, operations, at)
            })
            .collect()
    }

    /// Asks by name for groups that complete lists do not have; a zone that was left out must not look empty.
    async fn look_for_missing(&self, wanted: &BTreeSet<&GroupName>, found: &mut list::Found, deadline: Instant) {
        let now = Instant::now();
        let is_due = |name: &&&GroupName| {
            let missing = self.memory.group(name, |group| group.missing);
            missing.is_none_or(|at| now.saturating_duration_since(at) >= MISSING_EVERY)
        };
        let missing: Vec<GroupName> = wanted
            .iter()
            .filter(|name| !found.groups.contains_key(**name) && found.why_unknown(name).is_none())
            .filter(is_due)
            .map(|name| (*name).clone())
            .collect();
        let calls = missing.into_iter().map(|name| async move {
            let answer = self.calls.get(&name, deadline).await;
            (name, answer)
        });
        let calls: Vec<_> = calls.collect();
        let answers: Vec<_> = futures_util::stream::iter(calls).buffered(CONCURRENT).collect().await;
        for (name, answer) in answers {
            match answer {
                Ok(group) => _ = found.groups.insert(name, group),
                Err(failure) if matches!(failure.error, ProviderError::NotFound { .. }) => {
                    self.memory.with(|all| {
                        all.groups.insert(name, Group { missing: Some(Instant::now()), ..Group::default() });
                    });
                }
                Err(failure) => {
                    tracing::debug!(group = %name, error = %failure.error, "cannot ask for a group that is in no list");
                }
            }
        }
        for name in found.groups.keys() {
            self.memory.group(name, |group| group.missing = None);
        }
    }

    fn subjects<'a>(
        &self,
        asks: &'a [Ask],
        names: Vec<Result<GroupName, ProviderError>>,
        found: &list::Found,
    ) -> Vec<Result<Subject<'a>, ProviderError>> {
        let subject = |(ask, name): (&'a Ask, Result<GroupName, ProviderError>)| {
            let name = name?;
            let Some(group) = found.groups.get(&name) else {
                let missing = self.memory.group(&name, |group| group.missing.is_some());
                return Err(found.why_unknown(&name).unwrap_or_else(|| match missing {
                    true => ProviderError::NotFound { what: format!("managed instance group {name}").into() },
                    false => transport(format!("{name} is in no list, and could not be asked for by name")),
                }));
            };
            let head = shape::head(&name, group)?;
            let flux = self.memory.group(&name, |group| {
                if group.known.as_ref().is_some_and(|known| known.head.number != head.number) {
                    // Deleted, and made again under the same name.
                    *group = Group::default();
                }
                group.in_flux(&head, ask)
            });
            Ok(Subject { ask, name, head, flux })
        };
        asks.iter().zip(names).map(subject).collect()
    }

    /// Many groups at rest of which nothing is known yet, as at a start: all machines of the project are listed, instead of
    /// each group's. What that does not tell of a group is asked of the group.
    async fn meet_strangers(&self, subjects: &mut [Result<Subject<'_>, ProviderError>], deadline: Instant) {
        let is_stranger = |s: &&Subject<'_>| s.head.is_calm() && self.memory.group(&s.name, |g| g.known.is_none());
        let strangers: BTreeMap<GroupName, Head> = subjects
            .iter()
            .flatten()
            .filter(is_stranger)
            .map(|subject| (subject.name.clone(), subject.head.clone()))
            .collect();
        if strangers.len() <= FEW_STRANGERS || !self.memory.with(|all| all.machines.take_for_strangers(Instant::now()))
        {
            return;
        }
        let half = deadline - deadline.saturating_duration_since(Instant::now()) / 2;
        self.sweep(strangers.into_iter().collect(), half).await;
        for subject in subjects.iter_mut().flatten().filter(|subject| subject.flux) {
            subject.flux = self.memory.group(&subject.name, |group| group.in_flux(&subject.head, subject.ask));
        }
    }

    /// Lists all machines, and waits for that until `deadline`; one that takes longer goes on by itself.
    async fn sweep(&self, strangers: Vec<(GroupName, Head)>, deadline: Instant) {
        let (calls, memory) = (Arc::clone(&self.calls), Arc::clone(&self.memory));
        let task = tokio::spawn(async move { crate::machines::sweep(&calls, &memory, strangers).await });
        _ = tokio::time::timeout_at(deadline, task).await;
    }

    /// Quiet groups whose list nothing has confirmed for long are listed again, the longest unconfirmed first.
    fn choose_unconfirmed(&self, subjects: &mut [Result<Subject<'_>, ProviderError>]) {
        let now = Instant::now();
        let most = unconfirmed_at_once(subjects.iter().flatten().filter(|subject| !subject.flux).count());
        let mut old: Vec<(Instant, &mut Subject<'_>)> = subjects
            .iter_mut()
            .flatten()
            .filter(|subject| !subject.flux)
            .filter_map(|subject| Some((self.memory.group(&subject.name, |group| group.unconfirmed(now))?, subject)))
            .collect();
        old.sort_by_key(|(confirmed, _)| *confirmed);
        for (_, subject) in old.into_iter().take(most) {
            subject.flux = true;
        }
    }

    /// Lists the instances of groups in flux; answers why, where it could not be done.
    async fn list_members(
        &self,
        subjects: &[Result<Subject<'_>, ProviderError>],
        deadline: Instant,
    ) -> BTreeMap<GroupName, Option<ProviderError>> {
        let mut due: BTreeMap<&GroupName, &Head> = BTreeMap::new();
        due.extend(subjects.iter().flatten().filter(|s| s.flux).map(|s| (&s.name, &s.head)));
        let calls: Vec<_> = due
            .into_iter()
            .map(|(name, head)| async move { (name.clone(), self.learn_members(name, head, deadline).await.err()) })
            .collect();
        futures_util::stream::iter(calls).buffer_unordered(CONCURRENT).collect().await
    }

    /// Lists a group's instances, and remembers them.
    pub(crate) async fn learn_members(
        &self,
        name: &GroupName,
        head: &Head,
        deadline: Instant,
    ) -> Result<Vec<Member>, ProviderError> {
        let asked = Instant::now();
        let shown = self.calls.members(name, deadline).await.map_err(|failure| failure.error)?;
        let Listed { members, undecided } = shape::members(name, head, &shown)?;
        self.memory.group(name, |group| {
            group.times.keep(&members);
            let (head, members) = (head.clone(), members.clone());
            group.known = Some(Known { head, members, undecided, asked, confirmed: asked, doubted: false });
        });
        Ok(members)
    }

    /// Asks how the operations of ours go on.
    async fn follow(
        &self,
        subjects: &[Result<Subject<'_>, ProviderError>],
        at: Timestamp,
        deadline: Instant,
    ) -> BTreeMap<GroupName, Vec<OperationInFlight>> {
        let mut open: BTreeSet<(&GroupName, &str)> = BTreeSet::new();
        let mut actions: BTreeMap<&GroupName, Option<ActionId>> = BTreeMap::new();
        for subject in subjects.iter().flatten() {
            self.memory.group(&subject.name, |group| {
                let news = subject.ask.operations.iter().filter(|name| !group.ended.contains(*name));
                open.extend(news.map(|name| (&subject.name, &**name)));
                group.ended.retain(|name| subject.ask.operations.contains(name));
            });
            let [only] = subject.ask.open_actions.as_slice() else { continue };
            actions.insert(&subject.name, Some(*only));
        }
        let calls: Vec<_> = open
            .into_iter()
            .map(|(name, operation)| async move {
                (name, operation, self.is_under_way(name, operation, at, deadline).await)
            })
            .collect();
        let answers: Vec<_> = futures_util::stream::iter(calls).buffered(CONCURRENT).collect().await;
        let mut in_flight: BTreeMap<GroupName, Vec<OperationInFlight>> = BTreeMap::new();
        for (name, operation, _) in answers.into_iter().filter(|(_, _, under_way)| *under_way) {
            let action = actions.get(name).copied().flatten();
            in_flight.entry(name.clone()).or_default().push(OperationInFlight { name: operation.into(), action });
        }
        in_flight
    }

    /// Lists all machines when that is due; what it finds is waited for only a moment.
    async fn sweep_a_little(&self, subjects: &[Result<Subject<'_>, ProviderError>]) {
        let due = self.memory.with(|all| {
            let known = |subject: &Subject<'_>| all.groups.get(&subject.name).and_then(|group| group.known.as_ref());
            let members = subjects.iter().flatten().filter_map(known).flat_map(|known| &known.members);
            let numbers: Vec<u64> = members.filter_map(|member| member.number).collect();
            all.machines.take_due(numbers.into_iter(), Instant::now())
        });
        if due {
            self.sweep(Vec::new(), Instant::now() + A_LITTLE).await;
        }
    }

    fn shape(&self, subject: &Subject<'_>, operations: Vec<OperationInFlight>, at: Timestamp) -> Answer {
        let head = &subject.head;
        self.memory.with(|all| {
            let (groups, machines) = (&mut all.groups, &all.machines);
            let group = groups.entry(subject.name.clone()).or_default();
            let Some(known) = &group.known else {
                return Err(transport(format!("{}: its instances were not listed", subject.name)));
            };
            let failed = known.members.iter().filter_map(|member| member.failure.as_ref()).chain(&known.undecided);
            group.failures.extend(failed.map(|failure| (failure.clone(), at)));
            let mut instances = Vec::with_capacity(known.members.len());
            for member in &known.members {
                // What has no machine yet is desired and unfilled, no instance.
                if member.unfilled {
                    continue;
                }
                let (launched, running_since) = group.times.seen(member, machines, at);
                instances.push(Instance {
                    id: member.id.clone(),
                    state: member.state,
                    launched,
                    running_since,
                    zone: Some(member.zone.clone()),
                    protected: false,
                    outdated: member.outdated,
                });
            }
            let oldest = at.before(FAILURES_KEPT);
            group.failures.retain(|_, seen| *seen >= oldest);
            let failures = group.failures.iter().map(|(failed, seen)| LaunchFailure {
                kind: failed.kind(),
                scope: failed.scope.clone(),
                at: (*seen).min(at),
                message: failed.message.clone(),
            });
            let launch_failures = failures.collect();
            let foreign = crate::foreign::shown(head, group.autoscaler.as_ref());
            group.shown_foreign = Some(foreign.clone());
            Ok(Observation {
                desired: Some(head.desired),
                instances,
                operations,
                launch_failures,
                suspended: head.suspended(),
                foreign,
                abilities: Abilities { terminate_batch: DELETE_BATCH, ..Abilities::default() },
                ..Observation::empty(at)
            })
        })
    }
}

/// How many lists that nothing confirmed are read again in one observation of so many groups at rest.
fn unconfirmed_at_once(quiet: usize) -> usize {
    quiet.div_ceil(UNCONFIRMED_ROUNDS).max(UNCONFIRMED_AT_ONCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_groups_at_rest_are_confirmed_in_time_however_many_they_are() {
        for quiet in [1, 4, 160, 161, 1_000, 5_003] {
            let at_once = unconfirmed_at_once(quiet);
            assert!(at_once * UNCONFIRMED_ROUNDS >= quiet, "{quiet}: {at_once}");
            assert!(at_once == UNCONFIRMED_AT_ONCE || at_once <= quiet / UNCONFIRMED_ROUNDS + 1, "{quiet}: {at_once}");
        }
    }
}
