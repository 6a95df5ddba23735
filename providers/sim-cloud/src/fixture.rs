//! The conformance suite's fixture over any simulated API: it looks at the machines past the wire, and breaks the wire.

use crate::api::{Api, Kind};
use crate::faults::{Fault as Broken, Garble, Refusal};
use crate::server::Server;
use conformance::{Call, Calls, Fault, Fixture, Offers, Spec, Truth, Unsupported};
use contract::{
    BoxFuture, Capacity, Foreign, GroupId, InstanceId, InstanceState, OwnerTag, Suspended, Timestamp, micros,
};
use sim::{Cloud, GroupSettings, Script};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;

/// A clock that moves only when a test moves it.
#[derive(Clone)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    /// It stands at this time.
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(now.0)))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.0.load(SeqCst))
    }

    /// Moves it on.
    pub fn pass(&self, duration: Duration) {
        self.0.fetch_add(micros(duration), SeqCst);
    }

    /// What reads it: for a cloud, and for a provider.
    pub fn reader(&self) -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }
}

/// A simulated API for the suite.
pub struct Wire {
    /// Its server.
    pub server: Server,
    /// The machines behind it.
    pub cloud: Cloud,
    /// The time of both, and of the provider.
    pub clock: Clock,
    /// What the fixture says that it can do. All that the server can do, until a test takes something away.
    pub offers: Offers,
    /// Whether a write that times out has taken effect.
    pub late: bool,
    /// The start of the groups' names in the simulated cloud: `""`, `servers:` or `deployment:`.
    pub prefix: &'static str,
    api: Arc<dyn Api>,
    names: BTreeMap<GroupId, GroupId>,
    made: u32,
}

