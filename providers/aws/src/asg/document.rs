//! What AWS answered, in the form in which its own command line prints it, purely: one reading of a native scaler serves
//! the answers of the API and the files that people have.
//!
//! The thresholds of step and simple policies are in their alarms, which are another service's: CloudWatch's.

use aws_sdk_autoscaling::types::{
    AutoScalingGroup, CustomizedMetricSpecification, MetricDimension, PredefinedMetricSpecification, ScalingPolicy,
    ScheduledUpdateGroupAction, TargetTrackingConfiguration,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) fn of(
    group: &AutoScalingGroup,
    policies: &[ScalingPolicy],
    actions: &[ScheduledUpdateGroupAction],
    alarms: Vec<Value>,
) -> Value {
    let processes: Vec<Value> =
        group.suspended_processes().iter().map(|process| json!({"ProcessName": process.process_name()})).collect();
    json!({
        "AutoScalingGroups": [{
            "AutoScalingGroupName": group.auto_scaling_group_name(),
            "MinSize": group.min_size(),
            "MaxSize": group.max_size(),
            "DefaultCooldown": group.default_cooldown(),
            "DefaultInstanceWarmup": group.default_instance_warmup(),
            "SuspendedProcesses": processes,
        }],
        "ScalingPolicies": policies.iter().map(policy).collect::<Vec<Value>>(),
        "ScheduledUpdateGroupActions": actions.iter().map(action).collect::<Vec<Value>>(),
        "MetricAlarms": alarms,
    })
}

/// The alarms without which policies have no thresholds. Target tracking keeps its alarms to itself.
pub(super) fn alarms_needed(policies: &[ScalingPolicy]) -> BTreeSet<&str> {
    let by_alarm =
        |policy: &&ScalingPolicy| matches!(policy.policy_type(), None | Some("StepScaling" | "SimpleScaling"));
    policies.iter().filter(by_alarm).flat_map(|policy| policy.alarms()).filter_map(|alarm| alarm.alarm_name()).collect()
}

fn policy(policy: &ScalingPolicy) -> Value {
    let steps: Vec<Value> = policy
        .step_adjustments()
        .iter()
        .map(|step| {
            json!({
                "MetricIntervalLowerBound": step.metric_interval_lower_bound(),
                "MetricIntervalUpperBound": step.metric_interval_upper_bound(),
                "ScalingAdjustment": step.scaling_adjustment(),
            })
        })
        .collect();
    let alarms: Vec<Value> = policy.alarms().iter().map(|alarm| json!({"AlarmName": alarm.alarm_name()})).collect();
    json!({
        "AutoScalingGroupName": policy.auto_scaling_group_name(),
        "PolicyName": policy.policy_name(),
        "PolicyARN": policy.policy_arn(),
        "PolicyType": policy.policy_type(),
        "AdjustmentType": policy.adjustment_type(),
        "MinAdjustmentMagnitude": policy.min_adjustment_magnitude(),
        "ScalingAdjustment": policy.scaling_adjustment(),
        "Cooldown": policy.cooldown(),
        "StepAdjustments": steps,
        "EstimatedInstanceWarmup": policy.estimated_instance_warmup(),
        "Alarms": alarms,
        "TargetTrackingConfiguration": policy.target_tracking_configuration().map(tracking),
        "Enabled": policy.enabled(),
    })
}

fn tracking(of: &TargetTrackingConfiguration) -> Value {
    json!({
        "PredefinedMetricSpecification": of.predefined_metric_specification().map(predefined),
        "CustomizedMetricSpecification": of.customized_metric_specification().map(customized),
        "TargetValue": of.target_value(),
        "DisableScaleIn": of.disable_scale_in(),
    })
}

fn predefined(of: &PredefinedMetricSpecification) -> Value {
    json!({
        "PredefinedMetricType": of.predefined_metric_type().map(|kind| kind.as_str()),
        "ResourceLabel": of.resource_label(),
    })
}

fn customized(of: &CustomizedMetricSpecification) -> Value {
    let metrics: Vec<Value> = of
        .metrics()
        .iter()
        .map(|one| {
            let stat = one.metric_stat().map(|stat| {
                let metric = stat.metric().map(|metric| {
                    json!({
                        "Namespace": metric.namespace(),
                        "MetricName": metric.metric_name(),
                        "Dimensions": dimensions(metric.dimensions()),
                    })
                });
                json!({"Metric": metric, "Stat": stat.stat(), "Period": stat.period()})
            });
            json!({
                "Id": one.id(),
                "Expression": one.expression(),
                "MetricStat": stat,
                "Label": one.label(),
                "ReturnData": one.return_data(),
            })
        })
        .collect();
    json!({
        "MetricName": of.metric_name(),
        "Namespace": of.namespace(),
        "Dimensions": dimensions(of.dimensions()),
        "Statistic": of.statistic().map(|statistic| statistic.as_str()),
        "Period": of.period(),
        // No list and an empty one are the same to the SDK, and metric math only with entries.
        "Metrics": if metrics.is_empty() { Value::Null } else { Value::Array(metrics) },
    })
}

fn dimensions(of: &[MetricDimension]) -> Vec<Value> {
    of.iter().map(|one| json!({"Name": one.name(), "Value": one.value()})).collect()
}

fn action(action: &ScheduledUpdateGroupAction) -> Value {
    json!({
        "AutoScalingGroupName": action.auto_scaling_group_name(),
        "ScheduledActionName": action.scheduled_action_name(),
        "Recurrence": action.recurrence(),
        "EndTime": action.end_time().map(|time| time.as_secs_f64()),
        "MinSize": action.min_size(),
        "MaxSize": action.max_size(),
        "DesiredCapacity": action.desired_capacity(),
        "TimeZone": action.time_zone(),
    })
}
