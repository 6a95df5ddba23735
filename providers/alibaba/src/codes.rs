//! Alibaba Cloud's error codes, by what the caller does next. Codes are families: `QuotaExceed.Instance` is one of
//! `QuotaExceed`. Sources: the reference's error tables of each call used here, and the gateway's common error codes.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Throttled,
    Denied,
    /// The credentials have run out.
    Expired,
    /// The request's own time or nonce is refused: one of the two clocks is off.
    Clock,
    NotFound,
    Conflict,
    OutOfCapacity,
    Quota,
    Invalid,
    /// The endpoint does not know the call, or not in this version of the API.
    NoSuchCall,
}

/// Whole codes, and beginnings of codes where the last character is a `*`. The first that fits counts.
const TABLE: &[(&str, Meaning)] = &[
    ("Throttling*", Meaning::Throttled),
    ("RequestThrottled*", Meaning::Throttled),
    ("TooManyRequests*", Meaning::Throttled),
    ("InvalidTimeStamp*", Meaning::Clock),
    ("InvalidTimestamp*", Meaning::Clock),
    ("SignatureNonceUsed*", Meaning::Clock),
    ("InvalidSecurityToken.Expired", Meaning::Expired),
    ("SecurityTokenExpired*", Meaning::Expired),
    ("AuthenticationFail.OIDCToken.Expired", Meaning::Expired),
    ("InvalidAccessKeyId*", Meaning::Denied),
    ("InvalidSecurityToken*", Meaning::Denied),
    ("MissingSecurityToken*", Meaning::Denied),
    ("SignatureDoesNotMatch*", Meaning::Denied),
    ("IncompleteSignature*", Meaning::Denied),
    ("Forbidden*", Meaning::Denied),
    ("NoPermission*", Meaning::Denied),
    ("AuthenticationFail*", Meaning::Denied),
    ("EntityNotExist.Role", Meaning::Denied),
    ("Unauthorized*", Meaning::Denied),
    ("NotAuthorized*", Meaning::Denied),
    ("InvalidUser*", Meaning::Denied),
    ("InvalidAccountStatus*", Meaning::Denied),
    ("Account.Arrearage*", Meaning::Denied),
    ("InsufficientBalance*", Meaning::Denied),
    ("InvalidScalingGroupId.NotFound", Meaning::NotFound),
    ("ScalingActivityInProgress*", Meaning::Conflict),
    ("IncorrectScalingGroupStatus*", Meaning::Conflict),
    ("IncorrectCapacity.*", Meaning::Conflict),
    ("IncorrectInstanceStatus*", Meaning::Conflict),
    ("InvalidInstanceId.NotFound", Meaning::Conflict),
    ("IdempotentParameterMismatch*", Meaning::Conflict),
    ("IdempotentProcessing*", Meaning::Conflict),
    ("OperationDenied.NoStock*", Meaning::OutOfCapacity),
    ("OperationDenied.ZoneSystemCategoryNotMatch*", Meaning::OutOfCapacity),
    ("Zone.NotOnSale*", Meaning::OutOfCapacity),
    ("Zone.NotOpen*", Meaning::OutOfCapacity),
    ("InstanceType.Offline*", Meaning::OutOfCapacity),
    ("InvalidResourceType.NotSupported*", Meaning::OutOfCapacity),
    ("InvalidInstanceType.ZoneNotSupported*", Meaning::OutOfCapacity),
    ("InvalidVSwitchId.IpNotEnough*", Meaning::OutOfCapacity),
    ("InvalidVSwitchId.IpInsufficient*", Meaning::OutOfCapacity),
    ("InvalidSpotPriceLimit.LowerThanPublicPrice*", Meaning::OutOfCapacity),
    ("NoStock*", Meaning::OutOfCapacity),
    ("NotEnoughStock*", Meaning::OutOfCapacity),
    ("QuotaExceed*", Meaning::Quota),
    ("InvalidInstanceType.ResourceQuota*", Meaning::Quota),
    ("InstanceQuota*", Meaning::Quota),
    ("InvalidParameter*", Meaning::Invalid),
    ("MissingParameter*", Meaning::Invalid),
    ("MissingScalingGroup*", Meaning::Invalid),
    ("InvalidAction*", Meaning::NoSuchCall),
    ("InvalidVersion*", Meaning::NoSuchCall),
];

/// What an error code means; `None` is judged by its status: 5xx may have taken effect, 4xx is a refusal.
pub(crate) fn meaning(code: &str) -> Option<Meaning> {
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(beginning) => code.starts_with(beginning),
        None => code == pattern,
    };
    TABLE.iter().find(|(pattern, _)| fits(pattern)).map(|(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_by_family() {
        let check = |code: &str, expected: Option<Meaning>| assert_eq!(meaning(code), expected, "{code}");
        check("Throttling", Some(Meaning::Throttled));
        check("Throttling.User", Some(Meaning::Throttled));
        check("InvalidTimeStamp.Expired", Some(Meaning::Clock));
        check("InvalidSecurityToken.Expired", Some(Meaning::Expired));
        check("InvalidSecurityToken.Malformed", Some(Meaning::Denied));
        check("Forbidden.RAM", Some(Meaning::Denied));
        check("InvalidScalingGroupId.NotFound", Some(Meaning::NotFound));
        check("InvalidInstanceId.NotFound", Some(Meaning::Conflict));
        check("QuotaExceed.ElasticQuota", Some(Meaning::Quota));
        check("QuotaExceeded", Some(Meaning::Quota));
        check("OperationDenied.NoStock", Some(Meaning::OutOfCapacity));
        check("InvalidAction.NotFound", Some(Meaning::NoSuchCall));
        check("InvalidParameter.ScalingGroupId", Some(Meaning::Invalid));
        check("InternalError", None);
        check("", None);
    }
}
