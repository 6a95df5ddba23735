//! Reading: all domains of a host with skala's metadata, in one list for all groups; and what they mean.
//!
//! A group is known when every host of it has answered. One that does not makes what runs there unknown, so the whole
//! group's observation is an error: the contract knows no half of a group, and less instances than there are would be
//! made up for. (A fleet that must outlive a host takes one group per host.)

use crate::Libvirt;
use crate::errors::{Failure, cut};
use crate::host::Session;
use crate::member::{MEMBER, Member, PROTECTED};
use crate::settings::Group;
use contract::{
    Abilities, Ask, Instance, InstanceId, InstanceState, LaunchFailure, Observation, ProviderError, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use virt::domain::Domain;
use virt::error::ErrorNumber;
use virt_sys as sys;

/// A launch that has not started its domain after this long never will: whoever made it is gone. Longer than a write may
/// take, and a clock that is a little off.
pub(crate) const HALF_MADE: Duration = Duration::from_secs(120);
/// A refused launch is shown this long.
const FAILURES_KEPT: Duration = Duration::from_secs(1800);

/// One domain of some group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shown {
    pub host: Box<str>,
    pub name: Box<str>,
    pub uuid: Box<str>,
    pub member: Member,
    pub state: InstanceState,
    /// Its guest runs, or could be woken.
    pub active: bool,
    pub protected: bool,
}

impl Shown {
    pub fn id(&self) -> InstanceId {
        InstanceId::from(&*self.name)
    }

    /// It counts.
    pub fn is_alive(&self) -> bool {
        matches!(self.state, InstanceState::Pending | InstanceState::Running)
    }

    /// It runs on its host, or is about to.
    pub fn takes_room(&self) -> bool {
        self.active || self.is_alive()
    }

    /// What is to be cleared away, now or when its time has come.
    pub fn is_leaving(&self, at: Timestamp) -> bool {
        self.member.stop_by.is_some() || (!self.active && is_half_made(&self.member, at))
    }

    /// A launch that came to run, and whose mark of it was lost: off, it would be taken for half-made. One that is on its
    /// way has some time to write it by itself.
    pub fn lacks_its_start(&self, at: Timestamp) -> bool {
        let runs = self.state == InstanceState::Running || is_half_made(&self.member, at);
        self.active && runs && self.member.lacks_its_start()
    }
}

/// What one host holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed {
    pub shown: Vec<Shown>,
    /// Groups with a domain whose metadata cannot be read.
    broken: Vec<(Box<str>, String)>,
}

/// What this process remembers of one group.
#[derive(Default)]
pub(crate) struct Memory {
    /// Domains that were seen down after their first start, by UUID, and since when they run again.
    restarted: BTreeMap<Box<str>, Option<Timestamp>>,
    pub failures: Vec<LaunchFailure>,
}

/// Reads a host. A domain that goes away meanwhile is gone.
pub(crate) fn list(session: &Session, at: Timestamp) -> Result<Listed, Failure> {
    let mut listed = Listed::default();
    for domain in session.read("virConnectListAllDomains", |connect| connect.list_all_domains(0))? {
        let Some(text) = metadata(session, &domain, MEMBER)? else { continue };
        let name: Box<str> = session.read("virDomainGetName", |_| domain.get_name())?.into();
        let member = match Member::parse(&text) {
            Ok(Some(member)) => member,
            Ok(None) => continue,
            Err((group, what)) => {
                listed.broken.push((group, format!("{name} on {}: its metadata says {what}", session.host)));
                continue;
            }
        };
        let (state, reason) = match session.read("virDomainGetState", |_| domain.get_state()) {
            Ok(state) => state,
            Err(failure) if failure.is_absence() => continue,
            Err(failure) => return Err(failure),
        };
        let protected = metadata(session, &domain, PROTECTED)?.is_some();
        let uuid = session.read("virDomainGetUUIDString", |_| domain.get_uuid_string())?.into();
        let (state, active) = judge(state, reason, &member, at);
        listed.shown.push(Shown { host: session.host.clone(), name, uuid, member, state, active, protected });
    }
    Ok(listed)
}

