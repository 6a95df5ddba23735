//! Azure Monitor's metrics over the wire: what is asked, what is taken for a value, and answers that are none.

#![allow(clippy::unwrap_used)]

mod stand;

use azure::Azure;
use contract::{Ask, Call, Point, Provider, ProviderError, Timestamp};
use serde_json::{Value, json};
use sim_cloud::azure::{Azure as Simulated, Metrics, SUBSCRIPTION, Series};
use sim_cloud::fixture::Clock;
use sim_cloud::{Api, Fault, Kind, Refusal, Reply, Request, Server};
use stand::{Bent, clock, cloud, group, observe, provider, serve};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const QUERY: &str = "shop/Microsoft.ServiceBus/namespaces/orders:ActiveMessages{EntityName=\"jobs\"} Average 1m";
/// A whole minute; the clock stands half a minute after it.
const MINUTE: i64 = 1_800_000_000;

fn resource() -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/shop/providers/Microsoft.ServiceBus/namespaces/orders")
}

/// A queue's depth; samples by the seconds from the minute on.
fn queue(name: &str, samples: &[(i64, f64)]) -> Series {
    Series {
        resource: resource(),
        metric: "ActiveMessages".into(),
        unit: "Count".into(),
        dimensions: vec![("EntityName".into(), name.into())],
        samples: samples.iter().map(|(at, value)| (Timestamp::from_secs(MINUTE + at), *value)).collect(),
        zeroes: false,
    }
}

struct Scene {
    metrics: Metrics,
    server: Server,
    provider: Azure,
    clock: Clock,
}

impl Scene {
    async fn new() -> Self {
        let clock = clock();
        clock.pass(Duration::from_secs(30));
        let api = Simulated::new(cloud(1, &clock));
        let metrics = api.metrics();
        let server = serve(api).await;
        let provider = provider(&server.url(), &clock).await;
        Self { metrics, server, provider, clock }
    }

    async fn ask(&self, query: &str) -> Result<Vec<Point>, ProviderError> {
        self.provider.metrics().unwrap().query(query, self.clock.now()).await
    }

    async fn shown(&self, query: &str) -> Vec<(f64, i64)> {
        shown(&self.ask(query).await.unwrap())
    }

    fn asked(&self) -> Vec<Vec<(String, String)>> {
        let exchanges = self.server.exchanges();
        exchanges.into_iter().filter(|one| one.path.ends_with("/metrics")).map(|one| one.query).collect()
    }
}

/// Values with the seconds from the minute on.
fn shown(points: &[Point]) -> Vec<(f64, i64)> {
    points.iter().map(|point| (point.value, point.at.0 / 1_000_000 - MINUTE)).collect()
}

#[tokio::test]
async fn a_value_is_stamped_with_the_end_of_its_whole_period() {
    let scene = Scene::new().await;
    scene.metrics.put(queue("jobs", &[(-100, 4.0), (-50, 10.0), (-10, 20.0), (5, 999.0)]));
    let points = scene.ask(QUERY).await.unwrap();
    assert_eq!(shown(&points), [(15.0, 0)]);
    assert_eq!(*points[0].labels, [("EntityName".into(), "jobs".into())]);
    // The period that is under way is not asked for.
    let mut asked = scene.asked().remove(0);
    asked.sort();
    let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let expected = [
        ("$filter", "EntityName eq 'jobs'"),
        ("aggregation", "Average"),
        ("api-version", "2023-10-01"),
        ("interval", "PT1M"),
        ("metricnames", "ActiveMessages"),
        ("timespan", "2027-01-15T07:45:00Z/2027-01-15T08:00:00Z"),
        ("top", "501"),
    ];
    assert_eq!(asked, expected.map(pair));
    for (aggregation, value) in
        [("Total 1m", 30.0), ("Minimum 1m", 10.0), ("Maximum 1m", 20.0), ("Count 1m", 2.0), ("Rate 1m", 0.5)]
    {
        let query = QUERY.replace("Average 1m", aggregation);
        assert_eq!(scene.shown(&query).await, [(value, 0)], "{aggregation}");
    }
    // Hours begin with the hour; this one began thirty seconds ago.
    assert_eq!(scene.shown(&QUERY.replace("Average 1m", "Total 1h")).await, [(34.0, 0)]);
    // As of earlier, with an offset.
    let earlier = scene.clock.now().before(Duration::from_secs(60));
    let points = scene.provider.metrics().unwrap().query(QUERY, earlier).await.unwrap();
    assert_eq!(shown(&points), [(4.0, -60)]);
    // A whole ARM id says its own subscription, and a namespace goes along.
    let query = format!("{}:Some.Namespace:ActiveMessages Maximum 5m", resource());
    assert_eq!(scene.shown(&query).await, [(20.0, 0)]);
    let asked = scene.asked().pop().unwrap();
    assert!(asked.contains(&pair(("metricnamespace", "Some.Namespace"))), "{asked:?}");
    assert!(!asked.iter().any(|(key, _)| key == "top" || key == "$filter"), "{asked:?}");
    // Spaces are not written as a form would have them.
    scene.metrics.put(Series { metric: "Percentage CPU".into(), ..queue("jobs", &[(-1, 7.0)]) });
    let query = "shop/Microsoft.ServiceBus/namespaces/orders:\"percentage cpu\" Average 1m";
    assert_eq!(scene.shown(query).await, [(7.0, 0)]);
}

