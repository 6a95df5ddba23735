//! What the suite does not show: Keystone's refusals, microversions, cells that do not answer, ports, failed launches, and
//! the calls that a cycle costs, counted at the server.

#![allow(clippy::unwrap_used, dead_code)]

mod stand;

use contract::{Ask, FailureKind, InstanceId, InstanceState, Provider, Scope};
use openstack::{Settings, Template};
use sim::{Fault, GroupSettings, Script};
use sim_cloud::openstack::{PROJECT, USER};
use sim_cloud::untrusted::Untrusted;
use sim_cloud::{Kind, Refusal};
use stand::{Stand, look, settings, target};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

impl Stand {
    /// A group that runs so many servers, by its tag.
    fn group(&self, tag: &str, running: u32) {
        let settings = GroupSettings { desired: running, max: 1_000_000, ..GroupSettings::default() };
        self.wire.cloud.create(&format!("servers:{tag}"), &settings).unwrap();
    }

    /// Servers of a group that are not on their way out.
    fn there(&self, tag: &str) -> usize {
        let truth = self.wire.cloud.truth(&format!("servers:{tag}").as_str().into()).unwrap();
        truth.instances.iter().filter(|instance| instance.state != InstanceState::Terminating).count()
    }

    fn pass(&self, secs: u64) {
        self.wire.clock.pass(Duration::from_secs(secs));
    }

    fn reads(&self) -> u64 {
        self.wire.server.calls().reads
    }
}

async fn error(provider: &dyn Provider, group: &str) -> (&'static str, String) {
    let error = look(provider, group).await.unwrap_err();
    (error.code(), error.to_string())
}

#[tokio::test]
async fn a_cycle_is_one_list_for_each_page_of_the_project() {
    for (groups, servers_each, reads) in [(1, 3, 1), (100, 2, 1), (1_000, 1, 1), (1_000, 3, 3)] {
        let stand = Stand::new().await;
        let tags: Vec<String> = (0..groups).map(|number| format!("group-{number}")).collect();
        for tag in &tags {
            stand.group(tag, servers_each);
        }
        let provider = stand.provider();
        let asks: Vec<Ask> = tags.iter().map(|tag| Ask::new(tag.as_str())).collect();
        // The first cycle also asks whether every cell answers.
        for cycle in 0..3 {
            let before = stand.wire.server.calls();
            let answers = provider.observe(&asks).await;
            assert!(answers.iter().all(|a| a.as_ref().unwrap().alive().count() == servers_each as usize));
            let after = stand.wire.server.calls();
            let expected = reads + u64::from(cycle == 0);
            assert_eq!((after.reads - before.reads, after.writes), (expected, 0), "{groups} groups, cycle {cycle}");
            stand.pass(15);
        }
    }
}

