//! Instances drain before they are terminated: drainers that are quick, slow, hung, broken, and a daemon that dies meanwhile.

use super::for_seeds;
use super::watch::Promise;
use super::world::{World, cloud, load, policy, secs};
use contract::{BoxFuture, GroupId, InstanceState};
use policies::policy::{Amount, Rate};
use skala::app::Settings;
use skala::cycle::brakes::BrakeSettings;
use skala::drainers::{DrainAsk, DrainDo, DrainError, Drainer, Progress};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The fleet's scale-in window.
const PROMISE: Promise = Promise {
    min: 2,
    target: 100.0,
    interval: Duration::from_secs(15),
    window: Duration::from_secs(60),
    gap: Duration::from_secs(180),
};

/// What a drainer does with an instance of which it was first asked so long ago.
type Way = fn(DrainDo, Duration) -> Result<Option<Progress>, DrainError>;

/// A drainer that notes what it is asked; it outlives the daemon.
struct Noted {
    way: Way,
    asked: Arc<Mutex<Vec<(Duration, DrainAsk)>>>,
    time: super::world::Time,
}

impl Drainer for Noted {
    fn ask<'a>(&'a self, ask: &'a DrainAsk, _: Duration) -> BoxFuture<'a, Result<Progress, DrainError>> {
        let now = self.time.elapsed();
        let first = {
            let mut asked = self.asked.lock().unwrap();
            asked.push((now, ask.clone()));
            let same = |(_, other): &&(Duration, DrainAsk)| other.instance == ask.instance && other.r#do == ask.r#do;
            asked.iter().find(same).map_or(now, |(at, _)| *at)
        };
        Box::pin(async move {
            match (self.way)(ask.r#do, now - first)? {
                Some(progress) => Ok(progress),
                None => std::future::pending().await,
            }
        })
    }
}

type Asked = Arc<Mutex<Vec<(Duration, DrainAsk)>>>;

/// Ten instances' worth of load, six's from 600 s on, and what `later` says from 900 s on.
fn world(seed: u64, way: Way, later: f64) -> (World, Asked) {
    let of = move |query: &str, elapsed: Duration| match (query, elapsed.as_secs()) {
        ("control", _) => 400.0,
        (_, 0..600) => 1_000.0,
        (_, 600..900) => 600.0,
        _ => later,
    };
    let clouds = vec![("cloud", cloud(&[("web", 10)])), ("other", cloud(&[("control", 4)]))];
    let drain = "[fleet.web.drain]\nwith = \"lb\"\ndeadline = \"4m\"\n";
    let rate = "rate = [ { instances = 4, per = \"1m\" } ]\n";
    let web = policy("web", "cloud", "").replace("stabilization = \"5m\"", "stabilization = \"1m\"") + rate + drain;
    let mut world = World::new(seed, clouds, &[&web, &policy("control", "other", "")], load(of));
    let asked = Asked::default();
    let noted = Noted { way, asked: Arc::clone(&asked), time: world.time.clone() };
    world.drainers.insert("lb".into(), Arc::new(noted));
    (world, asked)
}

/// Instances of `web` that are there, by whether they are on their way out.
fn there(world: &World) -> usize {
    let truth = world.clouds["cloud"].truth(&GroupId::from("web")).unwrap();
    truth.instances.iter().filter(|instance| instance.state != InstanceState::Terminating).count()
}

