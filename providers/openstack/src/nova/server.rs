//! A server as Nova shows it, and what that means for a group.
//!
//! In comes JSON, out come states and facts; nothing here asks anybody. A state that nobody knows is there, does not
//! serve and must not be touched.

use crate::errors::fault_kind;
use crate::names;
use crate::times;
use contract::{FailureKind, InstanceId, InstanceState, LaunchFailure, Scope, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// How long the reason of a failed launch may be on its way.
const FAULT_COMES: Duration = Duration::from_secs(60);

/// One server of `GET /servers/detail`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Server {
    pub id: String,
    pub status: String,
    /// Absent below microversion 2.26, and of a server whose cell is down.
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default, rename = "OS-SRV-USG:launched_at")]
    launched_at: Option<String>,
    #[serde(default, rename = "OS-EXT-AZ:availability_zone")]
    zone: Option<String>,
    #[serde(default, rename = "OS-EXT-STS:task_state")]
    task: Option<String>,
    #[serde(default)]
    locked: Option<bool>,
    #[serde(default)]
    fault: Option<Fault>,
    /// An object with an id; an empty text for a server that boots from a volume.
    #[serde(default)]
    image: Value,
}

#[derive(Clone, Debug, Deserialize)]
struct Fault {
    #[serde(default)]
    message: String,
    #[serde(default)]
    created: Option<String>,
}

impl Server {
    pub fn instance(&self) -> InstanceId {
        InstanceId::from(self.id.as_str())
    }

    /// Its cell does not answer: Nova knows that it exists and nothing more.
    pub fn is_unknown(&self) -> bool {
        self.status == "UNKNOWN"
    }

    /// Nova may be handing it to a cell: from the request until the cell's compute host has taken it on.
    pub fn is_handed_over(&self) -> bool {
        self.status == "BUILD" && self.task.as_deref() == Some("scheduling")
    }

    pub fn carries(&self, tag: &str) -> bool {
        self.tags.iter().flatten().any(|carried| carried == tag)
    }

    /// The launch it came from, when skala started it.
    pub fn launch(&self) -> Option<&str> {
        self.tags.iter().flatten().find_map(|tag| names::launch_of(tag))
    }

    /// Its state; `None` when it is gone.
    ///
    /// A server that was shut off, paused or shelved does not serve, and comes back only when somebody makes it.
    pub fn state(&self) -> Option<InstanceState> {
        if matches!(self.task.as_deref(), Some("deleting" | "soft-deleting")) {
            return Some(InstanceState::Terminating);
        }
        Some(match self.status.as_str() {
            "ACTIVE" | "MIGRATING" | "PASSWORD" | "VERIFY_RESIZE" => InstanceState::Running,
            "BUILD" | "REBOOT" | "HARD_REBOOT" | "REBUILD" | "RESIZE" | "REVERT_RESIZE" => InstanceState::Pending,
            "ERROR" | "SHUTOFF" | "PAUSED" | "SUSPENDED" | "SHELVED" | "SHELVED_OFFLOADED" | "RESCUE" => {
                InstanceState::Failed
            }
            "DELETED" | "SOFT_DELETED" => return None,
            _ => InstanceState::Pending,
        })
    }

    /// It counts.
    pub fn is_alive(&self) -> bool {
        matches!(self.state(), Some(InstanceState::Pending | InstanceState::Running))
    }

    /// It must not be removed: somebody locked it, holds it in a state that only people choose, or nobody knows what it
    /// is doing.
    pub fn is_protected(&self) -> bool {
        const MAY_GO: &[&str] = &[
            "ACTIVE",
            "BUILD",
            "DELETED",
            "ERROR",
            "HARD_REBOOT",
            "MIGRATING",
            "PASSWORD",
            "REBOOT",
            "REBUILD",
            "RESIZE",
            "REVERT_RESIZE",
            "SHUTOFF",
            "SOFT_DELETED",
            "VERIFY_RESIZE",
        ];
        self.locked.unwrap_or(false) || !MAY_GO.contains(&self.status.as_str())
    }

    /// A launch of skala's that failed before the server ever ran: nothing was in it, and it only eats quota.
    pub fn is_stillborn(&self) -> bool {
        self.status == "ERROR"
            && self.launch().is_some()
            && self.launched_at.is_none()
            && !self.is_protected()
            && self.state() == Some(InstanceState::Failed)
    }

    /// What went wrong is said. Lists do not always say it: Nova looks in one of its databases only, and a server for which
    /// there was no host is in another one than those that a host took on.
    pub fn has_fault(&self) -> bool {
        self.fault.is_some()
    }

    /// When it was asked for.
    pub fn created(&self) -> Option<Timestamp> {
        times::read(self.created.as_deref()?)
    }

    /// When it first ran.
    pub fn running_since(&self) -> Option<Timestamp> {
        times::read(self.launched_at.as_deref()?)
    }

