//! What stands before every write: a fresh read, the checks, the set's own pace.
//!
//! In comes the target of a recorded action, out goes the set as it is now with its ETag, or a typed refusal without any
//! side effect. The ETag goes into the write itself, so nobody's change between the two is ever overwritten.

use super::{Sets, foreign};
use crate::arm::{COMPUTE, ScaleSet};
use crate::errors::nonsense;
use crate::group::SetName;
use crate::owner;
use crate::shape::{self, Sized};
use crate::wire::{Answer, Change};
use azure_core::http::Method;
use contract::{CAPACITY_MAX, Capacity, Epoch, ProviderError, Target};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// A claim is renewed when it holds for less than this.
const RENEW_BELOW: Duration = Duration::from_secs(20 * 60);
/// Claims renewed with one observation: a write to each set's model is not cheap.
const RENEWED_AT_ONCE: usize = 2;

/// A fresh read of a set, just before a write.
pub(super) struct Look {
    pub name: SetName,
    pub set: ScaleSet,
    pub sized: Sized,
    pub etag: Box<str>,
    /// Our claim holds long enough; it need not be written again.
    pub held: bool,
}

impl Sets {
    /// Reads the set and checks what must hold before any write, in this order: the set's pace, desired and ETag are what
    /// was seen, nobody else's claim, no controller that was not shown.
    pub(super) async fn fence(&self, target: &Target) -> Result<Look, ProviderError> {
        let name = SetName::parse(&target.group, &self.subscription)?;
        let now = (self.now)();
        let wait = self.group(&name.key(), |group| group.writes.wait(now));
        if wait > Duration::ZERO {
            return Err(paced(target.group.as_str(), wait));
        }
        let set = self.get(&name, self.wire.soon()).await.map_err(ProviderError::before_the_write)?;
        let sized = shape::sized(&set)?;
        if target.seen.desired != Some(sized.capacity) {
            let seen = target.seen.desired.map_or("no desired".into(), |desired| format!("desired {desired}"));
            let why = format!("the plan was made at {seen}, the set has {}", sized.capacity);
            return Err(conflict(target, &why));
        }
        let Some(etag) = set.etag.clone() else {
            return Err(nonsense(format!("{}: the set has no ETag, so it cannot be written safely", target.group)));
        };
        if target.seen.token.as_ref().is_some_and(|token| *token != etag) {
            return Err(conflict(target, "the set has changed since it was observed (its ETag differs)"));
        }
        let held = owner::judge(shape::owner_tag(&set).as_ref(), &self.owner, target.lease, now)? == owner::Claim::Held;
        self.no_new_foreign(target, &name).await?;
        Ok(Look { name, set, sized, etag, held })
    }

    /// Refuses when the set has a foreign controller that the last observation did not show.
    async fn no_new_foreign(&self, target: &Target, name: &SetName) -> Result<(), ProviderError> {
        let key = name.key();
        let now = (self.now)();
        let written = self.group(&key, |group| group.written);
        // Afterwards the listing of every ten minutes has to do.
        let fresh = written || self.memory(|memory| memory.autoscale.is_fresh(foreign::FRESH_ENOUGH_AT_FIRST, now));
        if !fresh {
            self.list_foreign(now, self.wire.soon()).await.map_err(ProviderError::before_the_write)?;
        }
        let (found, shown) = self.memory(|memory| {
            let group = memory.groups.get(&key);
            let found = memory.autoscale.of(&key, group.and_then(|group| group.first_seen));
            (found, group.map(|group| group.shown_foreign.clone()).unwrap_or_default())
        });
        match found.shown.into_iter().find(|foreign| !shown.contains(foreign)) {
            Some(new) => Err(conflict(target, &format!("{} was not there when the set was observed", new.name))),
            None => Ok(()),
        }
    }

