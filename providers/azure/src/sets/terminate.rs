//! Terminating named machines of a set; Azure lowers its capacity by as many.
//!
//! In come a target and ids, out goes what was skipped. One call for all of them. Azure takes no ETag on it, so the set and
//! its machines are read again just before; whoever changes the capacity in the tens of milliseconds between is not
//! overwritten, since the call lowers by what it removes. Protection does not stop this call at Azure, so it does here.

use super::Sets;
use super::fence::{conflict, is_json, paced};
use super::operations::{self, Purpose};
use crate::arm::COMPUTE;
use crate::shape::Machine;
use crate::wire::Change;
use azure_core::http::Method;
use contract::{Accepted, InstanceId, InstanceState, ProviderError, Target};
use std::collections::BTreeSet;
use tokio::time::Instant;

impl Sets {
    pub async fn terminate(&self, target: &Target, ids: &[InstanceId]) -> Result<Accepted, ProviderError> {
        let deadline = Instant::now() + self.wire.deadlines.write;
        let look = self.fence(target).await?;
        let machines = self.list_machines(&look.name, &look.set, &look.sized, (self.now)(), self.wire.soon()).await;
        let machines = machines.map_err(ProviderError::before_the_write)?;
        let (removable, skipped) = split(&machines, ids);
        if removable.is_empty() {
            return Ok(Accepted { operations: Vec::new(), skipped });
        }
        if self.read_refresh(&look.name, self.wire.soon()).await.map_err(ProviderError::before_the_write)? {
            return Err(conflict(target, "a rolling upgrade runs"));
        }
        let mut operations = Vec::new();
        if !look.held {
            // Not in the same request here, but under the ETag: two daemons cannot both claim.
            let answer =
                self.patch(&look, None, Some(target.lease), deadline).await.map_err(ProviderError::before_the_write)?;
            operations.extend(operations::name(&answer, Purpose::Other, target.action, (self.now)()));
        }
        let now = (self.now)();
        self.group(&look.name.key(), |group| group.writes.book(now)).map_err(|wait| paced(&look.name.key(), wait))?;
        let path = format!("{}/delete", look.name.path(&self.subscription));
        let change = Change {
            operation: "DeleteInstances",
            method: Method::Post,
            url: self.wire.url(&path, COMPUTE, &[]),
            body: serde_json::json!({ "instanceIds": removable }),
            if_match: None,
        };
        let answer = self.wire.write(change, deadline).await?;
        is_json(&answer, "DeleteInstances")?;
        self.wrote(&look.name.key(), None);
        operations.extend(operations::name(&answer, Purpose::Other, target.action, (self.now)()));
        Ok(Accepted { operations, skipped })
    }
}

/// Splits named machines into the numbers of those that can go, and those that are gone, leaving or protected.
fn split<'a>(machines: &'a [Machine], ids: &[InstanceId]) -> (Vec<&'a str>, Vec<InstanceId>) {
    let named: BTreeSet<&InstanceId> = ids.iter().collect();
    let (mut removable, mut skipped) = (Vec::new(), Vec::new());
    for id in named {
        let may_go = |m: &&Machine| m.shown.state != InstanceState::Terminating && !m.shown.protected;
        match machines.iter().find(|machine| machine.shown.id == *id).filter(may_go) {
            Some(machine) => removable.push(&*machine.number),
            None => skipped.push(id.clone()),
        }
    }
    (removable, skipped)
}
