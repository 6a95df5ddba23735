//! Facts in, plans out: the core's `propose` and `settle` for a batch of fleets. A panic or a broken law stays with the
//! fleet that caused it. Nothing here waits, writes or acts.

use super::{Cycle, Trouble};
use crate::published::{GroupStatus, ReadingStatus};
use crate::sources::OwnedReading;
use contract::{InstanceState, Observation, Timestamp};
use policies::facts::{Authority, FleetFacts, GroupError, GroupFact, Override};
use policies::memory::Event;
use policies::plan::{Budget, Effect, FleetPlan};
use policies::policy::{Mode, Policy};
use policies::{Proposal, propose, settle};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// What is the same for all fleets of a batch, and what each of them took in before it.
pub(super) struct Batch {
    pub now: Timestamp,
    pub monotonic: Duration,
    pub absorbed: Vec<Absorbed>,
}

/// What a fleet took in before its decision.
pub(super) struct Absorbed {
    pub events: Vec<Event>,
    /// Its memory before that, encoded; `None`: there was nothing to take in.
    pub before: Option<Vec<u8>>,
}

/// One fleet's plan, with what is needed to record, journal and show it.
pub(super) struct Planned {
    pub fleet: u32,
    /// Its place in the batch.
    pub place: usize,
    pub plan: FleetPlan,
    /// What was left of the brakes at its turn.
    pub budget: Budget,
    pub groups: Box<[GroupStatus]>,
    pub readings: Box<[ReadingStatus]>,
    /// Every input came.
    pub complete: bool,
}

struct Seen {
    groups: Box<[GroupStatus]>,
    readings: Box<[ReadingStatus]>,
    complete: bool,
}

impl Cycle {
    /// Plans fleets (each with its place in the batch). `dry` are those whose group has a call under way: they are
    /// planned as if in observe mode, so that their windows go on and nothing is booked or done twice.
    pub(super) fn plan(&mut self, batch: &Batch, fleets: Vec<(u32, usize)>, dry: &[u32]) -> Vec<Planned> {
        let budget = self.brakes.left(batch.monotonic, self.current);
        let (mut proposals, mut seen, mut good) = (Vec::new(), Vec::new(), Vec::new());
        for (at, place) in fleets {
            match catch_unwind(AssertUnwindSafe(|| self.propose_one(batch.now, at, dry.contains(&at)))) {
                Ok((proposal, saw)) => {
                    proposals.push(proposal);
                    seen.push(saw);
                    good.push((at, place));
                }
                Err(_) => self.note_fault(at),
            }
        }
        let plans = match catch_unwind(AssertUnwindSafe(|| settle(proposals, budget).fleets)) {
            Ok(plans) => plans.into_iter().map(Some).collect(),
            Err(_) => self.settle_each(batch.now, &good, dry, budget),
        };
        let mut planned = Vec::with_capacity(plans.len());
        let mut left = budget;
        for (((fleet, place), plan), saw) in good.into_iter().zip(plans).zip(seen) {
            let Some(mut plan) = plan else { continue };
            if catch_unwind(AssertUnwindSafe(|| plan.decision.assert_trace_law())).is_err() {
                self.note_fault(fleet);
                continue;
            }
            // A dry plan was made under a copy of the policy.
            plan.policy = Arc::clone(&self.fleets[fleet as usize].policy);
            let Seen { groups, readings, complete } = saw;
            planned.push(Planned { fleet, place, budget: left, groups, readings, complete, plan });
            left = after(left, planned.last().map(|planned| &planned.plan));
        }
        planned
    }

    /// One fleet broke the batch: each is settled alone, and the one that cannot be is left out.
    fn settle_each(
        &mut self,
        now: Timestamp,
        fleets: &[(u32, usize)],
        dry: &[u32],
        mut budget: Budget,
    ) -> Vec<Option<FleetPlan>> {
        let mut plans = Vec::new();
        for (at, _) in fleets {
            let alone = AssertUnwindSafe(|| {
                let (proposal, _) = self.propose_one(now, *at, dry.contains(at));
                settle(vec![proposal], budget)
            });
            let plan = catch_unwind(alone).ok().and_then(|mut plan| {
                budget = plan.budget;
                plan.fleets.pop()
            });
            if plan.is_none() {
                self.note_fault(*at);
            }
            plans.push(plan);
        }
        plans
    }

    fn propose_one(&self, now: Timestamp, at: u32, dry: bool) -> (Proposal, Seen) {
        let fleet = &self.fleets[at as usize];
        let readings = self.readings(at);
        let facts = self.facts(at, now, &readings);
        let seen = Seen {
            groups: self.group_statuses(at, &facts),
            readings: readings.iter().map(reading_status).collect(),
            complete: facts.groups.iter().all(|group| matches!(group, GroupFact::Observed(_)))
                && !readings.iter().any(|reading| matches!(reading, OwnedReading::Missing(_))),
        };
        if dry && fleet.policy.mode != Mode::Observe {
            let policy = Arc::new(Policy { mode: Mode::Observe, ..(*fleet.policy).clone() });
            return (propose(&policy, &facts, &fleet.memory), seen);
        }
        (propose(&fleet.policy, &facts, &fleet.memory), seen)
    }

