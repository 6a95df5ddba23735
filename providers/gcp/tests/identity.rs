//! Tokens that nobody hands out on request: what the key of a service account signs, and what the machine has by default.
#![allow(clippy::unwrap_used, dead_code, reason = "a test; and not every test needs all of the stand")]

mod stand;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use contract::{Foreign, GroupId, InstanceId, Provider, ProviderError};
use gcp::{Gcp, Settings};
use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData, RsaKeySize};
use serde_json::{Value, json};
use sim_cloud::fixture::Clock;
use sim_cloud::{Api, Garble, GcpSeries, Kind, Refusal, Reply, Request, Server};
use stand::{PROJECT, START, look, owner, settings};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

const ACCOUNT: &str = "skala@shop-prod.iam.gserviceaccount.com";
const OF_THE_MACHINE: &str = "of-the-metadata-server";
/// Where the child of this program finds the API.
const URL: &str = "SKALA_TEST_GCP";
/// What it says when it could read the group and the metric.
const BOTH: &str = "the group: Ok(2)\nthe metrics: Ok(0)";

/// An API that takes tokens signed with one key, or those of the metadata server that it also is.
struct Guarded {
    api: sim_cloud::Gcp,
    public: Vec<u8>,
    /// The claims of the tokens that it took, in order.
    claims: Mutex<Vec<Value>>,
}

impl Guarded {
    /// What a token claims, when the key signed it.
    fn verified(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public);
        key.verify(signed.as_bytes(), &decoded(signature)).ok()?;
        let (header, claims) = signed.split_once('.')?;
        let header: Value = serde_json::from_slice(&decoded(header)).unwrap();
        assert_eq!(header, json!({ "alg": "RS256", "typ": "JWT", "kid": "key-1" }));
        Some(serde_json::from_slice(&decoded(claims)).unwrap())
    }

    /// The metadata server answers only who says that it means it.
    fn metadata(&self, request: &Request) -> Reply {
        if request.header("metadata-flavor") != Some("Google") {
            return Reply::empty(403);
        }
        match request.path.rsplit('/').next() {
            Some("universe-domain") => Reply::text(200, "application/text", "googleapis.com"),
            Some("token") => Reply::json(
                200,
                &json!({ "access_token": OF_THE_MACHINE, "expires_in": 3_599, "token_type": "Bearer" }),
            ),
            _ => Reply::empty(404),
        }
    }
}

impl Api for Guarded {
    fn answer(&self, request: &Request) -> Reply {
        if request.path.starts_with("/computeMetadata/v1/") {
            return self.metadata(request);
        }
        let token = request.header("authorization").and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default();
        match self.verified(token) {
            Some(claims) => self.claims.lock().unwrap().push(claims),
            None if token == OF_THE_MACHINE => {}
            None => return self.api.refusal(&Refusal::WrongCredentials, request),
        }
        self.api.answer(request)
    }

    fn kind(&self, request: &Request) -> Option<Kind> {
        self.api.kind(request)
    }

    fn is_later_page(&self, request: &Request) -> bool {
        self.api.is_later_page(request)
    }

    fn refusal(&self, refusal: &Refusal, request: &Request) -> Reply {
        self.api.refusal(refusal, request)
    }

    fn garble(&self, garble: Garble, request: &Request, reply: &Reply) -> Option<Reply> {
        self.api.garble(garble, request, reply)
    }

    fn group_id(&self, group: &str) -> GroupId {
        self.api.group_id(group)
    }

    fn instance_id(&self, group: &GroupId, instance: &InstanceId) -> InstanceId {
        self.api.instance_id(group, instance)
    }

    fn foreign(&self) -> Foreign {
        self.api.foreign()
    }
}

/// Undoes the base64 of tokens.
fn decoded(text: &str) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes() {
        bits = bits << 6 | LETTERS.iter().position(|one| *one == letter).unwrap() as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    bytes
}

/// A guarded API with a group of two, and a directory with the key that it takes.
struct Vault {
    guarded: Arc<Guarded>,
    server: Server,
    directory: PathBuf,
}

impl Drop for Vault {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Vault {
    async fn new(name: &str) -> Self {
        let cloud = sim::Cloud::new(sim::Settings::default(), Clock::at(START).reader()).unwrap();
        cloud.create("web-1", &sim::GroupSettings { desired: 2, ..sim::GroupSettings::default() }).unwrap();
        let api = sim_cloud::Gcp::new(cloud, PROJECT);
        api.set_series(vec![GcpSeries { metric: "a.b/c".into(), kind: "GAUGE", ..GcpSeries::default() }]);
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let public = key.der_bytes().to_vec();
        let guarded = Arc::new(Guarded { api, public, claims: Mutex::default() });
        let server = Server::start(Arc::clone(&guarded) as Arc<dyn Api>, ([127, 0, 0, 1], 0).into()).await.unwrap();
        let directory = std::env::temp_dir().join(format!("skala-gcp-{name}-{}", std::process::id()));
        let vault = Self { guarded, server, directory };
        vault.write("key.json", &key);
        vault
    }

    /// A file as Google hands it out with a new key.
    fn write(&self, name: &str, key: &KeyPair) -> PathBuf {
        let json = json!({
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "key-1",
            "private_key": key.serialize_pem(),
            "client_email": ACCOUNT,
            "client_id": "1",
            "token_uri": format!("{}/token", self.server.url()),
        });
        let path = self.directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, json.to_string()).unwrap();
        path
    }

    async fn connect(&self, key: &Path) -> Gcp {
        let settings = Settings {
            credentials: None,
            credentials_file: Some(key.to_str().unwrap().to_owned()),
            quota_project: Some("billing-1".into()),
            ..settings(&self.server.url())
        };
        Gcp::connect(settings, owner(), Clock::at(START).reader()).await.unwrap()
    }