/// One element of a domain's metadata; none when it has none, or is gone.
pub(crate) fn metadata(session: &Session, domain: &Domain, uri: &str) -> Result<Option<String>, Failure> {
    let kind = sys::VIR_DOMAIN_METADATA_ELEMENT as i32;
    session.read("virDomainGetMetadata", |_| {
        match domain.get_metadata(kind, Some(uri), sys::VIR_DOMAIN_AFFECT_CURRENT) {
            Ok(text) => Ok(Some(text)),
            // Most domains of a host may be nobody's concern; that is no error.
            Err(error) if matches!(error.code(), ErrorNumber::NoDomain | ErrorNumber::NoDomainMetadata) => Ok(None),
            Err(error) => Err(error),
        }
    })
}

/// libvirt's state and reason to the contract's, and whether the domain is active.
fn judge(state: sys::virDomainState, reason: i32, member: &Member, at: Timestamp) -> (InstanceState, bool) {
    let is =
        |reasons: &[sys::virDomainPausedReason]| u32::try_from(reason).is_ok_and(|reason| reasons.contains(&reason));
    let (judged, active) = match state {
        sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_BLOCKED => (InstanceState::Running, true),
        sys::VIR_DOMAIN_SHUTDOWN => (InstanceState::Terminating, true),
        sys::VIR_DOMAIN_PAUSED if is(&[sys::VIR_DOMAIN_PAUSED_SHUTTING_DOWN]) => (InstanceState::Terminating, true),
        sys::VIR_DOMAIN_PAUSED
            if is(&[
                sys::VIR_DOMAIN_PAUSED_IOERROR,
                sys::VIR_DOMAIN_PAUSED_WATCHDOG,
                sys::VIR_DOMAIN_PAUSED_CRASHED,
                sys::VIR_DOMAIN_PAUSED_POSTCOPY_FAILED,
                sys::VIR_DOMAIN_PAUSED_API_ERROR,
            ]) =>
        {
            (InstanceState::Failed, true)
        }
        sys::VIR_DOMAIN_SHUTOFF if is_half_made(member, at) => (InstanceState::Terminating, false),
        sys::VIR_DOMAIN_SHUTOFF if member.launched.is_some() && member.started.is_none() => {
            (InstanceState::Pending, false)
        }
        // It ran, and nobody asked it to stop: it crashed, its host did, or somebody inside switched it off.
        sys::VIR_DOMAIN_SHUTOFF => (InstanceState::Failed, false),
        sys::VIR_DOMAIN_CRASHED => (InstanceState::Failed, true),
        // Paused by a person or a migration, asleep, or a state that nobody knows: it is there and does not serve.
        _ => (InstanceState::Pending, true),
    };
    (if member.stop_by.is_some() { InstanceState::Terminating } else { judged }, active)
}

fn is_half_made(member: &Member, at: Timestamp) -> bool {
    member.started.is_none() && member.launched.is_some_and(|launched| at.since(launched) > HALF_MADE)
}

