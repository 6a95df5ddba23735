use super::*;
use crate::http::scripted::{Act, Scripted};

const NOW: Timestamp = Timestamp(1_700_000_000_250_000);

fn settings() -> FetchSettings {
    FetchSettings { timeout: Duration::from_millis(300), ..FetchSettings::default() }
}

fn ask(query: &str) -> QueryAsk {
    QueryAsk::new(query)
}

fn vector(result: &str) -> Act {
    Act::ok(&format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{result}]}}}}"#))
}

fn times(secs: u64) -> Act {
    vector(&format!(r#"{{"metric":{{"skala_selector":"0"}},"value":[1,"{secs}"]}}"#))
}

const ONE: &str = r#"{"metric":{"asg":"a"},"value":[1700000000.25,"5"]}"#;

/// What comes of a question whose requests are answered so.
async fn answered(query: &str, script: Vec<Act>) -> Answer {
    let server = Scripted::start(script).await;
    Prometheus::new("test", &server.url(), settings()).unwrap().query(&ask(query), NOW).await
}

#[tokio::test]
async fn a_question_takes_two_requests_and_a_constant_one() {
    let server = Scripted::start(vec![times(1_699_999_990), vector(ONE), vector(ONE)]).await;
    let source = Prometheus::new("test", &server.url(), settings()).unwrap();
    let late = QueryAsk { offset: Duration::from_secs(60), ..ask("up") };
    let answer = source.query(&late, NOW).await.unwrap();
    assert_eq!((answer[0].value, answer[0].at), (5.0, Some(Timestamp::from_secs(1_699_999_990))));
    assert_eq!(&*answer[0].labels, [("asg".into(), "a".into())]);
    // As fresh as the evaluation, which was a minute ago.
    let constant = QueryAsk { query: "vector(5)".into(), ..late };
    let answer = source.query(&constant, NOW).await.unwrap();
    assert_eq!(answer[0].at, Some(NOW.before(Duration::from_secs(60))));
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    for request in &requests {
        assert!(request.starts_with("POST /api/v1/query HTTP/1.1\r\n"), "{request}");
        assert!(request.ends_with("&time=1699999940.25&timeout=300ms"), "{request}");
    }
    assert!(requests[0].contains("query=label_replace%28max+by") && requests[1].contains("\r\n\r\nquery=up&"));
}

#[tokio::test]
async fn every_trouble_is_missing_with_its_reason() {
    let refusal = |kind: &str| format!(r#"{{"status":"error","errorType":"{kind}","error":"text"}}"#).into_bytes();
    let warned = r#"{"status":"success","warnings":["one store is down"],"data":{"resultType":"vector","result":[]}}"#;
    let moved = b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n".to_vec();
    let cases = [
        (Act::Hang, "timeout"),
        (Act::Drip, "timeout"),
        (Act::Raw(Vec::new()), "unreachable"),
        (Act::Raw(moved), "redirect"),
        (Act::Answer(400, refusal("bad_data")), "refused"),
        (Act::Answer(422, refusal("execution")), "refused"),
        (Act::Answer(503, refusal("timeout")), "timeout"),
        (Act::Answer(401, b"who are you?".to_vec()), "refused"),
        (Act::Answer(502, b"<html>".to_vec()), "unreachable"),
        (Act::Answer(500, refusal("internal")), "server_error"),
        (Act::ok("<html>sign in</html>"), "malformed_answer"),
        (Act::Answer(200, vec![0xff, 0xfe]), "malformed_answer"),
        (Act::Answer(204, Vec::new()), "malformed_answer"),
        (Act::ok(warned), "partial"),
    ];
    for (act, why) in cases {
        let value = answered("up", vec![times(1_700_000_000), act.clone()]).await;
        assert_eq!(value.unwrap_err().to_string(), why, "as the value's answer");
        // Where only the time cannot be asked for, that is what is missing; every other reason is the source's.
        let only_time = if why == "refused" { "no_time" } else { why };
        let freshness = answered("up", vec![act.clone(), vector(ONE)]).await;
        assert_eq!(freshness.unwrap_err().to_string(), only_time, "as the time's answer");
        let both = answered("up", vec![act]).await;
        assert_eq!(both.unwrap_err().to_string(), why, "as both answers");
    }
}

#[tokio::test]
async fn settings_decide_what_is_too_large_and_who_asks() {
    let server = Scripted::start(vec![times(1), vector(ONE)]).await;
    let small = FetchSettings { body_max: 50, ..settings() };
    let source = Prometheus::new("test", &server.url(), small).unwrap();
    assert_eq!(source.query(&ask("up"), NOW).await, Err(MissingWhy::Other("answer_too_large".into())));
    let nobody = FetchSettings { auth: crate::http::Auth::Bearer { file: "/nowhere/token".into() }, ..settings() };
    let source = Prometheus::new("test", &server.url(), nobody).unwrap();
    assert_eq!(source.query(&ask("up"), NOW).await, Err(MissingWhy::Other("credentials".into())));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn one_timeout_is_for_the_whole_question() {
    let started = tokio::time::Instant::now();
    // Each request alone would be in time.
    let server = Scripted::start(vec![times(1), Act::Hang]).await;
    let source = Prometheus::new("test", &server.url(), settings()).unwrap();
    assert_eq!(source.query(&ask("up"), NOW).await, Err(MissingWhy::Timeout));
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_series_without_a_time_stays_in_the_answer() {
    // Left out, it would be absent, and absent may mean zero.
    let answer = answered("up", vec![vector(""), vector(ONE)]).await.unwrap();
    assert_eq!((answer.len(), answer[0].at), (1, None));
    let answer = answered("up", vec![vector(""), vector("")]).await;
    assert_eq!(answer, Ok(Arc::from([])));
}

#[tokio::test]
async fn a_complaint_is_kept_until_the_query_answers() {
    let server = Scripted::start(vec![Act::ok("<html>"), Act::ok("<html>"), times(1), vector(ONE)]).await;
    let source = Prometheus::new("test", &server.url(), settings()).unwrap();
    for kept in [1, 1, 0] {
        let _ = source.query(&ask("up"), NOW).await;
        assert_eq!(source.notes.kept(), kept);
    }
}
