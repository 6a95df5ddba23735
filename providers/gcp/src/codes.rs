//! Google's words for what went wrong, by what they mean. Tables and nothing else.

use contract::{FailureKind, Scope};

/// What the reason beside a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Throttled,
    Denied,
    Expired,
    Conflict,
    Quota,
    OutOfCapacity,
}

/// Reasons as the API spells them (`rateLimitExceeded`) and as the newer error details do (`RATE_LIMIT_EXCEEDED`), both
/// in lower case and without underscores.
const REASONS: &[(Meaning, &[&str])] = &[
    (Meaning::Throttled, &["ratelimitexceeded", "userratelimitexceeded", "concurrentlimitexceeded"]),
    (Meaning::Throttled, &["dailylimitexceeded", "operationratelimitexceeded", "quotaratelimitexceeded"]),
    (Meaning::Quota, &["quotaexceeded", "limitexceeded", "resourcequotaexceeded"]),
    (Meaning::Expired, &["accesstokenexpired", "sessionexpired"]),
    (
        Meaning::Denied,
        &["autherror", "forbidden", "required", "accessnotconfigured", "credentialsmissing", "servicedisabled"],
    ),
    (Meaning::Denied, &["insufficientpermissions", "iampermissiondenied", "accesstokenscopeinsufficient"]),
    (Meaning::Denied, &["billingdisabled", "consumersuspended", "accountdisabled", "userprojectdenied"]),
    (Meaning::Conflict, &["conditionnotmet", "resourcenotready", "resourceinusebyanotherresource", "alreadyexists"]),
    (Meaning::OutOfCapacity, &["zoneresourcepoolexhausted", "resourcepoolexhausted", "stockout"]),
    (Meaning::OutOfCapacity, &["zoneresourcepoolexhaustedwithdetails", "resourcepoolexhaustedwithdetails"]),
];

/// What a reason means; `None` is judged by its status.
pub(crate) fn meaning(reason: &str) -> Option<Meaning> {
    let plain: String = reason.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect();
    REASONS.iter().find(|(_, reasons)| reasons.contains(&plain.as_str())).map(|(meaning, _)| *meaning)
}

/// How far a failed launch reaches.
#[derive(Clone, Copy)]
enum Reach {
    Zone,
    Group,
    Region,
}

/// Parts of the codes that a failed launch or operation carries, the more telling first. What no row knows is `Other`.
const LAUNCHES: &[(&str, FailureKind, Reach)] = &[
    ("RESOURCE_POOL_EXHAUSTED", FailureKind::OutOfCapacity, Reach::Zone),
    ("INSUFFICIENT_CAPACITY", FailureKind::OutOfCapacity, Reach::Zone),
    ("STOCKOUT", FailureKind::OutOfCapacity, Reach::Zone),
    // Before QUOTA: a region's quota is the project's limit, a rate is none.
    ("RATE_LIMIT", FailureKind::Other, Reach::Group),
    ("QUOTA", FailureKind::QuotaExceeded, Reach::Region),
    ("LIMIT_EXCEEDED", FailureKind::QuotaExceeded, Reach::Region),
    // No address left in this group's network: another group may have one.
    ("IP_SPACE_EXHAUSTED", FailureKind::OutOfCapacity, Reach::Group),
    ("RESERVATION_CAPACITY_EXCEEDED", FailureKind::OutOfCapacity, Reach::Group),
    ("RESERVATION_NOT_READY", FailureKind::OutOfCapacity, Reach::Group),
    ("PERMISSION", FailureKind::Denied, Reach::Group),
    ("ACCESS_DENIED", FailureKind::Denied, Reach::Group),
    ("FORBIDDEN", FailureKind::Denied, Reach::Group),
    ("RESERVATION_", FailureKind::Invalid, Reach::Group),
    ("NOT_FOUND", FailureKind::Invalid, Reach::Group),
    ("INVALID", FailureKind::Invalid, Reach::Group),
    ("UNSUPPORTED", FailureKind::Invalid, Reach::Group),
];

/// Why a launch failed and how far that reaches, by its code and the zone it was tried in, when that is known.
pub(crate) fn launch(code: &str, zone: Option<&str>) -> (FailureKind, Scope) {
    let row = LAUNCHES.iter().find(|(part, _, _)| code.contains(part));
    let Some((_, kind, reach)) = row else { return (FailureKind::Other, Scope::Group) };
    let scope = match (reach, zone) {
        (Reach::Zone, Some(zone)) => Scope::Zone(zone.into()),
        (Reach::Region, _) => Scope::Region,
        _ => Scope::Group,
    };
    (*kind, scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_reason_mean_the_same() {
        for (reason, expected) in [
            ("rateLimitExceeded", Some(Meaning::Throttled)),
            ("RATE_LIMIT_EXCEEDED", Some(Meaning::Throttled)),
            ("quotaExceeded", Some(Meaning::Quota)),
            ("ACCESS_TOKEN_EXPIRED", Some(Meaning::Expired)),
            ("authError", Some(Meaning::Denied)),
            ("forbidden", Some(Meaning::Denied)),
            ("IAM_PERMISSION_DENIED", Some(Meaning::Denied)),
            ("conditionNotMet", Some(Meaning::Conflict)),
            ("backendError", None),
            ("", None),
        ] {
            assert_eq!(meaning(reason), expected, "{reason}");
        }
    }

    #[test]
    fn a_launch_failure_says_how_far_it_reaches() {
        let check = |code: &str, kind: FailureKind, scope: Scope| {
            assert_eq!(launch(code, Some("europe-west1-b")), (kind, scope), "{code}");
        };
        let zone = || Scope::Zone("europe-west1-b".into());
        check("ZONE_RESOURCE_POOL_EXHAUSTED", FailureKind::OutOfCapacity, zone());
        check("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", FailureKind::OutOfCapacity, zone());
        check("RESOURCE_POOL_EXHAUSTED", FailureKind::OutOfCapacity, zone());
        check("INSUFFICIENT_CAPACITY", FailureKind::OutOfCapacity, zone());
        check("QUOTA_EXCEEDED", FailureKind::QuotaExceeded, Scope::Region);
        check("CPUS_ALL_REGIONS_QUOTA_EXCEEDED", FailureKind::QuotaExceeded, Scope::Region);
        check("IP_SPACE_EXHAUSTED_WITH_DETAILS", FailureKind::OutOfCapacity, Scope::Group);
        check("PERMISSIONS_ERROR", FailureKind::Denied, Scope::Group);
        check("RESERVATION_NOT_FOUND", FailureKind::Invalid, Scope::Group);
        check("RESERVATION_CAPACITY_EXCEEDED", FailureKind::OutOfCapacity, Scope::Group);
        check("RESOURCE_NOT_FOUND", FailureKind::Invalid, Scope::Group);
        check("SOMETHING_NEW", FailureKind::Other, Scope::Group);
        assert_eq!(launch("RESOURCE_POOL_EXHAUSTED", None).1, Scope::Group);
    }
}
