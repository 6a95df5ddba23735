use super::*;
use aws_smithy_types::DateTime;

fn activity(status: ScalingActivityStatusCode, description: &str, words: &str, at: i64) -> Activity {
    Activity::builder()
        .activity_id("a")
        .auto_scaling_group_name("web")
        .cause("")
        .description(description)
        .status_code(status)
        .status_message(words)
        .start_time(DateTime::from_secs(at - 30))
        .end_time(DateTime::from_secs(at))
        .details(r#"{"Subnet ID":"subnet-1","Availability Zone":"us-east-1c"}"#)
        .build()
}

#[test]
fn aws_words_become_kind_and_scope() {
    let zone = |zone: &str| Scope::Zone(zone.into());
    for (words, kind, scope) in [
        (
            "We currently do not have sufficient m5.large capacity in the Availability Zone you requested (us-east-1a). Our \
             system will be working on provisioning additional capacity. Launching EC2 instance failed.",
            FailureKind::OutOfCapacity,
            zone("us-east-1a"),
        ),
        (
            "Could not launch On-Demand Instances. InsufficientInstanceCapacity - There is no capacity. Launching EC2 \
             instance failed.",
            FailureKind::OutOfCapacity,
            zone("us-east-1c"),
        ),
        (
            "Could not launch Spot Instances. UnfulfillableCapacity - Unable to fulfill capacity due to your request \
             configuration. Please adjust your request and try again. Launching EC2 instance failed.",
            FailureKind::OutOfCapacity,
            zone("us-east-1c"),
        ),
        (
            "There are not enough free addresses in subnet 'subnet-0d5' to satisfy the requested number of instances.",
            FailureKind::OutOfCapacity,
            Scope::Group,
        ),
        (
            "You have requested more vCPU capacity than your current vCPU limit of 32 allows for the instance bucket that \
             the specified instance type belongs to. Launching EC2 instance failed.",
            FailureKind::QuotaExceeded,
            Scope::Region,
        ),
        (
            "20 instance(s) are already running. Launching EC2 instance failed.",
            FailureKind::QuotaExceeded,
            Scope::Region,
        ),
        (
            "Max spot instance count exceeded. Placing Spot instance request failed.",
            FailureKind::QuotaExceeded,
            Scope::Region,
        ),
        (
            "You are not authorized to perform this operation. Encoded authorization failure message: abc. Launching EC2 \
             instance failed.",
            FailureKind::Denied,
            Scope::Group,
        ),
        ("The image id '[ami-12]' does not exist. Launching EC2 instance failed.", FailureKind::Invalid, Scope::Group),
        (
            "Your requested instance type (m1.small) is not supported in your requested Availability Zone (us-east-1f). \
             Launching EC2 instance failed.",
            FailureKind::Invalid,
            zone("us-east-1f"),
        ),
        (
            "Instance became unhealthy while waiting for instance to be in InService state. Termination Reason: \
             Client.UserInitiatedShutdown: User initiated shutdown",
            FailureKind::Other,
            Scope::Group,
        ),
        ("", FailureKind::Other, Scope::Group),
    ] {
        let failed = activity(ScalingActivityStatusCode::Failed, "Launching a new EC2 instance.", words, 1_000);
        let failures = failures(&[failed], Timestamp::from_secs(0));
        assert_eq!(
            (failures[0].kind, &failures[0].scope, failures[0].at),
            (kind, &scope, Timestamp::from_secs(1_000)),
            "{words}"
        );
        assert!(failures[0].message.chars().count() <= MESSAGE_MAX);
    }
}

#[test]
fn only_launches_that_failed_lately_count_and_the_newest_is_first() {
    use ScalingActivityStatusCode as Status;
    let launch = "Launching a new EC2 instance: i-1";
    let activities = [
        activity(Status::Failed, launch, "x", 500),
        activity(Status::Failed, launch, "x", 700),
        activity(Status::Cancelled, launch, "x", 600),
        activity(Status::Failed, launch, "x", 99),
        activity(Status::Successful, launch, "x", 700),
        activity(Status::InProgress, launch, "x", 700),
        activity(Status::Failed, "Terminating EC2 instance: i-1", "x", 700),
        activity(Status::from("Levitating"), launch, "x", 700),
    ];
    let at: Vec<Timestamp> =
        failures(&activities, Timestamp::from_secs(100)).iter().map(|failure| failure.at).collect();
    assert_eq!(at, [700, 600, 500].map(Timestamp::from_secs));
}

#[test]
fn details_that_are_no_json_name_no_zone() {
    for details in ["", "{}", "\"Availability Zone\"", "\"Availability Zone\":", "\"Availability Zone\":\"\""] {
        assert_eq!(zone_in(details), None, "{details}");
    }
    assert_eq!(zone_in(r#"{"Availability Zone" : "eu-west-1b"}"#), Some("eu-west-1b"));
}

#[test]
fn failures_in_every_zone_of_a_group_are_the_groups() {
    let now = Timestamp::from_secs(1_000);
    let failed = |zone: &str, kind: FailureKind, at: i64| LaunchFailure {
        kind,
        scope: Scope::Zone(zone.into()),
        at: Timestamp::from_secs(at),
        message: "".into(),
    };
    let dry = |zone: &str| failed(zone, FailureKind::OutOfCapacity, 990);
    let old = |zone: &str| failed(zone, FailureKind::OutOfCapacity, 700);
    let invalid = |zone: &str| failed(zone, FailureKind::Invalid, 990);
    let check = |zones: &[&str], failures: &[LaunchFailure], expected: &[bool]| {
        let zones: Vec<Box<str>> = zones.iter().map(|zone| (*zone).into()).collect();
        let mut widened = failures.to_vec();
        widen(&mut widened, &zones, now);
        let of_group: Vec<bool> = widened.iter().map(|failure| failure.scope == Scope::Group).collect();
        assert_eq!(of_group, expected, "{zones:?} {failures:?}");
    };
    check(&["a"], &[dry("a")], &[true]);
    check(&["a", "b", "c"], &[dry("a"), dry("c"), dry("b"), dry("a")], &[true; 4]);
    check(&["a", "b"], &[dry("a"), dry("b"), old("a"), invalid("a")], &[true, true, false, false]);
    check(&["a", "b", "c"], &[dry("a"), dry("b")], &[false; 2]);
    check(&["a", "b"], &[dry("a"), old("b")], &[false; 2]);
    check(&["a", "b"], &[dry("a"), invalid("b")], &[false; 2]);
    // Zones that nobody told are unknown, not none.
    check(&[], &[dry("a")], &[false]);
}
