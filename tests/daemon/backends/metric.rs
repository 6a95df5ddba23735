//! The readings go wrong, each in its own way, while the load really falls: nothing is removed until the whole window has
//! been seen again.

use super::exporter::Show;
use super::policy::Policy;
use super::scene::{Scene, Start};
use std::time::Duration;

/// Longer than the window and the age that a reading may have.
const TROUBLE_SECS: f64 = 9.0;

/// The instances show something wrong for a while; `reason` is the hold's.
fn check(name: &'static str, show: Show, start: Start, reason: &str) {
    let mut scene = Scene::start(name, start);
    scene.until_settled();
    scene.show(show);
    scene.load(250.0);
    scene.until_hold(reason, Duration::from_secs(15));
    scene.assert_explained(reason);
    scene.pass(TROUBLE_SECS);
    assert_eq!(scene.hold(), reason);
    assert_eq!(scene.desired(), 6);
    assert_eq!(scene.writes().len(), 0);
    scene.show(Show::All);
    scene.ends_well();
}

#[test]
fn the_metric_vanishes() {
    check("metric-vanishes", Show::Nothing, Start::default(), "blind");
}

#[test]
fn the_metric_turns_nan() {
    check("metric-nan", Show::Value(f64::NAN), Start::default(), "blind");
}

#[test]
fn the_metric_turns_infinite() {
    check("metric-inf", Show::Value(f64::INFINITY), Start::default(), "blind");
}

#[test]
fn the_metric_goes_stale_while_prometheus_still_answers() {
    // Samples with times of their own leave no mark where they end, so what is asked for must not be a sum over instances.
    let policy = |policy: &mut Policy| {
        policy.query = format!("offered{{fleet=\"{}\"}}", policy.fleet);
        policy.members = None;
    };
    check("metric-stale", Show::Frozen, Start { stamped: true, policy, ..Start::default() }, "blind");
}

#[test]
fn half_of_its_members_vanish() {
    let mut scene = Scene::start("metric-half", Start::default());
    scene.until_settled();
    scene.show(Show::Half);
    scene.until_hold("partial", Duration::from_secs(15));
    scene.assert_explained("partial");
    scene.pass(TROUBLE_SECS);
    assert_eq!(scene.desired(), 6);
    // What half of them carry may still ask for more.
    scene.load(1300.0);
    scene.until_desired(7, Duration::from_secs(10));
    scene.show(Show::All);
    scene.until_desired(13, Duration::from_secs(10));
    scene.ends_well();
}

/// A Prometheus of the fleet's own goes away and comes back.
fn check_prometheus(name: &'static str, go: fn(&mut Scene), come: fn(&mut Scene)) {
    let mut scene = Scene::start(name, Start { own_prometheus: true, ..Start::default() });
    scene.until_settled();
    go(&mut scene);
    scene.load(250.0);
    scene.until_hold("blind", Duration::from_secs(15));
    scene.assert_explained("blind");
    scene.pass(TROUBLE_SECS);
    assert_eq!(scene.desired(), 6);
    assert_eq!(scene.writes().len(), 0);
    come(&mut scene);
    scene.ends_well();
}

#[test]
fn prometheus_hangs() {
    check_prometheus(
        "prometheus-hangs",
        |scene| scene.own_prometheus.as_ref().unwrap().process.signal("STOP"),
        |scene| scene.own_prometheus.as_ref().unwrap().process.signal("CONT"),
    );
}

#[test]
fn prometheus_is_killed() {
    check_prometheus(
        "prometheus-killed",
        |scene| scene.own_prometheus.as_ref().unwrap().process.signal("KILL"),
        |scene| scene.own_prometheus.as_mut().unwrap().restart(),
    );
}
