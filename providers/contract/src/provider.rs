//! The trait that every cloud implements, and the optional abilities beside it.

use crate::{ActionId, Capacity, Epoch, GroupId, InstanceId, Metrics, Native, Observation, ProviderError, Timestamp};
use std::future::Future;
use std::pin::Pin;

/// A boxed future, so that the traits are object safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One group to observe.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Which group.
    pub group: GroupId,
    /// Actions whose end has not been observed yet: the provider follows their operations and looks for launch failures.
    pub open_actions: Vec<ActionId>,
    /// The cloud's names for what those actions began ([`Accepted::operations`]), kept over a restart.
    pub operations: Vec<Box<str>>,
    /// Desired as skala's memory holds it, for groups whose cloud keeps no such number.
    pub intent: Option<Capacity>,
}

impl Ask {
    /// Asks for a group with nothing in flight.
    pub fn new(group: impl Into<GroupId>) -> Self {
        Self { group: group.into(), open_actions: Vec::new(), operations: Vec::new(), intent: None }
    }
}

/// Who writes: goes into the owner tag of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// This daemon's lasting id.
    pub id: Box<str>,
}

/// The state of a group that a plan was made from; a write is refused when the group has changed since.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    /// Desired as it was observed.
    pub desired: Option<Capacity>,
    /// The cloud's own version, where it has one.
    pub token: Option<Box<str>>,
    /// When it was observed.
    pub at: Timestamp,
}

/// What a write is aimed at, with its fence.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Which group.
    pub group: GroupId,
    /// The recorded action that this call carries out.
    pub action: ActionId,
    /// What the plan was made from.
    pub seen: Version,
    /// The lease under which it was recorded.
    pub lease: Epoch,
}

/// The cloud took the request. It is not yet done: completion is observed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accepted {
    /// The cloud's names for what it now works on, kept for the next observation.
    pub operations: Vec<Box<str>>,
    /// Instances that were named and not removed, for they are gone or protected by now or the cloud takes no more at once;
    /// desired counts them still.
    pub skipped: Vec<InstanceId>,
}

/// How a provider keeps a stale plan from being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardKind {
    /// The cloud checks a precondition in the same call.
    Atomic,
    /// The provider re-reads just before every attempt; the remaining race is documented there.
    ReadThenWrite,
}

/// One account of one cloud.
///
/// Every error is unknown, never empty: a provider that cannot tell returns `Err`, not an observation with no instances.
pub trait Provider: Send + Sync {
    /// Observes groups in as few calls as the cloud allows; the answers are in the order of the asks.
    ///
    /// # Errors
    /// Per group: `NotFound` when the cloud says that it does not exist; any other error means its state is unknown.
    fn observe<'a>(&'a self, asks: &'a [Ask]) -> BoxFuture<'a, Vec<Result<Observation, ProviderError>>>;

    /// Raises desired to an absolute number of instances; can never lower it.
    ///
    /// # Errors
    /// `Conflict` when desired is not what was seen; `Unclear` when it may have taken effect.
    fn raise<'a>(&'a self, target: &'a Target, to: Capacity) -> BoxFuture<'a, Result<Accepted, ProviderError>>;

    /// Lowers desired to `to` by withdrawing what was asked for and has not started; never removes an instance.
    ///
    /// # Errors
    /// `Conflict` when desired differs from what was seen or an instance has come meanwhile.
    fn cancel_unfilled<'a>(
        &'a self,
        target: &'a Target,
        to: Capacity,
    ) -> BoxFuture<'a, Result<Accepted, ProviderError>>;

    /// How stale plans are kept out.
    fn guard(&self) -> GuardKind;

    /// Removal by name, where the cloud has it.
    fn terminator(&self) -> Option<&dyn Terminator> {
        None
    }

    /// Lowering with the cloud's own choice of victims, where that is all there is.
    fn lowerer(&self) -> Option<&dyn Lowerer> {
        None
    }

    /// The cloud's own metrics, where it has a service for them.
    fn metrics(&self) -> Option<&dyn Metrics> {
        None
    }
    /// The cloud's own scaler of a group, where there can be one beside skala.
    fn native(&self) -> Option<&dyn Native> {
        None
    }

    /// The cloud permissions this provider needs, one a line, as the cloud spells them.
    fn permissions(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// Removes chosen instances and lowers desired by their number.
pub trait Terminator: Send + Sync {
    /// Terminates exactly these instances and lowers desired by as many. Protected instances are refused, not removed.
    ///
    /// # Errors
    /// `Conflict` when desired differs from what was seen; `Unclear` when some may be on their way out.
    fn terminate<'a>(
        &'a self,
        target: &'a Target,
        instances: &'a [InstanceId],
    ) -> BoxFuture<'a, Result<Accepted, ProviderError>>;
}

/// Lowers desired where the cloud picks the victims (a Deployment).
pub trait Lowerer: Send + Sync {
    /// Lowers desired to an absolute number; can never raise it.
    ///
    /// # Errors
    /// As [`Provider::raise`].
    fn lower<'a>(&'a self, target: &'a Target, to: Capacity) -> BoxFuture<'a, Result<Accepted, ProviderError>>;
}
