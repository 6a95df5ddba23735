//! Removal by name: exactly the named, never the protected, and desired goes down by as many as went.

use crate::cases::raising::stale;
use crate::cases::reading::first_of;
use crate::fixture::{Spec, told};
use crate::stage::{
    Stage, Stop, Verdict, alive_ids, done, ensure, ensure_accepted, ensure_conflict, need, not_applicable,
};
use contract::{GroupId, InstanceId, Observation, ProviderError};

/// A group whose instances can be removed by name.
async fn removable(stage: &mut Stage<'_>, spec: Spec) -> Result<(GroupId, Observation), Stop> {
    let group = stage.group(spec).await?;
    let seen = stage.look(&group).await?;
    if !seen.abilities.terminate_named {
        return Err(not_applicable("the group says that its instances cannot be removed by name"));
    }
    Ok((group, seen))
}

fn some_of(seen: &Observation, count: usize) -> Result<Vec<InstanceId>, Stop> {
    let ids = alive_ids(seen);
    ensure!(ids.len() >= count, "{count} instances should be there: {seen:?}");
    // From the middle, so that neither "the oldest" nor "the newest" happens to be right.
    let skip = (ids.len() - count) / 2;
    Ok(ids.into_iter().skip(skip).take(count).collect())
}

/// Exactly `gone` are gone, and desired went down by as many.
async fn ensure_removed(
    stage: &mut Stage<'_>,
    group: &GroupId,
    before: &crate::fixture::Truth,
    gone: &[InstanceId],
) -> Verdict {
    stage.fixture.settle().await;
    let after = stage.truth(group).await?;
    let mut left = before.instances.clone();
    left.retain(|id| !gone.contains(id));
    ensure!(after.instances == left, "exactly {gone:?} should be gone: {before:?}, then {after:?}");
    let lowered = u32::try_from(before.instances.len() - left.len()).unwrap_or(u32::MAX);
    let wanted = before.desired.map(|desired| desired.saturating_sub(lowered));
    ensure!(after.desired == wanted, "desired should be {wanted:?}: {before:?}, then {after:?}");
    Ok(())
}

pub async fn terminate_removes_exactly_the_named(stage: &mut Stage<'_>) -> Verdict {
    let (group, seen) = removable(stage, Spec::full(5)).await?;
    let before = stage.truth(&group).await?;
    let named = some_of(&seen, 2)?;
    let target = stage.target(&group, &seen);
    let accepted = ensure_accepted(stage.terminate(&target, &named).await?)?;
    ensure!(accepted.skipped.is_empty(), "nothing was to be skipped: {accepted:?}");
    ensure_removed(stage, &group, &before, &named).await?;
    let seen = stage.look(&group).await?;
    ensure!(alive_ids(&seen).len() == 3, "the next observation shows three: {seen:?}");
    Ok(())
}

pub async fn terminate_of_nothing_changes_nothing(stage: &mut Stage<'_>) -> Verdict {
    let (group, seen) = removable(stage, Spec::full(2)).await?;
    let before = stage.truth(&group).await?;
    let target = stage.target(&group, &seen);
    let _ = stage.terminate(&target, &[]).await?;
    stage.ensure_unchanged(&group, &before).await
}

pub async fn terminate_of_a_name_twice_removes_one(stage: &mut Stage<'_>) -> Verdict {
    let (group, seen) = removable(stage, Spec::full(4)).await?;
    let before = stage.truth(&group).await?;
    let one = some_of(&seen, 1)?;
    let target = stage.target(&group, &seen);
    let answer = stage.terminate(&target, &[one[0].clone(), one[0].clone()]).await?;
    ensure_accepted(answer)?;
    ensure_removed(stage, &group, &before, &one).await
}

pub async fn terminate_of_many_removes_them_all(stage: &mut Stage<'_>) -> Verdict {
    let (group, seen) = removable(stage, Spec::full(14)).await?;
    let before = stage.truth(&group).await?;
    let batch = usize::try_from(seen.abilities.terminate_batch).unwrap_or(usize::MAX);
    ensure!(batch > 0, "a batch of none: {:?}", seen.abilities);
    let named = some_of(&seen, batch.min(12))?;
    let target = stage.target(&group, &seen);
    ensure_accepted(stage.terminate(&target, &named).await?)?;
    ensure_removed(stage, &group, &before, &named).await
}

pub async fn terminate_skips_an_instance_that_is_gone(stage: &mut Stage<'_>) -> Verdict {
    let (group, seen) = removable(stage, Spec::full(4)).await?;
    let gone = some_of(&seen, 1)?;
    let target = stage.target(&group, &seen);
    ensure_accepted(stage.terminate(&target, &gone).await?)?;
    stage.fixture.settle().await;

    let before = stage.truth(&group).await?;
    let seen = stage.look(&group).await?;
    let target = stage.target(&group, &seen);
    let accepted = ensure_accepted(stage.terminate(&target, &gone).await?)?;
    ensure!(accepted.skipped == gone, "{gone:?} is gone and should be skipped: {accepted:?}");
    stage.ensure_unchanged(&group, &before).await?;

    // One that is gone does not keep its neighbour.
    let seen = stage.look(&group).await?;
    let there = some_of(&seen, 1)?;
    let target = stage.target(&group, &seen);
    let accepted = ensure_accepted(stage.terminate(&target, &[gone[0].clone(), there[0].clone()]).await?)?;
    ensure!(accepted.skipped == gone, "{gone:?} alone should be skipped: {accepted:?}");
    ensure_removed(stage, &group, &before, &there).await
}

