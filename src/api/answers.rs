//! The JSON of the admin socket, which is also what `--json` prints: stable, and made of plain values. What is not known
//! is null, never 0.

use crate::published::{FleetStatus, INSTANCE_STATES, ReadingStatus, View};
use contract::{Capacity, Timestamp};
use policies::facts::Override;
use policies::policy::PolicySet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Any answer that is not a success.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What is wrong, for a person.
    pub error: String,
}

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Its clock, in seconds since the epoch.
    pub now: f64,
    /// The revision of the policies in force.
    pub revision: String,
    /// Whether the last load of the policies was taken.
    pub last_reload_successful: bool,
    /// Why it was not.
    pub reload_problem: Option<String>,
    /// `hold --all` is in force, with its reason.
    pub hold_all: Option<String>,
    /// Whether this daemon holds the lease.
    pub lease_held: bool,
    /// Who does.
    pub lease_owner: String,
    /// Why the store takes no decisions.
    pub store_fault: Option<String>,
    /// The fleets, by name.
    pub fleets: Vec<Fleet>,
}

/// One fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    /// Its name.
    pub fleet: String,
    /// Who owns it.
    pub owner: String,
    /// `on`, `observe`, `scale-out-only` or `off`.
    pub mode: String,
    /// How often it is decided.
    #[serde(default)]
    pub interval_secs: f64,
    /// What the clouds are asked to hold.
    pub current: Option<Capacity>,
    /// Instances running for at least the warm-up.
    pub serving: Option<Capacity>,
    /// The last decision.
    pub desired: Option<Capacity>,
    /// Min in force.
    pub min: Capacity,
    /// Max in force.
    pub max: Capacity,
    /// When it was last decided, in seconds since the epoch.
    pub decided: Option<f64>,
    /// `out`, `in` or `none`.
    pub direction: Option<String>,
    /// Why: the last stage that changed something, or the hold's meaning.
    pub reason: String,
    /// Why capacity is kept.
    pub hold: Option<Hold>,
    /// A person's override.
    pub r#override: Option<OverrideStatus>,
    /// Why skala itself failed on this fleet.
    pub fault: Option<String>,
    /// Its groups.
    pub groups: Vec<Group>,
    /// Its readings by metric.
    pub readings: BTreeMap<String, Reading>,
}

/// Why capacity is kept, and what governs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// A word of the closed list.
    pub reason: String,
    /// The setting.
    pub setting: String,
    /// The file that it stands in; empty for a setting of no file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

/// A person's override.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverrideStatus {
    /// `hold`, `hold-scale-in` or `pin`.
    pub kind: String,
    /// The pin's capacity.
    pub n: Option<Capacity>,
    /// The pace does not apply to the pin.
    pub now: bool,
    /// When it ends, in seconds since the epoch.
    pub until: f64,
    /// The person's reason.
    pub reason: String,
    /// Who.
    pub by: String,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Its provider.
    pub provider: String,
    /// Its name there.
    pub group: String,
    /// What the cloud is asked to hold.
    pub current: Option<Capacity>,
    /// Its part of the decision.
    pub desired: Option<Capacity>,
    /// Of current, instances that drain before they are terminated.
    #[serde(default)]
    pub draining: Capacity,
    /// Instances by state; empty while unknown.
    pub instances: BTreeMap<String, Capacity>,
    /// Why it could not be read.
    pub unknown: Option<String>,
    /// The provider's words for that, which say what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// One reading: a value with its age, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The number.
    pub value: Option<f64>,
    /// Age of its sample in seconds.
    pub age_secs: Option<f64>,
    /// Older than the metric's `max_age`.
    pub stale: bool,
    /// Why there is none.
    pub missing: Option<String>,
    /// Which source it comes from, when a composite was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// `POST /v1/hold`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldAsk {
    /// The fleet.
    pub fleet: String,
    /// For how long.
    pub for_secs: u64,
    /// Why.
    pub reason: String,
    /// Only scale-in is held.
    #[serde(default)]
    pub scale_in_only: bool,
}

/// `POST /v1/pin`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinAsk {
    /// The fleet.
    pub fleet: String,
    /// To this capacity.
    pub n: Capacity,
    /// For how long.
    pub for_secs: u64,
    /// Why.
    pub reason: String,
    /// The pace does not apply.
    #[serde(default)]
    pub now: bool,
}

/// `POST /v1/release`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseAsk {
    /// The fleet.
    pub fleet: String,
}

/// `POST /v1/reload`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadAsk {
    /// A set that loses more than 20 % of the fleets is taken all the same.
    #[serde(default)]
    pub allow_removal: bool,
}

/// Answer to `POST /v1/release`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Released {
    /// What was released; null when there was nothing.
    pub released: Option<OverrideStatus>,
}

/// Answer to `POST /v1/reload`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReloadedAnswer {
    /// The revision now in force.
    pub revision: String,
    /// How many fleets it has.
    pub fleets: usize,
    /// False when the files are what was in force already.
    pub changed: bool,
}

impl Status {
    /// What is published, as of `now`.
    pub(super) fn new(view: &View, now: Timestamp) -> Self {
        let process = &view.process;
        let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            now: now.as_secs_f64(),
            revision: view.set.revision.to_string(),
            last_reload_successful: process.config.last_reload_ok,
            reload_problem: text(&process.config.problem),
            hold_all: text(&process.hold_all),
            lease_held: process.lease_held,
            lease_owner: process.lease_owner.to_string(),
            store_fault: text(&process.store_fault),
            fleets: view.fleets.iter().map(|fleet| Fleet::new(fleet, &view.set, now)).collect(),
        }
    }
}

