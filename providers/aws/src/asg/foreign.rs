//! Other controllers of a group: scaling policies and scheduled actions.
//!
//! They are listed for the whole account, rarely, and for one group before it is first written. What has not been read
//! is shown as an unknown controller, which stops writes: an error is unknown, never empty.

use crate::errors::cut;
use aws_sdk_autoscaling::types::{PredictiveScalingMode, ScalingPolicy, ScheduledUpdateGroupAction};
use contract::{Foreign, Suspended, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// A listing that failed is tried again this much later.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// How old a listing may be when a group is written.
pub(crate) const FRESH_ENOUGH: Duration = Duration::from_secs(600);
/// How old it may be when a group is written for the first time.
pub(crate) const FRESH_ENOUGH_AT_FIRST: Duration = Duration::from_secs(60);

/// The two kinds of foreign controllers, each with its own listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Policies,
    Schedules,
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Kind::Policies => "scaling policies",
            Kind::Schedules => "scheduled actions",
        }
    }

    /// Whether this stands for controllers of the kind that were not read yet.
    fn is_unknown(self, foreign: &Foreign) -> bool {
        foreign.name.strip_prefix("unknown ").is_some_and(|rest| rest.starts_with(self.words()))
    }
}

/// A routine job of the account: one at a time, so that a hundred groups cost one call in ten minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    List(Kind),
    RenewClaims,
}

/// What is known of the whole account, and when it is next asked.
#[derive(Debug, Default)]
pub(crate) struct Account {
    policies: Listing,
    schedules: Listing,
    /// A group was first seen then: only a listing asked for since is known to cover it.
    wanted: Option<Instant>,
    next_slot: Option<Instant>,
    turn: usize,
}

#[derive(Debug, Default)]
struct Listing {
    of: BTreeMap<Box<str>, Vec<Foreign>>,
    /// When the last listing that came was asked for.
    all_read: Option<Instant>,
    named_read: BTreeMap<Box<str>, Instant>,
    asked: Option<Instant>,
    trouble: Option<Box<str>>,
}

impl Listing {
    /// When the controllers of a group that was first seen at a time were last read.
    fn read(&self, group: &str, first_seen: Option<Instant>) -> Option<Instant> {
        let all = self.all_read.filter(|read| first_seen.is_none_or(|seen| *read >= seen));
        all.max(self.named_read.get(group).copied())
    }
}

impl Account {
    /// Notes that a group was seen for the first time.
    pub fn want(&mut self, since: Instant) {
        self.wanted = self.wanted.max(Some(since));
    }

    /// The jobs to do now. A group that no listing covers: ask at once. Else one job a slot, in turn, so that all calls
    /// beside the observations are at most one in ten minutes per hundred groups.
    pub fn due(&mut self, groups: usize, now: Instant) -> Vec<Job> {
        let mut jobs = Vec::new();
        let wanted = self.wanted;
        for kind in [Kind::Policies, Kind::Schedules] {
            let listing = self.listing(kind);
            let covers = |asked: Option<Instant>| asked.is_some() && asked >= wanted;
            let waited = listing.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= ASK_AGAIN);
            if !covers(listing.all_read) && (waited || !covers(listing.asked)) {
                listing.asked = Some(now);
                jobs.push(Job::List(kind));
            }
        }
        // All three jobs are done within ten minutes once the groups pay for them.
        let slot = Duration::from_secs(if groups >= 300 { 200 } else { 600 });
        let next = *self.next_slot.get_or_insert(now + slot);
        if jobs.is_empty() && now >= next {
            let turns = [Job::List(Kind::Policies), Job::List(Kind::Schedules), Job::RenewClaims];
            jobs.push(turns[self.turn % turns.len()]);
            self.turn += 1;
            self.next_slot = Some(now + slot);
        }
        jobs
    }

    fn listing(&mut self, kind: Kind) -> &mut Listing {
        match kind {
            Kind::Policies => &mut self.policies,
            Kind::Schedules => &mut self.schedules,
        }
    }

    /// Notes a listing of the whole account, by when it was asked for. One that was overtaken by a later one is dropped.
    pub fn learn_all(&mut self, kind: Kind, of: BTreeMap<Box<str>, Vec<Foreign>>, asked: Instant) {
        let listing = self.listing(kind);
        if listing.all_read.is_none_or(|read| read <= asked) {
            *listing = Listing { of, all_read: Some(asked), asked: listing.asked, ..Listing::default() };
        }
    }

    /// Notes a listing of one group.
    pub fn learn(&mut self, kind: Kind, group: &str, of: Vec<Foreign>, now: Instant) {
        let listing = self.listing(kind);
        listing.of.insert(group.into(), of);
        listing.named_read.insert(group.into(), now);
    }

    /// Notes that a listing failed; what was known stays known.
    pub fn trouble(&mut self, kind: Kind, why: &str) {
        self.listing(kind).trouble = Some(cut(why, 120));
    }

    /// How long ago the controllers of a group that was first seen at a time were read; `None` when not since.
    pub fn age(&mut self, kind: Kind, group: &str, first_seen: Option<Instant>, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.listing(kind).read(group, first_seen)?))
    }

    /// The foreign controllers of a group that was first seen at a time. A kind that was not read since stands in as one
    /// that may do anything.
    pub fn of(&mut self, group: &str, first_seen: Option<Instant>) -> Vec<Foreign> {
        let mut all = Vec::new();
        for kind in [Kind::Policies, Kind::Schedules] {
            let listing = self.listing(kind);
            if listing.read(group, first_seen).is_none() {
                let why = listing.trouble.as_deref().unwrap_or("not read yet");
                all.push(Foreign { name: format!("unknown {}: {why}", kind.words()).into(), removes: None });
            }
            all.extend(listing.of.get(group).into_iter().flatten().cloned());
        }
        all
    }
}

