//! Judges a reading: finite, in range, not from the future, not too old. Whatever fails is unknown, never a number.

use crate::facts::{MissingWhy, RawReading};
use crate::policy::{Metric, Unit};
use crate::trace::UnknownWhy;
use contract::{InstanceId, Timestamp};
use std::time::Duration;

/// A ratio above this is a mistake in unit or metric, not a load (surface.md).
const RATIO_MAX: f64 = 1.5;
/// A sample stamped later than this after now is missing (safety rule 7).
pub(super) const FUTURE_MAX: Duration = Duration::from_secs(5);

/// A reading that may be used.
#[derive(Clone, Copy, Debug)]
pub(super) enum Usable<'a> {
    /// One value, a percentage as a ratio.
    One { value: f64, at: Timestamp, members: Option<f64> },
    /// One value for each instance, as given; each is judged on its own by [`in_range`].
    Each { values: &'a [(InstanceId, f64)], at: Timestamp },
}

impl Unit {
    /// What 100 % is in this unit; 1 where there is no such thing.
    pub(super) fn full(self) -> f64 {
        if self == Unit::Percent { 100.0 } else { 1.0 }
    }
}

/// Whether a number is possible in its unit.
pub(super) fn in_range(value: f64, unit: Unit) -> Result<(), MissingWhy> {
    if !value.is_finite() {
        return Err(MissingWhy::NotFinite);
    }
    if value < 0.0 {
        return Err(MissingWhy::Negative);
    }
    match unit {
        Unit::Ratio | Unit::Percent if value > RATIO_MAX * unit.full() => Err(MissingWhy::RatioTooLarge),
        _ => Ok(()),
    }
}

/// Judges one metric's reading.
pub(super) fn judge<'a>(metric: &Metric, raw: &'a RawReading<'a>, now: Timestamp) -> Result<Usable<'a>, UnknownWhy> {
    let (usable, at) = match raw {
        RawReading::Missing(why) => return Err(UnknownWhy::Missing(why.clone())),
        RawReading::Value { value, at, members } => {
            in_range(*value, metric.unit).map_err(UnknownWhy::Missing)?;
            (
                Usable::One {
                    value: *value / metric.unit.full(),
                    at: *at,
                    members: members.filter(|m| m.is_finite() && *m >= 0.0),
                },
                *at,
            )
        }
        RawReading::PerInstance { values, at } => (Usable::Each { values, at: *at }, *at),
    };
    if at > now.after(FUTURE_MAX) {
        return Err(UnknownWhy::Missing(MissingWhy::Future));
    }
    // A source that is known to be late was asked for an earlier time; that lateness is not age.
    let age = now.before(metric.offset).since(at);
    if age > metric.max_age {
        return Err(UnknownWhy::Stale(age));
    }
    Ok(usable)
}
