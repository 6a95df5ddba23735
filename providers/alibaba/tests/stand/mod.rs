//! A simulated ESS with a provider in front of it, and an API that can be bent.
#![allow(clippy::unwrap_used, dead_code, missing_docs, reason = "shared by test binaries that each use a part")]

use alibaba::{Alibaba, Deadlines, Settings};
use contract::{Accepted, ActionId, Ask, Epoch, Foreign, GroupId, Observation, Owner, Provider, ProviderError};
use contract::{Target, Timestamp, Version};
use serde_json::Value;
use sim::{Cloud, GroupSettings};
use sim_cloud::alibaba::{Alibaba as Ess, KEY_ID, KEY_SECRET, REGION};
use sim_cloud::fixture::{Clock, Wire};
use sim_cloud::{Api, Garble, Kind, Refusal, Reply, Request};
use std::sync::Arc;
use std::time::Duration;

/// An environment with the simulated cloud's own key.
pub const KEYS: &[(&str, &str)] =
    &[("ALIBABA_CLOUD_ACCESS_KEY_ID", KEY_ID), ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", KEY_SECRET)];

/// Short enough for tests of what does not answer.
pub const DEADLINES: Deadlines = Deadlines { read: Duration::from_millis(1_500), write: Duration::from_millis(4_000) };

pub struct Stand {
    pub wire: Wire,
    pub api: Arc<Ess>,
    pub provider: Alibaba,
}

impl Stand {
    pub async fn new() -> Self {
        Self::over(sim::Settings::default()).await
    }

    pub async fn over(settings: sim::Settings) -> Self {
        let clock = Clock::at(Timestamp::from_secs(1_700_000_000));
        let cloud = Cloud::new(settings, clock.reader()).unwrap();
        let api = Arc::new(Ess::new(cloud.clone()));
        let wire = Wire::start(Arc::clone(&api) as Arc<dyn Api>, cloud, clock, "").await;
        let provider = provider(&wire.server.url(), &wire.clock, KEYS);
        Self { wire, api, provider }
    }

    /// The same machines behind an API that is bent.
    pub async fn bent(bend: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static) -> Self {
        Self::bent_at(Clock::at(Timestamp::from_secs(1_700_000_000)), bend).await
    }

    /// The same by a clock that the bending can move.
    pub async fn bent_at(clock: Clock, bend: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static) -> Self {
        let cloud = Cloud::new(sim::Settings::default(), clock.reader()).unwrap();
        let api = Arc::new(Ess::new(cloud.clone()));
        let bent: Arc<dyn Api> = Arc::new(Bent { straight: Arc::clone(&api), bend: Box::new(bend) });
        let wire = Wire::start(bent, cloud, clock, "").await;
        let provider = provider(&wire.server.url(), &wire.clock, KEYS);
        Self { wire, api, provider }
    }

    /// A full group; its id.
    pub fn group(&self, name: &str, desired: u32) -> GroupId {
        let settings = GroupSettings { max: 2_000, desired, ..GroupSettings::default() };
        self.wire.cloud.create(name, &settings).unwrap();
        self.api.group_id(name)
    }

    pub async fn look(&self, group: &GroupId) -> Result<Observation, ProviderError> {
        self.ask(Ask::new(group.as_str())).await
    }

    pub async fn ask(&self, ask: Ask) -> Result<Observation, ProviderError> {
        self.provider.observe(&[ask]).await.remove(0)
    }

    pub async fn raise(&self, group: &GroupId, seen: u32, to: u32) -> Result<Accepted, ProviderError> {
        self.provider.raise(&target(group, seen), to).await
    }
}

pub fn settings(url: &str) -> Settings {
    Settings {
        region: REGION.into(),
        endpoint_url: Some(url.into()),
        sts_endpoint_url: Some(url.into()),
        metadata_endpoint_url: Some(url.into()),
        calls_per_second: Some(1_000.0),
        ..Settings::default()
    }
}

pub fn provider(url: &str, clock: &Clock, environment: &'static [(&'static str, &'static str)]) -> Alibaba {
    let find = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let owner = Owner { id: "skala-1".into() };
    Alibaba::within(settings(url), owner, clock.reader(), find).unwrap().with_deadlines(DEADLINES)
}

pub fn target(group: &GroupId, seen: u32) -> Target {
    let version = Version { desired: Some(seen), token: None, at: Timestamp(0) };
    Target { group: group.clone(), action: ActionId(0xabc), seen: version, lease: Epoch(1) }
}

type Bend = Box<dyn Fn(&Request, Reply) -> Reply + Send + Sync>;

struct Bent {
    straight: Arc<Ess>,
    bend: Bend,
}

impl Api for Bent {
    fn answer(&self, request: &Request) -> Reply {
        (self.bend)(request, self.straight.answer(request))
    }

    fn kind(&self, request: &Request) -> Option<Kind> {
        self.straight.kind(request)
    }

    fn is_later_page(&self, request: &Request) -> bool {
        self.straight.is_later_page(request)
    }

    fn refusal(&self, refusal: &Refusal, request: &Request) -> Reply {
        self.straight.refusal(refusal, request)
    }

    fn garble(&self, garble: Garble, request: &Request, reply: &Reply) -> Option<Reply> {
        self.straight.garble(garble, request, reply)
    }

    fn group_id(&self, group: &str) -> GroupId {
        self.straight.group_id(group)
    }

    fn foreign(&self) -> Foreign {
        self.straight.foreign()
    }
}

/// What a request asks for.
pub fn action(request: &Request) -> &str {
    request.header("x-acs-action").unwrap_or_default()
}

/// Bends the answers to one action.
pub fn on(
    name: &'static str,
    bend: impl Fn(&mut Value) + Send + Sync + 'static,
) -> impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static {
    move |request, reply| {
        if action(request) != name {
            return reply;
        }
        let mut body = reply.to_json();
        bend(&mut body);
        reply.with_json(&body)
    }
}
