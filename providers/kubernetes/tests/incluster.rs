//! The surroundings of a pod: its service account's token and authority in the place that every pod has, and the API's
//! address in two variables. A mount namespace of its own makes them, so this takes root; elsewhere it says so.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout)]

mod stand;

use contract::{Owner, Provider, Timestamp};
use kubernetes::{Kubernetes, Settings};
use sim_cloud::fixture::Clock;
use sim_cloud::untrusted::Untrusted;
use stand::{Stand, look, target};
use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// Names the group for the child of this program.
const GROUP: &str = "SKALA_TEST_GROUP";

/// What a kubelet mounts, and the name that the server's certificate has.
const SURROUNDINGS: &str = "mount -t tmpfs none /run && mkdir -p /run/secrets/kubernetes.io/serviceaccount \
    && cp \"$ACCOUNT\"/token \"$ACCOUNT\"/ca.crt \"$ACCOUNT\"/namespace /run/secrets/kubernetes.io/serviceaccount/ \
    && mount --bind \"$ACCOUNT\"/hosts /etc/hosts && exec \"$PROGRAM\" the_child_is_in_a_pod --exact --nocapture";

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_works_with_its_own_service_account() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("not run: it takes root");
        return;
    }
    let stand = Stand::start("deployment:shop/", 500).await;
    let group = stand.groups("shop/", 1, 3).remove(0);
    let trusted = Untrusted::start(stand.api.clone()).await;
    let account = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("token", "a-pods-token"),
        ("ca.crt", &trusted.certificate),
        ("namespace", "tools"),
        ("hosts", "127.0.0.1 localhost elsewhere.example\n"),
    ] {
        std::fs::write(account.path().join(name), text).unwrap();
    }
    let mut child = Command::new("unshare");
    child.args(["--mount", "--propagation", "private", "sh", "-c", SURROUNDINGS]);
    child.env_remove("KUBECONFIG").env("HOME", "/nonexistent").env("ACCOUNT", account.path());
    child.env("PROGRAM", std::env::current_exe().unwrap()).env(GROUP, group.as_str());
    child.env("KUBERNETES_SERVICE_HOST", "elsewhere.example");
    child.env("KUBERNETES_SERVICE_PORT", trusted.url.rsplit(':').next().unwrap());
    let said = tokio::task::block_in_place(|| child.output()).unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success() && text.contains("1 passed"), "{text}");
    assert_eq!(stand.desired(&group), Some(5), "{text}");
}

/// Not a test of its own: what runs in the pod. Without the variable it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_child_is_in_a_pod() {
    let Ok(group) = std::env::var(GROUP) else { return };
    let clock = Clock::at(Timestamp::from_secs(1_800_000_000));
    let owner = Owner { id: "skala-test".into() };
    let provider = Kubernetes::connect(Settings::default(), owner, clock.reader()).await.unwrap();
    let group = group.as_str().into();
    let seen = look(&provider, &group).await.unwrap();
    provider.raise(&target(&group, &seen), 5).await.unwrap();
}
