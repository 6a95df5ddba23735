//! The Prometheus source against a real Prometheus that scrapes real exporters: what an instant query makes look
//! fresh, and what the source says instead.

use contract::Timestamp;
use policies::facts::MissingWhy;
use policies::trace::{Answer, Bound, Calculation};
use skala::app::{App, Seams, Settings};
use skala::clock::{Clock, SystemClock};
use skala::entropy::SystemEntropy;
use skala::http::FetchSettings;
use skala::policy_sources::directory::Directory;
use skala::sources::prometheus::Prometheus;
use skala::sources::{MetricSource, QueryAsk, SeriesPoint};
use skala::store::Options;
use skala::store::memory::MemoryStore;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Longer than any step here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A metrics endpoint on loopback; what it shows can be changed, and dropping it refuses connections.
struct Exporter {
    port: u16,
    page: Arc<Mutex<String>>,
    served: JoinHandle<()>,
}

impl Exporter {
    async fn start(page: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let page = Arc::new(Mutex::new(page.to_owned()));
        let shown = page.clone();
        let served = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let body = shown.lock().unwrap().clone();
                let _ = stream.read(&mut [0; 4096]).await;
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n";
                let _ =
                    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
            }
        });
        Self { port, page, served }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.served.abort();
    }
}

/// A Prometheus of this test's own.
struct Server {
    child: Child,
    url: String,
    dir: tempfile::TempDir,
}

impl Server {
    async fn start(exporters: &[&Exporter]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let rules = "groups: [{name: g, interval: 1s, rules: [{record: 'asg:load:sum', expr: 'sum by (asg) (load)'}]}]";
        std::fs::write(dir.path().join("rules.yml"), rules).unwrap();
        Self::run(dir, exporters).await
    }

    async fn run(dir: tempfile::TempDir, exporters: &[&Exporter]) -> Self {
        let mut config = "global: {scrape_interval: 1s}\nrule_files: [rules.yml]\nscrape_configs:\n".to_owned();
        for exporter in exporters {
            let port = exporter.port;
            let _ = writeln!(config, "  - {{job_name: j{port}, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}");
        }
        std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
        // Freed again at once: nothing else asks for ports as quickly as the next line uses it.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program prometheus cannot be started: tests/run installs what the tests need");
        let server = Self { child, url: format!("http://127.0.0.1:{port}"), dir };
        server.wait_for("vector(1)", 1).await;
        server
    }

