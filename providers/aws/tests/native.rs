//! The Auto Scaling group's own scaler: on moto suspended, seen to be, and given back as it was; on the simulated AWS
//! read with the alarms of its step policies, which moto does not tell.

// A test that cannot go on stops; and not every test needs all of the stand.
#![allow(clippy::unwrap_used, dead_code)]

mod stand;

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::{
    PredefinedMetricPairType, PredictiveScalingConfiguration, PredictiveScalingMetricSpecification,
    PredictiveScalingMode, PredictiveScalingPredefinedMetricPair, ScalingPolicy, StepAdjustment,
};
use conformance::{Fixture, Spec};
use contract::native::{NativeChange, NativeKind, NativePolicy, NativeStep};
use contract::{Ask, GroupId, Provider, ProviderError};
use serde_json::json;
use sim::GroupSettings;
use sim_cloud::{Fault, Kind};
use stand::fixture::Groups;
use stand::simulated::{self, Stand};

/// Adds a forecast that scales and a scheduled action to the group.
async fn furnish(client: &Client, name: &str) {
    let pair = PredictiveScalingPredefinedMetricPair::builder()
        .predefined_metric_type(PredefinedMetricPairType::AsgcpuUtilization)
        .build();
    let metric = PredictiveScalingMetricSpecification::builder()
        .target_value(50.0)
        .predefined_metric_pair_specification(pair)
        .build();
    let config = PredictiveScalingConfiguration::builder()
        .metric_specifications(metric)
        .mode(PredictiveScalingMode::ForecastAndScale)
        .scheduling_buffer_time(300)
        .build();
    let request = client.put_scaling_policy().auto_scaling_group_name(name).policy_name("ahead");
    let request = request.policy_type("PredictiveScaling").predictive_scaling_configuration(config);
    request.send().await.unwrap();
    let request = client.put_scheduled_update_group_action().auto_scaling_group_name(name);
    let request = request.scheduled_action_name("night").recurrence("0 22 * * *").min_size(0).max_size(5);
    request.send().await.unwrap();
}

async fn policies(client: &Client, name: &str) -> Vec<ScalingPolicy> {
    let answer = client.describe_policies().auto_scaling_group_name(name).send().await.unwrap();
    answer.scaling_policies.unwrap_or_default()
}

async fn suspended(client: &Client, name: &str) -> Vec<String> {
    let answer = client.describe_auto_scaling_groups().auto_scaling_group_names(name).send().await.unwrap();
    let processes = answer.auto_scaling_groups()[0].suspended_processes();
    let mut names: Vec<String> = processes.iter().filter_map(|one| one.process_name()).map(str::to_owned).collect();
    names.sort();
    names
}

