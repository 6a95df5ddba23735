//! Which template a group has, and which one an instance was made from: the one of its time.

use contract::{GroupId, Timestamp};
use std::collections::BTreeMap;

/// The changes of groups' templates, in order.
#[derive(Default)]
pub(super) struct Templates(BTreeMap<GroupId, Vec<Timestamp>>);

impl Templates {
    /// A group gets a new one.
    pub fn change(&mut self, group: &str, at: Timestamp) {
        self.0.entry(group.into()).or_default().push(at);
    }

    /// The present one's path.
    pub fn present(&self, group: &GroupId) -> String {
        self.path(group, self.0.get(group).map_or(0, Vec::len))
    }

    /// The path of the one that was present then.
    pub fn of(&self, group: &GroupId, launched: Option<Timestamp>) -> String {
        let changes = self.0.get(group).map(Vec::as_slice).unwrap_or_default();
        // A launch that nobody knows the time of is a launch of now.
        let before = |at: &&Timestamp| launched.is_none_or(|launched| launched >= **at);
        self.path(group, changes.iter().filter(before).count())
    }

    fn path(&self, group: &GroupId, version: usize) -> String {
        format!("global/instanceTemplates/{group}-v{}", version + 1)
    }
}
