//! Azure's own autoscale: the settings of the subscription, by the set that they target.
//!
//! Listed at the start, for every set that is new, and every ten minutes, or every minute beside a setting that acts. What has not been read is shown as an unknown
//! controller, which stops writes: an error is unknown, never empty.

use super::Sets;
use crate::arm::{AUTOSCALE, AutoscaleCapacity, AutoscaleProperties, AutoscaleSetting};
use crate::errors::{cut, nonsense};
use crate::group::SetName;
use contract::{Capacity, Foreign, ProviderError, Timestamp};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

const EVERY: Duration = Duration::from_secs(600);
/// While a set that is asked for has a controller: when that is switched off, skala may act soon after.
const EVERY_BESIDE_ONE: Duration = Duration::from_secs(60);
/// A listing that failed is tried again this much later.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// The permission that the listing needs, as a custom role spells it.
const PERMISSION: &str = "Microsoft.Insights/autoscaleSettings/read";
/// How long an observation waits for the listing; it must not be delayed by another service than the compute one.
const A_LITTLE: Duration = Duration::from_millis(1_500);
/// How old the listing may be when a set is written for the first time by this process.
pub(super) const FRESH_ENOUGH_AT_FIRST: Duration = Duration::from_secs(60);

/// How old the last listing may be until somebody is told that no other comes.
const OLD: Duration = Duration::from_secs(3 * EVERY.as_secs());

/// A controller, and the bounds that it keeps the set within.
#[derive(Clone, Debug, PartialEq)]
struct Controller {
    shown: Foreign,
    bounds: Option<(Capacity, Capacity)>,
}

/// What is shown of a set's controllers: all of them, and the narrowest of their bounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Controllers {
    pub shown: Vec<Foreign>,
    pub min: Option<Capacity>,
    pub max: Option<Capacity>,
}

/// The autoscale settings as last listed.
#[derive(Debug, Default)]
pub(super) struct Listing {
    of: BTreeMap<Box<str>, Vec<Controller>>,
    /// When the last listing that came was asked for.
    read: Option<Timestamp>,
    asked: Option<Timestamp>,
    /// Why the listing that was asked for after it did not come.
    trouble: Option<Box<str>>,
    /// Somebody has been told that it is old.
    warned: bool,
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
    pub fn of(&self, key: &str, first_seen: Option<Timestamp>) -> Controllers {
        if self.read.is_none() || self.read < first_seen {
            let why = self.trouble.as_deref().unwrap_or("not read yet");
            let name = format!("autoscale settings, unknown: {why}").into();
            return Controllers { shown: vec![Foreign { name, removes: None }], ..Controllers::default() };
        }
        let known = self.of.get(key).map(Vec::as_slice).unwrap_or_default();
        let mut shown: Vec<Foreign> = known.iter().map(|one| one.shown.clone()).collect();
        let min = known.iter().filter_map(|one| one.bounds).map(|(min, _)| min).max();
        let max = known.iter().filter_map(|one| one.bounds).map(|(_, max)| max).min();
        if min > max {
            // Two settings that cannot both have their way: no capacity is safe from both.
            shown.iter_mut().for_each(|one| one.removes = None);
            return Controllers { shown, ..Controllers::default() };
        }
        Controllers { shown, min, max }
    }

    /// That the last listing is old, with the reason; `None` while it is not.
    pub fn old(&self, now: Timestamp) -> Option<Box<str>> {
        let (read, why) = (self.read?, self.trouble.as_deref()?);
        (now.since(read) > OLD).then(|| format!("autoscale settings last read {}: {why}", date(read)).into())
    }

    /// Whether it was asked for within this time.
    pub fn is_fresh(&self, within: Duration, now: Timestamp) -> bool {
        self.read.is_some_and(|read| read <= now && now.since(read) <= within)
    }
}

/// A time as a person reads it.
fn date(at: Timestamp) -> String {
    let secs = at.0.div_euclid(1_000_000);
    let date = azure_core::time::OffsetDateTime::from_unix_timestamp(secs);
    date.map_or_else(|_| at.to_string(), |date| azure_core::time::to_rfc3339(&date))
}

/// The controller that a setting is; `None` for one that is switched off.
fn controller(name: &str, setting: &AutoscaleProperties) -> Option<Controller> {
    if setting.enabled == Some(false) {
        return None;
    }
    let profiles = setting.profiles.as_deref().unwrap_or_default();
    let rules = || profiles.iter().flat_map(|profile| profile.rules.as_deref().unwrap_or_default());
    let direction = |rule: &crate::arm::AutoscaleRule| {
        rule.scale_action.as_ref().and_then(|action| action.direction.clone()).unwrap_or_default()
    };
    // Rules are no more than half of it: every profile also pulls the set into its bounds. With one profile and rules
    // that only add, those are bounds like any other; with several, one takes over from another and may remove.
    let adds = rules().all(|rule| direction(rule) == "Increase");
    let bounds = match profiles {
        [only] => only.capacity.as_ref().and_then(bounds),
        _ => None,
    };
    let removes = match (adds && profiles.len() == 1, bounds) {
        (true, Some(_)) => Some(false),
        // Above a maximum that nobody can read it removes.
        (true, None) => None,
        (false, _) => Some(true),
    };
    Some(Controller { shown: Foreign { name: format!("autoscale setting {name}").into(), removes }, bounds })
}

