//! Events of a calendar: what comes at times that no day or week tells is learned the first time, and expected the next.

use crate::fleet::*;
use policies::memory::FleetMemory;
use proptest::prelude::*;
use serde_json::{Value, json};

/// 10 instances' worth of work is 800; the event opens at midnight of every 24th, for six hours.
fn policy_of(events: &str) -> String {
    let rule = format!("kind = \"objective\"\ncapacity = 100.0\nutilization = 0.8\n{events}");
    policy("interval = \"60s\"", &metric_rule("rps", "count", &rule)).replace("max = 100", "max = 1000")
}

const SALE: &str = "events = [ { name = \"month-end\", cron = \"0 0 24 * *\", for = \"6h\" } ]";

/// Minutes from the epoch, 2023-11-14 22:13:20, to midnight of the 24th, and of the 24th of December.
const FIRST: u32 = 9 * 1440 + 107;
const SECOND: u32 = FIRST + 30 * 1440;
const SALE_MINUTES: u32 = 360;

fn noise(n: u32) -> f64 {
    let mixed = (u64::from(n) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f64 / f64::from(1 << 24)
}

/// An ordinary day from 400 to 800.
fn usual(minute: u32) -> f64 {
    let phase = f64::from(minute % 1440) / 720.0;
    400.0 + 400.0 * if phase < 1.0 { phase } else { 2.0 - phase } + 10.0 * noise(minute)
}

fn is_sale(minute: u32) -> bool {
    [FIRST, SECOND].iter().any(|opens| (*opens..opens + SALE_MINUTES).contains(&minute))
}

fn sale(minute: u32) -> f64 {
    if is_sale(minute) { 10.0 * usual(minute) } else { usual(minute) }
}

/// A fleet whose cloud boots for two minutes, and whose load is of the minute before.
struct World {
    fleet: Fleet,
    current: u32,
    ready: Vec<u32>,
    /// For each minute what was asked for and what served, and why.
    seen: Vec<(u32, u32, String)>,
}

impl World {
    fn new(text: &str) -> Self {
        Self { fleet: Fleet::new(text), current: 12, ready: vec![12, 12], seen: Vec::new() }
    }

    fn run(&mut self, load: impl Fn(u32) -> f64, from: u32, to: u32) {
        for minute in from..to {
            let serving = (*self.ready.iter().rev().take(3).min().unwrap_or(&self.current)).min(self.current);
            let cycle = Cycle::new(f64::from(minute) * 60.0, self.current)
                .instances(serving, self.current - serving)
                .read("rps", load(minute.saturating_sub(1)));
            let decision = self.fleet.decide(cycle);
            self.current = desired(&decision) as u32;
            self.ready.push(self.current);
            self.seen.push((self.current, serving, why(&decision).to_owned()));
        }
    }

    /// History up to a minute, and the last hour of it live.
    fn after(text: &str, load: impl Fn(u32) -> f64, until: u32) -> Self {
        let mut world = Self::new(text);
        let live = until - 60;
        let values: Vec<_> = (0..live).map(|n| json!([EPOCH + i64::from(n) * 60 + 60, load(n)])).collect();
        let line = json!({"fleet": "web", "history": {"rps": values}});
        assert_eq!(world.fleet.decider.line(&line.to_string()), None);
        world.run(load, live, until);
        world
    }
}

fn why(decision: &Value) -> &str {
    decision["recommendations"][0]["why"].as_str().unwrap_or("")
}

/// The minutes of an hour in which fewer served than the load needs.
fn short(world: &mut World, load: impl Fn(u32) -> f64 + Copy, from: u32) -> usize {
    let at = world.seen.len();
    world.run(load, from, from + 60);
    let needed = |minute: usize| load(from + minute as u32) / 80.0;
    world.seen[at..]
        .iter()
        .enumerate()
        .filter(|(minute, (_, serving, _))| f64::from(*serving) < needed(*minute))
        .count()
}

#[test]
fn at_the_second_occurrence_capacity_is_there_before_the_load() {
    let (mut with, mut without) =
        (World::after(&policy_of(SALE), sale, SECOND - 12), World::after(&policy_of(""), sale, SECOND - 12));
    let before = with.current;
    with.run(sale, SECOND - 12, SECOND);
    without.run(sale, SECOND - 12, SECOND);
    assert!(with.seen.iter().any(|(_, _, why)| why.contains("by event:month-end (9.9")), "{:#?}", with.seen.last());
    assert!(with.current > 6 * before && without.current < 2 * before, "{} {} {before}", with.current, without.current);
    assert_eq!(short(&mut with, sale, SECOND), 0);
    let late = short(&mut without, sale, SECOND);
    assert!(late >= 3, "only {late} minutes without the event");
    // And it is gone with the event.
    with.run(sale, SECOND + 60, SECOND + SALE_MINUTES + 60);
    assert!(with.current < 2 * before, "{}", with.current);
}

#[test]
fn before_its_first_occurrence_an_event_changes_nothing() {
    let plain = World::after(&policy_of(""), usual, FIRST + 10);
    let with = World::after(&policy_of(SALE), usual, FIRST + 10);
    assert_eq!(plain.seen, with.seen);
}

#[test]
fn profiles_learn_nothing_from_an_event() {
    let after = |load: fn(u32) -> f64| {
        let mut world = World::after(&policy_of(SALE), load, FIRST + 1440 - 60);
        world.run(load, FIRST + 1440 - 60, FIRST + 1440 + 180);
        let most = world.seen.iter().map(|(desired, ..)| *desired).max();
        most.unwrap_or(0)
    };
    let (with_sale, usual_day) = (after(sale), after(usual));
    assert!(with_sale <= 2 * usual_day, "the day after: {with_sale} and {usual_day}");
}

#[test]
fn an_event_that_turns_out_to_be_nothing_wastes_little_and_is_switched_off() {
    let once = |minute: u32| if minute < SECOND { sale(minute) } else { usual(minute) };
    let mut world = World::after(&policy_of(SALE), once, SECOND - 12);
    let at = world.seen.len();
    world.run(once, SECOND - 12, SECOND + SALE_MINUTES + 30);
    let most = world.seen[at..].iter().map(|(desired, ..)| *desired).max().unwrap_or(0);
    assert!(most > 40, "it was expected: {most}");
    let wasted = world.seen[at..].iter().filter(|(desired, ..)| *desired > 30).count();
    assert!(wasted <= 60, "{wasted} minutes of more than twice the capacity");
    let served = world.seen[at..].iter().enumerate();
    let short = served.filter(|(minute, seen)| f64::from(seen.1) * 80.0 < once(SECOND - 12 + *minute as u32));
    assert!(short.count() <= 4, "one minute in a hundred");
}

#[test]
fn what_is_learned_of_events_is_bounded_and_survives_a_restart() {
    let events = (0..4).map(|n| format!("{{ name = \"e{n}\", cron = \"0 {} 24 * *\", for = \"6h\" }}", 6 * n));
    let text = policy_of(&format!("events = [{}]", events.collect::<Vec<_>>().join(",")));
    let load = |minute: u32| if (FIRST..FIRST + 1440).contains(&minute) { 10.0 * usual(minute) } else { usual(minute) };
    let (mut unbroken, mut broken) = (World::after(&text, load, FIRST + 1500), World::after(&text, load, FIRST + 1500));
    unbroken.fleet.decider.save();
    let saved = broken.fleet.decider.save();
    let memory: Value = serde_json::from_str(&saved).expect("JSON");
    let occasions = memory["fleets"]["web"]["occasions"]["objective"].as_array().expect("events");
    assert_eq!(occasions.len(), 4);
    for occasion in occasions {
        assert_eq!(occasion["factors"].as_array().map(Vec::len), Some(24), "{occasion}");
    }
    let web: FleetMemory = serde_json::from_value(memory["fleets"]["web"].clone()).expect("a memory");
    let without = FleetMemory { occasions: Default::default(), ..web.clone() };
    let size = web.encode().len() - without.encode().len();
    assert!(size <= 1024, "{size} bytes for four events");
    assert_eq!(FleetMemory::decode(&web.encode()), Ok(web));
    broken.fleet = Fleet::new(&text);
    broken.fleet.decider.load(&saved).expect("its own memory");
    unbroken.run(load, FIRST + 1500, FIRST + 1600);
    broken.run(load, FIRST + 1500, FIRST + 1600);
    assert_eq!(unbroken.seen, broken.seen);
    assert_eq!(unbroken.fleet.decider.save(), broken.fleet.decider.save());
    let damaged = saved.replacen("\"factors\":[", "\"factors\":[1e39,", 1);
    assert!(broken.fleet.decider.load(&damaged).is_err());
}

/// Seconds between lines, from a minute to weeks, and the load: sound, absurd or unknown.
fn cycles() -> impl Strategy<Value = Vec<(f64, Option<f64>)>> {
    let gap = prop_oneof![8 => Just(60.0), 2 => Just(1800.0), 1 => 60.0..3e6_f64];
    let load = prop_oneof![
        8 => (0.0..4000.0).prop_map(Some),
        1 => prop_oneof![Just(0.0), Just(1e-300), Just(1e300)].prop_map(Some),
        1 => Just(None),
    ];
    prop::collection::vec((gap, load), 1..120)
}

/// Three events, one of them hourly, on a capacity that is learned.
fn busy_calendar() -> String {
    let events = "events = [ { name = \"hourly\", cron = \"20 * * * *\", for = \"20m\" }, \
                  { name = \"month-end\", cron = \"0 20 24 * *\", for = \"7d\", tz = \"Asia/Jakarta\" }, \
                  { name = \"night\", cron = \"0 22 * * *\", until = \"0 5 * * *\", tz = \"Europe/Berlin\" } ]";
    let cpu = "learn_from = \"cpu\"\n[fleet.web.metric.cpu]\nsource = \"prom\"\nquery = \"cpu\"\nunit = \"ratio\"\n";
    policy_of(events).replace("capacity = 100.0", "capacity = \"learn\"") + cpu
}

fn run(fleet: &mut Fleet, cycles: &[(f64, Option<f64>)], mut between: impl FnMut(&mut Fleet)) -> Vec<Value> {
    let (mut secs, mut current, mut decisions) = (0.0_f64, 12, Vec::new());
    for (gap, load) in cycles {
        secs += gap.floor();
        let cycle = Cycle::new(secs, current).read("cpu", load.map_or(0.5, |load| (load / 4000.0).min(1.0)));
        let decision = fleet.decide(load.iter().fold(cycle, |cycle, load| cycle.read("rps", *load)));
        current = desired(&decision).min(40) as u32;
        decisions.push(decision);
        between(fleet);
    }
    decisions
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_decisions_stay_lawful_and_survive_a_restart(cycles in cycles()) {
        let unbroken = run(&mut Fleet::new(&busy_calendar()), &cycles, |_| ());
        let broken = run(&mut Fleet::new(&busy_calendar()), &cycles, |fleet| {
            let saved = fleet.decider.save();
            *fleet = Fleet::new(&busy_calendar());
            fleet.decider.load(&saved).expect("its own memory");
        });
        prop_assert_eq!(&unbroken, &broken);
        for (decision, (_, load)) in unbroken.iter().zip(&cycles) {
            prop_assert!((1..=1000).contains(&desired(decision)), "{decision}");
            if load.is_none() {
                prop_assert!(desired(decision) >= decision["current"].as_u64().unwrap_or(0), "{decision}");
            }
        }
    }
}
