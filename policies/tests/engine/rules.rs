//! Each rule on its own.

use crate::fleet::*;
use serde_json::json;

fn one(body: &str, cycle: Cycle) -> serde_json::Value {
    Fleet::new(&policy("", body)).decide(cycle)
}

#[test]
fn per_instance_divides_a_total_and_ignores_counts() {
    for (total, expected) in [(220.0, 1), (221.0, 2), (660.0, 3), (1301.0, 6), (2200.0, 10)] {
        let body = format!("{}{FREE}", rps(220.0));
        // Whatever runs or boots: the answer is the same, and pending instances are in current already.
        for running in [0, 1] {
            let cycle = Cycle::new(0.0, 1).instances(running, 1 - running).read("rps", total);
            assert_eq!(desired(&one(&body, cycle)), expected, "{total}");
        }
    }
    // The rounding error of a division asks for no machine: 0.7 / 0.1 is 7.
    assert_eq!(desired(&one(&format!("{}{FREE}", rps(0.1)), Cycle::new(0.0, 1).read("rps", 0.7))), 7);
    assert_eq!(desired(&one(&format!("{}{FREE}", rps(0.1)), Cycle::new(0.0, 1).read("rps", 0.3))), 3);
}

#[test]
fn utilization_counts_work_by_what_served_then() {
    let body = format!("{}{FREE}", metric_rule("cpu", "ratio", "kind = \"utilization\"\ntarget = 0.6"));
    assert_eq!(desired(&one(&body, Cycle::new(0.0, 4).read("cpu", 0.9))), 6);
    let mut fleet = Fleet::new(&policy("", &body));
    assert_eq!(desired(&fleet.decide(Cycle::new(0.0, 4).read("cpu", 0.9))), 6);
    // Two are booting and the average is still that of four: 3.6 / 0.6 stays 6, it is not 9.
    assert_eq!(desired(&fleet.decide(Cycle::new(15.0, 6).instances(4, 2).read("cpu", 0.9))), 6);
    // All six serve now, but the reading is from when four did.
    let late = Cycle::new(30.0, 6).reading("cpu", json!({"value": 0.9, "at": EPOCH + 20}));
    assert_eq!(desired(&fleet.decide(late)), 6);
}

#[test]
fn utilization_above_target_never_recommends_less() {
    let body = format!("{}{FREE}", metric_rule("cpu", "ratio", "kind = \"utilization\"\ntarget = 0.6"));
    let mut fleet = Fleet::new(&policy("", &body));
    for secs in [0.0, 15.0, 30.0, 45.0] {
        // One serves of ten asked for: 0.7 / 0.6 would be 2.
        let cycle = Cycle::new(secs, 10).instances(1, 9).read("cpu", 0.7);
        assert_eq!(desired(&fleet.decide(cycle)), 10);
    }
}

#[test]
fn a_censored_average_only_pushes_out() {
    let body = format!(
        "{}{FREE}",
        metric_rule("cpu", "percent", "kind = \"utilization\"\ntarget = 99.0\ntolerance = { out = 0.0, in = 0.0 }")
    );
    let mut fleet = Fleet::new(&policy("", &body));
    for secs in [0.0, 15.0, 30.0] {
        assert_eq!(desired(&fleet.decide(Cycle::new(secs, 50).read("cpu", 96.0))), 50);
    }
}

/// 40 connections an instance are many or few, not 4000 % of anything.
#[test]
fn an_average_that_is_no_share_is_not_censored() {
    let body = format!("{}{FREE}", metric_rule("connections", "count", "kind = \"utilization\"\ntarget = 80.0"));
    let scalar = one(&body, Cycle::new(0.0, 10).read("connections", 40.0));
    assert_eq!(scalar["recommendations"][0]["value"], 5, "{scalar}");
    let body = metric_rule("connections", "count", "kind = \"utilization\"\ntarget = 80.0");
    let each = json!({"values": {"i-0": 40.0, "i-1": 40.0}, "at": EPOCH});
    let one = one(
        &format!("{}{FREE}", body.replace("unit =", "by = \"id\"\nunit =")),
        Cycle::new(0.0, 2).reading("connections", each),
    );
    assert!(one["recommendations"][0]["value"] == 1, "{one}");
}

