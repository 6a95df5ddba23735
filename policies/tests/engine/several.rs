//! Fleets of several groups: where capacity goes, what happens when a place cannot launch, and how it comes back. Lines in,
//! decisions out, with a small cloud between that does what it is told as far as it can.

use crate::fleet::{EPOCH, FREE, decider, rps};
use policies::wire::Decider;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A fleet with these groups, a load of 10 for each instance, and no limit of pace.
fn policy(keys: &str, groups: &[&str], more: &str) -> String {
    let groups: String = groups.iter().map(|group| format!("[[fleet.web.group]]\n{group}\n")).collect();
    format!(
        "[fleet.web]\nmode = \"on\"\nmin = 0\nmax = 1000\nwarmup = \"0s\"\n{keys}\n{groups}{}{FREE}{more}",
        rps(10.0)
    )
}

const TWO: &[&str] =
    &["provider = \"a\"\ngroup = \"web\"\npriority = 1", "provider = \"b\"\ngroup = \"web\"\npriority = 2"];

/// One group in its cloud.
#[derive(Clone, Default)]
struct Place {
    desired: u64,
    running: u64,
    pending: u64,
    /// No more instances than this can be launched.
    room: Option<u64>,
    /// What has no room is waited for, and no launch is said to have failed.
    silent: bool,
    failed_at: Option<f64>,
    error: Option<&'static str>,
    min: u64,
    max: Option<u64>,
    protected: bool,
    /// Instances are spread evenly over so many zones, one if 0.
    zones: u64,
}

/// The clouds of one fleet.
struct World {
    decider: Decider,
    now: f64,
    places: BTreeMap<&'static str, Place>,
    load: f64,
    last: Value,
}

