//! The beginning and the end of a run, and the chores between cycles: lease, `hold --all`, changed files, retention. A
//! start reads the store once, takes what was under way for unclear and looks before it does anything (safety rule 8).

use super::brakes::Brakes;
use super::lease::{LeaseView, RENEW, TTL};
use super::observe::Polls;
use super::{Cycle, Hands, Kept, Trouble};
use crate::app::{Seams, Settings, StopReason};
use crate::board::{Board, Index};
use crate::published::Published;
use crate::scheduler::Agenda;
use crate::store::Loaded;
use contract::Timestamp;
use policies::memory::{FleetMemory, MemoryError, Outcome};
use policies::policy::{PolicySet, SourceFile};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often the loop turns at least; `hold --all` is seen within this.
const TURN: Duration = Duration::from_secs(1);
/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How often the store drops what is past retention.
const TEND: Duration = Duration::from_secs(60);

/// When each chore is due next, in monotonic time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chores {
    turn: Duration,
    lease: Duration,
    look: Duration,
    tend: Duration,
    fingerprint: u64,
    /// Wall and monotonic time of the last turn: what a jump of the clock is told by.
    last: Option<(Timestamp, Duration)>,
}

impl Chores {
    pub fn next(&self) -> Duration {
        self.turn
    }
}

/// A jump of the wall clock that is worth a line in the log.
const JUMP: i64 = 5_000_000;

impl Cycle {
    /// A daemon at rest. The senders are for its tasks' answers.
    pub fn new(
        seams: Seams,
        settings: Settings,
        published: Published,
        finished: mpsc::Sender<super::Finished>,
        ended: mpsc::Sender<super::Ended>,
    ) -> Self {
        let lease = LeaseView::default();
        Self {
            polls: Polls::new(Arc::clone(&seams.clock), &seams.providers, &seams.sources, finished.clone()),
            drains: super::drains::Drains::new(Arc::clone(&seams.clock), seams.drainers, finished),
            hands: Hands::new(Arc::clone(&seams.clock), lease.clone(), &seams.providers, ended),
            clock: seams.clock,
            entropy: seams.entropy,
            store: seams.store,
            policy_source: seams.policy_source,
            compile: seams.compile,
            hold_all: seams.hold_all,
            brakes: Brakes::new(settings.brakes),
            histories: super::history::Histories::default(),
            settings,
            published,
            lease,
            set: Arc::new(PolicySet::default()),
            index: Index::default(),
            board: Board::default(),
            generation: 0,
            tick: 0,
            fleets: Vec::new(),
            current: 0,
            kept: BTreeMap::new(),
            calls: BTreeMap::new(),
            unread: BTreeMap::new(),
            complaints: BTreeMap::new(),
            trouble: Trouble::None,
            held_all: None,
            store_id: Arc::from(""),
            dirty: VecDeque::new(),
            unsaved: 0,
            unkept: None,
            due: Agenda::default(),
            deadlines: Agenda::default(),
            ready: Vec::new(),
            undecided: 0,
            chores: Chores::default(),
        }
    }

    /// Reads the store and the policies. `Some`: there is nothing to run on.
    pub async fn start(&mut self) -> Option<StopReason> {
        let last_good = match self.store.load().await {
            Ok(loaded) => self.remember_all(loaded).await,
            Err(error) => {
                self.note_store_error(&error);
                Vec::new()
            }
        };
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        if let Err(error) = self.brakes.load(&*self.store, now, monotonic).await {
            self.note_store_error(&error);
        }
        self.renew_lease(monotonic).await;
        self.held_all = (self.hold_all)(self.clock.now());
        self.chores.fingerprint = self.policy_source.fingerprint();
        let has_last = match (self.compile)(&last_good) {
            Ok(set) if !last_good.is_empty() => {
                self.swap(Arc::new(set));
                true
            }
            _ => false,
        };
        let allow_removal = self.settings.allow_removal;
        match self.reload(allow_removal).await {
            Err(refused) if !has_last => Some(StopReason::NoPolicies(refused.to_string())),
            _ => None,
        }
    }

    /// Takes in what an earlier life left; returns the last good policies.
    async fn remember_all(&mut self, loaded: Loaded) -> Vec<SourceFile> {
        let Loaded { store_id, memories, learned, open, overrides, policies } = loaded;
        self.store_id = store_id.into();
        for (fleet, bytes) in memories {
            let mut kept = Kept { restarted: true, ..Kept::default() };
            match FleetMemory::decode(&bytes) {
                Ok(memory) => kept.memory = memory,
                Err(error @ MemoryError::Newer { .. }) => {
                    tracing::error!(%fleet, %error, "Nothing is done about this fleet.");
                    kept.refused = true;
                }
                Err(error) => {
                    tracing::error!(%fleet, %error, "The fleet starts without memory, so its windows begin again.");
                }
            }
            self.kept.insert(fleet, kept);
        }
        self.recall_learned(learned);
        for row in overrides {
            let fleet = Arc::clone(&row.fleet);
            self.kept.entry(fleet).or_default().override_now = Some(Arc::new(row));
        }
        let now = self.clock.now();
        let mut outcomes = Vec::new();
        for action in open {
            let row = action.row;
            tracing::warn!(fleet = %row.fleet, group = %row.group_name, action = row.action.word(), to = row.action.to(),
                "An action of an earlier life has no known end; its group is read before anything is done.");
            outcomes.push((row.id, Outcome::Unclear, "restart".to_string(), now));
            let kept = self.kept.entry(row.fleet).or_default();
            kept.unclear.push((row.provider, row.group_name));
        }
        if !outcomes.is_empty()
            && let Err(error) = self.store.outcomes(outcomes).await
        {
            self.note_store_error(&error);
        }
        let store_id = Arc::clone(&self.store_id);
        self.published.write(|view| view.process.store_id = store_id);
        policies
    }

