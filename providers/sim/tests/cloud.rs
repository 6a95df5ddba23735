//! What the simulated cloud does by itself and what calls meet: boots, failures, faults on a timetable, and that one
//! seed gives one cloud.
#![allow(clippy::unwrap_used, reason = "a test")]

mod stand;

use contract::{
    ActionId, Ask, Capacity, Epoch, FailureKind, GroupId, InstanceState, Observation, Owner, Provider, ProviderError,
    Scope, Suspended, Target, Terminator, Timestamp, Version,
};
use sim::{Cloud, Guard, Settings, Sim};
use stand::{Clock, cloud, settings};
use std::time::Duration;

const START: Timestamp = Timestamp::from_secs(1_700_000_000);

async fn observe(sim: &Sim, group: &str) -> Result<Observation, ProviderError> {
    sim.observe(&[Ask::new(group)]).await.remove(0)
}

fn target(group: &str, seen: &Observation, action: u128) -> Target {
    let seen = Version { desired: seen.desired, token: seen.token.clone(), at: seen.at };
    Target { group: group.into(), action: ActionId(action), seen, lease: Epoch(1) }
}

async fn raise(sim: &Sim, group: &str, action: u128, to: Capacity) -> Result<contract::Accepted, ProviderError> {
    let seen = observe(sim, group).await?;
    sim.raise(&target(group, &seen, action), to).await
}

