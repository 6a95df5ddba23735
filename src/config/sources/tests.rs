//! `[source.NAME]` of every kind, and what policies may ask of each.

use crate::config::tests::{KINDS, read};
use crate::config::{SkalaToml, SourceKind, diagnostics, load_policies, load_skala_toml};
use crate::http::{Auth, HeaderText, HeaderValue};
use crate::sources::http_json::{JsonTime, TimePath, TimeUnit};
use std::path::Path;
use std::time::Duration;

const GOOD: &str = r#"[provider.prod]
kind = "one-cloud"
[source.cloud]
kind = "one-metrics"
provider = "prod"
timeout = "2s"
[source.jobs]
kind = "exec"
command = ["/usr/local/bin/jobs", "--all", "a b"]
timeout = "2s"
env = ["PATH"]
trust_time = "run"
[source.prom]
kind = "prometheus"
url = "http://127.0.0.1:9090"
[source.stats]
kind = "http-json"
url = "https://stats.example/v1/load?group=all"
headers = { Accept = "application/json" }
header_files = { X-Api-Key = "credential:stats" }
username = "me"
password_file = "password"
time = "@.updated"
time_unit = "ms"
[source.union]
kind = "composite"
sources = ["prom", "cloud"]
patience = "2s"
"#;

#[test]
fn every_kind_is_read() {
    let (config, found) = read(GOOD);
    assert_eq!(found, [""; 0]);
    let config = config.unwrap();
    let [cloud, jobs, _, stats, union] = config.sources.as_slice() else { panic!("{:?}", config.sources) };
    let SourceKind::Cloud { kind, provider, timeout } = &cloud.kind else { panic!("{cloud:?}") };
    assert_eq!((kind.kind, &**provider, *timeout), ("one-metrics", "prod", Duration::from_secs(2)));
    let SourceKind::Exec(exec) = &jobs.kind else { panic!("{jobs:?}") };
    assert_eq!(exec.command, ["/usr/local/bin/jobs", "--all", "a b"]);
    assert_eq!(
        (exec.timeout, exec.environment.as_slice(), exec.trust_time),
        (Duration::from_secs(2), &["PATH".into()][..], true)
    );
    let SourceKind::HttpJson { url, settings, time } = &stats.kind else { panic!("{stats:?}") };
    assert_eq!(url, "https://stats.example/v1/load?group=all");
    assert_eq!(settings.auth, Auth::Basic { username: "me".into(), file: "/etc/skala/password".into() });
    assert_eq!(*time, JsonTime::At(TimePath::parse("@.updated").unwrap(), TimeUnit::Millis));
    let headers: Vec<_> = settings.headers.iter().map(|header| (header.name.as_str(), &header.value)).collect();
    let plain = HeaderText::Plain(HeaderValue::from_static("application/json"));
    assert_eq!(headers, [("accept", &plain), ("x-api-key", &HeaderText::Secret("/creds/stats".into()))]);
    let SourceKind::Composite { sources, patience } = &union.kind else { panic!("{union:?}") };
    assert_eq!((sources.as_slice(), *patience), (&["prom".into(), "cloud".into()][..], Duration::from_secs(2)));
}

fn check(text: &str, expected: &[&str]) {
    let (config, found) = read(text);
    assert_eq!(found, expected, "{text}");
    assert!(config.is_none(), "{text}");
}

#[test]
fn a_kind_must_be_known_and_built() {
    let kinds = "\"prometheus\", \"http-json\", \"exec\", \"composite\", \"sim\", \"one-metrics\"";
    check(
        "[source.a]\nkind = \"other-metrics\"\n",
        &[&format!("2:8 `kind` is \"other-metrics\", which this skala cannot do yet | it can do: {kinds}")],
    );
    check(
        "[source.a]\nkind = \"http_jsn\"\n",
        &[&format!("2:8 `kind` must be one of {kinds}, not \"http_jsn\" | did you mean \"http-json\"?")],
    );
    check("[source.a]\nkind = \"graphite\"\n", &[&format!("2:8 `kind` must be one of {kinds}, not \"graphite\"")]);
}

