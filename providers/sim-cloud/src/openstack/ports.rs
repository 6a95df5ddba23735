//! Neutron's ports: one for each server that has been placed, made when it is and gone when it is gone.

use super::{NETWORK, OpenStack, PREFIX, PROJECT, words};
use crate::request::{Reply, Request};
use contract::InstanceState;
use serde_json::{Value, json};
use std::collections::BTreeSet;

impl OpenStack {
    /// Makes and removes ports as servers come and go.
    pub(super) fn settle_ports(&self) {
        let groups = self.cloud.groups();
        let looks =
            groups.iter().filter(|group| group.as_str().starts_with(PREFIX)).filter_map(|group| self.cloud.look(group));
        let placed: BTreeSet<String> = looks
            .flat_map(|look| look.instances)
            .filter(|instance| instance.state != InstanceState::Failed)
            .map(|instance| super::uuid(&instance.id))
            .collect();
        let mut state = self.lock();
        if !state.setup.leaves_ports {
            state.ports.retain(|_, server| placed.contains(server));
        }
        for server in placed {
            let port = format!("10000000{}", server.get(8..).unwrap_or_default());
            state.ports.entry(port).or_insert(server);
        }
    }

    pub(super) fn network(&self, request: &Request, parts: &[&str]) -> Reply {
        match (request.method.as_str(), parts) {
            ("GET", ["ports"]) => self.list_ports(request),
            ("DELETE", ["ports", id]) => match self.lock().ports.remove(*id) {
                Some(_) => Reply::empty(204),
                None => words::of_network(404, "PortNotFound", &format!("Port {id} could not be found.")),
            },
            _ => words::of_network(404, "HTTPNotFound", "The resource could not be found."),
        }
    }

    fn list_ports(&self, request: &Request) -> Reply {
        let devices: Vec<&str> =
            request.query.iter().filter(|(key, _)| key == "device_id").map(|(_, value)| value.as_str()).collect();
        let state = self.lock();
        let ports = state.ports.iter().filter(|(_, server)| devices.is_empty() || devices.contains(&server.as_str()));
        let shown: Vec<Value> = ports.map(|(id, server)| view(id, server)).collect();
        Reply::json(200, &json!({ "ports": shown }))
    }
}

fn view(id: &str, server: &str) -> Value {
    json!({
        "id": id, "name": "", "network_id": NETWORK, "tenant_id": PROJECT, "project_id": PROJECT,
        "device_id": server, "device_owner": "compute:nova", "status": "ACTIVE", "admin_state_up": true,
        "mac_address": "fa:16:3e:00:00:01", "fixed_ips": [], "security_groups": [], "tags": [], "description": "",
        "allowed_address_pairs": [], "extra_dhcp_opts": [], "binding:vnic_type": "normal", "port_security_enabled": true,
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "revision_number": 1,
    })
}

pub(super) fn versions(base: &str) -> Reply {
    let links = json!([{ "rel": "self", "href": format!("{base}/network/v2.0/") }]);
    Reply::json(200, &json!({ "versions": [{ "id": "v2.0", "status": "CURRENT", "links": links }] }))
}
