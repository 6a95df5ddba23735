//! A second daemon with a store of its own and the same groups: at most one of them ever writes.

use super::daemon::{Daemon, Setup};
use super::proxy::Proxy;
use super::scene::{Scene, Start};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);

/// The other one, on a recorder of its own; not started yet.
fn other(scene: &Scene) -> (Daemon, Proxy) {
    let proxy = Proxy::before(scene.cloud.port, "other");
    let setup = Setup {
        id: "other",
        providers: &[("aws", proxy.port)],
        sources: &[("prometheus", scene.stand.prometheus.port)],
    };
    let daemon = Daemon::new(&setup);
    daemon.write_policy("subject", &scene.policy.toml());
    (daemon, proxy)
}

fn other_hold(other: &Daemon, fleet: &str) -> String {
    other.fleet(fleet)["hold"]["reason"].as_str().unwrap_or_default().into()
}

#[test]
fn a_second_daemon_leaves_the_first_ones_groups_alone() {
    let mut scene = Scene::start("second", Start::default());
    scene.until_settled();
    // The first write claims the group.
    scene.load(650.0);
    scene.until_desired(7, SOON);
    assert!(scene.cloud.tags(scene.name)["skala:owner"].starts_with("second/"));
    let (mut other, recorder) = other(&scene);
    other.start();
    let name = scene.name;
    scene.until("the other is held by the owner", SOON, |_| other_hold(&other, name) == "owner");
    let explained = other.json(&["explain", name, "--json"]);
    assert_eq!(explained["decision"]["hold"]["reason"], "owner", "{explained:#}");
    scene.load(850.0);
    scene.until_desired(9, SOON);
    scene.load(550.0);
    scene.until_desired(6, Duration::from_secs(30));
    // Also while the first one is down.
    scene.daemon.kill();
    scene.load(250.0);
    scene.pass(9.0);
    assert_eq!(scene.desired(), 6);
    scene.daemon.start();
    scene.until_desired(3, Duration::from_secs(40));
    assert_eq!(recorder.calls().iter().filter(|call| call.is_write()).count(), 0);
    assert!(!recorder.calls().iter().any(|call| call.action == "CreateOrUpdateTags"));
    other.stop();
    scene.finish();
}

#[test]
fn of_two_daemons_that_start_at_once_one_writes() {
    let mut scene = Scene::prepare("two-at-once", Start { load: 850.0, ..Start::default() });
    let (mut other, recorder) = other(&scene);
    std::thread::scope(|both| {
        both.spawn(|| other.start());
        both.spawn(|| scene.daemon.start());
    });
    scene.until_desired(9, Duration::from_secs(30));
    scene.pass(5.0);
    let name = scene.name;
    let ids = scene.looker.ever(name);
    let effective = |calls: Vec<super::proxy::Call>| calls.iter().filter(|call| call.status == Some(200)).count();
    let (mine, others) = (effective(scene.proxy.writes(name, &ids)), effective(recorder.writes(name, &ids)));
    assert_eq!(mine + others, 1, "{mine} by the one, {others} by the other");
    assert_eq!(ids.len(), 9);
    let holds = [scene.hold(), other_hold(&other, name)];
    assert!(holds.contains(&"owner".into()), "{holds:?}");
    other.stop();
    scene.assert_control();
}
