//! The safety rules, by number: each an invariant with a test.

use crate::fleet::*;
use serde_json::{Value, json};

/// A fleet that follows its load at once, outward and inward.
fn quick(keys: &str) -> Fleet {
    Fleet::new(&policy(keys, &format!("{}{FREE}", rps(1.0))))
}

/// Drives a quick fleet to a steady state at `n`, ending at 60 s.
fn steady(keys: &str, n: u32) -> Fleet {
    let mut fleet = quick(keys);
    let mut current = n;
    fleet.steady(0, 60, 15, &mut current, "rps", f64::from(n));
    fleet
}

#[test]
fn rule_1_scale_in_needs_the_whole_window() {
    let text = policy("", &format!("{}[fleet.web.scale_in]\nstabilization = \"2m\"\nrate = []\n", rps(1.0)));
    let drops_at = |lines: &[f64]| {
        let mut fleet = Fleet::new(&text);
        let first = |secs: &f64| desired(&fleet.decide(Cycle::new(*secs, 9).read("rps", 3.0))) == 3;
        lines.iter().copied().find(first_of(first))
    };
    let every = |step: f64, to: f64| (0..).map(|n| f64::from(n) * step).take_while(|t| *t <= to).collect::<Vec<_>>();
    assert_eq!(drops_at(&every(15.0, 600.0)), Some(120.0));
    // Lines as far apart as a reading may be old still cover.
    assert_eq!(drops_at(&every(60.0, 600.0)), Some(120.0));
    // A gap longer than max(3 x interval, max_age = 3 m) starts the window again.
    let gap: Vec<f64> =
        every(15.0, 90.0).into_iter().chain(every(15.0, 600.0).into_iter().map(|t| t + 271.0)).collect();
    assert_eq!(drops_at(&gap), Some(271.0 + 120.0));
}

/// A predicate over values as one over references, for `find`.
fn first_of<T: Copy>(mut test: impl FnMut(&T) -> bool) -> impl FnMut(&T) -> bool {
    move |value| test(value)
}

#[test]
fn rule_1_the_window_is_never_shorter_than_two_intervals() {
    let mut fleet = quick("interval = \"30s\"");
    for (secs, expected) in [(0.0, 9), (30.0, 9), (59.0, 9), (60.0, 3)] {
        assert_eq!(desired(&fleet.decide(Cycle::new(secs, 9).read("rps", 3.0))), expected, "{secs}");
    }
}

#[test]
fn rule_2_a_write_counts_until_it_shows() {
    let mut fleet = quick("");
    assert_eq!(desired(&fleet.decide(Cycle::new(0.0, 3).read("rps", 6.0))), 6);
    // The cloud still says 3: what was asked for counts, for scale-out, and nothing is removed.
    let again = fleet.decide(Cycle::new(15.0, 3).read("rps", 6.0));
    assert_eq!((desired(&again), reason(&again)), (6, "on_target"));
    let more = fleet.decide(Cycle::new(30.0, 3).read("rps", 8.0));
    assert_eq!((more["current"].as_u64(), desired(&more)), (Some(6), 8));
    let less = fleet.decide(Cycle::new(45.0, 3).read("rps", 1.0));
    assert_eq!(desired(&less), 8);
    // Settling takes at most a minute; then the cloud's word wins, as somebody's change.
    let gone = fleet.decide(Cycle::new(91.0, 3).read("rps", 3.0));
    assert_eq!((gone["current"].as_u64(), desired(&gone)), (Some(3), 3));
}

#[test]
fn rule_2_scale_in_waits_for_the_write_before_it() {
    let mut fleet = steady("", 10);
    let mut last = json!(null);
    for secs in [75.0, 90.0, 105.0] {
        last = fleet.decide(Cycle::new(secs, 10).read("rps", 8.0));
        if desired(&last) < 10 {
            break;
        }
    }
    assert_eq!(desired(&last), 8);
    let now = last["now"].as_f64().expect("now") - EPOCH as f64;
    for more in [15.0, 30.0, 45.0] {
        let held = fleet.decide(Cycle::new(now + more, 10).read("rps", 5.0));
        assert_eq!((desired(&held), reason(&held)), (10, "in_flight"), "{more}");
    }
}

