//! As much HTTP/1.1 as these tests need, over blocking sockets: one request a connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// One message: a request or an answer.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The first line and the headers, without the empty line.
    pub head: String,
    pub body: Vec<u8>,
}

impl Message {
    /// Reads one message; `None` when the other end went away before it was whole.
    pub fn read(stream: &mut impl Read) -> Option<Self> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 16_384];
        let split = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            }
        };
        let head = String::from_utf8_lossy(&bytes[..split]).into_owned();
        let mut message = Self { head, body: bytes[split + 4..].to_vec() };
        if message.header("transfer-encoding").is_some_and(|how| how.eq_ignore_ascii_case("chunked")) {
            stream.read_to_end(&mut message.body).ok()?;
            message.body = unchunked(&message.body)?;
            return Some(message);
        }
        match message.header("content-length").and_then(|text| text.parse::<usize>().ok()) {
            Some(length) => {
                while message.body.len() < length {
                    match stream.read(&mut buffer) {
                        Ok(0) | Err(_) => return None,
                        Ok(read) => message.body.extend_from_slice(&buffer[..read]),
                    }
                }
            }
            // An answer without a length ends with the connection; a request without one has no body.
            None if message.head.starts_with("HTTP/") => _ = stream.read_to_end(&mut message.body).ok()?,
            None => {}
        }
        Some(message)
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// An answer's status.
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The message with its length, for a connection that ends after it. `extra` are headers to add.
    pub fn bytes(&self, extra: &str) -> Vec<u8> {
        let ours = ["connection:", "content-length:", "transfer-encoding:"];
        let kept = self.head.lines().filter(|line| {
            let line = line.to_ascii_lowercase();
            !ours.iter().any(|name| line.starts_with(name))
        });
        let head = kept.collect::<Vec<_>>().join("\r\n");
        let head = format!("{head}\r\n{extra}Connection: close\r\nContent-Length: {}\r\n\r\n", self.body.len());
        [head.as_bytes(), &self.body].concat()
    }

    /// An answer.
    pub fn answer(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { head: format!("HTTP/1.1 {status} Status\r\nContent-Type: {kind}"), body: body.into() }
    }
}

fn unchunked(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let size =
            usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?.split(';').next()?.trim(), 16).ok()?;
        bytes = &bytes[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(..size)?);
        bytes = bytes.get(size + 2..)?;
    }
}

fn request(verb: &str, host: &str, path: &str, kind: &str, body: &str) -> Vec<u8> {
    let head = format!("{verb} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}");
    Message { head, body: body.into() }.bytes("")
}

/// Asks over TCP; `None` when there is no whole answer in time.
pub fn tcp(port: u16, verb: &str, path: &str, kind: &str, body: &str, patience: Duration) -> Option<Message> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    stream.write_all(&request(verb, &address.to_string(), path, kind, body)).ok()?;
    Message::read(&mut stream)
}

/// Asks over a Unix socket; `None` when there is no whole answer in time.
pub fn unix(socket: &Path, path: &str, patience: Duration) -> Option<Message> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    stream.write_all(&request("GET", "skala", path, "application/json", "")).ok()?;
    Message::read(&mut stream)
}

/// Undoes the percent encoding of forms.
pub fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let code = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Percent-encodes a query's value.
pub fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => (byte as char).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
