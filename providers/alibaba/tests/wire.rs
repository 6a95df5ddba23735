//! What the suite does not show: calls counted, credentials for a time, steps, activities over a restart, and answers that
//! only ESS can give.
#![allow(clippy::unwrap_used, reason = "a test")]

mod stand;

use alibaba::Alibaba;
use contract::{Ask, FailureKind, GroupId, InstanceState, Owner, Provider, ProviderError, Scope, Suspended, Timestamp};
use serde_json::{Value, json};
use sim_cloud::alibaba::REGION;
use sim_cloud::fixture::Clock;
use sim_cloud::untrusted::Untrusted;
use stand::{KEYS, Stand, action, on, provider, settings, target};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn count(stand: &Stand, name: &str) -> usize {
    stand.wire.server.exchanges().iter().filter(|exchange| asked(exchange) == name).count()
}

fn asked(exchange: &sim_cloud::Exchange) -> &str {
    let action = exchange.headers.iter().find(|(name, _)| name == "x-acs-action");
    action.map(|(_, value)| value.as_str()).unwrap_or_default()
}

async fn quiet_calls(groups: u32) -> u64 {
    let stand = Stand::new().await;
    let ids: Vec<GroupId> = (0..groups).map(|index| stand.group(&format!("g{index}"), 1)).collect();
    let asks: Vec<Ask> = ids.iter().map(|id| Ask::new(id.as_str())).collect();
    // The first looks read what is in the groups, and who else controls them.
    let stand_by = stand.provider.observe(&asks).await;
    assert!(stand_by.iter().all(Result::is_ok), "{:?}", stand_by.iter().find(|answer| answer.is_err()));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = stand.wire.server.calls();
    let seen = stand.provider.observe(&asks).await;
    assert!(seen.iter().all(|seen| seen.as_ref().unwrap().instances.len() == 1));
    assert!(seen.iter().all(|seen| seen.as_ref().unwrap().foreign.is_empty()));
    let after = stand.wire.server.calls();
    assert_eq!((before.writes, before.others), (after.writes, after.others));
    after.reads - before.reads
}

#[tokio::test]
async fn quiet_groups_cost_one_call_for_fifty() {
    assert_eq!(quiet_calls(1).await, 1);
    assert_eq!(quiet_calls(100).await, 2);
    assert_eq!(quiet_calls(1_000).await, 20);
}

#[tokio::test]
async fn only_a_group_that_moves_is_looked_into() {
    let stand = Stand::new().await;
    let ids = [stand.group("a", 2), stand.group("b", 2)];
    let asks = ids.clone().map(|id| Ask::new(id.as_str()));
    stand.provider.observe(&asks).await;
    let lists = |stand: &Stand| count(stand, "DescribeScalingInstances");
    let before = lists(&stand);
    assert!(stand.wire.cloud.set_desired(&"b".into(), 3));
    for (passed, expected) in [(0, 1), (1, 2)] {
        stand.wire.clock.pass(MINUTE * passed);
        let seen = stand.provider.observe(&asks).await;
        assert_eq!(seen[1].as_ref().unwrap().instances.len(), 3);
        assert_eq!(lists(&stand) - before, expected, "after {passed} min");
    }
    // It has booted: quiet again.
    stand.provider.observe(&asks).await;
    assert_eq!(lists(&stand) - before, 2);
    // One dies and another comes: pending is counted, so it is seen.
    let victim = stand.wire.cloud.truth(&"a".into()).unwrap().instances[0].id.clone();
    assert!(stand.wire.cloud.kill(&"a".into(), &victim));
    let seen = stand.provider.observe(&asks).await.remove(0).unwrap();
    assert!(seen.instances.iter().all(|instance| instance.id != victim), "{seen:?}");
}

