//! Against a real OpenStack: keystone, nova with its fake hypervisor, neutron. `tests/openstack/up` starts one and prints
//! what `SKALA_OPENSTACK_RC` is to be; without that variable nothing here runs, and each test says so.
//!
//! What skala may do there is limited to [`openstack::permissions`]. The tests take turns, for some take hosts away.

// A test that cannot go on stops; and not every test needs all of the stand.
#![allow(clippy::unwrap_used, clippy::print_stderr, dead_code)]

mod real_cloud;
mod stand;

use contract::{
    ActionId, Ask, Epoch, FailureKind, InstanceId, InstanceState, Observation, Provider, Scope, Target, Timestamp,
    Version,
};
use openstack::{Deadlines, Template};
use real_cloud::{Calls, RealCloud};
use reqwest::Method;
use serde_json::{Value, json};
use stand::NOT_OF_TAGS;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

macro_rules! real {
    () => {
        match RealCloud::find().await {
            Some(cloud) => cloud,
            None => return,
        }
    };
}

fn target(group: &str, action: u128) -> Target {
    let seen = Version { desired: None, token: None, at: Timestamp(0) };
    Target { group: group.into(), action: ActionId(action), seen, lease: Epoch(1) }
}

async fn look(provider: &dyn Provider, group: &str) -> Observation {
    provider.observe(&[Ask::new(group)]).await.remove(0).unwrap()
}

fn states(seen: &Observation) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for instance in &seen.instances {
        *count.entry(format!("{:?}", instance.state)).or_default() += 1;
    }
    count
}

fn counted(calls: &Calls, operation: &str, code: &str) -> usize {
    calls.lock().unwrap().iter().filter(|call| **call == (operation, code)).count()
}

fn id(server: &Value) -> &str {
    server["id"].as_str().unwrap()
}

/// Through a relay that breaks what the suite asks it to.
#[tokio::test]
async fn a_real_cloud_holds_the_contract() {
    let mut cloud = real!();
    let relay = format!("{}/identity/v3", cloud.relay.url());
    let (provider, _) = cloud.provider_with(cloud.template(), &[("OS_AUTH_URL", &relay)]);
    // Faults that end by time have to end in this hour.
    let deadlines = Deadlines { read: Duration::from_secs(20), write: Duration::from_secs(30) };
    let provider = provider.with_deadlines(deadlines);
    let report = conformance::run(&provider, &mut cloud).await.unwrap();
    report.assert_not_applicable(NOT_OF_TAGS);
    stand::assert_described(&cloud.relay);
}

#[tokio::test]
async fn a_launch_without_a_host_is_data_and_the_next_write_removes_what_is_left_of_it() {
    let cloud = real!();
    let tag = cloud.new_tag("huge");
    let huge = Template { flavor: cloud.variable("SKALA_TEST_HUGE").into(), ..cloud.template() };
    let (provider, _) = cloud.provider(huge);
    provider.raise(&target(&tag, 1), 2).await.unwrap();
    cloud.rest().await;
    let seen = look(&provider, &tag).await;
    assert_eq!(states(&seen), BTreeMap::from([("Failed".into(), 2)]), "{seen:?}");
    assert_eq!(seen.launch_failures.len(), 2, "{seen:?}");
    for failure in &seen.launch_failures {
        assert_eq!((failure.kind, &failure.scope), (FailureKind::OutOfCapacity, &Scope::Group), "{failure:?}");
        assert!(failure.message.contains("No valid host") && failure.at <= real_cloud::now(), "{failure:?}");
    }
    // An observation changes nothing.
    assert_eq!(cloud.of(&tag).await.len(), 2);

    // Somebody repairs the template, and skala was started anew: it knows them by their tags.
    let (provider, _) = cloud.provider(cloud.template());
    provider.raise(&target(&tag, 2), 2).await.unwrap();
    cloud.rest().await;
    let seen = look(&provider, &tag).await;
    assert_eq!(states(&seen), BTreeMap::from([("Running".into(), 2)]), "{seen:?}");
    assert_eq!(seen.launch_failures.len(), 2, "they are told of for a while: {seen:?}");
    assert_eq!((cloud.of(&tag).await.len(), cloud.ports().await.len()), (2, 2));
    assert!(seen.instances.iter().all(|i| i.running_since.is_some() && i.launched.is_some() && i.zone.is_some()));

    // And what is asked for less than that is withdrawn without a raise.
    let (huge, _) = cloud.provider(Template { flavor: cloud.variable("SKALA_TEST_HUGE").into(), ..cloud.template() });
    huge.raise(&target(&tag, 3), 3).await.unwrap();
    cloud.rest().await;
    assert_eq!(states(&look(&huge, &tag).await)["Failed"], 1);
    huge.cancel_unfilled(&target(&tag, 4), 2).await.unwrap();
    cloud.rest().await;
    assert_eq!(states(&look(&huge, &tag).await), BTreeMap::from([("Running".into(), 2)]));
}

