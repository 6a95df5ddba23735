//! Scale-out: what is missing is spread over the hosts that have room, and made there.
//!
//! The hosts are listed first. A launch is named by action and index, in the domain's metadata and in its name, which
//! libvirt gives to one domain only: an action tried twice finds the launches of the first time. A domain is defined
//! before its volumes are made and before it is started, so that whatever a crash leaves half-made is in the list, with
//! all that has to go with it.

use crate::Libvirt;
use crate::errors::{Effect, Failure, launch_failure};
use crate::host::Session;
use crate::member::{MEMBER, Member, PREFIX, VolumeName, escape};
use crate::observe::{Listed, Shown, list, members};
use crate::settings::{Group, SEED_ENDING, VOLUME_ENDING};
use contract::{Accepted, CAPACITY_MAX, Capacity, ProviderError, Scope, Target, Timestamp};
use futures_util::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;
use virt::domain::Domain;
use virt::error::ErrorNumber;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt::stream::Stream;
use virt_sys as sys;

/// Launches in the air at once.
const CONCURRENT: usize = 4;
/// A host that refused a launch is the last choice for this long.
const SHUNNED: Duration = Duration::from_secs(300);
/// Refused launches that are remembered, at most.
const FAILURES_MAX: usize = 100;
/// Bytes of a seed in one piece; libvirt's messages hold 256 KiB.
const PIECE: usize = 128 << 10;

/// What a host can still take.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Room {
    host: Box<str>,
    /// Memory that may still be promised.
    free_kib: u64,
    /// Instances of the group that are there.
    count: Capacity,
    shunned: bool,
}

/// One launch on one host.
#[derive(Clone, Debug)]
struct Launch {
    name: Box<str>,
    xml: String,
    member: Member,
    group: Group,
}

impl Libvirt {
    /// Launches as many instances as are missing to `to`.
    pub(crate) async fn launch(&self, target: &Target, to: Capacity) -> Result<Accepted, ProviderError> {
        if to > CAPACITY_MAX {
            return Err(ProviderError::Invalid { what: format!("{}: no group can hold {to}", target.group).into() });
        }
        let deadline = Instant::now() + self.deadlines.write;
        let name = target.group.as_str();
        let group = self.group(name)?;
        let at = (self.clock)();
        let (shown, rooms) = self.rooms(name, group, at).await?;
        let alive = shown.iter().filter(|shown| shown.is_alive()).count();
        let missing = (to as usize).saturating_sub(alive);
        let placed = spread(rooms, missing, group);
        let unplaced = missing - placed.len();
        let calls: Vec<_> = placed
            .into_iter()
            .zip(free_indices(&shown, target, missing))
            .map(|(host, index)| self.launch_one(target, group, host, index, deadline))
            .collect();
        let mut results: Vec<(Box<str>, Result<(), Failure>)> =
            futures_util::stream::iter(calls).buffered(CONCURRENT).collect().await;
        if unplaced > 0 {
            // Every host was considered: the fleet has to look to another group, not to another host.
            let full = Failure::ours(ProviderError::OutOfCapacity { scope: Scope::Group });
            results.push((name.into(), Err(full)));
        }
        self.judge(name, results, at)
    }

    /// What is there, and what each host can still take. Every host has to answer.
    async fn rooms(&self, name: &str, group: &Group, at: Timestamp) -> Result<(Vec<Shown>, Vec<Room>), ProviderError> {
        let share = group.memory_share;
        let reads = group.hosts.iter().map(|host| async move {
            (host, self.read(host, move |session| Ok((list(session, at)?, free_kib(session, share)?))).await)
        });
        let mut lists: BTreeMap<Box<str>, Result<Listed, ProviderError>> = BTreeMap::new();
        let mut free = BTreeMap::new();
        for (host, read) in futures_util::future::join_all(reads).await {
            let (listed, kib) = read.map_err(|failure| failure.error)?;
            lists.insert(host.clone(), Ok(listed));
            free.insert(&**host, kib);
        }
        let shown = members(name, group, &lists)?;
        let shunned: BTreeSet<Scope> = self.remember(name, |memory| {
            memory.failures.iter().filter(|failure| failure.at >= at.before(SHUNNED)).map(|f| f.scope.clone()).collect()
        });
        // One that is off takes no room: a host that was started anew must not be full of those that it lost.
        let count = |host: &str| shown.iter().filter(|shown| *shown.host == *host && shown.takes_room()).count();
        let room = |(host, free_kib): (&str, u64)| Room {
            host: host.into(),
            free_kib,
            count: u32::try_from(count(host)).unwrap_or(u32::MAX),
            shunned: shunned.contains(&Scope::Zone(host.into())),
        };
        let rooms = free.into_iter().map(room).collect();
        Ok((shown, rooms))
    }

