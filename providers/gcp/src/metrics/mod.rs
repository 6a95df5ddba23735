//! Readings from Cloud Monitoring: the newest whole period of each series of a query (its language is in `query`). In comes
//! a query's text; out go points with the series' labels, or a typed error.
//!
//! What is asked for ends at the last whole period before `now`, so every value is of a period that has ended, and its time
//! is that period's end. Values may still grow after that: Google's own metrics become visible up to four minutes late, and
//! where series are added up one of them may be later than the others. A metric of which that is known is asked for with
//! the policy's `offset`, which moves `now`.
//!
//! The official client speaks gRPC alone; this one call over REST is not worth its build.

mod query;
mod wire;

use crate::calls::Pages;
use crate::clients::{self, MONITORING};
use crate::errors::{Effect, cut, unanswered};
use crate::lane::Lane;
use crate::settings::Settings;
use contract::{BoxFuture, Metrics, Point, ProviderError, Timestamp};
use google_cloud_auth::credentials::{CacheableResource, Credentials};
use google_cloud_gax::error::rpc::Status;
use google_cloud_gax::error::{CredentialsError, Error as SdkError};
use query::Query;
use reqwest::{Client, Response};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use wire::{Page, Series};

/// The one call, in Google's own word.
pub(crate) const NAME: &str = "timeSeries.list";
const ENDPOINT: &str = "https://monitoring.googleapis.com";
/// How far back a newest value is looked for; in periods, where that is longer.
const BACK: Duration = Duration::from_secs(15 * 60);
const BACK_PERIODS: i64 = 3;
/// Values asked for in one page, and pages of one answer: a fleet has a few series.
const PAGE: usize = 2_000;
const PAGES_MAX: usize = 20;
/// The largest page in bytes; one of series with a single value each is about a third of it.
const ANSWER_MAX: usize = 4 * 1024 * 1024;
/// A refusal's body is kept up to this, for its message.
const REFUSAL_MAX: usize = 64 * 1024;
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// The permission that reading needs, as IAM spells it.
pub const METRICS_PERMISSION: &str = "monitoring.timeSeries.list";

/// Whether a text is a Cloud Monitoring query; asks nobody.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub fn check_query(text: &str) -> Result<(), String> {
    Query::parse(text).map(|_| ())
}

/// One project's metrics.
pub(crate) struct Monitoring {
    settings: Settings,
    lane: Lane,
    /// Made at the first query: most providers have none, and these have a token of their own.
    door: OnceCell<(Credentials, Client)>,
}

impl Monitoring {
    /// The metrics of a project. Makes no call.
    pub fn new(settings: Settings, lane: Lane) -> Self {
        Self { settings, lane, door: OnceCell::new() }
    }

    fn endpoint(&self) -> &str {
        self.settings.monitoring_endpoint_url.as_deref().unwrap_or(ENDPOINT).trim_end_matches('/')
    }