#[test]
fn rule_4_protected_instances_cap_a_scale_in() {
    let mut fleet = quick("");
    let mut last = json!(null);
    for secs in [0.0, 15.0, 30.0] {
        let cycle = Cycle::new(secs, 4).instance(0, "protected", json!(true)).instance(2, "protected", json!(true));
        last = fleet.decide(cycle.read("rps", 1.0));
    }
    assert_eq!(desired(&last), 2);
    let named: Vec<_> = last["groups"][0]["terminate"].as_array().expect("named").clone();
    assert_eq!(named.len(), 2);
    assert!(!named.contains(&json!("i-0")) && !named.contains(&json!("i-2")), "{named:?}");

    let mut all = quick("");
    for secs in [0.0, 15.0, 30.0] {
        let mut cycle = Cycle::new(secs, 3).read("rps", 1.0);
        for at in 0..3 {
            cycle = cycle.instance(at, "protected", json!(true));
        }
        last = all.decide(cycle);
    }
    assert_eq!((desired(&last), reason(&last)), (3, "protected"));
}

#[test]
fn rule_4_nothing_leaves_while_termination_is_suspended_or_a_refresh_runs() {
    for suspended in ["terminate", "Terminate", "refresh"] {
        let mut fleet = quick("");
        let mut last = json!(null);
        for secs in [0.0, 15.0, 30.0] {
            last = fleet.decide(Cycle::new(secs, 5).read("rps", 2.0).group("suspended", json!([suspended])));
        }
        assert_eq!((desired(&last), reason(&last)), (5, "protected"), "{suspended}");
    }
}

#[test]
fn rule_4_unfilled_then_booting_ones_go_first() {
    let mut fleet = quick("");
    let mut last = json!(null);
    for secs in [0.0, 15.0, 30.0] {
        // 8 asked for, 5 run, 1 boots, 2 have not come.
        last = fleet.decide(Cycle::new(secs, 8).instances(5, 1).read("rps", 4.0));
    }
    assert_eq!(desired(&last), 4);
    let named = last["groups"][0]["terminate"].as_array().expect("named").clone();
    assert_eq!(named.len(), 2, "{named:?}");
    assert_eq!(named[0], json!("p-0"));
}

#[test]
fn rule_5_pending_instances_neither_serve_nor_veto() {
    let mut fleet = quick("");
    let mut last = json!(null);
    for secs in [0.0, 15.0, 30.0] {
        last = fleet.decide(Cycle::new(secs, 6).instances(4, 2).read("rps", 3.0));
        assert_eq!(last["serving"], json!(4));
    }
    assert_eq!(desired(&last), 3);
}

#[test]
fn rule_6_a_refusal_frees_the_cooldown_and_an_unclear_outcome_keeps_it() {
    let text = policy("", &format!("{}[fleet.web.scale_out]\nrate = []\ncooldown = \"10m\"\n", rps(1.0)));
    for (result, expected) in [("throttled", 8), ("conflict", 8), ("accepted", 6), ("unclear", 6), ("timeout", 6)] {
        let mut fleet = Fleet::new(&text);
        assert_eq!(desired(&fleet.decide(Cycle::new(0.0, 3).read("rps", 6.0))), 6);
        let current = if expected == 8 { 3 } else { 6 };
        let outcome = json!([{"group": "web", "result": result}]);
        let next = fleet.decide(Cycle::new(15.0, current).read("rps", 8.0).with("outcomes", outcome));
        assert_eq!(desired(&next), expected, "{result}: {next}");
    }
}

