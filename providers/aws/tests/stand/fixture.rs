//! The suite's fixture for Auto Scaling groups over moto. It looks past the provider and past the proxies.

use super::burst::Burst;
use super::cloud::Cloud;
use super::proxy::Proxy;
use super::{Clock, provider};
use aws::Aws;
use aws_sdk_autoscaling::types::{
    LifecycleState, MetricType, PredefinedMetricSpecification, Tag, TargetTrackingConfiguration,
};
use conformance::{Call, Calls, Fault, Fixture, Offers, Spec, Truth, Unsupported};
use contract::{BoxFuture, Capacity, Foreign, GroupId, InstanceId, OwnerTag, Suspended, Timestamp};
use std::time::Duration;

/// moto's groups: everything happens at once, launches never fail.
pub struct Groups {
    pub cloud: Cloud,
    pub burst: Burst,
    pub proxy: Proxy,
    pub clock: Clock,
}

impl Groups {
    pub async fn new() -> (Self, Aws) {
        let cloud = Cloud::moto().await;
        let burst = Burst::before(&cloud).await;
        let proxy = Proxy::before(&burst.proxied.url).await;
        let clock = Clock;
        let provider = provider(&proxy.url, "daemon-1", &clock).await;
        (Self { cloud, burst, proxy, clock }, provider)
    }
}

/// What both kinds of groups can be made to suffer.
pub fn faults() -> Vec<(Call, Fault)> {
    let second = Duration::from_secs(1);
    let both = [
        Fault::Throttle { retry_after: None },
        Fault::ErrorBeforeEffect,
        Fault::Timeout,
        Fault::BrokenBody,
        Fault::Denied,
        Fault::Expired,
        Fault::Slow(second),
        Fault::Html,
        Fault::Redirect,
        Fault::WrongCredentials,
        Fault::ClockOff,
    ];
    let mut faults: Vec<(Call, Fault)> = Vec::new();
    for fault in both {
        faults.push((Call::Read, fault.clone()));
        faults.push((Call::Write, fault));
    }
    // A connection is refused before it is known what it was for, so only reads can be met alone.
    faults.push((Call::Read, Fault::Unsent));
    faults.push((Call::Read, Fault::LaterPages));
    faults.push((Call::Write, Fault::ErrorAfterEffect));
    faults
}

