//! Other controllers of a group: scaling rules that watch a metric, event-triggered tasks and scheduled tasks.
//!
//! They are listed for the whole region, rarely, and for one group before it is written. What has not been read is shown
//! as an unknown controller, which stops writes: an error is unknown, never empty.

use crate::api::{Alarm, Rule, Task};
use crate::errors::cut;
use crate::time;
use contract::{Foreign, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// A listing that failed is tried again this much later.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// One routine job of the account this often, in turn: each is done in ten minutes.
const SLOT: Duration = Duration::from_secs(300);
/// How old a listing may be when a group is written.
pub(super) const FRESH_ENOUGH: Duration = Duration::from_secs(660);
/// How old it may be when a group is written for the first time.
pub(super) const FRESH_ENOUGH_AT_FIRST: Duration = Duration::from_secs(60);

/// A group and what else controls it.
pub(super) type Controlled = (Box<str>, Foreign);

/// A routine job of the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    List,
    RenewClaims,
}

/// What is known of the whole region, and when it is next asked.
#[derive(Debug, Default)]
pub(super) struct Account {
    of: BTreeMap<Box<str>, Vec<Foreign>>,
    /// When the last listing that came was asked for.
    all_read: Option<Instant>,
    named_read: BTreeMap<Box<str>, Instant>,
    asked: Option<Instant>,
    trouble: Option<Box<str>>,
    /// A group was first seen then: only a listing asked for since is known to cover it.
    wanted: Option<Instant>,
    next_slot: Option<Instant>,
    renews: bool,
}

impl Account {
    /// Notes that a group was seen for the first time.
    pub fn want(&mut self, since: Instant) {
        self.wanted = self.wanted.max(Some(since));
    }

    /// The job to do now. A group that no listing covers: ask at once. Else one job a slot, in turn.
    pub fn due(&mut self, now: Instant) -> Option<Job> {
        let wanted = self.wanted;
        let covers = |asked: Option<Instant>| asked.is_some() && asked >= wanted;
        let waited = self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= ASK_AGAIN);
        if !covers(self.all_read) && (waited || !covers(self.asked)) {
            self.asked = Some(now);
            return Some(Job::List);
        }
        let next = *self.next_slot.get_or_insert(now + SLOT);
        if now < next {
            return None;
        }
        self.next_slot = Some(now + SLOT);
        self.renews = !self.renews;
        if self.renews {
            return Some(Job::RenewClaims);
        }
        self.asked = Some(now);
        Some(Job::List)
    }

    /// Notes a listing of the whole region, by when it was asked for. One that was overtaken by a later one is dropped.
    pub fn learn_all(&mut self, found: Vec<Controlled>, asked: Instant) {
        if self.all_read.is_some_and(|read| read > asked) {
            return;
        }
        self.of.clear();
        self.named_read.clear();
        self.trouble = None;
        self.all_read = Some(asked);
        for (group, foreign) in found {
            self.of.entry(group).or_default().push(foreign);
        }
    }

    /// Notes a listing of one group.
    pub fn learn(&mut self, group: &str, found: Vec<Controlled>, now: Instant) {
        let of = found.into_iter().filter(|(of, _)| &**of == group).map(|(_, foreign)| foreign).collect();
        self.of.insert(group.into(), of);
        self.named_read.insert(group.into(), now);
    }

    /// Notes that a listing failed; what was known stays known.
    pub fn failed(&mut self, why: &str) {
        self.trouble = Some(cut(why, 120));
    }

    fn read(&self, group: &str, first_seen: Option<Instant>) -> Option<Instant> {
        let all = self.all_read.filter(|read| first_seen.is_none_or(|seen| *read >= seen));
        all.max(self.named_read.get(group).copied())
    }

    /// How long ago the controllers of a group that was first seen at a time were read; `None` when not since.
    pub fn age(&self, group: &str, first_seen: Option<Instant>, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.read(group, first_seen)?))
    }

    /// The foreign controllers of a group that was first seen at a time. When they were not read since, one stands in
    /// that may do anything.
    pub fn of(&self, group: &str, first_seen: Option<Instant>) -> Vec<Foreign> {
        let mut all = Vec::new();
        if self.read(group, first_seen).is_none() {
            let why = self.trouble.as_deref().unwrap_or("not read yet");
            all.push(Foreign { name: format!("unknown scaling rules and tasks: {why}").into(), removes: None });
        }
        all.extend(self.of.get(group).into_iter().flatten().cloned());
        all
    }
}