#[test]
fn rule_6_a_pin_books_rate_and_no_cooldown() {
    let text = policy(
        "",
        &format!("{}[fleet.web.scale_out]\nrate = [{{ instances = 4, per = \"1m\" }}]\ncooldown = \"10m\"\n", rps(1.0)),
    );
    let mut fleet = Fleet::new(&text);
    let pin = json!({"kind": "pin", "n": 5, "until": EPOCH + 10});
    assert_eq!(desired(&fleet.decide(Cycle::new(0.0, 3).read("rps", 3.0).with("override", pin))), 5);
    // Two of four are used in this minute, and no cooldown runs.
    assert_eq!(desired(&fleet.decide(Cycle::new(15.0, 5).read("rps", 50.0))), 7);
}

#[test]
fn rule_7_readings_from_the_future_are_missing() {
    let decide = |ahead: f64| {
        let mut fleet = quick("");
        let reading = json!({"value": 9.0, "at": EPOCH as f64 + ahead});
        fleet.decide(Cycle::new(0.0, 5).reading("rps", reading))
    };
    assert_eq!(desired(&decide(4.0)), 9);
    assert_eq!(reason(&decide(6.0)), "blind");
}

#[test]
fn a_stale_reading_is_unknown() {
    let decide = |age: f64| {
        let mut fleet = quick("");
        fleet.decide(Cycle::new(0.0, 5).reading("rps", json!({"value": 9.0, "at": EPOCH as f64 - age})))
    };
    assert_eq!(desired(&decide(180.0)), 9);
    let stale = decide(181.0);
    assert_eq!((desired(&stale), reason(&stale)), (5, "blind"));
    assert_eq!(stale["recommendations"][0]["unknown"], json!("rps: stale, 181 s old"));
}

#[test]
fn rule_9_a_raise_by_others_stops_scale_in_for_one_window() {
    let mut fleet = steady("", 5);
    // Somebody adds four.
    let seen: Vec<(u64, String)> = (75..=150)
        .step_by(15)
        .map(|secs| {
            let d = fleet.decide(Cycle::new(f64::from(secs), 9).read("rps", 5.0));
            (desired(&d), reason(&d).to_owned())
        })
        .collect();
    assert_eq!(seen[0], (9, "external_change".into()));
    assert_eq!(seen[1], (9, "external_change".into()));
    assert_eq!(seen[2].0, 5, "one window of two intervals later: {seen:?}");
}

#[test]
fn rule_9_scale_out_is_allowed_at_once_when_others_lower() {
    let mut fleet = steady("", 9);
    assert_eq!(desired(&fleet.decide(Cycle::new(75.0, 4).read("rps", 9.0))), 9);
}

#[test]
fn rule_9_the_policy_chooses_what_others_changes_mean() {
    let after = |keys: &str, now: u32, load: f64| {
        let mut fleet = steady(keys, 5);
        let d = fleet.decide(Cycle::new(75.0, now).read("rps", load));
        (desired(&d), reason(&d).to_owned())
    };
    assert_eq!(after("on_external_change = \"hold\"", 3, 9.0), (3, "external_change".into()));
    assert_eq!(after("on_external_change = \"adopt\"", 9, 5.0), (5, String::new()));
    assert_eq!(after("on_external_change = \"override\"", 9, 5.0), (5, String::new()));
}

#[test]
fn rule_10_a_net_that_removes_is_not_only_a_net() {
    let mut fleet = quick("foreign = \"allow-scale-out\"");
    let removing = json!([{"name": "scaling policy cpu50", "removes": true}]);
    let held = fleet.decide(Cycle::new(0.0, 5).read("rps", 9.0).group("foreign", removing));
    assert_eq!((desired(&held), reason(&held)), (5, "foreign"));
    assert_eq!(held["hold"]["setting"], json!("foreign"));
    let decide = |keys: &str, foreign: Value| {
        let held = quick(keys).decide(Cycle::new(0.0, 5).read("rps", 9.0).group("foreign", foreign));
        (desired(&held), reason(&held).to_owned())
    };
    let net = json!({"name": "scaling policy cpu90", "removes": false});
    let allow = "foreign = \"allow-scale-out\"";
    assert_eq!(decide(allow, json!([net.clone()])), (9, String::new()), "one that only adds is a net");
    assert_eq!(decide(allow, json!([{"name": "policy of a new kind", "removes": null}])), (5, "foreign".into()));
    assert_eq!(decide(allow, json!([net.clone(), {"name": "office hours", "removes": true}])), (5, "foreign".into()));
    assert_eq!(decide("", json!([net])), (5, "foreign".into()), "refused unless the policy says otherwise");
}

