//! Taking over from a cloud's own scaler, and giving it back. In come what the scaler can switch, what a daemon says of
//! its fleet and the records beside the store; out goes a scaler that may not act, or acts as before, and a record of
//! which it is.
//!
//! The record comes first: how to undo a suspension is on disk before anything is switched, so a process that dies in
//! between leaves a handover that is finished or undone by asking again. Undoing needs no daemon and no store, only the
//! record: it is what a person reaches for when skala itself is the trouble.

pub mod guards;
pub mod records;
#[cfg(test)]
mod tests;

use contract::native::{Native, Switch};
use contract::{GroupId, ProviderError, Timestamp, Undo};
use records::{Handover, Records, Stage};
use std::io;
use thiserror::Error;

/// Which group, and who asks when.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The fleet, as far as it is known.
    pub fleet: String,
    /// The provider's name.
    pub provider: String,
    /// The group's name there.
    pub group: GroupId,
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// How a handover ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The scaler may not act; these switches are recorded.
    Suspended(Vec<Switch>),
    /// It was handed over already and nothing had come back.
    Already(Vec<Switch>),
    /// The group has no scaler that may act, so there is nothing to undo either.
    Nothing,
}

/// How giving back ended. Either way the record is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returned {
    /// The scaler stands as before.
    Restored(Vec<Switch>),
    /// The group does not exist any more: these switches went with it.
    Gone(Vec<Switch>),
}

/// Why a handover or its undoing did not end.
#[derive(Debug, Error)]
pub enum HandoverError {
    /// The group was never handed over from here.
    #[error("{0} has not been handed over: there is no record of it, so nothing is switched")]
    NotHandedOver(String),
    /// The cloud refused or did not answer while the scaler was suspended. The record stays.
    #[error("{what}; the record stays, so ask again, or undo it with --back")]
    Cloud {
        /// What was under way.
        what: String,
        /// Why it did not end.
        #[source]
        source: ProviderError,
    },
    /// The cloud refused or did not answer while the scaler was given back. The record stays.
    #[error(
        "{name} is not given back; the record stays, so ask again; if somebody has set it by hand, or the \
         group is gone, `skala handover {name} --forget` drops the record"
    )]
    Back {
        /// The provider and the group.
        name: String,
        /// Why it did not end.
        #[source]
        source: ProviderError,
    },
    /// The cloud could not be read, and nothing was begun.
    #[error("cannot read what the cloud's own scaler is set to; nothing was changed")]
    Unread(#[source] ProviderError),
    /// The record could not be kept: then nothing more is switched.
    #[error("cannot keep the record {0}")]
    Record(String, #[source] io::Error),
}

/// What would have to be switched to suspend the scaler; an empty list: it may not act as it is. Nothing is changed.
///
/// # Errors
/// When the cloud cannot be read.
pub async fn preview(native: &dyn Native, group: &GroupId) -> Result<Vec<Switch>, HandoverError> {
    Ok(native.prepare(group).await.map_err(HandoverError::Unread)?.switches)
}

/// Suspends the cloud's own scaler of a group. Asking again finishes what was begun, and suspends what has come since.
///
/// # Errors
/// The record says how far it came, and stays.
pub async fn hand_over(records: &mut Records, native: &dyn Native, asked: &Asked) -> Result<Outcome, HandoverError> {
    let known = records.find(&asked.provider, asked.group.as_str()).cloned();
    let mut undo = known.as_ref().map(|known| known.undo.clone()).unwrap_or_default();
    let more = native.prepare(&asked.group).await.map_err(HandoverError::Unread)?;
    let added = add(&mut undo, more);
    // The record says all of it already; what was switched on again since is switched off again without another word.
    let already = !added && known.is_some_and(|known| known.stage == Stage::Suspended);
    if undo.switches.is_empty() {
        return Ok(Outcome::Nothing);
    }
    let mut record = Handover {
        fleet: asked.fleet.clone(),
        provider: asked.provider.clone(),
        group: asked.group.to_string(),
        by: asked.by.clone(),
        at: asked.at.as_secs_f64(),
        stage: Stage::Suspending,
        undo,
    };
    if !already {
        keep(records, &record)?;
    }
    let done = native.suspend(&asked.group, &record.undo).await;
    done.map_err(|source| HandoverError::Cloud {
        what: format!("suspending the scaler of {}/{} did not end", asked.provider, asked.group),
        source,
    })?;
    record.stage = Stage::Suspended;
    if already {
        return Ok(Outcome::Already(record.undo.switches));
    }
    keep(records, &record)?;
    Ok(Outcome::Suspended(record.undo.switches))
}

/// Gives the cloud's own scaler back what it had. Asking again finishes what was begun.
///
/// # Errors
/// The record stays until all of it is restored.
pub async fn hand_back(
    records: &mut Records,
    native: &dyn Native,
    provider: &str,
    group: &GroupId,
) -> Result<Returned, HandoverError> {
    let Some(mut record) = records.find(provider, group.as_str()).cloned() else {
        return Err(HandoverError::NotHandedOver(format!("{provider}/{group}")));
    };
    record.stage = Stage::Restoring;
    keep(records, &record)?;
    let gone = match native.restore(group, &record.undo).await {
        Ok(()) => false,
        // Not a part of the scaler, but the whole group: that has to be asked by itself.
        Err(ProviderError::NotFound { .. }) if is_gone(native, group).await => true,
        Err(source) => return Err(HandoverError::Back { name: format!("{provider}/{group}"), source }),
    };
    let path = records.path().display().to_string();
    records.remove(provider, group.as_str()).map_err(|error| HandoverError::Record(path, error))?;
    let switches = record.undo.switches;
    Ok(if gone { Returned::Gone(switches) } else { Returned::Restored(switches) })
}

async fn is_gone(native: &dyn Native, group: &GroupId) -> bool {
    matches!(native.prepare(group).await, Err(ProviderError::NotFound { .. }))
}

/// Adds what is not known yet; whether there was any. A switch that is known keeps how it first stood: a scaler that was
/// switched on again since was switched on by somebody who did not know, and going back means going back to the start.
fn add(undo: &mut Undo, more: Undo) -> bool {
    let before = undo.switches.len();
    for switch in more.switches {
        let is_known = |known: &Switch| known.what == switch.what && known.setting == switch.setting;
        if !undo.switches.iter().any(is_known) {
            undo.switches.push(switch);
        }
    }
    undo.switches.len() > before
}

fn keep(records: &mut Records, record: &Handover) -> Result<(), HandoverError> {
    let path = records.path().display().to_string();
    records.put(record.clone()).map_err(|error| HandoverError::Record(path, error))
}
