//! A Kubernetes API server over simulated machines: Deployments, StatefulSets and one custom kind with a scale
//! subresource, their pods, nodes, autoscalers (KEDA's too), and what clients ask an API server of itself.
//!
//! A simulated group `deployment:NAMESPACE/NAME` is a Deployment; `deployment:NAMESPACE/statefulset/NAME` and
//! `deployment:NAMESPACE/rollouts.argoproj.io/NAME` are the other kinds. Its instances are pods with a node each; capacity
//! that finds no machine shows as pods that no node has room for, and what a quota forbids shows as the Deployment's
//! `ReplicaFailure`. Every write may name a resourceVersion, and is refused with 409 when the object is another by then;
//! `metadata.generation` grows with every change of the spec and with no other.
//!
//! Not as in a real cluster: watches are not streamed, rollouts are over at once, and a StatefulSet removes its newest pods
//! rather than its highest numbers.

mod discovery;
mod lists;
mod memory;
mod objects;
mod path;
mod scalers;
mod status;
mod writes;

use crate::api::{Api, Kind};
use crate::faults::{Garble, Refusal};
use crate::request::{Reply, Request};
use contract::{Capacity, Foreign, GroupId, InstanceId};
use lists::View;
use memory::Memory;
use path::{Path, Route};
pub use scalers::Keda;
use scalers::{HPAS, SCALED, Scalers};
use serde_json::{Value, json};
use sim::Cloud;
use status::Refused;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What groups' names begin with in the simulated cloud.
pub const PREFIX: &str = "deployment:";
/// The name of the autoscaler of the first group that has one.
const AUTOSCALER: &str = "native";

/// One simulated API server.
pub struct Kubernetes {
    cloud: Cloud,
    page_max: usize,
    state: Mutex<State>,
}

/// What somebody else does between a client's read and its write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faster {
    /// The object has another version, and its spec is as it was: what every status update does.
    Touches,
    /// The object holds so many replicas.
    Scales(Capacity),
}

/// What is not of the machines.
#[derive(Debug, Default)]
struct State {
    memory: Memory,
    forbidden: BTreeSet<String>,
    stalled: BTreeSet<String>,
    token: Option<String>,
    /// So many more requests are answered before every token has expired.
    requests_left: Option<usize>,
    scalers: Scalers,
    /// The next continuation is told that its list is gone.
    expire_next: bool,
    /// What somebody else does just before the next write of a scale.
    faster: Option<Faster>,
}

impl Kubernetes {
    /// An API server over these machines, of which the `deployment:` groups are seen.
    pub fn new(cloud: Cloud) -> Self {
        Self { cloud, page_max: 500, state: Mutex::default() }
    }

    /// The same server with smaller pages than clients ask for.
    #[must_use]
    pub fn with_page_max(self, page_max: usize) -> Self {
        Self { page_max: page_max.max(1), ..self }
    }

    /// From now on it answers 403 to this, as RBAC does: `list pods` or, for the list over all namespaces alone,
    /// `list pods everywhere`; verbs are get, list and patch.
    pub fn forbid(&self, rule: &str) {
        self.lock().forbidden.insert(rule.into());
    }

    /// From now on it never answers this, in the words of [`Kubernetes::forbid`]: what a list of everything comes to in a
    /// large cluster.
    pub fn stall(&self, rule: &str) {
        self.lock().stalled.insert(rule.into());
    }

    /// From now on it knows this bearer token alone.
    pub fn expect_token(&self, token: &str) {
        self.lock().token = Some(token.into());
    }

    /// Every token expires after so many more requests; `None`: none does.
    pub fn expire_tokens_after(&self, requests: Option<usize>) {
        self.lock().requests_left = requests;
    }

    /// Somebody deletes an object whose pods are waited for: it is marked, and stays for the time being.
    pub fn begin_deletion(&self, group: &GroupId) {
        let since = objects::time(self.cloud.now());
        self.lock().memory.going.insert(group.clone(), since);
    }

