//! How every call is made: leave of the limiter first, a token, a deadline around it, one typed error after it.
//!
//! A read is tried once more when its connection broke (an idle one that the server had closed); a write never is, not
//! here. The token leaves for the endpoint's own host alone, encrypted or to a loopback address.

use crate::Clock;
use crate::arm::Page;
use crate::auth::Auth;
use crate::errors::{Busy, Effect, busy, cut, failed, nonsense, refused, unanswered};
use crate::limiter::{Limiter, Reach, is_little};
use crate::settings::{Checked, is_loopback};
use azure_core::http::headers::{AUTHORIZATION, HeaderName, Headers};
use azure_core::http::{
    ClientOptions, Context, HttpClient, Method, Pipeline, PipelineSendOptions, RawResponse, Request, RetryOptions,
    Transport,
};
pub use contract::Deadlines;
use contract::{OnCall, ProviderError, Telling, Timestamp};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

/// The longest wait that makes sense; one that is longer is a mistake at the other end.
const WAIT_MAX: Duration = Duration::from_secs(86_400);

/// Pages followed. Azure sends some hundred sets in each, and a subscription holds 2,500 in a region.
const PAGES_MAX: usize = 400;

/// An answer whose status is a success.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    headers: Headers,
    body: Vec<u8>,
    /// What the cloud says to wait before asking again.
    pub retry_after: Option<Duration>,
}

impl Answer {
    pub fn header(&self, name: &'static str) -> Option<&str> {
        self.headers.get_optional_str(&HeaderName::from_static(name))
    }

    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body, which must be whole and of this form.
    pub fn json<T: DeserializeOwned>(&self, operation: &str) -> Result<T, ProviderError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            nonsense(format!("{operation}: the answer is not what the API promises ({error}); check endpoint_url"))
        })
    }
}

/// A call that may change something.
pub(crate) struct Change {
    pub operation: &'static str,
    pub method: Method,
    pub url: Url,
    pub body: serde_json::Value,
    pub if_match: Option<Box<str>>,
}

/// One subscription's way to Azure Resource Manager.
pub(crate) struct Wire {
    pub endpoint: Url,
    pub deadlines: Deadlines,
    auth: Arc<Auth>,
    pipeline: Pipeline,
    limiter: Limiter,
    rate: f64,
    on_call: Option<OnCall>,
    now: Clock,
}

impl Wire {
    pub fn new(
        settings: &Checked,
        client: &Arc<dyn HttpClient>,
        now: Clock,
        deadlines: Deadlines,
        on_call: Option<OnCall>,
    ) -> Self {
        let options = ClientOptions {
            retry: RetryOptions::none(),
            transport: Some(Transport::new(Arc::clone(client))),
            ..ClientOptions::default()
        };
        let pipeline = Pipeline::new(Some("skala"), option_env!("CARGO_PKG_VERSION"), options, vec![], vec![], None);
        let auth = Arc::new(Auth::new(settings.clone(), Arc::clone(client), Arc::clone(&now)));
        let limiter = Limiter::new(settings.rate, Arc::clone(&now));
        let (endpoint, rate) = (settings.endpoint.clone(), settings.rate);
        Self { endpoint, deadlines, auth, pipeline, limiter, rate, on_call, now }
    }

    /// Another way to the same endpoint with the same token: what one service says to wait closes no other's.
    pub fn beside(&self) -> Self {
        Self {
            endpoint: self.endpoint.clone(),
            deadlines: self.deadlines,
            auth: Arc::clone(&self.auth),
            pipeline: self.pipeline.clone(),
            limiter: Limiter::new(self.rate, Arc::clone(&self.now)),
            rate: self.rate,
            on_call: self.on_call.clone(),
            now: Arc::clone(&self.now),
        }
    }

    /// The URL of a path at the endpoint.
    pub fn url(&self, path: &str, api_version: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.endpoint.clone();
        url.set_path(path);
        url.query_pairs_mut().extend_pairs(query).append_pair("api-version", api_version);
        // `+` means a space in forms alone; one that was there is `%2B` by now.
        let spaced = url.query().map(|query| query.replace('+', "%20"));
        url.set_query(spaced.as_deref());
        url
    }

    /// A URL that Azure gave, when it leads to the endpoint's own host: the token goes nowhere else.
    pub fn own(&self, text: &str) -> Option<Url> {
        Url::parse(text).ok().filter(|url| url.origin() == self.endpoint.origin())
    }

