//! Where the cloud is and how to prove who asks: a cloud of clouds.yaml and secure.yaml, or the environment's `OS_*`.
//!
//! In come names of files and variables, out comes an [`Access`]. It is read anew at every authentication, so a rotated
//! secret is found. It must never print or log a secret: nothing here that holds one can be shown.

mod entry;
mod files;
#[cfg(test)]
mod tests;

use contract::ProviderError;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// Looks a variable of the environment up.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Where and as whom.
#[derive(Clone, PartialEq)]
pub(crate) struct Access {
    /// Keystone, ending in `/v3`.
    pub auth_url: String,
    pub identity: Identity,
    pub region: Option<String>,
    /// `public`, `internal` or `admin`.
    pub interface: String,
    pub verify: bool,
    pub ca_file: Option<PathBuf>,
    /// Nova's URL, when it is not the catalog's.
    pub compute: Option<String>,
    /// Neutron's URL, when it is not the catalog's.
    pub network: Option<String>,
}

/// How to prove who asks.
#[derive(Clone, PartialEq)]
pub(crate) enum Identity {
    /// A v3 application credential: by id, or by name and user.
    Application { who: Value, secret: Secret },
    /// A user's password, for one project.
    Password { user: Value, password: Secret, project: Value },
}

/// A text that is never shown.
#[derive(Clone, PartialEq)]
pub(crate) struct Secret(pub String);

impl Identity {
    /// The body of `POST /v3/auth/tokens`.
    pub fn request(&self) -> Value {
        match self {
            Identity::Application { who, secret } => {
                let mut credential = who.clone();
                credential["secret"] = Value::String(secret.0.clone());
                json!({ "auth": { "identity": {
                    "methods": ["application_credential"], "application_credential": credential,
                } } })
            }
            Identity::Password { user, password, project } => {
                let mut user = user.clone();
                user["password"] = Value::String(password.0.clone());
                json!({ "auth": {
                    "identity": { "methods": ["password"], "password": { "user": user } },
                    "scope": { "project": project },
                } })
            }
        }
    }
}

/// Where an [`Access`] is read from.
#[derive(Clone)]
pub(crate) struct Source {
    /// The cloud of clouds.yaml that the settings name.
    pub cloud: Option<String>,
    /// Keystone's URL, when the settings give one.
    pub endpoint_url: Option<String>,
    pub region: Option<String>,
    pub interface: Option<String>,
    pub environment: Environment,
}

impl Source {
    /// Reads the access as it is now.
    ///
    /// # Errors
    /// `Invalid`, with what is missing or wrong and where.
    pub fn load(&self) -> Result<Access, ProviderError> {
        let named = self.cloud.clone().or_else(|| self.variable("OS_CLOUD"));
        let entry = match named {
            Some(cloud) => files::cloud(&cloud, &self.environment)?,
            None if self.variable("OS_AUTH_URL").is_some() => entry::Entry::of_environment(&self.environment),
            None => {
                let what =
                    "no cloud: name one of clouds.yaml as `cloud` or in OS_CLOUD, or set OS_AUTH_URL and its kin";
                return Err(ProviderError::Invalid { what: what.into() });
            }
        };
        let mut access = entry.access(self.endpoint_url.as_deref())?;
        access.region = self.region.clone().or(access.region);
        if let Some(interface) = &self.interface {
            access.interface = entry::interface(interface)
                .ok_or_else(|| ProviderError::Invalid { what: format!("interface: {interface:?}").into() })?;
        }
        Ok(access)
    }

    fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name).filter(|value| !value.is_empty())
    }
}
