//! What the suite does not show: what is sent, how often, and answers that only Azure gives.

#![allow(clippy::unwrap_used)]

mod stand;

use azure::Azure;
use contract::{
    Ask, Capacity, Epoch, FailureKind, InstanceState, OwnerTag, Provider, ProviderError, Suspended, Timestamp,
};
use sim::{Fault, Script};
use sim_cloud::azure::{Azure as Simulated, SUBSCRIPTION};
use sim_cloud::fixture::Clock;
use sim_cloud::{Api, Exchange, Refusal, Reply, Request, Server};
use stand::{Bent, clock, cloud, group, observe, provider, serve, target};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What was asked of Resource Manager since the `n`-th exchange, by what the path ends with.
fn since(server: &Server, n: usize) -> Vec<Exchange> {
    server.exchanges().split_off(n).into_iter().filter(|e| e.path.starts_with("/subscriptions")).collect()
}

fn ends(exchanges: &[Exchange], method: &str, end: &str) -> usize {
    exchanges.iter().filter(|e| e.method == method && e.path.ends_with(end)).count()
}

fn header<'a>(exchange: &'a Exchange, name: &str) -> Option<&'a str> {
    exchange.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// One set, observed.
async fn one(clock: &Clock, desired: Capacity) -> (sim::Cloud, Server, Azure) {
    let cloud = cloud(0, clock);
    cloud.create("web", &sim::GroupSettings { desired, ..sim::GroupSettings::default() }).unwrap();
    let server = serve(Simulated::new(cloud.clone())).await;
    let provider = provider(&server.url(), clock).await;
    (cloud, server, provider)
}

fn ask() -> Ask {
    Ask::new(group("web"))
}

#[tokio::test]
async fn the_steady_state_is_one_list_a_page() {
    for (groups, pages) in [(1, 1), (100, 1), (1_000, 4)] {
        let clock = clock();
        let server = serve(Simulated::new(cloud(groups, &clock)).with_page(250)).await;
        let provider = provider(&server.url(), &clock).await;
        let asks: Vec<Ask> = (0..groups).map(|index| Ask::new(group(&format!("web-{index}")))).collect();
        // Everything is known once each set's machines have been listed.
        let known = |answers: &[Result<_, _>]| answers.iter().filter(|answer| answer.is_ok()).count();
        let mut rounds = 0;
        while known(&provider.observe(&asks).await) < groups {
            rounds += 1;
            assert!(rounds < 60, "{groups} sets are not known after {rounds} observations");
        }
        for cycle in 1..=8 {
            clock.pass(Duration::from_secs(15));
            let before = server.calls();
            assert_eq!(known(&provider.observe(&asks).await), groups);
            let reads = server.calls().reads - before.reads;
            assert_eq!(reads, pages, "{groups} sets, cycle {cycle}");
        }
    }
}

#[tokio::test]
async fn only_a_set_in_flux_is_looked_at_closely() {
    let clock = clock();
    let cloud = cloud(20, &clock);
    let server = serve(Simulated::new(cloud.clone())).await;
    let provider = provider(&server.url(), &clock).await;
    let asks: Vec<Ask> = (0..20).map(|index| Ask::new(group(&format!("web-{index}")))).collect();
    provider.observe(&asks).await;
    cloud.set_desired(&"web-7".into(), 3);
    let before = server.exchanges().len();
    let seen = provider.observe(&asks).await.swap_remove(7).unwrap();
    assert_eq!((seen.desired, seen.instances.len()), (Some(3), 3));
    let asked = since(&server, before);
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(ends(&asked, "GET", "/web-7/virtualMachines"), 1);
}

#[tokio::test]
async fn a_machine_that_stops_in_a_quiet_set_is_seen_after_a_while() {
    let clock = clock();
    let (cloud, _server, provider) = one(&clock, 2).await;
    let seen = observe(&provider, &ask()).await.unwrap();
    let id = cloud.truth(&"web".into()).unwrap().instances[0].id.clone();
    assert!(cloud.spoil(&"web".into(), &id));
    let states = |seen: &contract::Observation| seen.instances.iter().map(|i| i.state).collect::<Vec<_>>();
    assert_eq!(states(&seen), [InstanceState::Running; 2]);
    clock.pass(Duration::from_secs(301));
    let seen = observe(&provider, &ask()).await.unwrap();
    assert!(states(&seen).contains(&InstanceState::Failed), "{seen:?}");
}