    /// Makes a call that changes nothing, before a deadline.
    pub async fn read(&self, operation: &'static str, url: &Url, deadline: Instant) -> Result<Answer, ProviderError> {
        let request = || Request::new(url.clone(), Method::Get);
        match self.attempt(operation, Effect::Read, deadline, request()).await {
            Err((_, true)) => self.attempt(operation, Effect::Read, deadline, request()).await,
            first => first,
        }
        .map_err(|(error, _)| error)
    }

    /// Follows a list's pages, handing each item's text to `take`, until that says that it has enough.
    ///
    /// # Errors
    /// When a page does not come, is no page, leads to another host, or comes again and again.
    pub async fn pages(
        &self,
        operation: &'static str,
        path: &str,
        api_version: &str,
        query: &[(&str, &str)],
        deadline: Instant,
        mut take: impl FnMut(&str) -> Result<bool, ProviderError>,
    ) -> Result<(), ProviderError> {
        let mut url = self.url(path, api_version, query);
        let mut seen = BTreeSet::from([url.to_string()]);
        for _ in 0..PAGES_MAX {
            let answer = self.read(operation, &url, deadline).await?;
            let page: Page<'_> = serde_json::from_slice(answer.body()).map_err(|error| {
                nonsense(format!("{operation}: the answer is not a page of a list ({error}); check endpoint_url"))
            })?;
            let mut more = true;
            for item in &page.value {
                more = take(item.get())?;
            }
            let Some(next) = page.next_link.filter(|next| more && !next.is_empty()) else {
                return Ok(());
            };
            let elsewhere =
                || nonsense(format!("{operation}: the next page is said to be on another host; not followed"));
            url = self.own(&next).ok_or_else(elsewhere)?;
            if !seen.insert(url.to_string()) {
                return Err(nonsense(format!("{operation}: the same page is offered again and again")));
            }
        }
        Err(nonsense(format!("{operation}: more pages than there can be")))
    }

    /// When a read that begins now must have ended.
    pub fn soon(&self) -> Instant {
        Instant::now() + self.deadlines.read
    }

    /// Makes a call that may change something: one attempt.
    pub async fn write(&self, change: Change, deadline: Instant) -> Result<Answer, ProviderError> {
        let mut request = Request::new(change.url, change.method);
        request.insert_header("content-type", "application/json");
        if let Some(etag) = &change.if_match {
            request.insert_header("if-match", etag.to_string());
        }
        request.set_body(change.body.to_string());
        self.attempt(change.operation, Effect::Write, deadline, request).await.map_err(|(error, _)| error)
    }

    /// One attempt; the flag beside the error says that the connection broke.
    async fn attempt(
        &self,
        operation: &'static str,
        effect: Effect,
        deadline: Instant,
        request: Request,
    ) -> Result<Answer, (ProviderError, bool)> {
        let plain = request.url().scheme() != "https" && !is_loopback(request.url());
        if plain || request.url().origin() != self.endpoint.origin() {
            let what = format!("{operation}: the token is for the endpoint alone, and encrypted");
            return Err((ProviderError::Invalid { what: what.into() }, false));
        }
        // Half of the time for the limiter: a call that is let through at the last moment would only time out.
        let patience = deadline.saturating_duration_since(Instant::now()) / 2;
        let path = request.url().path().to_ascii_lowercase();
        if let Err(wait) = self.limiter.acquire(effect, &path, patience).await {
            return Err((ProviderError::Throttled { retry_after: Some(wait) }, false));
        }
        let started = Instant::now();
        let telling = Telling::of(self.on_call.as_ref(), operation, || started.elapsed());
        let result = self.within(operation, effect, deadline, request).await;
        telling.end(result.as_ref().err().map_or("ok", |(error, _)| error.code()));
        result
    }

    async fn within(
        &self,
        operation: &'static str,
        effect: Effect,
        deadline: Instant,
        mut request: Request,
    ) -> Result<Answer, (ProviderError, bool)> {
        // Before anything is sent to the cloud's API: what goes wrong here is never unclear.
        let token = match tokio::time::timeout_at(deadline, self.auth.token()).await {
            Ok(token) => token.map_err(|error| (error, false))?,
            Err(_) => return Err((nonsense(format!("{operation}: no token came in time")), false)),
        };
        request.insert_header(AUTHORIZATION, format!("Bearer {}", token.secret()));
        let context = Context::new();
        let options = PipelineSendOptions { skip_checks: true, ..PipelineSendOptions::default() };
        let response =
            match tokio::time::timeout_at(deadline, self.pipeline.send(&context, &mut request, Some(options))).await {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => return Err(failed(operation, effect, error)),
                Err(_) => {
                    let what = format!("{operation}: no answer within the deadline");
                    return Err((unanswered(effect, what.into(), None), false));
                }
            };
        self.judge(operation, effect, request.url(), response, &token).await.map_err(|error| (error, false))
    }

    async fn judge(
        &self,
        operation: &'static str,
        effect: Effect,
        url: &Url,
        response: RawResponse,
        token: &azure_core::credentials::Secret,
    ) -> Result<Answer, ProviderError> {
        let (status, headers, body) = response.deconstruct();
        let (status, body) = (u16::from(status), body.as_ref().to_vec());
        let text = |name: &'static str| headers.get_optional_str(&HeaderName::from_static(name));
        let of_subscription = text("x-ms-ratelimit-remaining-subscription-reads")
            .or(text("x-ms-ratelimit-remaining-subscription-writes"))
            .or(text("x-ms-ratelimit-remaining-subscription-deletes"));
        let of_resource = text("x-ms-ratelimit-remaining-resource");
        if is_little(of_subscription, of_resource) {
            tracing::debug!(operation, ?of_subscription, ?of_resource, "few calls are left; slower from now on");
            self.limiter.slow_down();
        }
        let retry_after = text("retry-after").and_then(|text| wait(text, (self.now)()));
        if (200..300).contains(&status) {
            return Ok(Answer { status, headers, body, retry_after });
        }
        if status == 401 {
            self.auth.refused(token).await;
        }
        let error = refused(operation, effect, status, retry_after, &body);
        if let ProviderError::Throttled { .. } = error {
            let none_left = of_subscription.is_some_and(|left| left.trim().parse::<i64>().is_ok_and(|left| left <= 0));
            self.wait(effect, url, if none_left { Busy::Subscription } else { busy(&body) }, retry_after);
        }
        Err(error)
    }

    /// Azure said that something is busy: what that is waits as long as it was told, and nothing else does.
    fn wait(&self, effect: Effect, url: &Url, busy: Busy, wait: Option<Duration>) {
        if busy != Busy::Resource {
            self.limiter.slow_down();
        }
        let path = url.path().to_ascii_lowercase();
        // Without the list of all of them there is nothing to ask of any.
        let reach = if busy == Busy::Subscription || lists_all(url) { Reach::Side } else { Reach::Path(&path) };
        if let Some(wait) = wait {
            self.limiter.close(effect, reach, wait);
        }
    }

    /// Whether Azure has said to wait of more than one resource's calls.
    pub fn is_closed(&self) -> bool {
        self.limiter.is_closed()
    }
}

