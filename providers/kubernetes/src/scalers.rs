//! Other controllers of a group: HorizontalPodAutoscalers, and KEDA's ScaledObjects where KEDA is installed.
//!
//! They are listed at the start, every ten minutes, when a new group is asked for, and before a group is first written. A
//! group that has one, resting or not, has it looked at every half minute and before each write: who hands the group over
//! to skala or back changes what it may do, and neither nobody nor both shall scale it for long.
//! What could not be read stands in as an unknown controller, which stops writes: an error is unknown, never empty. A
//! cluster without KEDA has no such kind, and that is an answer: none. One that forbids the list does not tell, and is
//! asked whether it has the kind at all, which everybody may ask.

use crate::call::Call;
use crate::cluster::Cluster;
use crate::errors::{cut, nonsense};
use crate::kinds::Kind;
use crate::listing::Listed;
use crate::names::Name;
use crate::scaler::{Bounds, Known, Sort};
use crate::shapes::{ApiGroup, Object, Scaler, TargetRef};
use contract::{Capacity, Foreign, ProviderError, Target};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A listing that failed is tried again this much later.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// How old a listing may be when nothing is written, or a group that was written before.
pub(crate) const FRESH_ENOUGH: Duration = Duration::from_secs(600);
/// How old it may be when a group is written for the first time.
pub(crate) const FRESH_ENOUGH_AT_FIRST: Duration = Duration::from_secs(60);
/// How old it may be of a group that has an autoscaler.
const FRESH_ENOUGH_BESIDE: Duration = Duration::from_secs(30);
/// And when such a group is written.
const FRESH_ENOUGH_TO_WRITE_BESIDE: Duration = Duration::from_secs(5);

/// What is known of other controllers, by namespace.
#[derive(Debug, Default)]
pub(crate) struct Scalers {
    known: BTreeMap<(Box<str>, Sort), Listing>,
    /// When a routine listing was last begun.
    asked: Option<Instant>,
}

#[derive(Debug, Default)]
struct Listing {
    of: Vec<Known>,
    /// When the last listing that came was begun.
    read: Option<Instant>,
    trouble: Option<Box<str>>,
}

impl Scalers {
    /// The namespaces to list now, for groups by their namespace that were first seen at these times and have an
    /// autoscaler.
    pub fn due<'a>(
        &mut self,
        groups: impl Iterator<Item = (&'a str, Instant, bool)>,
        now: Instant,
    ) -> BTreeSet<Box<str>> {
        let (mut uncovered, mut newest, mut due) = (false, None, BTreeSet::new());
        for (place, first_seen, beside) in groups {
            let limit = if beside { FRESH_ENOUGH_BESIDE } else { FRESH_ENOUGH };
            newest = newest.max(Some(first_seen));
            for sort in Sort::ALL {
                let read = self.known.get(&(place.into(), sort)).and_then(|listing| listing.read);
                let unread = read.is_none_or(|read| read < first_seen);
                uncovered |= unread;
                if unread || read.is_some_and(|read| now.saturating_duration_since(read) >= limit) {
                    due.insert(place.into());
                }
            }
        }
        let waited = self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= ASK_AGAIN);
        let unasked = uncovered && self.asked < newest;
        if due.is_empty() || !(unasked || waited) {
            return BTreeSet::new();
        }
        self.asked = Some(now);
        due
    }

    /// How long ago the controllers of a namespace were read; `None` when not since a time.
    fn age(&self, place: &str, since: Option<Instant>, now: Instant) -> Option<Duration> {
        let reads = Sort::ALL.map(|sort| self.known.get(&(place.into(), sort)).and_then(|listing| listing.read));
        let [Some(a), Some(b)] = reads else { return None };
        let read = a.min(b);
        since.is_none_or(|since| read >= since).then(|| now.saturating_duration_since(read))
    }

    /// The foreign controllers of a group that was first seen at a time. A sort that was not read since stands in as one
    /// that may do anything.
    pub fn of(&self, name: &Name, kind: Option<&Kind>, first_seen: Option<Instant>) -> Vec<Foreign> {
        let mut all = Vec::new();
        for sort in Sort::ALL {
            let listing = self.known.get(&(name.namespace.clone(), sort));
            let read = listing.and_then(|listing| listing.read);
            if read.is_none() || read < first_seen {
                let trouble = listing.and_then(|listing| listing.trouble.as_deref());
                let what = format!("unknown {}s: {}", sort.words(), trouble.unwrap_or("not read yet"));
                all.push(Foreign { name: what.into(), removes: None });
            }
        }
        all.extend(self.beside(name, kind).filter_map(|known| known.foreign.clone()));
        all
    }

    /// What scales a group, or would if it were not resting.
    pub fn beside<'a>(&'a self, name: &'a Name, kind: Option<&'a Kind>) -> impl Iterator<Item = &'a Known> {
        let listings = Sort::ALL.into_iter().filter_map(|sort| self.known.get(&(name.namespace.clone(), sort)));
        listings.flat_map(|listing| &listing.of).filter(move |known| aims_at(&known.target, name, kind))
    }

    /// What a group's autoscalers keep it to, resting or not.
    pub fn bounds(&self, name: &Name, kind: Option<&Kind>) -> Option<Bounds> {
        let all = self.beside(name, kind).filter_map(|known| known.bounds);
        all.reduce(|a, b| Bounds { min: a.min.max(b.min), max: a.max.min(b.max) })
    }

    fn learn(&mut self, sort: Sort, places: &BTreeSet<&str>, listed: Listed<Scaler>, begun: Instant) {
        let mut of: BTreeMap<Box<str>, Vec<Known>> = BTreeMap::new();
        for scaler in &listed.items {
            let place = scaler.metadata.namespace.as_deref().unwrap_or_default();
            of.entry(place.into()).or_default().push(sort.read(scaler));
        }
        for place in places {
            let listing = self.known.entry(((*place).into(), sort)).or_default();
            match listed.broken.get(*place) {
                Some(error) => listing.trouble = Some(cut(&error.to_string(), 160)),
                // One that was overtaken by a later one is dropped.
                None if listing.read.is_some_and(|read| read > begun) => {}
                None => {
                    let of = of.remove(*place).unwrap_or_default();
                    *listing = Listing { of, read: Some(begun), trouble: None };
                }
            }
        }
    }
}

