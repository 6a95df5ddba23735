//! A set's machines: listed when something moves, and now and then because some changes move nothing.
//!
//! In: a set as the list of sets shows it. Out: its machines, from this call or from memory. A machine that a person stops
//! or Azure evicts changes neither the set's capacity nor its ETag, so even a quiet set is listed again after a while.

use super::{Group, Known, Sets};
use crate::arm::{COMPUTE, Protection, ScaleSet, Vm};
use crate::errors::nonsense;
use crate::group::SetName;
use crate::shape::{self, Machine, Mode, Sized};
use contract::{InstanceState, ProviderError, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::Instant;

/// A quiet set is listed again after this long ...
const RELIST: Duration = Duration::from_secs(300);
/// ... or later, when there are so many that this is the pace: a third of what Azure refills (VMSS VM List, 300 a minute).
const PACE: Duration = Duration::from_millis(600);
/// ... and one part in so many of all sets in one observation.
const PARTS: usize = 20;
/// Spot machines are evicted without a word.
const RELIST_SPOT: Duration = Duration::from_secs(60);
/// A list that could not end in time is not begun.
const LEAST: Duration = Duration::from_millis(100);
/// Most failures remembered of one set; the newest count.
const FAILURES_MAX: usize = 20;

/// How often quiet sets are listed again.
pub(super) struct Pace {
    relist: Duration,
    /// So many in this observation, so that they spread over time and never crowd out what must be listed.
    left: AtomicUsize,
}

impl Pace {
    /// The pace of an observation of so many sets.
    pub fn of(sets: usize) -> Self {
        let relist = RELIST.max(PACE * u32::try_from(sets).unwrap_or(u32::MAX));
        Self { relist, left: AtomicUsize::new(sets.div_ceil(PARTS)) }
    }

    fn take(&self) -> bool {
        self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// Whether a set's machines can be taken from memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Fresh,
    /// Nothing hints at a change, but it has been a while: listed again when there is room.
    Old,
    /// They may have changed, or nobody has looked for too long.
    Stale,
}

impl Known {
    fn age(&self, set: &ScaleSet, sized: &Sized, pace: &Pace, at: Timestamp) -> Age {
        let relist = if shape::is_spot(set) { RELIST_SPOT } else { pace.relist };
        let moved = !self.settled
            || shape::at_work(set)
            || self.etag != set.etag
            || self.capacity != sized.capacity
            || at < self.listed;
        match at.since(self.listed) {
            _ if moved => Age::Stale,
            age if age >= relist * 2 => Age::Stale,
            age if age >= relist => Age::Old,
            _ => Age::Fresh,
        }
    }
}

impl Sets {
    /// The machines of a set as the list of sets shows it. `busy`: an action of ours is open.
    pub(super) async fn machines(
        &self,
        name: &SetName,
        set: &ScaleSet,
        sized: &Sized,
        (busy, pace): (bool, &Pace),
        at: Timestamp,
        deadline: Instant,
    ) -> Result<Vec<Machine>, ProviderError> {
        let known = self.group(&name.key(), |group| {
            group.missing = None;
            let known = group.known.as_ref().filter(|_| !busy)?;
            Some((known.machines.clone(), known.age(set, sized, pace, at)))
        });
        match known {
            Some((machines, Age::Fresh)) => Ok(machines),
            Some((machines, Age::Old)) if !pace.take() => Ok(machines),
            Some((machines, Age::Old)) => match self.list_machines(name, set, sized, at, deadline).await {
                Ok(machines) => Ok(machines),
                // They are as good as they were a moment ago; the next observation tries again.
                Err(error) => {
                    tracing::debug!(%error, set = &*name.key(), "a quiet set's machines could not be listed again");
                    Ok(machines)
                }
            },
            Some((_, Age::Stale)) | None => self.list_machines(name, set, sized, at, deadline).await,
        }
    }

    /// Lists a set's machines, and remembers them.
    pub(super) async fn list_machines(
        &self,
        name: &SetName,
        set: &ScaleSet,
        sized: &Sized,
        at: Timestamp,
        deadline: Instant,
    ) -> Result<Vec<Machine>, ProviderError> {
        if Instant::now() + LEAST > deadline {
            return Err(nonsense(format!("{}: its machines have not been listed yet; next time", name.key())));
        }
        let (vms, whole) = match sized.mode {
            Mode::Uniform => (self.uniform(name, deadline).await?, true),
            Mode::Flexible => self.flexible(name, set, deadline).await?,
        };
        self.group(&name.key(), |group| {
            let (machines, failures) = group.facts.machines(set, sized.mode, &vms, at)?;
            for failure in failures {
                group.note(failure);
            }
            let moving = |m: &Machine| matches!(m.shown.state, InstanceState::Pending | InstanceState::Terminating);
            let settled = whole && !machines.iter().any(moving) && u32::try_from(machines.len()) == Ok(sized.capacity);
            group.known = Some(Known {
                etag: set.etag.clone(),
                capacity: sized.capacity,
                machines: machines.clone(),
                listed: at,
                settled,
            });
            Ok(machines)
        })
    }

    async fn uniform(&self, name: &SetName, deadline: Instant) -> Result<Vec<Vm>, ProviderError> {
        let path = format!("{}/virtualMachines", name.path(&self.subscription));
        self.vms("ListScaleSetVMs", &path, &[("$expand", "instanceView")], deadline).await
    }

    /// A Flexible set's machines are virtual machines of their own, and two lists show them: the filtered one has their
    /// states, the set's own has its members and who is protected. The flag says that both show the same machines.
    async fn flexible(
        &self,
        name: &SetName,
        set: &ScaleSet,
        deadline: Instant,
    ) -> Result<(Vec<Vm>, bool), ProviderError> {
        let path = format!("/subscriptions/{}/providers/Microsoft.Compute/virtualMachines", self.subscription);
        // The id as Azure gave it: nobody promises that a filter compares without regard to case.
        let filter = format!("'virtualMachineScaleSet/id' eq '{}'", set.id);
        let query = [("$filter", filter.as_str()), ("$expand", "instanceView")];
        let of_set = format!("{}/virtualMachines", name.path(&self.subscription));
        let (vms, members) = futures_util::join!(
            self.vms("ListVMs", &path, &query, deadline),
            self.vms("ListScaleSetVMs", &of_set, &[], deadline)
        );
        Ok(together(vms?, members?))
    }

    async fn vms(
        &self,
        operation: &'static str,
        path: &str,
        query: &[(&str, &str)],
        deadline: Instant,
    ) -> Result<Vec<Vm>, ProviderError> {
        let mut vms: Vec<Vm> = Vec::new();
        let mut ids: BTreeSet<String> = BTreeSet::new();
        let pages = self.wire.pages(operation, path, COMPUTE, query, deadline, |item| {
            let vm: Vm = serde_json::from_str(item)
                .map_err(|error| nonsense(format!("{operation}: not a machine as the API promises: {error}")))?;
            if vm.name.clone().is_none_or(|name| ids.insert(name)) {
                vms.push(vm);
            }
            Ok(true)
        });
        pages.await?;
        Ok(vms)
    }
}

/// Both lists of a Flexible set as one: a machine that either shows is there. The flag says that they show the same.
fn together(mut vms: Vec<Vm>, members: Vec<Vm>) -> (Vec<Vm>, bool) {
    // A member's number is the name of its virtual machine; ARM compares names without regard to case.
    let name = |vm: &Vm| vm.instance_id.as_deref().or(vm.name.as_deref()).unwrap_or_default().to_ascii_lowercase();
    let mut members: BTreeMap<String, Vm> = members.into_iter().map(|member| (name(&member), member)).collect();
    let mut whole = true;
    for vm in &mut vms {
        let member = members.remove(&name(vm));
        let properties = &mut vm.properties;
        match member {
            Some(member) => {
                properties.protection_policy = member.properties.protection_policy;
                properties.latest_model_applied = member.properties.latest_model_applied;
            }
            // Nobody has said that it may go.
            None => {
                whole = false;
                properties.protection_policy =
                    Some(Protection { protect_from_scale_in: Some(true), protect_from_scale_set_actions: None });
            }
        }
    }
    whole &= members.is_empty();
    vms.extend(members.into_values().map(unseen));
    (vms, whole)
}

/// A machine that the set's own list alone shows. That list has no power states, so its word for a machine says no more
/// than that it is there, or that it leaves; the state it was last seen in stays.
fn unseen(mut member: Vm) -> Vm {
    let properties = &mut member.properties;
    let leaves = properties.provisioning_state.as_deref().is_some_and(|word| word.eq_ignore_ascii_case("deleting"));
    if !leaves {
        properties.provisioning_state = Some("Updating".into());
    }
    properties.instance_view = None;
    member.name = member.instance_id.take().or(member.name);
    member
}

impl Group {
    /// Remembers a failed launch; one that is known already is not another one.
    pub(super) fn note(&mut self, failure: contract::LaunchFailure) {
        let same = |known: &contract::LaunchFailure| known.message == failure.message && known.at == failure.at;
        if self.failures.iter().any(same) {
            return;
        }
        self.failures.push(failure);
        let surplus = self.failures.len().saturating_sub(FAILURES_MAX);
        self.failures.drain(..surplus);
    }
}
