//! A proxy that counts the provider's calls, and breaks them as microburst cannot: connections that are refused, pages that
//! are lost, what some other proxy answers.

use super::WRITES;
use conformance::{Call, Calls, Fault};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What stands in the place of a page that is lost.
const LOST: &str = "<ErrorResponse><Error><Code>InternalFailure</Code><Message>An internal error has occurred.</Message>\
                    </Error><RequestId>r</RequestId></ErrorResponse>";

#[derive(Default)]
struct Inner {
    faults: BTreeMap<Call, Fault>,
    calls: Calls,
    described: u32,
}

/// A running proxy.
pub struct Proxy {
    pub url: String,
    inner: Arc<Mutex<Inner>>,
    open: watch::Sender<bool>,
}

impl Proxy {
    pub async fn before(upstream: &str) -> Self {
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Mutex::new(Inner::default()));
        let (open, mut is_open) = watch::channel(true);
        let shared = Arc::clone(&inner);
        tokio::spawn(async move {
            let mut listener = Some(listener);
            loop {
                if !*is_open.borrow_and_update() {
                    // Nobody listens: connections are refused.
                    listener = None;
                    if is_open.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                if listener.is_none() {
                    listener = Some(TcpListener::bind(address).await.unwrap());
                }
                tokio::select! {
                    biased;
                    changed = is_open.changed() => if changed.is_err() { return },
                    accepted = listener.as_ref().unwrap().accept() => {
                        let (stream, _) = accepted.unwrap();
                        tokio::spawn(serve(stream, upstream.clone(), Arc::clone(&shared)));
                    }
                }
            }
        });
        Self { url: format!("http://{address}"), inner, open }
    }

    pub fn inject(&self, call: Call, fault: &Fault) {
        if *fault == Fault::Unsent {
            self.open.send_replace(false);
        }
        let mut inner = self.inner.lock().unwrap();
        inner.described = 0;
        inner.faults.insert(call, fault.clone());
    }

    pub fn clear(&self) {
        self.inner.lock().unwrap().faults.clear();
        self.open.send_replace(true);
    }

    pub fn calls(&self) -> Calls {
        self.inner.lock().unwrap().calls
    }
}

async fn serve(mut client: TcpStream, upstream: String, inner: Arc<Mutex<Inner>>) {
    let Some((head, body)) = read(&mut client).await else { return };
    let action = body.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or_default().to_owned();
    let call = match action.as_str() {
        write if WRITES.contains(&write) => Some(Call::Write),
        _ if action.starts_with("Describe") => Some(Call::Read),
        _ => None,
    };
    let fault = {
        let mut inner = inner.lock().unwrap();
        match call {
            Some(Call::Write) => inner.calls.writes += 1,
            _ => inner.calls.reads += 1,
        }
        let listing = matches!(action.as_str(), "DescribeAutoScalingGroups" | "DescribeInstances");
        inner.described += u32::from(listing);
        let first_page = listing && inner.described == 1;
        let fault = call.and_then(|call| inner.faults.get(&call)).cloned();
        fault.filter(|fault| *fault != Fault::LaterPages || (listing && !first_page))
    };
    let answer = match fault {
        None => forward(&upstream, &head, &as_many_as_at_ec2(body)).await,
        Some(Fault::LaterPages) => Some(with_length("HTTP/1.1 500 S\r\ncontent-type: text/xml", LOST.as_bytes())),
        Some(Fault::Unsent) => None,
        Some(Fault::Html) => Some(with_length("HTTP/1.1 200 OK\r\ncontent-type: text/html", b"<html>Sign in</html>")),
        Some(Fault::Redirect) => Some(with_length("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/elsewhere", b"")),
        Some(not_offered) => panic!("{not_offered:?} is not offered"),
    };
    if let Some(answer) = answer {
        _ = client.write_all(&answer).await;
        _ = client.shutdown().await;
    }
}

/// EC2 launches up to `MaxCount` instances, moto never more than `MinCount`.
fn as_many_as_at_ec2(body: String) -> String {
    let most = body.split('&').find_map(|pair| pair.strip_prefix("MaxCount=")).map(str::to_owned);
    match most.filter(|_| body.starts_with("Action=RunInstances&")) {
        Some(most) => body.replace("&MinCount=1&", &format!("&MinCount={most}&")),
        None => body,
    }
}

fn with_length(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

async fn forward(upstream: &str, head: &str, body: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await.ok()?;
    let is_ours = |line: &&str| {
        let line = line.to_ascii_lowercase();
        !line.starts_with("connection:") && !line.starts_with("content-length:")
    };
    let kept: Vec<&str> = head.lines().filter(is_ours).collect();
    let length = body.len();
    let request = format!("{}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}", kept.join("\r\n"));
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    Some(answer)
}

/// Reads one request: its head and its body.
pub async fn read(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16_384];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned))
                .and_then(|text| text.trim().parse::<usize>().ok())
                .unwrap_or(0);
            if body.len() >= length {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}
