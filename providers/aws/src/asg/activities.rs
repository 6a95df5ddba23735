//! Launch failures, read from what DescribeScalingActivities says in English.
//!
//! AWS reports a failed launch nowhere else. A table turns the words into kind and scope; what no row knows is `Other`
//! with the words kept. Purely data: a failed launch is never an error of the observation.

use crate::errors::{cut, scope};
use aws_sdk_autoscaling::types::{Activity, ScalingActivityStatusCode};
use contract::{FailureKind, LaunchFailure, Scope, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

/// How many characters of the cloud's words are kept.
const MESSAGE_MAX: usize = 200;
/// Zones that found no machine within this time stand in each other's way: as long as the core counts such a failure.
const BACK_OFF: Duration = Duration::from_secs(300);

/// How far a failure of one row reaches.
#[derive(Clone, Copy)]
enum Reach {
    /// What the words name: a zone, a type, else the group.
    Named,
    Group,
    Region,
}

/// Words (in lower case) that occur in AWS' messages, the more telling first.
const TABLE: &[(&str, FailureKind, Reach)] = &[
    ("insufficientfreeaddressesinsubnet", FailureKind::OutOfCapacity, Reach::Group),
    ("not enough free addresses in subnet", FailureKind::OutOfCapacity, Reach::Group),
    ("insufficientinstancecapacity", FailureKind::OutOfCapacity, Reach::Named),
    ("do not have sufficient", FailureKind::OutOfCapacity, Reach::Named),
    ("no spot capacity", FailureKind::OutOfCapacity, Reach::Named),
    ("unfulfillablecapacity", FailureKind::OutOfCapacity, Reach::Named),
    ("unable to fulfill capacity", FailureKind::OutOfCapacity, Reach::Named),
    ("reservationcapacityexceeded", FailureKind::OutOfCapacity, Reach::Named),
    ("insufficienthostcapacity", FailureKind::OutOfCapacity, Reach::Named),
    ("insufficientcapacityonhost", FailureKind::OutOfCapacity, Reach::Named),
    ("spotmaxpricetoolow", FailureKind::OutOfCapacity, Reach::Named),
    ("lower than the minimum required spot", FailureKind::OutOfCapacity, Reach::Named),
    ("vcpulimitexceeded", FailureKind::QuotaExceeded, Reach::Region),
    ("current vcpu limit", FailureKind::QuotaExceeded, Reach::Region),
    ("instancelimitexceeded", FailureKind::QuotaExceeded, Reach::Region),
    ("current instance limit", FailureKind::QuotaExceeded, Reach::Region),
    ("instance(s) are already running", FailureKind::QuotaExceeded, Reach::Region),
    ("max spot instance count exceeded", FailureKind::QuotaExceeded, Reach::Region),
    ("maxspotinstancecountexceeded", FailureKind::QuotaExceeded, Reach::Region),
    ("reached your quota", FailureKind::QuotaExceeded, Reach::Region),
    ("volumelimitexceeded", FailureKind::QuotaExceeded, Reach::Region),
    ("maxiopslimitexceeded", FailureKind::QuotaExceeded, Reach::Region),
    ("volume limit exceeded", FailureKind::QuotaExceeded, Reach::Region),
    ("maximum network interfaces", FailureKind::QuotaExceeded, Reach::Region),
    ("not authorized", FailureKind::Denied, Reach::Group),
    ("unauthorizedoperation", FailureKind::Denied, Reach::Group),
    ("access denied", FailureKind::Denied, Reach::Group),
    ("accessdenied", FailureKind::Denied, Reach::Group),
    ("authfailure", FailureKind::Denied, Reach::Group),
    ("pendingverification", FailureKind::Denied, Reach::Region),
    ("account is currently blocked", FailureKind::Denied, Reach::Region),
    ("optinrequired", FailureKind::Denied, Reach::Group),
    ("accept terms and subscribe", FailureKind::Denied, Reach::Group),
    ("not supported in your requested availability zone", FailureKind::Invalid, Reach::Named),
    ("configuration is currently not supported", FailureKind::Invalid, Reach::Group),
    ("does not exist", FailureKind::Invalid, Reach::Group),
    ("invalidkmskey", FailureKind::Invalid, Reach::Group),
    ("invalidparameter", FailureKind::Invalid, Reach::Group),
    ("invalid instance type", FailureKind::Invalid, Reach::Group),
    ("must use a valid fully-formed launch template", FailureKind::Invalid, Reach::Group),
    ("invalid iam instance profile", FailureKind::Invalid, Reach::Group),
    ("invalid device name", FailureKind::Invalid, Reach::Group),
];

/// The launches among the activities that failed since a time, newest first.
pub(crate) fn failures(activities: &[Activity], since: Timestamp) -> Vec<LaunchFailure> {
    let mut failures: Vec<LaunchFailure> =
        activities.iter().filter_map(failure).filter(|failure| failure.at >= since).collect();
    failures.sort_by_key(|failure| std::cmp::Reverse(failure.at));
    failures
}

/// Failures for want of machines in every zone that a group may use are the group's: no zone is left to launch in. Only
/// the group itself says which zones those are, since instances tell nothing of the empty ones.
pub(crate) fn widen(failures: &mut [LaunchFailure], zones: &[Box<str>], at: Timestamp) {
    let place = |failure: &LaunchFailure| match &failure.scope {
        Scope::Zone(zone) if failure.kind == FailureKind::OutOfCapacity && at.since(failure.at) < BACK_OFF => {
            Some(zone.clone())
        }
        _ => None,
    };
    let dry: BTreeSet<Box<str>> = failures.iter().filter_map(place).collect();
    if zones.is_empty() || !zones.iter().all(|zone| dry.contains(zone)) {
        return;
    }
    for failure in failures.iter_mut().filter(|failure| place(failure).is_some()) {
        failure.scope = Scope::Group;
    }
}

fn failure(activity: &Activity) -> Option<LaunchFailure> {
    if !matches!(activity.status_code()?, ScalingActivityStatusCode::Failed | ScalingActivityStatusCode::Cancelled) {
        return None;
    }
    // `Launching a new EC2 instance`; a termination that failed is another story.
    if !activity.description()?.starts_with("Launching") {
        return None;
    }
    let time = activity.end_time().or(activity.start_time())?;
    let at = Timestamp::from_secs_f64(time.as_secs_f64())?;
    let words = activity.status_message().or(activity.description()).unwrap_or_default();
    let (kind, scope) = read(words, activity.details().unwrap_or_default());
    Some(LaunchFailure { kind, scope, at, message: cut(words, MESSAGE_MAX) })
}

/// Kind and scope from AWS' words; `details` is the activity's JSON, which names the zone that was tried.
fn read(words: &str, details: &str) -> (FailureKind, Scope) {
    let lower = words.to_ascii_lowercase();
    let Some((_, kind, reach)) = TABLE.iter().find(|(needle, ..)| lower.contains(needle)) else {
        return (FailureKind::Other, Scope::Group);
    };
    let scope = match reach {
        Reach::Group => Scope::Group,
        Reach::Region => Scope::Region,
        Reach::Named => match (scope(words), zone_in(details)) {
            (Scope::Zone(zone), _) => Scope::Zone(zone),
            (_, Some(zone)) => Scope::Zone(zone.into()),
            (other, None) => other,
        },
    };
    (*kind, scope)
}

/// The zone in `{"Subnet ID":"subnet-1","Availability Zone":"us-east-1a"}`.
fn zone_in(details: &str) -> Option<&str> {
    let after = details.split_once("\"Availability Zone\"")?.1.trim_start().strip_prefix(':')?.trim_start();
    after.strip_prefix('"')?.split('"').next().filter(|zone| !zone.is_empty())
}

#[cfg(test)]
#[path = "activities_tests.rs"]
mod tests;
