//! What the conformance suite does not show: how many calls there are, and what only a cluster can say or do.
#![allow(clippy::unwrap_used)]

mod stand;

use contract::{Ask, FailureKind, GroupId, InstanceState, Lowerer, Observation, Provider, ProviderError};
use kubernetes::{Kubernetes, Settings};
use sim::Script;
use sim_cloud::kubernetes::{Faster, Keda};
use sim_cloud::untrusted::Untrusted;
use stand::{Stand, look, target};
use std::path::PathBuf;
use std::time::Duration;

async fn observe(provider: &Kubernetes, groups: &[GroupId]) -> Vec<Result<Observation, ProviderError>> {
    let asks: Vec<Ask> = groups.iter().map(|group| Ask::new(group.clone())).collect();
    provider.observe(&asks).await
}

fn code<T: std::fmt::Debug>(answer: &Result<T, ProviderError>) -> &'static str {
    answer.as_ref().err().map_or("ok", ProviderError::code)
}

/// A cluster with one group of three, and what a provider sees of it.
async fn one() -> (Stand, Kubernetes, GroupId, Observation) {
    let stand = Stand::start("deployment:shop/", 500).await;
    let group = stand.groups("shop/", 1, 3).remove(0);
    let provider = stand.provider().await;
    let seen = look(&provider, &group).await.unwrap();
    (stand, provider, group, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_grow_with_pages_and_not_with_groups() {
    // Two pods each, five hundred objects in a page: objects' pages and pods' pages.
    for (count, calls) in [(1, 1 + 1), (100, 1 + 1), (1_000, 2 + 4)] {
        let stand = Stand::start("deployment:shop/", 500).await;
        let groups = stand.groups("shop/", count, 2);
        let slow = kubernetes::Deadlines { read: Duration::from_secs(60), write: Duration::from_secs(60) };
        let provider = stand.provider().await.with_deadlines(slow);
        for answer in observe(&provider, &groups).await {
            assert_eq!(answer.unwrap().instances.len(), 2);
        }
        // What is asked beside the first observation has ended by then.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let from = stand.exchanged();
        assert!(observe(&provider, &groups).await.iter().all(Result::is_ok));
        assert_eq!(stand.asked(from).len(), calls, "{count} groups: {:?}", stand.asked(from));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_namespaces_are_one_list_unless_that_is_forbidden() {
    let stand = Stand::start("deployment:shop/", 500).await;
    let groups: Vec<GroupId> =
        ["a/", "b/", "c/", "d/", "e/"].iter().flat_map(|prefix| stand.groups(prefix, 2, 1)).collect();
    let steady = async |provider: &Kubernetes| {
        assert!(observe(provider, &groups).await.iter().all(Result::is_ok));
        tokio::time::sleep(Duration::from_millis(300)).await;
        let from = stand.exchanged();
        assert!(observe(provider, &groups).await.iter().all(Result::is_ok));
        stand.asked(from)
    };
    assert_eq!(steady(&stand.provider().await).await, ["/api/v1/pods", "/apis/apps/v1/deployments"]);
    stand.api.forbid("list pods everywhere");
    // Refused once, and then not asked for again.
    let asked = steady(&stand.provider().await).await;
    assert_eq!(asked.len(), 5 + 1, "{asked:?}");
    assert!(asked.contains(&"/api/v1/namespaces/e/pods".to_owned()), "{asked:?}");
    // Forbidden in one namespace, that one is unknown and no other.
    stand.api.forbid("list deployments");
    let answers = observe(&stand.provider().await, &groups).await;
    assert!(answers.iter().all(|answer| code(answer) == "denied"), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_cluster_is_listed_where_the_groups_are() {
    let stand = Stand::start("deployment:shop/", 500).await;
    let groups: Vec<GroupId> = ["a/", "b/", "c/", "d/"].iter().flat_map(|prefix| stand.groups(prefix, 1, 1)).collect();
    let slow = kubernetes::Deadlines { read: Duration::from_secs(60), write: Duration::from_secs(60) };
    let provider = stand.provider().await.with_deadlines(slow);
    let pods = async |provider: &Kubernetes| {
        let from = stand.exchanged();
        assert!(observe(provider, &groups).await.iter().all(Result::is_ok));
        stand.asked(from).iter().filter(|path| path.ends_with("/pods")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(pods(&provider).await, ["/api/v1/pods"]);
    // Somebody else runs more than anybody here would want to read.
    stand.groups("others/", 21, 100);
    assert_eq!(pods(&provider).await.len(), 5, "five pages, once");
    let narrow = async |provider: &Kubernetes| {
        let asked = pods(provider).await;
        assert!(asked.len() == 4 && asked.iter().all(|path| path.contains("/namespaces/")), "{asked:?}");
    };
    narrow(&provider).await;
    // And more than is read to its end: the same observation asks namespace by namespace.
    stand.groups("more/", 6, 100);
    let provider = stand.provider().await.with_deadlines(slow);
    assert_eq!(pods(&provider).await.len(), 5 + 4, "five pages of six, and the four namespaces");
    narrow(&provider).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_the_whole_cluster_that_fails_costs_no_observation() {
    let stand = Stand::start("deployment:shop/", 500).await;
    let groups: Vec<GroupId> = ["a/", "b/", "c/", "d/"].iter().flat_map(|prefix| stand.groups(prefix, 1, 1)).collect();
    let wide = |from: usize| stand.asked(from).iter().filter(|path| *path == "/api/v1/pods").count();
    // Of a cluster that is away for a moment nothing is learnt.
    let provider = stand.provider().await;
    stand.wire.server.refuse_connections();
    let answers = observe(&provider, &groups).await;
    assert!(answers.iter().all(|answer| code(answer) == "transport"), "{answers:?}");
    stand.wire.server.accept_connections();
    let from = stand.exchanged();
    assert!(observe(&provider, &groups).await.iter().all(Result::is_ok));
    assert_eq!(wide(from), 1);
    // This list alone is never answered.
    stand.api.stall("list pods everywhere");
    for expected in [1, 0, 0] {
        let from = stand.exchanged();
        for answer in observe(&provider, &groups).await {
            assert_eq!(answer.unwrap().instances.len(), 1);
        }
        assert_eq!(wide(from), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_deleted_is_neither_scaled_nor_a_capacity() {
    for prefix in ["shop/", "shop/statefulset/", "shop/rollouts.argoproj.io/"] {
        let stand = Stand::start("deployment:shop/", 500).await;
        let group = stand.groups(prefix, 1, 3).remove(0);
        let provider = stand.provider().await;
        let seen = look(&provider, &group).await.unwrap();
        // Its pods are waited for, and until they are gone it is there and says 3.
        stand.api.begin_deletion(&Stand::simulated(&group));
        let answers = [
            look(&provider, &group).await.map(|_| ()),
            provider.raise(&target(&group, &seen), 5).await.map(|_| ()),
            provider.lower(&target(&group, &seen), 1).await.map(|_| ()),
        ];
        assert_eq!(answers.each_ref().map(code), ["not_found"; 3], "{group}: {answers:?}");
        assert_eq!(stand.desired(&group), Some(3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_whose_continuation_is_gone_is_begun_again() {
    let stand = Stand::start("deployment:shop/", 10).await;
    let groups = stand.groups("shop/", 25, 1);
    let provider = stand.provider().await;
    for _ in 0..3 {
        stand.api.expire_continuation();
        for answer in observe(&provider, &groups).await {
            assert_eq!(answer.unwrap().instances.len(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_object_starves_no_write() {
    let (stand, provider, group, seen) = one().await;
    // Its status changes while the plan is made, and once more just before it is written.
    assert!(
        stand.wire.cloud.kill(
            &Stand::simulated(&group),
            &stand.wire.cloud.truth(&Stand::simulated(&group)).unwrap().instances[0].id
        )
    );
    let later = look(&provider, &group).await.unwrap();
    assert_eq!(later.token, seen.token);
    stand.api.be_faster(Faster::Touches);
    provider.raise(&target(&group, &seen), 5).await.unwrap();
    assert_eq!(stand.desired(&group), Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_scales_between_read_and_write_is_not_overwritten() {
    for theirs in [8, 4, 2] {
        let (stand, provider, group, seen) = one().await;
        stand.api.be_faster(Faster::Scales(theirs));
        let answer = provider.raise(&target(&group, &seen), 5).await;
        assert_eq!((code(&answer), stand.desired(&group)), ("conflict", Some(theirs)), "{answer:?}");
        let seen = look(&provider, &group).await.unwrap();
        stand.api.be_faster(Faster::Scales(theirs + 1));
        let answer = provider.lower(&target(&group, &seen), 1).await;
        assert_eq!((code(&answer), stand.desired(&group)), ("conflict", Some(theirs + 1)), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_refused_writes_nothing() {
    let (stand, provider, group, seen) = one().await;
    stand.api.forbid("patch deployments");
    let answer = provider.raise(&target(&group, &seen), 5).await;
    assert_eq!((code(&answer), stand.desired(&group)), ("denied", Some(3)), "{answer:?}");
    let words = answer.unwrap_err().to_string();
    assert!(words.contains("cannot patch resource \"deployments\""), "it names what to allow: {words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_claims_are_renewed_before_they_end() {
    let (stand, provider, group, seen) = one().await;
    provider.raise(&target(&group, &seen), 4).await.unwrap();
    let claimed = look(&provider, &group).await.unwrap().owner.unwrap();
    stand.clock.pass(Duration::from_secs(1_600));
    let renewed = async {
        loop {
            let owner = look(&provider, &group).await.unwrap().owner.unwrap();
            if owner.expiry > claimed.expiry {
                break owner;
            }
        }
    };
    let renewed = tokio::time::timeout(Duration::from_secs(20), renewed).await.unwrap();
    assert_eq!((&renewed.id, renewed.epoch), (&claimed.id, claimed.epoch));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_that_came_since_stops_the_first_write() {
    let (stand, provider, group, seen) = one().await;
    let foreign = sim_cloud::Api::foreign(&*stand.api);
    stand.wire.cloud.set_foreign(&Stand::simulated(&group), vec![foreign.clone()]);
    // A listing of the last minute is fresh enough; another process has none of its own.
    let other = stand.provider().await;
    let answer = other.raise(&target(&group, &seen), 5).await;
    assert_eq!((code(&answer), stand.desired(&group)), ("conflict", Some(3)), "{answer:?}");
    assert_eq!(look(&other, &group).await.unwrap().foreign, [foreign]);
    assert!(seen.foreign.is_empty());
    drop(provider);
}

#[tokio::test(flavor = "multi_thread")]
async fn keda_is_seen_where_it_is_and_unknown_where_it_is_forbidden() {
    let foreign = async |stand: &Stand, group: &GroupId| {
        let provider = stand.provider().await;
        let seen = look(&provider, group).await.unwrap();
        let answer = provider.raise(&target(group, &seen), 9).await;
        (seen.foreign.iter().map(|f| f.name.to_string()).collect::<Vec<_>>(), code(&answer))
    };
    let (stand, _, group, _) = one().await;
    stand.api.forbid("list scaledobjects");
    assert_eq!(foreign(&stand, &group).await, (vec![], "ok"), "there is no KEDA that could be forbidden");
    let (stand, _, group, _) = one().await;
    stand.api.install_keda(Keda::Present, None);
    assert_eq!(foreign(&stand, &group).await, (vec![], "ok"));
    let (stand, _, group, _) = one().await;
    stand.api.install_keda(Keda::Present, Some(("shop", "web-0")));
    // What a fleet does about a controller that is shown is the policy's.
    let both = ["HorizontalPodAutoscaler shop/keda-hpa-web-0", "ScaledObject shop/web-0"];
    assert_eq!(foreign(&stand, &group).await.0, both);
    for rule in ["list scaledobjects", "list horizontalpodautoscalers"] {
        let (stand, _, group, _) = one().await;
        stand.api.install_keda(Keda::Present, None);
        stand.api.forbid(rule);
        let (names, _) = foreign(&stand, &group).await;
        assert!(names.len() == 1 && names[0].starts_with("unknown ") && names[0].contains("denied"), "{names:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawing_takes_no_pod_that_has_a_node() {
    let dry = |stand: &Stand| stand.wire.cloud.inject(Script::new(sim::Fault::OutOfCapacity));
    let kill_first = |stand: &Stand, group: &GroupId| {
        let group = Stand::simulated(group);
        let first = stand.wire.cloud.truth(&group).unwrap().instances[0].id.clone();
        assert!(stand.wire.cloud.kill(&group, &first));
    };
    // Of three pods the first died and finds no node again.
    for (prefix, expected, desired) in [("shop/", "ok", 2), ("shop/statefulset/", "conflict", 3)] {
        let stand = Stand::start("deployment:shop/", 500).await;
        let group = stand.groups(prefix, 1, 3).remove(0);
        let provider = stand.provider().await;
        look(&provider, &group).await.unwrap();
        dry(&stand);
        kill_first(&stand, &group);
        let seen = look(&provider, &group).await.unwrap();
        assert_eq!((seen.unfilled(), seen.instances.len()), (1, 2), "{seen:?}");
        assert_eq!(seen.launch_failures[0].kind, FailureKind::OutOfCapacity);
        // A StatefulSet would take its highest number, which runs.
        let answer = provider.cancel_unfilled(&target(&group, &seen), 2).await;
        assert_eq!((code(&answer), stand.desired(&group)), (expected, Some(desired)), "{group}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_a_launch_failure_of_every_kind() {
    for prefix in ["shop/", "shop/statefulset/", "shop/rollouts.argoproj.io/"] {
        let settings = sim::Settings { quota: Some(3), ..sim::Settings::default() };
        let stand = Stand::start_with(settings, "deployment:shop/", 500).await;
        let group = stand.groups(prefix, 1, 3).remove(0);
        let provider = stand.provider().await;
        let seen = look(&provider, &group).await.unwrap();
        assert!(!stand.asked(0).iter().any(|path| path.ends_with("/events")), "nothing is missing");
        provider.raise(&target(&group, &seen), 5).await.unwrap();
        // In the very observation that shows that pods are missing.
        let seen = look(&provider, &group).await.unwrap();
        let kinds: Vec<FailureKind> = seen.launch_failures.iter().map(|failure| failure.kind).collect();
        assert_eq!((kinds, seen.unfilled()), (vec![FailureKind::QuotaExceeded], 2), "{group}: {seen:?}");
        if prefix == "shop/statefulset/" {
            // What was read once stands while it cannot be read again.
            stand.api.forbid("list events");
            tokio::time::sleep(Duration::from_millis(15_100)).await;
            let (from, later) = (stand.exchanged(), look(&provider, &group).await.unwrap());
            assert!(stand.asked(from).iter().any(|path| path.ends_with("/events")), "it was asked for again");
            assert_eq!(later.launch_failures.len(), 1, "{later:?}");
        }
        // They have no pods at all, so nothing can go but they.
        provider.cancel_unfilled(&target(&group, &seen), 3).await.unwrap();
        assert_eq!(look(&provider, &group).await.unwrap().launch_failures, [], "{group}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_events_it_is_unknown_why_pods_are_missing_and_nothing_else_is() {
    let settings = sim::Settings { quota: Some(3), ..sim::Settings::default() };
    let stand = Stand::start_with(settings, "deployment:shop/", 500).await;
    stand.api.forbid("list events");
    let group = stand.groups("shop/statefulset/", 1, 3).remove(0);
    let provider = stand.provider().await;
    let seen = look(&provider, &group).await.unwrap();
    provider.raise(&target(&group, &seen), 5).await.unwrap();
    let seen = look(&provider, &group).await.unwrap();
    assert_eq!((seen.desired, seen.unfilled(), &seen.launch_failures[..]), (Some(5), 2, &[][..]), "{seen:?}");
    // Looked up no more often than every 15 seconds.
    look(&provider, &group).await.unwrap();
    assert_eq!(stand.asked(0).iter().filter(|path| path.ends_with("/events")).count(), 1);
}

/// The highest numbers go, whatever runs; the provider says that it is the cluster that picks.
#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_set_is_lowered_by_its_own_order() {
    let stand = Stand::start("deployment:shop/", 500).await;
    let group = stand.groups("shop/statefulset/", 1, 3).remove(0);
    let provider = stand.provider().await;
    let seen = look(&provider, &group).await.unwrap();
    let mut names: Vec<&str> = seen.instances.iter().map(|instance| instance.id.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["web-0-0", "web-0-1", "web-0-2"]);
    assert!(seen.abilities.lower && !seen.abilities.terminate_named && provider.terminator().is_none());
    // Withdrawing takes only what has no node, and the highest number has one.
    let answer = provider.cancel_unfilled(&target(&group, &seen), 2).await;
    assert_eq!((code(&answer), stand.desired(&group)), ("conflict", Some(3)), "{answer:?}");
    provider.lower(&target(&group, &seen), 1).await.unwrap();
    assert_eq!(stand.desired(&group), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_may_wait_for_a_node_as_long_as_is_granted() {
    let stand = Stand::start("deployment:shop/", 500).await;
    let group = stand.groups("shop/", 1, 2).remove(0);
    let settings = Settings { endpoint_url: Some(stand.wire.server.url()), node_wait_secs: 600, ..Settings::default() };
    let provider = stand.connect(settings).await;
    let seen = look(&provider, &group).await.unwrap();
    stand.wire.cloud.inject(Script::new(sim::Fault::OutOfCapacity));
    provider.raise(&target(&group, &seen), 4).await.unwrap();
    let seen = look(&provider, &group).await.unwrap();
    let pending = seen.instances.iter().filter(|instance| instance.state == InstanceState::Pending).count();
    assert_eq!((pending, seen.unfilled(), seen.launch_failures.len()), (2, 0, 0), "{seen:?}");
    stand.clock.pass(Duration::from_secs(601));
    let seen = look(&provider, &group).await.unwrap();
    assert_eq!((seen.instances.len(), seen.unfilled(), seen.launch_failures.len()), (2, 2, 1), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn zones_come_from_nodes_where_that_is_allowed() {
    for allowed in [true, false] {
        let stand = Stand::start("deployment:shop/", 500).await;
        if !allowed {
            stand.api.forbid("list nodes");
        }
        let group = stand.groups("shop/", 1, 3).remove(0);
        let seen = look(&stand.provider().await, &group).await.unwrap();
        let mut zones: Vec<_> = seen.instances.iter().map(|instance| instance.zone.as_deref()).collect();
        zones.sort_unstable();
        let expected = if allowed { vec![Some("a"), Some("b"), Some("c")] } else { vec![None; 3] };
        assert_eq!(zones, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_name_spoils_nobody_and_says_what_is_wrong() {
    let (stand, provider, group, _) = one().await;
    let ids = ["web-0", "shop/gone", "shop/deployment/web-0", "shop/widgets.example.com/x", "shop/pods/x"];
    let mut groups: Vec<GroupId> = ids.map(GroupId::from).into();
    groups.push(group.clone());
    groups.push("shop/scaledobjects.keda.sh/x".into());
    stand.api.install_keda(Keda::Present, None);
    let answers = observe(&provider, &groups).await;
    let codes: Vec<&str> = answers.iter().map(code).collect();
    assert_eq!(codes, ["invalid", "not_found", "invalid", "not_found", "invalid", "ok", "invalid"]);
    let words = answers[6].as_ref().unwrap_err().to_string();
    assert!(words.contains("no scale subresource"), "{words}");
}

/// A kubeconfig for this server, with a token.
fn kubeconfig(folder: &std::path::Path, server: &str, token: &str) -> PathBuf {
    let path = folder.join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: none\n\
         clusters: [{{name: c, cluster: {{server: \"{server}\"}}}}]\n\
         users: [{{name: u, user: {{token: {token}}}}}]\n\
         contexts: [{{name: prod, context: {{cluster: c, user: u}}}}]\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubeconfigs_token_opens_and_another_is_expired() {
    let folder = tempfile::tempdir().unwrap();
    let stand = Stand::start("deployment:shop/", 500).await;
    let group = stand.groups("shop/", 1, 3).remove(0);
    let path = kubeconfig(folder.path(), &stand.wire.server.url(), "secret-one");
    let settings = Settings { kubeconfig: Some(path.clone()), context: Some("prod".into()), ..Settings::default() };
    let provider = stand.connect(settings).await;
    stand.api.expect_token("secret-one");
    let seen = look(&provider, &group).await.unwrap();
    // It is taken back in the middle of things.
    stand.api.expect_token("secret-two");
    for answer in
        [look(&provider, &group).await.map(|_| ()), provider.raise(&target(&group, &seen), 5).await.map(|_| ())]
    {
        assert_eq!(code(&answer), "expired", "{answer:?}");
        assert!(!answer.unwrap_err().to_string().contains("secret"));
    }
    assert_eq!(stand.desired(&group), Some(3));
    // No context of that name, no such file: said when the provider is made.
    let owner = contract::Owner { id: "skala-test".into() };
    for (path, context) in [(path, "none"), (folder.path().join("missing"), "prod")] {
        let settings = Settings { kubeconfig: Some(path), context: Some(context.into()), ..Settings::default() };
        let made = Kubernetes::connect(settings, owner.clone(), stand.clock.reader()).await;
        assert!(matches!(&made, Err(ProviderError::Invalid { what }) if what.starts_with("kubeconfig: ")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_at_any_request_changes_nothing_by_halves() {
    let mut taken = Vec::new();
    for requests in 0..10 {
        let stand = Stand::start("deployment:shop/", 2).await;
        let groups = stand.groups("shop/", 3, 2);
        let provider = stand.provider().await;
        let seen = look(&provider, &groups[0]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        // A read, the claim and the write; and each of several pages.
        stand.api.expire_tokens_after(Some(requests));
        let answer = provider.raise(&target(&groups[0], &seen), 4).await;
        let expected = if answer.is_ok() { 4 } else { 2 };
        assert_eq!(
            (code(&answer), stand.desired(&groups[0])),
            (if expected == 4 { "ok" } else { "expired" }, Some(expected))
        );
        taken.push(answer.is_ok());
        stand.api.expire_tokens_after(Some(requests));
        for answer in observe(&provider, &groups).await {
            let whole = answer.as_ref().is_ok_and(|seen| seen.instances.len() >= 2);
            assert!(whole || code(&answer) == "expired", "after {requests}: {answer:?}");
        }
        stand.api.expire_tokens_after(None);
        assert!(look(&provider, &groups[0]).await.is_ok(), "and it is as it was once there is another token");
    }
    assert_eq!((taken[2], taken[3]), (false, true), "read, claim, write: {taken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_does_not_match_is_said_to_be_the_trouble() {
    let folder = tempfile::tempdir().unwrap();
    let stand = Stand::start("deployment:shop/", 500).await;
    let group = stand.groups("shop/", 1, 3).remove(0);
    let untrusted = Untrusted::start(stand.api.clone()).await;
    let seen = look(&stand.provider().await, &group).await.unwrap();
    let path = kubeconfig(folder.path(), &untrusted.url, "x");
    let nobodys = std::fs::read_to_string(&path).unwrap();
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, &untrusted.certificate).unwrap();
    let trusted = format!("certificate-authority: {}, server:", authority.display());
    // One that nobody vouches for, and one that is vouched for and says another name.
    for (text, words) in
        [(nobodys.clone(), "UnknownIssuer"), (nobodys.replace("server:", &trusted), "not valid for name")]
    {
        std::fs::write(&path, text).unwrap();
        let settings = Settings { kubeconfig: Some(path.clone()), context: Some("prod".into()), ..Settings::default() };
        let provider = stand.connect(settings).await;
        for answer in
            [look(&provider, &group).await.map(|_| ()), provider.raise(&target(&group, &seen), 5).await.map(|_| ())]
        {
            let error = answer.unwrap_err();
            let told = error.to_string();
            assert!(error.code() == "transport" && told.contains("certificate-authority"), "{error}");
            assert!(told.contains(words), "{error}");
        }
    }
    assert_eq!(stand.desired(&group), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_goes_on_where_the_old_one_stopped() {
    let (stand, provider, group, seen) = one().await;
    provider.raise(&target(&group, &seen), 5).await.unwrap();
    drop(provider);
    // The old plan is stale, also to a process that knows nothing of it.
    let provider = stand.provider().await;
    assert_eq!(code(&provider.raise(&target(&group, &seen), 6).await), "conflict");
    let seen = look(&provider, &group).await.unwrap();
    assert_eq!((seen.desired, seen.alive().count()), (Some(5), 5));
    provider.lower(&target(&group, &seen), 4).await.unwrap();
    assert_eq!(stand.desired(&group), Some(4));
}
