//! What `[provider.NAME] kind = "gcp"` may say.
//!
//! A secret never stands in a setting: it is in a file, or with the metadata server. It must never print or keep one.

use contract::ProviderError;
use serde::Deserialize;

/// Reads a second, and writes a second, when the configuration does not say. Compute Engine allows 1,500 a minute of
/// each kind and project (cloud.google.com/compute/api-quota); others in the project need some too.
const DEFAULT_RATE: f64 = 15.0;

/// The settings of one Google Cloud project.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The project's id; required.
    pub project: String,
    /// Where the API is, when not at Google's own address.
    pub endpoint_url: Option<String>,
    /// Where Cloud Monitoring is, when not at Google's own address.
    pub monitoring_endpoint_url: Option<String>,
    /// Where credentials come from; Google's application default credentials when not said.
    pub credentials: Option<CredentialsKind>,
    /// A file of credentials (a service account's key, or an external account for workload identity) instead of the
    /// default ones. A name without a slash is one of systemd's credentials, in `$CREDENTIALS_DIRECTORY`.
    pub credentials_file: Option<String>,
    /// The project that calls are billed to and that has to allow them, when it is not the credentials' own.
    pub quota_project: Option<String>,
    /// Most reads a second, and most writes a second.
    pub calls_per_second: Option<f64>,
}

/// Where credentials come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialsKind {
    /// `GOOGLE_APPLICATION_CREDENTIALS`, gcloud's own file, the metadata server: in this order.
    Default,
    /// None at all; only for an endpoint on this machine.
    Anonymous,
}

impl Settings {
    /// Checks what can be checked without a call; all that is wrong at once.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !is_project(&self.project) {
            problems
                .push(format!("project: {:?} is not a project's id; something like \"shop-prod\" is", self.project));
        }
        if let Some(project) = self.quota_project.as_deref().filter(|project| !is_project(project)) {
            problems.push(format!("quota_project: {project:?} is not a project's id"));
        }
        let monitoring = ("monitoring_endpoint_url", self.monitoring_endpoint_url.as_deref());
        for (key, url) in [("endpoint_url", self.endpoint_url.as_deref()), monitoring] {
            let Some(url) = url else { continue };
            if !(url.starts_with("http://") || url.starts_with("https://")) {
                problems.push(format!("{key}: {url:?} must begin with http:// or https://"));
            }
            if url.starts_with("http://") && !is_loopback(url) {
                problems.push(format!("{key}: {url:?} would send credentials in clear text; use https://"));
            }
        }
        let local = self.endpoint_url.as_deref().is_some_and(is_loopback);
        if self.credentials == Some(CredentialsKind::Anonymous) {
            if !local {
                problems.push("credentials: \"anonymous\" is only for an endpoint_url on this machine".into());
            }
            if self.credentials_file.is_some() {
                problems.push("credentials_file: there is one, and credentials are \"anonymous\"".into());
            }
        }
        if let Some(rate) = self.calls_per_second
            && !(0.1..=1000.0).contains(&rate)
        {
            problems.push(format!("calls_per_second: {rate} is not between 0.1 and 1000"));
        }
        problems
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// `Invalid`, with everything that is wrong in one text.
    pub(crate) fn check(&self) -> Result<(), ProviderError> {
        let problems = self.problems();
        if problems.is_empty() { Ok(()) } else { Err(ProviderError::Invalid { what: problems.join("; ").into() }) }
    }

    pub(crate) fn rate(&self) -> f64 {
        self.calls_per_second.unwrap_or(DEFAULT_RATE)
    }
}

/// `shop-prod`, `example.com:shop-prod`, or a project's number.
fn is_project(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | ':');
    (1..=100).contains(&text.len()) && text.chars().all(plain)
}

/// Whether an address names this machine.
fn is_loopback(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return false;
    }
    if let Some(rest) = authority.strip_prefix("[::1]") {
        return rest.is_empty() || rest.starts_with(':');
    }
    let host = authority.split(':').next().unwrap_or_default();
    host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_said_at_once() {
        let settings = Settings {
            project: "Shop".into(),
            endpoint_url: Some("compute.example".into()),
            monitoring_endpoint_url: Some("http://monitoring.example".into()),
            credentials: Some(CredentialsKind::Anonymous),
            credentials_file: Some("key.json".into()),
            quota_project: Some("a b".into()),
            calls_per_second: Some(f64::NAN),
        };
        let problems = settings.problems();
        for key in [
            "project:",
            "endpoint_url:",
            "monitoring_endpoint_url:",
            "credentials:",
            "credentials_file:",
            "quota_project:",
            "calls_per",
        ] {
            assert!(problems.iter().any(|p| p.starts_with(key)), "{key} in {problems:?}");
        }
        let plain = Settings { project: "example.com:shop-1".into(), ..Settings::default() };
        assert_eq!(plain.problems(), Vec::<String>::new());
    }

    #[test]
    fn only_this_machine_may_be_spoken_to_without_credentials() {
        let check = |url: &str, local: bool| assert_eq!(is_loopback(url), local, "{url}");
        check("http://127.0.0.1:8080", true);
        check("http://127.8.0.1/x", true);
        check("http://localhost", true);
        check("https://[::1]:443/compute", true);
        check("http://127.0.0.1.example.com", false);
        check("http://localhost@example.com", false);
        check("http://[::1].example.com", false);
        check("http://10.0.0.1", false);
        check("ftp://127.0.0.1", false);
        let far = Settings { project: "p".into(), endpoint_url: Some("http://10.0.0.1".into()), ..Settings::default() };
        assert_eq!(far.problems().len(), 1);
    }
}
