//! What stands before every write: a fresh read, the checks, the claim.
//!
//! In comes the target of a recorded action and the caller's own check, out goes leave to write or a typed refusal. A
//! refusal has no side effect: the claim is the last step, and a first claim is read back before anything is written.

use super::foreign::{FRESH_ENOUGH, FRESH_ENOUGH_AT_FIRST};
use super::listing::Seen;
use super::shape::{self, Sizes};
use super::{Ess, Refresh};
use crate::api::{Instance, Parameters, TAGGED, Tagged};
use crate::owner::{self, Claim};
use contract::{Capacity, Epoch, ProviderError, Target};
use tokio::time::Instant;

/// A fresh read of a group, just before a write.
pub(super) struct Look {
    pub seen: Seen,
    pub sizes: Sizes,
    /// Its instances; none were read for a raise, which touches none.
    pub instances: Vec<Instance>,
}

/// What a check says of a group that is as the plan saw it.
pub(super) enum Go {
    Write,
    /// It is already as it should be.
    Nothing,
}

/// What a write looks at before it is made.
pub(super) struct Fence<'a> {
    pub target: &'a Target,
    /// Desired as the plan, or the step before, left it.
    pub expected: Option<Capacity>,
    /// The check is about instances, so they are read too.
    pub instances: bool,
    pub check: &'a (dyn Fn(&Look) -> Result<Go, ProviderError> + Sync),
}

impl Ess {
    /// Reads the group and checks everything that must hold before a write, in this order: desired is what was seen,
    /// nobody else's claim, the caller's own check, no controller that was not shown, our claim. Says under which id to
    /// write; `None`: there is nothing to write.
    pub(super) async fn fence(&self, fence: &Fence<'_>) -> Result<Option<Box<str>>, ProviderError> {
        let target = fence.target;
        // Twice: a claim just made is read back once, so that two daemons that claim at one moment see each other. It is
        // no lock: one that claims after the other has read back is seen at the next write.
        for claimed in [false, true] {
            let look = self.look(fence).await?;
            let id = look.seen.id.clone();
            let tag = shape::owner_tag(&look.seen.group);
            let claim = owner::judge(tag.as_ref(), &self.owner, target.lease, (self.now)())?;
            if let Go::Nothing = (fence.check)(&look)? {
                return Ok(None);
            }
            if claimed {
                return Ok(Some(id));
            }
            self.no_new_foreign(target, &id).await?;
            match claim {
                Claim::Held => return Ok(Some(id)),
                Claim::Renew => {
                    self.claim(&[&id], target.lease).await?;
                    return Ok(Some(id));
                }
                Claim::Free => self.claim(&[&id], target.lease).await?,
            }
        }
        Ok(None)
    }

    async fn look(&self, fence: &Fence<'_>) -> Result<Look, ProviderError> {
        let seen = self.describe_one(fence.target.group.as_str()).await?;
        let sizes = shape::sizes(&seen.group)?;
        if fence.expected != Some(sizes.desired) {
            let expected = fence.expected.map_or("no desired".into(), |desired| format!("desired {desired}"));
            let what = format!("the plan was made at {expected}, the group has {}", sizes.desired);
            return Err(conflict(fence.target, &what));
        }
        let instances = if fence.instances { self.instances_of(&seen.id).await? } else { Vec::new() };
        Ok(Look { seen, sizes, instances })
    }

    /// Refuses when the group has a foreign controller that the last observation did not show.
    async fn no_new_foreign(&self, target: &Target, id: &str) -> Result<(), ProviderError> {
        let (shown, written, first_seen) =
            self.group(id, |group| (group.shown_foreign.clone().unwrap_or_default(), group.written, group.first_seen));
        let limit = if written { FRESH_ENOUGH } else { FRESH_ENOUGH_AT_FIRST };
        let age = self.memory(|memory| memory.account.age(id, first_seen, Instant::now()));
        if age.is_none_or(|age| age > limit) {
            self.list_controllers_of(id).await.map_err(ProviderError::before_the_write)?;
        }
        let found = self.memory(|memory| memory.account.of(id, first_seen));
        match found.into_iter().find(|foreign| !shown.contains(foreign)) {
            Some(new) => Err(conflict(target, &format!("{} was not there when the group was observed", new.name))),
            None => Ok(()),
        }
    }

    /// Refuses while an instance refresh runs.
    pub(super) async fn no_refresh_runs(&self, target: &Target, id: &str) -> Result<(), ProviderError> {
        if self.memory(|memory| memory.has_no_refreshes(Instant::now())) {
            return Ok(());
        }
        match self.read_refresh(id).await.map_err(ProviderError::before_the_write)? {
            Refresh::Running(status) => Err(conflict(target, &format!("an instance refresh is {status}"))),
            _ => Ok(()),
        }
    }

    /// Writes the owner tag of groups, by their ids.
    async fn claim(&self, ids: &[&str], epoch: Epoch) -> Result<(), ProviderError> {
        let value = owner::format(&self.owner, epoch, (self.now)());
        let query = self
            .parameters()
            .with("ResourceType", "scalinggroup")
            .list("ResourceIds", ids)
            .with("Tags.1.Key", owner::KEY)
            .with("Tags.1.Value", &value)
            .with("Tags.1.Propagate", false)
            .done();
        let deadline = Instant::now() + self.wire.deadlines().write / 2;
        let tagged = self.wire.write::<Tagged>("TagResources", deadline, query).await;
        let tagged = tagged.map_err(|failure| failure.error.before_the_write())?;
        tracing::debug!(request = %tagged.request_id, groups = ids.len(), "claimed");
        for id in ids {
            self.group(id, |group| {
                group.claimed = Some(epoch);
                group.tag = owner::parse(&value);
            });
        }
        Ok(())
    }

    /// Renews the claims that this process made and that are still its own, in batches.
    pub(super) async fn renew_claims(&self) {
        let now = (self.now)();
        let mut due: Vec<(Epoch, Box<str>)> = self.memory(|memory| {
            let ours = memory.groups.iter().filter(|(_, group)| match (&group.tag, group.claimed) {
                (Some(tag), Some(epoch)) => {
                    tag.id == self.owner.id && tag.epoch == epoch && tag.expiry.since(now) < owner::LIFE / 2
                }
                _ => false,
            });
            ours.filter_map(|(id, group)| Some((group.claimed?, id.clone()))).collect()
        });
        due.sort();
        for same_epoch in due.chunk_by(|a, b| a.0 == b.0) {
            for batch in same_epoch.chunks(TAGGED) {
                let ids: Vec<&str> = batch.iter().map(|(_, id)| &**id).collect();
                if let Err(error) = self.claim(&ids, batch[0].0).await {
                    tracing::warn!(%error, groups = ids.len(), "cannot renew owner tags");
                }
            }
        }
    }
}

/// The parameters of a write of one group: neither knows a region, the id says it all.
pub(super) fn of_group(id: &str) -> Parameters {
    Parameters::bare().with("ScalingGroupId", id)
}

/// A plan that does not fit the group any more.
pub(super) fn conflict(target: &Target, why: &str) -> ProviderError {
    ProviderError::Conflict { what: format!("{}: {why}", target.group).into() }
}
