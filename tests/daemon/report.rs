//! `skala report` through the real binary: against a real Prometheus with days of load and of skala's own metrics, held
//! against numbers that are worked out here; and against a scripted one that says what no Prometheus says on demand.

use crate::living::{Said, readme_block, run, skala};
use serde_json::{Value, json};
use skala::clock::{Clock, SystemClock};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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

pub fn config(url: &str) -> String {
    format!(
        "[daemon]\npolicies = \"policies\"\n[store]\nurl = \"sqlite::memory:\"\n[provider.cloud]\nkind = \"sim\"\n\
         [source.prometheus]\nkind = \"prometheus\"\nurl = \"{url}\"\n[source.made-up]\nkind = \"sim\"\n"
    )
}

fn now() -> usize {
    SystemClock::new().now().as_secs_f64() as usize
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
        for family in ["current", "serving", "desired"] {
            writeln!(text, "# TYPE skala_fleet_{family} gauge").unwrap();
            for minute in minutes() {
                let Some(pod) = self.pod(minute) else { continue };
                let at = minute * 60 - 10;
                let value = match family {
                    "current" => self.current(minute),
                    "serving" => self.serving(minute),
                    _ => self.desired(minute),
                };
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

// ---- A scripted one ------------------------------------------------------------------------------------------------------

/// What a query answers at a minute: each series' labels as JSON, and its value.
pub type Says = fn(query: &str, minute: usize) -> Vec<(&'static str, f64)>;

/// Answers range queries by a script, or everything with one text; it ends with the process.
pub fn scripted(says: Says, raw: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            serve(stream, says, raw);
        }
    });
    url
}

fn serve(mut stream: TcpStream, says: Says, raw: Option<&'static str>) {
    let form = form(&mut stream);
    let field = |name: &str| form.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value);
    let minute = |name: &str| field(name).parse::<f64>().unwrap() as usize / 60;
    let mut series: BTreeMap<&str, Vec<(usize, String)>> = BTreeMap::new();
    assert_eq!(field("step"), "60");
    for minute in minute("start")..=minute("end") {
        for (labels, value) in says(field("query"), minute) {
            series.entry(labels).or_default().push((minute * 60, value.to_string()));
        }
    }
    let one = |(labels, values): (&&str, &Vec<_>)| json!({"metric": serde_json::from_str::<Value>(labels).unwrap(), "values": values});
    let result: Vec<Value> = series.iter().map(one).collect();
    let answer = json!({"status": "success", "data": {"resultType": "matrix", "result": result}}).to_string();
    let answer = raw.map_or(answer, str::to_owned);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
    let _ = stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{answer}", answer.len()).as_bytes());
}

/// The fields of a posted form.
fn form(stream: &mut TcpStream) -> Vec<(String, String)> {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return body
                    .split('&')
                    .filter_map(|pair| pair.split_once('='))
                    .map(|(k, v)| (k.into(), plain(v)))
                    .collect();
            }
        }
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => text.push_str(&String::from_utf8_lossy(&buffer[..read])),
            _ => return Vec::new(),
        }
    }
}

fn plain(encoded: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = encoded.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let hex = std::str::from_utf8(&rest[..2]).unwrap();
                rest = &after[2..];
                u8::from_str_radix(hex, 16).unwrap()
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).unwrap()
}