#[test]
fn rule_10_what_a_net_adds_freezes_nothing() {
    let net = || json!([{"name": "scaling policy cpu90", "removes": false}]);
    let mut fleet = steady("foreign = \"allow-scale-out\"", 5);
    // The net adds three. skala's own scale-out goes on at once ...
    let d = fleet.decide(Cycle::new(75.0, 8).read("rps", 10.0).group("foreign", net()));
    assert_eq!((desired(&d), reason(&d)), (10, ""));
    // ... and what is too much is removed once a window has passed since, as after a person's help (rule 9).
    let mut fleet = steady("foreign = \"allow-scale-out\"", 5);
    let d = fleet.decide(Cycle::new(75.0, 8).read("rps", 5.0).group("foreign", net()));
    assert_eq!((desired(&d), reason(&d)), (8, "external_change"));
    let mut last = (8, String::new());
    for cycle in 6..14 {
        let d = fleet.decide(Cycle::new(f64::from(cycle) * 15.0, 8).read("rps", 5.0).group("foreign", net()));
        last = (desired(&d), reason(&d).to_owned());
        if last.0 < 8 {
            break;
        }
    }
    assert_eq!(last, (5, String::new()), "the net stays and holds nothing up");
}

#[test]
fn rule_12_a_missing_group_is_held_and_never_recreated() {
    for (error, expected) in
        [("not_found", "group_missing"), ("transport", "group_unknown"), ("denied", "group_unknown")]
    {
        let mut fleet = quick("");
        let mut cycle = Cycle::new(0.0, 5).read("rps", 9.0);
        cycle.line["groups"] = json!([{"provider": "cloud", "group": "web", "error": error}]);
        let held = fleet.decide(cycle);
        assert_eq!(reason(&held), expected);
        assert!(held["desired"].is_null());
    }
    let mut fleet = quick("");
    let mut cycle = Cycle::new(0.0, 5).read("rps", 9.0);
    cycle.line["groups"] = json!([]);
    let held = fleet.decide(cycle);
    assert_eq!(reason(&held), "group_unknown");
    assert!(held["trace"].to_string().contains("not_listed"), "{held}");
}

/// What one fleet's plan does to its group, after a first decision that saw all of its instances.
fn repair(alive: u32, more: Value) -> Vec<policies::plan::Action> {
    use policies::wire::{Line, parse_line};
    let files = [policies::policy::SourceFile { name: "web.toml".into(), text: policy("", &rps(1.0)) }];
    let (set, _) = policies::policy::parse(&files, &policies::policy::ParseOptions::default());
    let abilities = json!({"terminate_named": true, "lower": false, "keeps_desired": false, "terminate_batch": 100});
    let mut memory = policies::memory::FleetMemory::default();
    let mut actions = vec![];
    for (secs, alive) in [(0.0, 5), (15.0, alive)] {
        // The metric is gone: a repair needs no reading.
        let mut cycle = Cycle::new(secs, 5).instances(alive, 0).reading("rps", json!({"missing": "timeout"}));
        cycle.line["groups"][0].as_object_mut().expect("a group").remove("desired");
        cycle = cycle.group("abilities", abilities.clone());
        for (key, value) in more.as_object().expect("keys") {
            cycle = cycle.with(key, value.clone());
        }
        let Ok(Line::Cycle(cycle)) = parse_line(&cycle.line.to_string()) else { panic!("a cycle") };
        let fleet = set.fleet("web").expect("there");
        let facts = cycle.facts(fleet).expect("facts");
        let mut plan = policies::settle(vec![policies::propose(fleet, &facts, &memory)], cycle.budget);
        let (before, left) = (cycle.budget.scale_out, plan.budget.scale_out);
        let plan = plan.fleets.pop().expect("one");
        let group = &plan.effect.groups()[0];
        assert_eq!(before.zip(left).map_or(group.repairs, |(a, b)| a - b), group.repairs, "the brakes count them");
        assert!(group.repairs <= 5 - alive);
        actions = group.actions.clone();
        memory = plan.memory;
    }
    actions
}