/// The domains of one group over its hosts, each once: while one moves from host to host both show it.
///
/// # Errors
/// The first of its hosts that cannot tell, or what a person has to put in order.
pub(crate) fn members(
    name: &str,
    group: &Group,
    lists: &BTreeMap<Box<str>, Result<Listed, ProviderError>>,
) -> Result<Vec<Shown>, ProviderError> {
    let mut found: BTreeMap<Box<str>, Shown> = BTreeMap::new();
    for host in &group.hosts {
        let listed = match lists.get(host) {
            Some(Ok(listed)) => listed,
            Some(Err(error)) => return Err(error.again()),
            None => {
                return Err(ProviderError::Transport { what: format!("{host} was not asked").into(), source: None });
            }
        };
        if let Some((_, what)) = listed.broken.iter().find(|(group, _)| **group == *name) {
            return Err(ProviderError::Invalid { what: cut(what, 300) });
        }
        for shown in listed.shown.iter().filter(|shown| *shown.member.group == *name) {
            let rank = |shown: &Shown| (shown.state == InstanceState::Running, shown.active);
            match found.get(&shown.uuid) {
                Some(other) if rank(other) >= rank(shown) => {}
                _ => drop(found.insert(shown.uuid.clone(), shown.clone())),
            }
        }
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = found.values().find(|shown| !names.insert(&shown.name)) {
        let what = format!("two different domains of group {name} are called {}: rename one", twice.name);
        return Err(ProviderError::Invalid { what: what.into() });
    }
    Ok(found.into_values().collect())
}

/// What is to be put in order, by host. A domain that is off here may run elsewhere, on the same disk: it has moved. So
/// nothing that is off goes before every host of its group has said that it does not run there.
fn upkeep(
    groups: &BTreeMap<Box<str>, Group>,
    lists: &BTreeMap<Box<str>, Result<Listed, ProviderError>>,
    at: Timestamp,
) -> Vec<Vec<Shown>> {
    let heard = || lists.values().flatten();
    let active: BTreeSet<&str> =
        heard().flat_map(|listed| &listed.shown).filter(|shown| shown.active).map(|shown| &*shown.uuid).collect();
    let all_heard = |group: &Group| group.hosts.iter().all(|host| matches!(lists.get(host), Some(Ok(_))));
    let is_due = |shown: &&Shown| {
        let Some(group) = groups.get(&shown.member.group) else { return false };
        let goes = shown.active || (!active.contains(&*shown.uuid) && all_heard(group));
        shown.lacks_its_start(at) || (shown.is_leaving(at) && goes)
    };
    heard().map(|listed| listed.shown.iter().filter(is_due).cloned().collect()).collect()
}

impl Libvirt {
    /// Reads hosts, all at once.
    pub(crate) async fn lists(
        &self,
        hosts: BTreeSet<&str>,
        at: Timestamp,
    ) -> BTreeMap<Box<str>, Result<Listed, ProviderError>> {
        let reads = hosts.into_iter().map(|name| async move {
            let read = self.read(name, move |session| list(session, at)).await;
            (name.into(), read.map_err(|failure| failure.error))
        });
        futures_util::future::join_all(reads).await.into_iter().collect()
    }

    /// Observes groups; the answers are in the order of the asks. What it finds on its way out is helped along, behind
    /// the answer.
    pub(crate) async fn look(&self, asks: &[Ask]) -> Vec<Result<Observation, ProviderError>> {
        let at = (self.clock)();
        let asked = asks.iter().filter_map(|ask| self.groups.get(ask.group.as_str()));
        let lists = self.lists(asked.flat_map(Group::hosts).collect(), at).await;
        let answers = asks.iter().map(|ask| self.answer(ask, &lists, at)).collect();
        for upkeep in upkeep(&self.groups, &lists, at) {
            self.clear_away(upkeep);
        }
        answers
    }

    fn answer(
        &self,
        ask: &Ask,
        lists: &BTreeMap<Box<str>, Result<Listed, ProviderError>>,
        at: Timestamp,
    ) -> Result<Observation, ProviderError> {
        let name = ask.group.as_str();
        let group = self.group(name)?;
        let shown = members(name, group, lists)?;
        let (instances, launch_failures) = self.remember(name, |memory| {
            memory.failures.retain(|failure| failure.at >= at.before(FAILURES_KEPT));
            (memory.instances(&shown, group, at), memory.failures.clone())
        });
        Ok(Observation {
            desired: None,
            cloud_min: None,
            cloud_max: None,
            instances,
            operations: Vec::new(),
            launch_failures,
            suspended: Vec::new(),
            foreign: Vec::new(),
            owner: None,
            abilities: Abilities { keeps_desired: false, ..Abilities::default() },
            token: None,
            at,
        })
    }
}

impl Memory {
    fn instances(&mut self, shown: &[Shown], group: &Group, at: Timestamp) -> Vec<Instance> {
        self.restarted.retain(|uuid, _| shown.iter().any(|shown| shown.uuid == *uuid));
        shown.iter().map(|shown| self.instance(shown, group, at)).collect()
    }

    fn instance(&mut self, shown: &Shown, group: &Group, at: Timestamp) -> Instance {
        let running = shown.state == InstanceState::Running;
        if !running && !shown.active && shown.member.started.is_some() {
            self.restarted.insert(shown.uuid.clone(), None);
        }
        let again = match self.restarted.get_mut(&shown.uuid) {
            Some(since) if running => Some(*since.get_or_insert(at)),
            _ => None,
        };
        Instance {
            id: shown.id(),
            state: shown.state,
            launched: shown.member.launched,
            running_since: again.or(shown.member.started).filter(|_| running),
            zone: Some(shown.host.clone()),
            protected: shown.protected,
            outdated: shown.member.template.as_ref().is_some_and(|template| *template != group.fingerprint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use InstanceState::{Failed, Pending, Running, Terminating};

    const NOW: Timestamp = Timestamp::from_secs(10_000);

    fn member(launched: Option<i64>, started: Option<i64>, stop_by: Option<i64>) -> Member {
        let time = |secs: Option<i64>| secs.map(Timestamp::from_secs);
        Member { launched: time(launched), started: time(started), stop_by: time(stop_by), ..Member::default() }
    }

    #[test]
    fn states_and_reasons_are_told_apart() {
        let ran = member(Some(9_000), Some(9_001), None);
        let check = |state, reason: u32, member: &Member, expected| {
            assert_eq!(judge(state, reason as i32, member, NOW).0, expected, "{state} {reason} {member:?}");
        };
        check(sys::VIR_DOMAIN_RUNNING, 1, &ran, Running);
        check(sys::VIR_DOMAIN_BLOCKED, 0, &ran, Running);
        check(sys::VIR_DOMAIN_PAUSED, sys::VIR_DOMAIN_PAUSED_USER, &ran, Pending);
        check(sys::VIR_DOMAIN_PAUSED, sys::VIR_DOMAIN_PAUSED_IOERROR, &ran, Failed);
        check(sys::VIR_DOMAIN_PAUSED, sys::VIR_DOMAIN_PAUSED_SHUTTING_DOWN, &ran, Terminating);
        check(sys::VIR_DOMAIN_SHUTDOWN, 0, &ran, Terminating);
        check(sys::VIR_DOMAIN_SHUTOFF, sys::VIR_DOMAIN_SHUTOFF_CRASHED, &ran, Failed);
        check(sys::VIR_DOMAIN_CRASHED, 0, &ran, Failed);
        check(99, 0, &ran, Pending);
        // Put into the group by a person, who knows whether it is to run.
        check(sys::VIR_DOMAIN_SHUTOFF, 0, &member(None, None, None), Failed);
        // A launch that goes on, and one that never will.
        check(sys::VIR_DOMAIN_SHUTOFF, 0, &member(Some(9_990), None, None), Pending);
        check(sys::VIR_DOMAIN_SHUTOFF, 0, &member(Some(9_800), None, None), Terminating);
        check(sys::VIR_DOMAIN_RUNNING, 1, &member(Some(9_800), None, None), Running);
        for state in [sys::VIR_DOMAIN_RUNNING, sys::VIR_DOMAIN_SHUTOFF, sys::VIR_DOMAIN_PAUSED] {
            check(state, 0, &member(Some(9_000), Some(9_001), Some(10_060)), Terminating);
        }
    }

    fn shown(uuid: &str, host: &str, state: InstanceState, active: bool) -> Shown {
        Shown {
            host: host.into(),
            name: format!("web-{uuid}").into(),
            uuid: uuid.into(),
            member: Member { group: "web".into(), ..member(Some(9_000), Some(9_001), None) },
            state,
            active,
            protected: false,
        }
    }

    #[test]
    fn what_is_off_here_and_runs_elsewhere_is_left_alone() {
        let half_made = |uuid, host, active| {
            let state = if active { Running } else { Terminating };
            Shown {
                member: Member { group: "web".into(), ..member(Some(9_000), None, None) },
                ..shown(uuid, host, state, active)
            }
        };
        let groups = BTreeMap::from([("web".into(), group())]);
        let due = |on_a: &Shown, on_b: Option<&[Shown]>| {
            let listed = |shown: &[Shown]| Ok(Listed { shown: shown.to_vec(), broken: Vec::new() });
            let silent = || Err(ProviderError::Transport { what: "gone".into(), source: None });
            let b = on_b.map_or_else(silent, listed);
            let lists = BTreeMap::from([("a".into(), listed(std::slice::from_ref(on_a))), ("b".into(), b)]);
            let due = upkeep(&groups, &lists, NOW).into_iter().flatten();
            due.map(|shown| format!("{} on {}", shown.uuid, shown.host)).collect::<Vec<_>>()
        };
        let off = half_made("1", "a", false);
        assert_eq!(due(&off, Some(&[])), ["1 on a"]);
        assert_eq!(due(&off, Some(&[half_made("2", "b", false)])), ["1 on a", "2 on b"]);
        // It has moved: the one that runs gets the mark that it lost, and the other one keeps the disk of both.
        assert_eq!(due(&off, Some(&[half_made("1", "b", true)])), ["1 on b"]);
        assert_eq!(due(&off, Some(&[shown("1", "b", Pending, true)])), [""; 0]);
        // Whether it runs there, nobody knows.
        assert_eq!(due(&off, None), [""; 0]);
        // On its way out it goes where it runs, whatever the others say.
        let mut leaving = shown("1", "a", Terminating, true);
        leaving.member.stop_by = Some(NOW);
        assert_eq!(due(&leaving, None), ["1 on a"]);
        (leaving.active, leaving.state) = (false, Terminating);
        assert_eq!(due(&leaving, Some(&[shown("1", "b", Running, true)])), [""; 0]);
        // What a person put into the group has no launch to be marked.
        let persons = Shown {
            member: Member { group: "web".into(), ..member(None, None, None) },
            ..shown("1", "a", Running, true)
        };
        assert_eq!(due(&persons, Some(&[])), [""; 0]);
    }

    fn group() -> Group {
        Group {
            template: crate::template::Template::parse("<domain><name>{name}</name><memory>1</memory></domain>")
                .unwrap(),
            fingerprint: "f".into(),
            volume: None,
            seed: None,
            hosts: vec!["a".into(), "b".into()],
            max_per_host: 9,
            shutdown: Duration::ZERO,
            memory_share: 1.0,
        }
    }

    #[test]
    fn a_domain_on_the_move_is_one_and_a_host_that_is_silent_is_unknown() {
        let listed = |shown: Vec<Shown>| Ok(Listed { shown, broken: Vec::new() });
        let mut lists = BTreeMap::from([
            ("a".into(), listed(vec![shown("1", "a", Running, true), shown("2", "a", Running, true)])),
            ("b".into(), listed(vec![shown("1", "b", Pending, true)])),
        ]);
        let found = members("web", &group(), &lists).unwrap();
        assert_eq!(
            found.iter().map(|shown| (&*shown.uuid, &*shown.host)).collect::<Vec<_>>(),
            [("1", "a"), ("2", "a")]
        );
        assert_eq!(members("other", &group(), &lists).unwrap(), []);

        let twin = Shown { uuid: "3".into(), ..shown("1", "b", Running, true) };
        lists.insert("b".into(), listed(vec![twin]));
        assert_eq!(members("web", &group(), &lists).unwrap_err().code(), "invalid");
        lists.insert("b".into(), Ok(Listed { shown: Vec::new(), broken: vec![("web".into(), "x".into())] }));
        assert_eq!(members("web", &group(), &lists).unwrap_err().code(), "invalid");
        assert_eq!(members("other", &group(), &lists).unwrap(), []);
        lists.insert("b".into(), Err(ProviderError::Transport { what: "gone".into(), source: None }));
        assert_eq!(members("web", &group(), &lists).unwrap_err().code(), "transport");
        lists.remove("b");
        assert_eq!(members("web", &group(), &lists).unwrap_err().code(), "transport");
    }

    #[test]
    fn a_domain_started_again_runs_since_then() {
        let mut memory = Memory::default();
        let mut since = |shown: Shown, secs: i64| {
            memory.instances(&[shown], &group(), Timestamp::from_secs(secs)).remove(0).running_since
        };
        assert_eq!(since(shown("1", "a", Running, true), 10_000), Some(Timestamp::from_secs(9_001)));
        assert_eq!(since(shown("1", "a", Failed, false), 10_010), None);
        assert_eq!(since(shown("1", "a", Running, true), 10_020), Some(Timestamp::from_secs(10_020)));
        assert_eq!(since(shown("1", "a", Running, true), 10_030), Some(Timestamp::from_secs(10_020)));
        // Paused, which is no new start.
        assert_eq!(since(shown("1", "a", Pending, true), 10_040), None);
        assert_eq!(since(shown("1", "a", Running, true), 10_050), Some(Timestamp::from_secs(10_020)));
        // Another one.
        assert_eq!(since(shown("2", "a", Running, true), 10_060), Some(Timestamp::from_secs(9_001)));
    }
}
