//! Golden policies of realistic settings, and whether they do what the cloud's own rule would: each rule's arithmetic is
//! written here a second time, by the cloud's own words, and compared over a table of cases.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Tests: they read and, when told to, write golden files.

use super::*;
use contract::native::{Band, NativeMetric, NativePace, NativeSchedule, NativeUnit};
use policies::policy::testing;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import")
}

fn document(name: &str) -> Value {
    let path = cases().join(format!("{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap()
}

fn native(name: &str, group: &str) -> NativePolicy {
    let documents = [document(name)];
    let read = match name.split('-').next().unwrap() {
        "aws" => native::aws::policy(group, &documents),
        "gcp" => native::gcp::policy(group, &documents),
        "azure" => native::azure::policy(group, &documents),
        _ => native::kubernetes::policy(group, &documents),
    };
    read.unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn names<'a>(fleet: &'a str, group: &'a str) -> Names<'a> {
    Names { fleet, provider: "cloud", group, source: "prometheus" }
}

fn imported(name: &str, group: &str) -> Imported {
    let fleet = fleet_name(group);
    write(&native(name, group), &names(&fleet, group)).unwrap_or_else(|refused| panic!("{name}: {refused}"))
}

const GROUPS: [(&str, &str); 6] = [
    ("aws", "checkout-web"),
    ("aws-steps", "thumbnail-workers"),
    ("azure", "shop/backend"),
    ("gcp", "zones/europe-west3-a/analytics-web"),
    ("keda", "shop/mailer"),
    ("kubernetes", "shop/web"),
];

#[test]
fn golden_policies_are_as_reviewed_and_sound() {
    for (name, group) in GROUPS {
        let found = imported(name, group);
        let golden = cases().join(format!("{name}.toml"));
        if std::env::var_os("SKALA_BLESS").is_some() {
            std::fs::write(&golden, &found.text).unwrap();
        }
        let reviewed = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(found.text, reviewed, "case {name}; SKALA_BLESS=1 writes what was imported now");
        let files = [SourceFile { name: "it.toml".into(), text: found.text.clone() }];
        let (set, diagnostics) = config::parse_policies(&files, INTERVAL_DEFAULT, None);
        assert_eq!(diagnostics, [], "{name} has neither errors nor warnings");
        assert_eq!(set.fleets[0].mode, policies::policy::Mode::Observe, "{name} observes");
        // What is said is said in both places.
        let flat: String =
            found.text.lines().map(|line| line.trim_start_matches(['#', ' ', '-'])).collect::<Vec<_>>().join(" ");
        for note in found.notes.iter().chain(&found.left_out) {
            assert!(flat.contains(note.trim_end_matches('.')), "{name}: {note}");
        }
        assert_eq!(found.text.matches("NOT IMPORTED: ").count(), found.left_out.len(), "{name}");
        assert_eq!(found.text.matches("PROBABLE, not known: ").count(), found.probable.len(), "{name}");
    }
}

/// One cycle of a `[[test]]`: from when until when, capacity, and what is expected of the last decision.
struct Cycle<'a> {
    at: &'a str,
    until: Option<&'a str>,
    current: Option<u32>,
    desired: u32,
}

/// Runs cycles with one set of readings through the imported policy.
fn check(text: &str, fleet: &str, start: &str, readings: &[(&str, f64)], cycles: &[Cycle<'_>]) {
    check_from(text, fleet, start, (&[], 0), readings, cycles);
}

/// The same after a first cycle with other readings and a capacity, in which nothing happens.
fn check_from(
    text: &str,
    fleet: &str,
    start: &str,
    (calm, before): (&[(&str, f64)], u32),
    readings: &[(&str, f64)],
    cycles: &[Cycle<'_>],
) {
    let written = |readings: &[(&str, f64)]| {
        readings.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ")
    };
    let mut text = format!("{text}\n[[test]]\nname = \"t\"\nfleet = \"{fleet}\"\nstart = {start}\n");
    if !calm.is_empty() {
        let readings = written(calm);
        text.push_str(&format!(
            "[[test.cycle]]\nat = \"0s\"\nreadings = {{ {readings} }}\ncurrent = {before}\ndesired = {before}\n"
        ));
    }
    for cycle in cycles {
        let readings = written(readings);
        text.push_str(&format!("[[test.cycle]]\nat = \"{}\"\nreadings = {{ {readings} }}\n", cycle.at));
        cycle.until.iter().for_each(|until| text.push_str(&format!("until = \"{until}\"\n")));
        cycle.current.iter().for_each(|current| text.push_str(&format!("current = {current}\n")));
        text.push_str(&format!("desired = {}\n", cycle.desired));
    }
    let files = [SourceFile { name: "it.toml".into(), text }];
    let (set, diagnostics) = config::parse_policies(&files, INTERVAL_DEFAULT, None);
    assert_eq!(diagnostics, []);
    let results = testing::run(&set);
    assert_eq!(results.len(), 1);
    if let Some(failure) = results[0].failures.first() {
        panic!(
            "{readings:?} at {:?}: expected {}, got {}\n{}",
            failure.at, failure.expected, failure.got, failure.trace
        );
    }
}

fn ceil(value: f64) -> u32 {
    (value - 1e-9).ceil() as u32
}

const SUNDAY: &str = "2026-11-22T12:00:00+01:00";

#[test]
fn target_tracking_adds_after_three_points_and_removes_after_fifteen() {
    let text = imported("aws", "checkout-web").text;
    for (current, cpu, requests) in [
        (6_u32, 80.0, 900.0),
        (6, 50.0, 2400.0),
        (10, 51.0, 100.0),
        (4, 100.0, 1300.0),
        (20, 36.0, 800.0),
        (9, 34.0, 600.0),
    ] {
        let (now, readings) = (f64::from(current), [("cpu", cpu), ("requests_per_target", requests)]);
        // Each policy by itself: in proportion when above, kept from 70 % of the target on, low below that.
        let policies = [(cpu, 50.0), (requests, 1200.0)];
        let out = policies.iter().map(|(value, target)| ceil(now * value / target)).max().unwrap().min(30);
        let all_low = policies.iter().all(|(value, target)| *value < 0.7 * target);
        if out > current {
            let calm = [("cpu", 50.0), ("requests_per_target", 1200.0)];
            let cycles = [
                Cycle { at: "15s", until: Some("2m"), current: None, desired: current },
                Cycle { at: "2m15s", until: None, current: None, desired: out },
            ];
            check_from(&text, "checkout-web", SUNDAY, (&calm, current), &readings, &cycles);
        } else {
            let desired = if all_low { current - 1 } else { current };
            check(
                &text,
                "checkout-web",
                SUNDAY,
                &readings,
                &[
                    Cycle { at: "0s", until: Some("13m45s"), current: Some(current), desired: current },
                    Cycle { at: "14m", until: None, current: None, desired },
                ],
            );
        }
    }
}

#[test]
fn scheduled_actions_hold_from_one_to_the_next() {
    let text = imported("aws", "checkout-web").text;
    let readings = [("cpu", 45.0), ("requests_per_target", 1000.0)];
    let one = |start, current, desired| {
        check(
            &text,
            "checkout-web",
            start,
            &readings,
            &[Cycle { at: "0s", until: None, current: Some(current), desired }],
        );
    };
    one("2026-11-23T07:59:00+01:00", 5, 5);
    one("2026-11-23T08:00:00+01:00", 5, 10);
    one("2026-11-23T19:59:00+01:00", 9, 10);
    one("2026-11-24T03:00:00+01:00", 9, 9);
}

#[test]
fn step_policies_change_by_their_tables() {
    let text = imported("aws-steps", "thumbnail-workers").text;
    let metric = "approximate_number_of_messages_visible";
    // The adjustment by AWS' rules: thresholds 100 and 1000 above, 5 below; 25 % is 2 of 8 and 1 of 3.
    for (current, backlog, desired) in
        [(8_u32, 50.0, 8), (8, 150.0, 9), (8, 999.0, 9), (8, 1500.0, 12), (39, 5000.0, 40)]
    {
        check_from(
            &text,
            "thumbnail-workers",
            SUNDAY,
            (&[(metric, 50.0)], current),
            &[(metric, backlog)],
            &[
                Cycle { at: "15s", until: Some("1m"), current: None, desired: current },
                Cycle { at: "1m15s", until: None, current: None, desired },
            ],
        );
    }
    for (current, desired) in [(8_u32, 6), (3, 2), (1, 1)] {
        check(
            &text,
            "thumbnail-workers",
            SUNDAY,
            &[(metric, 2.0)],
            &[
                Cycle { at: "0s", until: Some("3m45s"), current: Some(current), desired: current },
                Cycle { at: "4m", until: None, current: None, desired },
            ],
        );
    }
}

#[test]
fn the_managed_groups_autoscaler_takes_the_largest_signal_and_limits_scale_in() {
    let text = imported("gcp", "zones/europe-west3-a/analytics-web").text;
    for (current, cpu, waiting) in
        [(6_u32, 0.9, 300.0), (6, 0.6, 3000.0), (10, 0.61, 0.0), (5, 0.3, 100.0), (20, 0.15, 600.0), (30, 1.0, 100.0)]
    {
        let size = ceil(f64::from(current) * cpu / 0.6).max(ceil(waiting / 150.0)).clamp(3, 40);
        let readings = [("cpu", cpu), ("num_undelivered_messages", waiting)];
        if size >= current {
            let cycles = [Cycle { at: "0s", until: None, current: Some(current), desired: size }];
            check(&text, "analytics-web", SUNDAY, &readings, &cycles);
        } else {
            // After ten minutes of peaks, at most 20 % of what was there in them.
            let limit = (f64::from(current) * 0.8 + 1e-9).floor() as u32;
            check(
                &text,
                "analytics-web",
                SUNDAY,
                &readings,
                &[
                    Cycle { at: "0s", until: Some("9m45s"), current: Some(current), desired: current },
                    Cycle { at: "10m", until: None, current: None, desired: size.max(limit) },
                ],
            );
        }
    }
    // The schedule: Monday 8:00 to 18:00 in Jakarta, at least ten.
    for (start, desired) in
        [("2026-11-23T07:59:00+07:00", 6), ("2026-11-23T08:00:00+07:00", 10), ("2026-11-23T18:00:00+07:00", 6)]
    {
        let cycles = [Cycle { at: "0s", until: None, current: Some(6), desired }];
        check(&text, "analytics-web", start, &[("cpu", 0.6), ("num_undelivered_messages", 0.0)], &cycles);
    }
}

#[test]
fn azures_rules_add_by_any_and_remove_by_all() {
    let text = imported("azure", "shop/backend").text;
    for (current, cpu, network) in [
        (6_u32, 71.0, 9e7),
        (6, 70.0, 9e7),
        (6, 71.0, 1e6),
        (8, 29.0, 1e6),
        (8, 29.0, 6e7),
        (8, 31.0, 1e6),
        (30, 90.0, 9e7),
    ] {
        // Any out-rule: +2. All in-rules: the smallest of -1 and -2, unless that would trigger the out-rule.
        let out = cpu > 70.0;
        let r#in = cpu < 30.0 && network < 5e7;
        let desired = if out { (current + 2).min(30) } else { current - u32::from(r#in) };
        let readings = [("percentage_cpu_5m", cpu), ("network_in_total_10m", network)];
        check(
            &text,
            "backend",
            SUNDAY,
            &readings,
            &[
                Cycle { at: "0s", until: None, current: Some(current), desired: if out { desired } else { current } },
                // A cooldown of five minutes after adding; what is to go goes once two intervals agree.
                Cycle { at: "30s", until: None, current: None, desired },
            ],
        );
    }
    let unread = text.clone()
        + "\n[[test]]\nname = \"t\"\nfleet = \"backend\"\n[[test.cycle]]\nat = \"0s\"\nuntil = \"2m\"\ncurrent = 4\n\
           readings = { percentage_cpu_5m = \"timeout\", network_in_total_10m = \"timeout\" }\ndesired = 6\n";
    let (set, _) = config::parse_policies(&[SourceFile { name: "it".into(), text: unread }], INTERVAL_DEFAULT, None);
    assert_eq!(testing::run(&set)[0].failures, [], "unreadable metrics raise to Azure's default");
}

/// `ceil(current x value / target)`, within 10 % of the target nothing.
fn hpa(current: u32, ratio: f64) -> u32 {
    if (ratio - 1.0).abs() <= 0.1 { current } else { ceil(f64::from(current) * ratio) }
}

#[test]
fn the_hpas_arithmetic_is_kept() {
    let text = imported("kubernetes", "shop/web").text;
    for (current, cpu, rps, queue) in [
        (5_u32, 105.0, 2.5, 100.0),
        (5, 75.0, 2.6, 150.0),
        (5, 35.0, 1.0, 600.0),
        (3, 280.0, 1.0, 0.0),
        (20, 70.0, 10.0, 0.0),
        (20, 35.0, 1.0, 30.0),
        (4, 20.0, 0.5, 10.0),
    ] {
        let ratios = [cpu / 70.0, rps / 2.5, queue / 30.0 / f64::from(current)];
        let wanted = ratios.iter().map(|ratio| hpa(current, *ratio)).max().unwrap();
        let readings = [("cpu", cpu), ("http_requests_per_second", rps), ("queue_messages_ready", queue)];
        if wanted >= current {
            // Four pods or a doubling in 15 s, whichever is more.
            let desired = wanted.min((current + 4).max(current * 2)).min(50);
            let cycles = [Cycle { at: "0s", until: None, current: Some(current), desired }];
            check(&text, "web", SUNDAY, &readings, &cycles);
        } else {
            // Two minutes of window, then the stricter of five pods and a tenth in a minute.
            let limit = (current - 5.min(current)).max((f64::from(current) * 0.9 + 1e-9).floor() as u32);
            check(
                &text,
                "web",
                SUNDAY,
                &readings,
                &[
                    Cycle { at: "0s", until: Some("1m45s"), current: Some(current), desired: current },
                    Cycle { at: "2m", until: None, current: None, desired: wanted.max(limit).max(3) },
                ],
            );
        }
    }
}

#[test]
fn kedas_triggers_are_totals_and_its_cron_a_schedule() {
    let text = imported("keda", "shop/mailer").text;
    for (start, waiting, desired) in [
        ("2026-11-22T22:00:00+07:00", 0.0, 0),
        ("2026-11-22T22:00:00+07:00", 1.0, 1),
        ("2026-11-22T22:00:00+07:00", 101.0, 3),
        ("2026-11-22T12:00:00+07:00", 1.0, 2),
    ] {
        let cycles = [Cycle { at: "0s", until: None, current: Some(0), desired }];
        check(&text, "mailer", start, &[("mails_waiting", waiting)], &cycles);
    }
}

#[test]
fn what_makes_no_policy_is_refused_with_its_reasons() {
    let group = |more: Value| {
        let mut group = json!({"AutoScalingGroupName": "g", "MinSize": 1, "MaxSize": 5});
        group.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        native::aws::policy(
            "g",
            &[json!({"AutoScalingGroups": [group], "ScalingPolicies": [{
                "AutoScalingGroupName": "g", "PolicyName": "steps", "PolicyType": "StepScaling", "Enabled": true,
                "AdjustmentType": "ChangeInCapacity", "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}]
            }]})],
        )
    };
    let refused = write(&group(json!({})).unwrap(), &names("g", "g")).unwrap_err().to_string();
    assert!(refused.contains("no rule that can be written") && refused.contains("describe-alarms"), "{refused}");
    for (more, words) in [
        (json!({"MinSize": -1}), "MinSize: must not be negative"),
        (json!({"MaxSize": 1e9}), "MaxSize: must be a whole number"),
        (json!({"MaxSize": null}), "`MaxSize` is missing"),
    ] {
        let error = group(more).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    for (cloud, document) in [("aws", json!({"Groups": []})), ("aws", json!({"AutoScalingGroups": []}))] {
        assert!(native::aws::policy("g", &[document]).is_err(), "{cloud}");
    }
    assert!(native::gcp::policy("g", &[json!({"name": "g"})]).is_err());
    assert!(native::azure::policy("g", &[json!({"profiles": [], "targetResourceUri": "x/other"})]).is_err());
    assert!(native::kubernetes::policy("g", &[json!({"items": []})]).is_err());
    assert!(native::kubernetes::policy("g", &[json!("<html>")]).is_err());
}

fn metric(name: &str, query: &str) -> NativeMetric {
    NativeMetric {
        name: name.into(),
        short: "m".into(),
        unit: NativeUnit::Count,
        query: Query::Exact(query.into()),
        window: None,
        max_age: None,
    }
}

#[test]
fn whatever_a_cloud_calls_things_the_file_is_sound() {
    let mut native = NativePolicy::named("a\nname = \"b\"\u{7}");
    (native.min, native.max) = (Some(0), Some(9));
    native.note("a note\nmode = \"on\"");
    let average = |query: &str| NativeKind::Average {
        metric: metric("evil\n[fleet.x]", query),
        target: 0.1 + 0.2,
        band: Band::default(),
        removes: true,
    };
    let rule = |name: &str, kind| NativeRule { name: name.into(), kind };
    let schedule = |cron: &str, tz: &str| {
        NativeKind::Schedule(NativeSchedule { cron: cron.into(), tz: tz.into(), min: Some(3), ..Default::default() })
    };
    native.rules = vec![
        rule("same", average("sum(a{x='\"'}) + 1")),
        rule("same", average("sum(b{y=\"\\\\d\"})")),
        rule("broken", average("sum(")),
        rule("never", schedule("0 0 30 2 *", "UTC")),
        rule("nowhere", schedule("0 0 * * *", "Mars/Olympus")),
    ];
    native.scale_out = NativePace { off: true, ..NativePace::default() };
    let found = write(&native, &Names { fleet: "a.b", provider: "p", group: "g\"'\\\u{1}", source: "s" });
    let error = found.unwrap_err().to_string();
    assert!(error.contains("group"), "a group's name with control characters is refused, not cleaned: {error}");
    let found = write(&native, &Names { fleet: "a.b", provider: "p", group: "g\"'\\", source: "s" }).unwrap();
    assert_eq!(found.left_out.len(), 3, "{:?}", found.left_out);
    let files = [SourceFile { name: "it".into(), text: found.text.clone() }];
    let (set, diagnostics) = config::parse_policies(&files, INTERVAL_DEFAULT, None);
    assert_eq!(diagnostics, [], "{}", found.text);
    let fleet = set.fleet("a.b").unwrap();
    assert_eq!((fleet.min, set.fleets.len(), fleet.groups[0].group.as_str()), (1, 1, "g\"'\\"));
    assert_eq!(fleet.rules.iter().map(|rule| &*rule.name).collect::<Vec<_>>(), ["same", "same-2"]);
    assert!(found.text.contains("target = 0.3\n"), "{}", found.text);
}

#[test]
fn fleets_are_named_as_their_groups_are() {
    for (group, fleet) in
        [("web", "web"), ("a/b/web", "web"), ("ec2:workers", "workers"), ("ü b", "--b"), ("/", "fleet")]
    {
        let name = fleet_name(group);
        assert_eq!(name, if fleet == "--b" { "b" } else { fleet }, "{group}");
        assert!(policies::policy::units::name_fault(&name).is_none(), "{name}");
    }
}
