//! A new start on a load's recorded past, and how it takes the place of what was learned live meanwhile.

use super::Learned;
use contract::Timestamp;
use std::time::Duration;

impl Learned {
    /// Whether the head-room is still the one from before anything was learned.
    pub(crate) fn is_cold(&self) -> bool {
        !self.margins.is_warm()
    }

    /// The newest reading's time.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.taken
    }

    /// How long one of its steps lasts.
    pub(crate) fn step(&self) -> Duration {
        Duration::from_secs(u64::from(self.step))
    }

    /// Nothing learned of the load, under the delays that were seen.
    pub(crate) fn afresh(&self) -> Self {
        Self { delays: self.delays.clone(), tells_demand: self.tells_demand, ..Self::default() }
    }

    /// Takes the place of what was learned live, if it has learned from more; says whether. What is seen live alone stays.
    pub(crate) fn succeed(self, live: &mut Self) -> bool {
        if self.steps <= live.steps {
            return false;
        }
        let delays = std::mem::take(&mut live.delays);
        *live = Self { delays, tells_demand: live.tells_demand, ..self };
        true
    }
}
