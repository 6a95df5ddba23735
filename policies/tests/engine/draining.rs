//! Draining: what is chosen to leave lets go of its work first. Lines in, decisions out, with a cloud between that does what
//! it is told, and machines that drain when the test says so.

use crate::fleet::{EPOCH, FREE, decider, policy, reason, rps};
use policies::wire::Decider;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const DRAIN: &str = "[fleet.web.drain]\nwith = \"lb\"\ndeadline = \"5m\"\n";

/// A fleet with a load of 10 for each instance, one interval after the other, and no limit of pace.
fn web(more: &str) -> String {
    policy("warmup = \"0s\"", &format!("{DRAIN}{}{FREE}{more}", rps(10.0)))
}

/// One group in its cloud.
struct World {
    decider: Decider,
    now: f64,
    desired: u64,
    /// Instances by id, with the keys that differ from a running one's.
    instances: BTreeMap<String, Value>,
    load: Value,
    /// More keys of the next line.
    next: Vec<(&'static str, Value)>,
    group: Value,
    draining: BTreeSet<String>,
    launched: u64,
    /// The cloud keeps a number of its own.
    keeps: bool,
    /// Actions do not arrive.
    deaf: bool,
}

impl World {
    fn new(policy: &str, n: u64) -> Self {
        let mut world = Self {
            decider: decider(policy),
            now: EPOCH as f64,
            desired: 0,
            instances: BTreeMap::new(),
            load: Value::Null,
            next: Vec::new(),
            group: json!({}),
            draining: BTreeSet::new(),
            launched: 0,
            keeps: true,
            deaf: false,
        };
        world.launch(n);
        world.desired = n;
        world
    }

    fn launch(&mut self, n: u64) {
        for _ in 0..n {
            self.instances.insert(format!("i-{:03}", self.launched), json!({}));
            self.launched += 1;
        }
    }

    fn load(&mut self, load: f64) -> &mut Self {
        self.load = json!(load);
        self
    }

    fn line(&mut self) -> Value {
        let instance = |(n, (id, more)): (usize, (&String, &Value))| {
            let launched = EPOCH as f64 - 9_000.0 + n as f64;
            let mut one = json!({ "id": id, "state": "running", "launched": launched, "running_since": launched });
            merge(&mut one, more);
            one
        };
        let mut group = json!({ "provider": "cloud", "group": "web" });
        if self.keeps {
            group["desired"] = json!(self.desired);
        } else {
            group["abilities"] =
                json!({ "keeps_desired": false, "terminate_named": true, "terminate_batch": 50, "lower": false });
        }
        group["instances"] = self.instances.iter().enumerate().map(instance).collect();
        merge(&mut group, &self.group);
        let reading = match &self.load {
            Value::Null => json!({ "missing": "timeout" }),
            load => json!({ "value": load, "at": self.now }),
        };
        let mut line = json!({ "fleet": "web", "now": self.now, "groups": [group], "readings": { "rps": reading } });
        for (key, value) in std::mem::take(&mut self.next) {
            line[key] = value;
        }
        line
    }

    /// One decision, which the cloud then carries out. Nothing may be terminated that has not drained, unless it does not
    /// run or has had its five minutes.
    fn step(&mut self) -> Value {
        let line = self.line();
        let answer = self.decider.line(&line.to_string()).expect("an answer");
        let decision: Value = serde_json::from_str(&answer).expect("JSON");
        assert!(decision.get("error").is_none(), "{decision}");
        crate::fleet::assert_trace_law(&decision);
        self.now += 15.0;
        if !self.deaf {
            self.carry_out(&decision);
        }
        decision
    }

