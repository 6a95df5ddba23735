//! The way in for a cloud's own API: what its customers ask of a group, without a daemon's fence around it. In come
//! requests that an API has understood; out come what there is, or why the cloud refuses. What an API's answers look like
//! is the API's business.

use crate::cloud::{Cloud, State};
use crate::group::{Group, Kind, Rules};
use contract::{Capacity, GroupId, InstanceId, InstanceState, LaunchFailure, Observation, Suspended, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

/// Why the cloud refuses a request of its API.
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    /// There is no such group.
    NoGroup,
    /// It would be below the group's smallest capacity.
    BelowMin(Capacity),
    /// It would be above the group's largest capacity.
    AboveMax(Capacity),
    /// The function is switched off.
    Suspended(Suspended),
    /// These instances are not the group's, or on their way out already.
    NoInstance(Vec<InstanceId>),
    /// These instances are protected.
    Protected(Vec<InstanceId>),
    /// The machine cannot be had.
    NoMachine(LaunchFailure),
    /// Groups of this kind cannot do this.
    NotThisKind,
}

/// How instances are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Desired is lowered by as many; otherwise the cloud replaces them.
    pub lower: bool,
    /// Protected instances go as well.
    pub protected_too: bool,
    /// Names that are not there refuse nothing: the others go.
    pub skip_missing: bool,
}

impl Cloud {
    /// Everything there is to see of a group, stamped with the cloud's time; `None` when it does not exist.
    pub fn look(&self, group: &GroupId) -> Option<Observation> {
        self.change(group, |group, at, rules| Observation { at, ..group.shown(at, rules).clone() })
    }

    /// A number that grows with every write to the group by anybody: what an API makes its ETag of.
    pub fn revision(&self, group: &GroupId) -> Option<u64> {
        self.change(group, |group, _, _| group.revision)
    }

    /// Failed launches that were made good in another zone at once, for an API that tells of every attempt. Which zones
    /// lack machines only shows there when others have some.
    pub fn passed_over(&self, group: &GroupId) -> Vec<LaunchFailure> {
        self.change(group, |group, _, _| group.passed_over.iter().cloned().collect()).unwrap_or_default()
    }

    /// Sets desired to an absolute number. Returns what it was.
    ///
    /// # Errors
    /// What the cloud refuses; nothing has changed then.
    pub fn resize(&self, group: &GroupId, to: Capacity) -> Result<Capacity, Refused> {
        self.request(group, "resize", Vec::new(), |group, at, rules| {
            match group.kind {
                Kind::Servers => return Err(Refused::NotThisKind),
                Kind::Group if to < group.min => return Err(Refused::BelowMin(group.min)),
                Kind::Group if to > group.max => return Err(Refused::AboveMax(group.max)),
                Kind::Group | Kind::Deployment => {}
            }
            let before = group.desired;
            group.desired = to;
            group.revision += 1;
            group.balance(at, rules);
            Ok(before)
        })
    }

    /// Removes instances by name, each once. Returns those that go.
    ///
    /// # Errors
    /// What the cloud refuses; nothing has changed then.
    pub fn remove(
        &self,
        group: &GroupId,
        ids: &[InstanceId],
        removal: Removal,
    ) -> Result<BTreeSet<InstanceId>, Refused> {
        let named: BTreeSet<InstanceId> = ids.iter().cloned().collect();
        self.request(group, "remove", ids.to_vec(), |group, at, rules| take_out(group, named, removal, at, rules))
    }

    /// Starts one instance where the cloud keeps no desired. The same launch id never starts a second one.
    ///
    /// # Errors
    /// What the cloud refuses; a launch that it takes and that then fails is there as a failed instance.
    pub fn start(&self, group: &GroupId, launch: &str) -> Result<InstanceId, Refused> {
        self.request(group, "start", Vec::new(), |group, at, rules| {
            if group.kind != Kind::Servers {
                return Err(Refused::NotThisKind);
            }
            if group.is_suspended(at, rules, &Suspended::Launch) {
                return Err(Refused::Suspended(Suspended::Launch));
            }
            if let Some(there) = group.machines.iter().find(|machine| machine.launch.as_deref() == Some(launch)) {
                return Ok(there.shown.id.clone());
            }
            let started = group.launch(at, rules, Some(launch.into()));
            group.revision += 1;
            group.balance(at, rules);
            started.map_err(|failures| failures.into_iter().next().map_or(Refused::NotThisKind, Refused::NoMachine))
        })
    }

