//! What is found wrong in policy files: one case for each kind of mistake, as `file:line:column message | hint`.

use policies::policy::{Diagnostic, ParseOptions, QueryError, QueryFacts, Severity, SourceFile, parse};

/// A fleet with nothing wrong; cases change a line of it.
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

fn files(texts: &[&str]) -> Vec<SourceFile> {
    let file =
        |(index, text): (usize, &&str)| SourceFile { name: format!("{}.toml", index + 1).into(), text: (*text).into() };
    texts.iter().enumerate().map(file).collect()
}

/// A stand-in for the shell's check: an `!` is no PromQL.
fn query(text: &str) -> Result<QueryFacts, QueryError> {
    match text.find('!') {
        Some(at) => Err(QueryError { message: "unexpected `!`".into(), offset: Some(at) }),
        None => Ok(QueryFacts { labels: text.starts_with("sum(").then(Vec::new) }),
    }
}

fn render(files: &[SourceFile], diagnostic: &Diagnostic) -> String {
    let name = &files[diagnostic.file as usize].name;
    let name = name.trim_end_matches(".toml");
    let mut line = format!("{name}:{}:{} {}", diagnostic.line, diagnostic.column, diagnostic.message);
    if diagnostic.severity == Severity::Warning {
        line.insert_str(0, "warning ");
    }
    if let Some(hint) = &diagnostic.hint {
        line.push_str(&format!(" | {hint}"));
    }
    if let Some(related) = &diagnostic.related {
        let before = &files[related.file as usize].text[..related.span.start];
        line.push_str(&format!(" ({}:{} {})", related.file + 1, before.matches('\n').count() + 1, related.text));
    }
    line
}

fn found(texts: &[&str]) -> (usize, Vec<String>) {
    let files = files(texts);
    let (set, found) = parse(&files, &ParseOptions { query: Some(&query), ..ParseOptions::default() });
    (set.fleets.len(), found.iter().map(|diagnostic| render(&files, diagnostic)).collect())
}

#[track_caller]
fn check(texts: &[&str], expected: &[&str]) {
    let (_, lines) = found(texts);
    assert_eq!(lines, expected, "{texts:?}");
}

/// The sound fleet with one text replaced.
fn with(from: &str, to: &str) -> String {
    assert_eq!(SOUND.matches(from).count(), 1, "{from} must be there once");
    SOUND.replace(from, to)
}

#[track_caller]
fn check_with(from: &str, to: &str, expected: &[&str]) {
    check(&[&with(from, to)], expected);
}

#[test]
fn a_sound_fleet_is_taken() {
    assert_eq!(found(&[SOUND]), (1, Vec::new()));
}

#[test]
fn a_missing_value_is_said_where_it_is_missing() {
    check_with("min = 2", "min = ", &["1:3:7 the value is missing"]);
    check_with("min = 2", "min = 5m", &["1:3:7 text must stand in quotes | write \"5m\""]);
}
