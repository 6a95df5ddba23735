//! What a group and its instances do not say: launch failures, refreshes, other controllers, claims to renew.
//!
//! Asked beside the observation, in tasks of their own, and only for groups that give a reason to; what has not come
//! within a moment is in a later observation. A lookup that fails or hangs must never fail or delay an observation.

use super::foreign::{self, Controlled, Job};
use super::listing::{Asked, CONCURRENT, Seen, always};
use super::{Ess, Group, Refresh, activities};
use crate::api::{
    Activities, Activity, Alarm, Alarms, NAMES, PAGE, Page, Parameters, Refreshes, Rule, Rules, Task, Tasks,
};
use crate::errors::{Failure, nonsense};
use contract::{
    Ask, InstanceState, LaunchFailure, Observation, OperationInFlight, ProviderError, Suspended, Timestamp,
};
use futures_util::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long an observation waits for the lookups it started; a usual call takes 20 to 100 ms.
const A_LITTLE: Duration = Duration::from_millis(250);
/// A group with capacity that has no instance yet is asked for failures this often, one that only boots less often.
const UNFILLED_EVERY: Duration = Duration::from_secs(15);
const BOOTING_EVERY: Duration = Duration::from_secs(60);
/// A refresh is looked for while instances come and go, and followed more closely once one runs.
const REFRESH_EVERY: Duration = Duration::from_secs(60);
const REFRESH_RUNNING_EVERY: Duration = Duration::from_secs(30);
/// Failures are kept this long, and until the group has been filled for as long.
const FAILURES_KEPT: Duration = Duration::from_secs(1800);

impl Ess {
    /// Starts what is due for the groups just observed, in an observation that began at `start`.
    pub(super) fn look_beside(
        self: &Arc<Self>,
        observed: &[(&Ask, &Seen, &Observation)],
        start: Instant,
    ) -> Vec<JoinHandle<()>> {
        let now = Instant::now();
        let (mut new, mut troubled, mut refreshing) = (false, Vec::new(), Vec::new());
        let may_refresh = self.memory(|memory| !memory.has_no_refreshes(now));
        for (ask, seen, observation) in observed {
            self.group(&seen.id, |group| {
                new |= group.first_seen.is_none();
                group.first_seen.get_or_insert(start);
                group.tag = observation.owner.clone();
                if activities_due(group, observation, !ask.open_actions.is_empty(), now) {
                    troubled.push(seen.id.clone());
                }
                if may_refresh && refresh_due(group, observation, now) {
                    refreshing.push(seen.id.clone());
                }
            });
        }
        let job = self.memory(|memory| {
            if new {
                memory.account.want(start);
            }
            memory.account.due(now)
        });
        let mut tasks = Vec::new();
        if let Some(job) = job {
            let ess = Arc::clone(self);
            tasks.push(tokio::spawn(async move {
                match job {
                    Job::List => ess.list_controllers().await,
                    Job::RenewClaims => ess.renew_claims().await,
                }
            }));
        }
        if !troubled.is_empty() || !refreshing.is_empty() {
            let ess = Arc::clone(self);
            tasks.push(tokio::spawn(async move {
                let ess = &ess;
                futures_util::stream::iter(troubled)
                    .for_each_concurrent(CONCURRENT, |id| async move { ess.read_activities(&id).await })
                    .await;
                futures_util::stream::iter(refreshing)
                    .for_each_concurrent(CONCURRENT, |id| async move { _ = ess.read_refresh(&id).await })
                    .await;
            }));
        }
        tasks
    }

    /// Waits for lookups, but only a moment: those that take longer go on by themselves.
    pub(super) async fn wait_a_little(&self, tasks: Vec<JoinHandle<()>>) {
        let deadline = Instant::now() + A_LITTLE;
        for task in tasks {
            _ = tokio::time::timeout_at(deadline, task).await;
        }
    }

