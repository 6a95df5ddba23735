//! The simulated Compute Engine and Cloud Monitoring and what the provider says to them, judged by Google's own clients and
//! by the published descriptions of the APIs (`tests/clouds/gcp.py`).
#![allow(clippy::unwrap_used, dead_code, reason = "a test; and not every test needs all of the stand")]

mod stand;

use contract::{Ask, Foreign, GroupId, Provider};
use sim::{Cloud, Fault, GroupSettings, Script};
use sim_cloud::{Api, GcpSeries, Kind, Refusal, Server};
use stand::{LONG, PROJECT, START, Stand, look, target};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Everything that the provider ever says: all its calls, what is refused, what is unfilled, what fails.
async fn conversation() -> String {
    let stand = Stand::with_page(4).await;
    let groups: Vec<GroupId> = (1..=12).map(|i| stand.group(&format!("web-{i}"), 2)).collect();
    let scaler = Foreign { name: "autoscaler cpu50".into(), removes: Some(false) };
    stand.wire.cloud.set_foreign(&"web-3".into(), vec![scaler]);
    stand.wire.cloud.set_foreign(&"web-4".into(), vec![sim_cloud::Api::foreign(&*stand.api)]);
    stand.api.hide_regions(true);
    let provider = stand.provider(LONG).await;
    let mut asks: Vec<Ask> = groups.iter().map(|group| Ask::new(group.as_str())).collect();
    asks.push(Ask::new("zones/europe-west1-b/never"));
    provider.observe(&asks).await;
    stand.api.hide_regions(false);
    stand.api.change_template("web-1");
    stand.api.set_unreachable(&["zones/europe-west1-a"]);
    for (index, group) in (0_u128..).zip(&groups[..2]) {
        let name = group.as_str().rsplit('/').next().unwrap();
        stand.wire.cloud.inject(Script { group: Some(name.into()), ..Script::new(Fault::OutOfCapacity) });
        let seen = look(&provider, group).await.unwrap();
        let raised = provider.raise(&target(group, 10 + index, 2), 6).await.unwrap();
        stand.wire.clock.pass(Duration::from_secs(40));
        let ask = Ask { operations: raised.operations, ..Ask::new(group.as_str()) };
        let unfilled = provider.observe(&[ask]).await.remove(0).unwrap();
        assert_eq!(unfilled.unfilled(), 4);
        provider.cancel_unfilled(&target(group, 20 + index, 6), 3).await.unwrap();
        let named = [seen.instances[0].id.clone()];
        provider.terminator().unwrap().terminate(&target(group, 30 + index, 3), &named).await.unwrap();
        look(&provider, group).await.unwrap();
    }
    stand.api.fail_whole_list(true);
    provider.observe(&asks).await;
    stand.api.fail_next_operation("QUOTA_EXCEEDED", "Quota 'CPUS' exceeded.");
    let failing = provider.raise(&target(&groups[4], 50, 2), 3).await.unwrap();
    stand.wire.clock.pass(Duration::from_secs(5));
    let ask = Ask { operations: failing.operations, ..Ask::new(groups[4].as_str()) };
    assert_eq!(provider.observe(&[ask]).await.remove(0).unwrap().launch_failures.len(), 1);
    hand_over(&stand, &provider, &groups[2..4]).await;
    read_metrics(&stand, &provider).await;
    stand.wire.server.exchanges_as_lines()
}

/// Autoscalers of a zone and of a region, suspended and given back.
async fn hand_over(stand: &Stand, provider: &gcp::Gcp, groups: &[GroupId]) {
    // Operations are waited for, so the clock runs from here.
    let clock = stand.wire.clock.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            clock.pass(Duration::from_secs(1));
        }
    });
    let native = provider.native().unwrap();
    for group in groups {
        native.describe(group).await.unwrap();
        let undo = native.prepare(group).await.unwrap();
        assert_eq!(undo.switches.len(), 1, "{group}");
        native.suspend(group, &undo).await.unwrap();
        native.restore(group, &undo).await.unwrap();
    }
}

