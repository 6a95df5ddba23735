//! `capacity = "learn"`: what one instance can do, learned from how busy the instances are.

use crate::fleet::*;
use policies::memory::FleetMemory;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Windows that are counted before the capacity is trusted.
const TRUSTED: u32 = 30;

fn policy_of(keys: &str) -> String {
    let cpu = "[fleet.web.metric.cpu]\nsource = \"prom\"\nquery = \"cpu\"\nunit = \"ratio\"\n";
    let rule = "kind = \"objective\"\ncapacity = \"learn\"\nlearn_from = \"cpu\"\nutilization = 0.8";
    policy(&format!("interval = \"60s\"\n{keys}"), &format!("{cpu}{}{FREE}", metric_rule("rps", "count", rule)))
}

fn noise(n: u32) -> f64 {
    let mixed = (u64::from(n) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f64 / f64::from(1 << 24) - 0.5
}

/// Instances that follow the law, a load, and a cloud that does at once what it is told.
struct World {
    fleet: Fleet,
    minute: u32,
    current: u32,
    /// Utilization for one unit of work a second, and without any.
    demand: f64,
    background: f64,
    /// How much utilization is off, at most.
    noise: f64,
}

impl World {
    fn new(current: u32) -> Self {
        let fleet = Fleet::new(&policy_of(""));
        Self { fleet, minute: 0, current, demand: 0.002, background: 0.1, noise: 0.04 }
    }

    fn utilization(&self, load: f64) -> f64 {
        let busy = self.demand * load / f64::from(self.current) + self.background;
        (busy + self.noise * noise(self.minute)).clamp(0.0, 1.0)
    }

    fn cycle(&self, load: f64) -> Cycle {
        Cycle::new(f64::from(self.minute) * 60.0, self.current).read("rps", load).read("cpu", self.utilization(load))
    }

    /// A minute; capacity stays as it is.
    fn watch(&mut self, load: f64) -> Value {
        let decision = self.fleet.decide(self.cycle(load));
        self.minute += 1;
        decision
    }

    /// A minute; the cloud obeys.
    fn obey(&mut self, load: f64) -> Value {
        let decision = self.watch(load);
        self.current = desired(&decision) as u32;
        decision
    }

    /// So many minutes of a load that swings by 40 % within two hours.
    fn learn(&mut self, minutes: u32) -> Value {
        let mut last = Value::Null;
        for _ in 0..minutes {
            last = self.watch(swinging(self.minute));
        }
        last
    }
}

/// 1500 on average: 10 instances at 40 % with a background of 10 %.
fn swinging(minute: u32) -> f64 {
    let phase = f64::from(minute % 120) / 60.0;
    1200.0 + 600.0 * if phase < 1.0 { phase } else { 2.0 - phase } + 20.0 * noise(minute + 9)
}

fn why(decision: &Value) -> &str {
    decision["recommendations"][0]["why"].as_str().unwrap_or_else(|| panic!("a reason in {decision}"))
}

fn recommended(decision: &Value) -> u64 {
    decision["recommendations"][0]["value"].as_u64().unwrap_or_else(|| panic!("a value in {decision}"))
}

/// The number that follows a word in the reason.
fn said(decision: &Value, before: &str) -> f64 {
    let rest = why(decision).split(before).nth(1).unwrap_or_else(|| panic!("{before} in {}", why(decision)));
    let number: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    number.parse().unwrap_or_else(|_| panic!("a number after {before} in {}", why(decision)))
}

fn capacity(decision: &Value) -> f64 {
    said(decision, "capacity ")
}

fn share(decision: &Value) -> f64 {
    said(decision, "/ ")
}

#[test]
fn until_it_is_trusted_utilization_decides_and_nothing_is_removed() {
    let mut world = World::new(10);
    (world.background, world.noise) = (0.0, 0.0);
    let first = world.watch(2000.0);
    assert_eq!(recommended(&first), 10, "at 40 % five would do: {first}");
    assert!(why(&first).contains("learned from 30 windows, 1 so far"), "{}", why(&first));
    assert_eq!((desired(&first), reason(&first)), (10, "partial"), "{first}");
    assert_eq!(recommended(&world.watch(4500.0)), 12, "0.9 x 10 / 0.8");
    let full = world.watch(5000.0);
    assert_eq!(recommended(&full), 25, "twice as many, since nobody knows how much is wanted: {full}");
    assert!(why(&full).contains("all may be busy"), "{}", why(&full));
}

#[test]
fn without_any_utilization_it_is_unknown() {
    let mut world = World::new(10);
    let cycle = Cycle::new(0.0, 10).read("rps", 2000.0).reading("cpu", json!({"missing": "timeout"}));
    let decision = world.fleet.decide(cycle);
    assert_eq!(decision["recommendations"][0]["unknown"], "cpu: timeout");
    assert_eq!((desired(&decision), reason(&decision)), (10, "blind"));
}

#[test]
fn the_law_is_learned_from_noise_with_a_background() {
    let mut world = World::new(5);
    for minute in 0..TRUSTED - 1 {
        assert!(why(&world.watch(swinging(minute))).contains("until"), "minute {minute}");
    }
    let decision = world.learn(24 * 60);
    // 450 at 100 %: 0.9 / 0.002. What is counted with falls with the noise at once, and rises slowly.
    assert!((405.0..=455.0).contains(&capacity(&decision)), "{}", why(&decision));
    assert!((8.0..12.0).contains(&said(&decision, "windows, ")), "{}", why(&decision));
}

#[test]
fn without_variation_all_of_it_is_taken_for_work() {
    let mut world = World::new(10);
    world.noise = 0.0;
    let mut last = Value::Null;
    for _ in 0..100 {
        last = world.watch(1500.0);
    }
    // 40 % at 150 each. Truly 350 at the limit; with no background known 300; no more than 1.25 x what was carried.
    assert!(why(&last).contains("no background known"), "{}", why(&last));
    assert_eq!((share(&last), capacity(&last)), (187.5, 234.38), "{}", why(&last));
    assert!(why(&last).contains("1.25 x the most that one has carried"), "{}", why(&last));
}

#[test]
fn a_fleet_that_is_too_large_shrinks_step_by_step_to_what_the_law_says() {
    let mut world = World::new(16);
    let mut busiest: f64 = 0.0;
    for minute in 0..24 * 60 {
        busiest = busiest.max(world.utilization(2000.0));
        let before = world.current;
        world.obey(2000.0);
        assert!(minute > TRUSTED || world.current >= before, "minute {minute}");
    }
    // 35 % at first. 350 each at the limit: 6 carry 2000, and head-room is asked for.
    assert!((6..=8).contains(&world.current), "{}", world.current);
    assert!(busiest < 0.85, "{busiest}");
}

#[test]
fn a_deploy_that_doubles_the_demand_is_followed_in_minutes() {
    let mut world = World::new(5);
    world.learn(600);
    world.demand *= 2.0;
    // 1500 then needs 9 at 0.7 / 0.004 = 175 each; while all of it is taken for work one more.
    let mut said = Vec::new();
    for _ in 0..8 {
        let decision = world.obey(1500.0);
        said.push((world.current, why(&decision).to_owned()));
    }
    assert!((10..=13).contains(&said[0].0), "full at once: {said:#?}");
    let last = world.watch(1500.0);
    assert!((130.0..180.0).contains(&share(&last)), "{said:#?}");
    assert!((9..=13).contains(&world.current), "{said:#?}");
}

#[test]
fn a_deploy_without_saturation_is_found_as_well() {
    let mut world = World::new(6);
    world.learn(600);
    let before = share(&world.watch(1500.0));
    world.demand *= 1.4;
    let mut after = before;
    for _ in 0..10 {
        after = share(&world.watch(1500.0));
    }
    assert!(after < 0.8 * before, "{before} and {after}");
}

#[test]
fn a_deploy_that_halves_the_demand_is_followed_at_ten_percent_an_hour() {
    let mut world = World::new(5);
    let before = share(&world.learn(600));
    world.demand /= 2.0;
    let mut shares = vec![before];
    for _ in 0..6 {
        let mut last = Value::Null;
        for _ in 0..60 {
            // As busy as before, since twice as much is done.
            let load = 2.0 * swinging(world.minute);
            last = world.watch(load);
        }
        shares.push(share(&last));
    }
    for hour in shares.windows(2) {
        assert!(hour[1] <= 1.103 * hour[0], "{shares:?}");
    }
    assert!(shares[6] > 1.4 * before, "{shares:?}");
}

#[test]
fn a_saturated_fleet_teaches_at_most_that_the_demand_is_more() {
    let mut world = World::new(10);
    let before = share(&world.learn(600));
    // All busy with 6000: 600 each, were that believed.
    let mut last = Value::Null;
    for _ in 0..60 {
        last = world.watch(6000.0);
    }
    assert!(why(&last).contains("may be all that the fleet can do"), "{}", why(&last));
    assert!(share(&last) <= before, "{before} and {}", why(&last));
    assert!(recommended(&last) >= 25, "{last}");
}

#[test]
fn one_busy_minute_is_no_deploy() {
    let (mut calm, mut spiked) = (World::new(10), World::new(10));
    calm.learn(600);
    spiked.learn(599);
    spiked.background = 0.45;
    spiked.watch(swinging(599));
    spiked.background = 0.1;
    let (calm, spiked) = (share(&calm.learn(2)), share(&spiked.learn(2)));
    assert!(spiked > 0.96 * calm, "{calm} and {spiked}");
}

#[test]
fn an_unknown_utilization_removes_nothing_and_names_its_metric() {
    let mut world = World::new(16);
    world.noise = 0.0;
    world.learn(200);
    world.current = 40;
    let mut last = Value::Null;
    for _ in 0..30 {
        let cycle = world.cycle(1500.0).reading("cpu", json!({"missing": "timeout"}));
        last = world.fleet.decide(cycle);
        world.minute += 1;
    }
    assert_eq!((desired(&last), reason(&last)), (40, "partial"), "{last}");
    assert_eq!(last["hold"]["setting"], "metric.cpu", "{last}");
    assert!(why(&last).ends_with("the utilization is unknown now, so not less"), "{}", why(&last));
    // More work still adds: the capacity is known.
    let more = world.fleet.decide(world.cycle(30_000.0).reading("cpu", json!({"missing": "timeout"})));
    assert!(desired(&more) > 40, "{more}");
}

#[test]
fn instances_that_start_and_readings_of_other_times_teach_nothing() {
    let mut world = World::new(10);
    for minute in 0..40_i64 {
        let starting = world.cycle(1500.0).instances(10, 3).group("desired", json!(13));
        let decision = world.fleet.decide(starting);
        assert!(why(&decision).contains("0 so far"), "{}", why(&decision));
        world.minute += 1;
        let late = json!({"value": 0.5, "at": EPOCH + 60 * (minute * 2 + 1) - 90});
        let decision = world.fleet.decide(world.cycle(1500.0).reading("cpu", late));
        assert!(why(&decision).contains("0 so far"), "{}", why(&decision));
        world.minute += 1;
    }
}

#[test]
fn of_one_value_each_the_mean_of_those_that_serve_counts() {
    let text = policy_of("").replace("query = \"cpu\"\n", "query = \"cpu\"\nby = \"id\"\n");
    let mut fleet = Fleet::new(&text);
    let decide = |fleet: &mut Fleet, minute: u32| {
        let values = json!({"i-0": 0.3, "i-1": 0.5, "i-2": "NaN", "i-3": 0.4, "i-4": 0.4, "p-0": 1.0});
        let at = EPOCH + i64::from(minute) * 60;
        let cycle = Cycle::new(f64::from(minute) * 60.0, 5).instances(5, 1).group("desired", json!(5));
        fleet.decide(cycle.read("rps", 500.0).reading("cpu", json!({"values": values, "at": at})))
    };
    let first = decide(&mut fleet, 0);
    assert!(why(&first).starts_with("0.4 x 5 serving / 0.8"), "{}", why(&first));
    let last = (1..40).fold(first, |_, minute| decide(&mut fleet, minute));
    assert_eq!(share(&last), 125.0, "100 each at 40 %, and no more than 1.25 x that: {}", why(&last));
}

#[test]
fn too_few_members_teach_nothing() {
    let mut fleet = Fleet::new(&policy_of("").replace("query = \"cpu\"\n", "query = \"cpu\"\nmembers = \"up\"\n"));
    for minute in 0..40 {
        let cpu = json!({"value": 0.4, "at": EPOCH + minute * 60, "members": 3});
        let cycle = Cycle::new(minute as f64 * 60.0, 10).read("rps", 1000.0).reading("cpu", cpu);
        assert!(why(&fleet.decide(cycle)).contains("0 so far"));
    }
}

#[test]
fn another_limit_holds_at_once() {
    let mut world = World::new(5);
    let before = world.learn(600);
    let saved = world.fleet.decider.save();
    world.fleet = Fleet::new(&policy_of("").replace("utilization = 0.8", "utilization = 0.6"));
    world.fleet.decider.load(&saved).expect("its own memory");
    let after = world.learn(2);
    assert!(share(&after) < 0.77 * share(&before), "{} and {}", why(&before), why(&after));
    assert!((capacity(&after) / capacity(&before) - 1.0).abs() < 0.1, "{} and {}", why(&before), why(&after));
}

#[test]
fn what_is_kept_of_an_instance_is_small() {
    let mut world = World::new(5);
    world.learn(100);
    let saved: Value = serde_json::from_str(&world.fleet.decider.save()).expect("JSON");
    let web: FleetMemory = serde_json::from_value(saved["fleets"]["web"].clone()).expect("a memory");
    let without = FleetMemory { services: Default::default(), ..web.clone() };
    let size = web.encode().len() - without.encode().len();
    assert!(size <= 250, "{size} bytes");
    assert_eq!(FleetMemory::decode(&web.encode()), Ok(web));
}

#[test]
fn a_damaged_memory_is_refused() {
    let mut world = World::new(10);
    world.learn(50);
    let saved = world.fleet.decider.save();
    assert!(world.fleet.decider.load(&saved).is_ok());
    for (sound, damaged) in
        [("\"share\":", "\"share\":-"), ("\"newest\":[", "\"newest\":[{\"work\":1e80,\"busy\":1.0},")]
    {
        let damaged = saved.replacen(sound, damaged, 1);
        assert_ne!(saved, damaged);
        let error = world.fleet.decider.load(&damaged).expect_err("a damaged law");
        assert!(error.0.contains("damaged"), "{error}");
    }
}

fn number(at: f64, most: f64) -> impl Strategy<Value = Value> {
    prop_oneof![
        12 => (0.0..most).prop_map(move |value| json!({"value": value, "at": at})),
        1 => prop_oneof![Just(0.0), Just(1e-300), Just(1e300)].prop_map(move |value| json!({"value": value, "at": at})),
        1 => Just(json!({"missing": "timeout"})),
        1 => (0.0..most).prop_map(move |value| json!({"value": value, "at": at - 100.0})),
    ]
}

/// Gaps between the lines in seconds, instances, and what is read at each.
fn cycles() -> impl Strategy<Value = Vec<(f64, u32, Value, Value)>> {
    let gaps = prop::collection::vec(prop_oneof![9 => Just(60.0), 1 => 1.0..5000.0], 1..80);
    gaps.prop_flat_map(|gaps| {
        let ends = gaps.into_iter().scan(0.0, |sum: &mut f64, gap: f64| {
            *sum += gap.floor();
            Some(*sum)
        });
        let one = |secs: f64| {
            let at = EPOCH as f64 + secs;
            (Just(secs), 8..12_u32, number(at, 4000.0), number(at, 1.2))
        };
        ends.map(one).collect::<Vec<_>>()
    })
}

fn run(fleet: &mut Fleet, cycles: &[(f64, u32, Value, Value)], mut between: impl FnMut(&mut Fleet)) -> Vec<Value> {
    let decide = |(secs, current, rps, cpu): &(f64, u32, Value, Value)| {
        let cycle = Cycle::new(*secs, *current).reading("rps", rps.clone()).reading("cpu", cpu.clone());
        let decision = fleet.decide(cycle);
        between(fleet);
        decision
    };
    cycles.iter().map(decide).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn decisions_stay_lawful(cycles in cycles()) {
        let mut most: f64 = 0.0;
        for (decision, (secs, current, rps, cpu)) in run(&mut Fleet::new(&policy_of("")), &cycles, |_| ()).iter().zip(&cycles) {
            prop_assert!((1..=100).contains(&desired(decision)), "{decision}");
            let fresh = |reading: &Value| reading["value"].as_f64().filter(|_| reading["at"].as_f64() == Some(EPOCH as f64 + secs));
            let usable = |reading: &Value, most: f64| reading["value"].as_f64().filter(|value| *value <= most);
            most = most.max(usable(rps, f64::INFINITY).map_or(0.0, |load| load / 8.0));
            if usable(cpu, 1.5).is_none() {
                prop_assert!(desired(decision) >= u64::from(*current), "unknown removed something: {decision}");
            }
            let text = decision["recommendations"][0]["why"].as_str().unwrap_or("");
            if text.contains("per instance") {
                // No instance is asked for more than 1.25 times what one ever carried.
                prop_assert!(share(decision) <= 1.2501 * most, "{most}: {decision}");
                let load = fresh(rps).unwrap_or(0.0);
                prop_assert!(recommended(decision) as f64 >= (load / share(decision) * 0.9999).floor().min(1e6), "{decision}");
            }
        }
    }

    #[test]
    fn a_restart_changes_nothing(cycles in cycles()) {
        let unbroken = run(&mut Fleet::new(&policy_of("")), &cycles, |_| ());
        let broken = run(&mut Fleet::new(&policy_of("")), &cycles, |fleet| {
            let saved = fleet.decider.save();
            *fleet = Fleet::new(&policy_of(""));
            fleet.decider.load(&saved).expect("its own memory");
        });
        prop_assert_eq!(unbroken, broken);
    }

    #[test]
    fn the_same_input_gives_the_same_bytes(cycles in cycles()) {
        let (mut a, mut b) = (Fleet::new(&policy_of("")), Fleet::new(&policy_of("")));
        prop_assert_eq!(run(&mut a, &cycles, |_| ()), run(&mut b, &cycles, |_| ()));
        prop_assert_eq!(a.decider.save(), b.decider.save());
    }
}
