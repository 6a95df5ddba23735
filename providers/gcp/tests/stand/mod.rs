//! The simulated Compute Engine, and providers that speak to it.

use contract::{Ask, Foreign, GroupId, Observation, Owner, Provider, ProviderError, Target, Timestamp, Version};
use gcp::{CredentialsKind, Deadlines, Gcp, Settings};
use sim::{Cloud, GroupSettings};
use sim_cloud::fixture::{Clock, Wire};
use sim_cloud::{Api, Garble, Kind, Refusal, Reply, Request, Server};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};

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

    /// A provider that speaks to another server of the same machines.
    pub async fn provider_at(&self, server: &Server, deadlines: Deadlines) -> Gcp {
        let provider = Gcp::connect(settings(&server.url()), owner(), self.wire.clock.reader()).await;
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

/// How an answer is bent.
pub type Bend = fn(&Request, Reply) -> Reply;

/// The simulated API with its answers bent.
pub struct Bent {
    inner: Arc<sim_cloud::Gcp>,
    bend: Mutex<Bend>,
    /// Reads that meet the faults of writes, and so not those of all the others.
    apart: Mutex<fn(&Request) -> bool>,
}

impl Bent {
    /// Another server of the same machines, with answers that are straight so far.
    pub async fn over(stand: &Stand) -> (Arc<Self>, Server) {
        let (bend, apart): (Bend, fn(&Request) -> bool) = (|_, reply| reply, |_| false);
        let api = Arc::new(Self { inner: Arc::clone(&stand.api), bend: Mutex::new(bend), apart: Mutex::new(apart) });
        let server = Server::start(Arc::clone(&api) as Arc<dyn Api>, ([127, 0, 0, 1], 0).into()).await.unwrap();
        (api, server)
    }

    pub fn bend(&self, bend: Bend) {
        *self.bend.lock().unwrap() = bend;
    }

    pub fn set_apart(&self, apart: fn(&Request) -> bool) {
        *self.apart.lock().unwrap() = apart;
    }
}

impl Api for Bent {
    fn answer(&self, request: &Request) -> Reply {
        let reply = self.inner.answer(request);
        (*self.bend.lock().unwrap())(request, reply)
    }
    fn kind(&self, request: &Request) -> Option<Kind> {
        if (*self.apart.lock().unwrap())(request) { Some(Kind::Write) } else { self.inner.kind(request) }
    }
    fn is_later_page(&self, request: &Request) -> bool {
        self.inner.is_later_page(request)
    }
    fn refusal(&self, refusal: &Refusal, request: &Request) -> Reply {
        self.inner.refusal(refusal, request)
    }
    fn garble(&self, garble: Garble, request: &Request, reply: &Reply) -> Option<Reply> {
        self.inner.garble(garble, request, reply)
    }
    fn foreign(&self) -> Foreign {
        self.inner.foreign()
    }
}

/// Hears what this thread warns of, one line each.
#[derive(Clone, Default)]
pub struct Ear(Arc<Mutex<Vec<String>>>);

impl Ear {
    /// What was warned of since the last time.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}

impl tracing::Subscriber for Ear {
    fn enabled(&self, of: &tracing::Metadata<'_>) -> bool {
        *of.level() <= tracing::Level::WARN
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
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
