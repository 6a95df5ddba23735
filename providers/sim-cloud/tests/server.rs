//! The server breaks what it is told to break, and nothing else.
#![allow(clippy::unwrap_used, reason = "a test")]

use contract::Foreign;
use serde_json::json;
use sim_cloud::{Api, Fault, Garble, Kind, Refusal, Reply, Request, Server};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An API of one number.
#[derive(Default)]
struct Number(AtomicU32);

impl Api for Number {
    fn answer(&self, request: &Request) -> Reply {
        if request.method == "POST" {
            self.0.fetch_add(1, SeqCst);
        }
        Reply::json(200, &json!({ "number": self.0.load(SeqCst) }))
    }

    fn kind(&self, request: &Request) -> Option<Kind> {
        match (request.method.as_str(), request.path.as_str()) {
            (_, "/token") => None,
            ("POST", _) => Some(Kind::Write),
            _ => Some(Kind::Read),
        }
    }

    fn is_later_page(&self, request: &Request) -> bool {
        request.param("page").is_some()
    }

    fn refusal(&self, refusal: &Refusal, _: &Request) -> Reply {
        Reply::json(if *refusal == Refusal::Internal { 500 } else { 400 }, &json!({ "error": format!("{refusal:?}") }))
    }

    fn garble(&self, garble: Garble, _: &Request, reply: &Reply) -> Option<Reply> {
        (garble == Garble::OutOfRange).then(|| reply.clone().with_json(&json!({ "number": -1 })))
    }

    fn foreign(&self) -> Foreign {
        Foreign { name: "another".into(), removes: None }
    }
}

/// One request on a connection of its own: the whole of what came back, or nothing.
async fn ask(server: &Server, line: &str) -> Option<String> {
    let mut stream = TcpStream::connect(server.url().trim_start_matches("http://")).await.ok()?;
    let request = format!("{line} HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_millis(500), stream.read_to_end(&mut answer)).await;
    read.ok()?.ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned()).filter(|answer| !answer.is_empty())
}

async fn start() -> Server {
    Server::start(Arc::new(Number::default()), ([127, 0, 0, 1], 0).into()).await.unwrap()
}

async fn number(server: &Server) -> u64 {
    let answer = ask(server, "GET /number").await.unwrap();
    let body: serde_json::Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    body["number"].as_u64().unwrap()
}

#[tokio::test]
async fn each_fault_does_what_its_name_says() {
    // What comes back contains this (nothing: no answer), and the write has taken effect or not.
    let table: &[(Fault, Option<&str>, bool)] = &[
        (Fault::Refuse(Refusal::Denied), Some("400 Bad Request"), false),
        (Fault::Refuse(Refusal::Internal), Some("500 Internal"), false),
        (Fault::ErrorAfterEffect, Some("500 Internal"), true),
        (Fault::Hang { effect: false }, None, false),
        (Fault::Hang { effect: true }, None, true),
        (Fault::Truncated, Some("content-length: 12"), true),
        (Fault::Garbage, Some("<not> a document"), true),
        (Fault::Html, Some("text/html"), false),
        (Fault::Redirect, Some("302 Found"), false),
        (Fault::Reset, None, false),
        (Fault::Slow(Duration::from_millis(50)), Some("\"number\":1"), true),
        (Fault::Garble(Garble::OutOfRange), Some("\"number\":-1"), true),
        (Fault::LaterPages, Some("\"number\":1"), true),
    ];
    for (fault, expected, effect) in table {
        let server = start().await;
        server.inject(Kind::Write, *fault);
        let answer = ask(&server, "POST /number").await;
        let right = match (expected, &answer) {
            (Some(expected), Some(answer)) => answer.contains(expected),
            (None, None) => true,
            _ => false,
        };
        assert!(right, "{fault:?}: {answer:?}");
        assert_eq!(number(&server).await, u64::from(*effect), "{fault:?}: reads are spared, and show the effect");
        server.clear();
        assert!(ask(&server, "POST /number").await.unwrap().contains("200 OK"), "{fault:?} has ended");
    }
}

#[tokio::test]
async fn half_an_answer_is_shorter_than_announced() {
    let server = start().await;
    server.inject(Kind::Read, Fault::Truncated);
    let answer = ask(&server, "GET /number").await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let announced = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert!(body.len() < announced.parse().unwrap(), "{answer}");
}

#[tokio::test]
async fn later_pages_are_lost_alone() {
    let server = start().await;
    server.inject(Kind::Read, Fault::LaterPages);
    assert!(ask(&server, "GET /number").await.unwrap().contains("200 OK"));
    assert!(ask(&server, "GET /number?page=2").await.unwrap().contains("500"));
}

#[tokio::test]
async fn a_closed_port_opens_again() {
    let server = start().await;
    server.refuse_connections();
    let mut refused = false;
    for _ in 0..200 {
        refused = ask(&server, "GET /number").await.is_none();
        if refused {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(refused, "connections should be refused");
    server.clear();
    for _ in 0..200 {
        if ask(&server, "GET /number").await.is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the port stays closed");
}

#[tokio::test]
async fn what_happened_is_counted_and_kept() {
    let server = start().await;
    ask(&server, "GET /number?x=a%20b").await.unwrap();
    ask(&server, "POST /number").await.unwrap();
    ask(&server, "GET /token").await.unwrap();
    let calls = server.calls();
    assert_eq!((calls.reads, calls.writes, calls.others), (1, 1, 1));
    let kept = server.exchanges();
    assert_eq!(kept.len(), 3);
    assert_eq!(kept[0].query, [("x".to_owned(), "a b".to_owned())]);
    assert_eq!((kept[1].method.as_str(), kept[1].status, kept[1].reply.as_str()), ("POST", 200, "{\"number\":1}"));
    assert_eq!(server.exchanges_as_lines().lines().count(), 3);
}
