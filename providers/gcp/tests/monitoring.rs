//! Cloud Monitoring's metrics: over the simulated service, and against answers that no healthy service gives.
#![allow(clippy::unwrap_used, dead_code, reason = "a test; and not every test needs all of the stand")]

mod stand;

use contract::{Foreign, OnCall, Point, Provider, ProviderError, Timestamp};
use gcp::{Gcp, Settings};
use serde_json::{Value, json};
use sim_cloud::{Api, Fault, Garble, GcpSeries, Kind, Refusal, Reply, Request, Server};
use stand::{LONG, SHORT, START, Stand, owner, settings};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Half a minute into a minute.
const NOW: Timestamp = Timestamp::from_secs(1_700_000_070);
const DEPTH: &str = "pubsub.googleapis.com/subscription/num_undelivered_messages";
const SENT: &str = "custom.googleapis.com/sent";

/// A series of values so many seconds before the minute began; each field as `FIELD=VALUE`.
fn series(metric: &str, kind: &'static str, fields: &[&str], points: &[(i64, f64)]) -> GcpSeries {
    let pair = |field: &&str| field.split_once('=').map(|(field, value)| (field.to_owned(), value.to_owned())).unwrap();
    let at = |(ago, value): &(i64, f64)| (Timestamp(START.0 - ago * 1_000_000), *value);
    GcpSeries {
        metric: metric.into(),
        kind,
        values: if kind == "GAUGE" { "INT64" } else { "DOUBLE" },
        resource: "pubsub_subscription".into(),
        fields: fields.iter().map(pair).collect(),
        points: points.iter().map(at).collect(),
    }
}

async fn asked(provider: &Gcp, query: &str) -> Result<Vec<Point>, ProviderError> {
    provider.metrics().unwrap().query(query, NOW).await
}

