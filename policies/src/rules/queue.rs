//! `queue`: the capacity that keeps up with what comes and has done what waits in time.
//!
//! Two loads, in workers: arrivals x service time keeps up (Little's law), backlog x service time / `drain_within` drains
//! (decisions.md 3, row 3; its rho is 1, since a backlog that grows is itself what asks for more). Who serves now can
//! start at once; what is added only after its boot, and what boots already after the rest of it. So instances that boot
//! are not asked for twice, and where exactly as many serve as keep up this is the table's "time to drain, minus boot".
//!
//! The time to drain is always counted from now. It is the scale-in window that keeps capacity until the queue is empty;
//! with a window shorter than `drain_within`, the end of a long queue takes longer.

use super::{Context, SATURATED, input, members, whole};
use crate::facts::GroupFact;
use crate::policy::Queue;
use crate::trace::{Answer, Calculation, UnknownWhy};
use contract::{Instance, InstanceState};

/// Of the time to drain, this share is left to new instances at least, however long they boot: a boot nearly as long as
/// the time to drain must not ask for a hundred times the instances.
const TIME_LEFT_MIN: f64 = 0.25;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
struct Work {
    /// Jobs that wait.
    backlog: f64,
    /// Jobs that come, a second.
    arrivals: f64,
    /// Seconds that a job takes a worker.
    service_secs: f64,
}

pub(super) fn recommend(context: &Context<'_>, rule: &Queue) -> Answer {
    let read = |metric| input(context, metric);
    let (backlog, arrivals, service) = match (read(rule.backlog), read(rule.arrivals), read(rule.service_time)) {
        (Ok(backlog), Ok(arrivals), Ok(service)) => (backlog, arrivals, service),
        (Err(unknown), ..) | (_, Err(unknown), _) | (.., Err(unknown)) => return unknown,
    };
    let work = Work { backlog: backlog.value, arrivals: arrivals.value, service_secs: service.value };
    if work.service_secs <= 0.0 && (work.backlog > 0.0 || work.arrivals > 0.0) {
        return Context::unknown(rule.service_time, UnknownWhy::TakesNoTime);
    }
    let workers = f64::from(rule.workers_per_instance);
    let serving = context.view.serving;
    let times = Times { within: rule.drain_within.as_secs_f64(), boot: context.policy.boot.as_secs_f64() };
    let (needed, late) = instances(work, workers, f64::from(serving), coming(context), times);
    // Arrivals that are measured where the work is done cannot exceed what can be done (safety.md: censored).
    let served_then = context.serving_at(arrivals.at);
    let saturated =
        served_then > 0 && work.arrivals * work.service_secs >= SATURATED * workers * f64::from(served_then);
    let raw = whole(needed);
    let value = if saturated { raw.max(context.current) } else { raw };
    let calculation = Calculation::Queue {
        backlog: work.backlog,
        arrivals: work.arrivals,
        service_secs: work.service_secs,
        drain_within: rule.drain_within,
        workers: rule.workers_per_instance,
        serving: late.then_some(serving),
        saturated,
    };
    if backlog.covers && arrivals.covers && service.covers {
        Answer::Value(value, calculation)
    } else {
        Answer::OutOnly(value.max(context.current), calculation)
    }
}

/// Seconds to drain in, and to boot.
#[derive(Clone, Copy, Debug)]
struct Times {
    within: f64,
    boot: f64,
}

/// Instances that are asked for and do not serve yet.
#[derive(Clone, Copy, Debug, Default)]
struct Coming {
    count: f64,
    /// What they have of their boots behind them, in seconds, all together.
    booted: f64,
}

fn coming(context: &Context<'_>) -> Coming {
    let boot = context.policy.boot;
    let observed = context.facts.groups.iter().filter_map(|fact| match fact {
        GroupFact::Observed(observation) => Some(*observation),
        GroupFact::Unknown(_) => None,
    });
    let boots = |instance: &&Instance| match instance.state {
        InstanceState::Pending => true,
        InstanceState::Running => !members::is_warm(context, instance),
        InstanceState::Terminating | InstanceState::Failed => false,
    };
    let secs = |instance: &Instance| {
        instance.launched.map_or(0.0, |launched| context.now.since(launched).min(boot).as_secs_f64())
    };
    let booted: f64 = observed.flat_map(|o| o.instances.iter().filter(boots).map(secs)).sum();
    let count = f64::from(context.view.warming());
    Coming { count, booted: booted.min(count * boot.as_secs_f64()) }
}

