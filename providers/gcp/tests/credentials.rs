//! Where tokens come from, and what is said when they do not.
#![allow(clippy::unwrap_used, dead_code, reason = "a test; and not every test needs all of the stand")]

mod stand;

use contract::{Provider, ProviderError};
use gcp::{CredentialsKind, Gcp, Settings};
use serde_json::{Value, json};
use sim_cloud::fixture::Clock;
use sim_cloud::{Api, GcpSeries, Server};
use stand::{PROJECT, START, look, owner, settings};
use std::path::PathBuf;
use std::sync::Arc;

/// An API that asks for a token, and a directory for files of credentials.
struct Vault {
    api: Arc<sim_cloud::Gcp>,
    server: Server,
    clock: Clock,
    directory: PathBuf,
}

impl Drop for Vault {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Vault {
    async fn new(name: &str) -> Self {
        let clock = Clock::at(START);
        let cloud = sim::Cloud::new(sim::Settings::default(), clock.reader()).unwrap();
        cloud.create("web-1", &sim::GroupSettings { desired: 2, ..sim::GroupSettings::default() }).unwrap();
        let api = Arc::new(sim_cloud::Gcp::new(cloud, PROJECT).with_token("the-token"));
        let server = Server::start(Arc::clone(&api) as Arc<dyn Api>, ([127, 0, 0, 1], 0).into()).await.unwrap();
        let directory = std::env::temp_dir().join(format!("skala-gcp-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self { api, server, clock, directory }
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.directory.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn settings(&self, file: String) -> Settings {
        Settings { credentials: None, credentials_file: Some(file), ..settings(&self.server.url()) }
    }

    async fn connect(&self, settings: Settings) -> Result<Gcp, ProviderError> {
        Gcp::connect(settings, owner(), self.clock.reader()).await
    }

    async fn look(&self, json: &Value) -> Result<usize, ProviderError> {
        let file = self.write("credentials.json", &json.to_string());
        let provider = self.connect(self.settings(file)).await?;
        look(&provider, &"zones/europe-west1-b/web-1".into()).await.map(|seen| seen.instances.len())
    }
}

#[tokio::test]
async fn workload_identity_trades_its_token_for_googles() {
    let vault = Vault::new("workload").await;
    let subject = vault.write("subject", "a-token-of-another-cloud");
    let json = json!({
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{}/sts", vault.server.url()),
        "credential_source": { "file": subject },
    });
    assert_eq!(vault.look(&json).await.unwrap(), 2);
    assert_eq!(vault.api.tokens_made(), 1, "one token for all calls");
    let exchanges = vault.server.exchanges();
    let traded = exchanges.iter().find(|exchange| exchange.path == "/sts").unwrap();
    assert!(traded.body.contains("a-token-of-another-cloud"), "{}", traded.body);
}

#[tokio::test]
async fn metrics_have_a_token_of_their_own_that_can_only_read_them() {
    let vault = Vault::new("metrics").await;
    vault.api.set_series(vec![GcpSeries { metric: "a.b/c".into(), kind: "GAUGE", ..GcpSeries::default() }]);
    let subject = vault.write("subject", "a-token-of-another-cloud");
    let json = json!({
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{}/sts", vault.server.url()),
        "credential_source": { "file": subject },
    });
    let file = vault.write("credentials.json", &json.to_string());
    let provider = vault.connect(vault.settings(file)).await.unwrap();
    look(&provider, &"zones/europe-west1-b/web-1".into()).await.unwrap();
    let scopes = || -> Vec<bool> {
        let exchanges = vault.server.exchanges();
        exchanges.iter().filter(|one| one.path == "/sts").map(|one| one.body.contains("monitoring.read")).collect()
    };
    assert_eq!(scopes(), [false], "who asks for no metrics asks for no token for them");
    for _ in 0..2 {
        assert_eq!(provider.metrics().unwrap().query("a.b/c max 1m", START).await.unwrap(), []);
    }
    assert_eq!(scopes(), [false, true]);
    // Without a token nothing is read, and that is no empty answer.
    let without = Settings { credentials: Some(CredentialsKind::Anonymous), ..settings(&vault.server.url()) };
    let provider = vault.connect(without).await.unwrap();
    let error = provider.metrics().unwrap().query("a.b/c max 1m", START).await.unwrap_err();
    assert!(matches!(error, ProviderError::Denied { .. }), "{error}");
    let nobody = json!({
        "type": "authorized_user",
        "client_id": "x", "client_secret": "y", "refresh_token": "z",
        "token_uri": format!("{}/nowhere", vault.server.url()),
    });
    let file = vault.write("credentials.json", &nobody.to_string());
    let provider = vault.connect(vault.settings(file)).await.unwrap();
    let error = provider.metrics().unwrap().query("a.b/c max 1m", START).await.unwrap_err();
    assert!(matches!(error, ProviderError::Denied { .. }) && error.to_string().contains("no token"), "{error}");
}

#[tokio::test]
async fn a_users_credentials_are_refreshed() {
    let vault = Vault::new("user").await;
    let json = json!({
        "type": "authorized_user",
        "client_id": "x", "client_secret": "y", "refresh_token": "z",
        "token_uri": format!("{}/token", vault.server.url()),
    });
    assert_eq!(vault.look(&json).await.unwrap(), 2);
}

#[tokio::test]
async fn a_token_that_is_not_taken_is_denied_and_never_an_empty_list() {
    let vault = Vault::new("wrong").await;
    let without = Settings { credentials: Some(CredentialsKind::Anonymous), ..settings(&vault.server.url()) };
    let provider = vault.connect(without).await.unwrap();
    let error = look(&provider, &"zones/europe-west1-b/web-1".into()).await.unwrap_err();
    assert!(matches!(error, ProviderError::Denied { .. }), "{error}");
}

#[tokio::test]
async fn where_no_token_comes_from_is_said() {
    let vault = Vault::new("nobody").await;
    let json = json!({
        "type": "authorized_user",
        "client_id": "x", "client_secret": "y", "refresh_token": "z",
        "token_uri": format!("{}/nowhere", vault.server.url()),
    });
    let error = vault.look(&json).await.unwrap_err();
    assert!(matches!(error, ProviderError::Denied { .. }), "{error}");
    assert!(error.to_string().contains("no token"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_wrong_is_named_and_not_quoted() {
    let vault = Vault::new("file").await;
    for (text, expected) in [
        ("{ \"type\": \"service_account\", \"private_key\": \"-----SECRET", "is not JSON"),
        ("{ \"type\": \"magic\", \"private_key\": \"SECRET\" }", "its type is \"magic\""),
        ("{ \"type\": \"service_account\", \"private_key\": \"SECRET\" }", "credentials_file: "),
    ] {
        let file = vault.write("key.json", text);
        let error = vault.connect(vault.settings(file)).await.err().unwrap().to_string();
        assert!(error.starts_with("invalid: ") && error.contains(expected), "{error}");
        assert!(!error.contains("SECRET"), "{error}");
    }
    let error = vault.connect(vault.settings("/no/such/file".into())).await.err().unwrap();
    assert!(error.to_string().contains("/no/such/file"), "{error}");
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_not_spoken_to() {
    let vault = Vault::new("certificate").await;
    let untrusted = sim_cloud::untrusted::Untrusted::start(Arc::clone(&vault.api) as Arc<dyn Api>).await;
    let settings = Settings { credentials: Some(CredentialsKind::Anonymous), ..settings(&untrusted.url) };
    let provider = vault.connect(settings).await.unwrap();
    let group = look(&provider, &"zones/europe-west1-b/web-1".into()).await.unwrap_err();
    let metric = provider.metrics().unwrap().query("a.b/c max 1m", START).await.unwrap_err();
    for error in [group, metric] {
        assert!(matches!(error, ProviderError::Transport { .. }), "{error}");
        assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");
    }
}