/// Whether a reference means this group. A part that is not said is taken for a match: better one controller too many.
pub(crate) fn aims_at(target: &TargetRef, name: &Name, kind: Option<&Kind>) -> bool {
    let Some(kind) = kind else { return target.name == *name.name };
    let group = target.api_version.as_deref().map(|version| version.split_once('/').map_or("", |(group, _)| group));
    target.name == *name.name
        && target.kind.as_deref().is_none_or(|other| other == kind.kind)
        && group.is_none_or(|group| group == kind.group)
}

impl Cluster {
    /// Lists other controllers in these namespaces, and remembers what was found.
    pub async fn list_scalers(self: &Arc<Self>, places: &BTreeSet<&str>, deadline: Instant) {
        let begun = Instant::now();
        let source = Sort::Hpa.source();
        let (hpa, keda) =
            futures_util::join!(self.list::<Scaler>(&source, places, deadline), self.list_keda(places, deadline));
        for (sort, listed) in [(Sort::Hpa, hpa), (Sort::Keda, keda)] {
            if let Some((place, error)) = listed.broken.first_key_value() {
                tracing::warn!(namespace = %place, %error, "cannot list {}s", sort.words());
            }
            self.memory(|memory| memory.scalers.learn(sort, places, listed, begun));
        }
    }

    /// Lists ScaledObjects; none where there is no KEDA.
    pub async fn list_keda<T: DeserializeOwned + Object>(
        &self,
        places: &BTreeSet<&str>,
        deadline: Instant,
    ) -> Listed<T> {
        let mut listed = self.list::<T>(&Sort::Keda.source(), places, deadline).await;
        let denied = listed.broken.values().any(|error| matches!(error, ProviderError::Denied { .. }));
        if denied && !listed.missing {
            // Permission is asked for before existence, so a refusal says nothing of KEDA.
            let call = Call::get("DiscoverGroup", "/apis/keda.sh".into());
            let asked: Result<ApiGroup, _> = self.lane.make(&call, deadline).await;
            listed.missing = asked.is_err_and(|failure| failure.missing);
        }
        if listed.missing { Listed::default() } else { listed }
    }

