//! `objective`: what holds for every load, what it learns from, and what it says.

use crate::fleet::*;
use proptest::prelude::*;
use serde_json::{Value, json};

/// 10 instances' worth of work is 800.
fn objective(keys: &str) -> String {
    let rule = format!("kind = \"objective\"\ncapacity = 100.0\nutilization = 0.8\n{keys}");
    policy("interval = \"60s\"", &format!("{}{FREE}", metric_rule("rps", "count", &rule)))
}

/// Minutes of load up to (not including) the epoch, as a history line.
fn history(loads: impl Iterator<Item = f64>) -> String {
    let loads: Vec<f64> = loads.collect();
    let first = EPOCH - loads.len() as i64 * 60;
    let values: Vec<_> = loads.iter().enumerate().map(|(n, load)| json!([first + n as i64 * 60, load])).collect();
    json!({"fleet": "web", "history": {"rps": values}}).to_string()
}

/// A noise without a generator: the same for everybody.
fn noise(n: u64) -> f64 {
    let mixed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f64 / f64::from(1 << 24)
}

/// A day that rises from 200 to 1400 and falls again, with some noise.
fn day(minute: u64) -> f64 {
    let phase = (minute % 1440) as f64 / 720.0;
    200.0 + 1200.0 * if phase < 1.0 { phase } else { 2.0 - phase } + 40.0 * noise(minute)
}

fn recommended(decision: &Value) -> u64 {
    decision["recommendations"][0]["value"].as_u64().unwrap_or_else(|| panic!("a value in {decision}"))
}

fn why(decision: &Value) -> &str {
    decision["recommendations"][0]["why"].as_str().unwrap_or_else(|| panic!("a reason in {decision}"))
}

#[test]
fn history_teaches_forecasters_and_covers_no_window() {
    let mut fresh = Fleet::new(&objective(""));
    assert!(why(&fresh.decide(Cycle::new(0.0, 30).read("rps", 400.0))).contains("nothing learned yet"));

    let mut taught = Fleet::new(&objective(""));
    assert_eq!(taught.decider.line(&history((0..2880).map(day))), None, "history has no answer");
    let decision = taught.decide(Cycle::new(0.0, 30).read("rps", day(2880)));
    assert!(!why(&decision).contains("nothing learned yet"), "{}", why(&decision));
    assert!(recommended(&decision) < 30);
    assert_eq!((desired(&decision), reason(&decision)), (30, "window_uncovered"), "{decision}");
}

#[test]
fn history_is_not_learned_twice() {
    let lines = [history((0..2000).map(day)), history((0..900).map(|n| day(1100 + n)))];
    let (mut once, mut twice) = (Fleet::new(&objective("")), Fleet::new(&objective("")));
    assert_eq!(once.decider.line(&lines[0]), None);
    assert_eq!((twice.decider.line(&lines[0]), twice.decider.line(&lines[1])), (None, None));
    assert_eq!(once.decider.save(), twice.decider.save());
}

#[test]
fn recorded_values_are_judged_as_readings_are() {
    let (mut clean, mut wild) = (Fleet::new(&objective("")), Fleet::new(&objective("")));
    assert_eq!(clean.decider.line(&history((0..300).map(day))), None);
    let mut line: Value = serde_json::from_str(&history((0..300).map(day))).unwrap();
    let values = line["history"]["rps"].as_array_mut().unwrap();
    for place in [7, 100, 250] {
        let at = values[place][0].as_f64().unwrap();
        values.insert(place, json!([at - 20.0, -5.0]));
    }
    assert_eq!(wild.decider.line(&line.to_string()), None);
    assert_eq!(clean.decider.save(), wild.decider.save(), "what is below zero was no reading then either");
}

