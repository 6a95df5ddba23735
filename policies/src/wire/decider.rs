//! The pure core as a filter over lines: `decide`, `test` and (later) `backtest` are this.

use super::input::{Cycle, Line, parse_line};
use super::output::plan_json_into;
use super::{LineError, error_json};
use crate::memory::{FleetMemory, VERSION};
use crate::policy::PolicySet;
use crate::{absorb, absorb_history, propose, settle};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A decider: policies and each fleet's memory.
#[derive(Debug)]
pub struct Decider {
    set: PolicySet,
    memories: BTreeMap<Box<str>, FleetMemory>,
    /// The last line of each fleet and its answer, kept once memory is saved: whoever was killed between the save and
    /// the answer asks again, and gets the same answer.
    answers: Option<BTreeMap<Box<str>, Answered>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Answered {
    line: u64,
    answer: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    skala_memory: u8,
    fleets: BTreeMap<Box<str>, FleetMemory>,
    answers: BTreeMap<Box<str>, Answered>,
}

impl Decider {
    /// A decider with empty memory.
    pub fn new(set: PolicySet) -> Self {
        Self { set, memories: BTreeMap::new(), answers: None }
    }

    /// The policies.
    pub fn policies(&self) -> &PolicySet {
        &self.set
    }

    /// Takes one input line, gives one output line (without a line feed), or `None` for a history line.
    pub fn line(&mut self, text: &str) -> Option<String> {
        let mut answer = String::new();
        self.line_into(text, &mut answer).then_some(answer)
    }

    /// As [`Decider::line`], into a buffer that the caller reuses; false when there is no answer.
    pub fn line_into(&mut self, text: &str, answer: &mut String) -> bool {
        answer.clear();
        match self.answer(text, answer) {
            Ok(answered) => answered,
            Err(error) => {
                answer.clear();
                answer.push_str(&error_json(&error));
                true
            }
        }
    }

    fn answer(&mut self, text: &str, answer: &mut String) -> Result<bool, LineError> {
        let cycle = match parse_line(text)? {
            Line::Cycle(cycle) => cycle,
            Line::History { fleet, metrics } => {
                let policy = self.set.fleet(&fleet).ok_or_else(|| self.unknown_fleet(&fleet))?;
                let memory = self.memories.entry(fleet).or_default();
                for (name, values) in &metrics {
                    absorb_history(policy, memory, name, values);
                }
                return Ok(false);
            }
        };
        if let Some(answers) = &self.answers
            && let Some(last) = answers.get(&cycle.fleet)
            && last.line == fingerprint(text)
        {
            answer.push_str(&last.answer);
            return Ok(true);
        }
        self.decide(&cycle, answer)?;
        if let Some(answers) = &mut self.answers {
            answers.insert(cycle.fleet, Answered { line: fingerprint(text), answer: answer.clone() });
        }
        Ok(true)
    }

    /// One cycle; memory changes only when all of it went well.
    fn decide(&mut self, cycle: &Cycle, answer: &mut String) -> Result<(), LineError> {
        let policy = self.set.fleet(&cycle.fleet).ok_or_else(|| self.unknown_fleet(&cycle.fleet))?;
        let empty = FleetMemory::default();
        let known = self.memories.get(&cycle.fleet).unwrap_or(&empty);
        if let Some(last) = known.now.filter(|last| cycle.now <= *last) {
            return Err(LineError(format!("`now` does not grow: {} after {last}", cycle.now)));
        }
        let facts = cycle.facts(policy)?;
        let events = cycle.events(policy)?;
        let mut plan = if events.is_empty() {
            settle(vec![propose(policy, &facts, known)], cycle.budget)
        } else {
            let mut memory = known.clone();
            absorb(policy, &mut memory, &events, cycle.now);
            settle(vec![propose(policy, &facts, &memory)], cycle.budget)
        };
        let Some(plan) = plan.fleets.pop() else { return Err(LineError("no plan".into())) };
        plan_json_into(&self.set, &plan, answer);
        match self.memories.get_mut(&cycle.fleet) {
            Some(memory) => *memory = plan.memory,
            None => {
                self.memories.insert(cycle.fleet.clone(), plan.memory);
            }
        }
        Ok(())
    }

    fn unknown_fleet(&self, fleet: &str) -> LineError {
        LineError(format!("no policy for fleet `{fleet}`"))
    }

    /// The memory of all fleets as text, for `decide --memory FILE`.
    pub fn save(&mut self) -> String {
        let answers = self.answers.get_or_insert_default().clone();
        let saved = Saved { skala_memory: VERSION, fleets: self.memories.clone(), answers };
        // Plain data with text keys: there is no way for this to fail.
        serde_json::to_string(&saved).unwrap_or_default()
    }

    /// Reads what [`Decider::save`] wrote.
    ///
    /// # Errors
    /// When the text is not a memory, or from a newer skala.
    pub fn load(&mut self, text: &str) -> Result<(), LineError> {
        #[derive(Deserialize)]
        struct Head {
            skala_memory: u8,
        }
        let head: Head = serde_json::from_str(text)
            .map_err(|error| LineError(format!("not a memory of `skala decide`: {error}")))?;
        if head.skala_memory > VERSION {
            return Err(LineError(format!(
                "memory of version {} is newer than this skala's {VERSION}",
                head.skala_memory
            )));
        }
        let saved: Saved = serde_json::from_str(text)
            .map_err(|error| LineError(format!("not a memory of `skala decide`: {error}")))?;
        if let Some((fleet, _)) = saved.fleets.iter().find(|(_, memory)| !memory.is_sound()) {
            return Err(LineError(format!("the memory of fleet `{fleet}` is damaged")));
        }
        self.memories = saved.fleets;
        self.answers = Some(saved.answers);
        Ok(())
    }

    /// Keeps the last answers from the first line on, as `--memory` needs it before the first save.
    pub fn keep_answers(&mut self) {
        self.answers.get_or_insert_default();
    }
}

/// FNV-1a, 64 bits: tells one line from the next, nothing more.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
