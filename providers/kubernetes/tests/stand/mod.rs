//! A simulated cluster and a provider in front of it.
#![allow(dead_code)]

use contract::{Ask, GroupId, Observation, Owner, Provider, ProviderError, Target, Timestamp, Version};
use kubernetes::{Deadlines, Kubernetes, Settings};
use sim::Cloud;
use sim_cloud::fixture::{Clock, Wire};
use std::sync::Arc;
use std::time::Duration;

/// Long enough for a busy machine, short enough for a test that waits for them.
pub const DEADLINES: Deadlines = Deadlines { read: Duration::from_millis(2_500), write: Duration::from_millis(6_000) };

pub struct Stand {
    pub wire: Wire,
    pub api: Arc<sim_cloud::kubernetes::Kubernetes>,
    pub clock: Clock,
}

impl Stand {
    /// A cluster whose groups are called by this prefix, with pages of so many objects.
    pub async fn start(prefix: &'static str, page: usize) -> Self {
        Self::start_with(sim::Settings::default(), prefix, page).await
    }

    pub async fn start_with(settings: sim::Settings, prefix: &'static str, page: usize) -> Self {
        let clock = Clock::at(Timestamp::from_secs(1_800_000_000));
        let cloud = Cloud::new(settings, clock.reader()).unwrap();
        let api = Arc::new(sim_cloud::kubernetes::Kubernetes::new(cloud.clone()).with_page_max(page));
        let wire = Wire::start(api.clone(), cloud, clock.clone(), prefix).await;
        tokio::spawn(flow(clock.clone()));
        Self { wire, api, clock }
    }

    /// A provider through the server's own address.
    pub async fn provider(&self) -> Kubernetes {
        let settings = Settings { endpoint_url: Some(self.wire.server.url()), ..Settings::default() };
        self.connect(settings).await
    }

    pub async fn connect(&self, settings: Settings) -> Kubernetes {
        let owner = Owner { id: "skala-test".into() };
        let made = Kubernetes::connect(settings, owner, self.clock.reader()).await;
        made.unwrap().with_deadlines(DEADLINES)
    }

    /// Makes groups with so many running instances; skala's names for them.
    pub fn groups(&self, prefix: &str, count: usize, size: u32) -> Vec<GroupId> {
        let settings = sim::GroupSettings {
            desired: size,
            zones: vec!["a".into(), "b".into(), "c".into()],
            ..sim::GroupSettings::default()
        };
        let make = |index: usize| {
            let name = format!("deployment:{prefix}web-{index}");
            self.wire.cloud.create(&name, &settings).unwrap();
            GroupId::from(name.strip_prefix("deployment:").unwrap())
        };
        (0..count).map(make).collect()
    }

    /// The simulated name of a group.
    pub fn simulated(group: &GroupId) -> GroupId {
        format!("deployment:{group}").into()
    }

    pub fn desired(&self, group: &GroupId) -> Option<u32> {
        self.wire.cloud.truth(&Self::simulated(group)).unwrap().desired
    }

    /// The paths of all requests since there were `from` of them, sorted.
    pub fn asked(&self, from: usize) -> Vec<String> {
        let mut paths: Vec<String> =
            self.wire.server.exchanges()[from..].iter().map(|exchange| exchange.path.clone()).collect();
        paths.sort();
        paths
    }

    pub fn exchanged(&self) -> usize {
        self.wire.server.exchanges().len()
    }
}

/// Lets the simulated time pass with the real one, four times as fast and in whole seconds: an answer that takes a second
/// must take one by this clock too, however late a busy machine moves it, and tags hold no parts of a second.
async fn flow(clock: Clock) {
    let (start, mut passed) = (tokio::time::Instant::now(), 0);
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let due = start.elapsed().as_millis() as u64 / 250;
        clock.pass(Duration::from_secs(due - passed));
        passed = due;
    }
}

pub async fn look(provider: &Kubernetes, group: &GroupId) -> Result<Observation, ProviderError> {
    provider.observe(&[Ask::new(group.clone())]).await.pop().unwrap()
}

pub fn target(group: &GroupId, seen: &Observation) -> Target {
    Target {
        group: group.clone(),
        action: contract::ActionId(7),
        seen: Version { desired: seen.desired, token: seen.token.clone(), at: seen.at },
        lease: contract::Epoch(7),
    }
}
