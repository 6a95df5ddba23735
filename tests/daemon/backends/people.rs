//! People beside skala: they change desired at the cloud's console, edit, break and remove policies, hold and pin.

use super::scene::{Scene, Start};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_person_raises_desired() {
    let mut scene = Scene::start("person-raises", Start::default());
    scene.until_settled();
    let at = super::now();
    scene.set_desired(9);
    scene.until_hold("external_change", SOON);
    scene.assert_explained("external_change");
    // One window later what nobody needs goes again, by name.
    scene.until_desired(6, Duration::from_secs(30));
    let audit = scene.audit();
    let first = audit.drops()[0].at - at;
    assert!(first >= scene.policy.window_secs() - 0.5, "the first of them went after {first:.1} s");
    assert_eq!(audit.drops().len(), 3);
    scene.ends_well();
}

#[test]
fn a_person_lowers_desired() {
    let mut scene = Scene::start("person-lowers", Start::default());
    scene.until_settled();
    scene.set_desired(4);
    // Load needs six, and nobody is waited for.
    scene.until_desired(6, Duration::from_secs(5));
    scene.pass(3.0);
    assert_eq!(scene.count("SetDesiredCapacity"), 1);
    scene.ends_well();
}

#[test]
fn min_is_raised_and_max_is_lowered() {
    let mut scene = Scene::start("limits", Start::default());
    scene.until_settled();
    scene.policy.min = 8;
    scene.daemon.write_policy("subject", &scene.policy.toml());
    scene.until_desired(8, SOON);
    scene.until_hold("at_min", SOON);
    let explained = scene.assert_explained("at_min");
    let by = &explained["decision"]["hold"];
    assert!(by["setting"] == "min" && by["line"].as_u64() > Some(0), "{by}");
    scene.policy.min = 1;
    scene.policy.max = 4;
    scene.max_since.push((super::now(), 4));
    scene.daemon.write_policy("subject", &scene.policy.toml());
    // Load needs six: a lowered max is reached all the same, without a window and at the pace.
    scene.until_desired(4, Duration::from_secs(20));
    scene.until_hold("at_max", SOON);
    scene.assert_explained("at_max");
    let audit = scene.audit();
    assert_eq!((audit.raises().len(), audit.drops().len()), (1, 4));
    audit.assert_pace(1, 1.0);
    scene.ends_well();
}

#[test]
fn an_edited_policy_takes_a_whole_window_to_remove() {
    let mut scene = Scene::start("policy-edited", Start::default());
    scene.until_settled();
    scene.policy.target = 200.0;
    scene.daemon.write_policy("subject", &scene.policy.toml());
    scene.until_hold("stabilized", SOON);
    scene.assert_explained("stabilized");
    scene.until_desired(3, Duration::from_secs(30));
    scene.load(1700.0);
    scene.until_desired(9, SOON);
    scene.load(450.0);
    scene.until_desired(3, Duration::from_secs(40));
    scene.finish();
}

#[test]
fn a_broken_policy_changes_nothing() {
    let mut scene = Scene::start("policy-broken", Start::default());
    scene.until_settled();
    scene.daemon.write_policy("subject", "[fleet.policy-broken]\nmin = \"three\"\n");
    scene.until("the reload is refused", SOON, |scene| scene.daemon.status()["last_reload_successful"] == false);
    let problem = scene.daemon.status()["reload_problem"].to_string();
    assert!(problem.contains("subject.toml:2:"), "{problem}");
    // The last good one goes on, also over a restart.
    scene.load(750.0);
    scene.until_desired(8, SOON);
    scene.daemon.kill();
    scene.daemon.start();
    scene.load(950.0);
    scene.until_desired(10, SOON);
    assert_eq!(scene.daemon.status()["last_reload_successful"], false);
    scene.daemon.write_policy("subject", &scene.policy.toml());
    scene.until("the reload is taken", SOON, |scene| scene.daemon.status()["last_reload_successful"] == true);
    scene.ends_well();
}

