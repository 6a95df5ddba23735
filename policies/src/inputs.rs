//! What a rule of several metrics was computed from, and why that may give no number: a part of [`crate::trace`].

use std::fmt;

/// Why usable readings give no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UndefinedWhy {
    /// A division by 0.
    DividedByZero,
    /// The result is beyond all numbers.
    NotFinite,
}

impl fmt::Display for UndefinedWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UndefinedWhy::DividedByZero => "divided by 0",
            UndefinedWhy::NotFinite => "not finite",
        })
    }
}

/// The metrics that a value was computed from: all are counted, and the first few kept with their values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Inputs {
    first: [(u16, f64); Inputs::KEPT],
    /// A bit for each metric, of which a fleet has at most 64.
    seen: u64,
}

impl Inputs {
    const KEPT: usize = 4;

    /// Notes that this metric was read as this value.
    pub fn note(&mut self, metric: u16, value: f64) {
        let bit = 1_u64.checked_shl(u32::from(metric)).unwrap_or(0);
        if self.seen & bit == 0 {
            if let Some(free) = self.first.get_mut(self.seen.count_ones() as usize) {
                *free = (metric, value);
            }
            self.seen |= bit;
        }
    }

    /// Metrics and values, in the order in which they were read.
    pub fn first(&self) -> &[(u16, f64)] {
        &self.first[..Self::KEPT.min(self.seen.count_ones() as usize)]
    }

    /// How many more there were.
    pub fn others(&self) -> usize {
        (self.seen.count_ones() as usize).saturating_sub(Self::KEPT)
    }
}
