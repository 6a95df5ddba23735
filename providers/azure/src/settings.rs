//! What `[provider.NAME] kind = "azure"` may say. In: the table. Out: checked settings, or all that is wrong at once.
//!
//! A secret is never here: only the name of the variable or the file that holds it. A file's name may be
//! `credential:NAME`, which systemd's credentials directory holds.

use contract::ProviderError;
use serde::Deserialize;
use std::path::PathBuf;
use url::Url;

/// Where Azure Resource Manager is, when not said: the public cloud.
const PUBLIC: &str = "https://management.azure.com";
/// Where tokens come from, when not said: the public cloud.
const LOGIN: &str = "https://login.microsoftonline.com";
/// Calls a second when the configuration does not say. A principal's reads of a subscription refill at 25 a second, its
/// writes at 10 (ARM request limits and throttling).
const DEFAULT_RATE: f64 = 20.0;

/// How skala proves who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthKind {
    /// A service principal's secret.
    ClientSecret,
    /// A service principal's certificate with its private key, RSA, in one PEM file.
    ClientCertificate,
    /// A Kubernetes service account's token, exchanged (AKS workload identity).
    WorkloadIdentity,
    /// The machine's own identity, or a user-assigned one named by `client_id`.
    #[default]
    ManagedIdentity,
    /// Whoever is logged in with `az`: for a person's trial, not for a daemon.
    Cli,
}

/// The settings of one Azure subscription.
///
/// ```toml
/// [provider.azure-prod]
/// kind = "azure"
/// subscription = "00000000-1111-2222-3333-444444444444"
/// auth = "client_secret"
/// tenant = "contoso.onmicrosoft.com"
/// client_id = "55555555-6666-7777-8888-999999999999"
/// client_secret_file = "credential:azure-secret"
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The subscription's id; required.
    pub subscription: String,
    /// How to authenticate; `managed_identity` when not said.
    pub auth: AuthKind,
    /// The tenant's id or domain: for a secret and a certificate.
    pub tenant: Option<String>,
    /// The application's id, or the user-assigned identity's.
    pub client_id: Option<String>,
    /// The environment variable that holds the secret; `AZURE_CLIENT_SECRET` when neither this nor a file is given.
    pub client_secret_env: Option<String>,
    /// The file that holds the secret.
    pub client_secret_file: Option<PathBuf>,
    /// The PEM file with the certificate and its private key.
    pub client_certificate_file: Option<PathBuf>,
    /// The file with the service account's token; `AZURE_FEDERATED_TOKEN_FILE` when not said.
    pub federated_token_file: Option<PathBuf>,
    /// Where tokens come from; `https://login.chinacloudapi.cn` and `https://login.microsoftonline.us` are other clouds'.
    pub authority_host: Option<String>,
    /// Where Azure Resource Manager is: `https://management.chinacloudapi.cn`, `https://management.usgovcloudapi.net`.
    pub endpoint_url: Option<String>,
    /// What tokens are asked for, when it is not the endpoint.
    pub audience: Option<String>,
    /// Most calls a second.
    pub calls_per_second: Option<f64>,
}

/// Settings that make sense.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub settings: Settings,
    pub endpoint: Url,
    pub authority: Url,
    /// What tokens are asked for.
    pub scope: String,
    pub rate: f64,
}