#[test]
fn rule_13_what_skala_sizes_is_repaired_blind_or_not_unless_held_or_braked() {
    use policies::plan::Action;
    assert_eq!(repair(5, json!({})), []);
    assert_eq!(repair(3, json!({})), [Action::Raise { to: 5 }]);
    assert_eq!(repair(3, json!({"budget": {"out": 2}})), [Action::Raise { to: 5 }]);
    assert_eq!(repair(3, json!({"budget": {"out": 1}})), [Action::Raise { to: 4 }], "as far as the brakes go");
    assert_eq!(repair(3, json!({"budget": {"out": 0}})), []);
    assert_eq!(repair(3, json!({"override": {"kind": "hold", "until": EPOCH + 600}})), []);
}

#[test]
fn rule_14_a_pin_works_while_blind_within_limits_and_pace() {
    let blind = |n: u32, now: bool, current: u32| {
        let text =
            policy("", &format!("{}[fleet.web.scale_out]\nrate = [{{ instances = 2, per = \"1m\" }}]\n", rps(1.0)));
        let pin = json!({"kind": "pin", "n": n, "until": EPOCH + 600, "now": now});
        let cycle = Cycle::new(0.0, current).reading("rps", json!({"missing": "timeout"})).with("override", pin);
        Fleet::new(&text).decide(cycle)
    };
    assert_eq!(desired(&blind(8, false, 5)), 7);
    assert_eq!(desired(&blind(8, true, 5)), 8);
    assert_eq!(desired(&blind(500, true, 5)), 100);
    assert_eq!(desired(&blind(9, false, 10)), 9);
    let kept = blind(5, false, 5);
    assert_eq!((desired(&kept), reason(&kept)), (5, "override"));
}

#[test]
fn rule_14_when_a_pin_ends_the_window_starts_again() {
    let mut fleet = steady("", 5);
    let pin = json!({"kind": "pin", "n": 9, "until": EPOCH + 100, "now": true});
    let raised = fleet.decide(Cycle::new(75.0, 5).read("rps", 5.0).with("override", pin.clone()));
    assert_eq!(desired(&raised), 9);
    assert_eq!(desired(&fleet.decide(Cycle::new(90.0, 9).read("rps", 5.0).with("override", pin.clone()))), 9);
    for secs in [105.0, 120.0] {
        let held = fleet.decide(Cycle::new(secs, 9).read("rps", 5.0).with("override", pin.clone()));
        assert_eq!((desired(&held), reason(&held)), (9, "window_uncovered"), "{secs}");
    }
    assert_eq!(desired(&fleet.decide(Cycle::new(135.0, 9).read("rps", 5.0))), 5);
}

#[test]
fn a_hold_holds_and_can_leave_scale_out_alone() {
    let decide = |only: bool, load: f64| {
        let mut fleet = steady("", 5);
        let hold = json!({"kind": "hold", "until": EPOCH + 600, "scale_in_only": only, "reason": "incident 7"});
        let d = fleet.decide(Cycle::new(75.0, 5).read("rps", load).with("override", hold));
        (desired(&d), reason(&d).to_owned())
    };
    assert_eq!(decide(false, 9.0), (5, "override".into()));
    assert_eq!(decide(true, 9.0), (9, String::new()));
    assert_eq!(decide(false, 5.0), (5, "override".into()), "it is shown even when nothing was wanted");
}

