//! Recorded values: which rules lack them, and how what was learned from them takes its place.

use crate::fleet::*;
use contract::Timestamp;
use policies::absorb_history;
use policies::history::{copy, lacking, learns, succeed, take_down};
use policies::memory::FleetMemory;
use policies::policy::{ParseOptions, Policy, SourceFile, parse};
use serde_json::Value;
use std::sync::Arc;

const RULE: &str = "name = \"load\"\nkind = \"objective\"\ncapacity = 100.0\nutilization = 0.8";

fn read(text: &str) -> Arc<Policy> {
    let (set, found) = parse(&[SourceFile { name: "web.toml".into(), text: text.into() }], &ParseOptions::default());
    assert!(found.is_empty(), "{found:?}");
    Arc::clone(set.fleet("web").unwrap())
}

fn objective() -> String {
    policy("interval = \"60s\"", &format!("{}{FREE}", metric_rule("rps", "count", RULE)))
}

fn at(minute: i64) -> Timestamp {
    Timestamp::from_secs(EPOCH.div_euclid(60) * 60 + minute * 60)
}

fn minutes(range: std::ops::Range<i64>) -> Vec<(Timestamp, f64)> {
    range.map(|minute| (at(minute), 500.0 + (minute % 60) as f64 * 7.0)).collect()
}

fn taught(policy: &Policy, range: std::ops::Range<i64>) -> FleetMemory {
    let mut memory = FleetMemory::default();
    absorb_history(policy, &mut memory, "rps", &minutes(range));
    memory
}

/// What the rule lacks when its reading of now is at a time: nothing, all, or what is after that minute.
fn lacks(policy: &Policy, memory: &FleetMemory, now: Option<Timestamp>) -> Option<Option<Timestamp>> {
    let found = lacking(policy, |rule| memory.objectives.get(rule), |metric| now.filter(|_| metric == 0));
    assert!(found.iter().all(|one| (one.rule, one.metric) == ("load", 0)), "{found:?}");
    found.first().map(|one| one.since)
}

#[test]
fn a_rule_lacks_all_or_what_is_after_its_newest() {
    let policy = read(&objective());
    let few = taught(&policy, 0..30);
    let much = taught(&policy, 0..600);
    for memory in [&FleetMemory::default(), &few] {
        assert_eq!(lacks(&policy, memory, Some(at(600))), Some(None), "nothing to go on from");
        assert_eq!(lacks(&policy, memory, None), None, "nothing to decide from, either");
    }
    // The gap is that of the readings: 3 minutes here.
    assert_eq!(lacks(&policy, &much, Some(at(602))), None);
    assert_eq!(lacks(&policy, &much, Some(at(603))), Some(Some(at(599))));
    assert_eq!(lacks(&policy, &much, Some(at(9))), None, "a reading from before");
    assert_eq!(lacks(&policy, &much, None), None);
    let other = read(&policy_of_requests());
    assert!(learns(&policy) && !learns(&other));
    assert_eq!(lacks(&other, &much, Some(at(900))), None);
}

fn policy_of_requests() -> String {
    policy("interval = \"60s\"", &rps(100.0))
}

#[test]
fn a_gap_that_is_filled_was_none() {
    let policy = read(&objective());
    let filled = taught(&policy, 0..600);
    // What came live after the gap, and what a copy of before it learned of both.
    let mut live = filled.clone();
    absorb_history(&policy, &mut live, "rps", &minutes(900..902));
    assert_ne!(live, taught(&policy, 0..902));
    let mut apart = copy(&live, &filled, &["load".into()]);
    absorb_history(&policy, &mut apart, "rps", &minutes(595..902));
    assert!(succeed(&mut live, "load", &mut apart));
    assert_eq!(live, taught(&policy, 0..902));
}

#[test]
fn only_more_takes_the_place_of_what_is_known() {
    let policy = read(&objective());
    let mut live = taught(&policy, 0..600);
    let before = live.clone();
    let mut fewer = taught(&policy, 100..600);
    assert!(!succeed(&mut live, "load", &mut fewer) && live == before);
    let mut nothing = copy(&before, &FleetMemory::default(), &["load".into()]);
    assert!(!succeed(&mut live, "load", &mut nothing) && live == before);
    let mut empty = FleetMemory::default();
    assert!(succeed(&mut empty, "load", &mut before.clone()));
    assert_eq!(empty.objectives, before.objectives);
}

fn memory_of(fleet: &mut Fleet) -> FleetMemory {
    let saved: Value = serde_json::from_str(&fleet.decider.save()).unwrap();
    serde_json::from_value(saved["fleets"]["web"].clone()).unwrap()
}

fn load_memory(fleet: &mut Fleet, memory: &FleetMemory) {
    let mut saved: Value = serde_json::from_str(&fleet.decider.save()).unwrap();
    saved["fleets"]["web"] = serde_json::to_value(memory).unwrap();
    fleet.decider.load(&saved.to_string()).unwrap();
}

