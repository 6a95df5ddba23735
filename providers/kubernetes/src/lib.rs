//! Kubernetes behind skala's provider contract: Deployments, StatefulSets and whatever else has a scale subresource.
//!
//! A group is `NAMESPACE/NAME` (a Deployment), `NAMESPACE/statefulset/NAME`, or `NAMESPACE/PLURAL.GROUP/NAME` for any
//! other kind, such as `shop/rollouts.argoproj.io/web`; its instances are its pods. Here are no decisions and no clock:
//! the time is handed in.
//!
//! **Fence.** An observation's token is the object's uid and `metadata.generation`, which every change of its spec raises
//! and no status update does: a busy object does not make plans stale. A write reads the object, compares uid,
//! generation and replicas with what the plan saw, and sends the resourceVersion just read, which the API server checks
//! as it writes. When only the status changed in between it reads and compares again.
//!
//! **Order of a write.** Read and check; claim the object by the annotation `skala.dev/owner`, under the same
//! precondition; change `spec.replicas` through the scale subresource. A refusal leaves at most a claim behind.
//!
//! **Lowering** leaves the choice of pods to the cluster, which takes those without a node first, then those that are
//! not ready; `controller.kubernetes.io/pod-deletion-cost` is left to whoever sets it. Lowering is normal in the middle
//! of a rollout. It must never be what `cancel_unfilled` does: that refuses whenever a pod with a node could go.

#![cfg(feature = "sdk")]

mod call;
mod cluster;
mod errors;
mod kinds;
mod listing;
mod login;
mod names;
mod native;
mod observe;
mod owner;
mod plugin;
mod pods;
mod refusals;
mod scaler;
mod scalers;
mod selector;
mod settings;
mod shapes;
mod workload;
mod write;

pub use call::Deadlines;
pub use settings::Settings;

use cluster::Cluster;
use contract::{
    Accepted, Ask, BoxFuture, Capacity, GroupId, GuardKind, Lowerer, Native, NativePolicy, Observation, OnCall, Owner,
    Provider, ProviderError, Target, Timestamp, Undo,
};
use kube::Config;
use names::{Name, Resource};
use std::sync::Arc;
use std::time::Duration;

/// Tells the time; the provider never reads a clock itself.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One cluster.
pub struct Kubernetes {
    parts: Parts,
    cluster: Arc<Cluster>,
}

/// What a provider is made of.
pub(crate) struct Parts {
    config: Config,
    owner: Owner,
    clock: Clock,
    node_wait: Duration,
    deadlines: Deadlines,
    on_call: Option<OnCall>,
}

impl Kubernetes {
    /// Makes a provider from settings. It reads the kubeconfig, and neither logs in nor calls the cluster: the first call
    /// does, so that one cluster's login cannot keep others from starting.
    ///
    /// # Errors
    /// `Invalid` when the settings or the kubeconfig are wrong.
    pub async fn connect(settings: Settings, owner: Owner, clock: Clock) -> Result<Self, ProviderError> {
        let (config, node_wait) = (settings.client_config().await?, settings.node_wait());
        let parts = Parts { config, owner, clock, node_wait, deadlines: Deadlines::default(), on_call: None };
        Ok(Self::assemble(parts))
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
        Self { cluster: Arc::new(Cluster::new(&parts)), parts }
    }
}

impl Provider for Kubernetes {
    fn observe<'a>(&'a self, asks: &'a [Ask]) -> BoxFuture<'a, Vec<Result<Observation, ProviderError>>> {
        Box::pin(self.cluster.observe(asks))
    }

    fn raise<'a>(&'a self, target: &'a Target, to: Capacity) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.cluster.write(target, to, write::Wish::Raise))
    }

    fn cancel_unfilled<'a>(
        &'a self,
        target: &'a Target,
        to: Capacity,
    ) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.cluster.write(target, to, write::Wish::Cancel))
    }

    fn guard(&self) -> GuardKind {
        GuardKind::Atomic
    }

    fn lowerer(&self) -> Option<&dyn Lowerer> {
        Some(self)
    }

    fn native(&self) -> Option<&dyn Native> {
        Some(self)
    }

    fn permissions(&self) -> Vec<&'static str> {
        let kinds = ["ns/any", "ns/statefulset/any", "ns/kinds.group/any"].map(GroupId::from);
        permissions(&kinds)
    }
}

impl Lowerer for Kubernetes {
    fn lower<'a>(&'a self, target: &'a Target, to: Capacity) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.cluster.write(target, to, write::Wish::Lower))
    }
}

/// `skala handover` and `skala import` alone come here, with the credentials of whoever runs them; what they need beside
/// reading is to patch horizontalpodautoscalers and, where KEDA is installed, scaledobjects.
impl Native for Kubernetes {
    fn describe<'a>(&'a self, group: &'a GroupId) -> BoxFuture<'a, Result<NativePolicy, ProviderError>> {
        Box::pin(self.cluster.native_policy(group.as_str()))
    }

    fn prepare<'a>(&'a self, group: &'a GroupId) -> BoxFuture<'a, Result<Undo, ProviderError>> {
        Box::pin(self.cluster.native_undo(group.as_str()))
    }

    fn suspend<'a>(&'a self, group: &'a GroupId, undo: &'a Undo) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(self.cluster.suspend_native(group.as_str(), undo))
    }

    fn restore<'a>(&'a self, group: &'a GroupId, undo: &'a Undo) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(self.cluster.restore_native(group.as_str(), undo))
    }
}

/// What every group needs, as rules of RBAC: `apiGroup/resource: verbs`.
const FOR_ALL: &[&str] = &[
    "autoscaling/horizontalpodautoscalers: list (patch for skala handover alone, which runs with its caller's credentials)",
    "core/events: list (optional, for why StatefulSets and custom kinds lack pods)",
    "core/nodes: list (of the whole cluster; optional, for zones)",
    "core/pods: list",
    "keda.sh/scaledobjects: list (where KEDA is installed; patch for skala handover alone)",
];
const FOR_DEPLOYMENTS: &[&str] = &["apps/deployments/scale: patch", "apps/deployments: get, list, patch"];
const FOR_STATEFUL_SETS: &[&str] = &["apps/statefulsets/scale: patch", "apps/statefulsets: get, list, patch"];
const FOR_CUSTOM: &[&str] = &["GROUP/PLURAL/scale: get, patch", "GROUP/PLURAL: get, list, patch"];

/// The permissions that these groups need and no other, sorted. With up to three namespaces a Role in each will do; with
/// more a ClusterRole saves calls, since lists are then asked for once, and per namespace only when that is refused.
pub fn permissions(groups: &[GroupId]) -> Vec<&'static str> {
    let mut needed: Vec<&'static str> = Vec::new();
    for name in groups.iter().filter_map(|group| Name::parse(group.as_str()).ok()) {
        needed.extend(FOR_ALL);
        needed.extend(match name.resource {
            Resource::Deployment => FOR_DEPLOYMENTS,
            Resource::StatefulSet => FOR_STATEFUL_SETS,
            Resource::Custom { .. } => FOR_CUSTOM,
        });
    }
    needed.sort_unstable();
    needed.dedup();
    needed
}
