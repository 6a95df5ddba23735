//! What else controls a group: rules, event-triggered tasks, scheduled tasks, and instance refreshes. The simulated
//! controller's name says which of them it is.

use super::{Alibaba, REGION, Refused, group_id, page, time};
use crate::request::Request;
use contract::{Foreign, GroupId, Suspended};
use serde_json::{Value, json};

impl Alibaba {
    pub(super) fn describe_rules(&self, request: &Request) -> Result<Value, Refused> {
        let rules = self.each(request, |group, foreign| {
            if let Some(name) = foreign.name.strip_prefix("scaling rule ") {
                return Some(json!({
                    "ScalingRuleType": "TargetTrackingScalingRule",
                    "ScalingRuleName": name,
                    "ScalingRuleId": format!("asr-{name}"),
                    "ScalingRuleAri": ari(group, name),
                    "ScalingGroupId": group_id(group.as_str()),
                    "MetricName": "CpuUtilization",
                    "TargetValue": 50.0,
                    "DisableScaleIn": foreign.removes == Some(false),
                }));
            }
            let name = foreign.name.strip_prefix("event-triggered task ")?;
            Some(json!({
                "ScalingRuleType": "SimpleScalingRule",
                "ScalingRuleName": name,
                "ScalingRuleId": format!("asr-{name}"),
                "ScalingRuleAri": ari(group, name),
                "ScalingGroupId": group_id(group.as_str()),
                "AdjustmentType": "QuantityChangeInCapacity",
                "AdjustmentValue": if foreign.removes == Some(false) { 1 } else { -1 },
            }))
        })?;
        page(request, "ScalingRules", 50, rules, |shown| shown)
    }

    pub(super) fn describe_alarms(&self, request: &Request) -> Result<Value, Refused> {
        let alarms = self.each(request, |group, foreign| {
            let rule = foreign.name.strip_prefix("scaling rule ");
            let name = rule.or_else(|| foreign.name.strip_prefix("event-triggered task "))?;
            Some(json!({
                "AlarmTaskId": format!("asg-alarm-{name}-{}", group_id(group.as_str())),
                "Name": name,
                "ScalingGroupId": group_id(group.as_str()),
                "Enable": true,
                "State": "OK",
                "MetricName": "CpuUtilization",
                "MetricType": "system",
                "AlarmActions": [ari(group, name)],
            }))
        })?;
        page(request, "AlarmList", 50, alarms, |shown| shown)
    }

    pub(super) fn describe_tasks(&self, request: &Request) -> Result<Value, Refused> {
        let tasks = self.each(request, |group, foreign| {
            let name = foreign.name.strip_prefix("scheduled task ")?;
            let mut task = json!({
                "ScheduledTaskId": format!("tsk-{name}-{}", group_id(group.as_str())),
                "ScheduledTaskName": name,
                "ScalingGroupId": group_id(group.as_str()),
                "TaskEnabled": true,
                "LaunchTime": time(self.cloud.now()),
                "LaunchExpirationTime": 600,
                "RecurrenceType": "Daily",
                "RecurrenceValue": "1",
                "MinValue": 1,
            });
            if foreign.removes != Some(false) {
                task["MaxValue"] = 5.into();
            }
            Some(task)
        })?;
        page(request, "ScheduledTasks", 50, tasks, |shown| shown)
    }

    pub(super) fn describe_refreshes(&self, request: &Request) -> Result<Value, Refused> {
        let group = self.by_id(request.param("ScalingGroupId").unwrap_or_default())?;
        let seen = self.cloud.look(&group);
        let runs = seen.is_some_and(|seen| seen.suspended.contains(&Suspended::Refresh));
        let tasks: Vec<Value> = runs
            .then(|| {
                json!({
                    "InstanceRefreshTaskId": "air-simulated",
                    "ScalingGroupId": group_id(group.as_str()),
                    "RegionId": REGION,
                    "Status": "InProgress",
                    "StartTime": time(self.cloud.now()),
                })
            })
            .into_iter()
            .collect();
        Ok(json!({ "TotalCount": tasks.len(), "MaxResults": 50, "NextToken": "", "InstanceRefreshTasks": tasks }))
    }

    /// What the controllers of the group asked for, or of all groups, are here.
    fn each(
        &self,
        request: &Request,
        shown: impl Fn(&GroupId, &Foreign) -> Option<Value>,
    ) -> Result<Vec<Value>, Refused> {
        let groups = match request.param("ScalingGroupId") {
            Some(id) => vec![self.by_id(id)?],
            None => self.cloud.groups(),
        };
        let mut all = Vec::new();
        for group in &groups {
            let foreign = self.cloud.look(group).map(|seen| seen.foreign).unwrap_or_default();
            all.extend(foreign.iter().filter_map(|foreign| shown(group, foreign)));
        }
        Ok(all)
    }
}

fn ari(group: &GroupId, name: &str) -> String {
    format!("ari:acs:ess:{REGION}:1:scalingrule/asr-{name}-{}", group_id(group.as_str()))
}
