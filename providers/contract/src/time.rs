//! Time as a value: microseconds since the Unix epoch. Nothing here reads a clock.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A point in wall-clock time, in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// A duration in whole microseconds, saturating.
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Timestamp {
    /// Seconds since the epoch to a timestamp; `None` for what is not finite or beyond the years 1678 to 2262.
    pub fn from_secs_f64(secs: f64) -> Option<Self> {
        // i64 nanoseconds end in 2262; staying inside them keeps every conversion of a timestamp total.
        (secs.is_finite() && secs.abs() < 9.2e9).then(|| Self((secs * 1e6).round() as i64))
    }

    /// Whole seconds since the epoch to a timestamp.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Seconds since the epoch, exact to the microsecond for dates of this century.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// How much later this is than `earlier`; zero when it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This time plus a duration, saturating.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }

    /// This time minus a duration, saturating.
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_survive_the_way_there_and_back() {
        for secs in [0.0, 1_700_000_120.0, 1_700_000_120.25, -5.5] {
            assert_eq!(Timestamp::from_secs_f64(secs).map(Timestamp::as_secs_f64), Some(secs));
        }
        for secs in [f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(Timestamp::from_secs_f64(secs), None);
        }
    }

    #[test]
    fn an_earlier_time_is_not_a_negative_duration() {
        assert_eq!(Timestamp::from_secs(5).since(Timestamp::from_secs(9)), Duration::ZERO);
    }
}
