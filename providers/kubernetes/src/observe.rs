//! Observing: one list of each kind of object and one of pods, whatever the number of groups, plus one read of the scale
//! subresource for each group of another kind than Deployments and StatefulSets.
//!
//! In come asks; out goes one observation or one error for each. A group that is missing from a *complete* list does not
//! exist; from an incomplete one, it is unknown; and so is one whose namespace's pods could not all be listed.

use crate::call::Call;
use crate::cluster::{Cluster, Memory};
use crate::errors::nonsense;
use crate::listing::{BARE_LIST, Listed, Source};
use crate::names::{Name, Resource};
use crate::owner;
use crate::pods::{Family, Judge, Shown, is_over};
use crate::shapes::{Bare, Object, Pod, Scale, Workload, time};
use crate::workload::Seen;
use contract::{Abilities, Ask, Observation, ProviderError, Suspended, Timestamp};
use futures_util::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long an observation waits, once it is complete, for the lookups beside it.
const A_LITTLE: Duration = Duration::from_millis(250);
/// Nodes are listed again this soon when a pod runs on one that is not known, and this late when that was refused.
const NODES_EVERY: Duration = Duration::from_secs(60);
/// Scale subresources read at once.
const CONCURRENT: usize = 8;
/// A claim is renewed before its last half begins; writes renew it from then on.
const RENEW_BELOW: Duration = Duration::from_secs(owner::LIFE.as_secs() / 2 + 300);
/// One claim in so many is renewed in one observation at most, so that renewals are spread over time.
const RENEW_SHARE: usize = 50;

/// Everything that was listed for an observation.
struct Lists {
    at: Timestamp,
    seen: BTreeMap<Name, Result<Seen, ProviderError>>,
    pods: BTreeMap<Box<str>, Vec<Pod>>,
    pods_broken: BTreeMap<Box<str>, ProviderError>,
    /// Names of Deployments by namespace.
    deployments: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
}

impl Lists {
    /// A group's pods, those included that are over or on their way out.
    fn pods_of(&self, name: &Name, seen: &Seen) -> Vec<&Pod> {
        let siblings = |other: &str| self.deployments.get(&name.namespace).is_some_and(|names| names.contains(other));
        let family =
            Family { resource: &name.resource, name: &name.name, selector: &seen.selector, siblings: &siblings };
        self.pods.get(&name.namespace).into_iter().flatten().filter(|pod| family.has(pod)).collect()
    }

    /// Whether a group that does not say itself why has fewer pods than it should.
    fn is_short_of_pods(&self, name: &Name, seen: &Seen) -> bool {
        name.resource != Resource::Deployment
            && self.pods_of(name, seen).into_iter().filter(|pod| !is_over(pod)).count() < seen.desired as usize
    }
}

/// Namespaces with a group that has fewer pods than it should, for a reason that is to be found.
fn short_of_pods(lists: &Lists) -> BTreeSet<Box<str>> {
    let seen = lists.seen.iter().filter_map(|(name, seen)| Some((name, seen.as_ref().ok()?)));
    let short = seen
        .filter(|(name, seen)| !lists.pods_broken.contains_key(&name.namespace) && lists.is_short_of_pods(name, seen));
    short.map(|(name, _)| name.namespace.clone()).collect()
}

/// When the newest of these pods was made.
fn newest(pods: &[&Pod]) -> Option<Timestamp> {
    pods.iter().filter_map(|pod| time(pod.metadata.creation_timestamp.as_deref())).max()
}

impl Cluster {
    /// Observes groups; the answers are in the order of the asks.
    pub async fn observe(self: &Arc<Self>, asks: &[Ask]) -> Vec<Result<Observation, ProviderError>> {
        if asks.is_empty() {
            return Vec::new();
        }
        let (start, at) = (Instant::now(), (self.now)());
        let deadline = start + self.deadlines.read;
        let names: Vec<Result<Name, ProviderError>> = asks.iter().map(|ask| Name::parse(ask.group.as_str())).collect();
        let wanted: BTreeSet<&Name> = names.iter().flatten().collect();
        let mut beside = self.look_beside(&wanted, start, deadline);
        let lists = self.lists(&wanted, at, deadline).await;
        beside.extend(self.look_for_refusals(short_of_pods(&lists), start, deadline));
        wait_a_little(beside).await;
        names
            .iter()
            .map(|name| match name {
                Ok(name) => self.show(name, &lists),
                Err(error) => Err(error.again()),
            })
            .collect()
    }

