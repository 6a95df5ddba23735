//! skala.toml and what is shown of mistakes.

use super::skala_toml::*;
use super::*;
use crate::http::Auth;
use crate::store::url::StoreUrl;
use policies::policy::{Amount, Rate};
use std::fs;

pub(super) const KINDS: Kinds<'static> = Kinds {
    built: &["one-cloud", "sim"],
    known: &["one-cloud", "other-cloud", "sim"],
    metrics: &[MetricsKind {
        kind: "one-metrics",
        provider: "one-cloud",
        language: "a query of one cloud",
        check: one_query,
    }],
    known_metrics: &["one-metrics", "other-metrics"],
};

fn one_query(text: &str) -> Result<(), String> {
    if text.starts_with("one ") { Ok(()) } else { Err("it must begin with `one`".into()) }
}

pub(super) fn read(text: &str) -> (Option<SkalaToml>, Vec<String>) {
    let file = SourceFile { name: "skala.toml".into(), text: text.into() };
    let (config, found) = SkalaToml::parse(&file, KINDS, Path::new("/etc/skala"), Path::new("/creds"));
    let line = |one: &Diagnostic| {
        let hint = one.hint.as_ref().map_or(String::new(), |hint| format!(" | {hint}"));
        format!("{}:{} {}{hint}", one.line, one.column, one.message)
    };
    (config, found.iter().map(line).collect())
}

#[test]
fn nothing_said_is_the_default() {
    let (config, found) = read("");
    assert_eq!(found, [""; 0]);
    let config = config.unwrap();
    assert_eq!(config.daemon.policies, Path::new("/etc/skala/policies"));
    assert_eq!((config.daemon.interval, &config.daemon.id), (Duration::from_secs(15), &None));
    assert_eq!(config.store.url, StoreUrl::Sqlite("/var/lib/skala/skala.db".into()));
    assert_eq!((config.store.journal_keep.as_secs(), config.store.journal_max), (30 * 86_400, 10 << 30));
    assert_eq!(config.api.listen.to_string(), "127.0.0.1:9464");
    assert_eq!(config.api.socket, Path::new("/run/skala/skala.sock"));
    assert_eq!(config.brakes, Brakes::default());
}

#[test]
fn everything_said_is_taken() {
    let text = r#"
[daemon]
policies = "mine"
interval = "30s"
id = "skala-1"
[store]
url = "sqlite::memory:"
journal_keep = "7d"
journal_max = "500MiB"
[api]
socket = "/tmp/s"
listen = "[::1]:80"
[provider.prod]
kind = "one-cloud"
region = "here"
nested = { a = 1, b = [true, 2.5, 2020-01-01] }
[source.prom]
kind = "prometheus"
url = "https://prom.example:9090/base"
timeout = "1s"
bearer_token_file = "credential:token"
ca_file = "ca.pem"
[source.basic]
kind = "prometheus"
url = "http://127.0.0.1:9090"
username = "u"
password_file = "/p"
[source.demo]
kind = "sim"
peak = 5
[brakes]
max_scale_in = { percent = "20%", per = "1h" }
max_scale_out = { instances = 500, per = "10m" }
"#;
    let (config, found) = read(text);
    assert_eq!(found, [""; 0]);
    let config = config.unwrap();
    assert_eq!(config.daemon.policies, Path::new("/etc/skala/mine"));
    assert_eq!(config.daemon.id.as_deref(), Some("skala-1"));
    assert_eq!(config.store.journal_max, 500 << 20);
    let provider = &config.providers[0];
    assert_eq!((provider.name.as_ref(), provider.kind.as_ref(), provider.place.line), ("prod", "one-cloud", 13));
    let settings: toml::Table = "region = \"here\"\nnested = { a = 1, b = [true, 2.5, 2020-01-01] }".parse().unwrap();
    assert_eq!(provider.to_toml(), settings);
    let [basic, demo, prom] = config.sources.as_slice() else { panic!("{:?}", config.sources) };
    let SourceKind::Prometheus { url, settings } = &prom.kind else { panic!("{prom:?}") };
    assert_eq!((url.as_str(), settings.timeout), ("https://prom.example:9090/base", Duration::from_secs(1)));
    assert!(settings.connect_timeout <= settings.timeout);
    assert_eq!(settings.auth, Auth::Bearer { file: "/creds/token".into() });
    assert_eq!(settings.ca_file.as_deref(), Some(Path::new("/etc/skala/ca.pem")));
    let SourceKind::Prometheus { settings, .. } = &basic.kind else { panic!("{basic:?}") };
    assert_eq!(settings.auth, Auth::Basic { username: "u".into(), file: "/p".into() });
    let SourceKind::Sim { settings } = &demo.kind else { panic!("{demo:?}") };
    assert_eq!(settings.to_toml().len(), 1);
    let rate = |amount, secs| Some(Rate { amount, per: Duration::from_secs(secs) });
    assert_eq!(config.brakes.max_scale_in, rate(Amount::Percent(20.0), 3_600));
    assert_eq!(config.brakes.max_scale_out, rate(Amount::Instances(500), 600));
    assert_eq!((config.brakes.in_place.line, config.brakes.out_place.line), (32, 33));
}

