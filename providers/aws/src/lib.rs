//! Amazon Web Services behind skala's provider contract: Auto Scaling groups, and EC2 instances that only a tag holds
//! together.
//!
//! In come asks and recorded actions; out go observations and typed errors. A group called `ec2:VALUE` is the tagged
//! kind, every other name is an Auto Scaling group's. Here are no decisions and no clock: the time is handed in.
//! It must never write without a fresh read, never lower desired in a raise, and never take an error for an empty answer.
//!
//! CloudWatch's metrics (`metrics`) do without the SDKs' generated clients and can be built alone: feature `cloudwatch`.

#![cfg(feature = "cloudwatch")]
// What the metrics share with the rest is used by them in part.
#![cfg_attr(not(feature = "sdk"), allow(dead_code))]

#[cfg(feature = "sdk")]
mod asg;
mod codes;
#[cfg(feature = "sdk")]
mod ec2;
mod errors;
mod lane;
mod limiter;
mod metrics;
#[cfg(feature = "sdk")]
mod owner;
#[cfg(feature = "sdk")]
mod settings;
#[cfg(feature = "sdk")]
mod whole;

pub use lane::Deadlines;
pub use metrics::{CloudWatch, METRICS_PERMISSION, check_query};
#[cfg(feature = "sdk")]
pub use settings::Settings;

#[cfg(feature = "sdk")]
use aws_config::SdkConfig;
use contract::Timestamp;
#[cfg(feature = "sdk")]
use contract::{
    Accepted, Ask, BoxFuture, Capacity, GroupId, GuardKind, InstanceId, Metrics, Native, NativePolicy, Observation,
    OnCall, Owner, Provider, ProviderError, Target, Terminator, Undo,
};
use std::sync::Arc;

/// Tells the time; the provider never reads a clock itself.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One AWS account and region.
#[cfg(feature = "sdk")]
pub struct Aws {
    parts: Parts,
    asg: Arc<asg::Asg>,
    tagged: ec2::tagged::Tagged,
    metrics: CloudWatch,
}

/// What a provider is made of.
#[cfg(feature = "sdk")]
struct Parts {
    config: SdkConfig,
    rate: f64,
    owner: Owner,
    clock: Clock,
    deadlines: Deadlines,
    on_call: Option<OnCall>,
}

#[cfg(feature = "sdk")]
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
        let rate = settings.rate();
        Self::assemble(Parts { config, rate, owner, clock, deadlines: Deadlines::default(), on_call: None })
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
        let client = aws_sdk_autoscaling::config::Builder::from(&parts.config).interceptor(whole::Whole).build();
        let client = aws_sdk_autoscaling::Client::from_conf(client);
        let ec2 = aws_sdk_ec2::config::Builder::from(&parts.config).interceptor(whole::Whole).build();
        let ec2 = aws_sdk_ec2::Client::from_conf(ec2);
        // Each service has its own buckets at AWS, so each has its own limiter here.
        let lane = || lane::Lane::new(parts.rate, parts.deadlines, parts.on_call.clone());
        let ec2_lane = Arc::new(lane());
        let launches = lane::Lane::new(settings::launch_rate(parts.rate), parts.deadlines, parts.on_call.clone());
        let (read, clock) = (Arc::clone(&ec2_lane), Arc::clone(&parts.clock));
        let tagged = ec2::tagged::Tagged::new(ec2.clone(), read, launches, clock);
        let asg = asg::Asg::new(client, lane(), (ec2, ec2_lane), parts.owner.clone(), Arc::clone(&parts.clock));
        let metrics = CloudWatch::new(&parts.config, parts.rate, parts.deadlines, parts.on_call.clone());
        Self { asg: Arc::new(asg), tagged, metrics, parts }
    }
}

#[cfg(feature = "sdk")]
fn is_tagged(group: &GroupId) -> bool {
    group.as_str().starts_with(ec2::tagged::PREFIX)
}

#[cfg(feature = "sdk")]
impl Provider for Aws {
    fn observe<'a>(&'a self, asks: &'a [Ask]) -> BoxFuture<'a, Vec<Result<Observation, ProviderError>>> {
        Box::pin(async move {
            let (tagged, groups): (Vec<&Ask>, Vec<&Ask>) = asks.iter().partition(|ask| is_tagged(&ask.group));
            let (tagged, groups) = futures_util::join!(self.tagged.observe(&tagged), self.asg.observe(&groups));
            let (mut tagged, mut groups) = (tagged.into_iter(), groups.into_iter());
            // Back into the order of the asks; both kinds answer each of theirs.
            asks.iter()
                .map(|ask| if is_tagged(&ask.group) { tagged.next() } else { groups.next() })
                .map(|answer| {
                    answer.unwrap_or_else(|| {
                        Err(ProviderError::Transport { what: "an ask was not answered".into(), source: None })
                    })
                })
                .collect()
        })
    }

