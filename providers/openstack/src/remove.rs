//! Removal: named servers, what a failed launch left behind, and ports that outlive their server.
//!
//! By name goes only what carries the group's tag and is not protected, by a look just before. Without a name goes only
//! what never was an instance: a server in ERROR that skala started (it carries a launch tag) and that never ran. It
//! holds quota and nothing else. Every write of a group does this first: an observation writes nothing, so that a daemon
//! that only observes changes nothing.
//!
//! Ports that Nova made for a server go with it. Where they did not (a host that died, a Neutron that was away), the next
//! write deletes those that name a deleted server as their device, once Nova says that it is gone. A port with a name
//! was made by somebody else, and stays. What this process deleted is remembered; over a restart it is not.

use crate::errors::{Effect, Failure, cut};
use crate::group::Groups;
use crate::launch::CONCURRENT;
use crate::names;
use crate::nova::list::{by_id, encode};
use crate::nova::server::Server;
use crate::session::{Call, Service, json};
use contract::{Accepted, InstanceId, InstanceState, ProviderError, Target};
use futures_util::StreamExt;
use reqwest::Method;
use serde::Deserialize;
use std::collections::BTreeSet;
use tokio::time::Instant;

/// Most stillborn servers that one write removes.
const STILLBORN_MAX: usize = 50;
/// Servers in one question for ports.
const DEVICES_MAX: usize = 20;
/// Most servers that are remembered as having been deleted.
const LEAVERS_MAX: usize = 1_000;

#[derive(Deserialize)]
struct Ports {
    ports: Vec<Port>,
}

#[derive(Deserialize)]
struct Port {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    device_id: String,
    #[serde(default)]
    device_owner: String,
}

impl Groups {
    /// Terminates named servers of the group.
    pub async fn terminate(&self, target: &Target, ids: &[InstanceId]) -> Result<Accepted, ProviderError> {
        let deadline = Instant::now() + self.session.wire.deadlines.write;
        let tag = names::tag(&target.group)?;
        let ids: BTreeSet<InstanceId> = ids.iter().cloned().collect();
        if ids.is_empty() {
            return Ok(Accepted::default());
        }
        let shown = self.members(tag).await?;
        self.tidy(tag, &shown, deadline).await;
        let removable =
            |id: &InstanceId| shown.iter().any(|server| server.id == *id.0 && may_go(server) && server.carries(tag));
        let (named, mut skipped): (Vec<InstanceId>, Vec<InstanceId>) = ids.into_iter().partition(removable);
        let calls: Vec<_> = named.iter().map(|id| async move { (id, self.delete(id, deadline).await) }).collect();
        let results: Vec<_> = futures_util::stream::iter(calls).buffered(CONCURRENT).collect().await;
        let (mut went, mut refusal, mut unclear) = (Vec::new(), None, None);
        for (id, result) in results {
            match result {
                Ok(true) => went.push(id.clone()),
                Ok(false) => skipped.push(id.clone()),
                Err(failure) if failure.harmless => {
                    skipped.push(id.clone());
                    refusal = refusal.or(Some(failure.error));
                }
                Err(failure) => {
                    went.push(id.clone());
                    unclear = unclear.or(Some(failure.error));
                }
            }
        }
        self.note_leavers(tag, &went);
        skipped.sort();
        match (unclear, refusal) {
            (Some(error), _) => Err(error),
            (None, Some(error)) if went.is_empty() => Err(error),
            _ => Ok(Accepted { operations: Vec::new(), skipped }),
        }
    }

    /// What a group that keeps no desired can withdraw: the launches that failed. It removes no instance.
    pub async fn withdraw(&self, target: &Target) -> Result<Accepted, ProviderError> {
        let deadline = Instant::now() + self.session.wire.deadlines.write;
        let tag = names::tag(&target.group)?;
        let shown = self.members(tag).await?;
        self.tidy(tag, &shown, deadline).await;
        Ok(Accepted::default())
    }

    /// Removes what earlier launches, of which it was told why they failed, and removals left behind. That it fails is no reason not to do what was asked for: it
    /// is logged, and tried again at the next write.
    pub async fn tidy(&self, tag: &str, shown: &[Server], deadline: Instant) {
        let at = (self.now)();
        let is_told = |server: &&Server| {
            server.launch_failure(at).is_some() || server.is_stillborn() && self.knows_failure(tag, &server.id)
        };
        let stillborn: Vec<InstanceId> =
            shown.iter().filter(is_told).take(STILLBORN_MAX).map(Server::instance).collect();
        let calls: Vec<_> = stillborn.iter().map(|id| async move { (id, self.delete(id, deadline).await) }).collect();
        let results: Vec<_> = futures_util::stream::iter(calls).buffered(CONCURRENT).collect().await;
        let mut gone = Vec::new();
        for (id, result) in results {
            match result {
                Ok(_) => gone.push(id.clone()),
                Err(failure) => {
                    tracing::warn!(group = tag, server = %id, error = %failure.error, "a failed launch stays")
                }
            }
        }
        if !gone.is_empty() {
            tracing::info!(group = tag, servers = gone.len(), "removed servers that never ran");
        }
        if let Err(error) = self.sweep_ports(deadline).await {
            tracing::warn!(group = tag, error = %error, "ports of deleted servers may be left");
        }
        // Their ports are looked for at the next write: they go a little later than the servers.
        self.note_leavers(tag, &gone);
    }