    async fn launch_one(
        &self,
        target: &Target,
        group: &Group,
        host: Box<str>,
        index: u32,
        deadline: Instant,
    ) -> (Box<str>, Result<(), Failure>) {
        let id = target.action.launch(index);
        let name = format!("{}-{id}", target.group);
        let own = |pool: &str, ending: &str| VolumeName { pool: pool.into(), name: format!("{name}{ending}").into() };
        let member = Member {
            group: target.group.0.clone(),
            launch: Some(id.into()),
            by: Some(self.owner.id.clone()),
            launched: Some((self.clock)()),
            started: None,
            template: Some(group.fingerprint.clone()),
            volume: group.volume.as_ref().map(|volume| own(&volume.pool, VOLUME_ENDING)),
            seed: group.seed.as_ref().map(|seed| own(&seed.pool, SEED_ENDING)),
            stop_by: None,
        };
        let xml = group.template.instance(&name, &member);
        let launch = Launch { name: name.into(), xml, member, group: group.clone() };
        let clock = std::sync::Arc::clone(&self.clock);
        let result = match self.hosts.get(&host) {
            Some(there) => there.run(Effect::Write, deadline, move |session| launch.run(session, &*clock)).await,
            None => Err(Failure::no_time("virDomainDefineXML")),
        };
        (host, result)
    }

    /// One launch refused is an error, a part refused is data: what came is there, and the next observation shows both.
    fn judge(
        &self,
        group: &str,
        results: Vec<(Box<str>, Result<(), Failure>)>,
        at: Timestamp,
    ) -> Result<Accepted, ProviderError> {
        let came = results.iter().filter(|(_, result)| result.is_ok()).count();
        let failures = results.into_iter().filter_map(|(host, result)| Some((host, result.err()?)));
        let mut failures: Vec<(Box<str>, Failure)> = failures.collect();
        self.remember(group, |memory| {
            let harmless = failures.iter().filter(|(_, failure)| failure.harmless);
            memory.failures.extend(harmless.map(|(host, failure)| launch_failure(&failure.error, host, at)));
            // The newest say it all.
            memory.failures.drain(..memory.failures.len().saturating_sub(FAILURES_MAX));
        });
        if let Some(unclear) = failures.iter().position(|(_, failure)| !failure.harmless) {
            return Err(failures.swap_remove(unclear).1.error);
        }
        let hosts: BTreeSet<&Box<str>> = failures.iter().map(|(host, _)| host).collect();
        let is_whole =
            |failure: &Failure| matches!(failure.error, ProviderError::OutOfCapacity { scope: Scope::Group });
        let everywhere = hosts.len() > 1 || failures.iter().any(|(_, failure)| is_whole(failure));
        match failures.into_iter().next() {
            Some((_, Failure { error: ProviderError::OutOfCapacity { .. }, .. })) if came == 0 && everywhere => {
                Err(ProviderError::OutOfCapacity { scope: Scope::Group })
            }
            Some((_, failure)) if came == 0 => Err(failure.error),
            _ => Ok(Accepted::default()),
        }
    }
}

impl Launch {
    /// Defines, makes the volumes, starts. What was refused on the way is cleared away at once.
    fn run(mut self, session: &Session, clock: &dyn Fn() -> Timestamp) -> Result<(), Failure> {
        let domain = match session.write("virDomainDefineXML", |connect| Domain::define_xml(connect, &self.xml)) {
            Ok(domain) => domain,
            Err(failure) if matches!(failure.number, Some(ErrorNumber::DomExist | ErrorNumber::OperationFailed)) => {
                // The list did not show it, and libvirt has it: this launch is in the air elsewhere, or just ended.
                let there =
                    session.read("virDomainLookupByName", |connect| Domain::lookup_by_name(connect, &self.name));
                return Err(match there {
                    Ok(_) => Failure::unanswered(Effect::Write, format!("{}: {} is there", session.host, self.name)),
                    Err(_) => failure,
                });
            }
            Err(failure) => return Err(failure),
        };
        if let Err(failure) = self.equip(session).and_then(|()| session.write("virDomainCreate", |_| domain.create())) {
            if failure.harmless {
                // What cannot be cleared away now is half-made, and swept later.
                drop(remove(session, &domain, &self.member));
            }
            return Err(failure);
        }
        self.member.started = Some(clock());
        // When this is lost, the domain runs since its launch, which was a moment ago.
        drop(write_member(session, &domain, &self.member, true));
        Ok(())
    }

