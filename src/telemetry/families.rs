//! The families of `/metrics`: their names, what they mean, and how each is read off what was published. What is not
//! known has no sample: never a zero, never a NaN.
//!
//! A family whose help says `(stable)` keeps its name, labels and meaning within a major version.

use super::exposition::{Scrape, Series};
use crate::published::{FleetStatus, INSTANCE_STATES, ReadingStatus};
use contract::Timestamp;
use policies::trace::HoldReason;
use std::time::Duration;

/// A family about the process.
pub(super) struct ProcessFamily {
    pub name: &'static str,
    pub kind: &'static str,
    pub help: &'static str,
    pub write: fn(&Scrape, &mut Series<'_>),
}

/// A family with samples for each fleet.
pub(super) struct FleetFamily {
    pub name: &'static str,
    pub kind: &'static str,
    pub help: &'static str,
    pub write: fn(&Scrape, &FleetStatus, &mut Series<'_>),
}

const fn process(
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    write: fn(&Scrape, &mut Series<'_>),
) -> ProcessFamily {
    ProcessFamily { name, kind, help, write }
}

const fn fleet(
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    write: fn(&Scrape, &FleetStatus, &mut Series<'_>),
) -> FleetFamily {
    FleetFamily { name, kind, help, write }
}

fn flag(yes: bool) -> u8 {
    u8::from(yes)
}

pub(super) const PROCESS_FAMILIES: &[ProcessFamily] = &[
    process("build_info", "gauge", "Always 1; the version is in the label. (stable)", |_, series| {
        series.put(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    }),
    process("actions_total", "counter", "Calls that change a group, by how they ended. (stable)", |scrape, series| {
        for ((provider, action, outcome), count) in &scrape.numbers.actions {
            series.put(&[("provider", provider), ("action", action), ("outcome", outcome)], count);
        }
    }),
    process("readings_missing_total", "counter", "Readings without a usable number, by why. (stable)", |s, series| {
        for ((source, why), count) in &s.numbers.readings_missing {
            series.put(&[("source", source), ("why", why)], count);
        }
    }),
    process(
        "provider_request_duration_seconds",
        "histogram",
        "Duration of calls to a cloud, by their result. (stable)",
        |scrape, series| {
            for ((provider, operation, code), durations) in &scrape.numbers.provider_requests {
                let labels = [("provider", &**provider), ("operation", operation), ("code", code)];
                series.durations(&labels, durations);
            }
        },
    ),
    process("provider_requests_total", "counter", "Calls to a cloud. (stable)", provider_requests),
    process(
        "provider_throttled_total",
        "counter",
        "Calls that a cloud, or our own limiter, turned down as too many. (stable)",
        |scrape, series| {
            for (provider, count) in &scrape.numbers.provider_throttled {
                series.put(&[("provider", provider)], count);
            }
        },
    ),
    process(
        "source_request_duration_seconds",
        "histogram",
        "Duration of queries to a source of readings. (stable)",
        |scrape, series| {
            for (source, durations) in &scrape.numbers.source_requests {
                series.durations(&[("source", source)], durations);
            }
        },
    ),
    process(
        "cycle_duration_seconds",
        "histogram",
        "From the start of a fleet's observation to its decision. (stable)",
        |scrape, series| series.durations(&[], &scrape.numbers.cycles),
    ),
    process("cycle_lag_seconds", "gauge", "How late the last cycles began, at worst. (stable)", |scrape, series| {
        series.put(&[], scrape.numbers.lag.as_secs_f64());
    }),
    process(
        "config_last_reload_successful",
        "gauge",
        "1 when the last load of the policies was taken, 0 when it was refused. (stable)",
        |scrape, series| series.put(&[], flag(scrape.process.config.last_reload_ok)),
    ),
    process(
        "config_revision_info",
        "gauge",
        "Always 1; the revision of the policies in force is in the label. (stable)",
        |scrape, series| series.put(&[("revision", &scrape.set.revision)], 1),
    ),
    process("store_bytes", "gauge", "Size of the store on disk. (stable)", |scrape, series| {
        series.put(&[], scrape.process.store.bytes);
    }),
    process(
        "store_healthy",
        "gauge",
        "1 when the store takes decisions and its disk is not full. (experimental)",
        |scrape, series| {
            series.put(&[], flag(scrape.process.store_fault.is_none() && !scrape.process.store.full));
        },
    ),
    process("lease_held", "gauge", "1 when this daemon holds the lease and may write. (experimental)", |s, series| {
        series.put(&[], flag(s.process.lease_held));
    }),
    process("hold_all_active", "gauge", "1 while `skala hold --all` is in force. (experimental)", |scrape, series| {
        series.put(&[], flag(scrape.process.hold_all.is_some()));
    }),
    process("faults_total", "counter", "Fleets held because skala itself failed. (experimental)", |scrape, series| {
        series.put(&[], scrape.numbers.faults);
    }),
    process("late_answers_total", "counter", "Answers after their deadline, dropped. (experimental)", |s, series| {
        series.put(&[], s.numbers.late_answers);
    }),
];

/// The durations are told apart by result, this is not: results of one operation stand side by side in the map's order.
fn provider_requests(scrape: &Scrape, series: &mut Series<'_>) {
    let mut totals = std::collections::BTreeMap::<(&str, &str), u64>::new();
    for ((provider, operation, _), durations) in &scrape.numbers.provider_requests {
        *totals.entry((provider, operation)).or_default() += durations.count;
    }
    for ((provider, operation), count) in totals {
        series.put(&[("provider", provider), ("operation", operation)], count);
    }
}

pub(super) const FLEET_FAMILIES: &[FleetFamily] = &[
    fleet("fleet_desired", "gauge", "The last decision. (stable)", |_, fleet, series| {
        if let Some(desired) = fleet.decision.as_ref().and_then(|decision| decision.desired) {
            series.put(&[("fleet", &fleet.policy.id)], desired);
        }
    }),
    fleet("fleet_current", "gauge", "What the clouds are asked to hold. (stable)", |_, fleet, series| {
        if let Some(current) = fleet.decision.as_ref().and_then(|decision| decision.current) {
            series.put(&[("fleet", &fleet.policy.id)], current);
        }
    }),
    fleet("fleet_serving", "gauge", "Instances running for at least the warm-up. (stable)", serving),
    fleet(
        "fleet_min",
        "gauge",
        "Min in force: the policy's, a schedule's or the cloud's. (stable)",
        |_, fleet, series| {
            let min = fleet.decision.as_ref().map_or(fleet.policy.min, |decision| decision.limits.min);
            series.put(&[("fleet", &fleet.policy.id)], min);
        },
    ),
    fleet(
        "fleet_max",
        "gauge",
        "Max in force: the policy's, a schedule's or the cloud's. (stable)",
        |_, fleet, series| {
            let max = fleet.decision.as_ref().map_or(fleet.policy.max, |decision| decision.limits.max);
            series.put(&[("fleet", &fleet.policy.id)], max);
        },
    ),
    fleet("fleet_recommended", "gauge", "What each rule asks for. (stable)", |_, fleet, series| {
        for recommendation in fleet.decision.iter().flat_map(|decision| &decision.recommendations) {
            let rule = fleet.policy.rules.get(usize::from(recommendation.rule));
            if let (Some(rule), Some(value)) = (rule, recommendation.answer.value()) {
                series.put(&[("fleet", &fleet.policy.id), ("rule", &rule.name)], value);
            }
        }
    }),
    fleet(
        "fleet_recommended_stabilized",
        "gauge",
        "What the rules ask for after the stabilization windows. (stable)",
        |_, fleet, series| {
            if let Some(stabilized) = fleet.stabilized {
                series.put(&[("fleet", &fleet.policy.id)], stabilized);
            }
        },
    ),
    fleet("group_desired", "gauge", "A group's part of the last decision. (stable)", |_, fleet, series| {
        for (group, status) in fleet.policy.groups.iter().zip(&fleet.groups) {
            if let Some(desired) = status.desired {
                let labels =
                    [("fleet", &*fleet.policy.id), ("provider", &group.provider), ("group", group.group.as_str())];
                series.put(&labels, desired);
            }
        }
    }),
    fleet("group_instances", "gauge", "A group's instances by state. (stable)", group_instances),
    fleet("decisions_total", "counter", "Decisions since the start, by direction. (stable)", |_, fleet, series| {
        let counts = [("out", fleet.decisions.out), ("in", fleet.decisions.r#in), ("none", fleet.decisions.none)];
        for (direction, count) in counts {
            series.put(&[("fleet", &fleet.policy.id), ("direction", direction)], count);
        }
    }),
    fleet("holds_total", "counter", "Decisions that kept capacity, by reason. (stable)", |_, fleet, series| {
        for (reason, count) in HoldReason::ALL.iter().zip(fleet.holds) {
            if count > 0 {
                series.put(&[("fleet", &fleet.policy.id), ("reason", reason.word())], count);
            }
        }
    }),
    fleet("hold_active", "gauge", "1 for the reason that keeps capacity now. (stable)", |_, fleet, series| {
        if let Some(hold) = fleet.decision.as_ref().and_then(|decision| decision.hold) {
            series.put(&[("fleet", &fleet.policy.id), ("reason", hold.reason.word())], 1);
        }
    }),
    fleet(
        "reading_age_seconds",
        "gauge",
        "Age of the newest sample behind a reading. (stable)",
        |scrape, fleet, series| {
            for (metric, reading) in fleet.policy.metrics.iter().zip(&fleet.readings) {
                if let ReadingStatus::Value { at, .. } = reading {
                    let age = scrape.now.since(*at).as_secs_f64();
                    series.put(&[("fleet", &fleet.policy.id), ("metric", &metric.name)], age);
                }
            }
        },
    ),
    fleet(
        "last_successful_cycle_timestamp_seconds",
        "gauge",
        "When everything that was asked for last came and a decision was made. (stable)",
        |_, fleet, series| {
            if let Some(at) = fleet.last_success {
                series.put(&[("fleet", &fleet.policy.id)], at);
            }
        },
    ),
    fleet(
        "cooldown_remaining_seconds",
        "gauge",
        "How long a cooldown still keeps a direction shut; 0 when it is open. (stable)",
        |scrape, fleet, series| {
            for (direction, remaining) in [("out", fleet.cooldown_out), ("in", fleet.cooldown_in)] {
                let remaining = left(remaining, fleet.decision.as_ref().map(|decision| decision.now), scrape.now);
                series.put(&[("fleet", &fleet.policy.id), ("direction", direction)], remaining.as_secs_f64());
            }
        },
    ),
    fleet("fleet_info", "gauge", "Always 1; mode and owner are in the labels. (experimental)", |_, fleet, series| {
        let policy = &fleet.policy;
        series.put(&[("fleet", &policy.id), ("mode", policy.mode.word()), ("owner", &policy.owner)], 1);
    }),
    fleet("fleet_fault", "gauge", "1 when skala itself failed on this fleet. (experimental)", |_, fleet, series| {
        series.put(&[("fleet", &fleet.policy.id)], flag(fleet.fault.is_some()));
    }),
];

fn serving(_: &Scrape, fleet: &FleetStatus, series: &mut Series<'_>) {
    if let Some(serving) = fleet.decision.as_ref().and_then(|decision| decision.serving) {
        series.put(&[("fleet", &fleet.policy.id)], serving);
    }
}

fn group_instances(_: &Scrape, fleet: &FleetStatus, series: &mut Series<'_>) {
    for (group, status) in fleet.policy.groups.iter().zip(&fleet.groups) {
        if status.unknown.is_some() || status.at.is_none() {
            continue;
        }
        for (state, count) in INSTANCE_STATES.iter().zip(status.instances) {
            let labels = [
                ("fleet", &*fleet.policy.id),
                ("provider", &group.provider),
                ("group", group.group.as_str()),
                ("state", state),
            ];
            series.put(&labels, count);
        }
    }
}

fn left(remaining: Duration, as_of: Option<Timestamp>, now: Timestamp) -> Duration {
    remaining.saturating_sub(as_of.map_or(Duration::ZERO, |as_of| now.since(as_of)))
}
