//! The right to write (safety rule 11). In: the store's answers. Out: one small value that every act task looks at just
//! before it sends, since a lease may end between record and act.

use contract::Epoch;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The lease as this process last knew it; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaseView(Arc<Mutex<Held>>);

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    epoch: Epoch,
    /// In monotonic time; zero: not held.
    until: Duration,
}

/// How long a lease holds.
pub(crate) const TTL: Duration = Duration::from_secs(30);
/// How often it is renewed: two renewals may fail before it ends.
pub(crate) const RENEW: Duration = Duration::from_secs(10);

impl LeaseView {
    /// Notes a lease that was asked for at `asked` and granted: it ends no later than `TTL` after the question.
    pub fn grant(&self, epoch: Epoch, asked: Duration) {
        *self.lock() = Held { epoch, until: asked + TTL };
    }

    /// Notes that somebody else has it.
    pub fn lose(&self) {
        self.lock().until = Duration::ZERO;
    }

    /// The epoch, while the lease is held.
    pub fn epoch(&self, monotonic: Duration) -> Option<Epoch> {
        let held = *self.lock();
        (monotonic < held.until).then_some(held.epoch)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
