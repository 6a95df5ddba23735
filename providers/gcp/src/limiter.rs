//! One limiter for reads and one for writes, since Compute Engine counts them apart: a token bucket that is shut while
//! the cloud throttles.
//!
//! Budgets are a minute's, so the bucket holds much at once: the details of hundreds of groups are read at a start in a
//! second. The bucket is pure; only [`Limiter`] sleeps.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A bucket holds this many seconds' worth; with the default rate that and a minute's refill are 1,200 of the 1,500 calls
/// which a project may make in a minute.
const BURST_SECS: f64 = 20.0;
/// From the lowest rate back to the full one takes about this long without a throttle.
const RECOVERY_SECS: f64 = 300.0;
/// The rate never falls below this part of the full one.
const LOWEST_SHARE: f64 = 1.0 / 16.0;

#[derive(Debug)]
struct Bucket {
    full_rate: f64,
    rate: f64,
    tokens: f64,
    at: Instant,
    shut_until: Option<Instant>,
}

impl Bucket {
    fn new(rate: f64, now: Instant) -> Self {
        Self { full_rate: rate, rate, tokens: Self::burst(rate), at: now, shut_until: None }
    }

    fn burst(rate: f64) -> f64 {
        (rate * BURST_SECS).max(5.0)
    }

    fn refill(&mut self, now: Instant) {
        let secs = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + secs * self.rate).min(Self::burst(self.rate));
        self.rate = (self.rate + secs * self.full_rate / RECOVERY_SECS).min(self.full_rate);
    }

    /// Takes one token, or says how long until one can be taken.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.refill(now);
        if let Some(until) = self.shut_until.filter(|until| *until > now) {
            return Err(until - now);
        }
        self.shut_until = None;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        // A microsecond more than the exact time, or rounding would make the sleeper come back too early for ever.
        Err(Duration::from_secs_f64((1.0 - self.tokens) / self.rate) + Duration::from_micros(1))
    }

    fn throttled(&mut self, wait: Duration, now: Instant) {
        self.refill(now);
        let until = now + wait;
        // Calls that were in the air together are throttled together: that is one throttle, not many.
        if self.shut_until.is_none_or(|shut| shut <= now) {
            self.rate = (self.rate / 2.0).max(self.full_rate * LOWEST_SHARE);
            self.tokens = 0.0;
        }
        self.shut_until = Some(self.shut_until.map_or(until, |shut| shut.max(until)));
    }
}

#[derive(Debug)]
pub(crate) struct Limiter {
    bucket: Mutex<Bucket>,
}

impl Limiter {
    /// `rate` in calls a second.
    pub fn new(rate: f64) -> Self {
        Self { bucket: Mutex::new(Bucket::new(rate, Instant::now())) }
    }

    /// Waits for leave to make one call, at most `patience`.
    ///
    /// # Errors
    /// The time until leave could be given, when that is longer than `patience`; nothing is waited for then.
    pub async fn acquire(&self, patience: Duration) -> Result<(), Duration> {
        let deadline = Instant::now() + patience;
        loop {
            let now = Instant::now();
            let wait = match self.with(|bucket| bucket.take(now)) {
                Ok(()) => return Ok(()),
                Err(wait) => wait,
            };
            if now + wait > deadline {
                return Err(wait);
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Notes that the cloud throttled a call, and for how long.
    pub fn throttled(&self, wait: Duration) {
        self.with(|bucket| bucket.throttled(wait, Instant::now()));
    }

    fn with<T>(&self, change: impl FnOnce(&mut Bucket) -> T) -> T {
        change(&mut self.bucket.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_a_start_needs_and_no_minutes_budget() {
        let start = Instant::now();
        let mut bucket = Bucket::new(15.0, start);
        let burst = (0..5_000).take_while(|_| bucket.take(start).is_ok()).count();
        assert_eq!(burst, 300);
        let later = (1..=60).map(|sec| {
            let now = start + Duration::from_secs(sec);
            (0..5_000).take_while(|_| bucket.take(now).is_ok()).count()
        });
        assert_eq!(burst + later.sum::<usize>(), 1_200);
    }

    #[test]
    fn a_throttle_shuts_the_bucket_and_halves_the_rate_once() {
        let start = Instant::now();
        let mut bucket = Bucket::new(16.0, start);
        for wait in [7, 30, 2] {
            bucket.throttled(Duration::from_secs(wait), start);
        }
        assert_eq!(bucket.rate, 8.0);
        assert_eq!(bucket.take(start), Err(Duration::from_secs(30)));
        let after = start + Duration::from_secs(30);
        assert_eq!(bucket.take(after), Ok(()));
        bucket.throttled(Duration::from_secs(5), after);
        assert!(bucket.rate < 6.0 && bucket.rate > 4.0, "{}", bucket.rate);
        bucket.refill(after + Duration::from_secs(600));
        assert_eq!(bucket.rate, 16.0);
    }

    #[tokio::test]
    async fn who_would_wait_too_long_is_told_at_once() {
        let limiter = Limiter::new(10.0);
        limiter.throttled(Duration::from_secs(60));
        let wait = limiter.acquire(Duration::from_secs(5)).await.unwrap_err();
        assert!(wait > Duration::from_secs(50), "{wait:?}");
    }
}
