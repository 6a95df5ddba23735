use super::super::DrainDo;
use super::*;
use crate::http::Auth;
use crate::http::scripted::{Act, Scripted};
use contract::Timestamp;

fn ask() -> DrainAsk {
    DrainAsk {
        r#do: DrainDo::Drain,
        fleet: "web".into(),
        provider: "aws".into(),
        group: "web-asg".into(),
        instance: "i-1".into(),
        until: Some(Timestamp(1_700_000_000_500_000)),
    }
}

fn settings() -> FetchSettings {
    FetchSettings { timeout: Duration::from_millis(300), ..FetchSettings::default() }
}

async fn answered(act: Act) -> Result<Progress, DrainError> {
    let server = Scripted::start(vec![act]).await;
    Webhook::new(&server.url(), settings()).unwrap().ask(&ask(), Duration::from_secs(5)).await
}

#[tokio::test]
async fn its_status_says_how_far_it_is() {
    assert_eq!(answered(Act::ok("")).await, Ok(Progress::Done));
    assert_eq!(answered(Act::Answer(204, Vec::new())).await, Ok(Progress::Done));
    assert_eq!(answered(Act::Answer(202, b"{}".to_vec())).await, Ok(Progress::Going));
    for (act, says) in [
        (Act::Answer(503, b"no <such>\nthing".to_vec()), "503"),
        (Act::Answer(404, Vec::new()), "404"),
        (Act::Raw(b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n".to_vec()), "/login"),
        (Act::Raw(Vec::new()), ""),
        (Act::Hang, "time"),
    ] {
        let error = answered(act).await.unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains('\n'), "{error}");
    }
}

#[tokio::test]
async fn it_is_sent_everything_and_who_asks() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "s3cret\n").unwrap();
    let server = Scripted::start(vec![Act::ok(""), Act::Answer(401, b"not s3cret".to_vec())]).await;
    let settings = FetchSettings { auth: Auth::Bearer { file }, ..settings() };
    let hook = Webhook::new(&format!("{}/drain?pool=a", server.url()), settings).unwrap();
    hook.ask(&ask(), Duration::from_secs(5)).await.unwrap();
    let request = &server.requests()[0];
    assert!(request.starts_with("POST /drain?pool=a HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("content-type: application/json\r\n") && request.contains("authorization: Bearer s3cret"));
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let expected = serde_json::json!({
        "do": "drain", "fleet": "web", "provider": "aws", "group": "web-asg", "instance": "i-1", "until": 1_700_000_000.5,
    });
    assert_eq!(body, expected);
    let error = hook.ask(&ask(), Duration::from_secs(5)).await.unwrap_err().to_string();
    assert!(!error.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn what_is_left_of_its_time_bounds_an_answer() {
    let server = Scripted::start(vec![Act::Hang]).await;
    let hook = Webhook::new(&server.url(), FetchSettings::default()).unwrap();
    let from = tokio::time::Instant::now();
    assert!(hook.ask(&ask(), Duration::from_millis(100)).await.is_err());
    assert!(from.elapsed() < Duration::from_secs(3));
}
