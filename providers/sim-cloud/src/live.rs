//! A simulated cloud that is served: its machines, its API, its server, and the faults that somebody asked for, each for as
//! long as they said. Times are the machines' own; how long a timer of tokio's runs for them is up to whoever starts it.

use crate::api::Api;
use crate::clouds::{Access, CloudKind};
use crate::faults::Injected;
use crate::server::{Calls, Server};
use crate::spec::{Spec, What, WrongSpec};
use contract::{Capacity, GroupId, InstanceState, Timestamp};
use serde::Serialize;
use sim::{Cloud, Script, Span};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;

/// How long a timer has to run until so much of the cloud's time has passed.
pub type Timer = Arc<dyn Fn(Duration) -> Duration + Send + Sync>;

/// A served cloud; it ends when this is dropped.
pub struct Live {
    /// Which it is.
    pub kind: CloudKind,
    /// Its machines.
    pub cloud: Cloud,
    api: Arc<dyn Api>,
    wire: Arc<Wire>,
    timer: Timer,
    start: Timestamp,
}

/// The server and what is wrong with it.
struct Wire {
    server: Server,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    faults: Vec<On>,
    made: u64,
}

/// A fault that was asked for.
struct On {
    id: u64,
    noted: Noted,
    end: Option<Timestamp>,
    /// It plays now, and it is that connections are refused.
    is_down: bool,
    injected: Vec<Injected>,
    timing: Option<AbortHandle>,
}

/// A fault that was asked for, for whoever looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Noted {
    /// As it was asked for.
    pub fault: Box<str>,
    /// When it begins, in seconds since the epoch.
    pub from: i64,
    /// When it ends; `None`: when somebody says so.
    pub until: Option<i64>,
}

/// What a group holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LiveGroup {
    /// What policies call it.
    pub group: String,
    /// Desired; `None` where the cloud keeps none.
    pub desired: Option<Capacity>,
    /// Instances that boot.
    pub pending: usize,
    /// Instances that run.
    pub running: usize,
    /// Instances on their way out.
    pub terminating: usize,
    /// Instances that failed.
    pub failed: usize,
}