#[tokio::test]
async fn each_value_of_a_dimension_is_a_series() {
    let scene = Scene::new().await;
    for n in 0..12 {
        scene.metrics.put(queue(&format!("q'{n:02}"), &[(-30, f64::from(n) + 1.0)]));
    }
    let each = "shop/Microsoft.ServiceBus/namespaces/orders:ActiveMessages{entityName=\"*\"} Total 1m";
    let points = scene.ask(each).await.unwrap();
    // More than the ten that Azure gives by itself; named as the query names them.
    assert_eq!(points.len(), 12);
    assert_eq!(*points[11].labels, [("entityName".into(), "q'11".into())]);
    assert_eq!(shown(&points)[11], (12.0, 0));
    let one = each.replace('*', "Q'03");
    let points = scene.ask(&one).await.unwrap();
    assert_eq!((shown(&points), &*points[0].labels), (vec![(4.0, 0)], &[("entityName".into(), "Q'03".into())][..]));
    let all = "shop/Microsoft.ServiceBus/namespaces/orders:ActiveMessages Total 1m";
    let points = scene.ask(all).await.unwrap();
    assert_eq!((shown(&points), points[0].labels.len()), (vec![(78.0, 0)], 0));
    // A series without a recent value is left out, nobody's dimension is nobody's.
    scene.metrics.put(queue("old", &[(-3_600, 5.0)]));
    assert_eq!(scene.ask(each).await.unwrap().len(), 12);
    assert_eq!(scene.ask(&each.replace('*', "none")).await.unwrap(), []);
    // Where some may have been left out nobody knows which.
    for n in 12..501 {
        scene.metrics.put(queue(&format!("q'{n:02}"), &[(-30, 1.0)]));
    }
    let error = scene.ask(each).await.unwrap_err();
    assert!(error.code() == "transport" && error.to_string().contains("more than 500 series"), "{error}");
}

#[tokio::test]
async fn a_zero_that_stands_for_data_to_come_is_no_value() {
    let scene = Scene::new().await;
    scene.metrics.put(Series { zeroes: true, ..queue("jobs", &[(-150, 8.0)]) });
    // Two minutes of zeroes are there by now; the data of both may be on its way.
    assert_eq!(scene.shown(QUERY).await, [(8.0, -120)]);
    scene.clock.pass(Duration::from_secs(60));
    assert_eq!(scene.shown(QUERY).await, [(8.0, -120)], "a minute ended 150 s ago");
    scene.clock.pass(Duration::from_secs(60));
    assert_eq!(scene.shown(QUERY).await, [(0.0, -60)], "it ended 210 s ago");
    // With an offset everything that is asked for has settled.
    let now = scene.clock.now().before(Duration::from_secs(180));
    let points = scene.provider.metrics().unwrap().query(QUERY, now).await.unwrap();
    assert_eq!(shown(&points), [(0.0, -60)]);
    // While it is 0 the newest value is always younger than five minutes.
    for _ in 0..20 {
        scene.clock.pass(Duration::from_secs(7));
        let points = scene.ask(QUERY).await.unwrap();
        assert_eq!(points[0].value, 0.0);
        assert!(scene.clock.now().since(points[0].at) < Duration::from_secs(300), "{points:?}");
    }
    // Where a period without data has no value there is nothing to wait for, and nothing is made up.
    let scene = Scene::new().await;
    scene.metrics.put(queue("jobs", &[(-150, 8.0)]));
    assert_eq!(scene.shown(QUERY).await, [(8.0, -120)]);
    scene.clock.pass(Duration::from_secs(14 * 60));
    assert_eq!(scene.shown(QUERY).await, []);
}

