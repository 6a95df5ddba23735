//! The simulated OpenStack and what the provider says to it, judged by openstacksdk and by the schemas with which
//! OpenStack's own integration tests judge a real one (`tests/clouds/openstack.py`).

#![allow(clippy::unwrap_used, dead_code, reason = "a test; and not every test needs all of the stand")]

mod stand;

use contract::{Ask, InstanceId, Provider, Timestamp};
use openstack::{Settings, Template};
use sim::{Boot, Cloud, Fault, GroupSettings, Script, Span};
use sim_cloud::{Server, openstack as simulated};
use stand::{Stand, look, settings, target};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Everything that the provider ever says, and what it is answered.
async fn conversation() -> String {
    let stand = Stand::new().await;
    stand.api.set_up(|setup| setup.page = 2);
    for tag in ["web", "batch"] {
        let settings = GroupSettings { desired: 3, ..GroupSettings::default() };
        stand.wire.cloud.create(&format!("servers:{tag}"), &settings).unwrap();
    }
    let full = Template {
        security_groups: vec!["web".into()],
        key_name: Some("ops".into()),
        server_group: Some("5c1e1a57-9f0b-4b6b-a6d4-df0a6c0c9a10".into()),
        zones: vec!["a".into(), "b".into()],
        volume_gb: Some(20),
        config_drive: Some(true),
        metadata: BTreeMap::from([("tier".into(), "web".into())]),
        ..settings().groups["*"].clone()
    };
    let mut settings = settings();
    settings.groups.insert("batch".into(), full);
    for newest in [52, 69, 93] {
        stand.api.set_up(|setup| setup.newest = newest);
        talk(&stand, settings.clone(), u128::from(newest) << 64).await;
    }
    stand.wire.server.exchanges_as_lines()
}

async fn talk(stand: &Stand, settings: Settings, action: u128) {
    let provider = stand.provider_of(settings, &[]);
    let asks = [Ask::new("web"), Ask::new("batch")];
    let before = provider.observe(&asks).await.remove(1).unwrap().alive().count() as u32;
    provider.raise(&target("batch", action + 1), before + 2).await.unwrap();
    stand.wire.cloud.inject(Script { group: Some("servers:web".into()), ..Script::new(Fault::OutOfCapacity) });
    provider.raise(&target("web", action + 2), 9).await.unwrap();
    stand.wire.clock.pass(Duration::from_secs(90));
    let seen = look(&provider, "web").await.unwrap();
    assert!(!seen.launch_failures.is_empty());
    stand.wire.cloud.clear_faults();
    provider.raise(&target("web", action + 3), 4).await.unwrap();
    stand.wire.clock.pass(Duration::from_secs(90));
    let seen = look(&provider, "batch").await.unwrap();
    let named: Vec<InstanceId> = seen.alive().take(2).map(|instance| instance.id.clone()).collect();
    stand.api.set_up(|setup| setup.leaves_ports = true);
    provider.terminator().unwrap().terminate(&target("batch", action + 4), &named).await.unwrap();
    // Their ports are still there, so it is asked whether they are.
    provider.cancel_unfilled(&target("batch", action + 7), 0).await.unwrap();
    // Somebody else deletes one, which is asked for by its id.
    let group = "servers:web".into();
    let other = stand.wire.cloud.truth(&group).unwrap().instances[0].id.clone();
    stand.wire.cloud.kill(&group, &other);
    stand.wire.clock.pass(Duration::from_secs(90));
    look(&provider, "web").await.unwrap();
    provider.cancel_unfilled(&target("web", action + 5), 3).await.unwrap();
    stand.api.set_up(|setup| setup.leaves_ports = false);
    provider.raise(&target("batch", action + 6), before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn openstacks_own_software_agrees() {
    let venv = std::env::var("SKALA_VENV").expect("SKALA_VENV is not set; tests/run installs it and sets it");
    let exchanges = std::env::temp_dir().join(format!("skala-openstack-exchanges-{}.jsonl", std::process::id()));
    std::fs::write(&exchanges, conversation().await).unwrap();
    // The customer waits for servers, so this clock runs.
    let start = Instant::now();
    let clock = Arc::new(move || Timestamp::from_secs(1_795_425_024).after(start.elapsed()));
    let second = Boot::exactly(Span(Duration::from_secs(1)));
    let machines =
        sim::Settings { boot: second, terminating: Span(Duration::from_secs(1)), ..sim::Settings::default() };
    let cloud = Cloud::new(machines, clock).unwrap();
    for (tag, desired) in [("web", 3), ("batch", 4)] {
        cloud.create(&format!("servers:{tag}"), &GroupSettings { desired, ..GroupSettings::default() }).unwrap();
    }
    let api = simulated::OpenStack::new(cloud);
    api.set_up(|setup| setup.page = 2);
    let server = Server::start(Arc::new(api), ([127, 0, 0, 1], 0).into()).await.unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clouds/openstack.py");
    let mut judge = Command::new(format!("{venv}/bin/python"));
    judge.arg(script).arg(server.url()).arg(&exchanges);
    let verdict = tokio::task::block_in_place(|| judge.output()).expect("SKALA_VENV has no python");
    let words = format!("{}{}", String::from_utf8_lossy(&verdict.stdout), String::from_utf8_lossy(&verdict.stderr));
    _ = std::fs::remove_file(&exchanges);
    assert!(verdict.status.success(), "{words}");
    assert!(words.contains("openstacksdk is content") && words.contains("answers fit tempest's schemas"), "{words}");
}
