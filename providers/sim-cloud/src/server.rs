//! HTTP/1.1 on loopback in front of an [`Api`]. In: connections. Out: its answers, broken where that was asked for, each
//! counted and kept. A server that is told to refuse connections closes its port and every connection, and opens the same
//! port again.

use crate::api::{Api, Kind};
use crate::exchange::Exchange;
use crate::faults::{Fault, Faults, Injected};
use crate::request::{Reply, Request};
use crate::serve::{Outcome, serve};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Most exchanges kept; a demo that runs for weeks must not fill the memory.
const EXCHANGES_MAX: usize = 20_000;

/// What was written is on its way before the connection breaks.
const FLUSH: Duration = Duration::from_millis(20);

/// What reached the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// What is neither: tokens and the like.
    pub others: u64,
}

#[derive(Default)]
struct State {
    faults: Faults,
    calls: Calls,
    exchanges: VecDeque<Exchange>,
}

struct Shared {
    api: Arc<dyn Api>,
    state: Mutex<State>,
    keeps: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running server; it ends when this is dropped.
pub struct Server {
    shared: Arc<Shared>,
    at: SocketAddr,
    /// Connections are accepted while this is true.
    open: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // With the sender gone every connection ends as well.
        self.accepting.abort();
    }
}

impl Server {
    /// Serves an API on this address (port 0: any free one), keeping every exchange for judges.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(api: Arc<dyn Api>, listen: SocketAddr) -> io::Result<Self> {
        Self::start_with(api, listen, true).await
    }

    /// As [`Server::start`]; `keeps`: whether exchanges are kept.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start_with(api: Arc<dyn Api>, listen: SocketAddr, keeps: bool) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let at = listener.local_addr()?;
        let shared = Arc::new(Shared { api, state: Mutex::default(), keeps });
        let (open, watched) = watch::channel(true);
        let accepting = tokio::spawn(accept(listener, at, Arc::clone(&shared), watched));
        Ok(Self { shared, at, open, accepting })
    }

    /// Where it listens, as `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// From now on requests of this kind meet the fault, until [`Server::lift`] or [`Server::clear`].
    pub fn inject(&self, kind: Kind, fault: Fault) -> Injected {
        self.shared.lock().faults.add(kind, fault)
    }

    /// Ends one fault.
    pub fn lift(&self, injected: Injected) {
        self.shared.lock().faults.lift(injected);
    }

    /// From now on every connection is refused, until [`Server::accept_connections`] or [`Server::clear`].
    pub fn refuse_connections(&self) {
        self.open.send_replace(false);
    }

    /// From now on connections are accepted again.
    pub fn accept_connections(&self) {
        self.open.send_replace(true);
    }

    /// Ends every fault.
    pub fn clear(&self) {
        self.shared.lock().faults.clear();
        self.open.send_replace(true);
    }

    /// What reached it so far.
    pub fn calls(&self) -> Calls {
        self.shared.lock().calls
    }

    /// What went over the wire so far, oldest first.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.shared.lock().exchanges.iter().cloned().collect()
    }

    /// [`Server::exchanges`] as JSON, one a line.
    pub fn exchanges_as_lines(&self) -> String {
        let line = |exchange: &Exchange| serde_json::to_string(exchange).unwrap_or_default() + "\n";
        self.shared.lock().exchanges.iter().map(line).collect()
    }
}

async fn accept(listener: TcpListener, at: SocketAddr, shared: Arc<Shared>, mut open: watch::Receiver<bool>) {
    let mut listener = Some(listener);
    loop {
        if !*open.borrow_and_update() {
            listener = None;
            if open.changed().await.is_err() {
                return;
            }
            continue;
        }
        let Some(here) = &listener else {
            // The port was ours a moment ago; whoever took it meanwhile gives it back, or the test fails by itself.
            match TcpListener::bind(at).await {
                Ok(again) => listener = Some(again),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
            continue;
        };
        tokio::select! {
            biased;
            changed = open.changed() => if changed.is_err() { return },
            accepted = here.accept() => if let Ok((stream, _)) = accepted {
                let _ = stream.set_nodelay(true);
                tokio::spawn(connection(TokioIo::new(stream), Arc::clone(&shared), open.clone()));
            },
        }
    }
}

/// Serves one connection until its client leaves, or the server refuses or ends.
async fn connection<T>(stream: T, shared: Arc<Shared>, mut open: watch::Receiver<bool>)
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
    let serving = hyper::server::conn::http1::Builder::new().serve_connection(stream, service);
    tokio::select! {
        biased;
        _ = open.wait_for(|open| !open) => {}
        _ = serving => {}
    }
}

