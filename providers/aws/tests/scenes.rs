//! Scenes over the simulated AWS: what a group looks like over time, as an observer of it would see it.

// A test that cannot go on stops; and not every test needs all of the stand.
#![allow(clippy::unwrap_used, dead_code)]

mod stand;

use contract::{
    Ask, Epoch, FailureKind, InstanceState, Observation, Provider, ProviderError, Scope, Suspended, Target, Version,
};
use sim::{Fault, GroupSettings, Script, Settings};
use stand::simulated::{self, Stand};
use std::time::Duration;

struct Scene {
    stand: Stand,
    group: contract::GroupId,
}

impl Scene {
    async fn of(running: u32) -> Self {
        Self::over(simulated::settings(), running).await
    }

    async fn over(settings: Settings, running: u32) -> Self {
        let stand = Stand::new(settings, "", 100).await;
        let group = GroupSettings { max: 50, desired: running, ..GroupSettings::default() };
        stand.wire.cloud.create("web", &group).unwrap();
        Self { stand, group: "web".into() }
    }

    async fn look(&self) -> Observation {
        self.stand.provider.observe(&[Ask::new(self.group.clone())]).await.remove(0).unwrap()
    }

    fn pass(&self, secs: u64) {
        self.stand.wire.clock.pass(Duration::from_secs(secs));
    }

    fn target(&self, seen: u32) -> Target {
        Target {
            group: self.group.clone(),
            action: contract::ActionId(1),
            seen: Version { desired: Some(seen), token: None, at: self.stand.wire.clock.now() },
            lease: Epoch(1),
        }
    }

