//! `skala run`: the daemon. Here are only the process's surroundings: files, signals, the service manager, listeners.
//! What it does is `app`.

use super::check::CONFIG_DEFAULT;
use super::{Exit, invalid, outfit};
use anyhow::Context;
use contract::Owner;
use sd_notify::NotifyState;
use skala::api::{Api, Listeners};
use skala::app::{App, Seams, StopReason};
use skala::clock::{Clock, SystemClock};
use skala::config::{SkalaToml, StoreConfig};
use skala::control::Control;
use skala::entropy::{Entropy, SystemEntropy};
use skala::policy_sources::directory::Directory;
use skala::published::Published;
use skala::store::refusing::Refusing;
use skala::store::sqlite::SqliteStore;
use skala::store::url::StoreUrl;
use skala::store::{Options, Store, StoreError};
use skala::telemetry::ProcessMetrics;
use skala::telemetry::logs::{self, LogFormat};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

/// Cycles are one task; the other threads serve calls, queries and the API.
const WORKERS: usize = 2;
/// How often the service manager is told, when it has no watchdog to be fed more often.
const NOTIFY_EVERY: Duration = Duration::from_secs(5);
/// How soon the first cycle's end is seen.
const READY_EVERY: Duration = Duration::from_millis(100);

/// Run the daemon in the foreground
#[derive(Debug, clap::Args)]
pub struct Run {
    /// The daemon's configuration
    #[arg(long, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    config: PathBuf,
    /// Start although more than 20 % of the fleets are gone since the last good policies
    #[arg(long)]
    allow_removal: bool,
    /// How log lines look on standard error: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// What is logged, as in RUST_LOG [default: info]
    #[arg(long, value_name = "FILTER")]
    log_level: Option<String>,
}

impl Run {
    /// Runs until SIGTERM or SIGINT.
    pub fn run(self) -> anyhow::Result<Exit> {
        logs::install(self.log_format, self.log_level.as_deref()).map_err(super::usage)?;
        let config = outfit::read_config(&self.config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
        runtime.block_on(self.daemon(config))
    }

    async fn daemon(self, config: SkalaToml) -> anyhow::Result<Exit> {
        // Signals first: one that comes while the store is opened must not kill us in the middle of it.
        let mut signals = Signals::new()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::default());
        let store = open_store(&config.store, &*entropy)?;
        let owner = Owner { id: owner_id(&config, &*store).await };
        let listeners = Listeners::bind(Some(&config.api.socket), Some(config.api.listen)).await?;
        let (control, asked) = mpsc::channel(64);
        let metrics = Arc::new(ProcessMetrics::new());
        let providers = outfit::providers(&config, &owner, &clock, &metrics).await?;
        let sources = outfit::sources(&config, &providers)?;
        let drainers = outfit::drainers(&config)?;
        let seams = Seams {
            clock: Arc::clone(&clock),
            entropy,
            store: Arc::clone(&store),
            providers,
            metrics,
            sources,
            drainers,
            policy_source: Arc::new(Directory::new(&config.daemon.policies)),
            hold_all: outfit::hold_all(&config),
            compile: outfit::compile(config.clone()),
            control: asked,
        };
        let app = App::new(seams, outfit::settings(&config, self.allow_removal));
        let published = app.published();
        let (stop_api, api_stop) = watch::channel(false);
        let api = Api { published: published.clone(), control: control.clone(), store, clock: Arc::clone(&clock) };
        let serving = tokio::spawn(listeners.serve(api, api_stop));
        let mut running = tokio::spawn(app.run());
        let watch = Watch { published, clock, is_ready: false };
        let reason = watch.over(&mut running, &mut signals, &control).await?;
        // Whoever waits for the API's end has had its moment; the daemon is done either way.
        let _ = stop_api.send(true);
        serving.await.context("the API ended badly")?;
        match reason {
            StopReason::Asked => Ok(Exit::Ok),
            StopReason::Unsaved(what) => anyhow::bail!("stopped, but not everything was saved: {what}"),
            StopReason::NoPolicies(what) => Err(invalid(what)),
        }
    }
}