#[test]
fn rule_15_brakes_limit_both_directions() {
    let mut fleet = quick("");
    let out = fleet.decide(Cycle::new(0.0, 10).read("rps", 30.0).with("budget", json!({"in": 0, "out": 4})));
    assert_eq!(desired(&out), 14);
    let held = quick("").decide(Cycle::new(0.0, 10).read("rps", 30.0).with("budget", json!({"out": 0})));
    assert_eq!((desired(&held), reason(&held)), (10, "brake"));
    let mut fleet = quick("");
    let mut last = json!(null);
    for secs in [0.0, 15.0, 30.0] {
        last = fleet.decide(Cycle::new(secs, 10).read("rps", 3.0).with("budget", json!({"in": 2})));
    }
    assert_eq!(desired(&last), 8);
}

#[test]
fn a_raised_min_skips_all_but_the_brakes_even_while_blind() {
    let text = policy(
        "",
        &format!("{}[fleet.web.scale_out]\nrate = [{{ instances = 1, per = \"1h\" }}]\ncooldown = \"1h\"\n", rps(1.0)),
    )
    .replace("min = 1", "min = 8");
    let blind = |budget: Value| {
        let cycle = Cycle::new(0.0, 3).reading("rps", json!({"missing": "timeout"})).with("budget", budget);
        desired(&Fleet::new(&text).decide(cycle))
    };
    assert_eq!(blind(json!({})), 8);
    assert_eq!(blind(json!({"out": 2})), 5);
}

#[test]
fn the_modes() {
    let decide = |mode: &str, load: f64| {
        let text = policy("", &format!("{}{FREE}", rps(1.0))).replace("mode = \"on\"", &format!("mode = \"{mode}\""));
        let mut fleet = Fleet::new(&text);
        let mut last = json!(null);
        for secs in [0.0, 15.0, 30.0] {
            last = fleet.decide(Cycle::new(secs, 5).read("rps", load));
        }
        (desired(&last), reason(&last).to_owned())
    };
    assert_eq!(decide("off", 9.0), (5, "mode".into()));
    assert_eq!(decide("scale-out-only", 2.0), (5, "mode".into()));
    assert_eq!(decide("scale-out-only", 9.0).0, 9);
    // Observe says what it would do and books nothing: each cycle says it again.
    assert_eq!((decide("observe", 9.0).0, decide("observe", 2.0).0), (9, 2));
}

#[test]
fn the_clouds_own_bounds_hold() {
    let mut fleet = quick("");
    let capped = fleet.decide(Cycle::new(0.0, 5).read("rps", 90.0).group("cloud_max", json!(7)));
    assert_eq!(desired(&capped), 7);
    assert_eq!(capped["limits"]["max"], json!(7));
    let held = quick("").decide(Cycle::new(0.0, 7).read("rps", 90.0).group("cloud_max", json!(7)));
    assert_eq!((desired(&held), reason(&held)), (7, "at_max"));
}

#[test]
fn too_few_members_push_out_and_never_in() {
    let body = format!("{}{FREE}", rps(1.0)).replace("unit =", "members = \"up\"\nunit =");
    let decide = |value: f64, members: Value| {
        let mut fleet = Fleet::new(&policy("", &body));
        let mut last = json!(null);
        for secs in [0.0, 15.0, 30.0] {
            let reading = json!({"value": value, "at": EPOCH as f64 + secs, "members": members});
            last = fleet.decide(Cycle::new(secs, 10).reading("rps", reading));
        }
        (desired(&last), reason(&last).to_owned())
    };
    assert_eq!(decide(4.0, json!(8)).0, 4);
    assert_eq!(decide(4.0, json!(7)), (10, "partial".into()));
    assert_eq!(decide(4.0, json!(null)), (10, "partial".into()), "an unknown count is not all of them");
    assert_eq!(decide(14.0, json!(2)).0, 14);
}

#[test]
fn warm_up_counts_from_the_first_sight_when_the_cloud_does_not_say() {
    let mut fleet = quick("");
    let unsaid = |secs: f64| Cycle::new(secs, 1).instance(0, "running_since", json!(null)).read("rps", 1.0);
    for (secs, serving) in [(0.0, 0), (45.0, 0), (60.0, 1)] {
        assert_eq!(fleet.decide(unsaid(secs))["serving"], json!(serving), "{secs}");
    }
}