#[test]
fn what_comes_every_hour_is_expected() {
    // At every full hour ten minutes of five times the load, for three days: nothing before the hour shows it.
    let to_hour = (3600 - EPOCH.rem_euclid(3600)) as u64 / 60;
    let load = |minute: u64| if (minute + 60 - to_hour) % 60 < 10 { 1000.0 } else { 200.0 } + 5.0 * noise(minute);
    let past = 72 * 60;
    let mut fleet = Fleet::new(&objective(""));
    assert_eq!(fleet.decider.line(&history((0..past).map(load))), None);
    let mut seen = Vec::new();
    for minute in 0..=to_hour {
        let decision = fleet.decide(Cycle::new(minute as f64 * 60.0, 30).read("rps", load(past + minute)));
        seen.push((recommended(&decision), why(&decision).to_owned()));
    }
    let before = &seen[..seen.len() - 1];
    let (quiet, early) = (before.iter().map(|(n, _)| *n).min(), before.iter().rev().nth(2));
    assert!(quiet <= Some(5), "{seen:#?}");
    assert!(early.is_some_and(|(n, _)| *n >= 13), "three minutes before the hour: {seen:#?}");
}

#[test]
fn a_load_that_outgrows_the_plan_is_carried_on() {
    let mut fleet = Fleet::new(&objective("coverage = 0.9"));
    assert_eq!(fleet.decider.line(&history((0..600).map(|n| 400.0 + 4.0 * noise(n)))), None);
    let mut current = 8;
    let mut said = Vec::new();
    for minute in 0..8 {
        let load = 400.0 + 500.0 * f64::from(minute);
        let decision = fleet.decide(Cycle::new(f64::from(minute) * 60.0, current).read("rps", load));
        assert!(recommended(&decision) as f64 >= load / 80.0, "never below present need: {decision}");
        said.push(why(&decision).to_owned());
        current = desired(&decision) as u32;
    }
    assert!(said.iter().any(|why| why.contains("growing beyond the plan")), "{said:#?}");
}

#[test]
fn headroom_is_cut_and_says_so() {
    let jumps = |n: u64| if n % 40 < 6 { 2000.0 } else { 100.0 + noise(n) };
    let recommend = |keys: &str| {
        let mut fleet = Fleet::new(&objective(keys));
        assert_eq!(fleet.decider.line(&history((0..4000).map(jumps))), None);
        fleet.decide(Cycle::new(0.0, 30).read("rps", 100.0))
    };
    let (free, cut) = (recommend("headroom_max = \"5000%\""), recommend("headroom_max = \"20%\""));
    assert!(why(&cut).contains("cut by headroom_max"), "{}", why(&cut));
    assert!(recommended(&free) > recommended(&cut), "{} and {}", why(&free), why(&cut));
}

#[test]
fn too_few_members_teach_nothing_and_push_out_only() {
    let text = objective("").replace("unit = \"count\"", "unit = \"count\"\nmembers = \"up\"");
    let mut fleet = Fleet::new(&text);
    for minute in 0..30 {
        let load = json!({"value": 80.0, "at": EPOCH + minute * 60, "members": 2});
        let decision = fleet.decide(Cycle::new(minute as f64 * 60.0, 12).reading("rps", load));
        assert_eq!((desired(&decision), &decision["recommendations"][0]["out_only"]), (12, &json!(true)));
    }
    let first =
        fleet.decide(Cycle::new(1800.0, 12).reading("rps", json!({"value": 80.0, "at": EPOCH + 1800, "members": 12})));
    assert!(why(&first).contains("nothing learned yet"), "{}", why(&first));
}

fn reading(at: f64) -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => (0.0..4000.0).prop_map(move |value| json!({"value": value, "at": at})),
        1 => prop_oneof![Just(0.0), Just(1e-300), Just(1e300)].prop_map(move |value| json!({"value": value, "at": at})),
        1 => Just(json!({"value": "NaN", "at": at})),
        1 => Just(json!({"missing": "timeout"})),
        1 => (0.0..4000.0).prop_map(move |value| json!({"value": value, "at": at - 4000.0})),
    ]
}

/// Gaps between the lines in seconds, and what is read at each.
fn cycles() -> impl Strategy<Value = Vec<(f64, Value)>> {
    let gaps = prop::collection::vec(prop_oneof![6 => Just(60.0), 1 => 1.0..200.0, 1 => 1000.0..9000.0], 1..60);
    gaps.prop_flat_map(|gaps| {
        let ends = gaps.into_iter().scan(0.0, |sum: &mut f64, gap: f64| {
            *sum += gap.floor();
            Some(*sum)
        });
        ends.map(|secs| reading(EPOCH as f64 + secs).prop_map(move |value| (secs, value))).collect::<Vec<_>>()
    })
}

