//! Autoscale settings: one for each group that has a foreign controller, and those that a test sets. A write is the whole
//! setting: what it leaves out is gone. There are no ETags, as the API has none.

use super::{Azure, LOCATION, RESOURCE_GROUP, SUBSCRIPTION};
use crate::azure::refusals::error;
use crate::request::{Reply, Request};
use contract::GroupId;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The settings that were written, by their id in lower case; clones share them.
#[derive(Clone, Default)]
pub struct Settings(Arc<Mutex<BTreeMap<String, Value>>>);

impl Settings {
    /// Puts a setting there as it is, by its `id`.
    pub fn put(&self, setting: Value) {
        self.lock().insert(key(&setting), setting);
    }

    /// The setting of this name in this resource group.
    pub fn get(&self, resource_group: &str, name: &str) -> Option<Value> {
        self.lock().get(&id(resource_group, name).to_ascii_lowercase()).cloned()
    }

    /// Removes one.
    pub fn remove(&self, resource_group: &str, name: &str) {
        self.lock().remove(&id(resource_group, name).to_ascii_lowercase());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn id(resource_group: &str, name: &str) -> String {
    format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/{resource_group}/providers/microsoft.insights/autoscalesettings/{name}"
    )
}

fn key(setting: &Value) -> String {
    setting["id"].as_str().unwrap_or_default().to_ascii_lowercase()
}

fn target(setting: &Value) -> String {
    setting.pointer("/properties/targetResourceUri").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase()
}

impl Azure {
    /// Every setting: what was written stands before what was made up for the same group.
    fn autoscale_settings(&self) -> Vec<Value> {
        let written: Vec<Value> = self.settings.lock().values().cloned().collect();
        let scaled = |group: &GroupId| self.cloud.look(group).is_some_and(|seen| !seen.foreign.is_empty());
        let made = self.cloud.groups().into_iter().filter(scaled).map(|group| of_group(&group));
        let known = |one: &Value| written.iter().any(|other| key(other) == key(one) && target(other) == target(one));
        let made: Vec<Value> = made.filter(|one| !known(one)).collect();
        written.into_iter().chain(made).collect()
    }

    pub(super) fn list_autoscale(&self, request: &Request) -> Reply {
        self.paged(request, self.autoscale_settings())
    }

    pub(super) fn route_autoscale(&self, request: &Request, resource_group: &str, rest: &[&str]) -> Reply {
        let [name] = rest else {
            let start = id(resource_group, "").to_ascii_lowercase();
            let own = self.autoscale_settings().into_iter().filter(|one| key(one).starts_with(&start));
            return self.paged(request, own.collect());
        };
        let wanted = id(resource_group, name).to_ascii_lowercase();
        let known = self.autoscale_settings().into_iter().find(|one| key(one) == wanted);
        match (request.method.as_str(), known) {
            ("GET", Some(known)) => Reply::json(200, &known),
            ("PUT", known) => self.put_autoscale(request, resource_group, name, known),
            ("PATCH", Some(known)) => self.patch_autoscale(request, known),
            (_, None) => error(404, "ResourceNotFound", &format!("The autoscale setting '{name}' was not found.")),
            _ => error(405, "MethodNotAllowed", "The method is not allowed here."),
        }
    }

    fn put_autoscale(&self, request: &Request, resource_group: &str, name: &str, known: Option<Value>) -> Reply {
        let body = request.json();
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let profiles = body.pointer("/properties/profiles").and_then(Value::as_array);
        let is_whole = |profile: &Value| profile.pointer("/capacity/minimum").is_some() && profile["rules"].is_array();
        let whole = profiles.is_some_and(|profiles| !profiles.is_empty() && profiles.iter().all(is_whole));
        let (Some(location), Some(mut properties), true) =
            (text("/location"), body.get("properties").and_then(Value::as_object).cloned(), whole)
        else {
            return error(400, "InvalidRequestContent", "The autoscale setting lacks its location or profiles.");
        };
        // The API's own default.
        properties.entry("enabled").or_insert(false.into());
        properties.entry("name").or_insert(name.into());
        let known_name = known.as_ref().map(|known| known["name"].clone());
        let known_id = known.as_ref().map(|known| known["id"].clone());
        let mut setting = Map::from_iter([
            ("id".to_owned(), known_id.unwrap_or_else(|| id(resource_group, name).into())),
            ("name".to_owned(), known_name.unwrap_or_else(|| name.into())),
            ("type".to_owned(), "Microsoft.Insights/autoscaleSettings".into()),
            ("location".to_owned(), location.into()),
            ("properties".to_owned(), properties.into()),
        ]);
        setting.extend(body.get("tags").map(|tags| ("tags".to_owned(), tags.clone())));
        let setting = Value::from(setting);
        self.settings.put(setting.clone());
        Reply::json(if known.is_some() { 200 } else { 201 }, &setting)
    }

    fn patch_autoscale(&self, request: &Request, mut setting: Value) -> Reply {
        let body = request.json();
        if let Some(tags) = body.get("tags") {
            setting["tags"] = tags.clone();
        }
        for (name, value) in body.get("properties").and_then(Value::as_object).into_iter().flatten() {
            setting["properties"][name.as_str()] = value.clone();
        }
        self.settings.put(setting.clone());
        Reply::json(200, &setting)
    }
}

/// The setting of a group that has a foreign controller.
fn of_group(group: &GroupId) -> Value {
    let target = Azure::set_id(group);
    let rule = |direction: &str, operator: &str, threshold: f64| {
        json!({
            "metricTrigger": {
                "metricName": "Percentage CPU",
                "metricResourceUri": target,
                "timeGrain": "PT1M",
                "statistic": "Average",
                "timeWindow": "PT5M",
                "timeAggregation": "Average",
                "operator": operator,
                "threshold": threshold,
            },
            "scaleAction": { "direction": direction, "type": "ChangeCount", "value": "1", "cooldown": "PT5M" },
        })
    };
    json!({
        "id": id(RESOURCE_GROUP, "cpu"),
        "name": "cpu",
        "type": "Microsoft.Insights/autoscaleSettings",
        "location": LOCATION,
        "properties": {
            "name": "cpu",
            "enabled": true,
            "targetResourceUri": target,
            "profiles": [{
                "name": "always",
                "capacity": { "minimum": "1", "maximum": "10", "default": "1" },
                "rules": [rule("Increase", "GreaterThan", 70.0), rule("Decrease", "LessThan", 30.0)],
            }],
        },
    })
}
