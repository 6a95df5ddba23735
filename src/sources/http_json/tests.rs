use super::*;
use crate::http::scripted::{Act, Scripted};
use crate::http::{Auth, Header, HeaderName, HeaderText, HeaderValue};
use std::time::Duration;

const NOW: Timestamp = Timestamp(1_700_000_000_250_000);

fn settings() -> FetchSettings {
    FetchSettings { timeout: Duration::from_millis(300), ..FetchSettings::default() }
}

fn at(path: &str, unit: TimeUnit) -> JsonTime {
    JsonTime::At(TimePath::parse(path).unwrap(), unit)
}

/// What a query takes out of a document.
async fn taken(document: &str, time: JsonTime, query: &str) -> Answer {
    let server = Scripted::start(vec![Act::ok(document)]).await;
    HttpJson::new("test", &server.url(), settings(), time).unwrap().query(&QueryAsk::new(query), NOW).await
}

fn shape(answer: Answer) -> Vec<(String, String, Option<f64>)> {
    let labels = |one: &SeriesPoint| {
        one.labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    let row = |one: &SeriesPoint| (labels(one), one.value.to_string(), one.at.map(Timestamp::as_secs_f64));
    answer.unwrap().iter().map(row).collect()
}

const QUEUES: &str = r#"{"at": 1700000000, "totals": {"jobs": 12.5, "note": "x", "none": null},
    "queues": [{"name": "a", "host": "h", "depth": 3, "seen": "1699999990", "bad-name": "y"},
               {"name": "b", "depth": null, "seen": 1699999980},
               {"name": "c", "depth": "7"}],
    "regions": {"eu": {"jobs": 1, "name": "outer", "zones": [{"name": "z", "jobs": 5}]}, "us": {"jobs": 2, "zones": []}}}"#;

#[tokio::test]
async fn a_path_gives_values_with_labels_and_their_own_times() {
    let check = async |query: &str, time: JsonTime, expected: &[(&str, &str, Option<f64>)]| {
        let expected: Vec<_> = expected.iter().map(|(l, v, at)| ((*l).to_owned(), (*v).to_owned(), *at)).collect();
        assert_eq!(shape(taken(QUEUES, time, query).await), expected, "{query}");
    };
    let root = || at("$.at", TimeUnit::Seconds);
    let told = Some(1_700_000_000.0);
    check("$.totals.jobs", root(), &[("", "12.5", told)]).await;
    check("$['totals'][\"jobs\"]", root(), &[("", "12.5", told)]).await;
    check("$.queues[0].depth", root(), &[("", "3", told)]).await;
    // An item without its number is unknown, not absent: the core takes no NaN.
    let items = [
        ("host=h name=a seen=1699999990", "3", Some(1_699_999_990.0)),
        ("name=b", "NaN", Some(1_699_999_980.0)),
        ("depth=7 name=c", "NaN", None),
    ];
    check("$.queues[*].depth", at("@.seen", TimeUnit::Seconds), &items).await;
    check("$.regions.*.jobs", root(), &[("key=eu name=outer", "1", told), ("key=us", "2", told)]).await;
    check("$.regions[*].zones[*].jobs", root(), &[("key=eu name=z", "5", told)]).await;
    check("$.regions.us.zones[*].jobs", root(), &[]).await;
    check("$.totals.jobs", JsonTime::Fetch, &[("", "12.5", Some(NOW.as_secs_f64()))]).await;
    check("$.totals.jobs", at("@.at", TimeUnit::Seconds), &[("", "12.5", told)]).await;
}

#[tokio::test]
async fn a_time_that_cannot_be_told_is_none() {
    let check = async |document: &str, unit: TimeUnit, expected: Option<f64>| {
        let document = format!("{{\"v\": 1, \"t\": {document}}}");
        let told = taken(&document, at("$.t", unit), "$.v").await.unwrap()[0].at.map(Timestamp::as_secs_f64);
        assert_eq!(told, expected, "{document}");
    };
    check("1700000000123", TimeUnit::Millis, Some(1_700_000_000.123)).await;
    check("\"1700000000123456\"", TimeUnit::Micros, Some(1_700_000_000.123_456)).await;
    check("\"2023-11-14T23:13:20.5+01:00\"", TimeUnit::Rfc3339, Some(1_700_000_000.5)).await;
    for (document, unit) in [
        ("\"2023-11-14T23:13:20\"", TimeUnit::Rfc3339),
        ("1700000000", TimeUnit::Rfc3339),
        ("1700000000123", TimeUnit::Seconds),
        ("\"soon\"", TimeUnit::Seconds),
        ("\"NaN\"", TimeUnit::Seconds),
        ("null", TimeUnit::Millis),
        ("{}", TimeUnit::Millis),
    ] {
        check(document, unit, None).await;
    }
}

