use super::*;
use aws_sdk_autoscaling::types::{SuspendedProcess, TagDescription};

fn template(id: &str, version: &str) -> LaunchTemplateSpecification {
    LaunchTemplateSpecification::builder().launch_template_id(id).version(version).build()
}

fn group() -> aws_sdk_autoscaling::types::builders::AutoScalingGroupBuilder {
    AutoScalingGroup::builder().auto_scaling_group_name("web").min_size(1).max_size(9).desired_capacity(3)
}

fn instance(id: &str, state: &str) -> aws_sdk_autoscaling::types::builders::InstanceBuilder {
    AsgInstance::builder().instance_id(id).lifecycle_state(LifecycleState::from(state)).availability_zone("us-east-1a")
}

#[test]
fn every_lifecycle_state_has_its_place() {
    use InstanceState::{Pending, Running, Terminating};
    for (text, expected) in [
        ("Pending", Some(Pending)),
        ("Pending:Wait", Some(Pending)),
        ("Pending:Proceed", Some(Pending)),
        ("InService", Some(Running)),
        ("Terminating", Some(Terminating)),
        ("Terminating:Wait", Some(Terminating)),
        ("Terminating:Retained", Some(Terminating)),
        ("Terminated", Some(Terminating)),
        ("Detaching", Some(Terminating)),
        ("Detached", Some(Terminating)),
        ("EnteringStandby", Some(Terminating)),
        ("Standby", None),
        ("Warmed:Stopped", None),
        ("Warmed:Pending:Wait", None),
        ("Quarantined", Some(Pending)),
        ("ReplacingRootVolume:Wait", Some(Pending)),
        ("Levitating", Some(Pending)),
        ("", Some(Pending)),
    ] {
        assert_eq!(state(Some(&LifecycleState::from(text))), expected, "{text}");
    }
    assert_eq!(state(None), Some(Pending));
}

#[test]
fn every_state_that_the_sdk_knows_is_decided_on_purpose() {
    for text in LifecycleState::values() {
        let known = is_known(Some(&LifecycleState::from(*text)));
        let left_out = state(Some(&LifecycleState::from(*text))).is_none();
        let guessed = [
            "Quarantined",
            "ReplacingRootVolume",
            "ReplacingRootVolume:Proceed",
            "ReplacingRootVolume:Wait",
            "RootVolumeReplaced",
        ];
        assert!(known || left_out || guessed.contains(text), "{text} is new: decide what it means");
    }
}

#[test]
fn an_unhealthy_instance_still_runs_and_the_group_replaces_it() {
    let group = group().instances(instance("i-1", "InService").health_status("Unhealthy").build()).build();
    let seen = observation(&group, &mut Facts::default(), Timestamp::from_secs(5)).unwrap();
    assert_eq!(seen.instances[0].state, InstanceState::Running);
}

#[test]
fn an_observation_says_what_the_group_says() {
    let suspended = |name: &str| SuspendedProcess::builder().process_name(name).build();
    let group = group()
        .instances(instance("i-2", "InService").protected_from_scale_in(true).build())
        .instances(instance("i-1", "Pending").build())
        .instances(instance("i-2", "InService").build())
        .instances(instance("i-3", "Warmed:Stopped").build())
        .suspended_processes(suspended("AZRebalance"))
        .suspended_processes(suspended("Terminate"))
        .suspended_processes(suspended("Launch"))
        .tags(TagDescription::builder().key("skala:owner").value("me/3/1700003600").build())
        .build();
    let seen = observation(&group, &mut Facts::default(), Timestamp::from_secs(5)).unwrap();
    assert_eq!((seen.desired, seen.cloud_min, seen.cloud_max), (Some(3), Some(1), Some(9)));
    let ids: Vec<(&str, bool)> = seen.instances.iter().map(|i| (i.id.as_str(), i.protected)).collect();
    assert_eq!(ids, [("i-1", false), ("i-2", true)]);
    assert_eq!(seen.suspended, [Suspended::Launch, Suspended::Other("AZRebalance".into()), Suspended::Terminate]);
    assert_eq!(seen.owner.map(|tag| tag.id), Some("me".into()));
    assert_eq!(present(&group), 2);
}

#[test]
fn an_outdated_instance_is_one_whose_template_is_known_to_differ() {
    for (what, wanted, has, expected) in [
        ("the same", template("lt-1", "3"), template("lt-1", "3"), false),
        ("an older version", template("lt-1", "3"), template("lt-1", "2"), true),
        ("another template", template("lt-1", "3"), template("lt-2", "3"), true),
        ("latest, whatever that is", template("lt-1", "$Latest"), template("lt-1", "2"), false),
        ("latest of another", template("lt-1", "$Latest"), template("lt-2", "2"), true),
    ] {
        let group = group().launch_template(wanted).build();
        let instance = instance("i-1", "InService").launch_template(has).build();
        assert_eq!(is_outdated(&group, &instance), expected, "{what}");
    }
    let by_config = group().launch_configuration_name("lc-2").build();
    assert!(is_outdated(&by_config, &instance("i-1", "InService").launch_configuration_name("lc-1").build()));
    assert!(!is_outdated(&by_config, &instance("i-1", "InService").launch_configuration_name("lc-2").build()));
    assert!(!is_outdated(
        &group().launch_template(template("lt-1", "1")).build(),
        &instance("i-1", "InService").build()
    ));
}

#[test]
fn a_capacity_in_other_units_than_instances_is_refused() {
    let vcpus = group().desired_capacity_type("vcpu").build();
    assert_eq!(sizes(&vcpus).unwrap_err().code(), "invalid");
    assert!(sizes(&group().desired_capacity_type("units").build()).is_ok());
}
