//! Azure: the parts of Resource Manager that a scale set's provider uses, Azure Monitor's metrics and autoscale settings
//! among them, and Entra's token endpoint.
//!
//! A simulated group `web-1` is the scale set `rg-skala/web-1` of [`SUBSCRIPTION`]. Everything needs a token that was
//! issued here and holds. Writes answer with an asynchronous operation that ends when the machines have done what it asked,
//! or failed to; ETags grow with every write by anybody.

mod autoscale;
mod login;
mod machines;
mod metrics;
mod operations;
mod refusals;
mod sets;

pub use autoscale::Settings;
pub use metrics::{Metrics, Series};

use crate::api::{Api, Kind};
use crate::faults::{Garble, Refusal};
use crate::request::{Reply, Request};
use contract::{Foreign, GroupId, InstanceId, Timestamp};
use refusals::error;
use sim::Cloud;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The subscription that everything is in.
pub const SUBSCRIPTION: &str = "00000000-1111-2222-3333-444444444444";
/// The resource group that every scale set is in.
pub const RESOURCE_GROUP: &str = "rg-skala";
/// The tenant that issues tokens.
pub const TENANT: &str = "contoso.example";
/// The one application that gets tokens.
pub const CLIENT: &str = "55555555-6666-7777-8888-999999999999";
/// Its secret; everybody may know it.
pub const SECRET: &str = "not-a-secret";
/// A federated token that is taken for the application's.
pub const FEDERATED: &str = "a-federated-token";

const LOCATION: &str = "westeurope";

/// Azure over simulated machines.
pub struct Azure {
    cloud: Cloud,
    flexible: bool,
    page: usize,
    metrics: Metrics,
    settings: Settings,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Tags of sets beside the owner's, which the machines keep.
    tags: BTreeMap<GroupId, BTreeMap<String, String>>,
    /// Writes of tags alone: they change the ETag, and no machine.
    tagged: BTreeMap<GroupId, u64>,
    operations: BTreeMap<String, operations::Operation>,
    made: u64,
    tokens: BTreeMap<String, Timestamp>,
}

impl Azure {
    /// Serves every group of `cloud` as a Uniform scale set.
    pub fn new(cloud: Cloud) -> Self {
        let (metrics, settings, state) = (Metrics::default(), Settings::default(), Mutex::default());
        Self { cloud, flexible: false, page: 100, metrics, settings, state }
    }

    /// The same with Flexible sets.
    #[must_use]
    pub fn flexible(self) -> Self {
        Self { flexible: true, ..self }
    }

    /// The same with so many items in a page.
    #[must_use]
    pub fn with_page(self, page: usize) -> Self {
        Self { page: page.max(1), ..self }
    }

