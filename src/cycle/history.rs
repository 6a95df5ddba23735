//! What `objective` rules learn from a source's records: at the first start, and after gaps. In: fleets about to be
//! decided, and what tasks (`recorded`) learned. Out: one question for each query, however many fleets read it, and memory
//! that knows the past. Meanwhile rules decide and learn from live readings as ever: what was learned from records takes
//! the place of that when it comes, and covers the same time. A source that fails costs the past alone.

use super::recorded::{Job, Learned, PAST, Seeker};
use super::{Cycle, Fleet, loads};
use contract::Timestamp;
use policies::history;
use policies::memory::FleetMemory;
use policies::policy::Policy;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;

/// Requests to one source at once.
const AT_ONCE: usize = 2;
/// A question waits so long for other fleets that have the same: as long as the inputs of the first cycle may take.
const GATHER: Duration = Duration::from_secs(5);
/// Fleets that learn from one answer at most, since each has a copy of some 30 KiB meanwhile; more of them ask again.
const SEEKERS_MAX: usize = 1_024;
/// Fleets of which is kept what they knew before a gap, until it is filled or given up. With more, the others' gaps are not
/// filled: they have learned before, and go on learning.
const BASES_MAX: usize = 1_024;
/// The shortest time between two requests for one fleet; it doubles with each failure, up to 32 times. After one more a gap
/// is given up.
const AGAIN: Duration = Duration::from_secs(600);
const DOUBLINGS: u32 = 5;

/// How far one fleet's rules are with the past.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// Rules that were given their whole past: what they do not know now was not recorded.
    given: Vec<Box<str>>,
    /// Nothing is asked before this, in monotonic time.
    not_before: Duration,
    failures: u32,
    /// Metrics on their way.
    waits: u32,
    /// What rules knew before a gap, until it is filled.
    bases: FleetMemory,
}

/// What is asked, and what will be.
#[derive(Default)]
pub(super) struct Histories {
    waiting: BTreeMap<(u32, u64), Waiting>,
    running: Vec<Running>,
    /// Fleets with something in [`Past::bases`].
    bases: usize,
    round: Option<Round>,
}

struct Waiting {
    since: Duration,
    seekers: Vec<Wanted>,
}

struct Wanted {
    fleet: u32,
    metric: u16,
    rules: Box<[Box<str>]>,
    from: Option<Timestamp>,
}

struct Running {
    key: (u32, u64),
    source: u32,
    task: AbortHandle,
}

/// For the log: everything from the first question until none is left.
#[derive(Default)]
struct Round {
    taught: usize,
    values: usize,
    failed: usize,
}

impl Histories {
    /// Counts a fleet again, of which was kept nothing before, or something.
    fn count_bases(&mut self, had_none: bool, past: &Past) {
        match (had_none, past.bases.objectives.is_empty()) {
            (true, false) => self.bases += 1,
            (false, true) => self.bases = self.bases.saturating_sub(1),
            _ => {}
        }
    }
}

impl Past {
    /// How a new fleet begins; `None` for one whose rules learn nothing from records.
    pub fn of(policy: &Policy) -> Option<Box<Self>> {
        history::learns(policy).then(Box::default)
    }
}

impl Cycle {
    /// Notes what a fleet that is about to be decided could learn from records. What its rules know now is kept until then,
    /// since from this reading on they know a later time.
    pub(super) fn seek_history(&mut self, at: u32, now: Timestamp, monotonic: Duration) {
        let fleet = &self.fleets[at as usize];
        let Some(past) = fleet.past.as_ref().filter(|past| past.waits == 0 && monotonic >= past.not_before) else {
            return;
        };
        if fleet.refused {
            return;
        }
        let known = |rule: &str| past.bases.objectives.get(rule).or_else(|| fleet.memory.objectives.get(rule));
        let newest = |metric: u16| self.newest(at, metric, now);
        let mut wanted: BTreeMap<u16, Wanted> = BTreeMap::new();
        let mut bases = Vec::new();
        for lacking in history::lacking(&fleet.policy, known, newest) {
            if lacking.since.is_none() && past.given.iter().any(|given| **given == *lacking.rule) {
                continue;
            }
            if lacking.since.is_some() && past.bases.objectives.is_empty() && self.histories.bases >= BASES_MAX {
                continue;
            }
            if lacking.since.is_some() && !past.bases.objectives.contains_key(lacking.rule) {
                bases.push(Box::from(lacking.rule));
            }
            let of = wanted.entry(lacking.metric).or_insert_with(|| Wanted {
                fleet: at,
                metric: lacking.metric,
                rules: Box::default(),
                from: lacking.since,
            });
            of.from = of.from.min(lacking.since);
            of.rules = of.rules.iter().cloned().chain([lacking.rule.into()]).collect();
        }
        if wanted.is_empty() {
            return;
        }
        self.await_history(at, bases, wanted.into_values().collect(), monotonic);
    }

