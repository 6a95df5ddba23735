//! Asks a source what it recorded of one query, and has copies of what fleets know learn from it, piece by piece: no more
//! than one piece is held. In: the fleets that read the query. Out: what they learned, or why nothing came. A task of its
//! own, so no decision waits for a source or for the learning.

use crate::clock::Clock;
use crate::sources::{MetricSource, QueryAsk, RangeError, RangeSeries, Span, pick_recorded};
use contract::Timestamp;
use futures_util::FutureExt;
use policies::facts::MissingWhy;
use policies::memory::FleetMemory;
use policies::policy::Policy;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

/// The past that is worth asking for: two weeks for the profiles of the days, and one to learn the head-room with them.
pub(super) const PAST: Duration = Duration::from_secs(15 * 86_400);
/// Points of each series in one piece: five days of minutes.
const POINTS: u32 = 7_200;
/// With fewer points a piece is too small to be worth a request.
const POINTS_LEAST: u32 = 30;
/// By how much a piece becomes smaller that is too large an answer.
const SMALLER: u32 = 4;
/// How often a piece becomes smaller since its answer took too long: a source that hangs does so with any piece.
const SLOW_MAX: u32 = 2;
/// Pieces asked for at most: a query with so many series that its pieces are small is learned from its newest days.
const PIECES: u32 = 24;
/// A source keeps to its own timeout; one that does not is left after this.
const PIECE_WITHIN: Duration = Duration::from_secs(90);
/// Values learned before others get their turn: a few milliseconds.
const VALUES_AT_ONCE: usize = 250;

/// One query's past, for some fleets that read it.
pub(crate) struct Job {
    /// What tells it from other jobs: the query, and seconds of a step.
    pub key: (u32, u64),
    pub ask: QueryAsk,
    /// The earliest time that any of the fleets lacks.
    pub from: Timestamp,
    pub seekers: Vec<Seeker>,
}

/// One fleet's metric.
#[derive(Debug)]
pub(crate) struct Seeker {
    pub fleet: u32,
    pub policy: Arc<Policy>,
    pub metric: u16,
    /// The rules that lack the past.
    pub rules: Box<[Box<str>]>,
    /// Nothing but what these rules know.
    pub memory: FleetMemory,
    /// Values that came.
    pub values: usize,
}

/// How a job ended.
#[derive(Debug)]
pub(crate) struct Learned {
    pub key: (u32, u64),
    pub seekers: Vec<Seeker>,
    pub result: Result<(), RangeError>,
}

/// Carries out a job.
pub(crate) async fn learn(source: Option<&dyn MetricSource>, mut job: Job, clock: &dyn Clock) -> Learned {
    let learned = AssertUnwindSafe(learn_all(source, &mut job, clock)).catch_unwind().await;
    let result =
        learned.unwrap_or_else(|_| Err(failed(MissingWhy::Other("fault".into()), "it panicked; please report this")));
    Learned { key: job.key, seekers: job.seekers, result }
}

async fn learn_all(source: Option<&dyn MetricSource>, job: &mut Job, clock: &dyn Clock) -> Result<(), RangeError> {
    let Some(recorder) = source.and_then(MetricSource::recorder) else {
        return Err(failed(MissingWhy::Refused, "the source records nothing"));
    };
    let step = Duration::from_secs(job.key.1.max(1));
    let micros = contract::micros(step);
    let mut points = POINTS;
    // On whole steps, so that each value is one step's.
    let mut from = Timestamp(job.from.0.div_euclid(micros).saturating_add(1).saturating_mul(micros));
    let (mut is_first, mut slow) = (true, 0);
    loop {
        let now = clock.now().before(job.ask.offset);
        let end = Timestamp(now.0.div_euclid(micros) * micros);
        if from > end {
            return Ok(());
        }
        let span = Span { from, to: from.after(step * (points - 1)).min(end), step };
        let answer = match tokio::time::timeout(PIECE_WITHIN, recorder.recorded(&job.ask, span)).await {
            Ok(answer) => answer,
            Err(_) => Err(failed(MissingWhy::Timeout, "no answer in time")),
        };
        slow += u32::from(matches!(&answer, Err(error) if error.why == MissingWhy::Timeout));
        // What limits a range differs from server to server, and so do their words for it.
        let is_large = |error: &RangeError| match error.why {
            MissingWhy::Timeout => slow <= SLOW_MAX,
            MissingWhy::Refused => true,
            _ => error.is_too_large,
        };
        match answer {
            Err(error) if is_large(&error) && points > POINTS_LEAST => {
                points = (points / SMALLER).max(POINTS_LEAST);
                if is_first {
                    from = from.max(end.before(step * (points * PIECES - 1)));
                }
            }
            Err(error) => return Err(error),
            Ok(series) => {
                take(job, &series).await;
                is_first = false;
                from = span.to.after(step);
            }
        }
    }
}

fn failed(why: MissingWhy, detail: &str) -> RangeError {
    RangeError { why, detail: detail.into(), is_too_large: false }
}

/// Has every fleet learn its share of a piece.
async fn take(job: &mut Job, series: &[RangeSeries]) {
    for seeker in &mut job.seekers {
        let metric = &seeker.policy.metrics[usize::from(seeker.metric)];
        let values = pick_recorded(metric, series);
        seeker.values += values.len();
        for some in values.chunks(VALUES_AT_ONCE) {
            policies::absorb_history(&seeker.policy, &mut seeker.memory, &metric.name, some);
            tokio::task::yield_now().await;
        }
    }
}
