//! Observing scale sets: one list of the subscription, page by page, and details only where something moves.
//!
//! In come asks; out goes one observation or one error for each. A set that is missing from a *complete* list is asked for
//! by name before it is said not to exist: a list shows only what the credentials may see.

use super::{Sets, machines};
use crate::arm::{COMPUTE, Id, ScaleSet};
use crate::errors::nonsense;
use crate::group::SetName;
use crate::limiter::Wait;
use crate::shape::{self, Machine};
use contract::{Abilities, Ask, Observation, ProviderError, Suspended, Timestamp};
use futures_util::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Sets whose details are asked for at once.
const CONCURRENT: usize = 8;
/// A set that is known not to exist is asked for by name again after this long.
const MISSING_FOR: Duration = Duration::from_secs(30);
/// Failed launches are shown this long.
const FAILURES_KEPT: Duration = Duration::from_secs(1800);
/// Instances in one termination. Azure names no limit; a call's body stays small.
const TERMINATE_BATCH: u32 = 100;

/// What the list said of the sets that were asked for.
#[derive(Default)]
struct Listed {
    sets: BTreeMap<Box<str>, Result<ScaleSet, ProviderError>>,
    /// Why the list is not complete.
    broken: Option<ProviderError>,
}

impl Sets {
    /// Observes groups; the answers are in the order of the asks.
    pub async fn observe(self: &Arc<Self>, asks: &[Ask]) -> Vec<Result<Observation, ProviderError>> {
        let names: Vec<_> = asks.iter().map(|ask| SetName::parse(&ask.group, &self.subscription)).collect();
        let keys: BTreeSet<Box<str>> = names.iter().flatten().map(SetName::key).collect();
        let at = (self.now)();
        let deadline = self.wire.soon();
        let listed = if keys.is_empty() {
            Listed::default()
        } else {
            futures_util::join!(self.list(&keys, deadline), self.look_around(&keys, at)).0
        };
        let pace = machines::Pace::of(keys.len());
        let one = |(ask, name): (_, Result<SetName, ProviderError>)| {
            let (listed, pace) = (&listed, &pace);
            async move { self.observe_one(ask, &name?, listed, (at, pace), deadline).await }
        };
        let observed: Vec<_> = asks.iter().zip(names).map(one).collect();
        let observations: Vec<_> = futures_util::stream::iter(observed).buffered(CONCURRENT).collect().await;
        self.renew_claims(&listed.sets);
        observations
    }

    async fn observe_one(
        &self,
        ask: &Ask,
        name: &SetName,
        listed: &Listed,
        (at, pace): (Timestamp, &machines::Pace),
        deadline: Instant,
    ) -> Result<Observation, ProviderError> {
        let key = name.key();
        let by_name;
        let set = match (listed.sets.get(&key), &listed.broken) {
            (Some(Ok(set)), _) => set,
            (Some(Err(error)), _) | (None, Some(error)) => return Err(error.again()),
            (None, None) => {
                by_name = self.by_name(name, at, deadline).await?;
                &by_name
            }
        };
        let sized = shape::sized(set)?;
        let busy = !ask.open_actions.is_empty() || !ask.operations.is_empty();
        let machines = self.machines(name, set, &sized, (busy, pace), at, deadline).await?;
        let operations = self.follow(&key, set, ask, deadline).await;
        let mut suspended = self.refreshes(name, set, &machines, deadline).await;
        let (controllers, old) = self.memory(|memory| {
            let first_seen = memory.groups.get(&key).and_then(|group| group.first_seen);
            (memory.autoscale.of(&key, first_seen), memory.autoscale.old(at))
        });
        // Shown, and in nobody's way: what was known of controllers is still the best guess.
        suspended.extend(old.map(Suspended::Other));
        let launch_failures = self.group(&key, |group| {
            group.shown_foreign = controllers.shown.clone();
            let oldest = at.before(FAILURES_KEPT);
            group.failures.retain(|failure| failure.at >= oldest);
            group.failures.clone()
        });
        Ok(Observation {
            desired: Some(sized.capacity),
            // A set has no bounds of its own: beyond its controller's, that would undo what is done here.
            cloud_min: controllers.min,
            cloud_max: controllers.max,
            instances: machines.into_iter().map(|machine: Machine| machine.shown).collect(),
            operations,
            launch_failures,
            suspended,
            foreign: controllers.shown,
            owner: shape::owner_tag(set),
            abilities: Abilities { terminate_batch: TERMINATE_BATCH, ..Abilities::default() },
            token: set.etag.clone(),
            ..Observation::empty(at)
        })
    }

    /// Lists the subscription's sets until all that were asked for have been seen.
    async fn list(&self, keys: &BTreeSet<Box<str>>, deadline: Instant) -> Listed {
        let mut listed = Listed::default();
        if let Err(error) = self.list_into(keys, &mut listed.sets, deadline).await {
            listed.broken = Some(error);
        }
        listed
    }

    async fn list_into(
        &self,
        keys: &BTreeSet<Box<str>>,
        sets: &mut BTreeMap<Box<str>, Result<ScaleSet, ProviderError>>,
        deadline: Instant,
    ) -> Result<(), ProviderError> {
        let path = format!("/subscriptions/{}/providers/Microsoft.Compute/virtualMachineScaleSets", self.subscription);
        let pages = self.wire.pages("ListScaleSets", &path, COMPUTE, &[], deadline, |item| {
            let id: Id = serde_json::from_str(item).map_err(|_| nonsense("ListScaleSets: a set without an id"))?;
            let key = SetName::of_id(&id.id, &self.subscription).map(|name| name.key());
            // A set shown twice is one: the first page was the older one, and age is never underestimated.
            if let Some(key) = key.filter(|key| keys.contains(key) && !sets.contains_key(key)) {
                let set = serde_json::from_str(item)
                    .map_err(|error| nonsense(format!("{}: not a scale set as the API promises: {error}", id.id)));
                sets.insert(key, set);
            }
            // With every set seen the rest of the pages can only repeat.
            Ok(sets.len() < keys.len())
        });
        pages.await
    }

    /// A set that the list does not show.
    async fn by_name(&self, name: &SetName, at: Timestamp, deadline: Instant) -> Result<ScaleSet, ProviderError> {
        let key = name.key();
        let missing = self.group(&key, |group| group.missing);
        if missing.is_some_and(|wait| wait.left(at) > Duration::ZERO) {
            return Err(ProviderError::NotFound { what: format!("scale set {key}").into() });
        }
        let found = self.get(name, deadline).await;
        if let Err(ProviderError::NotFound { .. }) = &found {
            self.group(&key, |group| group.missing = Some(Wait::new(at, MISSING_FOR)));
        }
        found
    }

    /// One set: a fresh read.
    pub(super) async fn get(&self, name: &SetName, deadline: Instant) -> Result<ScaleSet, ProviderError> {
        let url = self.wire.url(&name.path(&self.subscription), COMPUTE, &[]);
        let answer = self.wire.read("GetScaleSet", &url, deadline).await?;
        let mut set: ScaleSet = answer.json("GetScaleSet")?;
        if SetName::of_id(&set.id, &self.subscription).map(|found| found.key()) != Some(name.key()) {
            return Err(nonsense(format!("GetScaleSet: asked for {}, answered with {}", name.key(), set.id)));
        }
        set.etag = set.etag.or_else(|| answer.header("etag").map(Into::into));
        Ok(set)
    }
}
