//! Scaling activities: what was asked for through the API, what ESS does by itself to get there, and launches that failed.

use super::{Alibaba, Refused, auth, group_id, list, page, time, zone};
use crate::request::Request;
use contract::{
    Capacity, FailureKind, GroupId, InstanceId, InstanceState, LaunchFailure, Observation, Scope, Timestamp,
};
use serde_json::{Value, json};

/// Something that was asked for.
pub(super) struct Activity {
    pub id: String,
    pub group: GroupId,
    pub what: What,
    pub start: Timestamp,
}

/// What was asked for.
pub(super) enum What {
    /// Another expected number of instances.
    Resize {
        from: Capacity,
        to: Capacity,
        /// The activity lasts until the instances are there.
        sync: bool,
    },
    /// The end of these instances.
    Remove { ids: Vec<InstanceId> },
}

impl Alibaba {
    pub(super) fn describe_activities(&self, request: &Request) -> Result<Value, Refused> {
        let ids = list(request, "ScalingActivityIds");
        let group = match (request.param("ScalingGroupId"), ids.is_empty()) {
            (Some(id), true) => Some(self.by_id(id)?),
            (None, false) if ids.len() <= 20 => None,
            _ => return Err((400, "InvalidParameter", "either ScalingGroupId or ScalingActivityIds".into())),
        };
        let mut all: Vec<(Timestamp, Value)> = Vec::new();
        {
            let state = self.lock();
            let asked = |activity: &&Activity| match &group {
                Some(group) => activity.group == *group,
                None => ids.contains(&activity.id.as_str()),
            };
            let found = state.activities.iter().filter(asked);
            all.extend(found.map(|activity| (activity.start, self.shown(activity))));
        }
        if let Some((group, seen)) = group.as_ref().and_then(|group| Some((group, self.cloud.look(group)?))) {
            all.extend(seen.launch_failures.iter().map(|failure| (failure.at, failed(group, failure))));
            all.extend(filling(group, &seen).map(|shown| (seen.at, shown)));
        }
        if let Some(status) = request.param("StatusCode") {
            all.retain(|(_, shown)| shown["StatusCode"] == status);
        }
        // The newest first.
        all.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        page(request, "ScalingActivities", 50, all, |(_, shown)| shown)
    }

    fn shown(&self, activity: &Activity) -> Value {
        let truth = self.cloud.truth(&activity.group);
        let instances = truth.as_ref().map(|truth| truth.instances.as_slice()).unwrap_or_default();
        let (description, over) = match &activity.what {
            What::Resize { from, to, sync: false } => {
                (format!("The Desired Capacity is changed from \"{from}\" to \"{to}\""), true)
            }
            What::Resize { from, to, sync: true } => {
                let running = instances.iter().filter(|instance| instance.state == InstanceState::Running).count();
                (format!("Add \"{}\" ECS instance", to.saturating_sub(*from)), running >= *to as usize)
            }
            What::Remove { ids } => {
                let left = instances.iter().any(|instance| ids.contains(&instance.id));
                (format!("Remove \"{}\" ECS instance", ids.len()), !left)
            }
        };
        let mut shown = json!({
            "ScalingActivityId": activity.id,
            "ScalingGroupId": group_id(activity.group.as_str()),
            "Description": description,
            "Cause": "A user calls the API",
            "TriggerSourceType": "APIs",
            "StartTime": time(activity.start),
            "StatusCode": if over { "Successful" } else { "InProgress" },
            "StatusMessage": "",
            "Progress": if over { 100 } else { 50 },
            "TotalCapacity": instances.len().to_string(),
        });
        if over {
            shown["EndTime"] = time(self.cloud.now()).into();
        }
        if let What::Remove { ids } = &activity.what {
            shown["DestroyedInstances"] = ids.iter().map(InstanceId::as_str).collect();
            shown["DestroyedCapacity"] = ids.len().into();
        }
        shown
    }
}

/// What ESS does by itself while instances are on their way.
fn filling(group: &GroupId, seen: &Observation) -> Option<Value> {
    let pending: Vec<&str> = seen
        .instances
        .iter()
        .filter(|instance| instance.state == InstanceState::Pending)
        .map(|instance| instance.id.as_str())
        .collect();
    let start = seen.instances.iter().filter_map(|instance| instance.launched).max()?;
    (!pending.is_empty()).then(|| {
        json!({
            "ScalingActivityId": made_up(group, "filling", start),
            "ScalingGroupId": group_id(group.as_str()),
            "Description": format!("Add \"{}\" ECS instance", pending.len()),
            "Cause": "The number of instances is below the Desired Capacity",
            "TriggerSourceType": "Ess",
            "StartTime": time(start),
            "StatusCode": "InProgress",
            "StatusMessage": "",
            "Progress": 50,
            "CreatedInstances": pending,
        })
    })
}

/// A launch of ESS' own that failed.
fn failed(group: &GroupId, failure: &LaunchFailure) -> Value {
    let code = match failure.kind {
        FailureKind::OutOfCapacity => "OperationDenied.NoStock",
        FailureKind::QuotaExceeded => "QuotaExceed.ElasticQuota",
        FailureKind::Denied => "Forbidden.RAM",
        FailureKind::Invalid => "InvalidParameter",
        FailureKind::Other => "InternalError",
    };
    let place = match &failure.scope {
        Scope::Zone(name) => format!(" in zone {}", zone(name)),
        _ => String::new(),
    };
    let message = format!("{}{place}", failure.message);
    json!({
        "ScalingActivityId": made_up(group, &format!("{code}{place}"), failure.at),
        "ScalingGroupId": group_id(group.as_str()),
        "Description": "Add \"1\" ECS instance",
        "Cause": "The number of instances is below the Desired Capacity",
        "TriggerSourceType": "Ess",
        "StartTime": time(failure.at),
        "EndTime": time(failure.at),
        "StatusCode": "Failed",
        "StatusMessage": format!("Fail to create instances into scaling group: {message}"),
        "Progress": 100,
        "ErrorCode": code,
        "ErrorMessage": message,
        "ErrorMessages": [{ "Code": code, "Message": message, "Description": message }],
    })
}

/// An id that is the same at each look.
fn made_up(group: &GroupId, what: &str, at: Timestamp) -> String {
    format!("asa-{}", &auth::hash(format!("{group} {what} {}", at.0).as_bytes())[..20])
}
