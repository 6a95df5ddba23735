//! What goes wrong around the daemon, each alone: metrics, clouds, clocks, the store, another daemon. A control fleet on
//! a cloud of its own must not notice.

use super::for_seeds;
use super::watch::Promise;
use super::world::{EPOCH, Life, World, cloud, load, policy, secs, value};
use policies::facts::MissingWhy;
use policies::policy::{Amount, Rate};
use sim::{Fault, Operation, Script, Span};
use skala::app::Settings;
use skala::cycle::brakes::BrakeSettings;
use skala::policy_sources::PolicySource;
use skala::sources::Answer;
use skala::store::memory::{Fault as StoreFault, MemoryStore};
use skala::store::{Options, PolicyFiles, Store};
use std::sync::Arc;
use std::time::Duration;

/// The fleet `web`, with a load that falls from 1,000 to 300 at 600 s unless the story says otherwise, and `control`.
fn world(seed: u64, web: impl Fn(Duration) -> Answer + Send + Sync + 'static) -> World {
    let clouds = vec![("cloud", cloud(&[("web", 10)])), ("other", cloud(&[("control", 4)]))];
    let policies = [policy("web", "cloud", ""), policy("control", "other", "")];
    let policies: Vec<&str> = policies.iter().map(String::as_str).collect();
    let load = move |query: &str, elapsed: Duration| match query {
        "web" => web(elapsed),
        _ => value(400.0, EPOCH.after(elapsed)),
    };
    World::new(seed, clouds, &policies, Arc::new(load))
}

fn falling(elapsed: Duration) -> Answer {
    value(if elapsed < secs(600) { 1_000.0 } else { 300.0 }, EPOCH.after(elapsed))
}

/// Lets time pass; the control fleet decides at least every two intervals of it.
async fn pass(life: &Life, time: Duration) {
    let steps = time.as_secs() / 30;
    for _ in 0..steps {
        let before = life.decisions("control");
        tokio::time::sleep(secs(30)).await;
        assert!(life.decisions("control") > before, "the control fleet was not decided for 30 s");
    }
    tokio::time::sleep(time - secs(steps * 30)).await;
}

#[test]
fn missing_readings_never_scale_in() {
    type At = fn(Duration) -> Answer;
    let answers: [(&str, At); 6] = [
        ("timeout", |_| Err(MissingWhy::Timeout)),
        ("empty", |_| Ok(Arc::new([]))),
        ("not a number", |elapsed| value(f64::NAN, EPOCH.after(elapsed))),
        ("infinite", |elapsed| value(f64::INFINITY, EPOCH.after(elapsed))),
        ("negative", |elapsed| value(-1.0, EPOCH.after(elapsed))),
        ("stale", |_| value(1.0, EPOCH.after(secs(600)))),
    ];
    for (name, bad) in answers {
        let world = world(1, move |elapsed| match elapsed.as_secs() {
            0..600 => value(1_000.0, EPOCH.after(elapsed)),
            600..2_400 => bad(elapsed),
            _ => value(300.0, EPOCH.after(elapsed)),
        });
        world.live(async |life| {
            pass(&life, secs(2_390)).await;
            assert_eq!(world.desired("cloud", "web"), 10, "{name}");
            assert_eq!(life.hold("web"), "blind", "{name}");
            pass(&life, secs(250)).await;
            assert_eq!(world.desired("cloud", "web"), 10, "{name}: the window begins again");
            pass(&life, secs(2_000)).await;
            assert!(world.desired("cloud", "web") < 10, "{name}");
        });
        world.witness.judge(&world.clouds["cloud"], "web", Promise::default());
    }
}

