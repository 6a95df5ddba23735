//! The owner tag: who claims the right to write a scale set. `skala:owner` = `id/epoch/expiry`, expiry in Unix seconds.
//!
//! It is an ARM tag of the set, written in the same conditional request as the capacity. It must never make a set
//! unobservable: a tag that does not parse is no claim.

use contract::{Epoch, Owner, OwnerTag, ProviderError, Timestamp};
use std::time::Duration;

/// The tag's name. ARM allows all but `< > % & \ ? /` in it.
pub(crate) const KEY: &str = "skala:owner";
/// How long a claim holds.
pub(crate) const LIFE: Duration = Duration::from_secs(3600);

pub(crate) fn parse(text: &str) -> Option<OwnerTag> {
    // From the right: an id may contain slashes, the numbers cannot.
    let mut parts = text.rsplitn(3, '/');
    let expiry = parts.next()?.parse::<u32>().ok()?;
    let epoch = parts.next()?.parse::<u64>().ok()?;
    let id = parts.next().filter(|id| !id.is_empty())?;
    Some(OwnerTag { id: id.into(), epoch: Epoch(epoch), expiry: Timestamp::from_secs(i64::from(expiry)) })
}

pub(crate) fn format(owner: &Owner, epoch: Epoch, now: Timestamp) -> String {
    let expiry = now.after(LIFE).0 / 1_000_000;
    format!("{}/{}/{expiry}", owner.id, epoch.0)
}

/// Whether a write may go on without a new claim: ours, under this epoch, with at least half of its life left.
///
/// # Errors
/// `Owned` when somebody else's claim holds, or a later lease of our own: a smaller epoch never writes again.
pub(crate) fn is_held(
    tag: Option<&OwnerTag>,
    owner: &Owner,
    epoch: Epoch,
    now: Timestamp,
) -> Result<bool, ProviderError> {
    let Some(tag) = tag.filter(|tag| tag.expiry > now) else {
        return Ok(false);
    };
    if tag.id != owner.id || tag.epoch > epoch {
        let by = format!("{} (epoch {}, until {})", tag.id, tag.epoch.0, tag.expiry);
        return Err(ProviderError::Owned { by: by.into() });
    }
    Ok(tag.epoch == epoch && tag.expiry.since(now) >= LIFE / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_the_way_there_and_back() {
        let owner = Owner { id: "site/a-1".into() };
        let tag = parse(&format(&owner, Epoch(7), Timestamp::from_secs(1_700_000_000))).unwrap();
        let expected = OwnerTag { id: "site/a-1".into(), epoch: Epoch(7), expiry: Timestamp::from_secs(1_700_003_600) };
        assert_eq!(tag, expected);
        for text in ["", "a", "a/1", "a/b/c", "/1/2", "a/1/-5", "a/1/99999999999", "a/1/5/"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_a_claim_that_holds_stops_a_write() {
        let owner = Owner { id: "a".into() };
        let check = |tag: Option<&str>, expected: Result<bool, &str>| {
            let tag = tag.map(|text| parse(text).unwrap());
            let got = is_held(tag.as_ref(), &owner, Epoch(5), Timestamp::from_secs(10_000));
            assert_eq!(got.map_err(|e| e.code()), expected, "{tag:?}");
        };
        check(None, Ok(false));
        check(Some("a/5/13600"), Ok(true));
        check(Some("a/5/11700"), Ok(false));
        check(Some("a/4/13600"), Ok(false));
        check(Some("a/6/13600"), Err("owned"));
        check(Some("b/1/10001"), Err("owned"));
        check(Some("b/1/10000"), Ok(false));
        check(Some("a/6/9000"), Ok(false));
    }
}
