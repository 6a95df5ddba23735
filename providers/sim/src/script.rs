//! Faults on a timetable: what goes wrong, from when until when, for which group and zone. Calls meet some of them
//! (`gate.rs`), the machines behind meet the others (`group.rs`).

use crate::settings::{InvalidSettings, share};
use crate::span::Span;
use contract::{Capacity, GroupId, Timestamp};
use serde::{Deserialize, Serialize};

/// One entry of the timetable: `{ from = "2m", until = "5m", group = "web", fault = "error-after-effect" }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// When it begins, counted from the cloud's start.
    #[serde(default)]
    pub from: Span,
    /// When it ends; never, when it is not given.
    #[serde(default)]
    pub until: Option<Span>,
    /// Only this group; all of them, when it is not given.
    #[serde(default)]
    pub group: Option<Box<str>>,
    /// Only this zone, for faults of machines.
    #[serde(default)]
    pub zone: Option<Box<str>>,
    /// Only this operation, for faults of calls.
    #[serde(default)]
    pub operation: Option<Operation>,
    /// Only so many calls, for faults of calls.
    #[serde(default)]
    pub times: Option<u32>,
    /// What goes wrong.
    pub fault: Fault,
}

impl Script {
    /// A fault for everybody, from the start and for ever; narrow it with the struct's other fields.
    pub fn new(fault: Fault) -> Self {
        Self { from: Span::default(), until: None, group: None, zone: None, operation: None, times: None, fault }
    }
}

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// A read.
    Observe,
    /// A scale-out.
    Raise,
    /// A withdrawal of what has not started.
    Cancel,
    /// A removal by name.
    Terminate,
    /// A lowering with the cloud's choice of victims.
    Lower,
}

impl Operation {
    /// Its word in metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Operation::Observe => "observe",
            Operation::Raise => "raise",
            Operation::Cancel => "cancel",
            Operation::Terminate => "terminate",
            Operation::Lower => "lower",
        }
    }
}

/// What goes wrong. The first part meets calls, the second the machines behind them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The call is refused: too many calls.
    Throttle {
        /// What the cloud says to wait.
        #[serde(default)]
        retry_after: Option<Span>,
    },
    /// An internal error of the cloud; nothing happened, but the answer does not tell.
    ErrorBeforeEffect,
    /// An internal error of the cloud after it did what it was asked.
    ErrorAfterEffect,
    /// The cloud did what it was asked, and its answer cannot be read.
    BrokenBody,
    /// The connection is refused: nothing was sent.
    Unsent,
    /// No answer for so long, then a timeout.
    Hang {
        /// How long.
        span: Span,
        /// Whether a write takes effect before it hangs.
        #[serde(default)]
        effect: bool,
    },
    /// Calls take so much longer.
    Latency {
        /// How much.
        span: Span,
    },
    /// No permission.
    Denied,
    /// The credentials have expired.
    Expired,
    /// Launching writes are refused at once.
    Refuse {
        /// Why.
        why: Refusal,
    },
    /// The first page of an observation answers, all later ones do not.
    LaterPages,
    /// The cloud says that the group does not exist.
    Missing,

    /// No machines in the zone: launches fail, as data.
    OutOfCapacity,
    /// This share of launches fails, as data.
    LaunchFailures {
        /// 0 to 1.
        share: f64,
    },
    /// Boots take so much longer.
    SlowBoot {
        /// How much.
        span: Span,
    },
    /// At `from`, this share of the instances dies.
    Kill {
        /// 0 to 1.
        share: f64,
    },
    /// Terminated instances do not go away.
    StuckTerminating,
    /// Reads lag behind by so much.
    Stale {
        /// How much.
        span: Span,
    },
    /// A function of the group is switched off.
    Suspend {
        /// Which.
        process: Process,
    },
    /// Another controller is set up on the group.
    Foreign {
        /// Its name.
        name: Box<str>,
        /// Whether it removes instances.
        #[serde(default)]
        removes: Option<bool>,
    },
    /// At `from`, a person changes desired.
    SetDesired {
        /// To so many.
        to: Capacity,
    },
}

/// Why a launching write is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// No machines; the script's zone, or the whole group.
    OutOfCapacity,
    /// The account's limit.
    Quota,
}

/// What can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Process {
    /// Launching.
    Launch,
    /// Terminating.
    Terminate,
    /// Being left alone: a rolling replacement runs.
    Refresh,
}

impl From<Process> for contract::Suspended {
    fn from(process: Process) -> Self {
        match process {
            Process::Launch => contract::Suspended::Launch,
            Process::Terminate => contract::Suspended::Terminate,
            Process::Refresh => contract::Suspended::Refresh,
        }
    }
}

impl Fault {
    /// True for faults that calls meet, false for those of the machines behind.
    pub(crate) fn meets_calls(&self) -> bool {
        use Fault::*;
        matches!(
            self,
            Throttle { .. }
                | ErrorBeforeEffect
                | ErrorAfterEffect
                | BrokenBody
                | Unsent
                | Hang { .. }
                | Latency { .. }
                | Denied
                | Expired
                | Refuse { .. }
                | LaterPages
                | Missing
        )
    }
}

/// A script in play: with its times made absolute, and how often it has struck.
#[derive(Clone, Debug)]
pub(crate) struct Playing {
    pub script: Script,
    pub from: Timestamp,
    pub until: Option<Timestamp>,
    pub struck: u32,
}

impl Playing {
    pub fn new(script: Script, start: Timestamp) -> Self {
        let from = start.after(script.from.0);
        let until = script.until.map(|span| start.after(span.0));
        Self { script, from, until, struck: 0 }
    }

    /// True while it plays; its end is not part of it.
    pub fn on(&self, at: Timestamp) -> bool {
        self.from <= at
            && self.until.is_none_or(|until| at < until)
            && self.script.times.is_none_or(|times| self.struck < times)
    }

    pub fn concerns(&self, group: &GroupId) -> bool {
        self.script.group.as_deref().is_none_or(|name| name == group.as_str())
    }

    pub fn concerns_zone(&self, zone: &str) -> bool {
        self.script.zone.as_deref().is_none_or(|name| name == zone)
    }
}

impl Script {
    pub(crate) fn check(&self, index: usize) -> Result<(), InvalidSettings> {
        let wrong = |what: String| Err(InvalidSettings(format!("faults[{index}]: {what}")));
        if self.until.is_some_and(|until| until <= self.from) {
            return wrong("until is not after from".into());
        }
        if !self.fault.meets_calls() && (self.operation.is_some() || self.times.is_some()) {
            return wrong("operation and times belong to faults of calls".into());
        }
        match self.fault {
            Fault::LaunchFailures { share: value } | Fault::Kill { share: value } => {
                share(&format!("faults[{index}]: share"), value)
            }
            _ => Ok(()),
        }
    }
}