#[tokio::test]
async fn quiet_sets_are_listed_again_a_few_at_a_time() {
    let clock = clock();
    let hide = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let hidden = Arc::clone(&hide);
    let api = Bent(Simulated::new(cloud(40, &clock)), move |inner: &Simulated, request: &Request| {
        if hidden.load(std::sync::atomic::Ordering::SeqCst) && request.path.ends_with("/virtualMachines") {
            return inner.refusal(&Refusal::Internal, request);
        }
        inner.answer(request)
    });
    let server = serve(api).await;
    let provider = provider(&server.url(), &clock).await;
    let asks: Vec<Ask> = (0..40).map(|index| Ask::new(group(&format!("web-{index}")))).collect();
    let all_known = async || provider.observe(&asks).await.iter().all(Result::is_ok);
    let lists = |before| ends(&since(&server, before), "GET", "/virtualMachines");
    assert!(all_known().await);
    clock.pass(Duration::from_secs(301));
    let before = server.exchanges().len();
    for cycle in 1..=20 {
        assert!(all_known().await);
        assert_eq!(lists(before), 2 * cycle);
    }
    assert!(all_known().await);
    assert_eq!(lists(before), 40, "each once");
    // What is routine may fail for a while; what nobody has looked at for too long is unknown.
    hide.store(true, std::sync::atomic::Ordering::SeqCst);
    clock.pass(Duration::from_secs(301));
    assert!(all_known().await);
    clock.pass(Duration::from_secs(300));
    assert!(!all_known().await);
}

#[tokio::test]
async fn a_slow_answer_is_stamped_before_it() {
    let clock = clock();
    let moving = clock.clone();
    let api = Bent(Simulated::new(cloud(1, &clock)), move |inner: &Simulated, request: &Request| {
        let reply = inner.answer(request);
        moving.pass(Duration::from_secs(1));
        reply
    });
    let server = serve(api).await;
    let provider = provider(&server.url(), &clock).await;
    let asked = clock.now();
    let seen = observe(&provider, &Ask::new(group("web-0"))).await.unwrap();
    assert_eq!(seen.at, asked);
    assert!(clock.now() > asked.after(Duration::from_secs(2)));
}

#[tokio::test]
async fn the_capacity_and_the_claim_are_one_conditional_write() {
    let clock = clock();
    let (cloud, server, provider) = one(&clock, 2).await;
    let seen = observe(&provider, &ask()).await.unwrap();
    let before = server.exchanges().len();
    let accepted = provider.raise(&target("web", &seen, 1), 4).await.unwrap();
    assert_eq!(accepted.operations.len(), 1);
    let asked = since(&server, before);
    let writes: Vec<&Exchange> = asked.iter().filter(|e| e.method != "GET").collect();
    let [write] = writes.as_slice() else { panic!("{writes:?}") };
    assert_eq!((write.method.as_str(), header(write, "if-match")), ("PATCH", seen.token.as_deref()));
    let body: serde_json::Value = serde_json::from_str(&write.body).unwrap();
    assert_eq!(body["sku"], serde_json::json!({ "name": "Standard_D2s_v3", "tier": "Standard", "capacity": 4 }));
    let expiry = clock.now().after(Duration::from_secs(3600)).0 / 1_000_000;
    assert_eq!(body["tags"], serde_json::json!({ "skala:owner": format!("skala-1/7/{expiry}") }));
    // The claim holds: the next write is of the capacity alone.
    clock.pass(Duration::from_secs(121));
    let seen = observe(&provider, &ask()).await.unwrap();
    provider.raise(&target("web", &seen, 2), 5).await.unwrap();
    let last = server.exchanges().into_iter().rev().find(|e| e.method == "PATCH").unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&last.body).unwrap().get("tags"), None);
    assert_eq!(cloud.truth(&"web".into()).unwrap().desired, Some(5));
}

#[tokio::test]
async fn a_change_between_the_read_and_the_write_is_a_conflict() {
    let clock = clock();
    let machines = cloud(1, &clock);
    let person = machines.clone();
    let api = Bent(Simulated::new(machines.clone()), move |inner: &Simulated, request: &Request| {
        if request.method == "PATCH" {
            // There and back again: the capacity is as it was seen, the ETag is not.
            person.set_desired(&"web-0".into(), 9);
            person.set_desired(&"web-0".into(), 1);
        }
        inner.answer(request)
    });
    let server = serve(api).await;
    let provider = provider(&server.url(), &clock).await;
    let seen = observe(&provider, &Ask::new(group("web-0"))).await.unwrap();
    let answer = provider.raise(&target("web-0", &seen, 1), 4).await;
    assert!(matches!(answer, Err(ProviderError::Conflict { .. })), "{answer:?}");
    assert_eq!(machines.truth(&"web-0".into()).unwrap().desired, Some(1));
}

