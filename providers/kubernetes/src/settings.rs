//! What `[provider.NAME] kind = "kubernetes"` may say, and the configuration read from it; the login is `login`'s.
//!
//! Credentials come from a kubeconfig (tokens, token files, client certificates, exec plugins) or, in a cluster, from the
//! service account's files; a token file is read again every minute, since tokens rotate. It must never print a secret.

use contract::ProviderError;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// The settings of one cluster. Without any of them: `$KUBECONFIG`, else the home's kubeconfig, else the service account
/// of the pod that this runs in.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A kubeconfig's path.
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; its current one when not given.
    pub context: Option<String>,
    /// A server on this machine without TLS and credentials, such as `kubectl proxy`: `http://127.0.0.1:8001`.
    pub endpoint_url: Option<String>,
    /// How long a pod may wait for a node before it counts as a launch without capacity, in seconds. With a cluster
    /// autoscaler this should be what a new node takes; 0, the default, suits a cluster of fixed nodes.
    pub node_wait_secs: u32,
}

impl Settings {
    /// Checks what can be checked without reading files; all that is wrong at once.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(url) = &self.endpoint_url {
            let host = url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
            let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
            if !["127.0.0.1", "[::1]", "localhost"].contains(&host) || url.parse::<http::Uri>().is_err() {
                problems.push(format!(
                    "endpoint_url: {url:?} is not plain http on this machine; other servers belong in a kubeconfig"
                ));
            }
            if self.kubeconfig.is_some() || self.context.is_some() {
                problems.push("endpoint_url: kubeconfig and context say something else; only one can hold".into());
            }
        }
        if self.node_wait_secs > 86_400 {
            problems.push(format!("node_wait_secs: {} is more than a day", self.node_wait_secs));
        }
        problems
    }

    pub(crate) fn node_wait(&self) -> Duration {
        Duration::from_secs(self.node_wait_secs.into())
    }

    /// What a client is made from: the credentials that are configured and not yet used, none of its retries.
    ///
    /// # Errors
    /// `Invalid` when the configuration is wrong.
    pub(crate) async fn client_config(&self) -> Result<Config, ProviderError> {
        let problems = self.problems();
        if !problems.is_empty() {
            return Err(ProviderError::Invalid { what: problems.join("; ").into() });
        }
        let mut config = self.config().await?;
        // Every attempt of a write needs a fresh read before it, and every call has a deadline of ours.
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(2));
        crate::login::check(&config).map_err(|what| ProviderError::Invalid { what: what.into() })?;
        Ok(config)
    }

    async fn config(&self) -> Result<Config, ProviderError> {
        let wrong = |what: String| ProviderError::Invalid { what: what.into() };
        if let Some(url) = &self.endpoint_url {
            return Ok(Config::new(url.parse().map_err(|error| wrong(format!("endpoint_url: {error}")))?));
        }
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        if let Some(path) = &self.kubeconfig {
            let told = |error: &dyn std::fmt::Display| wrong(format!("kubeconfig: {}: {error}", path.display()));
            let file = Kubeconfig::read_from(path).map_err(|error| told(&error))?;
            return Config::from_custom_kubeconfig(file, &options).await.map_err(|error| told(&error));
        }
        let asked_for = self.context.is_some() || std::env::var_os("KUBECONFIG").is_some();
        match Config::from_kubeconfig(&options).await {
            Ok(config) => Ok(config),
            Err(error) if asked_for => Err(wrong(format!("kubeconfig: {error}"))),
            Err(error) => Config::incluster().map_err(|inside| {
                wrong(format!("kubeconfig: neither a kubeconfig ({error}) nor a pod's service account ({inside})"))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_said_at_once() {
        let check = |settings: Settings, keys: &[&str]| {
            let problems = settings.problems();
            let found: Vec<&str> = problems.iter().filter_map(|p| p.split(':').next()).collect();
            assert_eq!(found, keys, "{problems:?}");
        };
        let endpoint = |url: &str| Settings { endpoint_url: Some(url.into()), ..Settings::default() };
        check(Settings::default(), &[]);
        for url in ["http://127.0.0.1:8001", "http://localhost:1/x", "http://[::1]:8001", "http://127.0.0.1"] {
            check(endpoint(url), &[]);
        }
        for url in ["https://127.0.0.1:6443", "http://10.0.0.1:8001", "127.0.0.1:8001", "http://127.0.0.1.example.com"]
        {
            check(endpoint(url), &["endpoint_url"]);
        }
        let both = Settings { context: Some("prod".into()), node_wait_secs: 100_000, ..endpoint("http://127.0.0.1:1") };
        check(both, &["endpoint_url", "node_wait_secs"]);
    }
}
