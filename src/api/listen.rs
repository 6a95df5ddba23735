//! The two listeners and what every connection is held to: how many there are, how long a request's head may take, how
//! long a connection lives. Whoever reads or writes slowly costs a bounded piece of memory for a bounded time.

use super::{Api, admin, peer, public};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Connections at one time, each listener's own: a scraper, a dashboard and a dozen people fit many times over.
const CONNECTIONS_MAX: usize = 64;
/// A request's head arrives within this, or the connection ends; it is also how long an idle one is kept.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// A connection ends after this whatever it does: a reader of one byte a second cannot hold a place for ever.
const CONNECTION_LIVES: Duration = Duration::from_secs(120);
/// At a stop, how long running answers have to end.
const DRAIN: Duration = Duration::from_secs(2);
const HEADERS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Why the API cannot be served.
#[derive(Debug, Error)]
pub enum ApiError {
    /// Another daemon answers on the socket.
    #[error("another skala is running: {0} answers; stop it first, or set another [api] socket")]
    InUse(PathBuf),
    /// Something else has the socket's name.
    #[error("{0} exists and is no socket; remove it, or set another [api] socket")]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("cannot listen on {what}: {source}")]
    Listen {
        /// The socket or address.
        what: String,
        /// The system's words.
        source: io::Error,
    },
}

/// Both listeners, bound and not yet served: a daemon that cannot bind says so before it starts anything.
#[derive(Debug)]
pub struct Listeners {
    unix: Option<(UnixListener, OwnSocket)>,
    tcp: Option<TcpListener>,
}

impl Listeners {
    /// Binds the socket and the address; `None` is not served. A socket that a dead daemon left behind is replaced.
    ///
    /// # Errors
    /// When either cannot be bound.
    pub async fn bind(socket: Option<&Path>, listen: Option<SocketAddr>) -> Result<Self, ApiError> {
        let unix = match socket {
            Some(path) => Some(bind_socket(path).await?),
            None => None,
        };
        let failed = |source| ApiError::Listen { what: listen.map(|l| l.to_string()).unwrap_or_default(), source };
        let tcp = match listen {
            Some(listen) => Some(TcpListener::bind(listen).await.map_err(failed)?),
            None => None,
        };
        Ok(Self { unix, tcp })
    }

    /// The address that the TCP listener got: what port 0 became.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|tcp| tcp.local_addr().ok())
    }

    /// Serves until `stop` turns true or its sender is gone; then ends within a few seconds, and the socket's file is
    /// removed.
    pub async fn serve(self, api: Api, stop: watch::Receiver<bool>) {
        let unix = async {
            let Some((listener, own)) = self.unix else { return };
            serve_unix(&listener, &api, stop.clone()).await;
            drop(own);
        };
        let tcp = async {
            let Some(listener) = &self.tcp else { return };
            let router = public::router(api.clone());
            let accept = || async {
                let (stream, _) = listener.accept().await?;
                // Answers are small; a failure to set it only makes them later.
                let _ = stream.set_nodelay(true);
                Ok((stream, router.clone()))
            };
            accept_loop(accept, stop.clone()).await;
        };
        tokio::join!(unix, tcp);
    }
}

async fn serve_unix(listener: &UnixListener, api: &Api, stop: watch::Receiver<bool>) {
    let router = admin::router(api.clone());
    let accept = || async {
        let (stream, _) = listener.accept().await?;
        let peer = peer::Peer::of(&stream)?;
        Ok((stream, router.clone().layer(axum::Extension(peer))))
    };
    accept_loop(accept, stop).await;
}

/// Takes connections until the stop, then waits a moment for those that are being answered.
async fn accept_loop<S, A, F>(mut accept: A, mut stop: watch::Receiver<bool>)
where
    A: FnMut() -> F,
    F: Future<Output = io::Result<(S, Router)>>,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // Nobody is turned away: the next one waits in the system's backlog until a place is free.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = accept() => accepted,
        };
        match accepted {
            Ok((stream, router)) => {
                let stop = stop.clone();
                connections.spawn(async move {
                    connection(stream, router, stop).await;
                    drop(place);
                });
            }
            // Out of descriptors, or a peer that was gone at once: neither may end the listener or spin it.
            Err(error) => {
                tracing::warn!(%error, "A connection could not be accepted.");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    let _ = tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
    connections.shutdown().await;
}

async fn connection<S>(stream: S, router: Router, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(served);
    let end = async {
        let _ = tokio::time::timeout(CONNECTION_LIVES, stop.wait_for(|stop| *stop)).await;
    };
    let ended = tokio::select! {
        biased;
        ended = served.as_mut() => Some(ended),
        () = end => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "A connection ended early.");
    }
}

/// Binds the admin socket; connecting is open to everybody, since reading is, and each write asks who it is.
async fn bind_socket(path: &Path) -> Result<(UnixListener, OwnSocket), ApiError> {
    let failed = |source| ApiError::Listen { what: path.display().to_string(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(ApiError::NotASocket(path.to_owned())),
        Ok(_) => match UnixStream::connect(path).await {
            // Nobody listens: a dead daemon's.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(failed)?;
            }
            Ok(_) => return Err(ApiError::InUse(path.to_owned())),
            Err(error) => return Err(failed(error)),
        },
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let own = OwnSocket::new(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(failed)?;
    Ok((listener, own))
}

/// The socket's file, removed at the end if it still is the one that was made here.
#[derive(Debug)]
struct OwnSocket {
    path: PathBuf,
    inode: (u64, u64),
}

impl OwnSocket {
    fn new(path: &Path) -> io::Result<Self> {
        let made = std::fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), inode: (made.dev(), made.ino()) })
    }
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.inode);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "The socket's file could not be removed; the next start replaces it.");
        }
    }
}
