//! What was asked for and is not there, and what is there and was not asked for: what scale-in, repairs and moves make of it.

use crate::fleet::{Cycle, EPOCH, FREE, policy, rps};
use crate::places::{TWO, World};
use policies::memory::{Event, FleetMemory, Outcome};
use policies::plan::{Action, FleetPlan};
use policies::policy::{ParseOptions, PolicySet, SourceFile};
use policies::wire::{Line, parse_line};
use serde_json::{Value, json};

fn set(text: &str) -> PolicySet {
    let files = [SourceFile { name: "web.toml".into(), text: text.into() }];
    policies::policy::parse(&files, &ParseOptions::default()).0
}

/// The plan of the last of these lines, each carried out in memory alone.
fn last_plan(text: &str, lines: impl IntoIterator<Item = Value>) -> FleetPlan {
    let set = set(text);
    let fleet = set.fleet("web").unwrap();
    let mut memory = FleetMemory::default();
    let mut last = None;
    for line in lines {
        let Ok(Line::Cycle(cycle)) = parse_line(&line.to_string()) else { panic!("{line}") };
        let facts = cycle.facts(fleet).unwrap();
        let mut plan = policies::settle(vec![policies::propose(fleet, &facts, &memory)], cycle.budget);
        let plan = plan.fleets.pop().unwrap();
        memory = plan.memory.clone();
        last = Some(plan);
    }
    last.unwrap()
}

fn actions(plan: &FleetPlan) -> &[Action] {
    &plan.effect.groups()[0].actions
}

/// A cloud that keeps no desired.
fn servers(secs: f64, alive: u32, load: f64) -> Value {
    let abilities = json!({"terminate_named": true, "lower": false, "keeps_desired": false, "terminate_batch": 100});
    let mut cycle = Cycle::new(secs, 10).instances(alive, 0).read("rps", load).group("abilities", abilities);
    cycle.line["groups"][0].as_object_mut().unwrap().remove("desired");
    cycle.line
}

#[test]
fn what_skala_sizes_itself_loses_only_what_is_too_much_of_what_is_there() {
    let text = policy("warmup = \"0s\"", &format!("{}{FREE}", rps(1.0)));
    // Three of ten died, nothing is left of the brake to repair them with, and five are enough.
    let braked = |mut line: Value| {
        line["budget"] = json!({"out": 0});
        line
    };
    let lines = [(0.0, 10, 10.0), (15.0, 7, 5.0), (30.0, 7, 5.0), (45.0, 7, 5.0)]
        .map(|(secs, alive, load)| servers(secs, alive, load));
    let plan = last_plan(&text, lines.map(braked));
    assert_eq!((plan.decision.current, plan.decision.desired), (Some(10), Some(5)));
    let [Action::CancelUnfilled { to: 7 }, Action::Terminate { instances, to: 5 }] = actions(&plan) else {
        panic!("{:?}", actions(&plan));
    };
    assert_eq!(instances.len(), 2, "five of the seven stay");
}

#[test]
fn what_is_there_beyond_what_skala_asked_for_is_a_raise_that_scale_in_has() {
    let text = policy("warmup = \"0s\"", &format!("{}{FREE}", rps(1.0)));
    let lines = |last: u32| (0..=last).map(|n| servers(f64::from(15 * n), if n == 0 { 10 } else { 12 }, 10.0));
    let seen = last_plan(&text, lines(1));
    assert_eq!((seen.decision.current, seen.decision.desired), (Some(12), Some(12)));
    let later = last_plan(&text, lines(3));
    let [Action::Terminate { instances, to: 10 }] = actions(&later) else { panic!("{later:?}") };
    assert_eq!(instances.len(), 2);
}

#[test]
fn while_launches_fail_one_repair_at_a_time_is_tried() {
    let text = policy("", &rps(1.0));
    let failing = |mut line: Value| {
        let at = line["now"].as_f64().unwrap() - 5.0;
        line["groups"][0]["launch_failures"] = json!([{"kind": "out_of_capacity", "scope": "group", "at": at}]);
        line
    };
    let plan = last_plan(&text, [servers(0.0, 10, 10.0), failing(servers(15.0, 4, 10.0))]);
    assert_eq!(actions(&plan), [Action::Raise { to: 5 }]);
    let plan = last_plan(&text, [servers(0.0, 10, 10.0), servers(15.0, 4, 10.0)]);
    assert_eq!(actions(&plan), [Action::Raise { to: 10 }]);
}

/// A workload whose pods cannot be removed by name.
fn workload(provider: &str, desired: u32, running: u32, failed_at: Option<f64>) -> Value {
    let mut cycle = Cycle::new(0.0, desired).instances(running, 0);
    let mut group = cycle.line["groups"][0].take();
    group["provider"] = json!(provider);
    group["abilities"] = json!({"terminate_named": false, "lower": true, "keeps_desired": true, "terminate_batch": 0});
    if let Some(at) = failed_at {
        group["launch_failures"] = json!([{"kind": "out_of_capacity", "scope": "group", "at": at}]);
    }
    group
}

