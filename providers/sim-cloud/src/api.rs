//! What a cloud's API is to the server.

use crate::faults::{Garble, Refusal};
use crate::request::{Reply, Request};
use contract::{Foreign, GroupId, InstanceId};

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It reads groups or instances.
    Read,
    /// It changes something.
    Write,
}

/// One cloud's HTTP API over a [`sim::Cloud`].
pub trait Api: Send + Sync + 'static {
    /// Answers a request; everything stateful happens in here, at once.
    fn answer(&self, request: &Request) -> Reply;

    /// What the request does; `None`: neither, such as a token or what the API says of itself. Faults pass it by.
    fn kind(&self, request: &Request) -> Option<Kind>;

    /// The request asks for a page after the first.
    fn is_later_page(&self, request: &Request) -> bool;

    /// The request is never answered, and nothing is done.
    fn hangs(&self, _request: &Request) -> bool {
        false
    }

    /// How this cloud refuses, in its own words and with its own status.
    fn refusal(&self, refusal: &Refusal, request: &Request) -> Reply;

    /// Makes a right answer to a read wrong; `None`: this answer has nothing to make wrong.
    fn garble(&self, garble: Garble, request: &Request, reply: &Reply) -> Option<Reply>;

    /// What skala's users call the simulated group of this name.
    fn group_id(&self, group: &str) -> GroupId {
        group.into()
    }

    /// What the provider calls an instance of this simulated group.
    fn instance_id(&self, _group: &GroupId, instance: &InstanceId) -> InstanceId {
        instance.clone()
    }

    /// What a provider should show of a group with a native scaler; a group has one while [`sim::Cloud`] says that it has
    /// a foreign controller.
    fn foreign(&self) -> Foreign;
}
