//! What people and Prometheus ask of a running daemon. The Unix socket is for administration: everybody may read, root,
//! the daemon's own user and the group `skala` may write. The TCP address is read-only and meant for loopback.
//!
//! In come HTTP requests, out go what the actor published and requests to it ([`crate::control`]). Nothing here decides,
//! keeps or observes anything, and nothing here waits for a cloud.

mod admin;
pub mod answers;
mod explain;
mod health;
mod listen;
mod peer;
mod public;

pub use explain::{Explained, Replay, Wanted, Without, explain};
pub use listen::{ApiError, Listeners};
pub use peer::GROUP;

use crate::clock::Clock;
use crate::control::Control;
use crate::published::Published;
use crate::store::Store;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use tokio::sync::mpsc;

/// What the API reads from and writes to.
#[derive(Clone)]
pub struct Api {
    /// What the actor shows.
    pub published: Published,
    /// How to reach the actor.
    pub control: mpsc::Sender<Control>,
    /// The journal, for `explain`.
    pub store: Arc<dyn Store>,
    /// Ages are told by it.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Api")
    }
}

/// A refusal, as `{"error": "..."}`.
#[derive(Debug)]
pub(crate) struct Refused(StatusCode, String);

impl Refused {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self(status, text.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(answers::Failure { error: self.1 })).into_response()
    }
}

/// Any path that is not there.
async fn not_found() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "there is nothing here")
}

/// A path that is there, asked for in another way.
async fn wrong_method() -> Refused {
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, "not with this method")
}
