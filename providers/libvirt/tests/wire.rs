//! What the suite does not show: several hosts, volumes, guests that stay, launches that break off, connections that go.

// A test that cannot go on stops; and not every test needs all of the stand.
#![allow(clippy::unwrap_used, dead_code)]

mod stand;

use conformance::{Call, Fault, Fixture, Spec};
use contract::{
    Ask, Epoch, FailureKind, GroupId, Instance, InstanceId, InstanceState, Observation, OnCall, Owner, Provider,
    ProviderError, Scope, Target, Version,
};
use libvirt::{Deadlines, GroupSettings, Libvirt, SeedSettings, Settings, VolumeSettings};
use stand::Clock;
use stand::fixture::{Domains, Kind};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;

const PLAIN: &str = "<domain type='test'><name>{name}</name><memory>1024</memory><os><type>hvm</type></os></domain>";
const DISKS: &str = "<domain type='test'><name>{name}</name><memory>1024</memory><os><type>hvm</type></os><devices>\
    <disk type='volume' device='disk'><source pool='default-pool' volume='{name}.qcow2'/><target dev='vda'/></disk>\
    </devices></domain>";

/// A host of its own, with two guests' worth of memory.
const SMALL: &str = "<node><cpu><mhz>2000</mhz><model>x</model><active>2</active><nodes>1</nodes><sockets>1</sockets>\
    <cores>2</cores><threads>1</threads></cpu><memory>2500</memory></node>";

struct Stand {
    folder: tempfile::TempDir,
    clock: Clock,
    settings: Settings,
}

