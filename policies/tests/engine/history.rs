//! Recorded values: which rules lack them, and how what was learned from them takes its place.

use crate::fleet::*;
use contract::Timestamp;
use policies::absorb_history;
use policies::history::{afresh, forget_other_loads, lacking, learns, succeed};
use policies::memory::FleetMemory;
use policies::policy::{ParseOptions, Policy, SourceFile, parse};
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
    let mut filled = taught(&policy, 0..600);
    // What came live after the gap, and what a copy of before it learned of both.
    let mut live = filled.clone();
    absorb_history(&policy, &mut live, "rps", &minutes(900..902));
    assert_ne!(live, taught(&policy, 0..902));
    absorb_history(&policy, &mut filled, "rps", &minutes(595..902));
    let learned = filled.objectives.remove("load").unwrap();
    assert!(succeed(&mut live, "load", learned));
    assert_eq!(live, taught(&policy, 0..902));
}

#[test]
fn only_more_takes_the_place_of_what_is_known() {
    let policy = read(&objective());
    let mut live = taught(&policy, 0..600);
    let before = live.clone();
    let fewer = taught(&policy, 100..600).objectives.remove("load").unwrap();
    assert!(!succeed(&mut live, "load", fewer) && live == before);
    assert!(!succeed(&mut live, "load", afresh(&before, "load")) && live == before);
    let mut empty = FleetMemory::default();
    assert!(succeed(&mut empty, "load", before.objectives["load"].clone()));
    assert_eq!(empty.objectives, before.objectives);
}

#[test]
fn another_query_under_the_same_name_is_another_load() {
    let old = read(&objective());
    let known = taught(&old, 0..100);
    let under = |text: &str| {
        let mut memory = known.clone();
        let changed = forget_other_loads(&old, &read(text), &mut memory).len();
        assert_eq!(changed == 1, memory.objectives.is_empty(), "{text}");
        changed
    };
    let text = objective();
    assert_eq!(under(&text), 0);
    assert_eq!(under(&text.replace("capacity = 100.0", "capacity = 50.0")), 0, "the load is the same");
    assert_eq!(under(&text.replace("metric.rps", "metric.work").replace("metric = \"rps\"", "metric = \"work\"")), 0);
    assert_eq!(under(&text.replace("query = \"rps\"", "query = \"sum(rps)\"")), 1);
    assert_eq!(under(&text.replace("query = \"rps\"", "query = \"rps\"\nselect = { asg = \"a\" }")), 1);
    assert_eq!(under(&text.replace("source = \"prom\"", "source = \"other\"")), 1);
    let mut memory = known.clone();
    let changed = policy_of_requests();
    assert!(forget_other_loads(&old, &read(&changed), &mut memory).is_empty());
}
