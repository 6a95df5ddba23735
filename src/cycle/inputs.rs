//! A cycle's first half: what the due fleets need is asked once for all of them, and answers go to the board. In: fleets
//! that are due, finished polls. Out: fleets that have all their inputs. Nothing here waits.

use super::observe::{self, Answered, Finished, Frame, Unread};
use super::{Cycle, Waits};
use crate::board::Tick;
use contract::{Ask, Observation};
use policies::facts::GroupError;
use std::sync::Arc;
use std::time::Duration;

/// Groups that a provider is asked for together. Many of any cloud's pages, so that batches stay whole; few enough that
/// the first of ten thousand are decided, and their old observations gone, before the last have come.
const GROUPS_AT_ONCE: usize = 500;

impl Cycle {
    /// Asks for everything that these fleets need. A fleet that still waits for its last inputs is not asked for again.
    pub(super) fn begin(&mut self, due: &[u32], now: Duration) {
        self.tick += 1;
        let (mut groups, mut queries) = (Vec::new(), Vec::new());
        let mut longest = Duration::ZERO;
        for &at in due {
            let fleet = &mut self.fleets[at as usize];
            if fleet.waits.is_some() {
                continue;
            }
            let inputs = &self.index.fleets[at as usize];
            let wait = observe::deadline(fleet.policy.interval);
            let count = inputs.groups.len() + inputs.queries.len();
            let inputs_count = u32::try_from(count).unwrap_or(u32::MAX);
            fleet.waits = Some(Waits { tick: self.tick, inputs: inputs_count, deadline: now + wait, from: now });
            self.deadlines.add(now + wait, at);
            longest = longest.max(wait);
            groups.extend_from_slice(&inputs.groups);
            queries.extend_from_slice(&inputs.queries);
        }
        groups.sort_unstable();
        groups.dedup();
        queries.sort_unstable();
        queries.dedup();
        let frame = Frame { generation: self.generation, tick: self.tick, deadline: longest };
        // Both are sorted by provider or source first, so each one's share is one slice.
        for slice in groups.chunk_by(|a, b| self.provider_of(*a) == self.provider_of(*b)) {
            let provider = self.provider_of(slice[0]);
            for part in slice.chunks(GROUPS_AT_ONCE) {
                let asks = part.iter().map(|group| self.ask(*group)).collect();
                self.polls.groups(frame, &self.index.providers[provider as usize], part.to_vec(), asks);
            }
        }
        for slice in queries.chunk_by(|a, b| self.source_of(*a) == self.source_of(*b)) {
            let source = self.source_of(slice[0]);
            let asks = slice.iter().map(|query| (*query, self.index.queries[*query as usize].ask.clone())).collect();
            self.polls.queries(frame, (source, &self.index.sources[source as usize]), asks);
        }
    }

    fn provider_of(&self, group: u32) -> u32 {
        self.index.groups[group as usize].provider
    }

    fn source_of(&self, query: u32) -> u32 {
        self.index.queries[query as usize].source
    }

    /// The question about one group, with what its fleet's memory knows.
    fn ask(&self, group: u32) -> Ask {
        let mut ask = Ask::new(self.index.groups[group as usize].group.clone());
        for &reader in self.index.readers_of_group(group) {
            let fleet = &self.fleets[reader as usize];
            let place = self.index.fleets[reader as usize].groups.iter().position(|known| *known == group);
            let Some(place) = place else { continue };
            ask.open_actions.extend(fleet.open.iter().filter(|(at, _)| usize::from(*at) == place).map(|(_, id)| *id));
            let group = &fleet.policy.groups[place];
            let kept = fleet.memory.groups.iter().find(|kept| group.is_key(&kept.key));
            ask.intent = kept.and_then(|kept| Some(kept.desired? + fleet.memory.held(kept)));
            let begun = kept.and_then(|kept| fleet.memory.operations.get(&kept.key));
            ask.operations.extend(begun.into_iter().flat_map(|begun| begun.names.iter().cloned()));
        }
        ask
    }

    /// Puts finished polls on the board and notes which fleets have all their inputs.
    pub fn arrived(&mut self, finished: impl Iterator<Item = Finished>) {
        for poll in finished {
            if let Answered::Drain(done) = poll.what {
                self.drain_done(done);
                continue;
            }
            if poll.generation != self.generation {
                self.published.metrics().late_answer();
                continue;
            }
            match poll.what {
                Answered::Groups { groups, answers } => {
                    for (group, answer) in groups.into_iter().zip(answers) {
                        let answer = self.note_read(group, answer);
                        self.board.put_group(group, poll.tick, answer);
                        for at in 0..self.index.readers_of_group(group).len() {
                            self.input_came(self.index.readers_of_group(group)[at], poll.tick);
                        }
                    }
                }
                Answered::Drain(_) => {}
                Answered::History(learned) => self.history_came(*learned, poll.took),
                Answered::Query { source, query, answer } => {
                    self.note_answer(source, answer.answer(), poll.took);
                    self.board.put_answer(query, poll.tick, answer);
                    for at in 0..self.index.readers_of_query(query).len() {
                        self.input_came(self.index.readers_of_query(query)[at], poll.tick);
                    }
                }
            }
        }
    }

    /// Keeps a provider's own words for people. They are logged when the kind of trouble changes: the words may differ with
    /// every request, and be the same for a thousand groups.
    fn note_read(&mut self, group: u32, answer: Result<Observation, Unread>) -> Result<Observation, GroupError> {
        let name = &self.index.providers[self.provider_of(group) as usize];
        match answer {
            Ok(observation) => {
                if self.unread.remove(&group).is_some() {
                    self.complaints.remove(name);
                }
                Ok(observation)
            }
            Err(Unread { error, text: None }) => {
                // What was said before is not about this.
                self.unread.remove(&group);
                Err(error)
            }
            Err(Unread { error, text: Some(text) }) => {
                let is_known = self.unread.get(&group).is_some_and(|last| last.error == error);
                if !is_known && self.complaints.get(name) != Some(&error) {
                    let group = &self.index.groups[group as usize].group;
                    tracing::warn!(provider = %name, %group, error = %text, "A group cannot be read.");
                    self.complaints.insert(Arc::clone(name), error.clone());
                }
                self.unread.insert(group, Unread { error: error.clone(), text: Some(text) });
                Err(error)
            }
        }
    }

    fn input_came(&mut self, fleet: u32, tick: Tick) {
        // Only answers to its own tick count; another tick's is a second answer to somebody else's question.
        if let Some(waits) = self.fleets[fleet as usize].waits.as_mut().filter(|waits| waits.tick == tick) {
            waits.inputs = waits.inputs.saturating_sub(1);
            if waits.inputs == 0 {
                self.ready.push(fleet);
            }
        }
    }
}