    /// The fleet's readings as of its own tick.
    pub(super) fn readings(&self, at: u32) -> Vec<OwnedReading> {
        let fleet = &self.fleets[at as usize];
        let tick = fleet.waits.map_or(self.tick, |waits| waits.tick);
        let inputs = self.index.fleets[at as usize].metrics.iter();
        fleet
            .policy
            .metrics
            .iter()
            .zip(inputs)
            .map(|(metric, inputs)| self.board.reading(metric, *inputs, tick))
            .collect()
    }

    /// Everything that the fleet's decision is made from.
    pub(super) fn facts<'a>(&'a self, at: u32, now: Timestamp, readings: &'a [OwnedReading]) -> FleetFacts<'a> {
        let fleet = &self.fleets[at as usize];
        let tick = fleet.waits.map_or(self.tick, |waits| waits.tick);
        let groups: Vec<_> = self.index.fleets[at as usize]
            .groups
            .iter()
            .zip(&fleet.read_after)
            .map(|(group, read_after)| match self.board.group(*group, tick) {
                Ok(_) if self.board.group_tick(*group) <= *read_after => GroupFact::Unknown(GroupError::Unclear),
                Ok(observation) => GroupFact::Observed(observation),
                Err(error) => GroupFact::Unknown(error),
            })
            .collect();
        let authority = self.authority(fleet.refused, &groups, now);
        let mut facts = FleetFacts::new(now, groups, readings.iter().map(OwnedReading::as_raw).collect());
        facts.override_now = fleet.override_now.as_ref().map(|row| row.what.clone());
        let is_hold = matches!(facts.override_now, Some(Override::Hold { scale_in_only: false, .. }));
        if let Some(held) = self.held_all.as_ref().filter(|held| held.scale_in_only && !is_hold) {
            // Whoever holds the world means every fleet: a pin waits until it is released.
            let (until, reason) = (held.until.unwrap_or(Timestamp(i64::MAX)), held.reason.as_str().into());
            facts.override_now = Some(Override::Hold { until, scale_in_only: true, reason });
        }
        facts.authority = authority;
        facts
    }

    fn authority(&self, refused: bool, groups: &[GroupFact<'_>], now: Timestamp) -> Authority {
        if refused || matches!(self.trouble, Trouble::Failing(_) | Trouble::Refusing(_)) {
            return Authority::Store;
        }
        let owned_by_other = |group: &GroupFact<'_>| match group {
            GroupFact::Observed(Observation { owner: Some(owner), .. }) => {
                *owner.id != **self.owner() && owner.expiry > now
            }
            _ => false,
        };
        let is_leased = self.lease.epoch(self.clock.monotonic()).is_some();
        if !is_leased && self.trouble != Trouble::None {
            // It ran out because the store does not take the renewal: the store is what a person has to look at.
            return Authority::Store;
        }
        if !is_leased || groups.iter().any(owned_by_other) {
            return Authority::Owner;
        }
        match (&self.held_all, &self.trouble) {
            (Some(held), _) if !held.scale_in_only => Authority::HoldAll,
            (_, Trouble::Full(_)) => Authority::NoScaleIn,
            _ => Authority::Full,
        }
    }

    fn group_statuses(&self, at: u32, facts: &FleetFacts<'_>) -> Box<[GroupStatus]> {
        let in_air = |place: usize| {
            let calls = &self.fleets[at as usize].in_air;
            calls.iter().any(|(group, _)| usize::from(*group) == place)
        };
        let status = |(place, group): (usize, &GroupFact<'_>)| match group {
            GroupFact::Unknown(error) => GroupStatus {
                unknown: Some(error.to_string().into()),
                trouble: self.index.fleets[at as usize]
                    .groups
                    .get(place)
                    .and_then(|group| self.unread.get(group)?.text.clone()),
                call_in_air: in_air(place),
                ..GroupStatus::default()
            },
            GroupFact::Observed(seen) => {
                let mut instances = [0; 4];
                for instance in &seen.instances {
                    instances[match instance.state {
                        InstanceState::Pending => 0,
                        InstanceState::Running => 1,
                        InstanceState::Terminating => 2,
                        InstanceState::Failed => 3,
                    }] += 1;
                }
                GroupStatus {
                    current: seen.desired,
                    instances,
                    at: Some(seen.at),
                    call_in_air: in_air(place),
                    ..GroupStatus::default()
                }
            }
        };
        facts.groups.iter().enumerate().map(status).collect()
    }
}

fn reading_status(reading: &OwnedReading) -> ReadingStatus {
    match reading {
        OwnedReading::Value { value, at, from, .. } => {
            ReadingStatus::Value { value: *value, at: *at, from: from.clone() }
        }
        OwnedReading::PerInstance { values, at, from } => {
            let sum: f64 = values.iter().map(|(_, value)| value).sum();
            ReadingStatus::Value { value: sum / values.len().max(1) as f64, at: *at, from: from.clone() }
        }
        OwnedReading::Missing(why) => ReadingStatus::Missing(why.code()),
    }
}

/// The budget after a plan; one that is not carried out spends nothing.
fn after(budget: Budget, plan: Option<&FleetPlan>) -> Budget {
    match plan {
        Some(FleetPlan { decision, effect: Effect::Act(groups), .. }) => policies::spent(decision, groups, budget),
        _ => budget,
    }
}
