//! Autoscalers as objects that people write: HorizontalPodAutoscalers, and KEDA's ScaledObjects, for each of which KEDA
//! makes an HPA of its own and takes it away while it is paused. They scale nothing here; what they are set to is what
//! clients read and write.

use super::memory::Memory;
use super::path::Path;
use super::status::Refused;
use super::{headed, status};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) const HPAS: &str = "horizontalpodautoscalers";
pub(super) const SCALED: &str = "scaledobjects";
const PAUSED: &str = "autoscaling.keda.sh/paused";
const PAUSED_AT: &str = "autoscaling.keda.sh/paused-replicas";

/// Plural, namespace, name.
type Key = (&'static str, String, String);

#[derive(Debug, Default)]
pub(super) struct Scalers {
    objects: BTreeMap<Key, Value>,
    /// How KEDA is, where it is installed.
    pub keda: Option<Keda>,
}

/// How KEDA is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keda {
    /// It knows both annotations that pause it.
    Present,
    /// Of before 2.12: `paused` means nothing to it.
    Old,
}

fn plural(path: &Path) -> Option<&'static str> {
    match (&*path.group, &*path.plural) {
        ("autoscaling", HPAS) => Some(HPAS),
        ("keda.sh", SCALED) => Some(SCALED),
        _ => None,
    }
}

impl Scalers {
    /// Whether a path is to one of these objects.
    pub fn has(&self, path: &Path) -> bool {
        self.key(path).is_some_and(|key| self.objects.contains_key(&key))
    }

    fn key(&self, path: &Path) -> Option<Key> {
        Some((plural(path)?, path.namespace.clone()?, path.name.clone()?))
    }

    /// Somebody writes an object, new or in place of what was there.
    pub fn put(&mut self, plural: &'static str, namespace: &str, name: &str, rest: Value) {
        let (kind, version) = match plural {
            HPAS => ("HorizontalPodAutoscaler", "autoscaling/v2"),
            _ => ("ScaledObject", "keda.sh/v1alpha1"),
        };
        let mut object = headed(kind, version, rest);
        object["metadata"]["name"] = name.into();
        object["metadata"]["namespace"] = namespace.into();
        if plural == HPAS {
            if object.get("status").is_none() {
                object["status"] = json!({"desiredReplicas": 1, "currentMetrics": null, "conditions": []});
            }
            default(&mut object["spec"]);
        }
        self.objects.insert((plural, namespace.into(), name.into()), object);
        self.reconcile();
    }

    /// As it is kept, without what a server adds.
    pub fn get(&self, plural: &'static str, namespace: &str, name: &str) -> Option<&Value> {
        self.objects.get(&(plural, namespace.into(), name.into()))
    }

    pub fn delete(&mut self, plural: &'static str, namespace: &str, name: &str) {
        self.objects.remove(&(plural, namespace.into(), name.into()));
        self.reconcile();
    }

    /// All of a kind, as a server shows them.
    pub fn all(&self, memory: &mut Memory, plural: &'static str) -> Vec<Value> {
        let of = self.objects.iter().filter(|((kind, ..), _)| *kind == plural);
        of.map(|(key, object)| stamped(memory, key, object)).collect()
    }

    /// A client's patch or replacement, under its precondition.
    pub fn write(&mut self, memory: &mut Memory, path: &Path, wanted: &Value) -> Result<Value, Refused> {
        let key = self.key(path).ok_or_else(|| status::not_found(path))?;
        let before = self.objects.get(&key).ok_or_else(|| status::not_found(path))?;
        let shown = stamped(memory, &key, before);
        for field in ["resourceVersion", "uid"] {
            let told = wanted["metadata"][field].as_str().filter(|told| !told.is_empty());
            if told.is_some_and(|told| shown["metadata"][field].as_str() != Some(told)) {
                return Err(status::conflict(path));
            }
        }
        let mut after = if path.verb == "patch" { before.clone() } else { json!({"status": before["status"]}) };
        merge(&mut after, wanted);
        for (field, value) in [("kind", &before["kind"]), ("apiVersion", &before["apiVersion"])] {
            after[field] = value.clone();
        }
        for field in ["resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"] {
            if let Some(meta) = after["metadata"].as_object_mut() {
                meta.remove(field);
            }
        }
        if key.0 == HPAS {
            check(path, &after["spec"])?;
            default(&mut after["spec"]);
        }
        self.objects.insert(key.clone(), after.clone());
        let told = stamped(memory, &key, &after);
        self.reconcile();
        Ok(told)
    }

    /// What a controller does all the time: the status says something new.
    pub fn touch(&mut self, path: &Path) {
        let object = self.key(path).and_then(|key| self.objects.get_mut(&key));
        if let Some(object) = object {
            let times = object["status"]["observedGeneration"].as_u64().unwrap_or(0);
            object["status"]["observedGeneration"] = (times + 1).into();
        }
    }

