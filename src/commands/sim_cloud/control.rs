//! What people ask of the simulated clouds while they run: faults, and a look at what is there. It has an address of its own,
//! so that it answers also while a cloud is told not to.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use sim_cloud::{Live, Noted, Spec};
use std::sync::Arc;

/// The clouds by name.
pub type Clouds = Vec<(String, Live)>;

type Refused = (StatusCode, String);

/// What the control address answers.
pub fn router(clouds: Arc<Clouds>) -> Router {
    Router::new()
        .route("/", get(all))
        .route("/{cloud}", get(one))
        .route("/{cloud}/faults", post(play).delete(clear))
        .with_state(clouds)
}

async fn all(State(clouds): State<Arc<Clouds>>) -> Json<Value> {
    Json(clouds.iter().map(|(name, live)| (name.clone(), shown(live))).collect::<serde_json::Map<_, _>>().into())
}

async fn one(State(clouds): State<Arc<Clouds>>, Path(name): Path<String>) -> Result<Json<Value>, Refused> {
    find(&clouds, &name).map(|live| Json(shown(live)))
}

async fn play(
    State(clouds): State<Arc<Clouds>>,
    Path(name): Path<String>,
    text: String,
) -> Result<Json<Noted>, Refused> {
    let live = find(&clouds, &name)?;
    let wrong = |wrong: &dyn std::fmt::Display| (StatusCode::BAD_REQUEST, format!("{wrong}\n"));
    let spec: Spec = text.parse().map_err(|error| wrong(&error))?;
    live.play(&spec).map(Json).map_err(|error| wrong(&error))
}

async fn clear(State(clouds): State<Arc<Clouds>>, Path(name): Path<String>) -> Result<StatusCode, Refused> {
    find(&clouds, &name)?.clear();
    Ok(StatusCode::NO_CONTENT)
}

fn find<'a>(clouds: &'a Clouds, name: &str) -> Result<&'a Live, Refused> {
    let found = clouds.iter().find(|(known, _)| known == name).map(|(_, live)| live);
    found.ok_or_else(|| {
        let names: Vec<&str> = clouds.iter().map(|(name, _)| name.as_str()).collect();
        (StatusCode::NOT_FOUND, format!("there is no cloud `{name}` here, but {}\n", names.join(", ")))
    })
}

fn shown(live: &Live) -> Value {
    let calls = live.calls();
    json!({
        "kind": live.kind.word(),
        "url": live.url(),
        "groups": live.groups(),
        "faults": live.faults(),
        "calls": { "reads": calls.reads, "writes": calls.writes, "others": calls.others },
    })
}
