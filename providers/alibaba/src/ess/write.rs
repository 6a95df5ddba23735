//! Writing scaling groups: raise, and withdraw what is unfilled.
//!
//! ESS has no precondition on any of these calls. So every attempt, a second one included, begins with a fresh read, and
//! a difference from what the plan saw is a `Conflict`. What remains is the race between that read and the write, some
//! tens of milliseconds: whoever changes desired within them is overwritten. ESS itself would stop at the group's bounds
//! without a word, so those are checked here. One call moves capacity by at most a thousand; a longer way is gone in
//! steps, each with its own look and its own token.

use super::Ess;
use super::fence::{Fence, Go, Look, conflict, of_group};
use super::shape;
use crate::api::{STEP, Scaled, TOTAL};
use crate::errors::Failure;
use contract::{Accepted, Capacity, ProviderError, Suspended, Target};
use std::time::Duration;
use tokio::time::Instant;

/// A harmless refusal is tried once more after this long, or after what the cloud said if that is not much longer.
const PAUSE: Duration = Duration::from_millis(300);
const PAUSE_MAX: Duration = Duration::from_secs(2);

impl Ess {
    pub async fn raise(&self, target: &Target, to: Capacity) -> Result<Accepted, ProviderError> {
        let check = |look: &Look| {
            let (desired, min, max) = (look.sizes.desired, look.sizes.min, look.sizes.max.min(TOTAL));
            let invalid =
                |what: String| Err(ProviderError::Invalid { what: format!("{}: {what}", target.group).into() });
            if to == desired {
                return Ok(Go::Nothing);
            }
            if to < desired {
                return invalid(format!("{to} is below desired {desired}; it can only be raised"));
            }
            if to > max {
                return invalid(format!("{to} is above the group's MaxSize {max}"));
            }
            if to < min {
                return invalid(format!("{to} is below the group's MinSize {min}"));
            }
            if shape::suspended(&look.seen.group).contains(&Suspended::Launch) {
                return Err(conflict(target, "scaling out is suspended in the group"));
            }
            Ok(Go::Write)
        };
        self.set_desired(target, to, false, &check).await
    }

    pub async fn cancel_unfilled(&self, target: &Target, to: Capacity) -> Result<Accepted, ProviderError> {
        let check = |look: &Look| {
            let (desired, min) = (look.sizes.desired, look.sizes.min);
            if to == desired {
                return Ok(Go::Nothing);
            }
            if to > desired {
                let what = format!("{}: {to} is above desired {desired}; cancelling only lowers", target.group);
                return Err(ProviderError::Invalid { what: what.into() });
            }
            // Of a list and counts that contradict each other the larger: what is there must not be removed.
            let present = shape::present(&look.instances).max(shape::counted(&look.seen.group.counts));
            if to < present {
                return Err(conflict(target, &format!("{present} instances are there, so {to} would remove some")));
            }
            if to < min {
                return Err(conflict(target, &format!("{to} is below the group's MinSize {min}")));
            }
            Ok(Go::Write)
        };
        self.set_desired(target, to, true, &check).await
    }

    async fn set_desired(
        &self,
        target: &Target,
        to: Capacity,
        instances: bool,
        check: &(dyn Fn(&Look) -> Result<Go, ProviderError> + Sync),
    ) -> Result<Accepted, ProviderError> {
        let deadline = Instant::now() + self.wire.deadlines().write;
        let mut done = Accepted::default();
        let mut expected = target.seen.desired;
        for step in 0.. {
            let next = expected.map_or(to, |from| to.clamp(from.saturating_sub(STEP), from.saturating_add(STEP)));
            let fence = Fence { target, expected, instances, check };
            match self.set_one_step(&fence, next, step, deadline).await {
                Ok(operations) => done.operations.extend(operations),
                Err(error) if step == 0 => return Err(error),
                Err(error) => {
                    let what = format!("{}: a part was asked for, then: {error}", target.group);
                    return Err(ProviderError::Unclear { what: what.into(), source: Some(Box::new(error)) });
                }
            }
            if next == to {
                break;
            }
            expected = Some(next);
        }
        Ok(done)
    }

    async fn set_one_step(
        &self,
        fence: &Fence<'_>,
        to: Capacity,
        step: u32,
        deadline: Instant,
    ) -> Result<Option<Box<str>>, ProviderError> {
        let target = fence.target;
        for last in [false, true] {
            let Some(id) = self.fence(fence).await? else { return Ok(None) };
            let query = of_group(&id)
                .with("AdjustmentType", "TotalCapacity")
                .with("AdjustmentValue", to)
                .with("ClientToken", target.action.launch(step))
                // Only desired is written; what it takes to get there is ESS' own, and retried by it.
                .with("SyncActivity", false)
                .done();
            match self.wire.write::<Scaled>("ScaleWithAdjustment", deadline, query).await {
                Ok(scaled) => {
                    tracing::debug!(group = %target.group, to, request = %scaled.request_id, "desired is set");
                    self.wrote(&id);
                    return Ok(scaled.scaling_activity_id.map(Into::into));
                }
                Err(failure) => self.pause_or_fail(target, &id, failure, last, deadline).await?,
            }
        }
        Err(conflict(target, "it could not be written twice"))
    }

    pub(super) fn wrote(&self, id: &str) {
        self.group(id, |group| {
            group.written = true;
            group.activities_asked = None;
            group.listed = None;
        });
    }

    /// Waits before a second attempt when the first certainly had no effect and time is left; else fails.
    pub(super) async fn pause_or_fail(
        &self,
        target: &Target,
        id: &str,
        failure: Failure,
        last: bool,
        deadline: Instant,
    ) -> Result<(), ProviderError> {
        if !failure.harmless {
            self.wrote(id);
            return Err(failure.error);
        }
        let error = failure.error.before_the_write();
        let pause = match &error {
            ProviderError::Throttled { retry_after } => retry_after.unwrap_or(PAUSE),
            ProviderError::Transport { .. } => PAUSE,
            _ => PAUSE_MAX + PAUSE,
        };
        let in_time = Instant::now() + pause + self.wire.deadlines().read < deadline;
        if last || pause > PAUSE_MAX || !in_time {
            return Err(error);
        }
        tracing::debug!(group = %target.group, %error, "had no effect; reading again before a second attempt");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
