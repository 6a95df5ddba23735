//! Less capacity without names: withdrawing what has not started, and lowering where the cloud picks the victims.

use crate::cases::raising::stale;
use crate::fixture::{Spec, told};
use crate::stage::{Stage, Stop, Verdict, done, ensure, ensure_accepted, ensure_conflict, need, not_applicable};
use contract::{GroupId, Observation};

pub async fn cancel_withdraws_only_what_is_unfilled(stage: &mut Stage<'_>) -> Verdict {
    need(stage.offers.unfilled, "unfilled groups")?;
    let group = stage.group(Spec { min: 0, max: 9, desired: 5, running: 2 }).await?;
    let before = stage.truth(&group).await?;
    for to in [4, 2] {
        let seen = stage.look(&group).await?;
        let target = stage.target(&group, &seen);
        ensure_accepted(stage.cancel(&target, to).await)?;
        stage.fixture.settle().await;
        let after = stage.truth(&group).await?;
        ensure!(after.desired == Some(to), "desired should be {to}: {after:?}");
        ensure!(after.instances == before.instances, "a cancellation touched instances: {before:?}, then {after:?}");
    }
    let seen = stage.look(&group).await?;
    let target = stage.target(&group, &seen);
    let answer = stage.cancel(&target, 1).await;
    ensure!(answer.is_err(), "nothing is left to withdraw: {}", told(&answer));
    let after = stage.truth(&group).await?;
    ensure!(after.instances == before.instances, "a cancellation removed instances: {before:?}, then {after:?}");
    Ok(())
}

pub async fn cancel_never_removes_an_instance(stage: &mut Stage<'_>) -> Verdict {
    let group = stage.group(Spec::full(3)).await?;
    let before = stage.truth(&group).await?;
    for to in [2, 0] {
        let seen = stage.look(&group).await?;
        let target = stage.target(&group, &seen);
        let answer = stage.cancel(&target, to).await;
        ensure!(
            answer.is_err() || !seen.abilities.keeps_desired,
            "three run, so {to} cannot be reached by withdrawing: {}",
            told(&answer)
        );
        stage.ensure_unchanged(&group, &before).await?;
    }
    Ok(())
}

pub async fn cancel_never_raises(stage: &mut Stage<'_>) -> Verdict {
    let group = stage.group(Spec::full(2)).await?;
    let before = stage.truth(&group).await?;
    let seen = stage.look(&group).await?;
    let target = stage.target(&group, &seen);
    let _ = stage.cancel(&target, 5).await;
    stage.ensure_unchanged(&group, &before).await
}

pub async fn cancel_from_a_stale_view_is_a_conflict(stage: &mut Stage<'_>) -> Verdict {
    need(stage.offers.unfilled, "unfilled groups")?;
    need(stage.offers.set_desired, "change of desired by a person")?;
    for person in [7, 4] {
        let group = stage.group(Spec { min: 0, max: 9, desired: 5, running: 2 }).await?;
        let seen = stage.look(&group).await?;
        done(stage.fixture.set_desired(&group, person).await)?;
        let before = stage.truth(&group).await?;
        let target = stage.target(&group, &seen);
        ensure_conflict(&stage.cancel(&target, 3).await)?;
        stage.ensure_unchanged(&group, &before).await?;
    }
    Ok(())
}

async fn lowerable(stage: &mut Stage<'_>, running: u32) -> Result<(GroupId, Observation), Stop> {
    if stage.provider.lowerer().is_none() {
        return Err(not_applicable("the provider has no lowerer"));
    }
    let group = stage.group(Spec::full(running)).await?;
    let seen = stage.look(&group).await?;
    if !seen.abilities.lower {
        return Err(not_applicable("the group says that it cannot be lowered without names"));
    }
    Ok((group, seen))
}

pub async fn lower_is_absolute(stage: &mut Stage<'_>) -> Verdict {
    let (group, seen) = lowerable(stage, 5).await?;
    let before = stage.truth(&group).await?;
    let target = stage.target(&group, &seen);
    ensure_accepted(stage.lower(&target, 3).await?)?;
    let after = stage.ensure_holds(&group, 3).await?;
    ensure!(after.instances.is_subset(&before.instances), "a lowering replaced instances: {before:?}, then {after:?}");
    Ok(())
}

pub async fn lower_twice_is_one(stage: &mut Stage<'_>) -> Verdict {
    let (group, seen) = lowerable(stage, 5).await?;
    let target = stage.target(&group, &seen);
    ensure_accepted(stage.lower(&target, 3).await?)?;
    let _ = stage.lower(&target, 3).await?;
    stage.ensure_holds(&group, 3).await.map(|_| ())
}

pub async fn lower_never_raises(stage: &mut Stage<'_>) -> Verdict {
    let (group, seen) = lowerable(stage, 3).await?;
    let before = stage.truth(&group).await?;
    for to in [5, 3] {
        let target = stage.target(&group, &seen);
        let _ = stage.lower(&target, to).await?;
        stage.ensure_unchanged(&group, &before).await?;
    }
    Ok(())
}

pub async fn lower_from_a_stale_view_is_a_conflict(stage: &mut Stage<'_>) -> Verdict {
    lowerable(stage, 1).await?;
    for person in [5, 2] {
        let (group, seen) = stale(stage, 4, person).await?;
        let before = stage.truth(&group).await?;
        let target = stage.target(&group, &seen);
        ensure_conflict(&stage.lower(&target, 1).await?)?;
        stage.ensure_unchanged(&group, &before).await?;
    }
    Ok(())
}

pub async fn lower_without_the_ability_changes_nothing(stage: &mut Stage<'_>) -> Verdict {
    if stage.provider.lowerer().is_none() {
        return Err(not_applicable("the provider has no lowerer"));
    }
    let group = stage.group(Spec::full(3)).await?;
    let seen = stage.look(&group).await?;
    if seen.abilities.lower {
        return Err(not_applicable("the group can be lowered"));
    }
    let before = stage.truth(&group).await?;
    let target = stage.target(&group, &seen);
    let answer = stage.lower(&target, 1).await?;
    ensure!(answer.is_err(), "the group says that it cannot be lowered: {}", told(&answer));
    stage.ensure_unchanged(&group, &before).await
}
