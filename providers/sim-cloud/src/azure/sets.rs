//! Scale sets and what may be done to them.

use super::operations::time;
use super::{Azure, LOCATION, host};
use crate::azure::refusals::error;
use crate::request::{Reply, Request};
use contract::{Epoch, GroupId, InstanceId, InstanceState, Observation, OwnerTag, Suspended, Timestamp};
use serde_json::{Value, json};
use sim::{Refused, Removal};
use std::collections::BTreeMap;

/// The tag that the machines' owner is shown as: `id/epoch/expiry`, in Unix seconds.
const OWNER: &str = "skala:owner";

impl Azure {
    pub(super) fn list_sets(&self, request: &Request) -> Reply {
        let sets: Vec<Value> = self.cloud.groups().iter().filter_map(|group| self.set(group)).collect();
        self.paged(request, sets)
    }

    /// One page of a list, with the way to the next.
    pub(super) fn paged(&self, request: &Request, items: Vec<Value>) -> Reply {
        // What is no number begins anew: empty pages before the first are made elsewhere.
        let from: usize = request.param("$skiptoken").and_then(|token| token.parse().ok()).unwrap_or(0);
        let left = items.len().saturating_sub(from);
        let page: Vec<Value> = items.into_iter().skip(from).take(self.page).collect();
        let mut body = json!({ "value": page });
        if left > self.page {
            body["nextLink"] = next_link(request, &(from + self.page).to_string()).into();
        }
        Reply::json(200, &body)
    }

    pub(super) fn get_set(&self, group: &GroupId) -> Reply {
        match self.set(group) {
            Some(set) => {
                let etag = set["etag"].as_str().unwrap_or_default().to_owned();
                Reply::json(200, &set).with("etag", etag)
            }
            None => error(404, "ResourceNotFound", "The scale set was not found."),
        }
    }

    fn etag(&self, group: &GroupId) -> String {
        let tagged = self.lock().tagged.get(group).copied().unwrap_or_default();
        format!("\"{}.{tagged}\"", self.cloud.revision(group).unwrap_or_default())
    }

    fn set(&self, group: &GroupId) -> Option<Value> {
        let seen = self.cloud.look(group)?;
        let mut tags = self.lock().tags.get(group).cloned().unwrap_or_default();
        tags.extend(seen.owner.as_ref().map(|tag| {
            (OWNER.to_owned(), format!("{}/{}/{}", tag.id, tag.epoch.0, tag.expiry.0.div_euclid(1_000_000)))
        }));
        let refreshing = seen.suspended.contains(&Suspended::Refresh);
        Some(json!({
            "name": group.as_str(),
            "id": Self::set_id(group),
            "type": "Microsoft.Compute/virtualMachineScaleSets",
            "location": LOCATION,
            "tags": tags,
            "zones": ["1", "2", "3"],
            "sku": { "name": "Standard_D2s_v3", "tier": "Standard", "capacity": seen.desired },
            "etag": self.etag(group),
            "properties": {
                "provisioningState": provisioning(&seen),
                "orchestrationMode": if self.flexible { "Flexible" } else { "Uniform" },
                "upgradePolicy": { "mode": if refreshing { "Rolling" } else { "Manual" } },
                "singlePlacementGroup": false,
                "overprovision": false,
                "platformFaultDomainCount": 1,
                "uniqueId": "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee",
                "timeCreated": time(Timestamp::from_secs(1_600_000_000)),
                "virtualMachineProfile": {
                    "priority": "Regular",
                    "osProfile": { "computerNamePrefix": group.as_str(), "adminUsername": "azureuser" },
                    "storageProfile": {
                        "imageReference": { "publisher": "debian", "offer": "debian-12", "sku": "12", "version": "latest" },
                        "osDisk": { "createOption": "FromImage", "caching": "ReadWrite" },
                    },
                },
            },
        }))
    }

    pub(super) fn patch_set(&self, request: &Request, group: &GroupId) -> Reply {
        let etag = self.etag(group);
        if request.header("if-match").is_some_and(|wanted| wanted != "*" && wanted != etag) {
            let text = format!("The condition specified using HTTP conditional header(s) is not met. ETag is {etag}.");
            return error(412, "PreconditionFailed", &text);
        }
        let body = request.json();
        if !body.is_object() {
            return error(
                400,
                "InvalidRequestContent",
                "The request content was invalid and could not be deserialized.",
            );
        }
        let capacity =
            match body.pointer("/sku/capacity").map(|number| number.as_u64().and_then(|n| u32::try_from(n).ok())) {
                Some(None) => return error(400, "InvalidParameter", "The value of parameter sku.capacity is invalid."),
                Some(capacity) => capacity,
                None => None,
            };
        if let Some(to) = capacity
            && let Err(refused) = self.cloud.resize(group, to)
        {
            return error(400, "InvalidParameter", &format!("The capacity {to} is not allowed: {refused:?}."));
        }
        if let Some(tags) = body.get("tags").and_then(Value::as_object) {
            self.write_tags(group, tags);
        }
        let reply = self.get_set(group);
        if capacity.is_some() { self.begin(request, group, true, reply) } else { reply }
    }

