//! What is not known must not look known, and must not stay unknown for longer than it has to.
#![allow(clippy::unwrap_used, dead_code, reason = "a test; and not every test needs all of the stand")]

mod stand;

use contract::{Ask, FailureKind, Foreign, GroupId, InstanceState, Observation, Provider, ProviderError, Scope};
use gcp::{Deadlines, Gcp};
use serde_json::{Value, json};
use sim::{Fault as Trouble, Script};
use sim_cloud::{Fault, Kind, Reply, Request};
use stand::{Bent, Ear, LONG, SHORT, Stand, look, target};
use std::time::Duration;

fn is_autoscaler(request: &Request) -> bool {
    request.path.contains("/autoscalers/")
}

fn is_list(request: &Request) -> bool {
    request.path.ends_with("/instanceGroupManagers")
}

fn refusal(status: u16, reason: &str) -> Reply {
    let errors = json!([{ "message": "as the test says", "domain": "global", "reason": reason }]);
    Reply::json(status, &json!({ "error": { "code": status, "message": "as the test says", "errors": errors } }))
}

/// Groups that each have an autoscaler of their own.
fn scaled(stand: &Stand, count: usize) -> Vec<GroupId> {
    let one = |i: usize| {
        let name = format!("web-{i:02}");
        let group = stand.group(&name, 2);
        let scaler = Foreign { name: format!("autoscaler {name}-s").into(), removes: Some(true) };
        assert!(stand.wire.cloud.set_foreign(&name.as_str().into(), vec![scaler]));
        group
    };
    (0..count).map(one).collect()
}

/// What is shown of the autoscalers: whether each removes.
async fn removes(provider: &Gcp, groups: &[GroupId]) -> Vec<Option<bool>> {
    let asks: Vec<Ask> = groups.iter().map(|group| Ask::new(group.as_str())).collect();
    let answers = provider.observe(&asks).await;
    let seen: Vec<Observation> = answers.into_iter().map(Result::unwrap).collect();
    seen.iter().map(|seen| seen.foreign.iter().map(|foreign| foreign.removes).next().unwrap()).collect()
}

fn autoscalers_read(server: &sim_cloud::Server) -> usize {
    server.exchanges().iter().filter(|exchange| exchange.path.contains("/autoscalers/")).count()
}

#[tokio::test]
async fn every_unknown_autoscaler_is_read_at_the_first_look() {
    let stand = Stand::new().await;
    let groups = scaled(&stand, 40);
    let provider = stand.provider(LONG).await;
    assert_eq!(removes(&provider, &groups).await, [Some(true); 40]);
}

#[tokio::test]
async fn an_autoscaler_that_could_not_be_read_is_read_at_the_next_look_and_the_reason_is_said_once() {
    let stand = Stand::new().await;
    let groups = scaled(&stand, 3);
    let (api, server) = Bent::over(&stand).await;
    let provider = stand.provider_at(&server, LONG).await;
    let ear = Ear::default();
    let _heard = tracing::subscriber::set_default(ear.clone());
    api.bend(|request, reply| if is_autoscaler(request) { refusal(503, "backendError") } else { reply });
    for said in [1, 0] {
        assert_eq!(removes(&provider, &groups).await, [None; 3], "what cannot be read may remove");
        let heard = ear.take();
        assert_eq!(heard.len(), said, "{heard:?}");
        assert!(heard.iter().all(|line| line.contains("groups=3") && line.contains("backendError")), "{heard:?}");
    }
    api.bend(|request, reply| if is_autoscaler(request) { refusal(403, "forbidden") } else { reply });
    assert_eq!(removes(&provider, &groups).await, [None; 3]);
    let heard = ear.take();
    assert!(heard.len() == 1 && heard[0].contains("compute.autoscalers.get"), "another trouble: {heard:?}");
    // A refusal holds for longer than a look.
    let read = autoscalers_read(&server);
    assert_eq!(removes(&provider, &groups).await, [None; 3]);
    assert_eq!((autoscalers_read(&server), ear.take()), (read, Vec::new()));
    // And one that is back at once is known at once.
    let provider = stand.provider_at(&server, LONG).await;
    api.bend(|request, reply| if is_autoscaler(request) { refusal(503, "backendError") } else { reply });
    assert_eq!(removes(&provider, &groups).await, [None; 3]);
    api.bend(|_, reply| reply);
    assert_eq!(removes(&provider, &groups).await, [Some(true); 3]);
    // What is known and is not read again stays known.
    api.bend(|request, reply| if is_autoscaler(request) { refusal(503, "backendError") } else { reply });
    assert_eq!(removes(&provider, &groups).await, [Some(true); 3]);
}

