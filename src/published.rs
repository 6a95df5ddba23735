//! What the actor shows to everybody else: `status`, the dashboard, /metrics, /healthz and the watchdog read it without
//! asking the actor. In: finished cycles. Out: plain values behind one lock that is never held across an await.
//! Nothing here decides or renders; readers must not keep a guard, they get clones and `Arc`s.

use crate::clock::Clock;
use crate::store::{OverrideRow, StoreStat};
use crate::telemetry::ProcessMetrics;
use contract::{Capacity, Timestamp};
use policies::memory::Outcome;
use policies::plan::{Decision, Direction};
use policies::policy::{Place, Policy, PolicySet};
use policies::trace::HoldReason;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// The shared view of a running daemon; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Published(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    view: RwLock<View>,
    metrics: Arc<ProcessMetrics>,
    heartbeat: AtomicI64,
}

/// Everything that is shown, as of the last finished cycle.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The policies in force.
    pub set: Arc<PolicySet>,
    /// One for each fleet of the set, in its order: sorted by id.
    pub fleets: Vec<Arc<FleetStatus>>,
    /// The process as a whole.
    pub process: ProcessStatus,
}

/// One fleet as of its last decision.
#[derive(Clone, Debug)]
pub struct FleetStatus {
    /// The policy in force: id, owner, mode, min, max, the names behind all indices, the place of every setting.
    pub policy: Arc<Policy>,
    /// The last decision with its trace, recommendations, limits and hold; `None` before the first.
    pub decision: Option<Decision>,
    /// The largest and smallest recommendation of the windows, when the decision says so.
    pub stabilized: Option<Capacity>,
    /// One for each of the policy's groups, in its order.
    pub groups: Box<[GroupStatus]>,
    /// One for each of the policy's metrics, in its order.
    pub readings: Box<[ReadingStatus]>,
    /// The override in force.
    pub override_now: Option<Arc<OverrideRow>>,
    /// No further scale-out for this long, as of the decision.
    pub cooldown_out: Duration,
    /// No further scale-in for this long, as of the decision.
    pub cooldown_in: Duration,
    /// The last cycle in which everything that was asked for came and a decision was made; `None`: none yet.
    pub last_success: Option<Timestamp>,
    /// Decisions since the start, by direction.
    pub decisions: DirectionCounts,
    /// Holds since the start, indexed like [`HoldReason::ALL`].
    pub holds: [u64; HoldReason::ALL.len()],
    /// The fleet could not be decided because of a fault of skala itself; it is held until its policy changes or the
    /// daemon restarts, and people should be told.
    pub fault: Option<Arc<str>>,
}

/// Decisions by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectionCounts {
    /// Scale-out.
    pub out: u64,
    /// Scale-in.
    pub r#in: u64,
    /// Hold.
    pub none: u64,
}

impl DirectionCounts {
    /// Counts one decision.
    pub fn count(&mut self, direction: Direction) {
        match direction {
            Direction::Out => self.out += 1,
            Direction::In => self.r#in += 1,
            Direction::None => self.none += 1,
        }
    }
}

/// One group as of its fleet's last decision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupStatus {
    /// What the cloud is asked to hold; `None`: unknown.
    pub current: Option<Capacity>,
    /// Its part of the decision; `None`: unknown.
    pub desired: Option<Capacity>,
    /// Of what the cloud is asked to hold, instances that drain before they are terminated.
    pub draining: Capacity,
    /// Instances by state: pending, running, terminating, failed. All zero while `unknown` says why.
    pub instances: [Capacity; 4],
    /// Why it could not be read; a code like `timeout`, `not_found`, `throttled`.
    pub unknown: Option<Arc<str>>,
    /// The provider's words for that, which say what to do.
    pub trouble: Option<Arc<str>>,
    /// When the cloud was asked.
    pub at: Option<Timestamp>,
    /// A call is under way.
    pub call_in_air: bool,
}

/// The names of [`GroupStatus::instances`], in its order.
pub const INSTANCE_STATES: [&str; 4] = ["pending", "running", "terminating", "failed"];

/// One metric's reading as of its fleet's last decision.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadingStatus {
    /// A value, or the mean when there is one for each instance.
    Value {
        /// The number, in the metric's own unit.
        value: f64,
        /// The sample's own time; its age is the decision's time minus this.
        at: Timestamp,
        /// Which source it comes from, when a composite was asked.
        from: Option<Arc<str>>,
    },
    /// None, and the stable word of why.
    Missing(&'static str),
}

