//! Whether a metric tells what is wanted, or cannot show more than what is served.
//!
//! What is cut off at what is served has one ceiling. What goes beyond all that the fleet could do by ever different
//! amounts has none: three such readings within a day show it. The configured capacity may only be too small, so that a
//! metric seems to go beyond; it then stays at its ceiling while more is wanted, and ten minutes of that refute it.

use contract::Timestamp;
use serde::{Deserialize, Serialize};

/// A reading of this much of what all instances asked for could do is beyond.
const BEYOND: f64 = 1.05;
/// Full is this much of what the serving instances could do.
const FULL: f64 = 0.95;
/// Readings within this of each other may be one ceiling.
const SAME: f64 = 0.05;
/// Readings beyond that show it, each of another amount.
const SHOWN: f64 = 3.0;
/// Minutes at one ceiling that refute it.
const REFUTED: u32 = 10;
/// Readings are looked at once a minute; what was seen is forgotten over a day.
const MINUTE_SECS: f64 = 60.0;
const DAY_SECS: f64 = 86_400.0;

/// What was seen of a metric at its limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// The configured capacity of one instance that all of it is about.
    capacity: f64,
    /// The last look.
    at: Timestamp,
    /// Readings beyond, decayed.
    beyond: f64,
    /// The last one that counted, in terms of what the serving instances could do.
    counted: f64,
    /// Where the metric seems to stop, and for how many minutes it has.
    stop: f64,
    stopped: u32,
}

/// A total and what it is compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loaded {
    /// The total.
    pub value: f64,
    /// Its time.
    pub at: Timestamp,
    /// The configured capacity of one instance.
    pub capacity: f64,
    /// Instances that serve, and instances asked for.
    pub serving: f64,
    pub current: f64,
}

impl Loaded {
    /// Whether this is worth a look: more than all instances asked for could do.
    pub fn is_beyond(&self) -> bool {
        self.current > 0.0 && self.value > BEYOND * self.current.max(self.serving) * self.capacity
    }
}

impl Ceiling {
    pub(crate) fn new(loaded: &Loaded) -> Self {
        let at = loaded.at.before(std::time::Duration::from_secs(60));
        Self { capacity: loaded.capacity, at, beyond: 0.0, counted: 0.0, stop: 0.0, stopped: 0 }
    }

    pub(crate) fn is_sound(&self) -> bool {
        [self.capacity, self.beyond, self.counted, self.stop].iter().all(|number| number.is_finite())
    }

    /// Takes a look; what is said of the metric from here on, given what was said before.
    pub(crate) fn judge(&mut self, loaded: &Loaded, told: bool) -> bool {
        if self.capacity != loaded.capacity {
            *self = Self::new(loaded);
            return self.judge(loaded, false);
        }
        let secs = loaded.at.since(self.at).as_secs_f64();
        let load = loaded.value / (loaded.serving * loaded.capacity);
        if secs < MINUTE_SECS || !load.is_finite() {
            return told;
        }
        self.at = loaded.at;
        self.beyond *= (1.0 - secs / DAY_SECS).max(0.0);
        let same = |known: f64| (load - known).abs() <= SAME * known;
        if loaded.is_beyond() && !same(self.counted) {
            self.beyond += 1.0;
            self.counted = load;
        }
        if load >= FULL && same(self.stop) {
            self.stopped = self.stopped.saturating_add(1);
        } else {
            (self.stop, self.stopped) = (load, u32::from(load >= FULL));
        }
        if self.stopped >= REFUTED {
            (self.beyond, self.counted) = (0.0, load);
            return false;
        }
        // A decay of a few hours is no doubt.
        told || self.beyond > SHOWN - 0.5
    }
}
