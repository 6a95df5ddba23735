//! The simulated Compute Engine and what the provider says to it, judged by Google's own clients and by the published
//! description of the API (`tests/clouds/gcp.py`).
#![allow(clippy::unwrap_used, dead_code, reason = "a test; and not every test needs all of the stand")]

mod stand;

use contract::{Ask, Foreign, GroupId, Provider};
use sim::{Cloud, Fault, GroupSettings, Script};
use sim_cloud::{Api, Server};
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
    stand.wire.server.exchanges_as_lines()
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
    let api: Arc<dyn Api> = Arc::new(sim_cloud::Gcp::new(cloud, PROJECT).with_page(2));
    let server = Server::start(api, ([127, 0, 0, 1], 0).into()).await.unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clouds/gcp.py");
    let mut judge = Command::new(format!("{venv}/bin/python"));
    judge.arg(script).arg(server.url()).arg(&exchanges).arg(PROJECT);
    let verdict = tokio::task::block_in_place(|| judge.output()).expect("SKALA_VENV has no python");
    let words = format!("{}{}", String::from_utf8_lossy(&verdict.stdout), String::from_utf8_lossy(&verdict.stderr));
    _ = std::fs::remove_file(&exchanges);
    assert!(verdict.status.success(), "{words}");
    assert!(words.contains("exchanges fit the published description of the API"), "{words}");
}
