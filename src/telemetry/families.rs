//! The families of the fleets in `/metrics`: their names, what they mean, and how each is read off what was published.
//! What is not known has no sample: never a zero, never a NaN.
//!
//! A family whose help says `(stable)` keeps its name, labels and meaning within a major version.

use super::exposition::{Scrape, Series};
use crate::published::{FleetStatus, INSTANCE_STATES, ReadingStatus};
use contract::Timestamp;
use policies::trace::HoldReason;
use std::time::Duration;

/// A family with samples for each fleet.
pub(super) struct FleetFamily {
    pub name: &'static str,
    pub kind: &'static str,
    pub help: &'static str,
    pub write: fn(&Scrape, &FleetStatus, &mut Series<'_>),
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
    fleet(
        "group_draining",
        "gauge",
        "A group's instances that drain before they are terminated. (experimental)",
        |_, fleet, series| {
            for (group, status) in
                fleet.policy.groups.iter().zip(&fleet.groups).filter(|_| fleet.policy.drain.is_some())
            {
                let labels =
                    [("fleet", &*fleet.policy.id), ("provider", &group.provider), ("group", group.group.as_str())];
                series.put(&labels, status.draining);
            }
        },
    ),
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
