//! Writing groups: raise, withdraw what is unfilled, terminate named instances.
//!
//! Compute Engine has no precondition on any of these calls. So every attempt, a second one included, begins with a fresh
//! read, and a difference from what the plan saw is a `Conflict`. What remains is the race between that read and the
//! write, some tens of milliseconds: whoever changes the number within them is overwritten (raise) or lowered by as many
//! (terminate), and a machine that comes within them under a name that is withdrawn goes again. A request id, made from
//! the action's, keeps a request that arrives twice from being done twice.

use crate::Gcp;
use crate::errors::{Failure, of_operation};
use crate::names::{GroupName, instance_path};
use crate::observe::DELETE_BATCH;
use crate::operations;
use crate::shape::{self, Head, Member};
use contract::{Accepted, ActionId, CAPACITY_MAX, Capacity, InstanceId, InstanceState, ProviderError, Target};
use google_cloud_compute_v1::model::Operation;
use std::time::Duration;
use tokio::time::Instant;

/// A harmless refusal is tried once more after this long, or after what the cloud said if that is not much longer.
const PAUSE: Duration = Duration::from_millis(300);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What a write has to do, after a fresh look.
enum Todo {
    /// It is already as it should be.
    Nothing,
    Resize(Capacity),
    Delete(Vec<InstanceId>),
}

impl Gcp {
    pub(crate) async fn raise_to(&self, target: &Target, to: Capacity) -> Result<Accepted, ProviderError> {
        let name = GroupName::parse(&target.group)?;
        let deadline = Instant::now() + self.calls.lane.deadlines.write;
        for last in [false, true] {
            let head = self.look(&name, target, target.seen.desired, deadline).await?;
            if to == head.desired {
                return Ok(Accepted::default());
            }
            if to < head.desired || to > CAPACITY_MAX {
                let what = format!("{name}: {to} is no raise from {}", head.desired);
                return Err(ProviderError::Invalid { what: what.into() });
            }
            match self.write(&name, target.action, 0, Todo::Resize(to), deadline).await {
                Ok(operations) => return Ok(Accepted { operations, skipped: Vec::new() }),
                Err(failure) => self.pause_or_fail(&name, failure, last, deadline).await?,
            }
        }
        Err(conflict(&name, "it could not be written twice"))
    }

    pub(crate) async fn cancel_to(&self, target: &Target, to: Capacity) -> Result<Accepted, ProviderError> {
        let name = GroupName::parse(&target.group)?;
        let deadline = Instant::now() + self.calls.lane.deadlines.write;
        let mut accepted = Accepted::default();
        let mut expected = target.seen.desired;
        let (mut index, mut failed) = (0, false);
        // Each round deletes at most a batch; one that failed without effect is tried once more.
        loop {
            let done = |error| if index == 0 { error } else { partly(&name, error) };
            let head = self.look(&name, target, expected, deadline).await.map_err(done)?;
            let todo = match self.learn_members(&name, &head, deadline).await {
                Ok(members) => withdraw(&name, &head, &members, to),
                Err(error) => Err(error),
            };
            let todo = todo.map_err(done)?;
            let (removes, ends) = match &todo {
                Todo::Nothing => return Ok(accepted),
                Todo::Resize(_) => (head.desired - to, true),
                Todo::Delete(ids) => {
                    let removes = Capacity::try_from(ids.len()).unwrap_or(Capacity::MAX);
                    (removes, head.desired.saturating_sub(removes) <= to)
                }
            };
            match self.write(&name, target.action, index, todo, deadline).await {
                Ok(operations) => accepted.operations.extend(operations),
                Err(failure) => {
                    let paused = self.pause_or_fail(&name, failure, failed, deadline).await;
                    paused.map_err(|error| if index == 0 { error } else { partly(&name, error) })?;
                    failed = true;
                    continue;
                }
            }
            if ends {
                return Ok(accepted);
            }
            expected = Some(head.desired.saturating_sub(removes));
            index += 1;
        }
    }

