//! Every way to authenticate that asks the network, against a simulated Entra.

#![allow(clippy::unwrap_used)]

mod stand;

use azure::{AuthKind, Azure, Settings};
use azure_core::base64::decode_url_safe;
use contract::{Ask, Observation, Owner, ProviderError};
use sim_cloud::azure::{Azure as Simulated, CLIENT, FEDERATED, SECRET, TENANT};
use sim_cloud::{Exchange, Server};
use stand::{certificate, clock, cloud, group, observe, serve, settings};
use std::io::Write;
use tempfile::NamedTempFile;

async fn azure() -> Server {
    serve(Simulated::new(cloud(1, &clock()))).await
}

async fn connect(settings: Settings) -> Azure {
    Azure::connect(settings, Owner { id: "skala-1".into() }, clock().reader()).await.unwrap()
}

async fn look(provider: &Azure) -> Result<Observation, ProviderError> {
    observe(provider, &Ask::new(group("web-0"))).await
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    write!(file, "{text}").unwrap();
    file
}

fn form(exchange: &Exchange) -> Vec<(String, String)> {
    url::form_urlencoded::parse(exchange.body.as_bytes()).into_owned().collect()
}

fn tokens(server: &Server) -> Vec<Exchange> {
    server.exchanges().into_iter().filter(|exchange| exchange.path.ends_with("/token")).collect()
}

#[tokio::test]
async fn a_secret_from_a_file_gets_one_token_for_many_calls() {
    let server = azure().await;
    let (settings, _secret) = settings(&server.url());
    let provider = connect(settings).await;
    for _ in 0..3 {
        look(&provider).await.unwrap();
    }
    let [asked] = tokens(&server).try_into().unwrap();
    assert_eq!(asked.path, format!("/{TENANT}/oauth2/v2.0/token"));
    let scope = ("scope".to_owned(), format!("{}/.default", server.url()));
    assert!(form(&asked).contains(&scope), "{:?}", form(&asked));
}

#[tokio::test]
async fn a_certificate_signs_an_assertion() {
    let server = azure().await;
    let pem = certificate();
    let (base, _secret) = settings(&server.url());
    let provider = connect(Settings {
        auth: AuthKind::ClientCertificate,
        client_secret_file: None,
        client_certificate_file: Some(pem.path().to_owned()),
        ..base
    })
    .await;
    look(&provider).await.unwrap();
    let form = form(&tokens(&server)[0]);
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    assert_eq!((field("client_assertion_type"), field("client_secret")), (Some(kind), None));
    let claims = field("client_assertion").unwrap().split('.').nth(1).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&decode_url_safe(claims).unwrap()).unwrap();
    assert_eq!((claims["iss"].as_str(), claims["sub"].as_str()), (Some(CLIENT), Some(CLIENT)));
    let audience = claims["aud"].as_str().unwrap();
    assert!(audience.ends_with(&format!("/{TENANT}/oauth2/v2.0/token")), "{audience}");
}

#[tokio::test]
async fn a_federated_token_is_exchanged() {
    let server = azure().await;
    let token = file(FEDERATED);
    let (base, _secret) = settings(&server.url());
    let provider = connect(Settings {
        auth: AuthKind::WorkloadIdentity,
        client_secret_file: None,
        federated_token_file: Some(token.path().to_owned()),
        ..base
    })
    .await;
    look(&provider).await.unwrap();
    let assertion = ("client_assertion".to_owned(), FEDERATED.to_owned());
    assert!(form(&tokens(&server)[0]).contains(&assertion));
}

#[tokio::test]
async fn a_wrong_secret_is_denied_until_it_is_right() {
    let server = azure().await;
    let secret = file("wrong");
    let (base, _secret) = settings(&server.url());
    let provider = connect(Settings { client_secret_file: Some(secret.path().to_owned()), ..base }).await;
    let error = look(&provider).await.unwrap_err();
    assert!(matches!(error, ProviderError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("AADSTS7000215"), "{error}");
    assert!(!error.to_string().contains("wrong"), "the secret is in {error}");
    // Somebody corrects the file; nobody restarts the daemon.
    std::fs::write(secret.path(), SECRET).unwrap();
    look(&provider).await.unwrap();
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let server = azure().await;
    let check = async |change: fn(&mut Settings), code: &str, words: &str| {
        let (mut settings, _secret) = settings(&server.url());
        change(&mut settings);
        let error = look(&connect(settings).await).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(words), "{words} in {error}");
    };
    check(|s| s.client_secret_file = Some("nowhere".into()), "invalid", "client_secret_file: nowhere").await;
    let env = |s: &mut Settings| {
        (s.client_secret_file, s.client_secret_env) = (None, Some("SKALA_NO_SUCH_VARIABLE".into()));
    };
    check(env, "invalid", "SKALA_NO_SUCH_VARIABLE").await;
    check(|s| s.tenant = Some("other.example".into()), "denied", "AADSTS90002").await;
    check(|s| s.client_id = Some("nobody".into()), "denied", "AADSTS700016").await;
    check(|s| s.authority_host = Some("http://127.0.0.1:9".into()), "transport", "no token").await;
}
