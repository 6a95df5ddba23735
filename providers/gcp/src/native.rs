//! The group's own autoscaler: what it is set to, and how its right to act is suspended: its `mode` goes from `ON` or
//! `ONLY_SCALE_OUT` to `OFF` and back. The autoscaler stays where it is with all else that it is set to, and goes on
//! saying what it would have done.
//!
//! An autoscaler has no fingerprint to write against. So each write begins with a fresh read; who sets the mode between
//! that read and the write, some tens of milliseconds later, is overwritten. A write ends when its operation has: only
//! then does the mode hold.

use crate::Gcp;
use crate::errors::{Effect, transport, unanswered};
use crate::names::{GroupName, Place};
use crate::shape;
use crate::write::{refusal_in, request_id};
use contract::native::{NativePolicy, Needed, Switch};
use contract::{ActionId, BoxFuture, GroupId, Native, ProviderError, Undo};
use google_cloud_compute_v1::model::autoscaling_policy::Mode;
use google_cloud_compute_v1::model::operation::Status;
use google_cloud_compute_v1::model::{Autoscaler, Operation};
use std::time::Duration;
use tokio::time::Instant;

/// What `skala handover` needs beside reading, as IAM spells it.
pub const HANDOVER_PERMISSION: &str = "compute.autoscalers.update";

const AUTOSCALER: &str = "autoscaler ";
const MODE: &str = "mode";
const OFF: &str = "OFF";
/// The mode of an autoscaler that says none.
const DEFAULT: &str = "ON";
/// How often an operation is asked for, which takes a second or a few.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A group's autoscaler, as it was just read.
struct Standing {
    place: Place,
    name: Box<str>,
    autoscaler: Autoscaler,
}

impl Standing {
    fn mode(&self) -> &str {
        let policy = self.autoscaler.autoscaling_policy.as_ref();
        policy.and_then(|policy| policy.mode.as_ref()).and_then(Mode::name).unwrap_or(DEFAULT)
    }

    /// What has to be switched so that it may not act.
    fn undo(&self) -> Undo {
        let mode = self.mode();
        if mode == OFF {
            return Undo::default();
        }
        let what = format!("{AUTOSCALER}{}", self.name);
        let (was, becomes) = (Some(mode.into()), Some(OFF.into()));
        Undo { switches: vec![Switch { what: what.into(), setting: MODE.into(), was, becomes }] }
    }
}

/// How a switch stands; `None` when its autoscaler is gone from the group.
fn stands<'a>(standing: Option<&'a Standing>, switch: &Switch) -> Result<Option<&'a str>, ProviderError> {
    let Some(name) = switch.what.strip_prefix(AUTOSCALER).filter(|_| *switch.setting == *MODE) else {
        let what = format!("{} is no switch of a managed instance group: was the record edited?", switch.what);
        return Err(ProviderError::Invalid { what: what.into() });
    };
    Ok(standing.filter(|standing| *standing.name == *name).map(Standing::mode))
}

impl Gcp {
    async fn standing(&self, name: &GroupName, deadline: Instant) -> Result<Option<Standing>, ProviderError> {
        let group = self.calls.get(name, deadline).await.map_err(|failure| failure.error)?;
        let Some((place, own)) = shape::head(name, &group)?.autoscaler else { return Ok(None) };
        let answer = self.calls.autoscaler(&place, &own, deadline).await.map_err(|failure| failure.error);
        let autoscaler = match answer {
            // The group has just said that it is there: somebody is deleting it.
            Err(ProviderError::NotFound { what }) => return Err(ProviderError::Conflict { what }),
            answer => answer?,
        };
        if autoscaler.name.as_deref() != Some(&*own) || autoscaler.autoscaling_policy.is_none() {
            return Err(transport(format!("{name}: the answer is no autoscaler {own}; check endpoint_url")));
        }
        Ok(Some(Standing { place, name: own, autoscaler }))
    }

    async fn described(&self, group: &GroupId) -> Result<NativePolicy, ProviderError> {
        let name = GroupName::parse(group)?;
        let deadline = Instant::now() + self.calls.lane.deadlines.write;
        let Some(standing) = self.standing(&name, deadline).await? else {
            return Ok(NativePolicy::named(format!("{name} without an autoscaler")));
        };
        // What Google answered and nobody here understands is no policy.
        let unread = |what: String| ProviderError::Transport { what: what.into(), source: None };
        let document = serde_json::to_value(&standing.autoscaler).map_err(|error| unread(error.to_string()))?;
        ::native::gcp::policy(group.as_str(), &[document]).map_err(|error| unread(error.to_string()))
    }

