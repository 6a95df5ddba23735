//! `kill -9`, at the worst moments. Whatever was recorded and not answered is read again before anything is done.

use super::proxy::Fault;
use super::scene::{Scene, Start};
use std::time::Duration;

const SLOW: Duration = Duration::from_secs(20);

/// Kills the daemon while a call of this action is open, and starts it again at once.
fn kill_within(scene: &mut Scene, action: &str) {
    scene.until(&format!("{action} is called"), Duration::from_secs(30), |scene| scene.count(action) > 0);
    scene.pass(0.5);
    scene.daemon.kill();
    scene.daemon.start();
}

#[test]
fn killed_while_a_raise_is_open() {
    let mut scene = Scene::start("killed-in-raise", Start::default());
    scene.until_settled();
    scene.proxy.fault("SetDesiredCapacity", Fault::SlowEffect(SLOW), 1);
    scene.load(850.0);
    kill_within(&mut scene, "SetDesiredCapacity");
    // Nobody knows yet how the first one ends, so there is no second one.
    scene.pass(SLOW.as_secs_f64() - 5.0);
    assert_eq!((scene.desired(), scene.count("SetDesiredCapacity")), (6, 1));
    scene.until_desired(9, Duration::from_secs(15));
    scene.pass(5.0);
    assert_eq!(scene.count("SetDesiredCapacity"), 1);
    scene.ends_well();
}

#[test]
fn killed_while_a_termination_is_open() {
    let mut scene = Scene::start("killed-in-termination", Start::default());
    scene.until_settled();
    scene.proxy.fault("TerminateInstanceInAutoScalingGroup", Fault::SlowEffect(SLOW), 1);
    scene.load(450.0);
    kill_within(&mut scene, "TerminateInstanceInAutoScalingGroup");
    scene.pass(SLOW.as_secs_f64() - 5.0);
    assert_eq!((scene.desired(), scene.count("TerminateInstanceInAutoScalingGroup")), (6, 1));
    scene.until_desired(5, Duration::from_secs(15));
    scene.pass(12.0);
    assert_eq!(scene.count("TerminateInstanceInAutoScalingGroup"), 1);
    scene.ends_well();
}

#[test]
fn killed_after_the_effect_and_before_the_answer() {
    let mut scene = Scene::start("killed-before-answer", Start::default());
    scene.until_settled();
    scene.proxy.fault("SetDesiredCapacity", Fault::SlowAnswer(SLOW), 1);
    scene.load(850.0);
    kill_within(&mut scene, "SetDesiredCapacity");
    scene.pass(5.0);
    assert_eq!((scene.desired(), scene.count("SetDesiredCapacity")), (9, 1));
    scene.ends_well();
}

#[test]
fn killed_before_a_write_that_nobody_takes() {
    let mut scene = Scene::start("killed-before-write", Start { own_provider: true, ..Start::default() });
    scene.until_settled();
    // The last call before the first write of a group claims it. After its answer nobody listens: what was recorded
    // cannot be sent.
    scene.proxy.fault("CreateOrUpdateTags", Fault::ThenDown, 1);
    scene.load(850.0);
    scene.until("nobody listens", Duration::from_secs(15), |scene| scene.proxy.is_down());
    scene.daemon.kill();
    scene.daemon.start();
    scene.until_hold("group_unknown", Duration::from_secs(10));
    scene.assert_explained("group_unknown");
    scene.pass(3.0);
    assert_eq!((scene.desired(), scene.writes().len()), (6, 0));
    scene.proxy.set_down(false);
    // A minute at most: until then the write might still show (safety rule 2).
    scene.until_desired(9, Duration::from_secs(90));
    assert_eq!(scene.audit().raises().len(), 1);
    scene.ends_well();
}

#[test]
fn killed_ten_times_within_the_window() {
    let mut scene = Scene::start("killed-ten-times", Start::default());
    scene.until_settled();
    scene.load(250.0);
    for _ in 0..10 {
        scene.pass(1.0);
        scene.daemon.kill();
        scene.daemon.start();
        assert_eq!(scene.writes().len(), 0, "no life saw a whole window");
    }
    scene.load(850.0);
    scene.until_desired(9, Duration::from_secs(15));
    scene.daemon.kill();
    scene.daemon.start();
    scene.pass(3.0);
    assert_eq!(scene.audit().raises().len(), 1);
    scene.ends_well();
}
