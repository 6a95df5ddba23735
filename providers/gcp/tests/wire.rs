//! What the suite does not show: the calls' number, operations over a restart, zones that are down, stock-outs, and the
//! shapes of answers that only this cloud has.
#![allow(clippy::unwrap_used, dead_code, reason = "a test; and not every test needs all of the stand")]

mod stand;

use contract::{
    Ask, FailureKind, Foreign, GroupId, InstanceState, OnCall, Provider, ProviderError, Scope, Suspended, Timestamp,
};
use gcp::Gcp;
use sim::{Fault as Trouble, Script};
use sim_cloud::fixture::Wire;
use sim_cloud::{Fault, Kind, Refusal, Reply, Request};
use stand::{Bend, Bent, LONG, PROJECT, START, Stand, look, owner, settings, target};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio::time::Instant;

fn pass(wire: &Wire, secs: u64) {
    wire.clock.pass(Duration::from_secs(secs));
}

async fn observe(provider: &Gcp, asks: &[Ask]) -> Vec<Result<contract::Observation, &'static str>> {
    provider.observe(asks).await.into_iter().map(|answer| answer.map_err(|error| error.code())).collect()
}

#[tokio::test]
async fn quiet_groups_cost_one_list_of_the_project_however_many_they_are() {
    for (groups, pages, at_start) in [(1_u32, 1, 8), (100, 1, 8), (1_000, 2, 16)] {
        let stand = Stand::new().await;
        let asks: Vec<Ask> = (0..groups).map(|i| Ask::new(stand.group(&format!("web-{i}"), 2))).collect();
        let told = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&told);
        let on_call: OnCall = Arc::new(move |_| _ = counted.fetch_add(1, SeqCst));
        let provider = stand.provider(LONG).await.with_on_call(on_call);
        assert!(observe(&provider, &asks).await.iter().all(Result::is_ok), "{groups}");
        assert!(observe(&provider, &asks).await.iter().all(Result::is_ok), "{groups}");
        let before = stand.wire.server.calls().reads;
        assert!(before <= at_start, "{groups} groups cost {before} calls until they are known");
        for _ in 0..10 {
            pass(&stand.wire, 15);
            let answers = observe(&provider, &asks).await;
            assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|seen| seen.instances.len() == 2)));
        }
        let calls = stand.wire.server.calls();
        assert_eq!(calls.reads - before, pages * 10, "{groups} groups in ten cycles");
        assert_eq!(told.load(SeqCst), calls.reads + calls.writes, "each call is told of");
    }
}

#[tokio::test]
async fn an_operation_is_followed_over_a_restart() {
    let stand = Stand::new().await;
    for (name, action) in [("web-1", 77), ("web-2", 78)] {
        let group = stand.group(name, 2);
        let provider = stand.provider(LONG).await;
        look(&provider, &group).await.unwrap();
        let accepted = provider.raise(&target(&group, action, 2), 4).await.unwrap();
        assert_eq!(accepted.operations.len(), 1, "{accepted:?}");
        drop(provider);
        let provider = stand.provider(LONG).await;
        let ask = || Ask {
            open_actions: vec![contract::ActionId(action)],
            operations: accepted.operations.clone(),
            ..Ask::new(group.as_str())
        };
        let seen = provider.observe(&[ask()]).await.remove(0).unwrap();
        assert_eq!(seen.operations.len(), 1, "{seen:?}");
        assert_eq!(seen.operations[0].name, accepted.operations[0]);
        assert_eq!(seen.operations[0].action, Some(contract::ActionId(action)));
        let booting = seen.instances.iter().filter(|i| i.state == InstanceState::Pending).count();
        assert_eq!((seen.desired, booting, seen.unfilled()), (Some(4), 2, 0), "{seen:?}");
        pass(&stand.wire, 5);
        let seen = provider.observe(&[ask()]).await.remove(0).unwrap();
        assert_eq!((seen.operations.len(), seen.launch_failures.len()), (0, 0), "{seen:?}");
        let asked = stand.count("GET", &accepted.operations[0]);
        provider.observe(&[ask()]).await.remove(0).unwrap();
        assert_eq!(stand.count("GET", &accepted.operations[0]), asked, "what has ended is not asked for again");
        // One that the API has forgotten has ended, too.
        let forgotten = Ask { operations: vec!["operation-1-x".into()], ..Ask::new(group.as_str()) };
        assert_eq!(provider.observe(&[forgotten]).await.remove(0).unwrap().operations, []);
    }
}

