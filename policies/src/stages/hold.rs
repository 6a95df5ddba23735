//! `hold`: everything that keeps capacity where it is, whoever asked for a change.

use super::{Walk, held};
use crate::observe::View;
use crate::policy::Setting;
use crate::trace::{HoldReason, Stage, Why};

/// Takes the step.
pub(crate) fn hold(walk: &mut Walk, view: &View) {
    let block = if walk.wants_in() {
        view.block_in
    } else if walk.wants_out() {
        view.block_out
    } else {
        view.shown
    };
    if let Some(block) = block {
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
