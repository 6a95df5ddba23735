//! The clouds' HTTP APIs, simulated: the parts that skala's providers use, stateful, over the machines of [`sim`].
//!
//! In come requests in a cloud's own form; out come its answers, with its own words for what goes wrong. What the machines
//! do (boots, failed launches, zones, an audit) is [`sim::Cloud`]'s; a folder here is one cloud's way of saying it, an
//! [`Api`]. [`Server`] carries it over HTTP on loopback, breaks what it is told to break, and keeps every exchange, so that
//! software which its authors did not write can judge it. [`Live`] is all of that for people, with faults as text ([`Spec`]).
//! Nothing here is meant to be reached from another machine.

pub mod alibaba;
mod api;
pub mod aws;
pub mod azure;
mod clouds;
mod exchange;
mod faults;
mod gcp;
pub mod kubernetes;
mod live;
pub mod openstack;
mod request;
mod serve;
mod server;
mod spec;

#[cfg(feature = "fixture")]
pub mod fixture;
#[cfg(feature = "fixture")]
mod judge;
#[cfg(feature = "fixture")]
pub mod untrusted;

pub use api::{Api, Kind};
pub use clouds::{Access, CloudKind};
pub use exchange::Exchange;
pub use faults::{Fault, Garble, Injected, Refusal};
pub use gcp::{Gcp, GcpSeries};
#[cfg(feature = "fixture")]
pub use judge::judge;
pub use live::{Live, LiveGroup, Noted, Timer};
pub use request::{Reply, Request};
pub use server::{Calls, Server};
pub use spec::{Spec, WrongSpec};