#[tokio::test]
async fn the_tags_of_others_stay() {
    let clock = clock();
    let api = Simulated::new(cloud(1, &clock));
    let tagged = Bent(api, |inner: &Simulated, request: &Request| {
        let reply = inner.answer(request);
        let mut body = reply.to_json();
        let tag = |set: &mut serde_json::Value| set["tags"]["team"] = "payments".into();
        if body.get("sku").is_some() {
            tag(&mut body);
        }
        let items = body.get_mut("value").and_then(serde_json::Value::as_array_mut);
        items.into_iter().flatten().for_each(tag);
        reply.with_json(&body)
    });
    let server = serve(tagged).await;
    let provider = provider(&server.url(), &clock).await;
    let seen = observe(&provider, &Ask::new(group("web-0"))).await.unwrap();
    provider.raise(&target("web-0", &seen, 1), 2).await.unwrap();
    let write = server.exchanges().into_iter().find(|e| e.method == "PATCH").unwrap();
    let body: serde_json::Value = serde_json::from_str(&write.body).unwrap();
    assert_eq!(body["tags"]["team"], "payments");
    assert!(body["tags"]["skala:owner"].is_string());
}

#[tokio::test]
async fn a_fifth_write_within_a_minute_is_not_sent() {
    let clock = clock();
    let (_cloud, server, provider) = one(&clock, 1).await;
    for to in 2..=5 {
        let seen = observe(&provider, &ask()).await.unwrap();
        provider.raise(&target("web", &seen, u128::from(to)), to).await.unwrap();
        clock.pass(Duration::from_secs(5));
    }
    let seen = observe(&provider, &ask()).await.unwrap();
    let before = server.calls();
    let answer = provider.raise(&target("web", &seen, 6), 6).await;
    // Whoever knew how long would keep every other set waiting.
    assert!(matches!(answer, Err(ProviderError::Throttled { retry_after: None })), "{answer:?}");
    assert_eq!(server.calls(), before, "nothing is sent, not even a read");
    clock.pass(Duration::from_secs(39));
    assert!(provider.raise(&target("web", &seen, 6), 6).await.is_err());
    clock.pass(Duration::from_secs(1));
    provider.raise(&target("web", &seen, 6), 6).await.unwrap();
}

#[tokio::test]
async fn chosen_machines_go_in_one_call_without_force() {
    let clock = clock();
    let (cloud, server, provider) = one(&clock, 5).await;
    let seen = observe(&provider, &ask()).await.unwrap();
    let named: Vec<_> = ["web_1", "web_3", "web_4"].map(contract::InstanceId::from).to_vec();
    let before = server.exchanges().len();
    let accepted = provider.terminator().unwrap().terminate(&target("web", &seen, 1), &named).await.unwrap();
    let asked = since(&server, before);
    let posts: Vec<&Exchange> = asked.iter().filter(|e| e.method == "POST").collect();
    let [post] = posts.as_slice() else { panic!("{posts:?}") };
    assert!(post.path.ends_with("/virtualMachineScaleSets/web/delete"), "{}", post.path);
    let body: serde_json::Value = serde_json::from_str(&post.body).unwrap();
    assert_eq!(body, serde_json::json!({ "instanceIds": ["1", "3", "4"] }));
    assert!(!post.query.iter().any(|(key, _)| key.eq_ignore_ascii_case("forceDeletion")));
    // The operation is followed until the machines are gone.
    let open = Ask { operations: accepted.operations, ..ask() };
    clock.pass(Duration::from_secs(10));
    assert_eq!(observe(&provider, &open).await.unwrap().operations.len(), 1);
    clock.pass(Duration::from_secs(30));
    let seen = observe(&provider, &open).await.unwrap();
    assert_eq!((seen.operations.len(), seen.desired, seen.instances.len()), (0, Some(2), 2));
    assert_eq!(cloud.truth(&"web".into()).unwrap().desired, Some(2));
}

