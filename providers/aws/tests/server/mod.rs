//! A scripted HTTP server: for each operation a list of replies, the last of which is repeated. Operations without a
//! script get an empty answer. It keeps every request's body.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with one request.
#[derive(Clone)]
pub enum Reply {
    /// A whole answer.
    Status(u16, String),
    /// A 200 that announces more bytes than it sends.
    Short(String),
    /// A refusal for too many calls, saying how many seconds to wait.
    Throttled(u64),
    /// A redirect to a place where nobody listens.
    Redirect,
    /// Nothing, and the connection is closed.
    Close,
    /// Nothing, and the connection stays.
    Hang,
}

impl Reply {
    /// The whole answer of DescribeAutoScalingGroups.
    pub fn groups(groups: &[String]) -> Self {
        Self::page(groups, None)
    }

    /// One page of it.
    pub fn page(groups: &[String], token: Option<&str>) -> Self {
        let token = token.map(|token| format!("<NextToken>{token}</NextToken>")).unwrap_or_default();
        let body = format!("<AutoScalingGroups>{}</AutoScalingGroups>{token}", groups.concat());
        Self::Status(200, answer("DescribeAutoScalingGroups", &body))
    }
}

/// An answer of the Auto Scaling API.
pub fn answer(operation: &str, body: &str) -> String {
    let ns = "http://autoscaling.amazonaws.com/doc/2011-01-01/";
    format!("<{operation}Response xmlns=\"{ns}\"><{operation}Result>{body}</{operation}Result></{operation}Response>")
}

/// An error of the API.
pub fn error(code: &str, message: &str) -> String {
    let ns = "http://autoscaling.amazonaws.com/doc/2011-01-01/";
    format!(
        "<ErrorResponse xmlns=\"{ns}\"><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
         <RequestId>r-1</RequestId></ErrorResponse>"
    )
}

/// A group from 0 to 10 with a desired capacity and instances.
pub fn group(name: &str, desired: i64, instances: &str) -> String {
    format!(
        "<member><AutoScalingGroupName>{name}</AutoScalingGroupName><MinSize>0</MinSize><MaxSize>10</MaxSize>\
         <DesiredCapacity>{desired}</DesiredCapacity><DefaultCooldown>300</DefaultCooldown><HealthCheckType>EC2</HealthCheckType>\
         <CreatedTime>2026-01-01T00:00:00Z</CreatedTime><Instances>{instances}</Instances></member>"
    )
}

/// An instance in it.
pub fn instance(id: &str, state: &str, extra: &str) -> String {
    format!(
        "<member><InstanceId>{id}</InstanceId><AvailabilityZone>us-east-1a</AvailabilityZone>\
         <LifecycleState>{state}</LifecycleState><HealthStatus>Healthy</HealthStatus>{extra}</member>"
    )
}

#[derive(Default)]
struct Script {
    replies: BTreeMap<String, Vec<Reply>>,
    requests: Vec<(String, String)>,
}

/// A running server.
pub struct Server {
    pub url: String,
    script: Arc<Mutex<Script>>,
}

impl Server {
    pub async fn start(replies: &[(&str, Vec<Reply>)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let replies = replies.iter().map(|(operation, list)| ((*operation).to_owned(), list.clone())).collect();
        let script = Arc::new(Mutex::new(Script { replies, requests: Vec::new() }));
        let shared = Arc::clone(&script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { url, script }
    }

    /// How often an operation was asked for.
    pub fn count(&self, operation: &str) -> usize {
        self.bodies(operation).len()
    }

    /// The bodies of an operation's requests.
    pub fn bodies(&self, operation: &str) -> Vec<String> {
        let script = self.script.lock().unwrap();
        script.requests.iter().filter(|(name, _)| name == operation).map(|(_, body)| body.clone()).collect()
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Mutex<Script>>) {
    let Some(body) = read(&mut stream).await else { return };
    let operation = body.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or_default().to_owned();
    let reply = {
        let mut script = script.lock().unwrap();
        script.requests.push((operation.clone(), body));
        match script.replies.get_mut(&operation) {
            Some(list) if list.len() > 1 => list.remove(0),
            Some(list) => list[0].clone(),
            None if operation == "DescribeInstances" => {
                Reply::Status(200, "<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>".into())
            }
            None => Reply::Status(200, answer(&operation, "")),
        }
    };
    let (head, body) = match reply {
        Reply::Status(status, body) => (format!("HTTP/1.1 {status} S\r\ncontent-length: {}\r\n", body.len()), body),
        Reply::Short(body) => (format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", body.len() + 10), body),
        Reply::Throttled(secs) => {
            let body = error("Throttling", "Rate exceeded");
            (format!("HTTP/1.1 400 S\r\nretry-after: {secs}\r\ncontent-length: {}\r\n", body.len()), body)
        }
        Reply::Redirect => {
            ("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n".into(), String::new())
        }
        Reply::Close => return,
        Reply::Hang => return std::future::pending().await,
    };
    let answer = format!("{head}content-type: text/xml\r\nconnection: close\r\n\r\n{body}");
    _ = stream.write_all(answer.as_bytes()).await;
    _ = stream.shutdown().await;
}

/// Reads one request and gives its body.
async fn read(stream: &mut TcpStream) -> Option<String> {
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
                return Some(body.to_owned());
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}