#[tokio::test]
async fn autoscalers_that_hang_do_not_keep_the_others_unknown() {
    let stand = Stand::new().await;
    let groups = scaled(&stand, 20);
    let (api, server) = Bent::over(&stand).await;
    let provider = stand.provider_at(&server, Deadlines { read: Duration::from_secs(3), ..SHORT }).await;
    // As many as are asked at once.
    api.set_apart(|request| is_autoscaler(request) && (0..16).any(|i| request.path.ends_with(&format!("-{i:02}-s"))));
    server.inject(Kind::Write, Fault::Hang { effect: false });
    removes(&provider, &groups).await;
    let known = removes(&provider, &groups).await;
    let expected: Vec<Option<bool>> = (0..20).map(|i| (i >= 16).then_some(true)).collect();
    assert_eq!(known, expected);
}

#[tokio::test]
async fn an_autoscaler_that_is_being_deleted_is_a_conflict() {
    let stand = Stand::new().await;
    let groups = scaled(&stand, 1);
    let (api, server) = Bent::over(&stand).await;
    let provider = stand.provider_at(&server, LONG).await;
    assert_eq!(removes(&provider, &groups).await, [Some(true)]);
    api.bend(|request, reply| if is_autoscaler(request) { refusal(404, "notFound") } else { reply });
    let refused = provider.raise(&target(&groups[0], 1, 2), 3).await.unwrap_err();
    assert!(matches!(refused, ProviderError::Conflict { .. }), "the group is there: {refused}");
}

/// Leaves out of a group's instances those that this says.
fn without(reply: &Reply, gone: impl Fn(usize, &Value) -> bool) -> Reply {
    let mut body = reply.to_json();
    let all = body["managedInstances"].as_array().cloned().unwrap_or_default();
    let left = all.into_iter().enumerate().filter(|(index, one)| !gone(*index, one)).map(|(_, one)| one);
    body["managedInstances"] = left.collect();
    reply.clone().with_json(&body)
}

fn is_members(request: &Request) -> bool {
    request.path.ends_with("/listManagedInstances")
}

/// No machines from now on, and four more are asked for than the two that are there.
async fn starve(stand: &Stand, provider: &Gcp, name: &str) -> GroupId {
    let group = stand.group(name, 2);
    look(provider, &group).await.unwrap();
    stand.wire.cloud.inject(Script { group: Some(name.into()), ..Script::new(Trouble::OutOfCapacity) });
    provider.raise(&target(&group, 1, 2), 6).await.unwrap();
    stand.wire.clock.pass(Duration::from_secs(40));
    group
}

#[tokio::test]
async fn a_list_that_lacks_a_machine_is_unknown_and_one_that_lacks_what_comes_is_not() {
    let stand = Stand::new().await;
    let (api, server) = Bent::over(&stand).await;
    let provider = stand.provider_at(&server, LONG).await;
    let group = starve(&stand, &provider, "web-1").await;
    api.bend(|request, reply| match is_members(request) {
        true => without(&reply, |index, _| index == 0),
        false => reply,
    });
    let error = look(&provider, &group).await.unwrap_err();
    assert!(matches!(error, ProviderError::Transport { .. }), "{error}");
    let named = ["europe-west1-b/x".into()];
    for refused in [
        provider.cancel_unfilled(&target(&group, 2, 6), 4).await,
        provider.terminator().unwrap().terminate(&target(&group, 3, 6), &named).await,
    ] {
        assert_eq!(refused.unwrap_err().code(), "transport", "nothing is removed by half a list");
    }
    // As many as are to be made are not listed yet: the group grows, and is seen all the same.
    api.bend(|request, reply| match is_members(request) {
        true => without(&reply, |_, one| one["instanceStatus"].is_null()),
        false => reply,
    });
    let seen = look(&provider, &group).await.unwrap();
    assert_eq!((seen.desired, seen.instances.len(), seen.unfilled()), (Some(6), 2, 4), "{seen:?}");
    // By number the group could take a machine, since it counts six.
    for to in [2, 4] {
        let refused = provider.cancel_unfilled(&target(&group, 4, 6), to).await.unwrap_err();
        assert_eq!(refused.code(), "conflict", "{refused}");
    }
    assert_eq!(stand.wire.cloud.truth(&"web-1".into()).unwrap().desired, Some(6));
    assert_eq!(server.exchanges().iter().filter(|exchange| exchange.path.ends_with("/resize")).count(), 1, "the raise");
}

