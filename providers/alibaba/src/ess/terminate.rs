//! Terminating named instances of a scaling group, with desired lowered by as many.
//!
//! In come a target and ids, out goes what was skipped: what is gone, leaving or protected, or not ESS' to take now. Never below MinSize, never
//! under a running refresh. The call is told to pass over instances that have become invalid since the look, and says
//! which it did.

use super::fence::{Fence, Go, Look, conflict, of_group};
use super::{Ess, shape};
use crate::api::{Instance, Removed};
use crate::errors::Failure;
use contract::{Accepted, Capacity, InstanceId, InstanceState, ProviderError, Suspended, Target};
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// What a look says of the named instances.
#[derive(Default)]
struct Named {
    removable: Vec<InstanceId>,
    skipped: Vec<InstanceId>,
}

impl Ess {
    /// Terminates named instances and lowers desired by as many, some to a call. Those that a later call could not take
    /// are skipped.
    pub async fn terminate(&self, target: &Target, ids: &[InstanceId]) -> Result<Accepted, ProviderError> {
        let deadline = Instant::now() + self.wire.deadlines().write;
        let mut done = Accepted::default();
        let mut expected = target.seen.desired;
        let mut ids = ids.to_vec();
        ids.sort();
        ids.dedup();
        for (step, batch) in ids.chunks(shape::TERMINATE_BATCH as usize).enumerate() {
            let token = target.action.launch(u32::try_from(step).unwrap_or(u32::MAX));
            match self.terminate_batch(target, expected, batch, &token, deadline).await {
                Ok(accepted) => {
                    let removed = u32::try_from(batch.len() - accepted.skipped.len()).unwrap_or(u32::MAX);
                    expected = expected.map(|desired| desired.saturating_sub(removed));
                    done.operations.extend(accepted.operations);
                    done.skipped.extend(accepted.skipped);
                }
                Err(error) if step == 0 => return Err(error),
                // ESS may take no second removal while the first one goes on: nothing of the rest was touched, and a plan
                // made after another look names what is still too many.
                Err(error @ ProviderError::Conflict { .. }) => {
                    let rest = ids.iter().skip(step * shape::TERMINATE_BATCH as usize);
                    tracing::info!(group = %target.group, %error, rest = rest.len(), "a part was terminated");
                    done.skipped.extend(rest.cloned());
                    done.skipped.sort();
                    break;
                }
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
        token: &str,
        deadline: Instant,
    ) -> Result<Accepted, ProviderError> {
        for last in [false, true] {
            let named = Mutex::new(Named::default());
            let check = |look: &Look| {
                let (verdict, split) = judge(target, look, ids);
                *named.lock().unwrap_or_else(PoisonError::into_inner) = split;
                verdict
            };
            let go = self.fence(&Fence { target, expected, instances: true, check: &check }).await?;
            let Named { removable, skipped } = named.into_inner().unwrap_or_else(PoisonError::into_inner);
            let Some(id) = go else { return Ok(Accepted { operations: Vec::new(), skipped }) };
            self.no_refresh_runs(target, &id).await?;
            match self.remove(&id, &removable, token, deadline).await {
                Ok(removed) => {
                    tracing::debug!(group = %target.group, request = %removed.request_id, "terminating");
                    self.wrote(&id);
                    return Ok(accepted(removed, &removable, skipped));
                }
                Err(failure) => self.pause_or_fail(target, &id, failure, last, deadline).await?,
            }
        }
        Err(conflict(target, "it could not be written twice"))
    }

    async fn remove(
        &self,
        group: &str,
        ids: &[InstanceId],
        token: &str,
        deadline: Instant,
    ) -> Result<Removed, Failure> {
        let query = of_group(group)
            .list("InstanceIds", ids)
            .with("DecreaseDesiredCapacity", true)
            .with("IgnoreInvalidInstance", true)
            .with("RemovePolicy", "release")
            .with("ClientToken", token)
            .with("RegionId", &self.region)
            .done();
        self.wire.write("RemoveInstances", deadline, query).await
    }
}

fn accepted(removed: Removed, asked: &[InstanceId], mut skipped: Vec<InstanceId>) -> Accepted {
    let ignored = removed.ignored_instances.into_iter().filter_map(|each| each.instance_id);
    skipped.extend(ignored.map(InstanceId::from).filter(|id| asked.contains(id)));
    skipped.sort();
    skipped.dedup();
    Accepted { operations: removed.scaling_activity_id.into_iter().map(Into::into).collect(), skipped }
}

/// Whether the named instances may go, and which of them.
fn judge(target: &Target, look: &Look, ids: &[InstanceId]) -> (Result<Go, ProviderError>, Named) {
    let (removable, skipped): (Vec<_>, Vec<_>) = ids.iter().cloned().partition(|id| is_removable(&look.instances, id));
    let count = u32::try_from(removable.len()).unwrap_or(u32::MAX);
    let leaves = look.sizes.desired.saturating_sub(count);
    let verdict = if removable.is_empty() {
        Ok(Go::Nothing)
    } else if shape::suspended(&look.seen.group).contains(&Suspended::Terminate) {
        Err(conflict(target, "scaling in is suspended in the group"))
    } else if leaves < look.sizes.min {
        let what = format!("removing them leaves {leaves}, below the group's MinSize {}", look.sizes.min);
        Err(conflict(target, &what))
    } else {
        Ok(Go::Write)
    };
    (verdict, Named { removable, skipped })
}

fn is_removable(instances: &[Instance], id: &InstanceId) -> bool {
    instances.iter().filter(|instance| instance.instance_id.as_deref() == Some(id.as_str())).any(|instance| {
        let state = shape::state(instance.lifecycle_state.as_deref());
        matches!(state, Some(InstanceState::Pending | InstanceState::Running)) && !shape::is_protected(instance)
    })
}