    /// Adds to an observation what the lookups have found so far, and what became of its operations.
    pub(super) fn add_lookups(
        &self,
        ask: &Ask,
        seen: &Seen,
        followed: &BTreeMap<Box<str>, Followed>,
        observation: &mut Observation,
    ) {
        let first_seen = self.group(&seen.id, |group| group.first_seen);
        let foreign = self.memory(|memory| memory.account.of(&seen.id, first_seen));
        // One action at a time is open on a group; which of several an operation was cannot be told.
        let action = ask.open_actions.first().copied().filter(|_| ask.open_actions.len() == 1);
        let mut failures: Vec<LaunchFailure> = Vec::new();
        for name in &ask.operations {
            match followed.get(name) {
                Some(Followed::Ended(of)) => failures.extend(of.iter().cloned()),
                Some(Followed::Gone) => {}
                // Not answered: nobody has seen it end.
                Some(Followed::Open) | None => {
                    observation.operations.push(OperationInFlight { name: name.clone(), action });
                }
            }
        }
        self.group(&seen.id, |group| {
            group.shown_foreign = Some(foreign.clone());
            observation.foreign = foreign;
            let oldest = observation.at.before(FAILURES_KEPT);
            failures.retain(|failure| !group.failures.contains(failure));
            group.failures.extend(failures);
            group.failures.retain(|failure| failure.at >= oldest);
            observation.launch_failures = group.failures.clone();
            for failure in &mut observation.launch_failures {
                // By the cloud's clock, which may be ahead of ours: nothing has happened later than it was seen.
                failure.at = failure.at.min(observation.at);
            }
            match &group.refresh {
                Refresh::NotAsked | Refresh::Idle => {}
                Refresh::Running(_) => observation.suspended.push(Suspended::Refresh),
                // Nobody knows, so instances are left alone, and it is said why.
                Refresh::Unknown(why) => {
                    observation.suspended.push(Suspended::Refresh);
                    observation.suspended.push(Suspended::Other(format!("instance refresh unknown: {why}").into()));
                }
            }
        });
    }

    /// Asks what became of operations; one that is missing here was not answered.
    pub(super) async fn follow(&self, names: BTreeSet<&str>) -> BTreeMap<Box<str>, Followed> {
        let names: Vec<&str> = names.into_iter().collect();
        let since = (self.now)().before(FAILURES_KEPT);
        let mut followed = BTreeMap::new();
        for chunk in names.chunks(NAMES) {
            let parameters = || self.parameters().list("ScalingActivityIds", chunk);
            let listing = self.list::<Activities>(&activities_by(&parameters)).await;
            let gap = listing.gap("DescribeScalingActivities");
            if let Some(error) = &gap {
                tracing::debug!(%error, "cannot follow scaling activities");
            }
            for name in chunk {
                match listing.items.get(*name) {
                    Some(activity) => _ = followed.insert(Box::from(*name), Followed::of(activity, since)),
                    None if gap.is_none() => _ = followed.insert(Box::from(*name), Followed::Gone),
                    None => {}
                }
            }
        }
        followed
    }

    async fn list_controllers(&self) {
        let asked = Instant::now();
        match self.controllers(&|| self.parameters()).await {
            Ok(found) => self.memory(|memory| memory.account.learn_all(found, asked)),
            Err(error) => {
                tracing::warn!(%error, "cannot list other controllers of the region's groups");
                self.memory(|memory| memory.account.failed(&error.to_string()));
            }
        }
    }

    /// Reads one group's foreign controllers, for a write.
    pub(super) async fn list_controllers_of(&self, id: &str) -> Result<(), ProviderError> {
        let found = self.controllers(&|| self.parameters().with("ScalingGroupId", id)).await?;
        self.memory(|memory| memory.account.learn(id, found, Instant::now()));
        Ok(())
    }

    async fn controllers(
        &self,
        parameters: &(dyn Fn() -> Parameters + Sync),
    ) -> Result<Vec<Controlled>, ProviderError> {
        let rules = self.all::<Rules>("DescribeScalingRules", parameters, |rule: &Rule| rule.scaling_rule_ari.as_ref());
        let tasks =
            self.all::<Tasks>("DescribeScheduledTasks", parameters, |task: &Task| task.scheduled_task_id.as_ref());
        let alarms = self.all::<Alarms>("DescribeAlarms", parameters, |alarm: &Alarm| alarm.alarm_task_id.as_ref());
        let (rules, tasks, alarms) = futures_util::join!(rules, tasks, alarms);
        Ok(foreign::controllers(&rules?, &tasks?, &alarms?, (self.now)()))
    }

    async fn all<P>(
        &self,
        operation: &'static str,
        parameters: &(dyn Fn() -> Parameters + Sync),
        id: fn(&P::Item) -> Option<&String>,
    ) -> Result<Vec<P::Item>, ProviderError>
    where
        P: Page + serde::de::DeserializeOwned + Send,
        P::Item: Send,
    {
        let listing = self.list::<P>(&Asked { operation, size: PAGE, parameters, id, go_on: &always }).await;
        Ok(listing.all(operation)?.into_values().collect())
    }

    async fn read_activities(&self, id: &str) {
        let since = (self.now)().before(FAILURES_KEPT);
        // Newest first by ESS' own order: the first page covers half an hour of a group in trouble.
        let query = self.parameters().with("ScalingGroupId", id).page(1, PAGE).done();
        match self.wire.read::<Activities>("DescribeScalingActivities", query).await {
            Ok(page) => {
                let (_, activities) = page.parts();
                let failures = activities::failures(activities.iter().flatten(), since);
                self.group(id, |group| group.failures = failures);
            }
            Err(failure) => tracing::debug!(group = id, error = %failure.error, "cannot read scaling activities"),
        }
    }

