//! Launches that EC2 took and that ended before they ran: it says why on the instance, which it shows for an hour after.

use super::tagged::{LAUNCH, tag_of};
use crate::errors::cut;
use aws_sdk_ec2::types::{Instance, InstanceStateName};
use contract::{FailureKind, LaunchFailure, Scope, Timestamp};

/// The codes of a state's reason that EC2 documents for the time of the launch. All others are of instances that ran.
const REASONS: &[(&str, FailureKind)] = &[
    ("Server.InsufficientInstanceCapacity", FailureKind::OutOfCapacity),
    ("Client.VolumeLimitExceeded", FailureKind::QuotaExceeded),
    ("Client.InvalidSnapshot.NotFound", FailureKind::Invalid),
    // Mostly a key with which the volume cannot be opened.
    ("Client.InternalError", FailureKind::Other),
    ("Server.InternalError", FailureKind::Other),
];

/// The failure that an instance of ours ended with, if it never ran; as of its launch, since EC2 tells no other time.
pub(crate) fn failed_launch(instance: &Instance) -> Option<LaunchFailure> {
    let state = instance.state().and_then(|state| state.name());
    if state != Some(&InstanceStateName::Terminated) || tag_of(instance, LAUNCH).is_none() {
        return None;
    }
    let reason = instance.state_reason()?;
    let (code, kind) = REASONS.iter().find(|(code, _)| reason.code() == Some(code))?;
    let at = Timestamp::from_secs_f64(instance.launch_time()?.as_secs_f64())?;
    let zone = instance.placement().and_then(|placement| placement.availability_zone());
    let scope = match (kind, zone) {
        (FailureKind::OutOfCapacity, Some(zone)) => Scope::Zone(zone.into()),
        (FailureKind::QuotaExceeded, _) => Scope::Region,
        _ => Scope::Group,
    };
    let words = reason.message().unwrap_or_default();
    Some(LaunchFailure { kind: *kind, scope, at, message: cut(&format!("{code}: {words}"), 200) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ec2::types::{InstanceState, Placement, StateReason, Tag};

    #[test]
    fn only_what_never_ran_is_a_failed_launch() {
        let check = |state: InstanceStateName, code: &str, launch: bool, expected: Option<(FailureKind, Scope)>| {
            let instance = Instance::builder()
                .state(InstanceState::builder().name(state).build())
                .state_reason(StateReason::builder().code(code).message("why").build())
                .placement(Placement::builder().availability_zone("us-east-1b").build())
                .launch_time(aws_smithy_types::DateTime::from_secs(7))
                .set_tags(launch.then(|| vec![Tag::builder().key(LAUNCH).value("9/0").build()]))
                .build();
            let found = failed_launch(&instance).map(|failure| (failure.kind, failure.scope));
            assert_eq!(found, expected, "{code}");
        };
        let zone = Scope::Zone("us-east-1b".into());
        use InstanceStateName::{ShuttingDown, Terminated};
        let capacity = "Server.InsufficientInstanceCapacity";
        check(Terminated, capacity, true, Some((FailureKind::OutOfCapacity, zone)));
        check(Terminated, "Client.VolumeLimitExceeded", true, Some((FailureKind::QuotaExceeded, Scope::Region)));
        check(Terminated, "Client.InternalError", true, Some((FailureKind::Other, Scope::Group)));
        check(Terminated, "Client.UserInitiatedShutdown", true, None);
        check(Terminated, "Server.SpotInstanceTermination", true, None);
        check(Terminated, capacity, false, None);
        check(ShuttingDown, capacity, true, None);
    }
}