    /// Puts what rules had learned into the memories just read.
    pub(super) fn recall_learned(&mut self, learned: Vec<(Arc<str>, Vec<u8>)>) {
        for (fleet, bytes) in learned {
            let Some(kept) = self.kept.get_mut(&fleet).filter(|kept| !kept.refused) else { continue };
            match super::loads::restore(&mut kept.memory, &bytes) {
                Ok(loads) => kept.loads = Some(loads),
                Err(error) => {
                    tracing::error!(%fleet, %error, "The fleet's rules start without what they had learned.");
                    kept.refused = matches!(error, MemoryError::Newer { .. });
                }
            }
        }
    }

    /// What this daemon calls itself.
    pub(super) fn owner(&self) -> &Arc<str> {
        self.settings.owner.as_ref().unwrap_or(&self.store_id)
    }

    /// The chores that are due.
    pub(super) async fn chores(&mut self, now: Duration) {
        if now < self.chores.turn {
            return;
        }
        self.chores.turn = now + TURN;
        self.note_jump(now);
        self.published.metrics().upkeep();
        self.held_all = (self.hold_all)(self.clock.now());
        if now >= self.chores.lease {
            self.renew_lease(now).await;
        }
        if now >= self.chores.look {
            self.chores.look = now + LOOK;
            let fingerprint = self.policy_source.fingerprint();
            if fingerprint != self.chores.fingerprint {
                self.chores.fingerprint = fingerprint;
                // What is wrong is published and logged; nobody waits for the answer.
                let _ = self.reload(false).await;
            }
        }
        if now >= self.chores.tend {
            self.chores.tend = now + TEND;
            self.tend().await;
        }
    }

    fn note_jump(&mut self, monotonic: Duration) {
        let wall = self.clock.now();
        if let Some((last_wall, last)) = self.chores.last.replace((wall, monotonic)) {
            let jumped = wall.0 - last_wall.0 - contract::micros(monotonic.saturating_sub(last));
            if jumped.abs() > JUMP {
                tracing::warn!(seconds = jumped as f64 / 1e6, "The wall clock jumped.");
            }
        }
    }

    async fn renew_lease(&mut self, asked: Duration) {
        self.chores.lease = asked + RENEW;
        let owner = Arc::clone(self.owner());
        let was_held = self.lease.epoch(asked).is_some();
        match self.store.lease(owner, self.clock.now(), TTL).await {
            Ok(lease) => {
                if lease.held {
                    self.lease.grant(lease.epoch, asked);
                } else {
                    self.lease.lose();
                }
                if was_held != lease.held {
                    tracing::info!(held = lease.held, owner = %lease.owner, epoch = lease.epoch.0, "The lease changed.");
                }
                self.published.write(|view| view.process.lease_owner = lease.owner.into());
                if matches!(self.trouble, Trouble::Failing(_)) {
                    self.trouble = Trouble::None;
                }
            }
            // What is held runs out by itself.
            Err(error) => self.note_store_error(&error),
        }
    }

    async fn tend(&mut self) {
        self.keep_policies().await;
        match self.store.tend(self.clock.now()).await {
            Ok(stat) => {
                if !stat.full && matches!(self.trouble, Trouble::Full(_)) {
                    tracing::info!("The store has room again.");
                    self.trouble = Trouble::None;
                }
                self.published.write(|view| view.process.store = stat);
            }
            Err(error) => self.note_store_error(&error),
        }
    }

    /// Calls that are still under way.
    pub fn calls_in_air(&self) -> usize {
        self.calls.len()
    }

    /// Saves everything on the way out, with what ended meanwhile taken in.
    pub async fn finish_run(&mut self) -> StopReason {
        let now = self.clock.now();
        for at in 0..self.fleets.len() {
            let absorbed = self.absorb(u32::try_from(at).unwrap_or(u32::MAX), now);
            self.fleets[at].dirty |= absorbed.before.is_some();
        }
        if self.save_all().await {
            return StopReason::Asked;
        }
        let text = match &self.trouble {
            Trouble::None => "the store did not take the last memories".to_string(),
            Trouble::Full(text) | Trouble::Failing(text) | Trouble::Refusing(text) => text.to_string(),
        };
        StopReason::Unsaved(text)
    }

    /// Says that no new cycle will begin.
    pub fn show_stopping(&self) {
        self.published.write(|view| view.process.stopping = true);
    }
}