/// A profile's bounds, if they are any.
fn bounds(capacity: &AutoscaleCapacity) -> Option<(Capacity, Capacity)> {
    let number = |value: &Option<Value>| match value.as_ref()? {
        Value::String(text) => text.trim().parse::<Capacity>().ok(),
        value => value.as_u64().and_then(|number| Capacity::try_from(number).ok()),
    };
    let (min, max) = (number(&capacity.minimum)?, number(&capacity.maximum)?);
    (min <= max).then_some((min, max))
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
        let mut of: BTreeMap<Box<str>, Vec<Controller>> = BTreeMap::new();
        let listed = self
            .insights
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
                    *listing = Listing { of, read: Some(at), asked: listing.asked, ..Listing::default() };
                }
                Err(error) => {
                    listing.trouble = Some(cut(&error.to_string(), 120));
                    let old = listing.old(at).filter(|_| !listing.warned);
                    if let Some(why) = old {
                        listing.warned = true;
                        tracing::warn!(%why, "nobody knows which sets were given an autoscale setting since: see that these credentials may {PERMISSION}, or that Azure answers again");
                    }
                }
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
        assert!(unknown.shown.len() == 1 && unknown.shown[0].removes.is_none(), "{unknown:?}");
        listing.read = Some(at(0));
        assert_eq!(listing.of("rg/web", Some(at(0))), Controllers::default());
        assert_eq!(listing.of("rg/web", Some(at(1))).shown.len(), 1);
    }

    #[test]
    fn a_listing_that_does_not_come_any_more_is_told_of() {
        let mut listing = Listing { read: Some(at(0)), ..Listing::default() };
        assert_eq!(listing.old(at(100_000)), None, "nobody has asked in vain");
        listing.trouble = Some("denied: no".into());
        assert_eq!(listing.old(at(1_800)), None);
        let old = listing.old(at(1_801));
        assert_eq!(old.as_deref(), Some("autoscale settings last read 1970-01-01T00:16:40Z: denied: no"));
    }

    fn read(setting: &serde_json::Value) -> Option<Controller> {
        let properties: AutoscaleProperties = serde_json::from_value(setting.clone()).unwrap();
        controller("cpu", &properties)
    }

    fn one(capacity: serde_json::Value, directions: &[&str]) -> serde_json::Value {
        let rule = |direction| serde_json::json!({ "scaleAction": { "direction": direction } });
        let rules: Vec<_> = directions.iter().map(rule).collect();
        serde_json::json!({ "profiles": [{ "capacity": capacity, "rules": rules }] })
    }

    #[test]
    fn a_setting_that_only_adds_is_told_apart() {
        let check = |setting: serde_json::Value, expected: Option<Option<bool>>| {
            assert_eq!(read(&setting).map(|found| found.shown.removes), expected, "{setting}");
        };
        let good = || serde_json::json!({ "minimum": "2", "maximum": "6", "default": "2" });
        check(one(good(), &["Increase"]), Some(Some(false)));
        check(one(good(), &["Increase", "Decrease"]), Some(Some(true)));
        check(serde_json::json!({ "profiles": [{ "capacity": good(), "rules": [{}] }] }), Some(Some(true)));
        check(serde_json::json!({ "enabled": false, "profiles": [] }), None);
        check(serde_json::json!({ "profiles": [{ "rules": [] }, { "rules": [] }] }), Some(Some(true)));
        for unreadable in [
            serde_json::json!(null),
            serde_json::json!({}),
            serde_json::json!({ "minimum": "2" }),
            serde_json::json!({ "minimum": "2", "maximum": "many" }),
            serde_json::json!({ "minimum": "2", "maximum": -6 }),
            serde_json::json!({ "minimum": "7", "maximum": "6" }),
        ] {
            check(one(unreadable, &["Increase"]), Some(None));
        }
    }

    #[test]
    fn the_narrowest_bounds_are_shown() {
        let capacity = |min: u32, max: u32| serde_json::json!({ "minimum": min.to_string(), "maximum": max });
        let of = |settings: &[serde_json::Value]| {
            let found = settings.iter().filter_map(read).collect();
            let listing =
                Listing { of: BTreeMap::from([("rg/web".into(), found)]), read: Some(at(0)), ..Listing::default() };
            let found = listing.of("rg/web", Some(at(0)));
            (found.min, found.max, found.shown.iter().map(|one| one.removes).collect::<Vec<_>>())
        };
        let adds = |min, max| one(capacity(min, max), &["Increase"]);
        assert_eq!(of(&[adds(2, 6)]), (Some(2), Some(6), vec![Some(false)]));
        assert_eq!(of(&[adds(2, 6), adds(3, 9)]), (Some(3), Some(6), vec![Some(false); 2]));
        assert_eq!(of(&[adds(2, 6), adds(7, 9)]), (None, None, vec![None; 2]), "they fight each other");
        assert_eq!(of(&[]), (None, None, vec![]));
        let two = serde_json::json!({ "profiles": [{ "capacity": capacity(2, 6) }, { "capacity": capacity(1, 9) }] });
        assert_eq!(of(&[two]), (None, None, vec![Some(true)]), "which of them acts is not known here");
    }
}