    /// Makes the volumes.
    fn equip(&self, session: &Session) -> Result<(), Failure> {
        if let (Some(own), Some(volume)) = (&self.member.volume, &self.group.volume) {
            let pool = pool(session, &own.pool)?;
            let read = || -> Result<(String, String), Failure> {
                let template = session
                    .read("virStorageVolLookupByName", |_| StorageVol::lookup_by_name(&pool, &volume.template))?;
                let path = session.read("virStorageVolGetPath", |_| template.get_path())?;
                Ok((path, session.read("virStorageVolGetXMLDesc", |_| template.get_xml_desc(0))?))
            };
            let (path, description) = read().map_err(missing)?;
            let Some(xml) = copy_of(&own.name, &path, &description) else {
                let what = format!("{}: libvirt does not say how large {path} is", session.host);
                return Err(Failure::ours(ProviderError::Transport { what: what.into(), source: None }));
            };
            session.write("virStorageVolCreateXML", |_| StorageVol::create_xml(&pool, &xml, 0))?;
        }
        if let (Some(own), Some(seed)) = (&self.member.seed, &self.group.seed) {
            let pool = pool(session, &own.pool)?;
            let image = seed.data.image(&self.name);
            let xml = volume_xml(&own.name, image.len(), "raw", "");
            let made = session.write("virStorageVolCreateXML", |_| StorageVol::create_xml(&pool, &xml, 0))?;
            upload(session, &made, &image)?;
        }
        Ok(())
    }
}

fn pool(session: &Session, name: &str) -> Result<StoragePool, Failure> {
    session.read("virStoragePoolLookupByName", |connect| StoragePool::lookup_by_name(connect, name)).map_err(missing)
}

/// A pool or template that is not there is not the group that is not there.
fn missing(failure: Failure) -> Failure {
    match failure.error {
        ProviderError::NotFound { what } => Failure { error: ProviderError::Invalid { what }, ..failure },
        _ => failure,
    }
}

/// A thin copy: a qcow2 that holds what differs from the template. None when the template's description does not say how
/// large it is.
fn copy_of(name: &str, path: &str, description: &str) -> Option<String> {
    let document = roxmltree::Document::parse(description).ok()?;
    let find = |tag: &str| document.descendants().find(|node| node.tag_name().name() == tag);
    let capacity = find("capacity")?.text()?.trim().parse().ok().filter(|bytes| *bytes > 0)?;
    let format = find("format").and_then(|node| node.attribute("type")).unwrap_or("raw");
    let backing =
        format!("<backingStore><path>{}</path><format type='{}'/></backingStore>", escape(path), escape(format));
    Some(volume_xml(name, capacity, "qcow2", &backing))
}

fn volume_xml(name: &str, bytes: usize, format: &str, backing: &str) -> String {
    let (name, format) = (escape(name), escape(format));
    format!(
        "<volume><name>{name}</name><capacity unit='bytes'>{bytes}</capacity>\
         <target><format type='{format}'/></target>{backing}</volume>"
    )
}

fn upload(session: &Session, volume: &StorageVol, image: &[u8]) -> Result<(), Failure> {
    session.write("virStorageVolUpload", |connect| {
        let stream = Stream::new(connect, 0)?;
        volume.upload(&stream, 0, image.len() as u64, 0)?;
        for mut piece in image.chunks(PIECE) {
            while !piece.is_empty() {
                match stream.send(piece) {
                    Ok(sent) => piece = &piece[sent.min(piece.len())..],
                    Err(error) => {
                        drop(stream.abort());
                        return Err(error);
                    }
                }
            }
        }
        stream.finish()
    })
}

/// Writes a domain's membership, in the description that lasts and, when it runs, in the one that runs.
pub(crate) fn write_member(session: &Session, domain: &Domain, member: &Member, active: bool) -> Result<(), Failure> {
    let write = |flags: u32| {
        let (element, kind) = (member.element(), sys::VIR_DOMAIN_METADATA_ELEMENT as i32);
        session.write("virDomainSetMetadata", |_| {
            domain.set_metadata(kind, Some(&element), Some(PREFIX), Some(MEMBER), flags)
        })
    };
    let live = if active { sys::VIR_DOMAIN_AFFECT_LIVE } else { 0 };
    match write(live | sys::VIR_DOMAIN_AFFECT_CONFIG) {
        // It stopped or started meanwhile, or has no description that lasts.
        Err(failure) if failure.is_unsupported() => write(sys::VIR_DOMAIN_AFFECT_CURRENT).map(|_| ()),
        other => other.map(|_| ()),
    }
}

