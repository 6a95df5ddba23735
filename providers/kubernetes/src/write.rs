//! Writing: raise, withdraw what is unfilled, lower.
//!
//! One attempt is: read the object, compare it with what the plan saw, check the wish, look for controllers that are new,
//! claim the object, change the scale subresource under the version just read. The API server refuses both writes when
//! the object is another by then; an attempt that it refuses begins again with a read, so a change of the status alone
//! costs a second attempt and a change of the spec is a `Conflict`.

use crate::call::Call;
use crate::cluster::Cluster;
use crate::errors::Effect;
use crate::errors::{Failure, unanswered};
use crate::kinds::Kind;
use crate::listing::Source;
use crate::names::{Name, Resource};
use crate::owner;
use crate::pods::{Family, Judge, Zones, is_over};
use crate::shapes::{Bare, Pod, Scale, Workload};
use crate::workload::{Seen, token};
use contract::{Accepted, CAPACITY_MAX, Capacity, Epoch, InstanceState, ProviderError, Target};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Attempts; status updates come in bursts while pods start.
const ATTEMPTS: u32 = 4;
/// Pause before another attempt after one that certainly had no effect.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest wait that a 429 may ask for and still be waited for.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Asks for the metadata of one object alone.
const BARE: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// What a write is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Raise,
    Cancel,
    Lower,
}

impl Cluster {
    /// Carries out a write, or refuses it.
    pub async fn write(self: &Arc<Self>, target: &Target, to: Capacity, wish: Wish) -> Result<Accepted, ProviderError> {
        let name = Name::parse(target.group.as_str())?;
        let deadline = Instant::now() + self.deadlines.write;
        let kind = self.kind(&name.resource, deadline).await?;
        for attempt in 1..=ATTEMPTS {
            let failure = match self.attempt(target, (&name, &kind), to, wish, deadline).await {
                Ok(()) => return Ok(Accepted::default()),
                Err(failure) => failure,
            };
            let pause = match &failure.error {
                // Not the one of our own checks, which is final: that one comes as `harmless = false`.
                ProviderError::Conflict { .. } if failure.harmless => PAUSE / 4,
                ProviderError::Throttled { retry_after } => retry_after.unwrap_or(PAUSE),
                ProviderError::Transport { .. } if failure.harmless && attempt == 1 => PAUSE,
                _ => return Err(failure.error),
            };
            if attempt == ATTEMPTS || pause > PAUSE_MAX || Instant::now() + pause >= deadline {
                return Err(failure.error);
            }
            tracing::debug!(group = %target.group, error = %failure.error, "had no effect; reading again first");
            tokio::time::sleep(pause).await;
        }
        Err(conflict(target, "it could not be written"))
    }

    async fn attempt(
        self: &Arc<Self>,
        target: &Target,
        (name, kind): (&Name, &Kind),
        to: Capacity,
        wish: Wish,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let seen = self.read_one(name, kind, deadline).await?;
        let checked = self.check(target, name, &seen, to, wish, deadline).await.map_err(last)?;
        let Some(held) = checked else { return Ok(()) };
        self.no_new_foreign(name, deadline).await.map_err(|error| last(error.before_the_write()))?;
        self.within_bounds(target, name, seen.desired, to).map_err(last)?;
        let mut version = seen.resource_version.clone();
        if !held {
            let claimed = self
                .claim(name, target.lease, &version, deadline)
                .await
                .map_err(|failure| Failure { error: failure.error.before_the_write(), ..failure })?;
            let now = token(&claimed.metadata, target.group.as_str()).map_err(last)?;
            if now != seen.token {
                return Err(last(conflict(target, "it changed while it was claimed")));
            }
            version = claimed.metadata.resource_version.into();
        }
        let call = Call {
            patch: Some(serde_json::json!({
                "metadata": {"resourceVersion": version},
                "spec": {"replicas": to},
            })),
            ..Call::get("PatchScale", format!("{}?fieldManager=skala", kind.scale(name)))
        };
        let scale: Scale = self.lane.make(&call, deadline).await?;
        let told = scale.spec.replicas.as_ref().map_or(Some(0), serde_json::Number::as_u64);
        if scale.kind != "Scale" || told != Some(to.into()) {
            let why = format!("asked for {to} replicas, and the answer says {told:?}");
            return Err(unanswered("PatchScale", Effect::Write, &why, None));
        }
        self.group(name, |group| group.written = true);
        Ok(())
    }

    /// A fresh read of one object.
    pub async fn read_one(&self, name: &Name, kind: &Kind, deadline: Instant) -> Result<Seen, Failure> {
        let read = deadline.min(Instant::now() + self.deadlines.read);
        if let Resource::Custom { .. } = name.resource {
            let call = Call { accept: Some(BARE), ..Call::get("GetObject", kind.object(name)) };
            let bare: Bare = self.lane.make(&call, read).await?;
            let scale: Scale = self.lane.make(&Call::get("GetScale", kind.scale(name)), read).await?;
            if scale.metadata.resource_version != bare.metadata.resource_version {
                let what = format!("{}/{} changed between two reads", name.namespace, name.name);
                return Err(Failure { harmless: true, ..last(ProviderError::Conflict { what: what.into() }) });
            }
            return Seen::of_scale(&bare, &scale).map_err(last);
        }
        let workload: Workload = self.lane.make(&Call::get("GetObject", kind.object(name)), read).await?;
        Seen::of_workload(&name.resource, &workload).map_err(last)
    }

