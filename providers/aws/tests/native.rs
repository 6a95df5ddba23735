//! The Auto Scaling group's own scaler on moto: suspended, seen to be, and given back as it was.

// A test that cannot go on stops; and not every test needs all of the stand.
#![allow(clippy::unwrap_used, dead_code)]

mod stand;

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::{
    PredefinedMetricPairType, PredictiveScalingConfiguration, PredictiveScalingMetricSpecification,
    PredictiveScalingMode, PredictiveScalingPredefinedMetricPair, ScalingPolicy,
};
use conformance::{Fixture, Spec};
use contract::{Ask, GroupId, Provider, ProviderError};
use stand::fixture::Groups;

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
