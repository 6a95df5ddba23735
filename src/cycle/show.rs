//! What others see of a cycle: the published status and numbers, and the log lines about calls. In: finished plans and
//! ended calls. Nothing here decides, and nothing is logged for a fleet that simply goes on.

use super::act::Ended;
use super::plan::{Batch, Planned};
use super::{Cycle, Trouble};
use crate::published::{FleetStatus, outcome_word};
use crate::sources::Answer;
use contract::Timestamp;
use policies::memory::{FleetMemory, Outcome};
use policies::plan::Decision;
use policies::policy::Policy;
use policies::trace::{HoldReason, Stage};
use std::sync::Arc;
use std::time::Duration;

impl Cycle {
    /// Publishes a fleet's decision.
    pub(super) fn show(&mut self, batch: &Batch, planned: Planned) {
        let Planned { fleet: at, plan, mut groups, readings, complete, .. } = planned;
        for part in plan.effect.groups() {
            if let Some(group) = groups.get_mut(usize::from(part.group)) {
                (group.desired, group.draining) = (part.desired, part.held);
            }
        }
        let fleet = &mut self.fleets[at as usize];
        let decision = plan.decision;
        let last = &fleet.status;
        let (mut decisions, mut holds) = (last.decisions, last.holds);
        decisions.count(decision.direction());
        if let Some(hold) = decision.hold {
            holds[hold.reason as usize] += 1;
        }
        if last.decision.as_ref().is_none_or(|last| differs(last, &decision)) {
            log_decision(&fleet.policy, &decision);
        }
        self.undecided -= usize::from(last.decision.is_none() && last.fault.is_none());
        let (cooldown_out, cooldown_in) = cooldowns(&fleet.policy, &fleet.memory, batch.now);
        fleet.status = Arc::new(FleetStatus {
            policy: Arc::clone(&fleet.policy),
            stabilized: decision.trace.iter().find(|step| step.stage == Stage::Stabilize).and_then(|step| step.after),
            groups,
            readings,
            override_now: fleet.override_now.clone(),
            cooldown_out,
            cooldown_in,
            last_success: if complete { Some(batch.now) } else { last.last_success },
            decisions,
            holds,
            fault: None,
            decision: Some(decision),
        });
        let status = Arc::clone(&fleet.status);
        self.published.write(|view| view.fleets[at as usize] = status);
    }

    /// A fleet that could not be decided because of us: it keeps what it has, and people are told.
    pub(super) fn note_fault(&mut self, at: u32) {
        self.published.metrics().fault();
        let fleet = &mut self.fleets[at as usize];
        tracing::error!(fleet = %fleet.id, "The decision failed inside skala; the fleet is held. Please report this.");
        let mut status = (*fleet.status).clone();
        self.undecided -= usize::from(status.decision.is_none() && status.fault.is_none());
        status.fault = Some("the decision failed inside skala".into());
        fleet.status = Arc::new(status);
        let status = Arc::clone(&fleet.status);
        self.published.write(|view| view.fleets[at as usize] = status);
    }

    /// Publishes everything that is not one fleet's.
    pub(super) fn show_process(&mut self) {
        let monotonic = self.clock.monotonic();
        self.published.write(|view| {
            let process = &mut view.process;
            process.lease_held = self.lease.epoch(monotonic).is_some();
            process.first_round_done = self.undecided == 0;
            process.hold_all = self.held_all.as_ref().map(|held| held.reason.as_str().into());
            process.calls_in_air = self.calls.len();
            process.store.full = matches!(self.trouble, Trouble::Full(_));
            process.store_fault = match &self.trouble {
                Trouble::None => None,
                Trouble::Full(text) | Trouble::Failing(text) | Trouble::Refusing(text) => Some(Arc::clone(text)),
            };
        });
    }

    pub(super) fn note_answer(&mut self, source: u32, answer: &Answer, took: Duration) {
        let name = &self.index.sources[source as usize];
        match answer {
            Err(why) => self.published.metrics().reading_missing(name, why.code()),
            // An answer is taken whole from one source.
            Ok(series) => {
                if let Some(from) = series.first().and_then(|one| one.from.as_ref()) {
                    self.published.metrics().source_answered(name, from);
                }
            }
        }
        self.published.metrics().source_request(name, took);
    }

    pub(super) fn count_ended(&self, ended: &Ended) {
        let Ended { row, outcome, .. } = ended;
        self.published.metrics().action(&row.provider, row.action.word(), outcome_word(*outcome));
    }

    pub(super) fn log_ended(&self, ended: &Ended) {
        let Ended { row, outcome, code, text, .. } = ended;
        let (fleet, group, action, to) = (&row.fleet, &row.group_name, row.action.word(), row.action.to());
        match outcome {
            Outcome::Accepted => {
                tracing::info!(%fleet, provider = %row.provider, %group, action, to, note = %text, "The cloud accepted.");
            }
            Outcome::Refused | Outcome::Unclear => {
                let outcome = outcome_word(*outcome);
                tracing::warn!(%fleet, provider = %row.provider, %group, action, to, outcome, code, %text, "No effect known.");
            }
        }
    }
}

fn differs(last: &Decision, now: &Decision) -> bool {
    let reason = |decision: &Decision| decision.hold.map(|hold| hold.reason);
    last.desired != now.desired || reason(last) != reason(now)
}

fn log_decision(policy: &Policy, decision: &Decision) {
    let hold = decision.hold.map_or("", |hold| HoldReason::word(hold.reason));
    let known = |capacity: Option<u32>| capacity.map_or_else(|| "unknown".to_string(), |n| n.to_string());
    let (current, desired) = (known(decision.current), known(decision.desired));
    tracing::info!(fleet = %policy.id, %current, %desired, hold = %hold, "Decided.");
}

/// What is left of the cooldowns: for scale-out, for scale-in.
fn cooldowns(policy: &Policy, memory: &FleetMemory, now: Timestamp) -> (Duration, Duration) {
    let left =
        |since: Option<Timestamp>, lasts: Duration| since.map_or(Duration::ZERO, |since| since.after(lasts).since(now));
    let out = left(memory.last_out, policy.scale_out.cooldown);
    let after_in = left(memory.last_in, policy.scale_in.cooldown);
    (out, after_in.max(left(memory.last_out, policy.scale_in.after_scale_out)))
}