#[tokio::test]
async fn credentials_are_an_application_credential_or_a_password() {
    let stand = Stand::new().await;
    stand.group("web", 2);
    let no_id = ("OS_APPLICATION_CREDENTIAL_ID", "");
    let no_secret = ("OS_APPLICATION_CREDENTIAL_SECRET", "");
    let by_name = [
        no_id,
        ("OS_APPLICATION_CREDENTIAL_NAME", "skala"),
        ("OS_USERNAME", USER.0),
        ("OS_USER_DOMAIN_NAME", "Default"),
    ];
    let password = [("OS_AUTH_TYPE", "password"), no_id, no_secret, ("OS_USERNAME", USER.0), ("OS_PASSWORD", USER.1)];
    let by_id = [password.as_slice(), &[("OS_PROJECT_ID", PROJECT)]].concat();
    let by_names = [password.as_slice(), &[("OS_PROJECT_NAME", "skala"), ("OS_DEFAULT_DOMAIN", "default")]].concat();
    for variables in
        [&[][..], &by_name, &by_id, &by_names, &[("OS_REGION_NAME", "RegionOne"), ("OS_INTERFACE", "internal")]]
    {
        let provider = stand.provider_of(settings(), variables);
        assert_eq!(look(&provider, "web").await.unwrap().alive().count(), 2, "{variables:?}");
    }
    for variables in [
        &[("OS_APPLICATION_CREDENTIAL_SECRET", "guess")][..],
        &[("OS_APPLICATION_CREDENTIAL_ID", "nobody")],
        &[by_id.as_slice(), &[("OS_PASSWORD", "guess")]].concat(),
    ] {
        let provider = stand.provider_of(settings(), variables);
        let (code, words) = error(&provider, "web").await;
        assert!(code == "denied" && words.contains("wrong, revoked or expired credentials"), "{code}: {words}");
        let refused = provider.raise(&target("web", 1), 9).await.unwrap_err();
        assert_eq!((refused.code(), stand.there("web")), ("denied", 2));
    }
    let elsewhere = stand.provider_of(settings(), &[("OS_REGION_NAME", "moon")]);
    let (code, words) = error(&elsewhere, "web").await;
    assert!(code == "invalid" && words.contains("no public compute endpoint in region moon"), "{code}: {words}");
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_once_when_it_is_refused() {
    let stand = Stand::new().await;
    stand.group("web", 2);
    let provider = stand.provider();
    let tokens = || stand.wire.server.exchanges().iter().filter(|e| e.path.ends_with("/auth/tokens")).count();
    let refused = || stand.wire.server.exchanges().iter().filter(|e| e.status == 401).count();
    for _ in 0..20 {
        look(&provider, "web").await.unwrap();
        stand.pass(60);
    }
    assert_eq!(tokens(), 1);
    // An hour's token is renewed five minutes before its end.
    for _ in 0..60 {
        look(&provider, "web").await.unwrap();
        stand.pass(60);
    }
    assert_eq!((tokens(), refused()), (2, 0));
    // Revoked: a read, then a write.
    stand.api.revoke_tokens();
    look(&provider, "web").await.unwrap();
    assert_eq!((tokens(), refused()), (3, 1));
    look(&provider, "web").await.unwrap();
    stand.api.revoke_tokens();
    provider.raise(&target("web", 1), 3).await.unwrap();
    assert_eq!((stand.there("web"), refused()), (3, 2));
    // A clock that is off by ten minutes is nobody's business: tokens are counted by their length.
    stand.api.set_up(|setup| setup.token = Duration::from_secs(300));
    stand.api.revoke_tokens();
    for _ in 0..10 {
        look(&provider, "web").await.unwrap();
        stand.pass(100);
    }
    assert_eq!(refused(), 3);
}

#[tokio::test]
async fn credentials_that_end_in_mid_operation_have_expired() {
    let stand = Stand::new().await;
    stand.group("web", 2);
    let provider = stand.provider();
    look(&provider, "web").await.unwrap();
    stand.api.revoke_tokens();
    stand.api.set_up(|setup| setup.locked_out = true);
    let (code, words) = error(&provider, "web").await;
    assert!(code == "expired" && words.contains("credentials that were good are refused now"), "{code}: {words}");
    let refused = provider.raise(&target("web", 1), 9).await.unwrap_err();
    assert_eq!((refused.code(), stand.there("web")), ("expired", 2));
    let id = look_past(&stand, "web");
    let refused = provider.terminator().unwrap().terminate(&target("web", 2), &[id]).await.unwrap_err();
    assert_eq!((refused.code(), stand.there("web")), ("expired", 2));
    stand.api.set_up(|setup| setup.locked_out = false);
    assert_eq!(look(&provider, "web").await.unwrap().alive().count(), 2);
}

/// The first server of a group, past the provider.
fn look_past(stand: &Stand, tag: &str) -> InstanceId {
    let group = format!("servers:{tag}").as_str().into();
    let truth = stand.wire.cloud.truth(&group).unwrap();
    sim_cloud::Api::instance_id(&*stand.api, &group, &truth.instances[0].id)
}

#[tokio::test]
async fn an_old_nova_is_told_from_one_whose_version_is_dropped_on_the_way() {
    let stand = Stand::new().await;
    stand.group("web", 2);
    stand.api.set_up(|setup| setup.newest = 51);
    let (code, words) = error(&stand.provider(), "web").await;
    assert!(code == "invalid" && words.contains("too old: its microversion is 2.51, and 2.52"), "{code}: {words}");
    for newest in [52, 68, 69, 96] {
        stand.api.set_up(|setup| setup.newest = newest);
        let provider = stand.provider();
        assert_eq!(look(&provider, "web").await.unwrap().alive().count(), 2);
        provider.raise(&target("web", 1), 2).await.unwrap();
    }
    stand.api.set_up(|setup| setup.drops_version = true);
    let (code, words) = error(&stand.provider(), "web").await;
    assert!(code == "transport" && words.contains("OpenStack-API-Version"), "{code}: {words}");
}

#[tokio::test]
async fn a_cell_that_does_not_answer_is_unknown_and_never_an_empty_group() {
    let stand = Stand::new().await;
    for tag in ["east", "west"] {
        stand.group(tag, 2);
    }
    let provider = stand.provider();
    let asks = [Ask::new("east"), Ask::new("west")];
    let count = async |provider: &dyn Provider| -> Vec<Result<usize, &'static str>> {
        let answers = provider.observe(&asks).await;
        answers.iter().map(|answer| answer.as_ref().map(|seen| seen.alive().count()).map_err(|e| e.code())).collect()
    };
    assert_eq!(count(&provider).await, [Ok(2), Ok(2)]);
    stand.api.set_up(|setup| setup.cell_down = true);
    // Nova's list has west's servers alone, with status 200; east's are asked for by id.
    assert_eq!(count(&provider).await, [Err("transport"), Ok(2)]);
    // To one that has just started nothing is known of anybody.
    let new = stand.provider();
    assert_eq!(count(&new).await, [Err("transport"), Err("transport")]);
    assert_eq!(new.raise(&target("east", 1), 2).await.unwrap_err().code(), "transport");
    assert_eq!(provider.raise(&target("east", 1), 2).await.unwrap_err().code(), "transport");
    assert_eq!(stand.there("east"), 2);
    stand.api.set_up(|setup| setup.cell_down = false);
    assert_eq!(count(&provider).await, [Ok(2), Ok(2)]);
    assert_eq!(count(&new).await, [Ok(2), Ok(2)]);
    // Servers that really die are gone, after one more question.
    let group = "servers:east".into();
    let dead = stand.wire.cloud.truth(&group).unwrap().instances[0].id.clone();
    stand.wire.cloud.kill(&group, &dead);
    let before = stand.reads();
    assert_eq!(count(&provider).await, [Ok(1), Ok(2)]);
    assert_eq!(stand.reads() - before, 2);
    assert_eq!(count(&provider).await, [Ok(1), Ok(2)]);
    assert_eq!(stand.reads() - before, 3);
}