#[test]
fn a_dead_cloud_is_unknown_and_delays_nobody_else() {
    let faults = [
        ("hangs", Fault::Hang { span: Span::secs(60), effect: false }),
        ("unsent", Fault::Unsent),
        ("error", Fault::ErrorBeforeEffect),
        ("denied", Fault::Denied),
        ("throttled", Fault::Throttle { retry_after: Some(Span::secs(10)) }),
    ];
    for (name, fault) in faults {
        let world = world(1, falling);
        let (from, until) = (Span::secs(300), Some(Span::secs(1_800)));
        world.clouds["cloud"].inject(Script { from, until, ..Script::new(fault) });
        world.live(async |life| {
            pass(&life, secs(1_750)).await;
            assert_eq!(life.hold("web"), "group_unknown", "{name}");
            assert_eq!(world.desired("cloud", "web"), 10, "{name}");
            pass(&life, secs(2_000)).await;
            assert!(world.desired("cloud", "web") < 10, "{name}: it goes on");
        });
        world.witness.judge(&world.clouds["cloud"], "web", Promise::default());
    }
}

#[test]
fn a_removal_that_is_refused_says_nothing_of_launches() {
    let two = "priority = 1\n[[fleet.web.group]]\nprovider = \"other\"\ngroup = \"web\"\npriority = 2\n[fleet.web.metric.rps]";
    let web = policy("web", "cloud", "").replace("[fleet.web.metric.rps]", two);
    let clouds = vec![("cloud", cloud(&[("web", 10)])), ("other", cloud(&[("control", 4), ("web", 0)]))];
    let of = |query: &str, elapsed: Duration| match (query, elapsed.as_secs()) {
        ("control", _) => 400.0,
        (_, 0..600) => 1_000.0,
        (_, 600..1_000) => 600.0,
        _ => 1_400.0,
    };
    let world = World::new(1, clouds, &[&web, &policy("control", "other", "")], load(of));
    let throttle = Script::new(Fault::Throttle { retry_after: None });
    world.clouds["cloud"].inject(Script { operation: Some(Operation::Terminate), ..throttle });
    world.live(async |life| {
        pass(&life, secs(1_000)).await;
        assert!(world.clouds["cloud"].calls().terminate > 0, "it was to shrink");
        assert_eq!((world.desired("cloud", "web"), world.desired("other", "web")), (10, 0));
        pass(&life, secs(300)).await;
        assert_eq!((world.desired("cloud", "web"), world.desired("other", "web")), (14, 0), "where it is preferred");
    });
}

#[test]
fn a_missing_group_is_held_never_made() {
    let world = world(1, falling);
    let (from, until) = (Span::secs(300), Some(Span::secs(1_800)));
    world.clouds["cloud"].inject(Script { from, until, ..Script::new(Fault::Missing) });
    world.live(async |life| {
        pass(&life, secs(1_750)).await;
        assert_eq!(life.hold("web"), "group_missing");
        assert_eq!(world.clouds["cloud"].calls().writes(), 0);
    });
}

#[test]
fn an_unclear_write_is_looked_at_not_repeated() {
    for (fault, came) in [(Fault::ErrorAfterEffect, true), (Fault::BrokenBody, true), (Fault::ErrorBeforeEffect, false)]
    {
        for_seeds(1..4, |seed| {
            let rising = |elapsed| value(if elapsed < secs(600) { 1_000.0 } else { 1_600.0 }, EPOCH.after(elapsed));
            let world = world(seed, rising);
            let once = Script { operation: Some(Operation::Raise), times: Some(1), ..Script::new(fault.clone()) };
            world.clouds["cloud"].inject(once);
            world.live(async |life| {
                pass(&life, secs(640)).await;
                assert_eq!(world.desired("cloud", "web"), if came { 16 } else { 10 });
                pass(&life, secs(600)).await;
            });
            assert_eq!(world.desired("cloud", "web"), 16);
            let calls = world.clouds["cloud"].calls().raise;
            assert_eq!(calls, if came { 1 } else { 2 }, "{fault:?}");
            world.witness.judge(&world.clouds["cloud"], "web", Promise::default());
        });
    }
}

