//! From Azure's words to the contract's, purely: sets, machines, their states and what failed.
//!
//! A word that nobody knows is not guessed at: the machine keeps the state it was last seen in, and without one its group
//! is unknown.

use crate::arm::{self, ScaleSet, Status, Vm};
use crate::codes::failure_kind;
use crate::errors::{cut, nonsense, scope};
use crate::owner;
use contract::{
    CAPACITY_MAX, Capacity, Instance, InstanceId, InstanceState, LaunchFailure, OwnerTag, ProviderError, Timestamp,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// A machine met running that was made longer ago than this has been running since, as far as warm-up is concerned.
const LONG_AGO: Duration = Duration::from_secs(600);

/// How a set keeps its machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Machines are the set's own, numbered.
    Uniform,
    /// Machines are virtual machines of the resource group that belong to the set.
    Flexible,
}

/// What a set must say of itself to be observed or written.
#[derive(Clone, Debug)]
pub(crate) struct Sized {
    pub capacity: Capacity,
    pub mode: Mode,
}

/// # Errors
/// `Invalid` for a set that has no capacity, `Transport` for one whose numbers or words make no sense.
pub(crate) fn sized(set: &ScaleSet) -> Result<Sized, ProviderError> {
    let mode = match set.properties.orchestration_mode.as_deref() {
        // Sets from before there were two modes do not say.
        None | Some("Uniform") => Mode::Uniform,
        Some("Flexible") => Mode::Flexible,
        Some(other) => return Err(nonsense(format!("{}: the orchestration mode {other:?} is not known", set.id))),
    };
    let Some(capacity) = set.sku.as_ref().and_then(|sku| sku.capacity) else {
        let what = format!("{}: a scale set without a machine profile has no capacity to set", set.id);
        return Err(ProviderError::Invalid { what: what.into() });
    };
    if capacity > CAPACITY_MAX {
        return Err(nonsense(format!("{}: a capacity of {capacity} cannot be", set.id)));
    }
    Ok(Sized { capacity, mode })
}

/// True while Azure works on the set: machines may come or go at any moment.
pub(crate) fn at_work(set: &ScaleSet) -> bool {
    let state = set.properties.provisioning_state.as_deref().unwrap_or_default();
    !["succeeded", "failed", "canceled"].contains(&state.to_ascii_lowercase().as_str())
}

/// Who claims the set.
pub(crate) fn owner_tag(set: &ScaleSet) -> Option<OwnerTag> {
    owner::parse(set.tags.as_ref()?.get(owner::KEY)?)
}

/// Spot machines come and go without the set's knowledge.
pub(crate) fn is_spot(set: &ScaleSet) -> bool {
    let profile = set.properties.virtual_machine_profile.as_ref();
    profile.and_then(|profile| profile.priority.as_deref()).is_some_and(|priority| priority != "Regular")
}

/// Whether the set replaces machines by itself when its model changes.
pub(crate) fn rolls(set: &ScaleSet) -> bool {
    let mode = set.properties.upgrade_policy.as_ref().and_then(|policy| policy.mode.as_deref());
    matches!(mode, Some("Rolling" | "Automatic"))
}

/// A machine as it was last listed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Machine {
    pub shown: Instance,
    /// What the set's delete call names it by.
    pub number: Box<str>,
}

/// What is remembered of a machine between lists.
#[derive(Clone, Debug)]
struct Fact {
    state: InstanceState,
    saw_pending: bool,
    ran: bool,
    running_since: Option<Timestamp>,
}

/// The facts of one set's machines.
#[derive(Debug, Default)]
pub(crate) struct Facts(BTreeMap<InstanceId, Fact>);

impl Facts {
    /// Reads a whole list of a set's machines, in any order; one that is there twice is one. Machines that are no longer
    /// listed are forgotten. Beside them: launches that failed.
    ///
    /// # Errors
    /// `Transport` when a machine has no name, or is in a state that nobody knows.
    pub fn machines(
        &mut self,
        set: &ScaleSet,
        mode: Mode,
        vms: &[Vm],
        at: Timestamp,
    ) -> Result<(Vec<Machine>, Vec<LaunchFailure>), ProviderError> {
        let mut machines: BTreeMap<InstanceId, Machine> = BTreeMap::new();
        let (mut facts, mut failures) = (BTreeMap::new(), Vec::new());
        for vm in vms {
            let machine = self.machine(set, mode, vm, at)?;
            let id = machine.shown.id.clone();
            if machines.contains_key(&id) {
                continue;
            }
            let mut fact = self.0.get(&id).cloned().unwrap_or(Fact {
                state: machine.shown.state,
                saw_pending: false,
                ran: false,
                running_since: None,
            });
            fact.see(&machine.shown, at);
            if machine.shown.state == InstanceState::Failed && !fact.ran {
                failures.extend(launch_failure(set, vm, at));
            }
            let running_since = fact.running_since.filter(|_| machine.shown.state == InstanceState::Running);
            facts.insert(id.clone(), fact);
            machines.insert(id, Machine { shown: Instance { running_since, ..machine.shown }, ..machine });
        }
        self.0 = facts;
        Ok((machines.into_values().collect(), failures))
    }

