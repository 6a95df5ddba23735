//! The work that one instance can do, learned from how busy the instances are.
//!
//! The service demand law, utilization = demand x work per instance + background, is fitted to windows of a minute
//! (Denning and Buzen 1978; as a regression with the background as its constant: Rolia and Vetland 1995; decisions.md
//! section 3, piece 5, whose median becomes a fit that clips large residuals). What holds of it:
//!
//! - Windows with a utilization from 20 to 85 % count (decisions.md). Above, work may wait already and utilization is
//!   capped: such a window only says that the demand is *at least* so much. Below, background is most of it: such a
//!   window only says that the demand is *at most* so much. Either moves the fit in its one direction.
//! - Old windows count less: half after 60, an hour of minutes.
//! - A residual counts up to 1.345 of its usual size (Huber 1964). Residuals that stay on one side are no noise: a CUSUM
//!   on either side (Page 1954) takes them for a deploy, and starts anew from the windows since it left zero.
//! - While the work of an instance hardly varies, demand and background cannot be told apart. Then the background is what
//!   it was when they last could, or 0. Below the limit that is the safe side: all of the utilization is taken to grow
//!   with work, so an instance is taken to carry less than it can. Above the limit it asks for too few at first; what is
//!   added makes work vary, and work that varies shows the background. After a deploy the background is 0 again.
//! - What is asked of an instance at the limit never exceeds 1.25 times the most that it was seen to carry for 5 windows
//!   under the limit (after a deploy: at the utilization that this was), falls at once, and rises by at most 10 % an hour
//!   of windows: a law that was learned at 30 % is not believed at 80 % without having been there.

use crate::trace::SizingBound;
use contract::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Seconds of a window.
const WINDOW_SECS: i64 = 60;
/// Windows before what they say is used.
pub(crate) const TRUSTED: u32 = 30;
/// Utilization that counts in both directions.
const COUNTS: (f64, f64) = (0.2, 0.85);
/// What a window's weight is after the next one: a half after 60.
const KEEP: f64 = 0.988_514_020_352_896_2;
/// The weight with which residuals begin to be judged.
const JUDGED: f64 = 5.0;
/// Where a residual is clipped, in standard deviations, and the variance that is left of a normal one.
const CLIPPED: f64 = 1.345;
const CLIPPED_VARIANCE: f64 = 0.7102;
/// The weight of a new residual in the variance; the standard deviation at the start, and at least.
const FRESH: f64 = 1.0 / 60.0;
const DEVIATION: (f64, f64) = (0.05, 0.03);
/// The CUSUM: what a residual is cut at, so that one alone is no alarm, what is forgiven each, and what is an alarm. By
/// chance an alarm comes once in millions of windows (Siegmund 1985), a demand twice as large shows in three.
const CUSUM: (f64, f64, f64) = (4.0, 1.0, 8.0);
/// Windows kept as they came.
const NEWEST: usize = 5;
/// Work per instance varies when its standard deviation is so much of its mean: far above what is only measured unevenly,
/// which would make the demand look smaller than it is.
const VARIES: f64 = 0.1;
/// The standard error of a background that is known.
const BACKGROUND_ERROR: f64 = 0.05;
/// The background at most, as a share of the utilization and of the limit.
const BACKGROUND_MAX: f64 = 0.5;
/// What is asked of an instance at most, in terms of what it was seen to carry.
const SUSTAINED: f64 = 1.25;
/// How fast it may rise, in a natural hour's exponent: 10 % an hour; and the time that one window can stand for.
const RISE: f64 = 0.095_310_179_804_324_87;
const RISE_OVER: Duration = Duration::from_secs(600);
/// Least and largest work that is told from smaller and larger.
const WORK: (f64, f64) = (1e-30, 1e30);
/// How far the forecasts' numbers may be off before they are given in the new unit.
const UNIT_OFF: f64 = 0.01;

