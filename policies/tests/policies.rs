//! What a policy file means: defaults, templates, units, places.

#![allow(clippy::disallowed_methods)] // The core is pure; its tests read files.

use policies::policy::testing;
use policies::policy::{
    Amount, Blocks, Change, Closes, Combine, Direction, ForeignPolicy, Mode, OnExternalChange, OnMissing, ParseOptions,
    Policy, PolicySet, RuleKind, Select, Setting, Severity, SourceFile, StepRow, Threshold, Tolerance, Unit, parse,
};
use std::sync::Arc;
use std::time::Duration;

fn read(texts: &[&str]) -> PolicySet {
    let file = |(at, text): (usize, &&str)| SourceFile { name: format!("{at}.toml").into(), text: (*text).into() };
    let files: Vec<SourceFile> = texts.iter().enumerate().map(file).collect();
    let (set, found) = parse(&files, &ParseOptions::default());
    assert!(found.iter().all(|one| one.severity == Severity::Warning), "{found:#?}");
    set
}

fn fleet(text: &str) -> Arc<Policy> {
    let set = read(&[text]);
    assert_eq!(set.fleets.len(), 1);
    Arc::clone(&set.fleets[0])
}

const PLAIN: &str = r#"
[fleet.web]
mode = "observe"
min = 2
max = 20
[[fleet.web.group]]
provider = "aws"
group = "web-asg"
[fleet.web.metric.cpu]
source = "prom"
query = "cpu"
unit = "percent"
[[fleet.web.rule]]
kind = "utilization"
metric = "cpu"
target = 60
"#;