#[tokio::test]
async fn what_a_cache_kept_is_that_old() {
    let raw = b"HTTP/1.1 200 OK\r\nAge: 40\r\nContent-Length: 9\r\n\r\n{\"v\": 12}".to_vec();
    let server = Scripted::start(vec![Act::Raw(raw)]).await;
    let source = HttpJson::new("test", &server.url(), settings(), JsonTime::Fetch).unwrap();
    let answer = source.query(&QueryAsk::new("$.v"), NOW).await.unwrap();
    assert_eq!(answer[0].at, Some(NOW.before(Duration::from_secs(40))));
    assert!(server.requests()[0].contains("cache-control: no-cache\r\n"), "{}", server.requests()[0]);
}

#[tokio::test]
async fn every_bad_answer_has_its_reason() {
    let other = |word: &str| MissingWhy::Other(word.into());
    let redirect = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_vec();
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"v\": 1".to_vec();
    let large = format!("{{\"v\": 1, \"x\": \"{}\"}}", "x".repeat(2_000));
    for (act, why) in [
        (Act::ok("<html>down for maintenance</html>"), other("malformed_answer")),
        (Act::ok(""), other("malformed_answer")),
        (Act::ok("{\"v\": 1"), other("malformed_answer")),
        (Act::ok("{\"v\": 1} {\"v\": 2}"), other("malformed_answer")),
        (Act::ok("{\"v\": 1, \"v\": 2}"), other("malformed_answer")),
        (Act::ok("{\"v\": 1e999}"), other("malformed_answer")),
        (Act::ok(&format!("{}1{}", "[".repeat(200), "]".repeat(200))), other("malformed_answer")),
        (Act::Answer(200, b"{\"v\": \"\xff\"}".into()), other("malformed_answer")),
        (Act::ok(&large), other("answer_too_large")),
        (Act::Raw(cut), MissingWhy::Unreachable),
        (Act::Raw(redirect), other("redirect")),
        (Act::Answer(401, b"no".into()), MissingWhy::Refused),
        (Act::Answer(500, b"no".into()), other("server_error")),
        (Act::Answer(503, b"no".into()), MissingWhy::Unreachable),
        (Act::Hang, MissingWhy::Timeout),
        (Act::Drip, MissingWhy::Timeout),
        (Act::ok("{\"v\": \"1\"}"), MissingWhy::WrongShape),
        (Act::ok("{\"v\": null}"), MissingWhy::WrongShape),
        (Act::ok("{\"w\": 1}"), MissingWhy::WrongShape),
        (Act::ok("[1]"), MissingWhy::WrongShape),
    ] {
        let server = Scripted::start(vec![act]).await;
        let settings = FetchSettings { body_max: 1_000, ..settings() };
        let source = HttpJson::new("test", &server.url(), settings, JsonTime::Fetch).unwrap();
        assert_eq!(source.query(&QueryAsk::new("$.v"), NOW).await, Err(why));
    }
    // Nothing is left out of a list that is not there.
    assert_eq!(taken("{\"v\": 1}", JsonTime::Fetch, "$.v[*].x").await, Err(MissingWhy::WrongShape));
    assert_eq!(taken("{}", JsonTime::Fetch, "$.v[*].x").await, Err(MissingWhy::WrongShape));
    let many = format!("[{}1]", "1,".repeat(SERIES_MAX));
    assert_eq!(taken(&many, JsonTime::Fetch, "$[*]").await, Err(MissingWhy::Refused));
    // A document knows no past.
    let ask = QueryAsk { offset: Duration::from_secs(60), ..QueryAsk::new("$.v") };
    let source = HttpJson::new("test", "http://127.0.0.1:1", settings(), JsonTime::Fetch).unwrap();
    assert_eq!(source.query(&ask, NOW).await, Err(MissingWhy::Refused));
    assert_eq!(source.query(&QueryAsk::new("@.v"), NOW).await, Err(MissingWhy::Refused));
    assert_eq!(source.query(&QueryAsk::new("sum(v)"), NOW).await, Err(MissingWhy::Refused));
}