impl Wire {
    /// Serves `api`, which is over `cloud`, for a provider whose clock is `clock`.
    ///
    /// # Panics
    /// When no port is free: it is a test's.
    #[allow(clippy::expect_used)]
    pub async fn start(api: Arc<dyn Api>, cloud: Cloud, clock: Clock, prefix: &'static str) -> Self {
        let server = Server::start(Arc::clone(&api), ([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let offers = offers(prefix != "servers:");
        Self { server, cloud, clock, offers, late: false, prefix, api, names: BTreeMap::new(), made: 0 }
    }

    /// The simulated group behind what skala's users call it.
    pub fn simulated(&self, group: &GroupId) -> GroupId {
        self.names.get(group).cloned().unwrap_or_else(|| group.clone())
    }

    /// Takes offers away.
    #[must_use]
    pub fn without(mut self, faults: &[(Call, Fault)]) -> Self {
        self.offers.faults.retain(|offered| !faults.contains(offered));
        self
    }
}

/// All that a server can do; `keeps_desired`: its groups are no mere tags.
pub fn offers(keeps_desired: bool) -> Offers {
    let both = [
        Fault::Throttle { retry_after: None },
        Fault::ErrorBeforeEffect,
        Fault::Timeout,
        Fault::BrokenBody,
        Fault::Denied,
        Fault::Expired,
        Fault::Slow(Duration::ZERO),
        Fault::Html,
        Fault::Redirect,
    ];
    let reads = [
        // A connection is refused before it is known what it was for, so only reads can be met alone.
        Fault::Unsent,
        Fault::LaterPages,
        Fault::WrongCredentials,
        Fault::ClockOff,
        Fault::EmptyPages,
        Fault::Duplicates,
        Fault::UnknownWords,
        Fault::OutOfRange,
    ];
    let writes = [Fault::ErrorAfterEffect, Fault::OutOfCapacity, Fault::QuotaExceeded];
    let mut faults: Vec<(Call, Fault)> = Vec::new();
    faults.extend(both.iter().chain(&reads).map(|fault| (Call::Read, fault.clone())));
    faults.extend(both.iter().chain(&writes).map(|fault| (Call::Write, fault.clone())));
    Offers {
        faults,
        retry_after: true,
        groups_at_once: 130,
        page: None,
        counts_calls: true,
        knows_groups: true,
        unfilled: keeps_desired,
        set_desired: keeps_desired,
        protect: true,
        owner_tags: true,
        suspends: vec![Suspended::Launch, Suspended::Terminate],
        foreign: true,
        launch_failures: true,
    }
}

fn ready<'a, T: Send + 'a>(answer: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(answer))
}

fn found<'a>(found: bool) -> BoxFuture<'a, Result<(), Unsupported>> {
    ready(found.then_some(()).ok_or_else(|| Unsupported("no such thing".into())))
}

/// From now on every such call at the server meets the suite's fault. `late`: whether a write that times out has taken
/// effect.
pub fn inject(server: &Server, call: Call, fault: &Fault, late: bool) {
    let kind = match call {
        Call::Read => Kind::Read,
        Call::Write => Kind::Write,
    };
    match broken(fault, late) {
        Some(fault) => _ = server.inject(kind, fault),
        None => server.refuse_connections(),
    }
}

/// Ends every fault at the server; once this is done it can be reached.
pub async fn clear(server: &Server) {
    server.clear();
    // A port that was closed takes a moment to be open again.
    let at = server.url();
    while tokio::net::TcpStream::connect(at.trim_start_matches("http://")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The suite's fault at the server; `None`: the connection itself is refused.
fn broken(fault: &Fault, late: bool) -> Option<Broken> {
    Some(match fault {
        Fault::Throttle { retry_after } => Broken::Refuse(Refusal::Throttled { retry_after: *retry_after }),
        Fault::ErrorBeforeEffect => Broken::Refuse(Refusal::Internal),
        Fault::ErrorAfterEffect => Broken::ErrorAfterEffect,
        Fault::Timeout => Broken::Hang { effect: late },
        Fault::BrokenBody => Broken::Truncated,
        Fault::Denied => Broken::Refuse(Refusal::Denied),
        Fault::Expired => Broken::Refuse(Refusal::Expired),
        Fault::OutOfCapacity => Broken::Refuse(Refusal::OutOfCapacity),
        Fault::QuotaExceeded => Broken::Refuse(Refusal::QuotaExceeded),
        Fault::LaterPages => Broken::LaterPages,
        Fault::Slow(span) => Broken::Slow(*span),
        Fault::Html => Broken::Html,
        Fault::Redirect => Broken::Redirect,
        Fault::WrongCredentials => Broken::Refuse(Refusal::WrongCredentials),
        Fault::ClockOff => Broken::Refuse(Refusal::ClockOff),
        Fault::EmptyPages => Broken::Garble(Garble::EmptyPages),
        Fault::Duplicates => Broken::Garble(Garble::Duplicates),
        Fault::UnknownWords => Broken::Garble(Garble::UnknownWords),
        Fault::OutOfRange => Broken::Garble(Garble::OutOfRange),
        Fault::Unsent => return None,
    })
}

impl Fixture for Wire {
    fn offers(&self) -> Offers {
        self.offers.clone()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn create(&mut self, spec: Spec) -> BoxFuture<'_, Result<GroupId, Unsupported>> {
        self.made += 1;
        let name = format!("{}web-{}", self.prefix, self.made);
        let Spec { min, max, desired, running } = spec;
        let zones = vec!["a".into(), "b".into(), "c".into()];
        let settings = GroupSettings { min, max, desired: running, zones, ..GroupSettings::default() };
        if let Err(wrong) = self.cloud.create(&name, &settings) {
            return ready(Err(Unsupported(wrong.to_string())));
        }
        let simulated = GroupId::from(name.as_str());
        if desired > running {
            // What is asked for beyond that does not come.
            self.cloud.inject(Script { group: Some(name.as_str().into()), ..Script::new(sim::Fault::OutOfCapacity) });
            self.cloud.set_desired(&simulated, desired);
        }
        let group = self.api.group_id(&name);
        self.names.insert(group.clone(), simulated);
        ready(Ok(group))
    }

    fn delete<'a>(&'a mut self, group: &'a GroupId) -> BoxFuture<'a, ()> {
        self.cloud.delete(&self.simulated(group));
        ready(())
    }

    fn truth<'a>(&'a mut self, group: &'a GroupId) -> BoxFuture<'a, Option<Truth>> {
        let simulated = self.simulated(group);
        ready(self.cloud.truth(&simulated).map(|truth| {
            let there = truth.instances.iter().filter(|instance| instance.state != InstanceState::Terminating);
            Truth {
                desired: truth.desired,
                instances: there.map(|instance| self.api.instance_id(&simulated, &instance.id)).collect(),
            }
        }))
    }

    fn settle(&mut self) -> BoxFuture<'_, ()> {
        // Twice longer than a boot and a termination: what is launched when something has gone also needs its time.
        self.clock.pass(Duration::from_secs(121));
        ready(())
    }

    fn set_desired<'a>(&'a mut self, group: &'a GroupId, to: Capacity) -> BoxFuture<'a, Result<(), Unsupported>> {
        found(self.cloud.set_desired(&self.simulated(group), to))
    }

    fn protect<'a>(
        &'a mut self,
        group: &'a GroupId,
        instance: &'a InstanceId,
    ) -> BoxFuture<'a, Result<(), Unsupported>> {
        let group = self.simulated(group);
        let named = |of: &contract::Instance| self.api.instance_id(&group, &of.id) == *instance;
        let truth = self.cloud.truth(&group);
        let id = truth.and_then(|truth| truth.instances.iter().find(|of| named(of)).map(|of| of.id.clone()));
        found(id.is_some_and(|id| self.cloud.protect(&group, &id, true)))
    }

    fn tag<'a>(&'a mut self, group: &'a GroupId, owner: OwnerTag) -> BoxFuture<'a, Result<(), Unsupported>> {
        found(self.cloud.set_owner(&self.simulated(group), Some(owner)))
    }

    fn suspend<'a>(&'a mut self, group: &'a GroupId, what: Suspended) -> BoxFuture<'a, Result<(), Unsupported>> {
        found(self.cloud.set_suspended(&self.simulated(group), vec![what]))
    }

    fn foreign<'a>(&'a mut self, group: &'a GroupId) -> BoxFuture<'a, Result<Foreign, Unsupported>> {
        let foreign = self.api.foreign();
        let done = self.cloud.set_foreign(&self.simulated(group), vec![foreign.clone()]);
        ready(done.then_some(foreign).ok_or_else(|| Unsupported("no such group".into())))
    }

    fn fail_launches<'a>(&'a mut self, group: &'a GroupId) -> BoxFuture<'a, Result<(), Unsupported>> {
        let group = self.simulated(group);
        self.cloud.inject(Script { group: Some(group.as_str().into()), ..Script::new(sim::Fault::OutOfCapacity) });
        ready(Ok(()))
    }

    fn inject<'a>(
        &'a mut self,
        _: &'a GroupId,
        call: Call,
        fault: &'a Fault,
    ) -> BoxFuture<'a, Result<(), Unsupported>> {
        if let Fault::Slow(span) = *fault {
            // The clock stands still by itself: the time that an answer takes has to pass on it too, while it is waited for.
            let clock = self.clock.clone();
            tokio::spawn(async move {
                tokio::time::sleep(span / 2).await;
                clock.pass(span);
            });
        }
        // A cloud that does not tell how long to wait does not tell it here.
        let mute = matches!(fault, Fault::Throttle { .. }) && !self.offers.retry_after;
        let fault = if mute { &Fault::Throttle { retry_after: None } } else { fault };
        inject(&self.server, call, fault, self.late);
        ready(Ok(()))
    }

    fn clear(&mut self) -> BoxFuture<'_, ()> {
        self.cloud.clear_faults();
        Box::pin(clear(&self.server))
    }

    fn calls(&mut self) -> Calls {
        let calls = self.server.calls();
        Calls { reads: calls.reads, writes: calls.writes }
    }
}