#[tokio::test]
async fn zones_are_filled_evenly_and_one_without_hosts_is_left_out() {
    let cloud = real!();
    let tag = cloud.new_tag("zones");
    let zones = vec!["zone-1".to_owned(), "zone-2".to_owned()];
    let template =
        Template { zones, server_group: Some(cloud.variable("SKALA_TEST_SERVER_GROUP").into()), ..cloud.template() };
    let (provider, _) = cloud.provider(template);
    provider.raise(&target(&tag, 1), 4).await.unwrap();
    cloud.rest().await;
    let in_zone =
        |seen: &Observation, zone: &str| seen.alive().filter(|instance| instance.zone.as_deref() == Some(zone)).count();
    let seen = look(&provider, &tag).await;
    assert_eq!((in_zone(&seen, "zone-1"), in_zone(&seen, "zone-2")), (2, 2), "{seen:?}");

    cloud.set_host("fake-2", "disabled").await;
    provider.raise(&target(&tag, 2), 6).await.unwrap();
    cloud.rest().await;
    let seen = look(&provider, &tag).await;
    assert_eq!((in_zone(&seen, "zone-1"), seen.alive().count()), (3, 5), "{seen:?}");
    let failure = &seen.launch_failures[0];
    assert_eq!(
        (failure.kind, &failure.scope),
        (FailureKind::OutOfCapacity, &Scope::Zone("zone-2".into())),
        "{failure:?}"
    );

    // The zone that has none is asked last, although it is the emptier one.
    provider.raise(&target(&tag, 3), 6).await.unwrap();
    cloud.rest().await;
    let seen = look(&provider, &tag).await;
    assert_eq!((in_zone(&seen, "zone-1"), seen.alive().count()), (4, 6), "{seen:?}");
    assert_eq!(cloud.of(&tag).await.len(), 6);
}

#[tokio::test]
async fn a_server_group_spreads_over_hosts() {
    let cloud = real!();
    let tag = cloud.new_tag("spread");
    let spread = Template { server_group: Some(cloud.variable("SKALA_TEST_SERVER_GROUP").into()), ..cloud.template() };
    let (provider, _) = cloud.provider(spread);
    for (action, to) in [(1, 1), (2, 2), (3, 3), (4, 4)] {
        provider.raise(&target(&tag, action), to).await.unwrap();
        cloud.rest().await;
    }
    let servers = cloud.of(&tag).await;
    let on = |host: &str| servers.iter().filter(|server| server["OS-EXT-SRV-ATTR:host"] == host).count();
    assert_eq!((on("fake-1"), on("fake-2")), (2, 2));
}

