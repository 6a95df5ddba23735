//! A provider's requests: what they can do, how long they may take, and what is told of them for metrics. Nothing is
//! decided here.

use std::sync::Arc;
use std::time::Duration;

/// Whether a call can change anything at the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It cannot: what fails is unknown.
    Read,
    /// It can: what fails in the middle may have taken effect.
    Write,
}

/// How long things may take, every wait of a provider's own included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// For what changes nothing; under the 5 s in which a poller gives up.
    pub read: Duration,
    /// For what may change something, with the reads before it; under the 30 s of an action.
    pub write: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { read: Duration::from_millis(4_500), write: Duration::from_secs(25) }
    }
}

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

/// Tells of one request when it ends, also when its caller gives up and drops it.
pub struct Telling<'a, F: Fn() -> Duration> {
    on_call: Option<&'a OnCall>,
    operation: &'static str,
    code: &'static str,
    took: F,
}

impl<'a, F: Fn() -> Duration> Telling<'a, F> {
    /// A request that begins now; `took` says how long ago that was, by the provider's own clock.
    pub fn of(on_call: Option<&'a OnCall>, operation: &'static str, took: F) -> Self {
        Self { on_call, operation, code: Call::ABANDONED, took }
    }

    /// It has ended, with `ok` or the error's code.
    pub fn end(mut self, code: &'static str) {
        self.code = code;
    }
}

impl<F: Fn() -> Duration> Drop for Telling<'_, F> {
    fn drop(&mut self) {
        if let Some(on_call) = self.on_call {
            on_call(&Call { operation: self.operation, code: self.code, took: (self.took)() });
        }
    }
}