/// What can change a group's capacity by itself: rules that watch a metric, tasks that execute rules, and tasks that set
/// numbers. A rule that nothing executes does nothing.
pub(super) fn controllers(rules: &[Rule], tasks: &[Task], alarms: &[Alarm], now: Timestamp) -> Vec<Controlled> {
    let by_ari: BTreeMap<&str, &Rule> =
        rules.iter().filter_map(|rule| Some((rule.scaling_rule_ari.as_deref()?, rule))).collect();
    let mut all: Vec<Controlled> = rules.iter().filter_map(rule).collect();
    all.extend(tasks.iter().filter_map(|each| task(each, &by_ari, now)));
    all.extend(alarms.iter().filter_map(|each| alarm(each, &by_ari)));
    all
}

/// A rule that acts by itself.
fn rule(rule: &Rule) -> Option<Controlled> {
    let removes = match rule.scaling_rule_type.as_deref()? {
        "TargetTrackingScalingRule" => Some(rule.disable_scale_in != Some(true)),
        // A forecast alone changes nothing; with scaling it moves the bounds, by tasks that it makes.
        "PredictiveScalingRule" if rule.predictive_scaling_mode.as_deref() == Some("PredictOnly") => return None,
        "PredictiveScalingRule" => None,
        _ => return None,
    };
    let name = format!("scaling rule {}", rule.scaling_rule_name.as_deref().unwrap_or("without a name"));
    Some((rule.scaling_group_id.as_deref()?.into(), Foreign { name: name.into(), removes }))
}

/// Whether a rule can remove instances once something executes it; `None` when that cannot be told.
fn removes(rule: Option<&Rule>) -> Option<bool> {
    let rule = rule?;
    let changes: Vec<i64> =
        rule.step_adjustments.iter().filter_map(|step| step.scaling_adjustment).chain(rule.adjustment_value).collect();
    let absolute = rule.adjustment_type.as_deref() == Some("TotalCapacity");
    (!changes.is_empty()).then(|| absolute || changes.iter().any(|change| *change < 0))
}

fn task(task: &Task, rules: &BTreeMap<&str, &Rule>, now: Timestamp) -> Option<Controlled> {
    if task.task_enabled == Some(false) || is_over(task, now) {
        return None;
    }
    let action = task.scheduled_action.as_deref().filter(|action| !action.is_empty());
    let executed = action.and_then(|action| rules.get(action).copied());
    let sets = task.desired_capacity.is_some() || task.max_value.is_some();
    let removes = match (action, task.min_value) {
        (Some(_), _) => removes(executed),
        // A desired or a maximum can lower; a minimum alone only raises.
        (None, _) if sets => Some(true),
        (None, Some(_)) => Some(false),
        (None, None) => return None,
    };
    let group = task.scaling_group_id.as_deref().or(executed.and_then(|rule| rule.scaling_group_id.as_deref()))?;
    let name = format!("scheduled task {}", task.scheduled_task_name.as_deref().unwrap_or("without a name"));
    Some((group.into(), Foreign { name: name.into(), removes }))
}

/// A task that ran once, or whose last time has passed.
fn is_over(task: &Task, now: Timestamp) -> bool {
    let end = task.recurrence_end_time.as_deref().and_then(time::parse);
    if task.recurrence_type.as_deref().is_some_and(|recurs| !recurs.is_empty()) {
        return end.is_some_and(|end| end < now);
    }
    // It may be late by its own window, and by some minutes beside that.
    let window = task.launch_expiration_time.and_then(|secs| u64::try_from(secs).ok()).unwrap_or(21_600);
    let launch = task.launch_time.as_deref().and_then(time::parse);
    launch.is_some_and(|launch| launch.after(Duration::from_secs(window + 600)) < now)
}

fn alarm(alarm: &Alarm, rules: &BTreeMap<&str, &Rule>) -> Option<Controlled> {
    if alarm.enable == Some(false) || alarm.alarm_actions.is_empty() {
        return None;
    }
    let executed: Vec<Option<&Rule>> =
        alarm.alarm_actions.iter().map(|action| rules.get(action.as_str()).copied()).collect();
    let by_itself = |rule: &Option<&Rule>| {
        rule.is_some_and(|rule| rule.scaling_rule_type.as_deref() == Some("TargetTrackingScalingRule"))
    };
    if executed.iter().all(by_itself) {
        // Made for a rule that is shown itself.
        return None;
    }
    let removals: Vec<Option<bool>> = executed.iter().map(|rule| removes(*rule)).collect();
    let removes = if removals.contains(&Some(true)) {
        Some(true)
    } else {
        removals.iter().all(|removal| *removal == Some(false)).then_some(false)
    };
    let of_rule = || executed.iter().flatten().find_map(|rule| rule.scaling_group_id.as_deref());
    let group = alarm.scaling_group_id.as_deref().or_else(of_rule)?;
    let name = format!("event-triggered task {}", alarm.name.as_deref().unwrap_or("without a name"));
    Some((group.into(), Foreign { name: name.into(), removes }))
}

#[cfg(test)]
#[path = "foreign_tests.rs"]
mod tests;
