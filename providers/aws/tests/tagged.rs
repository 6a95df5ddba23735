//! Instances that a tag holds together, on the simulated AWS: what else launches them, launches that fail late, and the pace
//! at which EC2 takes launches.

// A test that cannot go on stops; and not every test needs all of the stand.
#![allow(clippy::unwrap_used, dead_code)]

mod stand;

use aws::{Aws, Deadlines, Settings};
use aws_sdk_ec2::types::Tag;
use contract::{Ask, Epoch, FailureKind, Foreign, Observation, Owner, Provider, ProviderError, Scope, Target, Version};
use sim::{Fault, GroupSettings, Script};
use stand::config;
use stand::simulated::{self, Stand};
use std::time::Duration;

const BATCH: &str = "ec2:batch";

fn target(stand: &Stand, action: u128) -> Target {
    Target {
        group: BATCH.into(),
        action: contract::ActionId(action),
        seen: Version { desired: None, token: None, at: stand.wire.clock.now() },
        lease: Epoch(1),
    }
}

async fn stand() -> Stand {
    Stand::new(simulated::settings(), "servers:", 1_000).await
}

async fn look(provider: &Aws) -> Observation {
    provider.observe(&[Ask::new(BATCH)]).await.remove(0).unwrap()
}

#[tokio::test]
async fn what_something_else_launches_is_left_to_it() {
    let stand = stand().await;
    stand.provider.raise(&target(&stand, 1), 2).await.unwrap();
    assert_eq!(look(&stand.provider).await.foreign, []);
    // An Auto Scaling group's instance with the same tag: it would come back however often it was removed.
    stand.wire.cloud.create("web", &GroupSettings::default()).unwrap();
    let taken = stand.wire.cloud.truth(&"web".into()).unwrap().instances[0].id.clone();
    let tag = Tag::builder().key("skala:group").value("batch").build();
    stand.ec2.create_tags().resources(taken.as_str()).tags(tag).send().await.unwrap();
    let seen = look(&stand.provider).await;
    assert_eq!(seen.foreign, [Foreign { name: "Auto Scaling group web".into(), removes: Some(true) }]);
    assert_eq!(seen.instances.len(), 3);
    // It came after the observation that a plan was made from.
    let error = stand.provider.terminator().unwrap().terminate(&target(&stand, 2), &[taken]).await.unwrap_err();
    assert!(error.code() == "conflict" && error.to_string().contains("Auto Scaling group web"), "{error}");
    let error = stand.provider.raise(&target(&stand, 3), 5).await.unwrap_err();
    assert_eq!(error.code(), "conflict", "{error}");
    assert_eq!(look(&stand.provider).await.instances.len(), 3);
}

#[tokio::test]
async fn a_launch_that_was_taken_and_failed_is_told() {
    let stand = stand().await;
    stand.provider.raise(&target(&stand, 1), 1).await.unwrap();
    stand.wire.cloud.inject(Script::new(Fault::LaunchFailures { share: 1.0 }));
    stand.provider.raise(&target(&stand, 2), 2).await.unwrap();
    let seen = look(&stand.provider).await;
    assert_eq!(seen.instances.len(), 1);
    let failure = &seen.launch_failures[0];
    assert_eq!((failure.kind, &failure.scope), (FailureKind::Other, &Scope::Group));
    assert!(failure.message.contains("Client.InternalError"), "{failure:?}");
    // Another process knows it as well; and in the end it is forgotten.
    let restarted = stand::over(&stand.wire.server.url(), "daemon-1", stand.wire.clock.reader()).await;
    assert_eq!(look(&restarted).await.launch_failures.len(), 1);
    stand.wire.clock.pass(Duration::from_secs(1_900));
    assert_eq!(look(&restarted).await.launch_failures, []);
}

#[tokio::test]
async fn after_a_refusal_no_more_is_asked_for() {
    let stand = stand().await;
    stand.wire.cloud.inject(Script::new(Fault::OutOfCapacity));
    let error = stand.provider.raise(&target(&stand, 1), 40).await.unwrap_err();
    assert!(matches!(error, ProviderError::OutOfCapacity { .. }), "{error}");
    assert!(stand.count("RunInstances") <= 4, "{}", stand.count("RunInstances"));
}

#[tokio::test]
async fn many_launches_go_at_ec2s_own_pace_and_none_twice() {
    let stand = stand().await;
    let settings = Settings { region: "us-east-1".into(), ..Settings::default() };
    let deadlines = Deadlines { read: Duration::from_millis(2_500), write: Duration::from_millis(2_500) };
    let config = config(&stand.wire.server.url()).await;
    let owner = Owner { id: "daemon-1".into() };
    let provider = Aws::over(config, &settings, owner, stand.wire.clock.reader()).with_deadlines(deadlines);
    let mut there = 0;
    // A part each time, as a decision is acted on and looked at again.
    for round in 0.. {
        assert!(round < 10, "{there} after {round} rounds");
        provider.raise(&target(&stand, 1), 12).await.unwrap();
        let seen = look(&provider).await;
        assert_eq!(seen.launch_failures, [], "a launch that waits is none that failed");
        there = seen.instances.len();
        if there == 12 {
            assert!(round > 0, "five at once, and then two a second");
            break;
        }
    }
    assert_eq!(stand.count("RunInstances"), 12);
}
