//! Observing scaling groups: their descriptions in as few calls as there are, the instances of those that changed.
//!
//! In come asks; out goes one observation or one error for each. A group that is missing from an answer to its own id or
//! name does not exist; from any other, it is unknown.

use super::instances::Answer;
use super::listing::Seen;
use super::lookups::Followed;
use super::{Ess, shape};
use crate::errors::nonsense;
use contract::{Ask, Observation, ProviderError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::time::Instant;

impl Ess {
    /// Observes groups; the answers are in the order of the asks.
    pub async fn observe(self: &Arc<Self>, asks: &[Ask]) -> Vec<Result<Observation, ProviderError>> {
        if asks.is_empty() {
            return Vec::new();
        }
        let start = Instant::now();
        let names: BTreeSet<&str> = asks.iter().map(|ask| ask.group.as_str()).collect();
        let described = self.describe(&names).await;
        let (instances, followed) = futures_util::join!(self.instances_for(asks, &described), self.followed(asks));
        let mut observations: Vec<_> = asks.iter().map(|ask| self.shape(ask, &described, &instances)).collect();
        let seen = |ask: &Ask| described.get(ask.group.as_str()).and_then(|answer| answer.as_ref().ok());
        let observed: Vec<(&Ask, &Seen, &Observation)> = asks
            .iter()
            .zip(&observations)
            .filter_map(|(ask, observation)| Some((ask, seen(ask)?, observation.as_ref().ok()?)))
            .collect();
        let beside = self.look_beside(&observed, start);
        self.wait_a_little(beside).await;
        for (ask, observation) in asks.iter().zip(&mut observations) {
            if let (Ok(observation), Some(seen)) = (observation, seen(ask)) {
                self.add_lookups(ask, seen, &followed, observation);
            }
        }
        observations
    }

    async fn instances_for(
        self: &Arc<Self>,
        asks: &[Ask],
        described: &BTreeMap<&str, Result<Seen, ProviderError>>,
    ) -> BTreeMap<Box<str>, Answer> {
        let mut wanted: BTreeMap<&str, (&Seen, bool)> = BTreeMap::new();
        for ask in asks {
            // A group whose numbers make no sense, or that cannot be scaled, is an error whatever is in it.
            if let Some(Ok(seen)) = described.get(ask.group.as_str())
                && shape::sizes(&seen.group).is_ok()
            {
                let restless = !ask.open_actions.is_empty() || !ask.operations.is_empty();
                let entry = wanted.entry(&seen.id).or_insert((seen, false));
                entry.1 |= restless;
            }
        }
        let wanted: Vec<(&Seen, bool)> = wanted.into_values().collect();
        self.instances(&wanted).await
    }

    async fn followed(&self, asks: &[Ask]) -> BTreeMap<Box<str>, Followed> {
        let names: BTreeSet<&str> = asks.iter().flat_map(|ask| ask.operations.iter().map(|name| &**name)).collect();
        if names.is_empty() { BTreeMap::new() } else { self.follow(names).await }
    }

    fn shape(
        &self,
        ask: &Ask,
        described: &BTreeMap<&str, Result<Seen, ProviderError>>,
        instances: &BTreeMap<Box<str>, Answer>,
    ) -> Result<Observation, ProviderError> {
        let seen = match described.get(ask.group.as_str()) {
            Some(Ok(seen)) => seen,
            Some(Err(error)) => return Err(error.again()),
            None => return Err(nonsense("an ask was not answered")),
        };
        shape::sizes(&seen.group)?;
        let listed = match instances.get(&seen.id) {
            Some(Ok(listed)) => listed,
            Some(Err(error)) => return Err(error.again()),
            None => return Err(nonsense(format!("{}: its instances were not read", ask.group))),
        };
        self.group(&seen.id, |memory| shape::observation(&seen.group, &listed.instances, &mut memory.facts, seen.at))
    }
}
