//! The suite's fixture: groups of domains, made and read past the provider.

use super::Clock;
use super::daemon::Daemon;
use super::proxy::Proxy;
use conformance::{Call, Fault, Fixture, Offers, Spec, Truth, Unsupported};
use contract::{BoxFuture, GroupId, InstanceId, Owner, Timestamp};
use libvirt::{Deadlines, GroupSettings, Libvirt, Settings};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use virt::connect::Connect;
use virt::domain::Domain;

/// Groups that the settings name; each is used once.
const GROUPS: usize = 200;

/// What runs the domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// libvirt's own test driver, in this process.
    Mock,
    /// The same in a libvirtd, behind the proxy.
    MockBehindProxy,
    /// QEMU, in a libvirtd.
    Qemu,
}

impl Kind {
    /// A domain with nothing to boot: it runs until it is stopped, and ignores the request to shut down.
    fn description(self) -> &'static str {
        match self {
            Kind::Qemu => {
                "<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory>\
                 <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>\
                 <devices><memballoon model='none'/></devices></domain>"
            }
            _ => "<domain type='test'><name>{name}</name><memory>1024</memory><os><type>hvm</type></os></domain>",
        }
    }
}

pub struct Domains {
    pub clock: Clock,
    pub proxy: Option<Proxy>,
    settings: Settings,
    look: Connect,
    kind: Kind,
    made: usize,
    hog: Option<Domain>,
    _daemon: Option<Daemon>,
    _folder: tempfile::TempDir,
}

impl Domains {
    pub async fn new(kind: Kind) -> (Self, Libvirt) {
        let folder = tempfile::tempdir().unwrap();
        let daemon = if kind == Kind::Mock { None } else { Some(Daemon::start().await) };
        let socket = |name: &str| daemon.as_ref().map(|daemon| daemon.socket(name)).unwrap_or_default();
        let (direct, indirect) = match kind {
            Kind::Mock => ("test:///default".to_owned(), "test:///default".to_owned()),
            Kind::MockBehindProxy => {
                let uri = |name: &str| format!("test+unix:///default?socket={}", socket(name).display());
                (uri("libvirt-sock"), uri("proxy"))
            }
            Kind::Qemu => {
                let uri = format!("qemu+unix:///session?socket={}", socket("libvirt-sock").display());
                (uri.clone(), uri)
            }
        };
        let behind = |daemon: &Daemon| Proxy::before(daemon.socket("libvirt-sock"), &daemon.socket("proxy"));
        let proxy = daemon.as_ref().filter(|_| kind == Kind::MockBehindProxy).map(behind);
        let domain = folder.path().join("domain.xml");
        std::fs::write(&domain, kind.description()).unwrap();
        let group = GroupSettings { domain, shutdown: Some("1s".into()), ..GroupSettings::default() };
        let settings = Settings {
            hosts: BTreeMap::from([("here".to_owned(), indirect)]),
            // The mock host has 3 GiB, and a guest of 8 GiB on it.
            memory_share: Some(10.0),
            groups: (0..GROUPS).map(|index| (name(index), group.clone())).collect(),
        };
        let (clock, look) = (Clock::default(), Connect::open(Some(&direct)).unwrap());
        let fixture = Self { clock, proxy, settings, look, kind, made: 0, hog: None, _daemon: daemon, _folder: folder };
        let provider = fixture.provider().await;
        (fixture, provider)
    }

    /// A provider that knows nothing yet.
    pub async fn provider(&self) -> Libvirt {
        let (time, owner) = (self.clock.clone(), Owner { id: "daemon-1".into() });
        let provider = Libvirt::connect(self.settings.clone(), owner, Arc::new(move || time.now())).await.unwrap();
        if self.kind == Kind::Qemu {
            return provider;
        }
        provider.with_deadlines(Deadlines { read: Duration::from_millis(2_500), write: Duration::from_secs(5) })
    }

    /// The domains of a group, with what their metadata says.
    pub fn domains(&self, group: &GroupId) -> Vec<(Domain, String)> {
        let member = |domain: Domain| {
            let text = domain.get_metadata(2, Some("urn:skala:member"), 0).ok()?;
            let ours = [format!("group='{group}'"), format!("group=\"{group}\"")];
            ours.iter().any(|group| text.contains(group)).then_some((domain, text))
        };
        self.look.list_all_domains(0).unwrap().into_iter().filter_map(member).collect()
    }

    pub fn domain(&self, instance: &InstanceId) -> Domain {
        Domain::lookup_by_name(&self.look, instance.as_str()).unwrap()
    }