#[tokio::test]
async fn servers_that_are_handed_to_a_cell_cut_no_list_short() {
    let stand = Stand::new().await;
    stand.api.set_up(|setup| setup.page = 7);
    stand.group("web", 16);
    stand.provider().raise(&target("web", 1), 19).await.unwrap();
    stand.api.set_up(|setup| setup.hands_over = true);
    // Nova has three of them twice: a page of seven shows four, and says that none follows.
    let new = stand.provider();
    assert_eq!(look(&new, "web").await.unwrap().alive().count(), 19);
    // The same action by somebody who has seen none of it makes nothing anew.
    new.raise(&target("web", 1), 19).await.unwrap();
    stand.provider().raise(&target("web", 1), 19).await.unwrap();
    assert_eq!(stand.there("web"), 19);
    // More of them than a page holds: where the next one begins nobody knows.
    stand.api.set_up(|setup| (setup.page, setup.hands_over) = (20, false));
    new.raise(&target("web", 2), 29).await.unwrap();
    stand.api.set_up(|setup| (setup.page, setup.hands_over) = (7, true));
    let (code, words) = error(&stand.provider(), "web").await;
    assert!(code == "transport" && words.contains("more servers are being made than a page holds"), "{code}: {words}");
    let refused = stand.provider().raise(&target("web", 3), 40).await.unwrap_err();
    assert_eq!((refused.code(), stand.there("web")), ("transport", 29));
    stand.pass(600);
    assert_eq!(look(&new, "web").await.unwrap().alive().count(), 29);
}