pub async fn terminate_spares_the_protected(stage: &mut Stage<'_>) -> Verdict {
    need(stage.offers.protect, "protection")?;
    let (group, seen) = removable(stage, Spec::full(4)).await?;
    let named = some_of(&seen, 2)?;
    // Protected after it was seen: the provider has to look again.
    done(stage.fixture.protect(&group, &named[1]).await)?;
    let before = stage.truth(&group).await?;
    let target = stage.target(&group, &seen);
    match stage.terminate(&target, &named).await? {
        Ok(accepted) => {
            ensure!(accepted.skipped == named[1..], "the protected one should be skipped: {accepted:?}");
            ensure_removed(stage, &group, &before, &named[..1]).await
        }
        Err(_) => stage.ensure_unchanged(&group, &before).await,
    }
}

pub async fn terminate_spares_another_groups_instance(stage: &mut Stage<'_>) -> Verdict {
    let (group, seen) = removable(stage, Spec::full(3)).await?;
    let other = stage.group(Spec::full(2)).await?;
    let foreign = first_of(stage, &other).await?;
    let (before, before_other) = (stage.truth(&group).await?, stage.truth(&other).await?);
    let target = stage.target(&group, &seen);
    if let Ok(accepted) = stage.terminate(&target, std::slice::from_ref(&foreign)).await? {
        ensure!(accepted.skipped == [foreign], "another group's instance should be skipped: {accepted:?}");
    }
    stage.ensure_unchanged(&other, &before_other).await?;
    stage.ensure_unchanged(&group, &before).await
}

pub async fn terminate_stops_at_the_clouds_min(stage: &mut Stage<'_>) -> Verdict {
    let (group, seen) = removable(stage, Spec { min: 2, max: 9, desired: 3, running: 3 }).await?;
    let Some(min) = seen.cloud_min else { return Err(not_applicable("the cloud has no min of its own")) };
    let before = stage.truth(&group).await?;
    let named = some_of(&seen, 2)?;
    let target = stage.target(&group, &seen);
    let answer = stage.terminate(&target, &named).await?;
    let fair = match &answer {
        Ok(accepted) => !accepted.skipped.is_empty(),
        Err(_) => true,
    };
    ensure!(fair, "two of three with a min of 2: {}", told(&answer));
    stage.fixture.settle().await;
    let after = stage.truth(&group).await?;
    ensure!(after.desired.is_none_or(|desired| desired >= min), "below the cloud's min {min}: {after:?}");
    let gone: Vec<InstanceId> = before.instances.difference(&after.instances).cloned().collect();
    ensure_removed(stage, &group, &before, &gone).await
}

pub async fn terminate_from_a_stale_view_is_a_conflict(stage: &mut Stage<'_>) -> Verdict {
    removable(stage, Spec::full(1)).await?;
    for person in [6, 3] {
        let (group, seen) = stale(stage, 4, person).await?;
        let before = stage.truth(&group).await?;
        // One that is still there, whatever the person's change removed.
        let named = [first_of(stage, &group).await?];
        let target = stage.target(&group, &seen);
        ensure_conflict(&stage.terminate(&target, &named).await?)?;
        stage.ensure_unchanged(&group, &before).await?;
    }
    Ok(())
}

pub async fn terminate_without_the_ability_changes_nothing(stage: &mut Stage<'_>) -> Verdict {
    let group = stage.group(Spec::full(3)).await?;
    let seen = stage.look(&group).await?;
    if seen.abilities.terminate_named {
        return Err(not_applicable("instances can be removed by name"));
    }
    let before = stage.truth(&group).await?;
    let target = stage.target(&group, &seen);
    let answer = stage.terminate(&target, &some_of(&seen, 1)?).await?;
    ensure!(answer.is_err(), "the group says that it cannot remove by name: {}", told(&answer));
    stage.ensure_unchanged(&group, &before).await
}

/// Deleted by a person between the look and the call.
pub async fn terminate_in_a_gone_group_is_not_found(stage: &mut Stage<'_>) -> Verdict {
    crate::stage::need(stage.offers.knows_groups, "cloud that knows which groups exist")?;
    let group = stage.group(Spec::full(3)).await?;
    let seen = stage.look(&group).await?;
    if !seen.abilities.terminate_named {
        return Err(not_applicable("the group says that its instances cannot be removed by name"));
    }
    let named: Vec<_> = alive_ids(&seen).into_iter().take(1).collect();
    let target = stage.target(&group, &seen);
    stage.lose(&group).await;
    let answer = stage.terminate(&target, &named).await?;
    ensure!(matches!(answer, Err(ProviderError::NotFound { .. })), "a group that is gone: {}", told(&answer));
    Ok(())
}
