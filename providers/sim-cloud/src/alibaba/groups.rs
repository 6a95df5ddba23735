//! Groups and instances as they are described, and the tags on groups.

use super::{Alibaba, REGION, Refused, group_id, list, page, time, zone};
use crate::request::Request;
use contract::{Epoch, GroupId, Instance, InstanceState, Observation, OwnerTag, Suspended, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;

/// The tag that the simulated owner is.
const OWNER: &str = "skala:owner";
/// The present template and the one before.
const CONFIGURATION: &str = "asc-simulated-2";
const OLD_CONFIGURATION: &str = "asc-simulated-1";

impl Alibaba {
    pub(super) fn describe_groups(&self, request: &Request) -> Result<Value, Refused> {
        let (ids, names) = (list(request, "ScalingGroupIds"), list(request, "ScalingGroupNames"));
        let wanted = |group: &GroupId| {
            let id = group_id(group.as_str());
            (ids.is_empty() || ids.contains(&id.as_str())) && (names.is_empty() || names.contains(&group.as_str()))
        };
        let groups = self.cloud.groups().into_iter().filter(wanted).collect();
        page(request, "ScalingGroups", 50, groups, |group: GroupId| {
            self.cloud.look(&group).map(|seen| self.group(&group, &seen)).unwrap_or_default()
        })
    }

    pub(super) fn describe_instances(&self, request: &Request) -> Result<Value, Refused> {
        let groups = match request.param("ScalingGroupId") {
            Some(id) => vec![self.by_id(id)?],
            None => self.cloud.groups(),
        };
        let (ids, states) = (list(request, "InstanceIds"), list(request, "LifecycleStates"));
        let mut instances = Vec::new();
        for group in &groups {
            let Some(seen) = self.cloud.look(group) else { continue };
            for instance in &seen.instances {
                let state = self.lifecycle(group, instance, seen.at);
                if (ids.is_empty() || ids.contains(&instance.id.as_str()))
                    && (states.is_empty() || states.contains(&state))
                {
                    instances.push((group, instance.clone(), state));
                }
            }
        }
        page(request, "ScalingInstances", 100, instances, |(group, instance, state)| {
            instance_of(group, &instance, state)
        })
    }

    fn group(&self, group: &GroupId, seen: &Observation) -> Value {
        let states: Vec<&str> =
            seen.instances.iter().map(|instance| self.lifecycle(group, instance, seen.at)).collect();
        let count = |state: &str| states.iter().filter(|shown| **shown == state).count();
        let processes: Vec<&str> = seen.suspended.iter().filter_map(process).collect();
        let created = time(seen.at.before(Duration::from_secs(86_400)));
        json!({
            "ScalingGroupId": group_id(group.as_str()),
            "ScalingGroupName": group.as_str(),
            "RegionId": REGION,
            "GroupType": "ECS",
            "LifecycleState": "Active",
            "EnableDesiredCapacity": true,
            "DesiredCapacity": seen.desired,
            "MinSize": seen.cloud_min,
            "MaxSize": seen.cloud_max,
            "TotalCapacity": seen.instances.len(),
            "TotalInstanceCount": seen.instances.len(),
            "ActiveCapacity": count("InService"),
            "PendingCapacity": count("Pending"),
            "PendingWaitCapacity": count("Pending:Wait"),
            "ProtectedCapacity": count("Protected"),
            "StandbyCapacity": 0,
            "StoppedCapacity": 0,
            "RemovingCapacity": count("Removing"),
            "RemovingWaitCapacity": count("Removing:Wait"),
            "InitCapacity": 0,
            "SpotCapacity": 0,
            "ActiveScalingConfigurationId": CONFIGURATION,
            "DefaultCooldown": 300,
            "CreationTime": created,
            "ModificationTime": created,
            "RemovalPolicies": ["OldestScalingConfiguration", "OldestInstance"],
            "MultiAZPolicy": "BALANCE",
            "ScalingPolicy": "release",
            "HealthCheckType": "ECS",
            "HealthCheckTypes": ["ECS"],
            "GroupDeletionProtection": false,
            "SystemSuspended": false,
            "SuspendedProcesses": processes,
            "Tags": self.tags(group, seen),
            "VpcId": "vpc-simulated",
            "VSwitchIds": ["vsw-simulated"],
        })
    }

    /// The state in ESS' words; a hook holds back what has only just booted, another one what is on its way out.
    fn lifecycle(&self, group: &GroupId, instance: &Instance, at: Timestamp) -> &'static str {
        let holds = self.lock().hooks.get(group).copied().unwrap_or_default();
        let waits = instance.running_since.is_some_and(|since| at.since(since) < holds);
        let drains = || self.cloud.held_until(group, &instance.id).is_some_and(|until| until > at);
        match instance.state {
            InstanceState::Pending => "Pending",
            InstanceState::Terminating if drains() => "Removing:Wait",
            InstanceState::Terminating => "Removing",
            InstanceState::Running if waits => "Pending:Wait",
            InstanceState::Running | InstanceState::Failed if instance.protected => "Protected",
            InstanceState::Running | InstanceState::Failed => "InService",
        }
    }

    fn tags(&self, group: &GroupId, seen: &Observation) -> Vec<Value> {
        let tag = |key: &str, value: &str| json!({ "TagKey": key, "TagValue": value, "Propagate": false });
        let state = self.lock();
        let kept = state.tags.get(group).into_iter().flatten();
        let mut tags: Vec<Value> = kept.map(|(key, value)| tag(key, value)).collect();
        if let Some(owner) = &seen.owner {
            let value = format!("{}/{}/{}", owner.id, owner.epoch.0, owner.expiry.0 / 1_000_000);
            tags.push(tag(OWNER, &value));
        }
        tags
    }

    pub(super) fn tag(&self, request: &Request) -> Result<Value, Refused> {
        let ids = list(request, "ResourceIds");
        if request.param("ResourceType") != Some("scalinggroup") || ids.is_empty() || ids.len() > 50 {
            return Err((400, "InvalidParameter", "ResourceType or ResourceIds is not valid".into()));
        }
        let groups = ids.into_iter().map(|id| self.by_id(id)).collect::<Result<Vec<_>, _>>()?;
        for index in 1.. {
            let Some(key) = request.param(&format!("Tags.{index}.Key")) else { break };
            let value = request.param(&format!("Tags.{index}.Value")).unwrap_or_default();
            if key.is_empty() || key.len() > 128 || value.len() > 128 || key.starts_with("acs:") {
                return Err((400, "InvalidParameter", format!("the tag {key:?} is not valid")));
            }
            for group in &groups {
                match owner(value).filter(|_| key == OWNER) {
                    Some(owner) => _ = self.cloud.set_owner(group, Some(owner)),
                    None => {
                        let mut state = self.lock();
                        state.tags.entry(group.clone()).or_default().insert(key.into(), value.into());
                    }
                }
            }
        }
        Ok(json!({}))
    }
}

