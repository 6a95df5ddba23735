//! Where the provider stands in these tests: a simulated OpenStack over the wire.

use contract::{ActionId, Ask, Epoch, Observation, Owner, Provider, ProviderError, Target, Timestamp, Version};
use openstack::{Deadlines, OpenStack, Settings, Template};
use sim::Cloud;
use sim_cloud::fixture::{Clock, Wire};
use sim_cloud::openstack::{self as simulated, CREDENTIAL, FLAVOR, IMAGE, PREFIX};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A simulated OpenStack, its machines and its server.
pub struct Stand {
    pub wire: Wire,
    pub api: Arc<simulated::OpenStack>,
}

/// Settings that make any group's servers.
pub fn settings() -> Settings {
    let template = Template {
        image: IMAGE.into(),
        flavor: FLAVOR.into(),
        networks: Some(vec![simulated::NETWORK.into()]),
        ..Template::default()
    };
    Settings { groups: BTreeMap::from([("*".to_owned(), template)]), ..Settings::default() }
}

impl Stand {
    pub async fn new() -> Self {
        Self::of(sim::Settings::default()).await
    }

    pub async fn of(settings: sim::Settings) -> Self {
        let clock = Clock::at(Timestamp::from_secs(1_795_425_024));
        let cloud = Cloud::new(settings, clock.reader()).unwrap();
        let api = Arc::new(simulated::OpenStack::new(cloud.clone()));
        let wire = Wire::start(Arc::clone(&api) as _, cloud, clock, PREFIX).await;
        Self { wire, api }
    }

    /// A provider with the application credential that is good.
    pub fn provider(&self) -> OpenStack {
        self.provider_of(settings(), &[])
    }

    /// A provider with other settings and other variables; an empty one takes its variable away.
    pub fn provider_of(&self, settings: Settings, more: &[(&str, &str)]) -> OpenStack {
        self.try_provider(settings, more).unwrap()
    }

    pub fn try_provider(&self, settings: Settings, more: &[(&str, &str)]) -> Result<OpenStack, ProviderError> {
        let url = format!("{}/identity", self.wire.server.url());
        let mut variables = BTreeMap::from([
            ("OS_AUTH_URL".to_owned(), url),
            ("OS_AUTH_TYPE".into(), "v3applicationcredential".into()),
            ("OS_APPLICATION_CREDENTIAL_ID".into(), CREDENTIAL.0.into()),
            ("OS_APPLICATION_CREDENTIAL_SECRET".into(), CREDENTIAL.1.into()),
        ]);
        variables.extend(more.iter().map(|(key, value)| ((*key).into(), (*value).into())));
        let owner = Owner { id: "daemon-1".into() };
        let environment = Arc::new(move |name: &str| variables.get(name).cloned());
        let deadlines = Deadlines { read: Duration::from_secs(2), write: Duration::from_secs(3) };
        let provider = OpenStack::connect_in(settings, owner, self.wire.clock.reader(), environment)?;
        Ok(provider.with_deadlines(deadlines))
    }
}

/// One look at a group.
pub async fn look(provider: &dyn Provider, group: &str) -> Result<Observation, ProviderError> {
    provider.observe(&[Ask::new(group)]).await.remove(0)
}

/// What a write of this action is aimed at.
pub fn target(group: &str, action: u128) -> Target {
    let seen = Version { desired: None, token: None, at: Timestamp(0) };
    Target { group: group.into(), action: ActionId(action), seen, lease: Epoch(1) }
}