fn instances(asked: &Asked, what: DrainDo) -> BTreeSet<String> {
    let asked = asked.lock().unwrap();
    asked.iter().filter(|(_, ask)| ask.r#do == what).map(|(_, ask)| ask.instance.to_string()).collect()
}

/// Waits until a time since the beginning; the control fleet is decided all the while.
async fn until(world: &World, life: &super::world::Life, at: u64) {
    while world.time.elapsed() < secs(at) {
        let before = life.decisions("control");
        tokio::time::sleep(secs(30)).await;
        assert!(life.decisions("control") > before, "the control fleet was not decided for 30 s");
    }
}

#[test]
fn instances_leave_when_they_have_drained() {
    for_seeds(1..6, |seed| {
        let (world, asked) =
            world(seed, |_, since| Ok(Some(if since < secs(90) { Progress::Going } else { Progress::Done })), 600.0);
        world.live(async |life| {
            until(&world, &life, 1_500).await;
            assert_eq!((there(&world), world.desired("cloud", "web")), (6, 6));
        });
        assert_eq!(instances(&asked, DrainDo::Drain).len(), 4);
        assert!(instances(&asked, DrainDo::Return).is_empty());
        let (at, ask) = asked.lock().unwrap()[0].clone();
        assert_eq!((&*ask.fleet, &*ask.provider, &*ask.group), ("web", "cloud", "web"));
        let until = ask.until.unwrap().since(super::world::EPOCH.after(at));
        assert!(until > secs(239) && until <= secs(240), "{until:?}");
        world.witness.judge(&world.clouds["cloud"], "web", PROMISE);
    });
}

#[test]
fn a_hung_drainer_delays_nobody_and_its_instances_leave_at_the_deadline() {
    let ways: [Way; 2] = [|_, _| Ok(None), |_, _| Err(DrainError("no such pool".into()))];
    for way in ways {
        let (world, asked) = world(1, way, 600.0);
        world.live(async |life| {
            until(&world, &life, 870).await;
            assert_eq!(
                (there(&world), instances(&asked, DrainDo::Drain).len()),
                (10, 4),
                "they have their four minutes"
            );
            until(&world, &life, 1_000).await;
            assert_eq!(there(&world), 6);
        });
        world.witness.judge(&world.clouds["cloud"], "web", PROMISE);
    }
}

#[test]
fn load_that_returns_takes_back_what_drains_and_launches_nothing() {
    for_seeds(1..6, |seed| {
        let way: Way = |what, _| {
            Ok(match what {
                DrainDo::Drain => Some(Progress::Going),
                DrainDo::Return => Some(Progress::Done),
            })
        };
        let (world, asked) = world(seed, way, 1_000.0);
        let before = world.clouds["cloud"].calls().writes();
        world.live(async |life| {
            // The drain began after 660 s at the earliest, so its deadline is behind the return of the load.
            until(&world, &life, 960).await;
            assert_eq!(instances(&asked, DrainDo::Drain).len(), 4);
            until(&world, &life, 1_500).await;
            assert_eq!((there(&world), world.desired("cloud", "web")), (10, 10));
            let status = life.published.fleet("web").unwrap();
            assert_eq!(status.groups[0].draining, 0);
        });
        assert_eq!(instances(&asked, DrainDo::Return), instances(&asked, DrainDo::Drain));
        let returned = asked.lock().unwrap().iter().filter(|(_, ask)| ask.r#do == DrainDo::Return).count();
        assert_eq!(returned, 4, "once each");
        assert_eq!(world.clouds["cloud"].calls().writes(), before, "the cloud was asked for nothing");
        world.witness.judge(&world.clouds["cloud"], "web", PROMISE);
    });
}

#[test]
fn nothing_is_forgotten_over_a_crash() {
    for_seeds(1..8, |seed| {
        let way: Way = |_, since| Ok(Some(if since < secs(120) { Progress::Going } else { Progress::Done }));
        let (world, asked) = world(seed, way, 600.0);
        let crash = 700 + 7 * seed;
        world.live(async |_| tokio::time::sleep(secs(crash)).await);
        let first = instances(&asked, DrainDo::Drain);
        world.time.pass(secs(20));
        world.live(async |life| {
            until(&world, &life, 1_500).await;
            assert_eq!((there(&world), world.desired("cloud", "web")), (6, 6));
        });
        if !first.is_empty() {
            assert_eq!(instances(&asked, DrainDo::Drain), first, "the same ones were asked again, and no others");
        }
        world.witness.judge(&world.clouds["cloud"], "web", PROMISE);
    });
}

#[test]
fn what_has_drained_stays_while_a_person_holds_the_fleet() {
    let (world, asked) = world(1, |_, _| Ok(Some(Progress::Done)), 600.0);
    world.live(async |life| {
        while asked.lock().unwrap().is_empty() {
            tokio::time::sleep(secs(1)).await;
        }
        life.hold_fleet("web", secs(600)).await.unwrap();
        tokio::time::sleep(secs(300)).await;
        assert_eq!(there(&world), 10);
        tokio::time::sleep(secs(400)).await;
        assert_eq!(there(&world), 6);
    });
}

#[test]
fn brakes_over_all_fleets_hold_what_may_drain_and_over_a_crash() {
    let (mut world, asked) = world(1, |_, _| Ok(Some(Progress::Going)), 600.0);
    let scale_in = Some(Rate { amount: Amount::Instances(2), per: secs(3_600) });
    world.settings = Settings { brakes: BrakeSettings { scale_in, scale_out: None }, ..Settings::default() };
    world.live(async |life| until(&world, &life, 760).await);
    assert_eq!(instances(&asked, DrainDo::Drain).len(), 2, "the rest has to wait");
    world.time.pass(secs(5));
    world.live(async |life| until(&world, &life, 1_500).await);
    assert_eq!(instances(&asked, DrainDo::Drain).len(), 2, "what was spent is known after a crash, too");
    assert_eq!(there(&world), 8, "they left at their deadline, which was counted once");
}