#[test]
fn a_read_asked_before_an_unclear_end_does_not_count() {
    let rising = |elapsed| value(if elapsed < secs(600) { 1_000.0 } else { 1_600.0 }, EPOCH.after(elapsed));
    let world = world(1, rising);
    // Asked every 15 s and answered 4 s later; the write ends 14 s after it began, while the next answer is on its way.
    let slow = |operation, span| Script { operation: Some(operation), ..Script::new(Fault::Latency { span }) };
    world.clouds["cloud"].inject(slow(Operation::Observe, Span::secs(4)));
    world.clouds["cloud"].inject(slow(Operation::Raise, Span::secs(14)));
    let unclear = Script::new(Fault::ErrorAfterEffect);
    world.clouds["cloud"].inject(Script { operation: Some(Operation::Raise), times: Some(1), ..unclear });
    world.live(async |life| {
        let mut holds = std::collections::BTreeSet::new();
        for _ in 0..700 {
            tokio::time::sleep(secs(1)).await;
            holds.insert(life.hold("web"));
        }
        assert!(holds.contains("group_unknown"), "{holds:?}");
    });
    assert_eq!(world.desired("cloud", "web"), 16);
    world.witness.judge(&world.clouds["cloud"], "web", Promise::default());
}

#[test]
fn a_slow_write_blocks_nobody_and_is_not_doubled() {
    let world = world(1, |elapsed| value(1_000.0 + 4.0 * elapsed.as_secs_f64(), EPOCH.after(elapsed)));
    let slow = Fault::Latency { span: Span::secs(25) };
    world.clouds["cloud"].inject(Script { operation: Some(Operation::Raise), ..Script::new(slow) });
    world.live(async |life| {
        let before = life.decisions("web");
        pass(&life, secs(1_200)).await;
        assert!(life.decisions("web") - before >= 78, "it is planned while its call is under way");
    });
    assert!(world.desired("cloud", "web") >= 50);
    world.witness.judge(&world.clouds["cloud"], "web", Promise::default());
}

#[test]
fn a_plan_that_waited_too_long_is_dropped_and_made_again() {
    let names: Vec<String> = (0..24).map(|at| format!("f{at:02}")).collect();
    let groups: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 4)).collect();
    let policies: Vec<String> = names.iter().map(|name| policy(name, "cloud", "")).collect();
    let policies: Vec<&str> = policies.iter().map(String::as_str).collect();
    let of = |_: &str, elapsed: Duration| if elapsed < secs(100) { 400.0 } else { 800.0 };
    let world = World::new(1, vec![("cloud", cloud(&groups))], &policies, load(of));
    let slow = Fault::Latency { span: Span::secs(25) };
    world.clouds["cloud"].inject(Script { operation: Some(Operation::Raise), ..Script::new(slow) });
    world.live(async |life| {
        tokio::time::sleep(secs(145)).await;
        let refused = |life: &Life| {
            let text = life.published.metrics().render(&life.published.process());
            let all = text.lines().filter(|line| line.starts_with("skala_actions_total{"));
            let refused = all.filter(|line| line.contains("outcome=\"refused\""));
            refused.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
        };
        assert_eq!(refused(&life), 8, "16 calls at once to one cloud; after 25 s the other 8 plans are old");
        tokio::time::sleep(secs(300)).await;
        assert!(names.iter().all(|name| world.desired("cloud", name) == 8), "they are made again");
        assert!(names.iter().all(|name| life.hold(name) == "on_target"));
    });
}

#[test]
fn a_clock_that_jumps_is_a_gap_not_an_order() {
    let world = world(1, falling);
    world.live(async |life| {
        pass(&life, secs(650)).await;
        life.jump(&world, 3_600);
        pass(&life, secs(240)).await;
        assert_eq!(world.desired("cloud", "web"), 10, "an hour that nobody observed justifies nothing");
        life.jump(&world, -7_200);
        pass(&life, secs(60)).await;
        assert_eq!(life.hold("web"), "clock");
        life.jump(&world, 3_600);
        pass(&life, secs(4_000)).await;
        assert!(world.desired("cloud", "web") < 10, "it goes on");
    });
    world.witness.judge(&world.clouds["cloud"], "web", Promise::default());
}

