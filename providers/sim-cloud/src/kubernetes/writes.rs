//! Writes: merge patches and replacements of objects, of their scale, and of what scales them.

use super::objects::{self, Name, OWNER};
use super::path::Path;
use super::status::Refused;
use super::{Faster, State, lists::View, status};
use crate::request::{Reply, Request};
use contract::{Capacity, Epoch, OwnerTag, Suspended, Timestamp};
use serde_json::Value;
use sim::Cloud;

/// The largest number of replicas that the API's types hold.
const REPLICAS_MAX: i64 = i32::MAX as i64;

pub(super) fn write(cloud: &Cloud, state: &mut State, request: &Request, path: &Path) -> Result<Reply, Refused> {
    if !matches!(path.verb, "patch" | "update") || !matches!(path.sub.as_deref(), None | Some("scale")) {
        return Err(status::method(path));
    }
    if path.sub.is_none() && state.scalers.has(path) {
        let wanted = wanted(request, path)?;
        if let Some(Faster::Touches) = state.faster.take_if(|faster| *faster == Faster::Touches) {
            state.scalers.touch(path);
        }
        let State { scalers, memory, .. } = state;
        return Ok(View::of(request, path).one(&scalers.write(memory, path, &wanted)?));
    }
    let name = objects::group(cloud, path).ok_or_else(|| status::not_found(path))?;
    if path.sub.is_some()
        && let Some(faster) = state.faster.take()
    {
        be_faster(cloud, state, &name, faster);
    }
    let before = objects::workload(cloud, &mut state.memory, &name).ok_or_else(|| status::not_found(path))?;
    let wanted = wanted(request, path)?;
    for key in ["resourceVersion", "uid"] {
        let told = wanted["metadata"][key].as_str().filter(|told| !told.is_empty());
        if told.is_some_and(|told| before["metadata"][key].as_str() != Some(told)) {
            return Err(status::conflict(path));
        }
    }
    let replicas = match wanted["spec"].get("replicas") {
        None | Some(Value::Null) if path.sub.is_some() && path.verb == "update" => Some(0),
        None | Some(Value::Null) => None,
        Some(number) => Some(replicas(path, number)?),
    };
    if let Some(replicas) = replicas
        && before["spec"]["replicas"].as_u64() != Some(replicas.into())
    {
        cloud.resize(&name.group, replicas).map_err(|_| status::internal())?;
    }
    if path.sub.is_none() {
        annotate(cloud, state, &name, &wanted["metadata"]["annotations"]);
        if let Some(paused) = wanted["spec"].get("paused") {
            let paused = paused == &Value::Bool(true);
            cloud.set_suspended(
                &name.group,
                paused.then(|| Suspended::Other("rollout paused".into())).into_iter().collect(),
            );
        }
    }
    let after = objects::workload(cloud, &mut state.memory, &name).ok_or_else(|| status::not_found(path))?;
    if path.sub.is_some() {
        return Ok(Reply::json(200, &objects::scale(&after)));
    }
    Ok(View::of(request, path).one(&after))
}

fn be_faster(cloud: &Cloud, state: &mut State, name: &Name, faster: Faster) {
    match faster {
        Faster::Touches => {
            let kept = state.memory.annotations.entry(name.group.clone()).or_default();
            let times = kept.get("touched").map_or(0, String::len) + 1;
            kept.insert("touched".into(), "x".repeat(times));
        }
        Faster::Scales(to) => {
            cloud.set_desired(&name.group, to);
        }
    }
}

/// The body, when it is of a kind that is served.
fn wanted(request: &Request, path: &Path) -> Result<Value, Refused> {
    let kind = request.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
    let served = match path.verb {
        "patch" => ["application/merge-patch+json", "application/strategic-merge-patch+json"].contains(&kind),
        // Nothing said means JSON; kubectl says nothing.
        _ => ["", "application/json"].contains(&kind),
    };
    // A custom kind has no strategy to merge by.
    if !served || (["argoproj.io", "keda.sh"].contains(&&*path.group) && kind.contains("strategic")) {
        return Err(status::media_type());
    }
    let body = request.json();
    if body.is_object() { Ok(body) } else { Err(status::bad_request("the object provided is unrecognized")) }
}

fn replicas(path: &Path, number: &Value) -> Result<Capacity, Refused> {
    let wrong = |why: &str| status::invalid(path, "spec.replicas", why);
    let whole = number.as_i64().filter(|number| *number <= REPLICAS_MAX);
    let whole = whole.ok_or_else(|| wrong("must be a whole number of 32 bits"))?;
    Capacity::try_from(whole).map_err(|_| wrong("must be greater than or equal to 0"))
}

fn annotate(cloud: &Cloud, state: &mut State, name: &Name, wanted: &Value) {
    for (key, value) in wanted.as_object().into_iter().flatten() {
        if key == OWNER {
            cloud.set_owner(&name.group, value.as_str().and_then(owner));
            continue;
        }
        let kept = state.memory.annotations.entry(name.group.clone()).or_default();
        match value.as_str() {
            Some(text) => kept.insert(key.clone(), text.to_owned()),
            None => kept.remove(key),
        };
    }
}

fn owner(text: &str) -> Option<OwnerTag> {
    let mut parts = text.rsplitn(3, '/');
    let expiry = Timestamp::from_secs(parts.next()?.parse().ok()?);
    let epoch = Epoch(parts.next()?.parse().ok()?);
    Some(OwnerTag { id: parts.next()?.into(), epoch, expiry })
}
