//! How every call is made: leave first, a deadline around it, one typed error after it, one report of it.
//!
//! API servers share their time fairly among clients and say 429 with a wait when it is used up, so there is no rate to
//! guess: what they say to wait is waited, and few calls are in the air at once. A read is tried once more when its
//! connection broke; a write never is, not here: whoever retries a write must read again first.

use crate::Clock;
use crate::errors::{Effect, Failure, broken, refused, retry_after, settled, unanswered, unsent};
use crate::login::Login;
pub use contract::Deadlines;
use contract::{OnCall, ProviderError, Telling, Timestamp};
use http::{Method, Request, header};
use http_body_util::{BodyExt, Limited};
use kube::Client;
use serde::de::DeserializeOwned;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Calls in the air at once.
const AT_ONCE: usize = 8;
/// The largest answer that is read: a page of 500 pods is about 5 MB.
const ANSWER_MAX: usize = 64 << 20;
/// How long nothing is sent after a 429 that does not say how long to wait.
const THROTTLED_FOR: Duration = Duration::from_secs(1);

/// One call.
pub(crate) struct Call {
    /// Its name in metrics.
    pub operation: &'static str,
    pub path: String,
    /// What of an object is wanted; all of it when not said.
    pub accept: Option<&'static str>,
    /// A merge patch; a call without one is a read.
    pub patch: Option<serde_json::Value>,
}

impl Call {
    pub fn get(operation: &'static str, path: String) -> Self {
        Self { operation, path, accept: None, patch: None }
    }

    fn effect(&self) -> Effect {
        if self.patch.is_some() { Effect::Write } else { Effect::Read }
    }

    fn request(&self) -> Result<Request<kube::client::Body>, String> {
        let accept = self.accept.unwrap_or("application/json");
        let request = Request::builder().uri(&self.path).header(header::ACCEPT, accept);
        match &self.patch {
            None => request.method(Method::GET).body(kube::client::Body::empty()),
            Some(patch) => request
                .method(Method::PATCH)
                .header(header::CONTENT_TYPE, "application/merge-patch+json")
                .body(kube::client::Body::from(patch.to_string().into_bytes())),
        }
        .map_err(|error| error.to_string())
    }
}

/// The way to one API server.
pub(crate) struct Lane {
    login: Arc<Login>,
    on_call: Option<OnCall>,
    room: Semaphore,
    clock: Clock,
    /// Since when nothing is sent, and for how long.
    closed: Mutex<Option<(Timestamp, Duration)>>,
}

impl Lane {
    pub fn new(login: Arc<Login>, on_call: Option<OnCall>, clock: Clock) -> Self {
        Self { login, on_call, room: Semaphore::new(AT_ONCE), clock, closed: Mutex::default() }
    }

    /// Whether calls can be made: without a login none is, and that says nothing of any of them.
    pub async fn ready(&self, deadline: Instant) -> Result<(), Failure> {
        self.login.client(deadline).await.map(drop).map_err(settled)
    }

    /// Makes a call and reads its answer.
    pub async fn make<T: DeserializeOwned>(&self, call: &Call, deadline: Instant) -> Result<T, Failure> {
        match self.attempt(call, deadline).await {
            // An idle connection that the server had closed; a new one is tried once.
            Err((_, true)) if call.patch.is_none() => self.attempt(call, deadline).await,
            first => first,
        }
        .map_err(|(failure, _)| failure)
    }

    /// One attempt; the flag beside the failure says that the connection broke.
    async fn attempt<T: DeserializeOwned>(&self, call: &Call, deadline: Instant) -> Result<T, (Failure, bool)> {
        let operation = call.operation;
        if let Some(wait) = self.closed_for() {
            let error = ProviderError::Throttled { retry_after: Some(wait) };
            return Err((Failure { error, missing: false, gone: false, harmless: true }, false));
        }
        let request = call.request().map_err(|why| (unsent(operation, &why), false))?;
        let client = self.login.client(deadline).await.map_err(|error| (settled(error), false))?;
        let room = tokio::time::timeout_at(deadline, self.room.acquire()).await;
        let Ok(Ok(_room)) = room else {
            return Err((unsent(operation, "no time was left to send it"), false));
        };
        let started = Instant::now();
        let telling = Telling::of(self.on_call.as_ref(), operation, || started.elapsed());
        let result = match tokio::time::timeout_at(deadline, exchange(&client, call, request)).await {
            Ok(result) => result,
            Err(_) => {
                let why = format!("no answer within {:?}", deadline.saturating_duration_since(started));
                Err((unanswered(operation, call.effect(), &why, None), false))
            }
        };
        match &result {
            Err((Failure { error: ProviderError::Throttled { retry_after }, .. }, _)) => {
                self.close(retry_after.unwrap_or(THROTTLED_FOR));
            }
            Err((Failure { error: ProviderError::Expired { .. }, .. }, _)) => self.login.refused(),
            _ => {}
        }
        telling.end(result.as_ref().err().map_or("ok", |(failure, _)| failure.error.code()));
        result
    }

    /// How much longer nothing is sent. A clock that was set back opens what it had closed.
    fn closed_for(&self) -> Option<Duration> {
        let (since, wait) = (*self.closed.lock().unwrap_or_else(PoisonError::into_inner))?;
        let now = (self.clock)();
        if now < since {
            return None;
        }
        wait.checked_sub(now.since(since)).filter(|left| !left.is_zero())
    }

    fn close(&self, wait: Duration) {
        let left = self.closed_for().unwrap_or_default();
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = Some(((self.clock)(), wait.max(left)));
    }
}

async fn exchange<T: DeserializeOwned>(
    client: &Client,
    call: &Call,
    request: Request<kube::client::Body>,
) -> Result<T, (Failure, bool)> {
    let (operation, effect) = (call.operation, call.effect());
    let response = match client.send(request).await {
        Ok(response) => response,
        Err(error) => {
            let failure = broken(operation, effect, error);
            let again = matches!(failure.error, ProviderError::Transport { .. });
            return Err((failure, again));
        }
    };
    let status = response.status().as_u16();
    let wait = retry_after(response.headers().get(header::RETRY_AFTER));
    let body = match Limited::new(response.into_body(), ANSWER_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            let why = format!("the answer broke off (status {status}): {error}");
            return Err((unanswered(operation, effect, &why, None), false));
        }
    };
    if !(200..300).contains(&status) {
        return Err((refused(operation, effect, status, wait, &body), false));
    }
    serde_json::from_slice(&body).map_err(|error| {
        let why = format!("not the answer of a Kubernetes API: {error}; check the server's address");
        (unanswered(operation, effect, &why, None), false)
    })
}

/// A query's value, with everything escaped that may mean something.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(byte.into()),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}
