//! `schedule`: bounds while it is open. Whether it is open is a question about now, not an event: a daemon that was down
//! at the edge misses nothing.

use crate::policy::{CalendarEvent, Closes, Policy, RuleKind, Schedule};
use crate::trace::{LimitBy, Limits};
use contract::{Capacity, Timestamp};
use jiff::Zoned;
use jiff::tz::TimeZone;

/// The limits in force at a time: the policy's, rewritten by open schedules, within the groups' own.
///
/// Of overlapping schedules the greatest min and the smallest max win; max wins over min.
pub(crate) fn limits(policy: &Policy, groups: [Option<(Capacity, LimitBy)>; 2], now: Timestamp) -> Limits {
    let mut limits = Limits { min: policy.min, max: policy.max, min_by: LimitBy::Policy, max_by: LimitBy::Policy };
    let open = policy.rules.iter().enumerate().filter_map(|(at, rule)| match &rule.kind {
        RuleKind::Schedule(schedule) if is_open(schedule, now) => {
            Some((u16::try_from(at).unwrap_or(u16::MAX), schedule))
        }
        _ => None,
    });
    for (at, schedule) in open {
        if let Some(min) = schedule.min
            && (limits.min_by == LimitBy::Policy || min > limits.min)
        {
            (limits.min, limits.min_by) = (min, LimitBy::Schedule(at));
        }
        if let Some(max) = schedule.max
            && (limits.max_by == LimitBy::Policy || max < limits.max)
        {
            (limits.max, limits.max_by) = (max, LimitBy::Schedule(at));
        }
    }
    let [low, high] = groups;
    if let Some((min, by)) = low
        && min > limits.min
    {
        (limits.min, limits.min_by) = (min, by);
    }
    if let Some((max, by)) = high
        && max < limits.max
    {
        (limits.max, limits.max_by) = (max, by);
    }
    if limits.min > limits.max {
        (limits.min, limits.min_by) = (limits.max, limits.max_by);
    }
    limits
}

/// Whether a schedule is open: its last opening, `lead` brought forward, has not closed yet.
fn is_open(schedule: &Schedule, now: Timestamp) -> bool {
    let Some(now) = zoned(&schedule.tz, now) else { return false };
    let Ok(lead) = jiff::SignedDuration::try_from(schedule.lead) else { return false };
    let Ok(ahead) = now.checked_add(lead) else { return false };
    let Ok(opened) = schedule.cron.find_previous_occurrence(&ahead, true) else { return false };
    closed(&schedule.closes, &opened).is_some_and(|closed| now < closed)
}

fn closed(closes: &Closes, opened: &Zoned) -> Option<Zoned> {
    match closes {
        Closes::After(after) => {
            jiff::SignedDuration::try_from(*after).ok().and_then(|after| opened.checked_add(after).ok())
        }
        Closes::Until(until) => until.find_next_occurrence(opened, false).ok(),
    }
}

/// When the occurrence of an event that is open at a time, or the next one, opens and closes; in seconds since 1970.
pub(super) fn occurrence(event: &CalendarEvent, at: Timestamp) -> Option<(i64, i64)> {
    let at = zoned(&event.tz, at)?;
    let span = |opened: Zoned| Some((opened.clone(), closed(&event.closes, &opened)?));
    let last = event.cron.find_previous_occurrence(&at, true).ok().and_then(span).filter(|(_, closed)| at < *closed);
    let (opened, closed) = last.or_else(|| event.cron.find_next_occurrence(&at, false).ok().and_then(span))?;
    Some((opened.timestamp().as_second(), closed.timestamp().as_second())).filter(|(opened, closed)| opened < closed)
}

fn zoned(tz: &TimeZone, now: Timestamp) -> Option<Zoned> {
    let now = jiff::Timestamp::from_microsecond(now.0).ok()?;
    Some(now.to_zoned(tz.clone()))
}
