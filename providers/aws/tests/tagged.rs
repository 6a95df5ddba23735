//! Instances that a tag holds together, on the simulated AWS: what else launches them, launches that fail late, many
//! at once, and those that EC2 does not show yet.

// A test that cannot go on stops; and not every test needs all of the stand.
#![allow(clippy::unwrap_used, dead_code)]

mod stand;

use aws::{Aws, Settings};
use aws_sdk_ec2::types::Tag;
use conformance::{Call, Fault as Broken};
use contract::{
    Ask, Epoch, FailureKind, Foreign, InstanceState, Observation, Owner, Provider, ProviderError, Scope, Target,
    Version,
};
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
    let error = stand.provider.raise(&target(&stand, 1), 900).await.unwrap_err();
    assert!(matches!(error, ProviderError::OutOfCapacity { .. }), "{error}");
    assert!(stand.count("RunInstances") <= 4, "{}", stand.count("RunInstances"));
}

#[tokio::test]
async fn many_launches_go_together_and_none_twice() {
    let stand = stand().await;
    let settings = Settings { region: "us-east-1".into(), ..Settings::default() };
    let config = config(&stand.wire.server.url()).await;
    let owner = Owner { id: "daemon-1".into() };
    let provider = Aws::over(config, &settings, owner, stand.wire.clock.reader());
    provider.raise(&target(&stand, 1), 250).await.unwrap();
    let seen = look(&provider).await;
    assert_eq!((seen.instances.len(), seen.launch_failures), (250, vec![]));
    assert_eq!(stand.count("RunInstances"), 3);
    // The same action again, and one more that finds it done.
    provider.raise(&target(&stand, 1), 250).await.unwrap();
    provider.raise(&target(&stand, 2), 250).await.unwrap();
    assert_eq!(stand.count("RunInstances"), 3);
}

#[tokio::test]
async fn a_launch_that_is_filled_in_part_is_told() {
    let settings = sim::Settings { quota: Some(3), ..simulated::settings() };
    let stand = Stand::new(settings, "servers:", 1_000).await;
    stand.provider.raise(&target(&stand, 1), 5).await.unwrap();
    let seen = look(&stand.provider).await;
    assert_eq!(seen.instances.len(), 3);
    let failure = &seen.launch_failures[0];
    assert_eq!((failure.kind, &failure.scope), (FailureKind::QuotaExceeded, &Scope::Region));
    // The five, the two that did not come, and one of them.
    assert_eq!((seen.launch_failures.len(), stand.count("RunInstances")), (1, 3), "{seen:?}");
}

#[tokio::test]
async fn what_ec2_does_not_show_yet_is_there() {
    let stand = stand().await;
    stand.api.show_of_launches(Some(0));
    stand.provider.raise(&target(&stand, 1), 3).await.unwrap();
    let seen = look(&stand.provider).await;
    let pending = |seen: &Observation| seen.instances.iter().filter(|i| i.state == InstanceState::Pending).count();
    assert_eq!((seen.instances.len(), pending(&seen)), (3, 3));
    assert!(seen.instances.iter().all(|i| i.launched.is_some() && i.zone.is_some()), "{seen:?}");
    // A later action launches what is missing beside them, as does the same one again.
    stand.provider.raise(&target(&stand, 2), 3).await.unwrap();
    assert_eq!(stand.count("RunInstances"), 1);
    stand.provider.raise(&target(&stand, 2), 5).await.unwrap();
    stand.provider.raise(&target(&stand, 2), 6).await.unwrap();
    assert_eq!(look(&stand.provider).await.instances.len(), 6);
    // None counts twice once it is shown; and one that was shown and went is gone.
    stand.api.show_of_launches(None);
    let seen = look(&stand.provider).await;
    assert_eq!((seen.instances.len(), there(&stand)), (6, 6));
    let one = [seen.instances[0].id.clone()];
    stand.provider.terminator().unwrap().terminate(&target(&stand, 3), &one).await.unwrap();
    stand.wire.clock.pass(Duration::from_secs(60));
    assert_eq!(look(&stand.provider).await.instances.len(), 5);
    // What is not shown for too long never came.
    stand.api.show_of_launches(Some(0));
    stand.provider.raise(&target(&stand, 4), 1).await.unwrap();
    assert_eq!(look(&stand.provider).await.instances.len(), 1);
    stand.wire.clock.pass(Duration::from_secs(301));
    assert_eq!(look(&stand.provider).await.instances.len(), 0);
}

fn there(stand: &Stand) -> usize {
    stand.wire.cloud.truth(&"servers:batch".into()).unwrap().instances.len()
}

#[tokio::test]
async fn an_action_tried_again_launches_nothing_twice() {
    for shown in [Some(0), Some(1), None] {
        let mut stand = stand().await;
        stand.api.show_of_launches(shown);
        conformance::Fixture::inject(&mut stand.wire, &BATCH.into(), Call::Write, &Broken::ErrorAfterEffect)
            .await
            .unwrap();
        let error = stand.provider.raise(&target(&stand, 1), 3).await.unwrap_err();
        assert_eq!((error.code(), there(&stand)), ("unclear", 3), "{error}");
        conformance::Fixture::clear(&mut stand.wire).await;
        // Another number of instances is not what was asked for under this name.
        if shown == Some(0) {
            let error = stand.provider.raise(&target(&stand, 1), 4).await.unwrap_err();
            assert_eq!((error.code(), there(&stand)), ("conflict", 3), "{error}");
        }
        // Not even by a process that knows of nothing.
        let restarted = stand::over(&stand.wire.server.url(), "daemon-1", stand.wire.clock.reader()).await;
        for provider in [&restarted, &stand.provider, &restarted] {
            provider.raise(&target(&stand, 1), 3).await.unwrap();
            assert_eq!((look(provider).await.instances.len(), there(&stand)), (3, 3), "{shown:?}");
        }
        // And then what is missing, and no more.
        restarted.raise(&target(&stand, 1), 5).await.unwrap();
        assert_eq!((look(&restarted).await.instances.len(), there(&stand)), (5, 5), "{shown:?}");
    }
}
