//! CloudWatch's metrics: against moto, against a server of our own whose requests and replies Amazon's library judges, and
//! against answers that no healthy server gives.

#![allow(clippy::unwrap_used)]

use aws::{CloudWatch, Deadlines};
use contract::{Metrics, Point, ProviderError, Timestamp};
use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Half a minute into a minute.
const NOW: Timestamp = Timestamp::from_secs(1_700_000_070);
const QUERY: &str = "Jobs:Depth{Queue=\"a\"} Maximum 1m";

async fn metrics(url: &str) -> CloudWatch {
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new("us-east-1"))
        .endpoint_url(url)
        .credentials_provider(aws_credential_types::Credentials::from_keys("AKIDEXAMPLE", "a secret key", None))
        .load()
        .await;
    let deadlines = Deadlines { read: Duration::from_millis(700), ..Deadlines::default() };
    CloudWatch::new(&config, 100.0, deadlines, None)
}

/// What the server does with one request.
#[derive(Clone)]
enum Reply {
    Answer(u16, String),
    Raw(Vec<u8>),
    Hang,
}

/// One exchange as it was: the request's head and body, and the answer.
#[derive(Clone)]
struct Exchange {
    head: String,
    body: String,
    status: u16,
    reply: String,
}

/// A server that gives one reply after the other; the last one is repeated.
struct Server {
    url: String,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

impl Server {
    async fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let exchanges: Arc<Mutex<Vec<Exchange>>> = Arc::default();
        let kept = Arc::clone(&exchanges);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, replies.clone(), Arc::clone(&kept)));
            }
        });
        Self { url, exchanges }
    }

    fn bodies(&self) -> Vec<serde_json::Value> {
        let exchanges = self.exchanges.lock().unwrap();
        exchanges.iter().map(|one| serde_json::from_str(&one.body).unwrap()).collect()
    }
}

async fn serve(mut stream: TcpStream, replies: Vec<Reply>, kept: Arc<Mutex<Vec<Exchange>>>) {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    let (head, body) = loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                break (head.to_owned(), body.to_owned());
            }
        }
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => text.push_str(std::str::from_utf8(&buffer[..read]).unwrap()),
            _ => return,
        }
    };
    let reply = {
        let mut kept = kept.lock().unwrap();
        let reply = replies[kept.len().min(replies.len() - 1)].clone();
        let (status, text) = match &reply {
            Reply::Answer(status, text) => (*status, text.clone()),
            Reply::Raw(_) | Reply::Hang => (0, String::new()),
        };
        kept.push(Exchange { head, body, status, reply: text });
        reply
    };
    let bytes = match reply {
        Reply::Answer(status, body) => {
            let head = format!("HTTP/1.1 {status} S\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
            format!("{head}Content-Type: application/x-amz-json-1.0\r\n\r\n{body}").into_bytes()
        }
        Reply::Raw(bytes) => bytes,
        Reply::Hang => std::future::pending().await,
    };
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
}

/// An answer with times, values, a status and whatever else.
fn answer(timestamps: &str, values: &str, status: &str, rest: &str) -> Reply {
    Reply::Answer(
        200,
        format!(
            r#"{{"MetricDataResults":[{{"Id":"q","Label":"Depth","Timestamps":[{timestamps}],"Values":[{values}],
            "StatusCode":"{status}"}}]{rest}}}"#
        ),
    )
}