/// Every form of a question to Cloud Monitoring, its pages, and what is refused.
async fn read_metrics(stand: &Stand, provider: &gcp::Gcp) {
    stand.api.set_series(jobs(START));
    let metrics = provider.metrics().unwrap();
    for (query, series) in [
        ("custom.googleapis.com/jobs max 1m", 3),
        ("custom.googleapis.com/jobs{metric.labels.queue=\"a\", resource.type=\"global\"} mean 5m", 1),
        ("custom.googleapis.com/jobs{metric.labels.\"queue\"=~\"a.*\"} count 1m", 1),
        ("custom.googleapis.com/jobs min 1m sum by metric.labels.queue, resource.labels.\"k8s/x\"", 3),
        ("custom.googleapis.com/jobs max 1m mean", 1),
    ] {
        assert_eq!(metrics.query(query, START).await.unwrap().len(), series, "{query}");
    }
    metrics.query("custom.googleapis.com/jobs rate 1m", START).await.unwrap_err();
    metrics.query("custom.googleapis.com/never max 1m", START).await.unwrap_err();
    for refusal in [Refusal::Denied, Refusal::Expired, Refusal::Internal, Refusal::Throttled { retry_after: None }] {
        stand.wire.server.inject(Kind::Read, sim_cloud::Fault::Refuse(refusal));
        metrics.query("custom.googleapis.com/jobs max 1m", START).await.unwrap_err();
        stand.wire.server.clear();
    }
}

/// Three series, each with five minutes of values that grow.
fn jobs(until: contract::Timestamp) -> Vec<GcpSeries> {
    let one = |queue: &str, each: f64| GcpSeries {
        metric: "custom.googleapis.com/jobs".into(),
        kind: "GAUGE",
        values: "INT64",
        resource: "global".into(),
        fields: [("metric.labels.queue".to_owned(), queue.to_owned())].into(),
        points: (0..5_u32)
            .map(|ago| (until.before(Duration::from_secs(60) * ago), f64::from(5 - ago) * each))
            .collect(),
    };
    vec![one("a", 1.0), one("b", 10.0), one("c", 100.0)]
}

#[tokio::test(flavor = "multi_thread")]
async fn googles_clients_and_the_published_description_agree() {
    let venv = std::env::var("SKALA_VENV").expect("SKALA_VENV is not set; tests/run installs it and sets it");
    let exchanges = std::env::temp_dir().join(format!("skala-gcp-exchanges-{}.jsonl", std::process::id()));
    std::fs::write(&exchanges, conversation().await).unwrap();
    // The clients wait for operations, so this clock runs, ten times faster than theirs.
    let start = Instant::now();
    let cloud = Cloud::new(sim::Settings::default(), Arc::new(move || START.after(start.elapsed() * 10))).unwrap();
    for name in ["web-1", "web-2", "web-3"] {
        cloud.create(name, &GroupSettings { desired: 3, ..GroupSettings::default() }).unwrap();
    }
    cloud.set_foreign(&"web-1".into(), vec![Foreign { name: "native".into(), removes: Some(true) }]);
    let api = Arc::new(sim_cloud::Gcp::new(cloud, PROJECT).with_page(3));
    api.set_series(jobs(START));
    let server = Server::start(api as Arc<dyn Api>, ([127, 0, 0, 1], 0).into()).await.unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clouds/gcp.py");
    let mut judge = Command::new(format!("{venv}/bin/python"));
    judge.arg(script).arg(server.url()).arg(&exchanges).arg(PROJECT);
    let verdict = tokio::task::block_in_place(|| judge.output()).expect("SKALA_VENV has no python");
    let words = format!("{}{}", String::from_utf8_lossy(&verdict.stdout), String::from_utf8_lossy(&verdict.stderr));
    _ = std::fs::remove_file(&exchanges);
    assert!(verdict.status.success(), "{words}");
    assert!(words.contains("exchanges fit the published descriptions of the APIs"), "{words}");
}
