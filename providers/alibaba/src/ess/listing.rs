//! Listings by page number, and scaling groups by what users call them.
//!
//! Page numbers are no snapshot: what comes or goes between two pages shifts the rest. So an answer says how many items
//! there are, and a listing that holds fewer is not complete: what is missing from it is unknown, not gone.

use super::Ess;
use crate::api::{self, Group, Groups, NAMES, PAGE, Page, Parameters};
use crate::errors::nonsense;
use contract::{ProviderError, Timestamp};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// Calls in the air at once.
pub(super) const CONCURRENT: usize = 4;
/// More items than any region has; an answer that says so is none.
const TOTAL_MAX: usize = 200_000;

/// What a listing gave.
pub(super) struct Listing<T> {
    /// By id, each once; of two with one id the first, which is the older.
    pub items: BTreeMap<String, T>,
    /// How many there are in all, by the first page.
    pub said: usize,
    /// A page that did not come.
    pub broken: Option<ProviderError>,
}

impl<T> Listing<T> {
    fn new() -> Self {
        Self { items: BTreeMap::new(), said: 0, broken: None }
    }

    /// Why an item that is not in the list may be there all the same.
    pub fn gap(&self, operation: &str) -> Option<ProviderError> {
        let short = self.items.len() < self.said;
        self.broken.as_ref().map(ProviderError::again).or_else(|| {
            let came = self.items.len();
            short.then(|| nonsense(format!("{operation}: {} are said to be there, and {came} came", self.said)))
        })
    }

    /// All items, or why they are not all there.
    pub fn all(self, operation: &str) -> Result<BTreeMap<String, T>, ProviderError> {
        self.gap(operation).map_or(Ok(self.items), Err)
    }
}

/// How one listing is asked for and read.
pub(super) struct Asked<'a, T> {
    pub operation: &'static str,
    pub size: usize,
    pub parameters: &'a (dyn Fn() -> Parameters + Sync),
    pub id: fn(&T) -> Option<&String>,
    /// Asked with the number of all items, after the first page: whether the other pages are worth their calls.
    pub go_on: &'a (dyn Fn(usize) -> bool + Sync),
}

/// Every listing goes to its end, unless somebody knows better.
pub(super) fn always(_: usize) -> bool {
    true
}

/// One group as it was asked for.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub group: Group,
    /// Its id, which a described group always has.
    pub id: Box<str>,
    /// The time before the call.
    pub at: Timestamp,
}

/// `asg-` and a run of letters and digits is an id, as far as its form tells; anything else is a name.
fn is_id(name: &str) -> bool {
    let plain = |rest: &str| rest.len() >= 12 && rest.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.strip_prefix("asg-").is_some_and(plain)
}

/// An empty name must never be sent: a list without names means *all* groups.
fn is_name(name: &str) -> bool {
    !name.trim().is_empty() && name.chars().count() <= 128 && !name.chars().any(char::is_control)
}