/// Removes a domain that is off: first what was made for it, last its description, which says what was made.
pub(crate) fn remove(session: &Session, domain: &Domain, member: &Member) -> Result<(), Failure> {
    let name = session.read("virDomainGetName", |_| domain.get_name())?;
    for own in [&member.volume, &member.seed].into_iter().flatten() {
        // A domain that a person cloned has the metadata of the first one, whose volumes these are.
        if own.name.strip_prefix(&*name).is_none_or(|ending| ![VOLUME_ENDING, SEED_ENDING].contains(&ending)) {
            tracing::warn!(host = %session.host, domain = name, volume = %own.name, "not called after the domain, so it stays");
            continue;
        }
        let deleted = session
            .read("virStoragePoolLookupByName", |connect| StoragePool::lookup_by_name(connect, &own.pool))
            .and_then(|pool| {
                session.read("virStorageVolLookupByName", |_| StorageVol::lookup_by_name(&pool, &own.name))
            })
            .and_then(|volume| session.write("virStorageVolDelete", |_| volume.delete(0)));
        gone_or(deleted)?;
    }
    // Whatever else libvirt keeps for it would keep it from going.
    let all = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_NVRAM;
    match session.write("virDomainUndefineFlags", |_| domain.undefine_flags(all)) {
        Err(failure) if failure.is_unsupported() => gone_or(session.write("virDomainUndefine", |_| domain.undefine())),
        other => gone_or(other),
    }
}

/// What is gone has been removed.
fn gone_or(result: Result<(), Failure>) -> Result<(), Failure> {
    result.or_else(|failure| if failure.is_absence() { Ok(()) } else { Err(failure) })
}

/// Memory of a host that its guests may still be promised: what others run there counts, too.
fn free_kib(session: &Session, share: f64) -> Result<u64, Failure> {
    let whole = session.read("virNodeGetInfo", |connect| connect.get_node_info())?.memory;
    let active = sys::VIR_CONNECT_LIST_DOMAINS_ACTIVE;
    let mut promised: u64 = 0;
    for domain in session.read("virConnectListAllDomains", |connect| connect.list_all_domains(active))? {
        match session.read("virDomainGetInfo", |_| domain.get_info()) {
            Ok(info) => promised = promised.saturating_add(info.max_mem),
            Err(failure) if failure.is_absence() => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(((whole as f64 * share) as u64).saturating_sub(promised))
}

/// The hosts for so many launches, fewer when there is no room: each goes where the group has fewest, among those with
/// room; of equals to the one with most memory left. One that refused lately comes last.
fn spread(mut rooms: Vec<Room>, missing: usize, group: &Group) -> Vec<Box<str>> {
    let need = group.template.memory_kib;
    let mut placed = Vec::with_capacity(missing.min(1 << 16));
    while placed.len() < missing {
        let fits = rooms.iter_mut().filter(|room| room.free_kib >= need && room.count < group.max_per_host);
        let Some(best) = fits.min_by_key(|room| (room.shunned, room.count, u64::MAX - room.free_kib)) else { break };
        best.free_kib -= need;
        best.count += 1;
        placed.push(best.host.clone());
    }
    placed
}

/// The first indices of this action that no domain carries yet.
fn free_indices(shown: &[Shown], target: &Target, count: usize) -> Vec<u32> {
    let used: BTreeSet<&str> = shown.iter().filter_map(|shown| shown.member.launch.as_deref()).collect();
    (0..CAPACITY_MAX).filter(|index| !used.contains(target.action.launch(*index).as_str())).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::copy_of;

    #[test]
    fn a_copy_is_as_large_as_its_template_or_is_not_made() {
        let of = |description: &str| copy_of("web-1.qcow2", "/p/t&c.img", description);
        let whole = "<volume><capacity unit='bytes'>4096</capacity><target><format type='qcow2'/></target></volume>";
        let made = of(whole).unwrap();
        assert!(made.contains("<capacity unit='bytes'>4096</capacity>") && made.contains("/p/t&amp;c.img"), "{made}");
        for odd in
            ["", "<volume/>", "<volume><capacity>0</capacity></volume>", "<volume><capacity>1G</capacity></volume>"]
        {
            assert_eq!(of(odd), None, "{odd}");
        }
    }
}