#[test]
fn a_removed_policy_leaves_its_group_alone() {
    let mut scene = Scene::start("policy-removed", Start::default());
    scene.until_settled();
    scene.daemon.remove_policy("subject");
    // Half of all fleets at once is more likely a mistake.
    scene.until("the reload is refused", SOON, |scene| scene.daemon.status()["last_reload_successful"] == false);
    scene.load(750.0);
    scene.until_desired(8, SOON);
    let (code, _, error) = scene.daemon.run(&["reload"]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("1 of 2 fleets"), "{error}");
    let (code, _, error) = scene.daemon.run(&["reload", "--allow-removal"]);
    assert_eq!(code, 0, "{error}");
    scene.until("the fleet is gone", SOON, |scene| scene.daemon.fleet(scene.name).is_null());
    scene.load(150.0);
    scene.pass(9.0);
    assert_eq!(scene.desired(), 8);
    scene.finish();
}

#[test]
fn a_hold_and_its_end() {
    let mut scene = Scene::start("hold", Start::default());
    scene.until_settled();
    let at = super::now();
    let (code, _, error) = scene.daemon.run(&["hold", "hold", "--for", "25s", "--reason", "a drill"]);
    assert_eq!(code, 0, "{error}");
    scene.load(850.0);
    scene.until_hold("override", SOON);
    scene.assert_explained("override");
    assert_eq!(scene.daemon.fleet("hold")["override"]["reason"], "a drill");
    // It is kept over a crash.
    scene.daemon.kill();
    scene.daemon.start();
    scene.until_hold("override", SOON);
    scene.pass(25.0 - (super::now() - at) - 0.5);
    assert_eq!(scene.desired(), 6);
    scene.until_desired(9, SOON);
    // The world is held by a file.
    let (code, _, error) = scene.daemon.run(&["hold", "--all", "--for", "1h", "--reason", "a storm"]);
    assert_eq!(code, 0, "{error}");
    scene.until_hold("override", SOON);
    scene.load(250.0);
    scene.pass(8.0);
    assert_eq!(scene.desired(), 9);
    let (code, _, error) = scene.daemon.run(&["release", "--all"]);
    assert_eq!(code, 0, "{error}");
    scene.ends_well();
}

#[test]
fn a_pin_and_its_end() {
    let mut scene = Scene::start("pin", Start::default());
    scene.until_settled();
    let at = super::now();
    let (code, _, error) = scene.daemon.run(&["pin", "pin", "9", "--for", "10s", "--reason", "a sale"]);
    assert_eq!(code, 0, "{error}");
    scene.until_desired(9, SOON);
    scene.until_hold("override", SOON);
    scene.assert_explained("override");
    scene.until_desired(6, Duration::from_secs(40));
    // The window starts again when it ends.
    let first = scene.audit().drops()[0].at - at;
    assert!(first >= 10.0 + scene.policy.window_secs() - 0.5, "the first instance went after {first:.1} s");
    scene.ends_well();
}

#[test]
fn a_group_that_the_cloud_sizes_itself_is_left_alone() {
    let mut scene = Scene::prepare("foreign", Start::default());
    scene.cloud.put_policy(scene.name);
    scene.daemon.start();
    // Found before the first write: two that size one group would fight.
    scene.load(250.0);
    scene.until_hold("foreign", Duration::from_secs(30));
    let explained = scene.assert_explained("foreign");
    assert_eq!(explained["decision"]["hold"]["setting"], "foreign", "{explained:#}");
    let (_, text, _) = scene.daemon.run(&["explain", "foreign"]);
    assert!(text.contains("foreign: scaling policy half-busy"), "{text}");
    scene.load(950.0);
    scene.pass(5.0);
    assert_eq!(scene.writes().len(), 0);
    scene.assert_control();
}
