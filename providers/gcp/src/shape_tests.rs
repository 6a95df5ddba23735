use super::*;
use google_cloud_compute_v1::model::{
    InstanceGroupManagerActionsSummary, InstanceGroupManagerStatus, InstanceGroupManagerVersion, ManagedInstanceVersion,
};
use serde_json::json;

fn name(place: &str) -> GroupName {
    GroupName::parse(&format!("{place}/web").as_str().into()).unwrap()
}

fn zonal() -> GroupName {
    name("zones/europe-west1-b")
}

fn a_head(template: &str) -> Head {
    let version = InstanceGroupManagerVersion::new().set_instance_template(template);
    let group = InstanceGroupManager::new().set_target_size(3).set_versions([version]);
    head(&zonal(), &group).unwrap()
}

fn link(name: &str) -> String {
    format!("https://www.googleapis.com/compute/v1/projects/p/zones/europe-west1-c/instances/{name}")
}

#[test]
fn a_number_that_makes_no_sense_is_no_capacity() {
    for size in [None, Some(-1), Some(2_000_000)] {
        let group = InstanceGroupManager::new().set_or_clear_target_size(size);
        assert_eq!(head(&zonal(), &group).unwrap_err().code(), "transport", "{size:?}");
    }
    let actions = InstanceGroupManagerActionsSummary::new().set_none(-2);
    let group = InstanceGroupManager::new().set_target_size(3).set_current_actions(actions);
    assert_eq!(head(&zonal(), &group).unwrap_err().code(), "transport");
}

#[test]
fn a_head_says_what_is_going_on() {
    let actions = InstanceGroupManagerActionsSummary::new().set_none(3).set_creating(1).set_verifying(1);
    let status = InstanceGroupManagerStatus::new()
        .set_is_stable(false)
        .set_autoscaler("https://x/compute/v1/projects/p/regions/europe-west1/autoscalers/cpu");
    let group = InstanceGroupManager::new().set_target_size(5).set_current_actions(actions).set_status(status);
    let head = head(&zonal(), &group).unwrap();
    assert_eq!((head.idle, head.all, head.creating, head.stable), (Some(3), 5, 1, false));
    assert_eq!(head.autoscaler, Some((Place::Region("europe-west1".into()), "cpu".into())));
    assert!(head.suspended().is_empty());
}

#[test]
fn a_machines_words_become_four_states() {
    use InstanceState::{Failed, Pending, Running, Terminating};
    let check = |action: &str, status: &str, expected: InstanceState| {
        let action = Action::from(action);
        let status = Some(Status::from(status)).filter(|_| !status.is_empty());
        assert_eq!(state(Some(&action), status.as_ref()), expected, "{action:?} {status:?}");
    };
    check("NONE", "RUNNING", Running);
    check("VERIFYING", "RUNNING", Running);
    check("REFRESHING", "RUNNING", Running);
    check("CREATING", "", Pending);
    check("CREATING", "PROVISIONING", Pending);
    check("CREATING", "STAGING", Pending);
    check("RECREATING", "RUNNING", Pending);
    check("RESTARTING", "STOPPING", Pending);
    check("RESUMING", "SUSPENDED", Pending);
    check("NONE", "REPAIRING", Pending);
    check("NONE", "TERMINATED", Failed);
    check("NONE", "STOPPING", Failed);
    check("DELETING", "RUNNING", Terminating);
    check("ABANDONING", "RUNNING", Terminating);
    check("STOPPING", "RUNNING", Terminating);
    check("SHIMMERING", "RUNNING", Running);
    check("SHIMMERING", "SHIMMERING", Pending);
    check("NONE", "SHIMMERING", Pending);
    assert_eq!(state(None, None), Pending);
}

#[test]
fn only_a_place_without_a_machine_is_unfilled() {
    let creating = ManagedInstance::new().set_name("web-1").set_instance(link("web-1")).set_current_action("CREATING");
    let seen = member(&zonal(), &a_head("t"), &creating).unwrap().unwrap();
    assert!(seen.unfilled && !seen.settled, "{seen:?}");
    assert_eq!(seen.id.as_str(), "europe-west1-c/web-1");
    let booting = creating.clone().set_instance_status("PROVISIONING");
    assert!(!member(&zonal(), &a_head("t"), &booting).unwrap().unwrap().unfilled);
    let again = creating.set_current_action("RECREATING");
    assert!(!member(&zonal(), &a_head("t"), &again).unwrap().unwrap().unfilled);
}

