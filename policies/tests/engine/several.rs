//! Fleets of several groups: where capacity goes, what happens when a place cannot launch, and how it comes back. Lines in,
//! decisions out, with a small cloud between that does what it is told as far as it can.

use crate::fleet::EPOCH;
use crate::places::{TWO, World, policy};
use serde_json::{Value, json};

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

#[test]
fn a_cloud_that_refuses_every_raise_is_left_at_the_third() {
    for code in ["transport", "denied", "expired", "invalid", "refused"] {
        let mut world = World::new(&policy("", TWO, ""), &[("a", 4), ("b", 0)]);
        world.place("a").refuses = Some(code);
        world.run(100.0, 3);
        assert_eq!((world.desired(), world.last["groups"][0]["desired"].clone()), (vec![4, 0], json!(10)), "{code}");
        world.run(100.0, 1);
        assert_eq!((world.desired(), world.why("b").as_str()), (vec![4, 6], "the next one with room"), "{code}");
        assert_eq!(world.why("a"), "left alone: its last 3 raises had no effect", "{code}");
        // A probe now and then is asked of it, and refused; what it had stays.
        let mut asked = 0;
        for _ in 0..(2 * 60 * 4) {
            world.run(100.0, 1);
            asked += u32::from(world.last["groups"][0]["desired"] != json!(4));
            assert_eq!(world.desired(), [4, 6], "{code}: {}", world.last);
        }
        assert!((2..=12).contains(&asked), "{code}: {asked} times in two hours");
        // Its writes work again.
        world.place("a").refuses = None;
        world.run(100.0, 400);
        assert_eq!(world.desired(), [10, 0], "{code}: {}", world.last);
        world.run(150.0, 2);
        assert_eq!((world.desired(), world.running()), (vec![15, 0], 15), "{code}: {}", world.last);
    }
}

#[test]
fn calls_that_end_unclear_and_show_nothing_are_like_refused_ones() {
    let mut world = World::new(&policy("", TWO, ""), &[("a", 4), ("b", 0)]);
    world.place("a").refuses = Some("unclear");
    let began = world.now;
    while world.desired() == [4, 0] {
        world.run(100.0, 1);
        assert!(world.now - began < 300.0, "{}", world.last);
    }
    assert!(world.now - began > 180.0, "each had its minute to show");
    assert_eq!((world.desired(), world.why("a").as_str()), (vec![4, 6], "left alone: its last 3 raises had no effect"));
}

#[test]
fn refusals_in_a_row_are_counted_not_all_of_them() {
    let mut world = World::new(&policy("", TWO, ""), &[("a", 4), ("b", 0)]);
    for load in [50.0, 60.0, 70.0, 80.0] {
        world.place("a").refuses = Some("transport");
        world.run(load, 2);
        world.place("a").refuses = None;
        world.run(load, 2);
        assert_eq!(world.desired(), [load as u64 / 10, 0], "{}", world.last);
    }
}

#[test]
fn a_plan_that_came_too_late_says_nothing_of_the_group() {
    let mut world = World::new(&policy("", TWO, ""), &[("a", 4), ("b", 0)]);
    world.place("a").refuses = Some("conflict");
    world.run(100.0, 20);
    assert_eq!(world.desired(), [4, 0], "{}", world.last);
    world.place("a").refuses = None;
    world.run(100.0, 2);
    assert_eq!((world.desired(), world.running()), (vec![10, 0], 10));
}

#[test]
fn a_probe_that_was_refused_or_showed_nothing_is_followed_by_another() {
    for code in ["conflict", "transport", "unclear"] {
        let groups = &[TWO[0], "provider = \"b\"\ngroup = \"web\"\npriority = 2\nmax = 4"];
        let mut world = World::new(&policy("", groups, ""), &[("a", 4), ("b", 4)]);
        world.place("a").refuses = Some("out_of_capacity");
        world.run(200.0, 1);
        world.place("a").refuses = Some(code);
        world.run(200.0, 1);
        assert_eq!(world.why("a"), "a probe: it could not launch lately", "{code}: {}", world.last);
        world.run(200.0, 6);
        assert_eq!(world.desired(), [4, 4], "{code}");
        world.place("a").refuses = None;
        world.run(200.0, 60);
        assert_eq!(world.running(), 20, "{code}: {}", world.last);
    }
}

