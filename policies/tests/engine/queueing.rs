//! `queue` and `latency`: how much they ask for, and what they never do.

use crate::fleet::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const METRICS: &str = r#"
[fleet.web.metric.jobs]
source = "prom"
query = "jobs"
[fleet.web.metric.rate]
source = "prom"
query = "rate"
[fleet.web.metric.secs]
source = "prom"
query = "secs"
unit = "seconds"
"#;

fn queue(keys: &str) -> String {
    let rule = format!(
        "{METRICS}[[fleet.web.rule]]\nkind = \"queue\"\nbacklog = \"jobs\"\narrivals = \"rate\"\nservice_time = \"secs\"\ndrain_within = \"5m\"\nworkers_per_instance = 4\n{FREE}"
    );
    policy(keys, &rule)
}

fn latency(keys: &str, rule: &str) -> String {
    let metrics = METRICS.replace("[fleet.web.metric.jobs]\nsource = \"prom\"\nquery = \"jobs\"\n", "");
    let rule = format!(
        "{metrics}[[fleet.web.rule]]\nkind = \"latency\"\narrivals = \"rate\"\nservice_time = \"secs\"\n{rule}\n{FREE}"
    );
    policy(keys, &rule)
}

/// A cycle with a reading of each; `jobs` is ignored by a fleet that does not have it.
fn cycle(secs: f64, current: u32, jobs: f64, rate: f64, time: f64) -> Cycle {
    Cycle::new(secs, current).read("jobs", jobs).read("rate", rate).read("secs", time)
}

/// The value that the only rule recommends.
fn value(decision: &Value) -> Option<u64> {
    decision["recommendations"][0]["value"].as_u64()
}

#[test]
fn one_of_three_readings_missing_is_unknown_not_a_number() {
    for text in [queue(""), latency("", "max_wait = \"20ms\"\nshare = 0.01")] {
        let names = if text.contains("jobs") { &["jobs", "rate", "secs"][..] } else { &["rate", "secs"] };
        for name in names {
            for bad in [
                json!({"missing": "timeout"}),
                json!({"value": "NaN", "at": EPOCH}),
                json!({"value": -1.0, "at": EPOCH}),
            ] {
                let mut fleet = Fleet::new(&text);
                for n in 0..5 {
                    let held = fleet.decide(cycle(f64::from(n) * 15.0, 9, 0.0, 0.0, 0.0).reading(name, bad.clone()));
                    assert_eq!((desired(&held), reason(&held)), (9, "blind"), "{name} {bad}");
                    assert!(held["recommendations"][0]["unknown"].as_str().unwrap().starts_with(name), "{held}");
                }
            }
        }
    }
}

#[test]
fn work_that_takes_no_time_is_not_believed() {
    for text in [queue(""), latency("", "max_wait = \"20ms\"\nshare = 0.01")] {
        let held = Fleet::new(&text).decide(cycle(0.0, 9, 5.0, 5.0, 0.0));
        assert_eq!((desired(&held), reason(&held)), (9, "blind"));
        assert_eq!(held["recommendations"][0]["unknown"], json!("secs: 0, though there is work"));
        // Where there is none, it takes none.
        assert_eq!(value(&Fleet::new(&text).decide(cycle(0.0, 9, 0.0, 0.0, 0.0))), Some(0));
    }
}

#[test]
fn the_first_job_wakes_a_fleet_from_nothing() {
    let text = queue("warmup = \"0s\"").replace("min = 1", "min = 0");
    assert_eq!(desired(&Fleet::new(&text).decide(cycle(0.0, 0, 1.0, 0.0, 10.0))), 1);
    assert_eq!(desired(&Fleet::new(&text).decide(cycle(0.0, 0, 0.0, 0.0, 10.0))), 0);
    let unknown = cycle(0.0, 0, 1.0, 0.0, 10.0).reading("secs", json!({"missing": "empty"}));
    assert_eq!(desired(&Fleet::new(&text).decide(unknown)), 0);
}

#[test]
fn absurd_readings_ask_for_max_and_no_more() {
    for text in [queue(""), latency("", "max_wait = \"20ms\"\nshare = 0.01")] {
        for (jobs, rate, secs) in
            [(1e308, 1e308, 1e308), (0.0, f64::MAX, f64::MAX), (0.0, 1e300, 1e9), (f64::MAX, 1.0, f64::MIN_POSITIVE)]
        {
            let decision = Fleet::new(&text).decide(cycle(0.0, 9, jobs, rate, secs));
            assert!(desired(&decision) == 100 || rate == 1.0, "{jobs} {rate} {secs}: {decision}");
        }
    }
    // The quotient of a large number and a small one is infinite: it once was taken for 0.
    let decision =
        Fleet::new(&policy("", &format!("{}{FREE}", rps(1e-9)))).decide(Cycle::new(0.0, 9).read("rps", 1e307));
    assert_eq!(desired(&decision), 100);
}

