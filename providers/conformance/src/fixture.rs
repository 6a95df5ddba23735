//! What a test offers beside the provider: a cloud to run against, an independent look at it, and ways to break it.
//! A fixture that itself breaks should panic: it is a test's code.

use contract::{BoxFuture, Capacity, Foreign, GroupId, InstanceId, OwnerTag, ProviderError, Suspended, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

/// The fixture cannot do this, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported(pub String);

/// A group to make: `running` instances that run once the fixture has settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The cloud's own smallest capacity, where it has one.
    pub min: Capacity,
    /// The cloud's own largest capacity, where it has one.
    pub max: Capacity,
    /// What the cloud is asked to hold. Above `running`, the rest must stay unfilled until the group is deleted.
    pub desired: Capacity,
    /// Instances that run.
    pub running: Capacity,
}

impl Spec {
    /// A group from 0 to 100 that holds so many running instances.
    pub const fn full(running: Capacity) -> Self {
        Self { min: 0, max: 100, desired: running, running }
    }
}

/// What is really there, read by another path than the provider's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    /// Desired; `None` where the cloud keeps none.
    pub desired: Option<Capacity>,
    /// Every instance that is not on its way out.
    pub instances: BTreeSet<InstanceId>,
}

/// Calls that a fault can meet, as the provider makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// Reads.
    Read,
    /// The call that changes something, and not the read that a provider makes before it.
    Write,
}

/// What can go wrong at the cloud's wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Too many calls.
    Throttle {
        /// What the cloud says to wait, where it can say so.
        retry_after: Option<Duration>,
    },
    /// An internal error; nothing was done.
    ErrorBeforeEffect,
    /// An internal error after the cloud did what it was asked.
    ErrorAfterEffect,
    /// No answer until the provider gives up. Whether a write took effect is the fixture's choice.
    Timeout,
    /// The cloud did what it was asked; its answer cannot be read.
    BrokenBody,
    /// The connection is refused: nothing was sent.
    Unsent,
    /// No permission.
    Denied,
    /// The credentials have expired.
    Expired,
    /// A launching write is refused at once: no machines.
    OutOfCapacity,
    /// A launching write is refused at once: the account's limit.
    QuotaExceeded,
    /// The first page of an observation is answered, all later ones fail.
    LaterPages,
    /// The answer is right and takes so long.
    Slow(Duration),
    /// A proxy's page of HTML with status 200; nothing was done.
    Html,
    /// A redirect to somewhere else; nothing was done.
    Redirect,
    /// Nobody has such credentials.
    WrongCredentials,
    /// The caller's clock is off by ten minutes.
    ClockOff,
    /// Pages without items, and with a token for the next, come before the right ones.
    EmptyPages,
    /// Every item of a list is there twice.
    Duplicates,
    /// States and other words that nobody knew until now.
    UnknownWords,
    /// Capacities that no group can have.
    OutOfRange,
}

/// Two fault lists are compared by kind alone: how long a wait is does not matter for what is offered.
impl Fault {
    pub(crate) fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// What the cloud's side counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

/// What a fixture can do, said up front. What is offered here and then answered with [`Unsupported`] fails the case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// Faults it can make, and of which calls.
    pub faults: Vec<(Call, Fault)>,
    /// The cloud tells how long to wait when it throttles.
    pub retry_after: bool,
    /// Most groups it can make for one observation; the suite asks for 130 at most.
    pub groups_at_once: usize,
    /// Groups in one page of the cloud's answers, when a case may rely on it.
    pub page: Option<usize>,
    /// Calls can be counted.
    pub counts_calls: bool,
    /// The cloud knows which groups exist; where a group is only a tag, it does not.
    pub knows_groups: bool,
    /// A group can be unfilled: `desired` above `running`.
    pub unfilled: bool,
    /// A person can change desired.
    pub set_desired: bool,
    /// Instances can be protected.
    pub protect: bool,
    /// The cloud has tags for owners.
    pub owner_tags: bool,
    /// Functions that can be switched off.
    pub suspends: Vec<Suspended>,
    /// Another controller can be set up.
    pub foreign: bool,
    /// Launches can be made to fail, as data.
    pub launch_failures: bool,
}

/// A cloud for the suite.
pub trait Fixture: Send {
    /// What it can do.
    fn offers(&self) -> Offers;

    /// The time by the clock that the provider uses.
    fn now(&self) -> Timestamp;

    /// Makes a group under a name that was never used before.
    fn create(&mut self, spec: Spec) -> BoxFuture<'_, Result<GroupId, Unsupported>>;

    /// Deletes a group and what is in it.
    fn delete<'a>(&'a mut self, group: &'a GroupId) -> BoxFuture<'a, ()>;

    /// What is really there, by another path than the provider; `None` when there is no such group.
    fn truth<'a>(&'a mut self, group: &'a GroupId) -> BoxFuture<'a, Option<Truth>>;

    /// Lets the cloud finish what it does by itself: boots, launches, terminations.
    fn settle(&mut self) -> BoxFuture<'_, ()>;

    /// A person sets desired.
    fn set_desired<'a>(&'a mut self, _group: &'a GroupId, _to: Capacity) -> BoxFuture<'a, Result<(), Unsupported>> {
        unsupported("a person's change of desired")
    }

    /// Protects an instance from scale-in.
    fn protect<'a>(
        &'a mut self,
        _group: &'a GroupId,
        _instance: &'a InstanceId,
    ) -> BoxFuture<'a, Result<(), Unsupported>> {
        unsupported("protection")
    }

    /// Writes an owner tag, as another daemon would.
    fn tag<'a>(&'a mut self, _group: &'a GroupId, _owner: OwnerTag) -> BoxFuture<'a, Result<(), Unsupported>> {
        unsupported("owner tags")
    }

    /// Switches a function of the group off.
    fn suspend<'a>(&'a mut self, _group: &'a GroupId, _what: Suspended) -> BoxFuture<'a, Result<(), Unsupported>> {
        unsupported("suspended functions")
    }

    /// Sets up another controller; answers what an observation should show.
    fn foreign<'a>(&'a mut self, _group: &'a GroupId) -> BoxFuture<'a, Result<Foreign, Unsupported>> {
        unsupported("foreign controllers")
    }

    /// From now on the group's launches fail for want of machines, as data.
    fn fail_launches<'a>(&'a mut self, _group: &'a GroupId) -> BoxFuture<'a, Result<(), Unsupported>> {
        unsupported("launch failures")
    }

    /// From now on until [`Fixture::clear`], every such call meets the fault, retries too.
    fn inject<'a>(
        &'a mut self,
        group: &'a GroupId,
        call: Call,
        fault: &'a Fault,
    ) -> BoxFuture<'a, Result<(), Unsupported>>;

    /// Ends every injected fault.
    fn clear(&mut self) -> BoxFuture<'_, ()>;

    /// Calls that reached the cloud so far.
    fn calls(&mut self) -> Calls {
        Calls::default()
    }
}

fn unsupported<'a, T: Send + 'a>(what: &str) -> BoxFuture<'a, Result<T, Unsupported>> {
    let answer = Err(Unsupported(format!("the fixture has no {what}")));
    Box::pin(async move { answer })
}

/// An error as a message of the suite shows it.
pub(crate) fn told(result: &Result<impl std::fmt::Debug, ProviderError>) -> String {
    match result {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => format!("{}: {error}", error.code()),
    }
}
