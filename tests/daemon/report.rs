//! `skala report` through the real binary: against a real Prometheus with days of load and of skala's own metrics, held
//! against numbers that are worked out here; and against a scripted one that says what no Prometheus says on demand.

use crate::living::{Said, run};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const POLICY: &str = r#"
[fleet.shop]
mode     = "observe"
min      = 2
max      = 60
interval = "1m"
[[fleet.shop.group]]
provider = "cloud"
group    = "shop-web"
[fleet.shop.metric.rps]
source = "prometheus"
query  = "last_over_time(load[59s])"
select = { asg = "shop" }
[[fleet.shop.rule]]
name   = "requests"
kind   = "per-instance"
metric = "rps"
target = 170
"#;

const MODEL: &str = "metric = \"rps\"\ncapacity_per_instance = 250.0\nslo_utilization = 0.8\nboot_delay = \"3m\"\n\
    metric_lag = \"1m\"\nstep = \"1m\"\nprice_per_hour = 0.1\nwarmup = \"0s\"\n";

const OBJECTIVE: &str = r#"
[fleet.goal]
mode     = "observe"
min      = 2
max      = 60
interval = "1m"
[[fleet.goal.group]]
provider = "cloud"
group    = "goal-web"
[fleet.goal.metric.rps]
source = "prometheus"
query  = "goal_load"
[[fleet.goal.rule]]
kind        = "objective"
metric      = "rps"
capacity    = 250.0
utilization = 0.8
"#;

struct Files(tempfile::TempDir);

impl Files {
    /// A configuration with this Prometheus as its source, the policies and the model.
    fn new(url: &str) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(files.0.path().join("policies")).unwrap();
        files
            .put("policies/shop.toml", POLICY)
            .put("policies/goal.toml", OBJECTIVE)
            .put("model.toml", MODEL)
            .put("skala.toml", &config(url))
    }

    fn put(self, name: &str, text: &str) -> Self {
        std::fs::write(self.0.path().join(name), text).unwrap();
        self
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn report(&self, more: &[&str]) -> Said {
        run(&[&["report", "--config", &self.path("skala.toml")], more].concat())
    }

    fn shop(&self, more: &[&str]) -> Said {
        self.report(&[&["shop", "--model", &self.path("model.toml")], more].concat())
    }
}

fn config(url: &str) -> String {
    format!(
        "[daemon]\npolicies = \"policies\"\n[store]\nurl = \"sqlite::memory:\"\n[provider.cloud]\nkind = \"sim\"\n\
         [source.prometheus]\nkind = \"prometheus\"\nurl = \"{url}\"\n[source.made-up]\nkind = \"sim\"\n"
    )
}

fn now() -> usize {
    usize::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

fn json_of(said: &Said) -> Value {
    assert_eq!(said.code, 0, "{said:?}");
    serde_json::from_str(&said.out).unwrap()
}

fn number(of: &Value) -> f64 {
    of.as_f64().unwrap_or_else(|| panic!("{of} is no number"))
}

#[track_caller]
fn near(got: &Value, expected: f64) {
    let got = number(got);
    assert!((got - expected).abs() < 1e-9 * expected.abs().max(1.0), "{got} is not {expected}");
}

// ---- A real Prometheus ---------------------------------------------------------------------------------------------------

const DAY: usize = 1_440;
const WINDOW: usize = 3 * DAY;
const RECORDED: usize = 7 * DAY;

/// Seven days of load and three of skala's metrics, a sample a minute, ten seconds before the minute ends. All by the minute.
struct Past {
    /// The newest sample's minute.
    last: usize,
}

impl Past {
    /// What the load's sample of a minute says; it is of the step that begins a minute before.
    fn load(&self, minute: usize) -> Option<f64> {
        let ago = self.last.checked_sub(minute)?;
        let wave = 5 * (720 - (minute % DAY).abs_diff(720));
        let sale = if (1_100..1_190).contains(&(minute % DAY)) { 2_500 } else { 0 };
        let noise = minute * 2_654_435_761 % 4_294_967_296 / 65_536 % 300;
        (ago < RECORDED && !(1_990..2_000).contains(&ago)).then_some((600 + wave + sale + noise) as f64)
    }

    /// A native scaler that looks at the load every ten minutes.
    fn current(&self, minute: usize) -> usize {
        let looked = minute / 10 * 10;
        self.load(looked - 4).map_or(20, |load| (load / 160.0).ceil() as usize)
    }

    /// What is asked for serves three minutes later.
    fn serving(&self, minute: usize) -> usize {
        (minute - 3..=minute).map(|minute| self.current(minute)).min().unwrap()
    }

    fn desired(&self, minute: usize) -> usize {
        self.current(minute) + minute % 5 - 1
    }

    /// Who scraped skala at a minute: it was down for half an hour, and was started twice under another name.
    fn pod(&self, minute: usize) -> Option<&'static str> {
        match self.last.checked_sub(minute)? {
            ago if ago >= WINDOW => None,
            3_001.. => Some("a"),
            2_970..=3_000 => None,
            1_001.. => Some("b"),
            _ => Some("c"),
        }
    }

    /// The minute whose sample counts at the end of a minute: a scrape may be missed.
    fn known(&self, minute: usize) -> Option<usize> {
        [minute, minute - 1].into_iter().find(|minute| self.pod(*minute).is_some())
    }

    fn openmetrics(&self) -> String {
        let mut text = String::from("# TYPE load gauge\n");
        let minutes = || self.last - RECORDED + 1..=self.last;
        for minute in minutes() {
            let at = minute * 60 - 10;
            if let Some(load) = self.load(minute) {
                writeln!(text, "load{{asg=\"shop\"}} {load} {at}\nload{{asg=\"other\"}} 1 {at}").unwrap();
            }
        }
        let families: [(&str, fn(&Self, usize) -> usize); 3] =
            [("current", Self::current), ("serving", Self::serving), ("desired", Self::desired)];
        for (family, value) in families {
            writeln!(text, "# TYPE skala_fleet_{family} gauge").unwrap();
            for minute in minutes() {
                let Some(pod) = self.pod(minute) else { continue };
                let (value, at) = (value(self, minute), minute * 60 - 10);
                writeln!(text, "skala_fleet_{family}{{fleet=\"shop\",pod=\"{pod}\"}} {value} {at}").unwrap();
                writeln!(text, "skala_fleet_{family}{{fleet=\"other\",pod=\"{pod}\"}} 1 {at}").unwrap();
            }
        }
        text.push_str("# TYPE skala_fleet_info gauge\n");
        for (minute, pod) in minutes().filter_map(|minute| Some((minute, self.pod(minute)?))) {
            let labels = format!("fleet=\"shop\",pod=\"{pod}\",mode=\"observe\",owner=\"\"");
            writeln!(text, "skala_fleet_info{{{labels}}} 1 {}", minute * 60 - 10).unwrap();
        }
        text + "# EOF\n"
    }
}

