//! The forecasters and how far off each of them lately was.

use super::blend::INPUTS;
use super::profile::Period;
use super::{Grid, Learned, Terms, instances, mean, newest};
use contract::Capacity;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How many forecasters there are.
pub(super) const FORECASTERS: usize = 5;
/// The blend's place among them.
const BLEND: usize = 4;
/// Steps of the level, of the trend's line, and of the comparison with a profile.
const LEVEL: usize = 2;
const TREND: usize = 10;
const COMPARED: usize = 20;
/// What a profile may be multiplied with to meet the present level.
const RATIO: (f64, f64) = (0.2, 5.0);
/// The weight of a new squared error in the fast and the slow mean, of a new absolute one once there are many, and of
/// one in its half hour's.
const FAST: f32 = 0.035;
const SLOW: f32 = 0.001;
const ABSOLUTE: f32 = 1.0 / 60.0;
const HALF_HOUR: f32 = 1.0 / 60.0;
/// Half hours of a day.
const HALF_HOURS: usize = 48;
/// A forecaster's error at most, as a multiple of the level's, while it is used.
const WORSE: f64 = 1.25;
/// The least error to count with, in instances: below it rounding to whole instances hides everything.
const ERROR_LEAST: f64 = 0.05;

/// Where a forecast comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Forecaster {
    /// The mean of the last two steps.
    #[default]
    Level,
    /// A line through the last ten steps.
    Trend,
    /// The usual load at that time of the day, at the present level.
    Day,
    /// The usual load at that time of the week, at the present level.
    Week,
    /// A learned mixture of the others.
    Blend,
}

impl Forecaster {
    pub(super) const ALL: [Forecaster; FORECASTERS] =
        [Forecaster::Level, Forecaster::Trend, Forecaster::Day, Forecaster::Week, Forecaster::Blend];
}

impl fmt::Display for Forecaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Forecaster::Level => "level",
            Forecaster::Trend => "trend",
            Forecaster::Day => "daily profile",
            Forecaster::Week => "weekly profile",
            Forecaster::Blend => "blend",
        })
    }
}

/// One forecaster's recent errors, in instances.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Errors {
    /// Judged forecasts.
    seen: u32,
    /// The mean absolute error over about an hour.
    absolute: f32,
    /// Mean squared errors over about half an hour and over a day.
    fast: f32,
    slow: f32,
    /// Mean squared errors by the half hour of the day; empty before the first.
    half_hours: Vec<f32>,
}

/// Everything that was forecast at one step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Forecast {
    /// The step's end, in steps since 1970.
    pub end: i64,
    /// Instances that the step itself needed.
    pub needed: f32,
    /// Instances that were recommended.
    pub planned: Capacity,
    /// The load ahead, by each forecaster.
    pub loads: [Option<f32>; FORECASTERS],
    /// Each forecaster's error scales, in instances: recent, learned from what goes with large errors, of that half hour.
    pub errors: [[f32; 3]; FORECASTERS],
    /// What the blend was made from.
    inputs: [f32; INPUTS],
    /// What the learned error was made from.
    signs: [f32; INPUTS],
}

impl Forecast {
    pub fn is_sound(&self) -> bool {
        let loads = self.loads.iter().flatten();
        let others =
            self.errors.iter().flatten().chain(&self.inputs).chain(&self.signs).chain(std::iter::once(&self.needed));
        loads.chain(others).all(|number| number.is_finite())
    }

    /// Counts in instances that are `factor` as many, with loads of `most` at most.
    pub(super) fn count_in(&mut self, factor: f32, most: f32) {
        self.errors.iter_mut().flatten().for_each(|error| *error = bounded(*error * factor));
        self.loads.iter_mut().flatten().for_each(|load| *load = load.min(most));
        self.needed = bounded(self.needed * factor).ceil();
        self.planned = instances(f64::from(self.planned) * f64::from(factor), 1.0) as Capacity;
    }

    /// A forecaster's load; where it has none, the level stands in.
    pub fn load(&self, forecaster: usize) -> f64 {
        f64::from(self.loads[forecaster].or(self.loads[0]).unwrap_or(0.0))
    }

    /// The forecaster whose load that is.
    pub fn source(&self, forecaster: usize) -> usize {
        if self.loads[forecaster].is_some() { forecaster } else { 0 }
    }
}