#[tokio::test]
async fn what_is_left_of_failed_launches_goes_with_the_next_write() {
    let stand = Stand::new().await;
    stand.group("web", 1);
    let provider = stand.provider();
    let dry = Script { group: Some("servers:web".into()), ..Script::new(Fault::OutOfCapacity) };
    stand.wire.cloud.inject(dry);
    provider.raise(&target("web", 1), 4).await.unwrap();
    // For a moment they look like any other launch.
    assert_eq!(look(&provider, "web").await.unwrap().alive().count(), 4);
    stand.pass(5);
    let seen = look(&provider, "web").await.unwrap();
    let failed = seen.instances.iter().filter(|instance| instance.state == InstanceState::Failed).count();
    assert_eq!((seen.alive().count(), failed, seen.launch_failures.len()), (1, 3, 3));
    let failure = &seen.launch_failures[0];
    assert_eq!((failure.kind, &failure.scope), (FailureKind::OutOfCapacity, &Scope::Group), "{failure:?}");
    assert_eq!(stand.api.stillborn(), 3, "an observation changes nothing");

    // Somebody who knows nothing of them finds them by their tags.
    stand.wire.cloud.clear_faults();
    let new = stand.provider();
    new.raise(&target("web", 1), 4).await.unwrap();
    assert_eq!((stand.api.stillborn(), stand.there("web")), (0, 4));
    let launches: BTreeSet<String> =
        stand.wire.server.exchanges().iter().filter(|e| e.method == "POST").map(|e| e.body.clone()).collect();
    assert!(launches.len() >= 6, "the launches that failed are not asked for again: {launches:#?}");
    // The failures are told of for half an hour.
    assert_eq!(look(&provider, "web").await.unwrap().launch_failures.len(), 3);
    stand.pass(1_800);
    assert_eq!(look(&provider, "web").await.unwrap().launch_failures.len(), 0);
}

#[tokio::test]
async fn why_a_launch_failed_is_asked_for_where_lists_do_not_say_it() {
    let stand = Stand::new().await;
    stand.group("web", 1);
    stand.api.set_up(|setup| setup.hides_faults = true);
    let provider = stand.provider();
    look(&provider, "web").await.unwrap();
    let dry = Script { group: Some("servers:web".into()), ..Script::new(Fault::OutOfCapacity) };
    stand.wire.cloud.inject(dry);
    provider.raise(&target("web", 1), 3).await.unwrap();
    stand.pass(5);
    let before = stand.reads();
    for reads in [3, 4] {
        // Once for each of the two.
        let seen = look(&provider, "web").await.unwrap();
        let kinds: Vec<FailureKind> = seen.launch_failures.iter().map(|failure| failure.kind).collect();
        assert_eq!((kinds, stand.reads() - before), (vec![FailureKind::OutOfCapacity; 2], reads));
    }
    provider.cancel_unfilled(&target("web", 2), 1).await.unwrap();
    assert_eq!(stand.api.stillborn(), 0);
}

#[tokio::test]
async fn a_server_that_ever_ran_stays_until_it_is_named() {
    let stand = Stand::new().await;
    stand.group("web", 2);
    let provider = stand.provider();
    provider.raise(&target("web", 1), 3).await.unwrap();
    stand.pass(120);
    let group = "servers:web".into();
    let truth = stand.wire.cloud.truth(&group).unwrap();
    for instance in &truth.instances {
        stand.wire.cloud.spoil(&group, &instance.id);
    }
    for action in 2..5 {
        provider.raise(&target("web", action), 1).await.unwrap();
        provider.cancel_unfilled(&target("web", action), 0).await.unwrap();
        stand.pass(60);
    }
    // The three are there, and one that replaces them.
    assert_eq!(stand.there("web"), 4);
    let seen = look(&provider, "web").await.unwrap();
    let broken: Vec<InstanceId> =
        seen.instances.iter().filter(|i| i.state == InstanceState::Failed).map(|i| i.id.clone()).collect();
    provider.terminator().unwrap().terminate(&target("web", 9), &broken).await.unwrap();
    stand.pass(60);
    assert_eq!((broken.len(), stand.there("web")), (3, 1));
}

