//! How fast this process may call: a token bucket for the whole subscription that slows down when Azure says that little
//! is left, and a short book of capacity writes for each set.
//!
//! Both are pure but for [`Limiter`], which alone sleeps. The bucket fills by the process's own monotonic time; waits that
//! Azure names are kept by the clock that is handed in, as every other time here. Reads leave a share of the tokens to
//! writes, so that a busy poll never keeps a decision waiting. A Retry-After closes what it was said of until exactly then:
//! Azure counts an early call as another one and answers with a new wait. A wait that was said of one thing closes the calls
//! of that thing alone, which are told apart by their paths.

use crate::Clock;
use crate::errors::Effect;
use contract::Timestamp;
use std::collections::{BTreeMap, VecDeque};
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

/// Of what a wait was said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reach<'a> {
    /// Of every call of its side.
    Side,
    /// Of the calls to this path.
    Path(&'a str),
}

/// Reads and writes have buckets of their own at Azure, so each is closed by itself.
#[derive(Debug, Default)]
struct Closed([Side; 2]);

#[derive(Debug, Default)]
struct Side {
    whole: Option<Wait>,
    /// By the path, in lower case; what is over goes with the next one that comes.
    paths: BTreeMap<Box<str>, Wait>,
}

impl Side {
    fn left(&self, reach: Reach<'_>, now: Timestamp) -> Duration {
        let left = |wait: Option<&Wait>| wait.map_or(Duration::ZERO, |wait| wait.left(now));
        let of_path = match reach {
            Reach::Side => None,
            Reach::Path(path) => self.paths.get(path),
        };
        left(self.whole.as_ref()).max(left(of_path))
    }
}

impl Closed {
    fn side(&mut self, effect: Effect) -> &mut Side {
        &mut self.0[usize::from(effect == Effect::Write)]
    }

    fn left(&mut self, effect: Effect, reach: Reach<'_>, now: Timestamp) -> Duration {
        self.side(effect).left(reach, now)
    }

    fn close(&mut self, effect: Effect, reach: Reach<'_>, wait: Duration, now: Timestamp) {
        let side = self.side(effect);
        if wait <= side.left(reach, now) {
            return;
        }
        let wait = Wait::new(now, wait);
        match reach {
            Reach::Side => side.whole = Some(wait),
            Reach::Path(path) => {
                side.paths.retain(|_, wait| wait.left(now) > Duration::ZERO);
                side.paths.insert(path.into(), wait);
            }
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

    /// Waits for leave to make one call to a path in lower case, at most `patience`.
    ///
    /// # Errors
    /// The time until leave could be given, when that is longer than `patience`; nothing is waited for then.
    pub async fn acquire(&self, effect: Effect, path: &str, patience: Duration) -> Result<(), Duration> {
        let deadline = Instant::now() + patience;
        loop {
            let now = Instant::now();
            let wait = self.with(|bucket, closed| match closed.left(effect, Reach::Path(path), (self.now)()) {
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

    /// Azure said to wait: what it was said of is not asked before.
    pub fn close(&self, effect: Effect, reach: Reach<'_>, wait: Duration) {
        self.with(|_, closed| closed.close(effect, reach, wait, (self.now)()));
    }

    /// Whether all reads or all writes have to wait.
    pub fn is_closed(&self) -> bool {
        let left = |effect, closed: &mut Closed| closed.left(effect, Reach::Side, (self.now)());
        self.with(|_, closed| {
            [Effect::Read, Effect::Write].into_iter().any(|effect| left(effect, closed) > Duration::ZERO)
        })
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
        let any = Reach::Path("/any");
        closed.close(Effect::Write, Reach::Side, secs(7), at(0));
        closed.close(Effect::Write, Reach::Side, secs(2), at(0));
        assert_eq!(closed.left(Effect::Write, any, at(0)), secs(7));
        assert_eq!(closed.left(Effect::Write, any, at(6)), secs(1));
        assert_eq!(closed.left(Effect::Read, any, at(6)), secs(0));
        assert_eq!(closed.left(Effect::Write, any, at(7)), secs(0));
        assert_eq!(closed.left(Effect::Write, any, at(-500)), secs(0), "the clock was set back");
    }

    #[test]
    fn a_wait_of_one_thing_is_nobody_elses() {
        let at = |secs: i64| Timestamp::from_secs(1_000 + secs);
        let secs = Duration::from_secs;
        let mut closed = Closed::default();
        let (web, shop) = (Reach::Path("/web"), Reach::Path("/shop"));
        closed.close(Effect::Read, web, secs(60), at(0));
        assert_eq!(closed.left(Effect::Read, web, at(20)), secs(40));
        assert_eq!(closed.left(Effect::Write, web, at(20)), secs(0));
        assert_eq!(closed.left(Effect::Read, shop, at(20)), secs(0));
        assert_eq!(closed.left(Effect::Read, Reach::Side, at(20)), secs(0));
        // The longer of two waits holds.
        closed.close(Effect::Read, Reach::Side, secs(10), at(20));
        assert_eq!(
            (closed.left(Effect::Read, web, at(20)), closed.left(Effect::Read, shop, at(20))),
            (secs(40), secs(10))
        );
        // What is over is not kept.
        closed.close(Effect::Read, shop, secs(5), at(60));
        assert_eq!(closed.0[0].paths.len(), 1);
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
        assert!(!limiter.is_closed());
        limiter.close(Effect::Write, Reach::Side, Duration::from_secs(60));
        let wait = limiter.acquire(Effect::Write, "/web", Duration::from_secs(5)).await.unwrap_err();
        assert!(wait > Duration::from_secs(50), "{wait:?}");
        assert!(limiter.is_closed());
    }
}
