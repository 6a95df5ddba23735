//! Where the provider stands in these tests: a server of the API, and a proxy before it that breaks calls on demand.

pub mod cloud;
pub mod fixture;
pub mod proxy;
pub mod tagged;

use aws::{Aws, Deadlines, Settings};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use contract::{Owner, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A clock that a test can put forward. It shows whole seconds, as the expiry in a tag does.
#[derive(Clone, Default)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    // The servers live by the machine's clock, so the provider under test has to as well.
    #[allow(clippy::disallowed_methods)]
    pub fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = contract::micros(since) + self.0.load(Ordering::SeqCst);
        Timestamp::from_secs(now / 1_000_000)
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(contract::micros(by), Ordering::SeqCst);
    }
}

/// An SDK configuration for a server on this machine.
pub async fn config(url: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(url)
        .credentials_provider(Credentials::from_keys("test", "test", None))
        .load()
        .await
}

/// A provider under test. Its limiter is wide open: the suite's throttling would else slow down all that follows.
pub async fn provider(url: &str, owner: &str, clock: &Clock) -> Aws {
    let settings = Settings { region: "us-east-1".into(), calls_per_second: Some(1000.0), ..Settings::default() };
    let deadlines = Deadlines { read: Duration::from_millis(2_500), write: Duration::from_millis(4_000) };
    let clock = clock.clone();
    Aws::over(config(url).await, &settings, Owner { id: owner.into() }, Arc::new(move || clock.now()))
        .with_deadlines(deadlines)
}