impl Learned {
    /// Forecasts the load `ahead` steps after the one that ended last, by every forecaster.
    pub(super) fn forecast(&self, end: i64, terms: &Terms, grid: &Grid) -> Forecast {
        let recent = &self.recent;
        let level = mean(newest(recent, LEVEL));
        let trend = trend(newest(recent, TREND), grid.ahead);
        let (day, week) = (self.seasonal(Period::Day, end, terms, grid), self.seasonal(Period::Week, end, terms, grid));
        let last = f64::from(recent.last().copied().unwrap_or(0.0));
        let norm = level.max(terms.share);
        let views = [
            last,
            mean(newest(recent, 5)),
            mean(newest(recent, 15)),
            mean(recent),
            trend,
            day.unwrap_or(level),
            week.unwrap_or(level),
        ];
        let inputs = views.map(|view| ((view - level) / norm) as f32);
        let blend = self.blend.is_ready().then(|| (level + norm * self.blend.predict(&inputs)).max(0.0));
        let loads = [Some(level), Some(trend), day, week, blend].map(|load| load.map(|load| load as f32));
        let mut forecast = Forecast {
            end,
            needed: instances(last, terms.share) as f32,
            planned: 0,
            loads,
            errors: [[0.0; 3]; FORECASTERS],
            inputs,
            signs: [0.0; INPUTS],
        };
        let half_hour = half_hour(local_middle(end + grid.ahead as i64, terms, grid));
        for at in 0..FORECASTERS {
            let load = (forecast.load(at) / terms.share).max(1.0);
            forecast.errors[at] = self.errors[forecast.source(at)].scales(load, half_hour);
        }
        self.learned_error(&mut forecast, [level, last, trend].map(|load| load / terms.share));
        forecast
    }

    /// The error to expect as a regression of absolute errors on their signs: the other scales, the level, and how far
    /// the views of the load are apart. One for all forecasters, learned from the best informed one.
    fn learned_error(&self, forecast: &mut Forecast, [level, last, trend]: [f64; 3]) {
        let norm = level.max(1.0);
        let [recent, _, hourly] = forecast.errors[forecast.source(BLEND)].map(f64::from);
        let signs = [recent, hourly, norm, norm.sqrt(), 1.0, (last - level).abs(), (trend - level).abs()];
        forecast.signs = signs.map(|sign| (sign / norm) as f32);
        if self.spread.is_ready() {
            let learned = norm * self.spread.predict(&forecast.signs);
            let learned = learned.max(0.2 * recent).max(ERROR_LEAST) as f32;
            forecast.errors.iter_mut().for_each(|errors| errors[1] = learned);
        }
    }

    /// A profile's load at the target, scaled by how the last steps compare with their profile.
    fn seasonal(&self, period: Period, end: i64, terms: &Terms, grid: &Grid) -> Option<f64> {
        let at = |end: i64| self.profiles.at(period, local_middle(end, terms, grid));
        let then = at(end + grid.ahead as i64)?;
        let compared = newest(&self.recent, COMPARED);
        let mut usual = 0.0;
        for back in 0..compared.len() as i64 {
            usual += at(end - back)?;
        }
        let ratio = mean(compared) * compared.len() as f64 / usual.max(1e-9);
        Some(then * ratio.clamp(RATIO.0, RATIO.1))
    }

    /// The last steps' load: against their profile (0: there is none), and by itself.
    pub(super) fn level(&self, terms: &Terms, grid: &Grid) -> (f32, f32) {
        let compared = newest(&self.recent, COMPARED);
        let Some(end) = self.last.filter(|_| !compared.is_empty()) else { return (0.0, 0.0) };
        let usual = (0..compared.len() as i64).map(|back| self.usual_at(local_middle(end - back, terms, grid)));
        let usual: Option<f64> = usual.sum();
        let flat = mean(compared);
        let level = usual.filter(|usual| *usual > 0.0).map_or(0.0, |usual| flat * compared.len() as f64 / usual);
        (level.clamp(0.0, 1e6) as f32, flat as f32)
    }

    /// The usual load at a time, in seconds since 1970, at a level; `None` without profile or level.
    pub(super) fn usual(&self, at: i64, level: f64, terms: &Terms) -> Option<f64> {
        Some(self.usual_at(at + terms.offset_secs)? * level).filter(|usual| *usual > 0.0)
    }

    fn usual_at(&self, local: i64) -> Option<f64> {
        self.profiles.at(Period::Week, local).or_else(|| self.profiles.at(Period::Day, local))
    }

    /// What was forecast for the newest step by the last ones of then, if something was; how many seconds before.
    pub(crate) fn foretold(&self, grid: &Grid) -> Option<(f64, i64)> {
        let due = self.last? - grid.ahead as i64;
        let forecast = self.forecasts.iter().find(|forecast| forecast.end == due)?;
        Some((forecast.load(0), grid.ahead as i64 * grid.step))
    }

