//! Scale-in: an instance is marked in its own metadata and asked to shut down; whoever looks next helps it along.
//!
//! A guest may take minutes, or ignore the request, and an action has seconds. So the mark holds the time at which it is
//! destroyed, and is on the host: a restart of the daemon forgets nothing. Every observation asks again those that still
//! run (a guest that was booting missed the first time), destroys those whose time has come, and removes those that are
//! off, with their volumes. That is a write behind a read, but of nothing that an action has not named before. The same
//! job notes of a launch that it came to run, where the launch itself could not.

use crate::Libvirt;
use crate::errors::{Effect, Failure};
use crate::host::Session;
use crate::launch::{remove, write_member};
use crate::member::{MEMBER, Member};
use crate::observe::{HALF_MADE, Shown, members, metadata};
use contract::{Accepted, InstanceId, ProviderError, Target, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use tokio::time::Instant;
use virt::domain::Domain;

impl Libvirt {
    /// Sends named instances of the group on their way out.
    pub(crate) async fn send_off(&self, target: &Target, ids: &[InstanceId]) -> Result<Accepted, ProviderError> {
        let deadline = Instant::now() + self.deadlines.write;
        let name = target.group.as_str();
        let group = self.group(name)?;
        let ids: BTreeSet<&InstanceId> = ids.iter().collect();
        if ids.is_empty() {
            return Ok(Accepted::default());
        }
        let at = (self.clock)();
        let lists = self.lists(group.hosts().collect(), at).await;
        let shown = members(name, group, &lists)?;
        let removable = |shown: &Shown| !shown.protected && shown.member.stop_by.is_none();
        let mut by_host: BTreeMap<Box<str>, Vec<Shown>> = BTreeMap::new();
        let mut skipped = Vec::new();
        for id in ids {
            match shown.iter().find(|shown| shown.id() == *id) {
                Some(shown) if removable(shown) => {
                    let mut shown = shown.clone();
                    shown.member.stop_by = Some(at.after(group.shutdown));
                    by_host.entry(shown.host.clone()).or_default().push(shown);
                }
                _ => skipped.push(id.clone()),
            }
        }
        let jobs = by_host.into_iter().map(|(host, leaving)| async move {
            let ids: Vec<InstanceId> = leaving.iter().map(Shown::id).collect();
            let Some(there) = self.hosts.get(&host) else { return vec![] };
            let off = leaving.iter().filter(|shown| !shown.active).cloned().collect();
            match there.run(Effect::Write, deadline, move |session| Ok(mark_all(session, leaving))).await {
                Ok(results) => {
                    self.clear_away(off);
                    results
                }
                // None of them may have been marked, or all.
                Err(failure) if !failure.harmless => vec![(ids[0].clone(), Err(failure))],
                Err(failure) => ids.iter().map(|id| (id.clone(), Err(copy(&failure)))).collect(),
            }
        });
        let results: Vec<_> = futures_util::future::join_all(jobs).await.into_iter().flatten().collect();
        let (mut went, mut refusal) = (false, None);
        for (id, result) in results {
            match result {
                Ok(()) => went = true,
                Err(failure) if failure.harmless => {
                    skipped.push(id);
                    refusal = refusal.or(Some(failure.error));
                }
                Err(failure) => return Err(failure.error),
            }
        }
        skipped.sort();
        match refusal {
            Some(error) if !went => Err(error),
            _ => Ok(Accepted { operations: Vec::new(), skipped }),
        }
    }

    /// Helps along what is on its way out, and notes what a launch could not, behind the caller's back and one job a host at a time.
    pub(crate) fn clear_away(&self, leaving: Vec<Shown>) {
        let Some(first) = leaving.first() else { return };
        let Some(host) = self.hosts.get(&first.host) else { return };
        if !self.sweeping.lock().unwrap_or_else(PoisonError::into_inner).insert(host.name.clone()) {
            return;
        }
        let (host, sweeping, clock) = (Arc::clone(host), Arc::clone(&self.sweeping), Arc::clone(&self.clock));
        let deadline = Instant::now() + self.deadlines.write;
        tokio::spawn(async move {
            let job = move |session: &Session| {
                for shown in &leaving {
                    if let Err(failure) = see_off(session, shown, clock()) {
                        // It is there at the next look, too.
                        tracing::warn!(host = %shown.host, domain = %shown.name, error = %failure.error, "cannot be put in order yet");
                    }
                }
                Ok(())
            };
            if let Err(failure) = host.run(Effect::Write, deadline, job).await {
                tracing::warn!(host = %host.name, error = %failure.error, "what is to be put in order was left as it is");
            }
            sweeping.lock().unwrap_or_else(PoisonError::into_inner).remove(&host.name);
        });
    }
}

fn copy(failure: &Failure) -> Failure {
    Failure { error: failure.error.again(), ..Failure::no_time("") }
}

fn mark_all(session: &Session, leaving: Vec<Shown>) -> Vec<(InstanceId, Result<(), Failure>)> {
    leaving.iter().map(|shown| (shown.id(), mark(session, shown))).collect()
}

/// Writes the mark, then asks the guest. The mark decides: a request that is lost is made again by whoever looks next.
fn mark(session: &Session, shown: &Shown) -> Result<(), Failure> {
    let domain =
        session.read("virDomainLookupByUUIDString", |connect| Domain::lookup_by_uuid_string(connect, &shown.uuid))?;
    write_member(session, &domain, &shown.member, shown.active)?;
    if shown.active {
        drop(session.write("virDomainShutdown", |_| domain.shutdown()));
    }
    Ok(())
}

/// The next step on the way out of one domain, by what it is now: a person may have changed their mind meanwhile.
fn see_off(session: &Session, shown: &Shown, at: Timestamp) -> Result<(), Failure> {
    let found =
        session.read("virDomainLookupByUUIDString", |connect| Domain::lookup_by_uuid_string(connect, &shown.uuid));
    let domain = match found {
        Err(failure) if failure.is_absence() => return Ok(()),
        found => found?,
    };
    let Some(text) = metadata(session, &domain, MEMBER)? else { return Ok(()) };
    let Ok(Some(member)) = Member::parse(&text) else { return Ok(()) };
    let active = session.read("virDomainIsActive", |_| domain.is_active())?;
    let never_started = member.started.is_none() && member.launched.is_some_and(|then| at.since(then) > HALF_MADE);
    match member.stop_by {
        Some(stop_by) if active && at < stop_by => {
            session.write("virDomainShutdown", |_| domain.shutdown())?;
            return Ok(());
        }
        Some(_) if active => {
            let destroyed = session.write("virDomainDestroy", |_| domain.destroy());
            // It went by itself meanwhile.
            if let Err(failure) =
                destroyed.or_else(|failure| if failure.is_unsupported() { Ok(()) } else { Err(failure) })
            {
                return if failure.is_absence() { Ok(()) } else { Err(failure) };
            }
        }
        Some(_) => {}
        None if !active && never_started => {}
        None if active && member.lacks_its_start() => {
            // It was launched a moment before it ran.
            return write_member(session, &domain, &Member { started: member.launched, ..member }, true);
        }
        None => return Ok(()),
    }
    remove(session, &domain, &member)
}