/// A steady fleet: `goal` has ten instances for a load of 1,000, which five could carry.
fn steady(query: &str, _minute: usize) -> Vec<(&'static str, f64)> {
    let has = |part: &str| query.contains(part);
    match () {
        () if has("skala_fleet_info") => vec![(r#"{"mode":"observe"}"#, 1.0)],
        () if has("skala_hold_active") || has("recommended") => Vec::new(),
        () if has("skala_fleet_") => vec![(r#"{"fleet":"goal","pod":"a"}"#, 10.0)],
        () => vec![(r#"{"asg":"shop"}"#, 1_000.0)],
    }
}

#[test]
fn the_verdict_comes_first() {
    let files = Files::new(&scripted(steady, None));
    let said = files.report(&["goal", "--last", "6h"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(lines[0].starts_with("goal: from 2") && lines[0].ends_with(", in steps of 1m"), "{}", said.out);
    assert_eq!(lines[2], "In 6h the real fleet was never short and cost 60.0 instance hours, in 0 changes.");
    assert!(
        lines[3].starts_with("skala would never have been short and cost 30.0 instance hours (-50 %), in "),
        "{}",
        said.out
    );
    assert_eq!(lines[4], "With skala: short for as long, and 50 % cheaper.");
    for part in [
        "\nreal   0s     0.00 %",
        "At the time, its decision was below need in 0.00 % of 6h; in the median as many as were there.\n",
        "WHY SKALA HAD THAT",
        "real paid for ",
        "objective: ",
        "- The model is the objective rule's: an instance can do 250 rps, up to 80 % of it is fine, and it serves 3m after",
    ] {
        assert!(said.out.contains(part), "{part} is not in\n{}", said.out);
    }
    assert!(!said.out.contains("But skala itself"), "{}", said.out);
    let json = json_of(&files.report(&["goal", "--last", "6h", "--json"]));
    assert_eq!((&json["model"]["derived"], &json["model"]["boot_delay_s"]), (&json!(true), &json!(180.0)));
    // Ten where five are needed; the replay starts long before, and is down to what its head-room needs by then.
    near(&json["real"]["over_cost_pct"], 100.0);
    assert!(number(&json["skala"]["over_cost_pct"]) < 20.0, "{json:#}");
    let model = files.path("model.toml");
    let said = files.report(&["goal", "--last", "6h", "--model", &model]);
    assert!(said.out.contains("never short and cost 6.00 (60.0 instance hours), in 0 changes"), "{said:?}");
}

#[test]
fn the_replay_starts_from_what_was_there() {
    let files = Files::new(&scripted(steady, None));
    let files = files.put("policies/goal.toml", &OBJECTIVE.replace("\"observe\"", "\"off\""));
    // Off changes nothing: all the time it has what was there at the first step.
    let json = json_of(&files.report(&["goal", "--last", "2h", "--warmup", "0s", "--json"]));
    assert_eq!(json["history_s"], 0.0);
    near(&json["skala"]["instance_hours"], 20.0);
    assert_eq!((&json["skala"]["changes"], &json["moments"]), (&json!(0), &json!([])));
}

/// As [`steady`], but skala itself scaled for an hour of three, and was held and blind at times.
fn acting(query: &str, minute: usize) -> Vec<(&'static str, f64)> {
    let ago = now() / 60 - minute;
    match () {
        () if query.contains("skala_fleet_info") && ago < 60 => vec![(r#"{"mode":"on"}"#, 1.0)],
        () if query.contains("skala_hold_active") && ago < 60 => vec![(r#"{"reason":"foreign"}"#, 1.0)],
        () if query.contains("skala_hold_active") => vec![(r#"{"reason":"blind"}"#, 1.0)],
        () if query.contains("goal_load") && ago > 170 => Vec::new(),
        () if query.contains("goal_load") && ago < 30 => vec![(r#"{"asg":"shop"}"#, 2_450.0)],
        () => steady(query, minute),
    }
}

#[test]
fn what_a_reader_has_to_know_is_said() {
    let files = Files::new(&scripted(acting, None));
    let files = files.put("policies/goal.toml", &OBJECTIVE.replace("max      = 60", "max = 12"));
    let said = files.report(&["goal", "--last", "3h", "--warmup", "1d"]);
    assert_eq!(said.code, 0, "{said:?}");
    for part in [
        "\nBut skala itself scaled for 1h of that time (mode on or scale-out-only)",
        " have no load: they are scored for neither.\n",
        "- There is no load before the window: what learns from load knew less than it does after some days.\n",
        "- At the time skala held for 1h because another controller scales the fleet (foreign)",
        "- At the time skala was blind for 2h (",
        "more is needed than the fleet's max of 12: no scaler can help there.\n",
        "the load was about all that the real fleet can do: more may have been wanted than was recorded",
    ] {
        // A minute may begin between this test's clock and the command's.
        let any = [part.to_owned(), part.replace("1h", "59m").replace("2h", "1h59m"), part.replace("2h", "2h1m")];
        assert!(any.iter().any(|part| said.out.contains(part.as_str())), "{part} is not in\n{}", said.out);
    }
}

/// Two daemons, unless one is picked.
fn two(query: &str, minute: usize) -> Vec<(&'static str, f64)> {
    match () {
        () if query.contains("skala_fleet_info") => steady(query, minute),
        () if query.contains("skala_fleet_") && !query.contains("pod=\"b\"") => {
            vec![(r#"{"fleet":"goal","pod":"a"}"#, 10.0), (r#"{"fleet":"goal","pod":"b"}"#, 20.0)]
        }
        () if query.contains("skala_fleet_") => vec![(r#"{"fleet":"goal","pod":"b"}"#, 20.0)],
        () => steady(query, minute),
    }
}

#[test]
fn of_two_daemons_one_has_to_be_picked() {
    let files = Files::new(&scripted(two, None));
    let said = files.report(&["goal", "--last", "2h"]);
    assert_eq!((said.code, said.out.as_str()), (64, ""), "{said:?}");
    assert!(said.err.starts_with("error: 2 series of skala_fleet_serving are there side by side"), "{said:?}");
    assert!(
        said.err.contains("as of two daemons: {pod=\"a\"}, {pod=\"b\"}; pick one's with --match 'pod=\"a\"'"),
        "{said:?}"
    );
    let json = json_of(&files.report(&["goal", "--last", "2h", "--json", "--match", "pod=\"b\""]));
    near(&json["real"]["instance_hours"], 40.0);
}

const BUSY: &str = r#"
[fleet.busy]
mode     = "observe"
min      = 2
max      = 60
interval = "1m"
[[fleet.busy.group]]
provider = "cloud"
group    = "busy-web"
[fleet.busy.metric.cpu]
source = "prometheus"
query  = "busy_cpu"
unit   = "percent"
[[fleet.busy.rule]]
kind   = "utilization"
metric = "cpu"
target = 50
"#;

/// Ten instances, each half busy.
fn half_busy(query: &str, minute: usize) -> Vec<(&'static str, f64)> {
    if query.contains("busy_cpu") { vec![("{}", 50.0)] } else { steady(query, minute) }
}

#[test]
fn an_average_over_instances_is_work_times_those_that_served() {
    let model = "metric = \"cpu\"\ncapacity_per_instance = 1.0\nslo_utilization = 0.7\n";
    let files = Files::new(&scripted(half_busy, None)).put("policies/busy.toml", BUSY).put("cpu.toml", model);
    let json = json_of(&files.report(&["busy", "--last", "2h", "--model", &files.path("cpu.toml"), "--json"]));
    // Five instances' work: eight carry it at 70 %, and ten at the rule's 50 %.
    near(&json["real"]["over_cost_pct"], 25.0);
    near(&json["skala"]["instance_hours"], 20.0);
    assert_eq!((&json["real"]["short_s"], &json["skala"]["changes"]), (&json!(0.0), &json!(0)));
}

#[test]
fn each_mistake_is_said_once() {
    let files =
        Files::new(&scripted(steady, None)).put("policies/busy.toml", &BUSY.replace("unit ", "by = \"id\"\nunit "));
    let files = files.put("cpu.toml", "metric = \"cpu\"\ncapacity_per_instance = 1.0\nslo_utilization = 0.7\n");
    let cpu = files.path("cpu.toml");
    let check = |arguments: &[&str], code: i32, part: &str| {
        let said = files.report(arguments);
        assert_eq!((said.code, said.out.as_str()), (code, ""), "{said:?}");
        assert!(said.err.contains(part), "{part} is not in\n{}", said.err);
        assert_eq!(said.err.matches(" --> ").count(), usize::from(code == 78), "{}", said.err);
        assert!(
            code == 78 || said.err.lines().count() == 1 || said.err.contains("For more information"),
            "{}",
            said.err
        );
    };
    check(&["gaol", "--last", "3d"], 64, "no policy for fleet `gaol`; did you mean `goal`?");
    check(&["goal", "--last", "1m"], 64, "--last 1m is shorter than two steps of the model, which are 1m each");
    check(&["goal", "--last", "9999d"], 64, "--last is longer than 366d");
    check(&["goal", "--last", "3 days"], 64, "is not a duration");
    check(&["goal", "--last", "3d", "--match", "skala"], 64, "`skala` is not LABEL=VALUE");
    check(&["goal", "--last", "3d", "--source", "prom"], 64, "skala.toml has no [source.prom]");
    check(&["goal", "--last", "3d", "--source", "made-up"], 64, "[source.made-up] of ");
    let hint = "fleet `shop` has no objective rule, so nobody knows what an instance can do: give --model FILE.toml with metric \
        (one of rps), capacity_per_instance";
    check(&["shop", "--last", "3d"], 64, hint);
    check(&["goal", "--last", "3d", "--model", &cpu], 78, "cpu.toml:1:10");
    check(
        &["busy", "--last", "3d", "--model", &cpu],
        64,
        "metric `cpu` has one value for each instance: give a --model",
    );
    std::fs::write(files.path("policies/busy.toml"), "x").unwrap();
    check(&["goal", "--last", "3d"], 78, "policies/busy.toml:1:");
}

#[test]
fn what_the_store_lacks_or_refuses_is_said() {
    let check = |url: &str, part: &str| {
        let said = Files::new(url).report(&["goal", "--last", "2h"]);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        assert!(said.err.contains(part) && said.err.lines().count() == 1, "{part} is not in\n{}", said.err);
    };
    check(
        &scripted(|query, minute| if query.contains("goal_load") { vec![] } else { steady(query, minute) }, None),
        "metric `rps`: source `prometheus` has no series of it in that time",
    );
    check(
        &scripted(|query, minute| if query.contains("_current") { vec![] } else { steady(query, minute) }, None),
        "there is no skala_fleet_current{fleet=\"goal\"} in the last 2h: the store must scrape skala's /metrics (address: \
         [api] listen of ",
    );
    // Each is there for a while, and never both.
    let apart: Says = |query, minute| {
        let is_load = query.contains("goal_load");
        if is_load == minute.is_multiple_of(2) { steady(query, minute) } else { Vec::new() }
    };
    check(
        &scripted(apart, None),
        "no step in the last 2h has both the load and the real capacity: metric `rps` is known in 60",
    );
    let warned = r#"{"status":"success","warnings":["a store is down"],"data":{"resultType":"matrix","result":[]}}"#;
    check(&scripted(steady, Some(warned)), "of source `prometheus`: partial: the source warns: a store is down");
    check(&scripted(steady, Some("<html>")), "of source `prometheus`: malformed_answer: ");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    check(&format!("http://127.0.0.1:{closed}"), "of source `prometheus`: unreachable: ");
}

/// The load of two fleets, whichever is asked for.
fn two_fleets(query: &str, minute: usize) -> Vec<(&'static str, f64)> {
    match () {
        () if query.contains("http_errors_total") => vec![("{}", 0.001)],
        () if query.contains("sum by (asg)") => vec![(r#"{"asg":"checkout-web"}"#, 1_000.0)],
        () => steady(query, minute),
    }
}

/// The README's commands, on its policy and model and on the example that they name.
#[test]
fn the_readmes_commands_work() {
    let url = scripted(two_fleets, None);
    let files = Files::new(&url)
        .put("skala.toml", &config(&url).replace("provider.cloud", "provider.aws-prod"))
        .put("policies/goal.toml", &readme_block("toml", "[fleet.checkout]"))
        .put("policies/shop.toml", include_str!("../../policies/examples/objective.toml"))
        .put("model.toml", &readme_block("toml", "capacity_per_instance"));
    let commands = readme_block("sh", "skala report");
    let commands: Vec<&str> = commands.lines().filter(|line| line.starts_with("skala report")).collect();
    assert_eq!(commands.len(), 2);
    for command in commands {
        let words: Vec<&str> = command.split('#').next().unwrap().split_whitespace().collect();
        let toml = files.path("skala.toml");
        let mut run = skala(&[&words[1..], &["--config", &toml]].concat());
        let said = Said::new(run.current_dir(files.0.path()).output().unwrap());
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{command}: {said:?}");
        assert!(said.out.contains("steps_scored") || said.out.contains("In 3d the real fleet was "), "{}", said.out);
    }
}