fn instance_of(group: &GroupId, instance: &Instance, state: &str) -> Value {
    let launched = instance.launched.map(time);
    json!({
        "InstanceId": instance.id.as_str(),
        "ScalingInstanceId": format!("asi-{}", instance.id),
        "ScalingGroupId": group_id(group.as_str()),
        "LifecycleState": state,
        "HealthStatus": if instance.state == InstanceState::Failed { "Unhealthy" } else { "Healthy" },
        "ZoneId": instance.zone.as_deref().map(zone),
        "CreatedTime": launched,
        // The same to the minute.
        "CreationTime": launched.map(|text| format!("{}Z", &text[..text.len().min(16)])),
        "CreationType": "AutoCreated",
        "Entrusted": false,
        "ScalingConfigurationId": if instance.outdated { OLD_CONFIGURATION } else { CONFIGURATION },
        "WarmupState": "NoNeedWarmup",
        "WeightedCapacity": 1,
    })
}

/// What a suspension is called here; a refresh is none, it is listed by itself.
fn process(suspended: &Suspended) -> Option<&str> {
    match suspended {
        Suspended::Launch => Some("ScaleOut"),
        Suspended::Terminate => Some("ScaleIn"),
        Suspended::Refresh => None,
        Suspended::Other(name) => Some(name),
    }
}

/// `id/epoch/expiry`.
fn owner(value: &str) -> Option<OwnerTag> {
    let mut parts = value.rsplitn(3, '/');
    let expiry = Timestamp::from_secs(parts.next()?.parse().ok()?);
    let epoch = Epoch(parts.next()?.parse().ok()?);
    Some(OwnerTag { id: parts.next()?.into(), epoch, expiry })
}