#[test]
fn every_mistake_is_said_once() {
    let check = |text: &str, expected: &[&str]| {
        let (config, found) = read(text);
        assert_eq!(found, expected, "{text}");
        assert!(config.is_none(), "{text}");
    };
    check(
        "[deamon]\n",
        &[
            "1:2 unknown key `deamon` | did you mean `daemon`? allowed here: daemon, store, api, provider, source, drainer, brakes",
        ],
    );
    check("[daemon]\ninterval = \"0s\"\n", &["2:12 `interval` must be from \"1s\" to \"1h\", not \"0s\""]);
    check(
        "[store]\nurl = \"postgres://db\"\njournal_max = \"10GB\"\n",
        &[
            "2:7 `url` is not a store: PostgreSQL is not supported yet | write \"sqlite:///var/lib/skala/skala.db\"",
            "3:15 `journal_max` must be a size such as \"10GiB\" or \"500MiB\", not \"10GB\" | units: KiB, MiB, GiB, TiB",
        ],
    );
    check(
        "[api]\nlisten = \"0.0.0.0:1\"\n",
        &[
            "2:10 `listen` must be a loopback address, and 0.0.0.0 is not | it has no authentication; put a proxy that has in front of 127.0.0.1",
        ],
    );
    check("[provider.a]\nregion = 1\n", &["1:11 `kind` is missing | which cloud it is: kind = \"...\""]);
    check(
        "[provider.a]\nkind = \"other-cloud\"\n",
        &["2:8 `kind` is \"other-cloud\", which this skala cannot do yet | it can do: one-cloud, sim"],
    );
    check(
        "[provider.a]\nkind = \"onecloud\"\n",
        &["2:8 `kind` is \"onecloud\", which is no kind of provider | did you mean \"one-cloud\"?"],
    );
    let source = "[source.a]\nkind = \"prometheus\"\nurl = \"http://127.0.0.1:9090\"\n";
    check(
        &format!("{source}password = \"x\"\nusername = \"u\"\n"),
        &[
            "4:12 `password` would put a secret into this file | put it into a file of its own: password_file = \"credential:NAME\"",
        ],
    );
    check(&format!("{source}username = \"u\"\n"), &["4:12 `username` needs `password_file`"]);
    check(
        &format!("{source}username = \"u\"\npassword_file = \"p\"\nbearer_token_file = \"credential:../x\"\n"),
        &[
            "6:21 `bearer_token_file` must name a credential after `credential:` | bearer_token_file = \"credential:prometheus-token\", with LoadCredential= in the unit",
            "6:21 a source has a bearer token or a user, not both | remove one of them",
        ],
    );
    check(
        "[source.a]\nkind = \"prometheus\"\nurl = \"prom:9090\"\n",
        &["3:7 `url` cannot be asked: the URL must begin with http:// or https:// | write \"http://127.0.0.1:9090\""],
    );
    check(
        "[brakes]\nmax_scale_in = { percent = \"20%\" }\n",
        &["2:16 `per` is missing | the time in which that much may change: per = \"1m\""],
    );
    check("[daemon\ninterval = 5\n", &["1:8 unclosed table, expected `]`"]);
}

/// A directory with a configuration and one policy.
fn directory(skala_toml: &str, policy: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("policies")).unwrap();
    fs::write(dir.path().join("skala.toml"), skala_toml).unwrap();
    fs::write(dir.path().join("policies/web.toml"), policy).unwrap();
    dir
}