#[tokio::test]
async fn a_slow_answer_is_stamped_before_it() {
    let clock = Clock::at(Timestamp::from_secs(1_700_000_000));
    let passing = clock.clone();
    let stand = Stand::bent_at(clock, move |_, reply| {
        passing.pass(Duration::from_secs(1));
        reply
    })
    .await;
    let id = stand.group("web", 1);
    let asked = stand.wire.clock.now();
    assert_eq!(stand.look(&id).await.unwrap().at, asked);
    assert!(stand.wire.clock.now() > asked);
}

#[tokio::test]
async fn a_group_answers_to_its_id_and_its_name() {
    let stand = Stand::new().await;
    let id = stand.group("web", 3);
    let asks = [
        Ask::new("web"),
        Ask::new(id.as_str()),
        Ask::new("nobody"),
        Ask::new(""),
        Ask::new("asg-00000000000000000000"),
    ];
    let answers = stand.provider.observe(&asks).await;
    let codes: Vec<_> =
        answers.iter().map(|answer| answer.as_ref().map_err(ProviderError::code).map(|s| s.desired)).collect();
    assert_eq!(codes, [Ok(Some(3)), Ok(Some(3)), Err("not_found"), Err("invalid"), Err("not_found")]);
    let by_name = stand.raise(&"web".into(), 3, 4).await.unwrap();
    assert_eq!(by_name.operations.len(), 1);
    assert_eq!(stand.look(&id).await.unwrap().desired, Some(4));
}

#[tokio::test]
async fn a_raise_of_more_than_a_thousand_goes_in_steps() {
    let stand = Stand::new().await;
    let id = stand.group("web", 5);
    let accepted = stand.raise(&id, 5, 1_500).await.unwrap();
    assert_eq!(accepted.operations.len(), 2);
    assert_eq!(stand.wire.cloud.truth(&"web".into()).unwrap().desired, Some(1_500));
    let asked: Vec<String> = stand
        .wire
        .server
        .exchanges()
        .iter()
        .filter(|e| asked(e) == "ScaleWithAdjustment")
        .map(|e| e.query.iter().find(|(key, _)| key == "AdjustmentValue").unwrap().1.clone())
        .collect();
    assert_eq!(asked, ["1005", "1500"]);
    let seen = stand.look(&id).await.unwrap();
    assert_eq!(seen.instances.len(), 1_500);
    let most = stand.raise(&id, 1_500, 2_001).await.unwrap_err();
    assert_eq!(most.code(), "invalid");
}

#[tokio::test]
async fn operations_are_followed_over_a_restart() {
    let stand = Stand::new().await;
    let id = stand.group("web", 4);
    let seen = stand.look(&id).await.unwrap();
    let named = [seen.instances[0].id.clone(), seen.instances[2].id.clone()];
    let target = target(&id, 4);
    let accepted = stand.provider.terminator().unwrap().terminate(&target, &named).await.unwrap();
    assert_eq!(accepted.operations.len(), 1);
    // Another process, which knows what the store knows.
    let restarted = provider(&stand.wire.server.url(), &stand.wire.clock, KEYS);
    let ask =
        Ask { open_actions: vec![target.action], operations: accepted.operations.clone(), ..Ask::new(id.as_str()) };
    let seen = restarted.observe(std::slice::from_ref(&ask)).await.remove(0).unwrap();
    let open: Vec<_> = seen.operations.iter().map(|open| (open.name.clone(), open.action)).collect();
    assert_eq!(open, [(accepted.operations[0].clone(), Some(target.action))]);
    stand.wire.clock.pass(MINUTE * 3);
    let seen = restarted.observe(std::slice::from_ref(&ask)).await.remove(0).unwrap();
    assert_eq!(seen.operations, vec![]);
    // One that ESS knows nothing of is over; one that nobody can ask about is not.
    let mut unknown = ask.clone();
    unknown.operations = vec!["asa-nobody".into()];
    assert_eq!(restarted.observe(&[unknown]).await.remove(0).unwrap().operations, vec![]);
}

