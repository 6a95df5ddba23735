//! How every call is made: leave of the limiter first, credentials, a signature, a deadline around it all, one typed
//! error after it.
//!
//! A read is tried once more when its connection broke (an idle one that the server had closed); a write never is, not
//! here: whoever retries a write must read again first.

use crate::Clock;
use crate::credentials::{Credentials, Key};
use crate::errors::{Effect, Failure, Refusal, cut, foreign, refused, unanswered};
use crate::limiter::Limiter;
use crate::{sign, time};
pub use contract::Deadlines;
use contract::{OnCall, ProviderError, Telling};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

const VERSION: &str = "2022-02-22";
/// The largest answer, in bytes: a page of a hundred is far below.
const BODY_MAX: usize = 16 * 1024 * 1024;

/// A call's parameters.
pub(crate) type Query = Vec<(String, String)>;

/// What the wire is made of.
pub(crate) struct Parts {
    pub client: reqwest::Client,
    pub endpoint: String,
    pub credentials: Credentials,
    pub rate: f64,
    pub deadlines: Deadlines,
    pub on_call: Option<OnCall>,
    pub owner: Box<str>,
    pub clock: Clock,
}

/// The signed way to ESS in one region.
pub(crate) struct Wire {
    parts: Parts,
    limiter: Limiter,
    /// A base for nonces that no other provider has, and how many were made.
    nonce: (String, AtomicU64),
}

impl Wire {
    pub fn new(parts: Parts) -> Self {
        let limiter = Limiter::new(parts.rate, Arc::clone(&parts.clock));
        // A nonce must not repeat within 15 minutes, it need not be a secret: who, where in this machine's memory and
        // since when is enough, and a count.
        let place = Arc::as_ptr(&parts.clock).cast::<()>() as usize;
        let base = format!("{} {} {place} {}", parts.owner, std::process::id(), (parts.clock)().0);
        Self { parts, limiter, nonce: (base, AtomicU64::new(0)) }
    }

    pub fn deadlines(&self) -> Deadlines {
        self.parts.deadlines
    }

    /// Makes a call that changes nothing.
    pub async fn read<T: DeserializeOwned>(&self, operation: &'static str, query: Query) -> Result<T, Failure> {
        let deadline = Instant::now() + self.parts.deadlines.read;
        match self.attempt(operation, Effect::Read, deadline, &query).await {
            Err((_, true)) => self.attempt(operation, Effect::Read, deadline, &query).await,
            first => first,
        }
        .map_err(|(failure, _)| failure)
    }

