//! Everything at once: faults of clouds, sources, clocks and the store drawn from a seed, with crashes in between. Only
//! the promises are judged.

use super::for_seeds;
use super::watch::Promise;
use super::world::{EPOCH, World, cloud, policy, secs, value};
use policies::facts::MissingWhy;
use sim::{Fault, Operation, Script, Span};
use skala::entropy::{Entropy, SeededEntropy};
use skala::store::memory::Fault as StoreFault;
use std::sync::Arc;
use std::time::Duration;

const HOURS: u64 = 4;

fn draw(dice: &SeededEntropy, below: u64) -> u64 {
    dice.next() % below
}

fn fault(dice: &SeededEntropy) -> Fault {
    match draw(dice, 14) {
        0 => Fault::Throttle { retry_after: Some(Span::secs(draw(dice, 60))) },
        1 => Fault::ErrorBeforeEffect,
        2 => Fault::ErrorAfterEffect,
        3 => Fault::BrokenBody,
        4 => Fault::Unsent,
        5 => Fault::Hang { span: Span::secs(draw(dice, 60)), effect: draw(dice, 2) == 0 },
        6 => Fault::Latency { span: Span::secs(draw(dice, 10)) },
        7 => Fault::Missing,
        8 => Fault::OutOfCapacity,
        9 => Fault::LaunchFailures { share: 0.5 },
        10 => Fault::SlowBoot { span: Span::secs(draw(dice, 300)) },
        11 => Fault::Kill { share: 0.2 },
        12 => Fault::Denied,
        _ => Fault::StuckTerminating,
    }
}

fn script(dice: &SeededEntropy) -> Script {
    let from = draw(dice, HOURS * 3_600);
    let fault = fault(dice);
    let operation = match (&fault, draw(dice, 4)) {
        (
            Fault::OutOfCapacity
            | Fault::LaunchFailures { .. }
            | Fault::SlowBoot { .. }
            | Fault::Kill { .. }
            | Fault::StuckTerminating,
            _,
        ) => None,
        (_, 0) => Some(Operation::Observe),
        (_, 1) => Some(Operation::Raise),
        (_, 2) => Some(Operation::Terminate),
        _ => None,
    };
    let until = Some(Span::secs(from + 10 + draw(dice, 600)));
    Script { from: Span::secs(from), until, operation, ..Script::new(fault) }
}

#[test]
fn whatever_happens_the_promises_hold() {
    for_seeds(1..9, |seed| {
        let dice = SeededEntropy::new(seed);
        let mut settings = cloud(&[("web", 10)]);
        settings.faults = (0..20).map(|_| script(&dice)).collect();
        let holes: Vec<(u64, u64)> = (0..6).map(|_| (draw(&dice, HOURS * 3_600), 10 + draw(&dice, 900))).collect();
        let load = move |query: &str, elapsed: Duration| {
            let at = EPOCH.after(elapsed);
            if query == "control" {
                return value(400.0, at);
            }
            if holes.iter().any(|(from, span)| (*from..from + span).contains(&elapsed.as_secs())) {
                return Err(MissingWhy::Unreachable);
            }
            let turns = elapsed.as_secs_f64() / 2_400.0 + seed as f64 / 12.0;
            value(1_500.0 + 1_200.0 * (turns * std::f64::consts::TAU).sin(), at)
        };
        let policies = [policy("web", "cloud", ""), policy("control", "other", "")];
        let clouds = vec![("cloud", settings), ("other", cloud(&[("control", 4)]))];
        let world = World::new(seed, clouds, &[&policies[0], &policies[1]], Arc::new(load));
        while world.time.elapsed() < secs(HOURS * 3_600) {
            let span = 60 + draw(&dice, 3_600);
            let (jump, store) = (draw(&dice, 8), draw(&dice, 8));
            world.live(async |life| {
                tokio::time::sleep(secs(span / 2)).await;
                match store {
                    0 => world.store.set_fault(StoreFault::Full),
                    1 => world.store.set_fault(StoreFault::FullToTheBrim),
                    2 => world.store.set_fault(StoreFault::Slow(secs(2))),
                    _ => world.store.set_fault(StoreFault::None),
                }
                if jump == 0 {
                    life.jump(&world, 1_200);
                }
                let before = life.decisions("control");
                tokio::time::sleep(secs(span / 2)).await;
                let expected = (span / 2) / 60;
                assert!(life.decisions("control") - before >= expected, "the control fleet was left alone");
            });
        }
        world.witness.judge(&world.clouds["cloud"], "web", Promise::default());
        assert_eq!(world.clouds["other"].calls().writes(), 0, "the control fleet is on target throughout");
    });
}
