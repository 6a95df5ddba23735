//! What holds for every input: bounds, the trace law, determinism, and that not knowing never removes a machine.

use crate::fleet::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const TWO_RULES: &str = r#"
[fleet.web.metric.rps]
source = "prom"
query = "rps"
[fleet.web.metric.cpu]
source = "prom"
query = "cpu"
unit = "ratio"
[fleet.web.metric.age]
source = "prom"
query = "age"
unit = "seconds"
"#;

fn rules(order: &[usize]) -> String {
    let each = [
        "[[fleet.web.rule]]\nkind = \"per-instance\"\nmetric = \"rps\"\ntarget = 10.0\n",
        "[[fleet.web.rule]]\nkind = \"utilization\"\nmetric = \"cpu\"\ntarget = 0.6\n",
        "[[fleet.web.rule]]\nkind = \"step\"\nmetric = \"age\"\nsteps = [ { above = 60, add = 2 }, { above = 300, add = \"50%\" }, { below = 5, remove = 1 } ]\n",
    ];
    let rules: String = order.iter().map(|at| each[*at]).collect();
    format!("{TWO_RULES}{rules}[fleet.web.scale_in]\nstabilization = \"1m\"\n")
}

/// A reading: a number, something that is none, or nothing.
fn reading(at: f64, top: f64) -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => (0.0..top).prop_map(move |value| json!({"value": value, "at": at})),
        1 => Just(json!({"value": "NaN", "at": at})),
        1 => Just(json!({"missing": "timeout"})),
        1 => (0.0..top).prop_map(move |value| json!({"value": value, "at": at - 400.0})),
    ]
}

#[derive(Clone, Debug)]
struct Step {
    rps: Value,
    cpu: Value,
    age: Value,
    /// What the cloud says instead of what it was told.
    drift: i8,
    pending: u32,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = |n: usize| {
        let at = EPOCH as f64 + n as f64 * 15.0;
        (
            reading(at, 900.0),
            reading(at, 1.4),
            reading(at, 400.0),
            prop_oneof![9 => Just(0_i8), 1 => -3..4_i8],
            0..3_u32,
        )
            .prop_map(|(rps, cpu, age, drift, pending)| Step { rps, cpu, age, drift, pending })
    };
    (1..24_usize).prop_flat_map(move |len| (0..len).map(step).collect::<Vec<_>>())
}

fn run(order: &[usize], steps: &[Step]) -> Vec<Value> {
    run_policy(&policy("", &rules(order)), steps)
}

/// What one rule, free of windows and rates, makes of the same reading within three cycles.
fn first_change(rule: &str, metric: &str, current: u32, value: f64) -> u64 {
    let mut fleet = Fleet::new(&policy("", &format!("{rule}{FREE}")));
    let mut last = 0;
    for secs in [0.0, 15.0, 30.0] {
        last = desired(&fleet.decide(Cycle::new(secs, current).read(metric, value)));
        if last != u64::from(current) {
            break;
        }
    }
    last
}

fn run_policy(policy: &str, steps: &[Step]) -> Vec<Value> {
    let mut fleet = Fleet::new(policy);
    let mut current: u32 = 12;
    let mut out = vec![];
    for (n, step) in steps.iter().enumerate() {
        current = current.saturating_add_signed(i32::from(step.drift)).max(1);
        let pending = step.pending.min(current);
        let cycle = Cycle::new(n as f64 * 15.0, current)
            .instances(current - pending, pending)
            .reading("rps", step.rps.clone())
            .reading("cpu", step.cpu.clone())
            .reading("age", step.age.clone());
        let decision = fleet.decide(cycle);
        current = desired(&decision) as u32;
        out.push(decision);
    }
    out
}

