//! A fleet under test: one policy, one group, lines in and decisions out.

use policies::policy::{ParseOptions, Severity, SourceFile, parse};
use policies::wire::Decider;
use serde_json::{Value, json};

/// The first line's time.
pub const EPOCH: i64 = 1_700_000_000;

/// Reads policies that must be sound.
pub fn decider(text: &str) -> Decider {
    let files = [SourceFile { name: "web.toml".into(), text: text.into() }];
    let (set, found) = parse(&files, &ParseOptions::default());
    let errors: Vec<_> = found.iter().filter(|d| d.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    Decider::new(set)
}

/// A policy with one group; `body` is what stands below the fleet's own keys.
pub fn policy(keys: &str, body: &str) -> String {
    format!(
        "[fleet.web]\nmode = \"on\"\nmin = 1\nmax = 100\n{keys}\n[[fleet.web.group]]\nprovider = \"cloud\"\ngroup = \"web\"\n{body}"
    )
}

/// A metric and a `per-instance` rule on it, exact in both directions, with no window to speak of.
pub fn rps(target: f64) -> String {
    metric_rule(
        "rps",
        "count",
        &format!("kind = \"per-instance\"\ntarget = {target:?}\ntolerance = {{ out = 0.0, in = 0.0 }}"),
    )
}

/// A metric and one rule on it.
pub fn metric_rule(name: &str, unit: &str, rule: &str) -> String {
    format!(
        "[fleet.web.metric.{name}]\nsource = \"prom\"\nquery = \"{name}\"\nunit = \"{unit}\"\n[[fleet.web.rule]]\nmetric = \"{name}\"\n{rule}\n"
    )
}

/// Rates that never limit, and a scale-in window of two intervals.
pub const FREE: &str = "[fleet.web.scale_out]\nrate = []\n[fleet.web.scale_in]\nstabilization = \"0s\"\nrate = []\n";

/// One cycle as it is put together.
pub struct Cycle {
    pub line: Value,
}

impl Cycle {
    pub fn new(secs: f64, desired: u32) -> Self {
        let mut cycle =
            Self { line: json!({"fleet": "web", "now": EPOCH as f64 + secs, "groups": [], "readings": {}}) };
        cycle.line["groups"] = json!([{"provider": "cloud", "group": "web", "desired": desired, "instances": []}]);
        cycle.instances(desired, 0)
    }

    /// So many long-running instances in one zone, and so many pending ones.
    pub fn instances(mut self, running: u32, pending: u32) -> Self {
        let running = (0..running).map(|n| {
            json!({"id": format!("i-{n}"), "state": "running", "launched": EPOCH - 9000 + i64::from(n),
                   "running_since": EPOCH - 8000, "zone": "a"})
        });
        let now = self.line["now"].clone();
        let pending = (0..pending)
            .map(|n| json!({"id": format!("p-{n}"), "state": "pending", "launched": now.clone(), "zone": "a"}));
        self.line["groups"][0]["instances"] = running.chain(pending).collect();
        self
    }

    pub fn group(mut self, key: &str, value: Value) -> Self {
        self.line["groups"][0][key] = value;
        self
    }

    pub fn instance(mut self, at: usize, key: &str, value: Value) -> Self {
        self.line["groups"][0]["instances"][at][key] = value;
        self
    }

    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.line[key] = value;
        self
    }

    /// A fresh reading.
    pub fn read(mut self, metric: &str, value: f64) -> Self {
        let at = self.line["now"].clone();
        self.line["readings"][metric] = json!({"value": value, "at": at});
        self
    }

    pub fn reading(mut self, metric: &str, reading: Value) -> Self {
        self.line["readings"][metric] = reading;
        self
    }
}

/// A decider with some help to drive it.
pub struct Fleet {
    pub decider: Decider,
}

impl Fleet {
    pub fn new(policy: &str) -> Self {
        Self { decider: decider(policy) }
    }

    pub fn decide(&mut self, cycle: Cycle) -> Value {
        let answer = self.decider.line(&cycle.line.to_string()).expect("a cycle has an answer");
        let decision: Value = serde_json::from_str(&answer).expect("JSON");
        assert!(decision.get("error").is_none(), "{decision}");
        assert_trace_law(&decision);
        decision
    }

    /// Decides until `secs` every `step` with the cloud doing what it is told, and gives the last decision.
    pub fn steady(&mut self, from: u32, to_secs: u32, step: u32, desired: &mut u32, metric: &str, value: f64) -> Value {
        let mut last = Value::Null;
        for secs in (from..=to_secs).step_by(step as usize) {
            last = self.decide(Cycle::new(f64::from(secs), *desired).read(metric, value));
            *desired = last["desired"].as_u64().expect("known") as u32;
        }
        last
    }
}

/// The trace law, checked from the outside.
pub fn assert_trace_law(decision: &Value) {
    let stages: Vec<_> = decision["trace"].as_array().expect("trace").iter().collect();
    let names: Vec<_> = stages.iter().map(|s| s["stage"].as_str().expect("name")).collect();
    let all = ["combine", "guard", "flap", "stabilize", "limits", "cooldown", "pace", "brakes", "hold", "bounds"];
    assert_eq!(names, all);
    let mut at = decision["current"].clone();
    for stage in stages {
        assert_eq!(stage["before"], at, "{decision}");
        at = stage["after"].clone();
    }
    assert_eq!(at, decision["desired"], "{decision}");
    assert_eq!(decision["hold"].is_null(), decision["current"] != decision["desired"], "{decision}");
}

pub fn desired(decision: &Value) -> u64 {
    decision["desired"].as_u64().unwrap_or_else(|| panic!("desired is known in {decision}"))
}

pub fn reason(decision: &Value) -> &str {
    decision["hold"]["reason"].as_str().unwrap_or("")
}
