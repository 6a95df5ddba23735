//! One host: one connection to its libvirt, and how every call over it is made.
//!
//! libvirt's calls block, and it gives none of them a deadline. So every job runs in a thread of its own and its caller
//! waits as long as it likes; a job whose caller has left begins no further call, and what it was in when that happened
//! is [`ProviderError::Unclear`] if it could change something. Threads of our own rather than tokio's for blocking work:
//! at its end a runtime waits for those, and a host that hangs would keep the daemon from stopping.
//!
//! A connection that broke, or on which a call hangs, is let go of, and the next job makes a new one. A host that is gone
//! does not answer keepalives, which ends the calls to it; TCP would not, once it has said that a request arrived. Until
//! then at most [`HANGING_MAX`] threads wait, and one that nothing ends is no longer counted after [`HANGING_FOR`].

use crate::errors::{Effect, Failure, classify};
use crate::events::Events;
use contract::{OnCall, ProviderError, Telling};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use virt::connect::Connect;
use virt::error::Error;

/// Jobs of one host that may hang; more are refused.
const HANGING_MAX: usize = 4;
/// A host is not given up for good because of calls that nothing ends.
const HANGING_FOR: Duration = Duration::from_secs(20 * 60);
/// Seconds of silence after which a host is asked whether it is there, and how often before it is not.
const KEEPALIVE: (i32, u32) = (5, 3);

/// One libvirt, under the name that its instances show as their zone.
pub(crate) struct Host {
    pub name: Box<str>,
    shared: Arc<Shared>,
    on_call: Option<OnCall>,
}

struct Shared {
    uri: Box<str>,
    connection: Mutex<Option<Arc<Connect>>>,
    hanging: Mutex<Hanging>,
    /// Runs as long as there may be a connection.
    _events: Arc<Events>,
}

/// Jobs whose callers have left, and since when.
#[derive(Default)]
struct Hanging(Vec<(Arc<AtomicBool>, Instant)>);

impl Hanging {
    fn begin(&mut self, job: &Arc<AtomicBool>, at: Instant) {
        self.0.push((Arc::clone(job), at));
    }

    fn end(&mut self, job: &Arc<AtomicBool>) {
        self.0.retain(|(other, _)| !Arc::ptr_eq(other, job));
    }

    fn count(&mut self, at: Instant) -> usize {
        self.0.retain(|(_, since)| at.saturating_duration_since(*since) < HANGING_FOR);
        self.0.len()
    }
}

impl Shared {
    fn hanging(&self) -> MutexGuard<'_, Hanging> {
        self.hanging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that is there, or a new one.
    fn connect(&self, session: &mut Session) -> Result<(), Failure> {
        let present = self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Asks no host: it says whether the socket has been closed. A driver that cannot tell has no socket.
        if let Some(connect) = present.filter(|connect| connect.is_alive().unwrap_or(true)) {
            session.connect = Some(connect);
            return Ok(());
        }
        let opened = session.tell("virConnectOpen", Effect::Read, || Connect::open(Some(&self.uri)))?;
        // A driver without a socket has none, and a libvirtd that does not know it is as it was.
        drop(opened.set_keep_alive(KEEPALIVE.0, KEEPALIVE.1));
        let opened = Arc::new(opened);
        session.connect = Some(Arc::clone(&opened));
        // Over a remote connection, closing the old one is a call that may hang, so it is this thread that makes it.
        drop(self.connection.lock().unwrap_or_else(PoisonError::into_inner).replace(opened));
        Ok(())
    }

    /// Lets go of a connection that is of no use, unless a newer one has taken its place.
    fn let_go(&self, of: Option<&Arc<Connect>>) {
        let taken = {
            let mut held = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
            match (held.as_ref(), of) {
                (Some(there), Some(of)) if !Arc::ptr_eq(there, of) => None,
                _ => held.take(),
            }
        };
        close(taken);
    }
}