#[tokio::test]
async fn what_cannot_be_followed_goes_on() {
    let stand =
        Stand::bent(
            |request, reply| {
                if action(request) == "DescribeScalingActivities" { sim_cloud::Reply::empty(500) } else { reply }
            },
        )
        .await;
    let id = stand.group("web", 2);
    let mut ask = Ask::new(id.as_str());
    ask.operations = vec!["asa-1".into()];
    let seen = stand.ask(ask).await.unwrap();
    assert_eq!(seen.operations.len(), 1);
    assert_eq!(seen.operations[0].action, None);
}

#[tokio::test]
async fn the_same_action_twice_is_one_even_without_the_fence() {
    let stand = Stand::new().await;
    let id = stand.group("web", 2);
    let accepted = stand.raise(&id, 2, 4).await.unwrap();
    // A person undoes it; the same action, from the same view, is the same call, and is answered as it was.
    assert!(stand.wire.cloud.set_desired(&"web".into(), 2));
    assert_eq!(stand.raise(&id, 2, 4).await.unwrap(), accepted);
    assert_eq!(stand.wire.cloud.truth(&"web".into()).unwrap().desired, Some(2));
}

#[tokio::test]
async fn a_failed_launch_is_data_with_its_kind_and_zone() {
    let stand = Stand::over(sim::Settings { quota: Some(3), ..sim::Settings::default() }).await;
    let id = stand.group("web", 3);
    stand.look(&id).await.unwrap();
    stand.raise(&id, 3, 5).await.unwrap();
    let seen = stand.look(&id).await.unwrap();
    assert_eq!(seen.launch_failures[0].kind, FailureKind::QuotaExceeded, "{seen:?}");
    assert_eq!(seen.unfilled(), 2);

    let stand = Stand::new().await;
    let id = stand.group("web", 3);
    stand.wire.cloud.inject(sim::Script { zone: Some("a".into()), ..sim::Script::new(sim::Fault::OutOfCapacity) });
    stand.raise(&id, 3, 5).await.unwrap();
    let seen = stand.look(&id).await.unwrap();
    let failure = &seen.launch_failures[0];
    assert_eq!(
        (failure.kind, &failure.scope),
        (FailureKind::OutOfCapacity, &Scope::Zone(format!("{REGION}-a").into()))
    );
}

#[tokio::test]
async fn an_instance_behind_a_launch_hook_is_pending() {
    let stand = Stand::new().await;
    let id = stand.group("web", 1);
    stand.api.hook(&"web".into(), MINUTE * 5);
    stand.wire.clock.pass(MINUTE * 10);
    stand.raise(&id, 1, 2).await.unwrap();
    let states = async || {
        let seen = stand.look(&id).await.unwrap();
        let running = seen.instances.iter().filter(|instance| instance.state == InstanceState::Running).count();
        (running, seen.instances.len())
    };
    stand.wire.clock.pass(MINUTE * 2);
    assert_eq!(states().await, (1, 2), "booted, and held back");
    stand.wire.clock.pass(MINUTE * 5);
    assert_eq!(states().await, (2, 2));
}

#[tokio::test]
async fn an_instance_behind_a_removal_hook_is_gone_already() {
    let stand = Stand::new().await;
    let id = stand.group("web", 3);
    assert!(stand.wire.cloud.set_drain(&"web".into(), MINUTE * 5));
    let named = [stand.look(&id).await.unwrap().instances[0].id.clone()];
    let terminator = stand.provider.terminator().unwrap();
    terminator.terminate(&target(&id, 3), &named).await.unwrap();
    stand.wire.clock.pass(MINUTE * 4);
    let seen = stand.look(&id).await.unwrap();
    let shown = stand.wire.server.exchanges();
    assert!(shown.iter().any(|exchange| exchange.reply.contains("Removing:Wait")), "it drains");
    let left = seen.instances.iter().find(|instance| instance.id == named[0]).unwrap();
    assert_eq!((left.state, seen.desired, seen.unfilled()), (InstanceState::Terminating, Some(2), 0));
    assert_eq!(seen.alive().count(), 2);
    // Named again, it is passed over, and desired stays.
    let accepted = terminator.terminate(&target(&id, 2), &named).await.unwrap();
    assert_eq!((&accepted.skipped[..], accepted.operations.len()), (&named[..], 0));
    stand.wire.clock.pass(MINUTE * 2);
    let seen = stand.look(&id).await.unwrap();
    assert_eq!((seen.instances.len(), seen.desired), (2, Some(2)));
}