    /// What Azure Monitor has been told, and can be told.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// The autoscale settings that are more than a sign of a foreign controller.
    pub fn settings(&self) -> Settings {
        self.settings.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_id(group: &GroupId) -> String {
        format!(
            "/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/{group}"
        )
    }

    /// The group that a set's name means: names are compared without regard to case.
    fn group_of(&self, name: &str) -> Option<GroupId> {
        self.cloud.groups().into_iter().find(|group| group.as_str().eq_ignore_ascii_case(name))
    }

    fn route(&self, request: &Request, parts: &[&str]) -> Reply {
        let lower: Vec<String> = parts.iter().map(|part| part.to_ascii_lowercase()).collect();
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        if let ("GET", [resource @ .., "providers", "microsoft.insights", "metrics"]) =
            (request.method.as_str(), lower.as_slice())
        {
            return self.list_metrics(request, &format!("/{}", parts[..resource.len()].join("/")));
        }
        let [_, _, below @ ..] = lower.as_slice() else { return no_route() };
        match (request.method.as_str(), below) {
            ("GET", ["providers", "microsoft.compute", "virtualmachinescalesets"]) => self.list_sets(request),
            ("GET", ["providers", "microsoft.compute", "virtualmachines"]) => self.list_virtual_machines(request),
            ("GET", ["providers", "microsoft.insights", "autoscalesettings"]) => self.list_autoscale(request),
            ("GET", ["providers", "microsoft.compute", "locations", _, "operations", id]) => {
                self.operation(request, id)
            }
            (_, ["resourcegroups", group, "providers", "microsoft.insights", "autoscalesettings", rest @ ..]) => {
                self.route_autoscale(request, group, rest)
            }
            (
                method,
                ["resourcegroups", group, "providers", "microsoft.compute", "virtualmachinescalesets", rest @ ..],
            ) => {
                if *group != RESOURCE_GROUP {
                    return error(
                        404,
                        "ResourceGroupNotFound",
                        &format!("Resource group '{group}' could not be found."),
                    );
                }
                self.route_set(request, method, rest)
            }
            _ => no_route(),
        }
    }

    fn route_set(&self, request: &Request, method: &str, rest: &[&str]) -> Reply {
        let Some((name, below)) = rest.split_first() else {
            return if method == "GET" { self.list_sets(request) } else { no_route() };
        };
        let Some(group) = self.group_of(name) else {
            let text = format!(
                "The Resource 'Microsoft.Compute/virtualMachineScaleSets/{name}' under resource group '{RESOURCE_GROUP}' was not found."
            );
            return error(404, "ResourceNotFound", &text);
        };
        match (method, below) {
            ("GET", []) => self.get_set(&group),
            ("PATCH", []) => self.patch_set(request, &group),
            ("POST", ["delete"]) => self.delete_instances(request, &group),
            ("GET", ["virtualmachines"]) => self.list_members(request, &group),
            ("GET", ["rollingupgrades", "latest"]) => self.rolling_upgrade(&group),
            _ => no_route(),
        }
    }
}

fn no_route() -> Reply {
    error(404, "InvalidResourceType", "The resource type could not be found in the namespace for this api version.")
}

/// The server's own address, as the client wrote it.
fn host(request: &Request) -> String {
    format!("http://{}", request.header("host").unwrap_or("localhost"))
}

impl Api for Azure {
    fn answer(&self, request: &Request) -> Reply {
        let parts = request.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        if let [tenant, "oauth2", "v2.0", "token"] = parts.as_slice() {
            return self.issue(request, tenant);
        }
        if let Some(refused) = self.unauthorized(request) {
            return refused;
        }
        match parts.as_slice() {
            [subscriptions, subscription, ..] if subscriptions.eq_ignore_ascii_case("subscriptions") => {
                if request.param("api-version").is_none() {
                    let text = "The api-version query parameter (?api-version=) is required for all requests.";
                    return error(400, "MissingApiVersionParameter", text);
                }
                if *subscription != SUBSCRIPTION {
                    let text = format!("The subscription '{subscription}' could not be found.");
                    return error(404, "SubscriptionNotFound", &text);
                }
                self.route(request, &parts)
            }
            _ => no_route(),
        }
    }

    fn kind(&self, request: &Request) -> Option<Kind> {
        let of_tags_alone = || request.json().get("sku").is_none();
        match request.method.as_str() {
            "GET" => Some(Kind::Read),
            // A claim before a termination is not the termination.
            "PATCH" if of_tags_alone() => None,
            "POST" if request.path.ends_with("/token") => None,
            _ => Some(Kind::Write),
        }
    }

    fn is_later_page(&self, request: &Request) -> bool {
        request.param("$skiptoken").is_some()
    }

    fn refusal(&self, refusal: &Refusal, _: &Request) -> Reply {
        refusals::refuse(refusal)
    }

    fn garble(&self, garble: Garble, request: &Request, reply: &Reply) -> Option<Reply> {
        refusals::garble(garble, request, reply)
    }

    fn group_id(&self, group: &str) -> GroupId {
        format!("{RESOURCE_GROUP}/{group}").into()
    }

    fn instance_id(&self, group: &GroupId, instance: &InstanceId) -> InstanceId {
        self.vm_name(group, instance).into()
    }

    fn foreign(&self) -> Foreign {
        Foreign { name: "autoscale setting cpu".into(), removes: Some(true) }
    }
}