    async fn lists(&self, wanted: &BTreeSet<&Name>, at: Timestamp, deadline: Instant) -> Lists {
        let places: BTreeSet<&str> = wanted.iter().map(|name| &*name.namespace).collect();
        let of = |resource: &Resource| -> Vec<&Name> {
            wanted.iter().copied().filter(|name| name.resource == *resource).collect()
        };
        let mut pods = Source::new("ListPods", "/api/v1", "pods");
        // What has ended for good is history, and in some namespaces most of what there is.
        pods.query = "&fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed".into();
        let (deployments, stateful_sets) = (of(&Resource::Deployment), of(&Resource::StatefulSet));
        let (deployments, stateful_sets, custom, pods) = futures_util::join!(
            self.workloads("ListDeployments", "deployments", &deployments, deadline),
            self.workloads("ListStatefulSets", "statefulsets", &stateful_sets, deadline),
            self.customs(wanted, deadline),
            self.list::<Pod>(&pods, &places, deadline)
        );
        let mut lists =
            Lists { at, seen: custom, pods: BTreeMap::new(), pods_broken: pods.broken, deployments: BTreeMap::new() };
        for workload in &deployments.items {
            let place = workload.metadata.namespace.as_deref().unwrap_or_default();
            lists.deployments.entry(place.into()).or_default().insert(workload.metadata.name.as_str().into());
        }
        for pod in pods.items {
            let place = pod.metadata.namespace.as_deref().unwrap_or_default();
            lists.pods.entry(place.into()).or_default().push(pod);
        }
        lists.seen.extend(find(&of(&Resource::Deployment), &deployments));
        lists.seen.extend(find(&of(&Resource::StatefulSet), &stateful_sets));
        lists
    }

    async fn workloads(
        &self,
        operation: &'static str,
        plural: &str,
        names: &[&Name],
        deadline: Instant,
    ) -> Listed<Workload> {
        let places = names.iter().map(|name| &*name.namespace).collect();
        self.list(&Source::new(operation, "/apis/apps/v1", plural), &places, deadline).await
    }

    /// Groups of other kinds: the metadata of all objects of a kind in one list, and each group's scale.
    async fn customs(
        &self,
        wanted: &BTreeSet<&Name>,
        deadline: Instant,
    ) -> BTreeMap<Name, Result<Seen, ProviderError>> {
        let mut by_kind: BTreeMap<&Resource, Vec<&Name>> = BTreeMap::new();
        for name in wanted.iter().filter(|name| matches!(name.resource, Resource::Custom { .. })) {
            by_kind.entry(&name.resource).or_default().push(name);
        }
        let mut seen = BTreeMap::new();
        for (resource, names) in by_kind {
            let kind = match self.kind(resource, deadline).await {
                Ok(kind) => kind,
                Err(error) => {
                    seen.extend(names.into_iter().map(|name| (name.clone(), Err(error.again()))));
                    continue;
                }
            };
            let mut source = Source::new("ListObjects", &kind.base, &kind.plural);
            source.accept = Some(BARE_LIST);
            let places = names.iter().map(|name| &*name.namespace).collect();
            let listed: Listed<Bare> = self.list(&source, &places, deadline).await;
            if listed.missing {
                // It may be served under another version by now.
                self.memory(|memory| memory.kinds.remove(resource));
            }
            let calls = names.iter().map(|name| {
                let call = Call::get("GetScale", kind.scale(name));
                let bare = listed.items.iter().find(|item| is(item.meta(), name));
                let absent = listed.absent(name);
                async move {
                    let Some(bare) = bare else { return ((*name).clone(), Err(absent)) };
                    let scale: Result<Scale, _> = self.lane.make(&call, deadline).await;
                    let seen = match scale {
                        Ok(scale) => Seen::of_scale(bare, &scale),
                        Err(failure) => Err(failure.error),
                    };
                    ((*name).clone(), seen)
                }
            });
            let calls: Vec<_> = calls.collect();
            seen.extend(futures_util::stream::iter(calls).buffered(CONCURRENT).collect::<Vec<_>>().await);
        }
        seen
    }

