//! Who makes an instance let go of its work before it is terminated, or take work again: `[drainer.NAME]` of skala.toml.
//! In: one instance and what to do with it. Out: done, not yet, or what is wrong. A drainer may be asked the same thing
//! again at any time, after a restart too, so what it does has to bear that. Nothing here decides what drains or when an
//! instance is terminated; `cycle::drains` asks, beside the cycle.

pub mod exec;
pub mod webhook;

use contract::{BoxFuture, InstanceId, Timestamp};
use serde::Serialize;
use std::time::Duration;
use thiserror::Error;

/// What is asked about an instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DrainAsk {
    /// What to do.
    pub r#do: DrainDo,
    /// The fleet's name.
    pub fleet: Box<str>,
    /// The provider's name in skala.toml.
    pub provider: Box<str>,
    /// The group's name at its cloud.
    pub group: Box<str>,
    /// Which instance.
    pub instance: InstanceId,
    /// It is terminated then at the latest; none for [`DrainDo::Return`]. Seconds since the epoch.
    #[serde(serialize_with = "secs", skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What to do with an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DrainDo {
    /// Let it go of its work.
    Drain,
    /// Let it take work again.
    Return,
}

impl DrainDo {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            DrainDo::Drain => "drain",
            DrainDo::Return => "return",
        }
    }
}

/// How far what was asked is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is done.
    Done,
    /// It goes on; ask again.
    Going,
}

/// A drainer cannot say how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct DrainError(pub String);

/// Something that drains instances.
pub trait Drainer: Send + Sync {
    /// Asks once; the answer comes within `within`, or an error does.
    ///
    /// # Errors
    /// When it is not known how far it is: ask again.
    fn ask<'a>(&'a self, ask: &'a DrainAsk, within: Duration) -> BoxFuture<'a, Result<Progress, DrainError>>;
}

// By reference, as serde hands it over.
#[allow(clippy::ref_option)]
fn secs<S: serde::Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(Timestamp::as_secs_f64).serialize(serializer)
}