/// The process that runs scaling policies when their alarms ring. A predictive policy needs none.
pub(crate) const ALARMS: &str = "AlarmNotification";
/// The process that runs scheduled actions.
pub(crate) const SCHEDULES: &str = "ScheduledActions";
const POLICY: &str = "scaling policy ";
const ACTION: &str = "scheduled action ";

/// The controllers that may act while these processes are suspended. The group itself says so at each observation, so a
/// handover shows at once, however old the listings are.
pub(crate) fn awake(mut all: Vec<Foreign>, suspended: &[Suspended]) -> Vec<Foreign> {
    let rests = |process: &str| suspended.iter().any(|one| matches!(one, Suspended::Other(name) if **name == *process));
    let (no_alarms, no_schedules) = (rests(ALARMS), rests(SCHEDULES));
    all.retain(|foreign| {
        let unknown = Kind::Schedules.is_unknown(foreign);
        !(no_alarms && foreign.name.starts_with(POLICY))
            && !(no_schedules && (foreign.name.starts_with(ACTION) || unknown))
    });
    all
}

/// What one scaling policy can do; `None` when it does nothing.
pub(crate) fn policy(policy: &ScalingPolicy) -> Option<(Box<str>, Foreign)> {
    let group = policy.auto_scaling_group_name()?;
    if policy.enabled() == Some(false) {
        return None;
    }
    let removes = match policy.policy_type().unwrap_or("SimpleScaling") {
        "PredictiveScaling" => {
            // A forecast alone changes nothing; with scaling it only ever adds.
            let mode = policy.predictive_scaling_configuration().and_then(|config| config.mode());
            if matches!(mode, None | Some(PredictiveScalingMode::ForecastOnly)) {
                return None;
            }
            Some(false)
        }
        "TargetTrackingScaling" => {
            let disabled = policy.target_tracking_configuration().and_then(|config| config.disable_scale_in());
            Some(disabled != Some(true))
        }
        "StepScaling" | "SimpleScaling" => {
            let steps = policy.step_adjustments().iter().filter_map(|step| step.scaling_adjustment());
            let exact = policy.adjustment_type() == Some("ExactCapacity");
            Some(exact || steps.chain(policy.scaling_adjustment()).any(|change| change < 0))
        }
        _ => None,
    };
    // A predictive one does not wait for alarms, so it is told apart: see `awake`.
    let predictive = if policy.policy_type() == Some("PredictiveScaling") { "predictive " } else { "" };
    let name = format!("{predictive}{POLICY}{}", policy.policy_name().unwrap_or("without a name"));
    Some((group.into(), Foreign { name: name.into(), removes }))
}

/// What one scheduled action can do; `None` when it is over or does nothing.
pub(crate) fn schedule(action: &ScheduledUpdateGroupAction, now: Timestamp) -> Option<(Box<str>, Foreign)> {
    let group = action.auto_scaling_group_name()?;
    let end = action.end_time().and_then(|time| Timestamp::from_secs_f64(time.as_secs_f64()));
    if end.is_some_and(|end| end < now) {
        return None;
    }
    // A desired or a maximum can lower; a minimum alone only raises.
    let removes = action.desired_capacity().is_some() || action.max_size().is_some();
    if !removes && action.min_size().is_none() {
        return None;
    }
    let name = format!("{ACTION}{}", action.scheduled_action_name().unwrap_or("without a name"));
    Some((group.into(), Foreign { name: name.into(), removes: Some(removes) }))
}

#[cfg(test)]
#[path = "foreign_tests.rs"]
mod tests;
