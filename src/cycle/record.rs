//! Makes decisions durable before anything is done about them (safety rules 8, 15 and 18). In: a batch of plans. Out:
//! one transaction for those that act, then their calls; the others go on to memory and journal. Nothing is done about
//! a plan that the store did not take.

use super::plan::{Batch, Planned};
use super::{Call, Cycle, Trouble};
use crate::store::ledger::RecordedAction;
use crate::store::{ActionRow, Record, StoreError};
use contract::Capacity;
use policies::memory::Outcome;
use policies::plan::{Action, Effect, GroupPlan};
use std::sync::Arc;

/// How often a batch is planned again after the store refused some of it: once under the rule of a full disk, once under
/// that of no store at all.
const ATTEMPTS: usize = 3;

impl Cycle {
    /// Records what acts, starts its calls, and remembers all.
    pub(super) async fn record(&mut self, batch: &Batch, planned: Vec<Planned>) {
        let mut left = planned;
        for _ in 0..ATTEMPTS {
            left = self.plan_dry_where_in_air(batch, left);
            let (acting, others): (Vec<_>, Vec<_>) = left.into_iter().partition(acts);
            for planned in others {
                self.finish(batch, planned, false);
            }
            if acting.is_empty() {
                return;
            }
            left = self.record_acting(batch, acting).await;
            if left.is_empty() {
                return;
            }
            let fleets = left.iter().map(|planned| (planned.fleet, planned.place)).collect();
            left = self.plan(batch, fleets, &[]);
        }
        // The store keeps refusing although nothing was to be done under its trouble: what acts is dropped.
        for planned in left {
            if !acts(&planned) {
                self.finish(batch, planned, false);
            }
        }
    }

    /// One transaction. Returns the plans that it did not take.
    async fn record_acting(&mut self, batch: &Batch, mut acting: Vec<Planned>) -> Vec<Planned> {
        // What the plans were made under.
        let known = self.trouble.clone();
        // The journal is in the order of the decisions: what these fleets have unsaved goes before.
        let is_late = |fleet: &u32| self.fleets[*fleet as usize].run.is_waiting();
        let late: Vec<u32> = acting.iter().map(|planned| planned.fleet).filter(is_late).collect();
        if !late.is_empty() {
            self.save(&late).await;
        }
        // A memory of old still has inside what its rules have learned, and what follows replaces it. Should the store not
        // take it, it may take the records all the same, which matter more.
        let fleets: Vec<u32> = acting.iter().map(|planned| planned.fleet).collect();
        self.save_learned(&fleets, batch.monotonic).await;
        let mut rows = Vec::with_capacity(acting.len());
        let mut records = Vec::with_capacity(acting.len());
        for planned in &mut acting {
            let actions = self.rows(batch, planned);
            records.push(Record {
                fleet: Arc::clone(&self.fleets[planned.fleet as usize].id),
                memory: policies::history::encode_without_learned(&mut planned.plan.memory),
                entry: self.entry(batch, planned, true),
                actions: actions.clone(),
            });
            rows.push(actions);
        }
        match self.store.record(records).await {
            Ok(recorded) => {
                self.start_calls(batch, recorded).await;
                for (planned, rows) in acting.into_iter().zip(rows) {
                    let fleet = &mut self.fleets[planned.fleet as usize];
                    let calls = rows.iter().filter(|row| !is_drain(row)).map(|row| (row.group, row.id));
                    fleet.open.extend(calls.clone());
                    fleet.in_air.extend(calls);
                    fleet.learned_inside = false;
                    self.finish(batch, planned, true);
                }
                Vec::new()
            }
            Err(error) => {
                self.note_store_error(&error);
                if matches!(error, StoreError::Full(_)) && matches!(known, Trouble::Full(_)) {
                    // Full was known, so nothing here removes anything: not even the reserve takes it.
                    self.trouble = Trouble::Failing(error.to_string().into());
                }
                acting
            }
        }
    }

    /// Plans again, without effect, the fleets of which a group has a call under way.
    fn plan_dry_where_in_air(&mut self, batch: &Batch, planned: Vec<Planned>) -> Vec<Planned> {
        if self.calls.is_empty() {
            return planned;
        }
        let in_air = |planned: &Planned| match &planned.plan.effect {
            Effect::Observe(_) => false,
            Effect::Act(groups) => {
                let calls = &self.fleets[planned.fleet as usize].in_air;
                let is_in_air = |group: u16| calls.iter().any(|(other, _)| *other == group);
                groups.iter().any(|group| !group.actions.is_empty() && is_in_air(group.group))
            }
        };
        let (dry, mut good): (Vec<_>, Vec<_>) = planned.into_iter().partition(in_air);
        if !dry.is_empty() {
            let fleets: Vec<u32> = dry.iter().map(|planned| planned.fleet).collect();
            let places = dry.iter().map(|planned| (planned.fleet, planned.place)).collect();
            good.extend(self.plan(batch, places, &fleets));
        }
        good
    }

