//! Small clouds that do what they are told as far as they can, for fleets of several groups.

use crate::fleet::{EPOCH, FREE, decider, rps};
use policies::wire::Decider;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A fleet with these groups, a load of 10 for each instance, and no limit of pace.
pub fn policy(keys: &str, groups: &[&str], more: &str) -> String {
    let groups: String = groups.iter().map(|group| format!("[[fleet.web.group]]\n{group}\n")).collect();
    format!(
        "[fleet.web]\nmode = \"on\"\nmin = 0\nmax = 1000\nwarmup = \"0s\"\n{keys}\n{groups}{}{FREE}{more}",
        rps(10.0)
    )
}

pub const TWO: &[&str] =
    &["provider = \"a\"\ngroup = \"web\"\npriority = 1", "provider = \"b\"\ngroup = \"web\"\npriority = 2"];

/// One group in its cloud.
#[derive(Clone, Default)]
pub struct Place {
    pub desired: u64,
    pub running: u64,
    pub pending: u64,
    /// No more instances than this can be launched.
    pub room: Option<u64>,
    /// What has no room is waited for, and no launch is said to have failed.
    pub silent: bool,
    pub failed_at: Option<f64>,
    /// Every raise ends so: with this code, or with none and without effect if it is empty.
    pub refuses: Option<&'static str>,
    pub suspended: Option<&'static str>,
    pub error: Option<&'static str>,
    pub min: u64,
    pub max: Option<u64>,
    pub protected: bool,
    /// Instances are spread evenly over so many zones, one if 0.
    pub zones: u64,
}

/// The clouds of one fleet.
pub struct World {
    pub decider: Decider,
    pub now: f64,
    pub places: BTreeMap<&'static str, Place>,
    pub load: f64,
    pub last: Value,
    /// How calls have ended since the last line.
    outcomes: Vec<Value>,
}

impl World {
    pub fn new(policy: &str, places: &[(&'static str, u64)]) -> Self {
        let full = |n: u64| Place { desired: n, running: n, ..Place::default() };
        let places: BTreeMap<_, _> = places.iter().map(|(name, n)| (*name, full(*n))).collect();
        Self { decider: decider(policy), now: EPOCH as f64, places, load: 0.0, last: Value::Null, outcomes: Vec::new() }
    }

    pub fn place(&mut self, name: &str) -> &mut Place {
        self.places.get_mut(name).expect("a place of the test")
    }

    pub fn line(&self) -> Value {
        let groups: Vec<Value> = self.places.iter().map(|(name, place)| self.group(name, place)).collect();
        let load = json!({ "value": self.load, "at": self.now });
        json!({ "fleet": "web", "now": self.now, "groups": groups, "readings": { "rps": load }, "outcomes": self.outcomes })
    }

    fn group(&self, name: &str, place: &Place) -> Value {
        if let Some(error) = place.error {
            return json!({ "provider": name, "group": "web", "error": error });
        }
        let instance = |n: u64, state: &str| {
            let launched = EPOCH as f64 - 9_000.0 + n as f64;
            let zone = format!("z{}", n % place.zones.max(1));
            json!({ "id": format!("{name}-{n}"), "state": state, "launched": launched, "zone": zone, "protected": place.protected })
        };
        let running = (0..place.running).map(|n| instance(n, "running"));
        let pending = (place.running..place.running + place.pending).map(|n| instance(n, "pending"));
        let mut group = json!({
            "provider": name, "group": "web", "desired": place.desired, "cloud_min": place.min,
            "instances": running.chain(pending).collect::<Vec<_>>(),
        });
        if let Some(max) = place.max {
            group["cloud_max"] = json!(max);
        }
        if let Some(suspended) = place.suspended {
            group["suspended"] = json!([suspended]);
        }
        if let Some(at) = place.failed_at {
            group["launch_failures"] = json!([{ "kind": "out_of_capacity", "scope": "group", "at": at }]);
        }
        group
    }

    /// One decision, which the clouds then carry out; what was launched before boots meanwhile.
    pub fn step(&mut self) -> Value {
        let line = self.line().to_string();
        self.outcomes.clear();
        let answer = self.decider.line(&line).expect("an answer");
        let decision: Value = serde_json::from_str(&answer).expect("JSON");
        assert!(decision.get("error").is_none(), "{decision}");
        crate::fleet::assert_trace_law(&decision);
        self.check(&decision);
        self.now += 15.0;
        for group in decision["groups"].as_array().expect("groups") {
            let name = group["provider"].as_str().expect("a name");
            let now = self.now;
            let place = self.places.get_mut(name).expect("known");
            let Some(desired) = group["desired"].as_u64() else { continue };
            place.running += std::mem::take(&mut place.pending);
            if let Some(code) = place.refuses.filter(|_| desired > place.desired) {
                if !code.is_empty() {
                    self.outcomes.push(json!({ "provider": name, "group": "web", "result": code }));
                }
                continue;
            }
            let removed = group["terminate"].as_array().map_or(0, Vec::len) as u64;
            place.running -= removed;
            place.desired = desired;
            let wanted = desired.saturating_sub(place.running);
            let room = place.room.map_or(u64::MAX, |room| room.saturating_sub(place.running));
            place.pending = wanted.min(room);
            if wanted > room && !place.silent {
                place.failed_at = Some(now - 1.0);
            }
        }
        self.last = decision.clone();
        decision
    }

    /// What holds for every plan: the steps of each group begin where it was, end where it goes, and follow each other.
    fn check(&self, decision: &Value) {
        for group in decision["groups"].as_array().expect("groups") {
            let steps = group["steps"].as_array().cloned().unwrap_or_default();
            for pair in steps.windows(2) {
                assert_eq!(pair[0]["after"], pair[1]["before"], "{decision}");
            }
            if let (Some(last), Some(desired)) = (steps.last(), group["desired"].as_u64()) {
                assert_eq!(last["after"], json!(desired), "{decision}");
            }
        }
    }

    pub fn run(&mut self, load: f64, steps: usize) -> &mut Self {
        self.load = load;
        for _ in 0..steps {
            self.step();
        }
        self
    }

    pub fn desired(&self) -> Vec<u64> {
        self.places.values().map(|place| place.desired).collect()
    }

    pub fn running(&self) -> u64 {
        self.places.values().map(|place| place.running).sum()
    }

    pub fn why(&self, provider: &str) -> String {
        let groups = self.last["groups"].as_array().expect("groups");
        let group = groups.iter().find(|group| group["provider"] == provider).expect("known");
        let whys = group["steps"].as_array().into_iter().flatten().filter_map(|step| step["why"].as_str());
        whys.collect::<Vec<_>>().join("; ")
    }

    pub fn reason(&self) -> &str {
        self.last["hold"]["reason"].as_str().unwrap_or("")
    }
}
