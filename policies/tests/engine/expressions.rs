//! `expression`: its syntax, its values, and what it never does.

use crate::fleet::*;
use policies::policy::{ParseOptions, Severity, SourceFile, parse};
use proptest::prelude::*;
use serde_json::{Value, json};

const METRICS: &str = r#"
[fleet.web.metric.a]
source = "prom"
query = "a"
[fleet.web.metric.b]
source = "prom"
query = "b"
[fleet.web.metric.c-x]
source = "prom"
query = "c"
[fleet.web.metric.cpu]
source = "prom"
query = "cpu"
unit = "ratio"
[fleet.web.metric.pct]
source = "prom"
query = "pct"
unit = "percent"
"#;

fn body(expr: &str) -> String {
    let rule = format!("[[fleet.web.rule]]\nkind = \"expression\"\nexpr = '''{expr}'''\n{FREE}");
    // Metrics that an expression does not name are not to be there: they are left in a template.
    format!("{rule}[template.t]\n{}", METRICS.replace("fleet.web", "template.t"))
}

fn text(keys: &str, expr: &str) -> String {
    policy(&format!("extends = \"t\"\n{keys}"), &body(expr))
}

/// a = 12, b = 5, c-x = 3, cpu = 0.5, pct = 7.
fn cycle(secs: f64, current: u32) -> Cycle {
    let cycle = Cycle::new(secs, current).read("a", 12.0).read("b", 5.0).read("c-x", 3.0);
    cycle.read("cpu", 0.5).read("pct", 7.0)
}

fn recommendation(expr: &str, cycle: Cycle) -> Value {
    Fleet::new(&text("", expr)).decide(cycle)["recommendations"][0].clone()
}

fn missing(names: &[&str]) -> Cycle {
    names.iter().fold(cycle(0.0, 9), |cycle, name| cycle.reading(name, json!({"missing": "timeout"})))
}

#[test]
fn it_means_what_it_says() {
    for (expr, expected) in [
        ("a", 12),
        ("a / b", 3),
        ("floor(a / b)", 2),
        ("ceil(a / b)", 3),
        ("a + b * 2", 22),
        ("(a + b) * 2", 34),
        ("a - b - 3", 4),
        ("a / 2 / 3", 2),
        ("a - -b", 17),
        ("--a", 12),
        ("abs(b - a)", 7),
        ("min(a, b)", 5),
        ("max(b, a, 20, 1)", 20),
        ("min(a, max(b, 7))", 7),
        ("3 / 2 + a * 0", 2),
        ("1.5e1 + a * 0.0", 15),
        ("`c-x` * 2", 6),
        ("a > b ? 1 : 2", 1),
        ("a < b ? 1 : a == 12 ? 3 : 4", 3),
        ("a < b || b == 5 && a >= 12 ? 8 : 9", 8),
        ("(a < b || b == 5) && a > 12 ? 8 : 9", 9),
        ("!(a <= b) ? 6 : 1", 6),
        ("a != 12 ? 6 : 1", 1),
        ("cpu > 0.4 ? 5 : 6", 5),
        // A percentage is in its own unit, and no digit of it is lost on the way.
        ("pct", 7),
        ("ceil(pct)", 7),
        ("ceil(pct / 10 / 0.1)", 7),
        ("pct == 7 ? 3 : 4", 3),
        // Below nothing is nothing, and above everything is max.
        ("b - a", 0),
        ("a * 1e9", 1_000_000),
        ("a // twelve / 0\n  + b // five", 17),
    ] {
        assert_eq!(recommendation(expr, cycle(0.0, 9))["value"], json!(expected), "{expr}");
    }
}

#[test]
fn the_trace_says_what_it_was_computed_from() {
    let said = recommendation("a > 10 ? a / b + a : b", cycle(0.0, 9));
    assert_eq!(said["why"], json!("14.4 from a 12, b 5"));
    let said = recommendation("a + b + `c-x` + cpu + pct", cycle(0.0, 9));
    assert_eq!(said["why"], json!("27.5 from a 12, b 5, c-x 3, cpu 0.5 and 1 more"));
}

#[test]
fn unknown_stays_unknown_unless_it_does_not_matter() {
    for (expr, gone, expected) in [
        ("a + b", &["b"][..], None),
        ("a * 0", &["a"], None),
        ("min(a, b)", &["a"], None),
        ("max(b, 3, a)", &["a"], None),
        ("abs(-a)", &["a"], None),
        ("a > 1 ? 4 : 4", &["a"], None),
        ("a > 100 ? b : 4", &["b"], Some(4)),
        ("a > 1 ? b : 4", &["b"], None),
        ("a > 100 && b > 1 ? 4 : 3", &["b"], Some(3)),
        ("b > 1 && a > 100 ? 4 : 3", &["b"], Some(3)),
        ("a > 1 && b > 1 ? 4 : 3", &["b"], None),
        ("b > 1 && a > 1 ? 4 : 3", &["b"], None),
        ("a > 1 || b > 1 ? 4 : 3", &["b"], Some(4)),
        ("b > 1 || a > 1 ? 4 : 3", &["b"], Some(4)),
        ("!(b > 1) || a > 100 ? 4 : 3", &["b"], None),
        ("a > 1 || b > 1 ? 4 : 3", &["a", "b"], None),
    ] {
        let said = recommendation(expr, missing(gone));
        assert_eq!(said["value"].as_u64(), expected, "{expr} without {gone:?}: {said}");
        if expected.is_none() {
            assert_eq!(said["unknown"], json!(format!("{}: timeout", gone[0])), "{expr}");
        }
    }
}

