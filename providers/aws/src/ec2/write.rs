//! Writing tagged groups: launching what is missing, terminating by name.
//!
//! Every write reads the group first. A launch is named by action and index, both in its tag and in its ClientToken: an
//! action tried twice asks for the same launches, and EC2 answers the second time with the instances of the first.

use super::tagged::{LAUNCH, STATES_OF_ANY_TIME, TagName, Tagged, carries, controllers, is_protected, state, tag_of};
use crate::errors::{Failure, cut};
use aws_sdk_ec2::types::{Instance as Ec2Instance, LaunchTemplateSpecification, ResourceType, Tag, TagSpecification};
use contract::{
    Accepted, CAPACITY_MAX, Capacity, FailureKind, InstanceId, InstanceState, LaunchFailure, ProviderError, Scope,
    Target,
};
use futures_util::StreamExt;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::time::Instant;

/// Calls in the air at once.
const CONCURRENT: usize = 4;
/// Ids in one TerminateInstances; EC2 takes 1000, the contract's abilities say 100.
const TERMINATE_BATCH: usize = 100;

impl Tagged {
    /// Launches as many instances as are missing to `to`.
    pub async fn raise(&self, target: &Target, to: Capacity) -> Result<Accepted, ProviderError> {
        if to > CAPACITY_MAX {
            return Err(ProviderError::Invalid { what: format!("{}: no group can hold {to}", target.group).into() });
        }
        let deadline = Instant::now() + self.lane.deadlines.write;
        let tag = TagName::parse(target.group.as_str())?;
        let shown = self.members(&tag).await?;
        let alive = shown.iter().filter(|i| is_alive(i)).count();
        let missing = (to as usize).saturating_sub(alive);
        let indices = free_indices(&shown, target, missing);
        let refused = AtomicBool::new(false);
        let calls: Vec<_> = indices
            .iter()
            .map(|index| async {
                // What one is refused for the next would be, too; the calls are few (5, then 2 a second).
                if refused.load(Relaxed) {
                    return None;
                }
                let launched = self.launch(target, &tag, *index, deadline).await;
                refused.fetch_or(launched.is_err(), Relaxed);
                Some(launched)
            })
            .collect();
        let results: Vec<Option<_>> = futures_util::stream::iter(calls).buffered(CONCURRENT).collect().await;
        self.judge(target, results.into_iter().flatten().collect())
    }

    /// One launch refused is an error, a part refused is data: what came is there, and the next observation shows both.
    fn judge(&self, target: &Target, results: Vec<Result<(), Failure>>) -> Result<Accepted, ProviderError> {
        let came = results.iter().filter(|result| result.is_ok()).count();
        let mut failures: Vec<Failure> = results.into_iter().filter_map(Result::err).collect();
        if let Some(unclear) = failures.iter().position(|failure| !failure.harmless) {
            return Err(failures.swap_remove(unclear).error);
        }
        let at = (self.now)();
        self.group(target.group.as_str(), |group| {
            // What was never looked at says nothing of launches; the next raise asks for it.
            let said = failures.iter().filter(|failure| !was_put_off(&failure.error));
            group.failures.extend(said.map(|failure| launch_failure(&failure.error, at)));
        });
        match failures.into_iter().next() {
            Some(failure) if came == 0 => Err(failure.error),
            _ => Ok(Accepted::default()),
        }
    }

    async fn launch(&self, target: &Target, tag: &TagName, index: u32, deadline: Instant) -> Result<(), Failure> {
        let launch = target.action.launch(index);
        let tags = TagSpecification::builder()
            .resource_type(ResourceType::Instance)
            .tags(Tag::builder().key(&*tag.key).value(&*tag.value).build())
            .tags(Tag::builder().key(LAUNCH).value(&launch).build())
            .build();
        let template = LaunchTemplateSpecification::builder().launch_template_name(&*tag.value).build();
        let call = self.client.run_instances().min_count(1).max_count(1).client_token(launch);
        let call = call.launch_template(template).tag_specifications(tags).send();
        self.launches.write("RunInstances", deadline, call).await.map(|_| ())
    }