#[tokio::test]
async fn a_launch_that_fails_before_it_has_a_zone_is_told_of() {
    let stand = Stand::new().await;
    let (api, server) = Bent::over(&stand).await;
    let provider = stand.provider_at(&server, LONG).await;
    let group = starve(&stand, &provider, "web-2").await;
    api.bend(|request, reply| {
        let mut body = reply.to_json();
        for one in body["managedInstances"].as_array_mut().into_iter().flatten() {
            if one["instanceStatus"].is_null() {
                one.as_object_mut().unwrap().remove("instance");
            }
        }
        if is_members(request) { reply.with_json(&body) } else { reply }
    });
    let seen = look(&provider, &group).await.unwrap();
    assert_eq!((seen.instances.len(), seen.unfilled(), seen.launch_failures.len()), (2, 4, 1), "{seen:?}");
    let failure = &seen.launch_failures[0];
    assert_eq!((failure.kind, &failure.scope), (FailureKind::OutOfCapacity, &Scope::Group), "{failure:?}");
    let refused = provider.cancel_unfilled(&target(&group, 2, 6), 3).await.unwrap_err();
    assert!(refused.code() == "conflict" && refused.to_string().contains("zone"), "{refused}");
}

#[tokio::test]
async fn when_the_list_of_the_project_hangs_each_zone_still_has_time() {
    let stand = Stand::new().await;
    let groups = [stand.group("web-1", 2), stand.group("web-2", 2)];
    let asks: Vec<Ask> = groups.iter().map(|group| Ask::new(group.as_str())).collect();
    let (api, server) = Bent::over(&stand).await;
    api.set_apart(|request| request.path.ends_with("/aggregated/instanceGroupManagers"));
    server.inject(Kind::Write, Fault::Hang { effect: false });
    let provider = stand.provider_at(&server, Deadlines { read: Duration::from_secs(4), ..SHORT }).await;
    for answer in provider.observe(&asks).await {
        assert_eq!(answer.unwrap().instances.len(), 2);
    }
    // When all lists hang, what had no time to be asked is unknown for what held it up.
    api.set_apart(is_list);
    let provider = stand.provider_at(&server, SHORT).await;
    let many: Vec<Ask> = (0..12).map(|i| Ask::new(format!("zones/europe-west{i}-b/web").as_str())).collect();
    let answers = provider.observe(&many).await;
    let words: Vec<String> = answers.into_iter().map(|answer| answer.unwrap_err().to_string()).collect();
    let own = words.iter().filter(|words| words.contains("instanceGroupManagers.list:")).count();
    let whole = words.iter().filter(|words| words.contains("instanceGroupManagers.aggregatedList:")).count();
    assert_eq!((own, whole), (8, 4), "{words:?}");
}

#[tokio::test]
async fn an_operation_that_may_not_be_read_is_left_and_that_is_said_once() {
    let stand = Stand::new().await;
    let (api, server) = Bent::over(&stand).await;
    let provider = stand.provider_at(&server, LONG).await;
    let ear = Ear::default();
    let _heard = tracing::subscriber::set_default(ear.clone());
    let permissions = ["compute.zoneOperations.get", "compute.regionOperations.get"];
    for (action, name, permission) in [(10, "web-1", permissions[0]), (20, "web-2", permissions[1])] {
        let group = stand.group(name, 2);
        look(&provider, &group).await.unwrap();
        for (desired, told) in [(2, 1), (3, 0)] {
            let raised =
                provider.raise(&target(&group, action + u128::from(desired), desired), desired + 1).await.unwrap();
            let ask = || Ask { operations: raised.operations.clone(), ..Ask::new(group.as_str()) };
            api.bend(|request, reply| match request.path.contains("/operations/") {
                true => refusal(403, "forbidden"),
                false => reply,
            });
            let asked = || server.exchanges().iter().filter(|one| one.path.contains("/operations/")).count();
            let before = asked();
            for _ in 0..3 {
                let seen = provider.observe(&[ask()]).await.remove(0).unwrap();
                let pending = seen.instances.iter().filter(|i| i.state == InstanceState::Pending).count();
                assert_eq!((seen.operations.len(), pending), (0, desired as usize - 1), "{seen:?}");
            }
            assert_eq!(asked() - before, 1, "what was refused is not asked for at every look");
            let heard = ear.take();
            assert_eq!(heard.len(), told, "{heard:?}");
            assert!(heard.iter().all(|line| line.contains(permission)), "{heard:?}");
        }
    }
    // An error of the cloud's is none of ours: it goes on, as far as anybody knows.
    let group = GroupId::from("zones/europe-west1-b/web-1");
    api.bend(|request, reply| match request.path.contains("/operations/") {
        true => refusal(503, "backendError"),
        false => reply,
    });
    let raised = provider.raise(&target(&group, 9, 4), 5).await.unwrap();
    let ask = Ask { operations: raised.operations, ..Ask::new(group.as_str()) };
    assert_eq!(provider.observe(&[ask]).await.remove(0).unwrap().operations.len(), 1);
}