    /// Ends it as a crash would, and gives its storage back.
    fn crash(mut self) -> tempfile::TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }

    fn source(&self) -> Prometheus {
        Prometheus::new("test", &self.url, FetchSettings::default()).unwrap()
    }

    /// Asks until the answer has so many series.
    async fn wait_for(&self, query: &str, count: usize) -> Arc<[SeriesPoint]> {
        let source = self.source();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = source.query(&ask(query, &[], None), SystemClock::new().now()).await;
            if let Ok(series) = &answer
                && series.len() == count
            {
                return series.clone();
            }
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(tokio::time::Instant::now() < deadline, "{query}: still {answer:?}\n{}", log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(query: &str, by: &[&str], freshness: Option<&str>) -> QueryAsk {
    let by = by.iter().map(|name| (*name).into()).collect();
    QueryAsk { freshness: freshness.map(Into::into), by, ..QueryAsk::new(query) }
}

/// How old a reading is expected to be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Age {
    /// Scraped at the last second, give or take a busy machine.
    Fresh,
    /// About so many seconds.
    About(f64),
    /// Stamped with the evaluation's own time.
    Now,
    /// Its sample's time is unknown.
    Unknown,
}
use Age::{About, Fresh, Now, Unknown};

fn assert_age(series: &SeriesPoint, now: Timestamp, expected: Age, query: &str) {
    let age = series.at.map(|at| now.as_secs_f64() - at.as_secs_f64());
    let fits = match (expected, age) {
        (Unknown, None) => true,
        (Fresh, Some(age)) => (-0.01..20.0).contains(&age),
        // Prometheus rounds the time that it is asked for to milliseconds.
        (About(secs), Some(age)) => (secs - 0.01..secs + 20.0).contains(&age),
        (Now, Some(age)) => age == 0.0,
        _ => false,
    };
    assert!(fits, "{query}: expected {expected:?}, got an age of {age:?} in {series:?}");
}

/// Asks, and compares the fleets of the answer's series (the label `asg`), sorted, and how old they are.
async fn check(source: &Prometheus, ask: &QueryAsk, expected: &[(&str, Age)]) -> Arc<[SeriesPoint]> {
    let now = SystemClock::new().now();
    let answer = source.query(ask, now).await;
    let series = answer.unwrap_or_else(|why| panic!("{}: {why}", ask.query));
    let asg = |one: &SeriesPoint| {
        let found = one.labels.iter().find(|(name, _)| &**name == "asg");
        found.map_or(String::new(), |(_, value)| value.to_string())
    };
    let mut sorted: Vec<_> = series.iter().collect();
    sorted.sort_by_key(|one| asg(one));
    let fleets: Vec<_> = sorted.iter().map(|one| asg(one)).collect();
    assert_eq!(fleets, expected.iter().map(|(fleet, _)| *fleet).collect::<Vec<_>>(), "{}", ask.query);
    for (one, (_, age)) in sorted.iter().zip(expected) {
        assert_age(one, now, *age, &ask.query);
    }
    series
}

/// Fleet a is scraped each second. Fleet b's exporter repeats a sample 200 s old under its own time, as a hung pipeline
/// in front of Prometheus would: an instant query goes on to show it for 5 minutes.
async fn two_fleets() -> Exporter {
    let old_millis = SystemClock::new().now().before(Duration::from_secs(200)).0 / 1000;
    let fresh = "load{asg=\"a\"} 5\ncapacity 10\nother{asg=\"a\"} 1\nlate{kind=\"x\",fleet=\"a\"} 1\n";
    Exporter::start(&format!("{fresh}load{{asg=\"b\"}} 7 {old_millis}\nother{{asg=\"b\"}} 1\n")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_as_old_as_its_oldest_selector() {
    let exporter = two_fleets().await;
    let server = Server::start(&[&exporter]).await;
    server.wait_for("asg:load:sum", 2).await;
    // Until a few seconds of history are there for offsets and rates.
    server.wait_for("load{asg=\"a\"} offset 7s", 1).await;
    let source = server.source();
    let global: &[(&str, &[(&str, Age)])] = &[
        (r#"load{asg="a"}"#, &[("a", Fresh)]),
        (r#"load{asg="b"}"#, &[("b", About(200.0))]),
        (r#"timestamp(load{asg="b"})"#, &[("b", About(200.0))]),
        (r#"rate(load{asg="a"}[5s])"#, &[("a", Fresh)]),
        ("sum(load)", &[("", Fresh)]),
        (r#"sum(load{asg="a"}) / sum(load{asg="b"})"#, &[("", About(200.0))]),
        (r#"topk(scalar(load{asg="b"}), load{asg="a"})"#, &[("a", About(200.0))]),
        (r#"load{asg="a"} offset 4s"#, &[("a", About(4.0))]),
        (r#"max_over_time(load{asg="a"}[2s:1s] offset 4s)"#, &[("a", About(4.0))]),
        ("scalar(capacity)", &[("", Fresh)]),
        ("vector(1)", &[("", Now)]),
        ("time()", &[("", Now)]),
        // What is not there has no time, whatever is made of it.
        (r#"load{asg="gone"} or vector(0)"#, &[("", Unknown)]),
        (r#"absent(load{asg="gone"})"#, &[("gone", Unknown)]),
        (r#"sum(load{asg="a"}) + (sum(load{asg="gone"}) or vector(0))"#, &[("", Unknown)]),
        (r#"absent(load{asg="a"})"#, &[]),
        (r#"load{asg="gone"}"#, &[]),
        // A recorded series is as fresh as its rule's evaluation, whatever went into it.
        (r#"asg:load:sum{asg="b"}"#, &[("b", Fresh)]),
    ];
    for (query, expected) in global {
        check(&source, &ask(query, &[], None), expected).await;
    }
    let at = SystemClock::new().now().before(Duration::from_secs(3)).as_secs_f64();
    check(&source, &ask(&format!(r#"load{{asg="a"}} @ {at}"#), &[], None), &[("a", About(3.0))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_fleets_live_exporters_do_not_vouch_for_anothers() {
    let exporter = two_fleets().await;
    let server = Server::start(&[&exporter]).await;
    server.wait_for("asg:load:sum", 2).await;
    let source = server.source();
    let told_apart: &[(&str, Option<&str>)] = &[
        ("sum by (asg) (load)", None),
        ("sum by (asg) (rate(load[5m])) or sum by (asg) (load)", None),
        // Capacity has no label `asg`, so it has one time for all.
        ("sum by (asg) (load) / scalar(capacity)", None),
        ("sum by (asg) (load) / on (asg) other", None),
        ("asg:load:sum", Some("max by (asg) (timestamp(load))")),
        // Several metrics' times cannot stand side by side, so they must be asked for otherwise.
        (r#"sum by (asg) ({__name__=~"load|capacity",asg!=""})"#, Some("max by (asg) (timestamp(load))")),
    ];
    for (query, freshness) in told_apart {
        check(&source, &ask(query, &["asg"], *freshness), &[("a", Fresh), ("b", About(200.0))]).await;
    }
    // Without the label, the newest sample of all counts; with one that no selector carries, too.
    for by in [&[][..], &["zone"]] {
        check(&source, &ask("sum by (asg) (load)", by, None), &[("a", Fresh), ("b", Fresh)]).await;
    }
    // A label made by the query is no selector's: one time for all.
    let renamed = r#"label_replace(sum by (fleet) (late), "asg", "$1", "fleet", "(.*)")"#;
    check(&source, &ask(renamed, &["asg"], None), &[("a", Fresh)]).await;
    // A policy's single time holds for every series; of several for one series, the oldest does.
    check(
        &source,
        &ask("sum by (asg) (load)", &["asg"], Some("min(timestamp(load))")),
        &[("a", About(200.0)), ("b", About(200.0))],
    )
    .await;
    check(&source, &ask("sum(load)", &[], Some("timestamp(load)")), &[("", About(200.0))]).await;
    check(&source, &ask("sum(load)", &[], Some("time() - 50")), &[("", About(50.0))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_vector_of_numbers_is_missing() {
    let exporter = two_fleets().await;
    let server = Server::start(&[&exporter]).await;
    server.wait_for("load", 2).await;
    let source = server.source();
    let now = SystemClock::new().now();
    let cases: &[(&str, Option<&str>, MissingWhy)] = &[
        (r#""text""#, None, MissingWhy::WrongShape),
        ("load[1m]", None, MissingWhy::WrongShape),
        ("sum(", None, MissingWhy::Refused),
        ("sum(", Some("time()"), MissingWhy::Refused),
        ("load * ignoring(asg) other", None, MissingWhy::Refused),
        (r#"sum({__name__=~"load|other"})"#, None, MissingWhy::NoTime),
        ("sum(load)", Some("sum("), MissingWhy::NoTime),
    ];
    for (query, freshness, why) in cases {
        assert_eq!(source.query(&ask(query, &[], *freshness), now).await, Err(why.clone()), "{query}");
    }
    let not_finite = source.query(&ask(r#"load{asg="a"} / 0 or -capacity / 0"#, &[], None), now).await.unwrap();
    let values: Vec<f64> = not_finite.iter().map(|one| one.value).collect();
    assert_eq!(values, [f64::INFINITY, f64::NEG_INFINITY]);
    let url = server.url.clone();
    drop(server);
    let source = Prometheus::new("test", &url, FetchSettings::default()).unwrap();
    assert_eq!(source.query(&ask("load", &[], None), now).await, Err(MissingWhy::Unreachable));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_whose_exporter_died_has_no_time_while_its_rate_lives_on() {
    let (a, c) = (Exporter::start("load{asg=\"a\"} 5\n").await, Exporter::start("load{asg=\"c\"} 6\n").await);
    let server = Server::start(&[&a, &c]).await;
    server.wait_for("rate(load[30s])", 2).await;
    let source = server.source();
    let by_fleet = ask("sum by (asg) (rate(load[30s]))", &["asg"], None);
    check(&source, &by_fleet, &[("a", Fresh), ("c", Fresh)]).await;
    drop(c);
    // Prometheus marks the series as gone at the first scrape that fails; its rate goes on for the range's length.
    server.wait_for(r#"load{asg="c"}"#, 0).await;
    check(&source, &by_fleet, &[("a", Fresh), ("c", Unknown)]).await;
    check(&source, &ask(r#"rate(load{asg="c"}[30s])"#, &[], None), &[("c", Unknown)]).await;
    // A series that comes back is fresh again; one that a living exporter leaves out is gone as well.
    *a.page.lock().unwrap() = "load{asg=\"d\"} 1\n".to_owned();
    server.wait_for(r#"load{asg="d"}"#, 1).await;
    check(&source, &ask("sum by (asg) (load)", &["asg"], None), &[("d", Fresh)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_that_is_scraped_no_more_tells_its_age() {
    let exporter = Exporter::start("load{asg=\"a\"} 5\n").await;
    let server = Server::start(&[&exporter]).await;
    server.wait_for("load", 1).await;
    // After a crash nothing marked the series as gone, and the new configuration does not scrape it.
    let server = Server::run(server.crash(), &[]).await;
    let crashed = SystemClock::new().now();
    let answer = server.wait_for("load", 1).await;
    let newest = answer[0].at.unwrap();
    assert!(newest < crashed);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let source = server.source();
    let now = SystemClock::new().now();
    let answer = source.query(&ask("load", &[], None), now).await.unwrap();
    assert_eq!((answer.len(), answer[0].value, answer[0].at), (1, 5.0, Some(newest)));
    assert!(now.since(newest) >= Duration::from_secs(2));
    // Asked for an hour ago, there is nothing.
    let earlier = QueryAsk { offset: Duration::from_secs(3600), ..ask("load", &[], None) };
    assert_eq!(source.query(&earlier, now).await, Ok(Arc::from([])));
}

/// Days of load by the minute, two fleets of them, up to now: what a Prometheus has that ran all the time.
fn recorded_days(into: &std::path::Path, days: i64) {
    let now = SystemClock::new().now().0 / 60_000_000 * 60;
    let mut text = "# TYPE load gauge\n".to_owned();
    for (asg, factor) in [("a", 1.0), ("b", 40.0)] {
        for minute in (0..days * 1_440).rev() {
            let wave = ((minute % 1_440 - 720) as f64 / 720.0).abs();
            let value = factor * (400.0 + 400.0 * wave + (minute * 37 % 23) as f64);
            let _ = writeln!(text, "load{{asg=\"{asg}\"}} {value} {}", now - minute * 60);
        }
    }
    text.push_str("# EOF\n");
    let file = into.join("days.om");
    std::fs::write(&file, text).unwrap();
    let mut promtool = Command::new("promtool");
    promtool.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&file).arg(into.join("data"));
    let made =
        promtool.output().expect("the program promtool cannot be started: tests/run installs what the tests need");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

const OBJECTIVE: &str = r#"
[fleet.web]
mode = "observe"
min = 1
max = 100
interval = "1s"
group = [{ provider = "cloud", group = "web" }]
[fleet.web.metric.load]
source = "prometheus"
query  = "max by (asg) (load)"
select = { asg = "a" }
unit   = "count"
[[fleet.web.rule]]
kind = "objective"
metric = "load"
capacity = 100.0
utilization = 0.8
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_begins_with_what_was_recorded() {
    let exporter = Exporter::start("load{asg=\"a\"} 700\nload{asg=\"b\"} 28000\n").await;
    let dir = tempfile::tempdir().unwrap();
    recorded_days(dir.path(), 3);
    std::fs::write(dir.path().join("rules.yml"), "groups: []").unwrap();
    std::fs::create_dir(dir.path().join("policies")).unwrap();
    std::fs::write(dir.path().join("policies/web.toml"), OBJECTIVE).unwrap();
    let policies = dir.path().join("policies");
    let server = Server::run(dir, &[&exporter]).await;
    server.wait_for("max by (asg) (load)", 2).await;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let groups = BTreeMap::from([("web".to_owned(), sim::GroupSettings { desired: 20, ..Default::default() })]);
    let time = Arc::clone(&clock);
    let cloud = sim::Settings { groups, ..sim::Settings::default() };
    let cloud = sim::Cloud::new(cloud, Arc::new(move || time.now())).unwrap();
    let sleep: sim::Sleep = Arc::new(|span| Box::pin(tokio::time::sleep(span)));
    let provider: Arc<dyn contract::Provider> =
        Arc::new(sim::Sim::new(cloud, contract::Owner { id: "one".into() }, sleep));
    let source: Arc<dyn MetricSource> = Arc::new(server.source());
    let (_control, asked) = tokio::sync::mpsc::channel(1);
    let app = App::new(
        Seams {
            clock,
            entropy: Arc::new(SystemEntropy::default()),
            store: Arc::new(MemoryStore::new(Options::new("one"))),
            metrics: Arc::default(),
            providers: [("cloud".into(), provider)].into(),
            sources: [("prometheus".into(), source)].into(),
            drainers: BTreeMap::new(),
            policy_source: Arc::new(Directory::new(policies)),
            compile: Arc::new(|files| {
                let (set, found) = skala::config::parse_policies(files, Duration::from_secs(15), None);
                if found.is_empty() { Ok(set) } else { Err(found[0].message.clone()) }
            }),
            hold_all: Arc::new(|_| None),
            control: asked,
        },
        Settings::default(),
    );
    let published = app.published();
    let running = tokio::spawn(app.run());
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let status = published.fleet("web");
        let decision = status.as_ref().and_then(|status| status.decision.as_ref());
        let answer = decision.and_then(|decision| decision.recommendations.first()).map(|one| &one.answer);
        if let Some(Answer::Value(capacity, Calculation::Objective { bound: Bound::Learned, headroom, .. })) = answer {
            // The waves of three days are known, and the other fleet's load is not taken for its own.
            assert!((9..=14).contains(capacity) && *headroom < 400.0, "{answer:?}");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "still {answer:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let metrics = published.metrics().render(&published.process());
    let line = "skala_history_requests_total{source=\"prometheus\",outcome=\"ok\"} 1";
    assert!(metrics.lines().any(|shown| shown == line), "{metrics}");
    running.abort();
}
