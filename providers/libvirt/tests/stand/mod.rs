//! Where the provider stands in these tests: a libvirt, looked at over a connection of the test's own, and a proxy before
//! it that breaks calls on demand.

pub mod daemon;
pub mod fixture;
pub mod proxy;

use contract::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A clock that a test can put forward.
#[derive(Clone, Default)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    // libvirt lives by the machine's clock, so the provider under test has to as well.
    #[allow(clippy::disallowed_methods)]
    pub fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp(contract::micros(since) + self.0.load(Ordering::SeqCst))
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(contract::micros(by), Ordering::SeqCst);
    }
}
