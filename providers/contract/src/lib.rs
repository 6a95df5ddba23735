//! The contract between skala's rooms: the vocabulary types and the trait every provider implements.
//!
//! This crate knows no cloud, no policy and no clock. What it says, in one sentence: an [`Observation`] is everything a
//! cloud says of one group at one time, a [`Provider`] can observe, raise and cancel, and an optional ability
//! ([`Terminator`], [`Lowerer`]) that a cloud lacks cannot even be called.

mod call;
pub mod claim;
mod error;
mod metrics;
pub mod native;
mod observation;
mod provider;
mod time;

pub use call::{Call, Deadlines, Effect, OnCall, Telling};
pub use error::{FailureKind, ProviderError, Scope};
pub use metrics::{Metrics, Point, period_secs, quoted};
pub use native::{Native, NativePolicy, Undo};
pub use observation::{
    Abilities, Foreign, Instance, InstanceState, LaunchFailure, Observation, OperationInFlight, OwnerTag, Suspended,
};
pub use provider::{Accepted, Ask, BoxFuture, GuardKind, Lowerer, Owner, Provider, Target, Terminator, Version};
pub use time::{Timestamp, micros};

use serde::{Deserialize, Serialize};
use std::fmt;

/// A number of instances. Absent or unknown is an `Option` or an error around it, never a special number.
pub type Capacity = u32;

/// The largest capacity that any group or fleet may have; a number above it is a mistake, not a plan.
pub const CAPACITY_MAX: Capacity = 1_000_000;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Box<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }
        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

text_id! {
    /// A group's name as its cloud knows it: an Auto Scaling group's name, `ec2:TAG`, a managed instance group's path.
    GroupId
}
text_id! {
    /// An instance's id as its cloud knows it.
    InstanceId
}

/// One action's id, made when it is recorded. Launch ids, client tokens and request ids derive from it, so that an
/// action tried twice is one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionId(pub u128);

impl ActionId {
    /// The id of this action's `index`-th launch, at most 64 ASCII characters (EC2's limit for a ClientToken).
    pub fn launch(&self, index: u32) -> String {
        format!("{self}-{index}")
    }
}

impl fmt::Display for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The term of a lease: grows each time the daemon that may write changes. A smaller epoch never writes again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);
