//! Compute Engine: managed instance groups, their instances, operations and autoscalers, as the published description of
//! the API (compute v1) has them; and of Cloud Monitoring (v3) the list of time series.
//!
//! A simulated group is a group of a zone, or of the region when its name ends in an even digit. Groups have no smallest
//! and largest capacity in this API; the simulated ones are refused as invalid. Desired capacity without a machine shows
//! as instances that are being created and have no status, as the real ones do.

mod aligned;
mod garble;
mod monitoring;
mod operations;
mod paging;
mod place;
mod refusals;
mod scalers;
mod shapes;
mod templates;
mod writes;

use crate::api::{Api, Kind};
use crate::faults::{Garble, Refusal};
use crate::request::{Reply, Request};
use contract::{Foreign, GroupId, InstanceId, Timestamp};
pub use monitoring::GcpSeries;
use operations::Operations;
use place::Place;
use refusals::refuse;
use scalers::Scalers;
use sim::Cloud;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use templates::Templates;

/// Most items in a page.
const PAGE_MAX: usize = 500;
/// What a native scaler is called.
const SCALER: &str = "native";

/// The API over a cloud.
pub struct Gcp {
    cloud: Cloud,
    project: String,
    page: usize,
    token: Option<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    operations: Operations,
    templates: Templates,
    scalers: Scalers,
    series: Vec<GcpSeries>,
    unreachable: BTreeSet<Place>,
    hides_regions: bool,
    whole_list_fails: bool,
    tokens_made: u64,
}

impl Gcp {
    /// The API of a project.
    pub fn new(cloud: Cloud, project: &str) -> Self {
        Self { cloud, project: project.to_owned(), page: PAGE_MAX, token: None, state: Mutex::default() }
    }

    /// Pages end after so many items, also when more are asked for.
    #[must_use]
    pub fn with_page(self, page: usize) -> Self {
        Self { page, ..self }
    }

    /// Only calls with this bearer token are answered; `/token` and `/sts` hand it out.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    /// From now on these places (`zones/Z`, `regions/R`) cannot be reached: lists say so, and calls to them fail.
    pub fn set_unreachable(&self, places: &[&str]) {
        self.lock().unreachable = places.iter().filter_map(|text| Place::of(text)).collect();
    }

    /// From now on the list of the whole project does not speak of regions, or does again.
    pub fn hide_regions(&self, hide: bool) {
        self.lock().hides_regions = hide;
    }

    /// From now on the list of the whole project fails, or works again.
    pub fn fail_whole_list(&self, fail: bool) {
        self.lock().whole_list_fails = fail;
    }

    /// The next write is taken, changes nothing, and its operation ends with this error.
    pub fn fail_next_operation(&self, code: &str, message: &str) {
        self.lock().operations.fail_next(code, message);
    }

    /// A group has a new template from now on; instances that are there keep the one they have.
    pub fn change_template(&self, group: &str) {
        let now = self.cloud.now();
        self.lock().templates.change(group, now);
    }

    /// How many tokens were handed out.
    pub fn tokens_made(&self) -> u64 {
        self.lock().tokens_made
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.cloud.now()
    }

    /// Simulated groups by the name that a path ends in.
    fn find(&self, place: &Place, name: &str) -> Option<GroupId> {
        let group = GroupId::from(name);
        (Place::of_group(name) == *place && self.cloud.truth(&group).is_some()).then_some(group)
    }

    fn authorised(&self, request: &Request) -> bool {
        let given = request.header("authorization").and_then(|text| text.strip_prefix("Bearer "));
        self.token.as_deref().is_none_or(|token| given == Some(token))
    }

    fn hand_out_token(&self) -> Reply {
        self.lock().tokens_made += 1;
        let token = self.token.as_deref().unwrap_or("a-token");
        Reply::json(
            200,
            &serde_json::json!({
                "access_token": token,
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "token_type": "Bearer",
                "expires_in": 3600,
            }),
        )
    }

