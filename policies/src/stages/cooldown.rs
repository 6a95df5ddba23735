//! `cooldown`: no further action in a direction for a time after one. Each direction has its own; a scale-in never delays
//! an urgent scale-out.

use super::{Walk, held};
use crate::memory::FleetMemory;
use crate::policy::{Policy, Setting};
use crate::trace::{HoldReason, Stage, Why};
use contract::Timestamp;
use std::time::Duration;

/// What is left of a time that began at `since`.
fn left(since: Option<Timestamp>, length: Duration, now: Timestamp) -> Duration {
    since.map_or(Duration::ZERO, |since| since.after(length).since(now))
}

/// What is left of the cooldowns: (out, in, in after a scale-out).
pub fn remaining(policy: &Policy, memory: &FleetMemory, now: Timestamp) -> (Duration, Duration, Duration) {
    (
        left(memory.last_out, policy.scale_out.cooldown, now),
        left(memory.last_in, policy.scale_in.cooldown, now),
        left(memory.last_out, policy.scale_in.after_scale_out, now),
    )
}

/// Takes the step.
pub(crate) fn cooldown(walk: &mut Walk, policy: &Policy, memory: &FleetMemory) {
    if walk.pin.is_some() {
        walk.pass(Stage::Cooldown);
        return;
    }
    let (out, r#in, after_out) = remaining(policy, memory, walk.now);
    let cooling = |remaining, after_scale_out| Why::Cooling { remaining, after_scale_out };
    let hold = |setting| held(HoldReason::Cooldown, setting);
    if walk.wants_out() && !out.is_zero() && walk.floor() < walk.at {
        walk.step(Stage::Cooldown, walk.floor(), cooling(out, false), hold(Setting::OutCooldown));
    } else if walk.wants_in() && !r#in.is_zero() {
        walk.step(Stage::Cooldown, walk.current, cooling(r#in, false), hold(Setting::InCooldown));
    } else if walk.wants_in() && !after_out.is_zero() {
        walk.step(Stage::Cooldown, walk.current, cooling(after_out, true), hold(Setting::InAfterScaleOut));
    } else {
        walk.pass(Stage::Cooldown);
    }
}