#[tokio::test]
async fn a_quota_is_no_permission() {
    let cloud = real!();
    let tag = cloud.new_tag("quota");
    let (provider, _) = cloud.provider(cloud.template());
    cloud.set_quota(2).await;
    // Nova counts before it takes a request, and again when it has made the server: of four at once it may refuse all. Never
    // more than two come, and all others are data.
    provider.raise(&target(&tag, 1), 4).await.unwrap();
    cloud.rest().await;
    let seen = look(&provider, &tag).await;
    let came = u32::try_from(seen.alive().count()).unwrap();
    assert!(came <= 2, "{seen:?}");
    assert_eq!(seen.launch_failures.len(), 4 - came as usize, "{seen:?}");
    let kinds: BTreeSet<String> = seen.launch_failures.iter().map(|f| format!("{:?} {}", f.kind, f.scope)).collect();
    assert_eq!(kinds, BTreeSet::from(["QuotaExceeded region".to_owned()]), "{seen:?}");
    // One at a time comes as long as there is room: what failed is removed before, for it eats of the quota.
    for to in came + 1..=2 {
        provider.raise(&target(&tag, u128::from(to) + 1), to).await.unwrap();
        cloud.rest().await;
        assert_eq!(look(&provider, &tag).await.alive().count(), to as usize);
    }
    // None comes: that is the answer.
    let error = provider.raise(&target(&tag, 8), 4).await.unwrap_err();
    assert!(error.code() == "quota_exceeded" && error.to_string().contains("Quota exceeded for instances"), "{error}");
    cloud.set_quota(-1).await;
    provider.raise(&target(&tag, 9), 4).await.unwrap();
    cloud.rest().await;
    assert_eq!(look(&provider, &tag).await.alive().count(), 4);
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once_and_credentials_that_are_gone_have_expired() {
    let mut cloud = real!();
    let tag = cloud.new_tag("token");
    let (provider, calls) = cloud.provider(cloud.template());
    provider.raise(&target(&tag, 1), 1).await.unwrap();
    // Nova builds with the token of whoever asked, and not without.
    cloud.rest().await;
    assert_eq!(counted(&calls, "authenticate", "ok"), 1);

    // Whoever is switched off has all of his tokens revoked.
    let user = format!("/users/{}", cloud.variable("SKALA_TEST_USER"));
    for enabled in [false, true] {
        let body = json!({ "user": { "enabled": enabled } });
        cloud.ask(true, Method::PATCH, "identity", &user, Some(body)).await;
    }
    cloud.log_in().await;
    // Nova remembers for a second that a token was good.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(look(&provider, &tag).await.alive().count(), 1);
    assert_eq!((counted(&calls, "list_servers", "expired"), counted(&calls, "authenticate", "ok")), (1, 2));
    // In the middle of a write as well.
    for enabled in [false, true] {
        let body = json!({ "user": { "enabled": enabled } });
        cloud.ask(true, Method::PATCH, "identity", &user, Some(body)).await;
    }
    cloud.log_in().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    provider.raise(&target(&tag, 2), 2).await.unwrap();
    cloud.rest().await;
    assert_eq!(cloud.of(&tag).await.len(), 2);

    // A credential of its own, deleted in use.
    let path = format!("{user}/application_credentials");
    let made = cloud
        .ask(false, Method::POST, "identity", &path, Some(json!({ "application_credential": { "name": tag } })))
        .await;
    let made = &made["application_credential"];
    let (name, secret) = (id(made), made["secret"].as_str().unwrap());
    let pairs = [("OS_APPLICATION_CREDENTIAL_ID", name), ("OS_APPLICATION_CREDENTIAL_SECRET", secret)];
    let (provider, _) = cloud.provider_with(cloud.template(), &pairs);
    assert_eq!(look(&provider, &tag).await.alive().count(), 2);
    cloud.ask(false, Method::DELETE, "identity", &format!("{path}/{name}"), None).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let answer = provider.observe(&[Ask::new(&*tag)]).await.remove(0);
    assert_eq!(answer.unwrap_err().code(), "expired");
    let error = provider.raise(&target(&tag, 3), 5).await.unwrap_err();
    assert_eq!(error.code(), "expired");
    assert_eq!(cloud.of(&tag).await.len(), 2);
    // One that never was good.
    let (provider, _) = cloud.provider_with(cloud.template(), &[("OS_APPLICATION_CREDENTIAL_SECRET", "wrong")]);
    let answer = provider.observe(&[Ask::new(&*tag)]).await.remove(0);
    assert_eq!(answer.unwrap_err().code(), "denied");
}

#[tokio::test]
async fn pages_are_followed_and_a_restart_in_a_scale_out_doubles_nothing() {
    let cloud = real!();
    let (tag, other) = (cloud.new_tag("pages"), cloud.new_tag("other"));
    let (provider, calls) = cloud.provider(cloud.template());
    provider.raise(&target(&other, 1), 1).await.unwrap();
    // Pages of 20. Somebody else carries the same action on before anything has booted.
    provider.raise(&target(&tag, 2), 8).await.unwrap();
    let (again, _) = cloud.provider(cloud.template());
    for _ in 0..2 {
        let mut raised = again.raise(&target(&tag, 2), 21).await;
        // While more than a page of them wait for a host nobody can tell which there are: the daemon looks again, too.
        while raised.as_ref().is_err_and(|error| error.to_string().contains("more servers are being made")) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            raised = again.raise(&target(&tag, 2), 21).await;
        }
        raised.unwrap();
    }
    cloud.rest().await;
    calls.lock().unwrap().clear();
    let seen = look(&provider, &tag).await;
    assert_eq!(states(&seen), BTreeMap::from([("Running".into(), 21)]));
    assert_eq!(counted(&calls, "list_servers", "ok"), 2);
    let answers = provider.observe(&[Ask::new(&*other), Ask::new(&*tag)]).await;
    let alive: Vec<usize> = answers.iter().map(|answer| answer.as_ref().unwrap().alive().count()).collect();
    assert_eq!(alive, [1, 21]);
    let launches: BTreeSet<String> =
        cloud.of(&tag).await.iter().map(|s| s["metadata"]["skala_launch"].to_string()).collect();
    assert_eq!(launches.len(), 21);
    // All of them go again, and their ports with them.
    let ids: Vec<InstanceId> = seen.instances.iter().map(|instance| instance.id.clone()).collect();
    let accepted = provider.terminator().unwrap().terminate(&target(&tag, 3), &ids).await.unwrap();
    assert_eq!(accepted.skipped, []);
    cloud.rest().await;
    assert_eq!(cloud.ports().await.len(), 1);
}

