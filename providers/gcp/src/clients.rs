//! The SDK's clients, and where their credentials come from.
//!
//! Credentials are found when the provider is made; tokens are asked for by the SDK at the first call. The SDK's own
//! retries are off (every attempt of a write needs a fresh read before it), and it follows no redirect: an answer from
//! elsewhere is no answer, and a token must not travel.

use crate::settings::{CredentialsKind, Settings};
use contract::ProviderError;
use google_cloud_auth::credentials::{
    Credentials, anonymous, external_account, impersonated, service_account, user_account,
};
use google_cloud_compute_v1::client::{
    Autoscalers, InstanceGroupManagers, Instances, RegionAutoscalers, RegionInstanceGroupManagers, RegionOperations,
    ZoneOperations,
};
use google_cloud_gax::client_builder::internal::with_follow_redirects;
use google_cloud_gax::retry_policy::NeverRetry;
use serde_json::Value;
use std::path::PathBuf;
use tokio::sync::OnceCell;

/// What a token may be used for: one for each API, so that none can do more than its calls.
const COMPUTE: &str = "https://www.googleapis.com/auth/compute";
pub(crate) const MONITORING: &str = "https://www.googleapis.com/auth/monitoring.read";

/// Makes each client at its first use: that takes a while (it reads the machine's certificates), many providers never
/// need all, and it may ask the metadata server where the API is.
pub(crate) struct Door {
    credentials: Credentials,
    endpoint: Option<String>,
    zonal: OnceCell<InstanceGroupManagers>,
    regional: OnceCell<RegionInstanceGroupManagers>,
    instances: OnceCell<Instances>,
    zone_operations: OnceCell<ZoneOperations>,
    region_operations: OnceCell<RegionOperations>,
    autoscalers: OnceCell<Autoscalers>,
    region_autoscalers: OnceCell<RegionAutoscalers>,
}

macro_rules! clients {
    ($($name:ident: $kind:ty,)*) => {
        impl Door {
            fn over(credentials: Credentials, endpoint: Option<String>) -> Self {
                Self { credentials, endpoint, $($name: OnceCell::new(),)* }
            }

            $(
                /// The client of this service.
                ///
                /// # Errors
                /// `Invalid` when it cannot be made: a wrong address, or credentials of another of Google's clouds.
                pub async fn $name(&self) -> Result<&$kind, ProviderError> {
                    let make = || async {
                        let mut builder =
                            <$kind>::builder().with_credentials(self.credentials.clone()).with_retry_policy(NeverRetry);
                        if let Some(endpoint) = &self.endpoint {
                            builder = builder.with_endpoint(endpoint);
                        }
                        let made = with_follow_redirects(builder, false).build().await;
                        made.map_err(|error| ProviderError::Invalid { what: format!("endpoint_url: {error}").into() })
                    };
                    self.$name.get_or_try_init(make).await
                }
            )*
        }
    };
}

clients! {
    zonal: InstanceGroupManagers,
    regional: RegionInstanceGroupManagers,
    instances: Instances,
    zone_operations: ZoneOperations,
    region_operations: RegionOperations,
    autoscalers: Autoscalers,
    region_autoscalers: RegionAutoscalers,
}

impl Door {
    /// Finds credentials, without a call.
    ///
    /// # Errors
    /// `Invalid` when there are none, or a file of them cannot be read.
    pub fn new(settings: &Settings) -> Result<Self, ProviderError> {
        Ok(Self::over(find(settings, COMPUTE)?, settings.endpoint_url.clone()))
    }

    /// The same door for another provider.
    pub fn again(&self) -> Self {
        Self::over(self.credentials.clone(), self.endpoint.clone())
    }
}

/// Finds credentials for a scope, without a call.
///
/// # Errors
/// `Invalid` when there are none, or a file of them cannot be read.
pub(crate) fn find(settings: &Settings, scope: &'static str) -> Result<Credentials, ProviderError> {
    let quota = settings.quota_project.as_deref();
    if settings.credentials == Some(CredentialsKind::Anonymous) {
        return Ok(anonymous::Builder::new().build());
    }
    if let Some(file) = &settings.credentials_file {
        return from_file(file, quota, scope).map_err(|what| ProviderError::Invalid { what: what.into() });
    }
    let mut builder = google_cloud_auth::credentials::Builder::default().with_scopes([scope]);
    if let Some(project) = quota {
        builder = builder.with_quota_project_id(project);
    }
    builder.build().map_err(|error| ProviderError::Invalid { what: format!("credentials: {error}").into() })
}

fn from_file(file: &str, quota: Option<&str>, scope: &'static str) -> Result<Credentials, String> {
    let path = match (file.contains('/'), std::env::var_os("CREDENTIALS_DIRECTORY")) {
        (false, Some(directory)) => PathBuf::from(directory).join(file),
        (false, None) => {
            return Err(format!("credentials_file: {file:?}: no $CREDENTIALS_DIRECTORY is set; write a path"));
        }
        (true, _) => PathBuf::from(file),
    };
    let shown = path.display();
    let text = std::fs::read_to_string(&path).map_err(|error| format!("credentials_file: {shown}: {error}"))?;
    // The parser's words may quote the text, which is secret.
    let json: Value = serde_json::from_str(&text).map_err(|_| format!("credentials_file: {shown} is not JSON"))?;
    let kind = json.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    macro_rules! build {
        ($builder:expr) => {{
            let mut builder = $builder;
            if let Some(project) = quota {
                builder = builder.with_quota_project_id(project);
            }
            builder.build()
        }};
    }
    let made = match kind.as_str() {
        "service_account" => {
            let scopes = service_account::AccessSpecifier::from_scopes([scope]);
            build!(service_account::Builder::new(json).with_access_specifier(scopes))
        }
        "external_account" => build!(external_account::Builder::new(json).with_scopes([scope])),
        "impersonated_service_account" => build!(impersonated::Builder::new(json).with_scopes([scope])),
        "authorized_user" => build!(user_account::Builder::new(json).with_scopes([scope])),
        other => {
            let known = "service_account, external_account, impersonated_service_account or authorized_user";
            return Err(format!("credentials_file: {shown}: its type is {other:?}; {known} is meant"));
        }
    };
    made.map_err(|error| format!("credentials_file: {shown}: {error}"))
}
