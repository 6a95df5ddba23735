//! The Kubernetes HPA's test vectors (derived from its source): the floor that the engine must match, except where a
//! fleet of machines must do better.

use crate::fleet::*;
use serde_json::json;

/// One cycle of a utilization rule with one value per instance.
fn members(values: &[(&str, f64)], serving: u32, target: f64) -> serde_json::Value {
    let rule = metric_rule("cpu", "ratio", &format!("kind = \"utilization\"\ntarget = {target}"))
        .replace("unit", "by = \"instance_id\"\nmin_members = \"50%\"\nunit");
    let mut fleet = Fleet::new(&policy("", &format!("{rule}{FREE}")));
    let values: serde_json::Map<_, _> = values.iter().map(|(id, v)| ((*id).to_owned(), json!(v))).collect();
    let mut last = json!(null);
    for secs in [0.0, 15.0, 30.0, 45.0] {
        let at = EPOCH as f64 + secs;
        last = fleet.decide(Cycle::new(secs, serving).reading("cpu", json!({"values": values, "at": at})));
        if last["desired"] != last["current"] {
            break;
        }
    }
    last
}

#[test]
fn plain_out_and_tolerance() {
    let at = |value: f64| members(&[("i-0", value), ("i-1", value), ("i-2", value)], 3, 0.5);
    assert_eq!(desired(&at(0.9)), 6);
    assert_eq!(desired(&at(0.545)), 3);
}

#[test]
fn a_missing_member_never_turns_the_direction() {
    assert_eq!(desired(&members(&[("i-0", 0.6), ("i-1", 0.6), ("i-2", 0.6)], 4, 0.5)), 4);
    assert_eq!(desired(&members(&[("i-0", 0.2), ("i-1", 0.2), ("i-2", 0.2)], 4, 0.5)), 4);
}

#[test]
fn an_unready_member_dampens_scale_out_only() {
    let rule = metric_rule("cpu", "ratio", "kind = \"utilization\"\ntarget = 0.5")
        .replace("unit", "by = \"instance_id\"\nunit");
    let mut fleet = Fleet::new(&policy("", &format!("{rule}{FREE}")));
    let values = json!({"i-0": 0.9, "i-1": 0.9, "i-2": 0.9});
    let cycle = Cycle::new(0.0, 5).instances(3, 2).reading("cpu", json!({"values": values, "at": EPOCH}));
    // 2.7 / 5 / 0.5 = 1.08: within tolerance once the two booting ones count as idle.
    assert_eq!(desired(&fleet.decide(cycle)), 5);
}

#[test]
fn a_lost_metric_stops_scale_in_and_leaves_scale_out() {
    let text = policy(
        "",
        &format!(
            "{}{}{FREE}",
            rps(10.0),
            metric_rule("b", "count", "kind = \"per-instance\"\nname = \"b\"\ntarget = 1.0")
        ),
    );
    let decide = |value: f64| {
        let mut fleet = Fleet::new(&text);
        fleet.decide(Cycle::new(0.0, 5).read("rps", value).reading("b", json!({"missing": "timeout"})))
    };
    let held = decide(20.0);
    assert_eq!((desired(&held), reason(&held)), (5, "partial"));
    assert_eq!(desired(&decide(80.0)), 8);
}

/// Recommendations at given times before now, then the desired that follows.
fn envelope(windows: (u32, u32), current: u32, past: &[(u32, u32)], now: u32) -> u64 {
    let limits = format!(
        "[fleet.web.scale_out]\nstabilization = \"{}s\"\nrate = []\n[fleet.web.scale_in]\nstabilization = \"{}s\"\nrate = []\n",
        windows.0, windows.1
    );
    let mut fleet = Fleet::new(&policy("", &format!("{}{limits}", rps(1.0))));
    let start = 700;
    let mut last = json!(null);
    for ago in (0..=start).rev().step_by(20) {
        let value = past.iter().find(|(at, _)| *at == ago).map_or(current, |(_, value)| *value);
        let value = if ago == 0 { now } else { value };
        last = fleet.decide(Cycle::new(f64::from(start - ago), current).read("rps", f64::from(value)));
    }
    desired(&last)
}

