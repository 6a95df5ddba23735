//! `skala backtest` through the real binary: what it prints and writes, that it decides as `skala decide` does, and what it
//! says of files that are wrong.

use crate::living::{Said, readme_block, run, skala};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

pub const POLICY: &str = r#"
[fleet.shop]
mode     = "on"
min      = 2
max      = 60
interval = "1m"
warmup   = "60s"
[[fleet.shop.group]]
provider = "cloud"
group    = "shop-web"
[fleet.shop.metric.rps]
source = "prometheus"
query  = "rps"
[fleet.shop.metric.cpu]
source = "prometheus"
query  = "cpu"
unit   = "ratio"
[[fleet.shop.rule]]
name   = "requests"
kind   = "per-instance"
metric = "rps"
target = 170
[[fleet.shop.rule]]
kind   = "utilization"
metric = "cpu"
target = 0.65
"#;

pub const MODEL: &str = "metric = \"rps\"\ncapacity_per_instance = 250.0\nslo_utilization = 0.8\nboot_delay = \"3m\"\n\
    metric_lag = \"1m\"\nstep = \"1m\"\nprice_per_hour = 0.1\nwarmup = \"2h\"\n";

/// A midnight.
pub const START: usize = 1_700_006_400;
pub const STEPS: usize = 2 * 1_440;
const BOOT_STEPS: usize = 3;

/// Two days of made-up load, an hour of which is missing.
fn loads() -> Vec<Option<f64>> {
    let mut noise: u64 = 7;
    let value = |step: usize| {
        noise = (noise * 1_103_515_245 + 12_345) % 2_147_483_648;
        let minute = step % 1_440;
        let wave = 5 * (720 - minute.abs_diff(720));
        let sale = if (1_200..1_290).contains(&minute) { 2_500 } else { 0 };
        let load = 600.0 + (wave + sale) as f64 + (noise / 65_536 % 300) as f64;
        (!(2_000..2_060).contains(&step)).then_some(load)
    };
    (0..STEPS).map(value).collect()
}

pub struct Files(pub tempfile::TempDir);

impl Files {
    pub fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(files.0.path().join("policies")).unwrap();
        let mut csv = String::from("timestamp_s,value\n");
        for (step, load) in loads().iter().enumerate() {
            if let Some(load) = load {
                writeln!(csv, "{},{load}", START + step * 60).unwrap();
            }
        }
        files.put("policies/shop.toml", POLICY).put("model.toml", MODEL).put("rps.csv", &csv)
    }

    pub fn put(self, name: &str, text: &str) -> Self {
        std::fs::write(self.0.path().join(name), text).unwrap();
        self
    }

    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    fn run(&self, more: &[&str]) -> Said {
        let (policies, model) = (self.path("policies"), self.path("model.toml"));
        let series = format!("rps={}", self.path("rps.csv"));
        let base = ["backtest", "--policies", &policies, "--fleet", "shop", "--series", &series, "--model", &model];
        run(&[&base, more].concat())
    }
}

fn rows(csv: &str) -> Vec<[usize; 4]> {
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("timestamp_s,demand,supply,paid"));
    lines
        .map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect::<Vec<_>>().try_into().unwrap())
        .collect()
}