#[test]
fn nothing_serving_says_nothing_of_the_work() {
    let body = metric_rule("cpu", "ratio", "kind = \"utilization\"\ntarget = 0.6");
    let held = one(&body, Cycle::new(0.0, 3).instances(0, 3).read("cpu", 0.1));
    assert_eq!((desired(&held), reason(&held)), (3, "blind"));
}

const STEPS: &str =
    "kind = \"step\"\nsteps = [ { above = 60, add = 2 }, { above = 300, add = \"50%\" }, { below = 5, remove = 1 } ]";

#[test]
fn the_highest_step_counts_alone() {
    let body = format!("{}{FREE}", metric_rule("age", "seconds", STEPS));
    let at = |value: f64| desired(&one(&body, Cycle::new(0.0, 5).read("age", value)));
    assert_eq!((at(61.0), at(301.0)), (7, 8), "50 % of 5 rounds up");
    let abstained = one(&body, Cycle::new(0.0, 5).read("age", 30.0));
    assert_eq!((desired(&abstained), reason(&abstained)), (5, "on_target"));
    assert!(abstained["recommendations"][0]["abstain"].is_string(), "{abstained}");
}

#[test]
fn a_step_is_not_added_again_while_it_boots() {
    let body = format!("{}{FREE}", metric_rule("age", "seconds", STEPS));
    let mut fleet = Fleet::new(&policy("", &body));
    assert_eq!(desired(&fleet.decide(Cycle::new(0.0, 5).read("age", 100.0))), 7);
    for secs in [15.0, 30.0, 45.0] {
        let cycle = Cycle::new(secs, 7).instances(5, 2).read("age", 100.0);
        assert_eq!(desired(&fleet.decide(cycle)), 7, "{secs}");
    }
    // They serve, and it was not enough.
    assert_eq!(desired(&fleet.decide(Cycle::new(60.0, 7).read("age", 100.0))), 9);
}

#[test]
fn an_abstaining_step_vetoes_nothing() {
    let body = format!("{}{}{FREE}", metric_rule("age", "seconds", STEPS), rps(10.0));
    let mut fleet = Fleet::new(&policy("", &body));
    let mut last = json!(null);
    for secs in [0.0, 15.0, 30.0] {
        last = fleet.decide(Cycle::new(secs, 5).read("age", 30.0).read("rps", 20.0));
    }
    assert_eq!(desired(&last), 2);
}

#[test]
fn a_schedule_is_state_not_an_edge() {
    let rule = "[[fleet.web.rule]]\nname = \"sale\"\nkind = \"schedule\"\ncron = \"0 20 24 * *\"\nuntil = \"0 6 1 * *\"\ntz = \"Asia/Jakarta\"\nlead = \"10m\"\nmin = 40\n";
    let body = format!("{}{FREE}{rule}", rps(10.0)).replace("[fleet.web.scale_out]", "[fleet.web.scale_out]");
    // 2026-11-24 20:00 in Jakarta is 13:00 UTC.
    let opens = 1_795_525_200_i64;
    let closes = 1_796_079_600_i64; // 2026-12-01 06:00 in Jakarta.
    for (at, min) in [(opens - 601, 1), (opens - 600, 40), (opens + 86_400, 40), (closes - 1, 40), (closes, 1)] {
        let secs = (at - EPOCH) as f64;
        let decision = one(&body, Cycle::new(secs, 50).read("rps", 500.0));
        assert_eq!(decision["limits"]["min"], json!(min), "{at}: {decision}");
    }
}

