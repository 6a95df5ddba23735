//! Groups, instances and autoscalers as the API shows them.

use super::Gcp;
use super::place::{Place, zone_of};
use super::refusals::refuse;
use crate::request::{Reply, Request};
use contract::{FailureKind, GroupId, Instance, InstanceState, Observation, Suspended, Timestamp};
use serde_json::{Map, Value, json};

/// A resource's address; these begin so wherever the API is served.
pub(super) fn link(project: &str, path: &str) -> String {
    format!("https://www.googleapis.com/compute/v1/projects/{project}/{path}")
}

/// The last part of a path.
pub(super) fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A number of a name's own: FNV-1a, with the highest bit off.
pub(super) fn number_of(name: &str) -> u64 {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, hash) >> 1
}

fn time(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.0).map(|at| at.to_string()).unwrap_or_default()
}

/// What instances are called that have no machine yet.
pub(super) fn waiting_names(group: &GroupId, seen: &Observation) -> Vec<String> {
    (0..seen.unfilled()).map(|index| format!("{group}-w{index}")).collect()
}

fn count(seen: &Observation, of: impl Fn(&Instance) -> bool) -> usize {
    seen.instances.iter().filter(|instance| of(instance)).count()
}

impl Gcp {
    /// All groups of the project, by place.
    pub(super) fn all_groups(&self, request: &Request) -> Reply {
        if self.lock().whole_list_fails {
            return refuse(503, "backendError", "Backend Error");
        }
        let page = self.page(request, self.cloud.groups());
        let (unreachable, hides) = {
            let state = self.lock();
            (state.unreachable.clone(), state.hides_regions)
        };
        let mut items = Map::new();
        for place in Place::all() {
            if hides && matches!(place, Place::Region(_)) {
                continue;
            }
            let groups: Vec<Value> = match unreachable.contains(&place) {
                true => Vec::new(),
                false => {
                    let here = |group: &&GroupId| Place::of_group(group.as_str()) == place;
                    page.items.iter().filter(here).map(|group| self.group(group)).collect()
                }
            };
            items.insert(
                place.to_string(),
                scoped("instanceGroupManagers", groups, &place, unreachable.contains(&place)),
            );
        }
        let path = "aggregated/instanceGroupManagers";
        let mut body = json!({
            "kind": "compute#instanceGroupManagerAggregatedList",
            "id": format!("projects/{}/{path}", self.project),
            "items": items,
            "selfLink": link(&self.project, path),
        });
        if !unreachable.is_empty() {
            body["unreachables"] = unreachable.iter().map(ToString::to_string).collect::<Vec<_>>().into();
        }
        finish(body, page.next)
    }

    /// The groups of one place.
    pub(super) fn groups_of(&self, request: &Request, place: &Place) -> Reply {
        let here = self.cloud.groups().into_iter().filter(|group| Place::of_group(group.as_str()) == *place);
        let page = self.page(request, here.collect());
        let items: Vec<Value> = page.items.iter().map(|group| self.group(group)).collect();
        let kind = match place {
            Place::Zone(_) => "compute#instanceGroupManagerList",
            Place::Region(_) => "compute#regionInstanceGroupManagerList",
        };
        let path = format!("{place}/instanceGroupManagers");
        let id = format!("projects/{}/{path}", self.project);
        let body = json!({ "kind": kind, "id": id, "items": items, "selfLink": link(&self.project, &path) });
        finish(body, page.next)
    }

