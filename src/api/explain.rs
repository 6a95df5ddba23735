//! Why a decision was made: the journal's entry, replayed through the core of today under the policies of its time. The
//! same engine must give the same plan; another one says what it would decide, beside what was recorded. Nothing here
//! changes anything, so it works on a store that nobody else has open too.

use crate::store::{JournalEntry, Store, StoreError};
use contract::Timestamp;
use policies::memory::FleetMemory;
use policies::policy::{PolicySet, Severity};
use policies::trace::Stage;
use policies::wire::{Cycle, Line, parse_line, plan_json};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// The decision asked about.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The fleet.
    pub fleet: Arc<str>,
    /// The decision in force then; `None`: the newest.
    pub at: Option<Timestamp>,
}

/// A decision and its explanation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// The fleet.
    pub fleet: String,
    /// When the run of equal decisions began, in seconds since the epoch.
    pub at: f64,
    /// The run's last decision.
    pub until: f64,
    /// How many decisions.
    pub count: u64,
    /// The policies' revision then.
    pub revision: String,
    /// The engine's version then.
    pub engine: String,
    /// The decision, as `skala decide` writes it.
    pub decision: Value,
    /// What it was made from, as `skala decide` reads it; null when the entry keeps none.
    pub facts: Value,
    /// The replay.
    pub replay: Replay,
    /// Desired without each stage; empty without a replay.
    pub without: Vec<Without>,
}

/// How the replay went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Replay {
    /// The same plan, byte for byte.
    Identical,
    /// Another engine, or policies of which the store knows no more: what is said today.
    Differs {
        /// Why that is no surprise; `None`: it is one, since engine and policies are the same.
        because: Option<String>,
        /// Today's decision.
        decision: Value,
    },
    /// It could not be replayed.
    Impossible {
        /// Why.
        why: String,
    },
}

/// What a stage did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Without {
    /// The stage left out.
    pub stage: String,
    /// Desired then; null: unknown.
    pub desired: Option<u32>,
}

/// Explains a decision by the policies of its time, which the store keeps as long as the decision; `set` is what is in
/// force. `None` when the journal has none of that fleet at that time.
///
/// # Errors
/// When the journal cannot be read.
pub async fn explain(store: &dyn Store, set: &PolicySet, wanted: Wanted) -> Result<Option<Explained>, StoreError> {
    let Some(entry) = store.journal(wanted.fleet, wanted.at, 1).await?.pop() else { return Ok(None) };
    let then = if *entry.revision == *set.revision { None } else { policies_of(store, &entry.revision).await? };
    Ok(Some(explain_entry(then.as_ref().unwrap_or(set), &entry)))
}

/// The policies of a revision as this engine reads them; `None` when it takes them no more, or they are not kept.
async fn policies_of(store: &dyn Store, revision: &Arc<str>) -> Result<Option<PolicySet>, StoreError> {
    let Some(kept) = store.policies(Arc::clone(revision)).await? else { return Ok(None) };
    let (set, found) = crate::config::parse_policies(&kept.files, kept.interval, None);
    Ok(found.iter().all(|one| one.severity != Severity::Error).then_some(set))
}

fn explain_entry(set: &PolicySet, entry: &JournalEntry) -> Explained {
    // What is not JSON is shown as the text that it is: an explanation is the last place to hide anything.
    let value = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.into()));
    let (replay, without) = match replay(set, entry) {
        Ok((decision, without)) if decision == entry.decision => (Replay::Identical, without),
        Ok((decision, without)) => {
            (Replay::Differs { because: difference(set, entry), decision: value(&decision) }, without)
        }
        Err(why) => (Replay::Impossible { why }, Vec::new()),
    };
    Explained {
        fleet: entry.fleet.to_string(),
        at: entry.at.as_secs_f64(),
        until: entry.until.as_secs_f64(),
        count: entry.count,
        revision: entry.revision.to_string(),
        engine: entry.engine.to_string(),
        decision: value(&entry.decision),
        facts: if entry.facts.is_empty() { Value::Null } else { value(&entry.facts) },
        replay,
        without,
    }
}

fn difference(set: &PolicySet, entry: &JournalEntry) -> Option<String> {
    let mut because = Vec::new();
    if *entry.engine != *env!("CARGO_PKG_VERSION") {
        because.push(format!("engine {} decided, this is {}", entry.engine, env!("CARGO_PKG_VERSION")));
    }
    if *entry.revision != *set.revision {
        because.push(format!("the policies {} of then are not kept, these are {}", entry.revision, set.revision));
    }
    (!because.is_empty()).then(|| because.join("; "))
}

/// The decision of today's core and policies from the recorded facts, and desired without each stage.
fn replay(set: &PolicySet, entry: &JournalEntry) -> Result<(String, Vec<Without>), String> {
    if entry.facts.is_empty() {
        return Err("this entry keeps no facts; ask for a time at a change of desired or reason".into());
    }
    let cycle = match parse_line(&entry.facts) {
        Ok(Line::Cycle(cycle)) => cycle,
        Ok(Line::History { .. }) => return Err("the recorded facts are no cycle".into()),
        Err(error) => return Err(format!("the recorded facts cannot be read: {error}")),
    };
    let memory = match entry.memory_before.as_slice() {
        [] => FleetMemory::default(),
        bytes => FleetMemory::decode(bytes).map_err(|error| error.to_string())?,
    };
    let decision = decide(set, &cycle, &memory, None)?;
    let without = Stage::ALL.iter().map(|stage| {
        let plan = decide(set, &cycle, &memory, Some(*stage))?;
        Ok(Without { stage: stage.name().into(), desired: plan.decision.desired })
    });
    Ok((plan_json(set, &decision), without.collect::<Result<_, String>>()?))
}

fn decide(
    set: &PolicySet,
    cycle: &Cycle,
    memory: &FleetMemory,
    without: Option<Stage>,
) -> Result<policies::plan::FleetPlan, String> {
    let policy = set.fleet(&cycle.fleet).ok_or("the fleet is not in the policies now in force")?;
    let mut facts = cycle.facts(policy).map_err(|error| error.to_string())?;
    facts.without = without;
    let events = cycle.events(policy).map_err(|error| error.to_string())?;
    let mut memory = memory.clone();
    if !events.is_empty() {
        policies::absorb(policy, &mut memory, &events, cycle.now);
    }
    let proposal = policies::propose(policy, &facts, &memory);
    policies::settle(vec![proposal], cycle.budget).fleets.pop().ok_or_else(|| "no plan".into())
}
