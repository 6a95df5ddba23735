//! Lists, page by page: of the whole cluster when many namespaces are meant, else of each namespace.
//!
//! Out go the items of the namespaces that were asked for, and why a namespace's are not complete. Only from a complete
//! list may anybody conclude that something does not exist.

use crate::call::{Call, escape};
use crate::cluster::Cluster;
use crate::errors::{Failure, nonsense};
use crate::shapes::{Object, Page};
use contract::ProviderError;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// Items in a page; the API's own tools ask for as many.
const PAGE: usize = 500;
/// Pages followed: 150,000 pods are what a cluster may hold.
const PAGES_MAX: usize = 400;
/// Up to so many namespaces are listed one by one, which needs no more than a Role in each.
const NARROW_MAX: usize = 3;
/// A list of the whole cluster that failed, or is longer than a page for each namespace, is asked for again after this
/// long.
const NARROW_FOR: Duration = Duration::from_secs(3600);
/// Lists in the air at once.
const CONCURRENT: usize = 4;

/// Asks for the metadata of objects alone.
pub(crate) const BARE_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// What is listed.
pub(crate) struct Source {
    /// Its name in metrics.
    pub operation: &'static str,
    /// `/api/v1`, `/apis/GROUP/VERSION`.
    pub base: String,
    pub plural: String,
    pub accept: Option<&'static str>,
    /// More of the query, beginning with `&`.
    pub query: String,
}

impl Source {
    pub fn new(operation: &'static str, base: &str, plural: &str) -> Self {
        Self { operation, base: base.into(), plural: plural.into(), accept: None, query: String::new() }
    }

    fn path(&self, namespace: Option<&str>, next: Option<&str>) -> String {
        let place = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
        let next = next.map(|next| format!("&continue={}", escape(next))).unwrap_or_default();
        format!("{}{place}/{}?limit={PAGE}{}{next}", self.base, self.plural, self.query)
    }
}

/// What came of a list.
pub(crate) struct Listed<T> {
    pub items: Vec<T>,
    /// Namespaces whose list is not complete, with the reason.
    pub broken: BTreeMap<Box<str>, ProviderError>,
    /// The server does not know this kind at all.
    pub missing: bool,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { items: Vec::new(), broken: BTreeMap::new(), missing: false }
    }
}

impl Cluster {
    /// Lists what is in these namespaces.
    pub async fn list<T: DeserializeOwned + Object>(
        &self,
        source: &Source,
        namespaces: &BTreeSet<&str>,
        deadline: Instant,
    ) -> Listed<T> {
        let mut listed = Listed::default();
        if namespaces.is_empty() {
            return listed;
        }
        if let Err(failure) = self.lane.ready(deadline).await {
            listed.take(Vec::new(), Some(failure), namespaces);
            return listed;
        }
        let mut may_be_everybodys = false;
        if namespaces.len() > NARROW_MAX && !self.is_narrow(source) {
            // The other half of the time is for the lists of each namespace.
            let half = deadline - deadline.saturating_duration_since(Instant::now()) / 2;
            let most = PAGE * namespaces.len();
            let (items, failure) = self.pages_up_to(most, source, None, half).await;
            let own = failure.as_ref().filter(|failure| is_of_the_list(failure));
            may_be_everybodys = own.is_some_and(|own| !matches!(own.error, ProviderError::Denied { .. }));
            if own.is_some() || items.len() > most {
                self.memory(|memory| memory.narrow.insert(source.operation, Instant::now()));
            }
            if own.is_none() {
                listed.take(items, failure, namespaces);
                return listed;
            }
        }
        let calls: Vec<_> = namespaces.iter().map(|place| self.pages(source, Some(place), deadline)).collect();
        let mut answers = futures_util::stream::iter(calls).buffered(CONCURRENT);
        for place in namespaces {
            if let Some((items, failure)) = answers.next().await {
                listed.take(items, failure, &BTreeSet::from([*place]));
            }
        }
        // Of a cluster that answers to nothing, nothing is learnt about one list.
        if may_be_everybodys && listed.broken.len() == namespaces.len() && Instant::now() < deadline {
            self.memory(|memory| memory.narrow.remove(source.operation));
        }
        listed
    }

    fn is_narrow(&self, source: &Source) -> bool {
        let refused = self.memory(|memory| memory.narrow.get(source.operation).copied());
        refused.is_some_and(|at| Instant::now().saturating_duration_since(at) < NARROW_FOR)
    }

    /// All pages of one list, or those before the one that failed. A list whose continuation the server no longer keeps
    /// is begun again, once.
    pub async fn pages<T: DeserializeOwned + Object>(
        &self,
        source: &Source,
        namespace: Option<&str>,
        deadline: Instant,
    ) -> (Vec<T>, Option<Failure>) {
        self.pages_up_to(usize::MAX, source, namespace, deadline).await
    }

    /// As [`Cluster::pages`]; a list with more items than `most` is broken off as soon as that shows.
    async fn pages_up_to<T: DeserializeOwned + Object>(
        &self,
        most: usize,
        source: &Source,
        namespace: Option<&str>,
        deadline: Instant,
    ) -> (Vec<T>, Option<Failure>) {
        let (items, failure) = self.pages_once(most, source, namespace, deadline).await;
        match failure {
            Some(Failure { gone: true, .. }) => self.pages_once(most, source, namespace, deadline).await,
            failure => (items, failure),
        }
    }

    async fn pages_once<T: DeserializeOwned + Object>(
        &self,
        most: usize,
        source: &Source,
        namespace: Option<&str>,
        deadline: Instant,
    ) -> (Vec<T>, Option<Failure>) {
        let (mut items, mut told, mut next) = (Vec::new(), BTreeSet::new(), None::<String>);
        let broken = |why: &str| {
            let error = nonsense(format!("{}: {why}", source.operation));
            Some(Failure { error, missing: false, gone: false, harmless: true })
        };
        for _ in 0..PAGES_MAX {
            let path = source.path(namespace, next.as_deref());
            let call = Call { accept: source.accept, ..Call::get(source.operation, path) };
            let page: Page<T> = match self.lane.make(&call, deadline).await {
                Ok(page) => page,
                Err(failure) => return (items, Some(failure)),
            };
            if !page.kind.ends_with("List") {
                return (items, broken(&format!("the answer is a {:?} and no list", page.kind)));
            }
            items.extend(page.items.unwrap_or_default());
            next = page.metadata.next.filter(|next| !next.is_empty());
            match &next {
                None => return (items, None),
                Some(_) if items.len() > most => {
                    return (items, broken("most of it is not in the namespaces that are meant"));
                }
                Some(next) if !told.insert(next.clone()) => {
                    return (items, broken("the same page is offered again and again"));
                }
                Some(_) => {}
            }
        }
        (items, broken("more pages than a cluster can fill"))
    }
}

/// Another list may fare better. What the server said to the caller, or of the kind, it says to all.
fn is_of_the_list(failure: &Failure) -> bool {
    let to_the_caller = matches!(failure.error, ProviderError::Throttled { .. } | ProviderError::Expired { .. });
    !failure.missing && !to_the_caller
}

impl<T: Object> Listed<T> {
    fn take(&mut self, items: Vec<T>, failure: Option<Failure>, namespaces: &BTreeSet<&str>) {
        let meant = |item: &T| item.meta().namespace.as_deref().is_some_and(|place| namespaces.contains(place));
        self.items.extend(items.into_iter().filter(meant));
        let Some(failure) = failure else { return };
        self.missing |= failure.missing;
        self.broken.extend(namespaces.iter().map(|place| (Box::from(*place), failure.error.again())));
    }
}