#[test]
fn what_was_stopped_on_purpose_is_not_in_the_groups_number() {
    let stopped = ManagedInstance::new().set_name("web-1").set_instance(link("web-1")).set_target_status("STOPPED");
    assert_eq!(member(&zonal(), &a_head("t"), &stopped).unwrap(), None);
    // A regional group that has not decided where: its place counts, and there is nothing to show.
    let undecided = ManagedInstance::new().set_name("web-1").set_current_action("CREATING");
    assert_eq!(member(&name("regions/europe-west1"), &a_head("t"), &undecided).unwrap(), None);
    let nameless = ManagedInstance::new().set_current_action("NONE");
    assert!(member(&zonal(), &a_head("t"), &nameless).is_err());
}

#[test]
fn an_instance_of_another_template_is_outdated() {
    let check = |present: &str, has: Option<&str>, expected: bool| {
        let version = has.map(|has| ManagedInstanceVersion::new().set_instance_template(has));
        let shown = ManagedInstance::new().set_name("web-1").set_or_clear_version(version).set_current_action("NONE");
        let seen = member(&zonal(), &a_head(present), &shown).unwrap().unwrap();
        assert_eq!(seen.outdated, expected, "{present} {has:?}");
    };
    let link = "https://www.googleapis.com/compute/v1/projects/123/global/instanceTemplates/web-v2";
    check(link, Some("projects/p/global/instanceTemplates/web-v2"), false);
    check(link, Some("projects/p/global/instanceTemplates/web-v1"), true);
    check(link, None, false);
}

#[test]
fn a_list_that_is_short_against_all_sense_is_no_answer() {
    let shown = |action: &str, count: usize| {
        let one = |i| ManagedInstance::new().set_name(format!("{action}-{i}")).set_current_action(action);
        (0..count).map(one).collect::<Vec<_>>()
    };
    let check = |(none, creating, leaving): (u32, u32, u32), listed: Vec<ManagedInstance>, expected: bool| {
        let head = Head { all: none + creating + leaving, creating, leaving, ..a_head("t") };
        let read = members(&zonal(), &head, &listed);
        assert_eq!(read.is_ok(), expected, "{none} {creating} {leaving}: {read:?}");
        assert!(expected || read.unwrap_err().code() == "transport");
    };
    check((0, 0, 0), Vec::new(), true);
    check((2, 0, 0), Vec::new(), false);
    check((0, 2, 0), Vec::new(), false);
    check((2, 0, 0), shown("NONE", 1), false);
    check((2, 0, 0), shown("NONE", 3), true);
    let twice = [shown("NONE", 1), shown("NONE", 1)].concat();
    check((2, 0, 0), twice.clone(), false);
    check((1, 0, 0), twice, true);
    // What was leaving has gone between the two answers.
    check((2, 0, 3), shown("NONE", 2), true);
    check((0, 0, 3), Vec::new(), true);
    // While it grows: the new ones are not listed yet, are listed as what they were a moment ago, or are there already.
    check((2, 3, 0), shown("NONE", 2), true);
    check((4, 1, 0), [shown("NONE", 2), shown("CREATING", 3)].concat(), true);
    check((2, 3, 0), shown("NONE", 5), true);
    // What is to be created does not stand in for what is there.
    check((4, 2, 0), [shown("NONE", 2), shown("CREATING", 2)].concat(), false);
    let nameless = vec![ManagedInstance::new().set_current_action("CREATING"); 3];
    let region = name("regions/europe-west1");
    let head = Head { all: 3, creating: 3, ..a_head("t") };
    assert_eq!(members(&region, &head, &nameless).unwrap().members, []);
    assert_eq!(counts(&nameless), (3, 0));
}

#[test]
fn what_fails_before_it_has_a_zone_is_said_all_the_same() {
    let undecided = |code: &str| {
        let errors = json!({ "errors": { "errors": [{ "code": code, "message": "no luck" }] } });
        let one = json!({ "name": "web-1", "currentAction": "CREATING", "lastAttempt": errors });
        serde_json::from_value::<ManagedInstance>(one).unwrap()
    };
    let head = Head { all: 2, creating: 2, ..a_head("t") };
    for (code, scope) in [("ZONE_RESOURCE_POOL_EXHAUSTED", Scope::Group), ("QUOTA_EXCEEDED", Scope::Region)] {
        let listed = members(&name("regions/europe-west1"), &head, &[undecided(code)]).unwrap();
        assert_eq!(listed.members, []);
        let failed = Failed { code: code.into(), scope, message: format!("{code}: no luck").into() };
        assert_eq!(listed.undecided, [failed]);
    }
}