fn in_state(seen: &Observation, state: InstanceState) -> usize {
    seen.instances.iter().filter(|instance| instance.state == state).count()
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[tokio::test]
async fn an_instance_boots_for_as_long_as_it_should() {
    let (sim, _, clock) = cloud(settings("boot = '90s'\n[groups.web]\ndesired = 2"));
    raise(&sim, "web", 1, 5).await.unwrap();
    clock.pass(secs(89));
    let seen = observe(&sim, "web").await.unwrap();
    assert_eq!((in_state(&seen, InstanceState::Pending), in_state(&seen, InstanceState::Running)), (3, 2));
    assert_eq!(seen.operations.len(), 1, "the raise is under way");
    clock.pass(secs(1000));
    let seen = observe(&sim, "web").await.unwrap();
    assert_eq!(in_state(&seen, InstanceState::Running), 5);
    assert!(seen.operations.is_empty());
    let born = seen.instances.last().unwrap();
    // Seen late, and yet told as it was.
    assert_eq!((born.launched, born.running_since), (Some(START), Some(START.after(secs(90)))));
}

#[tokio::test]
async fn boots_differ_within_their_bounds() {
    let (sim, _, clock) =
        cloud(settings("boot = { min = '30s', mean = '60s', max = '5m' }\n[groups.web]\ndesired = 0\nmax = 50"));
    raise(&sim, "web", 1, 50).await.unwrap();
    clock.pass(secs(300));
    let seen = observe(&sim, "web").await.unwrap();
    let boots: std::collections::BTreeSet<Duration> =
        seen.instances.iter().map(|i| i.running_since.unwrap().since(i.launched.unwrap())).collect();
    assert!(boots.len() > 40, "{boots:?}");
    assert!(*boots.first().unwrap() >= secs(30) && *boots.last().unwrap() <= secs(300));
}

#[tokio::test]
async fn instances_are_spread_over_zones_and_a_dry_zone_is_left_out() {
    let (sim, _, clock) = cloud(settings(
        "faults = [{ until = '10m', zone = 'b', fault = 'out-of-capacity' }]
        [groups.web]
        desired = 0
        zones = ['a', 'b', 'c']",
    ));
    raise(&sim, "web", 1, 4).await.unwrap();
    let zones = |seen: &Observation| {
        let count = |zone| seen.instances.iter().filter(|i| i.zone.as_deref() == Some(zone)).count();
        [count("a"), count("b"), count("c")]
    };
    assert_eq!(zones(&observe(&sim, "web").await.unwrap()), [2, 0, 2]);
    clock.pass(secs(600));
    raise(&sim, "web", 2, 6).await.unwrap();
    assert_eq!(zones(&observe(&sim, "web").await.unwrap()), [2, 2, 2]);
}

#[tokio::test]
async fn launches_without_machines_are_data_and_tried_again() {
    let (sim, _, clock) = cloud(settings(
        "faults = [{ from = '1s', until = '10m', fault = 'out-of-capacity' }]\n[groups.web]\ndesired = 1",
    ));
    clock.pass(secs(1));
    raise(&sim, "web", 1, 3).await.unwrap();
    let seen = observe(&sim, "web").await.unwrap();
    assert_eq!((seen.desired, seen.unfilled()), (Some(3), 2));
    let failure = &seen.launch_failures[0];
    assert_eq!((failure.kind, &failure.scope), (FailureKind::OutOfCapacity, &Scope::Zone("a".into())));
    assert_eq!(failure.at, START.after(secs(1)));
    clock.pass(secs(630));
    let seen = observe(&sim, "web").await.unwrap();
    assert_eq!(seen.alive().count(), 3, "the zone has machines again");
    clock.pass(secs(900));
    assert!(observe(&sim, "web").await.unwrap().launch_failures.is_empty(), "old failures are forgotten");
}

#[tokio::test]
async fn a_quota_holds_for_the_whole_cloud() {
    let (sim, cloud, clock) = cloud(settings("quota = 4\n[groups.a]\ndesired = 2\n[groups.b]\ndesired = 1"));
    raise(&sim, "a", 1, 6).await.unwrap();
    let seen = observe(&sim, "a").await.unwrap();
    assert_eq!(seen.instances.len(), 3);
    assert_eq!(seen.launch_failures[0].kind, FailureKind::QuotaExceeded);
    assert!(cloud.delete(&"b".into()));
    assert_eq!(cloud.truth(&"a".into()).unwrap().instances.len(), 3, "not before the next try");
    clock.pass(secs(30));
    assert_eq!(cloud.truth(&"a".into()).unwrap().instances.len(), 4);
}

#[tokio::test]
async fn a_share_of_the_launches_fails() {
    let (sim, _, _) = cloud(settings("launch_failures = 0.5\nretry = '1h'\n[groups.web]\ndesired = 0"));
    raise(&sim, "web", 1, 40).await.unwrap();
    let seen = observe(&sim, "web").await.unwrap();
    assert!(seen.unfilled() > 0 && seen.launch_failures[0].kind == FailureKind::Other, "{seen:?}");
    // Where skala starts instances itself, a broken one stays until somebody removes it.
    let (sim, _, clock) =
        stand::cloud(settings("launch_failures = 0.5\n[groups.'servers:web']\ndesired = 0\nmax = 40"));
    raise(&sim, "servers:web", 1, 40).await.unwrap();
    clock.pass(secs(3600));
    let seen = observe(&sim, "servers:web").await.unwrap();
    let broken = in_state(&seen, InstanceState::Failed);
    assert!((5..35).contains(&broken), "{broken}");
    let ids: Vec<_> =
        seen.instances.iter().filter(|i| i.state == InstanceState::Failed).map(|i| i.id.clone()).collect();
    sim.terminate(&target("servers:web", &seen, 2), &ids).await.unwrap();
    clock.pass(secs(60));
    assert_eq!(in_state(&observe(&sim, "servers:web").await.unwrap(), InstanceState::Failed), 0);
}

#[tokio::test]
async fn one_action_starts_its_servers_once() {
    let (sim, cloud, clock) = cloud(settings("[groups.'servers:web']\ndesired = 1"));
    let seen = observe(&sim, "servers:web").await.unwrap();
    assert_eq!(seen.desired, None);
    let action = target("servers:web", &seen, 7);
    sim.raise(&action, 4).await.unwrap();
    sim.raise(&action, 4).await.unwrap();
    assert_eq!(cloud.truth(&"servers:web".into()).unwrap().instances.len(), 4);
    // One that died is missing, and nothing but it.
    let dead = cloud.truth(&"servers:web".into()).unwrap().instances[2].id.clone();
    assert!(cloud.kill(&"servers:web".into(), &dead));
    clock.pass(secs(600));
    assert_eq!(cloud.truth(&"servers:web".into()).unwrap().instances.len(), 3, "nobody but skala repairs it");
    sim.raise(&action, 4).await.unwrap();
    assert_eq!(cloud.truth(&"servers:web".into()).unwrap().instances.len(), 4);
}

#[tokio::test]
async fn instances_die_at_a_rate_and_are_replaced() {
    let (sim, cloud, clock) = cloud(settings("dies_per_hour = 0.5\n[groups.web]\ndesired = 50"));
    let before = observe(&sim, "web").await.unwrap();
    clock.pass(secs(3600));
    let after = observe(&sim, "web").await.unwrap();
    let left = before.instances.iter().filter(|old| after.instances.iter().any(|i| i.id == old.id)).count();
    assert!((20..41).contains(&left), "about 30 of 50 live on: {left}");
    assert_eq!(after.alive().count(), 50);
    assert!(cloud.audit().is_empty(), "nobody wrote");
}

#[tokio::test]
async fn a_zone_goes_down() {
    let (sim, _, clock) = cloud(settings(
        "faults = [
            { from = '1m', zone = 'a', fault = { kill = { share = 1.0 } } },
            { from = '1m', until = '1h', zone = 'a', fault = 'out-of-capacity' },
        ]
        [groups.web]
        desired = 4
        zones = ['a', 'b']",
    ));
    clock.pass(secs(61));
    let seen = observe(&sim, "web").await.unwrap();
    assert_eq!((in_state(&seen, InstanceState::Running), in_state(&seen, InstanceState::Pending)), (2, 2));
    assert!(seen.instances.iter().all(|i| i.zone.as_deref() == Some("b")), "{seen:?}");
}

