//! Whatever is done to a policy file, reading it ends, never panics, and gives either sound fleets or the reason why not.

#![allow(clippy::disallowed_methods)] // The core is pure; its tests read their cases.

use policies::policy::{
    FILE_BYTES_MAX, FILES_MAX, InstanceCapacity, ParseOptions, Policy, RuleKind, Severity, SourceFile, Term, parse,
};
use proptest::prelude::*;
use std::path::Path;
use std::time::Duration;

fn examples() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut paths: Vec<_> =
        std::fs::read_dir(directory).expect("examples").map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    paths.sort();
    paths.iter().map(|path| std::fs::read_to_string(path).expect("text")).collect()
}

/// What the stages count on.
fn assert_sound(policy: &Policy) {
    let finite = |number: f64| assert!(number.is_finite() && number > 0.0, "{}: {number}", policy.id);
    assert!(policy.min <= policy.max && policy.max > 0, "{}", policy.id);
    assert!(!policy.groups.is_empty(), "{}", policy.id);
    assert!(!policy.rules.is_empty(), "{}", policy.id);
    assert!(policy.interval >= Duration::from_secs(1), "{}", policy.id);
    assert!(policy.metrics.is_sorted_by(|a, b| a.name < b.name));
    let metric = |index: u16| assert!((index as usize) < policy.metrics.len(), "{}", policy.id);
    for rule in &policy.rules {
        match &rule.kind {
            RuleKind::Utilization { metric: at, target, .. } | RuleKind::PerInstance { metric: at, target, .. } => {
                metric(*at);
                finite(*target);
            }
            RuleKind::Step { metric: at, steps } => {
                metric(*at);
                assert!(!steps.is_empty());
            }
            RuleKind::Guard { metric: at, .. } => metric(*at),
            RuleKind::Queue(queue) => {
                [queue.backlog, queue.arrivals, queue.service_time].into_iter().for_each(metric);
                assert!(!queue.drain_within.is_zero() && queue.workers_per_instance > 0);
            }
            RuleKind::Expression(expression) => {
                // What the root leads to is there: a policy is walked without looking.
                for at in 0..=expression.root() {
                    let earlier = |of: u16| assert!(of < at, "{}", policy.id);
                    match expression.term(at) {
                        Term::Number(number) => assert!(number.is_finite()),
                        Term::Metric(at) => metric(at),
                        Term::One(_, of) => earlier(of),
                        Term::Two(_, a, b) => [a, b].into_iter().for_each(earlier),
                        Term::Choice { condition, then, otherwise } => {
                            [condition, then, otherwise].into_iter().for_each(earlier);
                        }
                    }
                }
            }
            RuleKind::Latency(latency) => {
                [latency.arrivals, latency.service_time].into_iter().for_each(metric);
                assert!(latency.share > 0.0 && latency.share < 1.0 && latency.service_cv >= 0.0);
                assert!(latency.workers_per_instance > 0);
            }
            RuleKind::Objective(objective) => {
                metric(objective.metric);
                match objective.capacity {
                    InstanceCapacity::Told(capacity) => finite(capacity * objective.utilization),
                    InstanceCapacity::Learned { from } => metric(from),
                }
                assert!(objective.events.len() <= 4);
                assert!(objective.utilization > 0.0 && objective.coverage < 1.0);
            }
            RuleKind::Schedule(schedule) => assert!(schedule.min.is_some() || schedule.max.is_some()),
        }
    }
    for metric in &policy.metrics {
        assert!(!metric.max_age.is_zero() && (0.0..=1.0).contains(&metric.min_members), "{}", metric.name);
    }
}

/// Reads the texts and checks what comes out.
fn check(texts: Vec<String>) {
    let files: Vec<SourceFile> =
        texts.into_iter().enumerate().map(|(at, text)| SourceFile { name: format!("{at}").into(), text }).collect();
    let (set, found) = parse(&files, &ParseOptions::default());
    for policy in &set.fleets {
        assert_sound(policy);
    }
    let mut seen = std::collections::BTreeSet::new();
    for one in &found {
        let text = files.get(one.file as usize).map_or("", |file| file.text.as_str());
        assert!(text.get(one.span.clone()).is_some(), "{one:?} is within the text");
        assert!(one.line >= 1 && one.column >= 1 && one.line as usize <= text.matches('\n').count() + 1, "{one:?}");
        assert!(!one.message.is_empty() && !one.message.contains('\n'), "{one:?}");
        assert!(seen.insert((one.file, one.span.start, one.span.end, one.message.clone())), "twice: {one:?}");
    }
    if found.iter().all(|one| one.severity != Severity::Error) {
        // Nothing is left out without a word.
        let named: usize = files
            .iter()
            .map(|file| file.text.parse::<toml::Table>().expect("no error was found"))
            .map(|table| table.get("fleet").and_then(|fleets| fleets.as_table()).map_or(0, toml::Table::len))
            .sum();
        assert_eq!(set.fleets.len(), named);
    }
}

