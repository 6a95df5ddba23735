//! What DescribeAutoScalingGroups does not say: launch failures, refreshes, foreign controllers, launch times.
//!
//! Asked beside the observation, in tasks of their own, and only for groups that give a reason to; what has not come
//! within a moment is in a later observation. A lookup that fails or hangs must never fail or delay an observation.

use super::foreign::{Job, Kind, awake, policy, schedule};
use super::{Asg, Group, Refresh, activities};
use crate::ec2::facts;
use crate::errors::Failure;
use aws_sdk_autoscaling::types::{InstanceRefreshStatus, ScalingPolicy, ScheduledUpdateGroupAction};
use contract::{Ask, Foreign, InstanceId, InstanceState, Observation, ProviderError, Suspended};
use futures_util::StreamExt;
use std::collections::BTreeMap;
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
/// One answer that is none of this API's may be a proxy's in trouble. An endpoint that gives so many of them in a row, with
/// a pause in between, does not know the call. The pauses are short: a termination waits for them, and must not come so much
/// later than it was planned that it falls together with the next one.
const STRANGE_MAX: u32 = 3;
const STRANGE_PAUSE: Duration = Duration::from_millis(100);
/// Failures are kept this long, and until the group has been filled for as long.
const FAILURES_KEPT: Duration = Duration::from_secs(1800);
/// Pages of an account-wide listing: a hundred each, for at most 500 groups with 50 policies.
const PAGES_MAX: usize = 260;
const CONCURRENT: usize = 4;

impl Asg {
    /// Starts what is due for the whole account.
    pub(super) fn look_around(self: &Arc<Self>, groups: usize) -> Vec<JoinHandle<()>> {
        let jobs = self.memory(|memory| memory.account.due(groups, Instant::now()));
        jobs.into_iter()
            .map(|job| {
                let asg = Arc::clone(self);
                tokio::spawn(async move {
                    match job {
                        Job::List(kind) => asg.list_all(kind).await,
                        Job::RenewClaims => asg.renew_claims().await,
                    }
                })
            })
            .collect()
    }

