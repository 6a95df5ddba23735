//! The provider against moto, a cloud API server that nobody here wrote.
//!
//! moto is taken from `SKALA_MOTO_URL`, or started from the venv that `SKALA_VENV` names. Without either the tests fail:
//! a test that quietly does nothing proves nothing.

mod moto;

use contract::{Ask, Epoch, InstanceId, InstanceState, Provider, Target, Version};
use moto::Moto;

fn target(group: &str, seen: u32) -> Target {
    Target {
        group: group.into(),
        action: contract::ActionId(7),
        seen: Version { desired: Some(seen), token: None, at: moto::now() },
        lease: Epoch(1),
    }
}

async fn observe(provider: &aws::Aws, group: &str) -> contract::Observation {
    provider.observe(&[Ask::new(group)]).await.remove(0).unwrap()
}

#[tokio::test]
async fn a_group_is_observed_raised_and_lowered_by_name() {
    let moto = Moto::get().await;
    let group = moto.group(0, 10, 2).await;
    let provider = moto.provider("a").await;

    let seen = observe(&provider, &group).await;
    assert_eq!((seen.desired, seen.cloud_min, seen.cloud_max), (Some(2), Some(0), Some(10)));
    assert_eq!(seen.instances.len(), 2);
    assert!(seen.instances.iter().all(|i| i.state == InstanceState::Running && i.launched.is_some() && !i.protected));
    assert_eq!((seen.foreign, seen.suspended, seen.owner), (vec![], vec![], None));

    provider.raise(&target(&group, 2), 5).await.unwrap();
    let raised = observe(&provider, &group).await;
    assert_eq!((raised.desired, raised.instances.len()), (Some(5), 5));
    let tag = raised.owner.unwrap();
    assert_eq!((&*tag.id, tag.epoch), ("a", Epoch(1)));

    let victims: Vec<InstanceId> = raised.instances[..2].iter().map(|i| i.id.clone()).collect();
    let terminator = provider.terminator().unwrap();
    // moto knows one id a call and answers a list with an HTML page and status 500.
    let unclear = terminator.terminate(&target(&group, 5), &victims).await.unwrap_err();
    assert_eq!(unclear.code(), "unclear", "{unclear}");
    assert_eq!(observe(&provider, &group).await.desired, Some(5));
    let accepted = terminator.terminate(&target(&group, 5), &victims).await.unwrap();
    assert_eq!(accepted.skipped, vec![]);
    let lowered = observe(&provider, &group).await;
    assert_eq!(lowered.desired, Some(3));
    assert!(lowered.alive().all(|i| !victims.contains(&i.id)));
}