async fn foreign(provider: &dyn Provider, group: &GroupId) -> Vec<String> {
    let ask = [Ask::new(group.clone())];
    // What the first look starts is in the second at the latest.
    let _ = provider.observe(&ask).await;
    let seen = provider.observe(&ask).await.remove(0).unwrap();
    let mut names: Vec<String> = seen.foreign.iter().map(|foreign| foreign.name.to_string()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn it_is_suspended_and_comes_back_as_it_was() {
    let (mut fixture, provider) = Groups::new().await;
    let group = fixture.create(Spec { min: 0, max: 9, desired: 2, running: 2 }).await.unwrap();
    fixture.foreign(&group).await.unwrap();
    let client = fixture.cloud.asg.clone();
    let name = group.as_str();
    furnish(&client, name).await;
    // Somebody has suspended something of their own, which is nobody's business here.
    let request = client.suspend_processes().auto_scaling_group_name(name).scaling_processes("AZRebalance");
    request.send().await.unwrap();
    let (before, native) = (policies(&client, name).await, provider.native().unwrap());
    let all = ["predictive scaling policy ahead", "scaling policy cpu50", "scheduled action night"];
    assert_eq!(foreign(&provider, &group).await, all);
    let described = native.describe(&group).await.unwrap();
    assert_eq!((described.min, described.max, &*described.rules[0].name), (Some(0), Some(9), "cpu50"));

    let undo = native.prepare(&group).await.unwrap();
    assert_eq!(undo.switches.len(), 3, "{undo:?}");
    for _ in 0..2 {
        native.suspend(&group, &undo).await.unwrap();
        assert_eq!(suspended(&client, name).await, ["AZRebalance", "AlarmNotification", "ScheduledActions"]);
        assert!(native.prepare(&group).await.unwrap().switches.is_empty(), "nothing is left that may act");
    }
    // The processes show at once, in the observation itself.
    let left = foreign(&provider, &group).await;
    assert!(!left.iter().any(|name| name.starts_with("sca") || name.starts_with("sched")), "{left:?}");

    for _ in 0..2 {
        native.restore(&group, &undo).await.unwrap();
        assert_eq!(suspended(&client, name).await, ["AZRebalance"]);
        assert_eq!(policies(&client, name).await, before, "not a word of any policy has changed");
    }
    assert_eq!(foreign(&provider, &group).await, all);
    let error = native.prepare(&"nobody".into()).await.unwrap_err();
    assert!(matches!(error, ProviderError::NotFound { .. }), "{error}");
    let error = native.prepare(&"ec2:web".into()).await.unwrap_err();
    assert!(matches!(error, ProviderError::Invalid { .. }), "{error}");
}

/// A policy that adds one instance at once beyond its alarm's threshold, and four from 900 beyond; its ARN.
async fn put_steps(client: &Client, group: &str, name: &str) -> String {
    let step = |from: f64, to: Option<f64>, adjustment: i32| {
        let step = StepAdjustment::builder().metric_interval_lower_bound(from).scaling_adjustment(adjustment);
        step.set_metric_interval_upper_bound(to).build()
    };
    let request = client.put_scaling_policy().auto_scaling_group_name(group).policy_name(name);
    let request = request.policy_type("StepScaling").adjustment_type("ChangeInCapacity");
    let request = request.step_adjustments(step(0.0, Some(900.0), 1)).step_adjustments(step(900.0, None, 4));
    request.send().await.unwrap().policy_arn.unwrap()
}

/// All thresholds; those of one metric are one rule.
fn steps(native: &NativePolicy) -> Vec<NativeStep> {
    let rows = native.rules.iter().filter_map(|rule| match &rule.kind {
        NativeKind::Steps { rows, .. } => Some(rows.clone()),
        _ => None,
    });
    rows.flatten().collect()
}

fn rows(threshold: f64) -> [NativeStep; 2] {
    let row = |limit: f64, change: i64| NativeStep { above: true, limit, change: NativeChange::Instances(change) };
    [row(threshold, 1), row(threshold + 900.0, 4)]
}

#[tokio::test]
async fn step_policies_come_with_their_thresholds_or_are_unknown() {
    // Two alarms in one answer at most.
    let stand = Stand::new(simulated::settings(), "", 2).await;
    stand.wire.cloud.create("web", &GroupSettings::default()).unwrap();
    let describe = async || stand.provider.native().unwrap().describe(&"web".into()).await;
    put_steps(&stand.asg, "web", "s0").await;
    let alone = describe().await.unwrap();
    assert_eq!(steps(&alone), []);
    let said = alone.rules.iter().any(|rule| matches!(&rule.kind, NativeKind::Other(why) if why.contains("alarm")));
    assert!(said, "{alone:?}");
    assert_eq!(stand.wire.server.exchanges().iter().filter(|one| one.body.starts_with('{')).count(), 0, "no alarm");
    for (index, threshold) in [100.0, 200.0, 300.0].into_iter().enumerate() {
        let arn = put_steps(&stand.asg, "web", &format!("s{index}")).await;
        stand.api.put_alarm(json!({
            "AlarmName": format!("high-{index}"),
            "AlarmActions": [arn],
            "Namespace": "AWS/SQS",
            "MetricName": "ApproximateNumberOfMessagesVisible",
            "Dimensions": [{ "Name": "QueueName", "Value": "thumbnails" }],
            "Statistic": "Average",
            "Period": 60,
            "EvaluationPeriods": 2,
            "Threshold": threshold,
            "ComparisonOperator": "GreaterThanThreshold",
        }));
    }
    assert_eq!(steps(&describe().await.unwrap()), [rows(100.0), rows(200.0), rows(300.0)].concat());
    let asked = stand.wire.server.exchanges().iter().filter(|one| one.body.starts_with('{')).count();
    assert_eq!(asked, 2, "two pages");
    stand.wire.server.inject(Kind::Read, Fault::LaterPages);
    let error = describe().await.unwrap_err();
    assert_eq!(error.code(), "transport", "{error}");
    stand.wire.server.clear();
    // The group may be read, CloudWatch may not.
    stand.api.forbid("DescribeAlarms");
    let denied = describe().await.unwrap_err();
    assert!(denied.code() == "denied" && denied.to_string().contains("cloudwatch:DescribeAlarms"), "{denied}");
}