#[tokio::test]
async fn a_person_and_other_controllers_come_and_go() {
    let (sim, cloud, clock) = cloud(settings(
        "faults = [
            { from = '1m', fault = { set-desired = { to = 5 } } },
            { from = '2m', until = '3m', group = 'web', fault = { foreign = { name = 'policy cpu50', removes = true } } },
            { from = '2m', until = '3m', fault = { suspend = { process = 'launch' } } },
        ]
        [groups.web]
        desired = 2
        [groups.api]
        desired = 1",
    ));
    clock.pass(secs(90));
    let seen = observe(&sim, "web").await.unwrap();
    assert_eq!((seen.desired, seen.foreign.len()), (Some(5), 0));
    assert_eq!(cloud.audit().iter().filter(|e| e.what == "set_desired" && &*e.by == "person").count(), 2);
    clock.pass(secs(60));
    let seen = observe(&sim, "web").await.unwrap();
    assert_eq!(&*seen.foreign[0].name, "policy cpu50");
    assert_eq!(seen.suspended, [Suspended::Launch]);
    assert!(observe(&sim, "api").await.unwrap().foreign.is_empty());
    raise(&sim, "web", 1, 7).await.unwrap();
    assert_eq!(observe(&sim, "web").await.unwrap().unfilled(), 2);
    clock.pass(secs(60));
    let seen = observe(&sim, "web").await.unwrap();
    assert_eq!((seen.unfilled(), seen.foreign.len(), seen.suspended.len()), (0, 0, 0));
}

#[tokio::test]
async fn terminations_get_stuck_and_boots_get_slow() {
    let (sim, _, clock) = cloud(settings(
        "boot = '30s'
        faults = [
            { until = '10m', fault = 'stuck-terminating' },
            { until = '10m', fault = { slow-boot = { span = '5m' } } },
        ]
        [groups.web]
        desired = 2",
    ));
    let seen = observe(&sim, "web").await.unwrap();
    let one = [seen.instances[0].id.clone()];
    sim.terminate(&target("web", &seen, 1), &one).await.unwrap();
    raise(&sim, "web", 2, 2).await.unwrap();
    clock.pass(secs(300));
    let seen = observe(&sim, "web").await.unwrap();
    assert_eq!((in_state(&seen, InstanceState::Terminating), in_state(&seen, InstanceState::Pending)), (1, 1));
    clock.pass(secs(30));
    assert_eq!(in_state(&observe(&sim, "web").await.unwrap(), InstanceState::Running), 2);
    clock.pass(secs(600));
    assert_eq!(observe(&sim, "web").await.unwrap().instances.len(), 2, "unstuck");
}

