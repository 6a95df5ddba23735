//! How fast this process may call: a token bucket for the whole subscription that slows down when Azure says that little
//! is left, and a short book of capacity writes for each set.
//!
//! Both are pure but for [`Limiter`], which alone sleeps. The bucket fills by the process's own monotonic time; waits that
//! Azure names are kept by the clock that is handed in, as every other time here. Reads leave a share of the tokens to writes, so that a busy
//! poll never keeps a decision waiting. A Retry-After closes its side of the bucket until exactly then: Azure counts an
//! early call as another one and answers with a new wait.

use crate::Clock;
use crate::errors::Effect;
use contract::Timestamp;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Share of the bucket that reads may not touch.
const WRITE_SHARE: f64 = 0.2;
/// From the lowest rate back to the full one takes about this long.
const RECOVERY_SECS: f64 = 120.0;
/// The rate never falls below one call in two seconds.
const LOWEST_RATE: f64 = 0.5;
/// One halving for what the headers of calls that were in the air together say.
const HALVE_EVERY: Duration = Duration::from_secs(5);
/// Capacity writes to one set in a minute: what Azure refills (compute throttling, UpdateVMScaleSet: 4 a minute, burst 12).
const SET_WRITES: usize = 4;
const SET_WINDOW: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Bucket {
    full_rate: f64,
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
    halved: Option<Instant>,
}

/// The longest wait that is kept: one that is longer comes from a clock that was off.
const LONGEST: Duration = Duration::from_secs(86_400);

/// A wait that Azure named: from when, until when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Wait {
    from: Timestamp,
    until: Timestamp,
}

impl Wait {
    pub fn new(now: Timestamp, wait: Duration) -> Self {
        Self { from: now, until: now.after(wait) }
    }

    /// One that was begun before a restart.
    pub fn until(until: Timestamp) -> Self {
        Self { from: until.before(LONGEST), until }
    }

    /// What is left of it. A clock that was set back before its beginning ends it: it would last for ever otherwise.
    pub fn left(&self, now: Timestamp) -> Duration {
        if now < self.from { Duration::ZERO } else { self.until.since(now) }
    }
}

/// Reads and writes have buckets of their own at Azure, so each is closed by itself.
#[derive(Debug, Default)]
struct Closed([Option<Wait>; 2]);

impl Closed {
    fn left(&self, effect: Effect, now: Timestamp) -> Duration {
        self.0[usize::from(effect == Effect::Write)].map_or(Duration::ZERO, |wait| wait.left(now))
    }

    fn close(&mut self, effect: Effect, wait: Duration, now: Timestamp) {
        if wait > self.left(effect, now) {
            self.0[usize::from(effect == Effect::Write)] = Some(Wait::new(now, wait));
        }
    }
}

impl Bucket {
    fn new(rate: f64, now: Instant) -> Self {
        let burst = (rate * 2.0).max(5.0);
        Self { full_rate: rate, rate, burst, tokens: burst, at: now, halved: None }
    }

    fn refill(&mut self, now: Instant) {
        let secs = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + secs * self.rate).min(self.burst);
        self.rate = (self.rate + secs * self.full_rate / RECOVERY_SECS).min(self.full_rate);
    }

    /// Takes one token, or says how long until one can be taken.
    fn take(&mut self, effect: Effect, now: Instant) -> Result<(), Duration> {
        self.refill(now);
        let needed = if effect == Effect::Read { 1.0 + self.burst * WRITE_SHARE } else { 1.0 };
        if self.tokens >= needed {
            self.tokens -= 1.0;
            return Ok(());
        }
        // A microsecond more than the exact time, or rounding would make the sleeper come back too early for ever.
        Err(Duration::from_secs_f64((needed - self.tokens) / self.rate) + Duration::from_micros(1))
    }

    fn slow_down(&mut self, now: Instant) {
        self.refill(now);
        if self.halved.is_some_and(|at| now.saturating_duration_since(at) < HALVE_EVERY) {
            return;
        }
        self.halved = Some(now);
        self.rate = (self.rate / 2.0).max(LOWEST_RATE).min(self.full_rate);
        // What was saved up was saved under a rate that proved too high.
        self.tokens = self.tokens.min(self.burst * WRITE_SHARE + 1.0);
    }
}

pub(crate) struct Limiter {
    state: Mutex<(Bucket, Closed)>,
    now: Clock,
}

impl Limiter {
    /// `rate` in calls a second.
    pub fn new(rate: f64, now: Clock) -> Self {
        Self { state: Mutex::new((Bucket::new(rate, Instant::now()), Closed::default())), now }
    }