#[tokio::test]
async fn a_refresh_stops_terminations() {
    let stand = Stand::new().await;
    let id = stand.group("web", 3);
    let seen = stand.look(&id).await.unwrap();
    assert!(stand.wire.cloud.set_suspended(&"web".into(), vec![Suspended::Refresh]));
    let named = [seen.instances[0].id.clone()];
    let refused = stand.provider.terminator().unwrap().terminate(&target(&id, 3), &named).await.unwrap_err();
    assert!(refused.code() == "conflict" && refused.to_string().contains("InProgress"), "{refused}");
    assert!(stand.look(&id).await.unwrap().suspended.contains(&Suspended::Refresh));
}

#[tokio::test]
async fn only_an_endpoint_without_refreshes_is_not_asked_for_them() {
    for (code, waits) in [("InvalidParameter.Odd", true), ("InvalidAction.NotFound", false)] {
        let asked = AtomicUsize::new(0);
        let stand = Stand::bent(move |request, reply| {
            if action(request) == "DescribeInstanceRefreshes" && asked.fetch_add(1, Ordering::Relaxed) == 0 {
                return sim_cloud::Reply::json(400, &json!({ "Code": code, "Message": "no" }));
            }
            reply
        })
        .await;
        let id = stand.group("web", 3);
        let seen = stand.look(&id).await.unwrap();
        assert!(stand.wire.cloud.set_suspended(&"web".into(), vec![Suspended::Refresh]));
        let named = [seen.instances[0].id.clone()];
        let terminate = async || stand.provider.terminator().unwrap().terminate(&target(&id, 3), &named).await;
        // An odd refusal stops this write, and the next one asks again; who has no refreshes cannot run one.
        let first = terminate().await.map_err(|error| error.code()).map(|_| ());
        assert_eq!(first, if waits { Err("invalid") } else { Ok(()) }, "{code}");
        if waits {
            let refused = terminate().await.unwrap_err();
            assert!(refused.code() == "conflict" && refused.to_string().contains("InProgress"), "{refused}");
        }
        assert_eq!(count(&stand, "RemoveInstances"), usize::from(!waits), "{code}");
    }
}

#[tokio::test]
async fn a_second_removal_that_is_refused_is_left_for_the_next_plan() {
    let stand = Stand::new().await;
    stand.api.allow_one_removal();
    let id = stand.group("web", 50);
    let all: Vec<_> = stand.look(&id).await.unwrap().instances.into_iter().map(|instance| instance.id).collect();
    let accepted = stand.provider.terminator().unwrap().terminate(&target(&id, 50), &all[..45]).await.unwrap();
    assert_eq!((accepted.operations.len(), &accepted.skipped[..]), (1, &all[20..45]));
    assert_eq!(stand.wire.cloud.truth(&"web".into()).unwrap().desired, Some(30));
    // What the first call could not take is an error as before.
    let refused = stand.provider.terminator().unwrap().terminate(&target(&id, 30), &all[20..45]).await.unwrap_err();
    assert_eq!(refused.code(), "conflict", "{refused}");
}

