//! Credentials that a service gives for a time: an ECS instance's role from its metadata service, and a role assumed
//! with an OIDC token at the token service (STS). Neither call is signed; both are short-lived and never logged.

use super::Key;
use crate::errors::{Effect, Refusal, cut, foreign, refused};
use crate::{time, wire};
use contract::{ProviderError, Timestamp};
use serde::Deserialize;
use std::time::Duration;

/// How long the metadata service's token holds; asked for anew with every renewal.
const METADATA_TOKEN_SECS: &str = "300";
/// One call to the metadata service, which is on the same host.
const METADATA_WAIT: Duration = Duration::from_secs(2);
const SESSION_SECS: &str = "3600";

/// The role to assume.
pub(super) struct Oidc<'a> {
    pub role: &'a str,
    pub provider: &'a str,
    pub session: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Session {
    #[serde(default)]
    code: Option<String>,
    access_key_id: String,
    access_key_secret: String,
    security_token: String,
    expiration: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Assumed {
    credentials: Session,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Trouble {
    code: String,
    #[serde(default)]
    message: String,
}

impl Session {
    fn key(self, from: &str) -> Result<Key, ProviderError> {
        if let Some(code) = self.code.as_deref().filter(|code| *code != "Success") {
            return Err(transport(format!("{from}: {code}")));
        }
        let until = time::parse(&self.expiration)
            .ok_or_else(|| transport(format!("{from}: {:?} is not the end of a session", self.expiration)))?;
        let Session { access_key_id: id, access_key_secret: secret, security_token, .. } = self;
        Ok(Key { id, secret, token: Some(security_token), until: Some(until) })
    }
}

/// The credentials of the ECS instance's RAM role: metadata service, version 2 with a token.
pub(super) async fn instance_role(
    client: &reqwest::Client,
    endpoint: &str,
    role: Option<&str>,
) -> Result<Key, ProviderError> {
    let token = client
        .put(format!("{endpoint}/latest/api/token"))
        .header("x-aliyun-ecs-metadata-token-ttl-seconds", METADATA_TOKEN_SECS);
    let token = metadata(token).await?;
    let ask = |path: &str| {
        let url = format!("{endpoint}/latest/meta-data/ram/security-credentials/{path}");
        client.get(url).header("x-aliyun-ecs-metadata-token", token.trim())
    };
    let role = match role {
        Some(role) => role.to_owned(),
        None => metadata(ask("")).await?.lines().next().unwrap_or_default().trim().to_owned(),
    };
    if role.is_empty() || role.contains(['<', '/', ' ']) {
        return Err(ProviderError::Denied { what: "the ECS instance has no RAM role; attach one".into() });
    }
    let text = metadata(ask(&role)).await?;
    let session: Session = serde_json::from_str(&text)
        .map_err(|error| transport(format!("the metadata service's answer cannot be read: {error}")))?;
    session.key("metadata service")
}

async fn metadata(request: reqwest::RequestBuilder) -> Result<String, ProviderError> {
    let lost = |why: String| {
        let what = format!(
            "no credentials in the environment and in profile files, and the ECS metadata service does not answer: {why}"
        );
        transport(what)
    };
    let answer = request.timeout(METADATA_WAIT).send().await.map_err(|error| lost(wire::deepest(&error)))?;
    let status = answer.status().as_u16();
    let body = wire::body(answer).await.map_err(lost)?;
    match status {
        200 => String::from_utf8(body).map_err(|_| lost("its answer is no text".into())),
        404 => Err(ProviderError::Denied {
            what: "no credentials in the environment and in profile files, and the ECS instance has no such RAM role"
                .into(),
        }),
        _ => Err(lost(format!("status {status}"))),
    }
}

/// Assumes a role with an OIDC token: workload identity.
pub(super) async fn assume_role(
    client: &reqwest::Client,
    endpoint: &str,
    oidc: &Oidc<'_>,
    token: &str,
    now: Timestamp,
) -> Result<Key, ProviderError> {
    const OPERATION: &str = "AssumeRoleWithOIDC";
    let date = time::format(now).unwrap_or_default();
    let query = [("Action", OPERATION), ("Version", "2015-04-01"), ("Format", "JSON"), ("Timestamp", date.as_str())];
    // The token goes into the body: a query ends up in the logs of whatever stands in between.
    let form = [
        ("RoleArn", oidc.role),
        ("OIDCProviderArn", oidc.provider),
        ("OIDCToken", token),
        ("RoleSessionName", oidc.session),
        ("DurationSeconds", SESSION_SECS),
    ];
    let request = client.post(format!("{endpoint}/")).query(&query).form(&form);
    let answer = request.send().await.map_err(|error| transport(format!("{OPERATION}: {}", wire::deepest(&error))))?;
    let status = answer.status().as_u16();
    let body = wire::body(answer).await.map_err(|why| transport(format!("{OPERATION}: {why}")))?;
    if status == 200 {
        let assumed: Assumed = serde_json::from_slice(&body)
            .map_err(|error| transport(format!("{OPERATION}: the answer cannot be read: {error}")))?;
        return assumed.credentials.key(OPERATION);
    }
    let failure = match serde_json::from_slice::<Trouble>(&body) {
        Ok(Trouble { code, message }) if status >= 400 => {
            let refusal = Refusal { status, code: &code, message: &message, retry_after: None };
            refused(OPERATION, Effect::Read, &refusal)
        }
        _ => foreign(OPERATION, Effect::Read, status, None),
    };
    Err(failure.error)
}

fn transport(what: String) -> ProviderError {
    ProviderError::Transport { what: cut(&what, 300), source: None }
}
