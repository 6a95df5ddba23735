//! Load up and down on a cloud that works: what every other story is a disturbance of.

use super::for_seeds;
use super::watch::Promise;
use super::world::{World, cloud, load, policy, secs};
use skala::app::StopReason;
use std::time::Duration;

/// Two hours of load between 300 and 2,700, with a period of an hour.
fn wave(seed: u64) -> World {
    let shift = seed as f64;
    let of = move |_: &str, elapsed: Duration| {
        let turns = elapsed.as_secs_f64() / 3600.0 + shift / 10.0;
        1_500.0 + 1_200.0 * (turns * std::f64::consts::TAU).sin()
    };
    World::new(seed, vec![("cloud", cloud(&[("web", 4)]))], &[&policy("web", "cloud", "")], load(of))
}

#[test]
fn desired_follows_the_load_up_and_down() {
    for_seeds(1..4, |seed| {
        let world = wave(seed);
        let (most, least, stopped) = world.live(async |life| {
            let (mut most, mut least) = (0, u32::MAX);
            for minute in 0..120 {
                tokio::time::sleep(secs(60)).await;
                let desired = world.desired("cloud", "web");
                most = most.max(desired);
                if minute > 30 {
                    least = least.min(desired);
                }
            }
            (most, least, life.stop().await)
        });
        assert_eq!(stopped, StopReason::Asked);
        world.witness.judge(&world.clouds["cloud"], "web", Promise::default());
        assert!((26..=28).contains(&most), "the peak needs 27, seen {most}");
        assert!(least < 10, "the low needs 3, seen {least}");
    });
}

#[test]
fn one_seed_gives_one_run_to_the_byte() {
    for_seeds(1..4, |seed| {
        let run = || {
            let world = wave(seed);
            world.live(async |life| {
                tokio::time::sleep(secs(3_600)).await;
                life.stop().await
            });
            world.store.dump()
        };
        let (one, other) = (run(), run());
        assert!(!one.is_empty(), "the journal has something in it");
        assert!(one == other, "two runs differ");
    });
}
