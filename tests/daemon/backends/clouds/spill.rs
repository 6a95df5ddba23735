//! What one cloud cannot launch is asked of the next one, at once.

use super::stand::{Said, Stand};
use sim_cloud::CloudKind::{Aws, Azure, Gcp, Kubernetes};
use sim_cloud::{CloudKind, Fault, Kind, Refusal};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(2);

/// Two places for one fleet, of which the first runs all.
fn stand(first: CloudKind) -> Stand {
    let mut stand = Stand::new(&[first, Kubernetes]);
    let (preferred, other) = (stand.cloud(first).group("web", 2), stand.cloud(Kubernetes).group("web", 0));
    stand.fleet("shop", &[(first, &preferred, 1), (Kubernetes, &other, 2)], 200.0);
    stand.start("2s");
    stand
}

/// From the cloud's word that there are no machines until the other one was asked for them.
fn measure(stand: &Stand, first: CloudKind, from: Instant, no_machines: impl Fn(&Said) -> bool) -> Duration {
    let asked = |stand: &Stand| stand.cloud(Kubernetes).first(from, |said| said.kind == Some(Kind::Write));
    stand.until("the other cloud is asked", |stand| asked(stand).is_some());
    let said = stand.cloud(first).first(from, no_machines).expect("the first cloud says that it has no machines");
    let took = asked(stand).unwrap().duration_since(said);
    println!("{first} has no machines; asked of kubernetes {took:?} after it said so, the interval is {INTERVAL:?}");
    took
}

#[test]
fn launches_that_fail_are_asked_of_the_next_cloud_within_an_interval() {
    let stand = stand(Aws);
    stand.cloud(Aws).cloud.inject(sim::Script::new(sim::Fault::OutOfCapacity));
    let from = Instant::now();
    stand.set_load("shop", 800.0);
    let took = measure(&stand, Aws, from, |said| said.answer.contains("do not have sufficient"));
    assert!(took < INTERVAL, "{took:?}");
    // What was asked for there and did not come is withdrawn, but for the one that probes.
    stand.until("eight instances, at most one of them a probe", |stand| {
        let (aws, kubernetes) = (stand.cloud(Aws).desired("web"), stand.cloud(Kubernetes).desired("web"));
        (2..=3).contains(&aws) && (6..=7).contains(&kubernetes)
    });
}

#[test]
fn a_refused_write_is_asked_of_the_next_cloud_without_waiting_for_an_interval() {
    let stand = stand(Gcp);
    stand.cloud(Gcp).server.inject(Kind::Write, Fault::Refuse(Refusal::OutOfCapacity));
    let from = Instant::now();
    stand.set_load("shop", 800.0);
    let took = measure(&stand, Gcp, from, |said| said.kind == Some(Kind::Write));
    assert!(took < INTERVAL, "{took:?}");
    stand.until("six elsewhere", |stand| stand.cloud(Kubernetes).desired("web") >= 6);
    assert_eq!(stand.cloud(Gcp).desired("web"), 2);
}

#[test]
fn two_clouds_that_refuse_are_asked_by_the_intervals_alone() {
    let mut stand = Stand::new(&[Gcp, Azure]);
    let groups = [Gcp, Azure].map(|kind| (kind, stand.cloud(kind).group("web", 2)));
    let of: Vec<(CloudKind, &str, u32)> = groups.iter().map(|(kind, id)| (*kind, &**id, 1)).collect();
    stand.fleet("shop", &of, 400.0);
    stand.start("2s");
    for kind in [Gcp, Azure] {
        stand.cloud(kind).server.inject(Kind::Write, Fault::Refuse(Refusal::OutOfCapacity));
    }
    let writes = |kind| stand.cloud(kind).said().iter().filter(|said| said.kind == Some(Kind::Write)).count();
    stand.set_load("shop", 1200.0);
    stand.until("both have refused", |_| writes(Gcp) > 0 && writes(Azure) > 0);
    std::thread::sleep(INTERVAL * 4);
    let (gcp, azure) = (writes(Gcp), writes(Azure));
    println!("two clouds without machines: {gcp} and {azure} writes in four intervals");
    assert!(gcp <= 8 && azure <= 8, "{gcp} and {azure}");
    assert_eq!((stand.cloud(Gcp).desired("web"), stand.cloud(Azure).desired("web")), (2, 2));
}
