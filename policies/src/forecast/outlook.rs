//! The answer: the capacity that the forecast and its head-room ask for, never less than what is needed now.

use super::experts::Forecaster;
use super::margin::SCALES;
use super::shadow::scale;
use super::{Grid, Learned, Terms, instances};
use contract::{CAPACITY_MAX, Capacity};

/// Steps over which the load's growth is measured while the plan is short of it.
const GROWTH: usize = 3;
/// What came short once may come short by twice that until the next capacity can be there.
const CATCH_UP: f64 = 2.0;

/// What a forecast asks for, and what decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Outlook {
    /// Instances.
    pub capacity: Capacity,
    /// Where the forecast comes from.
    pub forecaster: Forecaster,
    /// The load ahead.
    pub load: f64,
    /// The head-room on top of it, as load.
    pub headroom: f64,
    /// What made it this much.
    pub bound: Bound,
}

/// What made an outlook's capacity what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The forecast with its learned head-room.
    Learned,
    /// The forecast with a head-room from before anything was learned.
    Cold,
    /// `headroom_max` cut the head-room.
    HeadroomMax,
    /// What is needed now is more than the forecast asks for.
    Present,
    /// The load outgrew the plan for now; its growth is carried on.
    CatchUp,
    /// The metric is at what the fleet can do: the true load is unknown and taken for twice as much.
    Censored,
}

impl Learned {
    /// The capacity to ask for now, by the newest load; `None` before the first forecast.
    pub(crate) fn outlook(&self, now: f64, terms: &Terms, grid: &Grid) -> Option<Outlook> {
        let forecast = self.forecasts.last()?;
        let candidate = self.margins.best(|forecaster| self.trusts(forecaster));
        let (forecaster, model) = (forecast.source(candidate / SCALES), candidate % SCALES);
        let load = forecast.load(forecaster);
        let wanted = self.margins.multiple(candidate) * scale(forecast, forecaster, model, terms.share);
        let headroom = wanted.min(terms.headroom_max * load.max(f64::from(self.mean)));
        let mut bound = match (self.margins.is_warm(), headroom < wanted) {
            (_, true) => Bound::HeadroomMax,
            (true, false) => Bound::Learned,
            (false, false) => Bound::Cold,
        };
        let mut needed = instances(load + headroom, terms.share);
        let present = instances(now, terms.share);
        if present > needed {
            (needed, bound) = (present, Bound::Present);
        }
        let ahead = instances(now + self.growth(now, grid), terms.share);
        if ahead > needed {
            (needed, bound) = (ahead, Bound::CatchUp);
        }
        let capacity = needed.min(f64::from(CAPACITY_MAX)) as Capacity;
        Some(Outlook { capacity, forecaster: Forecaster::ALL[forecaster], load, headroom, bound })
    }

    /// By how much the load will have outgrown now's when the next capacity comes, if it goes on as in the last steps;
    /// 0 unless the plan for now was short.
    fn growth(&self, now: f64, grid: &Grid) -> f64 {
        let before = self.recent.len().checked_sub(1 + GROWTH).map_or(now, |at| f64::from(self.recent[at]));
        let growth = (now - before).max(0.0) * grid.ahead as f64 / GROWTH as f64;
        growth.min(CATCH_UP * f64::from(self.short))
    }
}