#[derive(Clone, Debug)]
enum Mutation {
    Cut(f64, usize),
    Double(f64, usize),
    Flip(f64, u8),
    Insert(f64, String),
    Swap(f64, f64),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = || 0.0..1.0_f64;
    let tokens = [
        "[",
        "]",
        "{",
        "}",
        "[[",
        "]]",
        "\"",
        "'",
        "\"\"\"",
        "=",
        ",",
        ".",
        "\n",
        "#",
        "-1",
        "1e999",
        "nan",
        "é",
        "fleet",
        "true",
        "99999999999999999999",
        "\u{0}",
        "\r",
        "{fleet}",
        "\\u0000",
        "2020-01-01",
    ];
    prop_oneof![
        (place(), 1..200_usize).prop_map(|(at, length)| Mutation::Cut(at, length)),
        (place(), 1..200_usize).prop_map(|(at, length)| Mutation::Double(at, length)),
        (place(), any::<u8>()).prop_map(|(at, byte)| Mutation::Flip(at, byte)),
        (place(), proptest::sample::select(tokens.to_vec())).prop_map(|(at, text)| Mutation::Insert(at, text.into())),
        (place(), place()).prop_map(|(a, b)| Mutation::Swap(a, b)),
    ]
}

fn mutate(text: &str, mutation: &Mutation) -> String {
    let mut bytes = text.as_bytes().to_vec();
    if bytes.is_empty() {
        return String::new();
    }
    let at = |share: f64| ((bytes.len() as f64 * share) as usize).min(bytes.len() - 1);
    match mutation {
        Mutation::Cut(share, length) => {
            let start = at(*share);
            let end = (start + length).min(bytes.len());
            bytes.drain(start..end);
        }
        Mutation::Double(share, length) => {
            let start = at(*share);
            let copy = bytes[start..(start + length).min(bytes.len())].to_vec();
            bytes.splice(start..start, copy);
        }
        Mutation::Flip(share, byte) => {
            let start = at(*share);
            bytes[start] ^= byte;
        }
        Mutation::Insert(share, token) => {
            let start = at(*share);
            bytes.splice(start..start, token.bytes());
        }
        Mutation::Swap(a, b) => {
            // Whole lines: what a careless edit does.
            let mut lines: Vec<&str> = text.lines().collect();
            let index = |share: f64| ((lines.len() as f64 * share) as usize).min(lines.len().saturating_sub(1));
            let (a, b) = (index(*a), index(*b));
            lines.swap(a, b);
            return lines.join("\n");
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_example_is_sound_or_says_why(which in 0..16_usize, mutations in prop::collection::vec(mutation(), 1..6)) {
        let examples = examples();
        let mut text = examples[which % examples.len()].clone();
        for mutation in &mutations {
            text = mutate(&text, mutation);
        }
        check(vec![text]);
    }

    #[test]
    fn any_text_is_read(text in "[\\[\\]{}=.,\"'# \n\ta-z0-9é]{0,200}") {
        check(vec![text]);
    }
}

#[test]
fn bombs_end_in_a_message() {
    let deep = |open: &str, close: &str| format!("a = {}1{}\n", open.repeat(50_000), close.repeat(50_000));
    let long_key = vec!["a"; 100_000].join(".");
    let many = |one: &str, count: usize| one.repeat(count);
    for (name, text) in [
        ("arrays", deep("[", "]")),
        ("tables", deep("{a=", "}")),
        ("unclosed", format!("a = {}", "[".repeat(100_000))),
        ("mixed", format!("a = {}", "{b = [".repeat(30_000))),
        ("mismatched", format!("a = {}", "{ ] ".repeat(30_000))),
        ("dotted", format!("{long_key} = 1\n")),
        ("header", format!("[{long_key}]\n")),
        ("dotted within", format!("a = {{ {long_key} = 1 }}\n")),
        ("headers", many("[a]\n", 50_000)),
        ("unknown keys", (0..20_000).map(|at| format!("k{at} = 1\n")).collect()),
        ("errors", many("x\n", 100_000)),
        ("quotes", many("\"", 200_000)),
        ("fleets", (0..10_000).map(|at| format!("[fleet.f{at}]\n")).collect()),
        (
            "rules",
            format!("[template.t]\n[fleet.a]\nextends = \"t\"\n{}", many("[[fleet.a.rule]]\nkind = \"x\"\n", 8_000)),
        ),
        (
            "template rules",
            format!("{}[fleet.a]\nextends = \"t\"\n", many("[[template.t.rule]]\nkind = \"x\"\n", 7_000)),
        ),
        (
            "extending",
            format!(
                "[template.t]\nmin = 1\n{}",
                (0..7_000).map(|at| format!("[fleet.f{at}]\nextends=\"t\"\n")).collect::<String>()
            ),
        ),
        ("large", "#".repeat(FILE_BYTES_MAX + 1)),
        ("one line", format!("a = \"{}\"", "x".repeat(250_000))),
    ] {
        let files = [SourceFile { name: name.into(), text }];
        let (_, found) = parse(&files, &ParseOptions::default());
        assert!(found.iter().any(|one| one.severity == Severity::Error), "{name}");
        assert!(found.len() <= 501, "{name}: {}", found.len());
    }
}

#[test]
fn too_many_files_are_refused() {
    let one = |at: usize| SourceFile { name: format!("{at}").into(), text: String::new() };
    let files: Vec<SourceFile> = (0..=FILES_MAX).map(one).collect();
    let (_, found) = parse(&files, &ParseOptions::default());
    assert_eq!(found.iter().map(|one| one.message.as_str()).collect::<Vec<_>>(), ["more than 1000 policy files"]);
    let (_, found) = parse(&files[..FILES_MAX], &ParseOptions::default());
    assert_eq!(found, []);
}
