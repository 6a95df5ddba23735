//! OpenStack behind skala's provider contract: groups of servers that a tag holds together.
//!
//! A group's id is a server tag, as it stands: `group = "web"` is all servers of the project with the tag `web`, whoever
//! made them (1 to 60 characters, neither `/` nor `,`). Nova knows no group: skala keeps desired itself, starts servers
//! one by one as `[provider.NAME.groups.TAG]` says ([`Settings`]), and removes them by name. A tag that no server carries
//! is a group without instances when skala.toml says how to make one, and not found when it does not.
//!
//! A server that was shut off stays in its group as a failed one, and may be the first to go: lock it (`openstack server
//! lock`) to keep it. Paused, suspended, shelved and rescued servers are never touched. There is no owner claim: there is
//! no group to put one on, and a claim on each server would be as many writes.
//!
//! In come asks and recorded actions, out go observations and typed errors. Here are no decisions and no clock: the time
//! is handed in. It must never write without a fresh look, never remove a server that ever ran unless it was named, and
//! never take an error for an empty answer.

mod access;
mod errors;
mod group;
mod keystone;
mod launch;
mod names;
mod nova;
mod remove;
mod session;
mod settings;
mod times;
mod wire;

pub use access::Environment;
pub use settings::{Settings, Template};
pub use wire::Deadlines;

use access::Source;
use contract::{
    Accepted, Ask, BoxFuture, Capacity, GroupId, GuardKind, InstanceId, Observation, OnCall, Owner, Provider,
    ProviderError, Target, Terminator, Timestamp,
};
use group::Groups;
use session::Session;
use std::sync::Arc;
use wire::Wire;

/// Tells the time; the provider never reads a clock itself.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One project of one region.
pub struct OpenStack {
    parts: Parts,
    groups: Groups,
}

/// What a provider is made of.
struct Parts {
    wire: Wire,
    source: Source,
    settings: Settings,
    owner: Owner,
    clock: Clock,
}

impl OpenStack {
    /// Makes a provider from settings. It reads clouds.yaml or the environment and makes no call to the cloud.
    ///
    /// # Errors
    /// `Invalid` when the settings are wrong, all of what is wrong in one text.
    pub async fn connect(settings: Settings, owner: Owner, clock: Clock) -> Result<Self, ProviderError> {
        Self::connect_in(settings, owner, clock, Arc::new(|name| std::env::var(name).ok()))
    }

    /// As [`OpenStack::connect`], with other variables than the environment's.
    ///
    /// # Errors
    /// As there.
    pub fn connect_in(
        settings: Settings,
        owner: Owner,
        clock: Clock,
        environment: Environment,
    ) -> Result<Self, ProviderError> {
        let problems = settings.problems();
        if !problems.is_empty() {
            return Err(ProviderError::Invalid { what: problems.join("; ").into() });
        }
        let source = Source {
            cloud: settings.cloud.clone(),
            endpoint_url: settings.endpoint_url.clone(),
            region: settings.region.clone(),
            interface: settings.interface.clone(),
            environment,
        };
        let wire = Wire::new(&source.load()?)?;
        Ok(Self::assemble(Parts { wire, source, settings, owner, clock }))
    }

    /// The same provider with other deadlines. It forgets what it knew.
    #[must_use]
    pub fn with_deadlines(self, deadlines: Deadlines) -> Self {
        let wire = Wire { deadlines, ..self.parts.wire };
        Self::assemble(Parts { wire, ..self.parts })
    }

    /// The same provider, telling somebody of every call it makes. It forgets what it knew.
    #[must_use]
    pub fn with_on_call(self, on_call: OnCall) -> Self {
        let wire = Wire { on_call: Some(on_call), ..self.parts.wire };
        Self::assemble(Parts { wire, ..self.parts })
    }

    fn assemble(parts: Parts) -> Self {
        let session = Session::new(parts.wire.clone(), parts.source.clone(), Arc::clone(&parts.clock));
        let groups = Groups::new(session, parts.settings.clone(), Arc::clone(&parts.clock));
        Self { parts, groups }
    }
}

impl Provider for OpenStack {
    fn observe<'a>(&'a self, asks: &'a [Ask]) -> BoxFuture<'a, Vec<Result<Observation, ProviderError>>> {
        Box::pin(self.groups.observe(asks))
    }

    fn raise<'a>(&'a self, target: &'a Target, to: Capacity) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.groups.raise(target, to, &self.parts.owner))
    }

    fn cancel_unfilled<'a>(
        &'a self,
        target: &'a Target,
        _: Capacity,
    ) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.groups.withdraw(target))
    }

    fn guard(&self) -> GuardKind {
        GuardKind::ReadThenWrite
    }

    fn terminator(&self) -> Option<&dyn Terminator> {
        Some(self)
    }

    fn permissions(&self) -> Vec<&'static str> {
        permissions(&[])
    }
}

impl Terminator for OpenStack {
    fn terminate<'a>(
        &'a self,
        target: &'a Target,
        instances: &'a [InstanceId],
    ) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.groups.terminate(target, instances))
    }
}

/// What is asked of the cloud, as an application credential's access rules say it: service, method, path. The role
/// `member` allows all of it. Every group needs the same.
pub fn permissions(_: &[GroupId]) -> Vec<&'static str> {
    vec![
        "compute GET /v2.1/servers/detail",
        "compute GET /v2.1/servers",
        "compute GET /v2.1/servers/*",
        "compute POST /v2.1/servers",
        "compute DELETE /v2.1/servers/*",
        "network GET /v2.0/ports",
        "network DELETE /v2.0/ports/*",
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_real_cloud_of_the_tests_allows_what_is_printed_and_no_more() {
        let allowed = include_str!("../../../tests/openstack/permissions.txt");
        assert_eq!(super::permissions(&[]), allowed.lines().collect::<Vec<_>>());
    }
}
