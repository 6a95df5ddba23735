//! `limits`: the effective min and max. A lowered max moves capacity without a window, unless scale-in is blocked; a
//! raised min goes through cooldown and pace untouched.

use super::{Walk, held};
use crate::policy::Setting;
use crate::trace::{HoldReason, LimitBy, Stage, Why};

/// Takes the step.
pub(crate) fn limits(walk: &mut Walk) {
    let limits = walk.limits;
    let setting = |by: LimitBy, policy: Setting| match by {
        LimitBy::Policy => policy,
        LimitBy::Schedule(rule) => Setting::Rule(rule),
        LimitBy::Cloud | LimitBy::Group => Setting::Group(0),
    };
    if walk.at < limits.min {
        let hold = held(HoldReason::AtMin, setting(limits.min_by, Setting::Min));
        walk.step(Stage::Limits, limits.min, Why::Min(limits.min_by), hold);
    } else if walk.at > limits.max {
        let hold = held(HoldReason::AtMax, setting(limits.max_by, Setting::Max));
        match walk.block_in {
            Some(block) if limits.max < walk.current => {
                let after = walk.at.min(walk.current);
                walk.step(Stage::Limits, after, Why::MaxBlocked(block.reason), Some(block));
            }
            _ => walk.step(Stage::Limits, limits.max, Why::Max(limits.max_by), hold),
        }
    } else {
        walk.pass(Stage::Limits);
    }
}
