//! What is found wrong in policy files, one case for each kind of mistake. `diagnostics.txt` holds the cases: `-` lines
//! of the sound fleet are replaced by the `+` lines that follow (only `+` lines: they are the whole file), `@` begins
//! another file, and `=` lines are what must be found: `file:line:column message | hint (related place)`.
//!
//! After a change that is meant, `UPDATE=1 cargo test -p policies --test diagnostics` writes the `=` lines anew.

#![allow(clippy::disallowed_methods)] // The core is pure; its tests read their cases.

use policies::policy::{Diagnostic, ParseOptions, QueryError, QueryFacts, Severity, SourceFile, parse};
use std::path::Path;

/// A fleet with nothing wrong.
const SOUND: &str = r#"[fleet.web]
mode = "on"
min = 2
max = 20
[[fleet.web.group]]
provider = "aws"
group = "web-asg"
[fleet.web.metric.rps]
source = "prom"
query = "sum(rate(requests[1m]))"
[[fleet.web.rule]]
kind = "per-instance"
metric = "rps"
target = 100
"#;

/// A stand-in for the shell's check: an `!` is no PromQL.
fn query(_: Option<&str>, text: &str) -> Result<QueryFacts, QueryError> {
    match text.find('!') {
        Some(at) => Err(QueryError { language: "PromQL", message: "unexpected `!`".into(), offset: Some(at) }),
        None => Ok(QueryFacts { labels: text.starts_with("sum(").then(Vec::new), only_now: None }),
    }
}

fn render(files: &[SourceFile], diagnostic: &Diagnostic) -> String {
    let name = |file: u32| if files.len() > 1 { format!("{}:", files[file as usize].name) } else { String::new() };
    let mut line = format!("{}{}:{} ", name(diagnostic.file), diagnostic.line, diagnostic.column);
    if diagnostic.severity == Severity::Warning {
        line.push_str("warning: ");
    }
    line.push_str(&diagnostic.message);
    if let Some(hint) = &diagnostic.hint {
        line.push_str(&format!(" | {hint}"));
    }
    if let Some(related) = &diagnostic.related {
        let before = &files[related.file as usize].text[..related.span.start];
        line.push_str(&format!(" ({}{} {})", name(related.file), before.matches('\n').count() + 1, related.text));
    }
    line
}

fn found(files: &[SourceFile]) -> (usize, Vec<String>) {
    let (set, found) = parse(files, &ParseOptions { query: Some(&query), ..ParseOptions::default() });
    (set.fleets.len(), found.iter().map(|diagnostic| render(files, diagnostic)).collect())
}

/// A case's files.
fn files(case: &str) -> Vec<SourceFile> {
    let mut files = Vec::new();
    for (index, part) in case.split("\n@ ").enumerate() {
        let (name, lines) = if index == 0 { ("a", part) } else { part.split_once('\n').expect("lines after @") };
        let mut text = String::new();
        let (mut old, mut new) = (String::new(), String::new());
        let mut edits = Vec::new();
        for line in lines.lines().filter(|line| !line.starts_with('=')) {
            match line.split_at_checked(2) {
                Some(("- ", line)) => {
                    if !new.is_empty() {
                        edits.push((std::mem::take(&mut old), std::mem::take(&mut new)));
                    }
                    old.push_str(&format!("{line}\n"));
                }
                Some(("+ ", line)) => new.push_str(&format!("{line}\n")),
                _ => panic!("no case's line: {line}"),
            }
        }
        edits.push((old, new));
        for (old, new) in edits {
            if old.is_empty() {
                text.push_str(&new);
                continue;
            }
            if text.is_empty() {
                text.push_str(SOUND);
            }
            assert_eq!(text.matches(&old).count(), 1, "must be there once: {old}");
            text = text.replace(&old, &new);
        }
        files.push(SourceFile { name: name.into(), text });
    }
    files
}

#[test]
fn every_mistake_is_found_once_and_at_its_place() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics.txt");
    let cases = std::fs::read_to_string(&path).expect("the cases");
    let mut wrong = Vec::new();
    let mut written = Vec::new();
    for case in cases.trim_end().split("\n\n") {
        let expected: Vec<&str> = case.lines().filter_map(|line| line.strip_prefix("= ")).collect();
        let (_, lines) = found(&files(case));
        if lines != expected {
            wrong.push(format!("{case}\nfound:\n{}", lines.join("\n")));
        }
        let input = case.lines().filter(|line| !line.starts_with("= ")).map(str::to_owned);
        written.push(input.chain(lines.iter().map(|line| format!("= {line}"))).collect::<Vec<_>>().join("\n"));
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, written.join("\n\n") + "\n").expect("writable cases");
    } else {
        assert!(wrong.is_empty(), "{} cases:\n\n{}", wrong.len(), wrong.join("\n\n"));
    }
}

#[test]
fn a_sound_fleet_is_taken() {
    let sound = vec![SourceFile { name: "a".into(), text: SOUND.into() }];
    assert_eq!(found(&sound), (1, Vec::new()));
}
