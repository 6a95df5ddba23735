//! Google Cloud behind skala's provider contract: managed instance groups of a zone or a region.
//!
//! In come asks and recorded actions; out go observations and typed errors. A group is called `zones/ZONE/NAME` or
//! `regions/REGION/NAME`, an instance `ZONE/NAME`; the project is a setting. Here are no decisions and no clock: the time
//! is handed in. It must never write without a fresh read, never lower in a raise, and never take an error for an empty
//! answer.
//!
//! A managed instance group has no labels, and every other place for an owner's claim does something: a description or an
//! all-instances configuration is part of what people and Terraform manage. So there is no owner tag here; what keeps two
//! daemons apart is the store's lease. A group has no smallest and largest capacity either (its autoscaler has), and no
//! protection of instances.

#![cfg(feature = "sdk")]

mod calls;
mod clients;
mod codes;
mod errors;
mod foreign;
mod lane;
mod limiter;
mod list;
mod machines;
mod memory;
mod metrics;
mod names;
mod native;
mod observe;
mod operations;
mod settings;
mod shape;
mod write;

pub use lane::Deadlines;
pub use metrics::{METRICS_PERMISSION, check_query};
pub use native::HANDOVER_PERMISSION;
pub use settings::{CredentialsKind, Settings};

use contract::{
    Accepted, Ask, BoxFuture, Capacity, GroupId, GuardKind, InstanceId, Metrics, Native, Observation, OnCall, Owner,
    Provider, ProviderError, Target, Terminator, Timestamp,
};
use std::sync::Arc;

/// Tells the time; the provider never reads a clock itself.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One Google Cloud project.
pub struct Gcp {
    pub(crate) calls: Arc<calls::Calls>,
    pub(crate) memory: Arc<memory::Memory>,
    pub(crate) now: Clock,
    metrics: metrics::Monitoring,
    settings: Settings,
    deadlines: Deadlines,
    on_call: Option<OnCall>,
}

impl Gcp {
    /// Makes a provider from settings. It finds credentials, and waits for no call.
    ///
    /// # Errors
    /// `Invalid` when the settings are wrong, all of what is wrong in one text, or no credentials are found.
    pub async fn connect(settings: Settings, _: Owner, clock: Clock) -> Result<Self, ProviderError> {
        settings.check()?;
        let door = clients::Door::new(&settings)?;
        Ok(Self::assemble(door, settings, clock, Deadlines::default(), None))
    }

    /// The same provider with other deadlines. It forgets what it knew.
    #[must_use]
    pub fn with_deadlines(self, deadlines: Deadlines) -> Self {
        Self::assemble(self.calls.door.again(), self.settings, self.now, deadlines, self.on_call)
    }

    /// The same provider, telling somebody of every call it makes. It forgets what it knew.
    #[must_use]
    pub fn with_on_call(self, on_call: OnCall) -> Self {
        Self::assemble(self.calls.door.again(), self.settings, self.now, self.deadlines, Some(on_call))
    }

    fn assemble(
        door: clients::Door,
        settings: Settings,
        now: Clock,
        deadlines: Deadlines,
        on_call: Option<OnCall>,
    ) -> Self {
        // Each service has its own budgets at Google, so each has its own limiters here.
        let lane = || lane::Lane::new(settings.rate(), deadlines, on_call.clone(), Arc::clone(&now));
        let metrics = metrics::Monitoring::new(settings.clone(), lane());
        let calls = Arc::new(calls::Calls { door, lane: lane(), project: settings.project.clone() });
        Self { calls, memory: Arc::default(), now, metrics, settings, deadlines, on_call }
    }
}

impl Provider for Gcp {
    fn observe<'a>(&'a self, asks: &'a [Ask]) -> BoxFuture<'a, Vec<Result<Observation, ProviderError>>> {
        Box::pin(self.observe_all(asks))
    }

    fn raise<'a>(&'a self, target: &'a Target, to: Capacity) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.raise_to(target, to))
    }

    fn cancel_unfilled<'a>(
        &'a self,
        target: &'a Target,
        to: Capacity,
    ) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.cancel_to(target, to))
    }

    fn guard(&self) -> GuardKind {
        GuardKind::ReadThenWrite
    }

    fn terminator(&self) -> Option<&dyn Terminator> {
        Some(self)
    }

    fn metrics(&self) -> Option<&dyn Metrics> {
        Some(&self.metrics)
    }

    fn native(&self) -> Option<&dyn Native> {
        Some(self)
    }

    fn permissions(&self) -> Vec<&'static str> {
        permissions(&[])
    }
}

impl Terminator for Gcp {
    fn terminate<'a>(
        &'a self,
        target: &'a Target,
        instances: &'a [InstanceId],
    ) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.terminate_named(target, instances))
    }
}

/// The permissions that groups need, as IAM spells them, sorted; every group needs the same. `skala handover` needs
/// [`HANDOVER_PERMISSION`] too, which whoever runs it brings: the daemon never writes an autoscaler.
pub fn permissions(_: &[GroupId]) -> Vec<&'static str> {
    vec![
        "compute.autoscalers.get",
        "compute.instanceGroupManagers.get",
        "compute.instanceGroupManagers.list",
        "compute.instanceGroupManagers.update",
        "compute.instances.list",
        "compute.regionOperations.get",
        "compute.zoneOperations.get",
    ]
}
