//! Terminating named instances of an Auto Scaling group, with desired lowered by as many.
//!
//! In come a target and ids, out goes what was skipped. Together in one call where the endpoint can, else one by one;
//! never a protected instance, never below MinSize, never under a running refresh.

use super::fence::{Go, Look, conflict};
use super::{Asg, Refresh, shape};
use crate::errors::Failure;
use aws_sdk_autoscaling::types::AutoScalingGroup;
use contract::{Accepted, Capacity, InstanceId, InstanceState, ProviderError, Suspended, Target};
use futures_util::StreamExt;
use tokio::time::Instant;

/// Single terminations in the air at once.
const SINGLES: usize = 4;

impl Asg {
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
            let one_at_a_time = self.memory(|memory| memory.one_at_a_time.holds(Instant::now()));
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
            Ok(answer) => {
                self.memory(|memory| memory.one_at_a_time.none());
                let begun = answer.activities().iter().chain(answer.activity());
                Ok(begun.map(|a| a.activity_id().map(Into::into)).collect())
            }
            Err(failure) => {
                // A server that stumbles over a list of ids, or asks for the single one it knows, has no batches.
                let wants_one =
                    matches!(&failure.error, ProviderError::Invalid { what } if what.contains("InstanceId"));
                if failure.garbled || wants_one {
                    tracing::info!("this endpoint does not terminate instances in batches; one id a call for an hour");
                    self.memory(|memory| memory.one_at_a_time.found(Instant::now()));
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

    async fn no_refresh_runs(&self, target: &Target) -> Result<(), ProviderError> {
        // Also where there seemed to be none lately: an answer counts for more than what was made of a strange one.
        match self.read_refresh(target.group.as_str()).await.map_err(ProviderError::before_the_write)? {
            Refresh::Running(status) => Err(conflict(target, &format!("an instance refresh is {status}"))),
            _ => Ok(()),
        }
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
