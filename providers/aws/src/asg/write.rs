//! Writing Auto Scaling groups: raise, withdraw what is unfilled, terminate named instances.
//!
//! AWS has no precondition on any of these calls. So every attempt, a second one included, begins with a fresh read, and
//! a difference from what the plan saw is a `Conflict`. What remains is the race between that read and the write, some
//! tens of milliseconds: whoever changes desired within them is overwritten (raise) or lowered by one (terminate).
//! The order is: check, claim, check again, write; so a refusal has no side effect at all.

use super::foreign::{FRESH_ENOUGH, FRESH_ENOUGH_AT_FIRST, Kind};
use super::shape::{self, Sizes};
use super::{Asg, Refresh};
use crate::errors::{Failure, before_the_write};
use crate::owner::{self, Claim};
use aws_sdk_autoscaling::types::{AutoScalingGroup, Tag};
use contract::{Accepted, CAPACITY_MAX, Capacity, Epoch, InstanceId, InstanceState, ProviderError, Suspended, Target};
use futures_util::StreamExt;
use std::time::Duration;
use tokio::time::Instant;

/// Single terminations in the air at once.
const SINGLES: usize = 4;
/// A harmless refusal is tried once more after this long, or after what the cloud said if that is not much longer.
const PAUSE: Duration = Duration::from_millis(300);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Tags in one CreateOrUpdateTags.
const TAGS_MAX: usize = 100;
/// The routine renewal comes once in half an hour or more often, so it renews what would not last until the one after.
const RENEW_BELOW: Duration = Duration::from_secs(50 * 60);

/// A fresh read of a group, just before a write.
struct Look {
    group: AutoScalingGroup,
    sizes: Sizes,
}

/// What a check says of a group that is as the plan saw it.
enum Go {
    Write,
    /// It is already as it should be.
    Nothing,
}

type Check<'a> = &'a (dyn Fn(&Look) -> Result<Go, ProviderError> + Sync);

impl Asg {
    pub async fn raise(&self, target: &Target, to: Capacity) -> Result<Accepted, ProviderError> {
        let check = |look: &Look| {
            if to <= look.sizes.desired {
                return not_above(target, look.sizes.desired, to, "raised");
            }
            if to > look.sizes.max.min(CAPACITY_MAX) {
                let what = format!("{}: {to} is above the group's MaxSize {}", target.group, look.sizes.max);
                return Err(ProviderError::Invalid { what: what.into() });
            }
            if to < look.sizes.min {
                let what = format!("{}: {to} is below the group's MinSize {}", target.group, look.sizes.min);
                return Err(ProviderError::Invalid { what: what.into() });
            }
            if shape::suspended(&look.group).contains(&Suspended::Launch) {
                return Err(conflict(target, "launching is suspended in the group"));
            }
            Ok(Go::Write)
        };
        self.set_desired(target, to, &check).await
    }

    pub async fn cancel_unfilled(&self, target: &Target, to: Capacity) -> Result<Accepted, ProviderError> {
        let check = |look: &Look| {
            if to == look.sizes.desired {
                return Ok(Go::Nothing);
            }
            if to > look.sizes.desired {
                let what =
                    format!("{}: {to} is above desired {}; cancelling only lowers", target.group, look.sizes.desired);
                return Err(ProviderError::Invalid { what: what.into() });
            }
            let present = shape::present(&look.group);
            if to < present {
                return Err(conflict(target, &format!("{present} instances are there, so {to} would remove some")));
            }
            if to < look.sizes.min {
                return Err(conflict(target, &format!("{to} is below the group's MinSize {}", look.sizes.min)));
            }
            Ok(Go::Write)
        };
        self.set_desired(target, to, &check).await
    }

    async fn set_desired(&self, target: &Target, to: Capacity, check: Check<'_>) -> Result<Accepted, ProviderError> {
        let deadline = Instant::now() + self.lane.deadlines.write;
        let wanted = i32::try_from(to)
            .map_err(|_| ProviderError::Invalid { what: format!("{}: no group can hold {to}", target.group).into() })?;
        for last in [false, true] {
            if !self.fence(target, target.seen.desired, check).await? {
                return Ok(Accepted::default());
            }
            let call = self
                .client
                .set_desired_capacity()
                .auto_scaling_group_name(target.group.as_str())
                .desired_capacity(wanted)
                .honor_cooldown(false)
                .send();
            match self.lane.write("SetDesiredCapacity", deadline, call).await {
                Ok(_) => {
                    self.wrote(target);
                    return Ok(Accepted::default());
                }
                Err(failure) => self.pause_or_fail(target, failure, last, deadline).await?,
            }
        }
        Err(conflict(target, "it could not be written twice"))
    }

