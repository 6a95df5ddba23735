//! A proxy that speaks the API's errors: it stands between the provider and a server and breaks the calls it is told to.

use conformance::{Call, Calls, Fault};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

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
        "SetDesiredCapacity" | "TerminateInstanceInAutoScalingGroup" | "RunInstances" | "TerminateInstances" => {
            Some(Call::Write)
        }
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
    let is_ec2 = body.contains("Version=2016-11-15");
    let refuse = |status: u16, code: &str, message: &str| Some(refusal(is_ec2, status, code, message));
    let answer = match fault {
        None => forward(&upstream, &head, &body).await,
        Some(Fault::Slow(time)) => {
            tokio::time::sleep(time).await;
            forward(&upstream, &head, &body).await
        }
        Some(Fault::Throttle { .. }) => refuse(400, "Throttling", "Rate exceeded"),
        Some(Fault::ErrorBeforeEffect | Fault::LaterPages) => {
            refuse(500, "InternalFailure", "An internal error has occurred.")
        }
        Some(Fault::ErrorAfterEffect) => {
            forward(&upstream, &head, &body).await;
            refuse(500, "InternalFailure", "An internal error has occurred.")
        }
        Some(Fault::Timeout) => std::future::pending().await,
        Some(Fault::BrokenBody) => forward(&upstream, &head, &body).await.map(|answer| half(&answer)),
        Some(Fault::Denied) => {
            refuse(403, if is_ec2 { "UnauthorizedOperation" } else { "AccessDenied" }, "not authorized")
        }
        Some(Fault::Expired) => refuse(403, "ExpiredToken", "The security token included in the request is expired"),
        Some(Fault::OutOfCapacity) => {
            refuse(500, "InsufficientInstanceCapacity", "We currently do not have sufficient capacity")
        }
        Some(Fault::QuotaExceeded) => refuse(400, "VcpuLimitExceeded", "You have requested more vCPU capacity"),
        Some(Fault::Unsent) => None,
        Some(Fault::Html) => Some(with_length("HTTP/1.1 200 OK\r\ncontent-type: text/html", b"<html>Sign in</html>")),
        Some(Fault::Redirect) => Some(with_length("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/elsewhere", b"")),
        Some(Fault::WrongCredentials) => {
            refuse(403, "InvalidClientTokenId", "The security token included in the request is invalid.")
        }
        Some(Fault::ClockOff) => refuse(400, "RequestExpired", "Request has expired."),
        Some(not_offered) => panic!("{not_offered:?} is not offered"),
    };
    if let Some(answer) = answer {
        _ = client.write_all(&answer).await;
        _ = client.shutdown().await;
    }
}

fn refusal(is_ec2: bool, status: u16, code: &str, message: &str) -> Vec<u8> {
    let error = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    let body = match is_ec2 {
        true => format!("<Response><Errors>{error}</Errors><RequestID>r</RequestID></Response>"),
        false => format!("<ErrorResponse>{error}<RequestId>r</RequestId></ErrorResponse>"),
    };
    with_length(&format!("HTTP/1.1 {status} S\r\ncontent-type: text/xml"), body.as_bytes())
}

fn with_length(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The answer's first half under the length of that half: only the document itself is broken.
fn half(answer: &[u8]) -> Vec<u8> {
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let body = &answer[split..];
    with_length("HTTP/1.1 200 OK\r\ncontent-type: text/xml", &body[..body.len() / 2])
}

async fn forward(upstream: &str, head: &str, body: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await.ok()?;
    let kept: Vec<&str> = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:")).collect();
    let request = format!("{}\r\nconnection: close\r\n\r\n{body}", kept.join("\r\n"));
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let status = String::from_utf8_lossy(&answer[..split]).lines().next()?.to_owned();
    Some(with_length(&format!("{status}\r\ncontent-type: text/xml"), &answer[split..]))
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
