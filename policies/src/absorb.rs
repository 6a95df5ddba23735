//! What happened since the last decision goes into memory: outcomes of calls, and a restart.

use crate::memory::{Event, FleetMemory};
use crate::policy::Policy;
use contract::Timestamp;

/// Takes in what happened since the last decision.
pub fn absorb(_policy: &Policy, _memory: &mut FleetMemory, _events: &[Event], _now: Timestamp) {}