#[test]
fn a_document_must_say_how_old_its_values_are() {
    let source = "[source.a]\nkind = \"http-json\"\nurl = \"http://127.0.0.1/x\"\n";
    let hint = "time = \"$.updated\", or \"@.updated\" for the value's own item; trust_time = \"fetch\" if the server never gives an old value";
    check(source, &[&format!("1:9 `time` is missing: without a time of its own a value is never fresh | {hint}")]);
    check(
        &format!("{source}time = \"$.t\"\ntrust_time = \"fetch\"\n"),
        &["5:14 `trust_time` has no effect beside `time` | remove one of them"],
    );
    check(
        &format!("{source}trust_time = \"fetch\"\ntime_unit = \"ms\"\n"),
        &["5:13 `time_unit` needs `time`, the path to a value's time"],
    );
    check(
        &format!("{source}time = \"updated\"\n"),
        &["4:8 `time` is no path to a time: it must begin with `$`, as in $.queues[*].depth"],
    );
    check(
        &format!("{source}time = \"$.q[*].t\"\n"),
        &["4:8 `time` is no path to a time: it must lead to one time; `@` begins at the value's own item"],
    );
    check(&format!("{source}trust_time = \"run\"\n"), &["4:14 `trust_time` must be one of \"fetch\", not \"run\""]);
    check(
        "[source.a]\nkind = \"http-json\"\nurl = \"http://127.0.0.1/x#y\"\ntrust_time = \"fetch\"\n",
        &[
            "3:7 `url` cannot be asked: the URL must not have a query or a fragment | write \"http://127.0.0.1:8080/stats?group=all\"",
        ],
    );
    check(
        "[source.a]\nkind = \"http-json\"\nurl = \"http://169.254.169.254/x?y\"\ntrust_time = \"fetch\"\n",
        &[
            "3:7 `url` cannot be asked: 169.254.169.254 is link-local or a cloud's metadata service, which is never asked | write \"http://127.0.0.1:8080/stats?group=all\"",
        ],
    );
    check(
        "[source.a]\nkind = \"http-json\"\ntrust_time = \"fetch\"\n",
        &["1:9 `url` is missing | the document's address: url = \"http://127.0.0.1:8080/stats\""],
    );
}

#[test]
fn headers_hold_no_secrets() {
    let source = "[source.a]\nkind = \"http-json\"\nurl = \"http://127.0.0.1/x\"\ntrust_time = \"fetch\"\n";
    check(
        &format!("{source}headers = {{ X-Api-Key = \"hunter2\", \"a b\" = \"x\", x = \"\\n\", y = 5 }}\n"),
        &[
            "5:25 `headers.X-Api-Key` would put a secret into this file | header_files = { X-Api-Key = \"credential:NAME\" }",
            "5:44 `headers.a b` is no header's name",
            "5:53 `headers.x` must not contain control characters",
            "5:63 `headers.y` must be text, not a whole number",
        ],
    );
    check(
        &format!("{source}headers = {{ Accept = \"x\" }}\nheader_files = {{ accept = \"y\" }}\n"),
        &["6:27 `header_files.accept` comes twice, or is more than 16 headers"],
    );
    check(
        &format!("{source}bearer_token = \"hunter2\"\n"),
        &[
            "5:16 `bearer_token` would put a secret into this file | put it into a file of its own: bearer_token_file = \"credential:NAME\"",
        ],
    );
}

#[test]
fn a_command_is_a_program_and_its_arguments() {
    let hint = "command = [\"/usr/local/bin/queue-depth\", \"--all\"]";
    let exec = |rest: &str| format!("[source.a]\nkind = \"exec\"\n{rest}\n");
    check(&exec(""), &[&format!("1:9 `command` is missing | {hint}")]);
    check(
        &exec("command = \"jobs | wc -l\""),
        &[&format!("3:11 `command` must be a list of texts, not text | {hint}")],
    );
    check(&exec("command = []"), &[&format!("3:11 `command` must not be empty | {hint}")]);
    check(
        &exec("command = [\"jobs\"]"),
        &[&format!("3:11 `command` must begin with an absolute path: no shell looks for it | {hint}")],
    );
    check(&exec("command = [\"/a\", 5]"), &[&format!("3:18 `command` must be text, not a whole number | {hint}")]);
    check(
        &exec("command = [\"/a\"]\nenv = [\"A=b\"]\nshell = true\ntimeout = \"2m\""),
        &[
            "4:7 `env` has \"A=b\", which is no variable's name | it names variables of skala's own environment that the command gets: env = [\"PATH\"]",
            "5:1 unknown key `shell` | allowed here: kind, command, env, timeout, trust_time",
            "6:11 `timeout` must be from \"100ms\" to \"1m\", not \"2m\"",
        ],
    );
}

