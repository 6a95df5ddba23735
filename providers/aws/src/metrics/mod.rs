//! Readings from CloudWatch: one metric's newest whole period. In comes a query's text (its language is in `query`); out
//! goes at most one point, whose labels are the query's dimensions, or a typed error.
//!
//! CloudWatch stamps a value with the beginning of its period. A value says something up to the period's end, so that is
//! the time it gets here; and a period that has not ended by `now` is not asked for, since its value still grows. Values
//! may grow for some minutes after that, too, while their data arrives: a metric of which that is known is asked for
//! with the policy's `offset`, which moves `now`.

mod alarms;
mod call;
mod query;
mod wire;

use crate::errors::{Effect, unanswered};
use crate::lane::{Deadlines, Lane};
use alarms::AlarmsPage;
use aws_config::SdkConfig;
use call::Call;
use contract::{BoxFuture, Metrics, OnCall, Point, ProviderError, Timestamp};
use query::{Query, Statistic};
use std::time::Duration;
use wire::{DataResult, ID, Message, Page, Request};

/// How far back a newest value is looked for; in periods, where that is longer.
const BACK: Duration = Duration::from_secs(15 * 60);
const BACK_PERIODS: i64 = 3;
/// More pages than an answer about minutes can have.
const PAGES_MAX: usize = 10;
/// Below a read's deadline, so that credentials that do not come are said to be the trouble.
pub(crate) const CREDENTIALS_WITHIN: Duration = Duration::from_secs(4);

/// The permission that reading needs, as IAM spells it.
pub const METRICS_PERMISSION: &str = "cloudwatch:GetMetricData";

/// Whether a text is a CloudWatch query; asks nobody.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub fn check_query(text: &str) -> Result<(), String> {
    Query::parse(text).map(|_| ())
}

/// One account's metrics in one region.
pub struct CloudWatch {
    data: Result<Call<Page>, Box<str>>,
    alarms: Result<Call<AlarmsPage>, Box<str>>,
    lane: Lane,
}

impl CloudWatch {
    /// The metrics of an account whose configuration the caller loaded; at most `rate` calls a second. Makes no call.
    pub fn new(config: &SdkConfig, rate: f64, deadlines: Deadlines, on_call: Option<OnCall>) -> Self {
        let said = |error: ProviderError| error.to_string().into();
        let data = call::call(config, "GetMetricData").map_err(said);
        let alarms = call::call(config, "DescribeAlarms").map_err(said);
        Self { data, alarms, lane: Lane::new(rate, deadlines, on_call) }
    }

    async fn answer(&self, text: &str, now: Timestamp) -> Result<Vec<Point>, ProviderError> {
        let invalid = |what: Box<str>| ProviderError::Invalid { what };
        let query = Query::parse(text).map_err(|what| invalid(what.into()))?;
        let call = self.data.as_ref().map_err(|what| invalid(what.clone()))?;
        let (period, secs) = (i64::from(query.period), now.0.div_euclid(1_000_000));
        // On whole periods, the last of which ends by now.
        let to = secs.div_euclid(period) * period;
        let back = i64::try_from(BACK.as_secs()).unwrap_or(i64::MAX).max(BACK_PERIODS * period);
        let from = (to - back).div_euclid(period) * period;
        let mut found = Found::default();
        let mut token: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let request = Request::new(&query, from, to, token.as_deref());
            let body = serde_json::to_string(&request).map_err(|error| invalid(error.to_string().into()))?;
            let page: Page = self.lane.read("GetMetricData", || call.invoke(body.clone())).await?;
            token = found.take(page)?;
            if token.is_none() {
                return found.newest(&query, now);
            }
        }
        Err(unknown(&format!("more than {PAGES_MAX} pages for one metric")))
    }
}

/// A read without a usable answer.
fn unknown(why: &str) -> ProviderError {
    unanswered("GetMetricData", Effect::Read, why, None).error
}

/// What the pages so far have of the query.
#[derive(Debug, Default)]
struct Found {
    /// Beginnings of periods, in seconds, and values.
    values: Vec<(f64, f64)>,
    /// The status on the newest page.
    status: Option<String>,
}

impl Found {
    /// Takes a page, and gives the token of the next one.
    fn take(&mut self, page: Page) -> Result<Option<String>, ProviderError> {
        quiet(page.messages.as_deref())?;
        for DataResult { id, timestamps, values, status_code, messages } in page.metric_data_results {
            if id != ID {
                return Err(unknown(&format!("an answer to `{id}`, which was not asked")));
            }
            quiet(messages.as_deref())?;
            if timestamps.len() != values.len() {
                return Err(unknown("not as many times as values"));
            }
            self.values.extend(timestamps.into_iter().zip(values.iter().map(wire::Number::value)));
            self.status = Some(status_code);
        }
        Ok(page.next_token.filter(|token| !token.is_empty()))
    }

    /// The value of the newest period that has ended.
    fn newest(mut self, query: &Query, now: Timestamp) -> Result<Vec<Point>, ProviderError> {
        match self.status.as_deref() {
            Some("Complete") => {}
            Some("Forbidden") => {
                let what = format!("GetMetricData: CloudWatch forbids reading {query}; allow {METRICS_PERMISSION}");
                return Err(ProviderError::Denied { what: what.into() });
            }
            Some(status) => return Err(unknown(&format!("the answer is not whole (`{status}`)"))),
            None => return Err(unknown("an answer without a result")),
        }
        self.values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        if self.values.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(unknown("one period has two values"));
        }
        let period = f64::from(query.period);
        let mut newest = None;
        for (begin, value) in self.values {
            let end = Timestamp::from_secs_f64(begin + period);
            let end = end.ok_or_else(|| unknown("a value's time is out of range"))?;
            if end <= now {
                newest = Some((end, value));
            }
        }
        let Some((at, value)) = newest else { return Ok(Vec::new()) };
        let value = match query.statistic {
            Statistic::Own(_) => value,
            Statistic::Rate => value / period,
        };
        let label = |(name, value): &(String, String)| (name.as_str().into(), value.as_str().into());
        Ok(vec![Point { labels: query.dimensions.iter().map(label).collect(), value, at }])
    }
}

/// CloudWatch says in a message what it left out: such an answer may be incomplete.
fn quiet(messages: Option<&[Message]>) -> Result<(), ProviderError> {
    match messages.unwrap_or_default().first() {
        None => Ok(()),
        Some(first) => Err(unknown(&format!("CloudWatch says: {} {}", first.code, first.value))),
    }
}

impl Metrics for CloudWatch {
    fn query<'a>(&'a self, query: &'a str, now: Timestamp) -> BoxFuture<'a, Result<Vec<Point>, ProviderError>> {
        Box::pin(self.answer(query, now))
    }
}
