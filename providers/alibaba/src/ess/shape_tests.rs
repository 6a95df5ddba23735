//! Groups and instances as the API describes them, right and wrong.

use super::*;
use crate::api::{Override, Tag};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn group() -> Group {
    Group {
        scaling_group_id: Some("asg-1".into()),
        scaling_group_name: Some("web".into()),
        enable_desired_capacity: Some(true),
        desired_capacity: Some(3),
        min_size: Some(1),
        max_size: Some(9),
        active_scaling_configuration_id: Some("asc-2".into()),
        ..Group::default()
    }
}

fn instance(id: &str, lifecycle: &str) -> Listed {
    Listed {
        instance_id: Some(id.into()),
        lifecycle_state: Some(lifecycle.into()),
        created_time: Some("2023-11-14T22:00:00Z".into()),
        scaling_configuration_id: Some("asc-2".into()),
        zone_id: Some("cn-hangzhou-h".into()),
        ..Listed::default()
    }
}

#[test]
fn states_are_told_in_the_contracts_words() {
    let check = |lifecycle: &str, expected: Option<InstanceState>, protected: bool, moving: bool| {
        let listed = instance("i-1", lifecycle);
        assert_eq!((state(Some(lifecycle)), is_protected(&listed), moves(&listed)), (expected, protected, moving));
    };
    check("InService", Some(InstanceState::Running), false, false);
    check("Pending", Some(InstanceState::Pending), false, true);
    check("Pending:Wait", Some(InstanceState::Pending), false, true);
    check("Protected", Some(InstanceState::Running), true, false);
    check("Standby", Some(InstanceState::Pending), true, false);
    check("Stopped", None, false, false);
    check("Removing", Some(InstanceState::Terminating), false, true);
    check("Removing:Wait", Some(InstanceState::Terminating), false, true);
    check("Hatching", Some(InstanceState::Pending), true, true);
    check("", Some(InstanceState::Pending), true, true);
}

#[test]
fn numbers_that_no_group_can_have_are_no_answer() {
    let check = |change: &dyn Fn(&mut Group), code: &str| {
        let mut group = group();
        change(&mut group);
        assert_eq!(sizes(&group).unwrap_err().code(), code, "{group:?}");
    };
    check(&|group| group.desired_capacity = Some(-1), "transport");
    check(&|group| group.desired_capacity = Some(i64::MAX), "transport");
    check(&|group| group.desired_capacity = None, "transport");
    check(&|group| group.max_size = None, "transport");
    check(&|group| group.min_size = Some(-5), "transport");
    check(&|group| group.lifecycle_state = Some("Deleting".into()), "not_found");
    check(&|group| group.enable_desired_capacity = Some(false), "invalid");
    check(&|group| (group.enable_desired_capacity, group.desired_capacity) = (None, None), "invalid");
    check(&|group| group.launch_template_overrides = vec![Override { weighted_capacity: Some(4) }], "invalid");
    assert_eq!(sizes(&group()).unwrap(), Sizes { desired: 3, min: 1, max: 9 });
}

#[test]
fn what_is_off_is_shown() {
    let mut group = group();
    assert_eq!(suspended(&group), vec![]);
    group.suspended_processes = vec!["ScaleIn".into(), "ScaleOut".into(), "AlarmNotification".into()];
    let alarms = Suspended::Other("AlarmNotification".into());
    assert_eq!(suspended(&group), vec![Suspended::Launch, alarms, Suspended::Terminate]);
    group.suspended_processes.clear();
    group.lifecycle_state = Some("Inactive".into());
    assert!(suspended(&group).contains(&Suspended::Launch) && suspended(&group).contains(&Suspended::Terminate));
    group.lifecycle_state = Some("Active".into());
    group.system_suspended = Some(true);
    assert!(suspended(&group).contains(&Suspended::Launch));
}

#[test]
fn an_observation_has_each_instance_once_with_what_is_known_of_it() {
    let mut old = instance("i-2", "InService");
    old.scaling_configuration_id = Some("asc-1".into());
    let listed = [instance("i-1", "Pending"), old, instance("i-1", "Pending"), instance("i-3", "Stopped")];
    let mut facts = Facts::default();
    let seen = observation(&group(), &listed, &mut facts, NOW).unwrap();
    let ids: Vec<_> = seen.instances.iter().map(|i| (i.id.as_str(), i.outdated)).collect();
    assert_eq!(ids, [("i-1", false), ("i-2", true)]);
    assert_eq!(seen.instances[0].zone.as_deref(), Some("cn-hangzhou-h"));
    // Launched thirteen minutes ago and met running: since then. Seen booting: since it was seen running.
    assert_eq!(seen.instances[1].running_since, time::parse("2023-11-14T22:00:00Z"));
    let seen = observation(&group(), &[instance("i-1", "InService")], &mut facts, NOW).unwrap();
    assert_eq!(seen.instances[0].running_since, Some(NOW));
    assert_eq!(facts.known.len(), 1);
    let mut nameless = instance("", "InService");
    nameless.instance_id = None;
    assert_eq!(observation(&group(), &[nameless], &mut facts, NOW).unwrap_err().code(), "transport");
    let heavy = Listed { weighted_capacity: Some(2), ..instance("i-9", "InService") };
    assert_eq!(observation(&group(), &[heavy], &mut facts, NOW).unwrap_err().code(), "invalid");
}

#[test]
fn templates_are_compared_only_where_that_can_be_told() {
    let check = |wanted: (&str, &str), has: (&str, &str), expected: bool| {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let group =
            Group { launch_template_id: text(wanted.0), launch_template_version: text(wanted.1), ..Group::default() };
        let instance =
            Listed { launch_template_id: text(has.0), launch_template_version: text(has.1), ..Listed::default() };
        assert_eq!(is_outdated(&group, &instance), expected, "{wanted:?} {has:?}");
    };
    check(("lt-1", "3"), ("lt-1", "3"), false);
    check(("lt-1", "3"), ("lt-1", "2"), true);
    check(("lt-1", "Latest"), ("lt-1", "2"), false);
    check(("lt-1", "3"), ("lt-2", "3"), true);
    check(("", ""), ("", ""), false);
}

#[test]
fn only_a_tag_that_parses_is_a_claim() {
    let mut group = group();
    let tag = |value: &str| Tag { tag_key: Some(owner::KEY.into()), tag_value: Some(value.into()) };
    group.tags = vec![tag("nonsense")];
    assert_eq!(owner_tag(&group), None);
    group.tags = vec![tag("a/1/1700000000")];
    assert_eq!(owner_tag(&group).unwrap().id, "a".into());
}
