//! What the closest peers get wrong: one test for each behaviour that concerns decisions.

use crate::fleet::*;
use serde_json::json;

#[test]
fn a_restart_keeps_a_cooldown() {
    let text = policy("", &format!("{}[fleet.web.scale_out]\nrate = []\ncooldown = \"1h\"\n", rps(1.0)));
    let mut fleet = Fleet::new(&text);
    assert_eq!(desired(&fleet.decide(Cycle::new(0.0, 2).read("rps", 4.0))), 4);
    let saved = fleet.decider.save();
    let mut restarted = Fleet::new(&text);
    restarted.decider.load(&saved).expect("own memory");
    let held = restarted.decide(Cycle::new(1.0, 4).read("rps", 9.0));
    assert_eq!((desired(&held), reason(&held)), (4, "cooldown"));
}

#[test]
fn what_is_no_number_is_missing() {
    for value in ["NaN", "+Inf", "-Inf"] {
        let mut fleet = Fleet::new(&policy("", &format!("{}{FREE}", rps(1.0))));
        for secs in [0.0, 15.0, 30.0, 45.0] {
            let at = EPOCH as f64 + secs;
            let held = fleet.decide(Cycle::new(secs, 6).reading("rps", json!({"value": value, "at": at})));
            assert_eq!((desired(&held), reason(&held)), (6, "blind"), "{value}");
        }
    }
}

#[test]
fn out_of_bounds_is_corrected_on_target_and_never_in_one_step() {
    // 15 with max 10 and a rule that wants more: down at the scale-in rate, not to 10 at once.
    let text = policy("", &rps(1.0)).replace("max = 100", "max = 10");
    let mut fleet = Fleet::new(&text);
    let mut current = 15;
    let mut seen = vec![];
    for secs in (0..=300).step_by(15) {
        let decision = fleet.decide(Cycle::new(f64::from(secs), current).read("rps", 20.0));
        current = desired(&decision) as u32;
        seen.push(current);
    }
    assert!(seen.windows(2).all(|w| w[0] - w[1] <= 2), "{seen:?}");
    assert_eq!(seen[0], 13);
    assert_eq!(current, 10);
    // Below min while the metric is on target.
    let text = policy("", &rps(1.0)).replace("min = 1", "min = 8");
    assert_eq!(desired(&Fleet::new(&text).decide(Cycle::new(0.0, 3).read("rps", 3.0))), 8);
}

#[test]
fn a_scale_in_never_delays_an_urgent_scale_out() {
    let text = policy(
        "",
        &format!(
            "{}[fleet.web.scale_out]\nrate = []\n[fleet.web.scale_in]\nstabilization = \"0s\"\nrate = []\ncooldown = \"1h\"\n",
            rps(1.0)
        ),
    );
    let mut fleet = Fleet::new(&text);
    let mut current = 10;
    fleet.steady(0, 30, 15, &mut current, "rps", 5.0);
    assert_eq!(current, 5);
    assert_eq!(desired(&fleet.decide(Cycle::new(45.0, 5).read("rps", 12.0))), 12);
}

#[test]
fn an_unread_group_is_unknown_never_minus_one() {
    // kubernetes/autoscaler#3240: a throttled read became -1, and -1 + 4 = 3 was written.
    let mut fleet = Fleet::new(&policy("", &format!("{}{FREE}", rps(1.0))));
    let mut cycle = Cycle::new(0.0, 200).read("rps", 204.0);
    cycle.line["groups"] = json!([{"provider": "cloud", "group": "web", "error": "throttled"}]);
    let held = fleet.decide(cycle);
    assert!(held["desired"].is_null() && held["current"].is_null());
    assert_eq!(reason(&held), "group_unknown");
    assert_eq!(held["groups"][0], json!({"provider": "cloud", "group": "web", "desired": null, "terminate": []}));
}

#[test]
fn an_outage_of_the_metrics_is_not_a_load_of_zero() {
    let mut fleet = Fleet::new(&policy("", &format!("{}{FREE}", rps(1.0))));
    let mut current = 40;
    fleet.steady(0, 60, 15, &mut current, "rps", 40.0);
    for secs in (75..3600).step_by(15) {
        let held = fleet.decide(Cycle::new(f64::from(secs), 40).reading("rps", json!({"missing": "empty"})));
        assert_eq!((desired(&held), reason(&held)), (40, "blind"));
    }
}

#[test]
fn no_region_that_cannot_launch_is_scaled_in() {
    let failing = |secs: f64, scope: &str| {
        Cycle::new(secs, 10).read("rps", 2.0).group(
            "launch_failures",
            json!([{"kind": "out_of_capacity", "scope": scope, "at": EPOCH as f64 + secs - 10.0}]),
        )
    };
    let mut fleet = Fleet::new(&policy("", &format!("{}{FREE}", rps(1.0))));
    for secs in [0.0, 15.0, 30.0, 45.0] {
        let held = fleet.decide(failing(secs, "region"));
        assert_eq!(desired(&held), 10, "{secs}");
    }
    let held = fleet.decide(failing(60.0, "zone:a"));
    assert_eq!((desired(&held), reason(&held)), (10, "out_of_capacity"));
}

