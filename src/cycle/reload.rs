//! Policy sets: the first one, and every change (safety rule 17). In: files. Out: the whole new set in force, or the
//! last good one with everything that is wrong published. Memories follow their fleets by id.

use super::history::{self, Past};
use super::loads;
use super::remember::Run;
use super::{Cycle, Fleet, Kept};
use crate::board::{Board, Index};
use crate::control::{ReloadRefused, Reloaded};
use crate::published::FleetStatus;
use crate::store::PolicyFiles;
use contract::ActionId;
use policies::memory::{Event, Outcome};
use policies::policy::{Policy, PolicySet, SourceFile};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

impl Cycle {
    /// Reads the files and takes them, or says why not.
    pub async fn reload(&mut self, allow_removal: bool) -> Result<Reloaded, ReloadRefused> {
        let loaded = self.policy_source.load().map_err(|error| ReloadRefused::Unreadable(error.to_string()));
        let result = match loaded.and_then(|files| self.judge(files, allow_removal)) {
            Ok((files, set)) => Ok(self.take(files, set).await),
            Err(refused) => Err(refused),
        };
        self.show_reload(result.as_ref().err());
        result
    }

    /// Compiles files and weighs them against what is in force.
    pub(super) fn judge(
        &self,
        files: Vec<SourceFile>,
        allow_removal: bool,
    ) -> Result<(Vec<SourceFile>, PolicySet), ReloadRefused> {
        let set = (self.compile)(&files).map_err(ReloadRefused::Invalid)?;
        let of = self.set.fleets.len();
        let lost = self.set.fleets.iter().filter(|fleet| set.fleet(&fleet.id).is_none()).count();
        if !allow_removal && lost * 5 > of {
            return Err(ReloadRefused::LosesFleets { lost, of });
        }
        Ok((files, set))
    }

    /// Puts a set in force and keeps its files for a start that finds worse ones.
    pub(super) async fn take(&mut self, files: Vec<SourceFile>, set: PolicySet) -> Reloaded {
        let revision: Arc<str> = (&*set.revision).into();
        let changed = set.revision != self.set.revision;
        // Also when nothing changed: a start may run on files that the store knows by an older revision. What is kept
        // already costs nothing.
        self.unkept = Some(PolicyFiles { revision: Arc::clone(&revision), interval: set.default_interval, files });
        if changed {
            self.swap(Arc::new(set));
        }
        self.keep_policies().await;
        if changed {
            tracing::info!(%revision, fleets = self.fleets.len(), "New policies are in force.");
        }
        Reloaded { revision, fleets: self.fleets.len(), changed }
    }

    /// Keeps the policies in force in the store, unless it has them; what it did not take is tried again.
    pub(super) async fn keep_policies(&mut self) {
        let Some(policies) = self.unkept.clone() else { return };
        match self.store.keep_policies(policies, self.clock.now()).await {
            Ok(()) => self.unkept = None,
            Err(error) => self.note_store_error(&error),
        }
    }

    /// Publishes how a reload went.
    pub(super) fn show_reload(&mut self, refused: Option<&ReloadRefused>) {
        if let Some(refused) = refused {
            tracing::error!(%refused, "The policies are not taken; the last good ones stay in force.");
        }
        let (revision, now) = ((&*self.set.revision).into(), self.clock.now());
        self.published.write(|view| {
            let config = &mut view.process.config;
            config.revision = revision;
            config.last_reload_ok = refused.is_none();
            config.at = Some(now);
            config.problem = refused.map(|refused| refused.to_string().into());
        });
    }

    /// Replaces the whole set. Fleets that stay keep everything; answers to the old set's questions are dropped.
    pub(super) fn swap(&mut self, set: Arc<PolicySet>) {
        let now = self.clock.monotonic();
        self.generation += 1;
        self.index = Index::new(&set);
        self.board = Board::new(&self.index);
        let fleets = Vec::with_capacity(set.fleets.len());
        let mut old = std::mem::replace(&mut self.fleets, fleets).into_iter().peekable();
        // Both are sorted by id: one walk pairs them.
        for policy in &set.fleets {
            while let Some(gone) = old.next_if(|fleet| *fleet.id < *policy.id) {
                self.keep(gone);
            }
            let stays = old.next_if(|fleet| fleet.id == policy.id.as_ref().into());
            let fleet = match stays {
                Some(fleet) => fleet.under(Arc::clone(policy), now),
                None => self.admit(Arc::clone(policy), now),
            };
            self.fleets.push(fleet);
        }
        old.for_each(|gone| self.keep(gone));
        self.drop_history();
        self.drop_drains();
        self.unread.clear();
        self.set = set;
        self.find_calls();
        self.ready.clear();
        self.deadlines.clear();
        self.due.clear();
        self.dirty.clear();
        for (fleet, at) in self.fleets.iter().zip(0..) {
            self.due.add(fleet.next_due, at);
            if fleet.dirty {
                self.dirty.push_back((now, at));
            }
        }
        self.unsaved = self.fleets.iter().map(|fleet| fleet.run.unsaved()).sum();
        self.current = self.fleets.iter().map(|fleet| u64::from(fleet.current)).sum();
        let undecided = |fleet: &&Fleet| fleet.status.decision.is_none() && fleet.status.fault.is_none();
        self.undecided = self.fleets.iter().filter(undecided).count();
        self.published.write(|view| {
            view.set = Arc::clone(&self.set);
            view.fleets = self.fleets.iter().map(|fleet| Arc::clone(&fleet.status)).collect();
        });
    }