#[tokio::test]
async fn ports_that_outlive_their_servers_are_removed() {
    let stand = Stand::new().await;
    stand.group("web", 4);
    let provider = stand.provider();
    stand.api.set_up(|setup| setup.leaves_ports = true);
    let seen = look(&provider, "web").await.unwrap();
    let two: Vec<InstanceId> = seen.instances[..2].iter().map(|instance| instance.id.clone()).collect();
    provider.terminator().unwrap().terminate(&target("web", 1), &two).await.unwrap();
    // They are on their way: their ports are their own.
    provider.raise(&target("web", 2), 2).await.unwrap();
    assert_eq!(stand.api.ports(), 4);
    stand.pass(60);
    look(&provider, "web").await.unwrap();
    assert_eq!(stand.api.ports(), 4, "an observation changes nothing");
    provider.raise(&target("web", 3), 2).await.unwrap();
    assert_eq!(stand.api.ports(), 2);
    // Nothing is left to look for.
    let before = stand.reads();
    provider.raise(&target("web", 4), 2).await.unwrap();
    assert_eq!(stand.reads() - before, 1);
}

#[tokio::test]
async fn what_left_is_looked_for_after_the_launches_and_forgotten_where_nova_keeps_it() {
    let stand = Stand::new().await;
    stand.group("web", 25);
    let provider = stand.provider();
    stand.api.set_up(|setup| (setup.leaves_ports, setup.soft_deletes) = (true, true));
    let seen = look(&provider, "web").await.unwrap();
    let most: Vec<InstanceId> = seen.instances[..20].iter().map(|instance| instance.id.clone()).collect();
    provider.terminator().unwrap().terminate(&target("web", 1), &most).await.unwrap();
    stand.pass(60);
    let before = stand.wire.server.exchanges().len();
    provider.raise(&target("web", 2), 8).await.unwrap();
    let asked: Vec<(String, String)> =
        stand.wire.server.exchanges().split_off(before).into_iter().map(|e| (e.method, e.path)).collect();
    let launched = asked.iter().rposition(|(method, _)| method == "POST").unwrap();
    let swept = asked.iter().position(|(_, path)| path.starts_with("/network")).unwrap();
    assert!(launched < swept, "{asked:#?}");
    // They may be brought back, with their ports.
    assert_eq!((stand.there("web"), stand.api.ports()), (8, 28));
    let before = stand.reads();
    provider.raise(&target("web", 3), 8).await.unwrap();
    assert_eq!(stand.reads() - before, 1);
}

#[tokio::test]
async fn a_launch_has_time_left_beside_what_must_go_before_it() {
    let stand = Stand::new().await;
    stand.group("web", 1);
    let provider = stand.provider();
    let dry = Script { group: Some("servers:web".into()), ..Script::new(Fault::OutOfCapacity) };
    stand.wire.cloud.inject(dry);
    provider.raise(&target("web", 1), 33).await.unwrap();
    stand.pass(5);
    look(&provider, "web").await.unwrap();
    assert_eq!(stand.api.stillborn(), 32);
    stand.wire.cloud.clear_faults();
    // Eight times as long as it takes to delete four, where a write has three seconds.
    stand.wire.server.inject(Kind::Write, sim_cloud::Fault::Slow(Duration::from_millis(400)));
    provider.raise(&target("web", 2), 4).await.unwrap();
    assert_eq!(stand.there("web"), 4);
    assert!(stand.api.stillborn() < 32, "some of them went");
}