#[tokio::test]
async fn an_operation_is_followed_over_a_restart_and_never_before_its_time() {
    let clock = clock();
    let (cloud, server, first) = one(&clock, 2).await;
    let seen = observe(&first, &ask()).await.unwrap();
    cloud.inject(Script { group: Some("web".into()), ..Script::new(Fault::OutOfCapacity) });
    let accepted = first.raise(&target("web", &seen, 0x2a), 4).await.unwrap();
    let open = Ask { operations: accepted.operations.clone(), ..ask() };
    drop(first);
    // Azure said ten seconds.
    clock.pass(Duration::from_secs(4));
    let second = provider(&server.url(), &clock).await;
    let before = server.exchanges().len();
    let seen = observe(&second, &open).await.unwrap();
    assert_eq!(seen.operations.len(), 1);
    assert_eq!(seen.operations[0].action, Some(contract::ActionId(0x2a)));
    let polls = |before| since(&server, before).iter().filter(|e| e.path.contains("/operations/")).count();
    assert_eq!(polls(before), 0, "not before its time");
    clock.pass(Duration::from_secs(6));
    let seen = observe(&second, &open).await.unwrap();
    assert_eq!(polls(before), 1);
    assert_eq!(seen.operations, []);
    let kinds: Vec<_> = seen.launch_failures.iter().map(|failure| failure.kind).collect();
    assert_eq!(kinds, [FailureKind::OutOfCapacity], "{seen:?}");
    assert!(seen.launch_failures[0].message.starts_with("AllocationFailed: "));
    // What has ended is not asked again.
    clock.pass(Duration::from_secs(60));
    observe(&second, &open).await.unwrap();
    assert_eq!(polls(before), 1);
}

#[tokio::test]
async fn an_operation_that_has_only_a_location_is_followed_by_it() {
    for (dry, code) in [(false, None), (true, Some(FailureKind::OutOfCapacity))] {
        let clock = clock();
        let machines = cloud(1, &clock);
        let bare = |inner: &Simulated, request: &Request| {
            let mut reply = inner.answer(request);
            reply.headers.remove("azure-asyncoperation");
            reply
        };
        let server = serve(Bent(Simulated::new(machines.clone()), bare)).await;
        let provider = provider(&server.url(), &clock).await;
        let plain = Ask::new(group("web-0"));
        let seen = observe(&provider, &plain).await.unwrap();
        if dry {
            machines.inject(Script::new(Fault::OutOfCapacity));
        }
        let accepted = provider.raise(&target("web-0", &seen, 1), 2).await.unwrap();
        let open = Ask { operations: accepted.operations, ..plain };
        clock.pass(Duration::from_secs(10));
        let seen = observe(&provider, &open).await.unwrap();
        assert_eq!(seen.operations.len(), usize::from(!dry), "{seen:?}");
        clock.pass(Duration::from_secs(120));
        let seen = observe(&provider, &open).await.unwrap();
        assert_eq!(seen.operations, []);
        assert_eq!(seen.launch_failures.first().map(|failure| failure.kind), code);
    }
}

#[tokio::test]
async fn an_operation_that_another_took_the_place_of_is_no_failure() {
    let clock = clock();
    let preempted = |inner: &Simulated, request: &Request| {
        let reply = inner.answer(request);
        if !request.path.contains("/operations/") {
            return reply;
        }
        let error = serde_json::json!({ "code": "OperationPreempted", "message": "by a more recent operation" });
        reply.with_json(&serde_json::json!({ "startTime": "x", "status": "Failed", "error": error }))
    };
    let server = serve(Bent(Simulated::new(cloud(1, &clock)), preempted)).await;
    let provider = provider(&server.url(), &clock).await;
    let plain = Ask::new(group("web-0"));
    let seen = observe(&provider, &plain).await.unwrap();
    let accepted = provider.raise(&target("web-0", &seen, 1), 2).await.unwrap();
    clock.pass(Duration::from_secs(10));
    let seen = observe(&provider, &Ask { operations: accepted.operations, ..plain }).await.unwrap();
    assert_eq!((seen.operations.len(), seen.launch_failures.len()), (0, 0), "{seen:?}");
}

