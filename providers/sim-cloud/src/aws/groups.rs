//! Auto Scaling groups: made, described, changed, deleted, tagged.

use super::activities::lifecycle;
use super::query::{Params, time};
use super::{ACCOUNT, Aws, REGION, Refused, TYPE, invalid, zone};
use contract::{Epoch, GroupId, Instance, Observation, OwnerTag, Scope, Suspended, Timestamp};
use serde_json::{Value, json};
use sim::GroupSettings;
use std::time::Duration;

/// The tag that the simulated owner is.
const OWNER: &str = "skala:owner";

impl Aws {
    pub(super) fn create_group(&self, params: &Params) -> Result<Value, Refused> {
        let name = params.need("AutoScalingGroupName")?;
        if self.group(name).is_ok() {
            return Err((400, "AlreadyExists", format!("AutoScalingGroup by this name already exists - {name}")));
        }
        let min = params.number("MinSize")?.unwrap_or(0);
        let max = params.number("MaxSize")?.unwrap_or(0);
        let desired = params.number("DesiredCapacity")?.unwrap_or(min);
        let zones = params.list("AvailabilityZones");
        let letter = |zone: &str| zone.strip_prefix(REGION).unwrap_or(zone).into();
        let zones = if zones.is_empty() { vec!["a".into()] } else { zones.into_iter().map(letter).collect() };
        let settings = GroupSettings { min, max, desired, zones, ..GroupSettings::default() };
        self.cloud.create(name, &settings).map_err(|wrong| invalid(wrong.to_string()))?;
        self.lock().zones.insert(name.into(), settings.zones);
        for tag in params.structures("Tags") {
            self.set_tag(&name.into(), &tag);
        }
        Ok(Value::Null)
    }

    pub(super) fn update_group(&self, params: &Params) -> Result<Value, Refused> {
        let group = self.group_of(params)?;
        let seen = self.look(&group)?;
        let min = params.number("MinSize")?.or(seen.cloud_min).unwrap_or(0);
        let max = params.number("MaxSize")?.or(seen.cloud_max).unwrap_or(0);
        let desired = params.number("DesiredCapacity")?;
        if min > max || desired.is_some_and(|desired| desired < min || desired > max) {
            return Err(invalid("Desired capacity must be between the specified min size and max size"));
        }
        self.cloud.set_bounds(&group, min, max);
        if let Some(desired) = desired {
            self.cloud.set_desired(&group, desired);
        }
        Ok(Value::Null)
    }

    pub(super) fn delete_group(&self, params: &Params) -> Result<Value, Refused> {
        let group = self.group_of(params)?;
        if !self.look(&group)?.instances.is_empty() && !params.flag("ForceDelete", false) {
            let words = "You cannot delete an AutoScalingGroup while there are instances still in it.";
            return Err((400, "ResourceInUse", words.into()));
        }
        self.cloud.delete(&group);
        let mut state = self.lock();
        state.tags.remove(&group);
        state.hooks.remove(&group);
        state.drains.remove(&group);
        state.noted.remove(&group);
        state.policies.remove(&group);
        state.schedules.remove(&group);
        state.refreshes.remove(&group);
        state.zones.remove(&group);
        state.activities.retain(|activity| activity.group != group);
        Ok(Value::Null)
    }

    pub(super) fn describe_groups(&self, params: &Params) -> Result<Value, Refused> {
        let names = params.list("AutoScalingGroupNames");
        if names.len() > 100 {
            return Err(invalid("at most 100 names"));
        }
        let wanted = |group: &GroupId| names.is_empty() || names.contains(&group.as_str());
        let groups = self.groups().into_iter().filter(wanted).collect();
        let (shown, next) = params.page_within(groups, 50, 100, self.page)?;
        let with_instances = params.flag("IncludeInstances", true);
        let shown: Vec<Value> = shown
            .iter()
            .filter_map(|group| Some(self.shown_group(group, &self.cloud.look(group)?, with_instances)))
            .collect();
        Ok(json!({ "AutoScalingGroups": shown, "NextToken": next }))
    }

    /// What there is to see of a group that was found.
    pub(super) fn look(&self, group: &GroupId) -> Result<Observation, Refused> {
        self.cloud.look(group).ok_or_else(|| invalid(format!("AutoScalingGroup name not found - {group}")))
    }