    /// Starts what is due for the groups just described, in an observation that began at `start`.
    pub(super) fn look_beside(
        self: &Arc<Self>,
        asks: &[&Ask],
        observations: &[Result<Observation, ProviderError>],
        start: Instant,
    ) -> Vec<JoinHandle<()>> {
        let now = Instant::now();
        let mut new = false;
        let (mut troubled, mut refreshing, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        for (ask, observation) in asks.iter().zip(observations) {
            let Ok(observation) = observation else {
                continue;
            };
            let name: Box<str> = ask.group.0.clone();
            let may = !self.memory(|memory| memory.no_refreshes.holds(now));
            self.group(&name, |group| {
                new |= group.first_seen.is_none();
                group.first_seen.get_or_insert(start);
                if activities_due(group, observation, !ask.open_actions.is_empty(), now) {
                    troubled.push(name.clone());
                }
                if may && refresh_due(group, observation, now) {
                    refreshing.push(name.clone());
                }
                unknown.extend(group.facts.take_unasked(now).into_iter().map(|id| (name.clone(), id)));
            });
        }
        if new {
            self.memory(|memory| memory.account.want(start));
        }
        let mut tasks = self.look_around(asks.len());
        if !troubled.is_empty() || !refreshing.is_empty() {
            let asg = Arc::clone(self);
            tasks.push(tokio::spawn(async move {
                let asg = &asg;
                futures_util::stream::iter(troubled)
                    .for_each_concurrent(CONCURRENT, |name| async move { asg.read_activities(&name).await })
                    .await;
                futures_util::stream::iter(refreshing)
                    .for_each_concurrent(CONCURRENT, |name| async move { _ = asg.read_refresh(&name).await })
                    .await;
            }));
        }
        if !unknown.is_empty() {
            let asg = Arc::clone(self);
            tasks.push(tokio::spawn(async move { asg.read_facts(&unknown).await }));
        }
        tasks
    }

    /// Waits for lookups, but only a moment: those that take longer go on by themselves.
    pub(super) async fn wait_a_little(&self, tasks: impl Iterator<Item = JoinHandle<()>>) {
        let deadline = Instant::now() + A_LITTLE;
        for task in tasks {
            _ = tokio::time::timeout_at(deadline, task).await;
        }
    }

    /// Adds to an observation what the lookups have found so far.
    pub(super) fn add_lookups(&self, name: &str, observation: &mut Observation) {
        let first_seen = self.group(name, |group| group.first_seen);
        let foreign = self.memory(|memory| memory.account.of(name, first_seen));
        let foreign = awake(foreign, &observation.suspended);
        self.group(name, |group| {
            group.shown_foreign = Some(foreign.clone());
            observation.foreign = foreign;
            let oldest = observation.at.before(FAILURES_KEPT);
            group.failures.retain(|failure| failure.at >= oldest);
            observation.launch_failures = group.failures.clone();
            for failure in &mut observation.launch_failures {
                // By the cloud's clock, which may be ahead of ours: nothing has happened later than it was seen.
                failure.at = failure.at.min(observation.at);
            }
            activities::widen(&mut observation.launch_failures, &group.zones, observation.at);
            match &group.refresh {
                Refresh::NotAsked | Refresh::Idle => {}
                Refresh::Running(_) => observation.suspended.push(Suspended::Refresh),
                // Nobody knows, so instances are left alone, and it is said why.
                Refresh::Unknown(why) => {
                    observation.suspended.push(Suspended::Refresh);
                    observation.suspended.push(Suspended::Other(format!("instance refresh unknown: {why}").into()));
                }
            }
            // The launch times may have come within the moment.
            for instance in &mut observation.instances {
                let (launched, since) = group.facts.seen(&instance.id, instance.state, observation.at);
                (instance.launched, instance.running_since) = (launched, since);
            }
        });
    }

    async fn list_all(&self, kind: Kind) {
        let asked = Instant::now();
        let listed = match kind {
            Kind::Policies => self.list_policies(None).await,
            Kind::Schedules => self.list_schedules(None).await,
        };
        match listed {
            Ok(all) => {
                let mut of: BTreeMap<Box<str>, Vec<Foreign>> = BTreeMap::new();
                for (group, foreign) in all {
                    of.entry(group).or_default().push(foreign);
                }
                self.memory(|memory| memory.account.learn_all(kind, of, asked));
            }
            Err(failure) => {
                tracing::warn!(error = %failure.error, ?kind, "cannot list other controllers of the account's groups");
                self.memory(|memory| memory.account.trouble(kind, &failure.error.to_string()));
            }
        }
    }

    /// Reads one group's foreign controllers of a kind, for a write.
    pub(super) async fn list_one(&self, kind: Kind, name: &str) -> Result<(), Failure> {
        let listed = match kind {
            Kind::Policies => self.list_policies(Some(name)).await?,
            Kind::Schedules => self.list_schedules(Some(name)).await?,
        };
        let of = listed.into_iter().filter(|(group, _)| &**group == name).map(|(_, foreign)| foreign).collect();
        self.memory(|memory| memory.account.learn(kind, name, of, Instant::now()));
        Ok(())
    }

    async fn list_policies(&self, name: Option<&str>) -> Result<Vec<(Box<str>, Foreign)>, Failure> {
        Ok(self.scaling_policies(name).await?.iter().filter_map(policy).collect())
    }

    async fn list_schedules(&self, name: Option<&str>) -> Result<Vec<(Box<str>, Foreign)>, Failure> {
        let (all, now) = (self.scheduled_actions(name).await?, (self.now)());
        Ok(all.iter().filter_map(|action| schedule(action, now)).collect())
    }

    /// All scaling policies, of one group or of the account.
    pub(super) async fn scaling_policies(&self, name: Option<&str>) -> Result<Vec<ScalingPolicy>, Failure> {
        let (mut all, mut token) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let request = self
                .client
                .describe_policies()
                .set_auto_scaling_group_name(name.map(str::to_owned))
                .max_records(100)
                .set_next_token(token.take());
            let page = self.lane.read("DescribePolicies", || request.clone().send()).await?;
            token = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            all.extend(page.scaling_policies.unwrap_or_default());
            if token.is_none() {
                return Ok(all);
            }
        }
        Err(endless("DescribePolicies"))
    }