/// Whether a URL is of the list of a whole subscription's resources of a kind, without a filter.
fn lists_all(url: &Url) -> bool {
    let path: Vec<&str> = url.path().trim_matches('/').split('/').collect();
    matches!(path[..], [_, _, providers, _, _] if providers.eq_ignore_ascii_case("providers"))
        && !url.query_pairs().any(|(key, _)| key.eq_ignore_ascii_case("$filter"))
}

/// What a Retry-After says: seconds, or a date.
fn wait(text: &str, now: Timestamp) -> Option<Duration> {
    let text = cut(text, 64);
    let wait = match text.parse::<u64>() {
        Ok(secs) => Duration::from_secs(secs),
        Err(_) => {
            let at = azure_core::time::parse_rfc7231(&text).ok()?;
            Timestamp::from_secs(at.unix_timestamp()).since(now)
        }
    };
    Some(wait.min(WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_list_of_a_subscription_is_everybodys() {
        let check = |url: &str, expected: bool| {
            let url = Url::parse(&format!("https://management.azure.com/subscriptions/s/{url}")).unwrap();
            assert_eq!(lists_all(&url), expected, "{url}");
        };
        check("providers/Microsoft.Compute/virtualMachineScaleSets?api-version=1", true);
        check("providers/Microsoft.Compute/virtualMachineScaleSets?%24skiptoken=7", true);
        check("providers/Microsoft.Compute/virtualMachines?%24filter=of+one+set", false);
        check("providers/Microsoft.Compute/locations/westeurope/operations/1", false);
        check("resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/web/virtualMachines", false);
    }

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        let now = Timestamp::from_secs(1_445_412_480);
        assert_eq!(wait("17", now), Some(Duration::from_secs(17)));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(wait("Wed, 21 Oct 2015 07:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(wait("99999999999", now), Some(WAIT_MAX));
        for text in ["", "-1", "soon", "1.5"] {
            assert_eq!(wait(text, now), None, "{text}");
        }
    }
}
