//! The daemon's way into the simulated cloud: the contract's traits. In come calls, out come answers, late or wrong as
//! the scripts say. It never waits by itself: it asks the caller's function to, and holds no lock meanwhile.

use crate::cloud::{Cloud, State};
use crate::gate::Met;
use crate::script::{Fault, Operation};
use crate::writes::Request;
use contract::{
    Accepted, Ask, BoxFuture, Capacity, GuardKind, InstanceId, Lowerer, Native, Observation, OnCall, Owner, Provider,
    ProviderError, Target, Telling, Terminator, Timestamp,
};
use std::sync::Arc;
use std::time::Duration;

/// Waits for a duration in the caller's own time.
pub type Sleep = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// One daemon's access to a simulated cloud.
#[derive(Clone)]
pub struct Sim {
    cloud: Cloud,
    owner: Owner,
    sleep: Sleep,
    on_call: Option<OnCall>,
}

impl Sim {
    /// Gives a daemon access to the cloud; `sleep` serves latency and hanging calls.
    pub fn new(cloud: Cloud, owner: Owner, sleep: Sleep) -> Self {
        Self { cloud, owner, sleep, on_call: None }
    }

    /// Tells someone of every call.
    pub fn with_on_call(self, on_call: OnCall) -> Self {
        Self { on_call: Some(on_call), ..self }
    }

    /// The cloud behind.
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    async fn wait(&self, duration: Duration) {
        if duration > Duration::ZERO {
            (self.sleep)(duration).await;
        }
    }

    fn tell_of(&self, operation: Operation) -> Telling<'_, impl Fn() -> Duration> {
        let now = || self.cloud.lock().at;
        let from = now();
        Telling::of(self.on_call.as_ref(), operation.word(), move || now().since(from))
    }

    async fn write(
        &self,
        operation: Operation,
        target: &Target,
        request: Request<'_>,
    ) -> Result<Accepted, ProviderError> {
        let telling = self.tell_of(operation);
        let result = self.try_write(operation, target, request).await;
        telling.end(result.as_ref().err().map_or("ok", ProviderError::code));
        result
    }

    async fn try_write(
        &self,
        operation: Operation,
        target: &Target,
        request: Request<'_>,
    ) -> Result<Accepted, ProviderError> {
        let Met { delay, fault, .. } = self.cloud.lock().admit_write(operation, &target.group);
        self.wait(delay).await;
        let Some((fault, zone)) = fault else {
            return self.cloud.lock().write(target, request, &self.owner);
        };
        let error = fault.of_write(&target.group, zone.as_deref());
        match fault {
            // A write that the fence refuses is refused before the fault can hide it.
            Fault::ErrorAfterEffect | Fault::BrokenBody => {
                self.cloud.lock().write(target, request, &self.owner)?;
            }
            Fault::Hang { span, effect } => {
                if effect {
                    self.cloud.lock().write(target, request, &self.owner)?;
                }
                self.wait(span.0).await;
            }
            _ => {}
        }
        Err(error)
    }
}

impl Provider for Sim {
    fn observe<'a>(&'a self, asks: &'a [Ask]) -> BoxFuture<'a, Vec<Result<Observation, ProviderError>>> {
        Box::pin(async move {
            if asks.is_empty() {
                return Vec::new();
            }
            let (at, met) = {
                let mut state = self.cloud.lock();
                (state.at, state.admit_read(asks))
            };
            let telling = self.tell_of(Operation::Observe);
            self.wait(met.delay + met.hangs()).await;
            let answers = self.cloud.lock().answer(asks, &met, at);
            // The call's code is its first error's: one bad group of a hundred shows, and so does a refused call.
            let failed = answers.iter().find_map(|answer| answer.as_ref().err());
            telling.end(failed.map_or("ok", ProviderError::code));
            answers
        })
    }

    fn raise<'a>(&'a self, target: &'a Target, to: Capacity) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.write(Operation::Raise, target, Request::Raise(to)))
    }

    fn cancel_unfilled<'a>(
        &'a self,
        target: &'a Target,
        to: Capacity,
    ) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.write(Operation::Cancel, target, Request::Cancel(to)))
    }

    fn guard(&self) -> GuardKind {
        self.cloud.lock().rules.settings.guard.kind()
    }

    fn native(&self) -> Option<&dyn Native> {
        Some(self)
    }

    fn terminator(&self) -> Option<&dyn Terminator> {
        Some(self)
    }

    fn lowerer(&self) -> Option<&dyn Lowerer> {
        Some(self)
    }
}

impl Terminator for Sim {
    fn terminate<'a>(
        &'a self,
        target: &'a Target,
        instances: &'a [InstanceId],
    ) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.write(Operation::Terminate, target, Request::Terminate(instances)))
    }
}

impl Lowerer for Sim {
    fn lower<'a>(&'a self, target: &'a Target, to: Capacity) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.write(Operation::Lower, target, Request::Lower(to)))
    }
}

impl Met {
    fn hangs(&self) -> Duration {
        let all = self.fault.iter().map(|(fault, _)| fault).chain(self.single.iter().map(|(_, fault, _)| fault));
        all.map(|fault| if let Fault::Hang { span, .. } = fault { span.0 } else { Duration::ZERO }).sum()
    }
}

impl State {
    /// Answers an observation that was asked at `asked`.
    fn answer(&mut self, asks: &[Ask], met: &Met, asked: Timestamp) -> Vec<Result<Observation, ProviderError>> {
        let at = self.at;
        let lagging = self.rules.settings.stale.0 > Duration::ZERO
            || self.rules.scripts.iter().any(|p| matches!(p.script.fault, Fault::Stale { .. }) && p.on(at));
        let page = self.rules.settings.page as usize;
        let mut answers = Vec::with_capacity(asks.len());
        for (place, ask) in asks.iter().enumerate() {
            let single =
                met.single.iter().find(|(group, ..)| **group == *ask.group.as_str()).map(|(_, fault, _)| fault);
            let fault = met.fault.as_ref().map(|(fault, _)| fault).or(single);
            if let Some(fault) = fault.filter(|fault| **fault != Fault::LaterPages || place >= page) {
                answers.push(Err(fault.of_read(&ask.group)));
                continue;
            }
            let group = self.index.get(&ask.group).and_then(|index| self.groups[*index].as_mut());
            answers.push(match group {
                None => Err(ProviderError::NotFound { what: ask.group.as_str().into() }),
                Some(group) => {
                    let lag = if lagging { self.rules.lag(at, &group.id) } else { Duration::ZERO };
                    let mut observation = match lag {
                        Duration::ZERO => group.shown(at, &self.rules).clone(),
                        lag => group.shown_late(at, lag, &self.rules),
                    };
                    observation.at = asked;
                    Ok(observation)
                }
            });
        }
        answers
    }
}

impl crate::group::Rules {
    fn lag(&self, at: Timestamp, group: &contract::GroupId) -> Duration {
        let scripted = self.playing(at, group).map(|p| match p.script.fault {
            Fault::Stale { span } => span.0,
            _ => Duration::ZERO,
        });
        scripted.fold(self.settings.stale.0, Duration::max)
    }
}
