//! START HERE: one cycle of a fleet, from its inputs to what is remembered.
//!
//! `begin` asks for what the due fleets need (`inputs`, `observe`), `arrived` puts answers on the board, `decide` plans the fleets
//! whose inputs are there (`plan`), makes what must be durable so (`record`), has it carried out (`act`) and keeps the
//! rest in memory (`remember`). Beside that, rules learn what sources recorded (`history`, `recorded`, `loads`). One task
//! owns all of this, so there is one order of things and one seed gives one run.
//! Nothing here waits for a cloud: calls are tasks whose answers come back as messages.

pub(crate) mod act;
pub mod brakes;
mod drains;
pub(crate) mod dry;
mod history;
mod inputs;
pub(crate) mod lease;
mod loads;
pub(crate) mod observe;
pub(crate) mod overrides;
mod plan;
mod record;
mod recorded;
mod reload;
mod remember;
mod show;
mod start;

use crate::app::{Compile, HoldAll, Settings};
use crate::board::{Board, Index, Tick};
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::policy_sources::PolicySource;
use crate::published::{FleetStatus, Published};
use crate::scheduler::Agenda;
use crate::store::hold_all::InForce;
use crate::store::{OverrideRow, PolicyFiles, Store};
use act::{Ended, Hands};
use brakes::Brakes;
use contract::{ActionId, Timestamp};
use lease::LeaseView;
use observe::{Finished, Polls, Unread};
use policies::facts::GroupError;
use policies::memory::{Event, FleetMemory, Outcome};
use policies::plan::Action;
use policies::policy::{Policy, PolicySet};
use remember::Run;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Everything that the actor owns.
pub(crate) struct Cycle {
    pub clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    store: Arc<dyn Store>,
    policy_source: Arc<dyn PolicySource>,
    compile: Compile,
    hold_all: HoldAll,
    settings: Settings,
    published: Published,
    polls: Polls,
    hands: Hands,
    lease: LeaseView,
    set: Arc<PolicySet>,
    index: Index,
    board: Board,
    /// Counts policy sets; answers for an older one are dropped.
    generation: u64,
    tick: Tick,
    fleets: Vec<Fleet>,
    /// The sum of what the fleets last held.
    current: u64,
    /// Memories, overrides and so on of fleets that a restart or a reload may bring.
    kept: BTreeMap<Arc<str>, Kept>,
    brakes: Brakes,
    histories: history::Histories,
    drains: drains::Drains,
    calls: BTreeMap<ActionId, Call>,
    /// Why groups could not be read when their providers last said so.
    unread: BTreeMap<u32, Unread>,
    /// What kind of trouble was logged last, by provider.
    complaints: BTreeMap<Arc<str>, GroupError>,
    trouble: Trouble,
    held_all: Option<InForce>,
    store_id: Arc<str>,
    /// Fleets whose memory is newer than the store's, by when they became so.
    dirty: VecDeque<(Duration, u32)>,
    /// Journal entries of all fleets that are not in the store yet.
    unsaved: usize,
    /// The policies in force, while the store does not have them.
    unkept: Option<PolicyFiles>,
    /// When fleets are due, and when those that wait give up.
    due: Agenda,
    deadlines: Agenda,
    ready: Vec<u32>,
    undecided: usize,
    chores: start::Chores,
}

/// One fleet's share of the actor's memory.
struct Fleet {
    id: Arc<str>,
    policy: Arc<Policy>,
    memory: FleetMemory,
    /// Its memory is from a newer skala: nothing is done (and the memory is not overwritten).
    refused: bool,
    /// What happened since its last decision.
    events: Vec<Event>,
    override_now: Option<Arc<OverrideRow>>,
    next_due: Duration,
    waits: Option<Waits>,
    /// A read of the group counts again from questions after this tick; by the policy's groups.
    read_after: Box<[Tick]>,
    /// Recorded actions whose effect has not been observed, by the policy's groups.
    open: Vec<(u16, ActionId)>,
    /// Calls under way, by the policy's groups.
    in_air: Vec<(u16, ActionId)>,
    /// What it last held, for the brakes' percentage.
    current: u32,
    run: Run,
    /// What its rules learn from records; `None` when none of them does.
    past: Option<Box<history::Past>>,
    /// When what its rules have learned is saved next, in monotonic time; `None`: there is nothing to save.
    learned_due: Option<Duration>,
    /// The store has that inside the memory alone, as memories of old do.
    learned_inside: bool,
    dirty: bool,
    status: Arc<FleetStatus>,
}