fn refusal(status: u16, code: &str, message: &str) -> Reply {
    Reply::Answer(status, format!(r#"{{"__type":"com.amazonaws.cloudwatch#{code}","message":"{message}"}}"#))
}

async fn asked(replies: Vec<Reply>, query: &str) -> Result<Vec<Point>, ProviderError> {
    let server = Server::start(replies).await;
    metrics(&server.url).await.query(query, NOW).await
}

fn shown(points: &[Point]) -> Vec<(f64, i64)> {
    points.iter().map(|point| (point.value, point.at.0 / 1_000_000)).collect()
}

#[tokio::test]
async fn a_value_is_stamped_with_the_end_of_its_whole_period() {
    let server = Server::start(vec![answer("1699999920,1699999980", "3,7.5", "Complete", "")]).await;
    let metrics = metrics(&server.url).await;
    let points = metrics.query(QUERY, NOW).await.unwrap();
    assert_eq!(shown(&points), [(7.5, 1_700_000_040)]);
    assert_eq!(*points[0].labels, [("Queue".into(), "a".into())]);
    // The period that is under way is not asked for: its end comes after now.
    let body = &server.bodies()[0];
    assert_eq!((&body["StartTime"], &body["EndTime"]), (&1_699_999_140.into(), &1_700_000_040.into()));
    assert_eq!(body["MetricDataQueries"][0]["MetricStat"]["Period"], 60);
    metrics.query("Jobs:Depth Sum 1h", NOW).await.unwrap();
    let body = &server.bodies()[1];
    assert_eq!((&body["StartTime"], &body["EndTime"]), (&1_699_988_400.into(), &1_699_999_200.into()));
    let rate = asked(vec![answer("1699999980", "90", "Complete", "")], "Jobs:Sent Rate 1m").await.unwrap();
    assert_eq!(shown(&rate), [(1.5, 1_700_000_040)]);
    // Should it be given all the same, it is left out.
    let early = asked(vec![answer("1700000040,1699999980", "9,7", "Complete", "")], QUERY).await.unwrap();
    assert_eq!(shown(&early), [(7.0, 1_700_000_040)]);
    assert_eq!(asked(vec![answer("", "", "Complete", "")], QUERY).await.unwrap(), []);
    let nan = asked(vec![answer("1699999980", "\"NaN\"", "Complete", "")], QUERY).await.unwrap();
    assert!(nan[0].value.is_nan());
}

#[tokio::test]
async fn pages_are_followed_and_an_answer_that_is_not_whole_is_none() {
    let more = r#","NextToken":"more""#;
    let pages = vec![
        answer("1699999980", "7", "PartialData", more),
        Reply::Answer(200, format!(r#"{{"MetricDataResults":[]{more}}}"#)),
        answer("1699999920", "3", "Complete", ""),
    ];
    let server = Server::start(pages.clone()).await;
    let points = metrics(&server.url).await.query(QUERY, NOW).await.unwrap();
    assert_eq!(shown(&points), [(7.0, 1_700_000_040)]);
    let tokens: Vec<_> = server.bodies().iter().map(|body| body["NextToken"].clone()).collect();
    assert_eq!(tokens, [serde_json::Value::Null, "more".into(), "more".into()]);
    let whole = r#","Messages":[{"Code":"MaxMetricsExceeded","Value":"too many"}]"#;
    for (what, replies, code) in [
        ("part of it", vec![answer("1699999980", "7", "PartialData", "")], "transport"),
        ("an error inside", vec![answer("", "", "InternalError", "")], "transport"),
        ("an unknown status", vec![answer("1699999980", "7", "Splendid", "")], "transport"),
        ("not allowed", vec![answer("", "", "Forbidden", "")], "denied"),
        ("a message", vec![answer("1699999980", "7", "Complete", whole)], "transport"),
        ("no result", vec![Reply::Answer(200, r#"{"MetricDataResults":[]}"#.into())], "transport"),
        ("pages for ever", vec![answer("1699999980", "7", "PartialData", more)], "transport"),
        ("a page lost", vec![pages[0].clone(), refusal(500, "InternalServiceFault", "x")], "transport"),
        ("one period twice", vec![answer("1699999980,1699999980", "7,8", "Complete", "")], "transport"),
        ("times without values", vec![answer("1699999980,1699999920", "7", "Complete", "")], "transport"),
        ("a time out of range", vec![answer("1e300", "7", "Complete", "")], "transport"),
        ("a text for a number", vec![answer("1699999980", "\"7\"", "Complete", "")], "transport"),
        ("a number out of range", vec![answer("1699999980", "1e999", "Complete", "")], "transport"),
        (
            "another's answer",
            vec![Reply::Answer(
                200,
                r#"{"MetricDataResults":[{"Id":"z","Timestamps":[],"Values":[],"StatusCode":"Complete"}]}"#.into(),
            )],
            "transport",
        ),
    ] {
        let error = asked(replies, QUERY).await.unwrap_err();
        assert_eq!(error.code(), code, "{what}: {error}");
    }
}

#[tokio::test]
async fn every_bad_answer_is_one_typed_error_and_never_an_empty_one() {
    let huge = format!("{{\"MetricDataResults\":[],\"x\":\"{}\"}}", "x".repeat(5 * 1024 * 1024));
    let raw = |text: &str| Reply::Raw(text.as_bytes().to_vec());
    for (what, reply, code) in [
        ("HTML", Reply::Answer(200, "<html>welcome</html>".into()), "transport"),
        ("nothing", Reply::Answer(200, String::new()), "transport"),
        ("another document", Reply::Answer(200, "{}".into()), "transport"),
        ("half a document", Reply::Answer(200, "{\"MetricDataResults\":[".into()), "transport"),
        ("a body that breaks off", raw("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"Metric"), "transport"),
        ("a huge body", Reply::Answer(200, huge), "transport"),
        (
            "a redirect",
            raw("HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
            "transport",
        ),
        ("a closed connection", Reply::Raw(Vec::new()), "transport"),
        ("a hang", Reply::Hang, "transport"),
        ("an error page", Reply::Answer(500, "<html>".into()), "transport"),
        ("a wall", Reply::Answer(403, "<html>".into()), "denied"),
        ("wrong credentials", refusal(400, "UnrecognizedClientException", "no such key"), "denied"),
        ("a wrong secret", refusal(403, "SignatureDoesNotMatch", "it does not match"), "denied"),
        ("a clock that is off", refusal(403, "SignatureDoesNotMatch", "Signature expired: 20260101"), "expired"),
        ("an old token", refusal(403, "ExpiredTokenException", "it has expired"), "expired"),
        ("no permission", refusal(403, "AccessDenied", "not authorized"), "denied"),
        ("too many", refusal(400, "ThrottlingException", "Rate exceeded"), "throttled"),
        ("a wrong request", refusal(400, "InvalidParameterValueException", "Period"), "invalid"),
        ("trouble there", refusal(500, "InternalServiceFault", "sorry"), "transport"),
    ] {
        let error = asked(vec![reply], QUERY).await.unwrap_err();
        assert_eq!(error.code(), code, "{what}: {error}");
    }
    let error = asked(vec![answer("", "", "Complete", "")], "sum(rate(x[1m]))").await.unwrap_err();
    assert_eq!(error.code(), "invalid", "{error}");
    let error = metrics("http://127.0.0.1:1").await.query(QUERY, NOW).await.unwrap_err();
    assert_eq!(error.code(), "transport", "{error}");
    assert!(!error.to_string().contains("a secret key"));
}

#[tokio::test]
async fn without_a_region_or_credentials_it_says_so() {
    let config = aws_config::SdkConfig::builder().build();
    let metrics = CloudWatch::new(&config, 100.0, Deadlines::default(), None);
    assert_eq!(metrics.query(QUERY, NOW).await.unwrap_err().code(), "invalid");
}

fn python() -> String {
    let venv = std::env::var("SKALA_VENV").expect("no botocore: set SKALA_VENV; tests/run installs it and sets it");
    format!("{venv}/bin/python")
}

fn judged(arguments: &[&str]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clouds/cloudwatch.py");
    let output = Command::new(python()).arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A headers' object, by lower-case names.
fn headers(head: &str) -> serde_json::Value {
    let pairs = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    pairs.map(|(name, value)| (name.to_lowercase(), serde_json::Value::from(value))).collect()
}

#[tokio::test]
async fn amazons_library_takes_our_requests_and_signs_them_alike() {
    let replies = vec![
        answer("1699999980", "7", "PartialData", r#","NextToken":"more/+=""#),
        answer("1699999920", "3", "Complete", ""),
        refusal(400, "InvalidParameterValueException", "Period"),
        answer("", "", "Complete", ""),
    ];
    let server = Server::start(replies).await;
    let metrics = metrics(&server.url).await;
    metrics.query(QUERY, NOW).await.unwrap();
    metrics.query("\"My Shop\":\"Orders \\\"new\\\"\"{a=\"1\", b=\"x y\"} p99.9 5m", NOW).await.unwrap_err();
    metrics.query("AWS/SQS:NumberOfMessagesSent Rate 1h", NOW).await.unwrap();
    let exchanges = server.exchanges.lock().unwrap().clone();
    let mut lines = String::new();
    for one in &exchanges {
        let mut first = one.head.lines().next().unwrap().split(' ');
        let (method, path) = (first.next().unwrap(), first.next().unwrap());
        let line = serde_json::json!({
            "method": method, "path": path, "headers": headers(&one.head), "body": one.body,
            "status": one.status, "reply": one.reply,
        });
        writeln!(lines, "{line}").unwrap();
    }
    let file = std::env::temp_dir().join(format!("skala-cloudwatch-{}.jsonl", std::process::id()));
    std::fs::write(&file, lines).unwrap();
    assert_eq!(judged(&["judge", file.to_str().unwrap()]), "4");
    std::fs::remove_file(&file).unwrap();
}

/// moto, which nobody here wrote; killed with its test.
struct Moto(Child);

impl Drop for Moto {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[tokio::test]
async fn moto_gives_what_amazons_library_put_there() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Command::new(python().replace("bin/python", "bin/moto_server"))
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _moto = Moto(server.expect("moto_server of SKALA_VENV does not start"));
    for _ in 0..300 {
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let url = format!("http://127.0.0.1:{port}");
    let minute: i64 = judged(&["put", &url]).parse().unwrap();
    // moto is slow at its first call.
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new("us-east-1"))
        .endpoint_url(&url)
        .credentials_provider(aws_credential_types::Credentials::from_keys("x", "x", None))
        .load()
        .await;
    let metrics = CloudWatch::new(&config, 100.0, Deadlines::default(), None);
    let now = Timestamp::from_secs(minute + 30);
    let check = async |query: &str, now: Timestamp, expected: &[(f64, i64)]| {
        assert_eq!(shown(&metrics.query(query, now).await.unwrap()), expected, "{query}");
    };
    // The newest whole minute with a value began three minutes ago and ended two minutes ago; this minute is not over.
    check(QUERY, now, &[(30.0, minute - 120)]).await;
    // As of earlier, with an offset.
    let earlier = Timestamp::from_secs(minute - 150);
    check("Jobs:Depth{Queue=\"a\"} Sum 1m", earlier, &[(8.0, minute - 180)]).await;
    check("Jobs:Depth{Queue=\"a\"} Average 1m", earlier, &[(4.0, minute - 180)]).await;
    check("Jobs:Depth{Queue=\"a\"} SampleCount 1m", earlier, &[(2.0, minute - 180)]).await;
    check("Jobs:Depth{Queue=\"a\"} Rate 1m", earlier, &[(8.0 / 60.0, minute - 180)]).await;
    // An hour ago is too long ago, and nobody's dimensions are nobody's.
    check("Jobs:Depth{Queue=\"b\"} Maximum 1m", now, &[]).await;
    check("Jobs:Depth{Queue=\"c\"} Maximum 1m", now, &[]).await;
    check("Jobs:Other{Queue=\"a\"} Maximum 1m", now, &[]).await;
    // Alarms by their names; one that does not exist is left out.
    let arn = "arn:aws:autoscaling:us-east-1:1:scalingPolicy:1:autoScalingGroupName/web:policyName/up";
    for name in ["high", "other"] {
        judged(&["alarm", &url, name, arn]);
    }
    let alarms = metrics.alarms(&["high", "gone"].into()).await.unwrap();
    let told: Vec<_> = alarms.iter().map(|alarm| (alarm["AlarmName"].as_str(), alarm["Threshold"].as_f64())).collect();
    assert_eq!(told, [(Some("high"), Some(100.0))], "{alarms:?}");
    assert_eq!(metrics.alarms(&[].into()).await.unwrap(), [] as [serde_json::Value; 0]);
}

#[tokio::test]
async fn alarms_are_told_whole_or_not_at_all() {
    let alarms = async |replies: Vec<Reply>| {
        let server = Server::start(replies).await;
        let found = metrics(&server.url).await.alarms(&["a", "b"].into()).await;
        (found.map(|found| found.len()).map_err(|error| error.code()), server.bodies())
    };
    let page = |names: &str, more: &str| {
        let alarms: Vec<String> = names.split_whitespace().map(|name| format!(r#"{{"AlarmName":"{name}"}}"#)).collect();
        Reply::Answer(200, format!(r#"{{"MetricAlarms":[{}]{more}}}"#, alarms.join(",")))
    };
    let more = r#","NextToken":"more""#;
    let (found, asked) = alarms(vec![page("a", more), page("", more), page("a b", "")]).await;
    assert_eq!(found, Ok(2));
    assert_eq!((&asked[0]["AlarmNames"], &asked[2]["NextToken"]), (&serde_json::json!(["a", "b"]), &"more".into()));
    for (reply, expected) in [
        (page("a", more), "transport"),
        (page("c", ""), "transport"),
        (Reply::Answer(200, "{}".into()), "transport"),
        (Reply::Answer(200, "<html>Sign in</html>".into()), "transport"),
        (Reply::Hang, "transport"),
        (refusal(400, "Throttling", "Rate exceeded"), "throttled"),
        (refusal(403, "AccessDenied", "not authorized"), "denied"),
    ] {
        assert_eq!(alarms(vec![reply]).await.0, Err(expected));
    }
}
