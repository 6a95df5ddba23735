//! Whether a daemon is ready to take a fleet over: what `GET /v1/status` answers in, every guard that refuses out. A
//! scaler that is suspended too early leaves a fleet that nobody scales.

use crate::api::answers::{Fleet, Status};
use std::fmt;

/// A decision is fresh for three of its fleet's intervals, and never expected sooner than this.
const FRESH_AT_LEAST_SECS: f64 = 60.0;

/// Hold reasons with which skala would not scale out when it has to, whether or not another controller is there.
const NOT_READY: [&str; 8] =
    ["blind", "partial", "group_unknown", "group_missing", "clock", "owner", "store", "override"];

/// A guard that refuses, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its name.
    pub guard: &'static str,
    /// Why, for a person.
    pub why: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.guard, self.why)
    }
}

/// Every guard that refuses to hand a fleet over to this daemon; none: it is ready.
pub fn refusals(status: &Status, fleet: &Fleet) -> Vec<Refusal> {
    let mut found = Vec::new();
    let mut refuse = |guard: &'static str, why: String| found.push(Refusal { guard, why });
    if let Some(fault) = &status.store_fault {
        refuse("store", format!("the daemon's store takes no decisions: {fault}"));
    }
    if !status.lease_held {
        refuse("owner", format!("this daemon does not hold the lease, {} does", status.lease_owner));
    }
    if let Some(reason) = &status.hold_all {
        refuse("hold", format!("every fleet is held: {reason}"));
    }
    if !["on", "scale-out-only"].contains(&fleet.mode.as_str()) {
        refuse(
            "mode",
            format!("the fleet's mode is `{}`, so nobody would scale it: set mode = \"on\" first", fleet.mode),
        );
    }
    if let Some(set) = &fleet.r#override {
        refuse("override", format!("the fleet is not free: {}", set.line(status.now)));
    }
    if let Some(fault) = &fleet.fault {
        refuse("fault", fault.clone());
    }
    match fleet.decided.map(|decided| status.now - decided) {
        None => refuse("decided", "the fleet has not been decided yet".into()),
        Some(age) if age > (3.0 * fleet.interval_secs).max(FRESH_AT_LEAST_SECS) => {
            refuse("decided", format!("its last decision is {age:.0} s old: the daemon does not keep up"));
        }
        Some(_) => {}
    }
    for group in &fleet.groups {
        let name = format!("{}/{}", group.provider, group.group);
        match (&group.unknown, group.current) {
            (Some(why), _) => refuse("observed", format!("{name} cannot be read: {why}")),
            (None, None) => refuse("observed", format!("{name} has not been observed")),
            (None, Some(_)) => {}
        }
    }
    for (name, reading) in &fleet.readings {
        match &reading.missing {
            Some(why) => refuse("readings", format!("metric {name} is missing: {why}")),
            None if reading.stale => refuse("readings", format!("metric {name} is stale")),
            None => {}
        }
    }
    if let Some(hold) = fleet.hold.as_ref().filter(|hold| NOT_READY.contains(&hold.reason.as_str())) {
        refuse("hold", format!("the fleet is held for `{}`: {}", hold.reason, fleet.reason));
    }
    found
}
