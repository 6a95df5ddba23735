//! A simulated Azure, and the provider in front of it.

#![allow(dead_code, reason = "each test uses its own part")]

pub mod everything;
pub mod published;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use azure::{AuthKind, Azure, Deadlines, Settings};
use contract::{
    ActionId, Ask, Epoch, GroupId, Observation, Owner, Provider, ProviderError, Target, Timestamp, Version,
};
use sim_cloud::azure::{Azure as Simulated, CLIENT, RESOURCE_GROUP, SECRET, SUBSCRIPTION, TENANT};
use sim_cloud::fixture::Clock;
use sim_cloud::{Api, Garble, Kind, Refusal, Reply, Request, Server};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

/// Short, so that a test that waits for them does not wait long; an observation whose every call takes a second still ends.
pub const SHORT: Deadlines = Deadlines { read: Duration::from_millis(3_000), write: Duration::from_millis(3_000) };

pub fn clock() -> Clock {
    Clock::at(Timestamp::from_secs(1_800_000_000))
}

/// A certificate with its key in one file.
pub fn certificate() -> tempfile::NamedTempFile {
    let key = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let der = AsDer::<Pkcs8V1Der>::as_der(&key).unwrap();
    let key = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        azure_core::base64::encode(der.as_ref())
    );
    let signer = rcgen::KeyPair::from_pem(&key).unwrap();
    let certificate = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&signer).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "{key}{}", certificate.pem()).unwrap();
    file
}

/// What skala.toml would say, with the secret in a file that lives as long as what comes with it.
pub fn settings(url: &str) -> (Settings, tempfile::NamedTempFile) {
    let mut secret = tempfile::NamedTempFile::new().unwrap();
    writeln!(secret, "{SECRET}").unwrap();
    let settings = Settings {
        subscription: SUBSCRIPTION.into(),
        auth: AuthKind::ClientSecret,
        tenant: Some(TENANT.into()),
        client_id: Some(CLIENT.into()),
        client_secret_file: Some(secret.path().to_owned()),
        authority_host: Some(url.into()),
        endpoint_url: Some(url.into()),
        calls_per_second: Some(1000.0),
        ..Settings::default()
    };
    (settings, secret)
}

/// A provider in front of a simulated Azure.
pub async fn provider(url: &str, clock: &Clock) -> Azure {
    let (settings, secret) = settings(url);
    let provider = Azure::connect(settings, Owner { id: "skala-1".into() }, clock.reader()).await.unwrap();
    // The secret is read at the first call.
    std::mem::forget(secret);
    provider.with_deadlines(SHORT)
}

/// A cloud of full groups of one instance each.
pub fn cloud(groups: usize, clock: &Clock) -> sim::Cloud {
    let cloud = sim::Cloud::new(sim::Settings::default(), clock.reader()).unwrap();
    for index in 0..groups {
        cloud.create(&format!("web-{index}"), &sim::GroupSettings::default()).unwrap();
    }
    cloud
}

pub async fn serve(api: impl sim_cloud::Api) -> Server {
    Server::start(Arc::new(api), ([127, 0, 0, 1], 0).into()).await.unwrap()
}

pub fn group(name: &str) -> GroupId {
    format!("{RESOURCE_GROUP}/{name}").into()
}

/// One observation of one group.
pub async fn observe(provider: &dyn Provider, ask: &Ask) -> Result<Observation, ProviderError> {
    provider.observe(std::slice::from_ref(ask)).await.pop().unwrap()
}

pub fn target(name: &str, seen: &Observation, action: u128) -> Target {
    Target {
        group: group(name),
        action: ActionId(action),
        seen: Version { desired: seen.desired, token: seen.token.clone(), at: seen.at },
        lease: Epoch(7),
    }
}

/// A simulated Azure with a bend of the test's in its answers.
pub struct Bent<F>(pub Simulated, pub F);

impl<F: Fn(&Simulated, &Request) -> Reply + Send + Sync + 'static> Api for Bent<F> {
    fn answer(&self, request: &Request) -> Reply {
        (self.1)(&self.0, request)
    }
    fn kind(&self, request: &Request) -> Option<Kind> {
        self.0.kind(request)
    }
    fn is_later_page(&self, request: &Request) -> bool {
        self.0.is_later_page(request)
    }
    fn refusal(&self, refusal: &Refusal, request: &Request) -> Reply {
        self.0.refusal(refusal, request)
    }
    fn garble(&self, garble: Garble, request: &Request, reply: &Reply) -> Option<Reply> {
        self.0.garble(garble, request, reply)
    }
    fn foreign(&self) -> contract::Foreign {
        self.0.foreign()
    }
}
