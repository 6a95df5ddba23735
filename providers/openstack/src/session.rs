//! A session with one cloud: a token that is renewed before it ends, where the services are, and Nova's microversion.
//!
//! Every request of a service goes through here. One that is refused with 401 is sent once more with a new token: the
//! refusal came before anything was done. Refused again, the credentials have expired.

use crate::Clock;
use crate::access::{Access, Source};
use crate::errors::{Effect, Failure};
use crate::keystone::{Token, authenticate};
use crate::nova::version;
use crate::wire::{Answer, Request, Wire, invalid};
use contract::ProviderError;
use reqwest::Method;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Which service a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Compute,
    Network,
}

/// One request of a service.
pub(crate) struct Call<'a> {
    pub operation: &'static str,
    pub effect: Effect,
    pub service: Service,
    pub method: Method,
    /// Below the service's URL, with its query.
    pub path: String,
    pub body: Option<&'a Value>,
}

/// A token in use.
pub(crate) struct Login {
    token: Token,
    version: &'static str,
}

pub(crate) struct Session {
    pub wire: Wire,
    source: Source,
    now: Clock,
    login: Mutex<Known>,
}

/// What is known of this cloud; the lock is held while a token is asked for, so that one request serves all.
#[derive(Default)]
struct Known {
    login: Option<Arc<Login>>,
    /// The credentials were good once.
    before: bool,
}

impl Session {
    pub fn new(wire: Wire, source: Source, now: Clock) -> Self {
        Self { wire, source, now, login: Mutex::default() }
    }

    /// Whether the cloud has a network service; asks for a token when there is none yet.
    pub async fn has_network(&self, deadline: Instant) -> Result<bool, Failure> {
        Ok(self.login(deadline).await?.token.network.is_some())
    }

    /// Sends a request by `deadline`.
    ///
    /// # Errors
    /// A refusal or no answer, of this request or of the token that it needs.
    pub async fn send(&self, call: &Call<'_>, deadline: Instant) -> Result<Answer, Failure> {
        // Whatever goes wrong before a request is sent, the request has changed nothing.
        let login = self.login(deadline).await.map_err(|failure| Failure { harmless: true, ..failure })?;
        let first = self.send_as(&login, call, deadline).await;
        if !first.as_ref().is_err_and(|failure| failure.status == Some(401)) {
            return first;
        }
        self.forget(&login).await;
        let login = self.login(deadline).await.map_err(|failure| Failure { harmless: true, ..failure })?;
        self.send_as(&login, call, deadline).await
    }

    async fn send_as(&self, login: &Login, call: &Call<'_>, deadline: Instant) -> Result<Answer, Failure> {
        let (url, version) = match call.service {
            Service::Compute => (Some(&login.token.compute), Some(login.version)),
            Service::Network => (login.token.network.as_ref(), None),
        };
        let Some(url) = url else {
            return Err(Failure::settled(invalid("the catalog has no network endpoint".into())));
        };
        let request = Request {
            operation: call.operation,
            effect: call.effect,
            method: call.method.clone(),
            url: format!("{url}{}", call.path),
            token: Some(&login.token.text),
            version,
            body: call.body,
        };
        self.wire.send(&request, deadline).await
    }

    /// A good token: the present one, or a new one when that ends soon.
    async fn login(&self, deadline: Instant) -> Result<Arc<Login>, Failure> {
        let mut known = self.login.lock().await;
        let now = (self.now)();
        let present = known.login.clone();
        if let Some(login) = present.as_ref().filter(|login| now < login.token.renew_at) {
            return Ok(Arc::clone(login));
        }
        match self.renew(now, known.before, deadline).await {
            Ok(login) => {
                let login = Arc::new(login);
                *known = Known { login: Some(Arc::clone(&login)), before: true };
                Ok(login)
            }
            // Keystone may be away for a while; the old token is good until its end.
            Err(failure) => match present.filter(|login| now < login.token.ends) {
                Some(login) => {
                    tracing::warn!(error = %failure.error, "the token ends soon and could not be renewed");
                    Ok(login)
                }
                None => Err(failure),
            },
        }
    }

    async fn renew(&self, now: contract::Timestamp, before: bool, deadline: Instant) -> Result<Login, Failure> {
        let access: Access = self.source.load().map_err(Failure::settled)?;
        let token = authenticate(&self.wire, &access, now, before, deadline).await?;
        let version = version::negotiate(&self.wire, &token.compute, &token.text, deadline).await?;
        Ok(Login { token, version })
    }

    /// Drops a token that was refused, unless somebody has renewed it meanwhile.
    async fn forget(&self, refused: &Arc<Login>) {
        let mut known = self.login.lock().await;
        if known.login.as_ref().is_some_and(|login| Arc::ptr_eq(login, refused)) {
            known.login = None;
        }
    }
}

/// Reads a JSON answer; what cannot be read is no answer.
pub(crate) fn json<T: serde::de::DeserializeOwned>(call: &Call<'_>, answer: &Answer) -> Result<T, Failure> {
    serde_json::from_slice(&answer.body).map_err(|error| {
        Failure::unanswered(call.operation, call.effect, &format!("not an answer of this API: {error}"))
    })
}

/// A list is never "not found": where it is, the endpoint is no such service.
pub(crate) fn no_such_list(failure: Failure) -> ProviderError {
    match failure.error {
        ProviderError::NotFound { what } => invalid(format!("{what}; the catalog's endpoint is not this service")),
        ProviderError::Conflict { what } => ProviderError::Transport { what, source: None },
        other => other,
    }
}

/// The same error for everybody who waits.
pub(crate) fn for_all(error: &ProviderError) -> ProviderError {
    error.again()
}