    /// The zone, once one is known.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref().filter(|zone| !zone.is_empty())
    }

    /// The id of the image it was made from; `None` when it boots from a volume.
    pub fn image(&self) -> Option<&str> {
        self.image.get("id")?.as_str()
    }

    /// What went wrong, when this is a launch that failed; `at` is the time of the look, which no failure is later than.
    /// Nova writes the reason a moment after the state: until then, or until it is too late for one, nothing is told.
    pub fn launch_failure(&self, at: Timestamp) -> Option<LaunchFailure> {
        let waits = self.fault.is_none() && self.created().is_some_and(|created| at < created.after(FAULT_COMES));
        if !self.is_stillborn() || waits {
            return None;
        }
        let words = self.fault.as_ref().map_or("", |fault| fault.message.as_str());
        let told = self.fault.as_ref().and_then(|fault| times::read(fault.created.as_deref()?));
        let kind = fault_kind(words);
        let scope = match (kind, self.zone()) {
            (FailureKind::QuotaExceeded, _) => Scope::Region,
            (FailureKind::OutOfCapacity, Some(zone)) => Scope::Zone(zone.into()),
            _ => Scope::Group,
        };
        let at = told.or(self.created()).unwrap_or(at).min(at);
        Some(LaunchFailure { kind, scope, at, message: crate::errors::cut(words, 200) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use InstanceState::{Failed, Pending, Running, Terminating};
    use serde_json::json;

    fn server(more: Value) -> Server {
        let mut server = json!({"id": "s1", "status": "ACTIVE", "tags": ["web", "skala-launch=9-0"]});
        for (key, value) in more.as_object().unwrap() {
            server[key] = value.clone();
        }
        serde_json::from_value(server).unwrap()
    }

    #[test]
    fn a_state_is_one_of_four_and_what_is_unknown_is_left_alone() {
        for (status, state, protected) in [
            ("ACTIVE", Some(Running), false),
            ("VERIFY_RESIZE", Some(Running), false),
            ("BUILD", Some(Pending), false),
            ("REBOOT", Some(Pending), false),
            ("ERROR", Some(Failed), false),
            ("SHUTOFF", Some(Failed), false),
            ("PAUSED", Some(Failed), true),
            ("SHELVED_OFFLOADED", Some(Failed), true),
            ("DELETED", None, false),
            ("SOFT_DELETED", None, false),
            ("DREAMING", Some(Pending), true),
        ] {
            let server = server(json!({ "status": status }));
            assert_eq!((server.state(), server.is_protected()), (state, protected), "{status}");
        }
        let leaving = server(json!({"OS-EXT-STS:task_state": "deleting"}));
        assert_eq!(leaving.state(), Some(Terminating));
        assert!(server(json!({"locked": true})).is_protected());
    }

    #[test]
    fn only_a_launch_of_ours_that_never_ran_is_stillborn() {
        let check = |more: Value, expected: bool| assert_eq!(server(more.clone()).is_stillborn(), expected, "{more}");
        check(json!({"status": "ERROR"}), true);
        check(json!({"status": "ERROR", "OS-SRV-USG:launched_at": null}), true);
        check(json!({"status": "ERROR", "OS-SRV-USG:launched_at": "2026-11-23T09:10:24.000000"}), false);
        check(json!({"status": "ERROR", "tags": ["web"]}), false);
        check(json!({"status": "ERROR", "locked": true}), false);
        check(json!({"status": "ERROR", "OS-EXT-STS:task_state": "deleting"}), false);
        check(json!({"status": "BUILD"}), false);
        check(json!({"status": "ACTIVE"}), false);
    }

    #[test]
    fn a_failed_launch_says_why_and_where() {
        let at = Timestamp::from_secs(1_795_425_100);
        let failure = |more: Value| server(more).launch_failure(at);
        let words = "No valid host was found. There are not enough hosts available.";
        let fault = json!({"message": words, "code": 500, "created": "2026-11-23T09:10:24Z"});
        let told = failure(json!({"status": "ERROR", "fault": fault, "OS-EXT-AZ:availability_zone": "az-1"})).unwrap();
        assert_eq!((told.kind, told.scope), (FailureKind::OutOfCapacity, Scope::Zone("az-1".into())));
        assert_eq!(told.at, Timestamp::from_secs(1_795_425_024));
        let later = json!({"message": words, "created": "2027-11-23T09:10:24Z"});
        let told = failure(json!({"status": "ERROR", "fault": later, "OS-EXT-AZ:availability_zone": ""})).unwrap();
        assert_eq!((told.scope, told.at), (Scope::Group, at));
        let created = |secs: i64| json!({"status": "ERROR", "created": format!("2026-11-23T09:{:02}:00Z", secs)});
        assert_eq!(failure(created(11)), None, "the reason may be on its way");
        assert_eq!(failure(created(9)).unwrap().kind, FailureKind::Other);
        assert_eq!(failure(json!({"status": "ACTIVE"})), None);
    }
}
