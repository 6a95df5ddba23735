//! What a fleet of several groups may have in one place, and what is left when that is lost.

use crate::places::{TWO, World, policy};
use std::collections::BTreeMap;

#[test]
fn no_cloud_holds_more_than_its_share() {
    let spread = "[fleet.web.spread]\nshare_max = { cloud = \"60%\" }\n";
    let mut world = World::new(&policy("", TWO, spread), &[("a", 0), ("b", 0)]);
    world.run(100.0, 4);
    assert_eq!(world.desired(), [6, 4]);
    world.place("b").room = Some(4);
    world.run(200.0, 6);
    assert_eq!(world.desired(), [16, 4], "missing capacity is worse than capacity in one place");
    assert_eq!(world.why("a"), "above its share: no other place can take it");
    assert_eq!(world.why("b"), "left alone: it could not launch lately");
}

#[test]
fn a_share_that_is_given_up_is_said_for_as_long_as_it_is() {
    let spread = "[fleet.web.spread]\nshare_max = { cloud = \"50%\" }\nsurvive = \"cloud\"\n";
    let mut world = World::new(&policy("", TWO, spread), &[("a", 5), ("b", 5)]);
    world.run(50.0, 4);
    assert_eq!((world.desired(), world.why("a"), world.why("b")), (vec![5, 5], String::new(), String::new()));
    world.place("b").error = Some("transport");
    let above = "above its share: no other place can take it, and its loss may leave too little";
    world.run(100.0, 1);
    assert_eq!((world.place("a").desired, world.why("a")), (15, format!("preferred; {above}")), "{}", world.last);
    for _ in 0..8 {
        world.run(100.0, 1);
        assert_eq!((world.place("a").desired, world.why("a").as_str()), (15, above), "{}", world.last);
    }
    world.place("b").error = None;
    world.run(100.0, 400);
    assert_eq!((world.desired(), world.why("a"), world.why("b")), (vec![10, 10], String::new(), String::new()));
    // Odd numbers do not divide evenly, and nothing is given up for that.
    let zones = "[fleet.web.spread]\nshare_max = { zone = \"40%\" }\n";
    let groups = &[TWO[0], TWO[1], "provider = \"c\"\ngroup = \"web\"\npriority = 3"];
    let mut world = World::new(&policy("", groups, zones), &[("a", 4), ("b", 4), ("c", 2)]);
    world.place("a").zones = 2;
    for load in 100..130 {
        world.run(f64::from(load), 3);
        let whys = ["a", "b", "c"].map(|name| world.why(name)).concat();
        assert!(!whys.contains("share:"), "{load}: {}", world.last);
    }
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