/// What was learned of the instances of one objective rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Windows that counted, ever.
    windows: u32,
    /// The times of the newest work and utilization that were taken.
    taken: Option<(Timestamp, Timestamp)>,
    /// The newest window, in windows since 1970.
    last: Option<i64>,
    /// Sums since it ended: work per instance, utilization, readings.
    open: (f64, f64, u32),
    /// The newest windows, newest last.
    newest: Vec<Window>,
    fit: Fit,
    /// The mean squared residual.
    variance: f64,
    /// The CUSUMs: of utilization above what was expected, and below.
    above: Cusum,
    below: Cusum,
    /// The background when it was last known.
    background: Option<f64>,
    /// The most work per instance that was carried for [`NEWEST`] windows under the limit, or as much as that is of
    /// what a deploy has made dearer; 0: none.
    sustained: f64,
    /// What is asked of one instance at the limit; 0 before the first window.
    share: f64,
    /// The limit that it is for.
    limit: f64,
    /// When it was set.
    at: Timestamp,
    /// The share in which the forecasts' numbers are instances; 0 before the first.
    unit: f64,
}

/// Work per instance and utilization.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Window {
    work: f64,
    busy: f64,
}

/// A sum that leaves zero only when residuals stay on one side, and for how many windows it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Cusum {
    sum: f64,
    windows: u32,
}

/// Decayed weighted means, squares and products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Fit {
    weight: f64,
    work: f64,
    busy: f64,
    squares: f64,
    products: f64,
}

/// What is taken for true of one instance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Law {
    /// Utilization for one unit of work.
    pub demand: f64,
    /// Utilization without any.
    pub background: f64,
}

impl Law {
    fn busy(self, work: f64) -> f64 {
        self.demand * work + self.background
    }

    /// The work of an instance at a utilization.
    fn work(self, busy: f64) -> f64 {
        (busy - self.background) / self.demand
    }
}

impl Service {
    pub(crate) fn is_sound(&self) -> bool {
        let fit = &self.fit;
        let known = [self.open.0, self.open.1, self.variance, self.above.sum, self.below.sum, self.sustained];
        let known = known.iter().chain([&self.share, &self.limit, &self.unit, &fit.weight, &fit.work, &fit.busy]);
        let known = known.chain([&fit.squares, &fit.products]).chain(&self.background);
        let mut known = known.chain(self.newest.iter().flat_map(|window| [&window.work, &window.busy]));
        // Beyond this squares are no numbers any more.
        known.all(|number| number.abs() < 1e75)
            && self.newest.len() <= NEWEST
            && self.open.2 < u32::MAX / 2
            && [self.variance, self.share, self.unit, self.sustained, fit.weight].iter().all(|number| *number >= 0.0)
            // A share is one at a limit.
            && (0.0..=1.0).contains(&self.limit)
            && (self.share == 0.0 || self.limit > 0.0)
            && self.last.is_none_or(|last| last.unsigned_abs() < 1 << 40)
    }

    /// Windows that counted, ever.
    pub(crate) fn windows(&self) -> u32 {
        self.windows
    }

    /// What one instance is asked to carry at the limit, once enough was learned to ask for it.
    pub(crate) fn trusted_share(&self) -> Option<f64> {
        (self.windows >= TRUSTED && self.share > 0.0).then_some(self.share)
    }

    /// The work that one instance could do at 100 %, by the share in use, and the background of it.
    pub(crate) fn capacity(&self) -> Option<(f64, Option<f64>)> {
        let law = self.law(self.limit)?;
        let background = self.background.map(|_| law.background);
        Some((self.share * (1.0 - law.background) / (self.limit - law.background), background))
    }

    /// What keeps the share in use below what the law says.
    pub(crate) fn bound(&self) -> SizingBound {
        match (self.wanted(self.limit), self.law(self.limit)) {
            (Some(wanted), _) if wanted > 1.01 * self.share => SizingBound::Rising,
            (Some(wanted), Some(law)) if wanted < law.work(self.limit) => SizingBound::Sustained,
            _ => SizingBound::Law,
        }
    }