#[test]
fn what_is_no_number_is_unknown_and_holds() {
    for (expr, why) in [
        ("a / (b - 5)", "divided by 0"),
        ("(a - 12) / (b - 5)", "divided by 0"),
        ("a * 1e308 * 1e308", "not finite"),
        ("min(a * 1e308 * 1e308, 3)", "not finite"),
        ("a > 1 ? a / (b - b) : 4", "divided by 0"),
    ] {
        let mut fleet = Fleet::new(&text("", expr));
        for n in 0..5 {
            let held = fleet.decide(cycle(f64::from(n) * 15.0, 9));
            assert_eq!((desired(&held), reason(&held)), (9, "blind"), "{expr}");
            assert_eq!(held["recommendations"][0]["unknown"], json!(why), "{expr}");
            assert_eq!(held["hold"]["setting"], json!("rule.expression"));
        }
    }
    // The guard against it is the branch that is not taken.
    assert_eq!(recommendation("b == 5 ? 3 : a / (b - 5)", cycle(0.0, 9))["value"], json!(3));
}

#[test]
fn a_full_share_only_pushes_out() {
    let full = |expr: &str, current: u32| {
        let said = recommendation(expr, cycle(0.0, current).read("cpu", 0.96).read("pct", 99.0));
        said["value"].as_u64().unwrap()
    };
    assert_eq!((full("cpu * 10", 20), full("cpu * 10", 5)), (20, 10));
    assert_eq!(full("max(pct / 10, 1)", 20), 20);
    assert_eq!(full("cpu < 0.5 ? 2 : ceil(cpu) * 3", 20), 20);
    // A comparison with it is not a load.
    assert_eq!(full("cpu > 0.5 ? 3 : 2", 20), 3);
}

#[test]
fn too_few_members_only_push_out() {
    let few = |expr: &str| {
        let text = text("", expr).replace("query = \"b\"\n", "query = \"b\"\nmembers = \"count(up)\"\n");
        let reading = json!({"value": 5.0, "at": EPOCH, "members": 2});
        let decision = Fleet::new(&text).decide(cycle(0.0, 9).reading("b", reading));
        decision["recommendations"][0]["value"].as_u64().unwrap()
    };
    assert_eq!((few("b"), few("b > 2 ? 3 : 4"), few("a > 100 ? b : 3"), few("a > 100 && b > 1 ? 4 : 3")), (9, 9, 3, 3));
}

#[test]
fn what_an_expression_would_add_back_is_not_removed() {
    // At 9 of 12 instances cpu would be 0.667; at 8 it would be 0.75, and the expression would ask for 20.
    let text = text("", "cpu > 0.7 ? 20 : 2");
    let mut fleet = Fleet::new(&text);
    let mut last = json!(null);
    for n in 0..3 {
        last = fleet.decide(cycle(f64::from(n) * 15.0, 12));
    }
    assert_eq!(desired(&last), 9, "{last}");
    let flap = &last["trace"][2];
    assert_eq!((&flap["before"], &flap["after"]), (&json!(2), &json!(9)));
    assert_eq!(flap["why"], json!("expression would add back what is removed"));
    // Nobody can tell what it would ask for at 6: 0.5 x 12 / 6 - 1 is 0.
    let unclear = text.replace("cpu > 0.7 ? 20 : 2", "6 / abs(cpu - 1) / 2");
    let mut fleet = Fleet::new(&unclear);
    for n in 0..3 {
        last = fleet.decide(cycle(f64::from(n) * 15.0, 12));
    }
    assert_ne!(desired(&last), 6, "{last}");
}

#[test]
fn a_rule_that_is_outvoted_here_is_outvoted_there() {
    let step = "[[fleet.web.rule]]\nkind = \"step\"\nmetric = \"cpu\"\nsteps = [ { above = 0.7, add = 1 } ]\n";
    for (combine, expected) in [("max", 9), ("min", 3)] {
        let text = text(&format!("combine = \"{combine}\""), "b - 2")
            .replace("[fleet.web.scale_out]", &format!("{step}[fleet.web.scale_out]"));
        let mut fleet = Fleet::new(&text);
        let mut last = json!(null);
        for n in 0..3 {
            last = fleet.decide(cycle(f64::from(n) * 15.0, 12));
        }
        assert_eq!(desired(&last), expected, "{combine}");
    }
}