#[tokio::test]
async fn a_zone_without_machines_is_the_groups_want_when_no_other_is_left() {
    for zones in [&["az-1"][..], &["az-1", "az-2"]] {
        let stand = Stand::new().await;
        let template =
            Template { zones: zones.iter().map(|zone| (*zone).to_owned()).collect(), ..settings().groups["*"].clone() };
        let groups = BTreeMap::from([("web".to_owned(), template)]);
        let provider = stand.provider_of(Settings { groups, ..Settings::default() }, &[]);
        stand.group("web", 1);
        stand.wire.cloud.inject(Script::new(Fault::OutOfCapacity));
        for (nth, zone) in zones.iter().enumerate() {
            provider.raise(&target("web", nth as u128), 2).await.unwrap();
            stand.pass(5);
            let seen = look(&provider, "web").await.unwrap();
            let scopes: BTreeSet<String> = seen.launch_failures.iter().map(|f| f.scope.to_string()).collect();
            let told = if nth + 1 == zones.len() { "group".to_owned() } else { format!("zone:{zone}") };
            assert_eq!(scopes, BTreeSet::from([told]), "{zones:?}");
        }
        // The zones have rested: they may be tried again, one by one.
        stand.pass(601);
        let seen = look(&provider, "web").await.unwrap();
        let of_group = seen.launch_failures.iter().all(|failure| failure.scope == Scope::Group);
        assert_eq!(of_group, zones.len() == 1, "{zones:?}");
    }
}

#[tokio::test]
async fn a_launch_whose_answer_was_lost_is_not_made_again() {
    let stand = Stand::new().await;
    stand.group("web", 1);
    let provider = stand.provider();
    stand.wire.server.inject(Kind::Write, sim_cloud::Fault::ErrorAfterEffect);
    assert_eq!(provider.raise(&target("web", 1), 6).await.unwrap_err().code(), "unclear");
    stand.wire.server.clear();
    let made = stand.there("web");
    assert!((2..=6).contains(&made), "{made}");
    for _ in 0..2 {
        // By somebody who was started meanwhile, too.
        stand.provider().raise(&target("web", 1), 6).await.unwrap();
        assert_eq!(stand.there("web"), 6);
    }
}

#[tokio::test]
async fn a_scale_out_that_is_throttled_stops_asking() {
    let stand = Stand::new().await;
    stand.group("web", 1);
    let provider = stand.provider();
    let wait = Some(Duration::from_secs(11));
    stand.wire.server.inject(Kind::Write, sim_cloud::Fault::Refuse(Refusal::Throttled { retry_after: wait }));
    let error = provider.raise(&target("web", 1), 101).await.unwrap_err();
    assert!(matches!(&error, contract::ProviderError::Throttled { retry_after } if *retry_after == wait), "{error:?}");
    assert!(stand.wire.server.calls().writes <= 4, "{:?}", stand.wire.server.calls());
}

#[tokio::test]
async fn a_quota_that_ends_in_a_scale_out_is_data() {
    let stand = Stand::of(sim::Settings { quota: Some(3), ..sim::Settings::default() }).await;
    stand.group("web", 1);
    let provider = stand.provider();
    provider.raise(&target("web", 1), 9).await.unwrap();
    stand.pass(120);
    let seen = look(&provider, "web").await.unwrap();
    assert_eq!(seen.alive().count(), 3);
    assert!(seen.launch_failures.iter().all(|f| f.kind == FailureKind::QuotaExceeded && f.scope == Scope::Region));
    assert!(!seen.launch_failures.is_empty());
    assert_eq!(provider.raise(&target("web", 2), 9).await.unwrap_err().code(), "quota_exceeded");
}

#[tokio::test]
async fn a_zone_whose_hosts_are_off_is_asked_last_and_a_wrong_one_is_a_mistake() {
    let stand = Stand::new().await;
    let of = |zones: &[&str]| {
        let zones = zones.iter().map(|zone| (*zone).to_owned()).collect();
        let template = Template { zones, ..settings().groups["*"].clone() };
        stand.provider_of(
            Settings { groups: BTreeMap::from([("web".to_owned(), template)]), ..Settings::default() },
            &[],
        )
    };
    stand.api.set_up(|setup| setup.closed_zone = Some("az-2"));
    let provider = of(&["az-1", "az-2"]);
    provider.raise(&target("web", 1), 2).await.unwrap();
    let seen = look(&provider, "web").await.unwrap();
    let told: Vec<_> = seen.launch_failures.iter().map(|failure| (failure.kind, failure.scope.clone())).collect();
    assert_eq!(told, [(FailureKind::OutOfCapacity, Scope::Zone("az-2".into()))]);
    assert_eq!(stand.there("web"), 1);
    // From now on the other one is asked, although it is the fuller one.
    provider.raise(&target("web", 2), 4).await.unwrap();
    assert_eq!(stand.there("web"), 4);
    // To whom it is the only one it may be no zone at all.
    let error = of(&["az-2"]).raise(&target("web", 3), 5).await.unwrap_err();
    assert!(error.code() == "invalid" && error.to_string().contains("availability zone"), "{error}");
    // The other one is switched off as well: the group has nowhere to go.
    stand.api.set_up(|setup| setup.closed_zone = Some("az-1"));
    let error = provider.raise(&target("web", 4), 5).await.unwrap_err();
    assert!(matches!(error, contract::ProviderError::OutOfCapacity { scope: Scope::Group }), "{error}");
}