    /// The time of a metric's reading of now, if it can be decided from.
    fn newest(&self, at: u32, metric: u16, now: Timestamp) -> Option<Timestamp> {
        let of = self.fleets[at as usize].policy.metrics.get(usize::from(metric))?;
        let inputs = self.index.fleets[at as usize].metrics.get(usize::from(metric))?;
        let tick = self.fleets[at as usize].waits?.tick;
        match self.board.reading(of, *inputs, tick) {
            crate::sources::OwnedReading::Value { at, .. } if now.before(of.offset).since(at) <= of.max_age => Some(at),
            _ => None,
        }
    }

    fn await_history(&mut self, at: u32, bases: Vec<Box<str>>, wanted: Vec<Wanted>, monotonic: Duration) {
        let Self { fleets, index, histories, polls, .. } = self;
        let fleet = &mut fleets[at as usize];
        let Some(past) = fleet.past.as_mut() else { return };
        let step = fleet.policy.interval.as_secs().div_ceil(60).max(1) * 60;
        let had_none = past.bases.objectives.is_empty();
        bases.iter().for_each(|rule| history::take_down(&fleet.memory, rule, &mut past.bases));
        for of in wanted {
            let query = index.fleets[at as usize].metrics[usize::from(of.metric)].value;
            let source = index.queries[query as usize].source;
            if !polls.records(&index.sources[source as usize]) {
                // Its gaps will never be filled.
                of.rules.iter().for_each(|rule| history::forget(&mut past.bases, rule));
                past.given.extend(of.rules);
                continue;
            }
            past.waits += 1;
            let waiting = histories.waiting.entry((query, step));
            waiting.or_insert_with(|| Waiting { since: monotonic, seekers: Vec::new() }).seekers.push(of);
        }
        histories.count_bases(had_none, past);
        if past.waits == 0 {
            // There is nobody to ask, so gaps need not be looked for often.
            past.not_before = monotonic + AGAIN;
        }
    }

    /// Starts the requests whose turn it is.
    pub(super) fn ask_history(&mut self, monotonic: Duration) {
        if self.histories.waiting.is_empty() {
            return;
        }
        let due = self.histories.waiting.iter().filter(|(_, of)| of.since + GATHER <= monotonic);
        let keys: Vec<(u32, u64)> = due.map(|(key, _)| *key).collect();
        for key in keys {
            let source = self.index.queries[key.0 as usize].source;
            let running = &self.histories.running;
            let of_source = running.iter().filter(|other| other.source == source).count();
            if of_source < AT_ONCE && running.iter().all(|other| other.key != key) {
                self.start_history(key, source);
            }
        }
    }

    fn start_history(&mut self, key: (u32, u64), source: u32) {
        if self.histories.round.is_none() {
            let fleets: usize = self.histories.waiting.values().map(|of| of.seekers.len()).sum();
            tracing::info!(fleets, queries = self.histories.waiting.len(), "Recorded values are asked for.");
            self.histories.round = Some(Round::default());
        }
        let Some(waiting) = self.histories.waiting.get_mut(&key) else { return };
        let rest = waiting.seekers.len().saturating_sub(SEEKERS_MAX);
        let wanted = waiting.seekers.split_off(rest);
        if rest == 0 {
            self.histories.waiting.remove(&key);
        }
        let oldest = self.clock.now().before(PAST);
        let from = wanted.iter().map(|of| of.from.map_or(oldest, |from| from.max(oldest))).min().unwrap_or(oldest);
        let ask = self.index.queries[key.0 as usize].ask.clone();
        let name = &self.index.sources[source as usize];
        tracing::debug!(source = %name, query = %ask.query, fleets = wanted.len(), %from, "Asking for recorded values.");
        let seekers = wanted.into_iter().map(|of| self.seeker(of)).collect();
        let task = self.polls.history(self.generation, name, Job { key, ask, from, seekers });
        self.histories.running.push(Running { key, source, task });
    }

    fn seeker(&self, of: Wanted) -> Seeker {
        let fleet = &self.fleets[of.fleet as usize];
        let nothing = FleetMemory::default();
        let bases = fleet.past.as_ref().map_or(&nothing, |past| &past.bases);
        let memory = history::copy(&fleet.memory, bases, &of.rules);
        let policy = Arc::clone(&fleet.policy);
        Seeker { fleet: of.fleet, policy, metric: of.metric, rules: of.rules, memory, values: 0 }
    }