#[test]
fn a_fleet_of_busy_workers_is_not_made_smaller() {
    // 4 serve of 20, 15.3 of their 16 workers busy: what is measured may be what they can do.
    for text in [queue(""), latency("", "max_wait = \"20ms\"\nshare = 0.01\nworkers_per_instance = 4")] {
        let mut fleet = Fleet::new(&text);
        for n in 0..5 {
            let decision = fleet.decide(cycle(f64::from(n) * 15.0, 20, 0.0, 1.53, 10.0).instances(4, 16));
            assert_eq!(desired(&decision), 20);
            let why = decision["recommendations"][0]["why"].as_str().unwrap();
            assert!(why.ends_with("; all busy, so not less"), "{why}");
        }
        // A little less, and the reading is believed.
        let decision = Fleet::new(&text).decide(cycle(0.0, 20, 0.0, 1.5, 10.0).instances(4, 16));
        assert!(value(&decision) < Some(20), "{decision}");
    }
}

#[test]
fn too_few_members_only_push_out() {
    let text = queue("").replace("query = \"rate\"\n", "query = \"rate\"\nmembers = \"count(up)\"\n");
    let covers = |members: u32, rate: f64| {
        let reading = json!({"value": rate, "at": EPOCH, "members": members});
        let decision = Fleet::new(&text).decide(cycle(0.0, 20, 0.0, 0.0, 10.0).reading("rate", reading));
        (value(&decision).unwrap(), decision["recommendations"][0]["out_only"] == json!(true))
    };
    assert_eq!((covers(20, 2.0), covers(3, 2.0)), ((5, false), (20, true)));
    // 30 keep up, and 120 s without ten of them are to be made up for.
    assert_eq!(covers(3, 12.0), (37, true));
}

#[test]
fn utilization_may_be_as_high_as_the_size_allows() {
    // Highest utilization with P(wait > t service times) <= 1 % by workers and instances: the table of the decisions'
    // design, computed by other code than this one.
    for (workers, waits, instances, utilization) in [
        (1_u32, 1.0, 4_u32, 0.42),
        (1, 1.0, 16, 0.79),
        (1, 0.0, 16, 0.51),
        (1, 0.0, 64, 0.73),
        (4, 1.0, 1, 0.42),
        (4, 1.0, 8, 0.88),
        (4, 1.0, 32, 0.97),
        (16, 1.0, 1, 0.79),
        (16, 1.0, 4, 0.94),
    ] {
        let keys =
            format!("max_wait = \"{}ms\"\nshare = 0.01\nworkers_per_instance = {workers}", (waits * 100.0) as u32);
        let at = |utilization: f64| {
            let rate = utilization * f64::from(workers * instances) / 0.1;
            value(&Fleet::new(&latency("", &keys)).decide(cycle(0.0, 1, 0.0, rate, 0.1))).unwrap()
        };
        assert!(at(utilization - 0.0051) <= u64::from(instances), "{workers} {waits} {instances}");
        assert!(at(utilization + 0.0051) > u64::from(instances), "{workers} {waits} {instances}");
    }
}

#[test]
fn uneven_service_takes_more() {
    let at = |cv: &str| {
        let keys = format!("max_wait = \"100ms\"\nshare = 0.01\n{cv}");
        value(&Fleet::new(&latency("", &keys)).decide(cycle(0.0, 1, 0.0, 100.0, 0.1))).unwrap()
    };
    // 14 and 16 from the reference: (1 + 2^2) / 2 is 2.5.
    assert_eq!((at(""), at("service_cv = 1.0"), at("service_cv = 2.0")), (14, 14, 16));
    assert!(at("service_cv = 0.0") < 14);
}

/// A queue of jobs as a fluid, a cloud that boots in two minutes, and a look at it every 15 s: seconds until it is empty,
/// and the most instances.
fn drain(mut backlog: f64, rate: f64, secs: f64, mut serving: u32) -> (f64, u32) {
    let text = queue("warmup = \"0s\"")
        .replace("max = 100", "max = 10000")
        .replace("stabilization = \"0s\"", "stabilization = \"10m\"");
    let mut fleet = Fleet::new(&text);
    let mut booting: Vec<(f64, u32)> = vec![];
    let mut most = serving;
    for n in 0..400 {
        let now = f64::from(n) * 15.0;
        if backlog < 0.5 {
            return (now, most);
        }
        serving += booting.iter().filter(|(at, _)| *at <= now).map(|(_, n)| n).sum::<u32>();
        booting.retain(|(at, _)| *at > now);
        let pending = booting.iter().map(|(_, n)| n).sum::<u32>();
        let mut line = cycle(now, serving + pending, backlog, rate, secs).instances(serving, pending);
        let launched = booting.iter().flat_map(|(at, n)| std::iter::repeat_n(at - 120.0, *n as usize));
        for (at, launched) in (serving as usize..).zip(launched) {
            line = line.instance(at, "launched", json!(EPOCH as f64 + launched));
        }
        let wanted = desired(&fleet.decide(line)) as u32;
        if wanted > serving + pending {
            booting.push((now + 120.0, wanted - serving - pending));
        }
        most = most.max(wanted);
        backlog = (backlog + 15.0 * (rate - f64::from(serving) * 4.0 / secs)).max(0.0);
    }
    panic!("never empty")
}

