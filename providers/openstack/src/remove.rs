//! Removal: named servers, what a failed launch left behind, and ports that outlive their server.
//!
//! By name goes only what carries the group's tag and is not protected, by a look just before. Without a name goes only
//! what never was an instance: a server in ERROR that skala started (it carries a launch tag) and that never ran. It
//! holds quota and nothing else. Every write of a group does this, a raise before it launches: an observation writes
//! nothing, so that a daemon that only observes changes nothing.
//!
//! Ports that Nova made for a server go with it. Where they did not (a host that died, a Neutron that was away), the next
//! write deletes those that name a deleted server as their device, once Nova says that it is gone; it does so last, for
//! that may take long. A port with a name was made by somebody else, and stays. What this process deleted is remembered;
//! over a restart it is not.

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
use std::collections::{BTreeSet, VecDeque};
use tokio::time::Instant;

/// Most stillborn servers that one write removes.
const STILLBORN_MAX: usize = 50;
/// Servers in one question for ports.
const DEVICES_MAX: usize = 20;
/// Most servers that are remembered as having been deleted.
const LEAVERS_MAX: usize = 1_000;

/// Servers that were deleted and may have left ports behind, those first that were not asked for the longest.
#[derive(Default)]
pub(crate) struct Leavers(VecDeque<InstanceId>);

impl Leavers {
    /// Remembers some more; of too many the oldest are forgotten.
    pub fn note(&mut self, ids: &[InstanceId]) {
        for id in ids {
            if !self.0.contains(id) {
                self.0.push_back(id.clone());
            }
        }
        self.0.drain(..self.0.len().saturating_sub(LEAVERS_MAX));
    }

    fn forget(&mut self, id: &InstanceId) {
        self.0.retain(|known| known != id);
    }

    fn put_off(&mut self, id: &InstanceId) {
        let at = self.0.iter().position(|known| known == id);
        if let Some(id) = at.and_then(|at| self.0.remove(at)) {
            self.0.push_back(id);
        }
    }
}

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
        let mut shown = self.members(tag).await?;
        let left = self.leavers();
        let removable =
            |id: &InstanceId| shown.iter().any(|server| server.id == *id.0 && may_go(server) && server.carries(tag));
        let (named, mut skipped): (Vec<InstanceId>, Vec<InstanceId>) = ids.into_iter().partition(removable);
        shown.retain(|server| !named.contains(&server.instance()));
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
        self.clear_stillborn(tag, &shown, deadline).await;
        self.sweep(tag, left, deadline).await;
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
        let left = self.leavers();
        self.clear_stillborn(tag, &shown, deadline).await;
        self.sweep(tag, left, deadline).await;
        Ok(Accepted::default())
    }

    /// Removes what launches left behind of which it was told why they failed. That it fails is no reason not to do what
    /// was asked for: it is logged, and tried again at the next write.
    pub async fn clear_stillborn(&self, tag: &str, shown: &[Server], deadline: Instant) {
        let deadline = self.a_while(deadline);
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
        self.note_leavers(tag, &gone);
    }

    /// Until when a write may keep house: what was asked for needs its time, and so does the answer.
    fn a_while(&self, deadline: Instant) -> Instant {
        deadline.min(Instant::now() + self.session.wire.deadlines.write / 5)
    }

    /// Those whose ports a write that begins now looks for. The ports of those that it removes itself go a little later
    /// than the servers: the next write looks for them.
    pub fn leavers(&self) -> Vec<InstanceId> {
        self.memory(|memory| memory.leavers.0.iter().cloned().collect())
    }

    /// Looks for ports that outlived their servers, at the end of a write: a failure is logged, as with stillborn servers.
    pub async fn sweep(&self, tag: &str, leavers: Vec<InstanceId>, deadline: Instant) {
        if let Err(error) = self.sweep_ports(&leavers, self.a_while(deadline)).await {
            tracing::warn!(group = tag, error = %error, "ports of deleted servers may be left");
        }
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

    /// Deletes the ports of servers that were deleted and are gone, and forgets those servers. Trouble with one is no
    /// reason to leave the others: it is asked for last the next time.
    async fn sweep_ports(&self, leavers: &[InstanceId], deadline: Instant) -> Result<(), ProviderError> {
        if leavers.is_empty() {
            return Ok(());
        }
        if !self.session.has_network(deadline).await? {
            self.memory(|memory| memory.leavers.0.clear());
            return Ok(());
        }
        let mut trouble = None;
        for batch in leavers.chunks(DEVICES_MAX) {
            let ports = &self.ports_of(batch, deadline).await?;
            let calls: Vec<_> =
                batch.iter().map(|id| async move { (id, self.sweep_one(id, ports, deadline).await) }).collect();
            let results: Vec<_> = futures_util::stream::iter(calls).buffered(CONCURRENT).collect().await;
            for (id, result) in results {
                match result {
                    Ok(true) => self.memory(|memory| memory.leavers.forget(id)),
                    Ok(false) => self.memory(|memory| memory.leavers.put_off(id)),
                    Err(error) => {
                        self.memory(|memory| memory.leavers.put_off(id));
                        trouble = trouble.or(Some(error));
                    }
                }
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    /// Deletes the ports of one that was deleted; whether nothing is left to look for.
    async fn sweep_one(&self, id: &InstanceId, ports: &[Port], deadline: Instant) -> Result<bool, ProviderError> {
        let its: Vec<&Port> = ports.iter().filter(|port| port.device_id == *id.0).collect();
        if its.is_empty() {
            return Ok(true);
        }
        match by_id(&self.session, id.as_str(), deadline).await? {
            // Still on its way out; its ports go with it, or at the next write.
            Some(server) if server.state().is_some() => return Ok(false),
            // Deleted, and kept for a while by a cloud that lets it be brought back: its ports stay its own, and Nova
            // takes them when it takes the server.
            Some(_) => return Ok(true),
            None => {}
        }
        for port in its {
            if !port.is_novas() {
                continue;
            }
            tracing::info!(port = port.id, server = %id, "removing a port that outlived its server");
            self.delete_port(port, deadline).await?;
        }
        Ok(true)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_that_left_the_oldest_are_forgotten_and_those_that_wait_are_put_off() {
        let id = |number: usize| InstanceId::from(format!("s{number}"));
        let ids: Vec<InstanceId> = (0..LEAVERS_MAX + 2).map(id).collect();
        let mut leavers = Leavers::default();
        leavers.note(&ids);
        leavers.note(&ids[5..6]);
        assert_eq!((leavers.0.len(), &leavers.0[0]), (LEAVERS_MAX, &id(2)));
        leavers.put_off(&id(2));
        leavers.forget(&id(3));
        leavers.put_off(&id(3));
        assert_eq!((leavers.0.len(), &leavers.0[0], leavers.0.back()), (LEAVERS_MAX - 1, &id(4), Some(&id(2))));
    }
}