    fn show(&self, name: &Name, lists: &Lists) -> Result<Observation, ProviderError> {
        let seen = match lists.seen.get(name) {
            Some(Ok(seen)) => seen,
            Some(Err(error)) => return Err(error.again()),
            None => return Err(nonsense(format!("{}/{}: nobody asked for it", name.namespace, name.name))),
        };
        if let Some(error) = lists.pods_broken.get(&name.namespace) {
            return Err(error.again());
        }
        let pods = lists.pods_of(name, seen);
        let kind = self.known_kind(&name.resource);
        let (shown, foreign, bounds) = self.memory(|memory| {
            let revision = seen.revision.as_deref();
            let judge = Judge { at: lists.at, node_wait: self.node_wait, zones: &memory.zones, revision };
            let mut shown = judge.show(pods.iter().copied());
            if lists.is_short_of_pods(name, seen)
                && let Some((kind, message)) = memory.refusals.of(name, kind.as_ref(), newest(&pods), lists.at)
            {
                shown.fail(lists.at, kind, message);
            }
            if let Some((kind, message)) = &seen.failure {
                shown.fail(lists.at, *kind, message);
            }
            memory.zones_wanted |= !shown.unknown_nodes.is_empty();
            let bounds = memory.scalers.bounds(name, kind.as_ref());
            let beside = memory.scalers.beside(name, kind.as_ref()).next().is_some();
            let group = memory.groups.entry(name.clone()).or_default();
            group.beside = beside;
            group.tag = seen.owner.clone().map(|tag| (tag, seen.resource_version.clone()));
            let foreign = memory.scalers.of(name, kind.as_ref(), group.first_seen);
            group.shown_foreign = Some(foreign.clone());
            (shown, foreign, bounds)
        });
        let Shown { instances, failures, .. } = shown;
        Ok(Observation {
            desired: Some(seen.desired),
            // An autoscaler leaves a workload alone that has no replicas.
            cloud_min: bounds.map(|bounds| bounds.min).filter(|_| seen.desired > 0),
            cloud_max: bounds.map(|bounds| bounds.max),
            instances,
            launch_failures: failures,
            // It is scaled all the same; what stops is the replacement of its pods.
            suspended: seen.paused.then(|| Suspended::Other("rollout paused".into())).into_iter().collect(),
            foreign,
            owner: seen.owner.clone(),
            abilities: Abilities { terminate_named: false, lower: true, keeps_desired: true, terminate_batch: 0 },
            token: Some(seen.token.clone()),
            ..Observation::empty(lists.at)
        })
    }

    /// Starts what is asked beside the lists, in tasks of their own: a lookup that fails or hangs must never fail or
    /// delay an observation.
    fn look_beside(
        self: &Arc<Self>,
        wanted: &BTreeSet<&Name>,
        start: Instant,
        deadline: Instant,
    ) -> Vec<JoinHandle<()>> {
        let names: Vec<Name> = wanted.iter().map(|name| (*name).clone()).collect();
        let (scalers, nodes, claims) = self.memory(|memory| {
            let mut seen = Vec::new();
            for name in &names {
                let group = memory.groups.entry(name.clone()).or_default();
                seen.push((&*name.namespace, *group.first_seen.get_or_insert(start), group.beside));
            }
            (memory.scalers.due(seen.into_iter(), start), nodes_due(memory, start), self.claims_due(memory, &names))
        });
        let mut tasks = Vec::new();
        if !scalers.is_empty() {
            let cluster = Arc::clone(self);
            tasks.push(tokio::spawn(async move {
                let places = scalers.iter().map(|place| &**place).collect();
                cluster.list_scalers(&places, deadline).await;
            }));
        }
        if nodes {
            let cluster = Arc::clone(self);
            tasks.push(tokio::spawn(async move { cluster.list_nodes(deadline).await }));
        }
        if !claims.is_empty() {
            let cluster = Arc::clone(self);
            // Nothing in this observation depends on it.
            tokio::spawn(async move { cluster.renew(claims, deadline).await });
        }
        tasks
    }

    /// Learns which zone each node is in; without the permission zones stay unknown.
    async fn list_nodes(&self, deadline: Instant) {
        let mut source = Source::new("ListNodes", "/api/v1", "nodes");
        source.accept = Some(BARE_LIST);
        let (nodes, failure) = self.pages::<Bare>(&source, None, deadline).await;
        if let Some(failure) = failure {
            tracing::debug!(error = %failure.error, "cannot list nodes, so zones stay unknown");
            return;
        }
        let zone = |node: &Bare| node.meta().label("topology.kubernetes.io/zone").map(Box::from);
        let zones = nodes.iter().map(|node| (node.meta().name.as_str().into(), zone(node))).collect();
        self.memory(|memory| memory.zones = zones);
    }

