//! `[[test]]` tables of policy files, as [`super::testing`] runs them.

use super::places::Place;
use contract::{Capacity, Timestamp};
use std::time::Duration;

/// One `[[test]]` table: cycles in, expected decisions out.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyTest {
    /// Its name.
    pub name: Box<str>,
    /// The fleet it is about.
    pub fleet: Box<str>,
    /// When it begins; matters to schedules.
    pub start: Timestamp,
    /// The cycles, in order.
    pub cycles: Vec<TestCycle>,
    /// Where it stands.
    pub place: Place,
}

/// Readings by metric name: a number, or the reason why it is missing.
pub type TestReadings = Vec<(Box<str>, Result<f64, Box<str>>)>;

/// One cycle of a test: what is seen, and what is expected.
#[derive(Clone, Debug, PartialEq)]
pub struct TestCycle {
    /// Seconds since the test's start.
    pub at: Duration,
    /// Repeats the cycle every interval until this time (inclusive), expecting only of the last.
    pub until: Option<Duration>,
    /// Desired at the cloud; `None`: what the last decision said.
    pub current: Option<Capacity>,
    /// Serving instances; `None`: all of current.
    pub serving: Option<Capacity>,
    /// Readings by metric name: a number, or the reason why it is missing.
    pub readings: TestReadings,
    /// Expected desired.
    pub desired: Option<Capacity>,
    /// Expected hold reason; the empty text: no hold.
    pub hold: Option<Box<str>>,
    /// Where it stands.
    pub place: Place,
}
