//! Scenes over the stateful fake: what a group looks like over time, as an observer of it would see it.

// A test that cannot go on stops; and not every test needs all of the stand.
#![allow(clippy::unwrap_used, dead_code)]

mod stand;

use conformance::{Fixture, Spec};
use contract::{
    Ask, Epoch, FailureKind, InstanceState, Observation, Provider, ProviderError, Scope, Suspended, Target, Version,
};
use stand::fixture::{Groups, Kind};
use std::time::Duration;

struct Scene {
    fixture: Groups,
    provider: aws::Aws,
    group: contract::GroupId,
}

impl Scene {
    async fn of(running: u32) -> Self {
        let (mut fixture, provider) = Groups::new(Kind::Fake).await;
        let group = fixture.create(Spec { min: 0, max: 50, desired: running, running }).await.unwrap();
        Self { fixture, provider, group }
    }

    async fn look(&self) -> Observation {
        self.provider.observe(&[Ask::new(self.group.clone())]).await.remove(0).unwrap()
    }

    async fn pass(&self, secs: u64) {
        self.fixture.cloud.control("advance", &format!(r#"{{"secs": {secs}}}"#)).await;
        self.fixture.clock.advance(Duration::from_secs(secs));
    }

    async fn set(&self, json: &str) {
        self.fixture.cloud.control(&format!("groups/{}", self.group), json).await;
    }

    fn target(&self, seen: u32) -> Target {
        Target {
            group: self.group.clone(),
            action: contract::ActionId(1),
            seen: Version { desired: Some(seen), token: None, at: self.fixture.clock.now() },
            lease: Epoch(1),
        }
    }

    async fn raise(&self, from: u32, to: u32) -> Result<contract::Accepted, ProviderError> {
        self.provider.raise(&self.target(from), to).await
    }
}

#[tokio::test]
async fn a_boot_takes_its_time_and_running_counts_from_when_it_was_seen() {
    let scene = Scene::of(2).await;
    scene.look().await;
    scene.raise(2, 3).await.unwrap();
    let booting = scene.look().await;
    let new = booting.instances.iter().find(|i| i.state == InstanceState::Pending).unwrap().id.clone();
    assert_eq!(booting.unfilled(), 0);
    scene.pass(21).await;
    let running = scene.look().await;
    let instance = running.instances.iter().find(|i| i.id == new).unwrap();
    assert_eq!((instance.state, instance.running_since), (InstanceState::Running, Some(running.at)));
    assert!(instance.launched.is_some_and(|launched| launched < running.at), "{instance:?}");
    // One that was met running counts from its launch, once that is long ago.
    let old = |seen: &Observation| seen.instances.iter().find(|i| i.id != new).unwrap().clone();
    assert_eq!(old(&running).running_since, None);
    scene.pass(900).await;
    let later = scene.look().await;
    assert_eq!(old(&later).running_since, old(&later).launched);
    assert_eq!(later.instances.iter().find(|i| i.id == new).unwrap().running_since, Some(running.at));
}

#[tokio::test]
async fn failed_launches_are_told_with_kind_and_scope_and_forgotten_in_the_end() {
    for (what, kind, scope) in [
        ("capacity", FailureKind::OutOfCapacity, Scope::Zone("us-east-1a".into())),
        ("spot", FailureKind::OutOfCapacity, Scope::Zone("us-east-1a".into())),
        ("addresses", FailureKind::OutOfCapacity, Scope::Group),
        ("quota", FailureKind::QuotaExceeded, Scope::Region),
        ("image", FailureKind::Invalid, Scope::Group),
        ("denied", FailureKind::Denied, Scope::Group),
        ("Something new went wrong.", FailureKind::Other, Scope::Group),
    ] {
        let scene = Scene::of(1).await;
        scene.look().await;
        scene.set(&format!(r#"{{"fail_launches": "{what}"}}"#)).await;
        scene.raise(1, 2).await.unwrap();
        let seen = scene.look().await;
        assert_eq!((seen.desired, seen.unfilled()), (Some(2), 1), "{what}");
        let failure = &seen.launch_failures[0];
        assert_eq!((failure.kind, &failure.scope), (kind, &scope), "{what}: {failure:?}");
        // What is unfilled can be withdrawn, and then nothing is wrong any more.
        scene.provider.cancel_unfilled(&scene.target(2), 1).await.unwrap();
        assert_eq!(scene.look().await.unfilled(), 0, "{what}");
        scene.pass(1900).await;
        assert_eq!(scene.look().await.launch_failures, [], "{what}");
    }
}

#[tokio::test]
async fn a_refresh_is_shown_while_instances_move_and_no_instance_is_removed_under_it() {
    let scene = Scene::of(3).await;
    let seen = scene.look().await;
    let name = scene.group.as_str();
    scene.fixture.cloud.asg.start_instance_refresh().auto_scaling_group_name(name).send().await.unwrap();
    // Nothing moves yet, so nothing hints at it; a termination asks before it writes.
    let one = [seen.instances[0].id.clone()];
    let error = scene.provider.terminator().unwrap().terminate(&scene.target(3), &one).await.unwrap_err();
    assert_eq!(error.code(), "conflict", "{error}");
    assert!(scene.look().await.suspended.contains(&Suspended::Refresh));
    assert_eq!(scene.look().await.instances.len(), 3);
    let done = format!(r#"{{"group": "{name}", "status": "Successful"}}"#);
    scene.fixture.cloud.control("refresh", &done).await;
    scene.provider.terminator().unwrap().terminate(&scene.target(3), &one).await.unwrap();
    let seen = scene.look().await;
    assert_eq!((seen.desired, seen.suspended), (Some(2), vec![]));
}

#[tokio::test]
async fn a_hundred_instances_go_in_one_call() {
    let scene = Scene::of(40).await;
    let seen = scene.look().await;
    let named: Vec<_> = seen.instances[..30].iter().map(|instance| instance.id.clone()).collect();
    let accepted = scene.provider.terminator().unwrap().terminate(&scene.target(40), &named).await.unwrap();
    assert_eq!((accepted.operations.len(), accepted.skipped.len()), (30, 0));
    let calls = scene.fixture.cloud.control("calls", "").await;
    assert!(calls.contains("\"TerminateInstanceInAutoScalingGroup\": 1"), "{}", &calls[..300]);
    assert_eq!(scene.look().await.desired, Some(10));
}

#[tokio::test]
async fn a_group_at_rest_costs_one_call_a_look() {
    let scene = Scene::of(3).await;
    for _ in 0..10 {
        scene.look().await;
    }
    let calls: serde_json::Value = serde_json::from_str(&scene.fixture.cloud.control("calls", "").await).unwrap();
    let count = |operation: &str| calls["counts"][operation].as_u64().unwrap_or(0);
    // The fixture's own reads are of other kinds: one when the server was waited for.
    assert_eq!(count("DescribeAutoScalingGroups"), 11);
    for once in ["DescribePolicies", "DescribeScheduledActions", "DescribeInstances"] {
        assert_eq!(count(once), 1, "{once}");
    }
    assert_eq!(count("DescribeScalingActivities") + count("DescribeInstanceRefreshes"), 0);
}

#[tokio::test]
async fn a_claim_is_renewed_by_a_write_before_it_ends() {
    let scene = Scene::of(1).await;
    scene.look().await;
    scene.raise(1, 2).await.unwrap();
    let first = scene.look().await.owner.unwrap();
    scene.pass(1200).await;
    scene.raise(2, 3).await.unwrap();
    assert_eq!(scene.look().await.owner.unwrap(), first, "two thirds of it are left");
    scene.pass(1200).await;
    scene.raise(3, 4).await.unwrap();
    let renewed = scene.look().await.owner.unwrap();
    assert!(renewed.expiry.since(first.expiry) >= Duration::from_secs(2300), "{first:?} {renewed:?}");
}