#[test]
fn of_overlapping_schedules_the_greatest_min_and_the_smallest_max_win() {
    let schedule = |name: &str, bounds: &str| {
        format!(
            "[[fleet.web.rule]]\nname = \"{name}\"\nkind = \"schedule\"\ncron = \"0 0 * * *\"\nfor = \"24h\"\ntz = \"UTC\"\n{bounds}\n"
        )
    };
    let body =
        format!("{}{FREE}{}{}", rps(10.0), schedule("a", "min = 10\nmax = 80"), schedule("b", "min = 20\nmax = 60"));
    let decision = one(&body, Cycle::new(0.0, 30).read("rps", 300.0));
    assert_eq!((&decision["limits"]["min"], &decision["limits"]["max"]), (&json!(20), &json!(60)));
}

#[test]
fn a_guard_blocks_while_true_lingers_and_blocks_when_unknown() {
    let guard = metric_rule("errors", "ratio", "kind = \"guard\"\nabove = 0.02\nblocks = \"in\"\nlinger = \"5m\"");
    let body = format!("{}{guard}{FREE}", rps(10.0));
    let mut fleet = Fleet::new(&policy("", &body));
    let mut last = json!(null);
    for secs in [0.0, 15.0, 30.0] {
        last = fleet.decide(Cycle::new(secs, 5).read("rps", 20.0).read("errors", 0.05));
    }
    assert_eq!((desired(&last), reason(&last)), (5, "guard"));
    let lingering = fleet.decide(Cycle::new(45.0, 5).read("rps", 20.0).read("errors", 0.0));
    assert_eq!((desired(&lingering), reason(&lingering)), (5, "guard"));
    let unknown = fleet.decide(Cycle::new(60.0, 5).read("rps", 20.0).reading("errors", json!({"missing": "timeout"})));
    assert_eq!((desired(&unknown), reason(&unknown)), (5, "guard"));
    // It never blocks the other direction.
    let out = fleet.decide(Cycle::new(75.0, 5).read("rps", 90.0).read("errors", 0.05));
    assert_eq!(desired(&out), 9);
}

#[test]
fn what_a_step_would_add_back_is_not_removed() {
    let steps = "name = \"busy\"\nkind = \"step\"\nsteps = [ { above = 0.8, add = 2 } ]";
    let body = format!("{}{}{FREE}", rps(10.0), metric_rule("cpu", "ratio", steps));
    let mut fleet = Fleet::new(&policy("", &body));
    let mut last = json!(null);
    for secs in [0.0, 15.0, 30.0] {
        last = fleet.decide(Cycle::new(secs, 10).read("rps", 20.0).read("cpu", 0.5));
    }
    // 0.5 x 10 / 7 = 0.71 stays below the step; at 6 it would be 0.83.
    assert_eq!(desired(&last), 7);
    let flap = last["trace"][2].clone();
    assert_eq!((&flap["before"], &flap["after"]), (&json!(2), &json!(7)));
}

#[test]
fn the_smallest_wins_when_the_policy_says_so() {
    let body = format!(
        "{}{}{FREE}",
        rps(10.0),
        metric_rule("b", "count", "name = \"b\"\nkind = \"per-instance\"\ntarget = 1.0")
    );
    let text = policy("combine = \"min\"", &body);
    assert_eq!(desired(&Fleet::new(&text).decide(Cycle::new(0.0, 5).read("rps", 80.0).read("b", 6.0))), 6);
}

#[test]
fn blind_for_long_raises_when_told_to_and_never_lowers() {
    let text = policy("", &format!("{}{FREE}[fleet.web.on_missing]\nafter = \"5m\"\nraise_to = 20\n", rps(10.0)));
    let mut fleet = Fleet::new(&text);
    let blind = |secs: f64, current| Cycle::new(secs, current).reading("rps", json!({"missing": "timeout"}));
    assert_eq!(desired(&fleet.decide(blind(0.0, 5))), 5);
    assert_eq!(desired(&fleet.decide(blind(299.0, 5))), 5);
    assert_eq!(desired(&fleet.decide(blind(300.0, 5))), 20);
    assert_eq!(desired(&fleet.decide(blind(315.0, 50))), 50);
}
