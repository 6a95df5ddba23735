//! Who signs: credentials found in the order of Alibaba Cloud's own tools, kept, and renewed ahead of their end.
//!
//! An explicit file or profile of skala.toml counts alone. Else the environment's access key, the environment's OIDC
//! role (workload identity), the profile files, and last the ECS instance's RAM role. A secret never shows in a log, an
//! error or a `Debug`. What cannot be had is an error that says where it was looked for, never an unsigned call.

mod files;
mod remote;

use crate::Clock;
use crate::settings::Sources;
use contract::{ProviderError, Timestamp};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// Renewed this long before their end; the shortest sessions last 15 minutes.
const AHEAD: Duration = Duration::from_secs(300);
/// While the old ones still hold, a renewal that failed is tried again this much later.
const RENEW_AGAIN: Duration = Duration::from_secs(20);

/// What signs a call.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key {
    id: String,
    secret: String,
    token: Option<String>,
    until: Option<Timestamp>,
}

impl Key {
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secret itself, for the signature alone.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, until {:?})", self.id, self.until)
    }
}

/// Finds a variable of the environment.
type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The process's environment, or what stands for it.
#[derive(Clone)]
pub(crate) struct Surroundings {
    environment: Environment,
}

impl Surroundings {
    pub fn new(environment: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { environment: Arc::new(environment) }
    }

    /// A variable that is set and not empty.
    fn get(&self, name: &str) -> Option<String> {
        (self.environment)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1")
    }

    fn home(&self, path: &str) -> Option<PathBuf> {
        Some(Path::new(&self.get("HOME")?).join(path))
    }

    /// `credential:NAME` is a file that systemd handed over.
    fn resolve(&self, path: &Path) -> PathBuf {
        match path.to_str().and_then(|text| text.strip_prefix("credential:")) {
            Some(name) => {
                let directory = self.get("CREDENTIALS_DIRECTORY");
                Path::new(directory.as_deref().unwrap_or("/run/credentials/skala.service")).join(name)
            }
            None => path.to_owned(),
        }
    }
}

/// Where a key comes from once it is known where to look.
#[derive(Debug, PartialEq, Eq)]
enum Origin {
    Key(Key),
    Oidc { role: String, provider: String, token_file: PathBuf, session: String },
    Ecs { role: Option<String> },
}

/// The credentials of one account.
pub(crate) struct Credentials {
    sources: Sources,
    surroundings: Surroundings,
    client: reqwest::Client,
    clock: Clock,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    key: Option<Key>,
    renew_after: Option<Timestamp>,
}

impl Credentials {
    pub fn new(sources: Sources, surroundings: Surroundings, client: reqwest::Client, clock: Clock) -> Self {
        Self { sources, surroundings, client, clock, kept: Mutex::default() }
    }

    /// A key that holds now.
    ///
    /// # Errors
    /// `Denied` when there are none, `Invalid` when a file or variable makes no sense, else what the service said.
    pub async fn key(&self) -> Result<Key, ProviderError> {
        let mut kept = self.kept.lock().await;
        let now = (self.clock)();
        let holds = |key: &Key, ahead: Duration| key.until.is_none_or(|until| until > now.after(ahead));
        let waits = kept.renew_after.is_some_and(|after| now < after);
        if let Some(key) = &kept.key
            && (holds(key, AHEAD) || (waits && holds(key, Duration::ZERO)))
        {
            return Ok(key.clone());
        }
        match self.find().await {
            Ok(key) => {
                *kept = Kept { key: Some(key.clone()), renew_after: None };
                Ok(key)
            }
            Err(error) => match kept.key.clone().filter(|key| holds(key, Duration::ZERO)) {
                Some(key) => {
                    tracing::warn!(%error, "cannot renew credentials; the old ones still hold");
                    kept.renew_after = Some(now.after(RENEW_AGAIN));
                    Ok(key)
                }
                None => Err(error),
            },
        }
    }

    /// Drops a key that the cloud refused; the next call looks for one again.
    pub async fn forget(&self, refused: &Key) {
        let mut kept = self.kept.lock().await;
        if kept.key.as_ref() == Some(refused) {
            *kept = Kept::default();
        }
    }

