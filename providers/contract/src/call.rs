//! What a provider tells of its requests, for metrics. In: one request, ended. Out: to whoever counts. Nothing is decided
//! by it.

use std::sync::Arc;
use std::time::Duration;

/// One request to a cloud, after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The operation in the cloud's own word; stable, a metric's label.
    pub operation: &'static str,
    /// `ok`, the error's [`ProviderError::code`](crate::ProviderError::code), or [`Call::ABANDONED`].
    pub code: &'static str,
    /// How long it took, without waiting in a line of our own.
    pub took: Duration,
}

impl Call {
    /// The code of a request whose caller stopped waiting before it ended.
    pub const ABANDONED: &'static str = "abandoned";
}

/// Told of every request to a cloud, also of each attempt and each page; must return at once.
pub type OnCall = Arc<dyn Fn(&Call) + Send + Sync>;
