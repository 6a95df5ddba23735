//! Software that nobody here wrote judges the simulated AWS and what the provider says to it: boto3 and botocore's own
//! description of the services, from the venv that `SKALA_VENV` names (`tests/clouds/aws.py`). Without it the test fails:
//! one that quietly does nothing proves nothing.

// A test that cannot go on stops; not every test needs all of the stand; and boto3's time is the real one.
#![allow(clippy::unwrap_used, dead_code, clippy::disallowed_methods)]

mod stand;

use aws_sdk_autoscaling::types::StepAdjustment;
use contract::{Ask, Epoch, Provider, Suspended, Target, Timestamp, Version, micros};
use serde_json::json;
use sim::{Cloud, Fault, GroupSettings, Script, Settings};
use sim_cloud::aws::Aws as Simulated;
use sim_cloud::{Api, Server};
use stand::simulated::{self, Stand};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn target(group: &str, action: u128, seen: Option<u32>) -> Target {
    let version = Version { desired: seen, token: None, at: Timestamp(0) };
    Target { group: group.into(), action: contract::ActionId(action), seen: version, lease: Epoch(1) }
}

/// Everything that the provider says to Auto Scaling: it looks, raises, cancels, terminates, is refused, finds others.
async fn groups() -> String {
    let stand = Stand::new(simulated::settings(), "", 3).await;
    let (cloud, provider) = (&stand.wire.cloud, &stand.provider);
    let zones: Vec<Box<str>> = ["a", "b"].map(Into::into).to_vec();
    for name in ["g1", "g2", "g3", "g4", "used"] {
        let group = GroupSettings { desired: 3, zones: zones.clone(), ..GroupSettings::default() };
        cloud.create(name, &group).unwrap();
    }
    cloud.set_foreign(&"g1".into(), vec![stand.api.foreign()]);
    cloud.set_suspended(&"g2".into(), vec![Suspended::Terminate, Suspended::Refresh]);
    let asks: Vec<Ask> = ["g1", "g2", "g3", "g4", "used", "nobody"].map(Ask::new).to_vec();
    provider.observe(&asks).await;
    cloud.inject(Script { group: Some("used".into()), ..Script::new(Fault::OutOfCapacity) });
    provider.raise(&target("used", 1, Some(3)), 6).await.unwrap();
    let seen = provider.observe(&asks).await.remove(4).unwrap();
    assert!(!seen.launch_failures.is_empty(), "{seen:?}");
    provider.cancel_unfilled(&target("used", 2, Some(6)), 3).await.unwrap();
    let two = [seen.instances[0].id.clone(), seen.instances[1].id.clone()];
    let terminator = provider.terminator().unwrap();
    terminator.terminate(&target("used", 3, Some(3)), &two).await.unwrap();
    stand.wire.clock.pass(Duration::from_secs(60));
    provider.observe(&asks).await;
    let policy = stand.asg.put_scaling_policy().auto_scaling_group_name("g1").policy_name("steps");
    let step = StepAdjustment::builder().metric_interval_lower_bound(0.0).scaling_adjustment(1).build();
    let policy = policy.policy_type("StepScaling").adjustment_type("ChangeInCapacity").step_adjustments(step);
    policy.send().await.unwrap();
    stand.api.put_alarm(json!({
        "AlarmName": "high",
        "AlarmActions": [stand.api.policy_arn("steps")],
        "Namespace": "AWS/SQS",
        "MetricName": "ApproximateNumberOfMessagesVisible",
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 2,
        "Threshold": 100.0,
        "ComparisonOperator": "GreaterThanThreshold",
    }));
    let native = provider.native().unwrap();
    native.describe(&"g1".into()).await.unwrap();
    let undo = native.prepare(&"g1".into()).await.unwrap();
    native.suspend(&"g1".into(), &undo).await.unwrap();
    native.restore(&"g1".into(), &undo).await.unwrap();
    stand.wire.server.exchanges_as_lines()
}

/// And to EC2.
async fn machines() -> String {
    let stand = Stand::new(simulated::settings(), "servers:", 2).await;
    let asks: Vec<Ask> = ["ec2:batch", "ec2:team=shop"].map(Ask::new).to_vec();
    for (action, group) in (1..).zip(["ec2:batch", "ec2:team=shop"]) {
        stand.provider.raise(&target(group, action, None), 3).await.unwrap();
    }
    stand.wire.clock.pass(Duration::from_secs(60));
    let seen = stand.provider.observe(&asks).await.remove(0).unwrap();
    assert_eq!(seen.instances.len(), 3);
    let one = [seen.instances[0].id.clone()];
    stand.provider.terminator().unwrap().terminate(&target("ec2:batch", 3, None), &one).await.unwrap();
    stand.provider.observe(&asks).await;
    stand.wire.server.exchanges_as_lines()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_judges_the_simulated_aws_and_the_provider() {
    let venv = std::env::var("SKALA_VENV").expect("no judge: set SKALA_VENV; tests/run installs it and sets it");
    let exchanges = std::env::temp_dir().join(format!("skala-aws-{}.jsonl", std::process::id()));
    std::fs::write(&exchanges, groups().await + &machines().await).unwrap();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let time = Arc::new(AtomicI64::new(micros(since)));
    let clock = Arc::clone(&time);
    let cloud = Cloud::new(Settings::default(), Arc::new(move || Timestamp(clock.load(SeqCst)))).unwrap();
    let api: Arc<dyn Api> = Arc::new(Simulated::new(cloud));
    let server = Server::start(api, ([127, 0, 0, 1], 0).into()).await.unwrap();
    let mut judge = Command::new(format!("{venv}/bin/python"))
        // Without the script's folder in the search path.
        .args(["-P", concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clouds/aws.py")])
        .args([server.url().as_str(), exchanges.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python of SKALA_VENV does not start");
    // The cloud's time runs a hundred times faster than boto3's.
    while judge.try_wait().unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        time.fetch_add(2_000_000, SeqCst);
    }
    let output = judge.wait_with_output().unwrap();
    std::fs::remove_file(&exchanges).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let found: BTreeMap<String, u64> = serde_json::from_slice(&output.stdout).unwrap();
    let expected = [
        "CompleteLifecycleAction",
        "CreateAutoScalingGroup",
        "CreateTags",
        "DescribePolicies",
        "DescribeScheduledActions",
        "SetInstanceProtection",
        "StartInstanceRefresh",
        "exchange CreateOrUpdateTags",
        "exchange DescribeAlarms",
        "exchange DescribeAutoScalingGroups",
        "exchange DescribeInstanceRefreshes",
        "exchange DescribeInstances",
        "exchange DescribePolicies",
        "exchange DescribeScalingActivities",
        "exchange DescribeScheduledActions",
        "exchange ResumeProcesses",
        "exchange RunInstances",
        "exchange SetDesiredCapacity",
        "exchange SuspendProcesses",
        "exchange TerminateInstanceInAutoScalingGroup",
        "exchange TerminateInstances",
    ];
    let missing: Vec<_> = expected.iter().filter(|name| !found.contains_key(**name)).collect();
    assert!(missing.is_empty(), "{missing:?} were not judged: {found:?}");
}
