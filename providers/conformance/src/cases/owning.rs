//! Two daemons: a claim that holds keeps the other one out, one that has expired does not, and an old lease never writes.

use crate::fixture::{Spec, Truth, told};
use crate::stage::{Answer, EPOCH, Stage, Stop, Verdict, done, ensure, ensure_accepted, is_claim, need};
use contract::{Epoch, GroupId, Observation, OwnerTag, ProviderError};
use std::time::Duration;

pub async fn a_write_claims_the_group(stage: &mut Stage<'_>) -> Verdict {
    need(stage.offers.owner_tags, "owner tags")?;
    let group = stage.group(Spec::full(1)).await?;
    let seen = stage.look(&group).await?;
    ensure!(seen.owner.is_none(), "nobody has written yet: {:?}", seen.owner);
    let target = stage.target(&group, &seen);
    ensure_accepted(stage.raise(&target, 2).await)?;
    let seen = stage.look(&group).await?;
    let now = stage.fixture.now();
    ensure!(is_claim(seen.owner.as_ref(), EPOCH, now), "claimed under {EPOCH:?}, shown is {:?}", seen.owner);
    Ok(())
}

fn somebody_else(expiry: contract::Timestamp) -> OwnerTag {
    OwnerTag { id: "another-daemon".into(), epoch: Epoch(3), expiry }
}

pub async fn anothers_claim_refuses_every_write(stage: &mut Stage<'_>) -> Verdict {
    need(stage.offers.owner_tags, "owner tags")?;
    for what in ["raise", "cancel", "terminate", "lower"] {
        let group = stage.group(Spec::full(3)).await?;
        let tag = somebody_else(stage.fixture.now().after(Duration::from_secs(3600)));
        done(stage.fixture.tag(&group, tag.clone()).await)?;
        let before = stage.truth(&group).await?;
        let seen = stage.look(&group).await?;
        ensure!(seen.owner.as_ref() == Some(&tag), "claimed by {tag:?}, shown is {:?}", seen.owner);
        if let Some(answer) = write(stage, &group, &seen, &before, what).await? {
            ensure!(matches!(answer, Err(ProviderError::Owned { .. })), "{what} of a claimed group: {}", told(&answer));
        }
        stage.ensure_unchanged(&group, &before).await?;
        let seen = stage.look(&group).await?;
        ensure!(seen.owner.as_ref() == Some(&tag), "{what} took the claim over: {:?}", seen.owner);
    }
    Ok(())
}

/// One write of this kind, where the group has it.
async fn write(
    stage: &mut Stage<'_>,
    group: &GroupId,
    seen: &Observation,
    truth: &Truth,
    what: &str,
) -> Result<Option<Answer>, Stop> {
    let target = stage.target(group, seen);
    let one: Vec<_> = truth.instances.first().cloned().into_iter().collect();
    Ok(match what {
        "raise" => Some(stage.raise(&target, 5).await),
        "cancel" if seen.abilities.keeps_desired => Some(stage.cancel(&target, 3).await),
        "terminate" if seen.abilities.terminate_named => Some(stage.terminate(&target, &one).await?),
        "lower" if seen.abilities.lower => Some(stage.lower(&target, 1).await?),
        _ => None,
    })
}

pub async fn anothers_expired_claim_is_taken_over(stage: &mut Stage<'_>) -> Verdict {
    need(stage.offers.owner_tags, "owner tags")?;
    let group = stage.group(Spec::full(1)).await?;
    let tag = somebody_else(stage.fixture.now().before(Duration::from_secs(60)));
    done(stage.fixture.tag(&group, tag).await)?;
    let seen = stage.look(&group).await?;
    let target = stage.target(&group, &seen);
    ensure_accepted(stage.raise(&target, 2).await)?;
    stage.ensure_holds(&group, 2).await?;
    let seen = stage.look(&group).await?;
    ensure!(seen.owner.as_ref().is_some_and(|tag| tag.epoch == EPOCH), "taken over, shown is {:?}", seen.owner);
    Ok(())
}

pub async fn an_older_epoch_is_refused(stage: &mut Stage<'_>) -> Verdict {
    need(stage.offers.owner_tags, "owner tags")?;
    let group = stage.group(Spec::full(1)).await?;
    let seen = stage.look(&group).await?;
    let target = stage.target(&group, &seen);
    ensure_accepted(stage.raise(&target, 2).await)?;
    stage.fixture.settle().await;
    let before = stage.truth(&group).await?;
    let seen = stage.look(&group).await?;
    let mut target = stage.target(&group, &seen);
    target.lease = Epoch(EPOCH.0 - 1);
    let answer = stage.raise(&target, 4).await;
    ensure!(matches!(answer, Err(ProviderError::Owned { .. })), "a lease that has passed on: {}", told(&answer));
    stage.ensure_unchanged(&group, &before).await?;
    target.lease = Epoch(EPOCH.0 + 1);
    ensure_accepted(stage.raise(&target, 4).await)?;
    stage.ensure_holds(&group, 4).await.map(|_| ())
}
