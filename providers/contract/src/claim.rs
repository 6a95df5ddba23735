//! Claims: the owner tag as text, and what a look at it means for a write. Where a cloud has tags or annotations a
//! provider keeps `id/epoch/expiry` in one, expiry in Unix seconds.
//!
//! Most clouds have no lease on a group, so a claim is a courtesy among daemons there, not a lock: two that claim within
//! the same second see each other at their next look. It must never make a group unobservable: a tag that does not parse
//! is no claim.

use crate::{Epoch, Owner, OwnerTag, ProviderError, Timestamp};
use std::time::Duration;

/// How long a claim holds.
pub const LIFE: Duration = Duration::from_secs(3600);

/// What a look at a tag means for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Ours, with at least half of its life left.
    Held,
    /// Ours and soon over, or of an earlier epoch.
    Renew,
    /// Nobody's (any more): it must be claimed first.
    Free,
}

/// Reads a tag's text; `None`: it is no claim.
pub fn parse(text: &str) -> Option<OwnerTag> {
    // From the right: an id may contain slashes, the numbers cannot.
    let mut parts = text.rsplitn(3, '/');
    let expiry = parts.next()?.parse::<u32>().ok()?;
    let epoch = parts.next()?.parse::<u64>().ok()?;
    let id = parts.next().filter(|id| !id.is_empty())?;
    Some(OwnerTag { id: id.into(), epoch: Epoch(epoch), expiry: Timestamp::from_secs(i64::from(expiry)) })
}

/// The text of a claim that is made now.
pub fn format(owner: &Owner, epoch: Epoch, now: Timestamp) -> String {
    let expiry = now.after(LIFE).0 / 1_000_000;
    format!("{}/{}/{expiry}", owner.id, epoch.0)
}

/// Judges a tag before a write.
///
/// # Errors
/// `Owned` when somebody else's claim holds, or a later lease of our own: a smaller epoch never writes again.
pub fn judge(tag: Option<&OwnerTag>, owner: &Owner, epoch: Epoch, now: Timestamp) -> Result<Claim, ProviderError> {
    let Some(tag) = tag.filter(|tag| tag.expiry > now) else {
        return Ok(Claim::Free);
    };
    if tag.id != owner.id || tag.epoch > epoch {
        let by = format!("{} (epoch {}, until {})", tag.id, tag.epoch.0, tag.expiry);
        return Err(ProviderError::Owned { by: by.into() });
    }
    if tag.epoch < epoch || tag.expiry.since(now) < LIFE / 2 {
        return Ok(Claim::Renew);
    }
    Ok(Claim::Held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_the_way_there_and_back() {
        let owner = Owner { id: "site/a-1".into() };
        let tag = parse(&format(&owner, Epoch(7), Timestamp::from_secs(1_700_000_000)));
        let expiry = Timestamp::from_secs(1_700_003_600);
        assert_eq!(tag, Some(OwnerTag { id: "site/a-1".into(), epoch: Epoch(7), expiry }));
        for text in ["", "a", "a/1", "a/b/c", "/1/2", "a/1/-5", "a/1/99999999999", "a/1/5/"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_a_claim_that_holds_stops_a_write() {
        let owner = Owner { id: "a".into() };
        let check = |text: Option<&str>, expected: Result<Claim, &str>| {
            let tag = text.and_then(parse);
            assert_eq!(tag.is_some(), text.is_some());
            let got = judge(tag.as_ref(), &owner, Epoch(5), Timestamp::from_secs(10_000));
            assert_eq!(got.map_err(|e| e.code()), expected, "{text:?}");
        };
        check(None, Ok(Claim::Free));
        check(Some("a/5/13600"), Ok(Claim::Held));
        check(Some("a/5/11700"), Ok(Claim::Renew));
        check(Some("a/4/13600"), Ok(Claim::Renew));
        check(Some("a/6/13600"), Err("owned"));
        check(Some("b/1/10001"), Err("owned"));
        check(Some("b/1/10000"), Ok(Claim::Free));
        check(Some("a/6/9000"), Ok(Claim::Free));
    }
}
