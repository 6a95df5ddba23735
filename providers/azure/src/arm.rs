//! The few parts of Azure's answers that are read here, as the compute API of 2024-11-01 has them.
//!
//! What may be missing is an `Option`: nothing is filled up with a default that could be taken for an answer. Numbers
//! that cannot be a capacity do not parse.

use crate::errors::ArmError;
use contract::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The compute API's version: the first with ETags on scale sets is 2024-03-01.
pub(crate) const COMPUTE: &str = "2024-11-01";
/// The autoscale API's version.
pub(crate) const AUTOSCALE: &str = "2022-10-01";
/// The metrics API's version.
pub(crate) const METRICS: &str = "2023-10-01";

/// One page of a list; its items are read one by one, so that a strange one spoils nobody else.
#[derive(Deserialize)]
pub(crate) struct Page<'a> {
    #[serde(borrow)]
    pub value: Vec<&'a RawValue>,
    #[serde(rename = "nextLink")]
    pub next_link: Option<String>,
}

/// Any item.
#[derive(Deserialize)]
pub(crate) struct Id {
    pub id: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ScaleSet {
    pub id: String,
    pub sku: Option<Sku>,
    pub etag: Option<Box<str>>,
    pub tags: Option<BTreeMap<String, String>>,
    pub zones: Option<Vec<String>>,
    pub properties: SetProperties,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Sku {
    pub name: Option<String>,
    pub tier: Option<String>,
    pub capacity: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SetProperties {
    pub provisioning_state: Option<String>,
    pub orchestration_mode: Option<String>,
    pub upgrade_policy: Option<UpgradePolicy>,
    pub virtual_machine_profile: Option<Profile>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct UpgradePolicy {
    pub mode: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Profile {
    pub priority: Option<String>,
}

/// A machine of a set: a `virtualMachineScaleSets/virtualMachines` of a Uniform one, a `virtualMachines` of a Flexible one.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Vm {
    pub name: Option<String>,
    pub instance_id: Option<String>,
    pub zones: Option<Vec<String>>,
    pub properties: VmProperties,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VmProperties {
    pub provisioning_state: Option<String>,
    pub latest_model_applied: Option<bool>,
    pub protection_policy: Option<Protection>,
    pub instance_view: Option<InstanceView>,
    pub time_created: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Protection {
    pub protect_from_scale_in: Option<bool>,
    pub protect_from_scale_set_actions: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct InstanceView {
    pub statuses: Option<Vec<Status>>,
}

/// `ProvisioningState/failed/AllocationFailed`, `PowerState/running`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Status {
    pub code: Option<String>,
    pub message: Option<String>,
    pub time: Option<String>,
}

/// What an asynchronous operation says of itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AsyncOperation {
    pub status: String,
    pub end_time: Option<String>,
    pub error: Option<ArmError>,
}

/// The newest rolling upgrade of a set.
#[derive(Debug, Deserialize)]
pub(crate) struct RollingUpgrade {
    pub properties: RollingProperties,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RollingProperties {
    pub running_status: Option<RunningStatus>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RunningStatus {
    pub code: Option<String>,
}

/// An autoscale setting.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct AutoscaleSetting {
    pub name: Option<String>,
    pub properties: AutoscaleProperties,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AutoscaleProperties {
    /// On, when not said.
    pub enabled: Option<bool>,
    pub target_resource_uri: Option<String>,
    pub profiles: Option<Vec<AutoscaleProfile>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct AutoscaleProfile {
    pub capacity: Option<AutoscaleCapacity>,
    pub rules: Option<Vec<AutoscaleRule>>,
}

/// A profile's bounds: numbers that are written as texts. One of another form spoils no other setting.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct AutoscaleCapacity {
    pub minimum: Option<serde_json::Value>,
    pub maximum: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AutoscaleRule {
    pub scale_action: Option<ScaleAction>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ScaleAction {
    pub direction: Option<String>,
}

/// What the metrics API answers, as far as it is read.
#[derive(Debug, Deserialize)]
pub(crate) struct MetricsAnswer {
    /// The period that was really used, such as `PT1M`.
    pub interval: Option<String>,
    pub value: Vec<Metric>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metric {
    pub name: Localizable,
    /// `Success`, or what is wrong with this metric alone, in an answer whose status is 200.
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub timeseries: Vec<TimeSeries>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Localizable {
    pub value: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct TimeSeries {
    pub metadatavalues: Option<Vec<Metadata>>,
    pub data: Vec<MetricValue>,
}

/// A dimension's value.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub name: Localizable,
    pub value: String,
}

/// One period: what was not asked for, or has no samples, is not there or null.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MetricValue {
    /// The period's beginning.
    pub time_stamp: String,
    pub average: Option<f64>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub total: Option<f64>,
    pub count: Option<f64>,
}

/// A period of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grain {
    pub secs: u32,
    /// As ISO 8601 writes it.
    pub iso: &'static str,
}

/// The periods that Azure keeps metrics in, each as it is asked for and as else it may be written in an answer.
const GRAINS: &[(Grain, &[&str])] = &[
    (Grain { secs: 60, iso: "PT1M" }, &["PT60S"]),
    (Grain { secs: 300, iso: "PT5M" }, &[]),
    (Grain { secs: 900, iso: "PT15M" }, &[]),
    (Grain { secs: 1_800, iso: "PT30M" }, &[]),
    (Grain { secs: 3_600, iso: "PT1H" }, &["PT60M"]),
    (Grain { secs: 21_600, iso: "PT6H" }, &[]),
    (Grain { secs: 43_200, iso: "PT12H" }, &[]),
    (Grain { secs: 86_400, iso: "P1D" }, &["PT24H"]),
];

impl Grain {
    /// The period of so many seconds, if Azure has it.
    pub fn of_secs(secs: u32) -> Option<Self> {
        GRAINS.iter().find(|(grain, _)| grain.secs == secs).map(|(grain, _)| *grain)
    }

    /// Whether an answer's word for its period means this one.
    pub fn is(self, word: &str) -> bool {
        GRAINS.iter().any(|(grain, others)| *grain == self && (grain.iso == word || others.contains(&word)))
    }
}

/// A time as ARM writes it; `None` for what is none.
pub(crate) fn time(text: Option<&str>) -> Option<Timestamp> {
    let at = azure_core::time::parse_rfc3339(text?).ok()?;
    i64::try_from(at.unix_timestamp_nanos() / 1_000).ok().map(Timestamp)
}