#[tokio::test]
async fn a_throttled_operation_waits_as_long_as_it_was_told() {
    let clock = clock();
    let throttled = |inner: &Simulated, request: &Request| {
        if request.path.contains("/operations/") {
            let busy = serde_json::json!({ "error": { "code": "TooManyRequests", "message": "of this kind" } });
            return Reply::json(429, &busy).with("retry-after", "77");
        }
        inner.answer(request)
    };
    let server = serve(Bent(Simulated::new(cloud(1, &clock)), throttled)).await;
    let provider = provider(&server.url(), &clock).await;
    let plain = Ask::new(group("web-0"));
    let seen = observe(&provider, &plain).await.unwrap();
    let accepted = provider.raise(&target("web-0", &seen, 1), 2).await.unwrap();
    let open = Ask { operations: accepted.operations, ..plain };
    clock.pass(Duration::from_secs(10));
    let polls = || server.exchanges().iter().filter(|e| e.path.contains("/operations/")).count();
    observe(&provider, &open).await.unwrap();
    assert_eq!(polls(), 1);
    // A poll before that would only be told to wait anew; the set itself is nobody's to wait for.
    clock.pass(Duration::from_secs(76));
    let seen = observe(&provider, &open).await.unwrap();
    assert_eq!((seen.operations.len(), polls()), (1, 1));
    clock.pass(Duration::from_secs(1));
    observe(&provider, &open).await.unwrap();
    assert_eq!(polls(), 2);
}

#[tokio::test]
async fn an_operation_on_another_host_is_not_asked() {
    let clock = clock();
    let (_cloud, server, provider) = one(&clock, 1).await;
    let elsewhere = serve(Simulated::new(cloud(0, &clock))).await;
    let url = format!("{}/subscriptions/{SUBSCRIPTION}/operations/1#raise/2a/0", elsewhere.url());
    let open = Ask { operations: vec![url.into()], ..ask() };
    let seen = observe(&provider, &open).await.unwrap();
    assert_eq!(seen.operations, []);
    assert!(elsewhere.exchanges().is_empty(), "the token went to another host");
    assert!(!server.exchanges().is_empty());
}

#[tokio::test]
async fn a_next_page_on_another_host_is_not_followed() {
    let clock = clock();
    let elsewhere = serve(Simulated::new(cloud(0, &clock))).await;
    let link = format!("{}/subscriptions/{SUBSCRIPTION}/next", elsewhere.url());
    let api = Bent(Simulated::new(cloud(2, &clock)).with_page(1), move |inner: &Simulated, request: &Request| {
        let reply = inner.answer(request);
        let mut body = reply.to_json();
        if body.get("nextLink").is_some() {
            body["nextLink"] = link.clone().into();
        }
        reply.with_json(&body)
    });
    let server = serve(api).await;
    let provider = provider(&server.url(), &clock).await;
    let asks = [Ask::new(group("web-0")), Ask::new(group("web-1"))];
    let answers = provider.observe(&asks).await;
    assert!(answers[0].is_ok());
    assert!(matches!(&answers[1], Err(ProviderError::Transport { .. })), "{:?}", answers[1]);
    assert!(elsewhere.exchanges().is_empty(), "the token went to another host");
}

#[tokio::test]
async fn a_set_that_the_list_hides_is_asked_for_by_name() {
    let clock = clock();
    let hide = |inner: &Simulated, request: &Request| {
        if request.path.ends_with("/virtualMachineScaleSets") {
            return Reply::json(200, &serde_json::json!({ "value": [] }));
        }
        if request.path.ends_with("/web-1") {
            return inner.refusal(&Refusal::Denied, request);
        }
        inner.answer(request)
    };
    let server = serve(Bent(Simulated::new(cloud(2, &clock)), hide)).await;
    let provider = provider(&server.url(), &clock).await;
    let asks = ["web-0", "web-1", "gone"].map(|name| Ask::new(group(name)));
    let codes = |answers: Vec<Result<contract::Observation, ProviderError>>| {
        answers.iter().map(|answer| answer.as_ref().err().map_or("ok", ProviderError::code)).collect::<Vec<_>>()
    };
    assert_eq!(codes(provider.observe(&asks).await), ["ok", "denied", "not_found"]);
    // What is known not to be there is not asked for in every cycle.
    let before = server.exchanges().len();
    assert_eq!(codes(provider.observe(&asks).await), ["ok", "denied", "not_found"]);
    assert_eq!(ends(&since(&server, before), "GET", "/gone"), 0);
}

