//! Servers as Nova shows them.

use super::keystone::date;
use super::{FLAVOR, IMAGE, PROJECT, Record, State, Stillborn, uuid};
use contract::{Instance, InstanceState, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;

/// How long Nova looks for a host in vain.
const IN_VAIN: Duration = Duration::from_secs(2);

/// One server, with what lists sort and filter by.
pub(super) struct Shown {
    pub id: String,
    pub created: Timestamp,
    pub tags: Vec<String>,
    pub status: &'static str,
    view: Value,
}

impl Shown {
    /// A machine.
    pub fn machine(instance: &Instance, group: &str, state: &State, at: Timestamp) -> Self {
        let record = state.records.get(&instance.id).cloned().unwrap_or_else(|| Record {
            name: format!("{group}-{}", instance.id),
            tags: vec![group.to_owned()],
            metadata: json!({}),
        });
        let created = instance.launched.unwrap_or(at);
        let status = match instance.state {
            InstanceState::Pending => "BUILD",
            InstanceState::Running => "ACTIVE",
            InstanceState::Terminating if instance.running_since.is_some() => "ACTIVE",
            InstanceState::Terminating => "BUILD",
            InstanceState::Failed => "ERROR",
        };
        let task = match instance.state {
            InstanceState::Pending if state.setup.hands_over => json!("scheduling"),
            InstanceState::Pending => json!("spawning"),
            InstanceState::Terminating => json!("deleting"),
            _ => Value::Null,
        };
        let mut shown = Self::new(uuid(&instance.id), &record, status, created);
        shown.view["OS-EXT-STS:task_state"] = task;
        shown.view["OS-EXT-AZ:availability_zone"] = json!(instance.zone.as_deref().unwrap_or("nova"));
        shown.view["locked"] = json!(instance.protected);
        let launched = instance.running_since.map(|at| format!("{}.000000", date(at)));
        shown.view["OS-SRV-USG:launched_at"] = json!(launched);
        if instance.state == InstanceState::Failed {
            shown.fail("Build of instance aborted: the instance did not start", created);
        }
        shown
    }

    /// A server for which there was no host: being built for a moment, then in ERROR.
    pub fn stillborn(id: &str, stillborn: &Stillborn, at: Timestamp) -> Self {
        let found_out = at >= stillborn.at.after(IN_VAIN);
        let status = if found_out { "ERROR" } else { "BUILD" };
        let mut shown = Self::new(id.to_owned(), &stillborn.record, status, stillborn.at);
        shown.view["OS-EXT-STS:task_state"] = if found_out { Value::Null } else { json!("scheduling") };
        shown.view["OS-EXT-AZ:availability_zone"] = json!(stillborn.zone.as_deref().unwrap_or(""));
        if found_out {
            shown.fail(&stillborn.fault, stillborn.at.after(IN_VAIN));
        }
        shown
    }

    /// A server that was deleted and is kept for a while.
    pub fn deleted(id: &str, record: &Record, at: Timestamp) -> Self {
        Self::new(id.to_owned(), record, "SOFT_DELETED", at)
    }

    fn new(id: String, record: &Record, status: &'static str, created: Timestamp) -> Self {
        let power = u8::from(status == "ACTIVE");
        let date = format!("{}Z", date(created));
        let view = json!({
            "id": id, "name": record.name, "status": status, "tenant_id": PROJECT, "user_id": "skala",
            "metadata": record.metadata, "tags": record.tags, "created": date, "updated": date,
            "image": { "id": IMAGE, "links": [] },
            "flavor": { "original_name": FLAVOR, "vcpus": 1, "ram": 512, "disk": 1, "ephemeral": 0, "swap": 0, "extra_specs": {} },
            "addresses": {}, "accessIPv4": "", "accessIPv6": "", "hostId": "", "key_name": null, "config_drive": "",
            "progress": 0, "locked": false, "description": null, "trusted_image_certificates": null,
            "OS-DCF:diskConfig": "MANUAL", "OS-EXT-AZ:availability_zone": "", "OS-EXT-STS:task_state": null,
            "OS-EXT-STS:vm_state": status.to_ascii_lowercase(), "OS-EXT-STS:power_state": power,
            "OS-SRV-USG:launched_at": null, "OS-SRV-USG:terminated_at": null,
            "os-extended-volumes:volumes_attached": [],
        });
        Self { id, created, tags: record.tags.clone(), status, view }
    }

    fn fail(&mut self, message: &str, at: Timestamp) {
        self.view["fault"] = json!({ "code": 500, "created": format!("{}Z", date(at)), "message": message });
    }

    /// Nova has a request for it beside what its cell has.
    pub fn is_request(&self) -> bool {
        self.view["OS-EXT-STS:task_state"] == "scheduling"
    }

    /// All of it, as microversion `2.minor` shows it.
    pub fn detail(&self, minor: u32, base: &str) -> Value {
        let mut view = self.view.clone();
        if let Some(fields) = view.as_object_mut() {
            let since = [("locked", 9), ("description", 19), ("tags", 26), ("trusted_image_certificates", 63)];
            for (field, _) in since.iter().filter(|(_, since)| minor < *since) {
                fields.remove(*field);
            }
            fields.insert("links".into(), links(&self.id, base));
        }
        view
    }

    /// What a brief list says of it.
    pub fn brief(&self, base: &str) -> Value {
        json!({ "id": self.id, "name": self.view["name"], "links": links(&self.id, base) })
    }

    /// What is known of it while its cell does not answer.
    pub fn unknown(&self, base: &str) -> Value {
        let created = format!("{}Z", date(self.created));
        json!({ "id": self.id, "status": "UNKNOWN", "tenant_id": PROJECT, "created": created, "links": links(&self.id, base) })
    }
}

fn links(id: &str, base: &str) -> Value {
    json!([
        { "rel": "self", "href": format!("{base}/compute/v2.1/servers/{id}") },
        { "rel": "bookmark", "href": format!("{base}/compute/servers/{id}") },
    ])
}