    pub(crate) async fn terminate_named(&self, target: &Target, ids: &[InstanceId]) -> Result<Accepted, ProviderError> {
        let name = GroupName::parse(&target.group)?;
        let deadline = Instant::now() + self.calls.lane.deadlines.write;
        let mut ids = ids.to_vec();
        ids.sort();
        ids.dedup();
        let mut done = Accepted::default();
        let mut expected = target.seen.desired;
        for (index, batch) in (0..).zip(ids.chunks(DELETE_BATCH as usize)) {
            match self.terminate_batch(&name, target, (index, expected), batch, deadline).await {
                Ok(accepted) => {
                    let removed = batch.len() - accepted.skipped.len();
                    let removed = Capacity::try_from(removed).unwrap_or(Capacity::MAX);
                    expected = expected.map(|desired| desired.saturating_sub(removed));
                    done.operations.extend(accepted.operations);
                    done.skipped.extend(accepted.skipped);
                }
                Err(error) if index == 0 => return Err(error),
                Err(error) => return Err(partly(&name, error)),
            }
        }
        Ok(done)
    }

    async fn terminate_batch(
        &self,
        name: &GroupName,
        target: &Target,
        (index, expected): (u32, Option<Capacity>),
        ids: &[InstanceId],
        deadline: Instant,
    ) -> Result<Accepted, ProviderError> {
        for last in [false, true] {
            let head = self.look(name, target, expected, deadline).await?;
            if head.rolling {
                return Err(conflict(name, "a rolling replacement runs"));
            }
            let members = self.learn_members(name, &head, deadline).await?;
            let goes = |id: &&InstanceId| members.iter().any(|m| m.id == **id && m.state != InstanceState::Terminating);
            let (going, skipped): (Vec<&InstanceId>, Vec<&InstanceId>) = ids.iter().partition(goes);
            let skipped = skipped.into_iter().cloned().collect();
            if going.is_empty() {
                return Ok(Accepted { operations: Vec::new(), skipped });
            }
            let todo = Todo::Delete(going.into_iter().cloned().collect());
            match self.write(name, target.action, index, todo, deadline).await {
                Ok(operations) => return Ok(Accepted { operations, skipped }),
                Err(failure) => self.pause_or_fail(name, failure, last, deadline).await?,
            }
        }
        Err(conflict(name, "it could not be written twice"))
    }

    /// Reads a group just before a write, and checks that it is as the plan saw it.
    async fn look(
        &self,
        name: &GroupName,
        target: &Target,
        expected: Option<Capacity>,
        deadline: Instant,
    ) -> Result<Head, ProviderError> {
        let group = self.calls.get(name, deadline).await.map_err(|failure| failure.error)?;
        let head = shape::head(name, &group)?;
        if expected != Some(head.desired) {
            let seen = expected.map_or("no desired".into(), |desired| format!("desired {desired}"));
            return Err(conflict(name, &format!("the plan was made at {seen}, the group has {}", head.desired)));
        }
        if head.autoscaler.is_some() {
            // Its mode can change without a trace in the group.
            self.read_autoscaler(name, &head, deadline).await.map_err(|failure| match failure.error {
                // The group has just said that it has one: somebody is deleting it.
                ProviderError::NotFound { what } => ProviderError::Conflict { what },
                error => error,
            })?;
        }
        let new = self.memory.group(name, |group| {
            let found = crate::foreign::shown(&head, group.autoscaler.as_ref());
            let shown = group.shown_foreign.clone().unwrap_or_default();
            found.into_iter().find(|foreign| !shown.contains(foreign))
        });
        match new {
            Some(new) => Err(conflict(name, &format!("{} was not there when {} was observed", new.name, target.group))),
            None => Ok(head),
        }
    }

    /// Makes the one call that changes something.
    async fn write(
        &self,
        name: &GroupName,
        action: ActionId,
        index: u32,
        todo: Todo,
        deadline: Instant,
    ) -> Result<Vec<Box<str>>, Failure> {
        let id = request_id(action, index);
        self.memory.group(name, |group| group.written = Some(Instant::now()));
        let answer = match todo {
            Todo::Nothing => return Ok(Vec::new()),
            Todo::Resize(to) => {
                // Capacities end at a million.
                let to = i32::try_from(to).unwrap_or(i32::MAX);
                self.calls.resize(name, to, &id, deadline).await
            }
            Todo::Delete(ids) => {
                let paths = ids.iter().filter_map(instance_path).collect();
                self.calls.delete(name, paths, &id, deadline).await
            }
        };
        // A list that was read while the call was under way is no newer than it.
        self.memory.group(name, |group| group.written = Some(Instant::now()));
        let operation = answer?;
        refusal_in(&operation)?;
        Ok(operation.name.into_iter().map(Into::into).collect())
    }