#[tokio::test]
async fn a_group_that_nobody_knows_is_not_found() {
    let stand = Stand::new().await;
    stand.group("web", 1);
    let named = Settings {
        groups: BTreeMap::from([("web".to_owned(), settings().groups["*"].clone())]),
        ..Settings::default()
    };
    let provider = stand.provider_of(named, &[]);
    let answers = provider.observe(&[Ask::new("typo"), Ask::new("web"), Ask::new("a/b")]).await;
    let codes: Vec<&str> = answers.iter().map(|answer| answer.as_ref().map_or_else(|e| e.code(), |_| "ok")).collect();
    assert_eq!(codes, ["not_found", "ok", "invalid"]);
    assert_eq!(provider.raise(&target("typo", 1), 2).await.unwrap_err().code(), "invalid");
    // One that has settings may be empty, and may come into being.
    let group = "servers:web".into();
    let only = stand.wire.cloud.truth(&group).unwrap().instances[0].id.clone();
    stand.wire.cloud.kill(&group, &only);
    assert_eq!(look(&provider, "web").await.unwrap().alive().count(), 0);
    provider.raise(&target("web", 2), 2).await.unwrap();
    assert_eq!(stand.there("web"), 2);
}

#[tokio::test]
async fn a_server_of_another_image_is_outdated() {
    let stand = Stand::new().await;
    stand.group("web", 1);
    assert!(!look(&stand.provider(), "web").await.unwrap().instances[0].outdated);
    let template = Template { image: "newer".into(), ..settings().groups["*"].clone() };
    let newer = Settings { groups: BTreeMap::from([("web".to_owned(), template)]), ..Settings::default() };
    let provider = stand.provider_of(newer, &[]);
    assert!(look(&provider, "web").await.unwrap().instances[0].outdated);
    // Which this cloud does not have.
    let error = provider.raise(&target("web", 1), 2).await.unwrap_err();
    assert!(error.code() == "invalid" && error.to_string().contains("image"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_does_not_match_is_no_answer() {
    let stand = Stand::new().await;
    let other = Untrusted::start(Arc::clone(&stand.api) as _).await;
    let url = format!("{}/identity", other.url);
    let provider = stand.provider_of(Settings { endpoint_url: Some(url), ..settings() }, &[]);
    let (code, words) = error(&provider, "web").await;
    assert!(code == "transport" && words.contains("certificate"), "{code}: {words}");
    assert_eq!(provider.raise(&target("web", 1), 2).await.unwrap_err().code(), "transport");
}

#[tokio::test]
async fn settings_that_cannot_be_right_are_refused_at_the_start() {
    let stand = Stand::new().await;
    let check = |settings: Settings, variables: &[(&str, &str)], words: &str| {
        let error = stand.try_provider(settings, variables).err().unwrap();
        assert!(error.code() == "invalid" && error.to_string().contains(words), "{error}");
    };
    check(Settings { interface: Some("sideways".into()), ..settings() }, &[], "interface:");
    check(
        Settings { cloud: Some("bank".into()), ..settings() },
        &[("OS_CLIENT_CONFIG_FILE", "/nonexistent")],
        "no clouds.yaml",
    );
    check(settings(), &[("OS_AUTH_URL", "")], "no cloud");
    check(settings(), &[("OS_CACERT", "/nonexistent.pem")], "cacert /nonexistent.pem");
}