#[tokio::test]
async fn a_list_that_the_groups_own_counts_contradict_is_not_believed() {
    const ALL: usize = usize::MAX;
    let shown = Arc::new(AtomicUsize::new(ALL));
    let most = Arc::clone(&shown);
    let stand = Stand::bent(on("DescribeScalingInstances", move |body| {
        let instances = body["ScalingInstances"].as_array_mut().unwrap();
        instances.truncate(most.load(Ordering::Relaxed));
        body["TotalCount"] = json!(instances.len());
    }))
    .await;
    let id = stand.group("web", 3);
    shown.store(0, Ordering::Relaxed);
    let unknown = stand.look(&id).await.unwrap_err();
    assert!(unknown.code() == "transport" && unknown.to_string().contains("counts 3"), "{unknown}");
    // Three serve, whatever the list says: desired stays above them.
    let refused = stand.provider.cancel_unfilled(&target(&id, 3), 1).await.unwrap_err();
    assert_eq!(refused.code(), "conflict", "{refused}");
    assert_eq!(stand.wire.cloud.truth(&"web".into()).unwrap().desired, Some(3));
    // It was not kept.
    shown.store(ALL, Ordering::Relaxed);
    assert_eq!(stand.look(&id).await.unwrap().instances.len(), 3);
    // While some boot, the list may lag behind the counts.
    assert!(stand.wire.cloud.set_desired(&"web".into(), 5));
    shown.store(3, Ordering::Relaxed);
    assert_eq!(stand.look(&id).await.unwrap().instances.len(), 3);
    shown.store(ALL, Ordering::Relaxed);
    assert_eq!(stand.look(&id).await.unwrap().instances.len(), 5);
}

#[tokio::test]
async fn a_name_that_looks_like_an_id_is_found() {
    let stand = Stand::new().await;
    let name = GroupId::from("asg-paymentsprod");
    stand.group(name.as_str(), 2);
    assert_eq!(stand.look(&name).await.unwrap().desired, Some(2));
    stand.raise(&name, 2, 3).await.unwrap();
    assert_eq!(stand.look(&name).await.unwrap().desired, Some(3));
    assert_eq!(stand.look(&"asg-paymentstest".into()).await.unwrap_err().code(), "not_found");
}

#[tokio::test]
async fn a_clock_that_is_off_is_said_to_be() {
    let stand = Stand::new().await;
    let id = stand.group("web", 1);
    let code = async |ahead: Duration| {
        let clock = Clock::at(stand.wire.clock.now().after(ahead));
        let off = provider(&stand.wire.server.url(), &clock, KEYS);
        off.observe(&[Ask::new(id.as_str())]).await.remove(0).map(|seen| seen.desired)
    };
    // The gateway takes what is within 15 minutes of its own time, so ten are not refused.
    assert_eq!(code(MINUTE * 10).await.unwrap(), Some(1));
    let refused = code(MINUTE * 16).await.unwrap_err();
    assert!(refused.code() == "expired" && refused.to_string().contains("clock"), "{refused}");
}

#[tokio::test]
async fn a_wrong_secret_and_a_wrong_key_are_denied() {
    const WRONG: &[(&str, &str)] = &[KEYS[0], ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "guessed")];
    const NOBODY: &[(&str, &str)] = &[("ALIBABA_CLOUD_ACCESS_KEY_ID", "nobody"), KEYS[1]];
    let stand = Stand::new().await;
    let id = stand.group("web", 1);
    for (keys, words) in [(WRONG, "SignatureDoesNotMatch"), (NOBODY, "InvalidAccessKeyId")] {
        let provider = provider(&stand.wire.server.url(), &stand.wire.clock, keys);
        let denied = provider.observe(&[Ask::new(id.as_str())]).await.remove(0).unwrap_err();
        assert!(denied.code() == "denied" && denied.to_string().contains(words), "{denied}");
        assert!(!denied.to_string().contains("guessed"));
    }
}