    /// Terminates named instances of the group.
    pub async fn terminate(&self, target: &Target, ids: &[InstanceId]) -> Result<Accepted, ProviderError> {
        let deadline = Instant::now() + self.lane.deadlines.write;
        let tag = TagName::parse(target.group.as_str())?;
        let ids: BTreeSet<InstanceId> = ids.iter().cloned().collect();
        if ids.is_empty() {
            return Ok(Accepted::default());
        }
        let shown = self.members(&tag).await?;
        let removable = |id: &InstanceId| {
            shown.iter().any(|i| i.instance_id() == Some(id.as_str()) && is_alive(i) && !is_protected(i))
        };
        let (named, mut skipped): (Vec<InstanceId>, Vec<InstanceId>) = ids.into_iter().partition(removable);
        let (mut went, mut refusal) = (false, None);
        for batch in named.chunks(TERMINATE_BATCH) {
            let mut results = vec![(batch, self.terminate_together(batch, deadline).await)];
            if batch.len() > 1
                && matches!(&results[0].1, Err(failure) if failure.harmless && is_about_one(&failure.error))
            {
                // One bad id fails the whole batch: so each by itself. Each is idempotent by its id.
                let calls: Vec<_> = batch.chunks(1).map(|one| self.terminate_together(one, deadline)).collect();
                let singles: Vec<_> = futures_util::stream::iter(calls).buffered(CONCURRENT).collect().await;
                results = batch.chunks(1).zip(singles).collect();
            }
            for (ids, result) in results {
                match result {
                    Ok(()) => went = true,
                    Err(failure) if failure.harmless => {
                        skipped.extend(ids.iter().cloned());
                        refusal = refusal.or(Some(failure.error));
                    }
                    Err(failure) => return Err(failure.error),
                }
            }
        }
        skipped.sort();
        match refusal {
            Some(error) if !went => Err(error),
            _ => Ok(Accepted { operations: Vec::new(), skipped }),
        }
    }

    async fn terminate_together(&self, ids: &[InstanceId], deadline: Instant) -> Result<(), Failure> {
        let ids = ids.iter().map(|id| id.0.to_string()).collect();
        let call = self.client.terminate_instances().set_instance_ids(Some(ids)).send();
        self.lane.write("TerminateInstances", deadline, call).await.map(|_| ())
    }

    /// A fresh read of the group, instances that are gone included: their launches must not be asked for again.
    ///
    /// # Errors
    /// `Conflict` when something else launches and replaces them.
    async fn members(&self, tag: &TagName) -> Result<Vec<Ec2Instance>, ProviderError> {
        let mut shown = self.read(&tag.key, std::slice::from_ref(&tag.value), &STATES_OF_ANY_TIME).await?;
        shown.retain(|instance| carries(instance, tag));
        match controllers(&shown).first() {
            Some(other) => {
                let what = format!("{}={}: {} has instances with this tag", tag.key, tag.value, other.name);
                Err(ProviderError::Conflict { what: what.into() })
            }
            None => Ok(shown),
        }
    }
}

fn is_alive(instance: &Ec2Instance) -> bool {
    matches!(state(instance), Some(InstanceState::Pending | InstanceState::Running))
}

/// The first indices of this action that no instance carries yet. After a launch whose answer was lost they are the same
/// ones again, as long as EC2 does not show the instance; and then its ClientToken is.
fn free_indices(shown: &[Ec2Instance], target: &Target, count: usize) -> Vec<u32> {
    let used: BTreeSet<&str> = shown.iter().filter_map(|instance| tag_of(instance, LAUNCH)).collect();
    (0..CAPACITY_MAX).filter(|index| !used.contains(target.action.launch(*index).as_str())).take(count).collect()
}

/// Refusals that one id of a batch can cause.
fn is_about_one(error: &ProviderError) -> bool {
    matches!(error, ProviderError::NotFound { .. } | ProviderError::Invalid { .. } | ProviderError::Conflict { .. })
}

/// The call was not made, or not looked at, for want of time or of leave to call.
fn was_put_off(error: &ProviderError) -> bool {
    matches!(error, ProviderError::Throttled { .. } | ProviderError::Transport { .. })
}

fn launch_failure(error: &ProviderError, at: contract::Timestamp) -> LaunchFailure {
    let (kind, scope) = match error {
        ProviderError::OutOfCapacity { scope } => (FailureKind::OutOfCapacity, scope.clone()),
        ProviderError::QuotaExceeded { .. } => (FailureKind::QuotaExceeded, Scope::Region),
        ProviderError::Denied { .. } => (FailureKind::Denied, Scope::Group),
        ProviderError::Invalid { .. } => (FailureKind::Invalid, Scope::Group),
        _ => (FailureKind::Other, Scope::Group),
    };
    LaunchFailure { kind, scope, at, message: cut(&error.to_string(), 200) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{ActionId, Epoch, Timestamp, Version};

    #[test]
    fn an_action_tried_again_asks_for_the_launches_that_did_not_come() {
        let seen = Version { desired: None, token: None, at: Timestamp(0) };
        let target = Target { group: "ec2:web".into(), action: ActionId(9), seen, lease: Epoch(1) };
        let launched = |action: u128, index: u32| {
            let tag = Tag::builder().key(LAUNCH).value(ActionId(action).launch(index)).build();
            Ec2Instance::builder().tags(tag).build()
        };
        assert_eq!(free_indices(&[], &target, 3), [0, 1, 2]);
        assert_eq!(free_indices(&[launched(9, 0), launched(9, 2), launched(8, 1)], &target, 2), [1, 3]);
        assert_eq!(free_indices(&[launched(9, 0)], &target, 0), [] as [u32; 0]);
    }
}