    /// Asks whether an instance refresh runs, and remembers the answer.
    pub(super) async fn read_refresh(&self, id: &str) -> Result<Refresh, ProviderError> {
        let (refresh, error) = match self.refreshes(id).await {
            Ok(statuses) => {
                self.memory(|memory| memory.no_refreshes = None);
                let running = statuses.into_iter().find(|status| is_active(status));
                (running.map_or(Refresh::Idle, |status| Refresh::Running(status.into())), None)
            }
            // Any other refusal says nothing of whether one runs.
            Err(failure) if failure.no_such_call => {
                self.memory(|memory| memory.no_refreshes = Some(Instant::now()));
                (Refresh::Idle, None)
            }
            Err(failure) => (Refresh::Unknown(failure.error.to_string().into()), Some(failure.error)),
        };
        self.group(id, |group| {
            group.refresh = refresh.clone();
            group.refresh_asked = Some(Instant::now());
        });
        error.map_or(Ok(refresh), Err)
    }

    /// The states of a group's refreshes. Pages here have tokens, and may be empty.
    async fn refreshes(&self, id: &str) -> Result<Vec<String>, Failure> {
        const OPERATION: &str = "DescribeInstanceRefreshes";
        let (mut statuses, mut token) = (Vec::new(), None::<String>);
        for _ in 0..PAGE {
            let mut parameters = self.parameters().with("ScalingGroupId", id).with("MaxResults", PAGE);
            if let Some(token) = token.take() {
                parameters = parameters.with("NextToken", token);
            }
            let page: Refreshes = self.wire.read(OPERATION, parameters.done()).await?;
            let tasks = page.instance_refresh_tasks.unwrap_or_default();
            statuses.extend(tasks.into_iter().map(|task| task.status.unwrap_or_default()));
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(statuses);
            }
        }
        Err(Failure::harmless(nonsense(format!("{OPERATION}: more pages than a group can fill"))))
    }
}

/// What became of an operation.
#[derive(Debug)]
pub(super) enum Followed {
    /// It goes on.
    Open,
    /// It has ended, with these failures.
    Ended(Vec<LaunchFailure>),
    /// ESS knows nothing of it (any more).
    Gone,
}

impl Followed {
    fn of(activity: &Activity, since: Timestamp) -> Self {
        if activities::is_open(activity) {
            return Self::Open;
        }
        Self::Ended(activities::failures([activity].into_iter(), since))
    }
}

fn activities_by<'a>(parameters: &'a (dyn Fn() -> Parameters + Sync)) -> Asked<'a, Activity> {
    Asked {
        operation: "DescribeScalingActivities",
        size: PAGE,
        parameters,
        id: |activity: &Activity| activity.scaling_activity_id.as_ref(),
        go_on: &always,
    }
}

/// States in which instances are being replaced or the replacement is being undone; a word that is new is one.
fn is_active(status: &str) -> bool {
    !matches!(status, "Successful" | "Failed" | "Cancelled" | "RollbackFailed" | "RollbackSuccessful")
}

fn unfilled(observation: &Observation) -> bool {
    let alive = u32::try_from(observation.alive().count()).unwrap_or(u32::MAX);
    observation.desired.is_some_and(|desired| desired > alive)
}

fn activities_due(group: &mut Group, observation: &Observation, open: bool, now: Instant) -> bool {
    let booting = open || observation.instances.iter().any(|i| i.state == InstanceState::Pending);
    let unfilled = unfilled(observation);
    if unfilled {
        group.unfilled_at = Some(now);
    }
    let lately = group.unfilled_at.is_some_and(|at| now.saturating_duration_since(at) < FAILURES_KEPT / 2);
    let every = match (unfilled, booting || (lately && !group.failures.is_empty())) {
        (true, _) => UNFILLED_EVERY,
        (false, true) => BOOTING_EVERY,
        (false, false) => return false,
    };
    let due = group.activities_asked.is_none_or(|asked| now.saturating_duration_since(asked) >= every);
    if due {
        group.activities_asked = Some(now);
    }
    due
}

fn refresh_due(group: &mut Group, observation: &Observation, now: Instant) -> bool {
    let moving = unfilled(observation) || observation.instances.iter().any(|i| i.state != InstanceState::Running);
    let every = match group.refresh {
        Refresh::Running(_) | Refresh::Unknown(_) => REFRESH_RUNNING_EVERY,
        _ if moving => REFRESH_EVERY,
        _ => return false,
    };
    let due = group.refresh_asked.is_none_or(|asked| now.saturating_duration_since(asked) >= every);
    if due {
        group.refresh_asked = Some(now);
    }
    due
}