    /// Forgets that readings were taken later than this: a clock was wrong.
    pub(crate) fn forget_after(&mut self, latest: Timestamp) {
        if self.taken.is_some_and(|(work, busy)| work.max(busy) > latest) {
            (self.taken, self.last, self.open) = (None, None, (0.0, 0.0, 0));
            self.at = self.at.min(latest);
        }
    }

    /// Takes in work per instance and utilization, each of its time; a pair counts when both are newer than the last one.
    /// A window ends with the first pair that is nearer to its end than to the end before.
    pub(crate) fn take(&mut self, work: (f64, Timestamp), busy: (f64, Timestamp), limit: f64) {
        let times = (work.1, busy.1);
        if self.taken.is_some_and(|taken| times.0 <= taken.0 || times.1 <= taken.1) {
            return;
        }
        self.taken = Some(times);
        let (x, u, count) = self.open;
        self.open = (x + work.0.clamp(0.0, WORK.1), u + busy.0, count + 1);
        let at = times.0.max(times.1);
        let length = WINDOW_SECS * 1_000_000;
        let end = at.0.saturating_add(length / 2).div_euclid(length);
        if self.last.is_some_and(|last| end <= last) {
            return;
        }
        self.last = Some(end);
        let (x, u, count) = std::mem::take(&mut self.open);
        self.learn(Window { work: x / f64::from(count), busy: u / f64::from(count) }, limit);
        self.follow(at, limit);
    }

    fn learn(&mut self, window: Window, limit: f64) {
        self.newest.push(window);
        self.newest.drain(..self.newest.len().saturating_sub(NEWEST));
        if self.newest.len() == NEWEST && self.newest.iter().all(|window| window.busy < limit) {
            let least = self.newest.iter().map(|window| window.work).fold(f64::INFINITY, f64::min);
            self.sustained = self.sustained.max(least);
        }
        if window.work < WORK.0 {
            return;
        }
        let law = self.law(limit).filter(|_| self.fit.weight >= JUDGED);
        let residual = law.map_or(0.0, |law| window.busy - law.busy(window.work));
        let counts = (COUNTS.0..=COUNTS.1).contains(&window.busy);
        let at_least = window.busy > COUNTS.1 && residual > 0.0;
        let at_most = window.busy < COUNTS.0 && residual < 0.0;
        if !(counts || at_least || at_most) {
            return;
        }
        if counts {
            self.windows = self.windows.saturating_add(1);
        }
        if self.variance == 0.0 {
            self.variance = DEVIATION.0 * DEVIATION.0;
        }
        let deviation = self.variance.sqrt().max(DEVIATION.1);
        if self.watch(residual / deviation) {
            return;
        }
        let clipped = residual.clamp(-CLIPPED * deviation, CLIPPED * deviation);
        if law.is_some() {
            self.variance += FRESH * (clipped * clipped / CLIPPED_VARIANCE - self.variance);
        }
        self.fit.add(Window { work: window.work, busy: window.busy - residual + clipped });
        if let Some(background) = self.fit.background(deviation) {
            self.background = Some(background);
        }
    }

    /// Watches for residuals that stay on one side; true when it was a deploy, and the fit is that of the windows since.
    fn watch(&mut self, residual: f64) -> bool {
        let (most, forgiven, alarm) = CUSUM;
        let residual = residual.clamp(-most, most);
        self.above.add(residual - forgiven);
        self.below.add(-residual - forgiven);
        let slower = self.above.sum > alarm;
        if !slower && self.below.sum <= alarm {
            return false;
        }
        let since = if slower { self.above.windows } else { self.below.windows };
        let since = self.newest.len().saturating_sub(since as usize);
        let before = self.law(f64::INFINITY);
        self.fit = Fit::default();
        // Full windows know the least that it can be, and only count where there are no others.
        let full = |window: &Window| window.busy > COUNTS.1;
        let all_full = self.newest[since..].iter().all(full);
        for window in self.newest[since..].iter().filter(|window| all_full || !full(window)) {
            self.fit.add(*window);
        }
        (self.above, self.below, self.background) = (Cusum::default(), Cusum::default(), None);
        if slower {
            // As busy as they were seen, they carry that much less; and the windows before are of other instances.
            let less = before.zip(self.law(f64::INFINITY)).map_or(1.0, |(old, new)| old.demand / new.demand);
            self.sustained *= less.min(1.0);
            self.newest.drain(..since);
        }
        true
    }

