//! microburst, a fault proxy that nobody here wrote: its errors are in AWS' own form.

use super::cloud::Cloud;
use conformance::{Call, Fault};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

/// microburst before a server.
pub struct Burst {
    /// The way through it; its controls are under `/_microburst`.
    pub proxied: Cloud,
    child: Child,
    faults: BTreeMap<Call, Vec<Value>>,
}

impl Drop for Burst {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Burst {
    /// From the venv that `SKALA_VENV` names; without it the test fails and says so.
    pub async fn before(server: &Cloud) -> Self {
        let venv =
            std::env::var("SKALA_VENV").expect("no microburst: set SKALA_VENV; tests/run installs it and sets it");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(format!("{venv}/bin/microburst"))
            .args(["--host", "127.0.0.1", "-p", &port.to_string(), "-u", &server.url])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("microburst of SKALA_VENV does not start");
        let proxied = Cloud::at(format!("http://127.0.0.1:{port}"), None).await;
        // The first call of each service takes it seconds, in which it reads that service's model.
        proxied.ec2.describe_regions().send().await.unwrap();
        Self { proxied, child, faults: BTreeMap::new() }
    }

    /// Replaces all rules.
    pub async fn rules(&self, rules: &str) {
        self.proxied.request("/_microburst/rules", rules).await;
    }

    /// From now on every such call meets the fault; `false` when it is none that microburst can do.
    pub async fn inject(&mut self, call: Call, fault: &Fault) -> bool {
        let Some(effects) = effects(fault) else { return false };
        let which = match call {
            Call::Read => "starts_with(Action, 'Describe')".to_owned(),
            Call::Write => format!("contains(`{}`, Action)", json!(super::WRITES)),
        };
        let rules = ["autoscaling", "ec2"].into_iter().zip(effects);
        let rules = rules.map(|(service, mut rule)| {
            rule["service"] = json!(service);
            rule["body"] = json!(which);
            rule
        });
        self.faults.insert(call, rules.collect());
        self.told().await;
        true
    }

    /// Ends every fault.
    pub async fn clear(&mut self) {
        if !self.faults.is_empty() {
            self.faults.clear();
            self.told().await;
        }
    }

    async fn told(&self) {
        let rules: Vec<&Value> = self.faults.values().flatten().collect();
        self.rules(&json!(rules).to_string()).await;
    }
}

/// What each service does then: Auto Scaling, and EC2. They say some things in words of their own.
fn effects(fault: &Fault) -> Option<[Value; 2]> {
    let error =
        |code: &str, status: u16, message: &str| json!({"error": {"code": code, "status": status, "message": message}});
    let both = |effect: Value| Some([effect.clone(), effect]);
    match fault {
        Fault::Throttle { .. } => Some([
            error("Throttling", 400, "Rate exceeded"),
            error("RequestLimitExceeded", 503, "Request limit exceeded."),
        ]),
        Fault::ErrorBeforeEffect => {
            Some([error("InternalFailure", 500, "Internal failure"), error("InternalError", 500, "Internal error")])
        }
        // It can only take an answer away, not put an error in its place.
        Fault::ErrorAfterEffect => both(json!({"response": {"abort_bytes": 0}})),
        Fault::Timeout => both(json!({"timeout_ms": 20_000})),
        Fault::BrokenBody => both(json!({"response": {"truncate_frac": 0.5}})),
        Fault::Denied => Some([
            error("AccessDenied", 403, "not authorized to perform this"),
            error("UnauthorizedOperation", 403, "You are not authorized to perform this operation."),
        ]),
        Fault::Expired => both(error("ExpiredToken", 403, "The security token included in the request is expired")),
        Fault::OutOfCapacity => both(error("InsufficientInstanceCapacity", 500, "no capacity in this zone")),
        Fault::QuotaExceeded => both(error("VcpuLimitExceeded", 400, "more vCPU than the limit allows")),
        Fault::Slow(time) => both(json!({"latency": time.as_millis()})),
        Fault::WrongCredentials => Some([
            error("InvalidClientTokenId", 403, "The security token included in the request is invalid."),
            error("AuthFailure", 401, "AWS was not able to validate the provided access credentials"),
        ]),
        Fault::ClockOff => Some([
            error("SignatureDoesNotMatch", 403, "Signature expired: it is ten minutes old"),
            error(
                "RequestTimeTooSkewed",
                403,
                "The difference between the request time and the current time is too large.",
            ),
        ]),
        _ => None,
    }
}