impl Live {
    /// Serves a cloud of this kind over these machines.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(kind: CloudKind, cloud: Cloud, listen: SocketAddr, timer: Timer) -> io::Result<Self> {
        let api = kind.api(cloud.clone());
        let server = Server::start_with(Arc::clone(&api), listen, false).await?;
        let start = cloud.now();
        Ok(Self { kind, cloud, api, wire: Arc::new(Wire { server, state: Mutex::default() }), timer, start })
    }

    /// Where it is, as `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.wire.server.url()
    }

    /// How a skala with a provider of this name reaches it.
    pub fn access(&self, provider: &str) -> Access {
        self.kind.access(provider, &self.url())
    }

    /// What reached it so far.
    pub fn calls(&self) -> Calls {
        self.wire.server.calls()
    }

    /// Its groups, by what policies call them.
    pub fn groups(&self) -> Vec<LiveGroup> {
        let shown = |group: GroupId| {
            let truth = self.cloud.truth(&group)?;
            let count = |state| truth.instances.iter().filter(|instance| instance.state == state).count();
            Some(LiveGroup {
                group: self.kind.group_id(&*self.api, group.as_str()),
                desired: truth.desired,
                pending: count(InstanceState::Pending),
                running: count(InstanceState::Running),
                terminating: count(InstanceState::Terminating),
                failed: count(InstanceState::Failed),
            })
        };
        self.cloud.groups().into_iter().filter_map(shown).collect()
    }

    /// Lets a fault play.
    ///
    /// # Errors
    /// When it is for a group that is not there.
    pub fn play(&self, spec: &Spec) -> Result<Noted, WrongSpec> {
        let now = self.cloud.now();
        let from = now.after(spec.from);
        let end = spec.lasts.map(|lasts| from.after(lasts));
        if let What::Machines(fault) = &spec.what {
            self.cloud.inject(Script {
                from: Span(from.since(self.start)),
                until: end.map(|end| Span(end.since(self.start))),
                group: spec.group.as_deref().map(|name| self.group(name)).transpose()?,
                zone: spec.zone.clone(),
                ..Script::new(fault.clone())
            });
        }
        let noted = Noted { fault: spec.text.clone(), from: secs(from), until: end.map(secs) };
        let id = self.wire.note(noted.clone(), end, now);
        if spec.from.is_zero() {
            self.wire.begin(id, &spec.what);
        }
        if !spec.from.is_zero() || spec.lasts.is_some() {
            let timing = tokio::spawn(time(Arc::clone(&self.wire), id, spec.clone(), Arc::clone(&self.timer)));
            self.wire.with(id, |on| on.timing = Some(timing.abort_handle()));
        }
        Ok(noted)
    }

    /// The faults that play or will.
    pub fn faults(&self) -> Vec<Noted> {
        let now = self.cloud.now();
        let state = self.wire.lock();
        state.faults.iter().filter(|on| on.end.is_none_or(|end| now < end)).map(|on| on.noted.clone()).collect()
    }

    /// Ends every fault. What was done meanwhile stays done.
    pub fn clear(&self) {
        self.wire.forget();
        self.wire.server.clear();
        self.cloud.clear_faults();
    }

    /// The simulated group of a name that a person wrote.
    fn group(&self, name: &str) -> Result<Box<str>, WrongSpec> {
        let simulated = self.kind.simulated(name);
        let is_there = self.cloud.truth(&simulated.as_str().into()).is_some();
        is_there.then(|| simulated.into()).ok_or_else(|| WrongSpec::no_group(name))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Timers hold the server.
        self.wire.forget();
    }
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, id: u64, change: impl FnOnce(&mut On)) {
        if let Some(on) = self.lock().faults.iter_mut().find(|on| on.id == id) {
            change(on);
        }
    }

    /// Takes a fault down, and forgets those that are over.
    fn note(&self, noted: Noted, end: Option<Timestamp>, now: Timestamp) -> u64 {
        let mut state = self.lock();
        state.faults.retain(|on| {
            on.timing.as_ref().is_some_and(|timing| !timing.is_finished()) || on.end.is_none_or(|end| now < end)
        });
        state.made += 1;
        let id = state.made;
        state.faults.push(On { id, noted, end, is_down: false, injected: Vec::new(), timing: None });
        id
    }

    fn forget(&self) {
        self.lock().faults.drain(..).filter_map(|on| on.timing).for_each(|timing| timing.abort());
    }

    /// A fault of the wire begins; those of machines have a timetable of their own.
    fn begin(&self, id: u64, what: &What) {
        match what {
            What::Machines(_) => {}
            What::Down => {
                self.with(id, |on| on.is_down = true);
                self.server.refuse_connections();
            }
            What::Calls(fault, kinds) => {
                let injected = kinds.iter().map(|kind| self.server.inject(*kind, *fault)).collect();
                self.with(id, |on| on.injected = injected);
            }
        }
    }

    fn end(&self, id: u64) {
        let mut state = self.lock();
        let Some(at) = state.faults.iter().position(|on| on.id == id) else { return };
        let over = state.faults.remove(at);
        over.injected.into_iter().for_each(|one| self.server.lift(one));
        if over.is_down && !state.faults.iter().any(|on| on.is_down) {
            self.server.accept_connections();
        }
    }
}

/// Begins and ends a fault when it is time.
async fn time(wire: Arc<Wire>, id: u64, spec: Spec, timer: Timer) {
    if !spec.from.is_zero() {
        tokio::time::sleep(timer(spec.from)).await;
        wire.begin(id, &spec.what);
    }
    if let Some(lasts) = spec.lasts {
        tokio::time::sleep(timer(lasts)).await;
        wire.end(id);
    }
}

fn secs(at: Timestamp) -> i64 {
    at.0.div_euclid(1_000_000)
}