    /// Terminates named instances and lowers desired by as many, at most a hundred to a call.
    pub async fn terminate(&self, target: &Target, ids: &[InstanceId]) -> Result<Accepted, ProviderError> {
        let mut done = Accepted::default();
        let mut expected = target.seen.desired;
        let mut ids = ids.to_vec();
        ids.sort();
        ids.dedup();
        for (index, batch) in ids.chunks(shape::TERMINATE_BATCH as usize).enumerate() {
            match self.terminate_batch(target, expected, batch).await {
                Ok(accepted) => {
                    let removed = batch.len() - accepted.skipped.len();
                    expected =
                        expected.map(|desired| desired.saturating_sub(u32::try_from(removed).unwrap_or(u32::MAX)));
                    done.operations.extend(accepted.operations);
                    done.skipped.extend(accepted.skipped);
                }
                Err(error) if index == 0 => return Err(error),
                Err(error) => {
                    let what = format!("{}: a part was terminated, then: {error}", target.group);
                    return Err(ProviderError::Unclear { what: what.into(), source: Some(Box::new(error)) });
                }
            }
        }
        Ok(done)
    }

    async fn terminate_batch(
        &self,
        target: &Target,
        expected: Option<Capacity>,
        ids: &[InstanceId],
    ) -> Result<Accepted, ProviderError> {
        let deadline = Instant::now() + self.lane.deadlines.write;
        for last in [false, true] {
            let named = std::sync::Mutex::new((Vec::new(), Vec::new()));
            let check = |look: &Look| {
                let (removable, skipped) = removable(&look.group, ids);
                let leaves = look.sizes.desired.saturating_sub(u32::try_from(removable.len()).unwrap_or(u32::MAX));
                let none = removable.is_empty();
                *named.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = (removable, skipped);
                if none {
                    return Ok(Go::Nothing);
                }
                if shape::suspended(&look.group).contains(&Suspended::Terminate) {
                    return Err(conflict(target, "terminating is suspended in the group"));
                }
                if leaves < look.sizes.min {
                    let what = format!("removing them leaves {leaves}, below the group's MinSize {}", look.sizes.min);
                    return Err(conflict(target, &what));
                }
                Ok(Go::Write)
            };
            let go = self.fence(target, expected, &check).await?;
            let (removable, skipped) = named.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
            if !go {
                return Ok(Accepted { operations: Vec::new(), skipped });
            }
            self.no_refresh_runs(target).await?;
            let one_at_a_time = self.memory(|memory| memory.one_at_a_time);
            let result = match removable.as_slice() {
                [only] => self.terminate_one(target, only, deadline).await.map(|operation| vec![operation]),
                several if one_at_a_time => {
                    return self.terminate_singly(target, several, skipped, deadline).await;
                }
                several => self.terminate_together(target, several, deadline).await,
            };
            match result {
                Ok(operations) => {
                    self.wrote(target);
                    return Ok(Accepted { operations: operations.into_iter().flatten().collect(), skipped });
                }
                Err(failure) => self.pause_or_fail(target, failure, last, deadline).await?,
            }
        }
        Err(conflict(target, "it could not be written twice"))
    }

    async fn terminate_together(
        &self,
        target: &Target,
        ids: &[InstanceId],
        deadline: Instant,
    ) -> Result<Vec<Option<Box<str>>>, Failure> {
        let call = self
            .client
            .terminate_instance_in_auto_scaling_group()
            .auto_scaling_group_name(target.group.as_str())
            .set_instance_ids(Some(ids.iter().map(|id| id.0.to_string()).collect()))
            .should_decrement_desired_capacity(true)
            .send();
        match self.lane.write("TerminateInstanceInAutoScalingGroup", deadline, call).await {
            Ok(answer) => Ok(answer
                .activities()
                .iter()
                .chain(answer.activity())
                .map(|a| a.activity_id().map(Into::into))
                .collect()),
            Err(failure) => {
                // A server that stumbles over a list of ids, or asks for the single one it knows, has no batches.
                let wants_one =
                    matches!(&failure.error, ProviderError::Invalid { what } if what.contains("InstanceId"));
                if failure.foreign_tongue || wants_one {
                    tracing::info!("this endpoint does not terminate instances in batches; one id a call from now on");
                    self.memory(|memory| memory.one_at_a_time = true);
                }
                Err(failure)
            }
        }
    }

    async fn terminate_one(
        &self,
        target: &Target,
        id: &InstanceId,
        deadline: Instant,
    ) -> Result<Option<Box<str>>, Failure> {
        let call = self
            .client
            .terminate_instance_in_auto_scaling_group()
            .instance_id(id.as_str())
            .should_decrement_desired_capacity(true)
            .send();
        let answer = self.lane.write("TerminateInstanceInAutoScalingGroup", deadline, call).await?;
        tracing::debug!(group = %target.group, instance = %id, "terminating");
        Ok(answer.activity().and_then(|activity| activity.activity_id()).map(Into::into))
    }