#[test]
fn the_envelope_moves_only_when_it_must() {
    // kubernetes#96671: the older rule scaled out to 3 during a scale-in.
    assert_eq!(envelope((300, 300), 2, &[(60, 3)], 1), 2);
    // kubernetes#98174: the older rule scaled out to 21.
    assert_eq!(envelope((300, 600), 17, &[(100, 21), (200, 13)], 13), 17);
    // Slow in: the largest of the window; our window also holds the recommendations of 10 that kept the fleet until now,
    // so it is the newest of those that decides.
    assert_eq!(envelope((0, 300), 10, &[(100, 9)], 4), 10);
}

#[test]
fn slow_in_takes_the_largest_of_the_window() {
    let limits = "[fleet.web.scale_out]\nrate = []\n[fleet.web.scale_in]\nstabilization = \"5m\"\nrate = []\n";
    let mut fleet = Fleet::new(&policy("", &format!("{}{limits}", rps(1.0))));
    let mut last = json!(null);
    for secs in (0..=320).step_by(20) {
        let value = if secs == 220 { 9.0 } else { 4.0 };
        last = fleet.decide(Cycle::new(f64::from(secs), 10).read("rps", value));
        assert!(secs >= 300 || reason(&last) == "window_uncovered", "{secs}: {last}");
        if secs == 300 {
            break;
        }
    }
    assert_eq!(desired(&last), 9);
}

#[test]
fn rates_count_what_was_added_in_the_period() {
    let limits = "[fleet.web.scale_out]\nrate = [{ instances = 4, per = \"1m\" }, { percent = \"50%\", per = \"1m\" }]\nselect = \"max\"\n";
    let mut fleet = Fleet::new(&policy("", &format!("{}{limits}", rps(1.0))));
    // From 6, the rates allow 10 and 9: the most generous counts.
    assert_eq!(desired(&fleet.decide(Cycle::new(0.0, 6).read("rps", 50.0))), 10);
    // 4 were added in this minute: start 6 still allows 10 and no more.
    let used = fleet.decide(Cycle::new(15.0, 10).read("rps", 50.0));
    assert_eq!((desired(&used), reason(&used)), (10, "pace"));
    assert_eq!(desired(&fleet.decide(Cycle::new(61.0, 10).read("rps", 50.0))), 15);
}

#[test]
fn percent_rounds_as_the_hpa_does() {
    let scale_in = |current: u32, percent: &str| {
        let limits = format!(
            "[fleet.web.scale_in]\nstabilization = \"0s\"\nrate = [{{ percent = \"{percent}\", per = \"1m\" }}]\n"
        );
        let mut fleet = Fleet::new(&policy("", &format!("{}{limits}", rps(1.0))));
        let mut current = current;
        desired(&fleet.steady(0, 30, 15, &mut current, "rps", 1.0))
    };
    assert_eq!(scale_in(5, "10%"), 4);
    assert_eq!(scale_in(9, "10%"), 8);
    assert_eq!(scale_in(30, "10%"), 27);
    let limits = "[fleet.web.scale_out]\nrate = [{ percent = \"10%\", per = \"1m\" }]\n";
    let mut fleet = Fleet::new(&policy("", &format!("{}{limits}", rps(1.0))));
    assert_eq!(desired(&fleet.decide(Cycle::new(0.0, 1).read("rps", 50.0))), 2);
}

#[test]
fn from_zero_there_is_no_tolerance() {
    let text = policy("", &format!("{}{FREE}", rps(10.0))).replace("min = 1", "min = 0");
    assert_eq!(desired(&Fleet::new(&text).decide(Cycle::new(0.0, 0).read("rps", 30.0))), 3);
}

#[test]
fn a_lowered_max_obeys_the_scale_in_rate() {
    // The HPA goes to 10 at once; machines leave at the pace.
    let text = policy("", &rps(1.0)).replace("max = 100", "max = 10");
    assert_eq!(desired(&Fleet::new(&text).decide(Cycle::new(0.0, 100).read("rps", 100.0))), 90);
}
