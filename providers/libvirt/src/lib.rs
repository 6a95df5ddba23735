//! libvirt behind skala's provider contract: groups of domains on hosts of one's own.
//!
//! A group is called as its `[provider.NAME.groups.GROUP]` table is ([`Settings`]). Which domains are in it, their own
//! metadata says, so a restart forgets nothing and a person can put one in. libvirt keeps no desired, skala's memory
//! does. An instance's id is its domain's name, its zone the name of its host. One that was switched off, or crashed,
//! without skala having asked for it has failed; it stays, for whoever wants to know why, until scale-in takes it first.
//!
//! In come asks and recorded actions; out go observations and typed errors. Here are no decisions and no clock: the time
//! is handed in. It must never write without a fresh read, never touch a domain without skala's mark, and never take a
//! host that does not answer for one that is empty.

#![cfg(feature = "virt")]

mod errors;
mod events;
mod host;
mod launch;
mod member;
mod observe;
mod seed;
mod settings;
mod template;
mod terminate;

pub use settings::{GroupSettings, SeedSettings, Settings, VolumeSettings};

pub use contract::Deadlines;
use contract::{
    Accepted, Ask, BoxFuture, Capacity, GroupId, GuardKind, InstanceId, Observation, OnCall, Owner, Provider,
    ProviderError, Target, Terminator, Timestamp,
};
use errors::{Effect, Failure};
use events::Events;
use host::{Host, Session};
use observe::Memory;
use settings::Group;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// Tells the time; the provider never reads a clock itself.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One private cloud: some hosts, and groups of domains on them.
pub struct Libvirt {
    settings: Settings,
    events: Arc<Events>,
    groups: BTreeMap<Box<str>, Group>,
    hosts: BTreeMap<Box<str>, Arc<Host>>,
    owner: Owner,
    clock: Clock,
    deadlines: Deadlines,
    memory: Mutex<BTreeMap<Box<str>, Memory>>,
    /// Hosts on which something is being cleared away.
    sweeping: Arc<Mutex<BTreeSet<Box<str>>>>,
}

impl Libvirt {
    /// Makes a provider from settings. It reads the templates, and makes no connection yet.
    ///
    /// # Errors
    /// `Invalid` when the settings are wrong, all of what is wrong in one text; `Transport` when no thread can be had.
    pub async fn connect(settings: Settings, owner: Owner, clock: Clock) -> Result<Self, ProviderError> {
        // libvirt would write every error to stderr besides returning it.
        virt::error::clear_error_callback();
        let groups = settings.load()?;
        let events = Events::start()?;
        let hosts = hosts(&settings, None, &events);
        Ok(Self {
            settings,
            events,
            groups,
            hosts,
            owner,
            clock,
            deadlines: Deadlines::default(),
            memory: Mutex::default(),
            sweeping: Arc::default(),
        })
    }

    /// The same provider with other deadlines.
    #[must_use]
    pub fn with_deadlines(self, deadlines: Deadlines) -> Self {
        Self { deadlines, ..self }
    }

    /// The same provider, telling somebody of every call it makes. Its connections are made anew.
    #[must_use]
    pub fn with_on_call(self, on_call: OnCall) -> Self {
        Self { hosts: hosts(&self.settings, Some(on_call), &self.events), ..self }
    }

    fn group(&self, name: &str) -> Result<&Group, ProviderError> {
        self.groups
            .get(name)
            .ok_or_else(|| ProviderError::NotFound { what: format!("skala.toml has no groups.{name}").into() })
    }

    /// Changes what is remembered of a group.
    fn remember<T>(&self, group: &str, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(self.memory.lock().unwrap_or_else(PoisonError::into_inner).entry(group.into()).or_default())
    }

    /// Reads at a host. One whose connection broke while it was idle is tried once more.
    async fn read<T: Send + 'static>(
        &self,
        host: &str,
        job: impl Fn(&Session) -> Result<T, Failure> + Clone + Send + 'static,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + self.deadlines.read;
        let Some(host) = self.hosts.get(host) else {
            return Err(Failure::no_time("virConnectOpen"));
        };
        match host.run(Effect::Read, deadline, job.clone()).await {
            Err(failure) if failure.lost && failure.number.is_some() => host.run(Effect::Read, deadline, job).await,
            first => first,
        }
    }
}

fn hosts(settings: &Settings, on_call: Option<OnCall>, events: &Arc<Events>) -> BTreeMap<Box<str>, Arc<Host>> {
    let host = |(name, uri): (&String, &String)| {
        (name.as_str().into(), Arc::new(Host::new(name, uri, on_call.clone(), Arc::clone(events))))
    };
    settings.hosts.iter().map(host).collect()
}

impl Provider for Libvirt {
    fn observe<'a>(&'a self, asks: &'a [Ask]) -> BoxFuture<'a, Vec<Result<Observation, ProviderError>>> {
        Box::pin(self.look(asks))
    }

    fn raise<'a>(&'a self, target: &'a Target, to: Capacity) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.launch(target, to))
    }

    fn cancel_unfilled<'a>(&'a self, _: &'a Target, _: Capacity) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        // libvirt holds no request open: what was not launched at once was refused, and there is nothing to withdraw.
        Box::pin(async { Ok(Accepted::default()) })
    }

    fn guard(&self) -> GuardKind {
        GuardKind::ReadThenWrite
    }

    fn terminator(&self) -> Option<&dyn Terminator> {
        Some(self)
    }

    fn permissions(&self) -> Vec<&'static str> {
        permissions(&[GroupId::from("any")])
    }
}

impl Terminator for Libvirt {
    fn terminate<'a>(
        &'a self,
        target: &'a Target,
        instances: &'a [InstanceId],
    ) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.send_off(target, instances))
    }
}

/// What libvirt's polkit driver has to allow on every host, in its words; without that driver, a connection that may write
/// may do all of it.
pub fn permissions(groups: &[GroupId]) -> Vec<&'static str> {
    if groups.is_empty() {
        return Vec::new();
    }
    vec![
        "org.libvirt.api.connect.getattr",
        "org.libvirt.api.connect.read",
        "org.libvirt.api.connect.search-domains",
        "org.libvirt.api.connect.write",
        "org.libvirt.api.domain.delete",
        "org.libvirt.api.domain.getattr",
        "org.libvirt.api.domain.init-control",
        "org.libvirt.api.domain.read",
        "org.libvirt.api.domain.save",
        "org.libvirt.api.domain.start",
        "org.libvirt.api.domain.stop",
        "org.libvirt.api.domain.write",
        "org.libvirt.api.storage-pool.getattr",
        "org.libvirt.api.storage-vol.create",
        "org.libvirt.api.storage-vol.data-write",
        "org.libvirt.api.storage-vol.delete",
        "org.libvirt.api.storage-vol.getattr",
        "org.libvirt.api.storage-vol.read",
    ]
}