/// A fleet that has been asked for and not decided yet.
#[derive(Clone, Copy)]
struct Waits {
    tick: Tick,
    inputs: u32,
    deadline: Duration,
    from: Duration,
}

/// What the store kept for a fleet that is not in force.
#[derive(Default)]
struct Kept {
    memory: FleetMemory,
    /// The loads that its rules have learned; `None`: a memory of old does not say.
    loads: Option<loads::Loads>,
    refused: bool,
    override_now: Option<Arc<OverrideRow>>,
    restarted: bool,
    /// Actions of an earlier life: provider and group.
    unclear: Vec<(Arc<str>, Arc<str>)>,
}

/// A call to a cloud that is under way or waits for its turn.
struct Call {
    provider: Arc<str>,
    group: Arc<str>,
}

/// The store's trouble, as it bears on what may be done (safety rule 18).
#[derive(Clone, Debug, Default, PartialEq)]
enum Trouble {
    #[default]
    None,
    /// Full: nothing is removed.
    Full(Arc<str>),
    /// It failed and may recover: nothing is done.
    Failing(Arc<str>),
    /// It is damaged or newer than us: nothing is done until a restart.
    Refusing(Arc<str>),
}

/// Fleets that are planned and recorded together.
const DECIDED_AT_ONCE: usize = 256;

impl Fleet {
    /// Whether a refusal to launch tells something new of a group that has others beside it. A probe's does not: one that
    /// were decided on at once would be followed by the next.
    fn is_news(&self, group: usize) -> bool {
        let of = &self.policy.groups[group];
        let known = self.memory.offerings.iter().find(|(key, _)| of.is_key(key));
        self.policy.groups.len() > 1 && !known.is_some_and(|(_, offering)| offering.is_down())
    }
}

impl Cycle {
    /// One turn of the loop: fleets that are due begin, fleets that have waited enough are ready, the ready are decided.
    pub async fn turn(&mut self) {
        let now = self.clock.monotonic();
        self.chores(now).await;
        let mut due = self.due.pop(now);
        due.retain(|(at, fleet)| self.fleets.get(*fleet as usize).is_some_and(|fleet| fleet.next_due == *at));
        if !due.is_empty() {
            let late = due.iter().map(|(at, _)| now.saturating_sub(*at)).max().unwrap_or_default();
            self.published.metrics().lag(late);
            let mut fleets: Vec<u32> = due.into_iter().map(|(_, fleet)| fleet).collect();
            fleets.sort_unstable();
            fleets.dedup();
            self.begin(&fleets, now);
            fleets.iter().for_each(|fleet| self.plan_next(*fleet, now));
        }
        for (at, fleet) in self.deadlines.pop(now) {
            let waits = self.fleets.get(fleet as usize).and_then(|fleet| fleet.waits);
            if waits.is_some_and(|waits| waits.deadline == at && waits.inputs > 0) {
                self.ready.push(fleet);
            }
        }
        if !self.ready.is_empty() {
            let ready = std::mem::take(&mut self.ready);
            self.decide(ready).await;
        }
        self.ask_history(now);
        self.remember(now).await;
        self.show_process();
        // Every fleet that was due has begun, and every one that had its inputs or waited too long has been decided.
        if self.undecided == 0 {
            self.published.beat(self.clock.monotonic());
        }
    }

    /// Decides the fleets whose inputs are there, those with the larger priority first.
    async fn decide(&mut self, mut ready: Vec<u32>) {
        ready.retain(|at| self.fleets[*at as usize].waits.is_some());
        ready.sort_unstable_by_key(|at| (std::cmp::Reverse(self.fleets[*at as usize].policy.priority), *at));
        let now = self.clock.now();
        for &at in &ready {
            self.end_expired_override(at, now).await;
        }
        let monotonic = self.clock.monotonic();
        // In parts, since a plan of ten thousand fleets at once takes as much memory as all that is known of them. What one
        // part books, the brakes leave the next one less.
        for part in ready.chunks(DECIDED_AT_ONCE) {
            part.iter().for_each(|at| self.seek_history(*at, now, monotonic));
            let absorbed = part.iter().map(|at| self.absorb(*at, now)).collect();
            let batch = plan::Batch { now, monotonic, absorbed };
            let planned = self.plan(&batch, part.iter().copied().zip(0..).collect(), &[]);
            self.record(&batch, planned).await;
            for at in part {
                if let Some(waits) = self.fleets[*at as usize].waits.take() {
                    self.published.metrics().cycle(monotonic.saturating_sub(waits.from));
                }
            }
            self.remember(monotonic).await;
        }
    }

