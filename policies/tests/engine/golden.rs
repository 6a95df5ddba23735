//! Golden cases: `cases/NAME.toml` is a policy, `cases/NAME.jsonl` its cycles, `cases/NAME.plan.txt` what was decided and
//! why, in words. A changed explanation is reviewed as a diff; `SKALA_BLESS=1` writes the files anew.

use crate::fleet::decider;
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;

#[test]
fn decisions_and_their_explanations_are_as_reviewed() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut names: Vec<_> = std::fs::read_dir(&cases)
        .expect("cases")
        .filter_map(|entry| {
            let path = entry.expect("entry").path();
            (path.extension()? == "jsonl").then(|| path.file_stem().expect("name").to_string_lossy().into_owned())
        })
        .collect();
    names.sort();
    assert!(names.len() >= 3, "the cases are there");
    for name in names {
        let read = |ending: &str| std::fs::read_to_string(cases.join(format!("{name}.{ending}"))).unwrap_or_default();
        let mut decider = decider(&read("toml"));
        let mut text = String::new();
        for line in read("jsonl").lines() {
            // History has no answer.
            let Some(answer) = decider.line(line) else { continue };
            explain(&serde_json::from_str(&answer).expect("JSON"), &mut text);
        }
        let golden = cases.join(format!("{name}.plan.txt"));
        if std::env::var_os("SKALA_BLESS").is_some() {
            std::fs::write(&golden, &text).expect("written");
        }
        assert_eq!(text, read("plan.txt"), "case {name}; SKALA_BLESS=1 writes what was decided now");
    }
}

fn explain(decision: &Value, text: &mut String) {
    let number = |key: &str| decision[key].to_string();
    let _ = writeln!(
        text,
        "{} current {} serving {} desired {}",
        number("now"),
        number("current"),
        number("serving"),
        number("desired")
    );
    for r in decision["recommendations"].as_array().into_iter().flatten() {
        let said = ["value", "abstain", "unknown"].iter().find(|key| !r[**key].is_null()).copied().unwrap_or("?");
        let _ = writeln!(text, "  {} {said} {} {}", r["rule"], r[said], r["why"].as_str().unwrap_or(""));
    }
    for step in decision["trace"].as_array().into_iter().flatten() {
        let why = step["why"].as_str().unwrap_or("");
        if !why.is_empty() || step["before"] != step["after"] {
            let _ = writeln!(
                text,
                "  {}: {} -> {} {why}",
                step["stage"].as_str().unwrap_or(""),
                step["before"],
                step["after"]
            );
        }
    }
    if !decision["hold"].is_null() {
        let hold = &decision["hold"];
        let _ = writeln!(text, "  hold {} by {} line {}", hold["reason"], hold["setting"], hold["line"]);
    }
    for group in decision["groups"].as_array().into_iter().flatten() {
        let _ = writeln!(text, "  {} -> {} terminate {}", group["group"], group["desired"], group["terminate"]);
    }
}
