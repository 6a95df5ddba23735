//! `stabilize`: the envelope over raw recommendations (hpa.md 1.5). Out takes the smallest of its window, in the largest,
//! and capacity moves only when the envelope forces it. Scale-in needs the whole window observed (safety rule 1).

use super::{Walk, held};
use crate::memory::FleetMemory;
use crate::policy::{Policy, Setting};
use crate::trace::{HoldReason, Stage, Why};
use contract::Capacity;

/// Takes the step.
pub(crate) fn stabilize(walk: &mut Walk, policy: &Policy, memory: &FleetMemory) {
    if walk.pin.is_some() {
        walk.pass(Stage::Stabilize);
        return;
    }
    let (current, desired) = (walk.current, walk.at);
    let extreme = |entries: &crate::memory::Series, pick: fn(i32, i32) -> i32| {
        entries.0.iter().map(|entry| entry.1).reduce(pick).and_then(|value| Capacity::try_from(value).ok())
    };
    let least_out = extreme(&memory.recommended_out, i32::min).map_or(desired, |least| least.min(desired));
    let most_in = extreme(&memory.recommended_in, i32::max).map_or(desired, |most| most.max(desired));
    if least_out > current {
        let why =
            if least_out == desired { Why::Nothing } else { Why::SmallestInWindow(policy.scale_out.stabilization) };
        walk.step(Stage::Stabilize, least_out, why, None);
    } else if most_in < current {
        let window = policy.scale_in_window();
        let observed = memory.covered_since.map(|since| walk.now.since(since)).unwrap_or_default();
        if observed < window {
            let hold = held(HoldReason::WindowUncovered, Setting::InStabilization);
            walk.step(Stage::Stabilize, current, Why::Uncovered { observed, window }, hold);
        } else {
            let why = if most_in == desired { Why::Nothing } else { Why::LargestInWindow(window) };
            walk.step(Stage::Stabilize, most_in, why, None);
        }
    } else if desired > current {
        let why = Why::SmallestInWindow(policy.scale_out.stabilization);
        walk.step(Stage::Stabilize, current, why, held(HoldReason::Stabilized, Setting::OutStabilization));
    } else if desired < current {
        let why = Why::LargestInWindow(policy.scale_in_window());
        walk.step(Stage::Stabilize, current, why, held(HoldReason::Stabilized, Setting::InStabilization));
    } else {
        walk.pass(Stage::Stabilize);
    }
}
