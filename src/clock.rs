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
    /// How long a timer of tokio's has to run until so much of this clock's time has passed.
    fn timer(&self, span: Duration) -> Duration {
        span
    }
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

/// The machine's clock made faster, for the demo: its day begins at midnight UTC and takes minutes.
#[derive(Debug)]
pub struct ScaledClock {
    epoch: Timestamp,
    base: SystemClock,
    speed: u32,
}

impl ScaledClock {
    /// A clock that shows today's midnight now and runs `speed` times as fast as the machine's; at least once.
    pub fn at_midnight(speed: u32) -> Self {
        const DAY: i64 = 86_400_000_000;
        let base = SystemClock::new();
        let now = base.now();
        Self { epoch: Timestamp(now.0 - now.0.rem_euclid(DAY)), base, speed: speed.max(1) }
    }

    /// The same clock, showing a later time.
    #[must_use]
    pub fn later(self, by: Duration) -> Self {
        Self { epoch: self.epoch.after(by), ..self }
    }
}

impl Clock for ScaledClock {
    fn now(&self) -> Timestamp {
        self.epoch.after(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        self.base.monotonic() * self.speed
    }

    fn timer(&self, span: Duration) -> Duration {
        span / self.speed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scaled_clock_runs_faster_and_its_timers_shorter() {
        let clock = ScaledClock::at_midnight(60_000);
        assert_eq!(clock.timer(Duration::from_secs(60)), Duration::from_millis(1));
        let (wall, passed) = (clock.now(), clock.monotonic());
        while clock.monotonic() < passed + Duration::from_secs(60) {
            std::hint::spin_loop();
        }
        assert!(clock.now().since(wall) >= Duration::from_secs(60));
        // Passed since midnight is passed since the start, but for what this test took.
        assert!(wall.0 % 86_400_000_000 < 3_600_000_000 * 12, "{wall}");
    }
}
