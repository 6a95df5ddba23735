//! Scheduled actions of an Auto Scaling group. At AWS each sets the group's bounds once, and they stay until the next one;
//! here a schedule is open for a time, so each action lasts until the one after it.

use crate::json::{At, Read};
use contract::Capacity;
use contract::native::{NativeKind, NativePolicy, NativeRule, NativeSchedule};

struct Action<'a> {
    name: &'a str,
    cron: &'a str,
    tz: &'a str,
    min: Option<Capacity>,
    max: Option<Capacity>,
}

pub(crate) fn read(native: &mut NativePolicy, schedules: &[At<'_>]) -> Read<()> {
    let mut actions = Vec::new();
    for one in schedules {
        let name = one.need("ScheduledActionName")?.text()?;
        let Some(cron) = one.maybe_text("Recurrence")? else {
            other(native, name, "it happens once, and a schedule here comes again: `skala pin` sets capacity once");
            continue;
        };
        let (min, max) = (one.maybe("MinSize", At::capacity)?, one.maybe("MaxSize", At::capacity)?);
        let desired = one.maybe("DesiredCapacity", At::capacity)?;
        if one.get("EndTime").is_some() {
            native.note(format!("The scheduled action {name} has an end: the schedule here has none."));
        }
        if let Some(desired) = desired {
            native.note(format!(
                "The scheduled action {name} sets capacity to {desired} once, and scaling goes on from there. Here it \
                 counts as the min while it lasts, as far as its max allows."
            ));
        }
        let min = min.max(desired).map(|min| max.map_or(min, |max| min.min(max)));
        let tz = one.maybe_text("TimeZone")?.unwrap_or("UTC");
        actions.push(Action { name, cron, tz, min, max });
    }
    let ends = ends(&actions);
    for (action, until) in actions.iter().zip(ends) {
        let Some(until) = until else {
            other(native, action.name, &alone(action));
            continue;
        };
        let schedule = NativeSchedule {
            cron: action.cron.into(),
            until: Some(until.into()),
            lasts: None,
            tz: action.tz.into(),
            min: action.min,
            max: action.max,
        };
        native.rules.push(NativeRule { name: crate::promql::label(action.name), kind: NativeKind::Schedule(schedule) });
    }
    if !actions.is_empty() {
        native.note(
            "A scheduled action at AWS sets the group's bounds once, and a change by hand stays until the next one. A \
             schedule here is open from one action to the next, also for a daemon that starts in between. The group's own \
             MinSize and MaxSize bound skala too, so once the actions are gone they have to be as wide as all of this.",
        );
    }
    Ok(())
}

fn other(native: &mut NativePolicy, name: &str, why: &str) {
    let text = format!("the scheduled action {name}: {why}");
    native.rules.push(NativeRule { name: crate::promql::label(name), kind: NativeKind::Other(text.into()) });
}

fn alone(action: &Action<'_>) -> String {
    let bound = |name: &str, n: Option<Capacity>| n.map(|n| format!(" {name} {n}")).unwrap_or_default();
    format!(
        "`{}` ({}) sets{}{}, and which action ends that cannot be told from the others' times",
        action.cron,
        action.tz,
        bound("min", action.min),
        bound("max", action.max)
    )
}

/// When each action ends: when the next one begins. Two end each other whenever they are; more than two can be ordered
/// when they are on the same days and differ in the time of day alone.
fn ends<'a>(actions: &[Action<'a>]) -> Vec<Option<&'a str>> {
    let same_zone = actions.windows(2).all(|pair| pair[0].tz == pair[1].tz);
    if !same_zone || actions.len() < 2 {
        return vec![None; actions.len()];
    }
    if let [a, b] = actions {
        return vec![Some(b.cron), Some(a.cron)];
    }
    let times: Option<Vec<(u32, &str)>> = actions.iter().map(|action| time_of_day(action.cron)).collect();
    let Some(times) = times.filter(|times| times.windows(2).all(|pair| pair[0].1 == pair[1].1)) else {
        return vec![None; actions.len()];
    };
    let next = |minute: u32| {
        let later = times.iter().enumerate().filter(|(_, time)| time.0 > minute).min_by_key(|(_, time)| time.0);
        later.or_else(|| times.iter().enumerate().min_by_key(|(_, time)| time.0)).map(|(at, _)| actions[at].cron)
    };
    times.iter().map(|(minute, _)| next(*minute)).collect()
}

/// The minute of the day of a plain `M H ...`, and the days that follow it.
fn time_of_day(cron: &str) -> Option<(u32, &str)> {
    let (minute, rest) = cron.trim().split_once(' ')?;
    let (hour, days) = rest.trim_start().split_once(' ')?;
    Some((hour.parse::<u32>().ok()? * 60 + minute.parse::<u32>().ok()?, days.trim()))
}
