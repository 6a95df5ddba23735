//! The owner tag: `skala:owner`, an ARM tag of the scale set, written in the same conditional request as the capacity.

pub(crate) use contract::claim::{Claim, format, judge, parse};

/// The tag's name. ARM allows all but `< > % & \ ? /` in it.
pub(crate) const KEY: &str = "skala:owner";
