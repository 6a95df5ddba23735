//! The owner tag: `skala:owner`, a tag of the group that instances do not inherit. AWS has no lease on a group, so it is
//! a courtesy among daemons, not a lock.

pub(crate) use contract::claim::{Claim, format, judge, parse};

pub(crate) const KEY: &str = "skala:owner";