    /// One group.
    pub(super) fn group(&self, group: &GroupId) -> Value {
        let Some(seen) = self.cloud.look(group) else { return Value::Null };
        let place = Place::of_group(group.as_str());
        let template = link(&self.project, &self.lock().templates.present(group));
        let running = count(&seen, |i| i.state == InstanceState::Running);
        let broken = count(&seen, |i| i.state == InstanceState::Failed);
        let booting = count(&seen, |i| i.state == InstanceState::Pending);
        let leaving = count(&seen, |i| i.state == InstanceState::Terminating);
        let waiting = waiting_names(group, &seen).len();
        let rolling = seen.suspended.contains(&Suspended::Refresh);
        let link = |path: &str| link(&self.project, path);
        let mut shown = json!({
            "kind": "compute#instanceGroupManager",
            "id": number_of(group.as_str()).to_string(),
            "creationTimestamp": time(Timestamp::from_secs(1_700_000_000)),
            "name": group,
            "instanceTemplate": template,
            "versions": [{ "instanceTemplate": template, "targetSize": { "calculated": seen.desired } }],
            "instanceGroup": link(&format!("{place}/instanceGroups/{group}")),
            "baseInstanceName": "i",
            "fingerprint": "n2oY9rmWXbA=",
            "currentActions": {
                "none": running + broken, "creating": booting + waiting, "creatingWithoutRetries": 0, "deleting": leaving,
                "abandoning": 0, "recreating": 0, "refreshing": 0, "restarting": 0, "resuming": 0, "starting": 0,
                "stopping": 0, "suspending": 0, "verifying": 0,
            },
            "status": {
                "isStable": booting + waiting + leaving == 0 && !rolling,
                "versionTarget": { "isReached": !rolling },
                "stateful": { "hasStatefulConfig": false, "perInstanceConfigs": { "allEffective": true } },
            },
            "updatePolicy": {
                "type": if rolling { "PROACTIVE" } else { "OPPORTUNISTIC" },
                "minimalAction": "REPLACE",
                "replacementMethod": "SUBSTITUTE",
            },
            "listManagedInstancesResults": "PAGINATED",
            "targetSize": seen.desired,
            "selfLink": link(&format!("{place}/instanceGroupManagers/{group}")),
        });
        shown[if matches!(place, Place::Zone(_)) { "zone" } else { "region" }] = link(&place.to_string()).into();
        if let Some(link) = self.scaler_link(group) {
            shown["status"]["autoscaler"] = link.into();
        }
        shown
    }

    /// The instances of a group: machines, and places of those that are still to be made.
    pub(super) fn managed_instances(&self, request: &Request, group: &GroupId) -> Reply {
        let Some(seen) = self.cloud.look(group) else { return refuse(404, "notFound", "The resource was not found") };
        let machines = seen.instances.iter().map(|instance| self.managed(group, instance));
        let waiting = waiting_names(group, &seen);
        let waiting = waiting.iter().enumerate().map(|(index, name)| self.waiting(group, &seen, index, name));
        let page = self.page(request, machines.chain(waiting).collect());
        finish(json!({ "managedInstances": page.items }), page.next)
    }

    fn managed(&self, group: &GroupId, instance: &Instance) -> Value {
        let zone = zone_of(group, instance.zone.as_deref());
        let (action, status) = match instance.state {
            InstanceState::Pending => ("CREATING", "STAGING"),
            InstanceState::Running => ("NONE", "RUNNING"),
            InstanceState::Terminating => ("DELETING", "STOPPING"),
            InstanceState::Failed => ("NONE", "TERMINATED"),
        };
        let template = self.lock().templates.of(group, instance.launched);
        json!({
            "instance": link(&self.project, &format!("zones/{zone}/instances/{}", instance.id)),
            "name": instance.id,
            "id": number_of(instance.id.as_str()).to_string(),
            "instanceStatus": status,
            "currentAction": action,
            "targetStatus": "RUNNING",
            "version": { "instanceTemplate": link(&self.project, &template) },
        })
    }

