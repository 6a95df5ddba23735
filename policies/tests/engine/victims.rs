//! Who leaves: a ranked order, with its reason, whether the fleet is in one group or in several.

use crate::fleet::{EPOCH, FREE, decider, rps};
use serde_json::{Value, json};

/// When those began to run that do not serve yet: the warm-up is a day.
const LATELY: i64 = EPOCH - 3_600;

/// Instances of each further group.
const OTHERS: usize = 3;

/// A running instance that serves, launched so many minutes after the first one, in a zone.
fn old(id: &str, minute: i64, zone: &str) -> Value {
    let launched = EPOCH - 900_000 + minute * 60;
    json!({ "id": id, "state": "running", "launched": launched, "running_since": launched + 30, "zone": zone })
}

/// The same, with other keys.
fn but(mut instance: Value, keys: &[(&str, Value)]) -> Value {
    for (key, value) in keys {
        instance[*key] = value.clone();
    }
    instance
}

struct Case {
    what: &'static str,
    /// The table `scale_in` has this besides.
    scale_in: &'static str,
    instances: Vec<Value>,
    /// So many are too many.
    leave: usize,
    /// Who leaves, in this order, and why.
    leaves: &'static [(&'static str, &'static str)],
}

fn cases() -> Vec<Case> {
    let failed = |one| but(one, &[("state", json!("failed"))]);
    let booting = |one| but(one, &[("state", json!("pending")), ("running_since", Value::Null)]);
    let outdated = |one| but(one, &[("outdated", json!(true))]);
    let warming = |one| but(one, &[("running_since", json!(LATELY))]);
    let protected = |one| but(one, &[("protected", json!(true))]);
    let leaving = |one| but(one, &[("state", json!("terminating"))]);
    let case = |what, leave, leaves, instances| Case { what, scale_in: "", instances, leave, leaves };
    let three = || vec![old("c", 2, "z"), old("a", 0, "z"), old("b", 1, "z")];
    vec![
        case("the newest, where nothing else tells", 2, &[("c", "by its age"), ("b", "by its age")], three()),
        Case {
            scale_in: "remove = \"oldest\"\n",
            ..case("the oldest, where the policy says so", 2, &[("a", "by its age"), ("b", "by its age")], three())
        },
        case(
            "the crowded zone before the newest, until it is no more crowded",
            2,
            &[("b", "in the zone with the most"), ("new", "by its age")],
            vec![old("a", 0, "z1"), old("b", 1, "z1"), old("new", 9, "z2")],
        ),
        case(
            "what does not serve yet before the crowded zone",
            2,
            &[("warm", "not serving yet"), ("b", "in the zone with the most")],
            vec![old("a", 0, "z1"), old("b", 1, "z1"), old("c", 2, "z2"), warming(old("warm", -9, "z2"))],
        ),
        case(
            "an outdated one before what does not serve yet",
            2,
            &[("before", "of an older template"), ("warm", "not serving yet")],
            vec![warming(old("warm", 9, "z")), outdated(old("before", 0, "z")), old("a", 1, "z")],
        ),
        case(
            "of several outdated ones that of the crowded zone",
            1,
            &[("older", "of an older template")],
            vec![
                outdated(old("older", 0, "z1")),
                old("a", 1, "z1"),
                outdated(old("newer", 5, "z2")),
                warming(old("w", 9, "z3")),
            ],
        ),
        case(
            "a booting one before an outdated one, outdated as it may be",
            1,
            &[("boots", "not booted yet")],
            vec![outdated(old("before", 9, "z")), outdated(booting(old("boots", 0, "z"))), old("a", 1, "z")],
        ),
        case(
            "a failed one before a booting one",
            2,
            &[("broken", "failed"), ("boots", "not booted yet")],
            vec![booting(old("boots", 9, "z")), failed(old("broken", 0, "z")), old("a", 1, "z")],
        ),
        case(
            "never a protected one, whatever else it is, and never one that leaves already",
            4,
            &[("a", "by its age")],
            vec![
                protected(failed(old("broken", 0, "z"))),
                protected(outdated(old("before", 1, "z"))),
                protected(warming(old("warm", 2, "z"))),
                leaving(outdated(old("goes", 9, "z"))),
                old("a", 3, "z"),
            ],
        ),
    ]
}

/// Decides until something leaves, or would have by then: the group is as it is, and the load falls after a while.
fn decide(case: &Case, groups: &[&str]) -> Value {
    // The last group has the instances; what else there is serves beside it and stays.
    let table = |(at, name): (usize, &&str)| {
        let min = if at + 1 == groups.len() { 0 } else { OTHERS };
        format!("[[fleet.web.group]]\nprovider = \"{name}\"\ngroup = \"web\"\npriority = {}\nmin = {min}\n", at + 1)
    };
    let tables: String = groups.iter().enumerate().map(table).collect();
    let free = FREE.replace("[fleet.web.scale_in]\n", &format!("[fleet.web.scale_in]\n{}", case.scale_in));
    let fleet = "[fleet.web]\nmode = \"on\"\nmin = 0\nmax = 100\nwarmup = \"1d\"\n";
    let mut decider = decider(&format!("{fleet}{tables}{}{free}", rps(10.0)));
    let counts = |instance: &&Value| instance["state"] != "terminating";
    let held = case.instances.iter().filter(counts).count();
    let others: Vec<Value> = (0..(groups.len() - 1) * OTHERS).map(|n| old(&format!("other-{n}"), 99, "z")).collect();
    let mut decision = Value::Null;
    for step in 0..8 {
        let now = EPOCH + step * 15;
        let group = |(at, name): (usize, &&str)| {
            let instances = if at + 1 == groups.len() { &case.instances } else { &others };
            let desired = instances.iter().filter(counts).count();
            json!({ "provider": name, "group": "web", "desired": desired, "instances": instances })
        };
        let groups: Vec<Value> = groups.iter().enumerate().map(group).collect();
        let wanted = others.len() + held - if step < 4 { 0 } else { case.leave };
        let reading = json!({ "value": wanted as f64 * 10.0, "at": now });
        let line = json!({ "fleet": "web", "now": now, "groups": groups, "readings": { "rps": reading } });
        decision = serde_json::from_str(&decider.line(&line.to_string()).unwrap()).unwrap();
        crate::fleet::assert_trace_law(&decision);
        if decision["desired"] != decision["current"] {
            assert!(step >= 4, "{}: {decision}", case.what);
            break;
        }
    }
    decision
}

#[test]
fn who_leaves_is_ranked_and_explained_in_one_group_and_in_several() {
    for case in cases() {
        for groups in [&["cloud"][..], &["a", "b"]] {
            let decision = decide(&case, groups);
            let at = groups.len() - 1;
            let group = &decision["groups"][at];
            let ids: Vec<&str> = case.leaves.iter().map(|(id, _)| *id).collect();
            let whys: Value = case.leaves.iter().map(|(id, why)| ((*id).to_string(), json!(why))).collect();
            assert_eq!((&group["terminate"], &group["leaves"]), (&json!(ids), &whys), "{}: {decision}", case.what);
            let held = decision["current"].as_u64().unwrap() - ids.len() as u64;
            assert_eq!(decision["desired"], json!(held), "{}: no more is removed than leaves: {decision}", case.what);
        }
    }
}
