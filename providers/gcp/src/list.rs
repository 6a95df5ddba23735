//! Which groups there are: one list of the whole project, five hundred to a page.
//!
//! In come the names that are wanted, out comes for each a group or why it is unknown. A zone that is down must not hide
//! the others, nor look empty: what it says it cannot reach is unknown, and when the list of the project fails as a whole,
//! each zone and region in use is asked by itself. (The API's own way for that, `returnPartialSuccess`, is neither in the
//! SDK nor in the published description of the API.) `NotFound` is said only when the API said it of this very group.

use crate::Clock;
use crate::calls::{Calls, Pages};
use crate::errors::transport;
use crate::names::{GroupName, Place};
use contract::{ProviderError, Timestamp};
use futures_util::StreamExt;
use google_cloud_compute_v1::model::InstanceGroupManager;
use google_cloud_compute_v1::model::instance_group_manager_aggregated_list::warning::Code as WholeCode;
use google_cloud_compute_v1::model::instance_group_managers_scoped_list::warning::Code as ScopedCode;
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// Calls in the air at once.
const CONCURRENT: usize = 8;

/// What was found of the wanted groups.
pub(crate) struct Found {
    /// The time before the first call.
    pub at: Timestamp,
    pub groups: BTreeMap<GroupName, InstanceGroupManager>,
    /// Places that cannot be judged, with the reason.
    broken: BTreeMap<Place, ProviderError>,
    /// Places that the answer spoke of.
    shown: BTreeSet<Place>,
    /// Why the list of the project is not complete.
    incomplete: Option<ProviderError>,
}

impl Found {
    /// Why a group that is not among them is unknown; `None`: the lists are complete and do not have it.
    pub fn why_unknown(&self, group: &GroupName) -> Option<ProviderError> {
        self.broken.get(&group.place).or(self.incomplete.as_ref()).map(ProviderError::again)
    }

    fn keep(&mut self, place: &Place, wanted: &BTreeSet<&GroupName>, groups: Vec<InstanceGroupManager>) {
        for group in groups {
            let Some(name) = group.name.as_deref().map(|name| GroupName { place: place.clone(), name: name.into() })
            else {
                continue;
            };
            // A group shown twice is one group: the first was the older one, and age is never underestimated.
            if wanted.contains(&name) {
                self.groups.entry(name).or_insert(group);
            }
        }
    }
}

/// Finds groups.
pub(crate) async fn find(calls: &Calls, now: &Clock, wanted: &BTreeSet<&GroupName>, deadline: Instant) -> Found {
    let mut found =
        Found { at: now(), groups: BTreeMap::new(), broken: BTreeMap::new(), shown: BTreeSet::new(), incomplete: None };
    found.incomplete = everything(calls, wanted, deadline, &mut found).await.err();
    let by_themselves: BTreeSet<Place> = match &found.incomplete {
        // Not for a refusal, which the next call would only meet again.
        Some(ProviderError::Transport { .. }) => wanted.iter().map(|group| group.place.clone()).collect(),
        Some(_) => BTreeSet::new(),
        // Whether the list of a project has its regional groups is not written anywhere: a region that it does not
        // mention at all is asked.
        None => {
            let region = |place: &&Place| matches!(place, Place::Region(_)) && !found.shown.contains(place);
            wanted.iter().map(|group| &group.place).filter(region).cloned().collect()
        }
    };
    let failed = !by_themselves.is_empty() && found.incomplete.is_some();
    let whole = found.incomplete.as_ref();
    let lists = by_themselves.into_iter().map(|place| async move {
        let mut groups = Vec::new();
        let ended = match whole.filter(|_| Instant::now() >= deadline) {
            // No time was left for this one: it is unknown for what stopped the list of the project.
            Some(why) => Err(why.again()),
            None => calls.list(&place, deadline, &mut groups).await.map_err(|failure| failure.error),
        };
        (place, groups, ended)
    });
    let answers: Vec<_> = futures_util::stream::iter(lists.collect::<Vec<_>>()).buffered(CONCURRENT).collect().await;
    for (place, groups, ended) in answers {
        found.keep(&place, wanted, groups);
        match ended {
            Ok(()) => _ = found.broken.remove(&place),
            // A region that does not exist: its groups are asked for by name, and that is said of each.
            Err(ProviderError::NotFound { .. }) => {}
            Err(error) => _ = found.broken.insert(place, error),
        }
    }
    if failed {
        // Each place in use has now been asked by itself.
        found.incomplete = None;
    }
    found
}

async fn everything(
    calls: &Calls,
    wanted: &BTreeSet<&GroupName>,
    deadline: Instant,
    found: &mut Found,
) -> Result<(), ProviderError> {
    let mut pages = Pages::default();
    loop {
        let token = pages.token();
        let page = calls.aggregated(deadline, token.as_ref()).await.map_err(|failure| match failure.error {
            ProviderError::NotFound { what } => {
                let what = format!("project: {:?} does not exist, or is not shown: {what}", calls.project);
                ProviderError::Invalid { what: what.into() }
            }
            other => other,
        })?;
        let unreachable: Vec<Place> = page.unreachables.iter().filter_map(|text| Place::find_in(text)).collect();
        if let Some(warning) = &page.warning
            && matches!(warning.code, Some(WholeCode::Unreachable | WholeCode::PartialSuccess))
            && unreachable.is_empty()
        {
            let words = warning.message.clone().unwrap_or_default();
            return Err(transport(format!("the list of groups is not complete: {words}")));
        }
        for place in unreachable {
            found.broken.insert(place.clone(), transport(format!("{place} cannot be reached, says the API")));
        }
        for (scope, list) in page.items {
            let Some(place) = Place::find_in(&scope) else { continue };
            let warning = list.warning.as_ref();
            if warning.is_some_and(|w| matches!(w.code, Some(ScopedCode::Unreachable | ScopedCode::PartialSuccess))) {
                let words = warning.and_then(|warning| warning.message.as_deref()).unwrap_or_default();
                let why = transport(format!("{place} cannot be reached, says the API: {words}"));
                found.broken.insert(place.clone(), why);
            }
            found.keep(&place, wanted, list.instance_group_managers);
            found.shown.insert(place);
        }
        if !pages.go_on("instanceGroupManagers.aggregatedList", page.next_page_token.as_ref())? {
            return Ok(());
        }
    }
}