#[tokio::test]
async fn an_operation_that_fails_leaves_typed_data() {
    let stand = Stand::new().await;
    for (code, kind, scope) in [
        ("QUOTA_EXCEEDED", FailureKind::QuotaExceeded, Scope::Region),
        ("ZONE_RESOURCE_POOL_EXHAUSTED", FailureKind::OutOfCapacity, Scope::Zone("europe-west1-b".into())),
    ] {
        let group = stand.group(&format!("web-{}", code.len() * 10 + 1), 2);
        let provider = stand.provider(LONG).await;
        look(&provider, &group).await.unwrap();
        stand.api.fail_next_operation(code, "as the test says");
        let accepted = provider.raise(&target(&group, code.len() as u128, 2), 4).await.unwrap();
        pass(&stand.wire, 5);
        let ask = Ask { operations: accepted.operations, ..Ask::new(group.as_str()) };
        let seen = provider.observe(&[ask]).await.remove(0).unwrap();
        assert_eq!((seen.desired, seen.operations.len()), (Some(2), 0), "{seen:?}");
        assert_eq!(seen.launch_failures.len(), 1, "{seen:?}");
        let failure = &seen.launch_failures[0];
        assert_eq!((failure.kind, &failure.scope), (kind, &scope));
        assert_eq!(&*failure.message, format!("{code}: as the test says"));
        // It is kept for a while, and then no longer.
        pass(&stand.wire, 900);
        assert_eq!(look(&provider, &group).await.unwrap().launch_failures.len(), 1);
        pass(&stand.wire, 901);
        assert_eq!(look(&provider, &group).await.unwrap().launch_failures.len(), 0);
    }
}

#[tokio::test]
async fn a_zone_that_is_down_is_unknown_and_hides_nobody() {
    let stand = Stand::new().await;
    let (zonal, regional) = (stand.group("web-1", 2), stand.group("web-2", 2));
    let gone = GroupId::from("zones/europe-west1-b/never");
    let asks = [&zonal, &regional, &gone].map(|group| Ask::new(group.as_str()));
    for known in [false, true] {
        let provider = stand.provider(LONG).await;
        if known {
            observe(&provider, &asks[..2]).await;
        }
        stand.api.set_unreachable(&["zones/europe-west1-b"]);
        let answers = observe(&provider, &asks).await;
        assert_eq!(answers[0], Err("transport"), "known before: {known}");
        assert_eq!(answers[1].as_ref().unwrap().instances.len(), 2, "known before: {known}");
        assert_eq!(answers[2], Err("transport"), "what cannot be reached is not missing");
        stand.api.set_unreachable(&[]);
        let answers = observe(&provider, &asks).await;
        assert!(answers[0].is_ok() && answers[1].is_ok(), "{answers:?}");
        assert_eq!(answers[2], Err("not_found"));
    }
}

#[tokio::test]
async fn when_the_list_of_the_project_fails_each_zone_is_asked_by_itself() {
    let stand = Stand::with_page(3).await;
    let groups: Vec<GroupId> = (1..=10).map(|i| stand.group(&format!("web-{i}"), 1)).collect();
    let asks: Vec<Ask> = groups.iter().map(|group| Ask::new(group.as_str())).collect();
    let provider = stand.provider(LONG).await;
    stand.api.fail_whole_list(true);
    assert!(observe(&provider, &asks).await.iter().all(Result::is_ok));
    stand.api.set_unreachable(&["regions/europe-west1"]);
    let answers = observe(&provider, &asks).await;
    for (group, answer) in groups.iter().zip(&answers) {
        let expected = group.as_str().starts_with("zones/");
        assert_eq!(answer.is_ok(), expected, "{group}: {answer:?}");
        assert!(expected || *answer == Err("transport"), "{group}: {answer:?}");
    }
    // A refusal is met once, not once more for each zone.
    stand.api.set_unreachable(&[]);
    stand.api.fail_whole_list(false);
    stand.wire.server.inject(Kind::Read, Fault::Refuse(Refusal::Denied));
    let before = stand.wire.server.calls().reads;
    assert!(observe(&provider, &asks).await.iter().all(|answer| *answer == Err("denied")));
    assert_eq!(stand.wire.server.calls().reads - before, 1);
}