impl Fleet {
    fn new(fleet: &FleetStatus, set: &PolicySet, now: Timestamp) -> Self {
        let (policy, decision) = (&fleet.policy, fleet.decision.as_ref());
        Self {
            fleet: policy.id.to_string(),
            owner: policy.owner.to_string(),
            mode: policy.mode.word().into(),
            interval_secs: policy.interval.as_secs_f64(),
            current: decision.and_then(|decision| decision.current),
            serving: decision.and_then(|decision| decision.serving),
            desired: decision.and_then(|decision| decision.desired),
            min: decision.map_or(policy.min, |decision| decision.limits.min),
            max: decision.map_or(policy.max, |decision| decision.limits.max),
            decided: decision.map(|decision| decision.now.as_secs_f64()),
            direction: decision.map(|decision| decision.direction().word().into()),
            reason: reason(fleet),
            hold: fleet.hold_setting(set).and_then(|(setting, file, place)| {
                let reason = decision?.hold?.reason.word().into();
                Some(Hold { reason, setting: setting.into_owned(), file: file.into(), line: place.line })
            }),
            r#override: fleet.override_now.as_deref().map(OverrideStatus::new),
            fault: fleet.fault.as_deref().map(str::to_owned),
            groups: groups(fleet),
            readings: readings(fleet, now),
        }
    }
}

fn reason(fleet: &FleetStatus) -> String {
    let Some(decision) = &fleet.decision else { return "not decided yet".into() };
    if let Some(hold) = decision.hold {
        return hold.reason.meaning().into();
    }
    let last = decision.trace.iter().rev().find(|step| step.before != step.after);
    last.map(|step| format!("{}: {}", step.stage, step.why.text(&fleet.policy))).unwrap_or_default()
}

fn groups(fleet: &FleetStatus) -> Vec<Group> {
    let one = |(group, status): (&policies::policy::Group, &crate::published::GroupStatus)| Group {
        provider: group.provider.to_string(),
        group: group.group.to_string(),
        current: status.current,
        desired: status.desired,
        draining: status.draining,
        instances: match (&status.unknown, status.at) {
            (None, Some(_)) => INSTANCE_STATES.iter().map(|state| (*state).into()).zip(status.instances).collect(),
            _ => BTreeMap::new(),
        },
        unknown: status.unknown.as_deref().map(str::to_owned),
        trouble: status.trouble.as_deref().map(str::to_owned),
    };
    fleet.policy.groups.iter().zip(&fleet.groups).map(one).collect()
}

fn readings(fleet: &FleetStatus, now: Timestamp) -> BTreeMap<String, Reading> {
    let one = |(metric, reading): (&policies::policy::Metric, &ReadingStatus)| {
        let reading = match reading {
            ReadingStatus::Value { value, at, from } => {
                let age = now.since(*at);
                let stale = age > metric.max_age;
                Reading {
                    value: Some(*value),
                    age_secs: Some(age.as_secs_f64()),
                    stale,
                    missing: None,
                    from: from.as_deref().map(str::to_owned),
                }
            }
            ReadingStatus::Missing(why) => {
                Reading { value: None, age_secs: None, stale: false, missing: Some((*why).into()), from: None }
            }
        };
        (metric.name.to_string(), reading)
    };
    fleet.policy.metrics.iter().zip(&fleet.readings).map(one).collect()
}

impl OverrideStatus {
    pub(super) fn new(row: &crate::store::OverrideRow) -> Self {
        let (kind, n, now) = match &row.what {
            Override::Hold { scale_in_only: false, .. } => ("hold", None, false),
            Override::Hold { scale_in_only: true, .. } => ("hold-scale-in", None, false),
            Override::Pin { n, now, .. } => ("pin", Some(*n), *now),
        };
        Self {
            kind: kind.into(),
            n,
            now,
            until: row.what.until().as_secs_f64(),
            reason: row.what.reason().into(),
            by: row.by.to_string(),
        }
    }

    /// In one line, for people.
    pub fn line(&self, now: f64) -> String {
        let left = Duration::try_from_secs_f64(self.until - now).unwrap_or_default();
        let what = match (self.kind.as_str(), self.n) {
            ("pin", Some(n)) => format!("pinned to {n}"),
            ("hold-scale-in", _) => "scale-in held".into(),
            _ => "held".into(),
        };
        format!("{what} by {} for another {}: {}", self.by, span(left), self.reason)
    }
}

/// A duration for people: its two largest units.
pub fn span(duration: Duration) -> String {
    let secs = duration.as_secs();
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 if secs.is_multiple_of(60) => format!("{}m", secs / 60),
        60..3600 => format!("{}m{}s", secs / 60, secs % 60),
        3600..86_400 => format!("{}h{}m", secs / 3600, secs / 60 % 60),
        _ => format!("{}d{}h", secs / 86_400, secs / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        for (secs, text) in [(0, "0s"), (59, "59s"), (60, "1m"), (90, "1m30s"), (3660, "1h1m"), (90_000, "1d1h")] {
            assert_eq!(span(Duration::from_secs(secs)), text);
        }
    }

    #[test]
    fn an_override_is_told_in_one_line() {
        let pin = OverrideStatus {
            kind: "pin".into(),
            n: Some(8),
            now: false,
            until: 1060.0,
            reason: "sale".into(),
            by: "ana".into(),
        };
        assert_eq!(pin.line(1000.0), "pinned to 8 by ana for another 1m: sale");
        assert_eq!(pin.line(2000.0), "pinned to 8 by ana for another 0s: sale");
    }
}
