//! How far ahead a decision has to look: metric lag, boot time and one period, learned from what the fleet really does.

use super::{AHEAD_MAX, Grid};
use crate::facts::{FleetFacts, GroupFact};
use crate::policy::{LAUNCH_DEADLINE, Policy};
use contract::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Boots kept; of so many the second longest is about the 95th percentile.
const BOOTS_MAX: usize = 32;
/// With fewer boots than this the configured time counts as one of them.
const BOOTS_ENOUGH: usize = 4;
/// The share of the way that a delay goes towards a longer and a shorter one.
const LONGER: f32 = 0.3;
const SHORTER: f32 = 0.02;
/// The metric lag before a decision was made, in seconds.
const LAG_START: f32 = 60.0;

/// Delays in seconds, as they were seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Delays {
    /// The newest reading's age at a decision.
    lag: Option<f32>,
    /// The time between two decisions.
    period: Option<f32>,
    /// How long the newest instances took from being asked for to running.
    boots: Vec<f32>,
    /// Instances that ran before this time have been counted.
    counted: Option<Timestamp>,
}

fn towards(known: &mut Option<f32>, seen: Duration) {
    let seen = seen.as_secs_f32();
    let known = known.get_or_insert(seen);
    *known += if seen > *known { LONGER } else { SHORTER } * (seen - *known);
}

impl Delays {
    pub fn is_sound(&self) -> bool {
        self.boots.len() <= BOOTS_MAX
            && self.boots.iter().chain(&self.lag).chain(&self.period).all(|secs| secs.is_finite())
    }

    /// Notes a decision's period and the boots that ended since the last one.
    pub fn observe(&mut self, policy: &Policy, facts: &FleetFacts<'_>, last: Option<Timestamp>, now: Timestamp) {
        // A gap in the decisions is no period of them.
        if let Some(last) = last.filter(|last| now.since(*last) <= policy.gap_max()) {
            towards(&mut self.period, now.since(last));
        }
        // What ran before the first decision may be older than what its cloud remembers of it.
        let counted = *self.counted.get_or_insert(now);
        let mut newest = counted;
        for fact in &facts.groups {
            let GroupFact::Observed(observation) = fact else { continue };
            for instance in &observation.instances {
                let (Some(launched), Some(running)) = (instance.launched, instance.running_since) else { continue };
                let took = running.since(launched);
                if running > counted && running <= now && launched <= running {
                    // An instance that was stopped and started again was launched long before it ran.
                    if took <= LAUNCH_DEADLINE.max(policy.boot * 2) {
                        self.boots.push(took.as_secs_f32());
                    }
                    newest = newest.max(running);
                }
            }
        }
        self.boots.drain(..self.boots.len().saturating_sub(BOOTS_MAX));
        self.counted = Some(newest);
    }

    /// Notes how old the newest reading was.
    pub fn observe_lag(&mut self, age: Duration) {
        towards(&mut self.lag, age);
    }

    /// The boot time to count with: about the 95th percentile of the last ones.
    pub fn boot(&self, policy: &Policy) -> Duration {
        let mut boots = self.boots.clone();
        if boots.len() < BOOTS_ENOUGH {
            boots.push(policy.boot.as_secs_f32());
        }
        boots.sort_unstable_by(f32::total_cmp);
        let at = boots.len() - 1 - usize::from(boots.len() >= 20);
        Duration::try_from_secs_f32(boots[at]).unwrap_or(policy.boot)
    }

    /// The steps to count in: minutes, or as many of them as keep the horizon short and hold one decision.
    pub fn grid(&self, policy: &Policy, window: Duration) -> Grid {
        // Warm-up is not in it: an instance that warms up already takes load, it is only not counted on yet.
        let boot = self.boot(policy).as_secs_f32();
        let period = self.period.unwrap_or(0.0).max(policy.interval.as_secs_f32());
        let horizon = self.lag.unwrap_or(LAG_START) + boot + period;
        let minutes = |secs: f32| (secs / 60.0 - 0.05).ceil().max(1.0);
        let step = 60.0 * minutes(horizon / AHEAD_MAX as f32).max(minutes(policy.interval.as_secs_f32()));
        let steps = |secs: f32| (secs / step - 0.05).ceil().max(0.0) as usize;
        Grid {
            step: step as i64,
            ahead: steps(horizon).clamp(1, AHEAD_MAX as usize),
            boot: steps(boot).min(AHEAD_MAX as usize),
            window: (window.as_secs_f32() / step) as usize,
        }
    }
}
