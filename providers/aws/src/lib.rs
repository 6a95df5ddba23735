//! Amazon Web Services behind skala's provider contract: Auto Scaling groups, and EC2 instances that only a tag holds
//! together.
//!
//! In come asks and recorded actions; out go observations and typed errors. A group called `ec2:VALUE` is the tagged
//! kind, every other name is an Auto Scaling group's. Here are no decisions and no clock: the time is handed in.
//! It must never write without a fresh read, never lower desired in a raise, and never take an error for an empty answer.

mod asg;
mod ec2;
mod errors;
mod lane;
mod limiter;
mod owner;
mod settings;
mod whole;

pub use lane::{Call, Deadlines, OnCall};
pub use settings::Settings;

use aws_config::SdkConfig;
use contract::{
    Accepted, Ask, BoxFuture, Capacity, GuardKind, InstanceId, Observation, Owner, Provider, ProviderError, Target,
    Terminator, Timestamp,
};
use std::sync::Arc;

/// Tells the time; the provider never reads a clock itself.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One AWS account and region.
pub struct Aws {
    asg: Arc<asg::Asg>,
}

impl Aws {
    /// Makes a provider from settings. It loads configuration, not credentials, and makes no call to AWS.
    ///
    /// # Errors
    /// `Invalid` when the settings are wrong, all of what is wrong in one text.
    pub async fn connect(settings: Settings, owner: Owner, clock: Clock) -> Result<Self, ProviderError> {
        Ok(Self::over(settings.load().await?, &settings, owner, clock))
    }

    /// Makes a provider over a configuration that the caller loaded; its retries and timeouts are replaced.
    pub fn over(config: SdkConfig, settings: &Settings, owner: Owner, clock: Clock) -> Self {
        let config = settings::tame(config);
        let client = aws_sdk_autoscaling::config::Builder::from(&config).interceptor(whole::Whole).build();
        let client = aws_sdk_autoscaling::Client::from_conf(client);
        let ec2 = aws_sdk_ec2::config::Builder::from(&config).interceptor(whole::Whole).build();
        let ec2 = aws_sdk_ec2::Client::from_conf(ec2);
        Self { asg: Arc::new(asg::Asg::new(client, ec2, settings.rate(), owner, clock)) }
    }

    /// The same provider with other deadlines.
    #[must_use]
    pub fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        if let Some(asg) = Arc::get_mut(&mut self.asg) {
            asg.lane.deadlines = deadlines;
            asg.ec2_lane.deadlines = deadlines;
        }
        self
    }

    /// The same provider, telling somebody of every call it makes.
    #[must_use]
    pub fn with_on_call(mut self, on_call: OnCall) -> Self {
        if let Some(asg) = Arc::get_mut(&mut self.asg) {
            asg.lane.on_call = Some(Arc::clone(&on_call));
            asg.ec2_lane.on_call = Some(on_call);
        }
        self
    }
}

impl Provider for Aws {
    fn observe<'a>(&'a self, asks: &'a [Ask]) -> BoxFuture<'a, Vec<Result<Observation, ProviderError>>> {
        Box::pin(async move {
            let asks: Vec<&Ask> = asks.iter().collect();
            self.asg.observe(&asks).await
        })
    }

    fn raise<'a>(&'a self, target: &'a Target, to: Capacity) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.asg.raise(target, to))
    }

    fn cancel_unfilled<'a>(
        &'a self,
        target: &'a Target,
        to: Capacity,
    ) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.asg.cancel_unfilled(target, to))
    }

    fn guard(&self) -> GuardKind {
        GuardKind::ReadThenWrite
    }

    fn terminator(&self) -> Option<&dyn Terminator> {
        Some(self)
    }

    fn permissions(&self) -> Vec<&'static str> {
        PERMISSIONS.to_vec()
    }
}

impl Terminator for Aws {
    fn terminate<'a>(
        &'a self,
        target: &'a Target,
        instances: &'a [InstanceId],
    ) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        Box::pin(self.asg.terminate(target, instances))
    }
}

/// What the provider calls, as IAM spells it.
const PERMISSIONS: &[&str] = &[
    "autoscaling:CreateOrUpdateTags",
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeInstanceRefreshes",
    "autoscaling:DescribePolicies",
    "autoscaling:DescribeScalingActivities",
    "autoscaling:DescribeScheduledActions",
    "autoscaling:SetDesiredCapacity",
    "autoscaling:TerminateInstanceInAutoScalingGroup",
    "ec2:DescribeInstances",
];