impl Fixture for Groups {
    fn offers(&self) -> Offers {
        Offers {
            faults: faults(),
            // It would close the provider's limiter for real seconds; the wire tests have it.
            retry_after: false,
            groups_at_once: 103,
            page: Some(100),
            counts_calls: true,
            knows_groups: true,
            unfilled: false,
            set_desired: true,
            protect: true,
            owner_tags: true,
            suspends: vec![Suspended::Launch, Suspended::Terminate, Suspended::Other("AZRebalance".into())],
            foreign: true,
            launch_failures: false,
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn create(&mut self, spec: Spec) -> BoxFuture<'_, Result<GroupId, Unsupported>> {
        Box::pin(async move {
            let name = self.cloud.name();
            if spec.running != spec.desired {
                return Err(Unsupported("moto fills every group at once".into()));
            }
            self.cloud.template(&name).await;
            self.cloud.group(&name, spec.min, spec.max, spec.running).await;
            Ok(GroupId::from(name))
        })
    }

    fn delete<'a>(&'a mut self, group: &'a GroupId) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let name = group.as_str();
            self.cloud
                .asg
                .delete_auto_scaling_group()
                .auto_scaling_group_name(name)
                .force_delete(true)
                .send()
                .await
                .unwrap();
        })
    }

    fn truth<'a>(&'a mut self, group: &'a GroupId) -> BoxFuture<'a, Option<Truth>> {
        Box::pin(async move {
            let request = self.cloud.asg.describe_auto_scaling_groups().auto_scaling_group_names(group.as_str());
            let groups = request.send().await.unwrap().auto_scaling_groups.unwrap_or_default();
            let found = groups.first()?;
            let there = |state: &LifecycleState| {
                matches!(state, LifecycleState::InService | LifecycleState::Pending | LifecycleState::PendingWait)
            };
            let instances = found.instances().iter().filter(|i| i.lifecycle_state().is_some_and(there));
            Some(Truth {
                desired: found.desired_capacity().and_then(|n| u32::try_from(n).ok()),
                instances: instances.filter_map(|i| i.instance_id()).map(InstanceId::from).collect(),
            })
        })
    }

    fn settle(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn set_desired<'a>(&'a mut self, group: &'a GroupId, to: Capacity) -> BoxFuture<'a, Result<(), Unsupported>> {
        Box::pin(async move {
            let request = self.cloud.asg.set_desired_capacity().auto_scaling_group_name(group.as_str());
            request.desired_capacity(to as i32).send().await.unwrap();
            Ok(())
        })
    }

    fn protect<'a>(
        &'a mut self,
        group: &'a GroupId,
        instance: &'a InstanceId,
    ) -> BoxFuture<'a, Result<(), Unsupported>> {
        Box::pin(async move {
            let request = self.cloud.asg.set_instance_protection().auto_scaling_group_name(group.as_str());
            request.instance_ids(instance.as_str()).protected_from_scale_in(true).send().await.unwrap();
            Ok(())
        })
    }

    fn tag<'a>(&'a mut self, group: &'a GroupId, owner: OwnerTag) -> BoxFuture<'a, Result<(), Unsupported>> {
        Box::pin(async move {
            let value = format!("{}/{}/{}", owner.id, owner.epoch.0, owner.expiry.0 / 1_000_000);
            let tag = Tag::builder().resource_id(group.as_str()).resource_type("auto-scaling-group");
            let tag = tag.key("skala:owner").value(value).propagate_at_launch(false).build();
            self.cloud.asg.create_or_update_tags().tags(tag).send().await.unwrap();
            Ok(())
        })
    }

    fn suspend<'a>(&'a mut self, group: &'a GroupId, what: Suspended) -> BoxFuture<'a, Result<(), Unsupported>> {
        Box::pin(async move {
            let name = match &what {
                Suspended::Launch => "Launch",
                Suspended::Terminate => "Terminate",
                Suspended::Other(name) => name,
                Suspended::Refresh => return Err(Unsupported("a refresh is not a process".into())),
            };
            let request = self.cloud.asg.suspend_processes().auto_scaling_group_name(group.as_str());
            request.scaling_processes(name).send().await.unwrap();
            Ok(())
        })
    }

    fn foreign<'a>(&'a mut self, group: &'a GroupId) -> BoxFuture<'a, Result<Foreign, Unsupported>> {
        Box::pin(async move {
            let metric =
                PredefinedMetricSpecification::builder().predefined_metric_type(MetricType::AsgAverageCpuUtilization);
            let tracking = TargetTrackingConfiguration::builder()
                .predefined_metric_specification(metric.build())
                .target_value(50.0)
                .build();
            let request =
                self.cloud.asg.put_scaling_policy().auto_scaling_group_name(group.as_str()).policy_name("cpu50");
            let request = request.policy_type("TargetTrackingScaling").target_tracking_configuration(tracking);
            request.send().await.unwrap();
            Ok(Foreign { name: "scaling policy cpu50".into(), removes: Some(true) })
        })
    }

    fn inject<'a>(
        &'a mut self,
        _: &'a GroupId,
        call: Call,
        fault: &'a Fault,
    ) -> BoxFuture<'a, Result<(), Unsupported>> {
        Box::pin(async move {
            if !self.burst.inject(call, fault).await {
                self.proxy.inject(call, fault);
            }
            Ok(())
        })
    }

    fn clear(&mut self) -> BoxFuture<'_, ()> {
        self.proxy.clear();
        Box::pin(self.burst.clear())
    }

    fn calls(&mut self) -> Calls {
        self.proxy.calls()
    }
}
