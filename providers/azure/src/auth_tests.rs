//! Tokens: from whom they are asked, how long they are kept, and what becomes of one that Azure refused.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::settings::Settings;
use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, Headers};
use azure_core::http::{AsyncRawResponse, Request, StatusCode};
use azure_core::time::OffsetDateTime;
use std::sync::Mutex as Lock;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

/// Answers every request with a new token that holds an hour, or with nothing.
#[derive(Debug, Default)]
struct Issuer {
    asked: Lock<Vec<(String, Option<String>)>>,
    silent: Lock<bool>,
    /// It never answers.
    hangs: Lock<bool>,
}

#[async_trait::async_trait]
impl HttpClient for Issuer {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let metadata = request.headers().get_optional_string(&HeaderName::from_static("metadata"));
        let nth = {
            let mut asked = self.asked.lock().unwrap();
            asked.push((request.url().to_string(), metadata));
            asked.len()
        };
        let hangs = *self.hangs.lock().unwrap();
        if hangs {
            return std::future::pending().await;
        }
        if *self.silent.lock().unwrap() {
            return Err(azure_core::Error::with_message(ErrorKind::Connection, "nobody answers"));
        }
        let end = OffsetDateTime::now_utc().unix_timestamp() + 3_600;
        let body = serde_json::json!({
            "access_token": format!("token-{nth}"),
            "token_type": "Bearer",
            "resource": "https://management.azure.com",
            "expires_in": if request.url().as_str().contains("/metadata/") { "3600".into() } else { serde_json::json!(3600) },
            "expires_on": end.to_string(),
        });
        Ok(AsyncRawResponse::from_bytes(StatusCode::Ok, Headers::new(), body.to_string()))
    }
}

/// The real time, and so much more.
fn clock(ahead: &Arc<AtomicI64>) -> Clock {
    let ahead = Arc::clone(ahead);
    Arc::new(move || Timestamp::from_secs(OffsetDateTime::now_utc().unix_timestamp() + ahead.load(SeqCst)))
}

fn auth(settings: Settings, issuer: &Arc<Issuer>, ahead: &Arc<AtomicI64>) -> Auth {
    let settings = Settings { subscription: "00000000-1111-2222-3333-444444444444".into(), ..settings };
    Auth::new(settings.check().unwrap(), Arc::clone(issuer) as Arc<dyn HttpClient>, clock(ahead))
}

fn by_secret(secret: &Path) -> Settings {
    Settings {
        auth: AuthKind::ClientSecret,
        tenant: Some("contoso.example".into()),
        client_id: Some("app".into()),
        client_secret_file: Some(secret.to_owned()),
        ..Settings::default()
    }
}

fn secret() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hush\n").unwrap();
    file
}

#[tokio::test]
async fn a_machine_asks_its_own_metadata_service_for_the_identity_named() {
    let (issuer, ahead) = (Arc::default(), Arc::default());
    let settings = Settings { client_id: Some("identity-7".into()), ..Settings::default() };
    assert_eq!(auth(settings, &issuer, &ahead).token().await.unwrap().secret(), "token-1");
    let (url, metadata) = issuer.asked.lock().unwrap()[0].clone();
    assert!(url.starts_with("http://169.254.169.254/metadata/identity/oauth2/token?"), "{url}");
    assert!(url.contains("client_id=identity-7"), "{url}");
    assert!(url.contains("resource=https%3A%2F%2Fmanagement.azure.com"), "{url}");
    assert_eq!(metadata.as_deref(), Some("true"));
}

#[tokio::test]
async fn another_clouds_authority_is_asked_for_its_own_audience() {
    let (issuer, ahead, file) = (Arc::default(), Arc::default(), secret());
    let settings = Settings {
        authority_host: Some("https://login.chinacloudapi.cn".into()),
        endpoint_url: Some("https://management.chinacloudapi.cn".into()),
        ..by_secret(file.path())
    };
    auth(settings, &issuer, &ahead).token().await.unwrap();
    let asked = issuer.asked.lock().unwrap();
    assert_eq!(asked[0].0, "https://login.chinacloudapi.cn/contoso.example/oauth2/v2.0/token");
}

