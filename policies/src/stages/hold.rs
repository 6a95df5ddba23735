//! `hold`: everything that keeps capacity where it is, whoever asked for a change. Of a fleet of several groups it is also
//! what the groups can hold of it.

use super::{Walk, held};
use crate::observe::View;
use crate::policy::Setting;
use crate::trace::{Hold, HoldReason, Stage, Why};
use contract::Capacity;

/// What the groups make of a capacity, and why not all of it.
pub(crate) struct Placed {
    pub achieved: Capacity,
    /// Named when nothing of it is left.
    pub cause: Hold,
}

/// Takes the step; `place` says what the groups can hold of it, where there is a choice.
pub(crate) fn hold(walk: &mut Walk, view: &View, place: impl FnOnce() -> Option<Placed>) {
    let block = if walk.wants_in() {
        view.block_in
    } else if walk.wants_out() {
        view.block_out
    } else {
        view.shown
    };
    // What drains runs, so it can be had where nothing can be launched.
    let out = |hold: Hold| walk.wants_out() && hold.reason == HoldReason::OutOfCapacity;
    let back = if block.is_some_and(out) { view.drains.min(walk.at - walk.current) } else { 0 };
    if back > 0 {
        let why = if walk.current + back == walk.at { Why::Nothing } else { Why::Placed { asked: walk.at } };
        walk.step(Stage::Hold, walk.current + back, why, None);
        return;
    }
    let placed = if block.is_none() { place() } else { None };
    if let Some(Placed { achieved, cause }) = placed.filter(|placed| placed.achieved != walk.at) {
        let hold = if walk.at == walk.current { None } else { Some(cause) };
        walk.step(Stage::Hold, achieved, Why::Placed { asked: walk.at }, hold);
    } else if let Some(block) = block {
        walk.step(Stage::Hold, walk.current, Why::Held(block.reason), Some(block));
        if view.shown == Some(block) {
            walk.cause = Some(block);
        }
    } else if walk.wants_in() && walk.current - walk.at > view.removable {
        // Safety rule 4: at most what can be removed.
        let removable = view.removable;
        let after = walk.current - removable;
        walk.step(Stage::Hold, after, Why::Removable { removable }, held(HoldReason::Protected, Setting::Group(0)));
    } else {
        walk.pass(Stage::Hold);
    }
}
