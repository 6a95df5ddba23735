//! Is the daemon alive, and can it do its work? Liveness is about the scheduler alone: a dead cloud must not restart the
//! daemon. Readiness is about every fleet, and says which and why.

use super::Api;
use crate::published::{FleetStatus, View};
use axum::extract::State;
use axum::http::StatusCode;
use policies::policy::Mode;
use policies::trace::HoldReason;
use std::fmt::Write;
use std::time::Duration;

/// At least this long without a beat is tolerated, whatever the intervals are.
const STUCK_AFTER_MIN: Duration = Duration::from_secs(30);
/// So many fleets are named; the others are counted.
const NAMED_MAX: usize = 20;

/// The limit behind /healthz: three of the longest intervals, at least 30 s.
pub(super) fn stuck_after(longest_interval: Duration) -> Duration {
    (longest_interval * 3).max(STUCK_AFTER_MIN)
}

pub(super) async fn healthz(State(api): State<Api>) -> (StatusCode, String) {
    let age = api.published.heartbeat_age(&*api.clock);
    let longest = api.published.read(|view| view.set.fleets.iter().map(|fleet| fleet.interval).max());
    let limit = stuck_after(longest.unwrap_or_default());
    match age {
        Some(age) if age > limit => {
            let text = format!("the scheduler is stuck: no cycle completed for {} s\n", age.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
        // Before the first cycle the daemon is starting, and a start has systemd's own time limit.
        Some(_) | None => (StatusCode::OK, "ok\n".into()),
    }
}

pub(super) async fn readyz(State(api): State<Api>) -> (StatusCode, String) {
    let troubles = api.published.read(troubles);
    if troubles.is_empty() { (StatusCode::OK, "ok\n".into()) } else { (StatusCode::SERVICE_UNAVAILABLE, troubles) }
}

/// One line for each trouble, bounded; empty when there is none.
fn troubles(view: &View) -> String {
    let mut text = String::new();
    let process = &view.process;
    if process.stopping {
        text.push_str("the daemon is stopping\n");
    }
    if let Some(fault) = &process.store_fault {
        let _ = writeln!(text, "the store takes no decisions: {fault}");
    }
    let mut more = 0_usize;
    let mut named = 0_usize;
    for fleet in &view.fleets {
        let Some(why) = trouble(fleet) else { continue };
        if named < NAMED_MAX {
            let _ = writeln!(text, "{}: {why}", fleet.policy.id);
            named += 1;
        } else {
            more += 1;
        }
    }
    if more > 0 {
        let _ = writeln!(text, "and {more} more fleets");
    }
    if text.is_empty() && !process.first_round_done {
        text.push_str("the first round of decisions is under way\n");
    }
    text
}

/// Why a fleet cannot be observed or decided; `None` when it can.
fn trouble(fleet: &FleetStatus) -> Option<String> {
    if fleet.policy.mode == Mode::Off {
        return None;
    }
    if let Some(fault) = &fleet.fault {
        return Some(format!("held by a fault of skala itself: {fault}"));
    }
    let decision = fleet.decision.as_ref();
    let unknown = fleet.policy.groups.iter().zip(&fleet.groups).find_map(|(group, status)| {
        let why = status.unknown.as_ref()?;
        Some(format!("group {} of {} cannot be observed: {why}", group.group, group.provider))
    });
    match (unknown, decision) {
        (Some(unknown), _) => Some(unknown),
        (None, None) => Some("not decided yet".into()),
        (None, Some(decision)) => decision
            .hold
            .filter(|hold| matches!(hold.reason, HoldReason::Blind | HoldReason::Store | HoldReason::Owner))
            .map(|hold| format!("{}: {}", hold.reason, hold.reason.meaning())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_intervals_do_not_make_a_busy_machine_look_stuck() {
        for (interval, limit) in [(0, 30), (1, 30), (10, 30), (15, 45), (60, 180)] {
            assert_eq!(stuck_after(Duration::from_secs(interval)), Duration::from_secs(limit));
        }
    }
}
