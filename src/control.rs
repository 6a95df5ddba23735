//! What people and the operating system ask of a running daemon: the API and the signals send it, the actor carries it
//! out between two cycles. Everything that answers does so through a `oneshot`; a lost asker changes nothing.

use crate::store::OverrideRow;
use contract::Capacity;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::oneshot;

/// One request to the actor.
#[derive(Debug)]
pub enum Control {
    /// Start no new cycle, wait for the running actions, save everything, end.
    Stop,
    /// The policy files may have changed: read them now. Unlike the actor's own look every 2 s it answers.
    Reload {
        /// A set that loses more than 20 % of the fleets is taken all the same (safety rule 17).
        allow_removal: bool,
        /// The answer, after the new set is in force or refused.
        reply: Option<oneshot::Sender<Result<Reloaded, ReloadRefused>>>,
    },
    /// A person asks why: what the journal does not have yet of a fleet is saved now rather than within 30 s.
    Save {
        /// The fleet's id.
        fleet: Arc<str>,
        /// Says that it was tried.
        reply: oneshot::Sender<()>,
    },
    /// A person holds or pins a fleet; it replaces the fleet's last override.
    Override {
        /// The fleet's id.
        fleet: Arc<str>,
        /// What is asked for.
        ask: OverrideAsk,
        /// For how long, from now.
        lasts: Duration,
        /// The person's reason; shown everywhere.
        reason: Arc<str>,
        /// Who asks, as the API knows them.
        by: Arc<str>,
        /// The answer, after it is durable.
        reply: oneshot::Sender<Result<OverrideRow, OverrideRefused>>,
    },
    /// A fleet's override ends now.
    Release {
        /// The fleet's id.
        fleet: Arc<str>,
        /// Who asks.
        by: Arc<str>,
        /// The answer, after it is durable: what was released, if there was an override.
        reply: oneshot::Sender<Result<Option<OverrideRow>, OverrideRefused>>,
    },
}

/// The two kinds of override, before the clock turns a duration into an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverrideAsk {
    /// Capacity is kept.
    Hold {
        /// Only scale-in is held.
        scale_in_only: bool,
    },
    /// Capacity is set, within limits, pace and brakes.
    Pin {
        /// To this.
        n: Capacity,
        /// The pace does not apply.
        now: bool,
    },
}

/// A reload that went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// The revision now in force.
    pub revision: Arc<str>,
    /// How many fleets it has.
    pub fleets: usize,
    /// False when the files are what is in force already.
    pub changed: bool,
}

/// A reload that changed nothing: the last good set stays in force.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReloadRefused {
    /// The files cannot be read.
    #[error("cannot read the policies: {0}")]
    Unreadable(String),
    /// At least one error; the text is what `skala check` prints.
    #[error("the policies have errors:\n{0}")]
    Invalid(String),
    /// It loses too many fleets at once (safety rule 17).
    #[error(
        "{lost} of {of} fleets would be removed, more than 20 %: if that is meant, run \
         `skala run --allow-removal` or reload with it"
    )]
    LosesFleets {
        /// Fleets that would go.
        lost: usize,
        /// Fleets now.
        of: usize,
    },
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}

/// An override that was not taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OverrideRefused {
    /// There is no such fleet.
    #[error("no fleet {0:?}; `skala status` lists them")]
    NoFleet(Arc<str>),
    /// The request itself makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The store did not take it, so it would not survive a restart.
    #[error("not kept: {0}")]
    Store(String),
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}
