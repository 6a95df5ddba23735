//! The admin socket: reading for everybody, writing by who the kernel says is there. A write is a request to the actor;
//! its answer comes after it is durable.

use super::answers::{HoldAsk, OverrideStatus, PinAsk, ReleaseAsk, Released, ReloadAsk, ReloadedAnswer, Status};
use super::explain::{Explained, Wanted, explain};
use super::peer::Peer;
use super::{Api, Refused, health, not_found, wrong_method};
use crate::control::{Control, OverrideAsk, OverrideRefused, ReloadRefused};
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use contract::{CAPACITY_MAX, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// The largest request there is holds one reason.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// A reason is a sentence: it is shown in tables, logs and metrics' neighbours.
const REASON_BYTES_MAX: usize = 500;
/// An override ends by itself, and within a time that somebody still remembers it.
const LASTS_MAX: Duration = Duration::from_secs(366 * 86_400);
/// The actor answers between two cycles; a longer silence means that it is stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long an explanation waits for the newest decision to be saved.
const SAVED_WITHIN: Duration = Duration::from_secs(2);

type Answer<T> = Result<Json<T>, Refused>;

pub(super) fn router(api: Api) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/explain", get(explained))
        .route("/v1/hold", post(hold))
        .route("/v1/pin", post(pin))
        .route("/v1/release", post(release))
        .route("/v1/reload", post(reload))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}

async fn status(State(api): State<Api>) -> Json<Status> {
    let now = api.clock.now();
    Json(api.published.read(|view| Status::new(view, now)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainQuery {
    fleet: String,
    /// Seconds since the epoch.
    at: Option<f64>,
    /// Seconds before now; comes before `at`.
    ago_secs: Option<u64>,
}

async fn explained(State(api): State<Api>, query: Result<Query<ExplainQuery>, QueryRejection>) -> Answer<Explained> {
    let Query(query) = query.map_err(|error| Refused::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let wrong_time = || Refused::new(StatusCode::BAD_REQUEST, "`at` is in seconds since the epoch");
    let at = match query.ago_secs {
        Some(ago) => Some(api.clock.now().before(Duration::from_secs(ago))),
        None => query.at.map(|at| Timestamp::from_secs_f64(at).ok_or_else(wrong_time)).transpose()?,
    };
    let set = api.published.read(|view| Arc::clone(&view.set));
    let wanted = Wanted { fleet: query.fleet.into(), at };
    // The newest decision may not be in the journal yet. A scheduler that is stuck keeps nobody from the older ones.
    let saved = ask_actor(&api, |reply| Control::Save { fleet: Arc::clone(&wanted.fleet), reply });
    let _ = tokio::time::timeout(SAVED_WITHIN, saved).await;
    match explain(&*api.store, &set, wanted).await {
        Ok(Some(explained)) => Ok(Json(explained)),
        Ok(None) => {
            Err(Refused::new(StatusCode::NOT_FOUND, "no decision of that fleet is in the journal at that time"))
        }
        Err(error) => Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
}

async fn hold(State(api): State<Api>, Extension(peer): Extension<Peer>, body: Bytes) -> Answer<OverrideStatus> {
    peer.may_write()?;
    let ask: HoldAsk = read(&body)?;
    let what = OverrideAsk::Hold { scale_in_only: ask.scale_in_only };
    put(&api, peer, ask.fleet, what, ask.for_secs, ask.reason).await
}

async fn pin(State(api): State<Api>, Extension(peer): Extension<Peer>, body: Bytes) -> Answer<OverrideStatus> {
    peer.may_write()?;
    let ask: PinAsk = read(&body)?;
    if ask.n > CAPACITY_MAX {
        return Err(Refused::new(StatusCode::BAD_REQUEST, format!("n is more than {CAPACITY_MAX}")));
    }
    let what = OverrideAsk::Pin { n: ask.n, now: ask.now };
    put(&api, peer, ask.fleet, what, ask.for_secs, ask.reason).await
}

async fn put(
    api: &Api,
    peer: Peer,
    fleet: String,
    ask: OverrideAsk,
    for_secs: u64,
    reason: String,
) -> Answer<OverrideStatus> {
    let lasts = Duration::from_secs(for_secs);
    if lasts.is_zero() || lasts > LASTS_MAX {
        return Err(Refused::new(StatusCode::BAD_REQUEST, "an override lasts from a second to 366 days"));
    }
    if reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX || reason.contains(char::is_control) {
        let text = format!("a reason is one line of 1 to {REASON_BYTES_MAX} bytes");
        return Err(Refused::new(StatusCode::BAD_REQUEST, text));
    }
    let (fleet, reason, by): (Arc<str>, Arc<str>, Arc<str>) = (fleet.into(), reason.into(), peer.name().into());
    let row = ask_actor(api, |reply| Control::Override { fleet, ask, lasts, reason, by, reply }).await?;
    row.map(|row| Json(OverrideStatus::new(&row))).map_err(override_refused)
}

async fn release(State(api): State<Api>, Extension(peer): Extension<Peer>, body: Bytes) -> Answer<Released> {
    peer.may_write()?;
    let ask: ReleaseAsk = read(&body)?;
    let (fleet, by): (Arc<str>, Arc<str>) = (ask.fleet.into(), peer.name().into());
    let row = ask_actor(&api, |reply| Control::Release { fleet, by, reply }).await?.map_err(override_refused)?;
    Ok(Json(Released { released: row.as_ref().map(OverrideStatus::new) }))
}

async fn reload(State(api): State<Api>, Extension(peer): Extension<Peer>, body: Bytes) -> Answer<ReloadedAnswer> {
    peer.may_write()?;
    let ask = if body.is_empty() { ReloadAsk::default() } else { read::<ReloadAsk>(&body)? };
    let allow_removal = ask.allow_removal;
    let done = ask_actor(&api, |reply| Control::Reload { allow_removal, reply: Some(reply) }).await?;
    let done = done.map_err(|refused| {
        let status = match refused {
            ReloadRefused::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            ReloadRefused::Unreadable(_) | ReloadRefused::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            ReloadRefused::LosesFleets { .. } => StatusCode::CONFLICT,
        };
        Refused::new(status, refused.to_string())
    })?;
    Ok(Json(ReloadedAnswer { revision: done.revision.to_string(), fleets: done.fleets, changed: done.changed }))
}

/// Reads a body, whatever its content type says: this is no place that a browser can reach.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| Refused::new(StatusCode::BAD_REQUEST, error.to_string()))
}

/// Sends a request to the actor and waits for its answer.
async fn ask_actor<T>(api: &Api, request: impl FnOnce(oneshot::Sender<T>) -> Control) -> Result<T, Refused> {
    let (reply, answer) = oneshot::channel();
    let gone = || Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping");
    let asked = async {
        api.control.send(request(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    };
    tokio::time::timeout(ANSWER_WITHIN, asked).await.unwrap_or_else(|_| {
        let text = "the scheduler did not answer in 30 s; `skala status` shows whether it was taken all the same";
        Err(Refused::new(StatusCode::GATEWAY_TIMEOUT, text))
    })
}

fn override_refused(refused: OverrideRefused) -> Refused {
    let status = match refused {
        OverrideRefused::NoFleet(_) => StatusCode::NOT_FOUND,
        OverrideRefused::Invalid(_) => StatusCode::BAD_REQUEST,
        OverrideRefused::Store(_) | OverrideRefused::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    Refused::new(status, refused.to_string())
}
