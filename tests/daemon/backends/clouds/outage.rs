//! One cloud hangs or is down; the others' fleets do not notice.

use super::stand::Stand;
use sim_cloud::CloudKind::{Aws, Gcp, Kubernetes};
use sim_cloud::{Fault, Kind, Refusal};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(4);
/// Cycles that are watched.
const CYCLES: u32 = 11;

/// The largest distance of neighbours from the interval.
fn worst(times: &[f64]) -> f64 {
    let gaps = times.windows(2).map(|pair| (pair[1] - pair[0] - INTERVAL.as_secs_f64()).abs());
    gaps.fold(0.0, f64::max)
}

#[test]
fn a_cloud_that_hangs_delays_no_other_clouds_fleets() {
    let mut stand = Stand::new(&[Aws, Gcp, Kubernetes]);
    for (kind, fleet) in [(Aws, "hung"), (Gcp, "shop"), (Kubernetes, "api")] {
        let group = stand.cloud(kind).group("web", 3);
        stand.fleet(fleet, &[(kind, &group, 1)], 300.0);
    }
    stand.start("4s");
    // The first cycle is at the start, the others on the interval's grid.
    std::thread::sleep(INTERVAL);
    let aws = &stand.cloud(Aws).server;
    for kind in [Kind::Read, Kind::Write] {
        aws.inject(kind, Fault::Hang { effect: false });
    }
    // More is wanted everywhere, so the hung cloud is also one in whose group something should happen.
    let (from, reads) = (Instant::now(), aws.calls().reads);
    ["hung", "shop", "api"].iter().for_each(|fleet| stand.set_load(fleet, 600.0));
    let (mut lag, mut decided) = (0.0, BTreeMap::<&str, Vec<f64>>::new());
    while from.elapsed() < INTERVAL * CYCLES {
        lag = f64::max(lag, stand.metric("skala_cycle_lag_seconds").expect("the metric"));
        for fleet in ["shop", "api"] {
            let (at, times) = (stand.shown(fleet)["decided"].as_f64().unwrap(), decided.entry(fleet).or_default());
            if times.last() != Some(&at) {
                times.push(at);
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let tenth = INTERVAL.as_secs_f64() / 10.0;
    println!("a cycle began at most {lag:.3} s late; a tenth of the interval is {tenth} s");
    assert!(lag < tenth, "{lag} s");
    for (fleet, times) in decided {
        let worst = worst(&times);
        println!("{fleet}: {} decisions, neighbours at most {worst:.3} s from the interval", times.len());
        assert!(times.len() >= 10 && worst < tenth, "{fleet}: {times:?}");
    }
    assert!(stand.cloud(Aws).server.calls().reads >= reads + 5, "the cloud that hangs is still asked");
    assert_eq!(stand.shown("hung")["hold"]["reason"], "group_unknown");
    assert_eq!((stand.cloud(Gcp).desired("web"), stand.cloud(Kubernetes).desired("web")), (6, 6));
}

#[test]
fn a_cloud_that_is_down_keeps_its_fleets_from_shrinking_and_no_others() {
    let mut stand = Stand::new(&[Aws, Kubernetes]);
    let (here, there) = (stand.cloud(Aws).group("web", 3), stand.cloud(Kubernetes).group("web", 3));
    let alone = stand.cloud(Kubernetes).group("api", 6);
    stand.fleet("shop", &[(Aws, &here, 1), (Kubernetes, &there, 1)], 600.0);
    stand.fleet("api", &[(Kubernetes, &alone, 1)], 600.0);
    stand.start("1s");
    let held = |stand: &Stand| (stand.cloud(Aws).desired("web"), stand.cloud(Kubernetes).desired("web"));
    let before = held(&stand);
    stand.cloud(Aws).server.refuse_connections();
    stand.until("it is seen", |stand| stand.shown("shop")["groups"][0]["unknown"] == "transport");
    let from = Instant::now();
    ["shop", "api"].iter().for_each(|fleet| stand.set_load(fleet, 200.0));
    stand.until("the other fleet shrinks", |stand| stand.cloud(Kubernetes).desired("api") == 2);
    println!("the other cloud's fleet shrank {:?} after its load", from.elapsed());
    // Its window has passed three times over.
    while from.elapsed() < Duration::from_secs(12) {
        assert_eq!(held(&stand), before, "while a group is unknown nothing of its fleet is removed");
        std::thread::sleep(Duration::from_millis(100));
    }
    stand.cloud(Aws).server.accept_connections();
    stand.until("it shrinks once all is known", |stand| held(stand).0 + held(stand).1 == 2);
}

#[test]
fn what_a_cloud_says_of_a_refusal_is_shown_and_logged_once() {
    let mut stand = Stand::new(&[Aws, Gcp]);
    for (kind, fleet) in [(Aws, "shop"), (Gcp, "api")] {
        let group = stand.cloud(kind).group("web", 3);
        stand.fleet(fleet, &[(kind, &group, 1)], 300.0);
    }
    stand.start("1s");
    for (kind, fleet) in [(Aws, "shop"), (Gcp, "api")] {
        stand.cloud(kind).server.inject(Kind::Read, Fault::Refuse(Refusal::Denied));
        stand.until("it is denied", |stand| stand.shown(fleet)["groups"][0]["unknown"] == "denied");
        let trouble = stand.shown(fleet)["groups"][0]["trouble"].as_str().unwrap().to_owned();
        assert!(trouble.len() > "denied".len() + 10, "in the cloud's words, with what to do: {trouble}");
        println!("{fleet}: {trouble}");
        let notes = stand.printed();
        assert!(notes.contains(&format!("cannot be observed: {trouble}")), "{notes}");
    }
    std::thread::sleep(Duration::from_secs(3));
    let log = stand.log();
    assert_eq!(log.matches("A group cannot be read.").count(), 2, "{log}");
}