    /// Checks everything that must hold before a write: it is what the plan saw, nobody else's, and the wish makes sense.
    /// Says whether our claim holds; nothing when there is nothing to do.
    async fn check(
        &self,
        target: &Target,
        name: &Name,
        seen: &Seen,
        to: Capacity,
        wish: Wish,
        deadline: Instant,
    ) -> Result<Option<bool>, ProviderError> {
        if target.seen.desired != Some(seen.desired) {
            let why = format!("the plan was made at {:?} replicas, it has {}", target.seen.desired, seen.desired);
            return Err(conflict(target, &why));
        }
        if target.seen.token.as_ref().is_some_and(|token| *token != seen.token) {
            return Err(conflict(target, "its spec changed since it was observed"));
        }
        let held = owner::judge(seen.owner.as_ref(), &self.owner, target.lease, (self.now)())? == owner::Claim::Held;
        if to == seen.desired {
            return Ok(None);
        }
        let upwards = wish == Wish::Raise;
        if upwards != (to > seen.desired) {
            let way = if upwards { "below" } else { "above" };
            let what = format!("{}: {to} is {way} {} replicas; {wish:?} never does that", target.group, seen.desired);
            return Err(ProviderError::Invalid { what: what.into() });
        }
        if to > CAPACITY_MAX {
            let what = format!("{}: {to} is more than any group can hold", target.group);
            return Err(ProviderError::Invalid { what: what.into() });
        }
        if wish == Wish::Cancel {
            self.only_unfilled(target, name, seen, to, deadline).await?;
        }
        Ok(Some(held))
    }

    /// Refuses a withdrawal that could take a pod with a node.
    ///
    /// - A ReplicaSet takes pods without a node first, so when one ReplicaSet has all pods, as a Deployment's or a
    ///   Rollout's has between rollouts, everything above those with a node may go.
    /// - A StatefulSet takes the highest numbers, so no pod with a node may have a number that goes.
    /// - Otherwise it is not known what goes, so nothing below the number of all pods may.
    async fn only_unfilled(
        &self,
        target: &Target,
        name: &Name,
        seen: &Seen,
        to: Capacity,
        deadline: Instant,
    ) -> Result<(), ProviderError> {
        if name.resource == Resource::Deployment && seen.rolling {
            return Err(conflict(target, "a rollout is under way, in which pods of both templates come and go"));
        }
        let mut source = Source::new("ListPods", "/api/v1", "pods");
        source.query = format!("&labelSelector={}", crate::call::escape(&seen.selector.to_string()));
        let read = deadline.min(Instant::now() + self.deadlines.read);
        let (pods, failure) = self.pages::<Pod>(&source, Some(&name.namespace), read).await;
        if let Some(failure) = failure {
            return Err(failure.error);
        }
        // Whoever's they may be: too many pods only make this refuse.
        let siblings = |_: &str| false;
        let family =
            Family { resource: &name.resource, name: &name.name, selector: &seen.selector, siblings: &siblings };
        let mut pods: Vec<Pod> = pods.into_iter().filter(|pod| family.has(pod) && !is_over(pod)).collect();
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        let judge = Judge { at: (self.now)(), node_wait: self.node_wait, zones: &Zones::new(), revision: None };
        let placed = judge.show(pods.iter()).instances;
        let placed = placed.iter().filter(|instance| instance.state != InstanceState::Terminating);
        let room = u64::from(to) + u64::from(seen.first_ordinal);
        let too_many = match name.resource {
            Resource::StatefulSet => placed.map(|pod| ordinal(pod.id.as_str())).any(|n| n.is_none_or(|n| n >= room)),
            _ if of_one_set(&pods) => placed.count() as u64 > to.into(),
            _ => pods.len() as u64 > to.into(),
        };
        if too_many {
            return Err(conflict(target, &format!("pods are there that {to} replicas have no room for")));
        }
        Ok(())
    }

    /// Writes the owner tag, if the object is still of this version; answers what it is then.
    pub async fn claim(&self, name: &Name, epoch: Epoch, version: &str, deadline: Instant) -> Result<Bare, Failure> {
        let kind = self.kind(&name.resource, deadline).await.map_err(last)?;
        let value = owner::format(&self.owner, epoch, (self.now)());
        let call = Call {
            accept: Some(BARE),
            patch: Some(serde_json::json!({
                "metadata": {"resourceVersion": version, "annotations": {owner::KEY: value}},
            })),
            ..Call::get("PatchOwner", format!("{}?fieldManager=skala", kind.object(name)))
        };
        let bare: Bare = self.lane.make(&call, deadline).await?;
        self.group(name, |group| {
            group.claimed = Some(epoch);
            let version = bare.metadata.resource_version.as_str().into();
            group.tag = owner::parse(&value).map(|tag| (tag, version));
        });
        Ok(bare)
    }
}

/// Whether one ReplicaSet has made all of these pods.
fn of_one_set(pods: &[Pod]) -> bool {
    let sets = pods.iter().map(|pod| pod.metadata.controller().filter(|set| set.kind == "ReplicaSet"));
    let names: Vec<Option<&str>> = sets.map(|set| set.map(|set| set.name.as_str())).collect();
    names.iter().all(Option::is_some) && names.windows(2).all(|pair| pair[0] == pair[1])
}

/// The number at the end of a StatefulSet's pod's name.
fn ordinal(pod: &str) -> Option<u64> {
    pod.rsplit_once('-')?.1.parse().ok()
}

/// A failure after which no other attempt is made.
fn last(error: ProviderError) -> Failure {
    Failure { error, missing: false, gone: false, harmless: false }
}

/// A plan that does not fit the group any more.
fn conflict(target: &Target, why: &str) -> ProviderError {
    ProviderError::Conflict { what: format!("{}: {why}", target.group).into() }
}