#[test]
fn no_group_whose_launches_are_suspended_is_scaled_in() {
    let suspended = |secs: f64, desired: u32, rps: f64| {
        Cycle::new(secs, desired).instances(10, 0).read("rps", rps).group("suspended", json!(["Launch"]))
    };
    let mut fleet = Fleet::new(&policy("", &format!("{}{FREE}", rps(1.0))));
    for secs in [0.0, 15.0, 30.0, 45.0] {
        let held = fleet.decide(suspended(secs, 10, 2.0));
        assert_eq!((desired(&held), secs < 30.0 || reason(&held) == "out_of_capacity"), (10, true), "{held}");
    }
    // Two of twelve were never launched, and may be withdrawn; more of them would not be launched either.
    let mut fleet = Fleet::new(&policy("", &format!("{}{FREE}", rps(1.0))));
    for secs in [0.0, 15.0, 30.0] {
        let held = fleet.decide(suspended(secs, 12, 15.0));
        assert_eq!((desired(&held), reason(&held)), (12, "out_of_capacity"), "{held}");
    }
    let mut least = 12;
    for secs in [45.0, 60.0, 75.0, 90.0] {
        let decision = fleet.decide(suspended(secs, 12, 2.0));
        assert_eq!(decision["groups"][0]["terminate"], json!([]), "{decision}");
        least = least.min(desired(&decision));
    }
    assert_eq!(least, 10);
}

#[test]
fn a_group_that_cannot_launch_is_not_asked_for_ever_more() {
    let mut fleet = Fleet::new(&policy("", &format!("{}{FREE}", rps(1.0))));
    let cycle = Cycle::new(0.0, 10)
        .instances(6, 0)
        .read("rps", 50.0)
        .group("launch_failures", json!([{"kind": "out_of_capacity", "scope": "group", "at": EPOCH - 10}]));
    let held = fleet.decide(cycle);
    assert_eq!((desired(&held), reason(&held)), (10, "out_of_capacity"));
    // One zone says nothing of the others.
    let mut fleet = Fleet::new(&policy("", &format!("{}{FREE}", rps(1.0))));
    let cycle = Cycle::new(0.0, 10)
        .instances(6, 0)
        .read("rps", 50.0)
        .group("launch_failures", json!([{"kind": "out_of_capacity", "scope": "zone:a", "at": EPOCH - 10}]));
    assert_eq!(desired(&fleet.decide(cycle)), 50);
}

#[test]
fn a_group_whose_zones_all_fail_is_not_asked_for_ever_more() {
    let failing = |zones: &[&str]| {
        let failures: Vec<_> = zones
            .iter()
            .map(|zone| json!({"kind": "out_of_capacity", "scope": format!("zone:{zone}"), "at": EPOCH - 10}))
            .collect();
        let cycle = Cycle::new(0.0, 9).instances(6, 0).instance(3, "zone", json!("b")).instance(5, "zone", json!("c"));
        let cycle = cycle.read("rps", 12.0).group("launch_failures", json!(failures));
        let decision = Fleet::new(&policy("", &format!("{}{FREE}", rps(1.0)))).decide(cycle);
        (desired(&decision), reason(&decision).to_owned())
    };
    assert_eq!(failing(&["a", "b", "c"]), (9, "out_of_capacity".into()));
    assert_eq!(failing(&["a", "c"]), (12, String::new()), "zone b may still have some");
}

#[test]
fn a_second_scaler_is_noticed_before_the_first_write() {
    let decide = |keys: &str| {
        let mut fleet = Fleet::new(&policy(keys, &format!("{}{FREE}", rps(1.0))));
        fleet.decide(Cycle::new(0.0, 5).read("rps", 9.0).group("foreign", json!(["scaling policy cpu50"])))
    };
    let held = decide("");
    assert_eq!((desired(&held), reason(&held)), (5, "foreign"));
    assert_eq!(held["hold"]["setting"], json!("foreign"));
    // Only its name is known, so it may be one that removes.
    let unknown = decide("foreign = \"allow-scale-out\"");
    assert_eq!((desired(&unknown), reason(&unknown)), (5, "foreign"));
}

#[test]
fn every_hold_names_its_setting_and_line() {
    let text = policy("", &format!("{}[fleet.web.scale_in]\nstabilization = \"10m\"\n", rps(1.0)));
    let line = 1 + text.lines().position(|line| line.starts_with("stabilization")).expect("written") as u64;
    let held = Fleet::new(&text).decide(Cycle::new(0.0, 9).read("rps", 3.0));
    assert_eq!(
        held["hold"],
        json!({"reason": "window_uncovered", "setting": "scale_in.stabilization", "file": "web.toml", "line": line})
    );
}