    /// The law as it is known; `None` before the first window.
    fn law(&self, limit: f64) -> Option<Law> {
        let Fit { weight, work, busy, .. } = self.fit;
        if weight <= 0.0 || work < WORK.0 || busy <= 0.0 {
            return None;
        }
        let background = self.background.unwrap_or(0.0).clamp(0.0, BACKGROUND_MAX * busy.min(limit));
        Some(Law { demand: (busy - background) / work, background })
    }

    /// What one instance should carry at the limit.
    fn wanted(&self, limit: f64) -> Option<f64> {
        let most = SUSTAINED * if self.sustained > 0.0 { self.sustained } else { self.fit.work };
        Some(self.law(limit)?.work(limit).min(most)).filter(|share| *share >= WORK.0)
    }

    fn follow(&mut self, at: Timestamp, limit: f64) {
        let Some(wanted) = self.wanted(limit) else { return };
        // Another limit is somebody's decision, and holds at once.
        let follows = self.trusted_share().is_some() && self.limit == limit;
        let hours = at.since(self.at).min(RISE_OVER).as_secs_f64() / 3600.0;
        self.share = if follows { wanted.min(self.share * (1.0 + RISE * hours)) } else { wanted };
        (self.limit, self.at) = (limit, at);
    }

    /// The share for forecasts, of which some numbers are instances; before anything is known any other will do as well.
    /// Also by how much those numbers are too small, when the share has changed since they were made.
    pub(crate) fn unit(&mut self, load: f64) -> (f64, Option<f64>) {
        let any = if load > WORK.0 { load.min(WORK.1) / 10.0 } else { 1.0 };
        let before = self.unit;
        let share = [self.share, before].into_iter().find(|share| *share > 0.0).unwrap_or(any);
        if before > 0.0 && (before / share - 1.0).abs() <= UNIT_OFF {
            return (share, None);
        }
        self.unit = share;
        (share, (before > 0.0).then_some(before / share))
    }

    /// For numbers that were made with another one's share: by how much they are too small with this one's, and this one's.
    pub(crate) fn unit_instead_of(&mut self, other: &Self) -> Option<(f64, f64)> {
        if self.unit <= 0.0 {
            self.unit = other.unit;
        }
        (other.unit > 0.0 && self.unit != other.unit).then(|| (other.unit / self.unit, self.unit))
    }
}

impl Cusum {
    fn add(&mut self, excess: f64) {
        self.sum = (self.sum + excess).max(0.0);
        self.windows = if self.sum > 0.0 { self.windows.saturating_add(1) } else { 0 };
    }
}

impl Fit {
    fn add(&mut self, window: Window) {
        self.weight = self.weight * KEEP + 1.0;
        let (work, busy) = (window.work - self.work, window.busy - self.busy);
        self.work += work / self.weight;
        self.busy += busy / self.weight;
        self.squares = self.squares * KEEP + work * (window.work - self.work);
        self.products = self.products * KEEP + work * (window.busy - self.busy);
    }

    /// The utilization without work, when work has varied enough to tell.
    fn background(&self, deviation: f64) -> Option<f64> {
        let slope = self.products / self.squares;
        let varies = self.squares >= VARIES * VARIES * self.work * self.work * self.weight;
        if !varies || !slope.is_finite() || slope <= 0.0 {
            return None;
        }
        let error = deviation * (1.0 / self.weight + self.work * self.work / self.squares).sqrt();
        (error <= BACKGROUND_ERROR).then(|| (self.busy - slope * self.work).max(0.0))
    }
}