#[tokio::test]
async fn a_port_that_outlives_its_server_is_removed_and_anybody_elses_is_not() {
    let cloud = real!();
    let tag = cloud.new_tag("ports");
    let (provider, _) = cloud.provider(cloud.template());
    provider.raise(&target(&tag, 1), 2).await.unwrap();
    cloud.rest().await;
    let seen = look(&provider, &tag).await;
    let gone = seen.instances[0].id.clone();
    let terminator = provider.terminator().unwrap();
    terminator.terminate(&target(&tag, 2), std::slice::from_ref(&gone)).await.unwrap();
    cloud.rest().await;
    assert_eq!(cloud.ports().await.len(), 1);
    // What a broken host would leave behind: one port of Nova's, and one that a person made and named.
    for name in ["", "by-hand"] {
        let port = json!({ "port": {
            "network_id": cloud.variable("SKALA_TEST_NETWORK"), "project_id": cloud.variable("SKALA_TEST_PROJECT"),
            "device_id": gone.as_str(), "device_owner": "compute:nova", "name": name,
        } });
        cloud.ask(true, Method::POST, "network", "/ports", Some(port)).await;
    }
    // Looking changes nothing; the next write does.
    look(&provider, &tag).await;
    assert_eq!(cloud.ports().await.len(), 3);
    provider.raise(&target(&tag, 3), 1).await.unwrap();
    let names: Vec<String> = cloud.ports().await.iter().map(|port| port["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names.iter().filter(|name| *name == "by-hand").count(), 1);
    assert_eq!(names.len(), 2, "{names:?}");
}

#[tokio::test]
async fn a_host_that_dies_leaves_nothing_of_ours_behind() {
    let cloud = real!();
    let tag = cloud.new_tag("host");
    let in_zone_2 = Template { zones: vec!["zone-2".into()], ..cloud.template() };
    let (provider, _) = cloud.provider(in_zone_2);
    provider.raise(&target(&tag, 1), 1).await.unwrap();
    cloud.rest().await;

    // It dies with one server on it; what is launched there until Nova notices stays in building.
    cloud.kill_host(2);
    provider.raise(&target(&tag, 2), 2).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let seen = look(&provider, &tag).await;
    assert_eq!(seen.alive().count() + seen.launch_failures.len(), 2, "{seen:?}");
    cloud.wait_for_host("fake-2", "down").await;
    // Its servers go all the same.
    let seen = look(&provider, &tag).await;
    let ids: Vec<InstanceId> = seen.instances.iter().map(|instance| instance.id.clone()).collect();
    provider.terminator().unwrap().terminate(&target(&tag, 3), &ids).await.unwrap();
    let left = |servers: &[Value]| servers.iter().all(|server| server["tags"].as_array().is_none_or(Vec::is_empty));
    cloud.wait("its servers are gone", left).await;

    // It comes back broken: every build is aborted after its port was made.
    cloud.start_host(2, "FakeBuildAbortDriver");
    cloud.wait_for_host("fake-2", "up").await;
    provider.raise(&target(&tag, 4), 1).await.unwrap();
    cloud.rest().await;
    let seen = look(&provider, &tag).await;
    assert_eq!(states(&seen), BTreeMap::from([("Failed".into(), 1)]), "{seen:?}");
    let aborted = seen.launch_failures.iter().find(|failure| failure.message.contains("aborted")).unwrap();
    assert_eq!(aborted.kind, FailureKind::Other, "{aborted:?}");
    assert!(seen.instances.iter().all(|instance| instance.state == InstanceState::Failed));

    // Repaired, the same group comes up, and nothing is left: no server, no port.
    cloud.kill_host(2);
    cloud.start_host(2, "FakeDriver");
    cloud.wait_for_host("fake-2", "down").await;
    cloud.wait_for_host("fake-2", "up").await;
    provider.raise(&target(&tag, 5), 1).await.unwrap();
    cloud.rest().await;
    let seen = look(&provider, &tag).await;
    assert_eq!(states(&seen), BTreeMap::from([("Running".into(), 1)]), "{seen:?}");
    provider.raise(&target(&tag, 6), 1).await.unwrap();
    assert_eq!((cloud.of(&tag).await.len(), cloud.ports().await.len()), (1, 1));
}

#[tokio::test]
async fn a_person_who_stops_a_server_is_seen_and_one_who_locks_it_is_heeded() {
    let cloud = real!();
    let tag = cloud.new_tag("person");
    let (provider, _) = cloud.provider(cloud.template());
    provider.raise(&target(&tag, 1), 3).await.unwrap();
    cloud.rest().await;
    let servers = cloud.of(&tag).await;
    let act = async |server: &Value, action: Value| {
        let path = format!("/servers/{}/action", id(server));
        cloud.ask(false, Method::POST, "compute", &path, Some(action)).await;
    };
    act(&servers[0], json!({ "os-stop": null })).await;
    act(&servers[1], json!({ "lock": null })).await;
    cloud.rest().await;
    let seen = look(&provider, &tag).await;
    assert_eq!(states(&seen), BTreeMap::from([("Failed".into(), 1), ("Running".into(), 2)]), "{seen:?}");
    // Both are named; the locked one stays.
    let named = [InstanceId::from(id(&servers[0])), InstanceId::from(id(&servers[1]))];
    let accepted = provider.terminator().unwrap().terminate(&target(&tag, 2), &named).await.unwrap();
    assert_eq!(accepted.skipped, named[1..]);
    cloud.rest().await;
    let left: BTreeSet<String> = cloud.of(&tag).await.iter().map(|server| id(server).to_owned()).collect();
    assert_eq!(left, [id(&servers[1]).to_owned(), id(&servers[2]).to_owned()].into());
}

#[tokio::test]
async fn a_request_that_nova_refuses_is_a_wrong_configuration() {
    let cloud = real!();
    let tag = cloud.new_tag("wrong");
    let check = async |template: Template, words: &str| {
        let (provider, _) = cloud.provider(template);
        let error = provider.raise(&target(&tag, 1), 1).await.unwrap_err();
        assert!(error.code() == "invalid" && error.to_string().contains(words), "{}: {error}", error.code());
    };
    let nothing = "00000000-0000-4000-8000-000000000000";
    check(Template { image: nothing.into(), ..cloud.template() }, "image").await;
    check(Template { flavor: nothing.into(), ..cloud.template() }, "Flavor").await;
    check(Template { networks: Some(vec![nothing.into()]), ..cloud.template() }, "Network").await;
    check(Template { zones: vec!["nowhere".into()], ..cloud.template() }, "availability zone").await;
    check(Template { key_name: Some("nobody".into()), ..cloud.template() }, "key_name").await;
    check(Template { server_group: Some(nothing.into()), ..cloud.template() }, "erver").await;
    assert_eq!(cloud.of(&tag).await.len(), 0);
}