#[test]
fn a_full_disk_stops_scale_in_alone_and_a_damaged_store_everything() {
    let of = |elapsed: Duration| match elapsed.as_secs() {
        0..100 => 1_000.0,
        100..1_200 => 300.0,
        _ => 1_500.0,
    };
    for (fault, most) in [(StoreFault::Full, 15), (StoreFault::FullToTheBrim, 10), (StoreFault::Corrupt, 10)] {
        let world = world(1, move |elapsed| value(of(elapsed), EPOCH.after(elapsed)));
        world.live(async |life| {
            pass(&life, secs(60)).await;
            world.store.set_fault(fault);
            pass(&life, secs(1_000)).await;
            assert_eq!(world.desired("cloud", "web"), 10, "{fault:?}");
            assert_eq!(life.hold("web"), "store", "{fault:?}");
            pass(&life, secs(300)).await;
            assert_eq!(world.desired("cloud", "web"), most, "{fault:?}");
        });
        world.witness.judge(&world.clouds["cloud"], "web", Promise::default());
    }
}

#[test]
fn of_two_daemons_on_one_cloud_one_writes() {
    let world = world(1, |elapsed| value(1_000.0 + elapsed.as_secs_f64(), EPOCH.after(elapsed)));
    world.live(async |one| {
        pass(&one, secs(120)).await;
        let store = MemoryStore::new(Options::new("store-b"));
        let other = world.start(Arc::new(store), "store-b").await;
        pass(&one, secs(600)).await;
        assert_eq!(other.hold("web"), "owner");
        let writers = |world: &World| {
            let mut by: Vec<String> = world.clouds["cloud"].audit().iter().map(|entry| entry.by.to_string()).collect();
            by.dedup();
            by
        };
        assert_eq!(writers(&world), ["store-1"]);
        one.stop().await;
        pass(&other, secs(600)).await;
        assert_eq!(writers(&world), ["store-1", "store-b"], "it takes over when the claim has expired");
    });
    world.witness.judge(&world.clouds["cloud"], "web", Promise::default());
}

#[test]
fn of_two_daemons_on_one_store_one_acts() {
    let mut world = world(1, |elapsed| value(1_000.0 + elapsed.as_secs_f64(), EPOCH.after(elapsed)));
    world.settings.owner = Some("one".into());
    world.live(async |one| {
        pass(&one, secs(120)).await;
        let seams = world.seams(Arc::new(world.store.reopen()), "two", tokio::sync::mpsc::channel(1).1);
        let settings = Settings { owner: Some("two".into()), ..Settings::default() };
        let app = skala::app::App::new(seams.0, settings);
        let published = app.published();
        let running = tokio::spawn(app.run());
        pass(&one, secs(300)).await;
        let hold = |published: &skala::published::Published| {
            let status = published.fleet("web").expect("a fleet");
            status.decision.as_ref().and_then(|decision| decision.hold).map(|hold| hold.reason.word())
        };
        assert_eq!(hold(&published), Some("owner"));
        let writes = world.clouds["cloud"].calls().writes();
        one.stop().await;
        tokio::time::sleep(secs(300)).await;
        assert_ne!(hold(&published), Some("owner"), "the lease has passed to it");
        assert!(world.clouds["cloud"].calls().writes() > writes);
        running.abort();
    });
    world.witness.judge(&world.clouds["cloud"], "web", Promise::default());
}

