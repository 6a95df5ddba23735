//! The brakes over all fleets (safety rule 15): what recorded actions have spent in the window, and what is left of it.
//! In: actions as they are recorded, refusals as they are heard. Out: the core's `Budget`. The store has the last word
//! over a restart; this is its copy in memory.

use crate::store::{ActionRow, Store, StoreError};
use contract::{ActionId, Capacity, Timestamp};
use policies::plan::Budget;
use policies::policy::{Amount, Rate};
use std::collections::VecDeque;
use std::time::Duration;

/// `[brakes]` of skala.toml.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BrakeSettings {
    /// On removals; `None`: no limit.
    pub scale_in: Option<Rate>,
    /// On additions; `None`: no limit.
    pub scale_out: Option<Rate>,
}

/// Parts into which the time before a start is cut: each counts as spent at its end, so too much rather than too little.
const PARTS: u32 = 8;

/// What was spent lately.
#[derive(Debug, Default)]
pub(crate) struct Brakes {
    settings: BrakeSettings,
    /// Monotonic time, so that no jump of the wall clock frees the budget; oldest first.
    spent: VecDeque<(Duration, Option<ActionId>, i64)>,
}

impl Brakes {
    pub fn new(settings: BrakeSettings) -> Self {
        Self { settings, spent: VecDeque::new() }
    }

    fn longest(&self) -> Duration {
        [self.settings.scale_in, self.settings.scale_out]
            .iter()
            .flatten()
            .map(|brake| brake.per)
            .max()
            .unwrap_or_default()
    }

    /// Learns from the store what an earlier life spent. Monotonic time begins anew in each life, so what lies before it
    /// is counted from now, which frees the budget later than it could be, never sooner.
    pub async fn load(&mut self, store: &dyn Store, now: Timestamp, monotonic: Duration) -> Result<(), StoreError> {
        let longest = self.longest();
        if longest == Duration::ZERO {
            return Ok(());
        }
        let mut known = (0, 0);
        let mut parts = Vec::new();
        for part in 1..=PARTS {
            let spent = store.spent(now.before(longest * part / PARTS)).await?;
            let (added, removed) = (i64::from(spent.added), i64::from(spent.removed));
            let end = longest * (part - 1) / PARTS;
            parts.push((end, added - known.0, known.1 - removed));
            known = (added, removed);
        }
        for (age, added, removed) in parts.into_iter().rev() {
            let at = monotonic.saturating_sub(age);
            self.spent
                .extend([added, removed].into_iter().filter(|change| *change != 0).map(|change| (at, None, change)));
        }
        Ok(())
    }

    /// Books a recorded action.
    pub fn book(&mut self, row: &ActionRow, monotonic: Duration) {
        if row.change != 0 && self.longest() > Duration::ZERO {
            self.spent.push_back((monotonic, Some(row.id), i64::from(row.change)));
        }
    }

    /// Gives back what an action without effect had booked.
    pub fn refund(&mut self, id: ActionId) {
        self.spent.retain(|(_, booked, _)| *booked != Some(id));
    }

    /// What is left. A percentage is of all capacity now and what was removed in the window: the capacity at its start.
    pub fn left(&mut self, monotonic: Duration, current: u64) -> Budget {
        let longest = self.longest();
        while self.spent.front().is_some_and(|(at, ..)| *at + longest <= monotonic) {
            self.spent.pop_front();
        }
        let spent = |brake: Rate, sign: i64| -> u64 {
            let young = self.spent.iter().filter(|(at, ..)| *at + brake.per > monotonic);
            young.map(|(.., change)| u64::try_from(change * sign).unwrap_or(0)).sum()
        };
        let left = |brake: Option<Rate>, sign: i64| {
            brake.map(|brake| {
                let base = current + spent(brake, -1);
                let limit = match brake.amount {
                    Amount::Instances(n) => u64::from(n),
                    // At least one: a share of a small world would otherwise stop everything for ever.
                    Amount::Percent(percent) => ((base as f64 * percent / 100.0) as u64).max(1),
                };
                Capacity::try_from(limit.saturating_sub(spent(brake, sign))).unwrap_or(Capacity::MAX)
            })
        };
        Budget { scale_in: left(self.settings.scale_in, -1), scale_out: left(self.settings.scale_out, 1) }
    }
}