    /// Waits for leave to make one call, at most `patience`.
    ///
    /// # Errors
    /// The time until leave could be given, when that is longer than `patience`; nothing is waited for then.
    pub async fn acquire(&self, effect: Effect, patience: Duration) -> Result<(), Duration> {
        let deadline = Instant::now() + patience;
        loop {
            let now = Instant::now();
            let wait = self.with(|bucket, closed| match closed.left(effect, (self.now)()) {
                Duration::ZERO => bucket.take(effect, now),
                left => Err(left),
            });
            let Err(wait) = wait else { return Ok(()) };
            if now + wait > deadline {
                return Err(wait);
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Azure throttled a call: slower, and not again before the time it named.
    pub fn throttled(&self, effect: Effect, retry_after: Option<Duration>) {
        self.with(|bucket, closed| {
            bucket.slow_down(Instant::now());
            if let Some(wait) = retry_after {
                closed.close(effect, wait, (self.now)());
            }
        });
    }

    /// Azure says that few calls are left.
    pub fn slow_down(&self) {
        self.with(|bucket, _| bucket.slow_down(Instant::now()));
    }

    fn with<T>(&self, change: impl FnOnce(&mut Bucket, &mut Closed) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (bucket, closed) = &mut *state;
        change(bucket, closed)
    }
}

/// The capacity writes of one set within the last minute.
#[derive(Debug, Default)]
pub(crate) struct Writes(VecDeque<Timestamp>);

impl Writes {
    /// How long until the set may be written.
    pub fn wait(&mut self, now: Timestamp) -> Duration {
        // One from the future was written before the clock was set back.
        self.0.retain(|at| *at <= now && now.since(*at) < SET_WINDOW);
        match self.0.front() {
            Some(oldest) if self.0.len() >= SET_WRITES => SET_WINDOW - now.since(*oldest),
            _ => Duration::ZERO,
        }
    }

    /// Books a write.
    ///
    /// # Errors
    /// How long until the set may be written again; nothing is booked then.
    pub fn book(&mut self, now: Timestamp) -> Result<(), Duration> {
        match self.wait(now) {
            Duration::ZERO => {
                self.0.push_back(now);
                Ok(())
            }
            wait => Err(wait),
        }
    }
}

/// Whether the headers of an answer say that little is left: a tenth of what a principal's bucket holds at Azure, or of
/// the smallest of the compute provider's (10 for the list of all sets).
pub(crate) fn is_little(of_subscription: Option<&str>, of_resource: Option<&str>) -> bool {
    let few = |text: &str, least: i64| text.trim().parse::<i64>().is_ok_and(|left| left <= least);
    let of_subscription = of_subscription.is_some_and(|text| few(text, 25));
    // `Microsoft.Compute/GetVMScaleSet;34,Microsoft.Compute/GetVMScaleSetResource;1198`
    let mut policies = of_resource.unwrap_or_default().split(',').filter_map(|policy| policy.rsplit_once(';'));
    of_subscription || policies.any(|(_, left)| few(left, 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(bucket: &mut Bucket, effect: Effect, now: Instant) -> u32 {
        (0..10_000).take_while(|_| bucket.take(effect, now).is_ok()).count() as u32
    }

    #[test]
    fn reads_leave_a_fifth_of_the_bucket_to_writes() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, start);
        assert_eq!(drain(&mut bucket, Effect::Read, start), 16);
        assert_eq!(drain(&mut bucket, Effect::Write, start), 4);
        let wait = bucket.take(Effect::Write, start).unwrap_err();
        assert_eq!(bucket.take(Effect::Write, start + wait), Ok(()));
    }

    #[test]
    fn a_retry_after_closes_its_side_until_exactly_then() {
        let at = |secs: i64| Timestamp::from_secs(1_000 + secs);
        let secs = Duration::from_secs;
        let mut closed = Closed::default();
        closed.close(Effect::Write, secs(7), at(0));
        closed.close(Effect::Write, secs(2), at(0));
        assert_eq!(closed.left(Effect::Write, at(0)), secs(7));
        assert_eq!(closed.left(Effect::Write, at(6)), secs(1));
        assert_eq!(closed.left(Effect::Read, at(6)), secs(0));
        assert_eq!(closed.left(Effect::Write, at(7)), secs(0));
        assert_eq!(closed.left(Effect::Write, at(-500)), secs(0), "the clock was set back");
    }

    #[test]
    fn it_slows_down_once_for_calls_in_the_air_together_and_recovers() {
        let start = Instant::now();
        let mut bucket = Bucket::new(16.0, start);
        bucket.slow_down(start);
        bucket.slow_down(start);
        assert_eq!(bucket.rate, 8.0);
        bucket.refill(start + Duration::from_secs(1_000));
        assert_eq!(bucket.rate, 16.0);
        for n in 0..50 {
            bucket.slow_down(start + Duration::from_secs(1_000) + HALVE_EVERY * n);
        }
        assert!(bucket.rate < 4.0, "{}", bucket.rate);
    }

    #[test]
    fn a_fifth_write_within_a_minute_is_told_when_to_come() {
        let at = |secs: i64| Timestamp::from_secs(1_000 + secs);
        let secs = Duration::from_secs;
        let mut writes = Writes::default();
        for n in 0..4 {
            assert_eq!(writes.book(at(n * 5)), Ok(()));
        }
        assert_eq!(writes.book(at(20)), Err(secs(40)));
        assert_eq!(writes.book(at(59)), Err(secs(1)));
        assert_eq!(writes.book(at(60)), Ok(()));
        assert_eq!(writes.book(at(60)), Err(secs(5)));
    }

    #[test]
    fn little_is_little_of_any_of_azures_buckets() {
        assert!(!is_little(None, None));
        assert!(!is_little(Some("11999"), Some("Microsoft.Compute/GetVMScaleSet3Min;35,Microsoft.Compute/X;1198")));
        assert!(is_little(Some("12"), None));
        assert!(is_little(None, Some("Microsoft.Compute/X;1198,Microsoft.Compute/GetVMScaleSet3Min;2")));
        assert!(!is_little(Some("many"), Some("a;b;c,,;")));
    }

    #[tokio::test]
    async fn who_would_wait_too_long_is_told_at_once() {
        let limiter = Limiter::new(10.0, std::sync::Arc::new(|| Timestamp::from_secs(1_000)));
        limiter.throttled(Effect::Write, Some(Duration::from_secs(60)));
        let wait = limiter.acquire(Effect::Write, Duration::from_secs(5)).await.unwrap_err();
        assert!(wait > Duration::from_secs(50), "{wait:?}");
    }
}
