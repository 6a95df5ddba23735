//! Queries as tables of texts by source: what is taken, what is refused, and where.

use policies::policy::{Composite, ParseOptions, QueryError, QueryFacts, SourceFile, parse, query_for};

/// `prom-*` answer what begins with `p`, everybody else what begins with the first letter of their name; `json` knows the
/// present alone.
fn check(source: Option<&str>, query: &str) -> Result<QueryFacts, QueryError> {
    let source = source.unwrap_or("prom");
    let labels = query.strip_suffix(" by asg").map(|_| vec!["asg".into()]);
    if query.starts_with(source.chars().next().unwrap_or('p')) || source == "both" {
        return Ok(QueryFacts { labels, only_now: (source == "json").then_some("a JSON document") });
    }
    Err(QueryError { language: "its language", message: "the first letter is wrong".into(), offset: Some(0) })
}

fn read(metric: &str, knows: bool) -> (Option<String>, Vec<String>) {
    let text = format!(
        "[fleet.a]\nmode = \"on\"\nmin = 1\nmax = 9\ngroup = [{{ provider = \"cloud\", group = \"a\" }}]\n\
         [[fleet.a.rule]]\nkind = \"per-instance\"\nmetric = \"m\"\ntarget = 10\n[fleet.a.metric.m]\n{metric}\n"
    );
    let sources = ["both", "cw", "json", "prom-a", "prom-b"];
    let composites: [Composite<'_>; 1] = [("both", vec!["prom-a", "cw"])];
    let options = ParseOptions { query: Some(&check), ..ParseOptions::default() };
    let options = match knows {
        true => ParseOptions { sources: Some(&sources), composites: &composites, ..options },
        false => options,
    };
    let file = SourceFile { name: "a.toml".into(), text };
    let (set, found) = parse(&[file], &options);
    let line = |one: &policies::policy::Diagnostic| {
        let hint = one.hint.as_ref().map_or(String::new(), |hint| format!(" | {hint}"));
        format!("{}:{} {}{hint}", one.line, one.column, one.message)
    };
    (set.fleets.first().map(|fleet| fleet.metrics[0].query.to_string()), found.iter().map(line).collect())
}

#[test]
fn a_table_is_one_query_with_a_text_for_each_source() {
    let (query, found) = read("source = \"both\"\nquery = { cw = 'c x', prom-a = 'p \"y\"' }", true);
    assert_eq!(found, [""; 0]);
    let query = query.unwrap();
    assert_eq!(query, r#"{"cw":"c x","prom-a":"p \"y\""}"#);
    assert_eq!(query_for(&query, "prom-a").as_deref(), Some("p \"y\""));
    // The order in the file makes no other query of it, and a source may go without.
    assert_eq!(read("source = \"both\"\nquery = { prom-a = 'p \"y\"', cw = 'c x' }", true).0, Some(query));
    assert_eq!(read("source = \"both\"\nquery = { cw = 'c x' }", true).0.as_deref(), Some(r#"{"cw":"c x"}"#));
    // A table for the source itself is what a plain text would be.
    for knows in [true, false] {
        let plain = read("source = \"cw\"\nquery = 'c x'", true);
        assert_eq!(plain, (Some("c x".into()), vec![]));
        assert_eq!(read("source = \"cw\"\nquery = { cw = 'c x' }", knows), plain);
    }
    // Without skala.toml nobody knows what a source speaks.
    assert_eq!(read("source = \"both\"\nquery = { cw = 'SELECT', z = 'x' }", false).1, [""; 0]);
    let wrong = ["12:10 `query` is not its language: the first letter is wrong"];
    assert_eq!(read("source = \"cw\"\nquery = 'x'", false).1, wrong);
    let (_, found) = read("source = \"both\"\nquery = { prom-a = 'p x by asg' }\nselect = { asg = \"a\" }", true);
    assert_eq!(found, [""; 0]);
}

#[test]
fn every_mistake_is_shown_where_it_is() {
    let check = |metric: &str, expected: &[&str]| {
        let (query, found) = read(metric, true);
        assert_eq!(found, expected, "{metric}");
        assert_eq!(query, None, "{metric}");
    };
    check(
        "source = \"both\"\nquery = { prom-a = 'x', cw = 'c' }",
        &["12:21 `query.prom-a` is not its language: the first letter is wrong"],
    );
    check(
        "source = \"both\"\nquery = { prom-b = 'p' }",
        &["12:11 `query` has a text for `prom-b`, which `both` does not ask | did you mean `prom-a`?"],
    );
    check(
        "source = \"json\"\nquery = { json = 'j', cw = 'c' }",
        &["12:23 `query` has a text for `cw`, which `json` does not ask | it asks: json"],
    );
    check(
        "source = \"cw\"\nquery = {}",
        &["12:9 `query` must have from 1 to 16 texts, by source | write { cw = '...' }"],
    );
    check(
        "source = \"cw\"\nquery = { cw = 5 }",
        &["12:16 `query.cw` must be text, not a whole number | write { cw = '...' }"],
    );
    check("source = \"cw\"\nquery = { cw = ' ' }", &["12:16 `query.cw` must not be empty | write { cw = '...' }"]);
    check("source = \"cw\"\nquery = ['c']", &["12:9 `query` must be text, not a list"]);
    check(
        "source = \"both\"\nquery = { prom-a = 'p x by asg' }\nselect = { zone = \"a\" }",
        &[
            "13:10 `select` names the label `zone`, which the query's answer does not have | the query's answer has: asg",
        ],
    );
    check(
        "source = \"both\"\nquery = 'x'\nabsent = { zero_if = 'x' }",
        &[
            "13:10 `absent` needs one source, and `both` asks several | name one of them as the metric's source, or have the query itself answer 0",
        ],
    );
    check(
        "source = \"json\"\nquery = 'j'\noffset = \"1m\"\nfreshness = 'j'",
        &[
            "13:10 `offset` needs a source that knows the past, and a JSON document does not | leave it out",
            "14:13 `freshness` is asked of Prometheus alone, not of a JSON document | its samples' time comes with them",
        ],
    );
}