#[tokio::test]
async fn one_document_serves_all_who_ask_in_a_cycle() {
    let server = Scripted::start(vec![Act::ok(QUEUES), Act::ok("{\"totals\": {\"jobs\": 1}}")]).await;
    let url = format!("{}/stats?group=all&x=1", server.url());
    let source = HttpJson::new("test", &url, settings(), JsonTime::Fetch).unwrap();
    let asks: Vec<QueryAsk> =
        ["$.queues[0].depth", "$.queues[*].depth"].repeat(100).into_iter().map(QueryAsk::new).collect();
    let answers = futures_util::future::join_all(asks.iter().map(|ask| source.query(ask, NOW))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap()[0].value == 3.0));
    assert_eq!(source.query(&QueryAsk::new("$.totals.jobs"), NOW).await.unwrap()[0].value, 12.5);
    assert_eq!(server.requests().len(), 1);
    assert!(server.requests()[0].starts_with("GET /stats?group=all&x=1 HTTP/1.1\r\n"), "{}", server.requests()[0]);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(source.query(&QueryAsk::new("$.totals.jobs"), NOW).await.unwrap()[0].value, 1.0);
}

#[tokio::test]
async fn credentials_come_from_files_at_each_request_and_show_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, "first key\n").unwrap();
    let echo = Act::Answer(403, b"bad key: first key".to_vec());
    let server = Scripted::start(vec![echo, Act::ok("{\"v\": 1}")]).await;
    let header = |name: &'static str, value| Header { name: HeaderName::from_static(name), value };
    let headers = vec![
        header("x-api-key", HeaderText::Secret(file.clone())),
        header("x-team", HeaderText::Plain(HeaderValue::from_static("ops"))),
    ];
    let settings = FetchSettings { headers, auth: Auth::None, ..settings() };
    let source = HttpJson::new("test", &server.url(), settings, JsonTime::Fetch).unwrap();
    let failure = source.answer(&QueryAsk::new("$.v"), NOW).await.unwrap_err();
    assert_eq!(failure.detail, "answered with status 403: bad key: [secret]");
    std::fs::write(&file, "second").unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(source.query(&QueryAsk::new("$.v"), NOW).await.is_ok());
    let requests = server.requests();
    assert!(requests[0].contains("x-api-key: first key\r\nx-team: ops\r\n"), "{}", requests[0]);
    assert!(requests[1].contains("x-api-key: second\r\n"), "{}", requests[1]);
    std::fs::remove_file(&file).unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(source.query(&QueryAsk::new("$.v"), NOW).await, Err(MissingWhy::Other("credentials".into())));
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_path_that_is_none_is_shown_where() {
    for (text, offset, expected) in [
        ("", 0, "begin with `$`"),
        ("a.b", 0, "begin with `$`"),
        ("@.a", 0, "begin with `$`"),
        ("$a", 1, "expected"),
        ("$..a", 1, "`..`"),
        ("$.", 1, "a name must follow"),
        ("$.1a", 1, "a name must follow"),
        ("$.a[", 3, "`]` is missing"),
        ("$.a[-1]", 3, "only ['name']"),
        ("$.a[1:2]", 3, "only ['name']"),
        ("$.a[?@.x]", 3, "only ['name']"),
        ("$['a", 1, "not closed"),
        ("$['a'x", 1, "`]` is missing"),
        ("$['\\n']", 1, "backslash"),
        ("$.a.b c", 5, "expected"),
    ] {
        let (message, place) = check_path(text).unwrap_err();
        assert!(message.contains(expected) && place == offset, "{text}: {place} {message}");
    }
    let deep = format!("${}", ".a".repeat(33));
    assert!(check_path(&deep).unwrap_err().0.contains("32 steps"));
    for text in ["$", "$.a_1.é['b.c']['it\\'s'][0][*].*[\"x\"]"] {
        assert_eq!(check_path(text), Ok(()), "{text}");
    }
    assert!(TimePath::parse("$.a[*]").is_err() && TimePath::parse("@").is_ok() && TimePath::parse("t").is_err());
}
