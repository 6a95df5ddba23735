//! The suite's fixture for groups that are only a tag, over moto.

use super::burst::Burst;
use super::cloud::Cloud;
use super::fixture::faults;
use super::proxy::Proxy;
use super::{Clock, provider};
use aws::Aws;
use aws_sdk_ec2::types::{Filter, InstanceStateName, LaunchTemplateSpecification, ResourceType, Tag, TagSpecification};
use conformance::{Call, Calls, Fault, Fixture, Offers, Spec, Truth, Unsupported};
use contract::{BoxFuture, GroupId, InstanceId, Timestamp};
use std::collections::BTreeSet;

pub struct Tagged {
    cloud: Cloud,
    burst: Burst,
    proxy: Proxy,
    clock: Clock,
}

impl Tagged {
    pub async fn new() -> (Self, Aws) {
        let cloud = Cloud::moto().await;
        let burst = Burst::before(&cloud).await;
        let proxy = Proxy::before(&burst.proxied.url).await;
        let clock = Clock;
        let provider = provider(&proxy.url, "daemon-1", &clock).await;
        (Self { cloud, burst, proxy, clock }, provider)
    }

    async fn instances(&self, group: &GroupId) -> BTreeSet<InstanceId> {
        let value = group.as_str().trim_start_matches("ec2:");
        let filter = Filter::builder().name("tag:skala:group").values(value).build();
        let mut pages = self.cloud.ec2.describe_instances().filters(filter).into_paginator().send();
        let mut found = BTreeSet::new();
        while let Some(page) = pages.next().await {
            let page = page.unwrap();
            for instance in page.reservations().iter().flat_map(|r| r.instances()) {
                let state = instance.state().and_then(|state| state.name());
                if matches!(state, Some(InstanceStateName::Pending | InstanceStateName::Running)) {
                    found.insert(InstanceId::from(instance.instance_id().unwrap()));
                }
            }
        }
        found
    }
}

impl Fixture for Tagged {
    fn offers(&self) -> Offers {
        let mut faults = faults();
        faults.push((Call::Write, Fault::OutOfCapacity));
        faults.push((Call::Write, Fault::QuotaExceeded));
        Offers { faults, groups_at_once: 20, counts_calls: true, protect: true, ..Offers::default() }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn create(&mut self, spec: Spec) -> BoxFuture<'_, Result<GroupId, Unsupported>> {
        Box::pin(async move {
            if spec.running != spec.desired {
                return Err(Unsupported("EC2 keeps no desired".into()));
            }
            let name = self.cloud.name();
            self.cloud.template(&name).await;
            let tags = TagSpecification::builder()
                .resource_type(ResourceType::Instance)
                .tags(Tag::builder().key("skala:group").value(&name).build())
                .build();
            let count = spec.running as i32;
            let request = self.cloud.ec2.run_instances().min_count(count).max_count(count).tag_specifications(tags);
            let template = LaunchTemplateSpecification::builder().launch_template_name(&name).build();
            request.launch_template(template).send().await.unwrap();
            let group = GroupId::from(format!("ec2:{name}"));
            // moto shows an instance as running from the second read on.
            self.instances(&group).await;
            Ok(group)
        })
    }

    fn delete<'a>(&'a mut self, group: &'a GroupId) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let ids: Vec<String> = self.instances(group).await.into_iter().map(|id| id.0.into()).collect();
            if !ids.is_empty() {
                self.cloud.ec2.terminate_instances().set_instance_ids(Some(ids)).send().await.unwrap();
            }
        })
    }

    fn truth<'a>(&'a mut self, group: &'a GroupId) -> BoxFuture<'a, Option<Truth>> {
        Box::pin(async move { Some(Truth { desired: None, instances: self.instances(group).await }) })
    }

    fn settle(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn protect<'a>(&'a mut self, _: &'a GroupId, instance: &'a InstanceId) -> BoxFuture<'a, Result<(), Unsupported>> {
        Box::pin(async move {
            let tag = Tag::builder().key("skala:protected").value("true").build();
            self.cloud.ec2.create_tags().resources(instance.as_str()).tags(tag).send().await.unwrap();
            Ok(())
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
