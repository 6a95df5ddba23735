//! The fence and the writes behind it. In comes what a daemon wants, aimed at what it saw; out comes the cloud's answer.
//! A write never reaches a group that changed since, or that another daemon claims.
//!
//! Fence and write happen under one lock, so even `ReadThenWrite` has no race here; real clouds do.

use crate::audit::Entry;
use crate::cloud::State;
use crate::group::{Group, Kind, Rules};
use crate::settings::Guard;
use contract::{
    Accepted, Capacity, FailureKind, InstanceId, LaunchFailure, OperationInFlight, Owner, OwnerTag, ProviderError,
    Scope, Suspended, Target, Timestamp,
};
use std::collections::BTreeSet;

/// What a daemon asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request<'a> {
    Raise(Capacity),
    Cancel(Capacity),
    Terminate(&'a [InstanceId]),
    Lower(Capacity),
}

impl Request<'_> {
    fn name(self) -> &'static str {
        match self {
            Request::Raise(_) => "raise",
            Request::Cancel(_) => "cancel",
            Request::Terminate(_) => "terminate",
            Request::Lower(_) => "lower",
        }
    }
}

/// What a write did: the answer, and the instances it touched, for the audit.
type Done = Result<(Accepted, Vec<InstanceId>), ProviderError>;

impl State {
    /// Carries out a write, or refuses it.
    pub fn write(&mut self, target: &Target, request: Request<'_>, owner: &Owner) -> Result<Accepted, ProviderError> {
        let at = self.at;
        let missing = || ProviderError::NotFound { what: target.group.as_str().into() };
        let index = self.index.get(&target.group).copied().ok_or_else(missing)?;
        let written = self.with(index, |group, rules| {
            fence(group, target, owner, at, rules)?;
            let before = size(group);
            let done = carry_out(group, target, request, at, rules);
            // Even a refusal may leave launch failures behind that the next read must show.
            group.changed(at, rules);
            let (accepted, instances) = done?;
            group.revision += 1;
            let expiry = at.after(rules.settings.claim.0);
            group.owner = Some(OwnerTag { id: owner.id.clone(), epoch: target.lease, expiry });
            group.balance(at, rules);
            Ok((accepted, before, size(group), instances))
        });
        let (accepted, before, after, instances) = written.ok_or_else(missing)??;
        let (by, group, action) = (owner.id.clone(), target.group.clone(), Some(target.action));
        self.audit.push(Entry { at, by, group, what: request.name(), action, before, after, instances });
        Ok(accepted)
    }
}

fn size(group: &Group) -> Capacity {
    if group.kind == Kind::Servers { group.alive() } else { group.desired }
}

fn fence(group: &Group, target: &Target, owner: &Owner, at: Timestamp, rules: &Rules) -> Result<(), ProviderError> {
    if let Some(tag) = &group.owner {
        let other = tag.id != owner.id && tag.expiry > at;
        let later = tag.id == owner.id && tag.epoch > target.lease;
        if other || later {
            return Err(ProviderError::Owned { by: format!("{} (epoch {})", tag.id, tag.epoch.0).into() });
        }
    }
    let token = group.token();
    if let (Guard::Atomic, Some(seen)) = (rules.settings.guard, &target.seen.token)
        && *seen != token
    {
        return Err(conflict(format!("token is {token}, not {seen} as seen")));
    }
    // A caller that has not seen desired writes blind, and is refused like one who has seen another number.
    if group.kind != Kind::Servers && target.seen.desired != Some(group.desired) {
        return Err(conflict(format!("desired is {}, not {:?} as seen", group.desired, target.seen.desired)));
    }
    Ok(())
}

fn carry_out(group: &mut Group, target: &Target, request: Request<'_>, at: Timestamp, rules: &mut Rules) -> Done {
    match request {
        Request::Raise(to) if group.kind == Kind::Servers => start_missing(group, target, to, at, rules),
        Request::Raise(to) => raise(group, target, to),
        Request::Cancel(to) => cancel(group, to),
        Request::Terminate(ids) => terminate(group, ids, at, rules),
        Request::Lower(to) => lower(group, to),
    }
}

fn raise(group: &mut Group, target: &Target, to: Capacity) -> Done {
    if to < group.desired {
        return Err(invalid(format!("{to} is below desired {}: a raise never lowers", group.desired)));
    }
    if group.kind == Kind::Group && to > group.max {
        return Err(invalid(format!("{to} is above the group's max {}", group.max)));
    }
    group.desired = to;
    Ok((begin(group, target), Vec::new()))
}

