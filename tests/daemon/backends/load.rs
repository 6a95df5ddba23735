//! The main job: load rises, load falls, on machines that show themselves 30 s after their launch.

use super::scene::{INTERVAL, Scene, Start};
use std::time::Duration;

/// Seconds until a rate over five seconds of a counter that is scraped every second tells the whole of a step: its range,
/// a scrape, and the moment that Prometheus takes to show it.
const LAG: f64 = 6.5;
/// Seconds from a decision until another client can read what it did, on a busy machine.
const ACTING: f64 = 1.5;
const BOOT: Duration = Duration::from_secs(30);

fn counted(scene: &Scene, query: &str) -> f64 {
    scene.stand.prometheus.instant(query).unwrap_or(0.0)
}

#[test]
fn load_rises_and_desired_follows_without_overshoot() {
    let start = Start {
        instances: 3,
        load: 250.0,
        boot: BOOT,
        policy: |policy| {
            let fleet = policy.fleet.clone();
            policy.query = format!("sum(rate(requests_total{{fleet=\"{fleet}\"}}[5s]))");
            policy.members = Some(format!("count(rate(requests_total{{fleet=\"{fleet}\"}}[5s]))"));
            // Its machines take 30 s: what is younger is no member yet.
            policy.warmup = "40s";
        },
        ..Start::default()
    };
    let mut scene = Scene::start("load-rises", start);
    scene.until_hold("on_target", Duration::from_secs(30));
    let interval = INTERVAL.as_secs_f64();
    let mut launched = 0.0;
    // Well below a whole number of instances: rate() overshoots by some percent when a counter appears.
    for (load, wanted) in [(650.0, 7), (1120.0, 12)] {
        let at = super::now();
        scene.load(load);
        let patience = 2.0 * interval + LAG + ACTING;
        scene.until_desired(wanted, Duration::from_secs_f64(patience));
        println!("load-rises: desired {wanted} after {:.1} s of {patience} s", super::now() - at);
        launched = super::now();
        // Every machine serves its share or more meanwhile, and those that boot are no reason for more of them.
        scene.pass(LAG + 2.0);
        assert_eq!(scene.desired(), wanted);
    }
    let members = "count(requests_total{fleet=\"load-rises\"})";
    assert_eq!(counted(&scene, members), 3.0, "a machine shows itself only when it has booted");
    let booted = Duration::from_secs_f64(BOOT.as_secs_f64() + 10.0 - (super::now() - launched));
    scene.until("all twelve serve", booted, |scene| counted(scene, members) == 12.0);
    scene.pass(LAG);
    assert_eq!(scene.desired(), 12);
    for seen in scene.looker.seen("load-rises") {
        let most = scene.stand.exporter.most("load-rises", seen.at - interval - LAG, seen.at);
        let needed = (most / scene.policy.target - 1e-9).ceil();
        assert!(f64::from(seen.desired) <= needed, "{seen:?} when {needed} carried everything");
    }
    assert_eq!(scene.count("SetDesiredCapacity"), scene.audit().raises().len());
    scene.finish();
}

#[test]
fn load_falls_and_named_instances_go_at_the_pace_of_the_policy() {
    let start = Start {
        instances: 9,
        load: 850.0,
        policy: |policy| {
            policy.window = "8s";
            // One at a time: moto does not know terminations in batches.
            policy.rate = "[{ instances = 1, per = \"3s\" }]";
        },
        ..Start::default()
    };
    let mut scene = Scene::prepare("load-falls", start);
    let protected = scene.first[2..5].to_vec();
    scene.cloud.protect(scene.name, &protected);
    scene.daemon.start();
    scene.until_settled();
    // A peak within the window makes it start again.
    scene.load(350.0);
    scene.pass(5.0);
    scene.load(850.0);
    scene.pass(2.0);
    let peak_ends = super::now();
    scene.load(350.0);
    scene.until_desired(4, Duration::from_secs(40));
    let audit = scene.audit();
    let first = audit.drops()[0].at - peak_ends;
    assert!(first >= scene.policy.window_secs() - 1.0, "the first instance went {first:.1} s after the peak");
    // Of those that are left three are protected: one may go.
    scene.load(50.0);
    scene.until_desired(3, Duration::from_secs(40));
    // A reading that came late or covered too little begins the window anew.
    scene.until_hold("protected", Duration::from_secs(30));
    scene.assert_explained("protected");
    scene.pass(4.0);
    let audit = scene.audit();
    audit.assert_pace(1, 3.0);
    for drop in audit.drops() {
        assert!(drop.named.iter().all(|id| !protected.contains(id)), "a protected instance was named: {drop:?}");
    }
    let mut left = scene.cloud.group(scene.name).ids();
    left.sort();
    let mut kept = protected.clone();
    kept.sort();
    assert_eq!(left, kept);
    assert_eq!(scene.count("SetDesiredCapacity"), 0);
    scene.finish();
}

/// A judge that condemns nothing proves nothing: a daemon with hardly a window, under the eyes of one who expects six
/// seconds.
#[test]
fn the_judge_condemns_a_drop_within_the_window() {
    let mut scene = Scene::start("judged", Start { policy: |policy| policy.window = "0s", ..Start::default() });
    scene.until_settled();
    scene.load(250.0);
    scene.until_desired(3, Duration::from_secs(30));
    scene.audit().assert_counted();
    scene.policy.window = "6s";
    let audit = scene.audit();
    let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| audit.assert_drops_justified(None)));
    assert!(judged.is_err(), "{:#?}", audit.changes);
    scene.assert_control();
}
