//! Talks to a running daemon over its Unix socket: one request, one answer.

use super::{invalid, usage};
use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use skala::api::answers::Failure;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

pub use super::check::CONFIG_DEFAULT;
const SOCKET_DEFAULT: &str = "/run/skala/skala.sock";
const POLICIES_DEFAULT: &str = "/etc/skala/policies";
const STORE_DEFAULT: &str = "sqlite:///var/lib/skala/skala.db";
/// Longer than the daemon itself waits for its scheduler.
const ANSWER_WITHIN: Duration = Duration::from_secs(40);
/// The status of 100,000 fleets fits.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// How to find the daemon.
#[derive(Clone, Debug, clap::Args)]
pub struct Daemon {
    /// The daemon's configuration, which names its socket
    #[arg(long, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    pub config: PathBuf,
    /// The daemon's socket, whatever the configuration says
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// What is read of skala.toml here: where things are. The rest may be wrong, and a person can still look and hold.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Whereabouts {
    daemon: DaemonTable,
    api: ApiTable,
    store: StoreTable,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct DaemonTable {
    policies: Option<PathBuf>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct ApiTable {
    socket: Option<PathBuf>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct StoreTable {
    url: Option<String>,
}

/// An answer, or why there is none.
#[derive(Debug)]
pub enum Asked<T> {
    /// The daemon answered.
    Answer(T),
    /// Nobody answers on the socket.
    Down(anyhow::Error),
}

impl Daemon {
    /// `GET`s a path.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        match self.try_get(path)? {
            Asked::Answer(answer) => Ok(answer),
            Asked::Down(error) => Err(error),
        }
    }

    /// `GET`s a path; that the daemon is down is an answer of its own.
    pub fn try_get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Asked<T>> {
        self.ask(Method::GET, path, Bytes::new())
    }

    /// `POST`s a request.
    pub fn post<T: DeserializeOwned>(&self, path: &str, ask: &impl Serialize) -> anyhow::Result<T> {
        match self.ask(Method::POST, path, serde_json::to_vec(ask)?.into())? {
            Asked::Answer(answer) => Ok(answer),
            Asked::Down(error) => Err(error),
        }
    }

    /// The store's URL.
    pub fn store_url(&self) -> anyhow::Result<String> {
        Ok(self.whereabouts()?.store.url.unwrap_or_else(|| STORE_DEFAULT.into()))
    }

    /// The directory of the policies.
    pub fn policies(&self) -> anyhow::Result<PathBuf> {
        Ok(self.beside_config(self.whereabouts()?.daemon.policies.unwrap_or_else(|| POLICIES_DEFAULT.into())))
    }

    fn socket(&self) -> anyhow::Result<PathBuf> {
        match &self.socket {
            Some(socket) => Ok(socket.clone()),
            None => Ok(self.beside_config(self.whereabouts()?.api.socket.unwrap_or_else(|| SOCKET_DEFAULT.into()))),
        }
    }

    /// Relative paths in the configuration are beside it; joining an absolute one gives that one.
    fn beside_config(&self, path: PathBuf) -> PathBuf {
        self.config.parent().unwrap_or(Path::new("")).join(path)
    }

    fn whereabouts(&self) -> anyhow::Result<Whereabouts> {
        let text = match std::fs::read_to_string(&self.config) {
            Ok(text) => text,
            // Without the default file everything is where it is by default; a file that was named has to be there.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.config == Path::new(CONFIG_DEFAULT) => {
                return Ok(Whereabouts::default());
            }
            Err(error) => return Err(usage(format!("cannot read {}: {error}", self.config.display()))),
        };
        toml::from_str(&text).map_err(|error| invalid(format!("{}: {error}", self.config.display())))
    }

    fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Asked<T>> {
        let socket = self.socket()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let asked = runtime.block_on(async {
            let stream = match UnixStream::connect(&socket).await {
                Ok(stream) => stream,
                Err(error) => {
                    let error = anyhow::Error::new(error);
                    return Ok(Asked::Down(error.context(format!("no daemon answers on {}", socket.display()))));
                }
            };
            let answer = tokio::time::timeout(ANSWER_WITHIN, send(stream, method, path, body));
            answer.await.context("the daemon did not answer in time")?.map(Asked::Answer)
        })?;
        match asked {
            Asked::Down(error) => Ok(Asked::Down(error)),
            Asked::Answer((status, body)) => read(status, &body).map(Asked::Answer),
        }
    }
}

async fn send(stream: UnixStream, method: Method, path: &str, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the answer, and what it would say the answer says too.
    let connection = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", "localhost").body(Full::new(body))?;
    let answer = sender.send_request(request).await.context("the daemon hung up")?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?.to_bytes();
    connection.abort();
    Ok((status, body))
}

fn read<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> anyhow::Result<T> {
    if status.is_success() {
        return serde_json::from_slice(body).context("the daemon's answer is not understood; is it another version?");
    }
    let said = serde_json::from_slice::<Failure>(body).map(|failure| failure.error);
    let said = said.unwrap_or_else(|_| format!("the daemon answered {status}"));
    match status {
        StatusCode::BAD_REQUEST => Err(usage(said)),
        StatusCode::UNPROCESSABLE_ENTITY => Err(invalid(said)),
        _ => bail!(said),
    }
}

/// A value as part of a query.
pub fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut to, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            to.push(char::from(byte));
        } else {
            to.push_str(&format!("%{byte:02X}"));
        }
        to
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        for (text, expect) in [("web-1.a_b~", "web-1.a_b~"), ("a b&c=d", "a%20b%26c%3Dd"), ("ü", "%C3%BC")] {
            assert_eq!(escaped(text), expect);
        }
    }

    #[test]
    fn whereabouts_ignore_what_is_none_of_them() {
        let read = |text: &str| toml::from_str::<Whereabouts>(text);
        let found = read("[api]\nsocket = \"/s\"\nlisten = 5\n[provider.x]\nkind = 1\n").unwrap();
        assert_eq!(found.api.socket, Some("/s".into()));
        assert!(read("[api]\nsocket = 5\n").is_err());
    }
}