    fn waiting(&self, group: &GroupId, seen: &Observation, index: usize, name: &str) -> Value {
        let zones = Place::of_group(group.as_str()).zones();
        let zone = &zones[index % zones.len()];
        let template = self.lock().templates.present(group);
        let mut shown = json!({
            "instance": link(&self.project, &format!("zones/{zone}/instances/{name}")),
            "name": name,
            "currentAction": "CREATING",
            "targetStatus": "RUNNING",
            "version": { "instanceTemplate": link(&self.project, &template) },
        });
        if let Some(failure) = seen.launch_failures.last() {
            let code = match failure.kind {
                FailureKind::OutOfCapacity => "ZONE_RESOURCE_POOL_EXHAUSTED",
                FailureKind::QuotaExceeded => "QUOTA_EXCEEDED",
                FailureKind::Denied => "PERMISSIONS_ERROR",
                FailureKind::Invalid => "INVALID_FIELD_VALUE",
                FailureKind::Other => "INTERNAL_ERROR",
            };
            shown["lastAttempt"] = json!({ "errors": { "errors": [{ "code": code, "message": failure.message }] } });
        }
        shown
    }

    /// All machines of the project, by zone.
    pub(super) fn all_machines(&self, request: &Request) -> Reply {
        let groups = self.cloud.groups();
        let of = |group: &GroupId| self.cloud.look(group).map(|seen| seen.instances).unwrap_or_default();
        let all = groups.iter().flat_map(|group| of(group).into_iter().map(move |instance| (group.clone(), instance)));
        let page = self.page(request, all.collect());
        let mut items = Map::new();
        let zones = Place::all().into_iter().filter(|place| matches!(place, Place::Zone(_)));
        for place in zones {
            let Place::Zone(zone) = &place else { continue };
            let here = page.items.iter().filter(|(group, i)| zone_of(group, i.zone.as_deref()) == *zone);
            let machines: Vec<Value> = here.map(|(group, instance)| self.machine(zone, group, instance)).collect();
            let unreachable = self.lock().unreachable.contains(&place);
            items.insert(place.to_string(), scoped("instances", machines, &place, unreachable));
        }
        let path = "aggregated/instances";
        let body = json!({
            "kind": "compute#instanceAggregatedList",
            "id": format!("projects/{}/{path}", self.project),
            "items": items,
            "selfLink": link(&self.project, path),
        });
        finish(body, page.next)
    }

    fn machine(&self, zone: &str, group: &GroupId, instance: &Instance) -> Value {
        let status = match instance.state {
            InstanceState::Pending => "STAGING",
            InstanceState::Running => "RUNNING",
            InstanceState::Terminating => "STOPPING",
            InstanceState::Failed => "TERMINATED",
        };
        let launched = time(instance.launched.unwrap_or_default());
        // The real ones name the project by its number here.
        let maker = format!("projects/123456789012/{}/instanceGroupManagers/{group}", Place::of_group(group.as_str()));
        let template = format!("projects/123456789012/{}", self.lock().templates.of(group, instance.launched));
        json!({
            "kind": "compute#instance",
            "id": number_of(instance.id.as_str()).to_string(),
            "name": instance.id,
            "zone": link(&self.project, &format!("zones/{zone}")),
            "status": status,
            "metadata": {
                "kind": "compute#metadata",
                "items": [
                    { "key": "instance-template", "value": template },
                    { "key": "created-by", "value": maker },
                ],
            },
            "creationTimestamp": launched,
            "lastStartTimestamp": launched,
            "selfLink": link(&self.project, &format!("zones/{zone}/instances/{}", instance.id)),
        })
    }
}

/// What an aggregated list says of one place.
fn scoped(key: &str, items: Vec<Value>, place: &Place, unreachable: bool) -> Value {
    let warning = |code: &str, message: String| json!({ "warning": { "code": code, "message": message, "data": [{ "key": "scope", "value": place.to_string() }] } });
    match (unreachable, items.is_empty()) {
        (true, _) => warning("UNREACHABLE", format!("{place} is unreachable")),
        (false, true) => {
            warning("NO_RESULTS_ON_PAGE", format!("There are no results for scope '{place}' on this page."))
        }
        (false, false) => json!({ key: items }),
    }
}

fn finish(mut body: Value, next: Option<String>) -> Reply {
    if let Some(next) = next {
        body["nextPageToken"] = next.into();
    }
    Reply::json(200, &body)
}
