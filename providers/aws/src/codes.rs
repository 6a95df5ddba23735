//! AWS' error codes, by what the caller does next. A table and nothing else.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Throttled,
    Denied,
    Expired,
    NotFound,
    Conflict,
    OutOfCapacity,
    Quota,
    Unknown,
}

const TABLE: &[(Meaning, &[&str])] = &[
    (Meaning::Throttled, &["Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled"]),
    (Meaning::Throttled, &["RequestThrottledException", "RequestLimitExceeded", "TooManyRequestsException"]),
    (Meaning::Throttled, &["EC2ThrottledException", "PriorRequestNotComplete", "SlowDown", "BandwidthLimitExceeded"]),
    // HTTP 500, but documented: another update of the group is pending and this one was not taken.
    (Meaning::Throttled, &["ResourceContention"]),
    (Meaning::Expired, &["ExpiredToken", "ExpiredTokenException", "RequestExpired"]),
    (Meaning::Expired, &["RequestTimeTooSkewed", "RequestInTheFuture"]),
    (Meaning::Denied, &["AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnauthorizedAccess"]),
    (Meaning::Denied, &["AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch"]),
    (Meaning::Denied, &["InvalidSignatureException", "MissingAuthenticationToken", "IncompleteSignature"]),
    (Meaning::Denied, &["MissingAuthenticationTokenException", "NotAuthorized", "OptInRequired"]),
    (Meaning::Denied, &["Blocked", "PendingVerification"]),
    (Meaning::NotFound, &["InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"]),
    (Meaning::Conflict, &["ScalingActivityInProgress", "ResourceInUse", "InstanceRefreshInProgress"]),
    (Meaning::Conflict, &["IncorrectInstanceState", "IncorrectState", "IdempotentParameterMismatch"]),
    (Meaning::OutOfCapacity, &["InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientCapacity"]),
    (Meaning::OutOfCapacity, &["InsufficientReservedInstanceCapacity", "InsufficientReservedInstancesCapacity"]),
    (Meaning::OutOfCapacity, &["InsufficientCapacityOnHost", "InsufficientFreeAddressesInSubnet"]),
    (Meaning::OutOfCapacity, &["UnfulfillableCapacity", "SpotMaxPriceTooLow", "ReservationCapacityExceeded"]),
    (Meaning::Quota, &["InstanceLimitExceeded", "VcpuLimitExceeded", "MaxSpotInstanceCountExceeded"]),
    (Meaning::Quota, &["MaxFleetCountExceeded", "MaxSpotFleetRequestCountExceeded", "LimitExceeded"]),
    (Meaning::Quota, &["LimitExceededException", "VolumeLimitExceeded", "MaxIOPSLimitExceeded"]),
    (Meaning::Quota, &["NetworkInterfaceLimitExceeded"]),
    (Meaning::Unknown, &["InvalidAction", "UnknownOperation", "UnknownOperationException", "UnsupportedOperation"]),
];

/// What an error code means; `None` is judged by its status: 5xx may have taken effect, 4xx is a refusal.
pub(crate) fn meaning(code: &str, message: &str) -> Option<Meaning> {
    let words = message.to_ascii_lowercase();
    // EC2 sometimes names the side at fault first: `Client.`, `Server.`.
    let code = code.strip_prefix("Client.").or_else(|| code.strip_prefix("Server.")).unwrap_or(code);
    let of_time = ["expired", "not yet current", "clock", "too skewed"].iter().any(|w| words.contains(w));
    match code {
        "ValidationError" => validation(&words),
        "SignatureDoesNotMatch" | "InvalidSignatureException" | "AuthFailure" if of_time => Some(Meaning::Expired),
        _ => TABLE.iter().find(|(_, codes)| codes.contains(&code)).map(|(meaning, _)| *meaning),
    }
}

/// Auto Scaling says almost everything that is wrong with a request by one code and a sentence.
fn validation(words: &str) -> Option<Meaning> {
    if words.contains("min size") || words.contains("minsize") {
        // Since the plan was made, or it would not have been made.
        return Some(Meaning::Conflict);
    }
    (words.contains("not found") || words.contains("does not exist")).then_some(Meaning::NotFound)
}
