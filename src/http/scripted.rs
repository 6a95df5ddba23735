//! Tests only: an HTTP server whose answers are a script, and which notes what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// What is done with one request.
#[derive(Clone)]
pub(crate) enum Act {
    /// These bytes are sent as they are.
    Raw(Vec<u8>),
    /// A status and a body.
    Answer(u16, Vec<u8>),
    /// The head, and then one byte of a long body now and then, for ever.
    Drip,
    /// Nothing, for ever.
    Hang,
}

impl Act {
    pub(crate) fn ok(body: &str) -> Self {
        Act::Answer(200, body.as_bytes().to_vec())
    }
}

/// The server; it ends with its runtime.
pub(crate) struct Scripted {
    pub(crate) port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// Answers one request after the other; the last answer is repeated.
    pub(crate) async fn start(script: Vec<Act>) -> Self {
        Self::start_tls(script, None).await
    }

    pub(crate) async fn start_tls(script: Vec<Act>, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let noted = requests.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, noted) = (script.clone(), noted.clone());
                match tls.clone() {
                    None => drop(tokio::spawn(serve(stream, script, noted))),
                    Some(tls) => drop(tokio::spawn(async move {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, script, noted).await;
                        }
                    })),
                }
            }
        });
        Self { port, requests }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The requests so far: head and body.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, script: Vec<Act>, noted: Arc<Mutex<Vec<String>>>) {
    let request = read_request(&mut stream).await;
    let act = {
        let mut noted = noted.lock().unwrap();
        noted.push(request);
        script[(noted.len() - 1).min(script.len() - 1)].clone()
    };
    let bytes = match act {
        Act::Raw(bytes) => bytes,
        Act::Answer(status, body) => {
            let head =
                format!("HTTP/1.1 {status} Status\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            [head.into_bytes(), body].concat()
        }
        Act::Drip => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await;
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            return;
        }
        Act::Hang => std::future::pending().await,
    };
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
}

async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => text.push_str(&String::from_utf8_lossy(&buffer[..read])),
            _ => return text,
        }
    }
}
