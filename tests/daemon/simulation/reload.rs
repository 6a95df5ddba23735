//! Policies change under a running daemon: the whole new set or the last good one, never something between.

use super::world::{Life, World, cloud, load, policy, secs};
use skala::app::StopReason;
use skala::control::{Control, ReloadRefused, Reloaded};
use tokio::sync::oneshot;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn texts(min: u32, names: &[&str]) -> Vec<String> {
    let of = |name: &&str| policy(name, "cloud", "").replace("min = 2", &format!("min = {min}"));
    names.iter().map(of).collect()
}

fn set(world: &World, texts: &[String]) {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    world.files.set(&texts);
}

fn world() -> World {
    let groups: Vec<(&str, u32)> = NAMES.iter().map(|name| (*name, 4)).collect();
    let world = World::new(1, vec![("cloud", cloud(&groups))], &[], load(|_, _| 400.0));
    set(&world, &texts(2, &NAMES));
    world
}

async fn reload(life: &Life, allow_removal: bool) -> Result<Reloaded, ReloadRefused> {
    let (reply, answer) = oneshot::channel();
    life.control.send(Control::Reload { allow_removal, reply: Some(reply) }).await.expect("a daemon that listens");
    answer.await.expect("an answer")
}

fn is_good(life: &Life) -> bool {
    life.published.process().config.last_reload_ok
}

#[test]
fn an_edited_set_is_in_force_within_seconds() {
    let world = world();
    world.live(async |life| {
        tokio::time::sleep(secs(60)).await;
        let before = life.decisions("a");
        set(&world, &texts(7, &NAMES));
        tokio::time::sleep(secs(30)).await;
        assert!(is_good(&life));
        assert!(NAMES.iter().all(|name| world.desired("cloud", name) == 7), "a raised min is reached at once");
        assert!(life.decisions("a") > before, "the fleets go on counting");
    });
}

#[test]
fn a_broken_set_changes_nothing_also_over_a_restart() {
    let world = world();
    world.live(async |life| {
        tokio::time::sleep(secs(60)).await;
        let mut broken = texts(7, &NAMES);
        broken[2].push_str("\nmax = \n");
        set(&world, &broken);
        tokio::time::sleep(secs(30)).await;
        assert!(!is_good(&life));
        assert!(matches!(reload(&life, false).await, Err(ReloadRefused::Invalid(_))));
        assert!(NAMES.iter().all(|name| world.desired("cloud", name) == 4), "not even the good fleets change");
        life.stop().await
    });
    world.live(async |life| {
        tokio::time::sleep(secs(60)).await;
        assert!(!is_good(&life), "the files are still broken");
        assert_eq!(life.published.fleets().1.len(), 5, "it runs on the last good ones");
        set(&world, &texts(7, &NAMES));
        tokio::time::sleep(secs(30)).await;
        assert!(is_good(&life));
        assert!(NAMES.iter().all(|name| world.desired("cloud", name) == 7));
    });
}

#[test]
fn a_set_that_loses_many_fleets_needs_to_be_told_so() {
    let world = world();
    world.live(async |life| {
        tokio::time::sleep(secs(60)).await;
        set(&world, &texts(2, &NAMES[..3]));
        tokio::time::sleep(secs(30)).await;
        assert!(!is_good(&life));
        assert_eq!(reload(&life, false).await, Err(ReloadRefused::LosesFleets { lost: 2, of: 5 }));
        assert_eq!(life.published.fleets().1.len(), 5);
        let taken = reload(&life, true).await.expect("allowed");
        assert_eq!((taken.fleets, taken.changed), (3, true));
        assert!(is_good(&life));
        set(&world, &texts(2, &NAMES));
        tokio::time::sleep(secs(30)).await;
        assert_eq!(life.published.fleets().1.len(), 5, "more is never refused");
        set(&world, &texts(2, &NAMES[1..]));
        tokio::time::sleep(secs(30)).await;
        assert_eq!(life.published.fleets().1.len(), 4, "one of five is not more than 20 %");
    });
    assert_eq!(world.clouds["cloud"].calls().writes(), 0, "a fleet that leaves keeps its instances");
}

#[test]
fn an_emptied_directory_does_not_let_the_fleets_go_at_a_start() {
    let world = world();
    world.live(async |life| {
        tokio::time::sleep(secs(60)).await;
        life.stop().await
    });
    world.files.set(&[]);
    world.live(async |life| {
        tokio::time::sleep(secs(60)).await;
        assert_eq!(life.published.fleets().1.len(), 5);
        assert!(!is_good(&life));
    });
}

#[test]
fn a_first_start_on_broken_policies_says_so_and_ends() {
    let world = world();
    world.files.set(&["[fleet.web]\nmin = \"x\"\n"]);
    let reason = world.live(async |life| life.running.await.expect("no panic"));
    let StopReason::NoPolicies(text) = reason else { panic!("{reason:?}") };
    assert!(!text.is_empty());
}

#[test]
fn a_group_that_changes_fleets_under_a_call_goes_on() {
    let rises = load(
        |query, elapsed| if query == "a" && elapsed > secs(100) { 100.0 * elapsed.as_secs_f64() / 15.0 } else { 400.0 },
    );
    let mut world = world();
    world.load = rises;
    let slow = sim::Fault::Latency { span: sim::Span::secs(25) };
    world.clouds["cloud"].inject(sim::Script { operation: Some(sim::Operation::Raise), ..sim::Script::new(slow) });
    world.live(async |life| {
        while world.clouds["cloud"].calls().raise == 0 {
            tokio::time::sleep(secs(1)).await;
        }
        let mut moved = texts(2, &NAMES);
        moved[0] = moved[0].replace("[fleet.a", "[fleet.z").replace("[[fleet.a", "[[fleet.z");
        set(&world, &moved);
        tokio::time::sleep(secs(600)).await;
        assert!(is_good(&life));
    });
    assert!(world.desired("cloud", "a") >= 40, "{}", world.desired("cloud", "a"));
}

#[test]
fn a_fleet_that_comes_back_finds_its_memory() {
    let falls = load(|query, elapsed| if query == "a" && elapsed > secs(300) { 200.0 } else { 400.0 });
    let mut world = world();
    world.load = falls;
    world.live(async |life| {
        tokio::time::sleep(secs(400)).await;
        set(&world, &texts(2, &NAMES[1..]));
        tokio::time::sleep(secs(400)).await;
        assert_eq!(world.desired("cloud", "a"), 4, "nobody looks after it");
        set(&world, &texts(2, &NAMES));
        tokio::time::sleep(secs(60)).await;
        assert_eq!(life.hold("a"), "window_uncovered", "what nobody observed does not count");
        tokio::time::sleep(secs(900)).await;
        assert!(world.desired("cloud", "a") < 4);
    });
}
