//! Writing Auto Scaling groups: raise, withdraw what is unfilled, terminate named instances.
//!
//! AWS has no precondition on any of these calls. So every attempt, a second one included, begins with a fresh read, and
//! a difference from what the plan saw is a `Conflict`. What remains is the race between that read and the write, some
//! tens of milliseconds: whoever changes desired within them is overwritten (raise) or lowered by one (terminate).
//! The order is: check, claim, check again, write; so a refusal has no side effect at all.

use super::Asg;
use super::fence::{Check, Go, Look, conflict};
use super::shape;
use crate::errors::Failure;
use contract::{Accepted, CAPACITY_MAX, Capacity, ProviderError, Suspended, Target};
use std::time::Duration;
use tokio::time::Instant;

/// A harmless refusal is tried once more after this long, or after what the cloud said if that is not much longer.
const PAUSE: Duration = Duration::from_millis(300);
const PAUSE_MAX: Duration = Duration::from_secs(2);

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

    pub(super) fn wrote(&self, target: &Target) {
        self.group(target.group.as_str(), |group| {
            group.written = true;
            group.activities_asked = None;
        });
    }

    /// Waits before a second attempt when the first certainly had no effect and time is left; else fails.
    pub(super) async fn pause_or_fail(
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

fn not_above(target: &Target, desired: Capacity, to: Capacity, verb: &str) -> Result<Go, ProviderError> {
    if to == desired {
        return Ok(Go::Nothing);
    }
    let what = format!("{}: {to} is below desired {desired}; it can only be {verb}", target.group);
    Err(ProviderError::Invalid { what: what.into() })
}