#[tokio::test]
async fn a_token_is_kept_renewed_in_time_and_used_up_when_it_cannot_be() {
    let (issuer, ahead, file): (Arc<Issuer>, Arc<AtomicI64>, _) = (Arc::default(), Arc::default(), secret());
    let auth = auth(by_secret(file.path()), &issuer, &ahead);
    let token = async || auth.token().await.map(|token| token.secret().to_owned()).map_err(|error| error.code());
    assert_eq!(token().await, Ok("token-1".into()));
    ahead.store(3_200, SeqCst);
    assert_eq!(token().await, Ok("token-1".into()), "it holds more than five minutes");
    ahead.store(3_400, SeqCst);
    *issuer.silent.lock().unwrap() = true;
    // The SDK keeps its own copy as long as it thinks right; here it is made anew, which nobody answers.
    auth.state.lock().await.credential = None;
    assert_eq!(token().await, Ok("token-1".into()), "the old one still holds");
    ahead.store(3_590, SeqCst);
    assert_eq!(token().await, Err("transport"), "it is over");
    *issuer.silent.lock().unwrap() = false;
    assert!(token().await.is_ok());
}

#[tokio::test]
async fn a_renewal_that_hangs_keeps_nobody_waiting_while_the_old_token_holds() {
    let (issuer, ahead, file): (Arc<Issuer>, Arc<AtomicI64>, _) = (Arc::default(), Arc::default(), secret());
    let auth = auth(by_secret(file.path()), &issuer, &ahead);
    let token = async || auth.token().await.map(|token| token.secret().to_owned()).map_err(|error| error.code());
    let asked = || issuer.asked.lock().unwrap().len();
    assert_eq!(token().await, Ok("token-1".into()));
    ahead.store(3_400, SeqCst);
    *issuer.hangs.lock().unwrap() = true;
    // The SDK's own copy would answer for it.
    auth.state.lock().await.credential = None;
    let in_time = Duration::from_secs(5);
    assert_eq!(tokio::time::timeout(in_time, token()).await.unwrap(), Ok("token-1".into()));
    assert_eq!((token().await, asked()), (Ok("token-1".into()), 2), "not tried again at once");
    *issuer.hangs.lock().unwrap() = false;
    ahead.store(3_420, SeqCst);
    assert_eq!((token().await, asked()), (Ok("token-1".into()), 2));
    ahead.store(3_435, SeqCst);
    assert_eq!((token().await, asked()), (Ok("token-3".into()), 3), "half a minute later");
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_spoils_no_token_that_holds() {
    let (issuer, ahead, file): (Arc<Issuer>, Arc<AtomicI64>, _) = (Arc::default(), Arc::default(), secret());
    let auth = auth(by_secret(file.path()), &issuer, &ahead);
    auth.token().await.unwrap();
    auth.state.lock().await.credential = None;
    drop(file);
    ahead.store(3_400, SeqCst);
    assert_eq!(auth.token().await.unwrap().secret(), "token-1");
    ahead.store(3_590, SeqCst);
    assert_eq!(auth.token().await.unwrap_err().code(), "invalid");
}

#[tokio::test]
async fn a_token_that_azure_refused_is_not_used_again() {
    let (issuer, ahead, file): (Arc<Issuer>, Arc<AtomicI64>, _) = (Arc::default(), Arc::default(), secret());
    let auth = auth(by_secret(file.path()), &issuer, &ahead);
    let first = auth.token().await.unwrap();
    auth.refused(&first).await;
    let second = auth.token().await.unwrap();
    assert_eq!((first.secret(), second.secret()), ("token-1", "token-2"));
    // Somebody else was refused with the first one meanwhile: the second stays.
    auth.refused(&first).await;
    assert_eq!(auth.token().await.unwrap().secret(), "token-2");
}
