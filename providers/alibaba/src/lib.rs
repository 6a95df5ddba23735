//! Alibaba Cloud's scaling groups (Elastic Scaling Service, ESS) behind skala's provider contract.
//!
//! In come asks and recorded actions; out go observations and typed errors. A group is named by its id (`asg-...`) or by
//! its name, which ESS keeps unique in a region; a name that two groups bear all the same is refused, not guessed. The
//! group must keep its expected number of instances (`EnableDesiredCapacity`): without it there is no desired capacity
//! to set, nothing is retried after a failed launch, and every other activity of the group refuses a write.
//!
//! The calls are few, typed and signed here (`sign`, `wire`); `credentials` finds who signs. Here are no decisions and no
//! clock: the time is handed in. It must never write without a fresh read, never lower desired in a raise, and never
//! take an error for an empty answer.

mod api;
mod codes;
mod credentials;
mod errors;
mod ess;
mod limiter;
mod owner;
mod settings;
mod sign;
mod time;
mod wire;

pub use settings::Settings;
pub use wire::Deadlines;

use contract::{
    Accepted, Ask, BoxFuture, Capacity, GroupId, GuardKind, InstanceId, Observation, OnCall, Owner, Provider,
    ProviderError, Target, Terminator, Timestamp,
};
use std::sync::Arc;

/// Tells the time; the provider never reads a clock itself.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One Alibaba Cloud account and region.
pub struct Alibaba {
    parts: Parts,
    ess: Arc<ess::Ess>,
}

/// What a provider is made of.
struct Parts {
    client: reqwest::Client,
    settings: Settings,
    surroundings: credentials::Surroundings,
    owner: Owner,
    clock: Clock,
    deadlines: Deadlines,
    on_call: Option<OnCall>,
}

impl Alibaba {
    /// Makes a provider from settings. It reads no credentials yet and makes no call.
    ///
    /// # Errors
    /// `Invalid` when the settings are wrong, all of what is wrong in one text.
    pub async fn connect(settings: Settings, owner: Owner, clock: Clock) -> Result<Self, ProviderError> {
        Self::within(settings, owner, clock, |name| std::env::var(name).ok())
    }

    /// The same with other environment variables than the process's own: for tests, and for two accounts in one process.
    ///
    /// # Errors
    /// As [`Alibaba::connect`].
    pub fn within(
        settings: Settings,
        owner: Owner,
        clock: Clock,
        environment: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Self, ProviderError> {
        let client = settings.client()?;
        let surroundings = credentials::Surroundings::new(environment);
        let deadlines = Deadlines::default();
        Ok(Self::assemble(Parts { client, settings, surroundings, owner, clock, deadlines, on_call: None }))
    }

    /// The same provider with other deadlines. It forgets what it knew.
    #[must_use]
    pub fn with_deadlines(self, deadlines: Deadlines) -> Self {
        Self::assemble(Parts { deadlines, ..self.parts })
    }

    /// The same provider, telling somebody of every call it makes. It forgets what it knew.
    #[must_use]
    pub fn with_on_call(self, on_call: OnCall) -> Self {
        Self::assemble(Parts { on_call: Some(on_call), ..self.parts })
    }

    fn assemble(parts: Parts) -> Self {
        let credentials = credentials::Credentials::new(
            parts.settings.sources(),
            parts.surroundings.clone(),
            parts.client.clone(),
            Arc::clone(&parts.clock),
        );
        let wire = wire::Wire::new(wire::Parts {
            client: parts.client.clone(),
            endpoint: parts.settings.endpoint(),
            credentials,
            rate: parts.settings.rate(),
            deadlines: parts.deadlines,
            on_call: parts.on_call.clone(),
            owner: parts.owner.id.clone(),
            clock: Arc::clone(&parts.clock),
        });
        let region = parts.settings.region.as_str().into();
        let ess = ess::Ess::new(wire, region, parts.owner.clone(), Arc::clone(&parts.clock));
        Self { ess: Arc::new(ess), parts }
    }
}

impl Provider for Alibaba {
    fn observe<'a>(&'a self, asks: &'a [Ask]) -> BoxFuture<'a, Vec<Result<Observation, ProviderError>>> {
        Box::pin(self.ess.observe(asks))
    }

    fn raise<'a>(&'a self, target: &'a Target, to: Capacity) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.ess.raise(target, to))
    }

    fn cancel_unfilled<'a>(
        &'a self,
        target: &'a Target,
        to: Capacity,
    ) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.ess.cancel_unfilled(target, to))
    }

    fn guard(&self) -> GuardKind {
        GuardKind::ReadThenWrite
    }

    fn terminator(&self) -> Option<&dyn Terminator> {
        Some(self)
    }

    fn permissions(&self) -> Vec<&'static str> {
        permissions(&[])
    }
}

impl Terminator for Alibaba {
    fn terminate<'a>(
        &'a self,
        target: &'a Target,
        instances: &'a [InstanceId],
    ) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.ess.terminate(target, instances))
    }
}

/// The permissions that these groups need, as RAM spells them: all groups need the same.
pub fn permissions(_groups: &[GroupId]) -> Vec<&'static str> {
    vec![
        "ess:DescribeAlarms",
        "ess:DescribeInstanceRefreshes",
        "ess:DescribeScalingActivities",
        "ess:DescribeScalingGroups",
        "ess:DescribeScalingInstances",
        "ess:DescribeScalingRules",
        "ess:DescribeScheduledTasks",
        "ess:RemoveInstances",
        "ess:ScaleWithAdjustment",
        "ess:TagResources",
    ]
}
