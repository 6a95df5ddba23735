//! The two listeners, spoken to in raw HTTP: what they answer, and what they survive.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Tests, and on real time: they wait for real sockets.

use crate::living::{Living, POLICY};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Sends a request and reads until the other side closes.
pub fn ask(stream: &mut (impl Read + Write), request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    ask(&mut stream, &format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"))
}

/// The body of an answer in one piece or in chunks.
fn body(answer: &str) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return body.into();
    }
    let (mut rest, mut whole) = (body, String::new());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    whole
}

#[test]
fn the_read_only_side_answers_and_refuses() {
    let living = Living::start();
    living.until("three instances", |living| living.desired() == Some(3));
    let check = |request: &str, status: &str, contains: &str| {
        let mut stream = TcpStream::connect(living.address).unwrap();
        let answer = ask(&mut stream, &format!("{request}Connection: close\r\n\r\n"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        assert!(answer.contains(contains), "{request}: {answer}");
    };
    let address = living.address;
    check("GET / HTTP/1.1\r\nHost: localhost\r\n", "200", "/metrics");
    check(&format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n"), "200", "ok");
    check("GET /readyz HTTP/1.1\r\nHost: [::1]:9464\r\n", "200", "ok");
    check("GET /nowhere HTTP/1.1\r\nHost: localhost\r\n", "404", "{\"error\":");
    check("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n", "405", "{\"error\":");
    // A web page that had its own name pointed here.
    check("GET /metrics HTTP/1.1\r\nHost: evil.example:9464\r\n", "421", "localhost");
    // Nothing that writes is on this side.
    check("POST /v1/hold HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n", "404", "error");
    check("GET /v1/status HTTP/1.1\r\nHost: localhost\r\n", "404", "error");
    let many: String = (0..100).map(|at| format!("X-{at}: a\r\n")).collect();
    check(&format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}"), "431", "");
    living.stop();
}

#[test]
fn metrics_pass_promtool_and_have_every_name() {
    let living = Living::start_with(&format!(
        "{POLICY}\n{}",
        POLICY.replace("fleet.web", "fleet.gone").replace("\"web\"", "\"gone\"")
    ));
    living.until("a call's end", |living| body(&get(living.address, "/metrics")).contains("skala_actions_total{"));
    let text = body(&get(living.address, "/metrics"));
    for name in [
        "fleet_desired{fleet=\"web\"} 3",
        "fleet_current{fleet=\"web\"}",
        "fleet_serving{fleet=\"web\"}",
        "fleet_min{fleet=\"web\"} 1",
        "fleet_max{fleet=\"web\"} 10",
        "fleet_recommended{fleet=\"web\",rule=\"per-instance\"} 3",
        "fleet_recommended_stabilized{fleet=\"web\"}",
        "group_desired{fleet=\"web\",provider=\"cloud\",group=\"web\"} 3",
        "group_instances{fleet=\"web\",provider=\"cloud\",group=\"web\",state=\"running\"}",
        "decisions_total{fleet=\"web\",direction=\"out\"} 1",
        "holds_total{fleet=\"gone\",reason=\"group_missing\"}",
        "hold_active{fleet=\"gone\",reason=\"group_missing\"} 1",
        "actions_total{provider=\"cloud\",action=\"raise\",outcome=\"accepted\"} 1",
        "reading_age_seconds{fleet=\"web\",metric=\"rps\"}",
        "provider_request_duration_seconds_bucket{provider=\"cloud\",operation=\"observe\",code=\"",
        "provider_requests_total{provider=\"cloud\",operation=\"observe\"}",
        "source_request_duration_seconds_count{source=\"load\"}",
        "cycle_duration_seconds_sum ",
        "cycle_lag_seconds ",
        "last_successful_cycle_timestamp_seconds{fleet=\"web\"}",
        "cooldown_remaining_seconds{fleet=\"web\",direction=\"in\"} 0",
        "config_last_reload_successful 1",
        "config_revision_info{revision=\"",
        "store_bytes ",
        "build_info{version=\"",
    ] {
        assert!(text.lines().any(|line| line.starts_with(&format!("skala_{name}"))), "{name} is not there");
    }
    // What is not known has no sample.
    assert!(!text.contains("skala_fleet_current{fleet=\"gone\"}"), "{text}");
    promtool(&text);
    let ready = get(living.address, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("gone: group gone of cloud"), "{ready}");
    assert!(get(living.address, "/healthz").starts_with("HTTP/1.1 200"), "a dead group is no reason to restart");
    living.stop();
}

fn promtool(text: &str) {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: install Debian's prometheus");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn slow_and_many_connections_do_not_stop_the_answers() {
    let living = Living::start();
    // Half a head, then silence: they end by themselves, and meanwhile there is room for others.
    let mut idle: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(living.address).unwrap()).collect();
    for stream in &mut idle {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: loc").unwrap();
    }
    let began = Instant::now();
    assert!(get(living.address, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // A body beyond any request, and one that is no JSON.
    for (length, status) in [(20_000, "413"), (5, "400")] {
        let mut stream = UnixStream::connect(&living.socket).unwrap();
        let body = "x".repeat(length);
        let request = format!(
            "POST /v1/release HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let answer = ask(&mut stream, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    let began = Instant::now();
    let directory = living.stop();
    assert!(began.elapsed() < Duration::from_secs(8), "a stop waits for no idle connection: {:?}", began.elapsed());
    assert!(!directory.path().join("skala.sock").exists(), "the socket's file is removed");
}
