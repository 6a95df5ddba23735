//! Who may write: the rule by which a lease passes on, the same for every store. It keeps nothing itself.

use super::Lease;
use contract::{Epoch, Timestamp};
use std::time::Duration;

/// The lease after `owner` asked for it at `now`. `held` says whether it is the asker's.
///
/// ```text
///   nobody --ask--> held (epoch 1) --same owner--> held (same epoch, never a shorter end)
///                     |-- another, before its end --> refused, unchanged
///                     `-- another, at or after it --> held by the other (epoch + 1)
/// ```
pub(super) fn asked(last: Option<&Lease>, owner: &str, now: Timestamp, ttl: Duration) -> Lease {
    let until = now.after(ttl);
    let mine = |epoch, until| Lease { held: true, owner: owner.to_owned(), epoch, until };
    match last {
        None => mine(Epoch(1), until),
        // A clock that went back must not shorten what others were promised.
        Some(last) if last.owner == owner => mine(last.epoch, until.max(last.until)),
        Some(last) if now < last.until => Lease { held: false, ..last.clone() },
        Some(last) => mine(Epoch(last.epoch.0.saturating_add(1)), until),
    }
}