/// Whatever is written: errors with their place, or a policy.
fn errors(expr: &str) -> usize {
    let files = [SourceFile { name: "web.toml".into(), text: text("", expr) }];
    let (set, found) = parse(&files, &ParseOptions::default());
    let errors = found.iter().filter(|one| one.severity == Severity::Error).count();
    assert_eq!(set.fleets.len(), usize::from(errors == 0), "{expr}: {found:?}");
    assert!(found.iter().all(|one| files[0].text.get(one.span.clone()).is_some()), "{expr}: {found:?}");
    errors
}

#[test]
fn nesting_and_length_are_bounded() {
    let nested = |open: &str, close: &str, times: usize| format!("{}a{}", open.repeat(times), close.repeat(times));
    for (open, close) in [("(", ")"), ("-", ""), ("abs(", ")"), ("min(1, ", ")"), ("a > 1 ? 1 : ", "")] {
        assert_eq!(errors(&nested(open, close, 32)), 0, "{open}");
        for times in [33, 60, 100_000] {
            assert_eq!(errors(&nested(open, close, times)), 1, "{open} {times}");
        }
    }
    assert_eq!(errors(&vec!["a"; 128].join("+")), 0);
    assert_eq!(errors(&vec!["a"; 129].join("+")), 1);
    assert_eq!(errors(&format!("a + {}1", " ".repeat(2000))), 1);
    // A long chain to the left is walked, not only read.
    assert_eq!(recommendation(&vec!["a"; 128].join("+"), cycle(0.0, 9))["value"], json!(1536));
}

/// Texts that are mostly sound.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![Just("a"), Just("b"), Just("cpu"), Just("`c-x`"), Just("2"), Just("0.5"), Just("0")];
    leaf.prop_map(str::to_owned).prop_recursive(4, 24, 3, |inner| {
        let condition = (inner.clone(), inner.clone(), prop::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]))
            .prop_map(|(a, b, sign)| format!("({a}) {sign} ({b})"));
        let conditions = (condition.clone(), condition, prop::sample::select(vec!["&&", "||"]))
            .prop_map(|(a, b, sign)| format!("({a}) {sign} !({b})"));
        prop_oneof![
            (inner.clone(), inner.clone(), prop::sample::select(vec!["+", "-", "*", "/"]))
                .prop_map(|(a, b, sign)| format!("({a}) {sign} ({b})")),
            (inner.clone(), inner.clone(), prop::sample::select(vec!["min", "max"]))
                .prop_map(|(a, b, name)| format!("{name}({a}, {b})")),
            inner.clone().prop_map(|a| format!("ceil(-({a}))")),
            (conditions, inner.clone(), inner).prop_map(|(c, a, b)| format!("({c} ? {a} : {b})")),
        ]
    })
}

fn reading() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => (0.0..1.4_f64).prop_map(|value| json!({"value": value, "at": EPOCH})),
        1 => Just(json!({"value": 0.0, "at": EPOCH})),
        1 => Just(json!({"missing": "timeout"})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_sound_expression_is_lawful(
        expr in expression(), a in reading(), b in reading(), c in reading(), cpu in reading(), current in 1..60_u32
    ) {
        if errors(&expr) == 0 {
            let line = || Cycle::new(0.0, current).reading("a", a.clone()).reading("b", b.clone())
                .reading("c-x", c.clone()).reading("cpu", cpu.clone());
            let run = || {
                let mut fleet = Fleet::new(&text("", &expr));
                (0..3).map(|n| {
                    let mut cycle = line();
                    cycle.line["now"] = json!(EPOCH as f64 + f64::from(n) * 15.0);
                    fleet.decide(cycle)
                }).collect::<Vec<_>>()
            };
            let decisions = run();
            prop_assert_eq!(&decisions, &run());
            for decision in &decisions {
                prop_assert!((1..=100).contains(&desired(decision)), "{decision}");
                let said = &decision["recommendations"][0];
                prop_assert!(said["value"].is_u64() || desired(decision) >= u64::from(current), "{decision}");
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused(expr in "[ab`cxpu0-9.e+*/<>=!&|?:(), -]{0,60}") {
        errors(&expr);
    }

    #[test]
    fn more_of_what_is_only_added_never_means_fewer(a in 0.0..100.0_f64, more in 0.0..100.0_f64, b in 0.1..9.0_f64) {
        let at = |a: f64| {
            let said = recommendation("max(ceil(a / b), min(a * 2, 30))", cycle(0.0, 9).read("a", a).read("b", b));
            said["value"].as_u64().unwrap()
        };
        prop_assert!(at(a + more) >= at(a));
    }
}
