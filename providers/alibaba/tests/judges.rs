//! Software that nobody here wrote judges the simulated ESS and what the provider says to it: Alibaba Cloud's Python client,
//! from the venv that `SKALA_VENV` names (`tests/clouds/alibaba.py`). Without it the test fails: one that quietly does nothing
//! proves nothing.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, and the client signs with the real time")]

mod stand;

use contract::{Ask, GroupId, Provider, Suspended, Timestamp};
use sim::{Boot, Cloud, GroupSettings, Settings, Span};
use sim_cloud::alibaba::{Alibaba as Ess, KEY_ID, KEY_SECRET, REGION};
use sim_cloud::fixture::Clock;
use sim_cloud::{Api, Server};
use stand::{KEYS, target};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp(i64::try_from(since.as_micros()).unwrap())
}

/// Everything that the provider can say: it looks, raises, cancels, terminates, follows, is refused.
async fn use_all_of_it(url: &str, cloud: &Cloud, clock: &Clock, id: impl Fn(&str) -> GroupId) {
    let provider = stand::provider(url, clock, KEYS);
    let asks: Vec<Ask> = ["judged", "scaled", "used"].iter().map(|name| Ask::new(id(name).as_str())).collect();
    let by_name = [Ask::new("used"), Ask::new("gone")];
    provider.observe(&asks).await;
    assert!(provider.observe(&by_name).await.remove(1).is_err());
    let used = id("used");
    let aimed = target(&used, 3);
    provider.raise(&aimed, 6).await.unwrap();
    provider.raise(&aimed, 9).await.unwrap_err();
    cloud.set_suspended(&"used".into(), vec![Suspended::Launch, Suspended::Refresh]);
    cloud.set_desired(&"used".into(), 9);
    provider.observe(&asks).await;
    let mut cancelled = target(&used, 9);
    cancelled.action.0 += 1;
    provider.cancel_unfilled(&cancelled, 7).await.unwrap();
    cloud.set_suspended(&"used".into(), Vec::new());
    let seen = provider.observe(&asks).await.remove(2).unwrap();
    let mut aimed = target(&used, 7);
    aimed.action.0 += 2;
    let named = [seen.instances[0].id.clone(), seen.instances[1].id.clone()];
    let accepted = provider.terminator().unwrap().terminate(&aimed, &named).await.unwrap();
    let open = Ask { operations: accepted.operations, open_actions: vec![aimed.action], ..Ask::new(used.as_str()) };
    provider.observe(std::slice::from_ref(&open)).await.remove(0).unwrap();
    cloud.inject(sim::Script { group: Some("used".into()), ..sim::Script::new(sim::Fault::OutOfCapacity) });
    cloud.set_desired(&"used".into(), 12);
    // Another process, which has not asked for failures a moment ago.
    let restarted = stand::provider(url, clock, KEYS);
    let seen = restarted.observe(&[open]).await.remove(0).unwrap();
    assert!(!seen.launch_failures.is_empty(), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_client_judges_the_simulated_cloud() {
    let venv = std::env::var("SKALA_VENV").expect("no judge: set SKALA_VENV; tests/run installs it and sets it");
    let start = Clock::at(now());
    let soon = Span(Duration::from_secs(2));
    let settings = Settings { boot: Boot::exactly(soon), terminating: soon, ..Settings::default() };
    let cloud = Cloud::new(settings, Arc::new(now)).unwrap();
    for (name, desired) in [("judged", 2), ("scaled", 1), ("used", 3)] {
        cloud.create(name, &GroupSettings { desired, ..GroupSettings::default() }).unwrap();
    }
    let api = Arc::new(Ess::new(cloud.clone()));
    cloud.set_foreign(&"scaled".into(), vec![api.foreign()]);
    let server = Server::start(Arc::clone(&api) as Arc<dyn Api>, ([127, 0, 0, 1], 0).into()).await.unwrap();
    use_all_of_it(&server.url(), &cloud, &start, |name| api.group_id(name)).await;

    let exchanges = std::env::temp_dir().join(format!("skala-ess-{}.jsonl", std::process::id()));
    std::fs::write(&exchanges, server.exchanges_as_lines()).unwrap();
    let judge = Command::new(format!("{venv}/bin/python"))
        // Without the script's folder in the search path.
        .args(["-P", concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clouds/alibaba.py")])
        .args([exchanges.to_str().unwrap(), server.url().as_str(), KEY_ID, KEY_SECRET, REGION])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python of SKALA_VENV does not start");
    let output = tokio::task::block_in_place(|| judge.wait_with_output()).unwrap();
    std::fs::remove_file(&exchanges).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let found: BTreeMap<String, u64> = serde_json::from_slice(&output.stdout).unwrap();
    let expected = [
        "client describe_scaling_groups",
        "client scale_with_adjustment",
        "client remove_instances",
        "client tag_resources",
        "refusal SignatureDoesNotMatch",
        "refusal SignatureNonceUsed",
        "refusal InvalidTimeStamp.Expired",
        "exchange DescribeScalingGroups",
        "exchange DescribeScalingInstances",
        "exchange DescribeScalingActivities",
        "exchange DescribeScalingRules",
        "exchange DescribeScheduledTasks",
        "exchange DescribeAlarms",
        "exchange DescribeInstanceRefreshes",
        "exchange ScaleWithAdjustment",
        "exchange RemoveInstances",
        "exchange TagResources",
    ];
    let missing: Vec<_> = expected.iter().filter(|name| !found.contains_key(**name)).collect();
    assert!(missing.is_empty(), "{missing:?} were not judged: {found:?}");
}