    /// Waits before a second attempt when the first certainly had no effect and time is left; else fails.
    async fn pause_or_fail(
        &self,
        name: &GroupName,
        failure: Failure,
        last: bool,
        deadline: Instant,
    ) -> Result<(), ProviderError> {
        let pause = match &failure.error {
            ProviderError::Throttled { retry_after } => retry_after.unwrap_or(PAUSE),
            ProviderError::Transport { .. } => PAUSE,
            _ => PAUSE_MAX + PAUSE,
        };
        let in_time = Instant::now() + pause + self.calls.lane.deadlines.read < deadline;
        if last || !failure.harmless || pause > PAUSE_MAX || !in_time {
            return Err(failure.error);
        }
        tracing::debug!(group = %name, error = %failure.error, "had no effect; reading again before a second attempt");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// How a group comes down to `to` without losing a machine: by number as long as all that it counts stays, else by the
/// names of what has no machine yet, what failed first. By number alone the group would pick the victims itself.
fn withdraw(name: &GroupName, head: &Head, members: &[Member], to: Capacity) -> Result<Todo, ProviderError> {
    if to == head.desired {
        return Ok(Todo::Nothing);
    }
    if to > head.desired {
        let what = format!("{name}: {to} is above desired {}; cancelling only lowers", head.desired);
        return Err(ProviderError::Invalid { what: what.into() });
    }
    let (present, unfilled) = shape::filling(members);
    if to < present {
        return Err(conflict(name, &format!("{present} instances are there, so {to} would remove some")));
    }
    if to >= present + unfilled {
        if head.idle.is_none() || head.staying() > to {
            let (counted, listed) = (head.staying(), present + unfilled);
            let why = format!("it counts {counted} and has listed {listed}: what has no zone yet cannot be named");
            return Err(conflict(name, &why));
        }
        return Ok(Todo::Resize(to));
    }
    let surplus = head.desired - to;
    if surplus > unfilled {
        return Err(conflict(name, "what it was asked for is not all listed yet"));
    }
    let mut names: Vec<&Member> = members.iter().filter(|member| member.unfilled).collect();
    names.sort_by_key(|member| member.failure.is_none());
    let most = surplus.min(DELETE_BATCH) as usize;
    Ok(Todo::Delete(names.into_iter().take(most).map(|member| member.id.clone()).collect()))
}

/// An operation that ended at once with an error: the write was refused.
pub(crate) fn refusal_in(operation: &Operation) -> Result<(), Failure> {
    let Some(failed) = operations::errors(operation).into_iter().next() else { return Ok(()) };
    let error = of_operation(operation.operation_type.as_deref().unwrap_or("write"), &failed.code, &failed.message);
    Err(Failure { error, harmless: true, broke: false })
}

/// The request id of an action's call: a UUID, as the API wants it, and the same whenever the call is made again.
pub(crate) fn request_id(action: ActionId, index: u32) -> String {
    // An odd number far from any other action's: two calls of one action are two requests.
    let id = action.0 ^ u128::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    // RFC 9562: version 8, made in the maker's own way; so it is never the zero that the API refuses.
    let id = (id & !(0xf << 76) & !(0x3 << 62)) | (0x8 << 76) | (0x2 << 62);
    let hex = format!("{id:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn conflict(name: &GroupName, why: &str) -> ProviderError {
    ProviderError::Conflict { what: format!("{name}: {why}").into() }
}

fn partly(name: &GroupName, error: ProviderError) -> ProviderError {
    let what = format!("{name}: a part was done, then: {error}");
    ProviderError::Unclear { what: what.into(), source: Some(Box::new(error)) }
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