    /// Takes in how calls ended: first in the store, then as events of the next decision.
    pub async fn ended(&mut self, ended: Vec<Ended>) {
        let now = self.clock.now();
        let rows = ended.iter().map(|end| (end.row.id, end.outcome, end.code.to_string(), now)).collect();
        if let Err(error) = self.store.outcomes(rows).await {
            // The action stays open in the store, so a restart takes it for unclear: the careful reading.
            self.note_store_error(&error);
        }
        for end in ended {
            self.log_ended(&end);
            self.count_ended(&end);
            self.calls.remove(&end.row.id);
            self.land(&end.row);
            if end.outcome == Outcome::Refused {
                self.brakes.refund(end.row.id);
            }
            let tick = self.tick;
            let Some(fleet) = self.fleet_mut(&end.row.fleet) else { continue };
            let (provider, name) = (&*end.row.provider, &*end.row.group_name);
            let same = |group: &policies::policy::Group| *group.provider == *provider && group.group.as_str() == name;
            let Some(group) = fleet.policy.groups.iter().position(same) else { continue };
            let index = u16::try_from(group).unwrap_or(u16::MAX);
            // Why a removal was refused says nothing of launches.
            let of_launches = if matches!(end.row.action, Action::Raise { .. }) { end.code } else { "" };
            let event = Event::ended(index, end.outcome, of_launches);
            let is_news = matches!(event, Event::Outcome { cannot_launch: true, .. }) && fleet.is_news(group);
            fleet.events.push(event);
            match end.outcome {
                Outcome::Accepted if end.operations.is_empty() => {}
                Outcome::Accepted => {
                    let key = format!("{provider}/{name}").into();
                    let begun = fleet.memory.operations.entry(key).or_default();
                    begun.at = now;
                    begun.names.extend(end.operations);
                }
                Outcome::Refused => fleet.open.retain(|(_, id)| *id != end.row.id),
                // What is asked from now on shows what the call has done; an answer on its way may not.
                Outcome::Unclear => fleet.read_after[group] = tick,
            }
            if is_news && let Ok(at) = self.fleets.binary_search_by(|fleet| (*fleet.id).cmp(&end.row.fleet)) {
                // What it cannot launch has a place elsewhere, and nothing that is still to come would change that.
                self.due_now(u32::try_from(at).unwrap_or(u32::MAX), self.clock.monotonic());
            }
        }
    }

    /// A call is no longer under way. Its group may have passed to another fleet meanwhile.
    fn land(&mut self, row: &crate::store::ActionRow) {
        let mut landed = |fleet: &mut Fleet| {
            let before = fleet.in_air.len();
            fleet.in_air.retain(|(_, id)| *id != row.id);
            fleet.in_air.len() < before
        };
        if !self.fleet_mut(&row.fleet).is_some_and(&mut landed) {
            self.fleets.iter_mut().any(landed);
        }
    }

    fn fleet_mut(&mut self, id: &str) -> Option<&mut Fleet> {
        self.fleets.binary_search_by(|fleet| (*fleet.id).cmp(id)).ok().map(|at| &mut self.fleets[at])
    }

    /// When the loop has something to do next.
    pub fn next_wake(&self) -> Duration {
        let soonest = [self.due.first(), self.deadlines.first()].into_iter().flatten().min();
        soonest.unwrap_or(Duration::MAX).min(self.chores.next())
    }

    /// Puts a fleet into the calendar for its next cycle.
    fn plan_next(&mut self, at: u32, now: Duration) {
        let fleet = &mut self.fleets[at as usize];
        fleet.next_due = crate::scheduler::next_due(now, &fleet.policy);
        self.due.add(fleet.next_due, at);
    }

    fn due_now(&mut self, at: u32, now: Duration) {
        self.fleets[at as usize].next_due = now;
        self.due.add(now, at);
    }

    /// Takes in what happened to a fleet since its last decision.
    fn absorb(&mut self, at: u32, now: Timestamp) -> plan::Absorbed {
        let fleet = &mut self.fleets[at as usize];
        let events = std::mem::take(&mut fleet.events);
        let before = (!events.is_empty()).then(|| fleet.memory.encode());
        if !events.is_empty() {
            policies::absorb(&fleet.policy, &mut fleet.memory, &events, now);
        }
        plan::Absorbed { events, before }
    }
}
