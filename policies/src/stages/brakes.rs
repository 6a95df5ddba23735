//! `brakes`: what is left of the budget over all fleets, the blast radius of one bad hour.

use super::{Walk, held};
use crate::plan::Budget;
use crate::policy::Setting;
use crate::trace::{HoldReason, Stage, Why};

/// Takes the step.
pub(crate) fn brakes(walk: &mut Walk, budget: Budget) {
    if walk.wants_in()
        && let Some(left) = budget.scale_in
        && walk.current - walk.at > left
    {
        let hold = held(HoldReason::Brake, Setting::BrakeIn);
        walk.step(Stage::Brakes, walk.current - left, Why::Braked { left }, hold);
    } else if walk.wants_out()
        && let Some(left) = budget.scale_out
        && walk.at - walk.current > left
    {
        let hold = held(HoldReason::Brake, Setting::BrakeOut);
        walk.step(Stage::Brakes, walk.current + left, Why::Braked { left }, hold);
    } else {
        walk.pass(Stage::Brakes);
    }
}
