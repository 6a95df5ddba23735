//! What `[provider.NAME] kind = "alibaba"` may say. No secret is ever here: only where to look for one.

use contract::ProviderError;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// Calls a second when the configuration does not say; the limiter halves it when ESS throttles.
const DEFAULT_RATE: f64 = 20.0;
const CONNECT: Duration = Duration::from_secs(2);

/// The settings of one Alibaba Cloud account and region.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The region; required.
    pub region: String,
    /// Where the ESS API is, when not at Alibaba Cloud's own address.
    pub endpoint_url: Option<String>,
    /// Where the token service is, for workload identity.
    pub sts_endpoint_url: Option<String>,
    /// Where the metadata service of an ECS instance is.
    pub metadata_endpoint_url: Option<String>,
    /// A file in the form of `credentials.ini`; `credential:NAME` is one that systemd hands over.
    pub credentials_file: Option<PathBuf>,
    /// A profile of the shared files.
    pub profile: Option<String>,
    /// The RAM role of the ECS instance, when it should not be asked for.
    pub ecs_role: Option<String>,
    /// PEM certificates that are trusted beside the platform's.
    pub ca_file: Option<PathBuf>,
    /// Most calls a second.
    pub calls_per_second: Option<f64>,
}

/// Where credentials are looked for.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub file: Option<PathBuf>,
    pub profile: Option<String>,
    pub ecs_role: Option<String>,
    pub sts: String,
    pub metadata: String,
}

impl Settings {
    /// Checks what can be checked without a call; all that is wrong at once.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.region.is_empty() || !self.region.chars().all(plain) {
            problems.push(format!("region: {:?} is not a region; something like \"eu-central-1\" is", self.region));
        }
        let urls = [
            ("endpoint_url", &self.endpoint_url),
            ("sts_endpoint_url", &self.sts_endpoint_url),
            ("metadata_endpoint_url", &self.metadata_endpoint_url),
        ];
        for (key, url) in urls {
            if let Some(why) = url.as_deref().and_then(wrong_url) {
                problems.push(format!("{key}: {why}"));
            }
        }
        if let Some(rate) = self.calls_per_second
            && !(0.1..=1000.0).contains(&rate)
        {
            problems.push(format!("calls_per_second: {rate} is not between 0.1 and 1000"));
        }
        problems
    }

    pub(crate) fn rate(&self) -> f64 {
        self.calls_per_second.unwrap_or(DEFAULT_RATE)
    }

    /// The API's address without a slash at its end.
    pub(crate) fn endpoint(&self) -> String {
        // Every region has an address of its own; a few old ones share another beside it.
        let own = || format!("https://ess.{}.aliyuncs.com", self.region);
        self.endpoint_url.clone().unwrap_or_else(own).trim_end_matches('/').to_owned()
    }

    pub(crate) fn sources(&self) -> Sources {
        let or = |url: &Option<String>, own: String| url.clone().unwrap_or(own).trim_end_matches('/').to_owned();
        Sources {
            file: self.credentials_file.clone(),
            profile: self.profile.clone(),
            ecs_role: self.ecs_role.clone(),
            sts: or(&self.sts_endpoint_url, format!("https://sts.{}.aliyuncs.com", self.region)),
            metadata: or(&self.metadata_endpoint_url, "http://100.100.100.200".into()),
        }
    }

    /// The one HTTP client: no redirect is followed and no proxy of the environment is used.
    pub(crate) fn client(&self) -> Result<reqwest::Client, ProviderError> {
        let invalid = |what: String| ProviderError::Invalid { what: what.into() };
        let problems = self.problems();
        if !problems.is_empty() {
            return Err(invalid(problems.join("; ")));
        }
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .user_agent("skala");
        if let Some(path) = &self.ca_file {
            let shown = path.display();
            let pem = std::fs::read(path).map_err(|error| invalid(format!("ca_file: {shown}: {error}")))?;
            let found = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|error| invalid(format!("ca_file: {shown}: {error}")))?;
            if found.is_empty() {
                return Err(invalid(format!("ca_file: {shown} holds no certificate in PEM form")));
            }
            builder = builder.tls_certs_merge(found);
        }
        builder.build().map_err(|error| invalid(format!("the HTTP client: {error}")))
    }
}

fn wrong_url(url: &str) -> Option<String> {
    match reqwest::Url::parse(url) {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => {
            let bare = parsed.path() == "/" && parsed.query().is_none() && parsed.username().is_empty();
            (!bare).then(|| format!("{url:?} must be a scheme and a host alone"))
        }
        _ => Some(format!("{url:?} must begin with http:// or https://")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_said_at_once() {
        let settings = Settings {
            region: "Europe".into(),
            endpoint_url: Some("localhost:5000".into()),
            sts_endpoint_url: Some("https://sts.example/path".into()),
            metadata_endpoint_url: Some("ftp://metadata".into()),
            calls_per_second: Some(f64::NAN),
            ..Settings::default()
        };
        let problems = settings.problems();
        for key in ["region:", "endpoint_url:", "sts_endpoint_url:", "metadata_endpoint_url:", "calls_per_second:"] {
            assert!(problems.iter().any(|p| p.starts_with(key)), "{key} in {problems:?}");
        }
        assert!(settings.client().is_err());
    }

    #[test]
    fn the_endpoint_follows_the_region_unless_it_is_given() {
        let mut settings = Settings { region: "eu-central-1".into(), ..Settings::default() };
        assert_eq!(settings.problems(), Vec::<String>::new());
        assert_eq!(settings.endpoint(), "https://ess.eu-central-1.aliyuncs.com");
        settings.endpoint_url = Some("http://127.0.0.1:9/".into());
        assert_eq!(settings.endpoint(), "http://127.0.0.1:9");
        settings.ca_file = Some("no/such/file.pem".into());
        assert_eq!(settings.client().map_err(|error| error.code()).err(), Some("invalid"));
    }
}