impl Ess {
    /// Follows a listing over all its pages; those after the first are asked for together.
    pub(super) async fn list<P>(&self, asked: &Asked<'_, P::Item>) -> Listing<P::Item>
    where
        P: Page + DeserializeOwned + Send,
        P::Item: Send,
    {
        let mut listing = Listing::new();
        let total = match self.page::<P>(asked, 1, &mut listing).await {
            Ok(total) => total,
            Err(error) => {
                listing.broken = Some(error);
                return listing;
            }
        };
        let pages = total.div_ceil(asked.size);
        if pages > 1 && (asked.go_on)(total) {
            let calls = (2..=pages).map(|number| async move {
                let mut part = Listing::new();
                part.broken = self.page::<P>(asked, number, &mut part).await.err();
                part
            });
            let calls: Vec<_> = calls.collect();
            let parts: Vec<_> = futures_util::stream::iter(calls).buffered(CONCURRENT).collect().await;
            for part in parts {
                for (id, item) in part.items {
                    listing.items.entry(id).or_insert(item);
                }
                listing.broken = listing.broken.or(part.broken);
            }
        }
        listing.said = total;
        listing
    }

    /// Reads one page; says how many items there are in all.
    async fn page<P>(
        &self,
        asked: &Asked<'_, P::Item>,
        number: usize,
        listing: &mut Listing<P::Item>,
    ) -> Result<usize, ProviderError>
    where
        P: Page + DeserializeOwned,
    {
        let query = (asked.parameters)().page(number, asked.size).done();
        let page: P = self.wire.read(asked.operation, query).await.map_err(|failure| failure.error)?;
        let (total, items) = page.parts();
        let wrong = |what: &str| nonsense(format!("{}: {what}", asked.operation));
        let total = total.and_then(|total| usize::try_from(total).ok()).filter(|total| *total <= TOTAL_MAX);
        let total = total.ok_or_else(|| wrong("the answer does not say how many there are"))?;
        let items = match items {
            Some(items) => items,
            None if total == 0 => Vec::new(),
            None => return Err(wrong("the answer has no list")),
        };
        for item in items {
            let id = (asked.id)(&item).filter(|id| !id.is_empty()).cloned();
            let id = id.ok_or_else(|| wrong("something in the list has no id"))?;
            listing.items.entry(id).or_insert(item);
        }
        Ok(total)
    }

    /// Describes groups by what users call them; every name is answered.
    pub(super) async fn describe<'a>(
        &self,
        names: &BTreeSet<&'a str>,
    ) -> BTreeMap<&'a str, Result<Seen, ProviderError>> {
        let mut answers: BTreeMap<&str, Result<Seen, ProviderError>> = BTreeMap::new();
        let mut open: BTreeSet<&str> = BTreeSet::new();
        for name in names {
            if is_name(name) {
                open.insert(name);
            } else {
                let what = format!("{name:?} is neither a scaling group's id (asg-...) nor a name");
                answers.insert(name, Err(ProviderError::Invalid { what: what.into() }));
            }
        }
        if self.is_better_listed(open.len()) {
            let at = (self.now)();
            let wanted = open.len();
            let listing = self.groups(&|| self.parameters(), &|total| pays(total, wanted)).await;
            for name in open.clone() {
                match (find(name, &listing.items, at), &listing.broken) {
                    (Some(answer), _) => _ = answers.insert(name, answer),
                    (None, Some(error)) => _ = answers.insert(name, Err(error.again())),
                    // Missing from pages that are no snapshot: asked for by name, which tells for sure.
                    (None, None) => continue,
                }
                open.remove(name);
            }
        }
        let (ids, names): (Vec<&str>, Vec<&str>) = open.into_iter().partition(|name| is_id(name));
        answers.extend(self.by_names(&[("ScalingGroupIds", &ids), ("ScalingGroupNames", &names)]).await);
        // A name may look like an id.
        let is_missing = |id: &&str| matches!(answers.get(id), Some(Err(ProviderError::NotFound { .. })));
        let missing: Vec<&str> = ids.into_iter().filter(is_missing).collect();
        answers.extend(self.by_names(&[("ScalingGroupNames", &missing)]).await);
        answers
    }

    async fn by_names<'a>(&self, asked: &[(&str, &[&'a str])]) -> Vec<(&'a str, Result<Seen, ProviderError>)> {
        let chunks = asked.iter().flat_map(|(key, names)| names.chunks(NAMES).map(move |chunk| (*key, chunk)));
        let calls: Vec<_> = chunks.map(|(key, chunk)| self.by_name(key, chunk)).collect();
        let found: Vec<_> = futures_util::stream::iter(calls).buffered(CONCURRENT).collect().await;
        found.into_iter().flatten().collect()
    }

    /// One group, for a write: a fresh read.
    pub(super) async fn describe_one(&self, name: &str) -> Result<Seen, ProviderError> {
        let answer = self.describe(&BTreeSet::from([name])).await.remove(name);
        answer.unwrap_or_else(|| Err(nonsense(format!("{name}: it was not answered"))))
    }

    async fn by_name<'a>(&self, key: &str, names: &[&'a str]) -> Vec<(&'a str, Result<Seen, ProviderError>)> {
        let at = (self.now)();
        let listing = self.groups(&|| self.parameters().list(key, names), &always).await;
        let gap = listing.gap("DescribeScalingGroups");
        let answer = |name: &'a str| match (find(name, &listing.items, at), &gap) {
            (Some(answer), _) => (name, answer),
            (None, Some(error)) => (name, Err(error.again())),
            (None, None) => {
                let what = format!("scaling group {name}: it does not exist in {}, or is disabled", self.region);
                (name, Err(ProviderError::NotFound { what: what.into() }))
            }
        };
        names.iter().map(|name| answer(name)).collect()
    }

    async fn groups(
        &self,
        parameters: &(dyn Fn() -> Parameters + Sync),
        go_on: &(dyn Fn(usize) -> bool + Sync),
    ) -> Listing<Group> {
        let remember = |total: usize| {
            self.memory(|memory| memory.groups_of_region = Some(total));
            go_on(total)
        };
        let asked = Asked {
            operation: "DescribeScalingGroups",
            size: PAGE,
            parameters,
            id: |group: &api::Group| group.scaling_group_id.as_ref(),
            go_on: &remember,
        };
        self.list::<Groups>(&asked).await
    }

    /// Whether reading the region's pages takes fewer calls than asking for so many groups by name.
    fn is_better_listed(&self, wanted: usize) -> bool {
        let known = self.memory(|memory| memory.groups_of_region);
        wanted > NAMES && known.is_none_or(|total| pays(total, wanted))
    }
}

