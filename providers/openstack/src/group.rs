//! Groups as Nova shows them: one list for all that are asked for, and what this process remembers of each.
//!
//! Nova leaves servers of a cell that does not answer out of every filtered list, with status 200. So a server that was
//! there and is missing, and was not seen on its way out, is asked for by its id; and before the first list, once, whether
//! all cells answer. Otherwise a lost database would look like an empty group.

use crate::nova::list;
use crate::nova::server::Server;
use crate::remove::Leavers;
use crate::session::{Session, for_all};
use crate::settings::Settings;
use crate::{Clock, names};
use contract::{
    Abilities, Ask, Instance, InstanceId, InstanceState, LaunchFailure, Observation, ProviderError, Scope, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A failed launch is shown this long.
const FAILURES_KEPT: Duration = Duration::from_secs(1800);
/// Servers that went missing are asked for by id, so many of a group at a time.
const ASKED_MAX: usize = 10;

/// The groups of one project.
pub(crate) struct Groups {
    pub session: Session,
    pub settings: Settings,
    pub now: Clock,
    whole: AtomicBool,
    memory: Mutex<Memory>,
}

/// What this process remembers.
#[derive(Default)]
pub(crate) struct Memory {
    groups: BTreeMap<Box<str>, Known>,
    /// Servers that were deleted and may have left ports behind.
    pub leavers: Leavers,
}

#[derive(Default)]
struct Known {
    /// The servers of the last look that were not on their way out.
    there: BTreeSet<InstanceId>,
    /// By the server's or the launch's id.
    failures: BTreeMap<Box<str>, LaunchFailure>,
}

impl Groups {
    pub fn new(session: Session, settings: Settings, now: Clock) -> Self {
        Self { session, settings, now, whole: AtomicBool::new(false), memory: Mutex::default() }
    }

    /// Changes what is remembered.
    pub fn memory<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Observes groups; the answers are in the order of the asks.
    pub async fn observe(&self, asks: &[Ask]) -> Vec<Result<Observation, ProviderError>> {
        let tags: BTreeSet<&str> = asks.iter().filter_map(|ask| names::tag(&ask.group).ok()).collect();
        if tags.is_empty() {
            return asks.iter().map(|ask| Err(unasked(names::tag(&ask.group).err()))).collect();
        }
        let at = (self.now)();
        let tags: Vec<&str> = tags.into_iter().collect();
        let read = self.read(&tags).await;
        let mut answers: BTreeMap<&str, Result<Observation, ProviderError>> = BTreeMap::new();
        for tag in tags {
            let answer = match &read {
                Ok(servers) => self.look(tag, servers, at).await,
                Err(error) => Err(for_all(error)),
            };
            answers.insert(tag, answer);
        }
        asks.iter()
            .map(|ask| match answers.get(names::tag(&ask.group)?) {
                Some(Ok(observation)) => Ok(observation.clone()),
                Some(Err(error)) => Err(for_all(error)),
                None => Err(unasked(None)),
            })
            .collect()
    }

    /// A fresh look at one group for a write: its servers in every state.
    pub async fn members(&self, tag: &str) -> Result<Vec<Server>, ProviderError> {
        let at = (self.now)();
        let servers = self.read(&[tag]).await?;
        self.look(tag, &servers, at).await?;
        Ok(servers.get(tag).cloned().unwrap_or_default().into_iter().map(|server| (*server).clone()).collect())
    }

    /// The servers of these groups, by tag.
    async fn read<'a>(&self, tags: &[&'a str]) -> Result<BTreeMap<&'a str, Vec<Arc<Server>>>, ProviderError> {
        if !self.whole.load(Ordering::Relaxed) {
            list::ensure_whole(&self.session).await?;
            self.whole.store(true, Ordering::Relaxed);
        }
        let wanted: BTreeSet<&'a str> = tags.iter().copied().collect();
        let mut groups: BTreeMap<&'a str, Vec<Arc<Server>>> = BTreeMap::new();
        for server in list::by_tags(&self.session, tags).await? {
            if server.is_unknown() {
                // Only a list of the whole project shows these, and not whose they are.
                return Err(ProviderError::Transport {
                    what: format!(
                        "list_servers: a cell of Nova does not answer: server {} is known by its id alone",
                        server.id
                    )
                    .into(),
                    source: None,
                });
            }
            let server = Arc::new(server);
            for tag in server.tags.iter().flatten() {
                if let Some(tag) = wanted.get(tag.as_str()) {
                    groups.entry(tag).or_default().push(Arc::clone(&server));
                }
            }
        }
        Ok(groups)
    }

    /// Judges what was read of one group, and remembers it.
    async fn look(
        &self,
        tag: &str,
        servers: &BTreeMap<&str, Vec<Arc<Server>>>,
        at: Timestamp,
    ) -> Result<Observation, ProviderError> {
        let shown = servers.get(tag).map(Vec::as_slice).unwrap_or_default();
        if shown.is_empty() && self.settings.template(tag).is_none() {
            let what = format!("no server carries the tag {tag:?}, and no groups.{tag:?} says how to make one");
            return Err(ProviderError::NotFound { what: what.into() });
        }
        let there: BTreeSet<InstanceId> = shown.iter().map(|server| server.instance()).collect();
        let missing: Vec<InstanceId> = self.memory(|memory| {
            let known = memory.groups.get(tag).map(|known| &known.there);
            known.into_iter().flatten().filter(|id| !there.contains(*id)).cloned().collect()
        });
        self.ensure_gone(tag, &missing).await?;
        self.ask_why(tag, shown, at).await;
        Ok(self.shape(tag, shown, at))
    }

    /// Makes sure that servers which are in no list any more are gone. Of many, some are asked for, evenly chosen.
    async fn ensure_gone(&self, tag: &str, missing: &[InstanceId]) -> Result<(), ProviderError> {
        let step = missing.len().div_ceil(ASKED_MAX).max(1);
        for id in missing.iter().step_by(step) {
            if let Some(server) = list::by_id(&self.session, id.as_str(), list::a_read(&self.session)).await?
                && server.carries(tag)
                && server.state().is_some_and(|state| state != InstanceState::Terminating)
            {
                let what = format!("list_servers: server {id} is there and was not listed");
                return Err(ProviderError::Transport { what: what.into(), source: None });
            }
        }
        Ok(())
    }

    /// Asks why launches failed of which the list does not say it, each until it is known.
    async fn ask_why(&self, tag: &str, shown: &[Arc<Server>], at: Timestamp) {
        let known: BTreeSet<Box<str>> = self.memory(|memory| {
            let told = |known: &Known| {
                known.failures.iter().filter(|(_, f)| !f.message.is_empty()).map(|(id, _)| id.clone()).collect()
            };
            memory.groups.get(tag).map(told).unwrap_or_default()
        });
        let untold = shown.iter().filter(|s| s.is_stillborn() && !s.has_fault() && !known.contains(s.id.as_str()));
        for server in untold.take(ASKED_MAX) {
            match list::by_id(&self.session, &server.id, list::a_read(&self.session)).await {
                Ok(Some(full)) if full.has_fault() => {
                    let failure = full.launch_failure(at).map(|failure| (full.id.as_str().into(), failure));
                    self.note_failures(tag, failure);
                }
                Ok(_) => {}
                // The group is known all the same; it is asked again at the next look.
                Err(error) => {
                    tracing::debug!(group = tag, server = server.id, error = %error, "why it failed is not known")
                }
            }
        }
    }

    fn shape(&self, tag: &str, shown: &[Arc<Server>], at: Timestamp) -> Observation {
        let template = self.settings.template(tag);
        let mut instances = Vec::with_capacity(shown.len());
        for server in shown {
            let Some(state) = server.state() else { continue };
            let is_other = |template: &crate::settings::Template| {
                server.image().is_some_and(|image| template.volume_gb.is_none() && image != template.image)
            };
            instances.push(Instance {
                id: server.instance(),
                state,
                launched: server.created(),
                running_since: server.running_since().filter(|_| state == InstanceState::Running),
                zone: server.zone().map(Into::into),
                protected: server.is_protected(),
                outdated: template.is_some_and(is_other),
            });
        }
        let mut launch_failures: Vec<LaunchFailure> = self.memory(|memory| {
            let known = memory.groups.entry(tag.into()).or_default();
            let staying = |instance: &&Instance| instance.state != InstanceState::Terminating;
            known.there = instances.iter().filter(staying).map(|instance| instance.id.clone()).collect();
            for server in shown {
                match server.launch_failure(at) {
                    Some(failure) if server.has_fault() => {
                        _ = known.failures.insert(server.id.as_str().into(), failure)
                    }
                    Some(failure) => _ = known.failures.entry(server.id.as_str().into()).or_insert(failure),
                    None => {}
                }
            }
            known.failures.retain(|_, failure| failure.at >= at.before(FAILURES_KEPT));
            known.failures.values().cloned().collect()
        });
        // Kept by zone, for the choice of the next one; told of the group when there is no other to try.
        if self.has_no_other_zone(tag, at) {
            for failure in launch_failures.iter_mut().filter(|failure| matches!(failure.scope, Scope::Zone(_))) {
                failure.scope = Scope::Group;
            }
        }
        Observation {
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
        }
    }

    /// Whether it is known why this server's launch failed.
    pub fn knows_failure(&self, tag: &str, server: &str) -> bool {
        self.memory(|memory| memory.groups.get(tag).is_some_and(|known| known.failures.contains_key(server)))
    }

    /// The launches of a group that failed lately.
    pub fn failures(&self, tag: &str) -> Vec<LaunchFailure> {
        let failures = |known: &Known| known.failures.values().cloned().collect();
        self.memory(|memory| memory.groups.get(tag).map(failures).unwrap_or_default())
    }

    /// Remembers launches that were refused.
    pub fn note_failures(&self, tag: &str, failures: impl IntoIterator<Item = (Box<str>, LaunchFailure)>) {
        self.memory(|memory| memory.groups.entry(tag.into()).or_default().failures.extend(failures));
    }

    /// Remembers that servers were told to go: that they are missing from now on is no surprise.
    pub fn note_leavers(&self, tag: &str, ids: &[InstanceId]) {
        self.memory(|memory| {
            if let Some(known) = memory.groups.get_mut(tag) {
                known.there.retain(|id| !ids.contains(id));
            }
            memory.leavers.note(ids);
        });
    }
}

fn unasked(error: Option<ProviderError>) -> ProviderError {
    error.unwrap_or_else(|| ProviderError::Transport { what: "not answered".into(), source: None })
}
