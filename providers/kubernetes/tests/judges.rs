//! The simulated cluster, and what the provider says to it, judged by software that nobody here wrote: kubectl, and the
//! official Python client with its models (`tests/clouds/kubernetes.py`).
#![allow(clippy::unwrap_used)]

mod stand;

use contract::{Ask, FailureKind, GroupId, Lowerer, Provider, ProviderError};
use serde_json::{Value, json};
use sim::Script;
use sim_cloud::kubernetes::Keda;
use stand::{Stand, look, target};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the test's Python programs are: `$SKALA_VENV`, else where tests/run puts them.
fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let venv = std::env::var_os("SKALA_VENV").map_or_else(|| root.join("target/tools/venv"), PathBuf::from);
    venv.join("bin/python")
}

/// Everything that a provider says to a cluster: each kind of object, each write, what is refused.
async fn talk(stand: &Stand) {
    let provider = stand.provider().await;
    let groups = ["shop/web", "shop/statefulset/db", "shop/rollouts.argoproj.io/canary"].map(GroupId::from);
    let asks: Vec<Ask> = groups.iter().map(|group| Ask::new(group.clone())).collect();
    let seen: Vec<_> = provider.observe(&asks).await.into_iter().map(Result::unwrap).collect();
    for (group, seen) in groups.iter().zip(&seen) {
        let desired = seen.desired.unwrap();
        provider.raise(&target(group, seen), desired + 2).await.unwrap();
        // What was seen is past.
        let again = provider.raise(&target(group, seen), desired + 3).await;
        assert!(matches!(again, Err(ProviderError::Conflict { .. })), "{again:?}");
        let seen = look(&provider, group).await.unwrap();
        provider.lower(&target(group, &seen), desired).await.unwrap();
    }
    // Capacity that does not come, and its withdrawal.
    stand.wire.cloud.inject(Script::new(sim::Fault::OutOfCapacity));
    let seen = look(&provider, &groups[0]).await.unwrap();
    provider.raise(&target(&groups[0], &seen), 6).await.unwrap();
    let seen = look(&provider, &groups[0]).await.unwrap();
    assert_eq!(seen.unfilled(), 3, "{seen:?}");
    provider.cancel_unfilled(&target(&groups[0], &seen), 3).await.unwrap();
    stand.wire.cloud.clear_faults();
    // What a quota forbids to a StatefulSet is an event.
    let seen = look(&provider, &groups[1]).await.unwrap();
    provider.raise(&target(&groups[1], &seen), 20).await.unwrap();
    let seen = look(&provider, &groups[1]).await.unwrap();
    assert_eq!(seen.launch_failures[0].kind, FailureKind::QuotaExceeded, "{seen:?}");
    // Their own scalers, suspended and given back.
    stand.api.put_autoscaler("shop", "web", autoscaler());
    stand.api.install_keda(Keda::Present, Some(("shop", "web")));
    let native = provider.native().unwrap();
    let undo = native.prepare(&groups[0]).await.unwrap();
    assert_eq!(undo.switches.len(), 3, "{undo:?}");
    native.suspend(&groups[0], &undo).await.unwrap();
    native.describe(&groups[0]).await.unwrap();
    native.restore(&groups[0], &undo).await.unwrap();
    stand.api.delete_autoscaler("shop", "web");
    stand.api.delete_scaled_object("shop", "web");
    // And what is not there or not allowed.
    let gone = GroupId::from("shop/gone");
    let answer = provider.raise(&target(&gone, &seen), 9).await;
    assert!(matches!(answer, Err(ProviderError::NotFound { .. })), "{answer:?}");
    stand.api.install_keda(Keda::Present, Some(("shop", "other")));
    stand.api.forbid("list nodes");
    look(&stand.provider().await, &groups[0]).await.unwrap();
}

/// Somebody's HPA of `shop/web`.
fn autoscaler() -> Value {
    let cpu = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}});
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let metrics = json!([{"type": "Resource", "resource": cpu}]);
    let spec = json!({"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 9, "metrics": metrics});
    json!({"metadata": {"labels": {"team": "shop"}}, "spec": spec})
}

/// A cluster with one object of each kind, and pages of so many.
async fn shop(page: usize) -> Stand {
    let quota = sim::Settings { quota: Some(12), ..sim::Settings::default() };
    let stand = Stand::start_with(quota, "deployment:shop/", page).await;
    for (name, size) in [("shop/web", 3), ("shop/statefulset/db", 2), ("shop/rollouts.argoproj.io/canary", 1)] {
        let settings = sim::GroupSettings { desired: size, ..sim::GroupSettings::default() };
        stand.wire.cloud.create(&format!("deployment:{name}"), &settings).unwrap();
    }
    stand
}

/// What must have been said.
const EXPECTED: &[&str] = &[
    "GET DeploymentList",
    "GET EventList",
    "GET HorizontalPodAutoscalerList",
    "GET PodList",
    "GET StatefulSetList",
    "GET Scale",
    "GET Status",
    "PATCH HorizontalPodAutoscaler",
    "PATCH Scale",
    "PATCH ScaledObject",
];

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_and_the_official_client_agree() {
    let stand = shop(2).await;
    talk(&stand).await;
    let folder = tempfile::tempdir().unwrap();
    let exchanges = folder.path().join("exchanges.jsonl");
    std::fs::write(&exchanges, stand.wire.server.exchanges_as_lines()).unwrap();
    // Another cluster for the others: everything allowed, all pods there, an HPA and a ScaledObject.
    let fresh = shop(500).await;
    fresh.api.put_autoscaler("shop", "web", autoscaler());
    fresh.api.install_keda(Keda::Present, Some(("shop", "db")));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clouds/kubernetes.py");
    // The server has threads of its own.
    let done = Command::new(python())
        .arg(script)
        .arg(fresh.wire.server.url())
        .arg(exchanges)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; tests/run installs it", python().display()));
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{out}\n{err}");
    let found: BTreeMap<String, u64> = serde_json::from_str(&out).unwrap();
    let missing: Vec<_> = EXPECTED.iter().filter(|kind| !found.contains_key(**kind)).collect();
    assert!(missing.is_empty(), "{missing:?} were not judged: {found:?}");
}
