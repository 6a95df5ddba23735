//! What else controls a group: scaling policies and scheduled actions, and instance refreshes. The simulated controller's
//! name says which of them it is; others are what was put there through the API.

use super::query::{Params, time};
use super::{ACCOUNT, Aws, REGION, Refused};
use contract::{Foreign, GroupId, Suspended};
use serde_json::{Value, json};

const ACTIVE: &[&str] = &["Pending", "InProgress", "Cancelling", "Baking", "RollbackInProgress"];

impl Aws {
    pub(super) fn put_policy(&self, params: &Params) -> Result<Value, Refused> {
        let group = self.group_of(params)?;
        let name = params.need("PolicyName")?;
        let mut policy = params.tree();
        policy["PolicyARN"] = arn(name).into();
        if policy["PolicyType"].is_null() {
            policy["PolicyType"] = "SimpleScaling".into();
        }
        put(self.lock().policies.entry(group).or_default(), "PolicyName", policy);
        Ok(json!({ "PolicyARN": arn(name) }))
    }

    pub(super) fn describe_policies(&self, params: &Params) -> Result<Value, Refused> {
        let mut policies = self.all(
            params,
            |state| &state.policies,
            |group, foreign| {
                let name = foreign.name.strip_prefix("scaling policy ")?;
                Some(json!({
                    "AutoScalingGroupName": group.as_str(),
                    "PolicyName": name,
                    "PolicyARN": arn(name),
                    "PolicyType": "TargetTrackingScaling",
                    "TargetTrackingConfiguration": {
                        "PredefinedMetricSpecification": { "PredefinedMetricType": "ASGAverageCPUUtilization" },
                        "TargetValue": 50.0,
                        "DisableScaleIn": foreign.removes == Some(false),
                    },
                    "Enabled": true,
                }))
            },
        )?;
        for policy in &mut policies {
            policy["Alarms"] = self.alarms_calling(&policy["PolicyARN"]).into();
        }
        let (shown, next) = params.page(policies, 50, 100)?;
        Ok(json!({ "ScalingPolicies": shown, "NextToken": next }))
    }

    pub(super) fn put_schedule(&self, params: &Params) -> Result<Value, Refused> {
        let group = self.group_of(params)?;
        params.need("ScheduledActionName")?;
        put(self.lock().schedules.entry(group).or_default(), "ScheduledActionName", params.tree());
        Ok(Value::Null)
    }

    pub(super) fn describe_schedules(&self, params: &Params) -> Result<Value, Refused> {
        let actions = self.all(
            params,
            |state| &state.schedules,
            |group, foreign| {
                let name = foreign.name.strip_prefix("scheduled action ")?;
                let max = (foreign.removes != Some(false)).then_some(5);
                Some(json!({
                    "AutoScalingGroupName": group.as_str(),
                    "ScheduledActionName": name,
                    "Recurrence": "0 0 * * *",
                    "MinSize": 1,
                    "MaxSize": max,
                }))
            },
        )?;
        let (shown, next) = params.page(actions, 50, 100)?;
        Ok(json!({ "ScheduledUpdateGroupActions": shown, "NextToken": next }))
    }

    /// What was put on the groups asked for, and what the simulated controllers are here.
    fn all(
        &self,
        params: &Params,
        put: impl Fn(&super::State) -> &std::collections::BTreeMap<GroupId, Vec<Value>>,
        shown: impl Fn(&GroupId, &Foreign) -> Option<Value>,
    ) -> Result<Vec<Value>, Refused> {
        let mut all = Vec::new();
        for group in self.groups_of(params)? {
            all.extend(put(&self.lock()).get(&group).into_iter().flatten().cloned());
            let foreign = self.cloud.look(&group).map(|seen| seen.foreign).unwrap_or_default();
            all.extend(foreign.iter().filter_map(|foreign| shown(&group, foreign)));
        }
        Ok(all)
    }

    pub(super) fn start_refresh(&self, params: &Params) -> Result<Value, Refused> {
        let group = self.group_of(params)?;
        let count = self.look(&group)?.instances.len();
        let mut state = self.lock();
        let refreshes = state.refreshes.entry(group.clone()).or_default();
        if refreshes.iter().any(|refresh| ACTIVE.contains(&refresh["Status"].as_str().unwrap_or_default())) {
            let words = "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh.";
            return Err((400, "InstanceRefreshInProgress", words.into()));
        }
        let id = format!("{:08x}-0000-4000-8000-000000000001", refreshes.len());
        let refresh = json!({
            "InstanceRefreshId": id,
            "AutoScalingGroupName": group.as_str(),
            "Status": "InProgress",
            "StartTime": time(self.cloud.now()),
            "PercentageComplete": 0,
            "InstancesToUpdate": count,
        });
        refreshes.insert(0, refresh);
        Ok(json!({ "InstanceRefreshId": id }))
    }

    pub(super) fn describe_refreshes(&self, params: &Params) -> Result<Value, Refused> {
        let group = self.group_of(params)?;
        let seen = self.look(&group)?;
        let mut refreshes: Vec<Value> = Vec::new();
        if seen.suspended.contains(&Suspended::Refresh) {
            refreshes.push(json!({
                "InstanceRefreshId": "simulated-refresh",
                "AutoScalingGroupName": group.as_str(),
                "Status": "InProgress",
                "StartTime": time(seen.at),
            }));
        }
        refreshes.extend(self.lock().refreshes.get(&group).into_iter().flatten().cloned());
        let (shown, next) = params.page(refreshes, 50, 100)?;
        Ok(json!({ "InstanceRefreshes": shown, "NextToken": next }))
    }
}

/// Puts an item in the place of the one with its name.
fn put(items: &mut Vec<Value>, name: &str, item: Value) {
    items.retain(|other| other[name] != item[name]);
    items.push(item);
}

pub(super) fn arn(policy: &str) -> String {
    format!("arn:aws:autoscaling:{REGION}:{ACCOUNT}:scalingPolicy:1:policyName/{policy}")
}
