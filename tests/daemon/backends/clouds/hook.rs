//! A cloud's own hook holds back what skala terminates, until its work is done.

use super::stand::Stand;
use contract::{GroupId, InstanceState};
use sim_cloud::CloudKind::{Aws, Kubernetes};
use std::time::{Duration, Instant};

/// So long the hook lets an instance finish its work.
const HELD: Duration = Duration::from_secs(12);

/// How many instances of the group run, and how many are on their way out.
fn there(stand: &Stand) -> (usize, usize) {
    let truth = stand.cloud(Aws).cloud.truth(&GroupId::from("web")).unwrap();
    let count = |state| truth.instances.iter().filter(|instance| instance.state == state).count();
    (count(InstanceState::Running), count(InstanceState::Terminating))
}

#[test]
fn what_a_clouds_own_hook_holds_is_gone_for_skala_and_comes_back_as_new_ones() {
    let mut stand = Stand::new(&[Aws, Kubernetes]);
    let (group, other) = (stand.cloud(Aws).group("web", 5), stand.cloud(Kubernetes).group("api", 3));
    assert!(stand.cloud(Aws).cloud.set_drain(&GroupId::from("web"), HELD));
    stand.fleet("shop", &[(Aws, &group, 1)], 500.0);
    stand.fleet("api", &[(Kubernetes, &other, 1)], 300.0);
    stand.start("1s");

    stand.set_load("shop", 300.0);
    stand.until("two are on their way out", |stand| there(stand) == (3, 2));
    let from = Instant::now();
    stand.until("skala sees it", |stand| {
        let shop = stand.shown("shop");
        shop["current"] == 3 && shop["groups"][0]["instances"]["terminating"] == 2
    });
    // No cycle waits for them.
    stand.set_load("api", 600.0);
    stand.until("another fleet grows meanwhile", |stand| stand.cloud(Kubernetes).desired("api") == 6);
    // What a hook has cannot be had back: load that returns is met by new ones, before the old ones have gone.
    stand.set_load("shop", 500.0);
    stand.until("two new ones", |stand| there(stand).0 == 5);
    assert_eq!(there(&stand), (5, 2), "the two are still held");
    assert!(from.elapsed() < HELD, "{:?}: a hook that has ended shows nothing", from.elapsed());
    stand.until("the hook is over", |stand| there(stand) == (5, 0));
    assert_eq!(stand.cloud(Aws).desired("web"), 5);
    let asked = stand.cloud(Aws).said();
    let ends = asked.iter().filter(|said| said.answer.contains("<TerminateInstanceInAutoScalingGroupResponse")).count();
    assert_eq!(ends, 1, "both were asked to end, in one call");
}
