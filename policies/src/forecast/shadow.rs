//! Candidates plan in shadow: what each would have needed to cover a step that has come.

use super::experts::{FORECASTERS, Forecast};
use super::margin::SCALES;
use super::{Grid, Learned, Terms, instances};

/// What a step that a plan covers without any head-room scores.
const FREE: f64 = -1.0;

/// A candidate's error scale at a forecast, as load: three learned ones, and a share, a square root and a constant.
pub(super) fn scale(forecast: &Forecast, forecaster: usize, model: usize, share: f64) -> f64 {
    let load = forecast.load(forecaster).max(share);
    match model {
        0..=2 => f64::from(forecast.errors[forecaster][model]) * share,
        3 => 0.1 * load,
        4 => 0.3 * (load * share).sqrt(),
        _ => share,
    }
}

impl Learned {
    /// Scores every candidate by a step that has come, and judges the forecasts made for it.
    pub(super) fn settle_forecasts(&mut self, end: i64, load: f64, terms: &Terms, grid: &Grid) {
        let due = end - grid.ahead as i64;
        let Some(forecast) = self.forecasts.iter().find(|forecast| forecast.end == due).cloned() else { return };
        let needed = instances(load, terms.share);
        let min = f64::from(terms.min);
        // All that had a say in the capacity of this step: the windows of every decision from the last that could add
        // for it until the step itself, since each of those could still remove.
        let (first, last) = (due - grid.window as i64, due + grid.boot as i64);
        let from = self.forecasts.partition_point(|forecast| forecast.end < first);
        let to = self.forecasts.partition_point(|forecast| forecast.end <= last);
        let said = &self.forecasts[from..to];
        let mut scores = vec![0.0; said.len()];
        let envelope = |scores: &[f64]| envelope(said, scores, (due, last), grid.window as i64);
        for candidate in (0..FORECASTERS * SCALES).filter(|at| forecast.loads[at / SCALES].is_some()) {
            let (forecaster, model) = (candidate / SCALES, candidate % SCALES);
            let multiple = self.margins.multiple(candidate);
            let (mut load, mut floor) = (0.0_f64, min);
            for (said, score) in said.iter().zip(&mut scores) {
                let (base, scale) = (said.load(forecaster), scale(said, forecaster, model, terms.share));
                let present = f64::from(said.needed).max(min);
                // Any load above `needed - 1` instances' makes the plan reach `needed`.
                *score = if needed <= present { FREE } else { ((needed - 1.0) * terms.share - base) / scale };
                if said.end <= due {
                    load = load.max(base + multiple * scale);
                    floor = floor.max(present);
                }
            }
            let capacity = instances(load, terms.share).max(floor);
            self.margins.count(candidate, envelope(&scores), capacity, grid);
        }
        for (said, score) in said.iter().zip(&mut scores) {
            *score = -f64::from(said.planned).max(min);
        }
        let planned = -envelope(&scores);
        self.short = (load - planned * terms.share).max(0.0) as f32;
        self.margins.count_step(needed > planned, terms);
        self.judge(&forecast, end, load, terms, grid);
    }
}

/// The worst over the windows that end from `ends.0` to `ends.1` of the best score within each.
fn envelope(said: &[Forecast], scores: &[f64], ends: (i64, i64), window: i64) -> f64 {
    let mut worst = f64::NEG_INFINITY;
    for end in ends.0..=ends.1 {
        let mut best = f64::INFINITY;
        for (said, score) in said.iter().zip(scores) {
            if said.end <= end && said.end >= end - window {
                best = best.min(*score);
            }
        }
        // A window in which nothing was said, after a gap, says nothing of the score.
        if best.is_finite() {
            worst = worst.max(best);
        }
    }
    worst
}
