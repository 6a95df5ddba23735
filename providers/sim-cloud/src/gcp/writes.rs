//! Resizing a group, and deleting instances by name.

use super::Gcp;
use super::operations::target_of;
use super::place::Place;
use super::refusals::refuse;
use super::shapes::{last, waiting_names};
use crate::request::{Reply, Request};
use contract::{GroupId, InstanceId, InstanceState};
use sim::{Refused, Removal};

/// Most instances in one deleteInstances.
const DELETE_MAX: usize = 1000;

impl Gcp {
    /// `resize`: an absolute number.
    pub(super) fn resize(&self, request: &Request, group: &GroupId) -> Reply {
        let Some(to) = request.param("size").and_then(|text| text.parse::<u32>().ok()) else {
            return refuse(400, "invalid", "Invalid value for field 'size'");
        };
        let target = target_of(&Place::of_group(group.as_str()), group.as_str());
        self.once(request, group, ("resize", &target), || self.cloud.resize(group, to).map(|_| ()))
    }

    /// `deleteInstances`: machines, and places of those that are still to be made.
    pub(super) fn delete_instances(&self, request: &Request, group: &GroupId) -> Reply {
        let body = request.json();
        let named: Vec<&str> = body["instances"].as_array().into_iter().flatten().filter_map(|n| n.as_str()).collect();
        if named.is_empty() || named.len() > DELETE_MAX {
            return refuse(400, "invalid", "Invalid value for field 'instances': 1 to 1000 are deleted at once");
        }
        let skip = body["skipInstancesOnValidationError"].as_bool().unwrap_or(false);
        let target = target_of(&Place::of_group(group.as_str()), group.as_str());
        self.once(request, group, ("compute.instanceGroupManagers.deleteInstances", &target), || {
            self.take_out(group, &named, skip)
        })
    }

    fn take_out(&self, group: &GroupId, named: &[&str], skip: bool) -> Result<(), Refused> {
        let seen = self.cloud.look(group).ok_or(Refused::NoGroup)?;
        let waiting = waiting_names(group, &seen);
        let names = named.iter().map(|path| last(path));
        let (withdrawn, machines): (Vec<&str>, Vec<&str>) = names.partition(|name| waiting.iter().any(|w| w == name));
        let machines: Vec<InstanceId> = machines.into_iter().map(InstanceId::from).collect();
        if !machines.is_empty() {
            // One that is on its way out already is not validated away: it just goes.
            let leaving =
                |id: &InstanceId| seen.instances.iter().any(|i| i.id == *id && i.state == InstanceState::Terminating);
            let machines: Vec<InstanceId> = machines.into_iter().filter(|id| !leaving(id)).collect();
            let removal = Removal { lower: true, protected_too: true, skip_missing: skip };
            self.cloud.remove(group, &machines, removal)?;
        }
        let withdrawn = withdrawn.iter().collect::<std::collections::BTreeSet<_>>().len();
        let Some(desired) = self.cloud.truth(group).and_then(|truth| truth.desired).filter(|_| withdrawn > 0) else {
            return Ok(());
        };
        let to = desired.saturating_sub(u32::try_from(withdrawn).unwrap_or(u32::MAX));
        self.cloud.resize(group, to).map(|_| ())
    }
}

/// What a refusal of the cloud is in this API.
pub(super) fn refused(why: &Refused) -> Reply {
    match why {
        Refused::NoGroup => refuse(404, "notFound", "The resource was not found"),
        Refused::NoInstance(ids) => {
            let what = format!("Invalid value for field 'instances': {ids:?} are no members of the group");
            refuse(400, "invalid", &what)
        }
        Refused::BelowMin(_) | Refused::AboveMax(_) => refuse(400, "invalid", &format!("Invalid size: {why:?}")),
        other => refuse(400, "invalid", &format!("{other:?}")),
    }
}
