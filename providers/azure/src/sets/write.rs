//! Raising a set, and withdrawing what is unfilled: one PATCH of `sku.capacity` under the ETag of a fresh read.
//!
//! The claim travels in the same request, so a refusal has no side effect and two daemons cannot both succeed. No attempt
//! is ever repeated here: a 412 is a conflict, and a Retry-After is the caller's to wait for.

use super::Sets;
use super::fence::{conflict, possible};
use super::operations::{self, Purpose};
use crate::shape;
use contract::{Accepted, Capacity, InstanceState, ProviderError, Target};
use tokio::time::Instant;

impl Sets {
    pub async fn raise(&self, target: &Target, to: Capacity) -> Result<Accepted, ProviderError> {
        let deadline = Instant::now() + self.wire.deadlines.write;
        possible(target, to)?;
        let look = self.fence(target).await?;
        let desired = look.sized.capacity;
        if to == desired {
            return Ok(Accepted::default());
        }
        if to < desired {
            let what = format!("{}: {to} is below desired {desired}; it can only be raised", target.group);
            return Err(ProviderError::Invalid { what: what.into() });
        }
        let claim = (!look.held).then_some(target.lease);
        let answer = self.patch(&look, Some(to), claim, deadline).await?;
        let operation = operations::name(&answer, Purpose::Raise, target.action, (self.now)());
        Ok(Accepted { operations: operation.into_iter().collect(), skipped: Vec::new() })
    }

    /// Lowering the capacity to what is there removes nothing as long as nothing comes meanwhile. So it is refused while
    /// Azure works on the set, and what is there is listed after the read whose ETag goes into the write: every machine
    /// that any list of the set shows.
    pub async fn cancel_unfilled(&self, target: &Target, to: Capacity) -> Result<Accepted, ProviderError> {
        let deadline = Instant::now() + self.wire.deadlines.write;
        let look = self.fence(target).await?;
        let desired = look.sized.capacity;
        if to == desired {
            return Ok(Accepted::default());
        }
        if to > desired {
            let what = format!("{}: {to} is above desired {desired}; cancelling only lowers", target.group);
            return Err(ProviderError::Invalid { what: what.into() });
        }
        if shape::at_work(&look.set) {
            return Err(conflict(target, "Azure still works on the set: a machine may come at any moment"));
        }
        let machines = self.list_machines(&look.name, &look.set, &look.sized, (self.now)(), self.wire.soon()).await;
        let machines = machines.map_err(ProviderError::before_the_write)?;
        let present = machines.iter().filter(|m| m.shown.state != InstanceState::Terminating).count();
        if u32::try_from(present).is_ok_and(|present| to < present) {
            return Err(conflict(target, &format!("{present} machines are there, so {to} would remove some")));
        }
        let claim = (!look.held).then_some(target.lease);
        let answer = self.patch(&look, Some(to), claim, deadline).await?;
        let operation = operations::name(&answer, Purpose::Other, target.action, (self.now)());
        Ok(Accepted { operations: operation.into_iter().collect(), skipped: Vec::new() })
    }
}