    async fn raise(&self, from: u32, to: u32) -> Result<contract::Accepted, ProviderError> {
        self.stand.provider.raise(&self.target(from), to).await
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
    scene.pass(21);
    let running = scene.look().await;
    let instance = running.instances.iter().find(|i| i.id == new).unwrap();
    assert_eq!((instance.state, instance.running_since), (InstanceState::Running, Some(running.at)));
    assert!(instance.launched.is_some_and(|launched| launched < running.at), "{instance:?}");
    // One that was met running counts from its launch, once that is long ago.
    let old = |seen: &Observation| seen.instances.iter().find(|i| i.id != new).unwrap().clone();
    assert_eq!(old(&running).running_since, None);
    scene.pass(900);
    let later = scene.look().await;
    assert_eq!(old(&later).running_since, old(&later).launched);
    assert_eq!(later.instances.iter().find(|i| i.id == new).unwrap().running_since, Some(running.at));
}

#[tokio::test]
async fn failed_launches_are_told_with_kind_and_scope_and_forgotten_in_the_end() {
    // The group's one zone is the whole group.
    let spot = "Could not launch Spot Instances. UnfulfillableCapacity - Unable to fulfill capacity due to your request \
                configuration. Please adjust your request and try again.";
    let addresses =
        "There are not enough free addresses in subnet 'subnet-0d1' to satisfy the requested number of instances.";
    let denied = "You are not authorized to perform this operation. Encoded authorization failure message: Zx1.";
    for (words, kind, scope) in [
        // What the simulated AWS says by itself.
        ("capacity", FailureKind::OutOfCapacity, Scope::Group),
        ("quota", FailureKind::QuotaExceeded, Scope::Region),
        (spot, FailureKind::OutOfCapacity, Scope::Group),
        (addresses, FailureKind::OutOfCapacity, Scope::Group),
        ("The image id '[ami-0abc]' does not exist.", FailureKind::Invalid, Scope::Group),
        (denied, FailureKind::Denied, Scope::Group),
        ("Something new went wrong.", FailureKind::Other, Scope::Group),
    ] {
        let quota = (words == "quota").then_some(1);
        let scene = Scene::over(Settings { quota, ..simulated::settings() }, 1).await;
        scene.look().await;
        if words != "quota" {
            scene.stand.wire.cloud.inject(Script::new(Fault::OutOfCapacity));
        }
        if words.contains(' ') {
            scene.stand.api.say_of_failures(&scene.group, Some(words));
        }
        scene.raise(1, 2).await.unwrap();
        let seen = scene.look().await;
        assert_eq!((seen.desired, seen.unfilled()), (Some(2), 1), "{words}");
        let failure = &seen.launch_failures[0];
        assert_eq!((failure.kind, &failure.scope), (kind, &scope), "{words}: {failure:?}");
        // What is unfilled can be withdrawn, and then nothing is wrong any more.
        scene.stand.provider.cancel_unfilled(&scene.target(2), 1).await.unwrap();
        assert_eq!(scene.look().await.unfilled(), 0, "{words}");
        scene.pass(1900);
        assert_eq!(scene.look().await.launch_failures, [], "{words}");
    }
}

#[tokio::test]
async fn one_zone_without_machines_is_told_while_others_have_some() {
    let zones = ["a", "b"].map(Into::into).to_vec();
    let group = GroupSettings { max: 50, desired: 2, zones, ..GroupSettings::default() };
    let settings = Settings { groups: [("web".to_owned(), group)].into(), ..simulated::settings() };
    let scene = Scene { stand: Stand::new(settings, "", 100).await, group: "web".into() };
    scene.stand.wire.cloud.inject(Script { zone: Some("a".into()), ..Script::new(Fault::OutOfCapacity) });
    scene.look().await;
    scene.raise(2, 4).await.unwrap();
    let seen = scene.look().await;
    assert_eq!((seen.instances.len(), seen.unfilled()), (4, 0));
    let place = Scope::Zone("us-east-1a".into());
    let failed = |seen: &Observation| seen.launch_failures.iter().any(|failure| failure.scope == place);
    assert!(failed(&seen), "{seen:?}");
}

#[tokio::test]
async fn a_refresh_is_shown_while_instances_move_and_no_instance_is_removed_under_it() {
    let scene = Scene::of(3).await;
    let seen = scene.look().await;
    let name = scene.group.as_str();
    scene.stand.asg.start_instance_refresh().auto_scaling_group_name(name).send().await.unwrap();
    // Nothing moves yet, so nothing hints at it; a termination asks before it writes.
    let one = [seen.instances[0].id.clone()];
    let error = scene.stand.provider.terminator().unwrap().terminate(&scene.target(3), &one).await.unwrap_err();
    assert_eq!(error.code(), "conflict", "{error}");
    assert!(scene.look().await.suspended.contains(&Suspended::Refresh));
    assert_eq!(scene.look().await.instances.len(), 3);
    assert!(scene.stand.api.set_refresh(&scene.group, "Successful"));
    scene.stand.provider.terminator().unwrap().terminate(&scene.target(3), &one).await.unwrap();
    let seen = scene.look().await;
    assert_eq!((seen.desired, seen.suspended), (Some(2), vec![]));
}

/// The cloud's own drain: what a hook holds on its way out is gone for whoever counts, and nobody's victim again.
#[tokio::test]
async fn a_hook_that_drains_holds_what_is_gone_already() {
    let scene = Scene::of(3).await;
    let (asg, name) = (&scene.stand.asg, scene.group.as_str());
    let hook = asg.put_lifecycle_hook().auto_scaling_group_name(name).lifecycle_hook_name("drain");
    let hook = hook.lifecycle_transition("autoscaling:EC2_INSTANCE_TERMINATING").heartbeat_timeout(3600);
    hook.send().await.unwrap();
    let terminator = scene.stand.provider.terminator().unwrap();
    let two: Vec<_> = scene.look().await.instances[..2].iter().map(|instance| instance.id.clone()).collect();
    terminator.terminate(&scene.target(3), &two).await.unwrap();
    // Long after a termination without a hook.
    scene.pass(600);
    let waiting = async || {
        let shown = asg.describe_auto_scaling_groups().auto_scaling_group_names(name).send().await.unwrap();
        let states = shown.auto_scaling_groups()[0].instances().iter().map(|i| i.lifecycle_state().unwrap().as_str());
        states.filter(|state| *state == "Terminating:Wait").count()
    };
    let leaving = |seen: &Observation| {
        let leaving = seen.instances.iter().filter(|i| i.state == InstanceState::Terminating);
        leaving.map(|instance| instance.id.clone()).collect::<Vec<_>>()
    };
    let seen = scene.look().await;
    assert_eq!((waiting().await, leaving(&seen)), (2, two.clone()));
    assert_eq!((seen.desired, seen.unfilled(), seen.alive().count()), (Some(1), 0, 1));

    // Named again, they are passed over, and desired is not lowered a second time.
    let writes = scene.stand.count("TerminateInstanceInAutoScalingGroup");
    let accepted = terminator.terminate(&scene.target(1), &two).await.unwrap();
    assert_eq!((accepted.skipped, accepted.operations.len()), (two.clone(), 0));
    assert_eq!(scene.stand.count("TerminateInstanceInAutoScalingGroup"), writes);

    // A raise gets new ones beside them, as many as are missing, and calls none back.
    scene.raise(1, 3).await.unwrap();
    scene.pass(60);
    let seen = scene.look().await;
    assert_eq!((waiting().await, leaving(&seen)), (2, two.clone()));
    assert_eq!((seen.desired, seen.unfilled(), seen.alive().count()), (Some(3), 0, 3));

    // One drain is done, the other one's time is over: both end, and nothing takes their place.
    let done = asg.complete_lifecycle_action().auto_scaling_group_name(name).lifecycle_hook_name("drain");
    let done = done.instance_id(two[0].as_str()).lifecycle_action_result("CONTINUE");
    done.send().await.unwrap();
    assert_eq!((waiting().await, leaving(&scene.look().await)), (1, two.clone()));
    scene.pass(21);
    assert_eq!(leaving(&scene.look().await), two[1..]);
    scene.pass(3600);
    let seen = scene.look().await;
    assert_eq!((leaving(&seen).len(), seen.desired, seen.alive().count()), (0, Some(3), 3));
}

#[tokio::test]
async fn a_hundred_instances_go_in_one_call() {
    let scene = Scene::of(40).await;
    let seen = scene.look().await;
    let named: Vec<_> = seen.instances[..30].iter().map(|instance| instance.id.clone()).collect();
    let accepted = scene.stand.provider.terminator().unwrap().terminate(&scene.target(40), &named).await.unwrap();
    assert_eq!((accepted.operations.len(), accepted.skipped.len()), (30, 0));
    assert_eq!(scene.stand.count("TerminateInstanceInAutoScalingGroup"), 1);
    assert_eq!(scene.look().await.desired, Some(10));
}

#[tokio::test]
async fn a_group_at_rest_costs_one_call_a_look() {
    let scene = Scene::of(3).await;
    for _ in 0..10 {
        scene.look().await;
    }
    let count = |operation: &str| scene.stand.count(operation);
    assert_eq!(count("DescribeAutoScalingGroups"), 10);
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
    scene.pass(1200);
    scene.raise(2, 3).await.unwrap();
    assert_eq!(scene.look().await.owner.unwrap(), first, "two thirds of it are left");
    scene.pass(1200);
    scene.raise(3, 4).await.unwrap();
    let renewed = scene.look().await.owner.unwrap();
    assert!(renewed.expiry.since(first.expiry) >= Duration::from_secs(2300), "{first:?} {renewed:?}");
}