#[tokio::test]
async fn an_instances_role_is_renewed_ahead_of_its_end_and_after_a_refusal() {
    let stand = Stand::new().await;
    let id = stand.group("web", 1);
    let provider = provider(&stand.wire.server.url(), &stand.wire.clock, &[]);
    let look = async || provider.observe(&[Ask::new(id.as_str())]).await.remove(0).map(|seen| seen.desired);
    let others = || stand.wire.server.calls().others;
    assert_eq!(look().await.unwrap(), Some(1));
    let first = others();
    assert_eq!(first, 3, "a token, the role's name, its credentials");
    stand.wire.clock.pass(MINUTE * 54);
    assert_eq!(look().await.unwrap(), Some(1));
    assert_eq!(others(), first, "six minutes are left");
    stand.wire.clock.pass(MINUTE * 2);
    assert_eq!(look().await.unwrap(), Some(1));
    assert_eq!(others(), 2 * first, "renewed ahead");
    // Ended before their time, in the middle of an operation: said, and the next call has new ones.
    stand.api.end_sessions(stand.wire.clock.now());
    assert_eq!(look().await.unwrap_err().code(), "expired");
    assert_eq!(look().await.unwrap(), Some(1));
    let refused = provider.raise(&target(&id, 1), 2).await;
    assert!(refused.is_ok(), "{refused:?}");
}

#[tokio::test]
async fn a_workload_identity_assumes_its_role() {
    let stand = Stand::new().await;
    let id = stand.group("web", 1);
    let file = std::env::temp_dir().join(format!("skala-oidc-{}", std::process::id()));
    let look = async |role: &'static str, token: &str| {
        std::fs::write(&file, token).unwrap();
        let path = file.to_str().unwrap().to_owned();
        let environment = move |name: &str| match name {
            "ALIBABA_CLOUD_ROLE_ARN" => Some(role.to_owned()),
            "ALIBABA_CLOUD_OIDC_PROVIDER_ARN" => Some("acs:ram::1:oidc-provider/ack".to_owned()),
            "ALIBABA_CLOUD_OIDC_TOKEN_FILE" => Some(path.clone()),
            _ => None,
        };
        let owner = Owner { id: "skala-1".into() };
        let provider =
            Alibaba::within(settings(&stand.wire.server.url()), owner, stand.wire.clock.reader(), environment).unwrap();
        provider.observe(&[Ask::new(id.as_str())]).await.remove(0).map(|seen| seen.desired)
    };
    assert_eq!(look("acs:ram::1:role/skala", "a-token").await.unwrap(), Some(1));
    assert_eq!(look("acs:ram::1:role/skala", "an-expired-token").await.unwrap_err().code(), "expired");
    assert_eq!(look("acs:ram::1:role/other", "a-token").await.unwrap_err().code(), "denied");
    std::fs::remove_file(&file).unwrap();
    let exchanges = stand.wire.server.exchanges();
    assert!(exchanges.iter().all(|e| e.query.iter().all(|(_, value)| !value.contains("token"))), "a token in a query");
}

#[tokio::test]
async fn a_certificate_that_does_not_match_is_not_trusted() {
    let stand = Stand::new().await;
    let id = stand.group("web", 1);
    let untrusted = Untrusted::start(Arc::clone(&stand.api) as Arc<dyn sim_cloud::Api>).await;
    let provider = provider(&untrusted.url, &stand.wire.clock, KEYS);
    let error = provider.observe(&[Ask::new(id.as_str())]).await.remove(0).unwrap_err();
    assert!(error.code() == "transport" && error.to_string().contains("certificate"), "{error}");
    let error = provider.raise(&target(&id, 1), 2).await.unwrap_err();
    assert_eq!(error.code(), "transport", "{error}");
}