    /// Changes the set's model under its ETag: its capacity, the claim, or both in one. Books the write.
    pub(super) async fn patch(
        &self,
        look: &Look,
        capacity: Option<Capacity>,
        claim: Option<Epoch>,
        deadline: Instant,
    ) -> Result<Answer, ProviderError> {
        let key = look.name.key();
        let now = (self.now)();
        self.group(&key, |group| group.writes.book(now)).map_err(|wait| paced(&key, wait))?;
        let mut body = serde_json::Map::new();
        if let Some(capacity) = capacity {
            let sku = look.set.sku.as_ref();
            let name = sku.and_then(|sku| sku.name.as_deref());
            let tier = sku.and_then(|sku| sku.tier.as_deref());
            let mut written = serde_json::Map::from_iter([("capacity".to_owned(), capacity.into())]);
            written.extend(name.map(|name| ("name".to_owned(), name.into())));
            written.extend(tier.map(|tier| ("tier".to_owned(), tier.into())));
            body.insert("sku".into(), written.into());
        }
        if let Some(epoch) = claim {
            // All tags, since some of Azure's APIs take what is written for the whole; the ETag keeps them true.
            let mut tags: BTreeMap<String, String> = look.set.tags.clone().unwrap_or_default();
            tags.insert(owner::KEY.to_owned(), owner::format(&self.owner, epoch, now));
            body.insert("tags".into(), serde_json::json!(tags));
        }
        let change = Change {
            operation: "UpdateScaleSet",
            method: Method::Patch,
            url: self.wire.url(&look.name.path(&self.subscription), COMPUTE, &[]),
            body: body.into(),
            if_match: Some(look.etag.clone()),
        };
        let answer = self.wire.write(change, deadline).await?;
        is_json(&answer, "UpdateScaleSet")?;
        self.wrote(&key, claim);
        Ok(answer)
    }

    /// The next observation looks closely.
    pub(super) fn wrote(&self, key: &str, claim: Option<Epoch>) {
        self.group(key, |group| {
            group.known = None;
            group.written = true;
            group.claimed = claim.or(group.claimed);
        });
    }

    /// Renews, beside the observation, claims that this process made, that are still its own and that end soon.
    pub(super) fn renew_claims(
        self: &std::sync::Arc<Self>,
        sets: &BTreeMap<Box<str>, Result<ScaleSet, ProviderError>>,
    ) {
        let now = (self.now)();
        let due = sets.iter().filter_map(|(key, set)| {
            let set = set.as_ref().ok()?;
            let (tag, epoch) = (shape::owner_tag(set)?, self.group(key, |group| group.claimed)?);
            let ours = tag.id == self.owner.id && tag.epoch == epoch;
            let soon = tag.expiry > now && tag.expiry.since(now) < RENEW_BELOW;
            let name = SetName::of_id(&set.id, &self.subscription)?;
            let (sized, etag) = (shape::sized(set).ok()?, set.etag.clone()?);
            (ours && soon).then(|| (Look { name, set: set.clone(), sized, etag, held: false }, epoch))
        });
        for (look, epoch) in due.take(RENEWED_AT_ONCE) {
            let sets = std::sync::Arc::clone(self);
            tokio::spawn(async move {
                let deadline = Instant::now() + sets.wire.deadlines.write;
                if let Err(error) = sets.patch(&look, None, Some(epoch), deadline).await {
                    tracing::warn!(%error, set = &*look.name.key(), "cannot renew the owner tag");
                }
            });
        }
    }
}

/// A write's answer must be ARM's: a proxy's page with status 200 says nothing of whether the write arrived.
pub(super) fn is_json(answer: &Answer, operation: &str) -> Result<(), ProviderError> {
    let body = answer.body().trim_ascii();
    if body.is_empty() && answer.status != 200 {
        return Ok(());
    }
    let whole = serde_json::from_slice::<serde::de::IgnoredAny>(body);
    whole.map(|_| ()).map_err(|error| ProviderError::Unclear {
        what: format!("{operation}: the answer is not what the API promises ({error})").into(),
        source: None,
    })
}

/// The set has had its writes of this minute. How long that lasts is told to the log alone: a caller that knows a wait
/// takes it for the whole subscription's, and this is one set's.
pub(super) fn paced(group: &str, wait: Duration) -> ProviderError {
    tracing::info!(
        group,
        secs = wait.as_secs(),
        "not written: this set has had as many writes as Azure takes in a minute"
    );
    ProviderError::Throttled { retry_after: None }
}

/// A plan that does not fit the set any more.
pub(super) fn conflict(target: &Target, why: &str) -> ProviderError {
    ProviderError::Conflict { what: format!("{}: {why}", target.group).into() }
}

/// A capacity that no set can have is not sent.
pub(super) fn possible(target: &Target, to: Capacity) -> Result<(), ProviderError> {
    if to <= CAPACITY_MAX {
        return Ok(());
    }
    Err(ProviderError::Invalid { what: format!("{}: no set can hold {to}", target.group).into() })
}