impl World {
    fn new(policy: &str, places: &[(&'static str, u64)]) -> Self {
        let full = |n: u64| Place { desired: n, running: n, ..Place::default() };
        let places: BTreeMap<_, _> = places.iter().map(|(name, n)| (*name, full(*n))).collect();
        Self { decider: decider(policy), now: EPOCH as f64, places, load: 0.0, last: Value::Null }
    }

    fn place(&mut self, name: &str) -> &mut Place {
        self.places.get_mut(name).expect("a place of the test")
    }

    fn line(&self) -> Value {
        let groups: Vec<Value> = self.places.iter().map(|(name, place)| self.group(name, place)).collect();
        let load = json!({ "value": self.load, "at": self.now });
        json!({ "fleet": "web", "now": self.now, "groups": groups, "readings": { "rps": load } })
    }

    fn group(&self, name: &str, place: &Place) -> Value {
        if let Some(error) = place.error {
            return json!({ "provider": name, "group": "web", "error": error });
        }
        let instance = |n: u64, state: &str| {
            let launched = EPOCH as f64 - 9_000.0 + n as f64;
            let zone = format!("z{}", n % place.zones.max(1));
            json!({ "id": format!("{name}-{n}"), "state": state, "launched": launched, "zone": zone, "protected": place.protected })
        };
        let running = (0..place.running).map(|n| instance(n, "running"));
        let pending = (place.running..place.running + place.pending).map(|n| instance(n, "pending"));
        let mut group = json!({
            "provider": name, "group": "web", "desired": place.desired, "cloud_min": place.min,
            "instances": running.chain(pending).collect::<Vec<_>>(),
        });
        if let Some(max) = place.max {
            group["cloud_max"] = json!(max);
        }
        if let Some(at) = place.failed_at {
            group["launch_failures"] = json!([{ "kind": "out_of_capacity", "scope": "group", "at": at }]);
        }
        group
    }

    /// One decision, which the clouds then carry out; what was launched before boots meanwhile.
    fn step(&mut self) -> Value {
        let answer = self.decider.line(&self.line().to_string()).expect("an answer");
        let decision: Value = serde_json::from_str(&answer).expect("JSON");
        assert!(decision.get("error").is_none(), "{decision}");
        crate::fleet::assert_trace_law(&decision);
        self.check(&decision);
        self.now += 15.0;
        for group in decision["groups"].as_array().expect("groups") {
            let name = group["provider"].as_str().expect("a name");
            let now = self.now;
            let place = self.places.get_mut(name).expect("known");
            let Some(desired) = group["desired"].as_u64() else { continue };
            place.running += std::mem::take(&mut place.pending);
            let removed = group["terminate"].as_array().map_or(0, Vec::len) as u64;
            place.running -= removed;
            place.desired = desired;
            let wanted = desired.saturating_sub(place.running);
            let room = place.room.map_or(u64::MAX, |room| room.saturating_sub(place.running));
            place.pending = wanted.min(room);
            if wanted > room && !place.silent {
                place.failed_at = Some(now - 1.0);
            }
        }
        self.last = decision.clone();
        decision
    }

    /// What holds for every plan: the steps of each group begin where it was, end where it goes, and follow each other.
    fn check(&self, decision: &Value) {
        for group in decision["groups"].as_array().expect("groups") {
            let steps = group["steps"].as_array().cloned().unwrap_or_default();
            for pair in steps.windows(2) {
                assert_eq!(pair[0]["after"], pair[1]["before"], "{decision}");
            }
            if let (Some(last), Some(desired)) = (steps.last(), group["desired"].as_u64()) {
                assert_eq!(last["after"], json!(desired), "{decision}");
            }
        }
    }

    fn run(&mut self, load: f64, steps: usize) -> &mut Self {
        self.load = load;
        for _ in 0..steps {
            self.step();
        }
        self
    }

    fn desired(&self) -> Vec<u64> {
        self.places.values().map(|place| place.desired).collect()
    }

    fn running(&self) -> u64 {
        self.places.values().map(|place| place.running).sum()
    }

    fn why(&self, provider: &str) -> String {
        let groups = self.last["groups"].as_array().expect("groups");
        let group = groups.iter().find(|group| group["provider"] == provider).expect("known");
        let whys = group["steps"].as_array().into_iter().flatten().filter_map(|step| step["why"].as_str());
        whys.collect::<Vec<_>>().join("; ")
    }

    fn reason(&self) -> &str {
        self.last["hold"]["reason"].as_str().unwrap_or("")
    }
}

#[test]
fn the_preferred_group_is_filled_first_then_the_next_with_room() {
    let groups = &["provider = \"a\"\ngroup = \"web\"\npriority = 1\nmax = 6", TWO[1]];
    let mut world = World::new(&policy("", groups, ""), &[("a", 2), ("b", 0)]);
    world.run(50.0, 1);
    assert_eq!((world.desired(), world.why("a").as_str()), (vec![5, 0], "preferred"));
    world.run(90.0, 4);
    assert_eq!(world.desired(), [6, 3]);
    world.run(120.0, 1);
    assert_eq!((world.desired(), world.why("b").as_str()), (vec![6, 6], "the next one with room"));
}

#[test]
fn of_equal_priority_the_cheaper_capacity_is_filled_first() {
    let groups = &[
        "provider = \"a\"\ngroup = \"web\"\nprice = 0.30",
        "provider = \"b\"\ngroup = \"web\"\nprice = 0.40\nweight = 2",
        "provider = \"c\"\ngroup = \"web\"",
    ];
    let mut world = World::new(&policy("", groups, ""), &[("a", 1), ("b", 0), ("c", 0)]);
    world.run(50.0, 1);
    assert_eq!(world.desired(), [1, 2, 0], "0.20 an hour for a unit is less than 0.30");
    assert_eq!(world.last["desired"], json!(5));
}

#[test]
fn weights_round_up_and_never_remove_too_much() {
    let groups = &["provider = \"a\"\ngroup = \"web\"\nweight = 4"];
    let mut world = World::new(&policy("", groups, ""), &[("a", 1)]);
    world.run(90.0, 6);
    assert_eq!((world.desired(), &world.last["current"], &world.last["desired"]), (vec![3], &json!(12), &json!(12)));
    world.run(81.0, 40);
    assert_eq!(world.desired(), [3], "two would be 8, and 9 are needed");
    assert_eq!(world.reason(), "protected");
    world.run(80.0, 40);
    assert_eq!(world.desired(), [2]);
}

#[test]
fn scale_in_takes_from_the_least_preferred() {
    let groups = &["provider = \"a\"\ngroup = \"web\"\npriority = 1\nmax = 4", TWO[1]];
    let mut world = World::new(&policy("", groups, ""), &[("a", 4), ("b", 4)]);
    world.run(80.0, 3).run(60.0, 6);
    assert_eq!(world.desired(), [4, 2]);
    world.run(30.0, 6);
    assert_eq!(world.desired(), [3, 0]);
}

#[test]
fn a_groups_own_min_is_kept_and_met() {
    let groups = &[TWO[0], "provider = \"b\"\ngroup = \"web\"\npriority = 2\nmin = 2"];
    let mut world = World::new(&policy("", groups, ""), &[("a", 4), ("b", 0)]);
    world.run(40.0, 1);
    assert_eq!((world.desired(), world.why("b").as_str()), (vec![4, 2], "its own min"));
    world.run(40.0, 8);
    assert_eq!(world.desired(), [2, 2], "what is then too much leaves");
    world.run(0.0, 8);
    assert_eq!(world.desired(), [0, 2]);
}

#[test]
fn what_a_group_cannot_launch_is_asked_for_elsewhere_within_one_interval() {
    let mut world = World::new(&policy("", TWO, ""), &[("a", 4), ("b", 0)]);
    world.place("a").room = Some(6);
    world.run(100.0, 1);
    assert_eq!(world.desired(), [10, 0]);
    world.run(100.0, 1);
    // The cloud has said so after the first decision, and this is the second.
    let why = (world.why("a"), world.why("b"));
    assert_eq!(
        (world.desired(), why.0.contains("asked for elsewhere"), why.1.contains("takes over")),
        (vec![6, 4], true, true)
    );
    assert_eq!(
        (&world.last["current"], &world.last["desired"]),
        (&json!(10), &json!(10)),
        "nothing changed for the fleet"
    );
    world.run(100.0, 4);
    assert_eq!((world.desired(), world.running()), (vec![6, 4], 10));
}

#[test]
fn a_refusal_for_want_of_machines_quota_or_patience_is_enough() {
    for code in ["out_of_capacity", "quota_exceeded", "throttled"] {
        let mut world = World::new(&policy("", TWO, ""), &[("a", 4), ("b", 0)]);
        world.load = 100.0;
        let first: Value = serde_json::from_str(&world.decider.line(&world.line().to_string()).unwrap()).unwrap();
        assert_eq!(first["groups"][0]["desired"], json!(10));
        world.now += 15.0;
        let mut line = world.line();
        line["outcomes"] = json!([{ "provider": "a", "group": "web", "result": code }]);
        let second: Value = serde_json::from_str(&world.decider.line(&line.to_string()).unwrap()).unwrap();
        let desired: Vec<_> = second["groups"].as_array().unwrap().iter().map(|group| &group["desired"]).collect();
        assert_eq!(desired, [&json!(4), &json!(6)], "{code}: {second}");
    }
}

#[test]
fn a_cloud_that_is_down_neither_loses_what_it_has_nor_stops_the_others() {
    let groups = &["provider = \"a\"\ngroup = \"web\"\npriority = 1\nmax = 6", TWO[1]];
    let mut world = World::new(&policy("", groups, ""), &[("a", 6), ("b", 2)]);
    world.run(80.0, 2);
    world.place("a").error = Some("transport");
    world.run(80.0, 2);
    assert_eq!(
        (&world.last["current"], &world.last["desired"]),
        (&json!(8), &json!(8)),
        "what it held most likely runs"
    );
    assert_eq!(world.last["groups"][0]["desired"], Value::Null);
    assert!(world.why("a").contains("left alone: group_unknown"), "{}", world.why("a"));
    world.run(120.0, 2);
    assert_eq!(world.place("b").desired, 6, "what is more is asked of the other");
    world.run(10.0, 60);
    assert_eq!((world.place("b").desired, world.reason()), (6, "group_unknown"), "nothing is removed meanwhile");
    world.place("a").error = None;
    world.run(10.0, 60);
    assert_eq!(world.desired(), [1, 0]);
}

#[test]
fn a_write_whose_end_is_unclear_is_not_asked_for_again_elsewhere() {
    let mut world = World::new(&policy("", TWO, ""), &[("a", 4), ("b", 1)]);
    world.run(50.0, 2);
    let before = world.place("a").desired;
    world.run(100.0, 1);
    let asked = world.place("a").desired;
    assert!(asked > before, "{}", world.last);
    world.place("a").error = Some("unclear");
    world.run(100.0, 2);
    assert_eq!(world.desired()[1], 1, "it may have been taken: {}", world.last);
    world.run(100.0, 4);
    assert_eq!(world.place("b").desired, 10 - before, "it had its time to show, and what was seen counts");
}

#[test]
fn an_instance_that_stays_broken_says_nothing_of_the_next_launch() {
    let mut world = World::new(&policy("", TWO, ""), &[("a", 4), ("b", 0)]);
    world.load = 40.0;
    for _ in 0..100 {
        let mut line = world.line();
        line["groups"][0]["instances"][0]["state"] = json!("failed");
        let answer: Value = serde_json::from_str(&world.decider.line(&line.to_string()).unwrap()).unwrap();
        assert_eq!(answer["groups"][1]["desired"], json!(0), "{answer}");
        world.now += 15.0;
    }
    world.load = 80.0;
    let mut line = world.line();
    line["groups"][0]["instances"][0]["state"] = json!("failed");
    let answer: Value = serde_json::from_str(&world.decider.line(&line.to_string()).unwrap()).unwrap();
    assert_eq!(answer["groups"][0]["desired"], json!(8), "{answer}");
}

#[test]
fn a_group_that_was_never_read_counts_for_nothing_and_blocks_scale_in() {
    let mut world = World::new(&policy("", TWO, ""), &[("a", 3), ("b", 5)]);
    world.place("b").error = Some("throttled");
    world.run(60.0, 1);
    assert_eq!((&world.last["current"], &world.last["desired"]), (&json!(3), &json!(6)));
    world.run(10.0, 60);
    assert_eq!((world.place("a").desired, world.reason()), (6, "group_unknown"));
}

#[test]
fn a_group_that_is_gone_is_replaced_elsewhere_and_never_recreated() {
    let mut world = World::new(&policy("", TWO, ""), &[("a", 6), ("b", 2)]);
    world.run(80.0, 2);
    world.place("a").error = Some("not_found");
    world.run(80.0, 3);
    assert_eq!((world.place("b").desired, &world.last["groups"][0]["desired"]), (8, &Value::Null));
    world.run(10.0, 60);
    assert_eq!((world.place("b").desired, world.reason()), (8, "group_missing"));
}

#[test]
fn every_group_unread_is_unknown_as_ever() {
    let mut world = World::new(&policy("", TWO, ""), &[("a", 6), ("b", 2)]);
    world.run(80.0, 2);
    world.place("a").error = Some("transport");
    world.place("b").error = Some("throttled");
    world.run(80.0, 1);
    assert_eq!((&world.last["current"], world.reason()), (&Value::Null, "group_unknown"));
}

#[test]
fn a_place_that_returns_is_probed_and_taken_back_without_a_gap() {
    let mut world = World::new(&policy("", TWO, ""), &[("a", 20), ("b", 0)]);
    world.place("a").room = Some(20);
    world.run(400.0, 4);
    assert_eq!(world.desired(), [20, 20]);
    // The storm ends. For ten minutes nothing moves; then it comes back by probes, and b shrinks behind it.
    world.place("a").room = None;
    world.place("a").failed_at = None;
    world.run(400.0, 30);
    assert_eq!(world.desired(), [20, 20], "not yet");
    let (mut probes, mut largest) = (Vec::new(), 40);
    for _ in 0..600 {
        world.step();
        if world.why("a").contains("a probe") {
            probes.push(world.place("a").desired);
        }
        assert!(world.running() >= 40, "what serves stays until its replacement does: {}", world.last);
        largest = largest.max(world.desired().iter().sum::<u64>());
    }
    assert_eq!(world.desired(), [40, 0], "{}", world.last);
    assert_eq!(probes[..2], [21, 23], "one, then twice as many");
    assert!(largest <= 48, "a few at a time: {largest}");
}

#[test]
fn a_place_that_still_cannot_is_asked_for_one_at_a_time_and_rarely() {
    let mut world = World::new(&policy("", TWO, ""), &[("a", 20), ("b", 0)]);
    world.place("a").room = Some(20);
    let mut asked = 0;
    world.run(400.0, 4);
    for _ in 0..(4 * 60 * 4) {
        let before = world.place("a").desired;
        world.step();
        asked += world.place("a").desired.saturating_sub(before);
        assert!(world.place("a").desired <= 21, "{}", world.last);
    }
    assert!(asked <= 24, "{asked} launches in four hours of trouble");
    assert_eq!(world.running(), 40);
}

#[test]
fn with_every_place_full_the_fleet_says_so_and_probes() {
    let mut world = World::new(&policy("", TWO, ""), &[("a", 4), ("b", 4)]);
    world.place("a").room = Some(4);
    world.place("b").room = Some(4);
    world.run(200.0, 8);
    assert_eq!(world.running(), 8);
    let asked: u64 = world.desired().iter().sum();
    assert!(asked <= 20, "what was asked once, and no more: {asked}");
    world.place("b").room = None;
    world.place("b").failed_at = None;
    world.run(200.0, 60);
    assert_eq!(world.running(), 20, "{}", world.last);
}

#[test]
fn what_does_not_come_within_the_deadline_is_withdrawn_and_asked_for_elsewhere() {
    // A cloud that tries for ever and never says that it fails: our own deadline of 15 minutes ends it.
    let mut world = World::new(&policy("", TWO, ""), &[("a", 4), ("b", 0)]);
    (world.place("a").room, world.place("a").silent) = (Some(6), true);
    world.run(100.0, 1);
    let asked_at = world.now;
    while world.desired() == [10, 0] {
        assert!(world.now - asked_at <= 16.0 * 60.0, "{}", world.last);
        world.step();
    }
    assert!(world.now - asked_at >= 15.0 * 60.0, "too early: {}", world.last);
    assert_eq!((world.desired(), world.why("a").as_str()), (vec![6, 4], "cannot launch it; asked for elsewhere"));
    assert!(world.why("b").contains("takes over"), "{}", world.last);
    // Withdrawn, not removed: what runs there stays.
    assert_eq!((&world.last["groups"][0]["terminate"], &world.last["current"]), (&json!([]), &json!(10)));
    for _ in 0..(2 * 60 * 4) {
        world.step();
        let asked = world.place("a").desired;
        assert!(asked <= 7 && world.running() == 10, "at most a probe is asked of it: {}", world.last);
    }
}

#[test]
fn a_fleet_of_one_group_asks_on_after_the_deadline() {
    let mut world = World::new(&policy("", &TWO[..1], ""), &[("a", 4)]);
    (world.place("a").room, world.place("a").silent) = (Some(6), true);
    world.run(100.0, 80);
    assert_eq!((world.reason(), &world.last["serving"]), ("on_target", &json!(6)), "{}", world.last);
    assert_eq!((world.desired(), world.running()), (vec![10], 6), "there is nowhere else: {}", world.last);
    world.place("a").room = None;
    world.run(100.0, 2);
    assert_eq!(world.running(), 10);
}

#[test]
fn nothing_is_removed_where_it_could_not_be_had_again() {
    let groups = &["provider = \"a\"\ngroup = \"web\"\npriority = 1\nmax = 4", TWO[1]];
    let mut world = World::new(&policy("", groups, ""), &[("a", 4), ("b", 6)]);
    world.place("b").room = Some(6);
    world.run(120.0, 4);
    assert_eq!((world.desired(), world.running()), (vec![4, 8], 10));
    // b is the least preferred and would give first. What was asked of it and never came does; what runs there stays.
    let still_fails = |world: &mut World, name: &str| world.place(name).failed_at = Some(world.now - 1.0);
    for _ in 0..20 {
        still_fails(&mut world, "b");
        world.run(70.0, 1);
        assert_eq!(world.last["groups"][1]["terminate"], json!([]), "{}", world.last);
    }
    assert_eq!((world.desired(), world.running()), (vec![1, 6], 7), "{}", world.last);
    for _ in 0..20 {
        still_fails(&mut world, "a");
        still_fails(&mut world, "b");
        world.run(20.0, 1);
        assert_eq!(world.desired(), [1, 6], "{}", world.last);
    }
    assert_eq!(world.reason(), "out_of_capacity", "{}", world.last);
    world.run(20.0, 60);
    assert_eq!(world.desired(), [2, 0], "both can launch again: {}", world.last);
}

#[test]
fn a_foreign_controller_on_one_group_leaves_it_alone() {
    let mut world = World::new(&policy("", TWO, ""), &[("a", 4), ("b", 0)]);
    world.load = 80.0;
    let mut line = world.line();
    line["groups"][0]["foreign"] = json!([{ "name": "scaling policy cpu50", "removes": true }]);
    let decision: Value = serde_json::from_str(&world.decider.line(&line.to_string()).unwrap()).unwrap();
    assert_eq!(decision["groups"][0]["desired"], json!(4));
    assert_eq!(decision["groups"][1]["desired"], json!(4), "{decision}");
    assert_eq!(decision["groups"][0]["steps"][0]["why"], json!("left alone: foreign"));
}

#[test]
fn no_cloud_holds_more_than_its_share() {
    let spread = "[fleet.web.spread]\nshare_max = { cloud = \"60%\" }\n";
    let mut world = World::new(&policy("", TWO, spread), &[("a", 0), ("b", 0)]);
    world.run(100.0, 4);
    assert_eq!(world.desired(), [6, 4]);
    world.place("b").room = Some(4);
    world.run(200.0, 6);
    assert_eq!(world.desired(), [16, 4], "missing capacity is worse than capacity in one place");
}

#[test]
fn a_fleet_that_must_survive_the_loss_of_a_cloud_has_enough_in_the_others() {
    let spread = "[fleet.web.spread]\nshare_max = { cloud = \"50%\" }\nsurvive = \"cloud\"\n";
    let mut world = World::new(&policy("", TWO, spread), &[("a", 5), ("b", 0)]);
    world.run(100.0, 6);
    assert_eq!(world.desired(), [10, 10], "either is enough for the load of 10");
    let why = world.last["trace"][0]["why"].as_str().unwrap();
    assert!(why.contains("10 of it to survive the loss of a cloud"), "{why}");
}

/// What is left when the zone with the most is lost.
fn left_without_the_largest_zone(world: &World) -> u64 {
    let mut zones = BTreeMap::new();
    for (name, place) in &world.places {
        for n in 0..place.running {
            *zones.entry((name, n % place.zones.max(1))).or_insert(0) += 1;
        }
    }
    world.running() - zones.values().max().copied().unwrap_or(0)
}

#[test]
fn a_fleet_that_must_survive_the_loss_of_a_zone_has_enough_in_the_others() {
    let groups = &[TWO[0], TWO[1], "provider = \"c\"\ngroup = \"web\"\npriority = 3"];
    let spread = "[fleet.web.spread]\nshare_max = { zone = \"40%\" }\nsurvive = \"zone\"\n";
    let mut world = World::new(&policy("", groups, spread), &[("a", 12), ("b", 0), ("c", 0)]);
    world.run(120.0, 12);
    assert_eq!(world.desired(), [8, 8, 4], "12 are needed, and 12 are left of 20 without either zone of 8");
    let why = world.last["trace"][0]["why"].as_str().unwrap();
    assert!(why.contains("8 of it to survive the loss of a zone"), "{why}");
    for load in (1_u64..=40).chain((1..40).rev()) {
        world.run(load as f64 * 10.0, 8);
        let (left, all) = (left_without_the_largest_zone(&world), world.running());
        assert!(left >= load, "{left} of {all} are left for {load}: {}", world.last);
        assert!(all <= load * 5 / 3 + 1, "{all} for {load}: {}", world.last);
    }
}

#[test]
fn a_group_over_two_zones_may_hold_two_zones_shares() {
    let spread = "[fleet.web.spread]\nshare_max = { zone = \"40%\" }\nsurvive = \"zone\"\n";
    let mut world = World::new(&policy("", TWO, spread), &[("a", 12), ("b", 0)]);
    world.place("a").zones = 2;
    world.run(120.0, 6);
    assert_eq!((world.desired(), left_without_the_largest_zone(&world)), (vec![16, 4], 12));
}

#[test]
fn zones_of_single_zone_groups_share_too() {
    let groups =
        &["provider = \"a\"\ngroup = \"web\"\nzone = \"z1\"", "provider = \"b\"\ngroup = \"web\"\nzone = \"z1\""];
    let spread = "[fleet.web.spread]\nshare_max = { zone = \"50%\" }\n";
    let mut world = World::new(&policy("", groups, spread), &[("a", 0), ("b", 0)]);
    world.run(100.0, 4);
    assert_eq!(world.desired(), [5, 5], "zones of two clouds are two zones, whatever they are called");
}

#[test]
fn what_is_above_its_share_moves_without_a_gap() {
    let spread = "[fleet.web.spread]\nshare_max = { cloud = \"60%\" }\n";
    let mut world = World::new(&policy("", TWO, spread), &[("a", 20), ("b", 0)]);
    let mut why = String::new();
    for _ in 0..80 {
        world.run(200.0, 1);
        if why.is_empty() {
            why = world.why("b");
        }
        assert!(world.running() >= 20, "{}", world.last);
    }
    assert_eq!((world.desired(), why.as_str()), (vec![12, 8], "others hold more than their bounds or share"));
    // What one cloud could not hold returns to it once it can.
    world.place("b").room = Some(8);
    world.run(300.0, 12);
    assert_eq!(world.running(), 30);
    world.place("b").room = None;
    world.run(300.0, 240);
    assert_eq!(world.desired(), [18, 12], "{}", world.last);
}

#[test]
fn nothing_is_launched_to_replace_what_cannot_leave() {
    let mut world = World::new(&policy("", TWO, ""), &[("a", 1), ("b", 6)]);
    world.place("b").protected = true;
    for _ in 0..80 {
        world.run(70.0, 1);
        assert_eq!(world.desired(), [1, 6], "{}", world.last);
    }
    world.place("b").protected = false;
    world.run(70.0, 80);
    assert_eq!(world.desired(), [7, 0]);
}

#[test]
fn a_lowered_max_of_a_group_moves_its_capacity() {
    let mut world = World::new(&policy("", TWO, ""), &[("a", 10), ("b", 0)]);
    world.run(100.0, 6);
    world.place("a").max = Some(7);
    world.run(100.0, 120);
    assert_eq!(world.desired(), [7, 3]);
}

#[test]
fn a_move_never_grows_the_fleet_when_the_other_cloud_does_not_listen() {
    // The withdrawal is refused for ever: what was asked of the other must not be asked again and again.
    let mut world = World::new(&policy("", TWO, ""), &[("a", 4), ("b", 0)]);
    world.place("a").room = Some(4);
    world.run(100.0, 1);
    for _ in 0..200 {
        let stuck = world.place("a").desired;
        world.step();
        world.place("a").desired = stuck.max(10);
        assert!(world.place("b").desired <= 6, "{}", world.last);
    }
    assert_eq!(world.running(), 10);
}

#[test]
fn the_same_lines_give_the_same_plans() {
    let run = || {
        let mut world = World::new(&policy("", TWO, ""), &[("a", 4), ("b", 1)]);
        world.place("a").room = Some(9);
        let mut said = Vec::new();
        for step in 0..120 {
            world.load = 100.0 + f64::from(step % 37) * 5.0;
            said.push(world.step().to_string());
        }
        said
    };
    assert_eq!(run(), run());
}