    fn shown_group(&self, group: &GroupId, seen: &Observation, with_instances: bool) -> Value {
        // The machines do not tell their group's zones: those it was made with here, those with instances, those that failed.
        let mut zones = self.lock().zones.get(group).cloned().unwrap_or_default();
        zones.extend(seen.instances.iter().filter_map(|instance| instance.zone.clone()));
        zones.extend(seen.launch_failures.iter().filter_map(|failure| match &failure.scope {
            Scope::Zone(zone) => Some(zone.clone()),
            _ => None,
        }));
        if zones.is_empty() {
            zones.push("a".into());
        }
        let mut zones: Vec<String> = zones.iter().map(|name| zone(name)).collect();
        zones.sort();
        zones.dedup();
        let since = time(seen.at);
        let processes = seen.suspended.iter().filter_map(process);
        let processes: Vec<Value> = processes
            .map(|name| json!({ "ProcessName": name, "SuspensionReason": format!("User suspended at {since}") }))
            .collect();
        let shown = seen.instances.iter().filter(|_| with_instances);
        json!({
            "AutoScalingGroupName": group.as_str(),
            "AutoScalingGroupARN":
                format!("arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:1:autoScalingGroupName/{group}"),
            "LaunchTemplate": template("2"),
            "MinSize": seen.cloud_min,
            "MaxSize": seen.cloud_max,
            "DesiredCapacity": seen.desired,
            "DefaultCooldown": 300,
            "AvailabilityZones": zones,
            "HealthCheckType": "EC2",
            "HealthCheckGracePeriod": 0,
            "CreatedTime": time(seen.at.before(Duration::from_secs(86_400))),
            "SuspendedProcesses": processes,
            "Instances": shown.map(|instance| self.shown_member(group, instance, seen.at)).collect::<Vec<_>>(),
            "Tags": self.tags(group, seen),
            "NewInstancesProtectedFromScaleIn": false,
        })
    }

    fn shown_member(&self, group: &GroupId, instance: &Instance, at: Timestamp) -> Value {
        let waits = self.waits(group, instance, at);
        json!({
            "InstanceId": instance.id.as_str(),
            "InstanceType": TYPE,
            "AvailabilityZone": instance.zone.as_deref().map(zone),
            "LifecycleState": lifecycle(instance, waits),
            "HealthStatus": "Healthy",
            "LaunchTemplate": template(if instance.outdated { "1" } else { "2" }),
            "ProtectedFromScaleIn": instance.protected,
        })
    }

    fn tags(&self, group: &GroupId, seen: &Observation) -> Vec<Value> {
        let tag = |key: &str, value: &str| {
            json!({
                "ResourceId": group.as_str(),
                "ResourceType": "auto-scaling-group",
                "Key": key,
                "Value": value,
                "PropagateAtLaunch": false,
            })
        };
        let state = self.lock();
        let kept = state.tags.get(group).into_iter().flatten();
        let mut tags: Vec<Value> = kept.map(|(key, value)| tag(key, value)).collect();
        if let Some(owner) = &seen.owner {
            tags.push(tag(OWNER, &format!("{}/{}/{}", owner.id, owner.epoch.0, owner.expiry.0 / 1_000_000)));
        }
        tags
    }

    pub(super) fn tag_groups(&self, params: &Params) -> Result<Value, Refused> {
        let tags = params.structures("Tags");
        let named = |tag: &Params| self.group(tag.need("ResourceId")?);
        let groups = tags.iter().map(named).collect::<Result<Vec<_>, _>>()?;
        for (group, tag) in groups.iter().zip(&tags) {
            self.set_tag(group, tag);
        }
        Ok(Value::Null)
    }

    fn set_tag(&self, group: &GroupId, tag: &Params) {
        let (key, value) = (tag.text("Key").unwrap_or_default(), tag.text("Value").unwrap_or_default());
        match owner(value).filter(|_| key == OWNER) {
            Some(owner) => _ = self.cloud.set_owner(group, Some(owner)),
            None => {
                let mut state = self.lock();
                state.tags.entry(group.clone()).or_default().insert(key.into(), value.into());
            }
        }
    }
}

fn template(version: &str) -> Value {
    json!({ "LaunchTemplateId": "lt-0123456789abcdef0", "LaunchTemplateName": "simulated", "Version": version })
}

/// What a suspension is called here; a refresh is none, it is listed by itself.
pub(super) fn process(suspended: &Suspended) -> Option<&str> {
    match suspended {
        Suspended::Launch => Some("Launch"),
        Suspended::Terminate => Some("Terminate"),
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
