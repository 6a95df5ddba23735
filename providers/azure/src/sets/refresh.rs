//! Whether a rolling upgrade runs: removing instances would fight it.
//!
//! Asked only of sets that show a reason to, and kept for a while. What was asked and not answered counts as running: as
//! long as nobody knows, instances are left alone.

use super::Sets;
use crate::arm::{COMPUTE, RollingUpgrade, ScaleSet};
use crate::errors::cut;
use crate::group::SetName;
use crate::shape::{self, Machine};
use contract::{ProviderError, Suspended, Timestamp};
use std::time::Duration;
use tokio::time::Instant;

const EVERY: Duration = Duration::from_secs(60);
const EVERY_RUNNING: Duration = Duration::from_secs(30);

/// What is known of rolling upgrades of one set.
#[derive(Clone, Debug, Default)]
pub(super) struct Refresh {
    state: State,
    asked: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum State {
    #[default]
    Idle,
    Running,
    /// Asked and not answered, with the reason.
    Unknown(Box<str>),
}

impl Refresh {
    fn is_due(&self, reason: bool, now: Timestamp) -> bool {
        let every = if self.state == State::Idle { EVERY } else { EVERY_RUNNING };
        let rested = self.asked.is_none_or(|asked| now < asked || now.since(asked) >= every);
        (reason || self.state != State::Idle) && rested
    }

    fn suspended(&self) -> Vec<Suspended> {
        match &self.state {
            State::Idle => Vec::new(),
            State::Running => vec![Suspended::Refresh],
            State::Unknown(why) => {
                vec![Suspended::Refresh, Suspended::Other(format!("rolling upgrade not known: {why}").into())]
            }
        }
    }
}

impl Sets {
    /// What an observation shows, asked first when it is time.
    pub(super) async fn refreshes(
        &self,
        name: &SetName,
        set: &ScaleSet,
        machines: &[Machine],
        deadline: Instant,
    ) -> Vec<Suspended> {
        let outdated = machines.iter().any(|machine| machine.shown.outdated);
        let reason = shape::rolls(set) && (outdated || shape::at_work(set));
        let now = (self.now)();
        if self.group(&name.key(), |group| group.refresh.is_due(reason, now)) {
            let state = match self.read_refresh(name, deadline).await {
                Ok(true) => State::Running,
                Ok(false) => State::Idle,
                Err(error) => State::Unknown(cut(&error.to_string(), 120)),
            };
            self.group(&name.key(), |group| group.refresh = Refresh { state, asked: Some(now) });
        }
        self.group(&name.key(), |group| group.refresh.suspended())
    }

    /// Whether one runs now.
    pub(super) async fn read_refresh(&self, name: &SetName, deadline: Instant) -> Result<bool, ProviderError> {
        let path = format!("{}/rollingUpgrades/latest", name.path(&self.subscription));
        let url = self.wire.url(&path, COMPUTE, &[]);
        let answer = match self.wire.read("GetRollingUpgrade", &url, deadline).await {
            Ok(answer) => answer,
            // There never was one.
            Err(ProviderError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let upgrade: RollingUpgrade = answer.json("GetRollingUpgrade")?;
        let code = upgrade.properties.running_status.and_then(|status| status.code);
        Ok(!matches!(code.as_deref(), None | Some("Completed" | "Cancelled" | "Faulted")))
    }
}