    /// Asks for a server's end; `false` when there was none.
    async fn delete(&self, id: &InstanceId, deadline: Instant) -> Result<bool, Failure> {
        let call = Call {
            operation: "delete_server",
            effect: Effect::Write,
            service: Service::Compute,
            method: Method::DELETE,
            path: format!("/servers/{}", encode(id.as_str())),
            body: None,
        };
        match self.session.send(&call, deadline).await {
            // Nova says nothing to this; whoever says something is not Nova.
            Ok(answer) if !answer.body.is_empty() => {
                Err(Failure::unanswered(call.operation, call.effect, "not an answer of this API"))
            }
            Ok(_) => Ok(true),
            Err(Failure { error: ProviderError::NotFound { .. }, .. }) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Deletes the ports of servers that were deleted and are gone, and forgets those servers.
    async fn sweep_ports(&self, deadline: Instant) -> Result<(), ProviderError> {
        let leavers = self.memory(|memory| memory.leavers.clone());
        if leavers.is_empty() {
            return Ok(());
        }
        if !self.session.has_network(deadline).await? {
            self.memory(|memory| memory.leavers.clear());
            return Ok(());
        }
        let leavers: Vec<InstanceId> = leavers.into_iter().collect();
        for batch in leavers.chunks(DEVICES_MAX) {
            let ports = self.ports_of(batch, deadline).await?;
            let mut settled: BTreeSet<&InstanceId> = batch.iter().collect();
            for id in batch.iter().filter(|id| ports.iter().any(|port| port.device_id == *id.0)) {
                if by_id(&self.session, id.as_str()).await?.is_some() {
                    // Still on its way out; its ports go with it, or at the next write.
                    settled.remove(id);
                    continue;
                }
                for port in ports.iter().filter(|port| port.device_id == *id.0 && port.is_novas()) {
                    tracing::info!(port = port.id, server = %id, "removing a port that outlived its server");
                    self.delete_port(port, deadline).await?;
                }
            }
            self.memory(|memory| memory.leavers.retain(|id| !settled.contains(id)));
        }
        self.memory(|memory| {
            while memory.leavers.len() > LEAVERS_MAX {
                memory.leavers.pop_first();
            }
        });
        Ok(())
    }

    async fn ports_of(&self, servers: &[InstanceId], deadline: Instant) -> Result<Vec<Port>, ProviderError> {
        let devices: Vec<String> = servers.iter().map(|id| format!("device_id={}", encode(id.as_str()))).collect();
        let call = Call {
            operation: "list_ports",
            effect: Effect::Read,
            service: Service::Network,
            method: Method::GET,
            path: format!("/v2.0/ports?{}", devices.join("&")),
            body: None,
        };
        let answer = self.session.send(&call, deadline).await?;
        let Ports { mut ports } = json(&call, &answer)?;
        // A filter that something on the way dropped must not make other servers' ports ours.
        ports.retain(|port| servers.iter().any(|id| *id.0 == port.device_id));
        Ok(ports)
    }

    async fn delete_port(&self, port: &Port, deadline: Instant) -> Result<(), ProviderError> {
        let call = Call {
            operation: "delete_port",
            effect: Effect::Write,
            service: Service::Network,
            method: Method::DELETE,
            path: format!("/v2.0/ports/{}", encode(&port.id)),
            body: None,
        };
        match self.session.send(&call, deadline).await {
            Ok(_) | Err(Failure { error: ProviderError::NotFound { .. }, .. }) => Ok(()),
            Err(failure) => {
                let what = cut(&format!("port {}: {}", port.id, failure.error), 300);
                Err(ProviderError::Transport { what, source: None })
            }
        }
    }
}

impl Port {
    /// Nova made it: it gives its ports no name.
    fn is_novas(&self) -> bool {
        self.name.is_empty() && self.device_owner.starts_with("compute:")
    }
}

/// It may be removed by name: it is there, on its way in, serving or broken, and nobody protects it.
fn may_go(server: &Server) -> bool {
    server.state().is_some_and(|state| state != InstanceState::Terminating) && !server.is_protected()
}