fn run(fleet: &mut Fleet, cycles: &[(f64, Value)], mut between: impl FnMut(&mut Fleet)) -> Vec<Value> {
    let mut current = 12;
    let mut out = Vec::new();
    for (secs, value) in cycles {
        let decision = fleet.decide(Cycle::new(*secs, current).reading("rps", value.clone()));
        current = desired(&decision) as u32;
        out.push(decision);
        between(fleet);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn decisions_stay_lawful(cycles in cycles()) {
        for (decision, (secs, value)) in run(&mut Fleet::new(&objective("")), &cycles, |_| ()).iter().zip(&cycles) {
            let (current, now) = (decision["current"].as_u64().expect("known"), desired(decision));
            prop_assert!((1..=100).contains(&now), "{decision}");
            let usable = value["value"].as_f64().filter(|_| value["at"].as_f64() == Some(EPOCH as f64 + secs));
            match usable {
                None => prop_assert!(now == current, "an unknown reading moved capacity: {decision}"),
                Some(load) => {
                    let needed = (load / 80.0 - 1e-6).ceil().min(1e6) as u64;
                    prop_assert!(recommended(decision) >= needed, "below present need: {decision}");
                    prop_assert!(now >= needed.min(100), "{decision}");
                }
            }
        }
    }

    #[test]
    fn a_restart_changes_nothing(cycles in cycles()) {
        let unbroken = run(&mut Fleet::new(&objective("")), &cycles, |_| ());
        let broken = run(&mut Fleet::new(&objective("")), &cycles, |fleet| {
            let saved = fleet.decider.save();
            *fleet = Fleet::new(&objective(""));
            fleet.decider.load(&saved).expect("its own memory");
        });
        prop_assert_eq!(unbroken, broken);
    }

    #[test]
    fn more_load_never_means_fewer_machines_before_anything_is_learned(low in 0.0..9000.0_f64, more in 0.0..9000.0_f64) {
        let at = |load: f64| recommended(&Fleet::new(&objective("")).decide(Cycle::new(0.0, 3).read("rps", load)));
        prop_assert!(at(low + more) >= at(low));
    }

    #[test]
    fn a_higher_load_throughout_never_means_fewer_machines(factor in 1.0..3.0_f64) {
        let at = |factor: f64| {
            let mut fleet = Fleet::new(&objective(""));
            assert_eq!(fleet.decider.line(&history((0..400).map(|n| factor * day(n)))), None);
            recommended(&fleet.decide(Cycle::new(0.0, 3).read("rps", factor * day(400))))
        };
        // Whole instances make the head-room of twice the load a little less than twice, never less in all.
        prop_assert!(at(factor) + 1 >= at(1.0), "{} and {}", at(factor), at(1.0));
    }
}

#[test]
fn history_from_the_future_does_not_blind_it() {
    let mut fleet = Fleet::new(&objective(""));
    let tomorrow = json!({"fleet": "web", "history": {"rps": [[EPOCH + 86_400, 1.0], [EPOCH + 86_460, 1.0]]}});
    assert_eq!(fleet.decider.line(&tomorrow.to_string()), None);
    for minute in 0..200 {
        fleet.decide(Cycle::new(f64::from(minute) * 60.0, 30).read("rps", 800.0));
    }
    let last = fleet.decide(Cycle::new(12_000.0, 30).read("rps", 800.0));
    assert!(why(&last).starts_with("800 in") && !why(&last).contains("nothing learned"), "{}", why(&last));
}

#[test]
fn the_boot_time_is_learned_and_a_restarted_instance_says_nothing_of_it() {
    let ahead = |launched: i64| {
        let mut fleet = Fleet::new(&objective(""));
        let mut last = Value::Null;
        for minute in 0..12 {
            let now = EPOCH + minute * 60;
            let mut cycle = Cycle::new(minute as f64 * 60.0, 12).read("rps", 800.0);
            for at in 0..12 {
                // One instance after the other comes up, each so long after it was asked for.
                let running = EPOCH + at as i64 * 60;
                cycle = match running <= now {
                    true => cycle.instance(at, "launched", json!(running - launched)).instance(
                        at,
                        "running_since",
                        json!(running),
                    ),
                    false => cycle,
                };
            }
            last = fleet.decide(cycle);
        }
        why(&last).split(" by ").next().unwrap_or("").to_owned()
    };
    assert_eq!((ahead(120).as_str(), ahead(600).as_str()), ("800 in 3m", "800 in 11m"));
    assert_eq!(ahead(86_400), ahead(120), "the configured two minutes stay");
}

#[test]
fn a_total_at_what_the_fleet_can_do_is_taken_for_less_than_is_wanted() {
    let mut fleet = Fleet::new(&objective(""));
    // Ten instances do 1000 at most, and that is what is read whatever is wanted.
    let decision = fleet.decide(Cycle::new(0.0, 10).read("rps", 1000.0));
    assert!(why(&decision).contains("may be all that the fleet can do"), "{}", why(&decision));
    assert_eq!(recommended(&decision), 25);
}

/// A fleet that has all the instances that it may.
fn ten() -> String {
    objective("").replace("max = 100", "max = 10")
}

/// Reads these totals a minute apart with ten instances, and whether the last is taken for less than is wanted.
fn doubted(fleet: &mut Fleet, minute: &mut u32, loads: &[f64]) -> bool {
    let mut last = Value::Null;
    for load in loads {
        last = fleet.decide(Cycle::new(f64::from(*minute) * 60.0, 10).read("rps", *load));
        *minute += 1;
    }
    why(&last).contains("may be all that the fleet can do")
}

#[test]
fn totals_beyond_what_the_fleet_can_do_are_believed_once_they_are_different() {
    let mut fleet = Fleet::new(&ten());
    let minute = &mut 0;
    assert!(doubted(&mut fleet, minute, &[1500.0, 1000.0]), "one reading may be anything");
    assert!(doubted(&mut fleet, minute, &[1510.0, 1490.0, 1500.0, 1000.0]), "one ceiling, at more than was thought");
    assert!(!doubted(&mut fleet, minute, &[1800.0, 1300.0, 1000.0]), "what is served has one ceiling");
    // It stays so over a quiet week.
    assert!(!doubted(&mut fleet, minute, &[500.0]));
    *minute += 7 * 1440;
    assert!(!doubted(&mut fleet, minute, &[500.0, 1000.0]));
}

#[test]
fn a_total_that_stays_at_its_ceiling_is_doubted_again() {
    let mut fleet = Fleet::new(&ten());
    let minute = &mut 0;
    // One instance does 150, not the 100 of the policy: a rise looks like demand beyond.
    assert!(!doubted(&mut fleet, minute, &[1100.0, 1200.0, 1400.0, 1500.0]));
    assert!(!doubted(&mut fleet, minute, &[1500.0; 8]));
    assert!(doubted(&mut fleet, minute, &[1510.0, 1490.0, 1500.0, 1500.0]), "ten minutes later");
    assert!(doubted(&mut fleet, minute, &[1500.0; 60]), "it does not come back by itself");
}

#[test]
fn another_capacity_is_doubted_anew() {
    let mut fleet = Fleet::new(&ten());
    let minute = &mut 0;
    assert!(!doubted(&mut fleet, minute, &[1100.0, 1200.0, 1400.0, 1000.0]));
    let saved = fleet.decider.save();
    let mut fleet = Fleet::new(&ten().replace("capacity = 100.0", "capacity = 150.0"));
    fleet.decider.load(&saved).expect("its own memory");
    assert!(doubted(&mut fleet, minute, &[1500.0]));
}

#[test]
fn readings_of_one_minute_count_once() {
    let mut fleet = Fleet::new(&ten());
    for (secs, load) in [(0.0, 1100.0), (15.0, 1300.0), (30.0, 1500.0), (45.0, 1800.0)] {
        fleet.decide(Cycle::new(secs, 10).read("rps", load));
    }
    assert!(doubted(&mut fleet, &mut 1, &[1000.0]));
}

#[test]
fn a_damaged_memory_is_refused() {
    let mut fleet = Fleet::new(&objective(""));
    assert_eq!(fleet.decider.line(&history((0..100).map(day))), None);
    let saved = fleet.decider.save();
    assert!(fleet.decider.load(&saved).is_ok());
    let damaged = saved.replacen("\"day\":[", "\"day\":[1.0,", 1);
    assert_ne!(saved, damaged);
    let error = fleet.decider.load(&damaged).expect_err("a profile of 1441 minutes");
    assert!(error.0.contains("damaged"), "{error}");
}
