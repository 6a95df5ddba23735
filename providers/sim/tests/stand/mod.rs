//! The simulated cloud as a fixture of the conformance suite, with a clock that moves only when it is waited on.
#![allow(dead_code, missing_docs, clippy::unwrap_used, reason = "shared by test binaries that each use a part")]

use conformance::{Call, Calls, Fault, Fixture, Offers, Spec, Truth, Unsupported};
use contract::{
    BoxFuture, Capacity, Foreign, GroupId, InstanceId, InstanceState, Owner, OwnerTag, Suspended, Timestamp,
};
use sim::{Boot, Cloud, GroupSettings, Guard, Operation, Refusal, Script, Settings, Sim, Span};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;

/// A clock that tests move.
#[derive(Clone)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(Timestamp::from_secs(1_700_000_000).0)))
    }

    pub fn now(&self) -> Timestamp {
        Timestamp(self.0.load(SeqCst))
    }

    pub fn pass(&self, duration: Duration) {
        self.0.fetch_add(contract::micros(duration), SeqCst);
    }

    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, SeqCst);
    }

    pub fn reader(&self) -> sim::Now {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }

    /// Waiting is what moves this clock.
    pub fn sleeper(&self) -> sim::Sleep {
        let clock = self.clone();
        Arc::new(move |duration| {
            let clock = clock.clone();
            Box::pin(async move { clock.pass(duration) })
        })
    }
}

/// A cloud of these settings, its provider and its clock.
pub fn cloud(settings: Settings) -> (Sim, Cloud, Clock) {
    let clock = Clock::new();
    let cloud = Cloud::new(settings, clock.reader()).unwrap();
    let sim = Sim::new(cloud.clone(), Owner { id: "skala-1".into() }, clock.sleeper());
    (sim, cloud, clock)
}

/// Settings from TOML, as a person would write them.
pub fn settings(text: &str) -> Settings {
    toml::from_str(text).unwrap()
}

pub struct Stand {
    pub sim: Sim,
    pub cloud: Cloud,
    pub clock: Clock,
    /// `""`, `servers:` or `deployment:`.
    pub prefix: &'static str,
    /// Whether a write that times out has taken effect.
    pub late: bool,
    made: u32,
}

impl Stand {
    pub fn new(prefix: &'static str, guard: Guard, late: bool) -> Self {
        let boot = Boot { min: Span::secs(20), mean: Span::secs(40), max: Span::secs(60) };
        let (sim, cloud, clock) = cloud(Settings { guard, boot, ..Settings::default() });
        Self { sim, cloud, clock, prefix, late, made: 0 }
    }

    fn fault(&self, fault: &Fault) -> sim::Fault {
        match fault {
            Fault::Throttle { retry_after } => sim::Fault::Throttle { retry_after: retry_after.map(Span) },
            Fault::ErrorBeforeEffect => sim::Fault::ErrorBeforeEffect,
            Fault::ErrorAfterEffect => sim::Fault::ErrorAfterEffect,
            Fault::Timeout => sim::Fault::Hang { span: Span::secs(30), effect: self.late },
            Fault::BrokenBody => sim::Fault::BrokenBody,
            Fault::Unsent => sim::Fault::Unsent,
            Fault::Denied => sim::Fault::Denied,
            Fault::Expired => sim::Fault::Expired,
            Fault::OutOfCapacity => sim::Fault::Refuse { why: Refusal::OutOfCapacity },
            Fault::QuotaExceeded => sim::Fault::Refuse { why: Refusal::Quota },
            Fault::LaterPages => sim::Fault::LaterPages,
            Fault::Slow(span) => sim::Fault::Latency { span: Span(*span) },
            Fault::WrongCredentials => sim::Fault::Denied,
            Fault::ClockOff => sim::Fault::Expired,
            Fault::Redirect => sim::Fault::ErrorBeforeEffect,
            Fault::Html | Fault::OutOfRange => sim::Fault::ErrorBeforeEffect,
            // No wire, no pages and no words: what such answers would do to a provider, nothing does here.
            Fault::EmptyPages | Fault::Duplicates | Fault::UnknownWords => {
                sim::Fault::Latency { span: Span(Duration::ZERO) }
            }
        }
    }
}

fn ready<'a, T: Send + 'a>(answer: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(answer))
}

fn found<'a>(found: bool) -> BoxFuture<'a, Result<(), Unsupported>> {
    ready(found.then_some(()).ok_or_else(|| Unsupported("no such thing".into())))
}

