//! Who skala is to Azure: the credential that the settings name, and the token it gave.
//!
//! In: checked settings and the time. Out: a bearer token that holds, or one typed error. A token is fetched anew five
//! minutes before its end; one that Azure refused is dropped together with the credential, so that a rotated secret is
//! read again. It must never print a secret.

use crate::Clock;
use crate::certificate::{Assertions, Certificate};
use crate::errors::{no_token, nonsense};
use crate::loopback;
use crate::settings::{AuthKind, Checked};
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::{ClientOptions, HttpClient, RetryOptions, Transport};
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, ClientAssertionCredential, ClientAssertionCredentialOptions,
    ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use contract::{ProviderError, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// A token is renewed when it holds for less than this.
const RENEW_BELOW: Duration = Duration::from_secs(300);
/// When renewing fails, the old token serves for as long as it holds at least this much longer.
const LAST_USE: Duration = Duration::from_secs(30);
/// Calls wait so long for a new token while the old one holds; they all wait, for there is one token.
const RENEW_WITHIN: Duration = Duration::from_secs(1);
/// A renewal that failed while the old token holds is tried again after this long.
const RENEW_AGAIN: Duration = Duration::from_secs(30);
/// Where `credential:NAME` points when systemd does not say.
const CREDENTIALS_DEFAULT: &str = "/run/credentials/skala.service";

/// The tokens of one provider.
pub(crate) struct Auth {
    settings: Checked,
    client: Arc<dyn HttpClient>,
    now: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    credential: Option<Arc<dyn TokenCredential>>,
    token: Option<(Secret, Timestamp)>,
    /// When renewing it failed.
    failed: Option<Timestamp>,
}

impl Auth {
    pub fn new(settings: Checked, client: Arc<dyn HttpClient>, now: Clock) -> Self {
        Self { settings, client, now, state: Mutex::default() }
    }

    /// A token that holds.
    ///
    /// # Errors
    /// `Denied` or `Expired` when the credentials are to blame, `Transport` when nobody answered; nothing was sent to ARM.
    pub async fn token(&self) -> Result<Secret, ProviderError> {
        let mut state = self.state.lock().await;
        let now = (self.now)();
        let holds = |least: Duration, state: &State| {
            state.token.as_ref().filter(|(_, end)| end.since(now) >= least).map(|(token, _)| token.clone())
        };
        if let Some(token) = holds(RENEW_BELOW, &state) {
            return Ok(token);
        }
        let Some(old) = holds(LAST_USE, &state) else {
            return self.renew(&mut state).await;
        };
        if state.failed.is_some_and(|failed| failed <= now && now.since(failed) < RENEW_AGAIN) {
            return Ok(old);
        }
        let renewed = match tokio::time::timeout(RENEW_WITHIN, self.renew(&mut state)).await {
            Ok(renewed) => renewed,
            Err(_) => Err(nonsense(format!("no token: no answer within {} s", RENEW_WITHIN.as_secs()))),
        };
        renewed.or_else(|error| {
            tracing::warn!(%error, "the token could not be renewed; the old one still holds");
            (state.credential, state.failed) = (None, Some(now));
            Ok(old)
        })
    }

    /// Gets a new token. The credential that gave none is made anew the next time.
    async fn renew(&self, state: &mut State) -> Result<Secret, ProviderError> {
        let credential = match &state.credential {
            Some(credential) => Arc::clone(credential),
            None => Arc::clone(state.credential.insert(self.credential()?)),
        };
        match credential.get_token(&[&self.settings.scope], None).await {
            Ok(fresh) => {
                let end = Timestamp::from_secs(fresh.expires_on.unix_timestamp());
                (state.token, state.failed) = (Some((fresh.token.clone(), end)), None);
                Ok(fresh.token)
            }
            Err(error) => {
                state.credential = None;
                Err(no_token(error))
            }
        }
    }

    /// Azure refused this token: the next call gets a new one, from a credential that reads its secret anew.
    pub async fn refused(&self, token: &Secret) {
        let mut state = self.state.lock().await;
        if state.token.as_ref().is_some_and(|(known, _)| known.secret() == token.secret()) {
            *state = State::default();
        }
    }

    /// Makes the credential; it makes no call yet.
    fn credential(&self) -> Result<Arc<dyn TokenCredential>, ProviderError> {
        let settings = &self.settings.settings;
        let needed = |key: &str, value: &Option<String>| {
            value.clone().ok_or_else(|| ProviderError::Invalid { what: format!("{key} is missing").into() })
        };
        let options = || self.options();
        let made: azure_core::Result<Arc<dyn TokenCredential>> = match settings.auth {
            AuthKind::ClientSecret => {
                let (tenant, client) = (needed("tenant", &settings.tenant)?, needed("client_id", &settings.client_id)?);
                let options = ClientSecretCredentialOptions { client_options: options() };
                ClientSecretCredential::new(&tenant, client, self.secret()?.into(), Some(options))
                    .map(|made| made as Arc<dyn TokenCredential>)
            }
            AuthKind::ClientCertificate => {
                let (tenant, client) = (needed("tenant", &settings.tenant)?, needed("client_id", &settings.client_id)?);
                let path = settings.client_certificate_file.as_deref().unwrap_or(Path::new(""));
                let assertions = Assertions {
                    certificate: Arc::new(Certificate::read(&place(path))?),
                    client_id: client.clone(),
                    audience: format!(
                        "{}/{tenant}/oauth2/v2.0/token",
                        loopback::as_https(&self.settings.authority).as_str().trim_end_matches('/')
                    ),
                    now: Arc::clone(&self.now),
                };
                let options = ClientAssertionCredentialOptions { client_options: options() };
                ClientAssertionCredential::new(tenant, client, assertions, Some(options))
                    .map(|made| made as Arc<dyn TokenCredential>)
            }
            AuthKind::WorkloadIdentity => WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
                credential_options: ClientAssertionCredentialOptions { client_options: options() },
                client_id: settings.client_id.clone(),
                tenant_id: settings.tenant.clone(),
                token_file_path: settings.federated_token_file.as_deref().map(place),
            }))
            .map(|made| made as Arc<dyn TokenCredential>),
            AuthKind::ManagedIdentity => ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                user_assigned_id: settings.client_id.clone().map(UserAssignedId::ClientId),
                client_options: options(),
            }))
            .map(|made| made as Arc<dyn TokenCredential>),
            AuthKind::Cli => AzureCliCredential::new(Some(AzureCliCredentialOptions {
                subscription: Some(settings.subscription.clone()),
                tenant_id: settings.tenant.clone(),
                ..AzureCliCredentialOptions::default()
            }))
            .map(|made| made as Arc<dyn TokenCredential>),
        };
        made.map_err(no_token)
    }

    /// No retries of the SDK's: every call here has a deadline of ours around it.
    fn options(&self) -> ClientOptions {
        let mut custom = CustomConfiguration::default();
        custom.authority_host = loopback::as_https(&self.settings.authority).to_string();
        ClientOptions {
            retry: RetryOptions::none(),
            transport: Some(Transport::new(loopback::client(&self.settings.authority, Arc::clone(&self.client)))),
            cloud: Some(Arc::new(CloudConfiguration::Custom(custom))),
            ..ClientOptions::default()
        }
    }

    fn secret(&self) -> Result<String, ProviderError> {
        let settings = &self.settings.settings;
        let read = match &settings.client_secret_file {
            Some(path) => std::fs::read_to_string(place(path))
                .map_err(|error| format!("client_secret_file: {}: {error}", path.display())),
            None => {
                let name = settings.client_secret_env.as_deref().unwrap_or("AZURE_CLIENT_SECRET");
                std::env::var(name).map_err(|_| format!("client_secret_env: {name} is not set"))
            }
        };
        let secret = read
            .map(|text| text.trim().to_owned())
            .and_then(|text| if text.is_empty() { Err("the client secret is empty".to_owned()) } else { Ok(text) });
        secret.map_err(|what| ProviderError::Invalid { what: what.into() })
    }
}

/// Where a file of the settings is: `credential:NAME` is in systemd's credentials directory.
fn place(path: &Path) -> PathBuf {
    match path.to_str().and_then(|text| text.strip_prefix("credential:")) {
        Some(name) => {
            let directory = std::env::var_os("CREDENTIALS_DIRECTORY").map_or(CREDENTIALS_DEFAULT.into(), PathBuf::from);
            directory.join(name)
        }
        None => path.to_owned(),
    }
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