    /// KEDA's work: an HPA for every ScaledObject that is not paused, and none for one that is.
    fn reconcile(&mut self) {
        let Some(keda) = self.keda else { return };
        let scaled: Vec<(Key, Value)> = self
            .objects
            .iter()
            .filter(|((kind, ..), _)| *kind == SCALED)
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let name_of = |object: &str| format!("keda-hpa-{object}");
        self.objects.retain(|(kind, namespace, _), object| {
            let owner = object["metadata"]["ownerReferences"][0]["name"].as_str().unwrap_or_default();
            let has_owner = scaled.iter().any(|((_, place, own), _)| place == namespace && own == owner);
            *kind != HPAS || owner.is_empty() || has_owner
        });
        for ((_, namespace, name), object) in scaled {
            let says = |key: &str| object["metadata"]["annotations"].get(key).and_then(Value::as_str);
            let paused = says(PAUSED).is_some_and(|value| value != "false") && keda == Keda::Present;
            let rests = paused || says(PAUSED_AT).is_some();
            let hpa = (HPAS, namespace.clone(), name_of(&name));
            if rests {
                self.objects.remove(&hpa);
            } else if !self.objects.contains_key(&hpa) {
                let spec = &object["spec"];
                let target = &spec["scaleTargetRef"];
                let bound = |key: &str, default: u64| spec[key].as_u64().filter(|bound| *bound > 0).unwrap_or(default);
                let owner = json!({
                    "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": name, "uid": format!("of {name}"),
                    "controller": true, "blockOwnerDeletion": true,
                });
                let kind = target["kind"].as_str().unwrap_or("Deployment");
                let rest = json!({
                    "metadata": {"name": hpa.2, "namespace": namespace, "ownerReferences": [owner]},
                    "spec": {
                        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": kind, "name": target["name"]},
                        "minReplicas": bound("minReplicaCount", 1), "maxReplicas": bound("maxReplicaCount", 100),
                    },
                });
                self.put_unreconciled(&namespace, &hpa.2, rest);
            }
            if let Some(kept) = self.objects.get_mut(&(SCALED, namespace, name)) {
                let state = if rests { "True" } else { "False" };
                kept["status"]["conditions"] =
                    json!([{"type": "Ready", "status": "True"}, {"type": "Paused", "status": state}]);
            }
        }
    }

    fn put_unreconciled(&mut self, namespace: &str, name: &str, rest: Value) {
        let keda = self.keda.take();
        self.put(HPAS, namespace, name, rest);
        self.keda = keda;
    }
}

fn stamped(memory: &mut Memory, key: &Key, object: &Value) -> Value {
    let mut object = object.clone();
    memory.stamp(&format!("{} {}/{}", key.0, key.1, key.2), &mut object, None);
    object
}

/// A merge patch (RFC 7386).
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let Some(object) = into.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// What the API fills in: all of a behavior as soon as there is one.
fn default(spec: &mut Value) {
    let fill = |object: &mut Value, key: &str, value: Value| {
        if object.get(key).is_none_or(Value::is_null) {
            object[key] = value;
        }
    };
    fill(spec, "minReplicas", 1.into());
    let cpu = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}});
    fill(spec, "metrics", json!([{"type": "Resource", "resource": cpu}]));
    if !spec["behavior"].is_object() {
        return;
    }
    let behavior = &mut spec["behavior"];
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    fill(behavior, "scaleUp", json!({}));
    fill(behavior, "scaleDown", json!({}));
    fill(&mut behavior["scaleUp"], "stabilizationWindowSeconds", 0.into());
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    fill(&mut behavior["scaleUp"], "policies", json!([pods, percent]));
    fill(&mut behavior["scaleDown"], "policies", json!([percent]));
    for way in ["scaleUp", "scaleDown"] {
        fill(&mut behavior[way], "selectPolicy", "Max".into());
    }
}

fn check(path: &Path, spec: &Value) -> Result<(), Refused> {
    for way in ["scaleUp", "scaleDown"] {
        let select = &spec["behavior"][way]["selectPolicy"];
        let known = select.is_null() || ["Max", "Min", "Disabled"].contains(&select.as_str().unwrap_or_default());
        if !known {
            let why = format!("Unsupported value: {select}: supported values: \"Disabled\", \"Max\", \"Min\"");
            return Err(status::invalid(path, &format!("spec.behavior.{way}.selectPolicy"), &why));
        }
    }
    match spec["maxReplicas"].as_u64() {
        Some(max) if max >= spec["minReplicas"].as_u64().unwrap_or(1) => Ok(()),
        _ => Err(status::invalid(path, "spec.maxReplicas", "must be greater than or equal to `minReplicas`")),
    }
}
