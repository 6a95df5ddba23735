//! What a cloud says of one group at one time: plain data, no judgement. Warm-up, for one, is the core's.

use crate::{ActionId, Capacity, Epoch, FailureKind, InstanceId, Scope, Timestamp};
use serde::{Deserialize, Serialize};

/// One instance's life, in the four states that every cloud can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Asked for and not running yet; launch hooks and warm pools' way in count here too.
    Pending,
    /// Running, by the cloud's own word.
    Running,
    /// On its way out; it no longer counts.
    Terminating,
    /// Broken: stays until somebody removes it.
    Failed,
}

/// One instance as the cloud shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// The cloud's id.
    pub id: InstanceId,
    /// Where it is in its life.
    pub state: InstanceState,
    /// When it was asked for, if the cloud tells.
    #[serde(default)]
    pub launched: Option<Timestamp>,
    /// Since when it has been running, if known. When it is not, the first observation that shows it running counts.
    #[serde(default)]
    pub running_since: Option<Timestamp>,
    /// The zone or failure domain.
    #[serde(default)]
    pub zone: Option<Box<str>>,
    /// Protected from scale-in: it is never named for termination.
    #[serde(default)]
    pub protected: bool,
    /// Made from an older template than the group's present one.
    #[serde(default)]
    pub outdated: bool,
}

/// A launch that the cloud tried and failed: data, never an error of the observation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaunchFailure {
    /// Why.
    pub kind: FailureKind,
    /// How far the failure reaches.
    pub scope: Scope,
    /// When the cloud says it failed.
    pub at: Timestamp,
    /// The cloud's own words, cut to 200 characters.
    #[serde(default)]
    pub message: Box<str>,
}

/// A function of the group that is switched off, or a process that must not be disturbed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Suspended {
    /// New instances are not launched: raising desired changes nothing.
    Launch,
    /// Instances are not terminated.
    Terminate,
    /// A rolling replacement runs: removing instances would fight it.
    Refresh,
    /// Anything else the cloud names; it stops nothing, it is shown.
    #[serde(untagged)]
    Other(Box<str>),
}

/// Another controller that writes the same group's desired capacity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreign {
    /// Which, as a human would look for it: `scaling policy cpu50`, `HorizontalPodAutoscaler shop/web`.
    pub name: Box<str>,
    /// Whether it can remove instances; `None` when that is not known.
    #[serde(default)]
    pub removes: Option<bool>,
}

/// An operation of ours that the cloud still works on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperationInFlight {
    /// The cloud's name for it.
    pub name: Box<str>,
    /// Our action behind it, when it can be told.
    #[serde(default)]
    pub action: Option<ActionId>,
}

/// Who claims the right to write a group, as its tag says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerTag {
    /// The daemon's id.
    pub id: Box<str>,
    /// Its lease's epoch.
    pub epoch: Epoch,
    /// The claim's end.
    pub expiry: Timestamp,
}

/// What the provider can do with this group: plain data, so that the core can plan with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abilities {
    /// Instances can be removed by name ([`crate::Terminator`]).
    pub terminate_named: bool,
    /// Desired can be lowered with the cloud picking the victims ([`crate::Lowerer`]).
    pub lower: bool,
    /// The cloud keeps desired itself. Where it does not (tagged servers), skala's memory does, and a missing instance
    /// is repaired by skala.
    pub keeps_desired: bool,
    /// Most instances in one termination call.
    pub terminate_batch: u32,
}

impl Default for Abilities {
    fn default() -> Self {
        Self { terminate_named: true, lower: false, keeps_desired: true, terminate_batch: 100 }
    }
}

/// Everything a cloud says of one group at one time. It lists *all* instances: one that is absent is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// What the cloud is asked to hold now; `None` where it keeps no such number.
    pub desired: Option<Capacity>,
    /// The cloud's own smallest capacity.
    #[serde(default)]
    pub cloud_min: Option<Capacity>,
    /// The cloud's own largest capacity.
    #[serde(default)]
    pub cloud_max: Option<Capacity>,
    /// All instances.
    pub instances: Vec<Instance>,
    /// Operations of ours still under way.
    #[serde(default)]
    pub operations: Vec<OperationInFlight>,
    /// Launches that failed lately (the provider decides how far back, at least 15 minutes while the group is unfilled).
    #[serde(default)]
    pub launch_failures: Vec<LaunchFailure>,
    /// Functions switched off.
    #[serde(default)]
    pub suspended: Vec<Suspended>,
    /// Other controllers.
    #[serde(default)]
    pub foreign: Vec<Foreign>,
    /// The owner tag, where the cloud has tags and one is set.
    #[serde(default)]
    pub owner: Option<OwnerTag>,
    /// What can be done with the group.
    #[serde(default)]
    pub abilities: Abilities,
    /// The cloud's own version of the group (an ETag, a resourceVersion), where it has one.
    #[serde(default)]
    pub token: Option<Box<str>>,
    /// When the cloud was asked: the time before the call, so that age is never underestimated.
    pub at: Timestamp,
}

impl Observation {
    /// A group in order that holds nothing: what an observation that is made up begins with.
    pub fn empty(at: Timestamp) -> Self {
        Self {
            desired: Some(0),
            cloud_min: None,
            cloud_max: None,
            instances: Vec::new(),
            operations: Vec::new(),
            launch_failures: Vec::new(),
            suspended: Vec::new(),
            foreign: Vec::new(),
            owner: None,
            abilities: Abilities::default(),
            token: None,
            at,
        }
    }

    /// Instances that count: pending and running ones.
    pub fn alive(&self) -> impl Iterator<Item = &Instance> {
        self.instances.iter().filter(|i| matches!(i.state, InstanceState::Pending | InstanceState::Running))
    }

    /// What was asked for and has no instance yet; zero when the cloud keeps no desired.
    pub fn unfilled(&self) -> Capacity {
        let present = self.instances.iter().filter(|i| i.state != InstanceState::Terminating).count();
        self.desired.unwrap_or(0).saturating_sub(u32::try_from(present).unwrap_or(u32::MAX))
    }
}
