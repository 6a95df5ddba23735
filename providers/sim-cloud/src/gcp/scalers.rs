//! Autoscalers: those that act, which are the simulated groups' other controllers, and those whose mode is `OFF`.

use super::place::Place;
use super::refusals::refuse;
use super::shapes::{link, number_of};
use super::{Gcp, SCALER};
use crate::request::{Reply, Request};
use contract::{Foreign, GroupId};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What the machines behind the API do not know of autoscalers.
#[derive(Default)]
pub(super) struct Scalers {
    /// Those that are off, by their group.
    off: BTreeMap<GroupId, Foreign>,
    /// What they are set to beside their mode, where a test or a patch has set it.
    policies: BTreeMap<GroupId, Value>,
}

/// A native scaler's own name.
fn name_of(foreign: &Foreign) -> &str {
    foreign.name.strip_prefix("autoscaler ").unwrap_or(SCALER)
}

impl Gcp {
    /// Sets what a group's autoscaler is set to beside its mode, in the API's own words.
    pub fn set_autoscaling_policy(&self, group: &str, policy: Value) {
        self.lock().scalers.policies.insert(group.into(), policy);
    }

    /// What a group's autoscaler is set to.
    pub fn autoscaling_policy(&self, group: &str) -> Option<Value> {
        let group = GroupId::from(group);
        let (_, mode) = self.scaler_of(&group)?;
        Some(self.policy(&group, mode))
    }

    /// A group's autoscaler and its mode.
    fn scaler_of(&self, group: &GroupId) -> Option<(Foreign, &'static str)> {
        let acting = self.cloud.look(group)?.foreign.into_iter().next();
        let mode = |foreign: &Foreign| if foreign.removes == Some(false) { "ONLY_SCALE_OUT" } else { "ON" };
        let acting = acting.map(|foreign| (foreign.clone(), mode(&foreign)));
        acting.or_else(|| Some((self.lock().scalers.off.get(group)?.clone(), "OFF")))
    }

    /// The address of a group's autoscaler, when it has one.
    pub(super) fn scaler_link(&self, group: &GroupId) -> Option<String> {
        let (foreign, _) = self.scaler_of(group)?;
        let place = Place::of_group(group.as_str());
        Some(link(&self.project, &format!("{place}/autoscalers/{}", name_of(&foreign))))
    }

    fn find_scaler(&self, place: &Place, name: &str) -> Option<(GroupId, Foreign, &'static str)> {
        let here = self.cloud.groups().into_iter().filter(|group| Place::of_group(group.as_str()) == *place);
        let mut all = here.filter_map(|group| self.scaler_of(&group).map(|(foreign, mode)| (group, foreign, mode)));
        all.find(|(_, foreign, _)| name_of(foreign) == name)
    }

    fn policy(&self, group: &GroupId, mode: &str) -> Value {
        let mut policy = self.lock().scalers.policies.get(group).cloned().unwrap_or_else(|| {
            json!({
                "minNumReplicas": 1,
                "maxNumReplicas": 10,
                "coolDownPeriodSec": 60,
                "cpuUtilization": { "utilizationTarget": 0.6, "predictiveMethod": "NONE" },
            })
        });
        policy["mode"] = mode.into();
        policy
    }

    /// `get`.
    pub(super) fn autoscaler(&self, place: &Place, name: &str) -> Reply {
        let Some((group, _, mode)) = self.find_scaler(place, name) else {
            return refuse(404, "notFound", &format!("The resource '{place}/autoscalers/{name}' was not found"));
        };
        let mut shown = json!({
            "kind": "compute#autoscaler",
            "id": number_of(name).to_string(),
            "name": name,
            "target": link(&self.project, &format!("{place}/instanceGroupManagers/{group}")),
            "autoscalingPolicy": self.policy(&group, mode),
            "status": "ACTIVE",
            "recommendedSize": 1,
            "selfLink": link(&self.project, &format!("{place}/autoscalers/{name}")),
        });
        shown[if matches!(place, Place::Zone(_)) { "zone" } else { "region" }] =
            link(&self.project, &place.to_string()).into();
        Reply::json(200, &shown)
    }

    /// `patch`: what the body has of the policy is set, all else stays.
    pub(super) fn patch_autoscaler(&self, request: &Request, place: &Place) -> Reply {
        let name = request.param("autoscaler").unwrap_or_default().to_owned();
        let Some((group, foreign, before)) = self.find_scaler(place, &name) else {
            return refuse(404, "notFound", &format!("The resource '{place}/autoscalers/{name}' was not found"));
        };
        let body = request.json();
        let change = body["autoscalingPolicy"].as_object().cloned().unwrap_or_default();
        let mode = change.get("mode").map_or(Some(before), Value::as_str).unwrap_or_default().to_owned();
        let removes = match mode.as_str() {
            "ON" => Some(true),
            "ONLY_SCALE_OUT" | "ONLY_UP" => Some(false),
            "OFF" => None,
            _ => return refuse(400, "invalid", "Invalid value for field 'resource.autoscalingPolicy.mode'"),
        };
        let target = format!("{place}/autoscalers/{name}");
        self.once(request, &group, ("patch", &target), || {
            let mut policy = self.policy(&group, &mode);
            change.into_iter().filter(|(key, _)| key != "mode").for_each(|(key, value)| policy[key] = value);
            let mut state = self.lock();
            state.scalers.policies.insert(group.clone(), policy);
            match removes {
                None => _ = state.scalers.off.insert(group.clone(), foreign.clone()),
                Some(_) => _ = state.scalers.off.remove(&group),
            }
            drop(state);
            let acting = removes.map(|removes| Foreign { removes: Some(removes), ..foreign.clone() });
            self.cloud.set_foreign(&group, acting.into_iter().collect());
            Ok(())
        })
    }
}