const POLICY: &str = r#"[fleet.web]
mode = "on"
min = 1
max = 5
[[fleet.web.group]]
provider = "prd"
group = "web"
[fleet.web.metric.cpu]
source = "graphite"
query = "avg(cpu"
unit = "ratio"
[[fleet.web.rule]]
kind = "utilization"
metric = "cpu"
target = 0.5
"#;

#[test]
fn policies_name_what_skala_toml_has_and_queries_are_promql() {
    let dir = directory("[daemon]\npolicies = \"policies\"\n[provider.prod]\nkind = \"sim\"\n", POLICY);
    let (config, report) = load_skala_toml(&dir.path().join("skala.toml"), KINDS);
    assert!(!report.has_errors());
    let config = config.unwrap();
    let (set, report) = load_policies(&config.daemon.policies, Some(&config));
    assert_eq!(set.fleets.len(), 0);
    let shown = diagnostics::render(&report).replace(&dir.path().display().to_string(), "DIR");
    let expected = r#"error: `provider` is `prd`, and skala.toml has no [provider.prd]
 --> DIR/policies/web.toml:6:12
  |
6 | provider = "prd"
  |            ^^^^^
  |
  = hint: did you mean `prod`?

error: `source` is `graphite`, and skala.toml has no [source.graphite]
 --> DIR/policies/web.toml:9:10
  |
9 | source = "graphite"
  |          ^^^^^^^^^^
  |
  = hint: skala.toml has no source at all

error: `query` is not PromQL: unclosed left parenthesis
  --> DIR/policies/web.toml:10:9
   |
10 | query = "avg(cpu"
   |         ^^^^^^^^^

"#;
    assert_eq!(shown, expected);
    // Without skala.toml any name is taken.
    let (_, report) = load_policies(&config.daemon.policies, None);
    assert_eq!(report.errors(), 1);
}

#[test]
fn a_related_place_is_shown_and_json_is_stable() {
    let text = POLICY.replace("avg(cpu", "avg(cpu)").replace("min = 1", "min = 9");
    let files = vec![SourceFile { name: "a.toml".into(), text }];
    let (_, diagnostics) = parse_policies(&files, Duration::from_secs(15), None);
    let report = Report { files, diagnostics };
    let expected = "error: `min` is 9, above `max` of 5
 --> a.toml:3:7
  |
3 | min = 9
  |       ^
  |
note: `max` is here
 --> a.toml:4:7
  |
4 | max = 5
  |       ^

";
    assert_eq!(diagnostics::render(&report), expected);
    let json = serde_json::to_string(&diagnostics::json(&report)).unwrap();
    let expected = r#"[{"severity":"error","file":"a.toml","line":3,"column":7,"message":"`min` is 9, above `max` of 5","hint":null}]"#;
    assert_eq!(json, expected);
}

#[test]
fn a_broken_skala_toml_still_tells_where_the_policies_are() {
    let dir = directory("[daemon]\npolicies = \"policies\"\ninterval = 5\n", POLICY);
    let (config, report) = load_skala_toml(&dir.path().join("skala.toml"), KINDS);
    assert!(config.is_none());
    assert_eq!(policies_of(&report), Some(dir.path().join("policies")));
    let (config, report) = load_skala_toml(&dir.path().join("missing.toml"), KINDS);
    assert!(config.is_none() && report.has_errors());
    assert_eq!(policies_of(&report), None);
    assert!(diagnostics::render(&report).starts_with("error: cannot be read: "), "{}", diagnostics::render(&report));
}

#[test]
fn anything_can_be_rendered() {
    let texts =
        ["", "\n", "x", "é = \"ü\u{7}\"\n\tx", "a = [\n1\n\n", "[fleet.\u{202e}x]\r\nmin = 1\r", "\u{feff}min = x"];
    for text in texts {
        let files = vec![SourceFile { name: "t".into(), text: text.into() }];
        let (_, mut found) = parse_policies(&files, Duration::from_secs(15), None);
        for (start, end) in (0..=text.len() + 2).flat_map(|start| (start..=text.len() + 3).map(move |end| (start, end)))
        {
            found.push(Diagnostic { span: start..end, ..Diagnostic::of_file(0, "here") });
        }
        found.push(Diagnostic::of_file(9, "nowhere"));
        let report = Report { files, diagnostics: found };
        assert!(!diagnostics::render(&report).is_empty());
    }
}