/// Starts what is missing of `to`, one launch id each: one that is already there is not started again.
fn start_missing(group: &mut Group, target: &Target, to: Capacity, at: Timestamp, rules: &mut Rules) -> Done {
    if group.is_suspended(at, rules, &Suspended::Launch) {
        return Err(invalid("launching is suspended".into()));
    }
    let known: BTreeSet<Box<str>> = group.machines.iter().filter_map(|machine| machine.launch.clone()).collect();
    let mut launch_ids = (0..).map(|index| Box::from(target.action.launch(index))).filter(|id| !known.contains(id));
    let mut started = Vec::new();
    for _ in group.alive()..to {
        match group.launch(at, rules, launch_ids.next()) {
            Ok(id) => started.push(id),
            Err(failures) if started.is_empty() => {
                let refusal = refusal(failures.first());
                group.note(failures);
                return Err(refusal);
            }
            Err(failures) => {
                group.note(failures);
                break;
            }
        }
    }
    let accepted = if started.is_empty() { Accepted::default() } else { begin(group, target) };
    Ok((accepted, started))
}

fn refusal(failure: Option<&LaunchFailure>) -> ProviderError {
    match failure.map(|failure| (failure.kind, failure.scope.clone())) {
        Some((FailureKind::OutOfCapacity, scope)) => ProviderError::OutOfCapacity { scope },
        Some((FailureKind::QuotaExceeded, _)) => ProviderError::QuotaExceeded { what: "instances".into() },
        _ => ProviderError::OutOfCapacity { scope: Scope::Group },
    }
}

fn begin(group: &mut Group, target: &Target) -> Accepted {
    let name: Box<str> = format!("operation-{}", target.action).into();
    group.operation = Some(OperationInFlight { name: name.clone(), action: Some(target.action) });
    Accepted { operations: vec![name], skipped: Vec::new() }
}

fn cancel(group: &mut Group, to: Capacity) -> Done {
    if group.kind == Kind::Servers {
        // Nothing waits here: a launch starts at once or fails at once.
        return Ok((Accepted::default(), Vec::new()));
    }
    if to > group.desired {
        return Err(invalid(format!("{to} is above desired {}: a cancellation never raises", group.desired)));
    }
    if to < group.present() {
        return Err(conflict(format!("{} instances are there already", group.present())));
    }
    within_min(group, to)?;
    group.desired = to;
    Ok((Accepted::default(), Vec::new()))
}

fn terminate(group: &mut Group, ids: &[InstanceId], at: Timestamp, rules: &Rules) -> Done {
    if !group.kind.abilities().terminate_named {
        return Err(invalid("this kind of group picks its victims itself".into()));
    }
    if group.is_suspended(at, rules, &Suspended::Terminate) {
        return Err(invalid("terminating is suspended".into()));
    }
    let may_go = |id: &InstanceId| {
        let there = group.machines.iter().find(|machine| machine.shown.id == *id);
        there.is_some_and(|m| m.shown.state != contract::InstanceState::Terminating && !m.shown.protected)
    };
    let mut seen = BTreeSet::new();
    let named = ids.iter().filter(|id| seen.insert(*id)).cloned();
    let (going, skipped): (BTreeSet<InstanceId>, Vec<InstanceId>) = {
        let (going, skipped): (Vec<_>, Vec<_>) = named.partition(may_go);
        (going.into_iter().collect(), skipped)
    };
    if group.kind == Kind::Group {
        let to = group.desired.saturating_sub(crate::group::count(going.iter()));
        if !going.is_empty() {
            within_min(group, to)?;
        }
        group.desired = to;
    }
    group.dismiss(at, rules, &going);
    Ok((Accepted { operations: Vec::new(), skipped }, going.into_iter().collect()))
}

fn lower(group: &mut Group, to: Capacity) -> Done {
    if !group.kind.abilities().lower {
        return Err(invalid("this kind of group is lowered by name only".into()));
    }
    if to > group.desired {
        return Err(invalid(format!("{to} is above desired {}: a lowering never raises", group.desired)));
    }
    group.desired = to;
    Ok((Accepted::default(), Vec::new()))
}

fn within_min(group: &Group, to: Capacity) -> Result<(), ProviderError> {
    if group.kind == Kind::Group && to < group.min {
        return Err(invalid(format!("{to} is below the group's min {}", group.min)));
    }
    Ok(())
}

fn conflict(what: String) -> ProviderError {
    ProviderError::Conflict { what: what.into() }
}

fn invalid(what: String) -> ProviderError {
    ProviderError::Invalid { what: what.into() }
}