#[tokio::test]
async fn groups_of_a_lost_page_are_unknown() {
    let stand = Stand::with_page(3).await;
    let groups: Vec<GroupId> = (0..16).map(|i| stand.group(&format!("web-{i:02}"), 1)).collect();
    let asks: Vec<Ask> = groups.iter().map(|group| Ask::new(group.as_str())).collect();
    let provider = stand.provider(LONG).await;
    stand.wire.server.inject(Kind::Read, Fault::LaterPages);
    let answers = observe(&provider, &asks).await;
    let known = answers.iter().filter(|answer| answer.is_ok()).count();
    let unknown = answers.iter().filter(|answer| **answer == Err("transport")).count();
    // The first page of the zone and of the region, and no more.
    assert_eq!((known, unknown), (6, 10), "{answers:?}");
    stand.wire.server.clear();
    assert!(observe(&provider, &asks).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_region_that_the_list_leaves_out_costs_one_list() {
    let stand = Stand::new().await;
    stand.api.hide_regions(true);
    let asks: Vec<Ask> = ["web-2", "web-4", "web-1"].map(|name| Ask::new(stand.group(name, 1).as_str())).into();
    let provider = stand.provider(LONG).await;
    assert!(observe(&provider, &asks).await.iter().all(Result::is_ok));
    // All machines are listed beside this, whenever that gets through.
    let lists = || stand.count("GET", "/instanceGroupManagers") + stand.count("POST", "/listManagedInstances");
    let before = lists();
    assert!(observe(&provider, &asks).await.iter().all(Result::is_ok));
    assert_eq!(lists() - before, 2, "the project's list and the region's");
    let elsewhere = [Ask::new("regions/us-east9/web"), asks[0].clone()];
    let answers = observe(&provider, &elsewhere).await;
    assert_eq!(answers[0], Err("not_found"), "a region that does not exist");
    assert!(answers[1].is_ok());
}

/// No machines for a group from now on.
fn run_dry(stand: &Stand, name: &str) {
    stand.wire.cloud.inject(Script { group: Some(name.into()), ..Script::new(Trouble::OutOfCapacity) });
}

#[tokio::test]
async fn a_stock_out_is_data_and_what_is_retried_for_ever_can_be_withdrawn() {
    for name in ["web-1", "web-2"] {
        let stand = Stand::new().await;
        let group = stand.group(name, 2);
        let provider = stand.provider(LONG).await;
        look(&provider, &group).await.unwrap();
        run_dry(&stand, name);
        provider.raise(&target(&group, 1, 2), 6).await.unwrap();
        // However long: the group goes on trying.
        for secs in [40, 1_000] {
            pass(&stand.wire, secs);
            let seen = look(&provider, &group).await.unwrap();
            assert_eq!((seen.desired, seen.instances.len(), seen.unfilled()), (Some(6), 2, 4), "{seen:?}");
            let zoned = seen.launch_failures.iter().all(|failure| matches!(failure.scope, Scope::Zone(_)));
            let kinds = seen.launch_failures.iter().all(|failure| failure.kind == FailureKind::OutOfCapacity);
            assert!(zoned && kinds && !seen.launch_failures.is_empty(), "{:?}", seen.launch_failures);
            assert!(seen.launch_failures.iter().all(|failure| failure.at == seen.at), "it fails still");
        }
        let before = stand.wire.cloud.truth(&stand.wire.simulated(&name.into())).unwrap();
        let cancelled = provider.cancel_unfilled(&target(&group, 2, 6), 3).await.unwrap();
        assert_eq!(cancelled.operations.len(), 1);
        let seen = look(&provider, &group).await.unwrap();
        assert_eq!((seen.desired, seen.unfilled()), (Some(3), 1), "{seen:?}");
        let refused = provider.cancel_unfilled(&target(&group, 3, 3), 1).await.unwrap_err();
        assert_eq!(refused.code(), "conflict", "two are there: {refused}");
        provider.cancel_unfilled(&target(&group, 4, 3), 2).await.unwrap();
        let after = stand.wire.cloud.truth(&name.into()).unwrap();
        assert_eq!((after.desired, &after.instances), (Some(2), &before.instances));
        assert_eq!(stand.count("POST", "/resize"), 1, "withdrawn by name, since by number the group would choose");
        assert_eq!(stand.count("POST", "/deleteInstances"), 2);
        // Machines come back between the look and the cancellation: they stay.
        provider.raise(&target(&group, 5, 2), 4).await.unwrap();
        look(&provider, &group).await.unwrap();
        stand.wire.cloud.clear_faults();
        pass(&stand.wire, 200);
        let refused = provider.cancel_unfilled(&target(&group, 6, 4), 2).await.unwrap_err();
        assert_eq!(refused.code(), "conflict", "{refused}");
        assert_eq!(stand.wire.cloud.truth(&name.into()).unwrap().instances.len(), 4);
    }
}

#[tokio::test]
async fn an_older_template_shows() {
    let stand = Stand::new().await;
    let groups: Vec<GroupId> = (1..=12).map(|i| stand.group(&format!("web-{i}"), 2)).collect();
    let asks: Vec<Ask> = groups.iter().map(|group| Ask::new(group.as_str())).collect();
    pass(&stand.wire, 60);
    stand.api.change_template("web-1");
    // By the machines' own metadata, and by the group's list.
    let provider = stand.provider(LONG).await;
    let many = observe(&provider, &asks).await;
    assert_eq!(stand.count("POST", "/listManagedInstances"), 0);
    let alone = look(&stand.provider(LONG).await, &groups[0]).await.unwrap();
    assert_eq!(stand.count("POST", "/listManagedInstances"), 1);
    assert!(alone.instances.iter().all(|instance| instance.outdated), "{alone:?}");
    assert!(many[0].as_ref().unwrap().instances.iter().all(|instance| instance.outdated));
    assert!(many[1].as_ref().unwrap().instances.iter().all(|instance| !instance.outdated));
    provider.raise(&target(&groups[0], 1, 2), 3).await.unwrap();
    pass(&stand.wire, 120);
    let seen = look(&provider, &groups[0]).await.unwrap();
    assert_eq!(seen.instances.iter().filter(|instance| instance.outdated).count(), 2, "{seen:?}");
}

#[tokio::test]
async fn launch_times_come_from_the_machines() {
    let stand = Stand::new().await;
    let group = stand.group("web-1", 2);
    pass(&stand.wire, 3_600);
    let provider = stand.provider(LONG).await;
    // Beside the first observation, which may be over before.
    look(&provider, &group).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let seen = look(&provider, &group).await.unwrap();
    for instance in &seen.instances {
        assert_eq!((instance.launched, instance.running_since), (Some(START), Some(START)), "{instance:?}");
        assert_eq!(instance.zone.as_deref(), Some("europe-west1-b"));
    }
    // One that is seen booting runs since it is seen running.
    provider.raise(&target(&group, 1, 2), 3).await.unwrap();
    look(&provider, &group).await.unwrap();
    pass(&stand.wire, 200);
    let now = stand.wire.clock.now();
    let seen = look(&provider, &group).await.unwrap();
    let young: Vec<_> = seen.instances.iter().filter(|i| i.running_since == Some(now)).collect();
    assert_eq!(young.len(), 1, "{seen:?}");
}

#[tokio::test]
async fn the_native_autoscaler_shows_with_what_it_may_do() {
    let stand = Stand::new().await;
    let group = stand.group("web-1", 2);
    let scaler = |removes| Foreign { name: "autoscaler cpu50".into(), removes };
    for removes in [Some(true), Some(false)] {
        stand.wire.cloud.set_foreign(&"web-1".into(), vec![scaler(removes)]);
        let provider = stand.provider(LONG).await;
        assert_eq!(look(&provider, &group).await.unwrap().foreign, [scaler(removes)]);
        let asked = stand.count("GET", "/autoscalers/cpu50");
        look(&provider, &group).await.unwrap();
        assert_eq!(stand.count("GET", "/autoscalers/cpu50"), asked, "it is not read at every look");
        // Whether it may stay is the core's to say; what was shown is no conflict.
        provider.raise(&target(&group, 1, 2), 2).await.unwrap();
        // Its mode changes, which the group does not show: the write finds it.
        stand.wire.cloud.set_foreign(&"web-1".into(), vec![scaler(removes.map(|removes| !removes))]);
        let refused = provider.raise(&target(&group, 2, 2), 3).await.unwrap_err();
        assert_eq!(refused.code(), "conflict", "{refused}");
    }
    let provider = stand.provider(LONG).await;
    stand.wire.cloud.set_foreign(&"web-1".into(), Vec::new());
    assert_eq!(look(&provider, &group).await.unwrap().foreign, []);
    // One that came since the look.
    stand.wire.cloud.set_foreign(&"web-1".into(), vec![scaler(Some(false))]);
    for refused in [
        provider.raise(&target(&group, 3, 2), 3).await,
        provider.terminator().unwrap().terminate(&target(&group, 4, 2), &["europe-west1-b/x".into()]).await,
    ] {
        assert_eq!(refused.unwrap_err().code(), "conflict");
    }
    assert_eq!(stand.wire.cloud.truth(&"web-1".into()).unwrap().desired, Some(2));
}

#[tokio::test]
async fn nothing_is_removed_under_a_rolling_replacement() {
    let stand = Stand::new().await;
    let group = stand.group("web-1", 3);
    let provider = stand.provider(LONG).await;
    let seen = look(&provider, &group).await.unwrap();
    stand.wire.cloud.set_suspended(&"web-1".into(), vec![Suspended::Refresh]);
    let named = [seen.instances[0].id.clone()];
    let refused = provider.terminator().unwrap().terminate(&target(&group, 1, 3), &named).await.unwrap_err();
    assert_eq!(refused.code(), "conflict", "{refused}");
    provider.raise(&target(&group, 2, 3), 4).await.unwrap();
}

#[tokio::test]
async fn more_than_a_batch_is_terminated_and_every_write_has_its_own_request_id() {
    let stand = Stand::new().await;
    let group = stand.group("web-1", 1_205);
    let provider = stand.provider(LONG).await;
    let seen = look(&provider, &group).await.unwrap();
    assert_eq!((seen.instances.len(), seen.abilities.terminate_batch), (1_205, 1_000));
    let named: Vec<_> = seen.instances.iter().skip(1).map(|instance| instance.id.clone()).collect();
    let done = provider.terminator().unwrap().terminate(&target(&group, 9, 1_205), &named).await.unwrap();
    assert_eq!((done.operations.len(), done.skipped.len()), (2, 0), "{done:?}");
    let after = stand.wire.cloud.truth(&"web-1".into()).unwrap();
    let left = after.instances.iter().filter(|instance| instance.state == InstanceState::Running).count();
    assert_eq!((after.desired, left), (Some(1), 1));
    let exchanges = stand.wire.server.exchanges();
    let writes = exchanges.iter().filter(|exchange| exchange.path.ends_with("/deleteInstances"));
    let id =
        |exchange: &sim_cloud::Exchange| exchange.query.iter().find(|(key, _)| key == "requestId").unwrap().1.clone();
    let mut ids: Vec<String> = writes.map(id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 2, "{ids:?}");
}

#[tokio::test]
async fn an_observation_is_stamped_before_its_calls() {
    let stand = Stand::new().await;
    let group = stand.group("web-1", 1);
    let start = Instant::now();
    let clock: gcp::Clock = Arc::new(move || START.after(start.elapsed()));
    let provider = Gcp::connect(settings(&stand.wire.server.url()), owner(), Arc::clone(&clock)).await.unwrap();
    let slow = Duration::from_millis(300);
    stand.wire.server.inject(Kind::Read, Fault::Slow(slow));
    let seen = look(&provider, &group).await.unwrap();
    assert!(seen.at <= clock().before(slow * 2), "two calls of {slow:?}, and it is stamped {}", seen.at);
}

#[tokio::test]
async fn answers_that_say_nothing_are_no_capacity() {
    fn hollow(_: &Request, reply: Reply) -> Reply {
        reply.with_json(&serde_json::json!({}))
    }
    fn sizeless(_: &Request, reply: Reply) -> Reply {
        let text = reply.to_json().to_string().replace("\"targetSize\":2", "\"x\":2");
        reply.with_json(&serde_json::from_str(&text).unwrap())
    }
    fn huge(_: &Request, reply: Reply) -> Reply {
        let text = reply.to_json().to_string().replace("\"targetSize\":2", "\"targetSize\":5000000000");
        reply.with_json(&serde_json::from_str(&text).unwrap())
    }
    fn memberless(request: &Request, reply: Reply) -> Reply {
        if request.path.ends_with("/listManagedInstances") { hollow(request, reply) } else { reply }
    }
    fn circular(_: &Request, reply: Reply) -> Reply {
        let mut body = reply.to_json();
        body["nextPageToken"] = "0".into();
        reply.with_json(&body)
    }
    let stand = Stand::new().await;
    let group = stand.group("web-1", 2);
    let bends: [(&str, Bend); 5] = [
        ("hollow", hollow),
        ("sizeless", sizeless),
        ("huge", huge),
        ("memberless", memberless),
        ("circular", circular),
    ];
    for (name, bend) in bends {
        let (api, server) = Bent::over(&stand).await;
        let provider = Gcp::connect(settings(&server.url()), owner(), stand.wire.clock.reader()).await.unwrap();
        api.bend(bend);
        let error = look(&provider, &group).await.unwrap_err();
        assert!(matches!(error, ProviderError::Transport { .. }), "{name}: {error}");
        let refused = provider.cancel_unfilled(&target(&group, 1, 2), 1).await.unwrap_err();
        assert!(!refused.may_have_taken_effect(), "{name}: {refused}");
    }
    assert_eq!(stand.wire.server.calls().writes, 0);
    // A write that is answered with nothing may have been done.
    let (api, server) = Bent::over(&stand).await;
    let provider = Gcp::connect(settings(&server.url()), owner(), stand.wire.clock.reader()).await.unwrap();
    api.bend(|request, reply| if request.path.ends_with("/resize") { hollow(request, reply) } else { reply });
    let error = provider.raise(&target(&group, 2, 2), 3).await.unwrap_err();
    assert!(error.may_have_taken_effect(), "{error}");
    assert_eq!(look(&provider, &group).await.unwrap().desired, Some(3));
}

#[tokio::test]
async fn names_that_are_none_are_refused_without_a_call() {
    let stand = Stand::new().await;
    let provider = stand.provider(LONG).await;
    let asks = ["web", "projects/p/zones/z/instanceGroupManagers/web", "zones/europe-west1-b/../x"].map(Ask::new);
    assert!(observe(&provider, &asks).await.iter().all(|answer| *answer == Err("invalid")));
    assert_eq!(provider.raise(&target(&"web".into(), 1, 1), 2).await.unwrap_err().code(), "invalid");
    assert_eq!(stand.wire.server.calls().reads, 0);
    let other = gcp::Settings { project: "another".into(), ..settings(&stand.wire.server.url()) };
    let provider = Gcp::connect(other, owner(), Arc::new(|| Timestamp(0))).await.unwrap();
    let error = look(&provider, &"zones/europe-west1-b/web".into()).await.unwrap_err();
    assert!(error.code() == "invalid" && error.to_string().contains("project: \"another\""), "{error}");
    assert_ne!(PROJECT, "another");
}
