//! The only file that reads time. Everything else is handed a [`Clock`]; waiting is tokio's, so that a simulation can
//! run days in a second.

use contract::Timestamp;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Wall-clock and monotonic time.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment of this process; never goes back, whatever happens to the wall clock.
    fn monotonic(&self) -> Duration;
}

/// The machine's own clock.
#[derive(Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[allow(clippy::disallowed_methods)] // This file is where time is read.
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)]
    fn now(&self) -> Timestamp {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => Timestamp::default().after(since),
            Err(before) => Timestamp::default().before(before.duration()),
        }
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A simulated clock: tokio's (pausable) time plus a skew that a test can change.
#[derive(Debug)]
pub struct SimClock {
    epoch: Timestamp,
    start: tokio::time::Instant,
    skew_micros: AtomicI64,
}

impl SimClock {
    /// A clock that shows `epoch` now.
    pub fn new(epoch: Timestamp) -> Self {
        Self { epoch, start: tokio::time::Instant::now(), skew_micros: AtomicI64::new(0) }
    }

    /// Moves the wall clock alone, forward or back, in microseconds.
    pub fn skew(&self, micros: i64) {
        self.skew_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let now = self.epoch.after(self.start.elapsed());
        Timestamp(now.0.saturating_add(self.skew_micros.load(Ordering::Relaxed)))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}