#[test]
fn brakes_hold_over_all_fleets_and_over_a_crash() {
    let names = ["a", "b", "c"];
    let groups: Vec<(&str, u32)> = names.iter().map(|name| (*name, 10)).collect();
    let policies: Vec<String> = names.iter().map(|name| policy(name, "cloud", "")).collect();
    let policies: Vec<&str> = policies.iter().map(String::as_str).collect();
    let mut world = World::new(1, vec![("cloud", cloud(&groups))], &policies, load(|_, _| 100.0));
    let brake = Rate { amount: Amount::Percent(20.0), per: secs(3_600) };
    world.settings.brakes = BrakeSettings { scale_in: Some(brake), scale_out: None };
    let removed = |world: &World| -> u32 { names.iter().map(|name| 10 - world.desired("cloud", name)).sum() };
    world.live(async |_life| tokio::time::sleep(secs(1_200)).await);
    assert_eq!(removed(&world), 6, "20 % of 30");
    world.live(async |life| {
        tokio::time::sleep(secs(1_200)).await;
        assert!(names.iter().any(|name| life.hold(name) == "brake"));
    });
    assert_eq!(removed(&world), 6, "a crash does not give the budget back");
    world.live(async |_life| tokio::time::sleep(secs(7_200)).await);
    assert!(removed(&world) > 6, "an hour later there is a new one");
}

#[test]
fn a_percentage_brake_is_one_over_more_fleets_than_are_decided_together() {
    let names: Vec<String> = (0..300).map(|at| format!("f{at:03}")).collect();
    let groups: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 4)).collect();
    let policies: Vec<String> = names.iter().map(|name| policy(name, "cloud", "")).collect();
    let policies: Vec<&str> = policies.iter().map(String::as_str).collect();
    let mut world = World::new(1, vec![("cloud", cloud(&groups))], &policies, load(|_, _| 100.0));
    let brake = Rate { amount: Amount::Percent(20.0), per: secs(3_600) };
    world.settings.brakes = BrakeSettings { scale_in: Some(brake), scale_out: None };
    let removed = |world: &World| -> u32 { names.iter().map(|name| 4 - world.desired("cloud", name)).sum() };
    world.live(async |_life| tokio::time::sleep(secs(1_500)).await);
    assert_eq!(removed(&world), 240, "20 % of 1200");
}

#[test]
fn the_journal_is_in_the_order_of_the_decisions() {
    let of = |_: &str, elapsed: Duration| match elapsed.as_secs() {
        0..=600 => 900.0,
        // Less for a moment, which changes the reason and waits to be saved, then more, which is recorded at once.
        601..=620 => 500.0,
        _ => 1_500.0,
    };
    let web = policy("web", "cloud", "");
    let world = World::new(1, vec![("cloud", cloud(&[("web", 9)]))], &[web.as_str()], load(of));
    world.live(async |life| {
        tokio::time::sleep(secs(900)).await;
        assert_eq!(world.desired("cloud", "web"), 15);
        let entries = world.store.journal("web".into(), None, 1_000).await.unwrap();
        let times: Vec<_> = entries.iter().map(|entry| entry.at).collect();
        assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
        let held = entries.iter().any(|entry| entry.decision.contains("stabilized"));
        assert!(held && entries.len() > 3, "{}: the reason changed on the way", entries.len());
        drop(life);
    });
}

#[test]
fn policies_that_the_store_knows_by_another_revision_are_kept_again() {
    let world = world(1, falling);
    let files = world.files.load().unwrap();
    let old = PolicyFiles { revision: "of-an-older-skala".into(), interval: secs(15), files };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(world.store.keep_policies(old, EPOCH)).unwrap();
    world.live(async |life| {
        pass(&life, secs(60)).await;
        let revision = life.published.process().config.revision;
        let kept = world.store.policies(revision.clone()).await.unwrap();
        assert_eq!(kept.map(|kept| kept.revision), Some(revision));
    });
}

#[test]
fn a_source_that_panics_stays_with_its_fleet() {
    let world = world(1, |elapsed| {
        assert!(elapsed < secs(300), "a fault of the source");
        value(1_000.0, EPOCH.after(elapsed))
    });
    world.live(async |life| {
        pass(&life, secs(1_200)).await;
        assert_eq!(life.hold("web"), "blind");
    });
}
