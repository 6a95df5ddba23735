//! What can go wrong at a cloud, named by what the caller does next.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// Where a refusal holds: a zone that is out of machines says nothing of the next zone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// One zone.
    Zone(Box<str>),
    /// One instance type.
    Type(Box<str>),
    /// The whole group, as far as the cloud said.
    Group,
    /// The whole region or account.
    Region,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Zone(zone) => write!(f, "zone:{zone}"),
            Scope::Type(kind) => write!(f, "type:{kind}"),
            Scope::Group => f.write_str("group"),
            Scope::Region => f.write_str("region"),
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = std::convert::Infallible;

    /// Reads what `Display` writes; anything else holds for the whole group, the widest scope that blames nobody else.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once(':') {
            Some(("zone", zone)) => Scope::Zone(zone.into()),
            Some(("type", kind)) => Scope::Type(kind.into()),
            _ if text == "region" => Scope::Region,
            _ => Scope::Group,
        })
    }
}

impl Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(|never: std::convert::Infallible| match never {})
    }
}

/// Why an instance that was asked for did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The cloud has no such machine there now.
    OutOfCapacity,
    /// The account's own limit is reached.
    QuotaExceeded,
    /// The cloud refuses by permission.
    Denied,
    /// The request itself is wrong: a deleted image, a bad template.
    Invalid,
    /// Anything else; the cloud's own text says what.
    #[serde(other)]
    Other,
}

/// A failed call, named by what the caller does next. An error is *unknown*, never *empty*.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// The group does not exist (any more): hold, say so, never recreate.
    #[error("group not found: {what}")]
    NotFound {
        /// What was asked for.
        what: Box<str>,
    },
    /// Somebody changed the group since it was seen, or another owner holds it: observe again, then plan again.
    #[error("conflict: {what}")]
    Conflict {
        /// What differs.
        what: Box<str>,
    },
    /// Another daemon owns the group: no write until its claim expires or is given up.
    #[error("owned by another daemon: {by}")]
    Owned {
        /// The other owner as its tag says.
        by: Box<str>,
    },
    /// A synchronous refusal for want of machines: try another group.
    #[error("out of capacity in {scope}")]
    OutOfCapacity {
        /// Where.
        scope: Scope,
    },
    /// A synchronous refusal for want of quota: try another group, tell a human.
    #[error("quota exceeded: {what}")]
    QuotaExceeded {
        /// Which quota, as the cloud says.
        what: Box<str>,
    },
    /// Too many calls: wait at least `retry_after`.
    #[error("throttled")]
    Throttled {
        /// How long the cloud or our own limiter says to wait, when it says so.
        retry_after: Option<Duration>,
    },
    /// No permission, or wrong credentials: tell a human.
    #[error("denied: {what}")]
    Denied {
        /// The cloud's words.
        what: Box<str>,
    },
    /// Credentials have expired or the clock is off: tell a human.
    #[error("credentials expired: {what}")]
    Expired {
        /// The cloud's words.
        what: Box<str>,
    },
    /// The request is wrong and will be again: fix the configuration, do not retry.
    #[error("invalid: {what}")]
    Invalid {
        /// The cloud's words.
        what: Box<str>,
    },
    /// It may have taken effect: never retry, observe again.
    #[error("unclear, may have taken effect: {what}")]
    Unclear {
        /// What happened.
        what: Box<str>,
        /// The SDK's own error.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// It was not sent, or a read got no usable answer: retry, bounded.
    #[error("no answer: {what}")]
    Transport {
        /// What happened.
        what: Box<str>,
        /// The SDK's own error.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl ProviderError {
    /// One word for metrics, journals and `decide`; stable.
    pub fn code(&self) -> &'static str {
        match self {
            ProviderError::NotFound { .. } => "not_found",
            ProviderError::Conflict { .. } => "conflict",
            ProviderError::Owned { .. } => "owned",
            ProviderError::OutOfCapacity { .. } => "out_of_capacity",
            ProviderError::QuotaExceeded { .. } => "quota_exceeded",
            ProviderError::Throttled { .. } => "throttled",
            ProviderError::Denied { .. } => "denied",
            ProviderError::Expired { .. } => "expired",
            ProviderError::Invalid { .. } => "invalid",
            ProviderError::Unclear { .. } => "unclear",
            ProviderError::Transport { .. } => "transport",
        }
    }

    /// The same failure for one more group: an SDK's error cannot be cloned, so its words stay and its source does not.
    #[must_use]
    pub fn again(&self) -> Self {
        match self {
            ProviderError::NotFound { what } => ProviderError::NotFound { what: what.clone() },
            ProviderError::Conflict { what } => ProviderError::Conflict { what: what.clone() },
            ProviderError::Owned { by } => ProviderError::Owned { by: by.clone() },
            ProviderError::OutOfCapacity { scope } => ProviderError::OutOfCapacity { scope: scope.clone() },
            ProviderError::QuotaExceeded { what } => ProviderError::QuotaExceeded { what: what.clone() },
            ProviderError::Throttled { retry_after } => ProviderError::Throttled { retry_after: *retry_after },
            ProviderError::Denied { what } => ProviderError::Denied { what: what.clone() },
            ProviderError::Expired { what } => ProviderError::Expired { what: what.clone() },
            ProviderError::Invalid { what } => ProviderError::Invalid { what: what.clone() },
            ProviderError::Unclear { what, .. } => ProviderError::Unclear { what: what.clone(), source: None },
            ProviderError::Transport { what, .. } => ProviderError::Transport { what: what.clone(), source: None },
        }
    }

    /// Of a step before the write itself (a claim, another look): the write was never sent, whatever became of the step,
    /// so an unclear step is not an unclear write.
    #[must_use]
    pub fn before_the_write(self) -> Self {
        match self {
            ProviderError::Unclear { what, source } => ProviderError::Transport { what, source },
            other => other,
        }
    }

    /// True when the call may have changed something at the cloud all the same.
    pub fn may_have_taken_effect(&self) -> bool {
        matches!(self, ProviderError::Unclear { .. })
    }
}
