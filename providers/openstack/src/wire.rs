//! One request over HTTP: a deadline around it, a body of limited size, and one typed error after it.
//!
//! It follows no redirect and uses no proxy. A read is tried once more when its connection broke; a write never is.

use crate::access::Access;
use crate::errors::{Effect, Failure, refused, retry_after};
pub use contract::Deadlines;
use contract::{OnCall, ProviderError, Telling};
use reqwest::{Certificate, Client, Method, Response};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// The largest answer, in bytes: a thousand servers in full are about 3 MB.
const BODY_MAX: usize = 64 * 1024 * 1024;
/// A refusal's body is kept up to this, for its message.
const REFUSAL_MAX: usize = 64 * 1024;

/// One request.
pub(crate) struct Request<'a> {
    /// Its name in metrics.
    pub operation: &'static str,
    pub effect: Effect,
    pub method: Method,
    pub url: String,
    pub token: Option<&'a str>,
    /// Of `OpenStack-API-Version`.
    pub version: Option<&'a str>,
    pub body: Option<&'a Value>,
}

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub body: Vec<u8>,
    /// The token that Keystone hands out in a header.
    pub subject: Option<String>,
}

/// A client of one cloud.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) client: Client,
    pub deadlines: Deadlines,
    pub on_call: Option<OnCall>,
}

impl Wire {
    /// A client that trusts what `access` says; no connection is opened.
    pub fn new(access: &Access) -> Result<Self, ProviderError> {
        let roots = match &access.ca_file {
            None => Vec::new(),
            Some(path) => read_certificates(path)?,
        };
        let mut builder = Client::builder()
            .user_agent(concat!("skala/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_secs(3));
        // Plain HTTP must work on a machine without any certificate, which reading the platform's would refuse. And
        // when the password travels sealed, no token may travel open.
        builder = match access.auth_url.starts_with("https://") {
            true => builder.tls_certs_merge(roots).https_only(true),
            false => builder.tls_certs_only(roots),
        };
        if !access.verify {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        let client = builder.build().map_err(|error| invalid(format!("cannot set up TLS: {error}")))?;
        Ok(Self { client, deadlines: Deadlines::default(), on_call: None })
    }

    /// Sends a request that must be answered by `deadline`.
    ///
    /// # Errors
    /// A refusal by its status, or no answer.
    pub async fn send(&self, request: &Request<'_>, deadline: Instant) -> Result<Answer, Failure> {
        match self.attempt(request, deadline).await {
            Err(failure) if failure.broke && request.effect == Effect::Read => self.attempt(request, deadline).await,
            first => first,
        }
    }

    async fn attempt(&self, request: &Request<'_>, deadline: Instant) -> Result<Answer, Failure> {
        let started = Instant::now();
        if started >= deadline {
            let what = format!("{}: no time was left to send it", request.operation).into();
            return Err(Failure::settled(ProviderError::Transport { what, source: None }));
        }
        let telling = Telling::of(self.on_call.as_ref(), request.operation, || started.elapsed());
        let result = match tokio::time::timeout_at(deadline, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => {
                let why = format!("no answer within {:?}", deadline.saturating_duration_since(started));
                Err(Failure::unanswered(request.operation, request.effect, &why))
            }
        };
        telling.end(result.as_ref().err().map_or("ok", |failure| failure.error.code()));
        result
    }

    async fn exchange(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let (operation, effect) = (request.operation, request.effect);
        let mut call = self.client.request(request.method.clone(), &request.url).header("Accept", "application/json");
        if let Some(token) = request.token {
            let mut token = reqwest::header::HeaderValue::from_str(token)
                .map_err(|_| Failure::settled(invalid("the token is not one that a header can hold".into())))?;
            token.set_sensitive(true);
            call = call.header("X-Auth-Token", token);
        }
        if let Some(version) = request.version {
            call = call.header("OpenStack-API-Version", format!("compute {version}"));
        }
        if let Some(body) = request.body {
            call = call.json(body);
        }
        let response = call.send().await.map_err(|error| Failure::of_transport(operation, effect, error))?;
        let status = response.status();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (subject, wait) = (header("x-subject-token"), retry_after(header("retry-after").as_deref()));
        if !status.is_success() {
            // The status is the news; a body that breaks off takes nothing from it.
            let body = read_up_to(response, REFUSAL_MAX).await.map(|(body, _)| body).unwrap_or_default();
            return Err(refused(operation, effect, status.as_u16(), &body, wait));
        }
        match read_up_to(response, BODY_MAX).await {
            Ok((body, true)) => Ok(Answer { body, subject }),
            Ok((_, false)) => Err(Failure::unanswered(operation, effect, "the answer is larger than 64 MiB")),
            // An answer that stops in the middle is no reason to ask again at once: the server had its say.
            Err(error) => Err(Failure { broke: false, ..Failure::of_transport(operation, effect, error) }),
        }
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

fn read_certificates(path: &Path) -> Result<Vec<Certificate>, ProviderError> {
    let fail = |why: String| invalid(format!("cacert {}: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
    let roots = Certificate::from_pem_bundle(&pem).map_err(|error| fail(error.to_string()))?;
    if roots.is_empty() {
        return Err(fail("holds no PEM certificate".into()));
    }
    Ok(roots)
}

pub(crate) fn invalid(what: String) -> ProviderError {
    ProviderError::Invalid { what: what.into() }
}