#[test]
fn a_run_is_scored_and_written() {
    let files = Files::new();
    let said = files.run(&["--json", "--out", &files.path("supply.csv")]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (&json["fleet"], &json["steps"], &json["missing_readings"]),
        (&json!("shop"), &json!(STEPS), &json!(60))
    );
    let rows = rows(&files.read("supply.csv"));
    // Two hours are not scored.
    assert_eq!((rows.len(), rows[0][0]), (STEPS - 120, START + 7_200));
    let count = |is: fn(&[usize; 4]) -> bool| rows.iter().filter(|row| is(row)).count() as f64;
    let near = |key: &str, expected: f64| {
        let got = json[key].as_f64().unwrap();
        assert!((got - expected).abs() < 1e-9, "{key}: {got} is not {expected}");
    };
    near("tau_U", 100.0 * count(|row| row[2] < row[1]) / rows.len() as f64);
    near("tau_O", 100.0 * count(|row| row[2] > row[1]) / rows.len() as f64);
    let hours = rows.iter().map(|row| row[3]).sum::<usize>() as f64 / 60.0;
    near("instance_hours", hours);
    near("cost", hours * 0.1);
    near("changes", rows.windows(2).filter(|pair| pair[0][3] != pair[1][3]).count() as f64);
    let starts = rows.windows(2).map(|pair| pair[1][3].saturating_sub(pair[0][3])).sum::<usize>();
    near("instance_starts", starts as f64);
    assert!(json["tau_U"].as_f64().unwrap() < 10.0 && json["changes"].as_u64().unwrap() > 20, "{json:#}");
    for key in ["theta_U", "theta_O", "upsilon", "sigma", "lack_pct", "over_cost_pct", "longest_shortage_s"] {
        assert!(json[key].is_f64(), "{key}: {json:#}");
    }
    let rivals = json["rivals"].as_array().unwrap();
    let named = |tuned: bool| -> Vec<&Value> {
        rivals.iter().filter(|rival| rival["tuned"] == tuned).map(|rival| &rival["name"]).collect()
    };
    assert_eq!(named(false), ["kubernetes-hpa", "aws-target-tracking", "clairvoyant"]);
    assert_eq!(named(true), ["kubernetes-hpa", "aws-target-tracking"]);
    for rival in rivals {
        let (target, short) = (rival["target"].as_f64(), rival["tau_U"].as_f64().unwrap());
        match rival["tuned"].as_bool().unwrap() {
            true => assert!(short <= json["tau_U"].as_f64().unwrap() && target.is_some(), "{rival:#}"),
            false if rival["name"] == "clairvoyant" => assert_eq!((short, target), (0.0, None)),
            false => assert_eq!(target, Some(0.65)),
        }
    }
    assert_eq!(files.run(&["--json"]).out, said.out, "byte for byte");
}