/// An answer with this metric's fields changed.
fn answer(change: impl FnOnce(&mut Value)) -> Reply {
    let mut body = json!({
        "cost": 1, "timespan": "2027-01-15T07:45:00Z/2027-01-15T08:00:00Z", "interval": "PT1M",
        "namespace": "Microsoft.ServiceBus/namespaces", "resourceregion": "westeurope",
        "value": [{
            "id": "x", "type": "Microsoft.Insights/metrics", "name": { "value": "ActiveMessages" }, "unit": "Count",
            "errorCode": "Success",
            "timeseries": [{
                "metadatavalues": [{ "name": { "value": "entityname" }, "value": "jobs" }],
                "data": [
                    { "timeStamp": "2027-01-15T07:58:00Z", "average": 3.0 },
                    { "timeStamp": "2027-01-15T07:59:00Z", "average": 7.5 },
                ],
            }],
        }],
    });
    change(&mut body);
    Reply::json(200, &body)
}

/// What the provider makes of this answer.
async fn made_of(reply: Reply) -> Result<Vec<Point>, ProviderError> {
    made_of_asking(QUERY, reply).await
}

async fn made_of_asking(query: &str, reply: Reply) -> Result<Vec<Point>, ProviderError> {
    let clock = clock();
    clock.pass(Duration::from_secs(30));
    let api = Bent(Simulated::new(cloud(0, &clock)), move |inner: &Simulated, request: &Request| {
        if request.path.ends_with("/metrics") { reply.clone() } else { inner.answer(request) }
    });
    let server = serve(api).await;
    let provider = provider(&server.url(), &clock).await;
    provider.metrics().unwrap().query(query, clock.now()).await
}

fn series(body: &mut Value) -> &mut Value {
    &mut body["value"][0]["timeseries"]
}

fn data(body: &mut Value) -> &mut Value {
    &mut body["value"][0]["timeseries"][0]["data"]
}

#[tokio::test]
async fn what_is_there_is_taken_and_what_is_not_is_not_made_up() {
    let check = async |what: &str, change: fn(&mut Value), expected: &[(f64, i64)]| {
        assert_eq!(shown(&made_of(answer(change)).await.unwrap()), expected, "{what}");
    };
    check("as it is", |_| {}, &[(7.5, 0)]).await;
    check("null is no value", |body| data(body)[1]["average"] = Value::Null, &[(3.0, -60)]).await;
    check(
        "of another aggregation",
        |body| data(body)[1] = json!({ "timeStamp": "2027-01-15T07:59:00Z", "total": 9.0 }),
        &[(3.0, -60)],
    )
    .await;
    check("nulls alone", |body| *data(body) = json!([{ "timeStamp": "2027-01-15T07:59:00Z", "average": null }]), &[])
        .await;
    check(
        "a period that has not ended",
        |body| data(body)[1]["timeStamp"] = "2027-01-15T08:00:00Z".into(),
        &[(3.0, -60)],
    )
    .await;
    check("a point in the future", |body| data(body)[1]["timeStamp"] = "2031-01-01T00:00:00Z".into(), &[(3.0, -60)])
        .await;
    check("any order", |body| data(body).as_array_mut().unwrap().reverse(), &[(7.5, 0)]).await;
    check("no series", |body| *series(body) = json!([]), &[]).await;
    check(
        "without a word of success",
        |body| drop(body["value"][0].as_object_mut().unwrap().remove("errorCode")),
        &[(7.5, 0)],
    )
    .await;
    // What the number counts is between the policy and Azure; the number is the same.
    check("an unknown unit", |body| body["value"][0]["unit"] = "Furlongs".into(), &[(7.5, 0)]).await;
    check("another spelling of the period", |body| body["interval"] = "PT60S".into(), &[(7.5, 0)]).await;
    check("a negative number", |body| data(body)[1]["average"] = (-1).into(), &[(-1.0, 0)]).await;
}

