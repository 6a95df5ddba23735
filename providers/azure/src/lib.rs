//! Azure's virtual machine scale sets behind skala's provider contract, Uniform and Flexible.
//!
//! In come asks and recorded actions; out go observations and typed errors. A group is `RESOURCE_GROUP/NAME`, or the scale
//! set's full ARM id; an instance is what Azure names the machine (`web_3`, `web_1a2b3c4d`). Here are no decisions and no
//! clock: the time is handed in. It must never write without a fresh read and its ETag, never lower the capacity in a raise,
//! and never take an error for an empty answer.
//!
//! Beside that, Azure Monitor answers queries for metrics, whose language is described in `metrics/query.rs`.
//!
//! One list of the subscription observes all sets; a set's machines are listed when something of it moves, and else once
//! in five minutes (more seldom above 500 sets), so a machine that somebody stops in a quiet set is seen stopped only then.
//! The numbers that bound the calls are beside the code that keeps them: `limiter.rs`, `sets/machines.rs`.

#![cfg(feature = "sdk")]

mod arm;
mod auth;
mod certificate;
mod codes;
mod errors;
mod group;
mod limiter;
mod loopback;
mod metrics;
mod owner;
mod sets;
mod settings;
mod shape;
mod wire;

pub use metrics::{METRICS_PERMISSION, check_query};
pub use settings::{AuthKind, Settings};
pub use wire::Deadlines;

use azure_core::http::HttpClient;
use contract::{
    Accepted, Ask, BoxFuture, Capacity, GroupId, GuardKind, InstanceId, Metrics, Native, NativePolicy, Observation,
    OnCall, Owner, Provider, ProviderError, Target, Terminator, Timestamp, Undo,
};
use std::sync::Arc;
use std::time::Duration;

/// Tells the time; the provider never reads a clock itself.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One Azure subscription.
pub struct Azure {
    parts: Parts,
    sets: Arc<sets::Sets>,
    metrics: metrics::AzureMonitor,
}

/// What a provider is made of.
struct Parts {
    settings: settings::Checked,
    client: Arc<dyn HttpClient>,
    owner: Owner,
    clock: Clock,
    deadlines: Deadlines,
    on_call: Option<OnCall>,
}

impl Azure {
    /// Makes a provider from settings. It reads no secret and makes no call yet.
    ///
    /// # Errors
    /// `Invalid` when the settings are wrong, all of what is wrong in one text.
    pub async fn connect(settings: Settings, owner: Owner, clock: Clock) -> Result<Self, ProviderError> {
        let (settings, client) = (settings.check()?, client()?);
        Ok(Self::assemble(Parts { settings, client, owner, clock, deadlines: Deadlines::default(), on_call: None }))
    }

    /// The same provider with other deadlines. It forgets what it knew.
    #[must_use]
    pub fn with_deadlines(self, deadlines: Deadlines) -> Self {
        Self::assemble(Parts { deadlines, ..self.parts })
    }

    /// The same provider, telling somebody of every call it makes. It forgets what it knew.
    #[must_use]
    pub fn with_on_call(self, on_call: OnCall) -> Self {
        Self::assemble(Parts { on_call: Some(on_call), ..self.parts })
    }

    fn assemble(parts: Parts) -> Self {
        let (clock, on_call) = (Arc::clone(&parts.clock), parts.on_call.clone());
        let wire = wire::Wire::new(&parts.settings, &parts.client, clock, parts.deadlines, on_call);
        let subscription = || parts.settings.settings.subscription.clone();
        let metrics = metrics::AzureMonitor::new(wire.beside(), subscription(), Arc::clone(&parts.clock));
        let sets = sets::Sets::new(wire, subscription(), parts.owner.clone(), Arc::clone(&parts.clock));
        Self { sets: Arc::new(sets), metrics, parts }
    }
}

impl Provider for Azure {
    fn observe<'a>(&'a self, asks: &'a [Ask]) -> BoxFuture<'a, Vec<Result<Observation, ProviderError>>> {
        Box::pin(self.sets.observe(asks))
    }

    fn raise<'a>(&'a self, target: &'a Target, to: Capacity) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(async move { self.sets.of_one_set(self.sets.raise(target, to).await) })
    }

    fn cancel_unfilled<'a>(
        &'a self,
        target: &'a Target,
        to: Capacity,
    ) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(async move { self.sets.of_one_set(self.sets.cancel_unfilled(target, to).await) })
    }

    fn guard(&self) -> GuardKind {
        GuardKind::Atomic
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

impl Terminator for Azure {
    fn terminate<'a>(
        &'a self,
        target: &'a Target,
        instances: &'a [InstanceId],
    ) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(async move { self.sets.of_one_set(self.sets.terminate(target, instances).await) })
    }
}

/// `skala handover` and `skala import` alone come here, with the credentials of whoever runs them; what they need beside
/// reading is `Microsoft.Insights/autoscaleSettings/write`.
impl Native for Azure {
    fn describe<'a>(&'a self, group: &'a GroupId) -> BoxFuture<'a, Result<NativePolicy, ProviderError>> {
        Box::pin(self.sets.native_policy(group))
    }

    fn prepare<'a>(&'a self, group: &'a GroupId) -> BoxFuture<'a, Result<Undo, ProviderError>> {
        Box::pin(self.sets.native_undo(group))
    }

    fn suspend<'a>(&'a self, group: &'a GroupId, undo: &'a Undo) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(self.sets.suspend_native(group, undo))
    }

    fn restore<'a>(&'a self, group: &'a GroupId, undo: &'a Undo) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(self.sets.restore_native(group, undo))
    }
}

/// The SDK's own client ends the process where no certificates are installed, and waits long for connections.
fn client() -> Result<Arc<dyn HttpClient>, ProviderError> {
    let builder =
        reqwest::Client::builder().connect_timeout(Duration::from_secs(2)).redirect(reqwest::redirect::Policy::none());
    let client = builder.build().map_err(|error| ProviderError::Invalid {
        what: format!("no TLS: {error:?}; are certificates installed (ca-certificates)?").into(),
    })?;
    Ok(Arc::new(client))
}

/// The actions of a custom role that any groups here need, [`METRICS_PERMISSION`] for metrics aside; the built-in role
/// Virtual Machine Contributor has all of them but the last. A set's network or images in other resource groups may ask
/// for more there, such as `Microsoft.Network/virtualNetworks/subnets/join/action`: then Azure says so, and a write is
/// `Denied`.
pub fn permissions(_groups: &[GroupId]) -> Vec<&'static str> {
    vec![
        "Microsoft.Compute/locations/operations/read",
        "Microsoft.Compute/virtualMachineScaleSets/delete/action",
        "Microsoft.Compute/virtualMachineScaleSets/read",
        "Microsoft.Compute/virtualMachineScaleSets/rollingUpgrades/read",
        "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/instanceView/read",
        "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/read",
        "Microsoft.Compute/virtualMachineScaleSets/write",
        "Microsoft.Compute/virtualMachines/instanceView/read",
        "Microsoft.Compute/virtualMachines/read",
        "Microsoft.Insights/autoscaleSettings/read",
    ]
}