#[tokio::test]
async fn stale_reads_show_what_was() {
    let (sim, _, clock) = cloud(settings("stale = '30s'\n[groups.web]\ndesired = 2"));
    clock.pass(secs(100));
    raise(&sim, "web", 1, 4).await.unwrap();
    clock.pass(secs(29));
    let seen = observe(&sim, "web").await.unwrap();
    assert_eq!((seen.desired, seen.at), (Some(2), clock.now()), "old, and it does not know");
    clock.pass(secs(1));
    assert_eq!(observe(&sim, "web").await.unwrap().desired, Some(4));
}

#[tokio::test]
async fn reads_become_stale_for_a_while() {
    let (sim, _, clock) = cloud(settings(
        "faults = [{ from = '2m', until = '3m', fault = { stale = { span = '1m' } } }]\n[groups.web]\ndesired = 2",
    ));
    clock.pass(secs(90));
    raise(&sim, "web", 1, 4).await.unwrap();
    assert_eq!(observe(&sim, "web").await.unwrap().desired, Some(4));
    clock.pass(secs(30));
    assert_eq!(observe(&sim, "web").await.unwrap().desired, Some(2));
    clock.pass(secs(60));
    assert_eq!(observe(&sim, "web").await.unwrap().desired, Some(4));
}

#[tokio::test]
async fn the_account_has_a_rate() {
    let (sim, cloud, clock) = cloud(settings("rate = { per_second = 2, burst = 3 }\n[groups.web]\ndesired = 1"));
    for _ in 0..3 {
        observe(&sim, "web").await.unwrap();
    }
    let refused = observe(&sim, "web").await;
    let Err(ProviderError::Throttled { retry_after: Some(wait) }) = refused else { panic!("{refused:?}") };
    assert_eq!(wait, Duration::from_millis(500));
    clock.pass(wait);
    observe(&sim, "web").await.unwrap();
    assert_eq!((cloud.calls().observe, cloud.calls().throttled), (5, 1));
}

#[tokio::test]
async fn calls_take_time_and_hang() {
    let (sim, cloud, clock) = cloud(settings(
        "latency = '200ms'
        faults = [
            { from = '1m', until = '2m', operation = 'observe', fault = { hang = { span = '5s' } } },
            { from = '10m', until = '11m', operation = 'raise', fault = { hang = { span = '20s', effect = true } } },
        ]
        [groups.web]
        desired = 1",
    ));
    let seen = observe(&sim, "web").await.unwrap();
    assert_eq!((seen.at, clock.now()), (START, START.after(Duration::from_millis(200))));
    clock.pass(secs(60));
    let before = clock.now();
    assert!(matches!(observe(&sim, "web").await, Err(ProviderError::Transport { .. })));
    assert_eq!(clock.now().since(before), Duration::from_millis(5200));
    clock.pass(secs(540));
    let answer = raise(&sim, "web", 1, 3).await;
    assert!(answer.unwrap_err().may_have_taken_effect());
    assert_eq!(cloud.truth(&"web".into()).unwrap().desired, Some(3));
}

/// One fault alone on an observation or a raise, with the word of its error and what desired is afterwards.
#[tokio::test]
async fn every_fault_of_calls_says_what_it_is() {
    async fn check(fault: &str, read: Option<&str>, write: Option<&str>, desired: Capacity) {
        let text = format!("faults = [{{ from = '1s', fault = {fault} }}]\n[groups.web]\ndesired = 2");
        let (sim, cloud, clock) = cloud(settings(&text));
        let seen = observe(&sim, "web").await.unwrap();
        clock.pass(secs(1));
        let answer = observe(&sim, "web").await;
        assert_eq!(answer.err().map(|error| error.code()), read, "read under {fault}");
        let answer = sim.raise(&target("web", &seen, 1), 3).await;
        assert_eq!(answer.err().map(|error| error.code()), write, "write under {fault}");
        assert_eq!(cloud.truth(&"web".into()).unwrap().desired, Some(desired), "desired under {fault}");
    }
    check("'error-before-effect'", Some("transport"), Some("unclear"), 2).await;
    check("'error-after-effect'", Some("transport"), Some("unclear"), 3).await;
    check("'broken-body'", Some("transport"), Some("unclear"), 3).await;
    check("'unsent'", Some("transport"), Some("transport"), 2).await;
    check("{ hang = { span = '1s' } }", Some("transport"), Some("unclear"), 2).await;
    check("{ throttle = {} }", Some("throttled"), Some("throttled"), 2).await;
    check("'denied'", Some("denied"), Some("denied"), 2).await;
    check("'expired'", Some("expired"), Some("expired"), 2).await;
    check("'missing'", Some("not_found"), Some("not_found"), 2).await;
    check("{ refuse = { why = 'out-of-capacity' } }", None, Some("out_of_capacity"), 2).await;
    check("{ refuse = { why = 'quota' } }", None, Some("quota_exceeded"), 2).await;
    check("'later-pages'", None, None, 3).await;
    check("{ latency = { span = '1s' } }", None, None, 3).await;
}