    fn carry_out(&mut self, decision: &Value) {
        let group = &decision["groups"][0];
        let ids = |key: &str| -> Vec<String> {
            let list = group[key].as_array().cloned().unwrap_or_default();
            list.iter().map(|id| id.as_str().expect("an id").to_string()).collect()
        };
        self.draining.extend(ids("drain"));
        for id in ids("take_back") {
            assert!(self.draining.remove(&id), "{id} did not drain: {decision}");
        }
        let Some(desired) = group["desired"].as_u64() else { return };
        self.desired = desired + group["held"].as_u64().unwrap_or(0);
        for id in ids("terminate") {
            self.draining.remove(&id);
            assert!(self.instances.remove(&id).is_some(), "{id} is not there: {decision}");
        }
        let missing = self.desired.saturating_sub(self.instances.len() as u64);
        self.launch(missing);
        assert_eq!(self.desired, self.instances.len() as u64, "{decision}");
        assert_eq!(group["held"].as_u64().unwrap_or(0), self.draining.len() as u64, "{decision}");
    }

    fn run(&mut self, steps: usize) -> Value {
        (0..steps).map(|_| self.step()).last().expect("a step")
    }

    /// Loads the fleet for so few instances that two leave, and lets them begin to drain.
    fn two_drain(&mut self) -> Vec<String> {
        self.load(100.0).run(4);
        assert_eq!(self.desired, 10);
        self.load(80.0);
        for _ in 0..4 {
            let decision = self.step();
            if self.draining.len() == 2 {
                assert_eq!((decision["current"].clone(), decision["desired"].clone()), (json!(10), json!(8)));
                assert_eq!(decision["groups"][0]["terminate"], json!([]));
                return self.draining.iter().cloned().collect();
            }
        }
        panic!("nothing drains");
    }

