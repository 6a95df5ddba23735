//! The calls that skala makes of ESS (version 2022-02-22), as types: their parameters and what is read of their answers.
//!
//! Names are the API's own. What skala does not read is left out; what it needs and is missing stays `None`, for a
//! reader to refuse: nothing is filled up with a default number.

use crate::wire::Query;
use serde::{Deserialize, Deserializer};

/// DescribeScalingGroups' largest page, and that of every other listing but instances.
pub(crate) const PAGE: usize = 50;
/// DescribeScalingInstances' largest page.
pub(crate) const INSTANCES_PAGE: usize = 100;
/// Ids or names that one call takes.
pub(crate) const NAMES: usize = 20;
/// Most resources in one TagResources.
pub(crate) const TAGGED: usize = 50;
/// Most instances that one adjustment adds or removes.
pub(crate) const STEP: u32 = 1_000;
/// The largest total capacity that an adjustment may ask for.
pub(crate) const TOTAL: u32 = 2_000;

/// The parameters of one call.
pub(crate) struct Parameters(Query);

impl Parameters {
    pub fn new(region: &str) -> Self {
        Self(vec![("RegionId".into(), region.into())])
    }

    /// Those of the few calls that know no region.
    pub fn bare() -> Self {
        Self(Vec::new())
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.0.push((name.into(), value.to_string()));
        self
    }

    /// `Name.1`, `Name.2` ...
    pub fn list<T: ToString>(mut self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        let numbered = values.into_iter().enumerate();
        self.0.extend(numbered.map(|(index, value)| (format!("{name}.{}", index + 1), value.to_string())));
        self
    }

    pub fn page(self, number: usize, size: usize) -> Self {
        self.with("PageNumber", number).with("PageSize", size)
    }

    pub fn done(self) -> Query {
        self.0
    }
}

/// A page of any listing by page number.
pub(crate) trait Page {
    type Item;
    /// The number of all items, and those of this page; `None` when the answer has no list.
    fn parts(self) -> (Option<i64>, Option<Vec<Self::Item>>);
}

macro_rules! pages {
    ($($page:ident { $list:ident: $name:literal of $item:ident })*) => {$(
        #[derive(Deserialize)]
        pub(crate) struct $page {
            #[serde(rename = "TotalCount")]
            total: Option<i64>,
            #[serde(rename = $name)]
            $list: Option<Vec<$item>>,
        }

        impl Page for $page {
            type Item = $item;
            fn parts(self) -> (Option<i64>, Option<Vec<$item>>) {
                (self.total, self.$list)
            }
        }
    )*};
}

pages! {
    Groups { groups: "ScalingGroups" of Group }
    Instances { instances: "ScalingInstances" of Instance }
    Activities { activities: "ScalingActivities" of Activity }
    Rules { rules: "ScalingRules" of Rule }
    Tasks { tasks: "ScheduledTasks" of Task }
    Alarms { alarms: "AlarmList" of Alarm }
}

/// The API answers an empty list and a missing one alike.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A scaling group.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Group {
    pub scaling_group_id: Option<String>,
    pub scaling_group_name: Option<String>,
    pub lifecycle_state: Option<String>,
    pub enable_desired_capacity: Option<bool>,
    pub desired_capacity: Option<i64>,
    pub min_size: Option<i64>,
    pub max_size: Option<i64>,
    pub active_scaling_configuration_id: Option<String>,
    pub launch_template_id: Option<String>,
    pub launch_template_version: Option<String>,
    #[serde(default, deserialize_with = "list")]
    pub launch_template_overrides: Vec<Override>,
    #[serde(default, deserialize_with = "list")]
    pub suspended_processes: Vec<String>,
    pub system_suspended: Option<bool>,
    #[serde(default, deserialize_with = "list")]
    pub tags: Vec<Tag>,
    #[serde(flatten)]
    pub counts: Counts,
}

/// How many instances a group has in each state: when none of these changed, no instance did.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Counts {
    pub total_capacity: Option<i64>,
    pub active_capacity: Option<i64>,
    pub pending_capacity: Option<i64>,
    pub pending_wait_capacity: Option<i64>,
    pub protected_capacity: Option<i64>,
    pub standby_capacity: Option<i64>,
    pub stopped_capacity: Option<i64>,
    pub removing_capacity: Option<i64>,
    pub removing_wait_capacity: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Override {
    pub weighted_capacity: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tag {
    pub tag_key: Option<String>,
    pub tag_value: Option<String>,
}

/// An instance of a group.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Instance {
    pub instance_id: Option<String>,
    pub scaling_group_id: Option<String>,
    pub lifecycle_state: Option<String>,
    pub zone_id: Option<String>,
    /// To the second.
    pub created_time: Option<String>,
    /// To the minute.
    pub creation_time: Option<String>,
    pub scaling_configuration_id: Option<String>,
    pub launch_template_id: Option<String>,
    pub launch_template_version: Option<String>,
    pub weighted_capacity: Option<i64>,
}

/// A scaling activity.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Activity {
    pub scaling_activity_id: Option<String>,
    pub scaling_group_id: Option<String>,
    pub status_code: Option<String>,
    pub status_message: Option<String>,
    pub description: Option<String>,
    pub start_time: Option<String>,
    pub end_time: Option<String>,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    #[serde(default, deserialize_with = "list")]
    pub error_messages: Vec<ErrorMessage>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ErrorMessage {
    pub code: Option<String>,
    pub message: Option<String>,
    pub description: Option<String>,
}

/// A scaling rule; it does nothing unless something executes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Rule {
    pub scaling_group_id: Option<String>,
    pub scaling_rule_ari: Option<String>,
    pub scaling_rule_name: Option<String>,
    pub scaling_rule_type: Option<String>,
    pub adjustment_type: Option<String>,
    pub adjustment_value: Option<i64>,
    pub disable_scale_in: Option<bool>,
    pub predictive_scaling_mode: Option<String>,
    #[serde(default, deserialize_with = "list")]
    pub step_adjustments: Vec<Step>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Step {
    pub scaling_adjustment: Option<i64>,
}

/// A scheduled task.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Task {
    pub scaling_group_id: Option<String>,
    pub scheduled_task_id: Option<String>,
    pub scheduled_task_name: Option<String>,
    pub scheduled_action: Option<String>,
    pub task_enabled: Option<bool>,
    pub desired_capacity: Option<i64>,
    pub max_value: Option<i64>,
    pub min_value: Option<i64>,
    pub launch_time: Option<String>,
    pub launch_expiration_time: Option<i64>,
    pub recurrence_type: Option<String>,
    pub recurrence_end_time: Option<String>,
}

/// An event-triggered task.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Alarm {
    pub alarm_task_id: Option<String>,
    pub scaling_group_id: Option<String>,
    pub name: Option<String>,
    pub enable: Option<bool>,
    #[serde(default, deserialize_with = "list")]
    pub alarm_actions: Vec<String>,
}

/// DescribeInstanceRefreshes' answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Refreshes {
    pub instance_refresh_tasks: Option<Vec<RefreshTask>>,
    pub next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RefreshTask {
    pub status: Option<String>,
}

/// ScaleWithAdjustment's answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Scaled {
    pub request_id: String,
    pub scaling_activity_id: Option<String>,
}

/// RemoveInstances' answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Removed {
    pub request_id: String,
    pub scaling_activity_id: Option<String>,
    #[serde(default, deserialize_with = "list")]
    pub ignored_instances: Vec<Ignored>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Ignored {
    pub instance_id: Option<String>,
}

/// TagResources' answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tagged {
    pub request_id: String,
}