#[test]
fn people_read_a_table() {
    let said = Files::new().run(&["--rival-target", "0.7"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    let begin = "shop: 2d from 2023-11-15T00:00:00Z to 2023-11-17T00:00:00Z, 2880 steps of 1m; the first 2h are not \
        scored\n60 readings of the load are missing\n";
    assert!(said.out.starts_with(begin), "{}", said.out);
    for part in
        ["SHORT", "OVER-COST", "skala  ", "kubernetes-hpa 70 %", "aws-target-tracking 70 %", "clairvoyant", "sigma"]
    {
        assert!(said.out.contains(part), "{part} is not in\n{}", said.out);
    }
}

#[test]
fn a_max_that_is_too_low_is_said() {
    let files = Files::new().put("policies/shop.toml", &POLICY.replace("max      = 60", "max = 12"));
    let json: Value = serde_json::from_str(&files.run(&["--json"]).out).unwrap();
    let above = json["steps_above_max"].as_u64().unwrap();
    assert!(above > 100, "{json:#}");
    let said = files.run(&["--report", &files.path("report.html")]);
    assert!(said.out.contains(" more is needed than the fleet's max of 12: no scaler can help there\n"), "{said:?}");
    assert!(files.read("report.html").contains("more is needed than the fleet&#39;s max of 12"));
}

/// The same load through `skala decide`, in a cloud of this test's own: the same supply, step for step.
#[test]
fn backtest_decides_as_decide_does() {
    let files = Files::new().put("model.toml", &MODEL.replace("2h", "0s"));
    assert_eq!(files.run(&["--out", &files.path("supply.csv")]).code, 0);
    let rows = rows(&files.read("supply.csv"));
    let mut child = skala(&["decide", "--policies", &files.path("policies")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    // Each instance: id, step at which it was asked for.
    let mut instances: Vec<(String, i64)> = (0..rows[0][1]).map(|at| (format!("old-{at}"), -100)).collect();
    let (mut served, loads) = (Vec::new(), loads());
    for (step, row) in rows.iter().enumerate() {
        let now = START + step * 60;
        let seconds = |at: i64| (START as i64 + at * 60) as f64;
        let is_up = |asked: i64| asked + BOOT_STEPS as i64 <= step as i64;
        let listed: Vec<Value> = instances
            .iter()
            .map(|(id, asked)| match is_up(*asked) {
                true => json!({"id": id, "state": "running", "launched": seconds(*asked),
                    "running_since": seconds(asked + BOOT_STEPS as i64)}),
                false => json!({"id": id, "state": "pending", "launched": seconds(*asked)}),
            })
            .collect();
        // One minute of lag: the newest minute that is visible began two minutes ago.
        let mut readings = json!({"rps": {"missing": "empty"}, "cpu": {"missing": "empty"}});
        if let Some((seen, load)) = step.checked_sub(2).and_then(|seen| Some((seen, loads[seen]?))) {
            let (at, used) = (now - 60, load / (250.0 * f64::from(served[seen])));
            readings = json!({"rps": {"value": load, "at": at}, "cpu": {"value": f64::min(used, 1.5), "at": at}});
        }
        let group = json!({"provider": "cloud", "group": "shop-web", "desired": listed.len(), "instances": listed});
        writeln!(input, "{}", json!({"fleet": "shop", "now": now, "groups": [group], "readings": readings})).unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let desired = said["desired"].as_u64().unwrap_or_else(|| panic!("{line}")) as usize;
        let gone: Vec<&str> =
            said["groups"][0]["terminate"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        instances.retain(|(id, _)| !gone.contains(&id.as_str()));
        for new in instances.len()..desired {
            instances.push((format!("at-{step}-{new}"), step as i64));
        }
        let up = instances.iter().filter(|(_, asked)| is_up(*asked)).count();
        served.push(u32::try_from(up).unwrap());
        assert_eq!((up, instances.len()), (row[2], row[3]), "step {step}: {line}");
    }
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_is_wrong_is_said_once_with_its_place() {
    let check = |files: Files, more: &[&str], code: i32, parts: &[&str]| {
        let said = files.run(more);
        assert_eq!((said.code, said.out.as_str()), (code, ""), "{said:?}");
        for part in parts {
            assert!(said.err.contains(part), "{part} is not in\n{}", said.err);
        }
        assert_eq!(
            said.err.matches(" --> ").count(),
            usize::from(parts[0].ends_with(|c: char| c.is_ascii_digit())),
            "{}",
            said.err
        );
    };
    let with = |name: &str, text: &str| Files::new().put(name, text);
    let csv = |rows: &str| with("rps.csv", &format!("timestamp_s,value\n{rows}"));
    check(with("rps.csv", "timestamp_s,load\n0,1\n60,1\n"), &[], 78, &["rps.csv:1:1", "no column `value`"]);
    check(csv("0,1\n60,1\n60,2\n"), &[], 78, &["rps.csv:4:1", "the time does not grow"]);
    check(csv("0,1\n60,NaN\n"), &[], 78, &["rps.csv:3:4", "`NaN` is not a finite number"]);
    check(csv("0,1\n60,1\n150,1\n"), &[], 78, &["rps.csv:4:1", "1m30s after the row before"]);
    check(csv("0,1\n300,1\n600,1\n"), &[], 78, &["rps.csv:3:1", "write step = \"5m\""]);
    let model = |from: &str, to: &str| with("model.toml", &MODEL.replace(from, to));
    check(model("saturate", "x"), &["--rival-target", "2"], 64, &["rival-target"]);
    check(model("price_per_hour", "price"), &[], 78, &["model.toml:7:1", "unknown key `price`"]);
    check(model("\"rps\"", "\"rsp\""), &[], 78, &["model.toml:1:10", "did you mean `rps`?"]);
    check(
        model("metric_lag = \"1m\"", "metric_lag = \"1h\""),
        &[],
        78,
        &["model.toml: the newest", "always 1h old, and metric"],
    );
    check(with("policies/shop.toml", &POLICY.replace("\"on\"", "\"no\"")), &[], 78, &["shop.toml:3:12"]);
    let series = |text: &str| ["--series".to_owned(), text.to_owned()];
    for (text, code, part) in [
        ("nothing", 64, "is not METRIC=FILE.csv"),
        ("rpm=x.csv", 64, "did you mean `rps`?"),
        ("rps=x.csv", 64, "--series rps is given twice"),
        ("cpu=/nowhere/x.csv", 78, "/nowhere/x.csv cannot be read"),
    ] {
        let [flag, value] = series(text);
        check(Files::new(), &[&flag, &value], code, &[part]);
    }
    let files = Files::new();
    let said = files.run(&["--out", &files.path("no/such/folder.csv")]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("cannot write"), "{said:?}");
    let arguments =
        ["backtest", "--policies", &files.path("policies"), "--fleet", "shp", "--series", "rps=x", "--model", "x"];
    let said = run(&arguments);
    assert_eq!(said.code, 64);
    assert!(said.err.contains("no policy for fleet `shp`; did you mean `shop`?"), "{said:?}");
}

#[test]
fn a_metric_without_a_series_is_warned_of() {
    let guard = "[fleet.shop.metric.errors]\nsource = \"p\"\nquery = \"e\"\nunit = \"ratio\"\n[[fleet.shop.rule]]\n\
        kind = \"guard\"\nmetric = \"errors\"\nabove = 0.1\nblocks = \"in\"\n";
    let files = Files::new().put("policies/shop.toml", &format!("{POLICY}{guard}"));
    let said = files.run(&["--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.starts_with("warning: metric `errors` has no series"), "{said:?}");
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(json["unfed"], json!(["errors"]));
    // So is one that has values for a part of the time; one that has none is refused.
    let errors = |from: usize, to: usize| {
        let rows: String = (from..to).map(|step| format!("{},0.001\n", START + step * 60)).collect();
        Files::new()
            .put("policies/shop.toml", &format!("{POLICY}{guard}"))
            .put("errors.csv", &format!("timestamp_s,value\n{rows}"))
    };
    let files = errors(0, 1_470);
    let said = files.run(&["--series", &format!("errors={}", files.path("errors.csv"))]);
    let expected =
        "warning: the series of metric `errors` has no value in 47.9 % of the steps in which the load has one";
    assert!(said.code == 0 && said.err.starts_with(expected), "{said:?}");
    let files = errors(STEPS, STEPS + 100);
    let said = files.run(&["--series", &format!("errors={}", files.path("errors.csv"))]);
    assert_eq!((said.code, said.out.as_str()), (78, ""), "{said:?}");
    assert!(said.err.contains("the series of metric `errors` has no value while there is load"), "{said:?}");
    // A recorded utilization is taken, and said to be somebody else's.
    let files = Files::new();
    let said = files.run(&["--series", &format!("cpu={}", files.path("rps.csv"))]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.starts_with("warning: the utilization in --series cpu is the recorded fleet's"), "{said:?}");
}

#[test]
fn the_report_is_one_page_that_a_browser_draws() {
    let files = Files::new();
    let said = files.run(&["--report", &files.path("report.html")]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    let page = files.read("report.html");
    assert!(page.starts_with("<!doctype html>") && page.contains("shop on recorded load"), "{page:.300}");
    // `tests/run` says that there is one.
    let expected = std::env::var_os("SKALA_BROWSER").is_some();
    let Some(drawn) = in_a_browser(&files) else { return assert!(!expected, "no browser draws the page") };
    // The script ran to its end: both charts are there, and every change with its reason.
    for part in ["class=\"s-load\"", "class=\"s-edge\"", "class=\"s-short\"", "class=\"s-out\"", "class=\"s-in\""] {
        assert!(drawn.contains(part), "{part} was not drawn");
    }
    assert!(drawn.contains("requests: ") && drawn.contains(" / 170 per instance"), "the list of changes");
    // The list has the browser's own text, so nothing of it may be markup.
    assert_eq!(drawn.matches("<script").count(), 2);
    let picture = std::fs::read(files.0.path().join("report.png")).unwrap();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 30_000, "{} bytes", picture.len());
}

/// The page as Chromium has it once its script has run, beside a screenshot `report.png`; `None` where there is none.
fn in_a_browser(files: &Files) -> Option<String> {
    let home = files.path("browser");
    let headless = |more: &[&str]| {
        let mut command = std::process::Command::new("chromium");
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1900"]);
        command.arg(format!("--user-data-dir={home}")).args(more);
        command.arg(format!("file://{}", files.path("report.html"))).stdin(Stdio::null()).output()
    };
    let drawn = headless(&["--dump-dom"]).ok()?;
    assert!(drawn.status.success(), "{drawn:?}");
    let shot = format!("--screenshot={}", files.path("report.png"));
    assert!(headless(&[&shot]).unwrap().status.success());
    Some(String::from_utf8(drawn.stdout).unwrap())
}

/// The README's policy, model and command, as they stand there.
#[test]
fn the_readmes_command_works() {
    let command = readme_block("sh", "skala backtest");
    let words: Vec<&str> = command.split_whitespace().collect();
    let files = Files::new()
        .put("policies/shop.toml", &readme_block("toml", "[fleet.checkout]"))
        .put("model.toml", &readme_block("toml", "capacity_per_instance"));
    let errors: String = (0..STEPS).map(|step| format!("{},0.001\n", START + step * 60)).collect();
    let files = files.put("errors.csv", &format!("timestamp_s,value\n{errors}"));
    let said = Said::new(skala(&words[1..]).current_dir(files.0.path()).output().unwrap());
    assert_eq!((words[0], said.code, said.err.as_str()), ("skala", 0, ""), "{said:?}");
    assert!(said.out.starts_with("checkout: 2d from 2023-11-15T00:00:00Z"), "{said:?}");
    assert!(files.read("backtest.html").contains("checkout on recorded load"));
    let run = |command: &str| {
        let words: Vec<&str> = command.split_whitespace().collect();
        let said = Said::new(skala(&words[1..]).current_dir(files.0.path()).output().unwrap());
        assert_eq!((words[0], said.code, said.err.as_str()), ("skala", 0, ""), "{said:?}");
        said.out
    };
    let found = run(&readme_block("sh", "skala tune"));
    assert!(found.contains("\n--- a/policies/shop.toml\n+++ b/policies/shop.toml\n@@ -"), "{found}");
    std::fs::create_dir(files.path("new")).unwrap();
    let target = files.read("policies/shop.toml").replace("target = 220", "target = 200");
    std::fs::write(files.path("new/shop.toml"), target).unwrap();
    let compared = run(&readme_block("sh", "skala plan --replay"));
    assert!(
        compared.starts_with("### checkout\n\n2d (of 7d asked for) from ") && compared.contains("| `220` | `200` |"),
        "{compared}"
    );
}

/// A Prometheus with six recorded hours of `load`, a sample a minute, of which ten are missing.
struct History {
    child: std::process::Child,
    url: String,
}

impl History {
    fn start(files: &Files, minute: usize) -> Self {
        let mut text = String::from("# TYPE load gauge\n");
        for at in minute - 360..minute {
            if let Some(load) = recorded(at, minute) {
                writeln!(text, "load{{asg=\"shop\"}} {load} {}\nload{{asg=\"other\"}} 1 {}", at * 60, at * 60).unwrap();
            }
        }
        text.push_str("# EOF\n");
        std::fs::write(files.path("history.txt"), text).unwrap();
        std::fs::write(files.path("prometheus.yml"), "global: {}\n").unwrap();
        let made = std::process::Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics", &files.path("history.txt"), &files.path("data")])
            .output()
            .expect("the program promtool cannot be started: it comes with Prometheus, which tests/run installs");
        assert!(made.status.success(), "{made:?}");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = std::process::Command::new("prometheus")
            .arg(format!("--config.file={}", files.path("prometheus.yml")))
            .arg(format!("--storage.tsdb.path={}", files.path("data")))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program prometheus cannot be started: tests/run installs what the tests need");
        Self { child, url: format!("http://127.0.0.1:{port}") }
    }
}

impl Drop for History {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the sample of a minute says, until `end`; it is of the minute before it. The gap lies in the middle at any time of
/// day: at the beginning it would be none, since nothing was recorded before.
fn recorded(minute: usize, end: usize) -> Option<f64> {
    (!(100..110).contains(&(end - minute))).then(|| (1_000 + 37 * minute % 1_500) as f64)
}

#[test]
#[allow(clippy::disallowed_methods)] // It waits for a real Prometheus.
fn the_past_comes_from_a_live_prometheus() {
    let selecting =
        POLICY.replace("query  = \"rps\"", "query  = \"last_over_time(load[59s])\"\nselect = { asg = \"shop\" }");
    let files = Files::new().put("policies/shop.toml", &selecting);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let minute = usize::try_from(since.as_secs()).unwrap() / 60;
    let history = History::start(&files, minute);
    let config = format!(
        "[daemon]\npolicies = \"policies\"\n[store]\nurl = \"sqlite:///nowhere/skala.db\"\n[source.prometheus]\nkind = \"prometheus\"\n\
         url = \"{}\"\n[provider.cloud]\nkind = \"sim\"\n",
        history.url
    );
    let files = files.put("skala.toml", &config);
    let (policies, model, toml) = (files.path("policies"), files.path("model.toml"), files.path("skala.toml"));
    let ask = |source: &str, last: &str, more: &[&str]| {
        let base = ["backtest", "--policies", &policies, "--fleet", "shop", "--model", &model, "--json"];
        run(&[&base[..], &["--from", source, "--last", last, "--config", &toml], more].concat())
    };
    let mut said = ask("prometheus", "6h", &[]);
    for _ in 0..100 {
        if said.code == 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
        said = ask("prometheus", "6h", &[]);
    }
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    let asked: Value = serde_json::from_str(&said.out).unwrap();
    // The same numbers from a file give the same answer, gaps and all.
    let (from, to) = (asked["from"].as_f64().unwrap() as usize, asked["to"].as_f64().unwrap() as usize);
    assert!((355 * 60..=360 * 60).contains(&(to - from)), "{asked:#}");
    let mut csv = String::from("timestamp_s,value\n");
    for start in (from..to).step_by(60) {
        let known = start / 60 + 1 < minute;
        let value =
            known.then(|| recorded(start / 60 + 1, minute)).flatten().map_or(String::new(), |load| load.to_string());
        writeln!(csv, "{start},{value}").unwrap();
    }
    let files = files.put("rps.csv", &csv);
    assert_eq!(files.run(&["--json"]).out, said.out);
    assert!(asked["missing_readings"].as_u64().unwrap() >= 10 && asked["changes"].as_u64().unwrap() > 5, "{asked:#}");

    // Two sets of policies on the same past, asked once.
    let other = POLICY.replace("target = 170", "target = 120");
    let other =
        other.replace("query  = \"rps\"", "query  = \"last_over_time(load[59s])\"\nselect = { asg = \"shop\" }");
    std::fs::create_dir(files.path("other")).unwrap();
    std::fs::write(files.path("other/shop.toml"), other).unwrap();
    let base =
        ["plan", "--replay", "6h", "--policies", &files.path("other"), "--against", &policies, "--model", &model];
    let said = run(&[&base[..], &["--config", &toml, "--json"]].concat());
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    let both: Value = serde_json::from_str(&said.out).unwrap();
    let (fleet, hours) = (&both["fleets"][0], "instance_hours");
    assert!((355..=360).contains(&fleet["steps"].as_u64().unwrap()), "{both:#}");
    let (before, now) = (fleet["before"][hours].as_f64().unwrap(), asked[hours].as_f64().unwrap());
    assert!((before / now - 1.0).abs() < 0.05 && fleet["after"][hours].as_f64().unwrap() > 1.1 * before, "{both:#}");

    for (source, last, code, part) in [
        ("prometeus", "6h", 64, "has no [source.prometeus]"),
        ("prometheus", "1m", 64, "--last is shorter than two steps"),
        ("prometheus", "6 hours", 64, "is not a duration"),
    ] {
        let said = ask(source, last, &[]);
        assert_eq!(said.code, code, "{said:?}");
        assert!(said.err.contains(part), "{said:?}");
    }
    std::fs::write(files.path("policies/shop.toml"), selecting.replace("\"shop\" }", "\"none\" }")).unwrap();
    let said = ask("prometheus", "6h", &[]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("metric `rps`: source `prometheus` has no series of it"), "{said:?}");
    std::fs::write(files.path("policies/shop.toml"), selecting.replace("select = { asg = \"shop\" }", "")).unwrap();
    assert!(ask("prometheus", "6h", &[]).err.contains("has 2 series in that time"));
}