    fn says(&mut self, instance: &str, end: &str) -> &mut Self {
        let said = json!({ "group": "web", "instance": instance, "end": end });
        match self.next.iter_mut().find(|(key, _)| *key == "drains") {
            Some((_, list)) => list.as_array_mut().expect("a list").push(said),
            None => self.next.push(("drains", json!([said]))),
        }
        self
    }
}

fn merge(into: &mut Value, more: &Value) {
    for (key, value) in more.as_object().expect("keys") {
        into[key] = value.clone();
    }
}

fn terminated(decision: &Value) -> Vec<&str> {
    let list = decision["groups"][0]["terminate"].as_array().expect("a list");
    let mut ids: Vec<_> = list.iter().map(|id| id.as_str().expect("an id")).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn who_is_chosen_drains_and_leaves_when_it_has() {
    let mut world = World::new(&web(""), 10);
    let ids = world.two_drain();
    for _ in 0..6 {
        let decision = world.step();
        assert_eq!((decision["current"].as_u64(), decision["serving"].as_u64()), (Some(8), Some(8)), "{decision}");
        assert!(terminated(&decision).is_empty(), "{decision}");
    }
    assert_eq!(world.desired, 10, "the cloud holds them until they have drained");
    let decision = world.says(&ids[1], "drained").step();
    assert_eq!(terminated(&decision), [ids[1].as_str()]);
    assert_eq!((world.desired, decision["desired"].as_u64()), (9, Some(8)));
    let decision = world.says(&ids[0], "drained").step();
    assert_eq!(terminated(&decision), [ids[0].as_str()]);
    let decision = world.run(3);
    assert_eq!((world.desired, reason(&decision)), (8, "on_target"));
}

#[test]
fn who_has_not_drained_by_the_deadline_leaves_all_the_same() {
    let mut world = World::new(&web(""), 10);
    let ids = world.two_drain();
    let decision = world.run(19);
    assert!(terminated(&decision).is_empty(), "285 s: {decision}");
    let decision = world.step();
    assert_eq!(terminated(&decision), ids);
    assert_eq!(world.desired, 8);
}

#[test]
fn what_is_wanted_again_is_taken_back_before_anything_is_launched() {
    let mut world = World::new(&web(""), 10);
    let ids = world.two_drain();
    world.says(&ids[0], "drained");
    world.load = Value::Null; // Kept while nothing is known.
    world.step();
    let decision = world.load(90.0).step();
    assert_eq!(decision["groups"][0]["take_back"], json!([ids[1]]), "the one with more of its work left: {decision}");
    assert_eq!((world.launched, world.desired, decision["desired"].as_u64()), (10, 10, Some(9)));
    let decision = world.load(130.0).step();
    assert_eq!(decision["groups"][0]["take_back"], json!([ids[0]]));
    assert_eq!((world.launched, world.desired), (13, 13), "one was taken back, three launched");
    // Both take work again, and nothing is left to remember.
    world.says(&ids[0], "returned").says(&ids[1], "returned");
    let decision = world.run(2);
    assert_eq!((decision["current"].as_u64(), world.draining.len()), (Some(13), 0));
    let memory: Value = serde_json::from_str(&world.decider.save()).unwrap();
    assert_eq!(memory["fleets"]["web"]["draining"], json!({}));
}

#[test]
fn what_has_drained_waits_while_nothing_is_known() {
    let mut world = World::new(&web(""), 10);
    let ids = world.two_drain();
    world.load = Value::Null;
    world.says(&ids[0], "drained").says(&ids[1], "drained");
    for _ in 0..40 {
        let decision = world.step();
        assert_eq!((decision["desired"].as_u64(), terminated(&decision).len()), (Some(8), 0), "{decision}");
    }
    let decision = world.load(80.0).step();
    assert_eq!(terminated(&decision), ids);
}

#[test]
fn a_hold_of_scale_in_keeps_what_has_drained() {
    let mut world = World::new(&web(""), 10);
    let ids = world.two_drain();
    let hold = json!({ "kind": "hold", "until": EPOCH + 9_000, "scale_in_only": true, "reason": "deploy" });
    world.says(&ids[0], "drained").next.push(("override", hold));
    let decision = world.step();
    assert!(terminated(&decision).is_empty(), "{decision}");
    assert_eq!(terminated(&world.step()), [ids[0].as_str()]);
}

#[test]
fn nothing_more_leaves_while_instances_drain_and_the_window_begins_again() {
    let mut world = World::new(&web(""), 10);
    let ids = world.two_drain();
    world.load(40.0);
    for _ in 0..10 {
        let decision = world.step();
        assert_eq!(decision["desired"].as_u64(), Some(8), "{decision}");
    }
    let decision = world.step();
    assert_eq!((reason(&decision), &decision["hold"]["setting"]), ("in_flight", &json!("drain")), "{decision}");
    world.says(&ids[0], "drained").says(&ids[1], "drained").step();
    assert_eq!(reason(&world.step()), "window_uncovered");
    world.run(4);
    assert_eq!(world.draining.len(), 4, "the next batch");
}

#[test]
fn what_does_not_run_leaves_at_once() {
    let mut world = World::new(&web(""), 10);
    world.load(100.0).run(3);
    world.instances.insert("i-004".into(), json!({ "state": "failed", "running_since": null }));
    world.load(80.0);
    let mut decision = world.step();
    while decision["desired"] == json!(10) {
        decision = world.step();
    }
    assert_eq!(terminated(&decision), ["i-004"]);
    assert_eq!((world.draining.len(), world.desired), (1, 9));
}

#[test]
fn who_dies_while_it_drains_is_nobodys_change() {
    let mut world = World::new(&web(""), 10);
    let ids = world.two_drain();
    // The cloud replaces it: it was told of ten.
    world.instances.remove(&ids[0]);
    world.draining.remove(&ids[0]);
    world.launch(1);
    let decision = world.step();
    assert_eq!((decision["current"].as_u64(), world.desired), (Some(9), 10), "{decision}");
    world.says(&ids[1], "drained");
    assert_eq!(terminated(&world.step()), [ids[1].as_str()], "no external change stands in the way");
    world.run(6);
    assert_eq!((world.draining.len(), world.desired), (1, 9), "one more than is needed, so another one drains");
}

#[test]
fn a_termination_without_effect_is_tried_again() {
    let mut world = World::new(&web(""), 10);
    let ids = world.two_drain();
    world.deaf = true;
    assert_eq!(terminated(&world.says(&ids[0], "drained").step()), [ids[0].as_str()]);
    assert!(terminated(&world.step()).is_empty(), "it may be on its way");
    world.next.push(("outcomes", json!([{ "group": "web", "result": "refused" }])));
    let mut again = Vec::new();
    for step in 0..12 {
        let decision = world.step();
        assert_eq!(decision["current"].as_u64(), Some(8), "{decision}");
        if !terminated(&decision).is_empty() {
            again.push(step);
        }
    }
    assert!(!again.is_empty() && again[0] >= 1, "once it had the time to show: {again:?}");
    world.deaf = false;
    world.run(20);
    assert_eq!(world.desired, 8, "the other one had its five minutes");
}

#[test]
fn a_termination_that_shows_bit_by_bit_is_nobodys_change() {
    for desired_first in [true, false] {
        let mut world = World::new(&web(""), 10);
        let ids = world.two_drain();
        world.deaf = true;
        world.says(&ids[0], "drained").step();
        if desired_first {
            world.desired = 9;
        } else {
            world.instances.insert(ids[0].clone(), json!({ "state": "terminating" }));
        }
        let decision = world.step();
        assert_eq!(decision["desired"], decision["current"], "{decision}");
        world.desired = 9;
        world.instances.remove(&ids[0]);
        world.draining.remove(&ids[0]);
        world.deaf = false;
        let decision = world.says(&ids[1], "drained").step();
        assert_eq!(terminated(&decision), [ids[1].as_str()], "no external change: {decision}");
    }
}

#[test]
fn who_is_protected_meanwhile_stays() {
    let mut world = World::new(&web(""), 10);
    let ids = world.two_drain();
    world.instances.insert(ids[0].clone(), json!({ "protected": true }));
    world.draining.remove(&ids[0]);
    let decision = world.says(&ids[0], "drained").step();
    assert_eq!((decision["current"].as_u64(), world.desired), (Some(9), 10), "{decision}");
    let decision = world.says(&ids[1], "drained").step();
    assert_eq!(terminated(&decision), [ids[1].as_str()]);
}

#[test]
fn skala_keeps_desired_and_drains_alike() {
    let mut world = World::new(&web(""), 10);
    world.keeps = false;
    let ids = world.two_drain();
    let decision = world.says(&ids[0], "drained").step();
    assert_eq!(terminated(&decision), [ids[0].as_str()]);
    assert_eq!((world.desired, decision["desired"].as_u64()), (9, Some(8)));
    // One that serves is lost and replaced; the one that drains is not taken for it.
    let lost = world.instances.keys().find(|id| **id != ids[1]).cloned().unwrap();
    world.instances.remove(&lost);
    world.run(2);
    assert_eq!((world.desired, world.instances.len(), world.draining.len()), (9, 9, 1));
    world.says(&ids[1], "drained").run(2);
    assert_eq!((world.desired, world.instances.len()), (8, 8));
}

#[test]
fn without_a_drainer_what_drains_leaves() {
    let mut world = World::new(&web(""), 10);
    let ids = world.two_drain();
    let memory = world.decider.save();
    world.decider = decider(&web("").replace(DRAIN, ""));
    world.decider.load(&memory).unwrap();
    assert_eq!(terminated(&world.step()), ids);
    assert_eq!(world.desired, 8);
}

#[test]
fn brakes_count_an_instance_when_it_begins_to_drain() {
    let mut world = World::new(&web(""), 10);
    world.load(100.0).run(4);
    world.load(80.0);
    for _ in 0..3 {
        world.next.push(("budget", json!({ "in": 1 })));
        world.step();
    }
    assert_eq!(world.draining.len(), 1);
    let id = world.draining.iter().next().cloned().unwrap();
    world.says(&id, "drained").next.push(("budget", json!({ "in": 0 })));
    assert_eq!(terminated(&world.step()), [id], "it was counted then, and not twice");
}

#[test]
fn a_place_that_is_left_alone_keeps_what_has_drained() {
    let groups = ["a", "b"].map(|name| format!("[[fleet.web.group]]\nprovider = \"{name}\"\ngroup = \"web\"\n"));
    let policy = format!(
        "[fleet.web]\nmode = \"on\"\nmin = 0\nmax = 100\nwarmup = \"0s\"\n{}{DRAIN}{}{FREE}",
        groups.concat(),
        rps(10.0)
    );
    let failed = json!([{ "kind": "out_of_capacity", "scope": "group", "at": EPOCH }]);
    let throttled = json!([{ "provider": "b", "group": "web", "result": "throttled" }]);
    let cases = [
        ("foreign", json!(["scaler"])),
        ("launch_failures", failed),
        ("suspended", json!(["launch"])),
        ("outcomes", throttled),
        ("none", json!([])),
    ];
    for (key, value) in cases {
        let mut decider = decider(&policy);
        let mut now = EPOCH as f64;
        let mut step = |more: Value, drains: Value| -> Value {
            let group = |name: &str| {
                let one = |at: i64| json!({ "id": format!("{name}-{at}"), "state": "running", "launched": EPOCH - 9_000 + at });
                json!({ "provider": name, "group": "web", "desired": 3, "instances": (0..3).map(one).collect::<Vec<_>>() })
            };
            let mut b = group("b");
            let (ended, more) = if key == "outcomes" { (more, json!({})) } else { (json!({}), more) };
            merge(&mut b, &more);
            let reading = json!({ "value": 40.0, "at": now });
            let mut line = json!({ "fleet": "web", "now": now, "readings": { "rps": reading }, "groups": [group("a"), b], "drains": drains });
            merge(&mut line, &ended);
            now += 15.0;
            serde_json::from_str(&decider.line(&line.to_string()).unwrap()).unwrap()
        };
        let mut drain = Value::Null;
        for _ in 0..6 {
            let decision = step(json!({}), json!([]));
            if drain.is_null() {
                drain = decision["groups"][1]["drain"][0].clone();
            }
        }
        assert!(drain.is_string(), "one of b drains");
        let more = if key == "none" { json!({}) } else { json!({ key: value }) };
        let drained = json!([{ "provider": "b", "group": "web", "instance": drain, "end": "drained" }]);
        let decision = step(more, drained);
        let leaves = decision["groups"][1]["terminate"].as_array().unwrap().len();
        assert_eq!(leaves, usize::from(key == "none"), "{key}: {decision}");
    }
}

#[test]
fn what_runs_is_taken_back_where_nothing_can_be_launched_and_is_not_given_up_there() {
    let mut world = World::new(&web(""), 10);
    let ids = world.two_drain();
    // One that serves dies, and the cloud has no other.
    let lost = world.instances.keys().find(|id| !ids.contains(id)).cloned().unwrap();
    world.instances.remove(&lost);
    world.deaf = true;
    world.group = json!({ "launch_failures": [{ "kind": "out_of_capacity", "scope": "group", "at": world.now }] });
    world.says(&ids[0], "drained").says(&ids[1], "drained");
    let decision = world.step();
    assert!(terminated(&decision).is_empty(), "what cannot be had again: {decision}");
    world.group = json!({ "suspended": ["launch"] });
    let decision = world.step();
    assert!(terminated(&decision).is_empty(), "nor this: {decision}");
    let decision = world.load(100.0).step();
    assert_eq!(decision["desired"], json!(10), "{decision}");
    assert_eq!(decision["groups"][0]["take_back"].as_array().map(Vec::len), Some(2), "{decision}");
}

#[test]
fn a_refused_call_undoes_nothing_of_what_drains_or_came_back() {
    for keeps in [true, false] {
        let mut world = World::new(&web(""), 10);
        world.keeps = keeps;
        world.two_drain();
        world.deaf = true;
        let decision = world.load(130.0).step();
        assert_eq!(decision["desired"], json!(13));
        world.draining.clear();
        world.next.push(("outcomes", json!([{ "group": "web", "result": "refused" }])));
        let decision = world.load(100.0).step();
        assert_eq!((&decision["current"], &decision["desired"]), (&json!(10), &json!(10)), "{keeps}: {decision}");
        // Scale-in goes on as soon as its window allows: nobody else has changed anything.
        world.deaf = false;
        world.load(80.0).run(8);
        assert_eq!(world.draining.len(), 2, "{keeps}");

        let mut world = World::new(&web(""), 10);
        world.keeps = keeps;
        world.load(100.0).run(3);
        world.instances.insert("i-004".into(), json!({ "state": "pending", "running_since": null }));
        world.load(80.0);
        world.deaf = true;
        let mut decision = world.step();
        for _ in 0..3 {
            if decision["desired"] != json!(10) {
                break;
            }
            decision = world.step();
        }
        assert_eq!(terminated(&decision), ["i-004"], "{keeps}: {decision}");
        world.next.push(("outcomes", json!([{ "group": "web", "result": "refused" }])));
        let decision = world.step();
        assert_eq!(decision["current"], json!(9), "one drains, the other was not terminated: {keeps}: {decision}");
        let desired =
            decision["groups"][0]["desired"].as_u64().unwrap() + decision["groups"][0]["held"].as_u64().unwrap();
        assert!(desired <= 10, "{keeps}: {decision}");
    }
}

#[test]
fn nobody_loses_its_time_while_the_daemon_is_away() {
    let mut world = World::new(&web(""), 10);
    let ids = world.two_drain();
    world.now += 600.0;
    world.next.push(("restarted", json!(true)));
    assert!(terminated(&world.step()).is_empty(), "nobody was asked meanwhile");
    assert!(terminated(&world.run(17)).is_empty());
    let mut gone = Vec::new();
    for _ in 0..4 {
        gone.extend(terminated(&world.step()).into_iter().map(str::to_owned));
    }
    assert_eq!(gone, ids);
}

#[test]
fn who_is_taken_back_is_remembered_until_somebody_says_that_it_is() {
    let mut world = World::new(&web(""), 10);
    let ids = world.two_drain();
    world.load(100.0).run(100);
    let draining = |world: &mut World| -> Value {
        let memory: Value = serde_json::from_str(&world.decider.save()).unwrap();
        memory["fleets"]["web"]["draining"].clone()
    };
    assert_eq!(draining(&mut world)["cloud/web"].as_array().map(Vec::len), Some(2));
    world.says(&ids[0], "returned").says(&ids[1], "returned").step();
    assert_eq!(draining(&mut world), json!({}));
}

#[test]
fn the_clouds_numbers_are_right_while_a_termination_shows_bit_by_bit() {
    let mut world = World::new(&web(""), 10);
    let ids = world.two_drain();
    world.deaf = true;
    world.says(&ids[0], "drained").step();
    world.desired = 9;
    let decision = world.load(130.0).step();
    let group = &decision["groups"][0];
    assert_eq!(group["take_back"], json!([ids[1]]), "who is dying cannot be: {decision}");
    assert_eq!(group["desired"].as_u64().unwrap() + group["held"].as_u64().unwrap_or(0), 13, "{decision}");
}

#[test]
fn who_is_taken_back_has_run_all_the_while() {
    let mut world = World::new(&web("").replace("warmup = \"0s\"", "warmup = \"5m\""), 10);
    for instance in world.instances.values_mut() {
        *instance = json!({ "running_since": null });
    }
    world.load(100.0).run(30);
    world.load(80.0);
    while world.draining.len() < 2 {
        world.step();
    }
    world.run(2);
    world.load(100.0).step();
    let decision = world.step();
    assert_eq!((&decision["current"], &decision["serving"]), (&json!(10), &json!(10)), "{decision}");
}

#[test]
fn a_min_that_brakes_keep_from_being_met_is_wanted_all_the_same() {
    let mut world = World::new(&web(""), 10);
    let ids = world.two_drain();
    world.says(&ids[0], "drained").says(&ids[1], "drained").next.push(("budget", json!({ "out": 0 })));
    world.group = json!({ "cloud_min": 10 });
    let decision = world.step();
    assert!(terminated(&decision).is_empty(), "{decision}");
}

#[test]
fn what_drains_in_one_place_is_taken_back_before_another_launches() {
    let groups = ["a", "b"].map(|name| format!("[[fleet.web.group]]\nprovider = \"{name}\"\ngroup = \"web\"\n"));
    let policy = format!(
        "[fleet.web]\nmode = \"on\"\nmin = 0\nmax = 100\nwarmup = \"0s\"\n{}{DRAIN}{}{FREE}",
        groups.concat(),
        rps(10.0)
    );
    let mut decider = decider(&policy);
    let mut now = EPOCH as f64;
    let mut step = |load: f64| -> Value {
        let group = |name: &str| {
            let one =
                |at: i64| json!({ "id": format!("{name}-{at}"), "state": "running", "launched": EPOCH - 9_000 + at });
            json!({ "provider": name, "group": "web", "desired": 3, "instances": (0..3).map(one).collect::<Vec<_>>() })
        };
        let reading = json!({ "value": load, "at": now });
        let groups = [group("a"), group("b")];
        let line = json!({ "fleet": "web", "now": now, "readings": { "rps": reading }, "groups": groups });
        now += 15.0;
        serde_json::from_str(&decider.line(&line.to_string()).unwrap()).unwrap()
    };
    (0..4).for_each(|_| drop(step(40.0)));
    assert_eq!(step(40.0)["groups"][1]["held"], json!(2));
    let decision = step(70.0);
    let (a, b) = (&decision["groups"][0], &decision["groups"][1]);
    assert_eq!((&a["desired"], &b["desired"]), (&json!(4), &json!(3)), "{decision}");
    assert_eq!(b["take_back"].as_array().map(Vec::len), Some(2), "{decision}");
    assert_eq!(b["steps"][0]["why"], "drains there, and is wanted again");
}

#[test]
fn weights_and_several_groups_are_counted_in_the_clouds_numbers() {
    let groups = [
        "provider = \"a\"\ngroup = \"web\"\npriority = 1",
        "provider = \"b\"\ngroup = \"web\"\nweight = 2\npriority = 2",
    ];
    let groups: String = groups.iter().map(|group| format!("[[fleet.web.group]]\n{group}\n")).collect();
    let policy =
        format!("[fleet.web]\nmode = \"on\"\nmin = 0\nmax = 100\nwarmup = \"0s\"\n{groups}{DRAIN}{}{FREE}", rps(10.0));
    let mut decider = decider(&policy);
    let (mut now, mut b) = (EPOCH as f64, 3_u64);
    let mut step = |load: f64, b: u64, more: Value| -> Value {
        let instances = |name: &str, n: u64| -> Value {
            (0..n).map(|at| json!({ "id": format!("{name}-{at}"), "state": "running", "launched": EPOCH - 9_000 + at as i64 })).collect()
        };
        let mut line = json!({
            "fleet": "web", "now": now, "readings": { "rps": { "value": load, "at": now } },
            "groups": [
                { "provider": "a", "group": "web", "desired": 4, "cloud_max": 4, "instances": instances("a", 4) },
                { "provider": "b", "group": "web", "desired": b, "instances": instances("b", b) },
            ],
        });
        merge(&mut line, &more);
        now += 15.0;
        serde_json::from_str(&decider.line(&line.to_string()).unwrap()).unwrap()
    };
    let mut decision = json!({ "desired": 10 });
    let mut steps = 0;
    while decision["desired"] == json!(10) && steps < 8 {
        decision = step(60.0, b, json!({}));
        steps += 1;
    }
    assert_eq!((decision["desired"].clone(), decision["groups"][1]["drain"].as_array().unwrap().len()), (json!(6), 2));
    assert_eq!((decision["groups"][1]["desired"].clone(), decision["groups"][1]["held"].clone()), (json!(1), json!(2)));
    let first = decision["groups"][1]["drain"][0].as_str().unwrap().to_string();
    // Three units more: two instances of two are taken back rather than one launched.
    let decision = step(81.0, b, json!({}));
    assert_eq!(decision["groups"][1]["take_back"].as_array().map(Vec::len), Some(2), "{decision}");
    assert_eq!(decision["groups"][1]["desired"], json!(3));
    let drained = json!({ "drains": [{ "provider": "b", "group": "web", "instance": first, "end": "returned" }] });
    let decision = step(81.0, b, drained);
    assert_eq!((decision["current"].clone(), decision["desired"].clone()), (json!(10), json!(10)), "{decision}");
    b += 1;
    let decision = step(120.0, b, json!({}));
    assert_eq!(decision["groups"][1]["desired"], json!(4), "{decision}");
}