#[tokio::test]
async fn a_fault_strikes_its_group_and_so_often() {
    let (sim, _, _) =
        cloud(settings("faults = [{ group = 'web', times = 1, fault = 'unsent' }]\n[groups.web]\n[groups.api]"));
    let asks = [Ask::new("api"), Ask::new("web")];
    let answers = sim.observe(&asks).await;
    assert!(answers[0].is_ok() && answers[1].is_err());
    assert!(sim.observe(&asks).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn two_daemons_share_a_cloud_and_not_a_group() {
    let (first, cloud, clock) = cloud(settings("claim = '2m'\n[groups.web]"));
    let second = Sim::new(cloud, Owner { id: "skala-2".into() }, clock.sleeper());
    raise(&first, "web", 1, 2).await.unwrap();
    assert!(matches!(raise(&second, "web", 2, 3).await, Err(ProviderError::Owned { .. })));
    clock.pass(secs(120));
    raise(&second, "web", 3, 3).await.unwrap();
    assert!(matches!(raise(&first, "web", 4, 4).await, Err(ProviderError::Owned { .. })));
}

#[tokio::test]
async fn instance_time_is_billed_from_launch_to_end() {
    let (sim, cloud, clock) = cloud(settings("terminating = '0s'\n[groups.web]\ndesired = 2\nprice_per_hour = 0.5"));
    clock.pass(secs(3600));
    let seen = observe(&sim, "web").await.unwrap();
    let one = [seen.instances[0].id.clone()];
    sim.terminate(&target("web", &seen, 1), &one).await.unwrap();
    clock.pass(secs(3600));
    let web = GroupId::from("web");
    assert_eq!(cloud.billed(&web), secs(3 * 3600));
    assert!((cloud.cost(&web) - 1.5).abs() < 1e-9);
}

#[tokio::test]
async fn a_refusal_says_where() {
    let (sim, _, _) = cloud(settings(
        "faults = [{ group = 'web', zone = 'b', fault = { refuse = { why = 'out-of-capacity' } } }]\n[groups.web]",
    ));
    let answer = raise(&sim, "web", 1, 2).await;
    assert!(matches!(&answer, Err(ProviderError::OutOfCapacity { scope: Scope::Zone(zone) }) if &**zone == "b"));
}

/// A day of everything at once, told as text: the audit, and every observation on the way.
async fn a_day(seed: u64, step: Duration) -> (String, String) {
    let text = "
        boot = { min = '20s', mean = '70s', max = '10m' }
        launch_failures = 0.1
        dies_per_hour = 0.1
        guard = 'atomic'
        faults = [
            { from = '2h', until = '3h', zone = 'a', fault = 'out-of-capacity' },
            { from = '4h', until = '5h', fault = { throttle = { retry_after = '10s' } } },
            { from = '6h', fault = { kill = { share = 0.3 } } },
            { from = '7h', until = '8h', operation = 'raise', fault = 'error-after-effect' },
            { from = '9h', group = 'web', fault = { set-desired = { to = 3 } } },
        ]
        [groups.web]
        desired = 5
        zones = ['a', 'b']
        [groups.'servers:db']
        desired = 2
        [groups.'deployment:api']
        desired = 4";
    let (sim, cloud, clock) = cloud(Settings { seed, ..settings(text) });
    let mut told = String::new();
    let end = clock.now().after(secs(12 * 3600));
    let mut action = 0_u32;
    while clock.now() < end {
        clock.pass(step);
        for (group, to) in [("web", 3 + action % 9), ("servers:db", 2 + action % 4), ("deployment:api", 1 + action % 7)]
        {
            action += 1;
            let answer = raise(&sim, group, action.into(), to).await;
            let seen = observe(&sim, group).await;
            told += &format!("{} {group} {answer:?} {seen:?}\n", clock.now());
        }
    }
    let audit: Vec<String> = cloud.audit().iter().map(ToString::to_string).collect();
    (audit.join("\n"), told)
}

#[tokio::test]
async fn one_seed_is_one_cloud_byte_for_byte() {
    let first = a_day(7, secs(300)).await;
    assert!(first.0.lines().count() > 20, "{}", first.0);
    assert_eq!(first, a_day(7, secs(300)).await);
    assert_ne!(first.1, a_day(8, secs(300)).await.1);
}

#[tokio::test]
async fn looking_more_often_changes_nothing() {
    let run = |looks: u32| async move {
        let (sim, cloud, clock): (Sim, Cloud, Clock) = cloud(settings(
            "boot = { min = '20s', mean = '70s', max = '10m' }
            launch_failures = 0.2
            dies_per_hour = 2
            quota = 25
            [groups.a]
            desired = 10
            [groups.b]
            desired = 10",
        ));
        raise(&sim, "a", 1, 14).await.unwrap();
        raise(&sim, "b", 2, 12).await.unwrap();
        for _ in 0..looks {
            clock.pass(secs(7200) / looks);
            let _ = observe(&sim, "b").await;
        }
        (cloud.truth(&"a".into()), cloud.truth(&"b".into()))
    };
    assert_eq!(run(1).await, run(7200).await);
}

#[tokio::test]
async fn a_clock_that_goes_back_moves_nothing() {
    let (sim, _, clock) = cloud(settings("[groups.web]\ndesired = 1"));
    raise(&sim, "web", 1, 2).await.unwrap();
    clock.pass(secs(60));
    let before = observe(&sim, "web").await.unwrap().instances;
    clock.set(START);
    assert_eq!(observe(&sim, "web").await.unwrap().instances, before);
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let check = |text: &str, expected: &str| {
        let told = match toml::from_str::<Settings>(text) {
            Err(error) => error.to_string(),
            Ok(settings) => settings.check().err().map(|wrong| wrong.to_string()).unwrap_or_default(),
        };
        assert!(told.contains(expected), "{text}\nsaid {told:?}\nwithout {expected:?}");
    };
    check("sede = 1", "unknown field `sede`");
    check("boot = 'soon'", "a duration like \"90s\"");
    check("boot = -1", "a duration like \"90s\"");
    check("boot = { min = '2m', mean = '1m', max = '3m' }", "boot: min, mean, max out of order");
    check("launch_failures = 1.5", "launch_failures is 1.5");
    check("dies_per_hour = nan", "dies_per_hour is NaN");
    check("retry = '0s'", "retry must be at least 1s");
    check("rate = { per_second = 0, burst = 1 }", "rate");
    check("page = 0", "page is 0");
    check("[groups.web]\nmin = 3\ndesired = 2", "groups.web: min 3, desired 2");
    check("[groups.web]\nzones = []", "groups.web: zones is empty");
    check("[groups.web]\nprice_per_hour = -1.0", "groups.web: price_per_hour");
    check("[groups.web]\nmax = 2000000", "groups.web: max is 2000000");
    check("faults = [{ group = 'wbe', fault = 'denied' }]", "faults[0]: no group \"wbe\"");
    check("faults = [{ from = '2m', until = '1m', fault = 'denied' }]", "faults[0]: until is not after from");
    check("faults = [{ times = 1, fault = 'out-of-capacity' }]", "faults[0]: operation and times");
    check("faults = [{ fault = { kill = { share = 2.0 } } }]", "faults[0]: share is 2");
    check("faults = [{ fault = 'sabotage' }]", "unknown variant `sabotage`");
    check("faults = [{ fault = { throttle = { after = '1s' } } }]", "unexpected keys in table: after");
    check("guard = 'optimistic'", "unknown variant `optimistic`");
    assert_eq!(settings("guard = 'atomic'").guard, Guard::Atomic);
}