    /// Judges the forecasts of a step that has come.
    pub(super) fn judge(&mut self, forecast: &Forecast, end: i64, load: f64, terms: &Terms, grid: &Grid) {
        let half_hour = half_hour(local_middle(end, terms, grid));
        for (errors, forecast) in self.errors.iter_mut().zip(&forecast.loads) {
            if let Some(forecast) = forecast {
                errors.learn(load / terms.share, f64::from(*forecast) / terms.share, half_hour);
            }
        }
        let level = forecast.load(0);
        let error = (load - forecast.load(BLEND)).abs();
        self.spread.learn(&forecast.signs, error / level.max(terms.share));
        self.blend.learn(&forecast.inputs, (load - level) / level.max(terms.share));
    }

    /// Whether a forecaster's error over the last hour is not much above the level's: what does worse than no forecast at
    /// all is switched off until it does better again.
    pub(super) fn trusts(&self, forecaster: usize) -> bool {
        let (own, level) = (&self.errors[forecaster], &self.errors[0]);
        forecaster == 0 || own.seen >= 30 && f64::from(own.absolute) <= WORSE * f64::from(level.absolute) + ERROR_LEAST
    }
}

impl Errors {
    pub(super) fn is_sound(&self) -> bool {
        let known = [self.absolute, self.fast, self.slow];
        matches!((self.seen, self.half_hours.len()), (0, 0) | (1.., HALF_HOURS))
            && known.iter().chain(&self.half_hours).all(|error| error.is_finite())
    }

    pub(super) fn count_in(&mut self, factor: f32) {
        self.absolute = bounded(self.absolute * factor);
        let squares = [&mut self.fast, &mut self.slow].into_iter().chain(&mut self.half_hours);
        for square in squares.filter(|square| **square >= 0.0) {
            *square = bounded(square.sqrt() * factor).powi(2);
        }
    }

    fn learn(&mut self, load: f64, forecast: f64, half_hour: usize) {
        self.seen = self.seen.saturating_add(1);
        let error = load - forecast;
        let square = (error * error) as f32;
        self.absolute += (error.abs() as f32 - self.absolute) * ABSOLUTE.max(1.0 / self.seen as f32);
        if self.seen == 1 {
            (self.fast, self.slow) = (square, square);
            self.half_hours = vec![-1.0; HALF_HOURS];
        }
        self.fast += FAST * (square - self.fast);
        self.slow += SLOW * (square - self.slow);
        let own = &mut self.half_hours[half_hour % HALF_HOURS];
        // The first time a half hour comes it starts from the errors of all.
        *own = if *own < 0.0 { self.slow } else { *own };
        *own += HALF_HOUR * (square - *own);
    }

    /// The error to expect of a forecast of so many instances, by two models; the one between them is learned.
    fn scales(&self, forecast: f64, half_hour: usize) -> [f32; 3] {
        if self.seen == 0 {
            return [(0.1 * forecast) as f32; 3];
        }
        let root = |square: f32| f64::from(square).sqrt();
        let recent = root(self.fast).max(ERROR_LEAST);
        let general = recent.max(0.5 * root(self.slow));
        let hourly = match self.half_hours.get(half_hour) {
            Some(own) if *own >= 0.0 => root(*own).max(0.3 * root(self.slow)).max(ERROR_LEAST),
            _ => general,
        };
        [general as f32, general as f32, hourly as f32]
    }
}

/// More instances than any error is off by: still a number when squared.
fn bounded(instances: f32) -> f32 {
    instances.min(1e12)
}

/// The least-squares line through the values, extrapolated; their mean when there are fewer than five.
fn trend(values: &[f32], ahead: usize) -> f64 {
    let middle = (values.len() as f64 - 1.0) / 2.0;
    let (mut squares, mut products) = (0.0, 0.0);
    for (at, value) in values.iter().enumerate() {
        let x = at as f64 - middle;
        squares += x * x;
        products += x * f64::from(*value);
    }
    let slope = if values.len() >= 5 { products / squares } else { 0.0 };
    (mean(values) + slope * (middle + ahead as f64)).max(0.0)
}

/// The local time in the middle of a step, in seconds since 1970.
fn local_middle(end: i64, terms: &Terms, grid: &Grid) -> i64 {
    end * grid.step - grid.step / 2 + terms.offset_secs
}

fn half_hour(local: i64) -> usize {
    (local.rem_euclid(86_400) / 1800) as usize
}
