//! Credentials for a time: the metadata service of an ECS instance (version 2, with a token), and roles assumed with an
//! OIDC token.

use super::{Alibaba, ROLE, Refused, auth, time};
use crate::request::{Reply, Request};
use contract::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a session holds.
const LIFE: Duration = Duration::from_secs(3600);
/// What the metadata service hands out for its own use.
const METADATA_TOKEN: &str = "simulated-metadata-token";

/// Credentials that were given out.
pub(super) struct Session {
    pub key_id: String,
    pub secret: String,
    pub token: String,
    pub until: Timestamp,
}

impl Alibaba {
    fn open_session(&self) -> Value {
        let until = self.cloud.now().after(LIFE);
        let mut state = self.lock();
        let number = state.sessions.len();
        let session = Session {
            key_id: format!("STS.simulated{number}"),
            secret: auth::hash(format!("secret {number}").as_bytes()),
            token: auth::hash(format!("token {number}").as_bytes()),
            until,
        };
        let shown = json!({
            "AccessKeyId": session.key_id,
            "AccessKeySecret": session.secret,
            "SecurityToken": session.token,
            "Expiration": time(until),
        });
        state.sessions.push(session);
        shown
    }

    pub(super) fn metadata(&self, request: &Request) -> Reply {
        let plain = |text: &str| Reply::text(200, "text/plain", text.to_owned());
        if request.path == "/latest/api/token" {
            let lives = request.header("x-aliyun-ecs-metadata-token-ttl-seconds").is_some();
            return if request.method == "PUT" && lives { plain(METADATA_TOKEN) } else { Reply::empty(400) };
        }
        if request.header("x-aliyun-ecs-metadata-token") != Some(METADATA_TOKEN) {
            return Reply::empty(403);
        }
        match request.path.strip_prefix("/latest/meta-data/ram/security-credentials/") {
            Some("") => plain(ROLE),
            Some(ROLE) => {
                let mut session = self.open_session();
                session["Code"] = "Success".into();
                session["LastUpdated"] = time(self.cloud.now()).into();
                Reply::json(200, &session)
            }
            _ => Reply::empty(404),
        }
    }

    /// A token is any text that does not say that it is past its time.
    pub(super) fn assume_role(&self, request: &Request) -> Result<Reply, Refused> {
        let form = request.form();
        let get = |name: &str| {
            let found = form.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
            let found = found.or_else(|| request.param(name).map(str::to_owned)).filter(|value| !value.is_empty());
            found.ok_or_else(|| (400, "MissingParameter", format!("{name} is missing")))
        };
        let role = get("RoleArn")?;
        get("OIDCProviderArn")?;
        get("RoleSessionName")?;
        if !role.ends_with(&format!(":role/{ROLE}")) {
            return Err((404, "EntityNotExist.Role", format!("there is no role {role}")));
        }
        if get("OIDCToken")?.contains("expired") {
            return Err((400, "AuthenticationFail.OIDCToken.Expired", "the OIDC token has expired".into()));
        }
        let credentials = self.open_session();
        Ok(Reply::json(200, &json!({ "RequestId": self.request_id(), "Credentials": credentials })))
    }
}
