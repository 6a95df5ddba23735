//! The login: from a kubeconfig's user to a client that may ask.
//!
//! Nothing is tried before the first call: one cluster's login must not keep a daemon of many clouds from starting. The
//! exec plugin is run here and not by the client, which gives it no end and begins another one for every caller that has
//! left. There is one attempt at a time, in a task that outlives its callers; a failed one is made again a little later.

use crate::Clock;
use crate::errors::cut;
use crate::plugin::{self, Credential};
use contract::{ProviderError, Timestamp};
use kube::client::ClientBuilder;
use kube::config::{AuthInfo, ExecConfig};
use kube::{Client, Config};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(5);
/// Credentials are replaced so long before they expire, and used until then.
const EARLY: Duration = Duration::from_secs(60);

/// The way to a client of one cluster.
pub(crate) struct Login {
    config: Config,
    clock: Clock,
    /// A plugin is killed after this.
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ready: Option<Ready>,
    /// The attempt in the air: it goes on until the sender is gone.
    trying: Option<watch::Receiver<()>>,
    failed: Option<(Instant, ProviderError)>,
}

/// A client, until its credentials expire.
struct Ready {
    client: Client,
    made: Instant,
    expires: Option<Timestamp>,
}

enum Look {
    There(Client),
    Failed(ProviderError),
    Trying(watch::Receiver<()>),
}

impl Login {
    pub fn new(config: Config, clock: Clock, patience: Duration) -> Arc<Self> {
        Arc::new(Self { config, clock, patience, state: Mutex::default() })
    }

    /// The client, when there is one by the deadline.
    ///
    /// # Errors
    /// `Denied` when there are no credentials, `Transport` when they take too long. Nothing has been sent then.
    pub async fn client(self: &Arc<Self>, deadline: Instant) -> Result<Client, ProviderError> {
        let mut trying = match self.look() {
            Look::There(client) => return Ok(client),
            Look::Failed(error) => return Err(error),
            Look::Trying(trying) => trying,
        };
        // That its sender has gone is the end of it.
        if tokio::time::timeout_at(deadline, trying.changed()).await.is_err() {
            let what = format!("{} goes on; a later call uses what it gives: {}", self.named(), plugin::ADVICE);
            return Err(ProviderError::Transport { what: cut(&what, 300), source: None });
        }
        match self.look() {
            Look::There(client) => Ok(client),
            Look::Failed(error) => Err(error),
            Look::Trying(_) => {
                let what = format!("{} broke off and is tried again", self.named());
                Err(ProviderError::Transport { what: what.into(), source: None })
            }
        }
    }

    /// The cluster refused the credentials: they may have been taken back before their time.
    pub fn refused(&self) {
        let mut state = self.lock();
        // What was sent with older ones says nothing of those that have just come.
        if state.ready.as_ref().is_some_and(|ready| ready.made.elapsed() >= PAUSE) {
            state.ready = None;
        }
    }

    fn look(self: &Arc<Self>) -> Look {
        let at = (self.clock)();
        let mut state = self.lock();
        let ready = state.ready.as_ref().filter(|ready| ready.is_fresh(at) || ready.is_valid(at));
        let (client, is_fresh) =
            (ready.map(|ready| ready.client.clone()), ready.is_some_and(|ready| ready.is_fresh(at)));
        if let (Some(client), true) = (&client, is_fresh) {
            return Look::There(client.clone());
        }
        let in_the_air = state.trying.clone().filter(|trying| trying.has_changed().is_ok());
        if in_the_air.is_none()
            && let Some((when, error)) = &state.failed
            && when.elapsed() < PAUSE
        {
            return client.map_or_else(|| Look::Failed(error.again()), Look::There);
        }
        let trying = in_the_air.unwrap_or_else(|| self.begin());
        state.trying = Some(trying.clone());
        client.map_or(Look::Trying(trying), Look::There)
    }

    /// Begins an attempt that ends by itself, whoever waits for it.
    fn begin(self: &Arc<Self>) -> watch::Receiver<()> {
        let (ended, trying) = watch::channel(());
        let login = Arc::clone(self);
        tokio::spawn(async move {
            let made = login.make().await;
            let mut state = login.lock();
            match made {
                Ok(ready) => (state.ready, state.failed) = (Some(ready), None),
                Err(error) => state.failed = Some((Instant::now(), error)),
            }
            drop(state);
            drop(ended);
        });
        trying
    }

    async fn make(&self) -> Result<Ready, ProviderError> {
        let mut config = self.config.clone();
        let mut expires = None;
        if let Some(exec) = of_plugin(&self.config.auth_info) {
            let credential = plugin::run(exec, self.patience).await?;
            expires = credential.expires;
            put(credential, &mut config.auth_info);
        }
        config.auth_info.exec = None;
        let client = ClientBuilder::try_from(config).map_err(|error| {
            let what = format!("no credentials: {error}; check this user in the kubeconfig");
            ProviderError::Denied { what: cut(&what, 300) }
        })?;
        Ok(Ready { client: client.build(), made: Instant::now(), expires })
    }

    fn named(&self) -> String {
        let command = of_plugin(&self.config.auth_info).and_then(|exec| exec.command.as_deref());
        command.map_or_else(|| "the login".into(), |command| format!("the login by the kubeconfig's plugin {command}"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ready {
    /// Nothing better can be had now. What has just come counts, whatever its time: the cluster may see it otherwise.
    fn is_fresh(&self, at: Timestamp) -> bool {
        self.expires.is_none_or(|expires| at.after(EARLY) < expires) || self.made.elapsed() < PAUSE
    }

    fn is_valid(&self, at: Timestamp) -> bool {
        self.expires.is_none_or(|expires| at < expires)
    }
}

/// What can be said of a configuration without logging in.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(config: &Config) -> Result<(), String> {
    let mut without = config.clone();
    without.auth_info = AuthInfo::default();
    ClientBuilder::try_from(without).map(drop).map_err(|error| format!("the cluster's configuration: {error}"))?;
    let auth = &config.auth_info;
    if auth.auth_provider.as_ref().is_some_and(|provider| provider.config.contains_key("cmd-path")) {
        return Err("kubeconfig: auth-provider with cmd-path is no longer run by any client; name its plugin in \
            users.exec, such as gke-gcloud-auth-plugin"
            .into());
    }
    if of_plugin(auth).is_some_and(|exec| exec.command.is_none()) {
        return Err("kubeconfig: users.exec names no command".into());
    }
    Ok(())
}

/// The plugin, where nothing else that counts more is given.
fn of_plugin(auth: &AuthInfo) -> Option<&ExecConfig> {
    let is_other = auth.auth_provider.is_some()
        || (auth.username.is_some() && auth.password.is_some())
        || auth.token.is_some()
        || auth.token_file.is_some();
    auth.exec.as_ref().filter(|_| !is_other)
}

fn put(credential: Credential, auth: &mut AuthInfo) {
    auth.token = credential.token.map(Into::into);
    if let Some((certificate, key)) = credential.identity {
        (auth.client_certificate_data, auth.client_key_data) = (Some(certificate), Some(key.into()));
    }
}