#[tokio::test]
async fn every_bad_answer_is_one_typed_error_and_never_an_empty_one() {
    let code = |code: &'static str| move |body: &mut Value| body["value"][0]["errorCode"] = code.into();
    let text = |text: &str| Reply::text(200, "application/json", text.to_owned());
    let with = |from: &str, to: &str| {
        let body = answer(|_| {}).to_json().to_string();
        assert!(body.contains(from), "{body}");
        text(&body.replacen(from, to, 1))
    };
    let alone = |status: u16, code: &str| Reply::json(status, &json!({ "code": code, "message": "in Azure's words" }));
    let huge = format!("{{\"interval\":\"PT1M\",\"value\":[],\"x\":\"{}\"}}", "x".repeat(5 * 1024 * 1024));
    for (what, reply, code) in [
        ("HTML", Reply::text(200, "text/html", "<html>welcome</html>"), "transport"),
        ("nothing", text(""), "transport"),
        ("another document", text("{}"), "transport"),
        ("half a document", text("{\"interval\":\"PT1M\",\"value\":["), "transport"),
        ("a huge document", text(&huge), "transport"),
        ("no metric", answer(|body| body["value"] = json!([])), "transport"),
        ("two metrics", answer(|body| body["value"] = json!([body["value"][0], body["value"][0]])), "transport"),
        ("another metric", answer(|body| body["value"][0]["name"]["value"] = "Other".into()), "transport"),
        ("no period", answer(|body| body["interval"] = Value::Null), "transport"),
        ("another period", answer(|body| body["interval"] = "PT5M".into()), "transport"),
        ("one series twice", answer(|body| *series(body) = json!([series(body)[0], series(body)[0]])), "transport"),
        ("another series", answer(|body| series(body)[0]["metadatavalues"][0]["value"] = "other".into()), "transport"),
        ("a series without data", answer(|body| *data(body) = Value::Null), "transport"),
        ("one period twice", answer(|body| *data(body) = json!([data(body)[0], data(body)[0]])), "transport"),
        ("no time", answer(|body| data(body)[1]["timeStamp"] = "yesterday".into()), "transport"),
        ("a time that is missing", answer(|body| data(body)[1]["timeStamp"] = Value::Null), "transport"),
        ("NaN", with("7.5", "NaN"), "transport"),
        ("a text for a number", with("7.5", "\"NaN\""), "transport"),
        ("a number out of range", with("7.5", "1e999"), "transport"),
        ("an aggregation that it has not", answer(code("InvalidSamplingType")), "invalid"),
        ("no permission for this metric", answer(code("Unauthorized")), "denied"),
        ("too many inside", answer(code("Throttled")), "throttled"),
        ("an error that nobody knows", answer(code("Sulking")), "transport"),
        ("an unknown metric", alone(400, "BadRequest"), "invalid"),
        ("not found", alone(404, "ResourceNotFound"), "not_found"),
        ("a page not found", Reply::text(404, "text/html", "<html>"), "invalid"),
        ("not permitted", alone(403, "AuthorizationFailed"), "denied"),
        ("a wall", Reply::text(403, "text/html", "<html>"), "denied"),
        ("no such token", alone(401, "InvalidAuthenticationToken"), "denied"),
        ("an old token", alone(401, "ExpiredAuthenticationToken"), "expired"),
        ("too many", alone(429, "TooManyRequests"), "throttled"),
        ("not implemented", alone(501, "NotImplemented"), "transport"),
        ("trouble there", alone(500, "InternalServerError"), "transport"),
    ] {
        let error = made_of(reply).await.unwrap_err();
        assert_eq!(error.code(), code, "{what}: {error}");
    }
    let error = made_of(alone(400, "BadRequest")).await.unwrap_err();
    assert!(error.to_string().contains("in Azure's words"), "{error}");
    // One value of a dimension was asked for, so it need not be said; of each value it must.
    let silent = || answer(|body| drop(series(body)[0].as_object_mut().unwrap().remove("metadatavalues")));
    assert_eq!(shown(&made_of(silent()).await.unwrap()), [(7.5, 0)]);
    let error = made_of_asking(&QUERY.replace("jobs", "*"), silent()).await.unwrap_err();
    assert!(error.code() == "transport" && error.to_string().contains("EntityName"), "{error}");
    let scene = Scene::new().await;
    for (fault, code) in [
        (Fault::Truncated, "transport"),
        (Fault::Redirect, "transport"),
        (Fault::Reset, "transport"),
        (Fault::Hang { effect: false }, "transport"),
        (Fault::Refuse(Refusal::ClockOff), "expired"),
        (Fault::Refuse(Refusal::WrongCredentials), "denied"),
    ] {
        scene.server.inject(Kind::Read, fault);
        let error = scene.ask(QUERY).await.unwrap_err();
        assert_eq!(error.code(), code, "{fault:?}: {error}");
        scene.server.clear();
    }
    let error = scene.ask("sum(rate(x[1m]))").await.unwrap_err();
    assert_eq!(error.code(), "invalid", "{error}");
    let error = scene.ask(QUERY).await.unwrap_err();
    assert_eq!(error.code(), "not_found", "nobody set this resource's metrics: {error}");
    scene.metrics.put(queue("jobs", &[]));
    let error = scene.ask(&QUERY.replace("EntityName", "Colour")).await.unwrap_err();
    assert!(error.code() == "invalid" && error.to_string().contains("dimension combination"), "{error}");
}