    /// Makes the switches that are not as they should be, toward suspended or back.
    async fn switch(&self, group: &GroupId, undo: &Undo, suspend: bool) -> Result<(), ProviderError> {
        let name = GroupName::parse(group)?;
        let deadline = Instant::now() + self.calls.lane.deadlines.write;
        let standing = self.standing(&name, deadline).await?;
        if suspend && let Some(standing) = &standing {
            let known = |wanted: &Switch| undo.switches.iter().any(|one| one.what == wanted.what);
            if let Some(new) = standing.undo().switches.iter().find(|switch| !known(switch)) {
                let what = format!("{name}: {} may act and was not when this was prepared", new.what);
                return Err(ProviderError::Conflict { what: what.into() });
            }
        }
        for switch in &undo.switches {
            let now = stands(standing.as_ref(), switch)?;
            // One that is gone has no right to act left, and none to be given back.
            let (Some(_), Some(standing)) = (now, &standing) else { continue };
            let (needed, to) = match suspend {
                true => (switch.to_suspend(now)?, &switch.becomes),
                false => (switch.to_restore(now)?, &switch.was),
            };
            if needed == Needed::Change {
                self.set_mode(&name, standing, to.as_deref().unwrap_or(DEFAULT), deadline).await?;
            }
        }
        Ok(())
    }

    async fn set_mode(
        &self,
        name: &GroupName,
        standing: &Standing,
        to: &str,
        deadline: Instant,
    ) -> Result<(), ProviderError> {
        let target = (&standing.place, &*standing.name);
        let id = request_id(self.attempt(&standing.place, &standing.name, to), 0);
        let begun = self.calls.set_mode(target, Mode::from(to), &id, deadline).await;
        let begun = begun.map_err(|failure| failure.error)?;
        // The memory of what it may do is of before.
        self.memory.group(name, |group| group.autoscaler = None);
        self.ended(&standing.place, begun, deadline).await
    }

    /// An id of its own for each attempt: Google takes a request with an id that it has seen for the one of then, and
    /// suspending again after a restore is another.
    fn attempt(&self, place: &Place, name: &str, to: &str) -> ActionId {
        // FNV-1a.
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let what = format!("{place}/{name}/{to}");
        let of = what.bytes().fold(0xcbf2_9ce4_8422_2325, hash);
        ActionId(u128::from(of) << 64 | u128::from((self.now)().0.unsigned_abs()))
    }

    /// Follows a write's operation to its end.
    async fn ended(&self, place: &Place, mut operation: Operation, deadline: Instant) -> Result<(), ProviderError> {
        let kind = operation.operation_type.clone().unwrap_or_else(|| "autoscalers.patch".into());
        let unclear = |why: &str| unanswered(&kind, Effect::Write, why, None).error;
        while operation.status != Some(Status::Done) {
            if Instant::now() + LOOK_AGAIN >= deadline {
                return Err(unclear("it was taken and has not ended yet"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            let name = operation.name.as_deref().unwrap_or_default();
            operation = match self.calls.operation(place, name, deadline).await {
                Ok(operation) => operation,
                // Once it is taken, what cannot be asked for may still be done.
                Err(failure) => return Err(unclear(&format!("it was taken, then: {}", failure.error))),
            };
        }
        refusal_in(&operation).map_err(|failure| failure.error)
    }
}

impl Native for Gcp {
    fn describe<'a>(&'a self, group: &'a GroupId) -> BoxFuture<'a, Result<NativePolicy, ProviderError>> {
        Box::pin(self.described(group))
    }

    fn prepare<'a>(&'a self, group: &'a GroupId) -> BoxFuture<'a, Result<Undo, ProviderError>> {
        Box::pin(async move {
            let deadline = Instant::now() + self.calls.lane.deadlines.write;
            let standing = self.standing(&GroupName::parse(group)?, deadline).await?;
            Ok(standing.map(|standing| standing.undo()).unwrap_or_default())
        })
    }

    fn suspend<'a>(&'a self, group: &'a GroupId, undo: &'a Undo) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(self.switch(group, undo, true))
    }

    fn restore<'a>(&'a self, group: &'a GroupId, undo: &'a Undo) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(self.switch(group, undo, false))
    }
}