async fn bent_look(name: &'static str, bend: impl Fn(&mut Value) + Send + Sync + 'static) -> ProviderError {
    let stand = Stand::bent(on(name, bend)).await;
    let id = stand.group("web", 3);
    stand.look(&id).await.unwrap_err()
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_unknown_and_never_empty() {
    const GROUPS: &str = "DescribeScalingGroups";
    const INSTANCES: &str = "DescribeScalingInstances";
    for (list, of) in [(GROUPS, "ScalingGroups"), (INSTANCES, "ScalingInstances")] {
        // An empty page of a list that is not empty; a list without its number; a number without a list.
        assert_eq!(bent_look(list, move |body| body[of] = json!([])).await.code(), "transport");
        assert_eq!(bent_look(list, |body| body["TotalCount"] = Value::Null).await.code(), "transport");
        assert_eq!(bent_look(list, |body| body["TotalCount"] = json!(-1)).await.code(), "transport");
        assert_eq!(bent_look(list, move |body| body[of] = Value::Null).await.code(), "transport");
        assert_eq!(bent_look(list, move |body| body[of] = json!("three")).await.code(), "transport");
    }
    let first = |body: &mut Value, key: &str, value: Value| body["ScalingGroups"][0][key] = value;
    assert_eq!(bent_look(GROUPS, move |body| first(body, "DesiredCapacity", json!(1e30))).await.code(), "transport");
    assert_eq!(bent_look(GROUPS, move |body| first(body, "ScalingGroupId", Value::Null)).await.code(), "transport");
    assert_eq!(
        bent_look(GROUPS, move |body| first(body, "LifecycleState", json!("Deleting"))).await.code(),
        "not_found"
    );
    let off = bent_look(GROUPS, move |body| first(body, "EnableDesiredCapacity", json!(false))).await;
    assert!(off.code() == "invalid" && off.to_string().contains("DesiredCapacity"), "{off}");
    let nameless = bent_look(INSTANCES, |body| body["ScalingInstances"][0]["InstanceId"] = Value::Null).await;
    assert_eq!(nameless.code(), "transport");
}

#[tokio::test]
async fn an_endpoint_that_lists_one_group_at_a_time_is_asked_so() {
    let stand = Stand::bent(|request, reply| {
        if action(request) == "DescribeScalingInstances" && request.param("ScalingGroupId").is_none() {
            return sim_cloud::Reply::json(400, &json!({ "Code": "MissingParameter", "Message": "ScalingGroupId" }));
        }
        reply
    })
    .await;
    let ids = [stand.group("a", 2), stand.group("b", 3)];
    let asks = ids.clone().map(|id| Ask::new(id.as_str()));
    for (index, held) in [2, 3].into_iter().enumerate() {
        let seen = stand.provider.observe(&asks).await.remove(index).unwrap();
        assert_eq!(seen.instances.len(), held);
    }
    // Found out once, then each group once, and nothing more while they are quiet.
    assert_eq!(count(&stand, "DescribeScalingInstances"), 3);
}

#[tokio::test]
async fn controllers_that_cannot_be_listed_are_unknown_and_stop_writes() {
    let stand = Stand::bent(
        |request, reply| {
            if action(request) == "DescribeAlarms" { sim_cloud::Reply::empty(503) } else { reply }
        },
    )
    .await;
    let id = stand.group("web", 1);
    let seen = stand.look(&id).await.unwrap();
    assert!(seen.foreign.iter().any(|foreign| foreign.removes.is_none()), "{:?}", seen.foreign);
    assert_eq!(stand.raise(&id, 1, 2).await.unwrap_err().code(), "transport");
    assert_eq!(stand.wire.cloud.truth(&"web".into()).unwrap().desired, Some(1));
}

#[tokio::test]
async fn a_group_that_is_disabled_or_stopped_takes_no_write() {
    for (key, value) in [("LifecycleState", json!("Inactive")), ("SystemSuspended", json!(true))] {
        let bend = move |body: &mut Value| body["ScalingGroups"][0][key] = value.clone();
        let stand = Stand::bent(on("DescribeScalingGroups", bend)).await;
        let id = stand.group("web", 2);
        assert!(stand.look(&id).await.unwrap().suspended.contains(&Suspended::Launch), "{key}");
        assert_eq!(stand.raise(&id, 2, 3).await.unwrap_err().code(), "conflict", "{key}");
    }
}
