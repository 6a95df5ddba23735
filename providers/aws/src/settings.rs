//! What `[provider.NAME] kind = "aws"` may say, and the SDK clients made from it.
//!
//! Credentials come from the SDK's default chain (environment, profile, web identity, container, IMDS) and are loaded
//! at the first call, never here. It must never print or keep a secret.

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_autoscaling::config::{IdentityCache, StalledStreamProtectionConfig};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use contract::ProviderError;
use serde::Deserialize;
use std::time::Duration;

/// Calls a second per service when the configuration does not say; the limiter halves it when AWS throttles.
const DEFAULT_RATE: f64 = 20.0;

/// The settings of one AWS account and region.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The region; required.
    pub region: String,
    /// Where the APIs are, when not at AWS' own addresses.
    pub endpoint_url: Option<String>,
    /// A profile of the shared configuration files.
    pub profile: Option<String>,
    /// The ARN of a role to assume with the credentials found.
    pub assume_role: Option<String>,
    /// The external id that the role asks for.
    pub external_id: Option<String>,
    /// The session's name in CloudTrail; `skala` when not given.
    pub session_name: Option<String>,
    /// Most calls a second to each of the two services; 20 when not given. RunInstances, which has a bucket of its own at
    /// EC2, gets a tenth of it, and 2 a second where that is less and this allows it: of up to 100 instances each.
    pub calls_per_second: Option<f64>,
}

impl Settings {
    /// Checks what can be checked without a call; all that is wrong at once.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.region.is_empty() || !self.region.chars().all(plain) {
            problems.push(format!("region: {:?} is not a region; something like \"eu-west-1\" is", self.region));
        }
        if let Some(url) = &self.endpoint_url
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            problems.push(format!("endpoint_url: {url:?} must begin with http:// or https://"));
        }
        if let Some(role) = &self.assume_role
            && !(role.starts_with("arn:") && role.contains(":role/"))
        {
            problems
                .push(format!("assume_role: {role:?} is not a role's ARN; \"arn:aws:iam::123456789012:role/NAME\" is"));
        }
        if self.assume_role.is_none() && (self.external_id.is_some() || self.session_name.is_some()) {
            problems.push("external_id and session_name are for assume_role, which is not set".into());
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

    /// The SDK's configuration: its chain of credentials, none of its retries.
    pub(crate) async fn load(&self) -> Result<SdkConfig, ProviderError> {
        let problems = self.problems();
        if !problems.is_empty() {
            return Err(ProviderError::Invalid { what: problems.join("; ").into() });
        }
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).region(Region::new(self.region.clone()));
        if let Some(url) = &self.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        let base = tame(loader.load().await);
        let Some(role) = &self.assume_role else {
            return Ok(base);
        };
        let mut provider = AssumeRoleProvider::builder(role)
            .session_name(self.session_name.as_deref().unwrap_or("skala"))
            .configure(&base);
        if let Some(id) = &self.external_id {
            provider = provider.external_id(id);
        }
        let credentials = aws_credential_types::provider::SharedCredentialsProvider::new(provider.build().await);
        Ok(base.into_builder().credentials_provider(credentials).build())
    }
}

/// RunInstances a second, after five at once. EC2's bucket of these calls refills at 2 a second, and met ahead it throttles
/// nobody; a rate set low for the sake of reads does not make launches slower than that.
pub(crate) fn launch_rate(rate: f64) -> f64 {
    (rate / 10.0).max(rate.min(2.0))
}

/// Takes from the SDK what this provider decides itself: retries (every attempt of a write needs a fresh read before
/// it) and waiting (every call has a deadline of ours).
pub(crate) fn tame(config: SdkConfig) -> SdkConfig {
    config
        .into_builder()
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(Duration::from_secs(2)).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // Below a read's deadline, so that credentials that do not come are said to be the trouble.
        .identity_cache(IdentityCache::lazy().load_timeout(Duration::from_secs(4)).build())
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launches_are_not_slower_than_ec2_takes_them() {
        for (rate, expected) in [(20.0, 2.0), (5.0, 2.0), (0.5, 0.5), (1000.0, 100.0)] {
            assert_eq!(launch_rate(rate), expected, "{rate}");
        }
    }

    #[test]
    fn every_problem_is_said_at_once() {
        let settings = Settings {
            region: "Europe".into(),
            endpoint_url: Some("localhost:5000".into()),
            assume_role: Some("admin".into()),
            calls_per_second: Some(f64::NAN),
            ..Settings::default()
        };
        let problems = settings.problems();
        for key in ["region:", "endpoint_url:", "assume_role:", "calls_per_second:"] {
            assert!(problems.iter().any(|p| p.starts_with(key)), "{key} in {problems:?}");
        }
        let lonely = Settings { region: "eu-west-1".into(), external_id: Some("x".into()), ..Settings::default() };
        assert_eq!(lonely.problems().len(), 1);
        assert_eq!(Settings { region: "us-gov-west-1".into(), ..Settings::default() }.problems(), Vec::<String>::new());
    }
}