/// A Prometheus over what was recorded.
struct Server {
    child: Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl Server {
    fn over(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(path("past.txt"), text).unwrap();
        std::fs::write(path("prometheus.yml"), "global: {}\n").unwrap();
        let made = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics", &path("past.txt"), &path("data")])
            .output()
            .expect("the program promtool cannot be started: it comes with Prometheus, which tests/run installs");
        assert!(made.status.success(), "{made:?}");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", path("prometheus.yml")))
            .arg(format!("--storage.tsdb.path={}", path("data")))
            .arg("--storage.tsdb.retention.time=30d")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program prometheus cannot be started: tests/run installs what the tests need");
        Self { child, url: format!("http://127.0.0.1:{port}"), _dir: dir }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until Prometheus is ready.
#[allow(clippy::disallowed_methods)] // It waits for a real Prometheus.
fn patiently(ask: impl Fn() -> Said) -> Said {
    let mut said = ask();
    for _ in 0..150 {
        if said.code == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
        said = ask();
    }
    said
}

/// One scored step.
#[derive(Clone, Copy)]
struct Step {
    minute: usize,
    demand: usize,
    ready: usize,
    paid: usize,
}

/// Scores worked out here, on steps that may have gaps.
fn assert_scored(side: &Value, steps: &[Step]) {
    let sum = |value: &dyn Fn(&Step) -> usize| steps.iter().map(value).sum::<usize>() as f64;
    let short = sum(&|step| usize::from(step.ready < step.demand));
    near(&side["short_s"], short * 60.0);
    near(&side["tau_U"], 100.0 * short / steps.len() as f64);
    near(&side["lack_pct"], 100.0 * sum(&|step| step.demand.saturating_sub(step.ready)) / sum(&|step| step.demand));
    let hours = sum(&|step| step.paid) / 60.0;
    near(&side["instance_hours"], hours);
    near(&side["cost"], hours * 0.1);
    near(&side["over_cost_pct"], 100.0 * (hours * 60.0 / sum(&|step| step.demand) - 1.0));
    let (mut changes, mut starts, mut run, mut longest) = (0, 0, 0, 0);
    for (at, step) in steps.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| steps[at]).filter(|before| before.minute + 1 == step.minute);
        if let Some(before) = before {
            changes += usize::from(before.paid != step.paid);
            starts += step.paid.saturating_sub(before.paid);
        } else {
            run = 0;
        }
        run = if step.ready < step.demand { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    near(&side["changes"], changes as f64);
    near(&side["instance_starts"], starts as f64);
    near(&side["longest_shortage_s"], longest as f64 * 60.0);
    assert!(short > 5.0 && changes > 50, "too quiet to prove anything: {short} short, {changes} changes");
}

/// What the policy would have supplied, by `skala backtest` on the same load in a file: minute, serving, paid.
fn replayed(files: &Files, past: &Past, from: usize, to: usize) -> Vec<(usize, usize, usize)> {
    let mut csv = String::from("timestamp_s,value\n");
    for minute in from..to {
        let value = past.load(minute + 1).map_or(String::new(), |load| load.to_string());
        writeln!(csv, "{},{value}", minute * 60).unwrap();
    }
    std::fs::write(files.path("rps.csv"), csv).unwrap();
    let (policies, model, out) = (files.path("policies"), files.path("model.toml"), files.path("supply.csv"));
    let series = format!("rps={}", files.path("rps.csv"));
    let arguments = ["backtest", "--policies", &policies, "--fleet", "shop", "--model", &model, "--series", &series];
    let said = run(&[&arguments[..], &["--out", &out]].concat());
    assert_eq!(said.code, 0, "{said:?}");
    let rows = std::fs::read_to_string(out).unwrap();
    let row = |line: &str| {
        let cells: Vec<usize> = line.split(',').map(|cell| cell.parse().unwrap()).collect();
        (cells[0] / 60, cells[2], cells[3])
    };
    rows.lines().skip(1).map(row).collect()
}

fn demand(load: f64) -> usize {
    ((load / 200.0 - 1e-9).ceil() as usize).max(2)
}

#[test]
fn three_days_of_a_real_prometheus_are_scored_as_they_are_here() {
    let past = Past { last: now() / 60 };
    let server = Server::over(&past.openmetrics());
    let files = Files::new(&server.url);
    let json = json_of(&patiently(|| files.shop(&["--last", "3d", "--json"])));
    let (from, to) = (number(&json["from"]) as usize / 60, number(&json["to"]) as usize / 60);
    assert!(to - from == WINDOW && (past.last..past.last + 10).contains(&to), "{from} {to} {}", past.last);
    let (mut real, mut without_load) = (Vec::new(), 0);
    for minute in from..to {
        let Some(load) = past.load(minute + 1) else {
            without_load += 1;
            continue;
        };
        let Some(known) = past.known(minute + 1) else { continue };
        let (ready, paid) = (past.serving(known), past.current(known));
        real.push(Step { minute, demand: demand(load), ready, paid });
    }
    assert_eq!(
        (&json["steps"], &json["steps_scored"], &json["steps_without_load"], &json["steps_without_capacity"]),
        (&json!(WINDOW), &json!(real.len()), &json!(without_load), &json!(WINDOW - real.len() - without_load)),
    );
    assert!(without_load >= 10 && WINDOW - real.len() - without_load == 30, "{json:#}");
    assert_scored(&json["real"], &real);
    // The replay had three days more to learn from, and began with what its load needed then.
    assert_eq!(json["history_s"], json!(WINDOW as f64 * 60.0));
    let supply = replayed(&files, &past, from - WINDOW, to);
    let at = |minute: usize| supply[minute - (from - WINDOW)];
    let skala: Vec<Step> =
        real.iter().map(|step| Step { ready: at(step.minute).1, paid: at(step.minute).2, ..*step }).collect();
    assert_eq!(at(from).0, from);
    assert_scored(&json["skala"], &skala);
    // What it decided at the time.
    let known = |step: &Step| past.known(step.minute + 1).unwrap();
    let below = real.iter().filter(|step| past.desired(known(step)) < step.demand).count();
    near(&json["live"]["desired"]["below_demand_pct"], 100.0 * below as f64 / real.len() as f64);
    // It was 1 fewer, as many, 1 more, 2 more and 3 more, in turn.
    assert_eq!(json["live"]["desired"]["median_difference"], 1.0);
    assert_eq!(json["live"]["recommended"], Value::Null);
    let observed = (from..to).filter(|minute| past.known(minute + 1).is_some()).count();
    assert_eq!(json["live"]["modes"], json!({"observe": observed}));
    moments_are_what_was_there(&json, &real, &skala, &past);
}

fn moments_are_what_was_there(json: &Value, real: &[Step], skala: &[Step], past: &Past) {
    let moments = json["moments"].as_array().unwrap();
    assert!(moments.len() >= 4, "{moments:#?}");
    let lack = |step: &Step| step.demand.saturating_sub(step.ready);
    for moment in moments {
        let minute = number(&moment["at"]) as usize / 60;
        let at = real.iter().position(|step| step.minute == minute).unwrap();
        let (real, skala) = (real[at], skala[at]);
        assert_eq!(moment["load"], json!(past.load(minute + 1).unwrap()));
        for (key, expected) in [
            ("demand", real.demand),
            ("real_serving", real.ready),
            ("real_current", real.paid),
            ("skala_serving", skala.ready),
            ("skala_current", skala.paid),
        ] {
            assert_eq!(moment[key], json!(expected), "{key} of {moment:#}");
        }
        let by = match moment["what"].as_str().unwrap() {
            "real_short" => lack(&real) - lack(&skala),
            "skala_short" => lack(&skala) - lack(&real),
            "real_more" => real.paid - skala.paid,
            "skala_more" => skala.paid - real.paid,
            other => panic!("{other}"),
        };
        assert!(by > 0 && moment["by"] == json!(by), "{moment:#}");
        assert!(moment["why"].as_str().unwrap().starts_with("requests: "), "{moment:#}");
    }
    let most = real.iter().zip(skala).map(|(real, skala)| lack(real).saturating_sub(lack(skala))).max().unwrap();
    let told =
        moments.iter().filter(|moment| moment["what"] == "real_short").map(|moment| number(&moment["by"]) as usize);
    assert_eq!(told.max(), Some(most));
}
