//! What changes how many instances a group has, and which of them may go.

use super::groups::process;
use super::query::Params;
use super::{Aws, Refused, invalid};
use contract::{GroupId, InstanceId, InstanceState, Suspended};
use serde_json::{Value, json};
use sim::Removal;

impl Aws {
    pub(super) fn set_desired(&self, params: &Params) -> Result<Value, Refused> {
        let group = self.group_of(params)?;
        let to = params.number("DesiredCapacity")?.ok_or_else(|| invalid("DesiredCapacity is missing"))?;
        let of_group = "for the AutoScalingGroup.";
        match self.cloud.resize(&group, to) {
            Ok(_) => Ok(Value::Null),
            Err(sim::Refused::AboveMax(max)) => {
                Err(invalid(format!("New SetDesiredCapacity value {to} is above max value {max} {of_group}")))
            }
            Err(sim::Refused::BelowMin(min)) => {
                Err(invalid(format!("New SetDesiredCapacity value {to} is below min value {min} {of_group}")))
            }
            Err(refused) => Err(invalid(format!("{refused:?}"))),
        }
    }

    pub(super) fn terminate(&self, params: &Params) -> Result<Value, Refused> {
        let (one, several) = (params.text("InstanceId"), params.list("InstanceIds"));
        let name = params.text("AutoScalingGroupName");
        if one.is_some() != several.is_empty() || (!several.is_empty() && name.is_none()) || several.len() > 100 {
            return Err(invalid("Either InstanceId, or AutoScalingGroupName and at most 100 InstanceIds"));
        }
        let ids: Vec<InstanceId> = one.into_iter().chain(several).map(InstanceId::from).collect();
        let mut groups = Vec::new();
        for id in &ids {
            groups.push(self.member(id, name)?);
        }
        let group = groups.first().cloned().ok_or_else(|| invalid("no instance is named"))?;
        // Unlike a scale-in of its own, the call does not mind protection.
        let lower = params.flag("ShouldDecrementDesiredCapacity", false);
        let removal = Removal { lower, protected_too: true, skip_missing: false };
        match self.cloud.remove(&group, &ids, removal) {
            Ok(_) => {}
            Err(sim::Refused::BelowMin(_)) => {
                let words = "Terminating instance without replacement will violate group's min size constraint. Either \
                             set shouldDecrementDesiredCapacity flag to false or lower group's min size.";
                return Err(invalid(words));
            }
            Err(refused) => return Err(invalid(format!("{refused:?}"))),
        }
        self.note_all();
        let activities: Vec<Value> = ids.iter().filter_map(|id| self.end_of(&group, id)).collect();
        Ok(match one {
            Some(_) => json!({ "Activity": activities.first() }),
            None => json!({ "Activities": activities }),
        })
    }

    /// The group of an instance that is not on its way out.
    fn member(&self, id: &InstanceId, name: Option<&str>) -> Result<GroupId, Refused> {
        let groups = match name {
            Some(name) => vec![self.group(name)?],
            None => self.groups(),
        };
        let has = |group: &GroupId| {
            let truth = self.cloud.truth(group);
            truth.is_some_and(|t| t.instances.iter().any(|i| i.id == *id && i.state != InstanceState::Terminating))
        };
        let missing = || invalid(format!("Instance Id not found - No managed instance found for instance ID: {id}"));
        groups.into_iter().find(has).ok_or_else(missing)
    }

    pub(super) fn protect(&self, params: &Params) -> Result<Value, Refused> {
        let group = self.group_of(params)?;
        let protected = params.flag("ProtectedFromScaleIn", false);
        let ids: Vec<InstanceId> = params.list("InstanceIds").into_iter().map(InstanceId::from).collect();
        for id in &ids {
            self.member(id, Some(group.as_str()))?;
        }
        for id in &ids {
            self.cloud.protect(&group, id, protected);
        }
        Ok(json!({}))
    }

    pub(super) fn suspend(&self, params: &Params) -> Result<Value, Refused> {
        let group = self.group_of(params)?;
        let mut suspended = self.look(&group)?.suspended;
        let named = params.list("ScalingProcesses");
        let named = if named.is_empty() { vec!["Launch", "Terminate"] } else { named };
        suspended.extend(named.into_iter().map(function));
        suspended.sort_by_key(|each| format!("{each:?}"));
        suspended.dedup();
        self.cloud.set_suspended(&group, suspended);
        Ok(Value::Null)
    }

    pub(super) fn resume(&self, params: &Params) -> Result<Value, Refused> {
        let group = self.group_of(params)?;
        let mut suspended = self.look(&group)?.suspended;
        let named = params.list("ScalingProcesses");
        suspended.retain(|each| process(each).is_none_or(|name| !named.is_empty() && !named.contains(&name)));
        self.cloud.set_suspended(&group, suspended);
        Ok(Value::Null)
    }
}

fn function(process: &str) -> Suspended {
    match process {
        "Launch" => Suspended::Launch,
        "Terminate" => Suspended::Terminate,
        other => Suspended::Other(other.into()),
    }
}