/// A capacity that is learned gives the forecasts their unit; records are learned in the unit of their time.
#[test]
fn records_are_taken_in_under_the_capacity_that_is_learned_meanwhile() {
    let rule = "name = \"load\"\nkind = \"objective\"\ncapacity = \"learn\"\nlearn_from = \"cpu\"\nutilization = 0.8";
    let cpu = "[fleet.web.metric.cpu]\nsource = \"prom\"\nquery = \"cpu\"\nunit = \"ratio\"\n";
    let text = policy("interval = \"60s\"", &format!("{}{cpu}{FREE}", metric_rule("rps", "count", rule)));
    let policy = read(&text);
    let mut fleet = Fleet::new(&text);
    let run = |fleet: &mut Fleet, range: std::ops::Range<i64>| {
        let mut last = Value::Null;
        for (at, load) in minutes(range) {
            let secs = at.as_secs_f64() - EPOCH as f64;
            let cycle = Cycle::new(secs, 10).read("rps", load).read("cpu", load / 10.0 / 100.0);
            last = fleet.decide(cycle);
        }
        last
    };
    run(&mut fleet, 6_000..6_100);
    let mut live = memory_of(&mut fleet);
    let mut apart = copy(&live, &FleetMemory::default(), &["load".into()]);
    absorb_history(&policy, &mut apart, "rps", &minutes(0..6_100));
    assert!(succeed(&mut live, "load", &mut apart));
    let mut taught = Fleet::new(&text);
    load_memory(&mut taught, &live);
    let decided = run(&mut taught, 6_101..6_102);
    let why = decided["recommendations"][0]["why"].as_str().unwrap();
    assert!(why.contains("capacity 100 learned from"), "{why}");
    // The head-room was learned from the records: what varies within an hour, not the quarter of before.
    let value = decided["recommendations"][0]["value"].as_u64().unwrap();
    assert!((8..=13).contains(&value), "{decided}");
}

/// A past in which an event did not occur leaves what is known of it; one in which it did makes it known.
#[test]
fn events_are_learned_from_records_and_not_forgotten_over_them() {
    let rule = format!("{RULE}\ntz = \"UTC\"\nevents = [ {{ name = \"noon\", cron = \"0 12 * * *\", for = \"1h\" }} ]");
    let policy = read(&policy("interval = \"60s\"", &format!("{}{FREE}", metric_rule("rps", "count", &rule))));
    let noon = |minute: i64| (at(minute).as_secs_f64() as i64).rem_euclid(86_400) / 3_600 == 12;
    let days = |range: std::ops::Range<i64>| -> Vec<(Timestamp, f64)> {
        range.map(|minute| (at(minute), if noon(minute) { 5_000.0 } else { 500.0 })).collect()
    };
    let mut live = FleetMemory::default();
    let mut apart = copy(&live, &FleetMemory::default(), &["load".into()]);
    absorb_history(&policy, &mut apart, "rps", &days(0..4 * 1_440));
    let known = apart.occasions.clone();
    assert!(known.contains_key("load"));
    assert!(succeed(&mut live, "load", &mut apart));
    assert_eq!(live.occasions, known);
    let mut quiet = copy(&live, &FleetMemory::default(), &["load".into()]);
    absorb_history(&policy, &mut quiet, "rps", &minutes(-9_000..-8_400));
    quiet.objectives = live.objectives.clone();
    live.objectives.clear();
    assert!(succeed(&mut live, "load", &mut quiet));
    assert_eq!(live.occasions, known, "what is known of an event stays");
    let bytes = policies::history::encode_learned(&live);
    let mut back = FleetMemory::default();
    policies::history::restore_learned(&mut back, &bytes).unwrap();
    assert_eq!((&back.objectives, &back.occasions), (&live.objectives, &live.occasions));
}

/// What was known before a gap is in the unit of its time: the capacity that is learned live goes on meanwhile.
#[test]
fn what_was_taken_down_before_a_gap_keeps_its_unit() {
    let rule = "name = \"load\"\nkind = \"objective\"\ncapacity = \"learn\"\nlearn_from = \"cpu\"\nutilization = 0.8";
    let cpu = "[fleet.web.metric.cpu]\nsource = \"prom\"\nquery = \"cpu\"\nunit = \"ratio\"\n";
    let text = policy("interval = \"60s\"", &format!("{}{cpu}{FREE}", metric_rule("rps", "count", rule)));
    let policy = read(&text);
    let with = |memory: &FleetMemory| {
        let mut fleet = Fleet::new(&text);
        load_memory(&mut fleet, memory);
        fleet
    };
    // One instance can do 200, and after a deploy in the 900th minute half of it.
    let run = |fleet: &mut Fleet, range: std::ops::Range<i64>| {
        let mut value = None;
        for (minute, (at, load)) in range.clone().zip(minutes(range)) {
            let capacity = if minute < 900 { 200.0 } else { 100.0 };
            let cycle = Cycle::new(at.as_secs_f64() - EPOCH as f64, 10).read("rps", load);
            let decided = fleet.decide(cycle.read("cpu", load / 10.0 / capacity));
            value = decided["recommendations"][0]["value"].as_u64();
        }
        value.unwrap()
    };
    let mut fleet = Fleet::new(&text);
    run(&mut fleet, 0..600);
    let before = memory_of(&mut fleet);
    let mut known = FleetMemory::default();
    take_down(&before, "load", &mut known);
    // While the records are on their way, the gap is over and the deploy is noticed.
    run(&mut fleet, 900..960);
    let mut live = memory_of(&mut fleet);
    let mut apart = copy(&live, &known, &["load".into()]);
    assert_eq!(apart, known, "all of it is of that time");
    absorb_history(&policy, &mut apart, "rps", &minutes(600..960));
    assert!(succeed(&mut live, "load", &mut apart));
    let mut unbroken = with(&before);
    run(&mut unbroken, 600..960);
    let (filled, unbroken) = (run(&mut with(&live), 960..961), run(&mut unbroken, 960..961));
    assert!(filled.abs_diff(unbroken) <= 1, "{filled} with a gap that was filled, {unbroken} without");
}
