//! Pods that the cluster refuses to make: for want of quota, mostly.
//!
//! A Deployment says so by a condition. StatefulSets do not, and of custom kinds nobody knows; for those it is in the
//! events of whatever makes the pods: the StatefulSet itself, or a ReplicaSet called NAME-HASH. Events are listed only
//! while such a group has fewer pods than it should, once in a while, and without permission it stays unknown why.

use crate::cluster::Cluster;
use crate::kinds::Kind;
use crate::listing::Source;
use crate::names::{Name, Resource};
use crate::shapes::{Event, time};
use crate::workload::refusal;
use contract::{FailureKind, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Events of a namespace are listed again this much later.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// How long a refusal stands without being repeated: controllers wait for up to 1000 s before they try again.
const STANDS: Duration = Duration::from_secs(1_200);

/// What was refused lately, by namespace.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    by_place: BTreeMap<Box<str>, (Instant, Vec<Refusal>)>,
}

#[derive(Debug)]
struct Refusal {
    /// What tried to make the pod.
    kind: Box<str>,
    name: Box<str>,
    at: Timestamp,
    message: Box<str>,
}

impl Refusals {
    /// Whether to ask for a namespace's events now; then it counts as asked.
    fn is_due(&mut self, place: &str, now: Instant) -> bool {
        let known = self.by_place.get_mut(place);
        let due = known.as_ref().is_none_or(|(asked, _)| now.saturating_duration_since(*asked) >= ASK_AGAIN);
        if due {
            self.by_place.entry(place.into()).or_insert_with(|| (now, Vec::new())).0 = now;
        }
        due
    }

    fn learn(&mut self, place: &str, events: Vec<Event>) {
        let read = |event: Event| {
            let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_deref());
            let times = [series, event.last_timestamp.as_deref(), event.event_time.as_deref()];
            Some(Refusal {
                at: times.into_iter().filter_map(time).max()?,
                kind: event.involved_object.kind?.into(),
                name: event.involved_object.name?.into(),
                message: event.message.unwrap_or_default().into(),
            })
        };
        if let Some((_, known)) = self.by_place.get_mut(place) {
            *known = events.into_iter().filter_map(read).collect();
        }
    }

    /// Why a group's pods are refused, when its newest pod is of this time: one that came after a refusal ended it. Times
    /// are in whole seconds, in which the last pod that there was room for and the first refusal may be one.
    pub fn of(
        &self,
        name: &Name,
        kind: Option<&Kind>,
        newest: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<(FailureKind, &str)> {
        let (_, known) = self.by_place.get(&name.namespace)?;
        let stands = |refusal: &&Refusal| {
            refusal.is_of(name, kind)
                && newest.is_none_or(|newest| refusal.at >= newest)
                && now.since(refusal.at) < STANDS
        };
        let last = known.iter().filter(stands).max_by_key(|refusal| refusal.at)?;
        Some((refusal(&last.message), &last.message))
    }
}

impl Refusal {
    fn is_of(&self, name: &Name, kind: Option<&Kind>) -> bool {
        match name.resource {
            Resource::Deployment => false,
            Resource::StatefulSet => &*self.kind == "StatefulSet" && self.name == name.name,
            // What makes a custom kind's pods is itself, or a ReplicaSet of its own.
            Resource::Custom { .. } => {
                let set = self.name.rsplit_once('-').map(|(name, _)| name);
                let own = kind.is_some_and(|kind| kind.kind == *self.kind);
                (own && self.name == name.name) || (&*self.kind == "ReplicaSet" && set == Some(&*name.name))
            }
        }
    }
}

impl Cluster {
    /// Looks in these namespaces why pods are missing, in a task of its own.
    pub fn look_for_refusals(
        self: &Arc<Self>,
        mut places: BTreeSet<Box<str>>,
        start: Instant,
        deadline: Instant,
    ) -> Option<JoinHandle<()>> {
        places.retain(|place| self.memory(|memory| memory.refusals.is_due(place, start)));
        if places.is_empty() {
            return None;
        }
        let cluster = Arc::clone(self);
        Some(tokio::spawn(async move {
            let mut source = Source::new("ListEvents", "/api/v1", "events");
            source.query = "&fieldSelector=reason%3DFailedCreate".into();
            for place in places {
                let (events, failure) = cluster.pages::<Event>(&source, Some(&place), deadline).await;
                match failure {
                    // What was known before stands for as long as it does.
                    Some(failure) => {
                        tracing::debug!(error = %failure.error, "cannot list events: why pods are missing stays unknown")
                    }
                    None => cluster.memory(|memory| memory.refusals.learn(&place, events)),
                }
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refusal_stands_until_a_pod_comes_or_nobody_tries_any_more() {
        let quota = r#"create Pod db-2 failed error: pods "db-2" is forbidden: exceeded quota: pods"#;
        let event = |kind: &str, name: &str, last: &str, message: &str| -> Event {
            serde_json::from_value(json!({
                "metadata": {"name": format!("{name}.1"), "namespace": "shop", "uid": "e", "resourceVersion": "1"},
                "involvedObject": {"kind": kind, "name": name}, "reason": "FailedCreate", "message": message,
                "lastTimestamp": last,
            }))
            .unwrap()
        };
        let mut refusals = Refusals::default();
        let start = Instant::now();
        assert!(refusals.is_due("shop", start));
        assert!(!refusals.is_due("shop", start + Duration::from_secs(14)));
        assert!(refusals.is_due("shop", start + Duration::from_secs(15)));
        refusals.learn(
            "shop",
            vec![
                event("StatefulSet", "db", "2027-01-15T07:50:00Z", quota),
                event("StatefulSet", "db", "2027-01-15T07:40:00Z", "etcdserver: request timed out"),
                event("ReplicaSet", "canary-5d4", "2027-01-15T07:55:00Z", quota),
                event("StatefulSet", "no-time", "", quota),
                event("Rollout", "api", "2027-01-15T07:55:00Z", quota),
                event("Job", "mail", "2027-01-15T07:55:00Z", quota),
            ],
        );
        let at = |text: &str| time(Some(text)).unwrap();
        let check = |id: &str, newest: Option<&str>, now: &str, expected: Option<FailureKind>| {
            let name = Name::parse(id).unwrap();
            let kind =
                Kind { kind: "Rollout".into(), base: String::new(), plural: String::new(), group: String::new() };
            let found = refusals.of(&name, Some(&kind), newest.map(at), at(now)).map(|(kind, _)| kind);
            assert_eq!(found, expected, "{id} {newest:?} {now}");
        };
        let (now, full) = ("2027-01-15T08:00:00Z", Some(FailureKind::QuotaExceeded));
        check("shop/statefulset/db", None, now, full);
        check("shop/statefulset/db", Some("2027-01-15T07:45:00Z"), now, full);
        check("shop/statefulset/db", Some("2027-01-15T07:51:00Z"), now, None);
        check("shop/statefulset/db", None, "2027-01-15T08:10:00Z", None);
        check("shop/statefulset/canary-5d4", None, now, None);
        check("shop/rollouts.argoproj.io/canary", None, now, full);
        check("shop/rollouts.argoproj.io/can", None, now, None);
        check("shop/rollouts.argoproj.io/api", None, now, full);
        check("shop/rollouts.argoproj.io/mail", None, now, None);
        check("shop/statefulset/no-time", None, now, None);
        check("shop/db", None, now, None);
        check("bank/statefulset/db", None, now, None);
    }
}