    fn route(&self, request: &Request) -> Reply {
        let parts = request.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        if let ("GET", ["v3", "projects", project, "timeSeries"]) = (request.method.as_str(), parts.as_slice()) {
            return self.time_series(request, project);
        }
        let Some(rest) = parts.strip_prefix(&["compute", "v1", "projects"]) else {
            return refuse(404, "notFound", "Not Found");
        };
        let [project, rest @ ..] = rest else { return refuse(404, "notFound", "Not Found") };
        if *project != self.project {
            return refuse(404, "notFound", &format!("The resource 'projects/{project}' was not found"));
        }
        let method = request.method.as_str();
        match (method, rest) {
            ("GET", ["aggregated", "instanceGroupManagers"]) => self.all_groups(request),
            ("GET", ["aggregated", "instances"]) => self.all_machines(request),
            (_, [kind @ ("zones" | "regions"), place, rest @ ..]) => {
                let Some(place) = Place::of(&format!("{kind}/{place}")).filter(Place::exists) else {
                    return refuse(404, "notFound", &format!("The resource '{kind}/{place}' was not found"));
                };
                if self.lock().unreachable.contains(&place) {
                    return refuse(503, "backendError", &format!("{place} is unreachable"));
                }
                self.route_in(request, &place, method, rest)
            }
            _ => refuse(404, "notFound", "Not Found"),
        }
    }

    fn route_in(&self, request: &Request, place: &Place, method: &str, rest: &[&str]) -> Reply {
        match (method, rest) {
            ("GET", ["instanceGroupManagers"]) => self.groups_of(request, place),
            ("GET", ["operations", name]) | ("POST", ["operations", name, "wait"]) => self.operation(place, name),
            ("GET", ["autoscalers", name]) => self.autoscaler(place, name),
            ("PATCH", ["autoscalers"]) => self.patch_autoscaler(request, place),
            (_, ["instanceGroupManagers", name, rest @ ..]) => {
                let Some(group) = self.find(place, name) else {
                    let what = format!("The resource '{place}/instanceGroupManagers/{name}' was not found");
                    return refuse(404, "notFound", &what);
                };
                match (method, rest) {
                    ("GET", []) => Reply::json(200, &self.group(&group)),
                    ("POST", ["listManagedInstances"]) => self.managed_instances(request, &group),
                    ("POST", ["resize"]) => self.resize(request, &group),
                    ("POST", ["deleteInstances"]) => self.delete_instances(request, &group),
                    _ => refuse(404, "notFound", "Not Found"),
                }
            }
            _ => refuse(404, "notFound", "Not Found"),
        }
    }
}

impl Api for Gcp {
    fn answer(&self, request: &Request) -> Reply {
        match request.path.as_str() {
            "/token" | "/sts" => self.hand_out_token(),
            _ if !self.authorised(request) => self.refusal(&Refusal::WrongCredentials, request),
            _ => self.route(request),
        }
    }

    fn kind(&self, request: &Request) -> Option<Kind> {
        let read = ["/listManagedInstances", "/wait"];
        match request.method.as_str() {
            _ if request.path.starts_with("/v3/") => Some(Kind::Read),
            _ if !request.path.starts_with("/compute/") => None,
            "PATCH" => Some(Kind::Write),
            "POST" if !read.iter().any(|end| request.path.ends_with(end)) => Some(Kind::Write),
            _ => Some(Kind::Read),
        }
    }

    fn is_later_page(&self, request: &Request) -> bool {
        request.param("pageToken").is_some_and(|token| !token.is_empty())
    }

    fn refusal(&self, refusal: &Refusal, request: &Request) -> Reply {
        refusals::refusal(refusal, request, self.now())
    }

    fn garble(&self, garble: Garble, request: &Request, reply: &Reply) -> Option<Reply> {
        garble::garble(garble, request, reply)
    }

    fn group_id(&self, group: &str) -> GroupId {
        format!("{}/{group}", Place::of_group(group)).into()
    }

    fn instance_id(&self, group: &GroupId, instance: &InstanceId) -> InstanceId {
        let truth = self.cloud.truth(group);
        let zone = truth.and_then(|truth| truth.instances.into_iter().find(|i| i.id == *instance)?.zone);
        format!("{}/{instance}", place::zone_of(group, zone.as_deref())).into()
    }

    fn foreign(&self) -> Foreign {
        Foreign { name: format!("autoscaler {SCALER}").into(), removes: Some(true) }
    }
}