/// The instances needed, and whether those who serve cannot do it in time.
fn instances(work: Work, workers: f64, serving: f64, coming: Coming, times: Times) -> (f64, bool) {
    let within = times.within;
    let keep_up = work.arrivals * work.service_secs / workers;
    // No job has more than one worker: one that takes longer than the time to drain wants one at once, not several.
    let drain = work.backlog * (work.service_secs / within).min(1.0) / workers;
    let plain = keep_up + drain;
    if plain <= serving {
        return (plain, false);
    }
    // The time that a new instance has, and the work, in instance seconds, that those who serve leave over.
    let left = (within - times.boot).max(within * TIME_LEFT_MIN);
    let over = (keep_up - serving) * within + work.backlog * work.service_secs / workers;
    let coming_can = coming.count * left + coming.booted.min(coming.count * (within - left));
    let late = if over > coming_can {
        serving + coming.count + (over - coming_can) / left
    } else {
        serving + coming.count * over / coming_can
    };
    let a_worker_each = keep_up + (work.backlog + work.arrivals * (within - left)) / workers;
    (late.min(a_worker_each).max(plain), true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn needed_with(backlog: f64, arrivals: f64, service_secs: f64, serving: f64, coming: Coming, boot: f64) -> f64 {
        let work = Work { backlog, arrivals, service_secs };
        instances(work, 4.0, serving, coming, Times { within: 300.0, boot }).0
    }

    fn needed(backlog: f64, arrivals: f64, service_secs: f64, serving: f64, boot: f64) -> f64 {
        needed_with(backlog, arrivals, service_secs, serving, Coming::default(), boot)
    }

    #[test]
    fn the_sum_of_both_loads_is_needed() {
        for (backlog, arrivals, secs, serving, boot, expected) in [
            (0.0, 0.0, 10.0, 5.0, 120.0, 0.0),
            (0.0, 8.0, 10.0, 20.0, 120.0, 20.0),
            (1200.0, 8.0, 10.0, 30.0, 120.0, 30.0),
            // Too few serve: without a boot the same, with one the others have 180 of 300 s.
            (1200.0, 8.0, 10.0, 20.0, 0.0, 30.0),
            (1200.0, 8.0, 10.0, 20.0, 120.0, 20.0 + 1200.0 * 10.0 / 4.0 / 180.0),
            // Nobody serves, so 120 s of arrivals wait as well.
            (1200.0, 8.0, 10.0, 0.0, 120.0, (300.0 * 20.0 + 3000.0) / 180.0),
            // A boot beyond the time to drain leaves a quarter of it: 75 s.
            (1200.0, 0.0, 10.0, 0.0, 300.0, 3000.0 / 75.0),
            // Jobs of an hour: a worker each, not twelve.
            (40.0, 0.0, 3600.0, 0.0, 120.0, 10.0),
            (40.0, 0.0, 3600.0, 3.0, 120.0, 10.0),
        ] {
            let got = needed(backlog, arrivals, secs, serving, boot);
            assert!((got - expected).abs() < 1e-9, "{backlog} {arrivals} {secs} {serving}: {got}, not {expected}");
        }
    }

    #[test]
    fn who_boots_is_not_asked_for_twice() {
        // 17 of 37 are asked for, a minute passes, and the backlog is what it was: still 37.
        let at = |count: f64, booted: f64| needed_with(1200.0, 8.0, 10.0, 20.0, Coming { count, booted }, 120.0);
        let asked = at(0.0, 0.0);
        assert!((at(asked - 20.0, 0.0) - asked).abs() < 1e-9);
        assert!(at(asked - 20.0, (asked - 20.0) * 60.0) < asked, "they have a minute less to go");
        // Those who are enough are not more because there are more of them.
        assert!((at(40.0, 0.0) - asked).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn more_of_anything_never_needs_less(
            backlog in 0.0..1e6_f64, arrivals in 0.0..1e4_f64, secs in 1e-3..5e3_f64, serving in 0.0..500.0_f64,
            more in 1.0..3.0_f64, boot in 0..400_u32, count in 0..50_u32, booted in 0.0..1.0_f64
        ) {
            let boot = f64::from(boot);
            let coming = Coming { count: f64::from(count), booted: f64::from(count) * booted * boot };
            let at = |backlog, arrivals, secs, serving, coming| {
                needed_with(backlog, arrivals, secs, serving, coming, boot)
            };
            let base = at(backlog, arrivals, secs, serving, coming) * (1.0 - 1e-12);
            prop_assert!(at(backlog * more, arrivals, secs, serving, coming) >= base);
            prop_assert!(at(backlog, arrivals * more, secs, serving, coming) >= base);
            prop_assert!(at(backlog, arrivals, secs * more, serving, coming) >= base);
            // Who serves already spares those who would come later, and who boots already those who would last.
            let most = base * (1.0 + 1e-11);
            prop_assert!(at(backlog, arrivals, secs, serving * more, coming) <= most);
            let sooner = Coming { booted: coming.booted * more, ..coming };
            prop_assert!(at(backlog, arrivals, secs, serving, sooner) <= most);
        }

        #[test]
        fn no_job_has_two_workers(backlog in 0.0..1e6_f64, secs in 1e-3..1e9_f64, serving in 0.0..500.0_f64) {
            prop_assert!(needed(backlog, 0.0, secs, serving, 120.0) <= backlog / 4.0 + 1e-6);
        }

        #[test]
        fn what_is_needed_does_it_in_time(
            backlog in 0.0..1e5_f64, arrivals in 0.0..100.0_f64, secs in 0.1..200.0_f64, serving in 0.0..500.0_f64
        ) {
            // The fluid queue: 120 s of those who serve, then 180 s of those who are needed.
            let n = needed(backlog, arrivals, secs, serving, 120.0);
            let done = (serving.min(n) * 120.0 + n * 180.0) * 4.0 / secs;
            let came = backlog + arrivals * 300.0;
            let a_worker_each = n * 4.0 + 1e-6 >= arrivals * (secs + 120.0) + backlog;
            prop_assert!(done + 1e-6 * came >= came || a_worker_each, "{done} of {came}");
        }
    }
}