    /// Claims of this process that should be renewed now, with the object's version as it was last read.
    fn claims_due(&self, memory: &Memory, names: &[Name]) -> Vec<(Name, contract::Epoch, Box<str>)> {
        let now = (self.now)();
        let due = names.iter().filter_map(|name| {
            let group = memory.groups.get(name)?;
            let ((tag, version), epoch) = (group.tag.as_ref()?, group.claimed?);
            let ours = tag.id == self.owner.id && tag.epoch == epoch && tag.expiry > now;
            (ours && tag.expiry.since(now) < RENEW_BELOW).then(|| (name.clone(), epoch, version.clone()))
        });
        due.take(names.len() / RENEW_SHARE + 1).collect()
    }

    async fn renew(&self, claims: Vec<(Name, contract::Epoch, Box<str>)>, deadline: Instant) {
        for (name, epoch, version) in claims {
            // One whose object changed meanwhile comes again with the next observation.
            if let Err(failure) = self.claim(&name, epoch, &version, deadline).await {
                tracing::debug!(group = %name.name, error = %failure.error, "cannot renew the owner tag now");
            }
        }
    }
}

impl<T: Object> Listed<T> {
    /// Why an object is not among the items: it does not exist, or the list is not complete.
    fn absent(&self, name: &Name) -> ProviderError {
        let missing = || ProviderError::NotFound { what: format!("{}/{}", name.namespace, name.name).into() };
        self.broken.get(&name.namespace).map_or_else(missing, ProviderError::again)
    }
}

fn is(meta: &crate::shapes::Meta, name: &Name) -> bool {
    meta.name == *name.name && meta.namespace.as_deref() == Some(&name.namespace)
}

/// The groups among the listed objects; one listed twice is the first.
fn find(names: &[&Name], listed: &Listed<Workload>) -> BTreeMap<Name, Result<Seen, ProviderError>> {
    let mut by_name: BTreeMap<(&str, &str), &Workload> = BTreeMap::new();
    for workload in &listed.items {
        let meta = &workload.metadata;
        by_name.entry((meta.namespace.as_deref().unwrap_or_default(), &meta.name)).or_insert(workload);
    }
    let read = |name: &&Name| {
        let found = by_name.get(&(&*name.namespace, &*name.name));
        // Without all Deployments of a namespace nobody can tell whose a pod is that several of them select.
        let found =
            found.filter(|_| name.resource != Resource::Deployment || !listed.broken.contains_key(&name.namespace));
        let seen = found.ok_or_else(|| listed.absent(name)).and_then(|w| Seen::of_workload(&name.resource, w));
        ((*name).clone(), seen)
    };
    names.iter().map(read).collect()
}

fn nodes_due(memory: &mut Memory, now: Instant) -> bool {
    let due = match memory.zones_asked {
        None => true,
        Some(at) => memory.zones_wanted && now.saturating_duration_since(at) >= NODES_EVERY,
    };
    if due {
        (memory.zones_asked, memory.zones_wanted) = (Some(now), false);
    }
    due
}

async fn wait_a_little(tasks: Vec<JoinHandle<()>>) {
    let deadline = Instant::now() + A_LITTLE;
    for task in tasks {
        _ = tokio::time::timeout_at(deadline, task).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_are_nobodys_while_deployments_are_missing_from_a_list() {
        let workload = json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "1", "generation": 1},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}},
        });
        for (id, expected) in [("shop/web", "transport"), ("shop/statefulset/web", "ok")] {
            let name = Name::parse(id).unwrap();
            let mut listed =
                Listed { items: vec![serde_json::from_value(workload.clone()).unwrap()], ..Listed::default() };
            let code = |listed: &Listed<Workload>| {
                find(&[&name], listed).remove(&name).map(|seen| seen.err().map_or("ok", |error| error.code()))
            };
            assert_eq!(code(&listed), Some("ok"), "{id}");
            listed.broken.insert("shop".into(), nonsense("a page is lost".into()));
            assert_eq!(code(&listed), Some(expected), "{id}");
        }
    }
}