    /// KEDA is installed from now on; with a Deployment's name, a ScaledObject scales it.
    pub fn install_keda(&self, keda: Keda, scaled: Option<(&str, &str)>) {
        self.lock().scalers.keda = Some(keda);
        if let Some((namespace, name)) = scaled {
            let spec = json!({
                "scaleTargetRef": {"name": name}, "minReplicaCount": 1, "maxReplicaCount": 20,
                "triggers": [{"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}}],
            });
            self.put_scaled_object(namespace, name, json!({"metadata": {}, "spec": spec}));
        }
    }

    /// Somebody writes a HorizontalPodAutoscaler, new or in place of what was there; the server fills in what is usual.
    pub fn put_autoscaler(&self, namespace: &str, name: &str, object: Value) {
        self.lock().scalers.put(HPAS, namespace, name, object);
    }

    /// Somebody writes a ScaledObject, and KEDA sees it.
    pub fn put_scaled_object(&self, namespace: &str, name: &str, object: Value) {
        self.lock().scalers.put(SCALED, namespace, name, object);
    }

    /// What a HorizontalPodAutoscaler is set to, without what a server adds.
    pub fn autoscaler(&self, namespace: &str, name: &str) -> Option<Value> {
        self.lock().scalers.get(HPAS, namespace, name).cloned()
    }

    /// What a ScaledObject is set to, without what a server adds.
    pub fn scaled_object(&self, namespace: &str, name: &str) -> Option<Value> {
        self.lock().scalers.get(SCALED, namespace, name).cloned()
    }

    /// Somebody deletes a HorizontalPodAutoscaler.
    pub fn delete_autoscaler(&self, namespace: &str, name: &str) {
        self.lock().scalers.delete(HPAS, namespace, name);
    }

    /// Somebody deletes a ScaledObject, and its HorizontalPodAutoscaler goes with it.
    pub fn delete_scaled_object(&self, namespace: &str, name: &str) {
        self.lock().scalers.delete(SCALED, namespace, name);
    }

    /// The next request for a later page is told that its list is gone (410).
    pub fn expire_continuation(&self) {
        self.lock().expire_next = true;
    }

    /// Somebody else is faster than the next write of a scale or an autoscaler.
    pub fn be_faster(&self, faster: Faster) {
        self.lock().faster = Some(faster);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, request: &Request) -> Result<Reply, Refused> {
        let mut state = self.lock();
        if let Some(token) = &state.token
            && request.header("authorization") != Some(&format!("Bearer {token}"))
        {
            return Err(status::unauthorized());
        }
        match &mut state.requests_left {
            Some(0) => return Err(status::unauthorized()),
            Some(left) => *left -= 1,
            None => {}
        }
        let path = match path::route(request) {
            Route::Resource(path) => path,
            Route::About => {
                let about =
                    discovery::about(&request.path, state.scalers.keda.is_some()).ok_or_else(status::no_page)?;
                return Ok(Reply::json(200, &about));
            }
        };
        if path.plural == SCALED && state.scalers.keda.is_none() && !state.forbids(&path) {
            return Err(status::no_page());
        }
        if state.forbids(&path) {
            return Err(status::forbidden(&path));
        }
        match path.verb {
            "list" if request.param("watch").is_some_and(|watch| ["1", "true"].contains(&watch)) => {
                // A watch that ends at once: clients list again.
                Ok(Reply::text(200, "application/json", ""))
            }
            "list" => {
                if request.param("continue").is_some() && std::mem::take(&mut state.expire_next) {
                    return Err(status::expired());
                }
                let items = objects::all(&self.cloud, &mut state, &path).ok_or_else(status::no_page)?;
                lists::page(request, &path, items, self.page_max, state.memory.version()).map(View::reply)
            }
            "get" => {
                let object = self.find(&mut state, &path)?;
                Ok(View::of(request, &path).one(&object))
            }
            _ => writes::write(&self.cloud, &mut state, request, &path),
        }
    }

    fn find(&self, state: &mut State, path: &Path) -> Result<Value, Refused> {
        objects::one(&self.cloud, state, path).ok_or_else(|| status::not_found(path))
    }
}

impl State {
    fn forbids(&self, path: &Path) -> bool {
        names(&self.forbidden, path)
    }
}

/// One of these rules is about this path.
fn names(rules: &BTreeSet<String>, path: &Path) -> bool {
    let rule = format!("{} {}", path.verb, path.resource());
    rules.contains(&rule) || (path.namespace.is_none() && rules.contains(&format!("{rule} everywhere")))
}

impl Api for Kubernetes {
    fn answer(&self, request: &Request) -> Reply {
        self.serve(request).unwrap_or_else(|refused| *refused)
    }

    fn kind(&self, request: &Request) -> Option<Kind> {
        let Route::Resource(path) = path::route(request) else { return None };
        match path.verb {
            "get" | "list" => Some(Kind::Read),
            // What changes annotations alone is a note, and an autoscaler's setting is no change of capacity either.
            _ if [HPAS, SCALED].contains(&&*path.plural) => None,
            _ if path.sub.is_none() && request.json().get("spec").is_none() => None,
            _ => Some(Kind::Write),
        }
    }

    fn is_later_page(&self, request: &Request) -> bool {
        request.param("continue").is_some()
    }

    fn hangs(&self, request: &Request) -> bool {
        matches!(path::route(request), Route::Resource(path) if names(&self.lock().stalled, &path))
    }

    fn refusal(&self, refusal: &Refusal, request: &Request) -> Reply {
        let path = match path::route(request) {
            Route::Resource(path) => path,
            Route::About => Path::default(),
        };
        let refused = match refusal {
            Refusal::Throttled { retry_after } => status::throttled(*retry_after),
            Refusal::Internal => status::internal(),
            Refusal::Denied => status::forbidden(&path),
            // An API server tells these apart from nobody.
            Refusal::Expired | Refusal::WrongCredentials | Refusal::ClockOff => status::unauthorized(),
            Refusal::OutOfCapacity | Refusal::QuotaExceeded => status::over_quota(&path),
        };
        *refused
    }

    fn garble(&self, garble: Garble, request: &Request, reply: &Reply) -> Option<Reply> {
        let body = reply.to_json();
        lists::garble(garble, request, &body).map(|body| reply.clone().with_json(&body))
    }

    fn group_id(&self, group: &str) -> GroupId {
        group.strip_prefix(PREFIX).unwrap_or(group).into()
    }

    fn instance_id(&self, group: &GroupId, instance: &InstanceId) -> InstanceId {
        let Some(name) = objects::Name::of(group) else { return instance.clone() };
        let mut state = self.lock();
        objects::pod_name(&name, state.memory.ordinal(group, instance), instance).into()
    }

    fn foreign(&self) -> Foreign {
        Foreign { name: format!("HorizontalPodAutoscaler shop/{AUTOSCALER}").into(), removes: Some(true) }
    }
}

/// `kind` and `apiVersion` first, as an API server writes them.
fn headed(kind: &str, version: &str, rest: Value) -> Value {
    let mut object = json!({"kind": kind, "apiVersion": version});
    if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
        object.extend(rest);
    }
    object
}