impl Stand {
    /// One host, the mock of this process; groups are called after the test, since the mock is every test's.
    fn new(group: &str, description: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let domain = folder.path().join("domain.xml");
        std::fs::write(&domain, description).unwrap();
        let group = (group.to_owned(), GroupSettings { domain, shutdown: Some("60s".into()), ..Default::default() });
        let settings = Settings {
            hosts: BTreeMap::from([("a".to_owned(), "test:///default".to_owned())]),
            memory_share: Some(10.0),
            groups: BTreeMap::from([group]),
        };
        Self { folder, clock: Clock::default(), settings }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn group(&mut self) -> &mut GroupSettings {
        self.settings.groups.values_mut().next().unwrap()
    }

    async fn provider(&self) -> Libvirt {
        let time = self.clock.clone();
        let owner = Owner { id: "daemon-1".into() };
        Libvirt::connect(self.settings.clone(), owner, Arc::new(move || time.now())).await.unwrap()
    }
}

fn look() -> Connect {
    Connect::open(Some("test:///default")).unwrap()
}

fn target(group: &str, action: u128) -> Target {
    let seen = Version { desired: None, token: None, at: contract::Timestamp(0) };
    Target { group: group.into(), action: contract::ActionId(action), seen, lease: Epoch(1) }
}

async fn observe(provider: &Libvirt, group: &str) -> Result<Observation, ProviderError> {
    provider.observe(&[Ask::new(group)]).await.remove(0)
}

async fn seen(provider: &Libvirt, group: &str) -> Observation {
    observe(provider, group).await.unwrap()
}

fn states(seen: &Observation) -> Vec<InstanceState> {
    seen.instances.iter().map(|instance| instance.state).collect()
}

/// Looks again until this holds.
async fn until(provider: &Libvirt, group: &str, holds: impl Fn(&Observation) -> bool) -> Observation {
    for _ in 0..200 {
        let seen = seen(provider, group).await;
        if holds(&seen) {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it does not come to hold: {:?}", seen(provider, group).await);
}

async fn terminate(provider: &Libvirt, group: &str, action: u128, ids: &[InstanceId]) -> contract::Accepted {
    provider.terminator().unwrap().terminate(&target(group, action), ids).await.unwrap()
}

fn zones(seen: &Observation) -> BTreeMap<String, usize> {
    let mut zones = BTreeMap::new();
    for instance in &seen.instances {
        *zones.entry(instance.zone.as_deref().unwrap().to_owned()).or_default() += 1;
    }
    zones
}

#[tokio::test]
async fn launches_are_spread_over_hosts_with_room() {
    let mut stand = Stand::new("spread", PLAIN);
    let small = stand.file("small.xml", SMALL);
    stand.settings.hosts.insert("b".into(), format!("test://{small}"));
    let provider = stand.provider().await;
    provider.raise(&target("spread", 1), 3).await.unwrap();
    assert_eq!(zones(&seen(&provider, "spread").await), BTreeMap::from([("a".into(), 2), ("b".into(), 1)]));
    // The small one has room for two.
    stand.settings.memory_share = Some(1.0);
    let provider = {
        stand.settings.hosts.remove("a");
        stand.provider().await
    };
    let accepted = provider.raise(&target("spread", 2), 5).await.unwrap();
    assert_eq!(accepted.skipped, []);
    let shown = seen(&provider, "spread").await;
    assert_eq!(zones(&shown), BTreeMap::from([("b".into(), 2)]));
    let failure = &shown.launch_failures[0];
    // One failure, of the whole group: every host of it was considered, though it is one.
    assert_eq!((failure.kind, &failure.scope), (FailureKind::OutOfCapacity, &Scope::Group));
    assert_eq!(shown.launch_failures.len(), 1, "{shown:?}");
    // Nothing more can come: the write itself says so.
    let error = provider.raise(&target("spread", 3), 5).await.unwrap_err();
    assert!(matches!(&error, ProviderError::OutOfCapacity { scope } if *scope == Scope::Group), "{error}");
}

#[tokio::test]
async fn a_host_takes_no_more_of_a_group_than_it_may() {
    let mut stand = Stand::new("few", PLAIN);
    stand.group().max_per_host = Some(2);
    let provider = stand.provider().await;
    provider.raise(&target("few", 1), 5).await.unwrap();
    let two = seen(&provider, "few").await.instances;
    assert_eq!(two.len(), 2);
    // The host goes down and comes back: what is off there takes nobody's place.
    for instance in &two {
        Domain::lookup_by_name(&look(), instance.id.as_str()).unwrap().destroy().unwrap();
    }
    provider.raise(&target("few", 2), 5).await.unwrap();
    let shown = seen(&provider, "few").await;
    assert_eq!((shown.instances.len(), shown.alive().count()), (4, 2));
}

#[tokio::test]
async fn a_host_that_does_not_answer_makes_its_groups_unknown_and_no_other() {
    let mut stand = Stand::new("both", PLAIN);
    let mut alone = stand.group().clone();
    alone.hosts = Some(vec!["a".into()]);
    stand.settings.groups.insert("alone".into(), alone);
    stand.settings.hosts.insert("gone".into(), "qemu+unix:///session?socket=/nowhere/sock".into());
    let provider = stand.provider().await;
    let mut answers = provider.observe(&[Ask::new("both"), Ask::new("alone"), Ask::new("never-heard-of")]).await;
    assert_eq!(answers.remove(0).unwrap_err().code(), "transport");
    assert_eq!(answers.remove(0).unwrap().instances, []);
    assert_eq!(answers.remove(0).unwrap_err().code(), "not_found");
    // A launch has to know what is there, too.
    let error = provider.raise(&target("both", 1), 1).await.unwrap_err();
    assert!(error.to_string().contains("gone: virConnectOpen"), "{error}");
    provider.raise(&target("alone", 2), 1).await.unwrap();
    assert_eq!(seen(&provider, "alone").await.instances.len(), 1);
}

fn volumes() -> Vec<String> {
    let pool = StoragePool::lookup_by_name(&look(), "default-pool").unwrap();
    pool.list_volumes().unwrap()
}

#[tokio::test]
async fn a_volume_comes_and_goes_with_its_instance() {
    let mut stand = Stand::new("disks", DISKS);
    stand.group().volume =
        Some(VolumeSettings { pool: "default-pool".into(), template: "template & more.qcow2".into() });
    let provider = stand.provider().await;
    // What the settings name is not there: that is for a human, and nothing is left behind.
    let error = provider.raise(&target("disks", 1), 1).await.unwrap_err();
    assert_eq!(error.code(), "invalid", "{error}");
    assert_eq!(seen(&provider, "disks").await.instances, []);
    assert_eq!(seen(&provider, "disks").await.launch_failures[0].kind, FailureKind::Invalid);

    let keep = look();
    let pool = StoragePool::lookup_by_name(&keep, "default-pool").unwrap();
    let xml = "<volume><name>template &amp; more.qcow2</name><capacity unit='bytes'>4194304</capacity>\
        <target><format type='qcow2'/></target></volume>";
    StorageVol::create_xml(&pool, xml, 0).unwrap();
    provider.raise(&target("disks", 2), 2).await.unwrap();
    let shown = seen(&provider, "disks").await;
    let copies: Vec<String> = shown.instances.iter().map(|instance| format!("{}.qcow2", instance.id)).collect();
    assert_eq!(copies.len(), 2);
    for copy in &copies {
        let volume = StorageVol::lookup_by_name(&pool, copy).unwrap();
        let description = volume.get_xml_desc(0).unwrap();
        assert!(description.contains("template &amp; more.qcow2") && description.contains("4194304"), "{description}");
    }
    terminate(&provider, "disks", 3, &[shown.instances[0].id.clone()]).await;
    until(&provider, "disks", |seen| seen.instances.len() == 1).await;
    let left = volumes();
    assert!(!left.contains(&copies[0]) && left.contains(&copies[1]), "{left:?}");
    assert!(left.contains(&"template & more.qcow2".to_owned()), "{left:?}");
}

#[tokio::test]
async fn a_clone_is_removed_without_the_volume_of_the_first() {
    let mut stand = Stand::new("cloned", DISKS);
    stand.group().volume = Some(VolumeSettings { pool: "default-pool".into(), template: "cloned.img".into() });
    let keep = look();
    let pool = StoragePool::lookup_by_name(&keep, "default-pool").unwrap();
    let xml = "<volume><name>cloned.img</name><capacity unit='bytes'>4194304</capacity></volume>";
    StorageVol::create_xml(&pool, xml, 0).unwrap();
    let provider = stand.provider().await;
    provider.raise(&target("cloned", 1), 1).await.unwrap();
    let first = seen(&provider, "cloned").await.instances[0].id.clone();
    // As a person copies a domain: another name and UUID, the same metadata.
    let xml = Domain::lookup_by_name(&keep, first.as_str()).unwrap().get_xml_desc(0).unwrap();
    let (before, rest) = xml.split_once("<uuid>").unwrap();
    let after = rest.split_once("</uuid>").unwrap().1;
    let name = |name: &str| format!("<name>{name}</name>");
    let xml = format!("{}{after}", before.replace(&name(first.as_str()), &name("copy-of-it")));
    Domain::define_xml(&keep, &xml).unwrap().create().unwrap();
    terminate(&provider, "cloned", 2, &["copy-of-it".into()]).await;
    let left = until(&provider, "cloned", |seen| seen.instances.len() == 1).await;
    assert_eq!(left.instances[0].id, first);
    assert!(volumes().contains(&format!("{first}.qcow2")), "{:?}", volumes());
}

#[tokio::test]
async fn a_launch_that_broke_off_is_pending_for_a_while_and_then_swept() {
    let stand = Stand::new("broken-off", PLAIN);
    let provider = stand.provider().await;
    let keep = look();
    // Defined by a daemon that was gone before it could start it.
    let launched = stand.clock.now();
    let member =
        format!("<metadata><s:member xmlns:s='urn:skala:member' group='broken-off' launched='{launched}'/></metadata>");
    let xml = PLAIN.replace("{name}", "broken-off-1").replace("</name>", &format!("</name>{member}"));
    Domain::define_xml(&keep, &xml).unwrap();
    assert_eq!(states(&seen(&provider, "broken-off").await), [InstanceState::Pending]);
    stand.clock.advance(Duration::from_secs(100));
    assert_eq!(states(&seen(&provider, "broken-off").await), [InstanceState::Pending]);
    stand.clock.advance(Duration::from_secs(30));
    assert_eq!(states(&seen(&provider, "broken-off").await), [InstanceState::Terminating]);
    until(&provider, "broken-off", |seen| seen.instances.is_empty()).await;
    assert!(Domain::lookup_by_name(&keep, "broken-off-1").is_err());
}

#[tokio::test]
async fn a_launch_that_runs_and_lost_its_mark_is_not_taken_for_half_made() {
    let stand = Stand::new("unmarked", PLAIN);
    let provider = stand.provider().await;
    let keep = look();
    // Started by a daemon that was gone before it could say so.
    let launched = stand.clock.now();
    let member =
        format!("<metadata><s:member xmlns:s='urn:skala:member' group='unmarked' launched='{launched}'/></metadata>");
    let xml = PLAIN.replace("{name}", "unmarked-1").replace("</name>", &format!("</name>{member}"));
    let domain = Domain::define_xml(&keep, &xml).unwrap();
    domain.create().unwrap();
    assert_eq!(states(&seen(&provider, "unmarked").await), [InstanceState::Running]);
    let marked = until(&provider, "unmarked", |seen| seen.instances[0].running_since.is_some()).await;
    assert_eq!(marked.instances[0].running_since, marked.instances[0].launched);
    // It stops by itself much later: it has failed, and stays for whoever wants to know why.
    stand.clock.advance(Duration::from_secs(600));
    domain.destroy().unwrap();
    for _ in 0..3 {
        assert_eq!(states(&seen(&provider, "unmarked").await), [InstanceState::Failed]);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(Domain::lookup_by_name(&keep, "unmarked-1").is_ok());
}

#[tokio::test]
async fn one_that_stopped_by_itself_has_failed_and_is_replaced_and_removed() {
    let stand = Stand::new("crash", PLAIN);
    let provider = stand.provider().await;
    provider.raise(&target("crash", 1), 2).await.unwrap();
    let first = seen(&provider, "crash").await.instances[0].clone();
    let started = first.running_since.unwrap();
    assert!(started >= first.launched.unwrap() && started <= stand.clock.now());
    let keep = look();
    let domain = Domain::lookup_by_name(&keep, first.id.as_str()).unwrap();
    domain.destroy().unwrap();
    let state = |seen: &Observation| seen.instances.iter().find(|i| i.id == first.id).map(|i| i.state);
    assert_eq!(state(&seen(&provider, "crash").await), Some(InstanceState::Failed));
    // It no longer counts, so desired is met by another one.
    provider.raise(&target("crash", 2), 2).await.unwrap();
    let shown = seen(&provider, "crash").await;
    assert_eq!((shown.instances.len(), shown.alive().count()), (3, 2));
    // Somebody starts it again: it runs since then.
    domain.create().unwrap();
    let shown = seen(&provider, "crash").await;
    let again = shown.instances.iter().find(|i| i.id == first.id).unwrap();
    assert!(again.running_since.unwrap() > started, "{again:?}");
    domain.destroy().unwrap();
    terminate(&provider, "crash", 3, std::slice::from_ref(&first.id)).await;
    until(&provider, "crash", |seen| state(seen).is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_does_not_listen_is_destroyed_in_time_also_by_the_next_daemon() {
    let (mut fixture, provider) = Domains::new(Kind::MockBehindProxy).await;
    fixture.proxy.as_ref().unwrap().make_guests_deaf();
    let group = fixture.create(Spec::full(2)).await.unwrap();
    let name = group.as_str();
    let id = seen(&provider, name).await.instances[0].id.clone();
    terminate(&provider, name, 1, std::slice::from_ref(&id)).await;
    let state = |seen: &Observation| seen.instances.iter().find(|i| i.id == id).map(|i| i.state);
    // Named again it is on its way already, and its time is not put off.
    assert_eq!(terminate(&provider, name, 2, std::slice::from_ref(&id)).await.skipped, std::slice::from_ref(&id));
    drop(provider);
    let next = fixture.provider().await;
    for _ in 0..3 {
        assert_eq!(state(&seen(&next, name).await), Some(InstanceState::Terminating));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(fixture.domain(&id).is_active().unwrap());
    fixture.clock.advance(Duration::from_secs(1));
    let left = until(&next, name, |seen| state(seen).is_none()).await;
    assert_eq!(states(&left), [InstanceState::Running]);
}

#[tokio::test]
async fn a_template_that_changed_makes_instances_outdated() {
    let stand = Stand::new("aged", PLAIN);
    let provider = stand.provider().await;
    provider.raise(&target("aged", 1), 1).await.unwrap();
    let outdated = |seen: &Observation| seen.instances.iter().map(|i| i.outdated).collect::<Vec<_>>();
    assert_eq!(outdated(&seen(&provider, "aged").await), [false]);
    stand.file("domain.xml", &PLAIN.replace("1024", "2048"));
    let provider = stand.provider().await;
    provider.raise(&target("aged", 2), 2).await.unwrap();
    let mut shown = seen(&provider, "aged").await;
    shown.instances.sort_by_key(|instance: &Instance| instance.launched);
    assert_eq!(outdated(&shown), [true, false]);
}

#[tokio::test]
async fn metadata_that_cannot_be_read_is_for_a_human() {
    let stand = Stand::new("garbled", PLAIN);
    let provider = stand.provider().await;
    provider.raise(&target("garbled", 1), 1).await.unwrap();
    let id = seen(&provider, "garbled").await.instances[0].id.clone();
    let keep = look();
    let domain = Domain::lookup_by_name(&keep, id.as_str()).unwrap();
    let bad = "<member group='garbled' stop_by='tomorrow'/>";
    domain.set_metadata(2, Some(bad), Some("skala"), Some("urn:skala:member"), 3).unwrap();
    let error = observe(&provider, "garbled").await.unwrap_err();
    assert!(error.code() == "invalid" && error.to_string().contains(id.as_str()), "{error}");
    domain.destroy().unwrap();
    domain.undefine().unwrap();
}

#[tokio::test]
async fn a_seed_that_cannot_be_put_into_its_pool_leaves_nothing_behind() {
    let disk = "<disk type='volume' device='cdrom'><source pool='default-pool' volume='{name}-seed.iso'/>\
        <target dev='sda'/></disk></devices>";
    let mut stand = Stand::new("seeded", &DISKS.replace("</devices>", disk));
    let user_data = stand.file("user-data", "#cloud-config\n").into();
    stand.group().seed = Some(SeedSettings { pool: "default-pool".into(), user_data, network_config: None });
    let provider = stand.provider().await;
    // The mock's pools take no upload; the closed loop has guests that read theirs.
    let error = provider.raise(&target("seeded", 1), 1).await.unwrap_err();
    assert!(error.to_string().contains("virStorageVolUpload"), "{error}");
    assert_eq!(seen(&provider, "seeded").await.instances, []);
    assert_eq!(volumes().iter().filter(|name| name.starts_with("seeded")).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_broke_is_made_again_at_once() {
    let (mut fixture, provider) = Domains::new(Kind::MockBehindProxy).await;
    let group = fixture.create(Spec::full(2)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(seen(&provider, group.as_str()).await.instances.len(), 2);
        fixture.proxy.as_ref().unwrap().cut();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_hangs_is_left_alone_and_comes_back() {
    let (mut fixture, provider) = Domains::new(Kind::MockBehindProxy).await;
    let provider =
        provider.with_deadlines(Deadlines { read: Duration::from_millis(300), write: Duration::from_secs(2) });
    let group = fixture.create(Spec::full(1)).await.unwrap();
    seen(&provider, group.as_str()).await;
    fixture.inject(&group, Call::Read, &Fault::Timeout).await.unwrap();
    let mut words = Vec::new();
    for _ in 0..6 {
        words.push(observe(&provider, group.as_str()).await.unwrap_err().to_string());
    }
    assert!(words[..4].iter().all(|words| words.contains("no answer in time")), "{words:?}");
    assert!(words[4..].iter().all(|words| words.contains("hang there already")), "{words:?}");
    fixture.clear().await;
    until_ok(&provider, &group).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_to_a_host_that_lost_its_power_end_and_it_is_asked_again() {
    let (mut fixture, provider) = Domains::new(Kind::MockBehindProxy).await;
    let provider =
        provider.with_deadlines(Deadlines { read: Duration::from_millis(500), write: Duration::from_secs(2) });
    let group = fixture.create(Spec::full(1)).await.unwrap();
    for _ in 0..4 {
        until_ok(&provider, &group).await;
        fixture.proxy.as_ref().unwrap().lose_power();
        let words = observe(&provider, group.as_str()).await.unwrap_err().to_string();
        assert!(words.contains("no answer in time"), "{words}");
    }
    let words = observe(&provider, group.as_str()).await.unwrap_err().to_string();
    assert!(words.contains("hang there already") && words.contains("virsh"), "{words}");
    // Nothing tells this side that they are lost but the silence.
    let again = async {
        while observe(&provider, group.as_str()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), again).await.unwrap();
}

async fn until_ok(provider: &Libvirt, group: &GroupId) {
    for _ in 0..50 {
        if observe(provider, group.as_str()).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{:?}", observe(provider, group.as_str()).await);
}

/// One list for all groups, and three reads a domain of ours: libvirt has no call for the metadata of many.
#[tokio::test]
async fn reads_grow_with_domains_and_not_with_groups() {
    let (mut fixture, provider) = Domains::new(Kind::MockBehindProxy).await;
    let calls: Arc<Mutex<Vec<&'static str>>> = Arc::default();
    let counted = Arc::clone(&calls);
    let on_call: OnCall = Arc::new(move |call| counted.lock().unwrap().push(call.operation));
    let provider = provider.with_on_call(on_call);
    let mut asks = Vec::new();
    let read = async |asks: &[Ask], fixture: &Domains| {
        // Connected, and nothing left to count.
        provider.observe(asks).await;
        calls.lock().unwrap().clear();
        fixture.proxy.as_ref().unwrap().take_seen();
        assert!(provider.observe(asks).await.iter().all(Result::is_ok));
        // Of a domain's name and UUID libvirt has a copy on this side, so those two never reach the host.
        let told =
            calls.lock().unwrap().iter().filter(|call| !call.contains("GetName") && !call.contains("UUID")).count();
        (told, fixture.proxy.as_ref().unwrap().take_seen().len())
    };
    // The mock begins with a domain of its own, which is asked only whose it is.
    for (groups, expected) in [(1, 2 + 3 * 2), (100, 2 + 3 * 200)] {
        while asks.len() < groups {
            asks.push(Ask::new(fixture.create(Spec::full(2)).await.unwrap()));
        }
        let (told, passed) = read(&asks, &fixture).await;
        assert_eq!((told, passed), (expected, expected), "{groups} groups");
    }
}

#[test]
fn permissions_are_for_those_who_have_groups() {
    assert!(libvirt::permissions(&[]).is_empty());
    assert!(libvirt::permissions(&["web".into()]).contains(&"org.libvirt.api.domain.start"));
}
