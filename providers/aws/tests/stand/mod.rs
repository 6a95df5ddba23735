//! Where the provider stands in these tests: moto with proxies before it that break calls on demand, or a simulated AWS.

pub mod burst;
pub mod cloud;
pub mod fixture;
pub mod proxy;
pub mod simulated;
pub mod tagged;

use aws::{Aws, Deadlines, Settings};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use contract::{Owner, Timestamp};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The calls that change something.
pub const WRITES: [&str; 4] =
    ["SetDesiredCapacity", "TerminateInstanceInAutoScalingGroup", "RunInstances", "TerminateInstances"];

/// The machine's clock in whole seconds, as the expiry in a tag has them.
#[derive(Clone, Copy)]
pub struct Clock;

impl Clock {
    // The servers live by the machine's clock, so the provider under test has to as well.
    #[allow(clippy::disallowed_methods)]
    pub fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp::from_secs(i64::try_from(since.as_secs()).unwrap())
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
    let clock = *clock;
    over(url, owner, Arc::new(move || clock.now())).await
}

/// The same by any clock.
pub async fn over(url: &str, owner: &str, clock: aws::Clock) -> Aws {
    let settings = Settings { region: "us-east-1".into(), calls_per_second: Some(1000.0), ..Settings::default() };
    let deadlines = Deadlines { read: Duration::from_millis(2_500), write: Duration::from_millis(4_000) };
    Aws::over(config(url).await, &settings, Owner { id: owner.into() }, clock).with_deadlines(deadlines)
}