fn usable(reading: &Value, at: f64) -> bool {
    reading["value"].is_f64() && reading["at"].as_f64() == Some(at)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn decisions_stay_lawful(steps in steps()) {
        for (n, (decision, step)) in run(&[0, 1, 2], &steps).iter().zip(&steps).enumerate() {
            let (current, now) = (decision["current"].as_u64().expect("known"), desired(decision));
            let (min, max) = (decision["limits"]["min"].as_u64().expect("min"), decision["limits"]["max"].as_u64().expect("max"));
            prop_assert!(now >= min.min(current) && now <= max.max(current), "{decision}");
            let at = EPOCH as f64 + n as f64 * 15.0;
            let all = [&step.rps, &step.cpu, &step.age].into_iter().all(|r| usable(r, at));
            prop_assert!(all || now >= current, "an unknown reading removed machines: {decision}");
            prop_assert!(n >= 4 || now >= current, "a window of a minute was not covered: {decision}");
            let named = decision["groups"][0]["terminate"].as_array().expect("list").len() as u64;
            prop_assert!(named <= current.saturating_sub(now), "{decision}");
        }
    }

    #[test]
    fn the_order_of_rules_never_matters(steps in steps()) {
        let numbers = |order: &[usize]| -> Vec<_> {
            run(order, &steps).iter().map(|d| (desired(d), reason(d).to_owned())).collect()
        };
        // Which of several unknown metrics is named depends on the order; the decision and its reason never do.
        prop_assert_eq!(numbers(&[0, 1, 2]), numbers(&[2, 1, 0]));
    }

    #[test]
    fn the_same_input_gives_the_same_output(steps in steps()) {
        prop_assert_eq!(run(&[0, 1, 2], &steps), run(&[0, 1, 2], &steps));
    }

    #[test]
    fn more_load_never_means_fewer_machines(current in 1..60_u32, low in 0.0..900.0_f64, more in 0.0..900.0_f64) {
        let at = |load: f64| first_change(&rps(10.0), "rps", current, load);
        prop_assert!(at(low + more) >= at(low));
    }

    #[test]
    fn a_busier_fleet_never_gets_fewer_machines(current in 1..60_u32, low in 0.0..0.9_f64, more in 0.0..0.6_f64) {
        let rule = metric_rule("cpu", "ratio", "kind = \"utilization\"\ntarget = 0.6");
        let at = |used: f64| first_change(&rule, "cpu", current, used);
        prop_assert!(at(low + more) >= at(low));
    }

    #[test]
    fn a_higher_step_never_gets_fewer_machines(current in 1..60_u32, low in 0.0..400.0_f64, more in 0.0..400.0_f64) {
        // Half of a small fleet may be less than two: a policy that says so is not monotone, and gets what it says.
        let steps = "steps = [ { above = 60, add = 2 }, { above = 300, add = 5 }, { below = 5, remove = 1 } ]";
        let rule = metric_rule("age", "seconds", &format!("kind = \"step\"\n{steps}"));
        let at = |age: f64| first_change(&rule, "age", current, age);
        prop_assert!(at(low + more) >= at(low));
    }

    #[test]
    fn a_guard_and_a_schedule_hold_whatever_is_read(steps in steps()) {
        // The test's time begins at 22:13:20 UTC.
        let more = "[[fleet.web.rule]]\nname = \"late\"\nkind = \"guard\"\nmetric = \"age\"\nabove = 200\nblocks = \"in\"\n\
            [[fleet.web.rule]]\nname = \"sale\"\nkind = \"schedule\"\ncron = \"14 22 * * *\"\nfor = \"2m\"\ntz = \"UTC\"\nmin = 20\n";
        let policy = policy("", &format!("{}{more}", rules(&[0, 1, 2])));
        for (n, (decision, step)) in run_policy(&policy, &steps).iter().zip(&steps).enumerate() {
            let (current, now) = (decision["current"].as_u64().expect("known"), desired(decision));
            let at = EPOCH as f64 + n as f64 * 15.0;
            let quiet = usable(&step.age, at) && step.age["value"].as_f64() <= Some(200.0);
            prop_assert!(quiet || now >= current, "a guard did not block: {decision}");
            let open = (3..11).contains(&n);
            prop_assert_eq!(&decision["limits"]["min"], &json!(if open { 20 } else { 1 }), "{}", decision);
            prop_assert!(!open || now >= 20, "a schedule's min was not kept: {decision}");
        }
    }

    #[test]
    fn no_line_panics(text in "\\PC*", cut in 0..400_usize, put in any::<u8>()) {
        let mut fleet = Fleet::new(&policy("", &rules(&[0, 1, 2])));
        prop_assert!(fleet.decider.line(&text).is_some());
        let mut bytes = Cycle::new(0.0, 3).read("rps", 4.0).line.to_string().into_bytes();
        let at = cut % bytes.len();
        bytes[at] = put;
        let _ = fleet.decider.line(&String::from_utf8_lossy(&bytes));
        bytes.truncate(at);
        let _ = fleet.decider.line(&String::from_utf8_lossy(&bytes));
    }
}
