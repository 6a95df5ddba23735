//! What stands before every write: a fresh read, the checks, the claim.
//!
//! In comes the target of a recorded action and the caller's own check, out goes leave to write or a typed refusal. A
//! refusal has no side effect: the claim is the last step, and a first claim is read back before anything is written.

use super::Asg;
use super::foreign::{FRESH_ENOUGH, FRESH_ENOUGH_AT_FIRST, Kind, awake};
use super::shape::{self, Sizes};
use crate::owner::{self, Claim};
use aws_sdk_autoscaling::types::{AutoScalingGroup, Tag};
use contract::{Capacity, Epoch, ProviderError, Target};
use std::time::Duration;
use tokio::time::Instant;

/// Tags in one CreateOrUpdateTags.
const TAGS_MAX: usize = 100;
/// The routine renewal comes once in half an hour or more often, so it renews what would not last until the one after.
const RENEW_BELOW: Duration = Duration::from_secs(50 * 60);

/// A fresh read of a group, just before a write.
pub(super) struct Look {
    pub group: AutoScalingGroup,
    pub sizes: Sizes,
}

/// What a check says of a group that is as the plan saw it.
pub(super) enum Go {
    Write,
    /// It is already as it should be.
    Nothing,
}

/// A caller's own check.
pub(super) type Check<'a> = &'a (dyn Fn(&Look) -> Result<Go, ProviderError> + Sync);

impl Asg {
    /// Reads the group and checks everything that must hold before a write, in this order: desired is what was seen,
    /// nobody else's claim, the caller's own check, no controller that was not shown, our claim. Says whether to write.
    pub(super) async fn fence(
        &self,
        target: &Target,
        expected: Option<Capacity>,
        check: Check<'_>,
    ) -> Result<bool, ProviderError> {
        // Twice: a claim just made is read back once, so that two daemons that claim at one moment see each other. It is
        // no lock: one that claims after the other has read back is seen at the next write.
        for claimed in [false, true] {
            let look = self.look(target, expected).await?;
            let tag = shape::owner_tag(&look.group);
            let claim = owner::judge(tag.as_ref(), &self.owner, target.lease, (self.now)())?;
            if let Go::Nothing = check(&look)? {
                return Ok(false);
            }
            if claimed {
                return Ok(true);
            }
            self.no_new_foreign(target, &look.group).await?;
            match claim {
                Claim::Held => return Ok(true),
                Claim::Renew => {
                    self.claim(&[target.group.as_str()], target.lease).await?;
                    return Ok(true);
                }
                Claim::Free => self.claim(&[target.group.as_str()], target.lease).await?,
            }
        }
        Ok(false)
    }

    async fn look(&self, target: &Target, expected: Option<Capacity>) -> Result<Look, ProviderError> {
        let group = self.describe_one(target.group.as_str()).await?;
        let sizes = shape::sizes(&group)?;
        if expected != Some(sizes.desired) {
            let seen = expected.map_or("no desired".into(), |desired| format!("desired {desired}"));
            return Err(conflict(target, &format!("the plan was made at {seen}, the group has {}", sizes.desired)));
        }
        Ok(Look { group, sizes })
    }

    /// Refuses when the group has a foreign controller that the last observation did not show.
    async fn no_new_foreign(&self, target: &Target, group: &AutoScalingGroup) -> Result<(), ProviderError> {
        let name = target.group.as_str();
        let (shown, written, first_seen) = self
            .group(name, |group| (group.shown_foreign.clone().unwrap_or_default(), group.written, group.first_seen));
        let limit = if written { FRESH_ENOUGH } else { FRESH_ENOUGH_AT_FIRST };
        for kind in [Kind::Policies, Kind::Schedules] {
            let age = self.memory(|memory| memory.account.age(kind, name, first_seen, Instant::now()));
            if age.is_none_or(|age| age > limit) {
                self.list_one(kind, name).await.map_err(|failure| failure.error.before_the_write())?;
            }
        }
        let found = self.memory(|memory| memory.account.of(name, first_seen));
        // By the processes as they are now: a scaler that was let go since the observation is a new one.
        let found = awake(found, &shape::suspended(group));
        match found.into_iter().find(|foreign| !shown.contains(foreign)) {
            Some(new) => Err(conflict(target, &format!("{} was not there when the group was observed", new.name))),
            None => Ok(()),
        }
    }

    /// Writes the owner tag of groups.
    async fn claim(&self, names: &[&str], epoch: Epoch) -> Result<(), ProviderError> {
        let value = owner::format(&self.owner, epoch, (self.now)());
        let tags = names
            .iter()
            .map(|name| {
                Tag::builder()
                    .resource_id(*name)
                    .resource_type("auto-scaling-group")
                    .key(owner::KEY)
                    .value(&value)
                    .propagate_at_launch(false)
                    .build()
            })
            .collect();
        let deadline = Instant::now() + self.lane.deadlines.write / 2;
        let call = self.client.create_or_update_tags().set_tags(Some(tags)).send();
        self.lane
            .write("CreateOrUpdateTags", deadline, call)
            .await
            .map_err(|failure| failure.error.before_the_write())?;
        for name in names {
            self.group(name, |group| {
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
            let due = memory.groups.iter().filter(|(_, group)| match (&group.tag, group.claimed) {
                (Some(tag), Some(epoch)) => {
                    tag.id == self.owner.id && tag.epoch == epoch && tag.expiry.since(now) < RENEW_BELOW
                }
                _ => false,
            });
            due.filter_map(|(name, group)| Some((group.claimed?, name.clone()))).collect()
        });
        due.sort();
        for same_epoch in due.chunk_by(|a, b| a.0 == b.0) {
            for batch in same_epoch.chunks(TAGS_MAX) {
                let names: Vec<&str> = batch.iter().map(|(_, name)| &**name).collect();
                if let Err(error) = self.claim(&names, batch[0].0).await {
                    tracing::warn!(%error, groups = names.len(), "cannot renew owner tags");
                }
            }
        }
    }
}

/// A plan that does not fit the group any more.
pub(super) fn conflict(target: &Target, why: &str) -> ProviderError {
    ProviderError::Conflict { what: format!("{}: {why}", target.group).into() }
}