fn pays(total: usize, wanted: usize) -> bool {
    total.div_ceil(PAGE) <= wanted.div_ceil(NAMES)
}

/// The one group of this id or name.
fn find(name: &str, items: &BTreeMap<String, Group>, at: Timestamp) -> Option<Result<Seen, ProviderError>> {
    if let Some((id, group)) = items.get_key_value(name) {
        return Some(Ok(Seen { group: group.clone(), id: id.as_str().into(), at }));
    }
    let mut named = items.iter().filter(|(_, group)| group.scaling_group_name.as_deref() == Some(name));
    let (id, group) = named.next()?;
    if let Some((other, _)) = named.next() {
        let what = format!("two scaling groups are called {name:?}, {id} and {other}; use the id");
        return Some(Err(ProviderError::Invalid { what: what.into() }));
    }
    Some(Ok(Seen { group: group.clone(), id: id.as_str().into(), at }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_told_from_a_name() {
        for (text, id) in
            [("asg-bp18p2yfxow2dloq", true), ("asg-web", false), ("web", false), ("asg-BP18P2YFXOW2", false)]
        {
            assert_eq!(is_id(text), id, "{text}");
        }
        for (text, name) in [("", false), (" ", false), ("a\nb", false), ("web-1", true)] {
            assert_eq!(is_name(text), name, "{text:?}");
        }
    }

    #[test]
    fn the_cheaper_way_is_taken() {
        // Calls by page against calls by name.
        for (total, wanted, page) in [(50, 21, true), (150, 21, false), (1_000, 1_000, true), (9_000, 1_000, false)] {
            assert_eq!(pays(total, wanted), page, "{total} {wanted}");
        }
    }

    #[test]
    fn a_name_that_two_groups_bear_is_refused() {
        let group = |id: &str, name: &str| {
            let group =
                Group { scaling_group_id: Some(id.into()), scaling_group_name: Some(name.into()), ..Group::default() };
            (id.to_owned(), group)
        };
        let items = BTreeMap::from([group("asg-1", "web"), group("asg-2", "web"), group("asg-3", "db")]);
        let code = |name: &str| find(name, &items, Timestamp(0)).map(|found| found.map(|seen| seen.id));
        assert_eq!(code("web").unwrap().unwrap_err().code(), "invalid");
        assert_eq!(&*code("db").unwrap().unwrap(), "asg-3");
        assert_eq!(&*code("asg-2").unwrap().unwrap(), "asg-2");
        assert!(code("x").is_none());
    }
}