    /// Refuses when a group has a foreign controller that the last observation did not show.
    pub async fn no_new_foreign(self: &Arc<Self>, name: &Name, deadline: Instant) -> Result<(), ProviderError> {
        let (shown, written, first_seen) = self
            .group(name, |group| (group.shown_foreign.clone().unwrap_or_default(), group.written, group.first_seen));
        let kind = self.known_kind(&name.resource);
        let beside = self.memory(|memory| memory.scalers.beside(name, kind.as_ref()).next().is_some());
        let limit = match (beside, written) {
            (true, _) => FRESH_ENOUGH_TO_WRITE_BESIDE,
            (false, true) => FRESH_ENOUGH,
            (false, false) => FRESH_ENOUGH_AT_FIRST,
        };
        let age = self.memory(|memory| memory.scalers.age(&name.namespace, first_seen, Instant::now()));
        let mut since = first_seen;
        if age.is_none_or(|age| age > limit) {
            since = Some(Instant::now());
            self.list_scalers(&BTreeSet::from([&*name.namespace]), deadline).await;
        }
        let found = self.memory(|memory| memory.scalers.of(name, kind.as_ref(), since));
        let Some(new) = found.into_iter().find(|foreign| !shown.contains(foreign)) else { return Ok(()) };
        if new.removes.is_none() {
            return Err(nonsense(format!(
                "{}/{}: {}; nothing is written blindly",
                name.namespace, name.name, new.name
            )));
        }
        let what = format!("{}/{}: {} was not there when the group was observed", name.namespace, name.name, new.name);
        Err(ProviderError::Conflict { what: what.into() })
    }
    /// Refuses what an autoscaler would set back at once. An observation shows these bounds, so they are others by now.
    pub fn within_bounds(
        &self,
        target: &Target,
        name: &Name,
        from: Capacity,
        to: Capacity,
    ) -> Result<(), ProviderError> {
        let kind = self.known_kind(&name.resource);
        let Some(Bounds { min, max }) = self.memory(|memory| memory.scalers.bounds(name, kind.as_ref())) else {
            return Ok(());
        };
        if to <= max.max(from) && to >= min.min(from) || to == 0 {
            return Ok(());
        }
        let what =
            format!("{}: an autoscaler keeps it to {min} to {max} replicas, and {to} are asked for", target.group);
        Err(ProviderError::Conflict { what: what.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn scaler(sort: Sort, spec: Value) -> Known {
        let meta = json!({"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "1"});
        sort.read(&serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap())
    }

    #[test]
    fn a_controller_aims_at_one_kind_of_object() {
        let check = |sort: Sort, target: Value, id: &str, expected: bool| {
            let name = Name::parse(id).unwrap();
            let kind = match &name.resource {
                crate::names::Resource::Deployment => ("Deployment", "apps"),
                crate::names::Resource::StatefulSet => ("StatefulSet", "apps"),
                _ => ("Rollout", "argoproj.io"),
            };
            let kind = Kind { base: String::new(), plural: String::new(), kind: kind.0.into(), group: kind.1.into() };
            let target = scaler(sort, json!({ "scaleTargetRef": target })).target;
            assert_eq!(aims_at(&target, &name, Some(&kind)), expected, "{target:?} and {id}");
        };
        let deployment = || json!({"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"});
        check(Sort::Hpa, deployment(), "shop/web", true);
        check(Sort::Hpa, deployment(), "shop/api", false);
        check(Sort::Hpa, deployment(), "shop/statefulset/web", false);
        check(
            Sort::Hpa,
            json!({"kind": "Rollout", "name": "web", "apiVersion": "argoproj.io/v1alpha1"}),
            "shop/rollouts.argoproj.io/web",
            true,
        );
        check(Sort::Hpa, json!({"kind": "Deployment", "name": "web"}), "shop/web", true);
        check(Sort::Keda, json!({"name": "web"}), "shop/web", true);
        check(Sort::Keda, json!({"name": "web"}), "shop/statefulset/web", false);
    }

    #[test]
    fn listings_are_due_at_the_start_for_new_groups_and_every_ten_minutes() {
        let start = Instant::now();
        let later = |secs: u64| start + Duration::from_secs(secs);
        let mut scalers = Scalers::default();
        let check = |scalers: &mut Scalers, groups: &[(&str, u64, bool)], now: u64, due: &[&str], why: &str| {
            let groups = groups.iter().map(|(place, first, beside)| (*place, later(*first), *beside));
            let found = scalers.due(groups, later(now));
            assert_eq!(found.iter().map(|place| &**place).collect::<Vec<_>>(), due, "{why}");
        };
        let learn = |scalers: &mut Scalers, place: &str, at: u64| {
            for sort in Sort::ALL {
                scalers.learn(sort, &BTreeSet::from([place]), Listed::default(), later(at));
            }
        };
        let one = [("shop", 0, false)];
        check(&mut scalers, &one, 0, &["shop"], "nobody has looked");
        check(&mut scalers, &one, 5, &[], "the answer may still come");
        check(&mut scalers, &one, 20, &["shop"], "it has not come");
        learn(&mut scalers, "shop", 20);
        check(&mut scalers, &one, 500, &[], "it has");
        let two = [("shop", 0, false), ("bank", 500, false)];
        check(&mut scalers, &two, 500, &["bank"], "the second is new, and the first was looked at");
        learn(&mut scalers, "bank", 500);
        check(&mut scalers, &two, 600, &[], "both were");
        check(&mut scalers, &two, 625, &["shop"], "ten minutes are over for one of them");
        learn(&mut scalers, "shop", 625);
        let beside = [("shop", 0, false), ("bank", 500, true)];
        check(&mut scalers, &beside, 656, &["bank"], "what is beside skala is looked at twice a minute");
        learn(&mut scalers, "bank", 656);
        check(&mut scalers, &beside, 680, &[], "and no more often");
    }
}
