//! What moto cannot show: machines that boot slowly, launches that fail, processes that are suspended. The cloud is the
//! simulated AWS, which boto3 and botocore's model of the service judge elsewhere.

use super::scene::{Scene, Start};
use serde_json::json;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);
/// What AWS says when the account may have no more.
const QUOTA: &str = "You have requested more vCPU capacity than your current vCPU limit of 32 allows for the instance bucket that \
                     the specified instance type belongs to.";

fn states(scene: &Scene, state: &str) -> Vec<String> {
    let group = scene.cloud.group(scene.name);
    group.instances.into_iter().filter(|one| one.state == state).map(|one| one.id).collect()
}

#[test]
fn machines_boot_slowly() {
    let mut scene = Scene::start("slow-boot", Start { simulated: true, ..Start::default() });
    scene.cloud.boot_slowly(scene.name, 25);
    scene.until_settled();
    scene.load(950.0);
    scene.until_desired(10, SOON);
    // Nothing is asked for again while they boot, and they do not serve.
    scene.pass(8.0);
    assert_eq!((scene.desired(), scene.count("SetDesiredCapacity")), (10, 1));
    let booting = states(&scene, "Pending");
    assert_eq!(booting.len(), 4);
    let fleet = scene.daemon.fleet(scene.name);
    assert_eq!((&fleet["serving"], &fleet["groups"][0]["instances"]["pending"]), (&json!(6), &json!(4)), "{fleet:#}");
    // Load falls again before they are there: those that boot go first.
    scene.load(750.0);
    scene.until_desired(8, Duration::from_secs(20));
    let audit = scene.audit();
    assert!(audit.drops().iter().flat_map(|drop| &drop.named).all(|id| booting.contains(id)), "{:#?}", audit.changes);
    scene.ends_well();
}

#[test]
fn launches_fail() {
    let mut scene = Scene::start("launches-fail", Start { simulated: true, ..Start::default() });
    scene.until_settled();
    scene.cloud.fail_launches(scene.name, QUOTA);
    scene.load(850.0);
    scene.until_desired(9, SOON);
    // The cloud's own account of it comes a moment later.
    let asked = |scene: &mut Scene| scene.proxy.calls().iter().any(|call| call.action == "DescribeScalingActivities");
    scene.until("the activities are read", SOON, asked);
    scene.pass(1.0);
    scene.load(1150.0);
    // More of what there is not is not asked for, and it is said why.
    scene.until_hold("out_of_capacity", Duration::from_secs(30));
    scene.assert_explained("out_of_capacity");
    let asked = scene.count("SetDesiredCapacity");
    scene.pass(5.0);
    assert_eq!(scene.count("SetDesiredCapacity"), asked);
    assert_eq!(scene.cloud.group(scene.name).instances.len(), 6);
    // What was never filled is withdrawn when it is not needed; no instance goes.
    scene.load(550.0);
    scene.until_desired(6, Duration::from_secs(60));
    assert_eq!(scene.count("TerminateInstanceInAutoScalingGroup"), 0);
    assert_eq!(scene.cloud.group(scene.name).ids(), scene.first);
    scene.cloud.launch_again(scene.name);
    scene.load(750.0);
    scene.until_desired(8, Duration::from_secs(30));
    scene.until("they are launched", SOON, |scene| scene.cloud.group(scene.name).instances.len() == 8);
    scene.assert_control();
}

#[test]
fn one_of_several_zones_has_no_room() {
    let mut scene = Scene::start("zone-out", Start { simulated: true, ..Start::default() });
    scene.until_settled();
    scene.cloud.empty_zones(&["a"]);
    scene.load(850.0);
    scene.until_desired(9, SOON);
    // The cloud launches in the other zones, so nothing is short and nothing is held.
    scene.until("they are launched", SOON, |scene| scene.cloud.group(scene.name).instances.len() == 9);
    scene.until_hold("on_target", Duration::from_secs(20));
    assert_eq!(scene.count("SetDesiredCapacity"), 1);
    // Less is needed, but what is given up now might not be had again.
    scene.load(250.0);
    scene.until_hold("out_of_capacity", Duration::from_secs(20));
    scene.assert_explained("out_of_capacity");
    scene.pass(3.0);
    assert_eq!((scene.desired(), scene.count("TerminateInstanceInAutoScalingGroup")), (9, 0));
    scene.finish();
}

#[test]
fn no_zone_has_room() {
    let mut scene = Scene::start("zones-out", Start { simulated: true, ..Start::default() });
    scene.until_settled();
    scene.cloud.empty_zones(&["a", "b", "c"]);
    scene.load(850.0);
    scene.until_desired(9, SOON);
    let asked = |scene: &mut Scene| scene.proxy.calls().iter().any(|call| call.action == "DescribeScalingActivities");
    scene.until("the activities are read", SOON, asked);
    scene.pass(1.0);
    // Each zone fails for itself, and together they are the whole group.
    scene.load(1150.0);
    scene.until_hold("out_of_capacity", Duration::from_secs(30));
    scene.assert_explained("out_of_capacity");
    assert_eq!(scene.count("SetDesiredCapacity"), 1);
    scene.assert_control();
}

#[test]
fn terminating_is_suspended() {
    let mut scene = Scene::start("suspended", Start { simulated: true, ..Start::default() });
    scene.until_settled();
    scene.cloud.suspend(scene.name, "Terminate", true);
    scene.load(250.0);
    scene.until_hold("protected", Duration::from_secs(20));
    scene.assert_explained("protected");
    scene.pass(3.0);
    assert_eq!(scene.writes().len(), 0);
    scene.cloud.suspend(scene.name, "Terminate", false);
    scene.ends_well();
}

#[test]
fn several_instances_go_in_one_call() {
    let policy = |policy: &mut super::policy::Policy| policy.rate = "[{ instances = 3, per = \"4s\" }]";
    let mut scene =
        Scene::start("batches", Start { simulated: true, instances: 9, load: 850.0, policy, ..Start::default() });
    scene.until_settled();
    scene.load(250.0);
    scene.until_desired(3, Duration::from_secs(40));
    assert_eq!(scene.count("TerminateInstanceInAutoScalingGroup"), 2);
    scene.audit().assert_pace(3, 4.0);
    scene.finish();
}
