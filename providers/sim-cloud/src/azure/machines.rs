//! A set's machines as the API shows them.

use super::operations::time;
use super::{Azure, LOCATION, RESOURCE_GROUP, SUBSCRIPTION};
use crate::azure::refusals::error;
use crate::request::{Reply, Request};
use contract::{GroupId, Instance, InstanceId, InstanceState};
use serde_json::{Value, json};

/// The how-manieth machine of its group it is: the end of the simulated id.
fn ordinal(instance: &InstanceId) -> u64 {
    let text = instance.as_str();
    let digits = &text[text.len().saturating_sub(6)..];
    u64::from_str_radix(digits, 16).unwrap_or_default()
}

impl Azure {
    /// A machine's name.
    pub(super) fn vm_name(&self, group: &GroupId, instance: &InstanceId) -> String {
        let ordinal = ordinal(instance);
        if self.flexible { format!("{group}_{ordinal:08x}") } else { format!("{group}_{ordinal}") }
    }

    /// What a set's calls name a machine by.
    pub(super) fn vm_number(&self, group: &GroupId, instance: &InstanceId) -> String {
        if self.flexible { self.vm_name(group, instance) } else { ordinal(instance).to_string() }
    }

    /// `virtualMachineScaleSets/NAME/virtualMachines`: for a Flexible set without an instance view.
    pub(super) fn list_members(&self, request: &Request, group: &GroupId) -> Reply {
        let expand = !self.flexible && request.param("$expand") == Some("instanceView");
        let seen = self.cloud.look(group).map(|seen| seen.instances).unwrap_or_default();
        let members = seen.iter().map(|instance| {
            let mut vm = self.vm(group, instance, expand);
            vm["id"] =
                format!("{}/virtualMachines/{}", Self::set_id(group), self.vm_number(group, &instance.id)).into();
            vm["type"] = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines".into();
            vm["instanceId"] = self.vm_number(group, &instance.id).into();
            vm["sku"] = json!({ "name": "Standard_D2s_v3", "tier": "Standard" });
            let properties = &mut vm["properties"];
            properties["latestModelApplied"] = (!instance.outdated).into();
            if instance.protected {
                properties["protectionPolicy"] = json!({ "protectFromScaleIn": true });
            }
            vm
        });
        self.paged(request, members.collect())
    }

    /// `virtualMachines`, filtered by the Flexible set that they belong to: by its id letter for letter, since nobody
    /// promises more. An id that no set has is that of no machine's set.
    pub(super) fn list_virtual_machines(&self, request: &Request) -> Reply {
        let expand = request.param("$expand") == Some("instanceView");
        let Some(filter) = request.param("$filter") else {
            return if expand {
                error(400, "BadRequest", "The $expand query option needs a $filter by scale set.")
            } else {
                self.paged(request, Vec::new())
            };
        };
        let id = filter.strip_prefix("'virtualMachineScaleSet/id' eq '").and_then(|rest| rest.strip_suffix('\''));
        let Some(id) = id else {
            return error(400, "BadRequest", &format!("The filter {filter} is not supported."));
        };
        let Some(group) = self.cloud.groups().into_iter().find(|group| Self::set_id(group) == id) else {
            return self.paged(request, Vec::new());
        };
        let seen = self.cloud.look(&group).map(|seen| seen.instances).unwrap_or_default();
        let machines = seen.iter().filter(|_| self.flexible).map(|instance| {
            let mut vm = self.vm(&group, instance, expand);
            vm["id"] = format!(
                "/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}/providers/Microsoft.Compute/virtualMachines/{}",
                self.vm_name(&group, &instance.id)
            )
            .into();
            vm["type"] = "Microsoft.Compute/virtualMachines".into();
            vm["properties"]["virtualMachineScaleSet"] = json!({ "id": Self::set_id(&group) });
            vm
        });
        self.paged(request, machines.collect())
    }

    /// What both kinds of machine show.
    fn vm(&self, group: &GroupId, instance: &Instance, expand: bool) -> Value {
        let (provisioning, statuses) = match instance.state {
            InstanceState::Pending => ("Creating", vec![status("ProvisioningState/creating")]),
            InstanceState::Running => {
                ("Succeeded", vec![status("ProvisioningState/succeeded"), status("PowerState/running")])
            }
            InstanceState::Terminating => ("Deleting", vec![status("ProvisioningState/deleting")]),
            InstanceState::Failed => (
                "Failed",
                vec![status("ProvisioningState/failed/OSProvisioningTimedOut"), status("PowerState/stopped")],
            ),
        };
        let mut vm = json!({
            "name": self.vm_name(group, &instance.id),
            "location": LOCATION,
            "etag": "\"1\"",
            "properties": {
                "provisioningState": provisioning,
                "vmId": "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee",
                "hardwareProfile": { "vmSize": "Standard_D2s_v3" },
            },
        });
        if let Some(launched) = instance.launched {
            vm["properties"]["timeCreated"] = time(launched);
        }
        if let Some(zone) = instance.zone.as_deref() {
            vm["zones"] = json!([zone_number(zone)]);
        }
        if expand {
            vm["properties"]["instanceView"] = json!({ "statuses": statuses });
        }
        vm
    }
}

fn status(code: &str) -> Value {
    let level = if code.contains("/failed/") { "Error" } else { "Info" };
    json!({ "code": code, "level": level, "displayStatus": code })
}

/// Azure numbers its zones.
fn zone_number(zone: &str) -> String {
    match zone.as_bytes() {
        [letter @ b'a'..=b'i'] => (letter - b'a' + 1).to_string(),
        _ => zone.to_owned(),
    }
}
