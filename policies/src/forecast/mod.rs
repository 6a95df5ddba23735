//! Forecasts of one load, and the head-room that holds an objective with them. Pure arithmetic over what was learned.
//!
//! One idea carries it: every pair of a forecaster and a model of how its error scales is a *candidate* that plans in
//! shadow. A minute's score is the least multiple of the scale with which the candidate's plan would have covered that
//! minute, counting what is free anyway: whole instances, the scale-in window, present need, the boot time in which
//! nothing can be added. The multiple that covers the wanted share of the last week's minutes is the candidate's
//! head-room, and the candidate whose plan is then cheapest is used. So forecaster and margin are judged by the one
//! thing that counts, instance-hours at equal coverage; decisions.md section 3 describes the reference that it follows.
//!
//! Files: [`delays`] how far ahead, [`intake`] readings into steps, [`profile`] `blend` `experts` the forecasters,
//! `margin` and `shadow` the head-room, `outlook` the answer, `past` recorded loads, `occasion` events of the calendar,
//! `ceiling` whether the load can be believed.

mod blend;
mod ceiling;
mod delays;
mod experts;
mod intake;
mod margin;
mod occasion;
mod outlook;
mod past;
mod profile;
mod shadow;
#[cfg(test)]
mod tests;

pub use ceiling::Ceiling;
pub(crate) use ceiling::Loaded;
use delays::Delays;
pub use experts::Forecaster;
pub use occasion::Occasion;
pub use outlook::Bound;
pub(crate) use outlook::Outlook;

use blend::Blend;
use contract::{CAPACITY_MAX, Capacity, Timestamp};
use experts::{Errors, FORECASTERS, Forecast};
use margin::Margins;
use profile::Profiles;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Steps of load kept as they came: an hour of minutes.
const RECENT_MAX: usize = 60;
/// Forecasts kept until what they were about has come. With this many, everything learned stays within 32 KiB.
const FORECASTS_MAX: usize = 32;
/// Steps that are looked ahead at most; with slower machines the step becomes longer.
const AHEAD_MAX: u32 = 20;

/// What one objective asks for; a rule's settings and the fleet's at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// The work that one instance carries at the highest allowed utilization.
    pub share: f64,
    /// The share of steps to cover, 0 to 1.
    pub coverage: f64,
    /// Head-room at most, as a ratio of the larger of forecast and the week's mean.
    pub headroom_max: f64,
    /// The fleet's min: what is there anyway.
    pub min: Capacity,
    /// The scale-in window.
    pub window: Duration,
    /// Local time minus UTC, in seconds.
    pub offset_secs: i64,
    /// The load is an event's, so that profiles learn nothing from it.
    pub unusual: bool,
}

/// The terms in whole steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Grid {
    /// Seconds of one step; whole minutes.
    pub step: i64,
    /// Steps from the newest known one to the first that a decision of now can still help.
    pub ahead: usize,
    /// Steps of it that an instance takes to boot.
    pub boot: usize,
    /// Steps of the scale-in window.
    pub window: usize,
}

/// What was learned about one load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    pub(crate) delays: Delays,
    /// The metric tells what is wanted, not what is served; [`Ceiling`] has the reasons.
    pub(crate) tells_demand: bool,
    /// Seconds of the steps that the fields below count in; 0 before the first.
    step: u32,
    /// The newest step, by its end: steps since 1970.
    last: Option<i64>,
    /// The newest reading's time.
    taken: Option<Timestamp>,
    /// Sum and count of the readings since it ended.
    open: (f64, u32),
    /// The newest steps' loads, newest last.
    recent: Vec<f32>,
    profiles: Profiles,
    blend: Blend,
    /// The error to expect, learned the same way.
    spread: Blend,
    errors: [Errors; FORECASTERS],
    /// Forecasts whose time has not come, or that still count within a window; newest last.
    forecasts: Vec<Forecast>,
    margins: Margins,
    /// The load's mean over about a week.
    mean: f32,
    /// Steps learned from.
    steps: u32,
    /// By how much the newest step's load was above what had been planned for it.
    short: f32,
}