#[test]
fn a_backlog_is_done_in_time_boot_included() {
    for (backlog, rate, secs, serving) in [
        (1200.0, 8.0, 10.0, 20),
        (1200.0, 8.0, 10.0, 5),
        (20_000.0, 50.0, 2.0, 25),
        (600.0, 0.0, 30.0, 1),
        (300.0, 1.0, 10.0, 40),
    ] {
        let (took, most) = drain(backlog, rate, secs, serving);
        assert!(took <= 300.0 + 15.0, "{backlog} {rate} {secs} {serving}: {took} s");
        // What somebody who sees all of it from the start would have taken.
        let least = ((rate * 300.0 + backlog) * secs / 4.0 - f64::from(serving) * 120.0) / 180.0;
        assert!(f64::from(most) <= least.max(f64::from(serving)) * 1.1 + 2.0, "{most} instances, {least:.1} would do");
    }
}

#[derive(Clone, Debug)]
struct Step {
    jobs: Value,
    rate: Value,
    secs: Value,
}

fn reading(at: f64, top: f64) -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => (0.0..top).prop_map(move |value| json!({"value": value, "at": at})),
        1 => prop_oneof![Just(0.0), Just(1e308), Just(1e-300)].prop_map(move |value| json!({"value": value, "at": at})),
        1 => Just(json!({"value": "+Inf", "at": at})),
        1 => Just(json!({"missing": "timeout"})),
        1 => (0.0..top).prop_map(move |value| json!({"value": value, "at": at - 400.0})),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = |n: usize| {
        let at = EPOCH as f64 + n as f64 * 15.0;
        (reading(at, 2000.0), reading(at, 40.0), reading(at, 20.0)).prop_map(|(jobs, rate, secs)| Step {
            jobs,
            rate,
            secs,
        })
    };
    (1..16_usize).prop_flat_map(move |len| (0..len).map(step).collect::<Vec<_>>())
}

fn run(text: &str, steps: &[Step]) -> Vec<Value> {
    let mut fleet = Fleet::new(text);
    let mut current = 30;
    let mut decide = |(n, step): (usize, &Step)| {
        let line = Cycle::new(n as f64 * 15.0, current);
        let line = line.reading("jobs", step.jobs.clone()).reading("rate", step.rate.clone());
        let decision = fleet.decide(line.reading("secs", step.secs.clone()));
        current = desired(&decision) as u32;
        decision
    };
    steps.iter().enumerate().map(&mut decide).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn lawful_bounded_and_never_in_on_the_unknown(steps in steps()) {
        for (text, has_jobs) in [(queue(""), true), (latency("", "max_wait = \"1s\"\nshare = 0.05"), false)] {
            let decisions = run(&text, &steps);
            prop_assert_eq!(&decisions, &run(&text, &steps), "deterministic");
            for (n, (decision, step)) in decisions.iter().zip(&steps).enumerate() {
                let (current, now) = (decision["current"].as_u64().unwrap(), desired(decision));
                prop_assert!((1..=100).contains(&now), "{decision}");
                let at = EPOCH as f64 + n as f64 * 15.0;
                let known = |r: &Value| r["value"].is_f64() && r["at"].as_f64() == Some(at);
                let all = known(&step.rate) && known(&step.secs) && (!has_jobs || known(&step.jobs));
                prop_assert!(all || now >= current, "an unknown reading removed instances: {decision}");
                prop_assert!(all || value(decision).is_none(), "a number from the unknown: {decision}");
            }
        }
    }

    #[test]
    fn more_load_never_means_fewer(
        current in 1..60_u32, serving in 0..60_u32, jobs in 0.0..900.0_f64, rate in 0.0..40.0_f64, secs in 0.01..9.0_f64, more in 1.0..2.0_f64
    ) {
        for text in [queue(""), latency("", "max_wait = \"1s\"\nshare = 0.05\nworkers_per_instance = 2")] {
            let at = |jobs, rate, secs| {
                let line = cycle(0.0, current.max(serving), jobs, rate, secs);
                value(&Fleet::new(&text).decide(line.instances(serving, current.saturating_sub(serving)))).unwrap()
            };
            let base = at(jobs, rate, secs);
            prop_assert!(at(jobs * more, rate, secs) >= base && at(jobs, rate * more, secs) >= base);
            prop_assert!(at(jobs, rate, secs * more) >= base);
        }
    }
}