#[tokio::test]
async fn a_wait_for_metrics_keeps_nobody_else_waiting() {
    let clock = clock();
    clock.pass(Duration::from_secs(30));
    let busy = Arc::new(Mutex::new(true));
    let api = Simulated::new(cloud(1, &clock));
    api.metrics().put(queue("jobs", &[(-30, 5.0)]));
    let api = Bent(api, {
        let busy = Arc::clone(&busy);
        move |inner: &Simulated, request: &Request| {
            if request.path.ends_with("/metrics") && *busy.lock().unwrap() {
                let wait = Some(Duration::from_secs(17));
                return inner.refusal(&Refusal::Throttled { retry_after: wait }, request);
            }
            inner.answer(request)
        }
    });
    let server = serve(api).await;
    let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
    let provider = provider(&server.url(), &clock).await.with_on_call(Arc::new({
        let calls = Arc::clone(&calls);
        move |call: &Call| calls.lock().unwrap().push(*call)
    }));
    let metrics = provider.metrics().unwrap();
    let waits = async |secs: u64| {
        let answer = metrics.query(QUERY, clock.now()).await;
        let wait = Duration::from_secs(secs);
        assert!(
            matches!(answer, Err(ProviderError::Throttled { retry_after: Some(left) }) if left == wait),
            "{answer:?}"
        );
    };
    let asked = || server.exchanges().iter().filter(|one| one.path.ends_with("/metrics")).count();
    waits(17).await;
    clock.pass(Duration::from_secs(5));
    waits(12).await;
    assert_eq!(asked(), 1, "not before its time");
    // Groups are another service's.
    observe(&provider, &Ask::new(group("web-0"))).await.unwrap();
    *busy.lock().unwrap() = false;
    clock.pass(Duration::from_secs(12));
    assert_eq!(shown(&metrics.query(QUERY, clock.now()).await.unwrap()), [(5.0, 0)]);
    // One token for both, and every request is told.
    assert_eq!(server.exchanges().iter().filter(|one| one.path.ends_with("/token")).count(), 1);
    let calls = calls.lock().unwrap();
    let told: Vec<&str> = calls.iter().filter(|call| call.operation == "GetMetrics").map(|call| call.code).collect();
    assert_eq!(told, ["throttled", "ok"]);
}