/// The connection is closed without an answer.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for Closed {}

async fn answer(
    shared: Arc<Shared>,
    request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<Wired>, Closed> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Err(Closed) };
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let request = Request::of(head.method, &target, head.headers, body.to_bytes());
    let kind = shared.api.kind(&request);
    let fault = {
        let mut state = shared.lock();
        match kind {
            Some(Kind::Read) => state.calls.reads += 1,
            Some(Kind::Write) => state.calls.writes += 1,
            None => state.calls.others += 1,
        }
        let hang = shared.api.hangs(&request).then_some(Fault::Hang { effect: false });
        hang.or_else(|| state.faults.of(kind, shared.api.is_later_page(&request)))
    };
    let outcome = serve(&*shared.api, &request, fault);
    if shared.keeps {
        keep(&shared, &request, &outcome, fault.is_some_and(|fault| !matches!(fault, Fault::Slow(_))));
    }
    match outcome {
        Outcome::Whole(reply, pause) => {
            tokio::time::sleep(pause).await;
            Ok(respond(reply, false))
        }
        Outcome::Half(reply) => Ok(respond(reply, true)),
        Outcome::Hang => std::future::pending().await,
        Outcome::Close => Err(Closed),
    }
}

fn keep(shared: &Shared, request: &Request, outcome: &Outcome, broken: bool) {
    let text = |headers: &http::HeaderMap| {
        let shown = headers.iter().filter(|(name, _)| *name != http::header::AUTHORIZATION);
        shown.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
    };
    let reply = outcome.reply();
    let exchange = Exchange {
        method: request.method.to_string(),
        path: request.path.clone(),
        query: request.query.clone(),
        headers: text(&request.headers),
        body: String::from_utf8_lossy(&request.body).into_owned(),
        status: reply.map_or(0, |reply| reply.status),
        reply_headers: reply.map(|reply| text(&reply.headers)).unwrap_or_default(),
        reply: reply.map(|reply| String::from_utf8_lossy(&reply.body).into_owned()).unwrap_or_default(),
        broken,
    };
    let mut state = shared.lock();
    if state.exchanges.len() == EXCHANGES_MAX {
        state.exchanges.pop_front();
    }
    state.exchanges.push_back(exchange);
}

fn respond(reply: Reply, half: bool) -> http::Response<Wired> {
    let whole = reply.body.len();
    let body = if half { reply.body.slice(..whole / 2) } else { reply.body };
    let cut = half.then(|| Box::pin(tokio::time::sleep(FLUSH)));
    let mut response = http::Response::new(Wired { left: (!body.is_empty()).then_some(body), cut });
    *response.status_mut() = http::StatusCode::from_u16(reply.status).unwrap_or(http::StatusCode::OK);
    *response.headers_mut() = reply.headers;
    // Also announced when only half of it follows, so that the client can tell.
    response.headers_mut().insert(http::header::CONTENT_LENGTH, whole.max(usize::from(half)).into());
    response
}

/// A body that may break off.
struct Wired {
    left: Option<Bytes>,
    cut: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl http_body::Body for Wired {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Closed>>> {
        match (self.left.take(), self.cut.as_mut()) {
            (Some(bytes), _) => Poll::Ready(Some(Ok(http_body::Frame::data(bytes)))),
            (None, Some(cut)) => cut.as_mut().poll(context).map(|()| Some(Err(Closed))),
            (None, None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_none() && self.cut.is_none()
    }
}

/// Serves one connection of any transport: what [`crate::untrusted`] wraps into TLS.
#[cfg(feature = "fixture")]
pub(crate) async fn serve_once<T>(stream: T, api: Arc<dyn Api>)
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let shared = Arc::new(Shared { api, state: Mutex::default(), keeps: false });
    let (_open, watched) = watch::channel(true);
    connection(stream, shared, watched).await;
}
