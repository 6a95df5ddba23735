//! What can be made to go wrong at the wire, whichever cloud it is.

use crate::api::Kind;
use std::time::Duration;

/// How a cloud refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too many calls.
    Throttled {
        /// What it says to wait, where it can say so.
        retry_after: Option<Duration>,
    },
    /// An internal error.
    Internal,
    /// No permission.
    Denied,
    /// The credentials have expired.
    Expired,
    /// Nobody has such credentials.
    WrongCredentials,
    /// The caller's clock is off.
    ClockOff,
    /// No machines, said at once to a write that launches.
    OutOfCapacity,
    /// The account's limit, said at once to a write that launches.
    QuotaExceeded,
}

/// How a right answer is made wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Garble {
    /// Pages without items, and with a token for the next page, come before the right ones.
    EmptyPages,
    /// Every item of a list is there twice.
    Duplicates,
    /// States and other words that no version of the API knew until now.
    UnknownWords,
    /// Capacities that no group can have: negative, or above any number of machines.
    OutOfRange,
}

/// What goes wrong with requests of a [`Kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The cloud refuses; nothing is done.
    Refuse(Refusal),
    /// It does what it is asked, and answers with an internal error.
    ErrorAfterEffect,
    /// No answer for as long as the caller waits.
    Hang {
        /// Whether it does what it is asked before.
        effect: bool,
    },
    /// It does what it is asked; the answer is half of the right one, and the connection is closed.
    Truncated,
    /// It does what it is asked; the answer is no document of the API's kind, with status 200.
    Garbage,
    /// A proxy's page instead of an answer, with status 200; nothing is done.
    Html,
    /// A redirect to where nobody listens; nothing is done.
    Redirect,
    /// The connection is closed without an answer; nothing is done.
    Reset,
    /// The answer is right and takes so long.
    Slow(Duration),
    /// The first page is answered, all later ones are internal errors.
    LaterPages,
    /// The answer is wrong in the API's own form.
    Garble(Garble),
}

/// The faults that are on.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    on: Vec<(Injected, Kind, Fault)>,
    made: u64,
}

/// A fault that was injected, for whoever ends it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected(u64);

impl Faults {
    pub fn add(&mut self, kind: Kind, fault: Fault) -> Injected {
        self.made += 1;
        self.on.push((Injected(self.made), kind, fault));
        Injected(self.made)
    }

    pub fn lift(&mut self, injected: Injected) {
        self.on.retain(|(one, _, _)| *one != injected);
    }

    pub fn clear(&mut self) {
        self.on.clear();
    }

    /// What a request meets; of several the one that was added last.
    pub fn of(&self, kind: Option<Kind>, is_later_page: bool) -> Option<Fault> {
        let kind = kind?;
        let meets = |fault: Fault| fault != Fault::LaterPages || is_later_page;
        self.on.iter().rev().find(|(_, of, fault)| *of == kind && meets(*fault)).map(|(_, _, fault)| *fault)
    }
}