    /// One call an instance. Each is idempotent by its id, so a part that fails leaves nothing half done: what was
    /// refused is skipped, and desired counts it still.
    async fn terminate_singly(
        &self,
        target: &Target,
        ids: &[InstanceId],
        skipped: Vec<InstanceId>,
        deadline: Instant,
    ) -> Result<Accepted, ProviderError> {
        let calls: Vec<_> = ids.iter().map(|id| self.terminate_one(target, id, deadline)).collect();
        let results: Vec<_> = futures_util::stream::iter(calls).buffered(SINGLES).collect().await;
        let mut accepted = Accepted { operations: Vec::new(), skipped };
        let (mut worked, mut refusal, mut unclear) = (false, None, None);
        for (id, result) in ids.iter().zip(results) {
            match result {
                Ok(operation) => {
                    worked = true;
                    accepted.operations.extend(operation);
                }
                Err(failure) if failure.harmless => {
                    accepted.skipped.push(id.clone());
                    refusal = refusal.or(Some(failure.error));
                }
                Err(failure) => unclear = unclear.or(Some(failure.error)),
            }
        }
        self.wrote(target);
        accepted.skipped.sort();
        match (unclear, refusal) {
            (Some(error), _) => Err(error),
            (None, Some(error)) if !worked => Err(error),
            _ => Ok(accepted),
        }
    }

    /// Reads the group and checks everything that must hold before a write, in this order: desired is what was seen,
    /// nobody else's claim, the caller's own check, no controller that was not shown, our claim. Says whether to write.
    async fn fence(
        &self,
        target: &Target,
        expected: Option<Capacity>,
        check: Check<'_>,
    ) -> Result<bool, ProviderError> {
        // Twice: a claim just made is read back once, so that of two daemons at most one goes on.
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
            self.no_new_foreign(target).await?;
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
    async fn no_new_foreign(&self, target: &Target) -> Result<(), ProviderError> {
        let name = target.group.as_str();
        let (shown, written, first_seen) = self
            .group(name, |group| (group.shown_foreign.clone().unwrap_or_default(), group.written, group.first_seen));
        let limit = if written { FRESH_ENOUGH } else { FRESH_ENOUGH_AT_FIRST };
        for kind in [Kind::Policies, Kind::Schedules] {
            let age = self.memory(|memory| memory.account.age(kind, name, first_seen, Instant::now()));
            if age.is_none_or(|age| age > limit) {
                self.list_one(kind, name).await.map_err(|failure| before_the_write(failure.error))?;
            }
        }
        let found = self.memory(|memory| memory.account.of(name, first_seen));
        match found.into_iter().find(|foreign| !shown.contains(foreign)) {
            Some(new) => Err(conflict(target, &format!("{} was not there when the group was observed", new.name))),
            None => Ok(()),
        }
    }

    async fn no_refresh_runs(&self, target: &Target) -> Result<(), ProviderError> {
        let name = target.group.as_str();
        if self.memory(|memory| memory.no_refreshes.is_some()) {
            return Ok(());
        }
        match self.read_refresh(name).await.map_err(before_the_write)? {
            Refresh::Running(status) => Err(conflict(target, &format!("an instance refresh is {status}"))),
            _ => Ok(()),
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
            .map_err(|failure| before_the_write(failure.error))?;
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

    fn wrote(&self, target: &Target) {
        self.group(target.group.as_str(), |group| {
            group.written = true;
            group.activities_asked = None;
        });
    }

    /// Waits before a second attempt when the first certainly had no effect and time is left; else fails.
    async fn pause_or_fail(
        &self,
        target: &Target,
        failure: Failure,
        last: bool,
        deadline: Instant,
    ) -> Result<(), ProviderError> {
        let pause = match &failure.error {
            ProviderError::Throttled { retry_after } => retry_after.unwrap_or(PAUSE),
            ProviderError::Transport { .. } => PAUSE,
            _ => PAUSE_MAX + PAUSE,
        };
        let in_time = Instant::now() + pause + self.lane.deadlines.read < deadline;
        if last || !failure.harmless || pause > PAUSE_MAX || !in_time {
            return Err(failure.error);
        }
        tracing::debug!(group = %target.group, error = %failure.error, "had no effect; reading again before a second attempt");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Splits named instances into those that can be terminated and those that are gone, leaving or protected.
fn removable(group: &AutoScalingGroup, ids: &[InstanceId]) -> (Vec<InstanceId>, Vec<InstanceId>) {
    ids.iter().cloned().partition(|id| {
        group.instances().iter().filter(|i| i.instance_id() == Some(id.as_str())).any(|instance| {
            let state = shape::state(instance.lifecycle_state());
            matches!(state, Some(InstanceState::Pending | InstanceState::Running)) && !shape::is_protected(instance)
        })
    })
}

fn not_above(target: &Target, desired: Capacity, to: Capacity, verb: &str) -> Result<Go, ProviderError> {
    if to == desired {
        return Ok(Go::Nothing);
    }
    let what = format!("{}: {to} is below desired {desired}; it can only be {verb}", target.group);
    Err(ProviderError::Invalid { what: what.into() })
}

fn conflict(target: &Target, why: &str) -> ProviderError {
    ProviderError::Conflict { what: format!("{}: {why}", target.group).into() }
}
