//! Verifies signatures, version 3 (ACS3-HMAC-SHA256): who signed, when, once, and whether this is what was signed.

use super::{Alibaba, KEY_ID, KEY_SECRET, Refused, VERSION};
use crate::request::Request;
use aws_lc_rs::{digest, hmac};
use contract::Timestamp;
use std::fmt::Write;
use std::time::Duration;

/// How far a request's time may be from the cloud's, and for how long a nonce may not come again.
const WINDOW: Duration = Duration::from_secs(15 * 60);

const ALGORITHM: &str = "ACS3-HMAC-SHA256";

impl Alibaba {
    /// Refuses what is not signed by somebody known.
    pub(super) fn verify(&self, request: &Request) -> Result<(), Refused> {
        let incomplete = |what: &str| (400, "IncompleteSignature", format!("{what} is missing"));
        let header = |name: &'static str| request.header(name).ok_or_else(|| incomplete(name));
        if request.method != "POST" || request.path != "/" {
            return Err((400, "InvalidParameter", "calls are POST /".into()));
        }
        if header("x-acs-version")? != VERSION {
            return Err((400, "InvalidVersion", "there is no such version".into()));
        }
        let date = header("x-acs-date")?;
        let date: jiff::Timestamp =
            date.parse().map_err(|_| (400, "InvalidTimeStamp.Format", format!("{date:?} is no time")))?;
        let (date, now) = (Timestamp(date.as_microsecond()), self.cloud.now());
        if now.since(date).max(date.since(now)) > WINDOW {
            return Err((400, "InvalidTimeStamp.Expired", "the request's time is not within 15 minutes of now".into()));
        }
        let authorization = header("authorization")?;
        let parts = authorization.strip_prefix(ALGORITHM).map(str::trim).ok_or_else(|| incomplete(ALGORITHM))?;
        let part = |name: &'static str| {
            let of = |part: &'_ str| {
                part.trim().strip_prefix(name).and_then(|rest| rest.strip_prefix('=')).map(str::to_owned)
            };
            parts.split(',').find_map(of).ok_or_else(|| incomplete(name))
        };
        let (key_id, names, signature) = (part("Credential")?, part("SignedHeaders")?, part("Signature")?);
        let secret = self.secret(&key_id, request.header("x-acs-security-token"), now)?;
        let signed = signed(request, &names)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        if hex(hmac::sign(&key, signed.as_bytes()).as_ref()) != signature {
            return Err((400, "SignatureDoesNotMatch", "that is not the signature of this request".into()));
        }
        self.spend(header("x-acs-signature-nonce")?, now)
    }

    fn secret(&self, key_id: &str, token: Option<&str>, now: Timestamp) -> Result<String, Refused> {
        if key_id == KEY_ID {
            return Ok(KEY_SECRET.into());
        }
        let state = self.lock();
        let session = state.sessions.iter().find(|session| session.key_id == key_id);
        let session =
            session.ok_or_else(|| (404, "InvalidAccessKeyId.NotFound", "there is no such access key".into()))?;
        match token {
            None => Err((400, "MissingSecurityToken", "a session's key needs its token".into())),
            Some(token) if token != session.token => {
                Err((400, "InvalidSecurityToken.MismatchWithAccessKey", "that is another session's token".into()))
            }
            Some(_) if session.until <= now => {
                Err((400, "InvalidSecurityToken.Expired", "the security token has expired".into()))
            }
            Some(_) => Ok(session.secret.clone()),
        }
    }

    /// A nonce is good once.
    fn spend(&self, nonce: &str, now: Timestamp) -> Result<(), Refused> {
        let mut state = self.lock();
        state.nonces.retain(|_, at| now.since(*at) <= WINDOW);
        match state.nonces.insert(nonce.to_owned(), now) {
            None => Ok(()),
            Some(_) => Err((400, "SignatureNonceUsed", "that nonce was used before".into())),
        }
    }
}

/// What the signature is of.
fn signed(request: &Request, names: &str) -> Result<String, Refused> {
    // By name alone: sorted as text, `Id.10=` would come before `Id.1=`.
    let mut query = request.query.clone();
    query.sort();
    let query: Vec<String> = query.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    let signed: Vec<&str> = names.split(';').collect();
    let must = |name: &str| name == "host" || name == "content-type" || name.starts_with("x-acs-");
    if let Some(unsigned) =
        request.headers.keys().map(|name| name.as_str()).find(|name| must(name) && !signed.contains(name))
    {
        return Err((400, "IncompleteSignature", format!("{unsigned} is not signed")));
    }
    let body = hash(&request.body);
    if request.header("x-acs-content-sha256") != Some(body.as_str()) {
        return Err((400, "ContentMD5NotMatched", "x-acs-content-sha256 is not the body's hash".into()));
    }
    let mut headers = String::new();
    for name in &signed {
        _ = writeln!(headers, "{name}:{}", request.header(name).unwrap_or_default().trim());
    }
    let canonical = format!("{}\n/\n{}\n{headers}\n{names}\n{body}", request.method, query.join("&"));
    Ok(format!("{ALGORITHM}\n{}", hash(canonical.as_bytes())))
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => _ = write!(out, "%{other:02X}"),
        }
    }
    out
}

/// SHA-256 in hexadecimal.
pub(super) fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        _ = write!(text, "{byte:02x}");
    }
    text
}