    /// Makes a call that may change something: one attempt.
    pub async fn write<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        deadline: Instant,
        query: Query,
    ) -> Result<T, Failure> {
        self.attempt(operation, Effect::Write, deadline, &query).await.map_err(|(failure, _)| failure)
    }

    /// One attempt; the flag beside the failure says that the connection broke before there was an answer.
    async fn attempt<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        effect: Effect,
        deadline: Instant,
        query: &Query,
    ) -> Result<T, (Failure, bool)> {
        let key = tokio::time::timeout_at(deadline, self.parts.credentials.key()).await;
        let key = key.unwrap_or_else(|_| {
            let what = format!("{operation}: the credentials did not come in time").into();
            Err(ProviderError::Transport { what, source: None })
        });
        let key = key.map_err(|error| (Failure::harmless(error), false))?;
        // Half of the time for the limiter: a call that is let through at the last moment would only time out.
        let patience = deadline.saturating_duration_since(Instant::now()) / 2;
        if let Err(wait) = self.limiter.acquire(effect, patience).await {
            return Err((Failure::harmless(ProviderError::Throttled { retry_after: Some(wait) }), false));
        }
        let started = Instant::now();
        if started >= deadline {
            let what = format!("{operation}: no time was left to send it").into();
            return Err((Failure::harmless(ProviderError::Transport { what, source: None }), false));
        }
        let telling = Telling::of(self.parts.on_call.as_ref(), operation, || started.elapsed());
        let result = match tokio::time::timeout_at(deadline, self.send(operation, effect, query, &key)).await {
            Ok(result) => result,
            Err(_) => {
                let why = format!("no answer within {:?}", deadline.saturating_duration_since(started));
                Err((unanswered(operation, effect, &why, None), false))
            }
        };
        match result.as_ref().err().map(|(failure, _)| &failure.error) {
            Some(ProviderError::Throttled { retry_after }) => self.limiter.throttled(*retry_after),
            // The next call asks for fresh ones.
            Some(ProviderError::Expired { .. } | ProviderError::Denied { .. }) => {
                self.parts.credentials.forget(&key).await;
            }
            _ => {}
        }
        telling.end(result.as_ref().err().map_or("ok", |(failure, _)| failure.error.code()));
        result
    }

    async fn send<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        effect: Effect,
        query: &Query,
        key: &Key,
    ) -> Result<T, (Failure, bool)> {
        let request = self.request(operation, query, key).map_err(|error| (Failure::harmless(error), false))?;
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() || error.is_builder() => {
                let what = cut(&format!("{operation}: {}", deepest(&error)), 300);
                let error = ProviderError::Transport { what, source: Some(Box::new(error)) };
                return Err((Failure::harmless(error), true));
            }
            Err(error) => {
                let why = deepest(&error);
                return Err((unanswered(operation, effect, &why, Some(Box::new(error))), true));
            }
        };
        let status = answer.status().as_u16();
        let wait = retry_after(answer.headers());
        let body = body(answer).await.map_err(|why| (unanswered(operation, effect, &why, None), false))?;
        self.judge(operation, effect, status, wait, &body).map_err(|failure| (failure, false))
    }

    fn judge<T: DeserializeOwned>(
        &self,
        operation: &str,
        effect: Effect,
        status: u16,
        wait: Option<Duration>,
        body: &[u8],
    ) -> Result<T, Failure> {
        if status == 200 {
            return serde_json::from_slice(body).map_err(|error| {
                let why = format!("the answer cannot be read: {error}");
                unanswered(operation, effect, &why, Some(Box::new(error)))
            });
        }
        match serde_json::from_slice::<Trouble>(body) {
            Ok(Trouble { code, message }) if status >= 400 => {
                Err(refused(operation, effect, &Refusal { status, code: &code, message: &message, retry_after: wait }))
            }
            _ => Err(foreign(operation, effect, status, wait)),
        }
    }

    fn request(
        &self,
        operation: &'static str,
        query: &Query,
        key: &Key,
    ) -> Result<reqwest::RequestBuilder, ProviderError> {
        let query = sign::query(query);
        let invalid = |what: &str| ProviderError::Invalid { what: what.into() };
        let url = format!("{}/?{query}", self.parts.endpoint);
        let url = reqwest::Url::parse(&url).map_err(|_| invalid("endpoint_url: not a URL"))?;
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => return Err(invalid("endpoint_url: no host")),
        };
        let date = time::format((self.parts.clock)()).ok_or_else(|| invalid("this machine's clock shows no date"))?;
        let count = self.nonce.1.fetch_add(1, Ordering::Relaxed);
        let nonce = sign::hash(format!("{} {count} {date}", self.nonce.0).as_bytes())[..32].to_owned();
        let mut headers = vec![
            ("host", host.as_str()),
            ("x-acs-action", operation),
            ("x-acs-content-sha256", sign::EMPTY_BODY),
            ("x-acs-date", date.as_str()),
            ("x-acs-signature-nonce", nonce.as_str()),
            ("x-acs-version", VERSION),
        ];
        if let Some(token) = key.token() {
            headers.push(("x-acs-accesskey-id", key.id()));
            headers.push(("x-acs-security-token", token));
        }
        let authorization = sign::authorization(&query, &headers, key.id(), key.secret());
        let mut request = self.parts.client.post(url).header("accept", "application/json");
        for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
            request = request.header(*name, *value);
        }
        Ok(request.header("authorization", authorization))
    }
}

/// A refusal's body.
#[derive(Deserialize)]
struct Trouble {
    #[serde(rename = "Code")]
    code: String,
    #[serde(rename = "Message", default)]
    message: String,
}

/// The whole body, or why there is none.
pub(crate) async fn body(mut answer: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > BODY_MAX => {
                return Err(format!("the answer is longer than {BODY_MAX} bytes"));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return Err(format!("the answer broke off: {}", deepest(&error))),
        }
    }
}

/// The gateway's own header counts milliseconds, HTTP's counts seconds. A day is the longest that makes sense.
fn retry_after(headers: &reqwest::header::HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let wait = number("x-acs-retry-after").map(Duration::from_millis);
    let wait = wait.or_else(|| number("retry-after").map(Duration::from_secs));
    wait.filter(|wait| !wait.is_zero()).map(|wait| wait.min(Duration::from_secs(86_400)))
}

/// The innermost causes say the most. The URL is left out: its query would only make the line long.
pub(crate) fn deepest(error: &(dyn Error + 'static)) -> String {
    let mut words = Vec::new();
    let mut next = error.source().or(Some(error));
    while let Some(cause) = next {
        words.push(cause.to_string());
        next = cause.source();
    }
    words.dedup();
    let from = words.len().saturating_sub(2);
    words.split_off(from).join(": ")
}
