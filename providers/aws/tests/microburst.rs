//! The provider against moto behind microburst, a fault proxy that nobody here wrote: its errors are in AWS' own form.
//!
//! Both come from the venv that `SKALA_VENV` names; without it the test fails and says so.

// A test that cannot go on stops; and not every test needs all of the stand.
#![allow(clippy::unwrap_used, dead_code)]

mod stand;

use contract::{Ask, Epoch, Provider, ProviderError, Target, Version};
use stand::burst::Burst;
use stand::cloud::Cloud;
use stand::{Clock, provider};

async fn desired(moto: &Cloud, name: &str) -> u32 {
    let request = moto.asg.describe_auto_scaling_groups().auto_scaling_group_names(name);
    request.send().await.unwrap().auto_scaling_groups()[0].desired_capacity().unwrap() as u32
}

fn target(name: &str, seen: u32) -> Target {
    Target {
        group: name.into(),
        action: contract::ActionId(1),
        seen: Version { desired: Some(seen), token: None, at: contract::Timestamp(0) },
        lease: Epoch(1),
    }
}

#[tokio::test]
async fn faults_in_aws_own_form_are_typed_and_never_double_a_write() {
    let moto = Cloud::moto().await;
    let burst = Burst::before(&moto).await;
    let name = moto.name();
    moto.template(&name).await;
    moto.group(&name, 0, 50, 2).await;
    let provider = provider(&burst.proxied.url, "me", &Clock).await;
    let look = || async { provider.observe(&[Ask::new(name.as_str())]).await.remove(0) };
    look().await.unwrap();

    let on = |operation: &str, effect: &str| {
        format!(r#"[{{"service": "autoscaling", "operation": "{operation}", {effect}}}]"#)
    };
    let reads = "DescribeAutoScalingGroups";
    for (effect, expected) in [
        (r#""error": {"code": "Throttling", "status": 400, "message": "Rate exceeded"}"#, "throttled"),
        (r#""error": {"code": "ServiceUnavailable", "status": 503}"#, "transport"),
        (r#""error": {"code": "ExpiredToken", "status": 403}"#, "expired"),
        (r#""reset": true"#, "transport"),
        (r#""latency": 20000"#, "transport"),
        (r#""timeout_ms": 20000"#, "transport"),
        (r#""response": {"truncate_frac": 0.5}"#, "transport"),
        (r#""response": {"abort_frac": 0.3}"#, "transport"),
        (r#""response": {"bandwidth_kbps": 0.05}"#, "transport"),
    ] {
        burst.rules(&on(reads, effect)).await;
        let result = look().await;
        assert_eq!(result.as_ref().map_err(ProviderError::code).err(), Some(expected), "{effect}: {result:?}");
    }

    // Writes: what had no effect changes nothing, what may have had one is unclear and was sent once.
    let writes = "SetDesiredCapacity";
    // The last one is held back by the proxy and may yet arrive long after this test: that is what unclear means.
    let mut held = 2;
    for (effect, expected, took_effect) in [
        (r#""error": {"code": "Throttling", "status": 400, "message": "Rate exceeded"}"#, Err("throttled"), false),
        (r#""times": 1, "error": {"code": "Throttling", "status": 400, "message": "Rate exceeded"}"#, Ok(()), true),
        (r#""error": {"code": "AccessDenied", "status": 403}"#, Err("denied"), false),
        (r#""reset": true"#, Err("unclear"), false),
        (r#""response": {"abort_bytes": 0}"#, Err("unclear"), true),
        (r#""response": {"truncate_frac": 0.5}"#, Err("unclear"), true),
        (r#""latency": 20000"#, Err("unclear"), false),
    ] {
        burst.rules(&on(writes, effect)).await;
        let wanted = held + 1;
        let result = provider.raise(&target(&name, held), wanted).await;
        assert_eq!(result.as_ref().map(|_| ()).map_err(ProviderError::code), expected, "{effect}: {result:?}");
        burst.rules("[]").await;
        let now = desired(&moto, &name).await;
        assert_eq!(now, if took_effect { wanted } else { held }, "{effect}");
        held = now;
        assert_eq!(look().await.unwrap().desired, Some(held), "{effect}");
    }
}