/// What was answered: labels, value, and how many seconds before the minute its period ended.
fn shown(points: &[Point]) -> Vec<(String, f64, i64)> {
    let labels = |point: &Point| {
        let own = point.labels.iter().filter(|(name, _)| &**name != "project_id");
        own.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    points.iter().map(|point| (labels(point), point.value, (START.0 - point.at.0) / 1_000_000)).collect()
}

#[tokio::test]
async fn a_value_is_of_the_newest_period_that_has_ended() {
    let stand = Stand::new().await;
    let jobs = "resource.labels.subscription_id=jobs";
    stand.api.set_series(vec![
        // The one of ten seconds ago belongs to a period that is under way.
        series(DEPTH, "GAUGE", &[jobs], &[(-10, 900.0), (10, 40.0), (40, 20.0), (70, 5.0), (4_000, 77.0)]),
        series(DEPTH, "GAUGE", &["resource.labels.subscription_id=late"], &[(250, 3.0)]),
        series(DEPTH, "GAUGE", &["resource.labels.subscription_id=gone"], &[(2_000, 3.0)]),
        series(SENT, "CUMULATIVE", &["metric.labels.app=a"], &[(5, 700.0), (65, 400.0), (125, 100.0)]),
        series(SENT, "CUMULATIVE", &["metric.labels.app=b"], &[(5, 90.0), (65, 30.0)]),
    ]);
    let provider = stand.provider(LONG).await;
    let only = format!("{DEPTH}{{resource.labels.subscription_id=\"jobs\"}}");
    let check = async |query: &str, expected: &[(&str, f64, i64)]| {
        let expected: Vec<_> =
            expected.iter().map(|(labels, value, ago)| ((*labels).to_owned(), *value, *ago)).collect();
        assert_eq!(shown(&asked(&provider, query).await.unwrap()), expected, "{query}");
    };
    check(&format!("{only} mean 1m"), &[("subscription_id=jobs", 30.0, 0)]).await;
    // With a longer period its end is longer ago, and what the window does not reach is not there.
    check(&format!("{DEPTH} max 5m"), &[("subscription_id=late", 3.0, 240)]).await;
    check(&format!("{DEPTH} count 1m sum"), &[("", 2.0, 0)]).await;
    check(&format!("{only} max 1h"), &[("subscription_id=jobs", 77.0, 840)]).await;
    check(&format!("{SENT} rate 1m"), &[("app=a", 5.0, 0), ("app=b", 1.0, 0)]).await;
    check(&format!("{SENT} rate 1m sum"), &[("", 6.0, 0)]).await;
    check(&format!("{SENT} delta 1m max by metric.labels.app"), &[("app=a", 300.0, 0), ("app=b", 60.0, 0)]).await;
    check(&format!("{SENT}{{metric.labels.app=~\"a.*\"}} rate 1m"), &[("app=a", 5.0, 0)]).await;
    check(&format!("{SENT}{{metric.labels.app!=\"a\"}} rate 1m"), &[("app=b", 1.0, 0)]).await;
    check(&format!("{SENT}{{metric.labels.app=\"c\"}} rate 1m"), &[]).await;
    // As of earlier, with an offset.
    let least = format!("{only} min 1m");
    let earlier = provider.metrics().unwrap().query(&least, START.before(Duration::from_secs(1)));
    assert_eq!(shown(&earlier.await.unwrap()), [("subscription_id=jobs".to_owned(), 5.0, 60)]);
    let error = asked(&provider, "custom.googleapis.com/never mean 1m").await.unwrap_err();
    assert_eq!(error.code(), "invalid", "{error}");
    assert!(error.to_string().contains("custom.googleapis.com/never"), "{error}");
    // An aligner that is not for such values is refused with Google's words.
    let error = asked(&provider, &format!("{SENT} mean 1m")).await.unwrap_err();
    assert!(error.code() == "invalid" && error.to_string().contains("ALIGN_MEAN"), "{error}");
    let error = asked(&provider, "sum(rate(x[1m]))").await.unwrap_err();
    assert_eq!(error.code(), "invalid", "{error}");
}

#[tokio::test]
async fn labels_tell_series_apart() {
    let stand = Stand::new().await;
    let fields = [
        "metric.labels.zone=m",
        "resource.labels.zone=r",
        "metadata.user_labels.zone=u",
        "metadata.user_labels.k8s-app=x",
    ];
    stand.api.set_series(vec![series(DEPTH, "GAUGE", &fields, &[(10, 1.0)])]);
    let provider = stand.provider(LONG).await;
    let by = "resource.labels.zone, metric.labels.zone, metadata.user_labels.zone, metadata.user_labels.\"k8s-app\"";
    let points = asked(&provider, &format!("{DEPTH} mean 1m sum by {by}")).await.unwrap();
    let labels: Vec<String> = points[0].labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(labels, ["k8s-app=x", "project_id=shop-prod", "resource_zone=r", "user_zone=u", "zone=m"]);
    // Resources of two types that are alike in all labels cannot be told apart.
    let one = series(DEPTH, "GAUGE", &[], &[(10, 1.0)]);
    let other = GcpSeries { resource: "global".into(), ..one.clone() };
    stand.api.set_series(vec![one, other]);
    let error = asked(&provider, &format!("{DEPTH} mean 1m")).await.unwrap_err();
    assert!(error.code() == "transport" && error.to_string().contains("resource.type"), "{error}");
    let points = asked(&provider, &format!("{DEPTH}{{resource.type=\"global\"}} mean 1m")).await.unwrap();
    assert_eq!(points.len(), 1);
}

#[tokio::test]
async fn pages_are_followed_to_the_end_or_it_is_an_error() {
    let stand = Stand::with_page(4).await;
    let points: Vec<(i64, f64)> = (0..7).map(|minute| (minute * 60 + 10, minute as f64)).collect();
    let one = |app: u32| series(DEPTH, "GAUGE", &[&format!("metric.labels.app={app}")], &points);
    stand.api.set_series((0..5).map(one).collect());
    let provider = stand.provider(LONG).await;
    let query = format!("{DEPTH} mean 1m");
    let expected: Vec<_> = (0..5).map(|app| (format!("app={app}"), 0.0, 0)).collect();
    assert_eq!(shown(&asked(&provider, &query).await.unwrap()), expected);
    // 35 values; a series goes on in the next page.
    assert_eq!(stand.count("GET", "/timeSeries"), 9);
    stand.wire.server.inject(Kind::Read, Fault::LaterPages);
    assert_eq!(asked(&provider, &query).await.unwrap_err().code(), "transport");
    stand.wire.server.clear();
    // More than an answer about a fleet can have.
    stand.api.set_series((0..12).map(one).collect());
    let error = asked(&provider, &query).await.unwrap_err();
    assert!(error.code() == "transport" && error.to_string().contains("20 pages"), "{error}");
}

/// Answers with one text after the other; the last one is repeated.
struct Script(Mutex<Vec<Reply>>);

impl Api for Script {
    fn answer(&self, _: &Request) -> Reply {
        let mut replies = self.0.lock().unwrap();
        if replies.len() > 1 { replies.remove(0) } else { replies[0].clone() }
    }
    fn kind(&self, _: &Request) -> Option<Kind> {
        Some(Kind::Read)
    }
    fn is_later_page(&self, _: &Request) -> bool {
        false
    }
    fn refusal(&self, _: &Refusal, _: &Request) -> Reply {
        Reply::empty(500)
    }
    fn garble(&self, _: Garble, _: &Request, _: &Reply) -> Option<Reply> {
        None
    }
    fn foreign(&self) -> Foreign {
        Foreign { name: "none".into(), removes: None }
    }
}

async fn scripted(replies: Vec<Reply>) -> Result<Vec<Point>, ProviderError> {
    let script = Arc::new(Script(Mutex::new(replies)));
    let server = Server::start(script, ([127, 0, 0, 1], 0).into()).await.unwrap();
    let provider = Gcp::connect(settings(&server.url()), owner(), Arc::new(|| NOW)).await.unwrap();
    asked(&provider.with_deadlines(SHORT), &format!("{DEPTH} mean 1m")).await
}

fn text(text: &str) -> Reply {
    Reply::text(200, "application/json", text.to_owned())
}

fn of(body: &Value) -> Reply {
    Reply::json(200, body)
}

/// A series with this type of values and these points.
fn told(app: &str, kind: &str, points: &Value) -> Value {
    json!({
        "metric": { "type": DEPTH, "labels": { "app": app } }, "resource": { "type": "global", "labels": {} },
        "metricKind": "GAUGE", "valueType": kind, "points": points,
    })
}

fn point(end: &str, value: &Value) -> Value {
    json!({ "interval": { "startTime": end, "endTime": end }, "value": value })
}

const MINUTE: &str = "2023-11-14T22:14:00Z";

/// An answer with one series that has this value.
fn value(kind: &str, value: Value) -> Reply {
    of(&json!({ "timeSeries": [told("a", kind, &json!([point(MINUTE, &value)]))] }))
}

#[tokio::test]
async fn numbers_are_what_the_api_says_they_are() {
    let good = async |reply: Reply, expected: f64| {
        let points = scripted(vec![reply]).await.unwrap();
        assert_eq!(shown(&points), [("app=a".to_owned(), expected, 0)]);
    };
    good(value("INT64", json!({ "int64Value": "-9007199254740993" })), -9_007_199_254_740_992.0).await;
    good(value("INT64", json!({ "int64Value": 12 })), 12.0).await;
    good(value("DOUBLE", json!({ "doubleValue": 0.25 })), 0.25).await;
    good(value("DOUBLE", json!({ "doubleValue": "-Infinity" })), f64::NEG_INFINITY).await;
    let nan = scripted(vec![value("DOUBLE", json!({ "doubleValue": "NaN" }))]).await.unwrap();
    assert!(nan[0].value.is_nan());
    for (what, reply) in [
        ("a text", value("STRING", json!({ "stringValue": "7" }))),
        ("a truth value", value("BOOL", json!({ "boolValue": true }))),
        ("a distribution", value("DISTRIBUTION", json!({ "distributionValue": { "count": "7" } }))),
        ("an unknown kind", value("SHIMMERING", json!({ "shimmeringValue": 7 }))),
        ("another type than the series says", value("INT64", json!({ "doubleValue": 7.0 }))),
        ("an unknown type", value("SHIMMERING", json!({ "doubleValue": 7.0 }))),
        ("two values in one", value("DOUBLE", json!({ "doubleValue": 7.0, "int64Value": "7" }))),
        ("no value", value("DOUBLE", json!({}))),
        ("a text for a number", value("DOUBLE", json!({ "doubleValue": "7" }))),
        ("no whole number", value("INT64", json!({ "int64Value": "7.5" }))),
        ("out of range", value("INT64", json!({ "int64Value": "9223372036854775808" }))),
        ("out of range for a double", text(&value_text("1e999"))),
    ] {
        let error = scripted(vec![reply]).await.unwrap_err();
        assert_eq!(error.code(), "transport", "{what}: {error}");
    }
}

fn value_text(number: &str) -> String {
    let whole =
        json!({ "timeSeries": [told("a", "DOUBLE", &json!([point(MINUTE, &json!({ "doubleValue": 7.125 }))]))] });
    whole.to_string().replace("7.125", number)
}

#[tokio::test]
async fn every_bad_answer_is_one_typed_error_and_never_an_empty_one() {
    let seven = || json!({ "int64Value": "7" });
    let good = || told("a", "INT64", &json!([point(MINUTE, &seven())]));
    let at = |end: &str| of(&json!({ "timeSeries": [told("a", "INT64", &json!([point(end, &seven())]))] }));
    let huge = format!("{{\"timeSeries\":[],\"unit\":\"{}\"}}", "x".repeat(5 * 1024 * 1024));
    let again = of(&json!({ "timeSeries": [], "nextPageToken": "more" }));
    for (what, replies, code) in [
        ("HTML", vec![Reply::text(200, "text/html", "<html>welcome</html>")], "transport"),
        ("nothing", vec![text("")], "transport"),
        ("another document", vec![text("{\"items\":[]}")], "transport"),
        ("a list", vec![text("[]")], "transport"),
        ("half a document", vec![text("{\"timeSeries\":[")], "transport"),
        ("a huge body", vec![text(&huge)], "transport"),
        ("a series without a metric", vec![text("{\"timeSeries\":[{}]}")], "transport"),
        ("a wrong time", vec![at("yesterday")], "transport"),
        ("a time out of range", vec![at("99999-01-01T00:00:00Z")], "transport"),
        ("a series twice", vec![of(&json!({ "timeSeries": [good(), good()] }))], "transport"),
        (
            "one period twice",
            vec![of(
                &json!({ "timeSeries": [told("a", "INT64", &json!([point(MINUTE, &seven()), point(MINUTE, &seven())]))] }),
            )],
            "transport",
        ),
        (
            "one period twice over pages",
            vec![of(&json!({ "timeSeries": [good()], "nextPageToken": "x" })), of(&json!({ "timeSeries": [good()] }))],
            "transport",
        ),
        (
            "an error inside",
            vec![of(&json!({ "timeSeries": [good()], "executionErrors": [{ "code": 8, "message": "too many" }] }))],
            "transport",
        ),
        (
            "a region that is down",
            vec![of(&json!({ "timeSeries": [good()], "unreachable": ["europe-west1"] }))],
            "transport",
        ),
        ("pages in a circle", vec![again.clone()], "transport"),
        ("a page lost", vec![again.clone(), Reply::text(500, "text/html", "<html>")], "transport"),
        ("an error page", vec![Reply::text(500, "text/html", "<html>")], "transport"),
        ("a wall", vec![Reply::text(403, "text/html", "<html>")], "denied"),
        ("a door", vec![Reply::text(401, "text/html", "<html>")], "denied"),
        ("somebody else", vec![Reply::text(404, "text/html", "<html>")], "invalid"),
        ("too many, without a word", vec![Reply::text(429, "text/html", "<html>")], "throttled"),
    ] {
        let error = scripted(replies).await.unwrap_err();
        assert_eq!(error.code(), code, "{what}: {error}");
    }
    let somewhere = scripted(vec![Reply::text(404, "text/html", "<html>")]).await.unwrap_err();
    assert!(somewhere.to_string().contains("monitoring_endpoint_url"), "{somewhere}");
    // What is not over, or is to come, is left out; and so is a series without a value.
    for end in ["2023-11-14T22:15:00Z", "2023-11-14T22:14:30.000001Z", "2033-01-01T00:00:00Z"] {
        assert_eq!(scripted(vec![at(end)]).await.unwrap(), [], "{end}");
        let both = json!([point(end, &json!({ "int64Value": "9" })), point(MINUTE, &seven())]);
        let kept = scripted(vec![of(&json!({ "timeSeries": [told("a", "INT64", &both)] }))]).await.unwrap();
        assert_eq!(shown(&kept), [("app=a".to_owned(), 7.0, 0)], "{end}");
    }
    assert_eq!(scripted(vec![of(&json!({ "timeSeries": [told("a", "INT64", &json!([]))] }))]).await.unwrap(), []);
    for empty in ["{}", "{\"unit\":\"1\"}", "{\"timeSeries\":[]}"] {
        assert_eq!(scripted(vec![text(empty)]).await.unwrap(), [], "{empty} is how no series look");
    }
    // An empty page with a token is no end.
    let pages = vec![of(&json!({ "nextPageToken": "x" })), of(&json!({ "timeSeries": [good()] }))];
    assert_eq!(shown(&scripted(pages).await.unwrap()), [("app=a".to_owned(), 7.0, 0)]);
}

#[tokio::test]
async fn a_broken_wire_and_refusals_are_typed() {
    let stand = Stand::new().await;
    stand.api.set_series(vec![series(DEPTH, "GAUGE", &[], &[(10, 1.0)])]);
    let told: Arc<Mutex<Vec<(&'static str, &'static str)>>> = Arc::default();
    let kept = Arc::clone(&told);
    let on_call: OnCall = Arc::new(move |call| kept.lock().unwrap().push((call.operation, call.code)));
    for (fault, code) in [
        (Fault::Html, "transport"),
        (Fault::Garbage, "transport"),
        (Fault::Truncated, "transport"),
        (Fault::Redirect, "transport"),
        (Fault::Reset, "transport"),
        (Fault::Hang { effect: false }, "transport"),
        (Fault::Refuse(Refusal::Internal), "transport"),
        (Fault::Refuse(Refusal::Denied), "denied"),
        (Fault::Refuse(Refusal::WrongCredentials), "denied"),
        (Fault::Refuse(Refusal::Expired), "expired"),
        (Fault::Refuse(Refusal::Throttled { retry_after: None }), "throttled"),
    ] {
        let provider = stand.provider(SHORT).await.with_on_call(Arc::clone(&on_call));
        stand.wire.server.inject(Kind::Read, fault);
        let error = asked(&provider, &format!("{DEPTH} mean 1m")).await.unwrap_err();
        assert_eq!(error.code(), code, "{fault:?}: {error}");
        assert_eq!(told.lock().unwrap().pop(), Some(("timeSeries.list", code)), "{fault:?}");
        stand.wire.server.clear();
        if let ProviderError::Throttled { retry_after } = error {
            assert!(retry_after.is_some_and(|wait| wait <= Duration::from_secs(61)), "until the minute turns");
            // Its own limiter is shut, and that of the groups is not.
            let before = stand.count("GET", "/timeSeries");
            assert_eq!(asked(&provider, &format!("{DEPTH} mean 1m")).await.unwrap_err().code(), "throttled");
            assert_eq!(stand.count("GET", "/timeSeries"), before);
            let group = stand.group("web-1", 1);
            assert!(stand::look(&provider, &group).await.is_ok());
        } else {
            assert_eq!(asked(&provider, &format!("{DEPTH} mean 1m")).await.unwrap().len(), 1, "after {fault:?}");
        }
    }
    // The two words for too many, with the other status.
    for (status, word, reason, code) in [
        (403, "PERMISSION_DENIED", "RATE_LIMIT_EXCEEDED", "throttled"),
        (403, "PERMISSION_DENIED", "SERVICE_DISABLED", "denied"),
        (429, "RESOURCE_EXHAUSTED", "SOMETHING_NEW", "throttled"),
        (404, "NOT_FOUND", "SOMETHING_NEW", "invalid"),
    ] {
        let details = json!([{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "x" }]);
        let body = json!({ "error": { "code": status, "message": "no", "status": word, "details": details } });
        let error = scripted(vec![Reply::json(status, &body)]).await.unwrap_err();
        assert_eq!(error.code(), code, "{status} {reason}: {error}");
    }
    let nowhere =
        Settings { monitoring_endpoint_url: Some("http://127.0.0.1:1".into()), ..settings("http://127.0.0.1:1") };
    let provider = Gcp::connect(nowhere, owner(), Arc::new(|| NOW)).await.unwrap().with_deadlines(SHORT);
    assert_eq!(asked(&provider, &format!("{DEPTH} mean 1m")).await.unwrap_err().code(), "transport");
}
