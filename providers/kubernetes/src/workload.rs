//! One object that holds replicas, whatever its kind: what is read of it before anything is decided or written.

use crate::errors::nonsense;
use crate::names::Resource;
use crate::owner;
use crate::selector::Selector;
use crate::shapes::{Bare, Meta, Scale, Workload, capacity};
use contract::{Capacity, FailureKind, OwnerTag, ProviderError};

/// An object as it was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub desired: Capacity,
    pub selector: Selector,
    /// Of the object; the scale subresource has the same.
    pub resource_version: Box<str>,
    /// The uid and the generation: every change of the spec makes another one, no change of the status does.
    pub token: Box<str>,
    pub owner: Option<OwnerTag>,
    /// Its rollouts are paused.
    pub paused: bool,
    /// Pods of an older template are being replaced, or are about to be.
    pub rolling: bool,
    /// Why pods cannot be made, when that is so.
    pub failure: Option<(FailureKind, Box<str>)>,
    /// The revision that pods should have, where pods say theirs.
    pub revision: Option<Box<str>>,
    /// Of a StatefulSet: the number of its first pod.
    pub first_ordinal: u32,
}

impl Seen {
    /// Reads a Deployment or a StatefulSet.
    ///
    /// # Errors
    /// When a number or the selector is missing or makes no sense: nothing is known then; `NotFound` when it is being
    /// deleted.
    pub fn of_workload(resource: &Resource, workload: &Workload) -> Result<Self, ProviderError> {
        let (meta, spec) = (&workload.metadata, &workload.spec);
        let what = what(meta);
        stays(meta)?;
        let selector = spec.selector.read().map_err(|why| nonsense(format!("{what}: {why}")))?;
        let status = workload.status.as_ref();
        let stateful = *resource == Resource::StatefulSet;
        let counted = |number: Option<i64>| number.unwrap_or(0);
        let rolling = status.is_none_or(|status| {
            counted(status.observed_generation) < meta.generation.unwrap_or(0)
                || counted(status.updated_replicas) < counted(status.replicas)
        });
        Ok(Self {
            desired: capacity(&what, spec.replicas.as_ref())?,
            selector,
            resource_version: meta.resource_version.as_str().into(),
            token: token(meta, &what)?,
            owner: tag(meta),
            paused: spec.paused == Some(true),
            rolling,
            failure: failure(workload),
            revision: status.and_then(|status| status.update_revision.as_deref()).filter(|_| stateful).map(Box::from),
            first_ordinal: spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0),
        })
    }

    /// Reads any other kind: its metadata, and its scale subresource.
    ///
    /// # Errors
    /// As [`Seen::of_workload`]; `Invalid` when its pods cannot be told.
    pub fn of_scale(bare: &Bare, scale: &Scale) -> Result<Self, ProviderError> {
        let meta = &bare.metadata;
        let what = what(meta);
        stays(meta)?;
        if scale.kind != "Scale" || scale.metadata.uid != meta.uid {
            return Err(nonsense(format!("{what}: what was answered is not its scale")));
        }
        let status = scale.status.as_ref().ok_or_else(|| nonsense(format!("{what}: its scale has no status yet")))?;
        let selector = status.selector.as_deref().filter(|selector| !selector.is_empty());
        let selector = selector.ok_or_else(|| {
            let why = "its scale subresource names no selector (labelSelectorPath), so its pods cannot be told";
            ProviderError::Invalid { what: format!("{what}: {why}").into() }
        })?;
        let selector = Selector::parse(selector).map_err(|why| nonsense(format!("{what}: {why}")))?;
        // Left out when it is 0: the API's own types do so.
        let desired = scale.spec.replicas.as_ref().map_or(Ok(0), |number| capacity(&what, Some(number)))?;
        Ok(Self {
            desired,
            selector,
            resource_version: scale.metadata.resource_version.as_str().into(),
            token: token(meta, &what)?,
            owner: tag(meta),
            paused: false,
            rolling: false,
            failure: None,
            revision: None,
            first_ordinal: 0,
        })
    }
}

fn what(meta: &Meta) -> String {
    format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name)
}

/// Refuses an object that is being deleted. It may stay for as long as its pods or a finalizer take, with the replicas it
/// had, and whoever made them makes no more of them.
fn stays(meta: &Meta) -> Result<(), ProviderError> {
    match &meta.deletion_timestamp {
        None => Ok(()),
        Some(since) => {
            let what = format!("{} is being deleted, since {since}", what(meta));
            Err(ProviderError::NotFound { what: what.into() })
        }
    }
}