#[test]
fn a_group_to_which_instances_come_is_not_late() {
    // It launches one in five minutes: after a quarter of an hour three are missing still, and it is at work.
    let mut world = World::new(&policy("", TWO, ""), &[("a", 4), ("b", 0)]);
    (world.place("a").room, world.place("a").silent) = (Some(4), true);
    world.run(100.0, 1);
    for step in 1..=122 {
        world.place("a").room = Some(4 + step / 20);
        world.run(100.0, 1);
        assert_eq!(world.desired(), [10, 0], "{}", world.last);
    }
    assert_eq!(world.running(), 10);
}

#[test]
fn a_group_whose_instances_the_cloud_replaces_is_not_late() {
    let mut world = World::new(&policy("", TWO, ""), &[("a", 10), ("b", 0)]);
    let one_is_missing = |world: &mut World| {
        let a = world.place("a");
        (a.running, a.pending, a.room, a.silent) = (9, 0, Some(9), true);
    };
    world.place("a").suspended = Some("refresh");
    for _ in 0..200 {
        one_is_missing(&mut world);
        world.run(100.0, 1);
        assert_eq!(world.desired(), [10, 0], "{}", world.last);
    }
    // Nothing replaces them any more, and one is missing still.
    world.place("a").suspended = None;
    world.run(100.0, 58);
    assert_eq!(world.desired(), [10, 0], "{}", world.last);
    world.run(100.0, 4);
    assert_eq!(world.desired(), [9, 1], "{}", world.last);
}

#[test]
fn nothing_is_removed_where_launches_are_suspended_or_were_just_refused() {
    let groups = &["provider = \"a\"\ngroup = \"web\"\npriority = 1\nmax = 6", TWO[1]];
    let mut world = World::new(&policy("", groups, ""), &[("a", 6), ("b", 4)]);
    world.run(100.0, 4);
    world.place("b").suspended = Some("launch");
    world.run(80.0, 20);
    assert_eq!(world.desired(), [4, 4], "b is the least preferred, and could not be had again: {}", world.last);
    assert_eq!(world.why("b"), "left alone: it could not launch lately");
    world.run(20.0, 20);
    assert_eq!((world.desired(), world.reason()), (vec![0, 4], "out_of_capacity"), "{}", world.last);
    world.place("b").suspended = None;
    world.run(20.0, 60);
    assert_eq!(world.desired(), [2, 0], "it goes as ever: {}", world.last);

    let mut world = World::new(&policy("", groups, ""), &[("a", 6), ("b", 4)]);
    world.run(100.0, 4);
    world.place("b").refuses = Some("throttled");
    world.run(110.0, 2);
    for _ in 0..16 {
        world.run(80.0, 1);
        assert_eq!(world.last["groups"][1]["terminate"], json!([]), "{}", world.last);
    }
    assert_eq!(world.desired(), [4, 4], "{}", world.last);
    world.run(60.0, 40);
    assert_eq!(world.desired(), [6, 0], "its refusal is long ago: {}", world.last);
}

#[test]
fn what_is_late_or_broken_leaves_even_where_nothing_can_be_launched() {
    let mut world = World::new(&policy("", TWO, ""), &[("a", 4), ("b", 0)]);
    world.load = 60.0;
    let mut line = |load: f64, pending: bool| -> Value {
        let mut line = world.line();
        line["readings"]["rps"]["value"] = json!(load);
        let (state, desired) = if pending { ("pending", 6) } else { ("failed", 6) };
        let more = ["a-8", "a-9"].map(|id| json!({ "id": id, "state": state, "launched": EPOCH }));
        line["groups"][0]["instances"].as_array_mut().unwrap().extend(more);
        line["groups"][0]["desired"] = json!(desired);
        line["groups"][0]["suspended"] = if pending { json!([]) } else { json!(["launch"]) };
        world.now += 15.0;
        serde_json::from_str(&world.decider.line(&line.to_string()).unwrap()).unwrap()
    };
    // Both never run: after their time they are no capacity.
    for _ in 0..61 {
        line(60.0, true);
    }
    let removed = |decision: &Value| decision["groups"][0]["terminate"].clone();
    let mut left = Value::Null;
    for _ in 0..6 {
        let decision = line(20.0, true);
        let gone = removed(&decision);
        assert!(!gone.to_string().contains("a-0") && gone.as_array().unwrap().len() <= 2, "{decision}");
        left = if gone == json!([]) { left } else { gone };
    }
    assert_eq!(left, json!(["a-8", "a-9"]));
    let mut left = Value::Null;
    for _ in 0..6 {
        let gone = removed(&line(20.0, false));
        left = if gone == json!([]) { left } else { gone };
    }
    assert_eq!(left, json!(["a-8", "a-9"]), "broken ones go as well");
}
