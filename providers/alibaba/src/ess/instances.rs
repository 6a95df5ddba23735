//! The instances of groups, read only where something may have changed.
//!
//! A group's description counts its instances by state. While no count changed and nothing comes or goes, what was
//! listed is still true, so that a thousand quiet groups cost no call here. Lists are read again after some minutes all
//! the same: an instance that was replaced between two looks may leave every count as it was. Many groups at once are
//! read from the region's own list when that takes fewer calls.

use super::listing::{Asked, CONCURRENT, Seen, always};
use super::{Ess, shape};
use crate::api::{Counts, INSTANCES_PAGE, Instance, Instances};
use contract::ProviderError;
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A quiet group's list is read again when it is this old.
const OLD: Duration = Duration::from_secs(300);

/// A group's instances as they were listed.
#[derive(Debug)]
pub(super) struct Listed {
    pub instances: Vec<Instance>,
    /// What the group counted just before.
    counts: Counts,
    /// When it was asked for.
    asked: Instant,
    /// Something comes or goes, so the list will change without a count that tells.
    moving: bool,
}

/// What is known of one group's instances.
pub(super) type Answer = Result<Arc<Listed>, ProviderError>;

impl Ess {
    /// The instances of groups just described: known ones where nothing changed, else read now. `restless` are groups
    /// with something of ours under way.
    pub(super) async fn instances(self: &Arc<Self>, seen: &[(&Seen, bool)]) -> BTreeMap<Box<str>, Answer> {
        let mut answers = BTreeMap::new();
        let (mut needed, mut old) = (Vec::new(), Vec::new());
        let now = Instant::now();
        for (seen, restless) in seen {
            match self.group(&seen.id, |group| group.listed.clone()) {
                Some(listed) if !restless && !listed.moving && listed.counts == seen.group.counts => {
                    if now.saturating_duration_since(listed.asked) >= OLD {
                        old.push((seen.id.clone(), seen.group.counts.clone()));
                    }
                    answers.insert(seen.id.clone(), Ok(listed));
                }
                _ => needed.push((seen.id.clone(), seen.group.counts.clone())),
            }
        }
        if !old.is_empty() {
            let ess = Arc::clone(self);
            tokio::spawn(async move { ess.read_instances(old).await });
        }
        if !needed.is_empty() {
            // A task of its own: who asked may give up, and what has come so far is known next time.
            let ess = Arc::clone(self);
            let ids: Vec<Box<str>> = needed.iter().map(|(id, _)| id.clone()).collect();
            match tokio::spawn(async move { ess.read_instances(needed).await }).await {
                Ok(read) => answers.extend(read),
                Err(_) => {
                    answers.extend(ids.into_iter().map(|id| (id, Err(crate::errors::nonsense("it was not read")))))
                }
            }
        }
        answers
    }

    async fn read_instances(&self, needed: Vec<(Box<str>, Counts)>) -> BTreeMap<Box<str>, Answer> {
        let mut answers = BTreeMap::new();
        let mut by_group = BTreeMap::new();
        if needed.len() > 1 && !self.memory(|memory| memory.one_group_at_a_time) {
            by_group = self.instances_of_region(needed.len()).await;
        }
        let asked = Instant::now();
        let mut singly = Vec::new();
        for (id, counts) in needed {
            match by_group.remove(&*id) {
                // As many as the group counts: those of this group are all there, whatever the list as a whole lacks.
                Some(instances) if is_whole(&instances, &counts) => {
                    answers.insert(id.clone(), self.keep(&id, counts, instances, asked));
                }
                _ => singly.push((id, counts)),
            }
        }
        let calls: Vec<_> = singly
            .into_iter()
            .map(|(id, counts)| async move {
                let asked = Instant::now();
                let read = self.instances_of(&id).await;
                (id.clone(), read.and_then(|instances| self.keep(&id, counts, instances, asked)))
            })
            .collect();
        let read: Vec<(Box<str>, Answer)> = futures_util::stream::iter(calls).buffered(CONCURRENT * 2).collect().await;
        answers.extend(read);
        answers
    }

    /// Keeps a list for the looks to come, unless the group's own counts contradict it.
    fn keep(&self, id: &str, counts: Counts, instances: Vec<Instance>, asked: Instant) -> Answer {
        if let Err(error) = shape::agree(id, &counts, &instances) {
            self.group(id, |group| group.listed = None);
            return Err(error);
        }
        let moving = shape::is_moving(&counts) || instances.iter().any(shape::moves);
        let listed = Arc::new(Listed { instances, counts, asked, moving });
        self.group(id, |group| group.listed = Some(Arc::clone(&listed)));
        Ok(listed)
    }

    /// The instances of one group: a fresh read.
    pub(super) async fn instances_of(&self, group: &str) -> Result<Vec<Instance>, ProviderError> {
        let asked = Asked {
            operation: "DescribeScalingInstances",
            size: INSTANCES_PAGE,
            parameters: &|| self.parameters().with("ScalingGroupId", group),
            id: |instance: &Instance| instance.instance_id.as_ref(),
            go_on: &always,
        };
        let all = self.list::<Instances>(&asked).await.all(asked.operation)?;
        Ok(all.into_values().collect())
    }

    /// The instances of all groups of the region, when that takes fewer calls than to ask for `groups` of them.
    async fn instances_of_region(&self, groups: usize) -> BTreeMap<String, Vec<Instance>> {
        let asked = Asked {
            operation: "DescribeScalingInstances",
            size: INSTANCES_PAGE,
            parameters: &|| self.parameters(),
            id: |instance: &Instance| instance.instance_id.as_ref(),
            go_on: &|total| total.div_ceil(INSTANCES_PAGE) <= groups,
        };
        let listing = self.list::<Instances>(&asked).await;
        if let Some(ProviderError::Invalid { what }) = &listing.broken {
            tracing::info!(%what, "this endpoint lists the instances of one group at a time");
            self.memory(|memory| memory.one_group_at_a_time = true);
        }
        let mut by_group: BTreeMap<String, Vec<Instance>> = BTreeMap::new();
        for instance in listing.items.into_values() {
            if let Some(group) = instance.scaling_group_id.clone() {
                by_group.entry(group).or_default().push(instance);
            }
        }
        by_group
    }
}

/// Whether a list holds as many instances as the group counts. A group that counts none is asked for itself: an empty
/// list must be said to be one.
fn is_whole(instances: &[Instance], counts: &Counts) -> bool {
    let counted = counts.total_capacity.and_then(|total| usize::try_from(total).ok());
    counted.is_some_and(|counted| counted > 0 && instances.len() >= counted)
}
