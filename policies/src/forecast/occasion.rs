//! Events of a calendar, such as a month-end sale: what they make of the load.
//!
//! While an event is open the load is divided by what the event usually multiplies it with, at that place within it
//! (calendar adjustment, as in official statistics); everything that forecasts sees the load as it would be without. What
//! comes out is multiplied with what the event makes of the time that it is for. So an event is one more expert, on top of
//! the others. It competes with none by its errors where the factor changes: the opening, the closing, and from one part to
//! the next; what does worse than no event is switched off until it does better again.
//!
//! The factors are learned against the usual load: the profile at that time, at the level from before the opening. The
//! first time there are none, so that an event changes nothing before its second occurrence; from then on each occurrence
//! counts 40 %, as each day in the profiles. Profiles are not learned while an event is open: its load is not usual.

use super::{Grid, Learned, Terms};
use contract::Timestamp;
use serde::{Deserialize, Serialize};

/// Parts of an event at most, and how long one is at least, in seconds.
pub(crate) const PARTS: usize = 24;
const PART_SECS: i64 = 300;
/// What a load may be multiplied with.
const FACTOR: (f64, f64) = (0.02, 50.0);
/// The share of the newest occurrence in a factor.
const FRESH: f32 = 0.4;
/// The share of a part that must have been read.
const READ: f64 = 0.3;
/// Readings farther apart say nothing of the time between, in seconds.
const APART: f64 = 900.0;
/// The weight of a new error once there are many; how many the first occurrence counts for; what may be worse.
const ERROR: f32 = 1.0 / 60.0;
const FIRST: u32 = 4;
const WORSE: f32 = 1.25;
/// After an event the load of the last minutes is still its own, in seconds.
const LINGERS: i64 = 600;

/// What was learned of one event of the calendar.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Occasion {
    /// Its name.
    pub(crate) name: Box<str>,
    /// Tells its definition from others.
    pub(crate) defined: u32,
    /// When the occurrence that is open or comes next opens and closes, in seconds since 1970.
    span: Option<(i64, i64)>,
    /// When the one before closed.
    closed: Option<i64>,
    /// For each part what the load is multiplied with; below zero: not seen yet.
    factors: Vec<f32>,
    /// The part that is open.
    part: Part,
    /// The load against its profile, and the load itself, when it opened; 0: not known.
    level: f32,
    flat: f32,
    /// Mean errors of forecasts with the event and without it, as loads, and how many there were.
    with: f32,
    without: f32,
    judged: u32,
}

/// Loads of a part, as far as they were read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Part {
    index: u32,
    load: f64,
    usual: f64,
    secs: f64,
    last: Option<Timestamp>,
}

fn secs(at: Timestamp) -> i64 {
    at.0.div_euclid(1_000_000)
}

impl Occasion {
    pub(crate) fn is_sound(&self) -> bool {
        let single = [self.level, self.flat, self.with, self.without];
        single.iter().chain(&self.factors).all(|number| number.is_finite())
            && [self.part.load, self.part.usual, self.part.secs].iter().all(|number| number.is_finite())
            && self.factors.len() <= PARTS
            && self.factors.iter().all(|factor| *factor < 0.0 || f64::from(*factor) >= FACTOR.0 / 2.0)
            && self.span.is_none_or(|(open, close)| open < close && close < 1 << 50)
            && self.span.is_none_or(|(open, _)| open > -(1 << 50))
            && self.closed.is_none_or(|closed| closed.unsigned_abs() < 1 << 50)
            && self.judged < u32::MAX / 2
    }

    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Whether it has been learned what some of it makes of the load.
    pub(crate) fn is_known(&self) -> bool {
        self.factors.iter().any(|factor| *factor >= 0.0)
    }

    /// Whether something of it lies between two times.
    pub(crate) fn is_near(&self, from: Timestamp, to: Timestamp) -> bool {
        !self.factors.is_empty()
            && (self.covers(from) || self.span.is_some_and(|(open, close)| open <= secs(to) && secs(from) < close))
    }

    /// Looks up the occurrence of a time when another one is known; `find` gives the one that is open then, or the next.
    pub(crate) fn follow(&mut self, at: Timestamp, defined: u32, find: impl FnOnce(Timestamp) -> Option<(i64, i64)>) {
        if self.defined != defined {
            (self.defined, self.span, self.closed, self.part) = (defined, None, None, Part::default());
        }
        if self.span.is_some_and(|(_, close)| secs(at) < close) {
            return;
        }
        if let Some((_, close)) = self.span {
            self.end_part();
            self.closed = Some(close);
        }
        (self.part, self.level, self.flat) = (Part::default(), 0.0, 0.0);
        // One that never comes is as good as one in a million years.
        self.span = Some(find(at).unwrap_or((1 << 45, 1 << 46)));
    }