impl Learned {
    /// Whether the lists have the lengths that the code counts on, and the numbers are numbers.
    pub(crate) fn is_sound(&self) -> bool {
        let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        self.recent.len() <= RECENT_MAX
            && self.forecasts.len() <= FORECASTS_MAX
            && self.forecasts.is_sorted_by_key(|forecast| forecast.end)
            // Steps of a second and more: a time beyond this is damage, and would overflow.
            && self.last.is_none_or(|last| last.unsigned_abs() < 1 << 40)
            && self.open.1 < u32::MAX / 2
            && self.open.0.is_finite()
            && finite(&self.recent)
            && finite(&[self.mean, self.short])
            && self.delays.is_sound()
            && self.profiles.is_sound()
            && self.blend.is_sound()
            && self.spread.is_sound()
            && self.margins.is_sound()
            && self.errors.iter().all(Errors::is_sound)
            && self.forecasts.iter().all(Forecast::is_sound)
    }

    /// Steps learned from.
    pub(crate) fn steps(&self) -> u32 {
        self.steps
    }

    /// Counts in instances of another size from here on, of which one carries `share`: what were so many of the old ones
    /// are `factor` as many. Loads stay below what is told from larger ones, as when they were taken.
    pub(crate) fn count_in(&mut self, factor: f64, share: f64) {
        let (factor, most) = (factor.clamp(1e-9, 1e9) as f32, load_max(share) as f32);
        self.errors.iter_mut().for_each(|errors| errors.count_in(factor));
        self.margins.count_in(factor);
        self.forecasts.iter_mut().for_each(|forecast| forecast.count_in(factor, most));
        let loads = self.recent.iter_mut().chain([&mut self.mean, &mut self.short]).chain(self.profiles.loads_mut());
        loads.for_each(|load| *load = load.min(most));
        self.open.0 = self.open.0.min(load_max(share) * f64::from(self.open.1));
    }

    /// Learns from one step's load; `end` is the step's end in steps since 1970, the one after the last.
    fn learn(&mut self, end: i64, load: f64, terms: &Terms, grid: &Grid) {
        self.remember(end, load, terms, grid);
        self.settle_forecasts(end, load, terms, grid);
        let forecast = self.forecast(end, terms, grid);
        self.forecasts.push(forecast);
        let keep = (grid.ahead + grid.window + 2).min(FORECASTS_MAX);
        self.forecasts.drain(..self.forecasts.len().saturating_sub(keep));
        self.steps = self.steps.saturating_add(1);
        if self.steps.is_multiple_of(15) {
            self.margins.refit(grid);
        }
        if self.steps.is_multiple_of(60) {
            self.blend.solve();
            self.spread.solve();
        }
        let planned = self.outlook(load, terms, grid).map_or(0, |outlook| outlook.capacity);
        if let Some(newest) = self.forecasts.last_mut() {
            newest.planned = planned;
        }
    }

    /// Takes a step's load into the recent ones, the profiles and the mean.
    fn remember(&mut self, end: i64, load: f64, terms: &Terms, grid: &Grid) {
        self.last = Some(end);
        self.recent.push(load as f32);
        self.recent.drain(..self.recent.len().saturating_sub(RECENT_MAX));
        let local_end = end * grid.step + terms.offset_secs;
        if !terms.unusual {
            self.profiles.learn(local_end, grid.step, &self.recent);
        }
        let week = 7.0 * 86_400.0 / grid.step as f32;
        self.mean += (load as f32 - self.mean) / week.min(self.steps as f32 + 1.0);
    }
}

/// Largest load that is told from larger ones: more than any fleet can carry is as good as any other such number, and
/// stays a number when squared.
fn load_max(share: f64) -> f64 {
    (share * 2.0 * f64::from(CAPACITY_MAX)).min(1e30)
}

/// The least whole number of instances that carries a load; a relative 1e-6 absorbs what single precision rounds.
fn instances(load: f64, share: f64) -> f64 {
    (load / share * (1.0 - 1e-6)).ceil().max(0.0)
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len().max(1) as f64
}

/// The last `n` values, or as many as there are.
fn newest(values: &[f32], n: usize) -> &[f32] {
    &values[values.len().saturating_sub(n)..]
}
