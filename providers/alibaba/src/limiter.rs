//! One adaptive limiter per account and region: a token bucket that halves its rate when the cloud throttles.
//!
//! Alibaba Cloud publishes no number that holds for every account, so the rate is found out: halved at a throttle,
//! recovering slowly. Reads leave a share of the tokens to writes, so that a busy poll never keeps a decision waiting.
//! The bucket is pure; only [`Limiter`] sleeps.

use crate::Clock;
use crate::errors::Effect;
use contract::Timestamp;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Share of the bucket that reads may not touch.
const WRITE_SHARE: f64 = 0.2;
/// From the lowest rate back to the full one takes about this long without a throttle.
const RECOVERY_SECS: f64 = 120.0;
/// The rate never falls below this part of the full one, nor below one call in five seconds.
const LOWEST_SHARE: f64 = 1.0 / 32.0;
const LOWEST_RATE: f64 = 0.2;

#[derive(Debug)]
struct Bucket {
    full_rate: f64,
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
    /// By this process's own time, and by the wall clock: what a machine that slept, or whose clock was set, has waited
    /// by either is waited.
    closed_until: Option<(Instant, Timestamp)>,
}

impl Bucket {
    fn new(rate: f64, now: Instant) -> Self {
        // Two seconds' worth: the pages of a thousand groups at the default rate pass at once.
        let burst = (rate * 2.0).max(5.0);
        Self { full_rate: rate, rate, burst, tokens: burst, at: now, closed_until: None }
    }

    fn refill(&mut self, now: Instant) {
        let secs = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + secs * self.rate).min(self.burst);
        self.rate = (self.rate + secs * self.full_rate / RECOVERY_SECS).min(self.full_rate);
    }

    /// Takes one token, or says how long until one can be taken.
    fn take(&mut self, effect: Effect, now: Instant, clock: Timestamp) -> Result<(), Duration> {
        self.refill(now);
        if let Some((until, by_clock)) = self.closed_until {
            if until > now && by_clock > clock {
                return Err(until - now);
            }
            self.closed_until = None;
        }
        let needed = match effect {
            Effect::Read => 1.0 + self.burst * WRITE_SHARE,
            Effect::Write => 1.0,
        };
        if self.tokens >= needed {
            self.tokens -= 1.0;
            return Ok(());
        }
        // A microsecond more than the exact time, or rounding would make the sleeper come back too early for ever.
        Err(Duration::from_secs_f64((needed - self.tokens) / self.rate) + Duration::from_micros(1))
    }

    fn throttled(&mut self, retry_after: Option<Duration>, now: Instant, clock: Timestamp) {
        self.refill(now);
        let lowest = (self.full_rate * LOWEST_SHARE).max(LOWEST_RATE).min(self.full_rate);
        self.rate = (self.rate / 2.0).max(lowest);
        // What was saved up was saved under a rate that proved too high.
        self.tokens = self.tokens.min(self.burst * WRITE_SHARE + 1.0);
        if let Some(wait) = retry_after {
            let (until, by_clock) = (now + wait, clock.after(wait));
            let old = self.closed_until.unwrap_or((until, by_clock));
            self.closed_until = Some((old.0.max(until), old.1.max(by_clock)));
        }
    }
}

pub(crate) struct Limiter {
    bucket: Mutex<Bucket>,
    clock: Clock,
}

impl Limiter {
    /// `rate` in calls a second.
    pub fn new(rate: f64, clock: Clock) -> Self {
        Self { bucket: Mutex::new(Bucket::new(rate, Instant::now())), clock }
    }

    /// Waits for leave to make one call, at most `patience`.
    ///
    /// # Errors
    /// The time until leave could be given, when that is longer than `patience`; nothing is waited for then.
    pub async fn acquire(&self, effect: Effect, patience: Duration) -> Result<(), Duration> {
        let deadline = Instant::now() + patience;
        loop {
            let now = Instant::now();
            let wait = match self.with(|bucket| bucket.take(effect, now, (self.clock)())) {
                Ok(()) => return Ok(()),
                Err(wait) => wait,
            };
            if now + wait > deadline {
                return Err(wait);
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Notes that the cloud throttled a call.
    pub fn throttled(&self, retry_after: Option<Duration>) {
        let clock = (self.clock)();
        self.with(|bucket| bucket.throttled(retry_after, Instant::now(), clock));
    }

    fn with<T>(&self, change: impl FnOnce(&mut Bucket) -> T) -> T {
        change(&mut self.bucket.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Timestamp = Timestamp::from_secs(1_000);

    /// Calls that pass at one moment.
    fn drain(bucket: &mut Bucket, effect: Effect, now: Instant) -> u32 {
        (0..10_000).take_while(|_| bucket.take(effect, now, WALL).is_ok()).count() as u32
    }

    #[test]
    fn reads_leave_a_fifth_of_the_bucket_to_writes() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, start);
        assert_eq!(drain(&mut bucket, Effect::Read, start), 16);
        assert_eq!(drain(&mut bucket, Effect::Write, start), 4);
        let wait = bucket.take(Effect::Write, start, WALL).unwrap_err();
        assert!(wait >= Duration::from_millis(100) && wait < Duration::from_millis(101), "{wait:?}");
        assert_eq!(bucket.take(Effect::Write, start + wait, WALL), Ok(()));
    }

    #[test]
    fn a_throttle_halves_the_rate_and_it_recovers_slowly() {
        let start = Instant::now();
        let mut bucket = Bucket::new(16.0, start);
        bucket.throttled(None, start, WALL);
        bucket.throttled(None, start, WALL);
        assert_eq!(bucket.rate, 4.0);
        bucket.refill(start + Duration::from_secs(30));
        assert_eq!(bucket.rate, 8.0);
        bucket.refill(start + Duration::from_secs(1_000));
        assert_eq!(bucket.rate, 16.0);
    }

    #[test]
    fn a_retry_after_closes_the_bucket_for_writes_too() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, start);
        bucket.throttled(Some(Duration::from_secs(7)), start, WALL);
        bucket.throttled(Some(Duration::from_secs(2)), start, WALL);
        assert_eq!(bucket.take(Effect::Write, start, WALL), Err(Duration::from_secs(7)));
        assert_eq!(bucket.take(Effect::Write, start + Duration::from_secs(7), WALL), Ok(()));
        bucket.throttled(Some(Duration::from_secs(7)), start, WALL);
        assert_eq!(bucket.take(Effect::Write, start, WALL.after(Duration::from_secs(7))), Ok(()));
    }

    #[tokio::test]
    async fn who_would_wait_too_long_is_told_at_once() {
        let limiter = Limiter::new(10.0, std::sync::Arc::new(|| WALL));
        limiter.throttled(Some(Duration::from_secs(60)));
        let wait = limiter.acquire(Effect::Write, Duration::from_secs(5)).await.unwrap_err();
        assert!(wait > Duration::from_secs(50), "{wait:?}");
    }
}
