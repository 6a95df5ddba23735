//! The simulated Compute Engine, and providers that speak to it.

use contract::{Ask, GroupId, Observation, Owner, Provider, ProviderError, Target, Timestamp, Version};
use gcp::{CredentialsKind, Deadlines, Gcp, Settings};
use sim::{Cloud, GroupSettings};
use sim_cloud::fixture::{Clock, Wire};
use std::sync::Arc;
use std::time::Duration;

/// A minute's beginning.
pub const START: Timestamp = Timestamp::from_secs(1_700_000_040);
pub const PROJECT: &str = "shop-prod";

/// Short, so that tests of what never answers do not take long.
pub const SHORT: Deadlines = Deadlines { read: Duration::from_millis(1_500), write: Duration::from_secs(6) };
/// Long, so that tests of what answers pass on a busy machine.
pub const LONG: Deadlines = Deadlines { read: Duration::from_secs(20), write: Duration::from_secs(45) };

pub struct Stand {
    pub wire: Wire,
    pub api: Arc<sim_cloud::Gcp>,
}

pub fn settings(url: &str) -> Settings {
    Settings {
        project: PROJECT.into(),
        endpoint_url: Some(url.into()),
        monitoring_endpoint_url: Some(url.into()),
        credentials: Some(CredentialsKind::Anonymous),
        // The limiter has tests of its own; here it would only slow others down.
        calls_per_second: Some(1000.0),
        ..Settings::default()
    }
}

pub fn owner() -> Owner {
    Owner { id: "one".into() }
}

impl Stand {
    /// An API with pages of so many items.
    pub async fn with_page(page: usize) -> Self {
        let clock = Clock::at(START);
        let settings: sim::Settings = serde_json::from_value(serde_json::json!({
            "boot": "60s", "terminating": "10s", "retry": "30s",
        }))
        .unwrap();
        let cloud = Cloud::new(settings, clock.reader()).unwrap();
        let api = Arc::new(sim_cloud::Gcp::new(cloud.clone(), PROJECT).with_page(page));
        let wire = Wire::start(Arc::clone(&api) as Arc<dyn sim_cloud::Api>, cloud, clock, "").await;
        Self { wire, api }
    }

    pub async fn new() -> Self {
        Self::with_page(500).await
    }

    /// A provider that speaks to it.
    pub async fn provider(&self, deadlines: Deadlines) -> Gcp {
        let provider = Gcp::connect(settings(&self.wire.server.url()), owner(), self.wire.clock.reader()).await;
        provider.unwrap().with_deadlines(deadlines)
    }

    /// A group, full and running.
    pub fn group(&self, name: &str, size: u32) -> GroupId {
        let zones = vec!["a".into(), "b".into(), "c".into()];
        let settings = GroupSettings { min: 0, max: 3_000, desired: size, zones, ..GroupSettings::default() };
        self.wire.cloud.create(name, &settings).unwrap();
        sim_cloud::Api::group_id(&*self.api, name)
    }

    /// How many answered calls ended so, of this method and path's end.
    pub fn count(&self, method: &str, end: &str) -> usize {
        let exchanges = self.wire.server.exchanges();
        exchanges.iter().filter(|exchange| exchange.method == method && exchange.path.ends_with(end)).count()
    }
}

pub async fn look(provider: &Gcp, group: &GroupId) -> Result<Observation, ProviderError> {
    provider.observe(&[Ask::new(group.as_str())]).await.remove(0)
}

pub fn target(group: &GroupId, action: u128, desired: u32) -> Target {
    Target {
        group: group.clone(),
        action: contract::ActionId(action),
        seen: Version { desired: Some(desired), token: None, at: START },
        lease: contract::Epoch(1),
    }
}