    /// What is written replaces all tags.
    fn write_tags(&self, group: &GroupId, tags: &serde_json::Map<String, Value>) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut tags: BTreeMap<String, String> = tags.iter().map(|(key, value)| (key.clone(), text(value))).collect();
        let owner = tags.remove(OWNER);
        self.cloud.set_owner(group, owner.as_deref().and_then(parse_owner));
        let mut state = self.lock();
        state.tags.insert(group.clone(), tags);
        *state.tagged.entry(group.clone()).or_default() += 1;
    }

    pub(super) fn delete_instances(&self, request: &Request, group: &GroupId) -> Reply {
        let body = request.json();
        let Some(named) = body.get("instanceIds").and_then(Value::as_array) else {
            return error(400, "InvalidParameter", "Required parameter 'instanceIds' is missing (null).");
        };
        let there: BTreeMap<String, InstanceId> = self
            .cloud
            .look(group)
            .map(|seen| seen.instances.into_iter().map(|i| (self.vm_number(group, &i.id), i.id)).collect())
            .unwrap_or_default();
        let mut ids = Vec::new();
        for number in named.iter().filter_map(Value::as_str) {
            let Some(id) = there.get(number) else {
                let text = format!(
                    "The provided instanceId {number} is not an active Virtual Machine Scale Set VM instanceId."
                );
                return error(400, "InvalidParameter", &text);
            };
            ids.push(id.clone());
        }
        // Protection is from autoscale's choice, not from being named.
        let removal = Removal { lower: true, protected_too: true, skip_missing: false };
        match self.cloud.remove(group, &ids, removal) {
            Ok(_) => self.begin(request, group, false, Reply::empty(202)),
            Err(Refused::NoInstance(ids)) => {
                error(400, "InvalidParameter", &format!("The provided instanceId {ids:?} is not active."))
            }
            Err(refused) => error(409, "OperationNotAllowed", &format!("{refused:?}")),
        }
    }

    pub(super) fn rolling_upgrade(&self, group: &GroupId) -> Reply {
        let refreshing = self.cloud.look(group).is_some_and(|seen| seen.suspended.contains(&Suspended::Refresh));
        if !refreshing {
            return error(404, "NotFound", "The entity was not found: there is no rolling upgrade.");
        }
        let now = time(self.cloud.now());
        Reply::json(
            200,
            &json!({
                "id": format!("{}/rollingUpgrades/latest", Self::set_id(group)),
                "name": "latest",
                "type": "Microsoft.Compute/virtualMachineScaleSets/rollingUpgrades",
                "location": LOCATION,
                "properties": {
                    "policy": { "maxBatchInstancePercent": 20, "pauseTimeBetweenBatches": "PT0S" },
                    "runningStatus": {
                        "code": "RollingForward",
                        "startTime": now,
                        "lastAction": "Start",
                        "lastActionTime": now,
                    },
                    "progress": { "successfulInstanceCount": 0, "pendingInstanceCount": 1 },
                },
            }),
        )
    }
}

/// What Azure says it does with a set.
fn provisioning(seen: &Observation) -> &'static str {
    let moving = |i: &contract::Instance| matches!(i.state, InstanceState::Pending | InstanceState::Terminating);
    let unfilled = seen.unfilled() > 0;
    match () {
        () if seen.suspended.contains(&Suspended::Refresh) || seen.instances.iter().any(moving) => "Updating",
        () if unfilled && !seen.launch_failures.is_empty() => "Failed",
        () if unfilled => "Updating",
        () => "Succeeded",
    }
}

fn parse_owner(text: &str) -> Option<OwnerTag> {
    let mut parts = text.rsplitn(3, '/');
    let (expiry, epoch, id) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
    Some(OwnerTag { id: id.into(), epoch: Epoch(epoch), expiry: Timestamp::from_secs(expiry) })
}

/// Where the next page is.
pub(super) fn next_link(request: &Request, token: &str) -> String {
    let kept = request.query.iter().filter(|(key, _)| key != "$skiptoken");
    let mut pairs: Vec<String> = kept.map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    pairs.push(format!("%24skiptoken={}", encode(token)));
    format!("{}{}?{}", host(request), request.path, pairs.join("&"))
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