    fn rows(&self, batch: &Batch, planned: &Planned) -> Vec<ActionRow> {
        let fleet = &self.fleets[planned.fleet as usize];
        let mut rows = Vec::new();
        for group in planned.plan.effect.groups() {
            let (Some(of), Some(seen)) = (fleet.policy.groups.get(usize::from(group.group)), &group.seen) else {
                continue;
            };
            let row = |action: Action, change: i32| ActionRow {
                id: self.entropy.action_id(),
                fleet: Arc::clone(&fleet.id),
                group: group.group,
                provider: (&*of.provider).into(),
                group_name: of.group.as_str().into(),
                change,
                action,
                seen: seen.clone(),
                at: batch.now,
                expires: batch.now.after(fleet.policy.interval),
            };
            let mut before = self.desired_before(planned, group);
            if !group.drain.is_empty() {
                let instances = group.drain.iter().map(|(id, _)| id.clone()).collect();
                rows.push(row(Action::Drain { instances, to: before }, drain_change(group, of.weight)));
            }
            for action in &group.actions {
                rows.push(row(action.clone(), group.counted(before, action, of.weight)));
                before = action.to();
            }
        }
        rows
    }

    /// What a group held before its actions: what the cloud said, or memory where the cloud keeps no such number.
    fn desired_before(&self, planned: &Planned, group: &GroupPlan) -> Capacity {
        let said = group.seen.as_ref().and_then(|seen| seen.desired);
        let memory = &self.fleets[planned.fleet as usize].memory;
        let kept = memory.groups.get(usize::from(group.group));
        said.or(kept.and_then(|kept| Some(kept.desired? + memory.held(kept)))).unwrap_or(0)
    }

    /// Books the recorded actions and starts their calls, one chain for each group.
    async fn start_calls(&mut self, batch: &Batch, recorded: Vec<RecordedAction>) {
        let mut chain: Vec<RecordedAction> = Vec::new();
        let mut begun = Vec::new();
        for action in recorded {
            let row = action.row();
            self.brakes.book(row, batch.monotonic);
            if is_drain(row) {
                begun.push((row.id, Outcome::Accepted, "accepted".to_string(), batch.now));
                continue;
            }
            let call = Call { provider: Arc::clone(&row.provider), group: Arc::clone(&row.group_name) };
            self.calls.insert(row.id, call);
            let same = |last: &RecordedAction| last.row().fleet == row.fleet && last.row().group == row.group;
            if !chain.last().is_none_or(same) {
                self.hands.start(std::mem::take(&mut chain));
            }
            chain.push(action);
        }
        if !chain.is_empty() {
            self.hands.start(chain);
        }
        // What drains is asked of nobody who could refuse: it is done with being recorded.
        if !begun.is_empty()
            && let Err(error) = self.store.outcomes(begun).await
        {
            self.note_store_error(&error);
        }
    }

    /// Notes the store's trouble, so that the next plan is made under it.
    pub(super) fn note_store_error(&mut self, error: &StoreError) {
        let text: Arc<str> = error.to_string().into();
        if matches!(self.trouble, Trouble::Refusing(_)) {
            return;
        }
        let trouble = match error {
            StoreError::Full(_) => Trouble::Full(text),
            StoreError::Corrupt(_) | StoreError::Newer { .. } => Trouble::Refusing(text),
            StoreError::Failed(_) => Trouble::Failing(text),
            StoreError::Owned(_) => {
                self.lease.lose();
                tracing::warn!(%text, "The lease is somebody else's: nothing is done.");
                return;
            }
        };
        if self.trouble != trouble {
            tracing::error!(%error, "The store is in trouble.");
            self.trouble = trouble;
        }
    }
}

/// Whether a plan has something to carry out.
fn acts(planned: &Planned) -> bool {
    match &planned.plan.effect {
        Effect::Act(groups) => groups.iter().any(GroupPlan::acts),
        Effect::Observe(_) => false,
    }
}

/// Whether no cloud is asked anything.
fn is_drain(row: &ActionRow) -> bool {
    matches!(row.action, Action::Drain { .. })
}

/// What begins to drain serves no more, so brakes count it then, and not again when it is terminated.
fn drain_change(plan: &GroupPlan, weight: u32) -> i32 {
    let units = i64::try_from(plan.drain.len()).unwrap_or(i64::MAX).saturating_mul(i64::from(weight));
    i32::try_from(-units).unwrap_or(i32::MIN)
}