impl Fixture for Stand {
    fn offers(&self) -> Offers {
        let retry_after = Some(Duration::ZERO);
        let both = [
            Fault::Throttle { retry_after },
            Fault::ErrorBeforeEffect,
            Fault::Timeout,
            Fault::BrokenBody,
            Fault::Unsent,
            Fault::Denied,
            Fault::Expired,
            Fault::Html,
            Fault::Redirect,
        ];
        let mut faults: Vec<_> = both.iter().cloned().map(|fault| (Call::Read, fault)).collect();
        faults.extend(both.into_iter().map(|fault| (Call::Write, fault)));
        faults.extend([Fault::LaterPages, Fault::Slow(Duration::ZERO)].map(|fault| (Call::Read, fault)));
        let reads = [
            Fault::WrongCredentials,
            Fault::ClockOff,
            Fault::EmptyPages,
            Fault::Duplicates,
            Fault::UnknownWords,
            Fault::OutOfRange,
        ];
        faults.extend(reads.map(|fault| (Call::Read, fault)));
        let writes = [Fault::ErrorAfterEffect, Fault::OutOfCapacity, Fault::QuotaExceeded];
        faults.extend(writes.map(|fault| (Call::Write, fault)));
        let keeps_desired = self.prefix != "servers:";
        Offers {
            faults,
            retry_after: true,
            groups_at_once: 130,
            page: Some(100),
            counts_calls: true,
            knows_groups: true,
            unfilled: keeps_desired,
            set_desired: keeps_desired,
            protect: true,
            owner_tags: true,
            suspends: vec![Suspended::Launch, Suspended::Terminate, Suspended::Refresh],
            foreign: true,
            launch_failures: true,
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn create(&mut self, spec: Spec) -> BoxFuture<'_, Result<GroupId, Unsupported>> {
        self.made += 1;
        let id = GroupId::from(format!("{}web-{}", self.prefix, self.made));
        let Spec { min, max, desired, running } = spec;
        let zones = vec!["a".into(), "b".into(), "c".into()];
        let settings = GroupSettings { min, max, desired: running, zones, ..GroupSettings::default() };
        self.cloud.create(id.as_str(), &settings).unwrap();
        if desired > running {
            assert!(self.cloud.set_suspended(&id, vec![Suspended::Launch]));
            assert!(self.cloud.set_desired(&id, desired));
        }
        ready(Ok(id))
    }

    fn delete<'a>(&'a mut self, group: &'a GroupId) -> BoxFuture<'a, ()> {
        self.cloud.delete(group);
        ready(())
    }

    fn truth<'a>(&'a mut self, group: &'a GroupId) -> BoxFuture<'a, Option<Truth>> {
        ready(self.cloud.truth(group).map(|truth| {
            Truth {
                desired: truth.desired,
                instances: truth
                    .instances
                    .iter()
                    .filter(|instance| instance.state != InstanceState::Terminating)
                    .map(|instance| instance.id.clone())
                    .collect(),
            }
        }))
    }

    fn settle(&mut self) -> BoxFuture<'_, ()> {
        // Longer than the slowest boot, a termination and a second try of a launch.
        self.clock.pass(Duration::from_secs(61));
        ready(())
    }

    fn set_desired<'a>(&'a mut self, group: &'a GroupId, to: Capacity) -> BoxFuture<'a, Result<(), Unsupported>> {
        found(self.cloud.set_desired(group, to))
    }

    fn protect<'a>(
        &'a mut self,
        group: &'a GroupId,
        instance: &'a InstanceId,
    ) -> BoxFuture<'a, Result<(), Unsupported>> {
        found(self.cloud.protect(group, instance, true))
    }

    fn tag<'a>(&'a mut self, group: &'a GroupId, owner: OwnerTag) -> BoxFuture<'a, Result<(), Unsupported>> {
        found(self.cloud.set_owner(group, Some(owner)))
    }

    fn suspend<'a>(&'a mut self, group: &'a GroupId, what: Suspended) -> BoxFuture<'a, Result<(), Unsupported>> {
        found(self.cloud.set_suspended(group, vec![what]))
    }

    fn foreign<'a>(&'a mut self, group: &'a GroupId) -> BoxFuture<'a, Result<Foreign, Unsupported>> {
        let foreign = Foreign { name: "scaling policy cpu50".into(), removes: Some(true) };
        assert!(self.cloud.set_foreign(group, vec![foreign.clone()]));
        ready(Ok(foreign))
    }

    fn fail_launches<'a>(&'a mut self, group: &'a GroupId) -> BoxFuture<'a, Result<(), Unsupported>> {
        self.cloud.inject(Script { group: Some(group.as_str().into()), ..Script::new(sim::Fault::OutOfCapacity) });
        ready(Ok(()))
    }

    fn inject<'a>(
        &'a mut self,
        group: &'a GroupId,
        call: Call,
        fault: &'a Fault,
    ) -> BoxFuture<'a, Result<(), Unsupported>> {
        let operations: &[Operation] = match call {
            Call::Read => &[Operation::Observe],
            Call::Write => &[Operation::Raise, Operation::Cancel, Operation::Terminate, Operation::Lower],
        };
        // A page holds many groups, and so does its loss.
        let only = (*fault != Fault::LaterPages).then(|| group.as_str().into());
        for operation in operations {
            let (group, operation) = (only.clone(), Some(*operation));
            self.cloud.inject(Script { group, operation, ..Script::new(self.fault(fault)) });
        }
        ready(Ok(()))
    }

    fn clear(&mut self) -> BoxFuture<'_, ()> {
        self.cloud.clear_faults();
        ready(())
    }

    fn calls(&mut self) -> Calls {
        let calls = self.cloud.calls();
        Calls { reads: calls.observe, writes: calls.writes() }
    }
}
