//! Entra's token endpoint, for one application, and the check of what it issued.

use super::{Azure, CLIENT, FEDERATED, SECRET, TENANT};
use crate::azure::refusals::error;
use crate::request::{Reply, Request};
use serde_json::json;
use std::time::Duration;

/// How long a token holds.
const LIFE: Duration = Duration::from_secs(86_400);

impl Azure {
    /// Issues a token for the client credentials in a form.
    pub(super) fn issue(&self, request: &Request, tenant: &str) -> Reply {
        let form = request.form();
        let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        if tenant != TENANT {
            return refuse(400, "invalid_request", 90002, &format!("Tenant '{tenant}' not found."));
        }
        if field("grant_type") != Some("client_credentials") || field("scope").is_none_or(str::is_empty) {
            return refuse(400, "invalid_request", 900_144, "The request body must contain: 'grant_type', 'scope'.");
        }
        if field("client_id") != Some(CLIENT) {
            return refuse(400, "unauthorized_client", 700_016, "Application was not found in the directory.");
        }
        let proven = match (field("client_secret"), field("client_assertion")) {
            (Some(secret), None) => secret == SECRET,
            // Who signed it, and whether rightly, judges look at.
            (None, Some(assertion)) => assertion == FEDERATED || assertion.split('.').count() == 3,
            _ => false,
        };
        if !proven {
            return refuse(401, "invalid_client", 7_000_215, "Invalid client secret provided.");
        }
        let end = self.cloud.now().after(LIFE);
        let mut state = self.lock();
        state.made += 1;
        let token = format!("token-{}", state.made);
        state.tokens.insert(token.clone(), end);
        let life = LIFE.as_secs();
        let body = json!({ "token_type": "Bearer", "expires_in": life, "ext_expires_in": life, "access_token": token });
        Reply::json(200, &body)
    }

    /// What a request is refused with that carries no token of ours that holds.
    pub(super) fn unauthorized(&self, request: &Request) -> Option<Reply> {
        let Some(token) = request.header("authorization").and_then(|text| text.strip_prefix("Bearer ")) else {
            let text = "Authentication failed. The 'Authorization' header is missing.";
            return Some(error(401, "AuthenticationFailed", text));
        };
        let end = self.lock().tokens.get(token).copied();
        match end {
            Some(end) if end > self.cloud.now() => None,
            Some(end) => {
                let text = format!("The access token expiry UTC time '{end}' is earlier than current UTC time.");
                Some(error(401, "ExpiredAuthenticationToken", &text))
            }
            None => Some(error(401, "InvalidAuthenticationToken", "The access token is invalid.")),
        }
    }
}

fn refuse(status: u16, what: &str, number: u32, text: &str) -> Reply {
    let body = json!({
        "error": what,
        "error_description": format!("AADSTS{number}: {text}"),
        "error_codes": [number],
        "trace_id": "0000aaaa-11bb-cccc-dd22-eeeeee333333",
    });
    Reply::json(status, &body)
}
