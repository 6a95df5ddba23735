//! What an API server keeps of objects beside their contents: uids, versions, generations, annotations, pods' numbers.

use contract::{GroupId, InstanceId};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// When what was there before everything else was made.
const EPOCH: &str = "2026-01-01T00:00:00Z";

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The newest resourceVersion of any object.
    version: u64,
    uids: u64,
    kept: BTreeMap<String, Kept>,
    ordinals: BTreeMap<GroupId, BTreeMap<InstanceId, u32>>,
    /// Annotations that are not the machines' own.
    pub annotations: BTreeMap<GroupId, BTreeMap<String, String>>,
    /// Groups on their way out, and since when.
    pub going: BTreeMap<GroupId, String>,
}

#[derive(Debug, Default)]
struct Kept {
    uid: String,
    version: u64,
    shown: String,
    generation: u64,
    spec: String,
    created: Value,
}

impl Memory {
    pub fn version(&self) -> u64 {
        self.version.max(1)
    }

    /// Writes uid, resourceVersion, generation and the first time of its making into an object that is otherwise whole. One that differs from how
    /// it was last shown has a new version; `spec` is what a new generation is made of.
    pub fn stamp(&mut self, key: &str, object: &mut Value, spec: Option<&str>) {
        if !self.kept.contains_key(key) {
            self.uids += 1;
            let uid = format!("{:08x}-5ca1-4ab1-8e00-{:012x}", self.uids, self.uids);
            let created = object["metadata"].get("creationTimestamp").cloned().unwrap_or(EPOCH.into());
            self.kept.insert(key.into(), Kept { uid, created, ..Kept::default() });
        }
        let Some(kept) = self.kept.get_mut(key) else { return };
        if let Some(spec) = spec {
            if kept.spec != spec {
                (kept.spec, kept.generation) = (spec.into(), kept.generation + 1);
            }
            object["metadata"]["generation"] = kept.generation.into();
            if object["status"].get("observedGeneration").is_some() {
                object["status"]["observedGeneration"] = kept.generation.into();
            }
        }
        object["metadata"]["uid"] = kept.uid.as_str().into();
        object["metadata"]["creationTimestamp"] = kept.created.clone();
        let shown = object.to_string();
        if kept.shown != shown {
            self.version += 1;
            (kept.shown, kept.version) = (shown, self.version);
        }
        object["metadata"]["resourceVersion"] = kept.version.to_string().into();
    }

    /// When an object was first shown: the first time that was told.
    pub fn first_seen(&self, key: &str, now: &str) -> String {
        let created = self.kept.get(key).and_then(|kept| kept.created.as_str());
        created.unwrap_or(now).to_owned()
    }

    /// Forgets a group's pods that are gone.
    pub fn keep_pods(&mut self, prefix: &str, keys: &BTreeSet<String>) {
        self.kept.retain(|key, _| !key.starts_with(prefix) || keys.contains(key));
    }

    /// Forgets objects that are gone: one of the same name is another one.
    pub fn keep_only(&mut self, groups: &BTreeSet<GroupId>, keys: &BTreeSet<String>) {
        self.kept.retain(|key, _| !key.starts_with("workload ") || keys.contains(key));
        self.annotations.retain(|group, _| groups.contains(group));
        self.ordinals.retain(|group, _| groups.contains(group));
    }

    /// The number of a StatefulSet's pod: the lowest that is free when it is first asked for.
    pub fn ordinal(&mut self, group: &GroupId, instance: &InstanceId) -> u32 {
        let taken = self.ordinals.entry(group.clone()).or_default();
        if let Some(number) = taken.get(instance) {
            return *number;
        }
        let number = (0..).find(|number| !taken.values().any(|other| other == number)).unwrap_or(0);
        taken.insert(instance.clone(), number);
        number
    }

    /// The numbers of pods that are gone are free again.
    pub fn keep_ordinals(&mut self, group: &GroupId, there: &BTreeSet<&InstanceId>) {
        if let Some(taken) = self.ordinals.get_mut(group) {
            taken.retain(|instance, _| there.contains(instance));
        }
    }
}