    fn machine(&self, set: &ScaleSet, mode: Mode, vm: &Vm, at: Timestamp) -> Result<Machine, ProviderError> {
        let name = vm.name.as_deref().filter(|name| !name.is_empty());
        let number = if mode == Mode::Uniform { vm.instance_id.as_deref() } else { name };
        let (Some(name), Some(number)) = (name, number.filter(|number| !number.is_empty())) else {
            return Err(nonsense(format!("{}: a machine without a name or an instance id", set.id)));
        };
        let id = InstanceId::from(name);
        let (provisioning, power) = (vm.properties.provisioning_state.as_deref(), power(vm));
        let last = self.0.get(&id).map(|fact| fact.state);
        let state = match state(provisioning, power.as_deref()) {
            Said::State(state) => state,
            Said::Unsure => last.unwrap_or(InstanceState::Pending),
            Said::Strange => last.ok_or_else(|| {
                nonsense(format!("{}: {name} is in a state that is not known: {provisioning:?}, {power:?}", set.id))
            })?,
        };
        let protection = vm.properties.protection_policy.as_ref();
        let protected = |of: Option<bool>| of == Some(true);
        let shown = Instance {
            id,
            state,
            launched: arm::time(vm.properties.time_created.as_deref()).filter(|launched| *launched <= at),
            running_since: None,
            zone: vm.zones.as_ref().and_then(|zones| zones.first()).map(|zone| zone.as_str().into()),
            protected: protection
                .is_some_and(|p| protected(p.protect_from_scale_in) || protected(p.protect_from_scale_set_actions)),
            outdated: vm.properties.latest_model_applied == Some(false),
        };
        Ok(Machine { shown, number: number.into() })
    }
}

impl Fact {
    fn see(&mut self, shown: &Instance, at: Timestamp) {
        self.state = shown.state;
        match shown.state {
            InstanceState::Running if self.running_since.is_none() => {
                self.running_since = match (self.saw_pending, shown.launched) {
                    (true, _) => Some(at),
                    (false, Some(launched)) if at.since(launched) > LONG_AGO && !self.ran => Some(launched),
                    _ => None,
                };
                self.ran = true;
            }
            InstanceState::Running => {}
            // It starts to run anew, if it ever does.
            InstanceState::Pending | InstanceState::Failed => {
                self.saw_pending = true;
                self.running_since = None;
            }
            InstanceState::Terminating => {}
        }
    }
}

/// The power state's word: `running` of `PowerState/running`.
fn power(vm: &Vm) -> Option<String> {
    statuses(vm).filter_map(|status| status.code.as_deref()).find_map(|code| {
        let (kind, word) = code.split_once('/')?;
        kind.eq_ignore_ascii_case("PowerState").then(|| word.to_ascii_lowercase())
    })
}

fn statuses(vm: &Vm) -> impl Iterator<Item = &Status> {
    vm.properties.instance_view.iter().filter_map(|view| view.statuses.as_ref()).flatten()
}

/// What two words say together.
enum Said {
    State(InstanceState),
    /// Azure itself does not know just now.
    Unsure,
    /// Nobody told us of such a word.
    Strange,
}

/// A machine's state from its two words. `Failed` is the last operation's word, of an extension for one: a machine that
/// has power runs all the same.
fn state(provisioning: Option<&str>, power: Option<&str>) -> Said {
    let provisioning = provisioning.map(str::to_ascii_lowercase);
    match (provisioning.as_deref(), power) {
        (Some("deleting"), _) => Said::State(InstanceState::Terminating),
        (Some("creating"), _) => Said::State(InstanceState::Pending),
        (Some("failed"), Some("running")) => Said::State(InstanceState::Running),
        (Some("failed"), Some("unknown")) => Said::Unsure,
        (Some("failed" | "canceled"), _) => Said::State(InstanceState::Failed),
        (Some("succeeded" | "updating" | "migrating"), power) => match power {
            Some("running") => Said::State(InstanceState::Running),
            Some("starting") => Said::State(InstanceState::Pending),
            // Stopped by a person, or an evicted spot machine: it serves nobody, and counts in the set's capacity.
            Some("stopping" | "stopped" | "deallocating" | "deallocated") => Said::State(InstanceState::Failed),
            None | Some("unknown") => Said::Unsure,
            Some(_) => Said::Strange,
        },
        // A new word for what Azure does with it; that it runs is what counts.
        (_, Some("running")) => Said::State(InstanceState::Running),
        _ => Said::Strange,
    }
}

/// Why a machine that never ran failed; `None` when its status does not say.
fn launch_failure(set: &ScaleSet, vm: &Vm, at: Timestamp) -> Option<LaunchFailure> {
    let of_code = |status: &Status| {
        let code = status.code.as_deref()?.strip_prefix("ProvisioningState/failed/")?.to_owned();
        Some((code, status.message.clone().unwrap_or_default(), arm::time(status.time.as_deref())))
    };
    let (code, message, time) = statuses(vm).find_map(of_code)?;
    let failed = time.filter(|time| *time <= at).unwrap_or(at);
    Some(failure(set, &code, &message, failed))
}

/// A launch failure from a code and its words.
pub(crate) fn failure(set: &ScaleSet, code: &str, message: &str, at: Timestamp) -> LaunchFailure {
    let size = set.sku.as_ref().and_then(|sku| sku.name.as_deref());
    LaunchFailure {
        kind: failure_kind(code, message),
        scope: scope(code, message, size, set.zones.as_deref().unwrap_or_default()),
        at,
        message: cut(&format!("{code}: {message}"), 200),
    }
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
