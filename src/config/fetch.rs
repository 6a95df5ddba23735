//! How a source in skala.toml is reached over HTTP: addresses, credentials, headers. Secrets are named here and never read.

use crate::http::{Auth, FetchError, FetchSettings, Header, HeaderName, HeaderText, HeaderValue, check_base};
use policies::policy::units;
use policies::policy::{Fault, Finding, Node, Reader};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most headers of a source's own.
const HEADERS_MAX: usize = 16;
/// Parts of headers' names that say that there is a secret in them.
const SECRET_NAMES: [&str; 6] = ["auth", "token", "key", "secret", "password", "cookie"];

/// Where relative paths and credentials are.
pub(super) struct Paths<'a> {
    pub directory: &'a Path,
    pub credentials: &'a Path,
}

impl Paths<'_> {
    pub fn path(&self, node: &Node) -> Result<PathBuf, Fault> {
        let text = units::line(4096)(node)?;
        // Joining an absolute path gives that path.
        Ok(self.directory.join(text.as_ref()))
    }

    /// A file that holds a secret.
    pub fn secret(&self, node: &Node) -> Result<PathBuf, Fault> {
        let text = units::line(4096)(node)?;
        let Some(name) = text.strip_prefix("credential:") else { return self.path(node) };
        match units::name_fault(name) {
            None => Ok(self.credentials.join(name)),
            Some(_) => {
                let fault = Fault::new("must name a credential after `credential:`");
                Err(fault.hint("bearer_token_file = \"credential:prometheus-token\", with LoadCredential= in the unit"))
            }
        }
    }
}

/// An address that a check takes.
pub(super) fn address(
    check: impl Fn(&str) -> Result<(), FetchError>,
    hint: &'static str,
) -> impl Fn(&Node) -> Result<String, Fault> {
    move |node| {
        let text = units::line(4096)(node)?;
        match check(&text) {
            Ok(()) => Ok(text.to_string()),
            Err(error) => Err(Fault::new(format!("cannot be asked: {error}")).hint(hint)),
        }
    }
}

/// A time in which a source has to answer.
pub(super) fn read_timeout(r: &mut Reader<'_>) -> Option<Duration> {
    r.take("timeout", units::duration(Duration::from_millis(100)..=Duration::from_secs(60)))
}

/// Everything but the address.
pub(super) fn read_settings(r: &mut Reader<'_>, paths: &Paths<'_>) -> FetchSettings {
    let mut settings = FetchSettings::default();
    settings.timeout = read_timeout(r).unwrap_or(settings.timeout);
    settings.connect_timeout = settings.connect_timeout.min(settings.timeout);
    settings.auth = read_auth(r, paths);
    settings.ca_file = r.take("ca_file", |node| paths.secret(node));
    settings.proxy = r.take("proxy", |node| {
        let text = units::line(4096)(node)?;
        check_base(&text).map(|()| text.to_string()).map_err(|error| Fault::new(format!("cannot be asked: {error}")))
    });
    settings
}

/// Headers that go with every request: `headers` holds them as they are, `header_files` names files with secret ones.
pub(super) fn read_headers(r: &mut Reader<'_>, paths: &Paths<'_>) -> Vec<Header> {
    let mut headers = Vec::new();
    let plain = |name: &str, node: &Node| {
        let lower = name.to_ascii_lowercase();
        if SECRET_NAMES.iter().any(|part| lower.contains(part)) {
            let fault = Fault::new("would put a secret into this file");
            return Err(fault.hint(format!("header_files = {{ {name} = \"credential:NAME\" }}")));
        }
        let text = units::line(4096)(node)?;
        let value = HeaderValue::from_str(&text).map_err(|_| Fault::new("must be printable ASCII"))?;
        Ok(HeaderText::Plain(value))
    };
    let secret = |_: &str, node: &Node| paths.secret(node).map(HeaderText::Secret);
    read_some(r, "headers", plain, &mut headers);
    read_some(r, "header_files", secret, &mut headers);
    headers
}

fn read_some(
    r: &mut Reader<'_>,
    key: &'static str,
    read: impl Fn(&str, &Node) -> Result<HeaderText, Fault>,
    into: &mut Vec<Header>,
) {
    let Some(table) = r.table(key) else { return };
    let findings = r.findings();
    for entry in &table.whole().entries {
        let fail = |fault: Fault| {
            let fault = fault.within(&units::cut(&entry.key));
            findings.error(entry.node.at, fault.of(key));
        };
        let Ok(name) = HeaderName::from_bytes(entry.key.as_bytes()) else {
            fail(Fault::new("is no header's name"));
            continue;
        };
        if into.len() == HEADERS_MAX || into.iter().any(|known| known.name == name) {
            fail(Fault::new(format!("comes twice, or is more than {HEADERS_MAX} headers")));
            continue;
        }
        match read(&entry.key, &entry.node) {
            Ok(value) => into.push(Header { name, value }),
            Err(fault) => fail(fault),
        }
    }
}

fn read_auth(r: &mut Reader<'_>, paths: &Paths<'_>) -> Auth {
    for key in ["bearer_token", "password"] {
        if r.has(key) {
            let found = Finding::new(format!("`{key}` would put a secret into this file"));
            r.findings().error(
                r.at_of(key),
                found.hint(format!("put it into a file of its own: {key}_file = \"credential:NAME\"")),
            );
            // Reported; it must not be an unknown key as well.
            let _ = r.entry(key);
        }
    }
    let token = r.take("bearer_token_file", |node| paths.secret(node));
    let username = r.take("username", units::line(256));
    let password = r.take("password_file", |node| paths.secret(node));
    let (has_token, has_name, has_password) = (r.has("bearer_token_file"), r.has("username"), r.has("password_file"));
    if has_token && (has_name || has_password) {
        let found = Finding::new("a source has a bearer token or a user, not both");
        r.findings().error(r.at_of("bearer_token_file"), found.hint("remove one of them"));
    } else if has_name != has_password && !r.has("password") && !r.is_partial() {
        let (there, missing) = if has_name { ("username", "password_file") } else { ("password_file", "username") };
        r.findings().error(r.at_of(there), Finding::new(format!("`{there}` needs `{missing}`")));
    }
    match (token, username, password) {
        (Some(file), _, _) => Auth::Bearer { file },
        (None, Some(username), Some(file)) => Auth::Basic { username: username.to_string(), file },
        _ => Auth::None,
    }
}
