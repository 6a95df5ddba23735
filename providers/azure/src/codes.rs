//! Azure's error codes, by what the caller does next. A table and nothing else.
//!
//! Sources: the Resource Manager's "common deployment errors" and "request limits" pages, the compute provider's
//! allocation failure and throttling pages, and the Entra error reference (AADSTS numbers).

use contract::FailureKind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Throttled,
    Denied,
    Expired,
    NotFound,
    Conflict,
    /// It may have been done in part, or another operation took its place.
    Preempted,
    OutOfCapacity,
    Quota,
    Invalid,
}

const TABLE: &[(Meaning, &[&str])] = &[
    (Meaning::Throttled, &["TooManyRequests", "SubscriptionRequestsThrottled", "ResourceRequestsThrottled"]),
    (Meaning::Expired, &["ExpiredAuthenticationToken"]),
    (Meaning::Denied, &["AuthorizationFailed", "LinkedAuthorizationFailed", "RequestDisallowedByPolicy"]),
    (Meaning::Denied, &["AuthenticationFailed", "InvalidAuthenticationToken", "InvalidAuthenticationTokenTenant"]),
    (Meaning::Denied, &["ReadOnlyDisabledSubscription", "ScopeLocked", "Forbidden"]),
    // These credentials do not see the subscription: nobody knows whether the set is there.
    (Meaning::Denied, &["SubscriptionNotFound", "InvalidSubscriptionId", "SubscriptionNotRegistered"]),
    (Meaning::Denied, &["MissingSubscriptionRegistration"]),
    (Meaning::NotFound, &["ResourceNotFound", "NotFound", "ResourceGroupNotFound", "ParentResourceNotFound"]),
    (Meaning::Conflict, &["PreconditionFailed", "AnotherOperationInProgress", "RetryableErrorDueToAnotherOperation"]),
    (Meaning::Conflict, &["Conflict", "ResourceGroupBeingDeleted"]),
    (Meaning::Preempted, &["OperationPreempted", "Canceled"]),
    (Meaning::OutOfCapacity, &["AllocationFailed", "ZonalAllocationFailed", "OverconstrainedAllocationRequest"]),
    (Meaning::OutOfCapacity, &["OverconstrainedZonalAllocationRequest", "SkuNotAvailable"]),
    (Meaning::Quota, &["QuotaExceeded", "ResourceQuotaExceeded", "SubnetIsFull", "PublicIPCountLimitReached"]),
];

/// What an error code means; `None` is judged by its status.
pub(crate) fn meaning(code: &str, message: &str) -> Option<Meaning> {
    let words = message.to_ascii_lowercase();
    let says = |list: &[&str]| list.iter().any(|word| words.contains(word));
    match code {
        // One code for a quota and for much else; only the text tells them apart.
        "OperationNotAllowed" if says(&["quota", "limit", "cores"]) => Some(Meaning::Quota),
        "OperationNotAllowed" => Some(Meaning::Invalid),
        "InvalidAuthenticationToken" | "AuthenticationFailed" | "invalid_client" | "invalid_grant"
            if says(&["expired", "lifetime", "not yet valid", "time range", "aadsts700024", "aadsts7000222"]) =>
        {
            Some(Meaning::Expired)
        }
        _ => TABLE.iter().find(|(_, codes)| codes.contains(&code)).map(|(meaning, _)| *meaning),
    }
}

/// What a failed launch's code means.
pub(crate) fn failure_kind(code: &str, message: &str) -> FailureKind {
    match meaning(code, message) {
        Some(Meaning::OutOfCapacity) => FailureKind::OutOfCapacity,
        Some(Meaning::Quota) => FailureKind::QuotaExceeded,
        Some(Meaning::Denied | Meaning::Expired) => FailureKind::Denied,
        Some(Meaning::Invalid | Meaning::NotFound) => FailureKind::Invalid,
        // A guest that does not report (OSProvisioningTimedOut, VMStartTimedOut) is neither.
        _ if code.starts_with("Invalid") || code.ends_with("NotFound") => FailureKind::Invalid,
        _ => FailureKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_code_of_a_quota_and_of_much_else_is_told_apart_by_its_words() {
        let text = "Operation could not be completed as it results in exceeding approved Total Regional Cores quota.";
        assert_eq!(meaning("OperationNotAllowed", text), Some(Meaning::Quota));
        assert_eq!(meaning("OperationNotAllowed", "Deletion is not supported here."), Some(Meaning::Invalid));
        assert_eq!(meaning("InvalidAuthenticationToken", "The token lifetime is over."), Some(Meaning::Expired));
        assert_eq!(meaning("InvalidAuthenticationToken", "The token is malformed."), Some(Meaning::Denied));
        assert_eq!(meaning("SomethingNew", ""), None);
    }

    #[test]
    fn launches_fail_for_typed_reasons() {
        assert_eq!(failure_kind("ZonalAllocationFailed", ""), FailureKind::OutOfCapacity);
        assert_eq!(failure_kind("SkuNotAvailable", ""), FailureKind::OutOfCapacity);
        assert_eq!(failure_kind("SubnetIsFull", ""), FailureKind::QuotaExceeded);
        assert_eq!(failure_kind("LinkedAuthorizationFailed", ""), FailureKind::Denied);
        assert_eq!(failure_kind("ImageNotFound", ""), FailureKind::Invalid);
        assert_eq!(failure_kind("OSProvisioningTimedOut", ""), FailureKind::Other);
    }
}