pub(crate) fn token(meta: &Meta, what: &str) -> Result<Box<str>, ProviderError> {
    let generation = meta.generation.ok_or_else(|| nonsense(format!("{what}: the answer has no generation")))?;
    Ok(format!("{}/{generation}", meta.uid).into())
}

pub(crate) fn tag(meta: &Meta) -> Option<OwnerTag> {
    owner::parse(meta.annotations.as_ref()?.get(owner::KEY)?)
}

/// A Deployment says by a condition that its pods are refused; a ResourceQuota is the usual reason.
fn failure(workload: &Workload) -> Option<(FailureKind, Box<str>)> {
    let conditions = workload.status.as_ref()?.conditions.iter().flatten();
    let mut failing = conditions.filter(|c| c.kind == "ReplicaFailure" && c.status == "True");
    let message = failing.next()?.message.as_deref().unwrap_or("pods cannot be created");
    Some((refusal(message), message.into()))
}

/// What the refusal of a pod means, by its words.
pub(crate) fn refusal(message: &str) -> FailureKind {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["exceeded quota"]) {
        FailureKind::QuotaExceeded
    } else if says(&["denied the request", "violates PodSecurity", "is forbidden"]) {
        FailureKind::Denied
    } else if says(&["is invalid", "not found"]) {
        FailureKind::Invalid
    } else {
        FailureKind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn deployment(change: impl FnOnce(&mut Value)) -> Result<Seen, ProviderError> {
        let mut value = json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "resourceVersion": "99", "generation": 7,
                "annotations": {"skala.dev/owner": "me/3/1800000000"}},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}},
            "status": {"observedGeneration": 7, "replicas": 3, "updatedReplicas": 3},
        });
        change(&mut value);
        Seen::of_workload(&Resource::Deployment, &serde_json::from_value(value).unwrap())
    }

    #[test]
    fn a_missing_or_strange_number_is_never_a_capacity() {
        let check = |number: Value, expected: Option<Capacity>| {
            let seen = deployment(|value| value["spec"]["replicas"] = number.clone());
            assert_eq!(seen.ok().map(|seen| seen.desired), expected, "{number}");
        };
        check(json!(3), Some(3));
        check(json!(0), Some(0));
        check(Value::Null, None);
        for number in [json!(-1), json!(1.5), json!(1e30), json!(5_000_000_000_u64), json!(1_000_001)] {
            check(number, None);
        }
        assert!(deployment(|value| value["metadata"]["generation"] = Value::Null).is_err());
        assert!(deployment(|value| value["spec"]["selector"] = json!({})).is_err());
    }

    #[test]
    fn what_is_being_deleted_is_as_good_as_gone() {
        let seen = deployment(|value| value["metadata"]["deletionTimestamp"] = json!("2027-01-15T08:00:00Z"));
        let error = seen.unwrap_err();
        assert!(error.code() == "not_found" && error.to_string().contains("is being deleted"), "{error}");
    }

    #[test]
    fn status_changes_leave_the_token_alone() {
        let seen = deployment(|_| {}).unwrap();
        assert_eq!((&*seen.token, &*seen.resource_version), ("u1/7", "99"));
        assert_eq!(seen.owner.as_ref().map(|tag| &*tag.id), Some("me"));
        let later = deployment(|value| value["metadata"]["resourceVersion"] = json!("120")).unwrap();
        assert_eq!(later.token, seen.token);
        let changed = deployment(|value| value["metadata"]["generation"] = json!(8)).unwrap();
        assert_ne!(changed.token, seen.token);
        assert!(changed.rolling, "nobody has looked at the change yet");
    }

    #[test]
    fn a_refused_pod_says_what_it_was_refused_for() {
        let check = |message: &str, kind: FailureKind| assert_eq!(refusal(message), kind, "{message}");
        check(r#"pods "web-1" is forbidden: exceeded quota: pods, requested: pods=1"#, FailureKind::QuotaExceeded);
        check(r#"pods "web-1" is forbidden: violates PodSecurity "restricted""#, FailureKind::Denied);
        check(r#"admission webhook "x" denied the request: no"#, FailureKind::Denied);
        check(
            r#"pods "web-1" is forbidden: error looking up service account: serviceaccount "x" not found"#,
            FailureKind::Denied,
        );
        check(r#"Pod "web-1" is invalid: spec"#, FailureKind::Invalid);
        check("etcdserver: request timed out", FailureKind::Other);
        let seen = deployment(|value| {
            value["status"]["conditions"] = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: q"}]);
        });
        assert_eq!(seen.unwrap().failure.map(|(kind, _)| kind), Some(FailureKind::QuotaExceeded));
    }
}
