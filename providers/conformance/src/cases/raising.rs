//! Scale-out: absolute, once, never down, and never from a stale view.

use crate::fixture::{Spec, told};
use crate::stage::{Stage, Verdict, done, ensure, ensure_accepted, ensure_conflict, need, not_applicable};
use contract::{GroupId, GuardKind, Observation, ProviderError};

pub async fn raise_is_absolute(stage: &mut Stage<'_>) -> Verdict {
    let group = stage.group(Spec::full(2)).await?;
    let before = stage.truth(&group).await?;
    let seen = stage.look(&group).await?;
    let target = stage.target(&group, &seen);
    let accepted = ensure_accepted(stage.raise(&target, 5).await)?;
    ensure!(accepted.skipped.is_empty(), "a raise skips nothing: {accepted:?}");
    let after = stage.ensure_holds(&group, 5).await?;
    ensure!(after.instances.is_superset(&before.instances), "a raise replaced instances: {before:?}, then {after:?}");
    let seen = stage.look(&group).await?;
    ensure!(seen.alive().count() == 5, "the next observation shows five: {seen:?}");
    let target = stage.target(&group, &seen);
    ensure_accepted(stage.raise(&target, 6).await)?;
    stage.ensure_holds(&group, 6).await.map(|_| ())
}

pub async fn raise_twice_is_one(stage: &mut Stage<'_>) -> Verdict {
    let group = stage.group(Spec::full(2)).await?;
    let seen = stage.look(&group).await?;
    let target = stage.target(&group, &seen);
    ensure_accepted(stage.raise(&target, 4).await)?;
    // At once, before anything has booted, and again when it has.
    for when in ["at once", "later"] {
        let again = stage.raise(&target, 4).await;
        let fair = matches!(again, Ok(_) | Err(ProviderError::Conflict { .. }));
        ensure!(fair, "the same action again, {when}: {}", told(&again));
        stage.ensure_holds(&group, 4).await?;
    }
    Ok(())
}

pub async fn raise_to_the_same_changes_nothing(stage: &mut Stage<'_>) -> Verdict {
    let group = stage.group(Spec::full(3)).await?;
    let before = stage.truth(&group).await?;
    let seen = stage.look(&group).await?;
    let target = stage.target(&group, &seen);
    ensure_accepted(stage.raise(&target, 3).await)?;
    stage.ensure_unchanged(&group, &before).await
}

pub async fn raise_never_lowers(stage: &mut Stage<'_>) -> Verdict {
    let group = stage.group(Spec::full(4)).await?;
    let before = stage.truth(&group).await?;
    for to in [2, 0] {
        let seen = stage.look(&group).await?;
        let target = stage.target(&group, &seen);
        // Refused or ignored, as the provider likes.
        let _ = stage.raise(&target, to).await;
        stage.ensure_unchanged(&group, &before).await?;
    }
    Ok(())
}

pub async fn raise_beyond_the_clouds_max_is_refused(stage: &mut Stage<'_>) -> Verdict {
    let group = stage.group(Spec { min: 0, max: 4, desired: 2, running: 2 }).await?;
    let seen = stage.look(&group).await?;
    if seen.cloud_max.is_none() {
        return Err(not_applicable("the cloud has no max of its own"));
    }
    let before = stage.truth(&group).await?;
    let target = stage.target(&group, &seen);
    let answer = stage.raise(&target, 5).await;
    ensure!(matches!(answer, Err(ProviderError::Invalid { .. })), "5 with a max of 4: {}", told(&answer));
    stage.ensure_unchanged(&group, &before).await
}

/// A group of `from`, seen, and then set to `to` by a person: what was seen is stale.
pub async fn stale(stage: &mut Stage<'_>, from: u32, to: u32) -> Result<(GroupId, Observation), crate::stage::Stop> {
    need(stage.offers.set_desired, "change of desired by a person")?;
    let group = stage.group(Spec::full(from)).await?;
    let seen = stage.look(&group).await?;
    if !seen.abilities.keeps_desired && seen.token.is_none() {
        return Err(not_applicable("the cloud keeps neither desired nor a token, so no view can be stale"));
    }
    done(stage.fixture.set_desired(&group, to).await)?;
    stage.fixture.settle().await;
    Ok((group, seen))
}

pub async fn raise_from_a_stale_view_is_a_conflict(stage: &mut Stage<'_>) -> Verdict {
    // A person raised: to less than we want, and to more. A person lowered.
    for (from, person, to) in [(3, 5, 8), (3, 6, 4), (6, 4, 8)] {
        let (group, seen) = stale(stage, from, person).await?;
        let before = stage.truth(&group).await?;
        let target = stage.target(&group, &seen);
        ensure_conflict(&stage.raise(&target, to).await)?;
        stage.ensure_unchanged(&group, &before).await?;
        // And with a fresh view it works again.
        let seen = stage.look(&group).await?;
        let target = stage.target(&group, &seen);
        ensure_accepted(stage.raise(&target, 9).await)?;
        stage.ensure_holds(&group, 9).await?;
    }
    Ok(())
}

pub async fn two_raises_from_one_view_are_one(stage: &mut Stage<'_>) -> Verdict {
    let group = stage.group(Spec::full(2)).await?;
    let seen = stage.look(&group).await?;
    if !seen.abilities.keeps_desired && seen.token.is_none() {
        return Err(not_applicable("the cloud keeps neither desired nor a token, so no view can be stale"));
    }
    let (first, second) = (stage.target(&group, &seen), stage.target(&group, &seen));
    ensure_accepted(stage.raise(&first, 4).await)?;
    ensure_conflict(&stage.raise(&second, 6).await)?;
    stage.ensure_holds(&group, 4).await.map(|_| ())
}

pub async fn raise_with_an_old_token_is_a_conflict(stage: &mut Stage<'_>) -> Verdict {
    if stage.provider.guard() != GuardKind::Atomic {
        return Err(not_applicable("the guard is not atomic"));
    }
    need(stage.offers.set_desired, "change of desired by a person")?;
    let group = stage.group(Spec::full(3)).await?;
    let seen = stage.look(&group).await?;
    // There and back again: desired is as it was seen, the token is not.
    for to in [4, 3] {
        done(stage.fixture.set_desired(&group, to).await)?;
        stage.fixture.settle().await;
    }
    let before = stage.truth(&group).await?;
    let target = stage.target(&group, &seen);
    ensure_conflict(&stage.raise(&target, 6).await)?;
    stage.ensure_unchanged(&group, &before).await
}

pub async fn raise_of_an_unknown_group_is_not_found(stage: &mut Stage<'_>) -> Verdict {
    let gone = stage.gone_group().await?;
    let neighbour = stage.group(Spec::full(1)).await?;
    let seen = stage.look(&neighbour).await?;
    let target = stage.target(&gone, &seen);
    let answer = stage.raise(&target, 3).await;
    ensure!(matches!(answer, Err(ProviderError::NotFound { .. })), "should be not found: {}", told(&answer));
    stage.fixture.settle().await;
    ensure!(stage.fixture.truth(&gone).await.is_none(), "{gone} was made again");
    Ok(())
}
