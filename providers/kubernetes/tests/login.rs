//! Logins that fail, hang, expire and come back: none of it keeps a provider from being made, and no two run at a time.
#![allow(clippy::unwrap_used)]

mod stand;

use contract::{Owner, Provider, ProviderError};
use kubernetes::{Deadlines, Kubernetes, Settings};
use stand::{Stand, look, target};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer than the pause between two attempts.
const PAUSE: Duration = Duration::from_millis(5_200);

/// A folder with a kubeconfig for this server whose user is described by `user`, with `DIR` for the folder.
fn kubeconfig(server: &str, user: &str, cluster: &str) -> (tempfile::TempDir, Settings) {
    let folder = tempfile::tempdir().unwrap();
    let user = user.replace("DIR", &folder.path().display().to_string());
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters: [{{name: c, cluster: {{server: \"{server}\"{cluster}}}}}]\n\
         users: [{{name: u, user: {user}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
    );
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, text).unwrap();
    (folder, Settings { kubeconfig: Some(path), ..Settings::default() })
}

const PLUGIN: &str = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: DIR/plugin, args: [DIR]}}";

/// A stand, and a kubeconfig whose plugin is this script, which finds its folder in `$1`.
async fn with_plugin(script: &str) -> (Stand, tempfile::TempDir, Settings) {
    let stand = Stand::start("deployment:shop/", 500).await;
    let (folder, settings) = kubeconfig(&stand.wire.server.url(), PLUGIN, "");
    let plugin = folder.path().join("plugin");
    std::fs::write(&plugin, format!("#!/bin/sh\necho $$ >> $1/runs\n{script}\n")).unwrap();
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).unwrap();
    (stand, folder, settings)
}

fn runs(folder: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(folder.join("runs")).unwrap_or_default();
    text.lines().map(|pid| Path::new("/proc").join(pid)).collect()
}

fn failed<T: std::fmt::Debug>(answer: Result<T, ProviderError>) -> (&'static str, String) {
    let error = answer.unwrap_err();
    (error.code(), error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_hangs_keeps_nobody_from_starting_and_is_killed_with_its_children() {
    let hangs = "[ -e $1/well ] || { sleep 600 & echo $! >> $1/runs; wait; }\n\
        echo '{\"kind\":\"ExecCredential\",\"status\":{\"token\":\"t\"}}'";
    let (stand, folder, settings) = with_plugin(hangs).await;
    let group = stand.groups("shop/", 1, 3).remove(0);
    stand.api.expect_token("t");
    let provider = stand.connect(settings).await;
    assert!(runs(folder.path()).is_empty(), "making it asks nobody");
    let provider =
        provider.with_deadlines(Deadlines { read: Duration::from_millis(400), write: Duration::from_secs(4) });
    for _ in 0..3 {
        let (code, words) = failed(look(&provider, &group).await);
        assert!(code == "transport" && words.contains("plugin by hand"), "{code}: {words}");
    }
    let started = runs(folder.path());
    assert!(started.len() == 2 && started.iter().all(|process| process.exists()), "one run for all: {started:?}");
    // Killed at its deadline, and the child that it waited for with it.
    let killed = async {
        while started.iter().any(|process| process.exists()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), killed).await.unwrap();
    std::fs::write(folder.path().join("well"), "").unwrap();
    // Not at once again, but a little later.
    let (code, words) = failed(look(&provider, &group).await);
    assert!(code == "transport" && words.contains("was killed"), "{code}: {words}");
    assert_eq!(runs(folder.path()).len(), 2);
    tokio::time::sleep(PAUSE).await;
    // A login that takes longer than its caller has is of use to a later one.
    for _ in 0..20 {
        if look(&provider, &group).await.is_ok() {
            assert_eq!(runs(folder.path()).len(), 3);
            return;
        }
    }
    panic!("{:?}", look(&provider, &group).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_fails_says_why_and_shows_no_secret() {
    let fails = "echo '{\"status\":{\"token\":\"secret\"}}'; echo 'the session has ended: log in' >&2; exit 3";
    let (stand, folder, settings) = with_plugin(fails).await;
    let group = stand.groups("shop/", 1, 3).remove(0);
    let seen = look(&stand.provider().await, &group).await.unwrap();
    let provider = stand.connect(settings).await;
    for answer in
        [look(&provider, &group).await.map(|_| ()), provider.raise(&target(&group, &seen), 5).await.map(|_| ())]
    {
        let (code, words) = failed(answer);
        assert!(code == "denied" && words.contains("session has ended") && !words.contains("secret"), "{words}");
    }
    assert_eq!((runs(folder.path()).len(), stand.desired(&group)), (1, Some(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugins_token_is_replaced_when_it_expires_and_when_it_is_refused() {
    // Each run gives another token; the clock of the stand begins at eight.
    let gives = "echo '{\"status\":{\"token\":\"t'$(wc -l < $1/runs | tr -d ' ')'\",\
        \"expirationTimestamp\":\"2027-01-15T'$(cat $1/hour)':00:00Z\"}}'";
    let (stand, folder, settings) = with_plugin(gives).await;
    let group = stand.groups("shop/", 1, 3).remove(0);
    let provider = stand.connect(settings).await;
    std::fs::write(folder.path().join("hour"), "09").unwrap();
    stand.api.expect_token("t1");
    look(&provider, &group).await.unwrap();
    look(&provider, &group).await.unwrap();
    assert_eq!(runs(folder.path()).len(), 1);
    std::fs::write(folder.path().join("hour"), "20").unwrap();
    stand.clock.pass(Duration::from_secs(3_700));
    stand.api.expect_token("t2");
    tokio::time::sleep(PAUSE).await;
    look(&provider, &group).await.unwrap();
    // Taken back long before its time.
    stand.api.expect_token("t3");
    tokio::time::sleep(PAUSE).await;
    assert_eq!(failed(look(&provider, &group).await).0, "expired");
    look(&provider, &group).await.unwrap();
    assert_eq!(runs(folder.path()).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_file_that_is_not_there_yet_is_waited_for() {
    let stand = Stand::start("deployment:shop/", 500).await;
    let group = stand.groups("shop/", 1, 3).remove(0);
    let (folder, settings) = kubeconfig(&stand.wire.server.url(), "{tokenFile: DIR/token}", "");
    let provider = stand.connect(settings).await;
    let (code, words) = failed(look(&provider, &group).await);
    assert!(code == "denied" && words.contains("token") && words.contains("kubeconfig"), "{code}: {words}");
    std::fs::write(folder.path().join("token"), "t").unwrap();
    stand.api.expect_token("t");
    tokio::time::sleep(PAUSE).await;
    look(&provider, &group).await.unwrap();
}

#[tokio::test]
async fn a_wrong_configuration_is_said_when_the_provider_is_made() {
    let command = "{auth-provider: {name: gcp, config: {cmd-path: gcloud}}}";
    for (user, cluster, words) in [
        (command, "", "gke-gcloud-auth-plugin"),
        ("{exec: {apiVersion: client.authentication.k8s.io/v1}}", "", "names no command"),
        ("{token: t}", ", proxy-url: \"ftp://127.0.0.1:1\"", "proxy"),
    ] {
        let (_folder, settings) = kubeconfig("http://127.0.0.1:1", user, cluster);
        let clock = sim_cloud::fixture::Clock::at(contract::Timestamp::from_secs(1_800_000_000));
        let made = Kubernetes::connect(settings, Owner { id: "skala-test".into() }, clock.reader()).await;
        let (code, told) = failed(made.map(|_| ()));
        assert!(code == "invalid" && told.contains(words), "{code}: {told}");
    }
}