    async fn door(&self) -> Result<&(Credentials, Client), ProviderError> {
        let make = || async {
            let credentials = clients::find(&self.settings, MONITORING)?;
            let mut builder = Client::builder()
                .user_agent(concat!("skala/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_WITHIN);
            if self.endpoint().starts_with("http://") {
                // This machine's own, which needs no certificates to be there.
                builder = builder.tls_certs_only([]);
            }
            let invalid = |error| ProviderError::Invalid { what: format!("cannot set up TLS: {error}").into() };
            Ok((credentials, builder.build().map_err(invalid)?))
        };
        self.door.get_or_try_init(make).await
    }

    async fn answer(&self, text: &str, now: Timestamp) -> Result<Vec<Point>, ProviderError> {
        let query = Query::parse(text).map_err(|what| ProviderError::Invalid { what: what.into() })?;
        let deadline = Instant::now() + self.lane.deadlines.read;
        let door = self.door().await?;
        let (period, secs) = (i64::from(query.period), now.0.div_euclid(1_000_000));
        // On whole periods, the last of which ends by now: the API counts periods back from the end that is asked for.
        let to = secs.div_euclid(period) * period;
        let back = i64::try_from(BACK.as_secs()).unwrap_or(i64::MAX).max(BACK_PERIODS * period);
        let from = (to - back).div_euclid(period) * period;
        let (mut found, mut pages) = (Found::default(), Pages::default());
        for _ in 0..PAGES_MAX {
            let parameters = wire::parameters(&query, (from, to), PAGE, pages.token().as_deref());
            let page = self.lane.read(NAME, deadline, || self.ask(door, &parameters)).await;
            let page = page.map_err(|failure| meant(&query, failure.error))?;
            let next = page.next_page_token.clone();
            found.take(page)?;
            if !pages.go_on(NAME, next.as_ref())? {
                return found.newest(now);
            }
        }
        Err(unknown(&format!("more than {PAGES_MAX} pages: narrow the query, or reduce its series to fewer")))
    }

    /// Asks for one page.
    async fn ask(
        &self,
        (credentials, client): &(Credentials, Client),
        parameters: &[(&'static str, String)],
    ) -> Result<Page, SdkError> {
        let headers = match credentials.headers(Default::default()).await.map_err(SdkError::authentication)? {
            CacheableResource::New { data, .. } => data,
            CacheableResource::NotModified => {
                let why = "the token is said to be one that was never given";
                return Err(SdkError::authentication(CredentialsError::from_msg(true, why)));
            }
        };
        let url = format!("{}/v3/projects/{}/timeSeries", self.endpoint(), self.settings.project);
        let response = client.get(url).headers(headers).query(parameters).send().await.map_err(unsent)?;
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_success() {
            let (body, whole) = read_up_to(response, ANSWER_MAX).await.map_err(SdkError::io)?;
            if !whole {
                return Err(SdkError::deser(format!("it is larger than {ANSWER_MAX} bytes")));
            }
            return Page::read(&body).map_err(SdkError::deser);
        }
        // The status is the news; a body that breaks off takes nothing from it.
        let body = read_up_to(response, REFUSAL_MAX).await.map(|(body, _)| body).unwrap_or_default().into();
        Err(match Status::try_from(&body) {
            Ok(said) => SdkError::service_with_http_metadata(said, Some(status.as_u16()), Some(headers)),
            Err(_) => SdkError::http(status.as_u16(), headers, body),
        })
    }
}

fn unsent(error: reqwest::Error) -> SdkError {
    match error {
        error if error.is_builder() => SdkError::binding(error),
        error if error.is_connect() => SdkError::connect(error),
        error if error.is_timeout() => SdkError::timeout(error),
        error => SdkError::io(error),
    }
}

/// Reads at most `limit` bytes, and says whether that was all.
async fn read_up_to(mut response: Response, limit: usize) -> Result<(Vec<u8>, bool), reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = limit - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok((bytes, false));
        }
    }
    Ok((bytes, true))
}

/// A read without a usable answer.
fn unknown(why: &str) -> ProviderError {
    unanswered(NAME, Effect::Read, why, None).error
}

/// What is not found here is a metric or a project, never a group: a setting to be put right.
fn meant(query: &Query, error: ProviderError) -> ProviderError {
    match error {
        ProviderError::NotFound { what } => ProviderError::Invalid {
            what: cut(
                &format!("no metric {} in this project, as far as Cloud Monitoring knows: {what}", query.metric),
                300,
            ),
        },
        other => other,
    }
}

type Labels = Box<[(Box<str>, Box<str>)]>;

/// What the pages so far have.
#[derive(Debug, Default)]
struct Found {
    /// By what they are of: the values of each series, by the end of their period.
    series: BTreeMap<(String, String, Labels), BTreeMap<Timestamp, f64>>,
}

impl Found {
    /// Takes a page. A series may go on in the next page, but one page has it once.
    fn take(&mut self, page: Page) -> Result<(), ProviderError> {
        if let Some(error) = page.execution_errors.first() {
            return Err(unknown(&format!("the answer may lack something: {}", error.message)));
        }
        if let Some(region) = page.unreachable.first() {
            return Err(unknown(&format!("the answer may lack something: {region} was not asked")));
        }
        let mut here = std::collections::BTreeSet::new();
        for one in page.time_series {
            let Series { metric, resource, .. } = &one;
            let key = (metric.kind.clone(), resource.kind.clone(), one.labels());
            if !here.insert(key.clone()) {
                return Err(unknown("one series is there twice"));
            }
            let values = self.series.entry(key).or_default();
            for sample in &one.points {
                let end = sample.end().ok_or_else(|| unknown("a value has no time that makes sense"))?;
                let value = sample.value(one.value_type.as_deref()).map_err(|why| unknown(&why))?;
                if values.insert(end, value).is_some() {
                    return Err(unknown("one period of a series has two values"));
                }
            }
        }
        Ok(())
    }

    /// The value of the newest period of each series that has ended.
    fn newest(self, now: Timestamp) -> Result<Vec<Point>, ProviderError> {
        let mut points: Vec<Point> = Vec::new();
        for ((_, _, labels), values) in self.series {
            if points.iter().any(|known| known.labels == labels) {
                let why = "two series differ in nothing but what they are of: say resource.type in the query";
                return Err(unknown(why));
            }
            if let Some((at, value)) = values.range(..=now).next_back() {
                points.push(Point { labels, value: *value, at: *at });
            }
        }
        Ok(points)
    }
}

impl Metrics for Monitoring {
    fn query<'a>(&'a self, query: &'a str, now: Timestamp) -> BoxFuture<'a, Result<Vec<Point>, ProviderError>> {
        Box::pin(self.answer(query, now))
    }
}