    /// What goes from now on is held back for so long before it ends, like a hook that waits for a drain does; zero: not at
    /// all. False when there is no such group.
    pub fn set_drain(&self, group: &GroupId, most: Duration) -> bool {
        self.change(group, |group, _, _| group.drain = most).is_some()
    }

    /// Until when an instance on its way out is, or was, held back; `None` when it never was.
    pub fn held_until(&self, group: &GroupId, instance: &InstanceId) -> Option<Timestamp> {
        self.change(group, |group, _, _| {
            group.machines.iter().find(|machine| machine.shown.id == *instance)?.held_until
        })?
    }

    /// Lets go an instance that is held back on its way out; false when it is not.
    pub fn let_go(&self, group: &GroupId, instance: &InstanceId) -> bool {
        let done = self.change(group, |group, at, rules| {
            let done = group.let_go(at, rules, instance);
            group.changed(at, rules);
            done
        });
        done.unwrap_or(false)
    }

    /// An instance is there, broken: what a launch that was taken and then failed leaves behind. False when it is not.
    pub fn spoil(&self, group: &GroupId, instance: &InstanceId) -> bool {
        self.change(group, |group, at, rules| {
            let machine = group.machines.iter_mut().find(|machine| machine.shown.id == *instance);
            let found = machine.map(|machine| machine.shown.state = InstanceState::Failed).is_some();
            group.balance(at, rules);
            found
        })
        .unwrap_or(false)
    }

    fn request<T>(
        &self,
        group: &GroupId,
        what: &'static str,
        instances: Vec<InstanceId>,
        f: impl FnOnce(&mut Group, Timestamp, &mut Rules) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let mut state = self.lock();
        let at = state.at;
        let index = state.index.get(group).copied().ok_or(Refused::NoGroup)?;
        let done = state.with(index, |group, rules| {
            let before = size(group);
            let done = f(group, at, rules);
            // A refusal may leave launch failures behind that the next read must show.
            group.changed(at, rules);
            (done, before, size(group))
        });
        let (done, before, after) = done.ok_or(Refused::NoGroup)?;
        let done = done?;
        note(&mut state, what, group, (before, after), instances);
        Ok(done)
    }
}

fn note(
    state: &mut State,
    what: &'static str,
    group: &GroupId,
    (before, after): (Capacity, Capacity),
    instances: Vec<InstanceId>,
) {
    let (at, group) = (state.at, group.clone());
    state.audit.push(crate::Entry { at, by: "api".into(), group, what, action: None, before, after, instances });
}

fn size(group: &Group) -> Capacity {
    if group.kind == Kind::Servers { group.alive() } else { group.desired }
}

fn take_out(
    group: &mut Group,
    named: BTreeSet<InstanceId>,
    removal: Removal,
    at: Timestamp,
    rules: &mut Rules,
) -> Result<BTreeSet<InstanceId>, Refused> {
    if !group.kind.abilities().terminate_named {
        return Err(Refused::NotThisKind);
    }
    let there = |id: &InstanceId| {
        group.machines.iter().find(|m| m.shown.id == *id && m.shown.state != InstanceState::Terminating)
    };
    let (mut going, missing): (BTreeSet<_>, Vec<_>) = (
        named.iter().filter(|id| there(id).is_some()).cloned().collect(),
        named.iter().filter(|id| there(id).is_none()).cloned().collect(),
    );
    if !missing.is_empty() && !removal.skip_missing {
        return Err(Refused::NoInstance(missing));
    }
    if !removal.protected_too {
        let is_protected = |id: &InstanceId| there(id).is_some_and(|machine| machine.shown.protected);
        let protected: Vec<InstanceId> = going.iter().filter(|id| is_protected(id)).cloned().collect();
        if !protected.is_empty() && !removal.skip_missing {
            return Err(Refused::Protected(protected));
        }
        going.retain(|id| !protected.contains(id));
    }
    if removal.lower && group.kind == Kind::Group {
        let to = group.desired.saturating_sub(crate::group::count(going.iter()));
        if to < group.min && !going.is_empty() {
            return Err(Refused::BelowMin(group.min));
        }
        group.desired = to;
    }
    group.revision += 1;
    group.dismiss(at, rules, &going);
    group.balance(at, rules);
    Ok(going)
}
