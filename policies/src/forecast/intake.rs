//! Readings into steps of equal length: the mean of what came within one, short gaps bridged, long ones forgotten.

use super::{Grid, Learned, Terms, load_max};
use contract::Timestamp;

/// A gap of up to half an hour of minutes is bridged by a line; a longer one ends what the forecasts stand on.
const BRIDGED_MAX: i64 = 30;

impl Learned {
    /// Takes in one reading. A step ends with the first reading that is nearer to its end than to the end before;
    /// readings that are not newer than the last one are not taken twice.
    pub(crate) fn take(&mut self, load: f64, at: Timestamp, terms: &Terms, grid: &Grid) {
        self.follow(grid);
        let step = grid.step * 1_000_000;
        let load = load.clamp(0.0, load_max(terms.share));
        let end = at.0.saturating_add(step / 2).div_euclid(step);
        if self.taken.is_some_and(|taken| at <= taken) {
            return;
        }
        self.taken = Some(at);
        self.open = (self.open.0 + load, self.open.1 + 1);
        let Some(last) = self.last else {
            self.close(end, terms, grid);
            return;
        };
        if end <= last {
            return;
        }
        let mean = self.open.0 / f64::from(self.open.1);
        let missing = end - last - 1;
        if missing > BRIDGED_MAX {
            self.interrupt();
        } else if let Some(before) = self.recent.last().map(|load| f64::from(*load)) {
            // Bridged steps feed the profiles and the recent load; no forecast is made or judged in them.
            for gap in 1..=missing {
                let bridged = before + (mean - before) * gap as f64 / (missing + 1) as f64;
                self.remember(last + gap, bridged, terms, grid);
            }
        }
        self.close(end, terms, grid);
    }

    /// Forgets that readings were taken later than this: history, or a clock, was wrong about the time.
    pub(crate) fn forget_after(&mut self, latest: Timestamp) {
        if self.taken.is_some_and(|taken| taken > latest) {
            self.taken = None;
            self.last = None;
            self.open = (0.0, 0);
            self.interrupt();
        }
    }

    fn close(&mut self, end: i64, terms: &Terms, grid: &Grid) {
        let (sum, count) = std::mem::take(&mut self.open);
        self.learn(end, sum / f64::from(count.max(1)), terms, grid);
    }

    /// Counts in the grid's steps from here on.
    fn follow(&mut self, grid: &Grid) {
        let step = u32::try_from(grid.step).unwrap_or(60);
        if self.step != step {
            self.step = step;
            self.last = None;
            self.open = (0.0, 0);
            self.interrupt();
        }
    }

    fn interrupt(&mut self) {
        self.recent.clear();
        self.forecasts.clear();
        self.short = 0.0;
    }
}