fn seconds(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn what_is_silent_has_the_default() {
    let policy = fleet(PLAIN);
    assert_eq!((policy.mode, policy.min, policy.max), (Mode::Observe, 2, 20));
    assert_eq!((policy.interval, policy.warmup, policy.boot), (seconds(15), seconds(60), seconds(120)));
    assert_eq!(policy.combine, Combine::Max);
    assert_eq!(policy.on_external_change, OnExternalChange::HoldScaleIn);
    assert_eq!((policy.foreign, policy.priority, policy.on_missing), (ForeignPolicy::Refuse, 0, None));
    assert_eq!(policy.scale_out, Direction::scale_out_default());
    assert_eq!(policy.scale_in, Direction::scale_in_default());
    assert_eq!((policy.groups[0].weight, policy.groups[0].priority), (1, 1));
    let metric = &policy.metrics[0];
    assert_eq!((metric.max_age, metric.offset, metric.min_members), (seconds(180), Duration::ZERO, 0.8));
    assert_eq!(policy.rules[0].name.as_ref(), "utilization");
}

#[test]
fn percent_becomes_a_ratio_and_tolerance_depends_on_the_kind() {
    let policy = fleet(PLAIN);
    let default = Tolerance { out: 0.1, r#in: 0.1 };
    assert_eq!(policy.rules[0].kind, RuleKind::Utilization { metric: 0, target: 0.6, tolerance: default });
    let text = PLAIN.replace("kind = \"utilization\"", "kind = \"per-instance\"");
    let default = Tolerance { out: 0.0, r#in: 0.1 };
    assert_eq!(fleet(&text).rules[0].kind, RuleKind::PerInstance { metric: 0, target: 0.6, tolerance: default });
    let text = PLAIN.replace("target = 60", "target = 60\ntolerance = { out = 0.2 }");
    let half = Tolerance { out: 0.2, r#in: 0.1 };
    assert_eq!(fleet(&text).rules[0].kind, RuleKind::Utilization { metric: 0, target: 0.6, tolerance: half });
    let text = PLAIN
        .replace("kind = \"utilization\"", "kind = \"guard\"")
        .replace("target = 60", "above = 60\nlinger = \"5m\"");
    let guard = RuleKind::Guard { metric: 0, when: Threshold::Above(0.6), blocks: Blocks::In, linger: seconds(300) };
    assert_eq!(fleet(&text).rules[0].kind, guard);
}

#[test]
fn steps_schedules_and_rates() {
    let rule = r#"kind = "step"
metric = "cpu"
steps = [{ above = 80, add = "50%" }, { below = 10, remove = 1 }]
[[fleet.web.rule]]
kind = "schedule"
cron = "0 8 * * 1-5"
for = "10h"
tz = "Europe/Berlin"
max = 9
[fleet.web.scale_out]
rate = []
[fleet.web.scale_in]
select = "off"
[fleet.web.on_missing]
after = "5m"
raise_to = 7
"#;
    let text = PLAIN.split("kind = \"utilization\"").next().expect("a beginning").to_owned() + rule;
    let policy = fleet(&text);
    let rows = [
        StepRow { when: Threshold::Above(0.8), change: Change::Add(Amount::Percent(50.0)) },
        StepRow { when: Threshold::Below(0.1), change: Change::Remove(Amount::Instances(1)) },
    ];
    assert_eq!(policy.rules[0].kind, RuleKind::Step { metric: 0, steps: rows.into() });
    let RuleKind::Schedule(schedule) = &policy.rules[1].kind else { panic!("{:?}", policy.rules[1]) };
    assert_eq!((&schedule.closes, schedule.min, schedule.max), (&Closes::After(seconds(36_000)), None, Some(9)));
    assert_eq!(schedule.tz.iana_name(), Some("Europe/Berlin"));
    assert!(policy.scale_out.rate.is_empty(), "an empty list is no limit");
    assert_eq!(policy.scale_in.select, Select::Off);
    assert_eq!(policy.scale_in.rate, Direction::scale_in_default().rate);
    assert_eq!(policy.on_missing, Some(OnMissing { after: seconds(300), raise_to: 7 }));
}

const LAYERS: [&str; 2] = [
    r#"
[defaults]
mode = "on"
owner = "everybody"
min = 1
warmup = "10s"
[defaults.scale_in]
stabilization = "20m"
cooldown = "1m"

[template.web]
owner = "{fleet}-team"
max = 10
[template.web.metric.cpu]
source = "prom"
query = 'cpu{asg="{group}"}'
unit = "ratio"
[template.web.metric.spare]
source = "prom"
query = "spare"
[[template.web.rule]]
kind = "utilization"
metric = "cpu"
target = 0.6
tolerance = 0.2
[[template.web.rule]]
name = "night"
kind = "schedule"
cron = "0 22 * * *"
until = "0 6 * * *"
tz = "UTC"
min = 2
"#,
    r#"
[fleet.b]
extends = "web"
min = 3
[fleet.b.scale_in]
cooldown = "2m"
[[fleet.b.group]]
provider = "aws"
group = "b-asg"
[[fleet.b.rule]]
name = "night"
for = "4h"
[[fleet.b.rule]]
kind = "utilization"
target = 0.5
[[fleet.b.rule]]
name = "more"
kind = "per-instance"
metric = "spare"
target = 5
[fleet.a]
extends = "web"
[[fleet.a.group]]
provider = "aws"
group = "a-asg"
[fleet.a.metric.cpu]
max_age = "1m"
"#,
];

#[test]
fn a_fleet_stands_on_its_template_and_that_on_the_defaults() {
    let set = read(&LAYERS);
    let ids: Vec<&str> = set.fleets.iter().map(|fleet| fleet.id.as_ref()).collect();
    assert_eq!(ids, ["a", "b"]);
    let (a, b) = (set.fleet("a").expect("a"), set.fleet("b").expect("b"));
    assert_eq!((a.min, a.max, a.mode, a.owner.as_ref()), (1, 10, Mode::On, "a-team"));
    assert_eq!((b.min, b.max, b.warmup, b.owner.as_ref()), (3, 10, seconds(10), "b-team"));
    assert_eq!((b.scale_in.stabilization, b.scale_in.cooldown), (seconds(1_200), seconds(120)));
    assert_eq!(a.scale_in.cooldown, seconds(60));
    // A metric that only the template has and no rule of this fleet uses is not asked for.
    assert_eq!(a.metrics.iter().map(|metric| metric.name.as_ref()).collect::<Vec<_>>(), ["cpu"]);
    assert_eq!((a.metrics[0].query.as_ref(), a.metrics[0].max_age), ("cpu{asg=\"a-asg\"}", seconds(60)));
    assert_eq!((a.metrics[0].unit, b.metrics[0].max_age), (Unit::Ratio, seconds(180)));
    assert_eq!(b.rules.iter().map(|rule| rule.name.as_ref()).collect::<Vec<_>>(), ["utilization", "night", "more"]);
    let tolerance = Tolerance { out: 0.2, r#in: 0.2 };
    assert_eq!(b.rules[0].kind, RuleKind::Utilization { metric: 0, target: 0.5, tolerance });
    let RuleKind::Schedule(night) = &b.rules[1].kind else { panic!("{:?}", b.rules[1]) };
    assert_eq!((&night.closes, night.min), (&Closes::After(seconds(14_400)), Some(2)));
}

#[test]
fn places_name_the_file_and_line_that_govern() {
    let set = read(&LAYERS);
    let b = set.fleet("b").expect("b");
    let place = |setting| {
        let place = b.place(setting);
        format!("{}:{}", set.file(place), place.line)
    };
    for (setting, expected) in [
        (Setting::Min, "1.toml:4"),
        (Setting::Max, "0.toml:13"),
        (Setting::Mode, "0.toml:3"),
        (Setting::InCooldown, "1.toml:6"),
        (Setting::InStabilization, "0.toml:8"),
        (Setting::OutRate, "1.toml:2"),
        (Setting::Group(0), "1.toml:7"),
        (Setting::Metric(0), "0.toml:14"),
        (Setting::Rule(0), "1.toml:13"),
        (Setting::Rule(2), "1.toml:16"),
    ] {
        assert_eq!(place(setting), expected, "{setting:?}");
    }
}

#[test]
fn the_same_text_is_kept_once() {
    let fleets: String =
        (0..50).map(|at| PLAIN.replace("web-asg", &format!("g{at}")).replace("web", &format!("f{at}"))).collect();
    let set = read(&[&fleets]);
    let (first, last) = (&set.fleets[0].metrics[0], &set.fleets[49].metrics[0]);
    assert!(Arc::ptr_eq(&first.query, &last.query) && Arc::ptr_eq(&first.source, &last.source));
}

#[test]
fn the_revision_follows_names_and_contents() {
    let revision = |texts: &[&str]| read(texts).revision;
    assert_eq!(revision(&[PLAIN]), revision(&[PLAIN]));
    assert_ne!(revision(&[PLAIN]), revision(&[&PLAIN.replace("20", "21")]));
    assert_ne!(revision(&["# a", ""]), revision(&["", "# a"]));
    assert_eq!(revision(&[]).len(), 16);
    let files = [SourceFile { name: "a.toml".into(), text: PLAIN.into() }];
    let often = ParseOptions { default_interval: Duration::from_secs(1), ..ParseOptions::default() };
    let (often, usual) = (parse(&files, &often).0, parse(&files, &ParseOptions::default()).0);
    assert_ne!(often.revision, usual.revision, "a fleet without an interval of its own decides by it");
}

#[test]
fn a_test_that_fails_says_what_was_decided() {
    let test = r#"
[[test]]
name = "wrong"
fleet = "web"
[[test.cycle]]
at = "0s"
current = 5
readings = { cpu = 60 }
desired = 7
hold = "none"
[[test.cycle]]
at = "15s"
readings = { cpu = "timeout" }
hold = "blind"
"#;
    let set = read(&[&(PLAIN.replace("observe", "on") + test)]);
    let results = testing::run(&set);
    let [result] = results.as_slice() else { panic!("{results:?}") };
    let [failure] = result.failures.as_slice() else { panic!("{result:?}") };
    assert_eq!(
        (failure.expected.as_str(), failure.got.as_str()),
        ("desired 7, hold none", "desired 5, hold on_target")
    );
    assert_eq!((set.file(failure.place), failure.place.line, result.decisions), ("0.toml", 21, 2));
    assert!(failure.trace.contains("rule utilization: 5") && failure.trace.contains("combine: 5 -> 5"), "{failure:?}");
}
