//! The daemon as a value: everything it needs from the world comes in as a seam, so two fit in one process, a simulation
//! has no real clock, disk or network, and dropping the runtime that runs it is a crash. There are no statics.

use crate::clock::Clock;
use crate::control::Control;
use crate::cycle::brakes::BrakeSettings;
use crate::drainers::Drainer;
use crate::entropy::Entropy;
use crate::policy_sources::PolicySource;
use crate::published::Published;
use crate::scheduler;
use crate::sources::MetricSource;
use crate::store::Store;
use crate::store::hold_all::InForce;
use crate::telemetry::ProcessMetrics;
use contract::{Provider, Timestamp};
use policies::plan::FleetPlan;
use policies::policy::{PolicySet, SourceFile};
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::mpsc;

/// Providers by their names in skala.toml.
pub type Providers = BTreeMap<Arc<str>, Arc<dyn Provider>>;
/// Sources by their names in skala.toml.
pub type Sources = BTreeMap<Arc<str>, Arc<dyn MetricSource>>;
/// Drainers by their names in skala.toml.
pub type Drainers = BTreeMap<Arc<str>, Arc<dyn Drainer>>;
/// Turns policy files into a set, or into the text of everything that is wrong with them.
pub type Compile = Arc<dyn Fn(&[SourceFile]) -> Result<PolicySet, String> + Send + Sync>;
/// Says whether everything is held at a time (`hold --all`, safety rule 20). Asked often, so it must be cheap.
pub type HoldAll = Arc<dyn Fn(Timestamp) -> Option<InForce> + Send + Sync>;

/// What the daemon touches of the world.
pub struct Seams {
    /// Wall and monotonic time.
    pub clock: Arc<dyn Clock>,
    /// Ids and jitter.
    pub entropy: Arc<dyn Entropy>,
    /// What survives a restart.
    pub store: Arc<dyn Store>,
    /// Counts what happens; whoever makes the providers has them tell it of their requests.
    pub metrics: Arc<ProcessMetrics>,
    /// The clouds.
    pub providers: Providers,
    /// Where readings come from.
    pub sources: Sources,
    /// Who makes instances let go of their work before they are terminated.
    pub drainers: Drainers,
    /// Where policies come from.
    pub policy_source: Arc<dyn PolicySource>,
    /// How policies are read.
    pub compile: Compile,
    /// Whether everything is held.
    pub hold_all: HoldAll,
    /// What people and signals ask for.
    pub control: mpsc::Receiver<Control>,
}

/// What a person sets for the process.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `[brakes]`.
    pub brakes: BrakeSettings,
    /// At the start, a set that loses more than 20 % of the fleets is taken all the same (safety rule 17).
    pub allow_removal: bool,
    /// What this daemon calls itself in owner tags and the lease; the store's own id when it is not given. A restart under
    /// the same name goes on at once; two processes that share a store need different names.
    pub owner: Option<Arc<str>>,
}

/// Why a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It was asked to, and everything is saved.
    Asked,
    /// It was asked to, and something could not be saved; the text says what.
    Unsaved(String),
    /// There are no policies to run on: these are wrong, and the store holds no earlier ones.
    NoPolicies(String),
}

/// What the next cycle would do.
#[derive(Debug)]
pub struct DryRun {
    /// The policies it was made under.
    pub set: Arc<PolicySet>,
    /// One for each fleet, sorted by id.
    pub plans: Vec<FleetPlan>,
    /// Fleets that could not be decided because of a fault of skala itself.
    pub failed: usize,
}

/// Why there is no dry run.
#[derive(Debug, Error)]
pub enum DryRunRefused {
    /// The policies are wrong.
    #[error("{0}")]
    Invalid(String),
    /// There is no such fleet.
    #[error("no fleet {0:?} in the policies")]
    NoFleet(String),
}

/// A daemon that has not started yet.
pub struct App {
    seams: Seams,
    settings: Settings,
    published: Published,
}

impl App {
    /// Builds a daemon; nothing is touched before [`App::run`].
    pub fn new(seams: Seams, settings: Settings) -> Self {
        let published = Published::over(Arc::clone(&seams.metrics));
        Self { seams, settings, published }
    }

    /// What the daemon shows; stays readable while it runs and afterwards.
    pub fn published(&self) -> Published {
        self.published.clone()
    }

    /// Runs until it is asked to stop. Dropped before, it is a crash: nothing is saved on the way out.
    pub async fn run(self) -> StopReason {
        scheduler::run(self.seams, self.settings, self.published).await
    }

    /// Plans the next cycle of all fleets, or of one, from one live observation; changes nothing anywhere.
    ///
    /// # Errors
    /// When the policies are wrong, or the fleet is not in them.
    pub async fn plan(self, only: Option<&str>) -> Result<DryRun, DryRunRefused> {
        crate::cycle::dry::dry_run(self.seams, self.settings, only).await
    }
}
