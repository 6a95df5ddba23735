use super::*;

#[test]
fn ec2s_codes_are_named_by_what_to_do_next() {
    for (code, expected) in [
        ("RequestLimitExceeded", Some(Meaning::Throttled)),
        ("Client.RequestLimitExceeded", Some(Meaning::Throttled)),
        ("UnauthorizedOperation", Some(Meaning::Denied)),
        ("AuthFailure", Some(Meaning::Denied)),
        ("InvalidInstanceID.NotFound", Some(Meaning::NotFound)),
        ("InsufficientInstanceCapacity", Some(Meaning::OutOfCapacity)),
        ("Server.InsufficientInstanceCapacity", Some(Meaning::OutOfCapacity)),
        ("InsufficientFreeAddressesInSubnet", Some(Meaning::OutOfCapacity)),
        ("VcpuLimitExceeded", Some(Meaning::Quota)),
        ("InstanceLimitExceeded", Some(Meaning::Quota)),
        ("IncorrectInstanceState", Some(Meaning::Conflict)),
        ("InvalidAction", Some(Meaning::Unknown)),
        ("UnknownOperation", Some(Meaning::Unknown)),
        ("InvalidAMIID.NotFound", None),
        ("InternalError", None),
    ] {
        assert_eq!(meaning(code, ""), expected, "{code}");
    }
}

#[test]
fn a_validation_error_is_told_apart_by_its_words() {
    for (message, expected) in [
        ("AutoScalingGroup name not found - AutoScalingGroup web not found", Some(Meaning::NotFound)),
        ("Terminating instance without replacement will violate group's min size constraint.", Some(Meaning::Conflict)),
        ("New SetDesiredCapacity value 99 is above max value 10 for the AutoScalingGroup.", None),
    ] {
        assert_eq!(meaning("ValidationError", message), expected, "{message}");
    }
}

#[test]
fn a_scope_is_the_zone_else_the_type_else_the_group() {
    let zone = |zone: &str| Scope::Zone(zone.into());
    for (message, expected) in [
        (
            "We currently do not have sufficient t2.micro capacity in the Availability Zone you requested (us-east-1e). You \
             can currently get t2.micro capacity by not specifying an Availability Zone in your request or choosing \
             us-east-1b, us-east-1c.",
            zone("us-east-1e"),
        ),
        ("... in your requested Availability Zone (us-west-2-lax-1a). Please retry", zone("us-west-2-lax-1a")),
        ("We currently do not have sufficient p4d.24xlarge capacity.", Scope::Type("p4d.24xlarge".into())),
        ("not sufficient capacity in the Availability Zone you requested (see the documentation)", Scope::Group),
        ("Availability Zone (", Scope::Group),
        ("", Scope::Group),
    ] {
        assert_eq!(scope(message), expected, "{message}");
    }
}

#[test]
fn words_are_cut_to_one_line_of_whole_characters() {
    assert_eq!(&*cut("a\n  b\tc", 200), "a b c");
    assert_eq!(&*cut("ééé", 2), "éé");
}

#[test]
fn a_retry_after_is_whole_seconds_and_at_most_a_day() {
    for (header, expected) in [
        (Some("7"), Some(7)),
        (Some(" 0 "), Some(0)),
        (Some("99999999"), Some(86_400)),
        (Some("Wed, 21 Oct 2026 07:28:00 GMT"), None),
        (Some("-3"), None),
        (None, None),
    ] {
        assert_eq!(retry_after(header), expected.map(Duration::from_secs), "{header:?}");
    }
}

#[test]
fn an_error_repeated_for_another_group_stays_what_it_is() {
    let originals = [
        ProviderError::NotFound { what: "x".into() },
        ProviderError::Conflict { what: "x".into() },
        ProviderError::Owned { by: "x".into() },
        ProviderError::OutOfCapacity { scope: Scope::Zone("a".into()) },
        ProviderError::QuotaExceeded { what: "x".into() },
        ProviderError::Throttled { retry_after: Some(Duration::from_secs(3)) },
        ProviderError::Denied { what: "x".into() },
        ProviderError::Expired { what: "x".into() },
        ProviderError::Invalid { what: "x".into() },
        ProviderError::Unclear { what: "x".into(), source: None },
        ProviderError::Transport { what: "x".into(), source: None },
    ];
    for original in originals {
        assert_eq!(format!("{:?}", original.again()), format!("{original:?}"));
    }
}

#[test]
fn an_unclear_step_before_a_write_is_not_an_unclear_write() {
    let unclear = ProviderError::Unclear { what: "x".into(), source: None };
    assert_eq!(unclear.before_the_write().code(), "transport");
    assert_eq!(ProviderError::Denied { what: "x".into() }.before_the_write().code(), "denied");
}