/// The store of skala.toml. One that is damaged, newer than us or without room is stood in for: the daemon goes on to
/// watch and to say what is wrong, and touches nothing.
fn open_store(config: &StoreConfig, entropy: &dyn Entropy) -> anyhow::Result<Arc<dyn Store>> {
    let options = Options {
        journal_keep: config.journal_keep,
        journal_max: config.journal_max,
        ..Options::new(entropy.action_id().to_string())
    };
    let opened = match &config.url {
        StoreUrl::Sqlite(path) => SqliteStore::open(path, options),
        StoreUrl::Memory => SqliteStore::open_in_memory(options),
    };
    match opened {
        Ok(store) => Ok(Arc::new(store)),
        Err(error @ (StoreError::Owned(_) | StoreError::Failed(_))) => Err(error.into()),
        Err(error) => {
            tracing::error!(%error, "The store cannot be used: nothing will be done until that is repaired.");
            Ok(Arc::new(Refusing::new(error)))
        }
    }
}

async fn owner_id(config: &SkalaToml, store: &dyn Store) -> Box<str> {
    match &config.daemon.id {
        Some(id) => id.clone(),
        // Without a store nothing is written, so nothing is claimed.
        None => store.load().await.map(|loaded| loaded.store_id).unwrap_or_default().into(),
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// Keeps the service manager informed and turns signals into requests.
struct Watch {
    published: Published,
    clock: Arc<dyn Clock>,
    is_ready: bool,
}

impl Watch {
    async fn over(
        mut self,
        running: &mut tokio::task::JoinHandle<StopReason>,
        signals: &mut Signals,
        control: &mpsc::Sender<Control>,
    ) -> anyhow::Result<StopReason> {
        loop {
            let wait = if self.is_ready { feed_every().unwrap_or(NOTIFY_EVERY) } else { READY_EVERY };
            tokio::select! {
                biased;
                ended = &mut *running => return ended.context("the daemon panicked"),
                _ = signals.terminate.recv() => ask_to_stop(control).await,
                _ = signals.interrupt.recv() => ask_to_stop(control).await,
                _ = signals.hangup.recv() => self.reload(control).await,
                () = tokio::time::sleep(wait) => self.tell(),
            }
        }
    }

    /// Ready after the first cycle; from then on the watchdog is fed while cycles complete.
    fn tell(&mut self) {
        let Some(age) = self.published.heartbeat_age(&*self.clock) else { return };
        let status = self.status();
        if !self.is_ready {
            self.is_ready = true;
            tracing::info!("Ready: {status}.");
            notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
        }
        let mut states = vec![NotifyState::Status(&status)];
        if sd_notify::watchdog_enabled().is_some_and(|limit| age < limit / 2) {
            states.push(NotifyState::Watchdog);
        }
        notify(&states);
    }

    fn status(&self) -> String {
        self.published.read(|view| {
            let fleets = view.fleets.len();
            let trouble = match (&view.process.store_fault, view.process.config.last_reload_ok) {
                (Some(fault), _) => format!("; the store: {fault}"),
                (None, false) => "; the last reload failed, see the log".to_string(),
                (None, true) => String::new(),
            };
            format!("{fleets} fleets, revision {}{trouble}", view.process.config.revision)
        })
    }

    /// SIGHUP: the service manager waits for the end of it (Type=notify-reload, or a blocking ExecReload).
    async fn reload(&self, control: &mpsc::Sender<Control>) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(_) => notify(&[NotifyState::Reloading]),
        }
        let (reply, answer) = oneshot::channel();
        if control.send(Control::Reload { allow_removal: false, reply: Some(reply) }).await.is_ok() {
            // How it went is logged and published by the actor; here it only has to be over.
            let _ = answer.await;
        }
        let status = self.status();
        notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }
}

fn feed_every() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| (limit / 2).min(NOTIFY_EVERY))
}

async fn ask_to_stop(control: &mpsc::Sender<Control>) {
    tracing::info!("Stopping: no new cycles, running actions are waited for.");
    notify(&[NotifyState::Stopping]);
    // A daemon that no longer listens is stopping already.
    let _ = control.send(Control::Stop).await;
}

/// Outside of a service manager there is nobody to tell, and one that cannot be told is no reason to stop scaling.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "The service manager was not told.");
    }
}