    /// The scopes of the tokens that it took, in order.
    fn scopes(&self) -> Vec<String> {
        let scope = |claims: &Value| claims["scope"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let mut scopes: Vec<String> = self.guarded.claims.lock().unwrap().iter().map(scope).collect();
        scopes.dedup();
        scopes
    }

    /// What a process says that has nothing but this environment to find credentials by.
    fn child(&self, environment: &[(&str, &str)]) -> String {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["the_child_looks_with_what_the_machine_has", "--exact", "--nocapture"]);
        child.env_clear().env(URL, self.server.url()).env("HOME", "/nonexistent").envs(environment.iter().copied());
        let said = tokio::task::block_in_place(|| child.output()).unwrap();
        String::from_utf8(said.stdout).unwrap()
    }
}

#[tokio::test]
async fn a_service_accounts_key_signs_a_token_for_each_api() {
    let vault = Vault::new("key").await;
    let provider = vault.connect(&vault.directory.join("key.json")).await;
    let group = "zones/europe-west1-b/web-1".into();
    assert_eq!(look(&provider, &group).await.unwrap().instances.len(), 2);
    assert_eq!(vault.scopes(), ["compute"]);
    provider.metrics().unwrap().query("a.b/c max 1m", START).await.unwrap();
    assert_eq!(vault.scopes(), ["compute", "monitoring.read"]);
    for claims in vault.guarded.claims.lock().unwrap().iter() {
        assert_eq!((claims["iss"].as_str(), claims["sub"].as_str()), (Some(ACCOUNT), Some(ACCOUNT)));
        // Google takes none that lasts longer than an hour, but for what clocks may differ.
        let lasts = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert!((3_600..=3_660).contains(&lasts), "{claims}");
    }
    assert_eq!(vault.guarded.api.tokens_made(), 0, "such a token goes to the API itself: nobody is asked for another");
    let billed = ("x-goog-user-project".to_owned(), "billing-1".to_owned());
    let exchanges = vault.server.exchanges();
    assert!(exchanges.iter().all(|exchange| exchange.headers.contains(&billed)), "{exchanges:?}");
}

#[tokio::test]
async fn a_key_that_was_taken_back_is_denied() {
    let vault = Vault::new("taken-back").await;
    let other = vault.write("other.json", &KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap());
    let provider = vault.connect(&other).await;
    let error = look(&provider, &"zones/europe-west1-b/web-1".into()).await.unwrap_err();
    assert!(matches!(error, ProviderError::Denied { .. }), "{error}");
    assert!(vault.scopes().is_empty());
}

/// Not a test of its own: what [`Vault::child`] starts. Without the variable it does nothing.
#[tokio::test]
async fn the_child_looks_with_what_the_machine_has() {
    let Ok(url) = std::env::var(URL) else { return };
    let settings = Settings { credentials: None, credentials_file: None, ..settings(&url) };
    let said = match Gcp::connect(settings, owner(), Clock::at(START).reader()).await {
        Ok(provider) => {
            let group = look(&provider, &"zones/europe-west1-b/web-1".into()).await.map(|seen| seen.instances.len());
            let metrics = provider.metrics().unwrap().query("a.b/c max 1m", START).await.map(|series| series.len());
            format!("the group: {group:?}\nthe metrics: {metrics:?}")
        }
        Err(error) => format!("no provider: {error}"),
    };
    writeln!(std::io::stdout(), "\n{said}").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_found_where_google_says() {
    let vault = Vault::new("default").await;
    let key = vault.directory.join("key.json");
    let said = vault.child(&[("GOOGLE_APPLICATION_CREDENTIALS", key.to_str().unwrap())]);
    assert!(said.contains(BOTH), "{said}");
    assert_eq!(vault.scopes(), ["compute", "monitoring.read"]);
    vault.guarded.claims.lock().unwrap().clear();

    // Where `gcloud auth application-default login` leaves them.
    let home = vault.directory.join("home");
    std::fs::create_dir_all(home.join(".config/gcloud")).unwrap();
    std::fs::copy(&key, home.join(".config/gcloud/application_default_credentials.json")).unwrap();
    let said = vault.child(&[("HOME", home.to_str().unwrap())]);
    assert!(said.contains(BOTH), "{said}");
    assert_eq!(vault.scopes(), ["compute", "monitoring.read"]);
    vault.guarded.claims.lock().unwrap().clear();

    // Without a file, what the machine itself may do.
    let host = vault.server.url().replace("http://", "");
    let said = vault.child(&[("GCE_METADATA_HOST", &host)]);
    assert!(said.contains(BOTH), "{said}");
    assert!(vault.scopes().is_empty(), "no key was used");
    let exchanges = vault.server.exchanges();
    let asked = exchanges.iter().filter(|exchange| exchange.path.ends_with("/service-accounts/default/token"));
    let scopes: Vec<&str> = asked.map(|one| one.query[0].1.rsplit('/').next().unwrap()).collect();
    assert_eq!(scopes, ["compute", "monitoring.read"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_credentials_knows_nothing() {
    let vault = Vault::new("none").await;
    let said = vault.child(&[("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file")]);
    assert!(said.contains("no provider: invalid: credentials: ") && said.contains("/no/such/file"), "{said}");
    let said = vault.child(&[("GCE_METADATA_HOST", "127.0.0.1:9")]);
    for what in ["the group: Err(Transport", "the metrics: Err(Transport", "no token"] {
        assert!(said.contains(what), "{said}");
    }
}