    fn is_open(&self, at: i64) -> bool {
        self.span.is_some_and(|(open, close)| (open..close).contains(&at))
    }

    /// Whether the load of a time is not a usual one.
    pub(crate) fn covers(&self, at: Timestamp) -> bool {
        let at = secs(at);
        self.is_open(at) || self.closed.is_some_and(|closed| (closed..closed + LINGERS).contains(&at))
    }

    /// How many parts an occurrence has, and which one a time is in.
    fn part_at(&self, at: i64) -> Option<(usize, usize)> {
        let (open, close) = self.span.filter(|_| self.is_open(at))?;
        let parts = ((close - open) / PART_SECS).clamp(1, PARTS as i64);
        let part = i128::from(at - open) * i128::from(parts) / i128::from(close - open);
        Some((part as usize, parts as usize))
    }

    /// What the event multiplies the load of a time with, whether that is believed or not; 1 before it was seen.
    fn factor(&self, at: i64) -> f64 {
        let Some((part, parts)) = self.part_at(at) else { return 1.0 };
        let known = self.factors.len();
        if known == 0 {
            return 1.0;
        }
        // An occurrence of another length has its parts at the same places.
        let part = part * known / parts;
        let seen = |part: &usize| self.factors[*part] >= 0.0;
        let part = (0..=part).rev().find(seen).or_else(|| (part..known).find(seen));
        part.map_or(1.0, |part| f64::from(self.factors[part]))
    }

    fn is_believed(&self) -> bool {
        self.with <= WORSE * self.without
    }

    /// What to multiply the load of a time with.
    pub(crate) fn multiplies(&self, at: Timestamp) -> f64 {
        if self.is_believed() { self.factor(secs(at)) } else { 1.0 }
    }

    /// Takes in a load of its time, before the forecasters do.
    pub(crate) fn take(&mut self, load: f64, at: Timestamp, learned: &Learned, terms: &Terms, grid: &Grid) {
        let Some((part, _)) = self.part_at(secs(at)) else { return };
        let part = part as u32;
        if self.part.last.is_none() {
            (self.level, self.flat) = learned.level(terms, grid);
            self.part.index = part;
        } else if part != self.part.index {
            self.end_part();
            self.part = Part { index: part, last: self.part.last, ..Part::default() };
        }
        if let Some(last) = self.part.last {
            let since = at.since(last).as_secs_f64();
            let usual = learned.usual(secs(at), f64::from(self.level), terms).unwrap_or(f64::from(self.flat));
            if since <= APART && usual > 0.0 {
                self.part.load += load.min(1e30) * since;
                self.part.usual += usual * since;
                self.part.secs += since;
            }
        }
        self.part.last = Some(at);
    }

    fn end_part(&mut self) {
        let Some((open, close)) = self.span else { return };
        let parts = ((close - open) / PART_SECS).clamp(1, PARTS as i64) as usize;
        let index = self.part.index as usize;
        if self.part.secs < READ * (close - open) as f64 / parts as f64 || self.part.usual <= 0.0 || index >= parts {
            return;
        }
        if self.factors.is_empty() {
            self.factors = vec![-1.0; parts];
        }
        let seen = (self.part.load / self.part.usual).clamp(FACTOR.0, FACTOR.1) as f32;
        let own = index * self.factors.len() / parts;
        let factor = &mut self.factors[own];
        if *factor < 0.0 {
            // Without the event its first occurrence would have been off by so much.
            *factor = seen;
            let off = (seen - 1.0).abs() * (self.part.usual / self.part.secs) as f32;
            if self.judged <= FIRST {
                (self.with, self.without, self.judged) = (0.0, self.without.max(off.min(1e30)), FIRST);
            }
        } else {
            *factor += FRESH * (seen - *factor);
        }
    }

    /// Judges the forecast that was made for a load, `ahead` seconds before; it is what the load would be without any event.
    pub(crate) fn judge(&mut self, load: f64, at: Timestamp, ahead: i64, forecast: f64) {
        let (then, now) = (self.factor(secs(at) - ahead), self.factor(secs(at)));
        if (then - now).abs() <= 0.05 * now {
            return;
        }
        let forecast = if self.is_believed() { forecast } else { forecast / then };
        let off = |factor: f64| ((load - forecast * factor).abs()).min(1e30) as f32;
        self.judged = (self.judged + 1).min(1 << 20);
        let weight = ERROR.max(1.0 / self.judged as f32);
        self.with += weight * (off(now) - self.with);
        self.without += weight * (off(then) - self.without);
    }
}