    /// Tells each fleet which of its groups have calls under way, whichever fleet they were begun for.
    fn find_calls(&mut self) {
        let mut by_group: BTreeMap<(&str, &str), Vec<ActionId>> = BTreeMap::new();
        for (action, call) in &self.calls {
            by_group.entry((&call.provider, &call.group)).or_default().push(*action);
        }
        for fleet in &mut self.fleets {
            fleet.in_air.clear();
            for (group, place) in fleet.policy.groups.iter().zip(0..) {
                let calls = by_group.get(&(&*group.provider, group.group.as_str())).into_iter().flatten();
                fleet.in_air.extend(calls.map(|action| (place, *action)));
            }
        }
    }

    /// A fleet that leaves the set: nothing is done about it any more, and it finds its memory should it come back.
    fn keep(&mut self, fleet: Fleet) {
        tracing::info!(fleet = %fleet.id, "The fleet has left the policies; its instances are left as they are.");
        let kept = Kept {
            memory: fleet.memory,
            loads: Some(loads::of(&fleet.policy)),
            refused: fleet.refused,
            override_now: fleet.override_now,
            // Nobody looked after it meanwhile: that is what a restart is.
            restarted: true,
            unclear: Vec::new(),
        };
        self.kept.insert(fleet.id, kept);
    }

    /// A fleet that is new to the set, perhaps not to the store.
    fn admit(&mut self, policy: Arc<Policy>, now: Duration) -> Fleet {
        let id: Arc<str> = (&*policy.id).into();
        let mut kept = self.kept.remove(&id).unwrap_or_default();
        let mut events = Vec::new();
        if let Some(learned) = &kept.loads {
            let changed = loads::keep_same(&mut kept.memory, learned, &loads::of(&policy));
            history::say_changed(&id, &changed);
        }
        if kept.restarted {
            policies::absorb(&policy, &mut kept.memory, &[Event::Restarted], self.clock.now());
        }
        for (group, at) in policy.groups.iter().zip(0..) {
            let is_this = |(provider, name): &(Arc<str>, Arc<str>)| {
                **provider == *group.provider && **name == *group.group.as_str()
            };
            if kept.unclear.iter().any(is_this) {
                events.push(Event::ended(at, Outcome::Unclear, ""));
            }
        }
        let has_learned = !kept.memory.objectives.is_empty();
        let learns = policies::history::learns(&policy) || has_learned;
        Fleet {
            id,
            in_air: Vec::new(),
            memory: kept.memory,
            refused: kept.refused,
            events,
            override_now: kept.override_now,
            next_due: now,
            waits: None,
            read_after: vec![0; policy.groups.len()].into(),
            open: Vec::new(),
            current: 0,
            run: Run::default(),
            past: Past::of(&policy),
            // A memory of old has it inside, so it is saved at the first opportunity.
            learned_due: learns.then_some(now),
            learned_inside: has_learned && kept.loads.is_none(),
            dirty: false,
            status: Arc::new(FleetStatus::undecided(Arc::clone(&policy))),
            policy,
        }
    }
}

impl Fleet {
    /// The fleet under its new policy; what it waited for is asked for again at once.
    fn under(mut self, policy: Arc<Policy>, now: Duration) -> Self {
        if self.waits.take().is_some() || self.policy.interval != policy.interval {
            self.next_due = now;
        }
        if self.policy.groups != policy.groups {
            // Events and open actions speak of groups by their place, which may be another's now.
            let moved = |group: &mut u16| {
                let old = &self.policy.groups[usize::from(*group)];
                let same = |new: &policies::policy::Group| new.provider == old.provider && new.group == old.group;
                let place = policy.groups.iter().position(same).and_then(|place| u16::try_from(place).ok());
                *group = place.unwrap_or(*group);
                place.is_some()
            };
            self.open.retain_mut(|(group, _)| moved(group));
            self.events.retain_mut(|event| match event {
                Event::Outcome { group, .. } | Event::Drain { group, .. } => moved(group),
                Event::Restarted => true,
            });
            // Every read comes after the new set's first question.
            self.read_after = vec![0; policy.groups.len()].into();
        }
        self.history_under(&policy);
        let mut status = (*self.status).clone();
        let undecided = FleetStatus::undecided(Arc::clone(&policy));
        if self.policy.groups.len() != policy.groups.len() || self.policy.metrics.len() != policy.metrics.len() {
            (status.groups, status.readings) = (undecided.groups, undecided.readings);
            status.decision = None;
        }
        status.policy = Arc::clone(&policy);
        self.status = Arc::new(status);
        self.policy = policy;
        self
    }
}
