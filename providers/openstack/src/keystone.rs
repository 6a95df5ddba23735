//! Keystone v3: one request for a token, and what is read from its answer.

use crate::access::Access;
use crate::errors::{Effect, Failure};
use crate::times;
use crate::wire::{Request, Wire, invalid};
use contract::{ProviderError, Timestamp};
use reqwest::Method;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::Instant;

/// A token is renewed when a tenth of its life is left, but no later than this before its end.
const MARGIN: Duration = Duration::from_secs(300);

/// What Keystone hands out.
pub(crate) struct Token {
    pub text: String,
    /// From here on a new one is asked for. By our clock, counted from the request, so that a clock that is off by
    /// minutes makes no token look expired.
    pub renew_at: Timestamp,
    /// From here on it is of no use.
    pub ends: Timestamp,
    pub compute: String,
    /// `None` where the catalog has no network service.
    pub network: Option<String>,
}

#[derive(Deserialize)]
struct Reply {
    token: Issued,
}

#[derive(Deserialize)]
struct Issued {
    issued_at: String,
    expires_at: String,
    /// Absent when the token is for no project.
    #[serde(default)]
    catalog: Vec<Service>,
    project: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Service {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    interface: String,
    #[serde(default)]
    region_id: Option<String>,
    #[serde(default)]
    region: Option<String>,
    url: String,
}

impl Endpoint {
    fn region(&self) -> Option<&str> {
        self.region_id.as_deref().or(self.region.as_deref())
    }
}

/// Asks for a token. `before` says that these credentials were good once.
///
/// # Errors
/// `Denied` for credentials that were never good, `Expired` for those that were; `Invalid` for a catalog without what is
/// needed.
pub(crate) async fn authenticate(
    wire: &Wire,
    access: &Access,
    now: Timestamp,
    before: bool,
    deadline: Instant,
) -> Result<Token, Failure> {
    let body = access.identity.request();
    let request = Request {
        operation: "authenticate",
        // A token that got lost on the way changes nothing for anybody.
        effect: Effect::Read,
        method: Method::POST,
        url: format!("{}/auth/tokens", access.auth_url),
        token: None,
        version: None,
        body: Some(&body),
    };
    let answer = wire.send(&request, deadline).await.map_err(|failure| refusal(failure, access, before))?;
    let reply: Reply = serde_json::from_slice(&answer.body)
        .map_err(|error| nonsense(&format!("the answer is not a token's: {error}")))?;
    let text = answer.subject.filter(|text| !text.is_empty()).ok_or_else(|| nonsense("no X-Subject-Token"))?;
    let issued = reply.token;
    let (Some(from), Some(until)) = (times::read(&issued.issued_at), times::read(&issued.expires_at)) else {
        return Err(nonsense("issued_at and expires_at cannot be read"));
    };
    let lasts = until.since(from);
    if lasts.is_zero() {
        return Err(nonsense("it hands out a token that has ended already"));
    }
    if issued.project.is_none() {
        return Err(Failure::settled(invalid("the credentials are for no project: name one".into())));
    }
    let compute = match &access.compute {
        Some(url) => url.clone(),
        None => endpoint(&issued.catalog, "compute", access).map_err(Failure::settled)?,
    };
    let network = match &access.network {
        Some(url) => Some(url.clone()),
        None => endpoint(&issued.catalog, "network", access).ok(),
    };
    let margin = MARGIN.min(lasts / 10);
    let trimmed = |url: String| url.trim_end_matches('/').to_owned();
    Ok(Token {
        text,
        renew_at: now.after(lasts - margin),
        ends: now.after(lasts),
        compute: trimmed(compute),
        network: network.map(trimmed),
    })
}

fn refusal(failure: Failure, access: &Access, before: bool) -> Failure {
    let refused = |what: Box<str>| match before {
        true => ProviderError::Expired { what: format!("credentials that were good are refused now: {what}").into() },
        false => ProviderError::Denied { what: format!("wrong, revoked or expired credentials: {what}").into() },
    };
    let error = match failure.error {
        // Keystone says 401 to everything that it does not take, and nothing more; but of an application credential that
        // was deleted, or never was, it says that it is not there.
        ProviderError::Expired { what } => refused(what),
        ProviderError::NotFound { what } if what.contains("Could not find Application Credential") => refused(what),
        ProviderError::NotFound { what } => invalid(format!("{} is no Keystone v3: {what}", access.auth_url)),
        other => other,
    };
    Failure { error, ..failure }
}

/// The URL of a service for the access' interface and region.
fn endpoint(catalog: &[Service], kind: &str, access: &Access) -> Result<String, ProviderError> {
    let offered: Vec<&Endpoint> = catalog
        .iter()
        .filter(|service| service.kind == kind)
        .flat_map(|service| &service.endpoints)
        .filter(|endpoint| endpoint.interface == access.interface)
        .collect();
    let mut regions: Vec<&str> = offered.iter().filter_map(|endpoint| endpoint.region()).collect();
    regions.sort_unstable();
    regions.dedup();
    let fits = |endpoint: &&&Endpoint| access.region.is_none() || endpoint.region() == access.region.as_deref();
    match offered.iter().find(fits) {
        Some(_) if access.region.is_none() && regions.len() > 1 => {
            Err(invalid(format!("the catalog has several regions: say which as `region` ({})", regions.join(", "))))
        }
        Some(endpoint) => Ok(endpoint.url.clone()),
        None => Err(invalid(format!(
            "the catalog has no {} {kind} endpoint in region {}; it has regions {regions:?}",
            access.interface,
            access.region.as_deref().unwrap_or("any"),
        ))),
    }
}

fn nonsense(why: &str) -> Failure {
    Failure::unanswered("authenticate", Effect::Read, why)
}