#[test]
fn where_the_cloud_chooses_who_goes_what_is_only_withdrawn_is_asked_for_as_that() {
    let text = policy("warmup = \"0s\"", &format!("{}{FREE}", rps(1.0)));
    let line = |secs: f64, load: f64| {
        let mut line = Cycle::new(secs, 5).read("rps", load).line;
        line["groups"][0] = workload("cloud", 5, 3, Some(EPOCH as f64 + secs - 1.0));
        line
    };
    let plan = last_plan(&text, [line(0.0, 5.0), line(15.0, 2.0), line(30.0, 2.0), line(45.0, 2.0)]);
    assert_eq!(actions(&plan), [Action::CancelUnfilled { to: 3 }], "{:?}", plan.decision.trace);
    assert_eq!(plan.effect.groups()[0].counted(5, &actions(&plan)[0], 1), -2, "a scale-in counts");
}

#[test]
fn what_moves_elsewhere_from_where_the_cloud_chooses_is_withdrawn_as_that() {
    let text = crate::places::policy("", TWO, "");
    let line = |secs: f64| {
        let (a, mut b) = (workload("a", 8, 6, Some(EPOCH as f64 + secs - 1.0)), workload("b", 0, 0, None));
        b["instances"] = json!([]);
        let mut line = Cycle::new(secs, 0).read("rps", 80.0).line;
        line["groups"] = json!([a, b]);
        line
    };
    let plan = last_plan(&text, [line(0.0)]);
    let groups: Vec<_> = plan.effect.groups().iter().map(|group| group.actions.clone()).collect();
    assert_eq!(groups, [vec![Action::CancelUnfilled { to: 6 }], vec![Action::Raise { to: 2 }]]);
    let counted =
        plan.effect.groups().iter().zip([8, 0]).map(|(group, before)| group.counted(before, &group.actions[0], 1));
    assert_eq!(counted.collect::<Vec<_>>(), [0, 2], "a move removes nothing");
}

#[test]
fn a_fleet_at_its_min_returns_to_where_it_is_preferred() {
    let at_least = crate::places::policy("", TWO, "").replace("min = 0", "min = 4");
    let mut world = World::new(&at_least, &[("a", 2), ("b", 2)]);
    world.run(20.0, 240);
    assert_eq!((world.desired(), world.reason()), (vec![4, 0], "at_min"), "{}", world.last);
}

#[test]
fn an_outcome_finds_its_group_after_a_reload_that_reorders_them() {
    let (ab, ba) = (crate::places::policy("", TWO, ""), crate::places::policy("", &[TWO[1], TWO[0]], ""));
    let line = |secs: f64, load: f64| {
        let mut line = Cycle::new(secs, 0).read("rps", load).line;
        line["groups"] = json!([workload("a", 4, 4, None), workload("b", 3, 3, None)]);
        line
    };
    let mut memory = last_plan(&ab, [line(0.0, 90.0)]).memory;
    let flight = |memory: &FleetMemory, key: &str| {
        let group = memory.groups.iter().find(|group| group.key.starts_with(key)).unwrap();
        (group.desired, group.in_flight.is_some())
    };
    assert_eq!((flight(&memory, "a"), flight(&memory, "b")), ((Some(6), true), (Some(3), false)));
    let set = set(&ba);
    let refused = Event::ended(1, Outcome::Refused, "out_of_capacity");
    policies::absorb(set.fleet("web").unwrap(), &mut memory, &[refused], contract::Timestamp::from_secs(EPOCH + 16));
    assert_eq!((flight(&memory, "a"), flight(&memory, "b")), ((Some(4), false), (Some(3), false)));
}

#[test]
fn what_leaves_is_counted_by_its_group_and_weight_whatever_else_starts() {
    let groups = [format!("{}\nmax = 4", TWO[0]), format!("{}\nweight = 3", TWO[1])];
    let text = crate::places::policy("", &groups.each_ref().map(String::as_str), "");
    let line = |secs: f64, load: f64| {
        let named = |provider: &str, n: u32| {
            let mut group = workload(provider, n, n, None);
            group["abilities"]["terminate_named"] = json!(true);
            group
        };
        let mut line = Cycle::new(secs, 0).read("rps", load).line;
        line["groups"] = json!([named("a", 4), named("b", 9)]);
        line
    };
    let more = last_plan(&text, [line(0.0, 340.0)]);
    assert_eq!((more.decision.current, more.decision.desired, more.leaving()), (Some(31), Some(34), 0));
    let less = [0.0, 15.0, 30.0, 45.0].map(|secs| line(secs, if secs > 0.0 { 160.0 } else { 310.0 }));
    let less = last_plan(&text, less);
    assert_eq!((less.decision.current, less.decision.desired, less.leaving()), (Some(31), Some(16), 15));
}