    /// One that is larger than what the host may promise.
    fn fill_the_host(&mut self) {
        let xml =
            "<domain type='test'><name>hog</name><memory unit='GiB'>99</memory><os><type>hvm</type></os></domain>";
        self.hog = Some(Domain::create_xml(&self.look, xml, 0).unwrap());
    }

    fn empty_the_host(&mut self) {
        if let Some(hog) = self.hog.take() {
            hog.destroy().unwrap();
        }
    }
}

fn name(index: usize) -> String {
    format!("g{index}")
}

impl Fixture for Domains {
    fn offers(&self) -> Offers {
        let slow = Duration::from_secs(1);
        let faults = match self.kind {
            Kind::Qemu => vec![],
            Kind::Mock => vec![(Call::Write, Fault::OutOfCapacity)],
            Kind::MockBehindProxy => vec![
                (Call::Read, Fault::ErrorBeforeEffect),
                (Call::Read, Fault::Timeout),
                (Call::Read, Fault::BrokenBody),
                (Call::Read, Fault::Unsent),
                (Call::Read, Fault::Denied),
                (Call::Read, Fault::Slow(slow)),
                (Call::Write, Fault::ErrorBeforeEffect),
                (Call::Write, Fault::ErrorAfterEffect),
                (Call::Write, Fault::Timeout),
                (Call::Write, Fault::BrokenBody),
                (Call::Write, Fault::Denied),
                (Call::Write, Fault::OutOfCapacity),
            ],
        };
        let groups_at_once = if self.kind == Kind::Qemu { 5 } else { 40 };
        let launch_failures = self.kind != Kind::Qemu;
        Offers { faults, groups_at_once, protect: true, launch_failures, ..Offers::default() }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn create(&mut self, spec: Spec) -> BoxFuture<'_, Result<GroupId, Unsupported>> {
        Box::pin(async move {
            if spec.running != spec.desired {
                return Err(Unsupported("libvirt keeps no desired".into()));
            }
            assert!(self.made < GROUPS, "the settings name too few groups");
            let group = name(self.made);
            self.made += 1;
            for index in 0..spec.running {
                // As a person would put them there.
                let xml = self.kind.description().replace("{name}", &format!("{group}-person-{index}"));
                let member = format!("<metadata><s:member xmlns:s='urn:skala:member' group='{group}'/></metadata>");
                let xml = xml.replace("</name>", &format!("</name>{member}"));
                Domain::define_xml(&self.look, &xml).unwrap().create().unwrap();
            }
            Ok(group.into())
        })
    }

    fn delete<'a>(&'a mut self, group: &'a GroupId) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.empty_the_host();
            // Side by side: a guest of QEMU takes a second and a half to go.
            std::thread::scope(|scope| {
                for (domain, _) in self.domains(group) {
                    scope.spawn(move || {
                        // The provider may be clearing it away at the same time.
                        _ = domain.destroy();
                        _ = domain.undefine();
                    });
                }
            });
        })
    }

    fn truth<'a>(&'a mut self, group: &'a GroupId) -> BoxFuture<'a, Option<Truth>> {
        Box::pin(async move {
            let there = self
                .domains(group)
                .into_iter()
                .filter(|(domain, text)| !text.contains("stop_by") && domain.is_active().unwrap_or(false));
            let instances: BTreeSet<InstanceId> = there.map(|(d, _)| d.get_name().unwrap().into()).collect();
            Some(Truth { desired: None, instances })
        })
    }

    fn settle(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn protect<'a>(&'a mut self, _: &'a GroupId, instance: &'a InstanceId) -> BoxFuture<'a, Result<(), Unsupported>> {
        let (domain, both) = (self.domain(instance), 3);
        domain.set_metadata(2, Some("<protected/>"), Some("skala"), Some("urn:skala:protected"), both).unwrap();
        Box::pin(async { Ok(()) })
    }

    fn fail_launches<'a>(&'a mut self, _: &'a GroupId) -> BoxFuture<'a, Result<(), Unsupported>> {
        self.fill_the_host();
        Box::pin(async { Ok(()) })
    }

    fn inject<'a>(
        &'a mut self,
        _: &'a GroupId,
        call: Call,
        fault: &'a Fault,
    ) -> BoxFuture<'a, Result<(), Unsupported>> {
        match (fault, &self.proxy) {
            (Fault::OutOfCapacity, _) => self.fill_the_host(),
            (_, Some(proxy)) => proxy.inject(call, fault),
            (_, None) => panic!("{fault:?} was not offered"),
        }
        Box::pin(async { Ok(()) })
    }

    fn clear(&mut self) -> BoxFuture<'_, ()> {
        self.empty_the_host();
        if let Some(proxy) = &self.proxy {
            proxy.clear();
        }
        Box::pin(async {})
    }
}