/// The process as a whole.
#[derive(Clone, Debug, Default)]
pub struct ProcessStatus {
    /// This store's lasting id, which owner tags carry.
    pub store_id: Arc<str>,
    /// Who holds the lease.
    pub lease_owner: Arc<str>,
    /// Whether it is us.
    pub lease_held: bool,
    /// Every fleet has been decided at least once since the start.
    pub first_round_done: bool,
    /// The daemon is stopping.
    pub stopping: bool,
    /// `hold --all` is in force, with its reason.
    pub hold_all: Option<Arc<str>>,
    /// The last reload.
    pub config: ConfigStatus,
    /// The store's condition.
    pub store: StoreStat,
    /// Why the store does not take decisions; `None`: it does.
    pub store_fault: Option<Arc<str>>,
    /// Calls to clouds under way or waiting.
    pub calls_in_air: usize,
}

/// How the last reload went.
#[derive(Clone, Debug, Default)]
pub struct ConfigStatus {
    /// The revision in force.
    pub revision: Arc<str>,
    /// `config_last_reload_successful`.
    pub last_reload_ok: bool,
    /// When it was tried.
    pub at: Option<Timestamp>,
    /// Why it failed: what `skala check` would print, or the refusal.
    pub problem: Option<Arc<str>>,
}

/// The outcome's word in `actions_total` and logs.
pub fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted => "accepted",
        Outcome::Refused => "refused",
        Outcome::Unclear => "unclear",
    }
}

impl FleetStatus {
    /// A fleet that has not been decided yet.
    pub fn undecided(policy: Arc<Policy>) -> Self {
        Self {
            groups: vec![GroupStatus::default(); policy.groups.len()].into(),
            readings: vec![ReadingStatus::Missing("not_given"); policy.metrics.len()].into(),
            policy,
            decision: None,
            stabilized: None,
            override_now: None,
            cooldown_out: Duration::ZERO,
            cooldown_in: Duration::ZERO,
            last_success: None,
            decisions: DirectionCounts::default(),
            holds: [0; HoldReason::ALL.len()],
            fault: None,
        }
    }

    /// The setting that governs the hold: its name, and where it stands.
    pub fn hold_setting<'a>(&self, set: &'a PolicySet) -> Option<(std::borrow::Cow<'static, str>, &'a str, Place)> {
        let hold = self.decision.as_ref()?.hold?;
        let place = self.policy.place(hold.setting);
        Some((self.policy.setting_name(hold.setting), set.file(place), place))
    }
}

impl Published {
    /// A view of nothing yet, beside what counts already.
    pub fn over(metrics: Arc<ProcessMetrics>) -> Self {
        Self(Arc::new(Shared { metrics, ..Shared::default() }))
    }

    /// Looks at the view; the closure must be short, since the actor waits for it.
    pub fn read<T>(&self, look: impl FnOnce(&View) -> T) -> T {
        look(&self.0.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// One fleet.
    pub fn fleet(&self, id: &str) -> Option<Arc<FleetStatus>> {
        self.read(|view| {
            let at = view.fleets.binary_search_by(|fleet| fleet.policy.id.as_ref().cmp(id)).ok()?;
            Some(Arc::clone(&view.fleets[at]))
        })
    }

    /// All fleets and their set, without a copy of any.
    pub fn fleets(&self) -> (Arc<PolicySet>, Vec<Arc<FleetStatus>>) {
        self.read(|view| (Arc::clone(&view.set), view.fleets.clone()))
    }

    /// The process as a whole.
    pub fn process(&self) -> ProcessStatus {
        self.read(|view| view.process.clone())
    }

    /// Counters and durations of the process since its start.
    pub fn metrics(&self) -> &Arc<ProcessMetrics> {
        &self.0.metrics
    }

    /// Changes the view; only the actor does.
    pub(crate) fn write<T>(&self, change: impl FnOnce(&mut View) -> T) -> T {
        change(&mut self.0.view.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long ago the scheduler last had nothing overdue: what /healthz and the watchdog judge. `None` before the
    /// first completed cycle.
    pub fn heartbeat_age(&self, clock: &dyn Clock) -> Option<Duration> {
        let beat = self.0.heartbeat.load(Ordering::Relaxed);
        (beat > 0).then(|| {
            let now = contract::micros(clock.monotonic());
            Duration::from_micros(u64::try_from(now.saturating_sub(beat)).unwrap_or(0))
        })
    }

    /// Notes that no fleet is overdue.
    pub(crate) fn beat(&self, monotonic: Duration) {
        // 0 stands for "never", so a beat in the very first microsecond counts as the second.
        self.0.heartbeat.store(contract::micros(monotonic).max(1), Ordering::Relaxed);
    }
}
