//! The parts of the API's objects that are read, and nothing else of them.
//!
//! Own types rather than a client library's: those fill what is missing with defaults, and a missing number must not be a
//! capacity of 0. What has to be there is required here; what the API leaves out when it is empty is an `Option`.

use crate::errors::nonsense;
use crate::selector::LabelSelector;
use contract::{CAPACITY_MAX, Capacity, ProviderError, Timestamp};
use serde::Deserialize;
use serde_json::Number;
use std::collections::BTreeMap;

/// One page of a list.
#[derive(Debug, Deserialize)]
pub(crate) struct Page<T> {
    pub kind: String,
    pub metadata: PageMeta,
    /// The API may write an empty list as `null`.
    pub items: Option<Vec<T>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PageMeta {
    #[serde(rename = "continue", default)]
    pub next: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Meta {
    pub name: String,
    /// Absent of what belongs to no namespace.
    #[serde(default)]
    pub namespace: Option<String>,
    pub uid: String,
    pub resource_version: String,
    #[serde(default)]
    pub generation: Option<i64>,
    #[serde(default)]
    pub creation_timestamp: Option<String>,
    #[serde(default)]
    pub deletion_timestamp: Option<String>,
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub owner_references: Option<Vec<OwnerReference>>,
}

impl Meta {
    /// Whoever made this object and replaces it.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().flatten().find(|reference| reference.controller == Some(true))
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.as_ref()?.get(key).map(String::as_str)
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct OwnerReference {
    pub kind: String,
    pub name: String,
    #[serde(default)]
    pub controller: Option<bool>,
}

/// Anything of which only the metadata is wanted.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Bare {
    pub metadata: Meta,
}

/// A Deployment or a StatefulSet.
#[derive(Debug, Deserialize)]
pub(crate) struct Workload {
    pub metadata: Meta,
    pub spec: WorkloadSpec,
    #[serde(default)]
    pub status: Option<WorkloadStatus>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct WorkloadSpec {
    /// Always filled in by the API, so a missing one is not 1 but unknown.
    #[serde(default)]
    pub replicas: Option<Number>,
    pub selector: LabelSelector,
    #[serde(default)]
    pub paused: Option<bool>,
    /// Of a StatefulSet: where its numbers begin.
    #[serde(default)]
    pub ordinals: Option<Ordinals>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Ordinals {
    #[serde(default)]
    pub start: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct WorkloadStatus {
    pub replicas: Option<i64>,
    pub updated_replicas: Option<i64>,
    pub update_revision: Option<String>,
    pub observed_generation: Option<i64>,
    pub conditions: Option<Vec<Condition>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    #[serde(default)]
    pub reason: Option<String>,
    #[serde(default)]
    pub message: Option<String>,
    #[serde(default)]
    pub last_transition_time: Option<String>,
}

/// The scale subresource of any kind.
#[derive(Debug, Deserialize)]
pub(crate) struct Scale {
    pub kind: String,
    pub metadata: ScaleMeta,
    pub spec: ScaleSpec,
    #[serde(default)]
    pub status: Option<ScaleStatus>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ScaleMeta {
    pub uid: String,
    pub resource_version: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ScaleSpec {
    /// Left out when it is 0.
    #[serde(default)]
    pub replicas: Option<Number>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ScaleStatus {
    /// Required of every Scale that has a status: its absence means that this is none.
    #[serde(rename = "replicas")]
    pub _replicas: Number,
    #[serde(default)]
    pub selector: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Pod {
    pub metadata: Meta,
    #[serde(default)]
    pub spec: Option<PodSpec>,
    pub status: PodStatus,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodSpec {
    #[serde(default)]
    pub node_name: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodStatus {
    #[serde(default)]
    pub phase: Option<String>,
    #[serde(default)]
    pub conditions: Option<Vec<Condition>>,
    #[serde(default)]
    pub container_statuses: Option<Vec<ContainerStatus>>,
    #[serde(default)]
    pub init_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ContainerStatus {
    #[serde(default)]
    pub state: Option<ContainerState>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ContainerState {
    #[serde(default)]
    pub waiting: Option<Waiting>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Waiting {
    #[serde(default)]
    pub reason: Option<String>,
    #[serde(default)]
    pub message: Option<String>,
}

/// A HorizontalPodAutoscaler or a KEDA ScaledObject.
#[derive(Debug, Deserialize)]
pub(crate) struct Scaler {
    pub metadata: Meta,
    pub spec: ScalerSpec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ScalerSpec {
    pub scale_target_ref: TargetRef,
    #[serde(default)]
    pub behavior: Option<Behavior>,
    /// Of an HPA; 1 when it is not said.
    #[serde(default)]
    pub min_replicas: Option<Number>,
    #[serde(default)]
    pub max_replicas: Option<Number>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TargetRef {
    pub name: String,
    #[serde(default)]
    pub kind: Option<String>,
    #[serde(default)]
    pub api_version: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Behavior {
    pub scale_up: Option<Direction>,
    pub scale_down: Option<Direction>,
}

/// How an HPA moves one way.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Direction {
    pub select_policy: Option<String>,
}

/// What happened to an object, in words.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    pub metadata: Meta,
    pub involved_object: Involved,
    #[serde(default)]
    pub message: Option<String>,
    /// When it last happened; a newer form of events says it in one of the other two.
    #[serde(default)]
    pub last_timestamp: Option<String>,
    #[serde(default)]
    pub event_time: Option<String>,
    #[serde(default)]
    pub series: Option<Series>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Involved {
    #[serde(default)]
    pub kind: Option<String>,
    #[serde(default)]
    pub name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Series {
    #[serde(default)]
    pub last_observed_time: Option<String>,
}

/// `/apis/GROUP`: its versions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApiGroup {
    pub preferred_version: GroupVersion,
    pub versions: Vec<GroupVersion>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct GroupVersion {
    pub version: String,
}

/// `/apis/GROUP/VERSION`: its resources.
#[derive(Debug, Deserialize)]
pub(crate) struct ResourceList {
    pub resources: Vec<ApiResource>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ApiResource {
    /// `rollouts`, and `rollouts/scale` for the subresource.
    pub name: String,
    pub kind: String,
    pub namespaced: bool,
}

/// What has metadata.
pub(crate) trait Object {
    fn meta(&self) -> &Meta;
}

macro_rules! objects {
    ($($name:ident)*) => { $(impl Object for $name { fn meta(&self) -> &Meta { &self.metadata } })* };
}
objects! { Bare Workload Pod Scaler Event }

/// A number of replicas as a capacity.
///
/// # Errors
/// When it is not a whole number from 0 to the largest capacity.
pub(crate) fn capacity(what: &str, number: Option<&Number>) -> Result<Capacity, ProviderError> {
    let told = number.ok_or_else(|| nonsense(format!("{what}: the answer has no number of replicas")))?;
    let whole =
        told.as_u64().and_then(|number| Capacity::try_from(number).ok()).filter(|number| *number <= CAPACITY_MAX);
    whole.ok_or_else(|| nonsense(format!("{what}: {told} is no number of replicas")))
}

/// A time as the API writes it (RFC 3339); `None` for what is none.
pub(crate) fn time(text: Option<&str>) -> Option<Timestamp> {
    text?.parse::<jiff::Timestamp>().ok().map(|time| Timestamp(time.as_microsecond()))
}