impl Settings {
    /// Checks what can be checked without a call; all that is wrong at once.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !is_id(&self.subscription) {
            let what = "is not a subscription's id; \"00000000-1111-2222-3333-444444444444\" is";
            problems.push(format!("subscription: {:?} {what}", self.subscription));
        }
        for (key, url, default) in [
            ("endpoint_url", &self.endpoint_url, PUBLIC),
            ("authority_host", &self.authority_host, LOGIN),
            ("audience", &self.audience, PUBLIC),
        ] {
            let url = url.as_deref().unwrap_or(default);
            match Url::parse(url) {
                Ok(parsed) if parsed.scheme() == "https" || is_loopback(&parsed) => {}
                Ok(parsed) if parsed.scheme() == "http" => problems.push(format!(
                    "{key}: {url:?} is not encrypted; plain http:// is for loopback addresses alone, since tokens pass"
                )),
                _ => problems.push(format!("{key}: {url:?} must begin with https://")),
            }
        }
        if let Some(rate) = self.calls_per_second
            && !(0.1..=1000.0).contains(&rate)
        {
            problems.push(format!("calls_per_second: {rate} is not between 0.1 and 1000"));
        }
        self.check_auth(&mut problems);
        problems
    }

    fn check_auth(&self, problems: &mut Vec<String>) {
        use AuthKind::{Cli, ClientCertificate, ClientSecret, ManagedIdentity, WorkloadIdentity};
        let mut needed = |key: &str, given: bool, by: &[AuthKind]| {
            if by.contains(&self.auth) && !given {
                problems.push(format!("{key}: {:?} needs it", self.auth));
            }
        };
        needed("tenant", self.tenant.is_some(), &[ClientSecret, ClientCertificate]);
        needed("client_id", self.client_id.is_some(), &[ClientSecret, ClientCertificate]);
        needed("client_certificate_file", self.client_certificate_file.is_some(), &[ClientCertificate]);
        let mut idle = |key: &str, given: bool, by: &[AuthKind]| {
            if given && !by.contains(&self.auth) {
                problems.push(format!("{key}: auth is {:?}, which has no use for it", self.auth));
            }
        };
        let secret = self.client_secret_env.is_some() || self.client_secret_file.is_some();
        idle("client_secret_env and client_secret_file", secret, &[ClientSecret]);
        idle("client_certificate_file", self.client_certificate_file.is_some(), &[ClientCertificate]);
        idle("federated_token_file", self.federated_token_file.is_some(), &[WorkloadIdentity]);
        idle("tenant", self.tenant.is_some(), &[ClientSecret, ClientCertificate, WorkloadIdentity, Cli]);
        let principals = [ClientSecret, ClientCertificate, WorkloadIdentity, ManagedIdentity];
        idle("client_id", self.client_id.is_some(), &principals);
        if self.client_secret_env.is_some() && self.client_secret_file.is_some() {
            problems.push("client_secret_env and client_secret_file: one of them is enough".into());
        }
    }

    /// # Errors
    /// `Invalid` with everything that is wrong.
    pub(crate) fn check(self) -> Result<Checked, ProviderError> {
        let mut problems = self.problems();
        let mut parse = |url: &Option<String>, default: &str| {
            let parsed = Url::parse(url.as_deref().unwrap_or(default));
            parsed.map_err(|error| problems.push(error.to_string())).ok()
        };
        let (endpoint, authority) = (parse(&self.endpoint_url, PUBLIC), parse(&self.authority_host, LOGIN));
        let (Some(endpoint), Some(authority), true) = (endpoint, authority, problems.is_empty()) else {
            return Err(ProviderError::Invalid { what: problems.join("; ").into() });
        };
        let audience = self.audience.as_deref().unwrap_or(endpoint.as_str());
        let scope = format!("{}/.default", audience.trim_end_matches('/'));
        let rate = self.calls_per_second.unwrap_or(DEFAULT_RATE);
        Ok(Checked { settings: self, endpoint, authority, scope, rate })
    }
}

/// A subscription's id goes into every path, so nothing else may.
fn is_id(text: &str) -> bool {
    let hex = |c: char| c.is_ascii_hexdigit() || c == '-';
    text.len() == 36 && text.chars().all(hex) && text.matches('-').count() == 4
}

/// Whether a URL's host is this machine: plain http is let through to it alone.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00000000-1111-2222-3333-444444444444";

    fn keys(toml: Settings) -> Vec<String> {
        toml.problems().iter().filter_map(|p| p.split(':').next()).map(str::to_owned).collect()
    }

    #[test]
    fn every_problem_is_said_at_once() {
        let settings = Settings {
            subscription: "prod/../other".into(),
            auth: AuthKind::ClientCertificate,
            endpoint_url: Some("http://management.example.com".into()),
            authority_host: Some("login".into()),
            calls_per_second: Some(f64::NAN),
            federated_token_file: Some("token".into()),
            ..Settings::default()
        };
        let found = keys(settings);
        let expected = [
            "subscription",
            "endpoint_url",
            "authority_host",
            "calls_per_second",
            "tenant",
            "client_id",
            "client_certificate_file",
            "federated_token_file",
        ];
        for key in expected {
            assert!(found.iter().any(|k| k == key), "{key} in {found:?}");
        }
    }

    #[test]
    fn plain_http_is_for_loopback_alone() {
        let check = |url: &str, fine: bool| {
            let endpoint_url = Some(url.to_owned());
            let problems = Settings { subscription: ID.into(), endpoint_url, ..Settings::default() }.problems();
            assert_eq!(problems.is_empty(), fine, "{url}: {problems:?}");
        };
        check("http://127.0.0.1:8080", true);
        check("http://[::1]:8080", true);
        check("http://localhost:8080", true);
        check("https://management.chinacloudapi.cn", true);
        check("http://127.0.0.1.example.com", false);
        check("http://10.0.0.1", false);
        check("http://localhost.example.com", false);
        check("management.azure.com", false);
    }

    #[test]
    fn the_scope_follows_the_endpoint() {
        let check = |endpoint_url: Option<&str>, audience: Option<&str>, expected: &str| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            let settings = Settings {
                subscription: ID.into(),
                endpoint_url: owned(endpoint_url),
                audience: owned(audience),
                ..Settings::default()
            };
            assert_eq!(settings.check().unwrap().scope, expected);
        };
        check(None, None, "https://management.azure.com/.default");
        check(Some("https://management.chinacloudapi.cn"), None, "https://management.chinacloudapi.cn/.default");
        check(Some("https://arm.local/"), Some("https://arm.azurestack"), "https://arm.azurestack/.default");
    }
}