    fn raise<'a>(&'a self, target: &'a Target, to: Capacity) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        if is_tagged(&target.group) {
            return Box::pin(self.tagged.raise(target, to));
        }
        Box::pin(self.asg.raise(target, to))
    }

    fn cancel_unfilled<'a>(
        &'a self,
        target: &'a Target,
        to: Capacity,
    ) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        if is_tagged(&target.group) {
            // EC2 holds no request open: what was not launched at once was refused, and there is nothing to withdraw.
            return Box::pin(async { Ok(Accepted::default()) });
        }
        Box::pin(self.asg.cancel_unfilled(target, to))
    }

    fn guard(&self) -> GuardKind {
        GuardKind::ReadThenWrite
    }

    fn terminator(&self) -> Option<&dyn Terminator> {
        Some(self)
    }

    fn metrics(&self) -> Option<&dyn Metrics> {
        Some(&self.metrics)
    }

    fn native(&self) -> Option<&dyn Native> {
        Some(self)
    }

    fn permissions(&self) -> Vec<&'static str> {
        let kinds = [GroupId::from("any"), GroupId::from(format!("{}any", ec2::tagged::PREFIX))];
        permissions(&kinds)
    }
}

#[cfg(feature = "sdk")]
impl Terminator for Aws {
    fn terminate<'a>(
        &'a self,
        target: &'a Target,
        instances: &'a [InstanceId],
    ) -> BoxFuture<'a, Result<Accepted, ProviderError>> {
        if is_tagged(&target.group) {
            return Box::pin(self.tagged.terminate(target, instances));
        }
        Box::pin(self.asg.terminate(target, instances))
    }
}

/// `skala handover` and `skala import` alone come here, with the credentials of whoever runs them; what they need beside
/// what a daemon reads is `autoscaling:SuspendProcesses` and `ResumeProcesses`, `PutScalingPolicy` for predictive policies,
/// and `cloudwatch:DescribeAlarms` to import step and simple policies.
impl Native for Aws {
    fn describe<'a>(&'a self, group: &'a GroupId) -> BoxFuture<'a, Result<NativePolicy, ProviderError>> {
        Box::pin(async move { self.asg.native_policy(sized_by_aws(group)?, &self.metrics).await })
    }

    fn prepare<'a>(&'a self, group: &'a GroupId) -> BoxFuture<'a, Result<Undo, ProviderError>> {
        Box::pin(async move { self.asg.native_undo(sized_by_aws(group)?).await })
    }

    fn suspend<'a>(&'a self, group: &'a GroupId, undo: &'a Undo) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move { self.asg.suspend_native(sized_by_aws(group)?, undo).await })
    }

    fn restore<'a>(&'a self, group: &'a GroupId, undo: &'a Undo) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move { self.asg.restore_native(sized_by_aws(group)?, undo).await })
    }
}

/// The name of an Auto Scaling group; tagged instances have no scaler but skala.
fn sized_by_aws(group: &GroupId) -> Result<&str, ProviderError> {
    if is_tagged(group) {
        let what = format!("{group}: instances that only a tag holds together have no scaler of AWS' own");
        return Err(ProviderError::Invalid { what: what.into() });
    }
    Ok(group.as_str())
}

/// What Auto Scaling groups need, as IAM spells it.
#[cfg(feature = "sdk")]
const FOR_GROUPS: &[&str] = &[
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

/// What groups that are a tag (`ec2:...`) need; launching from a template may also need iam:PassRole for its role.
#[cfg(feature = "sdk")]
const FOR_TAGS: &[&str] = &["ec2:CreateTags", "ec2:DescribeInstances", "ec2:RunInstances", "ec2:TerminateInstances"];

/// The permissions that these groups need and no other, sorted.
#[cfg(feature = "sdk")]
pub fn permissions(groups: &[GroupId]) -> Vec<&'static str> {
    let (mut needed, tagged) = (Vec::new(), groups.iter().filter(|group| is_tagged(group)).count());
    if tagged < groups.len() {
        needed.extend(FOR_GROUPS);
    }
    if tagged > 0 {
        needed.extend(FOR_TAGS);
    }
    needed.sort_unstable();
    needed.dedup();
    needed
}