    /// All scheduled actions, of one group or of the account.
    pub(super) async fn scheduled_actions(
        &self,
        name: Option<&str>,
    ) -> Result<Vec<ScheduledUpdateGroupAction>, Failure> {
        let (mut all, mut token) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let request = self
                .client
                .describe_scheduled_actions()
                .set_auto_scaling_group_name(name.map(str::to_owned))
                .max_records(100)
                .set_next_token(token.take());
            let page = self.lane.read("DescribeScheduledActions", || request.clone().send()).await?;
            token = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            all.extend(page.scheduled_update_group_actions.unwrap_or_default());
            if token.is_none() {
                return Ok(all);
            }
        }
        Err(endless("DescribeScheduledActions"))
    }

    async fn read_activities(&self, name: &str) {
        let since = (self.now)().before(FAILURES_KEPT);
        // Newest first by AWS' own order; a hundred cover half an hour of a group in trouble.
        let request = self.client.describe_scaling_activities().auto_scaling_group_name(name).max_records(100);
        match self.lane.read("DescribeScalingActivities", || request.clone().send()).await {
            Ok(page) => {
                let failures = activities::failures(page.activities(), since);
                self.group(name, |group| group.failures = failures);
            }
            Err(failure) => {
                tracing::debug!(group = name, error = %failure.error, "cannot read scaling activities")
            }
        }
    }

    /// Asks whether an instance refresh runs, and remembers the answer.
    pub(super) async fn read_refresh(&self, name: &str) -> Result<Refresh, ProviderError> {
        let (refresh, error) = match self.ask_refresh(name).await {
            Ok(refresh) => (refresh, None),
            Err(failure) => (Refresh::Unknown(failure.error.to_string().into()), Some(failure.error)),
        };
        self.group(name, |group| {
            group.refresh = refresh.clone();
            group.refresh_asked = Some(Instant::now());
        });
        error.map_or(Ok(refresh), Err)
    }

    async fn ask_refresh(&self, name: &str) -> Result<Refresh, Failure> {
        // The newest is the first; only one can be active.
        let request = self.client.describe_instance_refreshes().auto_scaling_group_name(name).max_records(5);
        for strange in 1.. {
            let failure = match self.lane.read("DescribeInstanceRefreshes", || request.clone().send()).await {
                Ok(page) => {
                    self.memory(|memory| memory.no_refreshes.none());
                    let mut states = page.instance_refreshes().iter().filter_map(|refresh| refresh.status());
                    let running = states.find(|status| is_active(status));
                    return Ok(running.map_or(Refresh::Idle, |status| Refresh::Running(status.as_str().into())));
                }
                Err(failure) => failure,
            };
            let known = self.memory(|memory| memory.no_refreshes.holds(Instant::now()));
            if failure.unknown_call || (failure.foreign_tongue && (known || strange >= STRANGE_MAX)) {
                // The group itself was just described, so this endpoint answers, and has no refreshes.
                self.memory(|memory| memory.no_refreshes.found(Instant::now()));
                return Ok(Refresh::Idle);
            }
            if !failure.foreign_tongue {
                return Err(failure);
            }
            tokio::time::sleep(STRANGE_PAUSE).await;
        }
        Err(endless("DescribeInstanceRefreshes"))
    }

    async fn read_facts(&self, unknown: &[(Box<str>, InstanceId)]) {
        for batch in unknown.chunks(facts::BATCH) {
            let ids: Vec<InstanceId> = batch.iter().map(|(_, id)| id.clone()).collect();
            let told = facts::launch_times(&self.ec2, &self.ec2_lane, &ids).await;
            let times: BTreeMap<InstanceId, _> = match told {
                Ok(times) => times.into_iter().collect(),
                Err(failure) => {
                    tracing::debug!(error = %failure.error, "cannot read instances' launch times");
                    for (name, id) in batch {
                        self.group(name, |group| group.facts.not_told(std::slice::from_ref(id)));
                    }
                    continue;
                }
            };
            for (name, id) in batch {
                if let Some(launched) = times.get(id) {
                    self.group(name, |group| group.facts.learn(id, *launched));
                }
            }
        }
    }
}

/// States in which instances are being replaced or the replacement is being undone.
fn is_active(status: &InstanceRefreshStatus) -> bool {
    use InstanceRefreshStatus as S;
    !matches!(status, S::Successful | S::Failed | S::Cancelled | S::RollbackFailed | S::RollbackSuccessful)
}

fn activities_due(group: &mut Group, observation: &Observation, open: bool, now: Instant) -> bool {
    let alive = u32::try_from(observation.alive().count()).unwrap_or(u32::MAX);
    let unfilled = observation.desired.is_some_and(|desired| desired > alive);
    let booting = open || observation.instances.iter().any(|i| i.state == InstanceState::Pending);
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
    let alive = u32::try_from(observation.alive().count()).unwrap_or(u32::MAX);
    let moving =
        observation.desired != Some(alive) || observation.instances.iter().any(|i| i.state != InstanceState::Running);
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

fn endless(operation: &str) -> Failure {
    let error = ProviderError::Transport {
        what: format!("{operation}: more pages than an account can fill").into(),
        source: None,
    };
    Failure::settled(error)
}