#[tokio::test]
async fn a_subscription_that_is_not_seen_is_no_missing_set() {
    let clock = clock();
    let server = serve(Simulated::new(cloud(1, &clock))).await;
    let (settings, _secret) = stand::settings(&server.url());
    let other = azure::Settings { subscription: "99999999-1111-2222-3333-444444444444".into(), ..settings };
    let owner = contract::Owner { id: "skala-1".into() };
    let provider = Azure::connect(other, owner, clock.reader()).await.unwrap();
    let answer = observe(&provider, &Ask::new(group("web-0"))).await;
    assert!(matches!(answer, Err(ProviderError::Denied { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_group_may_be_written_as_its_whole_id_and_in_any_case() {
    let clock = clock();
    let (_cloud, _server, provider) = one(&clock, 3).await;
    let id = format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/RG-skala/providers/Microsoft.Compute/virtualMachineScaleSets/Web"
    );
    let seen = observe(&provider, &Ask::new(id.as_str())).await.unwrap();
    assert_eq!(seen.instances.len(), 3);
    let wrong = observe(&provider, &Ask::new("web")).await;
    assert!(matches!(wrong, Err(ProviderError::Invalid { .. })), "{wrong:?}");
}

#[tokio::test]
async fn a_controller_that_came_meanwhile_is_a_conflict() {
    let clock = clock();
    let (cloud, _server, provider) = one(&clock, 2).await;
    let seen = observe(&provider, &ask()).await.unwrap();
    let native = contract::Foreign { name: "any".into(), removes: None };
    cloud.set_foreign(&"web".into(), vec![native]);
    clock.pass(Duration::from_secs(61));
    let answer = provider.raise(&target("web", &seen, 1), 3).await;
    assert!(matches!(answer, Err(ProviderError::Conflict { .. })), "{answer:?}");
    assert_eq!(cloud.truth(&"web".into()).unwrap().desired, Some(2));
    // The next observation of one that is known by then shows it, within ten minutes.
    let seen = observe(&provider, &ask()).await.unwrap();
    assert_eq!(seen.foreign, [contract::Foreign { name: "autoscale setting cpu".into(), removes: Some(true) }]);
}

#[tokio::test]
async fn settings_that_may_not_be_read_are_an_unknown_controller() {
    let clock = clock();
    let denied = |inner: &Simulated, request: &Request| {
        if request.path.to_ascii_lowercase().contains("microsoft.insights") {
            return inner.refusal(&Refusal::Denied, request);
        }
        inner.answer(request)
    };
    let server = serve(Bent(Simulated::new(cloud(1, &clock)), denied)).await;
    let provider = provider(&server.url(), &clock).await;
    let seen = observe(&provider, &Ask::new(group("web-0"))).await.unwrap();
    assert_eq!(seen.foreign.len(), 1);
    assert!(seen.foreign[0].removes.is_none() && seen.foreign[0].name.contains("unknown"), "{:?}", seen.foreign);
    let answer = provider.raise(&target("web-0", &seen, 1), 3).await;
    assert!(matches!(answer, Err(ProviderError::Denied { .. })), "{answer:?}");
}

#[tokio::test]
async fn nothing_is_terminated_while_a_rolling_upgrade_runs() {
    let clock = clock();
    let (cloud, _server, provider) = one(&clock, 3).await;
    let seen = observe(&provider, &ask()).await.unwrap();
    cloud.set_suspended(&"web".into(), vec![Suspended::Refresh]);
    let named = [seen.instances[0].id.clone()];
    let answer = provider.terminator().unwrap().terminate(&target("web", &seen, 1), &named).await;
    assert!(matches!(answer, Err(ProviderError::Conflict { .. })), "{answer:?}");
    assert_eq!(cloud.truth(&"web".into()).unwrap().instances.len(), 3);
}

#[tokio::test]
async fn a_token_that_ends_in_mid_operation_is_typed_once_and_renewed() {
    let clock = clock();
    let (_cloud, server, provider) = one(&clock, 2).await;
    let seen = observe(&provider, &ask()).await.unwrap();
    // The server's time runs ahead of the process's: the token ends at the server first.
    clock.pass(Duration::from_secs(90_000));
    let answer = provider.raise(&target("web", &seen, 1), 3).await;
    assert!(matches!(answer, Err(ProviderError::Expired { .. })), "{answer:?}");
    let seen = observe(&provider, &ask()).await.unwrap();
    provider.raise(&target("web", &seen, 2), 3).await.unwrap();
    let tokens = server.exchanges().iter().filter(|e| e.path.ends_with("/token")).count();
    assert_eq!(tokens, 2);
}

#[tokio::test]
async fn a_claim_is_renewed_before_it_ends() {
    let clock = clock();
    let (cloud, server, provider) = one(&clock, 1).await;
    let seen = observe(&provider, &ask()).await.unwrap();
    provider.raise(&target("web", &seen, 1), 2).await.unwrap();
    clock.pass(Duration::from_secs(2_500));
    let before = server.exchanges().len();
    observe(&provider, &ask()).await.unwrap();
    let renewed =
        || cloud.look(&"web".into()).unwrap().owner.unwrap().expiry > clock.now().after(Duration::from_secs(3_000));
    for _ in 0..100 {
        if renewed() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(renewed());
    let writes: Vec<Exchange> = since(&server, before).into_iter().filter(|e| e.method == "PATCH").collect();
    assert_eq!(writes.len(), 1);
    assert!(header(&writes[0], "if-match").is_some());
    assert!(!writes[0].body.contains("sku"), "{}", writes[0].body);
    // Somebody else's is not.
    let other = OwnerTag { id: "another".into(), epoch: Epoch(7), expiry: clock.now().after(Duration::from_secs(60)) };
    cloud.set_owner(&"web".into(), Some(other));
    let before = server.exchanges().len();
    observe(&provider, &ask()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(ends(&since(&server, before), "PATCH", "/web"), 0);
}

#[tokio::test]
async fn it_slows_down_when_azure_says_that_little_is_left() {
    let clock = clock();
    let took = |left: &'static str| {
        let clock = clock.clone();
        async move {
            let api = Bent(Simulated::new(cloud(1, &clock)), move |inner: &Simulated, request: &Request| {
                inner.answer(request).with("x-ms-ratelimit-remaining-resource", left)
            });
            let server = serve(api).await;
            let (settings, _secret) = stand::settings(&server.url());
            let settings = azure::Settings { calls_per_second: Some(20.0), ..settings };
            let owner = contract::Owner { id: "skala-1".into() };
            let provider = Azure::connect(settings, owner, clock.reader()).await.unwrap();
            let started = Instant::now();
            for _ in 0..10 {
                observe(&provider, &Ask::new(group("web-0"))).await.unwrap();
            }
            started.elapsed()
        }
    };
    let plenty = took("Microsoft.Compute/GetVMScaleSet3Min;34").await;
    let little = took("Microsoft.Compute/GetVMScaleSet3Min;2").await;
    assert!(little > plenty + Duration::from_millis(500), "{plenty:?} with plenty left, {little:?} with little");
}

#[tokio::test]
async fn a_certificate_that_does_not_match_is_told() {
    let clock = clock();
    let api: Arc<dyn Api> = Arc::new(Simulated::new(cloud(1, &clock)));
    let tls = sim_cloud::untrusted::Untrusted::start(Arc::clone(&api)).await;
    let plain = Server::start(api, ([127, 0, 0, 1], 0).into()).await.unwrap();
    let (settings, _secret) = stand::settings(&plain.url());
    let owner = || contract::Owner { id: "skala-1".into() };
    // At Resource Manager, and at the authority.
    let endpoint = azure::Settings { endpoint_url: Some(tls.url.clone()), ..settings.clone() };
    let authority = azure::Settings { authority_host: Some(tls.url.clone()), ..settings };
    for settings in [endpoint, authority] {
        let provider = Azure::connect(settings, owner(), clock.reader()).await.unwrap();
        let answer = observe(&provider, &Ask::new(group("web-0"))).await;
        let error = answer.unwrap_err();
        assert!(matches!(error, ProviderError::Transport { .. }), "{error:?}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}

#[tokio::test]
async fn a_machine_without_power_state_is_no_running_one() {
    let clock = clock();
    let bare = |inner: &Simulated, request: &Request| {
        let reply = inner.answer(request);
        let mut body = reply.to_json();
        for vm in body.get_mut("value").and_then(serde_json::Value::as_array_mut).into_iter().flatten() {
            if vm["properties"].get("instanceView").is_some() {
                vm["properties"]["instanceView"] = serde_json::Value::Null;
            }
        }
        reply.with_json(&body)
    };
    let server = serve(Bent(Simulated::new(cloud(1, &clock)), bare)).await;
    let provider = provider(&server.url(), &clock).await;
    let seen = observe(&provider, &Ask::new(group("web-0"))).await.unwrap();
    assert_eq!(seen.instances[0].state, InstanceState::Pending);
    assert!(seen.at > Timestamp(0));
}
