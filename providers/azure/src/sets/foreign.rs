//! Azure's own autoscale: the settings of the subscription, by the set that they target.
//!
//! Listed at the start, for every set that is new, and every ten minutes, or every minute beside a setting that acts. What has not been read is shown as an unknown
//! controller, which stops writes: an error is unknown, never empty.

use super::Sets;
use crate::arm::{AUTOSCALE, AutoscaleProperties, AutoscaleSetting};
use crate::errors::{cut, nonsense};
use crate::group::SetName;
use contract::{Foreign, ProviderError, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

const EVERY: Duration = Duration::from_secs(600);
/// While a set that is asked for has a controller: when that is switched off, skala may act soon after.
const EVERY_BESIDE_ONE: Duration = Duration::from_secs(60);
/// A listing that failed is tried again this much later.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// How long an observation waits for the listing; it must not be delayed by another service than the compute one.
const A_LITTLE: Duration = Duration::from_millis(1_500);
/// How old the listing may be when a set is written for the first time by this process.
pub(super) const FRESH_ENOUGH_AT_FIRST: Duration = Duration::from_secs(60);

/// The autoscale settings as last listed.
#[derive(Debug, Default)]
pub(super) struct Listing {
    of: BTreeMap<Box<str>, Vec<Foreign>>,
    /// When the last listing that came was asked for.
    read: Option<Timestamp>,
    asked: Option<Timestamp>,
    trouble: Option<Box<str>>,
}

impl Listing {
    /// Whether to list now; `wanted`: a set was first seen then; `beside`: one of the sets has a controller.
    fn is_due(&self, wanted: Option<Timestamp>, beside: bool, now: Timestamp) -> bool {
        let rested = |since: Option<Timestamp>, span| since.is_none_or(|at| now < at || now.since(at) >= span);
        if self.read < wanted {
            // Nobody has asked since it came, or it was asked in vain a while ago.
            return self.asked < wanted || rested(self.asked, ASK_AGAIN);
        }
        let every = if beside { EVERY_BESIDE_ONE } else { EVERY };
        rested(self.read, every) && rested(self.asked, ASK_AGAIN)
    }

    /// The controllers of a set that was first seen at a time.
    pub fn of(&self, key: &str, first_seen: Option<Timestamp>) -> Vec<Foreign> {
        if self.read.is_some() && self.read >= first_seen {
            return self.of.get(key).cloned().unwrap_or_default();
        }
        let why = self.trouble.as_deref().unwrap_or("not read yet");
        vec![Foreign { name: format!("autoscale settings, unknown: {why}").into(), removes: None }]
    }

    /// Whether it was asked for within this time.
    pub fn is_fresh(&self, within: Duration, now: Timestamp) -> bool {
        self.read.is_some_and(|read| read <= now && now.since(read) <= within)
    }
}

/// The controller that a setting is; `None` for one that is switched off.
fn controller(name: &str, setting: &AutoscaleProperties) -> Option<Foreign> {
    if setting.enabled == Some(false) {
        return None;
    }
    let profiles = setting.profiles.as_deref().unwrap_or_default();
    let rules = || profiles.iter().flat_map(|profile| profile.rules.as_deref().unwrap_or_default());
    let direction = |rule: &crate::arm::AutoscaleRule| {
        rule.scale_action.as_ref().and_then(|action| action.direction.clone()).unwrap_or_default()
    };
    // Rules are no more than half of it: every profile also pulls the set below its maximum. With one profile and rules
    // that only add, that maximum is a bound like any other; with several, one takes over from another and may remove.
    let adds = rules().all(|rule| direction(rule) == "Increase");
    let removes = !adds || profiles.len() != 1;
    Some(Foreign { name: format!("autoscale setting {name}").into(), removes: Some(removes) })
}

impl Sets {
    /// Notes sets that are new, and lists the settings when it is time.
    pub(super) async fn look_around(&self, keys: &BTreeSet<Box<str>>, at: Timestamp) {
        let due = self.memory(|memory| {
            let mut wanted = None;
            for key in keys {
                let group = memory.groups.entry(key.clone()).or_default();
                wanted = wanted.max(Some(*group.first_seen.get_or_insert(at)));
            }
            let beside = keys.iter().any(|key| memory.autoscale.of.contains_key(key));
            memory.autoscale.is_due(wanted, beside, at)
        });
        if due {
            let deadline = self.wire.soon().min(Instant::now() + A_LITTLE);
            if let Err(error) = self.list_foreign(at, deadline).await {
                tracing::debug!(%error, "cannot list autoscale settings");
            }
        }
    }

    /// Lists the subscription's settings.
    pub(super) async fn list_foreign(&self, at: Timestamp, deadline: Instant) -> Result<(), ProviderError> {
        self.memory(|memory| memory.autoscale.asked = Some(at));
        let path = format!("/subscriptions/{}/providers/Microsoft.Insights/autoscaleSettings", self.subscription);
        let mut of: BTreeMap<Box<str>, Vec<Foreign>> = BTreeMap::new();
        let listed = self
            .pages("ListAutoscaleSettings", &path, AUTOSCALE, &[], deadline, |item| {
                let setting: AutoscaleSetting = serde_json::from_str(item)
                    .map_err(|error| nonsense(format!("an autoscale setting as no version has it: {error}")))?;
                let target = setting.properties.target_resource_uri.as_deref().unwrap_or_default();
                let found = controller(setting.name.as_deref().unwrap_or("without a name"), &setting.properties);
                if let (Some(name), Some(found)) = (SetName::of_id(target, &self.subscription), found) {
                    let of_set = of.entry(name.key()).or_default();
                    if !of_set.contains(&found) {
                        of_set.push(found);
                    }
                }
                Ok(true)
            })
            .await;
        self.memory(|memory| {
            let listing = &mut memory.autoscale;
            match &listed {
                Ok(()) => {
                    *listing = Listing { of, read: Some(at), asked: listing.asked, trouble: None };
                }
                Err(error) => listing.trouble = Some(cut(&error.to_string(), 120)),
            }
        });
        listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_000 + secs)
    }

    #[test]
    fn a_new_set_is_asked_for_at_once_and_all_every_ten_minutes() {
        let mut listing = Listing::default();
        let due = |listing: &Listing, wanted, now| listing.is_due(wanted, false, now);
        assert!(due(&listing, Some(at(0)), at(0)));
        listing.asked = Some(at(0));
        assert!(!due(&listing, Some(at(0)), at(14)), "it was asked in vain a moment ago");
        assert!(due(&listing, Some(at(0)), at(15)));
        listing.read = Some(at(0));
        assert!(!due(&listing, Some(at(0)), at(599)));
        assert!(due(&listing, Some(at(0)), at(600)));
        assert!(!listing.is_due(Some(at(0)), true, at(59)) && listing.is_due(Some(at(0)), true, at(60)), "it may go");
        assert!(due(&listing, Some(at(7)), at(7)), "a set that came later is covered by no listing");
    }

    #[test]
    fn what_was_not_read_is_an_unknown_controller() {
        let mut listing = Listing::default();
        let unknown = listing.of("rg/web", Some(at(0)));
        assert!(unknown.len() == 1 && unknown[0].removes.is_none(), "{unknown:?}");
        listing.read = Some(at(0));
        assert_eq!(listing.of("rg/web", Some(at(0))), vec![]);
        assert_eq!(listing.of("rg/web", Some(at(1))).len(), 1);
    }

    #[test]
    fn a_setting_that_only_adds_is_told_apart() {
        let check = |setting: serde_json::Value, expected: Option<Option<bool>>| {
            let properties: AutoscaleProperties = serde_json::from_value(setting.clone()).unwrap();
            assert_eq!(controller("cpu", &properties).map(|found| found.removes), expected, "{setting}");
        };
        let rule = |direction: &str| serde_json::json!({ "scaleAction": { "direction": direction } });
        let one = |rules: Vec<serde_json::Value>| serde_json::json!({ "profiles": [{ "rules": rules }] });
        check(one(vec![rule("Increase")]), Some(Some(false)));
        check(one(vec![rule("Increase"), rule("Decrease")]), Some(Some(true)));
        check(one(vec![serde_json::json!({})]), Some(Some(true)));
        check(serde_json::json!({ "enabled": false, "profiles": [] }), None);
        check(serde_json::json!({ "profiles": [{ "rules": [] }, { "rules": [] }] }), Some(Some(true)));
    }
}