/// Closes where it keeps nobody waiting: that is a call, too.
fn close(connect: Option<Arc<Connect>>) {
    if let Some(connect) = connect {
        // When no thread can be had, the closure is dropped here, and with it the connection.
        drop(std::thread::Builder::new().name("libvirt-close".into()).spawn(move || drop(connect)));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        close(self.connection.get_mut().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Host {
    pub fn new(name: &str, uri: &str, on_call: Option<OnCall>, events: Arc<Events>) -> Self {
        let (connection, hanging) = (Mutex::new(None), Mutex::default());
        let shared = Shared { uri: uri.into(), connection, hanging, _events: events };
        Self { name: name.into(), shared: Arc::new(shared), on_call }
    }

    /// Runs a job over the connection, and waits for it until the deadline. What it has begun by then it ends by itself.
    pub async fn run<T: Send + 'static>(
        &self,
        effect: Effect,
        deadline: Instant,
        job: impl FnOnce(&Session) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        if self.shared.hanging().count(Instant::now()) >= HANGING_MAX {
            let what = format!(
                "{}: {HANGING_MAX} calls hang there already; look whether the host is up and its libvirtd answers \
                 (`virsh -c URI list`), and restart that one if not",
                self.name
            );
            return Err(Failure::ours(ProviderError::Transport { what: what.into(), source: None }));
        }
        let settled = Arc::new(AtomicBool::new(false));
        let mut session = Session {
            host: self.name.clone(),
            connect: None,
            deadline,
            given_up: Arc::clone(&settled),
            on_call: self.on_call.clone(),
        };
        let (answer, answered) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name(format!("libvirt-{}", self.name)).spawn(move || {
            let result = shared.connect(&mut session).and_then(|()| job(&session));
            if result.as_ref().is_err_and(|failure| failure.lost) {
                shared.let_go(session.connect.as_ref());
            }
            {
                let mut hanging = shared.hanging();
                if session.given_up.swap(true, Ordering::AcqRel) {
                    // Its caller had left, and counted it as hanging.
                    hanging.end(&session.given_up);
                }
            }
            drop(session);
            // Nobody may be waiting any more.
            drop(answer.send(result));
        });
        if let Err(error) = thread {
            let what = format!("{}: no thread could be had", self.name).into();
            return Err(Failure::ours(ProviderError::Transport { what, source: Some(Box::new(error)) }));
        }
        let _waiting = Waiting { shared: &self.shared, settled };
        match tokio::time::timeout_at(deadline, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Failure::unanswered(effect, format!("{}: the call broke off", self.name))),
            Err(_) => Err(Failure::unanswered(effect, format!("{}: no answer in time", self.name))),
        }
    }
}

/// A caller that waits for a job. When it leaves before the end, the job hangs, as far as anybody knows.
struct Waiting<'a> {
    shared: &'a Shared,
    settled: Arc<AtomicBool>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Together, so that a job which ends meanwhile is not counted afterwards.
        let mut hanging = self.shared.hanging();
        if !self.settled.swap(true, Ordering::AcqRel) {
            hanging.begin(&self.settled, Instant::now());
            drop(hanging);
            self.shared.let_go(None);
        }
    }
}

/// What a job calls libvirt with.
pub(crate) struct Session {
    pub host: Box<str>,
    connect: Option<Arc<Connect>>,
    deadline: Instant,
    given_up: Arc<AtomicBool>,
    on_call: Option<OnCall>,
}

impl Session {
    /// A call that changes nothing.
    pub fn read<T>(
        &self,
        operation: &'static str,
        call: impl FnOnce(&Connect) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        self.call(operation, Effect::Read, call)
    }

    /// A call that may change something.
    pub fn write<T>(
        &self,
        operation: &'static str,
        call: impl FnOnce(&Connect) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        self.call(operation, Effect::Write, call)
    }

    fn call<T>(
        &self,
        operation: &'static str,
        effect: Effect,
        call: impl FnOnce(&Connect) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let Some(connect) = &self.connect else {
            return Err(Failure::unanswered(Effect::Read, format!("{}: not connected", self.host)));
        };
        self.tell(operation, effect, || call(connect))
    }

    fn tell<T>(
        &self,
        operation: &'static str,
        effect: Effect,
        call: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        if began >= self.deadline || self.given_up.load(Ordering::Acquire) {
            return Err(Failure::no_time(operation));
        }
        let telling = Telling::of(self.on_call.as_ref(), operation, || began.elapsed());
        let result = call().map_err(|error| classify(&self.host, operation, effect, error));
        telling.end(result.as_ref().err().map_or("ok", |failure| failure.error.code()));
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_counts_until_it_ends_or_nobody_believes_in_it() {
        let (mut hanging, start) = (Hanging::default(), Instant::now());
        let jobs: Vec<Arc<AtomicBool>> = (0..4).map(|_| Arc::default()).collect();
        for (seconds, job) in (0..).zip(&jobs) {
            hanging.begin(job, start + Duration::from_secs(seconds));
        }
        assert_eq!(hanging.count(start + Duration::from_secs(10)), 4);
        hanging.end(&jobs[3]);
        assert_eq!(hanging.count(start + HANGING_FOR), 2);
        assert_eq!(hanging.count(start + HANGING_FOR + Duration::from_secs(2)), 0);
        // One that ends after all changes nothing more.
        hanging.end(&jobs[0]);
        hanging.begin(&jobs[0], start + HANGING_FOR);
        assert_eq!(hanging.count(start + HANGING_FOR), 1);
    }
}