    async fn find(&self) -> Result<Key, ProviderError> {
        match self.origin()? {
            Origin::Key(key) => Ok(key),
            Origin::Oidc { role, provider, token_file, session } => {
                let asked = remote::Oidc { role: &role, provider: &provider, session: &session };
                let token = files::read(&token_file)?;
                remote::assume_role(&self.client, &self.sources.sts, &asked, token.trim(), (self.clock)()).await
            }
            Origin::Ecs { role } => remote::instance_role(&self.client, &self.sources.metadata, role.as_deref()).await,
        }
    }

    fn origin(&self) -> Result<Origin, ProviderError> {
        let around = &self.surroundings;
        let profile = self.sources.profile.clone();
        if let Some(path) = &self.sources.file {
            let path = around.resolve(path);
            return files::ini(&files::read(&path)?, &path, profile.as_deref().unwrap_or("default"));
        }
        if profile.is_none() {
            if let Some(origin) = self.of_environment()? {
                return Ok(origin);
            }
            if let Some(origin) = self.workload_identity() {
                return Ok(origin);
            }
        }
        let profile = profile.or_else(|| around.get("ALIBABA_CLOUD_PROFILE"));
        let cli = around.home(".aliyun/config.json").filter(|_| !around.is_true("ALIBABA_CLOUD_CLI_PROFILE_DISABLED"));
        if let Some(path) = cli.filter(|path| path.is_file())
            && let Some(origin) = files::cli(&files::read(&path)?, &path, profile.as_deref())?
        {
            return Ok(origin);
        }
        let ini = around.get("ALIBABA_CLOUD_CREDENTIALS_FILE").map(PathBuf::from);
        let ini = ini.or_else(|| around.home(".alibabacloud/credentials.ini").filter(|path| path.is_file()));
        if let Some(path) = ini {
            return files::ini(&files::read(&path)?, &path, profile.as_deref().unwrap_or("default"));
        }
        if let Some(profile) = &self.sources.profile {
            return Err(invalid(format!("profile {profile:?}: there is no file of profiles")));
        }
        if around.is_true("ALIBABA_CLOUD_ECS_METADATA_DISABLED") {
            let what = "no credentials: neither in the environment nor in a profile file, and the instance's are off";
            return Err(ProviderError::Denied { what: what.into() });
        }
        let role = self.sources.ecs_role.clone().or_else(|| around.get("ALIBABA_CLOUD_ECS_METADATA"));
        Ok(Origin::Ecs { role })
    }

    fn of_environment(&self) -> Result<Option<Origin>, ProviderError> {
        let [id, secret, token] = ["ACCESS_KEY_ID", "ACCESS_KEY_SECRET", "SECURITY_TOKEN"]
            .map(|name| self.surroundings.get(&environment(name)));
        match (id, secret) {
            (Some(id), Some(secret)) => Ok(Some(Origin::Key(Key { id, secret, token, until: None }))),
            (None, None) => Ok(None),
            (id, _) => {
                let (has, lacks) = if id.is_some() { ("ID", "SECRET") } else { ("SECRET", "ID") };
                Err(invalid(format!(
                    "ALIBABA_CLOUD_ACCESS_KEY_{has} is set and ALIBABA_CLOUD_ACCESS_KEY_{lacks} is not"
                )))
            }
        }
    }

    fn workload_identity(&self) -> Option<Origin> {
        let get = |name: &str| self.surroundings.get(&environment(name));
        Some(Origin::Oidc {
            role: get("ROLE_ARN")?,
            provider: get("OIDC_PROVIDER_ARN")?,
            token_file: get("OIDC_TOKEN_FILE")?.into(),
            session: get("ROLE_SESSION_NAME").unwrap_or_else(|| "skala".into()),
        })
    }
}

fn environment(name: &str) -> String {
    format!("ALIBABA_CLOUD_{name}")
}

fn invalid(what: String) -> ProviderError {
    ProviderError::Invalid { what: what.into() }
}

#[cfg(test)]
mod tests;