#[test]
fn a_composite_names_other_sources_and_a_cloud_its_provider() {
    let hint = "sources = [\"prometheus-a\", \"prometheus-b\"], in the order in which they are asked";
    let union = |sources: &str| GOOD.replace("sources = [\"prom\", \"cloud\"]", sources);
    check(&union(""), &[&format!("25:9 `sources` is missing | {hint}")]);
    check(&union("sources = \"prom\""), &[&format!("27:11 `sources` must be a list of names, not text | {hint}")]);
    check(&union("sources = [\"prom\"]"), &[&format!("27:11 `sources` must name from 2 to 8 sources | {hint}")]);
    check(
        &union("sources = [\"prom\", \"stat\"]"),
        &["27:20 `sources` is `stat`, and skala.toml has no [source.stat] | did you mean `stats`?"],
    );
    check(&union("sources = [\"prom\", \"union\"]"), &["27:20 `sources` names itself"]);
    check(&union("sources = [\"prom\", \"prom\"]"), &["27:20 `sources` names `prom` twice"]);
    let two = format!("{GOOD}[source.z]\nkind = \"composite\"\nsources = [\"union\", \"prom\"]\n");
    check(
        &two,
        &[
            "31:12 `sources` names `union`, which is a composite itself | name its sources here: what is asked first must be plain to see",
        ],
    );
    check(
        &GOOD.replace("patience = \"2s\"", "patience = \"9s\""),
        &["28:12 `patience` must be from \"100ms\" to \"5s\", not \"9s\""],
    );
    check(
        &GOOD.replace("provider = \"prod\"", "provider = \"prd\""),
        &["5:12 `provider` is `prd`, and skala.toml has no [provider.prd] | did you mean `prod`?"],
    );
    check(
        &GOOD.replace("kind = \"one-cloud\"", "kind = \"sim\""),
        &["5:12 `provider` is `prod`, which is of kind \"sim\" | one-metrics is of a provider of kind \"one-cloud\""],
    );
    check(
        &GOOD.replace("provider = \"prod\"\n", ""),
        &["3:9 `provider` is missing | the NAME of a [provider.NAME]: its account and credentials are used"],
    );
}

/// What is wrong with a metric of such a source and query, and its query as it is asked.
fn metric(source: &str, rest: &str) -> Result<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let policies = dir.path().join("policies");
    std::fs::create_dir(&policies).unwrap();
    std::fs::write(dir.path().join("skala.toml"), format!("[daemon]\npolicies = \"policies\"\n{GOOD}")).unwrap();
    let policy = format!(
        "[fleet.a]\nmode = \"on\"\nmin = 1\nmax = 9\ngroup = [{{ provider = \"prod\", group = \"a\" }}]\n\
         [[fleet.a.rule]]\nkind = \"per-instance\"\nmetric = \"m\"\ntarget = 10\n\
         [fleet.a.metric.m]\nsource = \"{source}\"\n{rest}\n"
    );
    std::fs::write(policies.join("a.toml"), policy).unwrap();
    let (config, _) = load_skala_toml(&dir.path().join("skala.toml"), KINDS);
    let config: SkalaToml = config.unwrap();
    let (set, report) = load_policies(Path::new(&policies), Some(&config));
    match set.fleets.first() {
        Some(fleet) => Ok(fleet.metrics[0].query.to_string()),
        None => {
            let shown = diagnostics::render(&report).replace(&policies.display().to_string(), "DIR");
            Err(shown)
        }
    }
}

#[test]
fn a_query_is_in_the_language_of_its_source() {
    for (source, query) in [
        ("prom", "sum(rate(x[1m]))"),
        ("stats", "$.queues[*].depth"),
        ("jobs", "depth{queue=\"a\"}"),
        ("cloud", "one thing"),
    ] {
        assert_eq!(metric(source, &format!("query = '{query}'")), Ok(query.to_owned()));
    }
    let table = metric("union", "query = { prom = 'sum(x)', cloud = 'one thing' }");
    assert_eq!(table, Ok("{\"cloud\":\"one thing\",\"prom\":\"sum(x)\"}".into()));
    let shown = metric("stats", "query = '$.queues[?].depth'").unwrap_err();
    let expected = "error: `query` is not a path into a JSON document: only ['name'], [0] and [*] may stand in brackets
  --> DIR/a.toml:12:18
   |
12 | query = '$.queues[?].depth'
   |                  ^

";
    assert_eq!(shown, expected);
    for (source, rest, expected) in [
        ("prom", "query = '$.depth'", "`query` is not PromQL"),
        ("jobs", "query = 'sum(depth)'", "`query` is not the name of a series: only a name and labels may stand there"),
        ("cloud", "query = 'two'", "`query` is not a query of one cloud: it must begin with `one`"),
        ("union", "query = 'sum(x)'", "`cloud` would be asked it too: write { cloud = '...' }"),
        (
            "union",
            "query = { prom = 'sum(', cloud = 'one x' }",
            "`query.prom` is not PromQL: unclosed left parenthesis",
        ),
        ("union", "query = { stats = '$.x' }", "`query` has a text for `stats`, which `union` does not ask"),
        (
            "stats",
            "query = '$.x'\noffset = \"1m\"",
            "`offset` needs a source that knows the past, and a JSON document does not",
        ),
        ("jobs", "query = 'x'\nfreshness = 'y'", "`freshness` is asked of Prometheus alone, not of a command"),
        ("stats", "query = '$.x'\nmembers = 'count(x)'", "`members` is not a path into a JSON document"),
    ] {
        let shown = metric(source, rest).unwrap_err();
        assert!(shown.contains(expected), "{source} {rest}: {shown}");
    }
    assert!(metric("cloud", "query = 'one thing'\noffset = \"2m\"").is_ok());
}