    /// Takes in what was learned from records, or that nothing was.
    pub(super) fn history_came(&mut self, learned: Learned, took: Duration) {
        let Learned { key, seekers, result } = learned;
        self.histories.running.retain(|other| other.key != key);
        let query = &self.index.queries[key.0 as usize];
        let name = Arc::clone(&self.index.sources[query.source as usize]);
        let outcome = result.as_ref().err().map_or("ok", |error| error.why.code());
        self.published.metrics().history_request(&name, outcome);
        let mut round = self.histories.round.take().unwrap_or_default();
        let (text, seconds) = (&query.ask.query, took.as_secs_f64());
        if let Err(error) = &result {
            round.failed += seekers.len();
            let go_on = "No recorded values; the rules go on with what they learn live.";
            if round.failed == seekers.len() {
                tracing::warn!(source = %name, query = %text, fleets = seekers.len(), seconds, %error, "{go_on}");
            } else {
                // A source that is down fails for every query; the end of the round counts them.
                tracing::debug!(source = %name, query = %text, fleets = seekers.len(), seconds, %error, "{go_on}");
            }
        }
        for seeker in seekers {
            round.values += seeker.values;
            round.taught += usize::from(self.succeed(seeker, result.is_ok()));
        }
        if self.histories.waiting.is_empty() && self.histories.running.is_empty() {
            let Round { taught, values, failed } = round;
            tracing::info!(taught, values, failed, "Recorded values were taken in.");
        } else {
            self.histories.round = Some(round);
        }
    }

    /// Gives a fleet what a copy of it learned; says whether it learned anything.
    fn succeed(&mut self, seeker: Seeker, came: bool) -> bool {
        let monotonic = self.clock.monotonic();
        let fleet = &mut self.fleets[seeker.fleet as usize];
        let Some(past) = fleet.past.as_mut() else { return false };
        past.waits = past.waits.saturating_sub(1);
        let had_none = past.bases.objectives.is_empty();
        let mut changed = false;
        if came {
            past.failures = 0;
            past.not_before = monotonic + AGAIN;
            let mut copy = seeker.memory;
            for rule in &seeker.rules {
                changed |= history::succeed(&mut fleet.memory, rule, &mut copy);
            }
            seeker.rules.iter().for_each(|rule| history::forget(&mut past.bases, rule));
            past.given.extend(seeker.rules);
        } else {
            past.not_before = monotonic + AGAIN * (1 << past.failures.min(DOUBLINGS));
            past.failures += 1;
            if past.failures > DOUBLINGS && seeker.rules.iter().any(|rule| past.bases.objectives.contains_key(rule)) {
                // The gap is given up, so that others' can be filled; the next one is asked for as often.
                seeker.rules.iter().for_each(|rule| history::forget(&mut past.bases, rule));
                past.failures = 0;
            }
        }
        self.histories.count_bases(had_none, past);
        if changed {
            // The next entry of the journal has the memory from which it was decided.
            fleet.run.end();
            fleet.learned_due = Some(monotonic);
            if !fleet.dirty {
                fleet.dirty = true;
                self.dirty.push_back((monotonic, seeker.fleet));
            }
        }
        changed
    }

    /// Another policy set is in force: what is under way was asked for the old one. Fleets ask again when they are decided.
    pub(super) fn drop_history(&mut self) {
        let histories = std::mem::take(&mut self.histories);
        histories.running.iter().for_each(|running| running.task.abort());
        let pasts = self.fleets.iter_mut().filter_map(|fleet| fleet.past.as_mut());
        self.histories.bases = pasts
            .filter_map(|past| {
                past.waits = 0;
                (!past.bases.objectives.is_empty()).then_some(())
            })
            .count();
    }
}

impl Fleet {
    /// What the rules of another policy know of the past, and what they have to ask for anew.
    pub(super) fn history_under(&mut self, policy: &Policy) {
        let now = loads::of(policy);
        let changed = loads::keep_same(&mut self.memory, &loads::of(&self.policy), &now);
        if !changed.is_empty() || self.past.is_none() && !now.is_empty() {
            self.learned_due = Some(Duration::ZERO);
            self.dirty = true;
        }
        let known = |rule: &str| now.contains_key(rule) && !changed.iter().any(|changed| **changed == *rule);
        match &mut self.past {
            Some(past) if !now.is_empty() => {
                past.given.retain(|rule| known(rule));
                let gone: Vec<_> = past.bases.objectives.keys().filter(|rule| !known(rule)).cloned().collect();
                gone.iter().for_each(|rule| history::forget(&mut past.bases, rule));
            }
            past => *past = Past::of(policy),
        }
        if !changed.is_empty() {
            self.past = Past::of(policy);
            self.run.end();
        }
        say_changed(&self.id, &changed);
    }
}

/// Says which rules begin anew.
pub(super) fn say_changed(fleet: &str, rules: &[Box<str>]) {
    if !rules.is_empty() {
        tracing::info!(%fleet, ?rules, "The rules read another load now, and learn it from the start.");
    }
}
