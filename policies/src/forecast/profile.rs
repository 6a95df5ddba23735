//! Load by the time of the day and of the week, in local time: what usually comes now, learned from the days before.

use super::{mean, newest};
use serde::{Deserialize, Serialize};

const DAY_MINUTES: i64 = 1440;
/// The weekly profile's bins are 5 minutes long: what is sharper than that comes daily, or not at all.
const WEEK_BIN: i64 = 5;
const WEEK_BINS: i64 = 7 * DAY_MINUTES / WEEK_BIN;
/// The share of the newest day or week in a profile (decisions.md section 3, piece 6).
const FRESH: f32 = 0.4;
/// What a bin holds before it was seen; no load is below zero.
const UNSEEN: f32 = -1.0;

/// The usual load of each minute of the day, and of each 5 minutes of the week, smoothed over 5 minutes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Profiles {
    /// Empty before the first.
    day: Vec<f32>,
    week: Vec<f32>,
}

/// A profile's period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Period {
    Day,
    Week,
}

impl Profiles {
    pub fn is_sound(&self) -> bool {
        let finite = |bins: &[f32]| bins.iter().all(|value| value.is_finite());
        let known = (self.day.len() as i64, self.week.len() as i64);
        matches!(known, (0, 0) | (DAY_MINUTES, WEEK_BINS)) && finite(&self.day) && finite(&self.week)
    }

    /// Takes in the newest of the recent loads, whose step ended at a local time in seconds since 1970.
    pub fn learn(&mut self, local_end: i64, step: i64, recent: &[f32]) {
        if self.day.is_empty() {
            self.day = vec![UNSEEN; DAY_MINUTES as usize];
            self.week = vec![UNSEEN; WEEK_BINS as usize];
        }
        // The mean over 5 minutes stands for the step in their middle.
        let smooth = (WEEK_BIN * 60 / step).max(1);
        if (recent.len() as i64) < smooth {
            return;
        }
        let value = mean(newest(recent, smooth as usize)) as f32;
        let end = local_end - (smooth - 1) / 2 * step;
        for minute in (end - step).div_euclid(60)..end.div_euclid(60) {
            put(&mut self.day, minute, value);
            if minute.rem_euclid(WEEK_BIN) == WEEK_BIN / 2 {
                put(&mut self.week, minute.div_euclid(WEEK_BIN), value);
            }
        }
    }

    /// Every load that is kept, those not seen yet too.
    pub fn loads_mut(&mut self) -> impl Iterator<Item = &mut f32> {
        self.day.iter_mut().chain(&mut self.week)
    }

    /// The usual load at a local time, in seconds since 1970; `None` before it was seen.
    pub fn at(&self, period: Period, local: i64) -> Option<f64> {
        match period {
            Period::Day => get(&self.day, local.div_euclid(60)),
            Period::Week => {
                let bin = WEEK_BIN * 60;
                let shifted = local - bin / 2;
                let (low, share) = (shifted.div_euclid(bin), shifted.rem_euclid(bin) as f64 / bin as f64);
                let (a, b) = (get(&self.week, low)?, get(&self.week, low + 1)?);
                Some(a + share * (b - a))
            }
        }
    }
}

fn put(bins: &mut [f32], at: i64, value: f32) {
    let at = at.rem_euclid(bins.len() as i64) as usize;
    bins[at] = if bins[at] < 0.0 { value } else { bins[at] + FRESH * (value - bins[at]) };
}

fn get(bins: &[f32], at: i64) -> Option<f64> {
    if bins.is_empty() {
        return None;
    }
    let value = bins[at.rem_euclid(bins.len() as i64) as usize];
    (value >= 0.0).then(|| f64::from(value))
}
