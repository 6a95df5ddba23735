//! Reads: everything asked is answered, in order, truly, and an unknown group spoils nobody.

use crate::fixture::{Call, Fault, Spec, told};
use crate::stage::{Stage, Verdict, alive_ids, all_run, done, ensure, need, not_applicable};
use contract::{FailureKind, GroupId, GuardKind, Observation, ProviderError};
use std::time::Duration;

pub async fn observation_shows_the_truth(stage: &mut Stage<'_>) -> Verdict {
    let group = stage.group(Spec { min: 1, max: 9, desired: 3, running: 3 }).await?;
    let seen = stage.look(&group).await?;
    let truth = stage.truth(&group).await?;
    ensure!(seen.desired == truth.desired, "desired: {:?}, really {:?}", seen.desired, truth.desired);
    ensure!(alive_ids(&seen) == truth.instances, "instances: {:?}, really {:?}", seen.instances, truth.instances);
    ensure!(truth.instances.len() == 3 && all_run(&seen), "three should run: {:?}", seen.instances);
    ensure!(seen.cloud_min.is_none_or(|min| min == 1), "cloud_min is {:?}, really 1", seen.cloud_min);
    ensure!(seen.cloud_max.is_none_or(|max| max == 9), "cloud_max is {:?}, really 9", seen.cloud_max);
    ensure!(seen.unfilled() == 0, "nothing is unfilled: {seen:?}");
    ensure!(seen.foreign.is_empty(), "no foreign controller is there: {:?}", seen.foreign);
    ensure!(seen.suspended.is_empty(), "nothing is suspended: {:?}", seen.suspended);
    ensure!(seen.launch_failures.is_empty(), "no launch failed: {:?}", seen.launch_failures);
    Ok(())
}

pub async fn many_groups_are_observed_at_once(stage: &mut Stage<'_>) -> Verdict {
    let count = stage.offers.groups_at_once.min(130);
    need(count > 1, "more than one group")?;
    let groups = several(stage, count).await?;
    // Neither in the order of their making nor of their names.
    let shuffled: Vec<&GroupId> = (0..count).map(|i| &groups[(i * 57 + 13) % count]).collect();
    let asks: Vec<_> = shuffled.iter().map(|group| stage.ask(group)).collect();
    let before = stage.fixture.calls();
    let answers = stage.provider.observe(&asks).await;
    let reads = stage.fixture.calls().reads - before.reads;
    ensure!(answers.len() == count, "{count} asked, {} answered", answers.len());
    for (group, answer) in shuffled.iter().zip(&answers) {
        match answer {
            Ok(seen) => ensure_is(stage, group, seen).await?,
            Err(_) => ensure!(false, "{group}: {}", told(answer)),
        }
    }
    ensure!(!stage.offers.counts_calls || reads < count as u64, "{reads} reads for {count} groups: not batched");
    Ok(())
}

/// Groups of one and two instances; a multiple of 57 of them would not be shuffled, and is not asked for.
pub async fn several(stage: &mut Stage<'_>, count: usize) -> Result<Vec<GroupId>, crate::stage::Stop> {
    let mut groups = Vec::new();
    for index in 0..count {
        let size = if index % 3 == 0 { 2 } else { 1 };
        groups.push(stage.unsettled_group(Spec::full(size)).await?);
    }
    stage.fixture.settle().await;
    Ok(groups)
}

/// The observation is of this group and no other.
pub async fn ensure_is(stage: &mut Stage<'_>, group: &GroupId, seen: &Observation) -> Verdict {
    stage.check_laws(group, seen)?;
    let truth = stage.truth(group).await?;
    ensure!(
        seen.desired == truth.desired && alive_ids(seen) == truth.instances,
        "the answer for {group} is {seen:?}, really {truth:?}"
    );
    Ok(())
}

pub async fn nothing_asked_is_nothing_answered(stage: &mut Stage<'_>) -> Verdict {
    stage.group(Spec::full(1)).await?;
    let before = stage.fixture.calls();
    let answers = stage.provider.observe(&[]).await;
    ensure!(answers.is_empty(), "nothing asked, {} answered", answers.len());
    // To many clouds an empty list of names means all groups of the account.
    let after = stage.fixture.calls();
    ensure!(before == after, "nothing asked, and the cloud was called: {before:?}, then {after:?}");
    Ok(())
}

pub async fn a_group_asked_twice_is_answered_twice(stage: &mut Stage<'_>) -> Verdict {
    let one = stage.group(Spec::full(1)).await?;
    let two = stage.group(Spec::full(2)).await?;
    let asks = [stage.ask(&one), stage.ask(&two), stage.ask(&one)];
    let answers = stage.provider.observe(&asks).await;
    ensure!(answers.len() == 3, "3 asked, {} answered", answers.len());
    for (group, answer) in [&one, &two, &one].into_iter().zip(&answers) {
        match answer {
            Ok(seen) => ensure_is(stage, group, seen).await?,
            Err(_) => ensure!(false, "{group}: {}", told(answer)),
        }
    }
    Ok(())
}

pub async fn an_unknown_group_is_not_found_and_spoils_nobody(stage: &mut Stage<'_>) -> Verdict {
    let gone = stage.gone_group().await?;
    let (first, last) = (stage.group(Spec::full(1)).await?, stage.group(Spec::full(2)).await?);
    let asks = [stage.ask(&first), stage.ask(&gone), stage.ask(&last)];
    let answers = stage.provider.observe(&asks).await;
    ensure!(answers.len() == 3, "3 asked, {} answered", answers.len());
    ensure!(matches!(answers[1], Err(ProviderError::NotFound { .. })), "not found, but {}", told(&answers[1]));
    for (group, answer) in [(&first, &answers[0]), (&last, &answers[2])] {
        match answer {
            Ok(seen) => ensure_is(stage, group, seen).await?,
            Err(_) => ensure!(false, "the neighbour {group}: {}", told(answer)),
        }
    }
    Ok(())
}

pub async fn a_slow_answer_is_stamped_before_it(stage: &mut Stage<'_>) -> Verdict {
    let slow = Duration::from_secs(1);
    stage.need_fault(Call::Read, &Fault::Slow(slow))?;
    let group = stage.group(Spec::full(1)).await?;
    stage.inject(&group, Call::Read, &Fault::Slow(slow)).await?;
    let seen = stage.look(&group).await?;
    let latest = stage.fixture.now().before(slow);
    ensure!(seen.at <= latest, "observed at {}, but asked at {latest} at the latest", seen.at);
    Ok(())
}

pub async fn protection_is_shown(stage: &mut Stage<'_>) -> Verdict {
    need(stage.offers.protect, "protection")?;
    let group = stage.group(Spec::full(3)).await?;
    let chosen = first_of(stage, &group).await?;
    done(stage.fixture.protect(&group, &chosen).await)?;
    let seen = stage.look(&group).await?;
    for instance in &seen.instances {
        let expected = instance.id == chosen;
        ensure!(instance.protected == expected, "{} should be protected = {expected}", instance.id);
    }
    Ok(())
}

/// The first instance of a group, by the truth.
pub async fn first_of(stage: &mut Stage<'_>, group: &GroupId) -> Result<contract::InstanceId, crate::stage::Stop> {
    let truth = stage.truth(group).await?;
    let first = truth.instances.first().cloned();
    first.ok_or_else(|| crate::stage::Stop::Failed(format!("the fixture made {group} without instances")))
}

pub async fn unfilled_capacity_is_shown(stage: &mut Stage<'_>) -> Verdict {
    need(stage.offers.unfilled, "unfilled groups")?;
    let group = stage.group(Spec { min: 0, max: 9, desired: 5, running: 2 }).await?;
    let seen = stage.look(&group).await?;
    ensure!(seen.desired == Some(5) && seen.unfilled() == 3, "3 of 5 are unfilled: {seen:?}");
    Ok(())
}

pub async fn suspension_is_shown(stage: &mut Stage<'_>) -> Verdict {
    need(!stage.offers.suspends.is_empty(), "function that can be switched off")?;
    for what in stage.offers.suspends.clone() {
        let group = stage.group(Spec::full(1)).await?;
        done(stage.fixture.suspend(&group, what.clone()).await)?;
        let seen = stage.look(&group).await?;
        ensure!(seen.suspended.contains(&what), "{what:?} is suspended, shown is {:?}", seen.suspended);
    }
    Ok(())
}

pub async fn a_foreign_controller_is_shown(stage: &mut Stage<'_>) -> Verdict {
    need(stage.offers.foreign, "foreign controllers")?;
    let (group, other) = (stage.group(Spec::full(1)).await?, stage.group(Spec::full(1)).await?);
    let expected = done(stage.fixture.foreign(&group).await)?;
    let seen = stage.look(&group).await?;
    ensure!(seen.foreign.contains(&expected), "{expected:?} is there, shown is {:?}", seen.foreign);
    let neighbour = stage.look(&other).await?;
    ensure!(neighbour.foreign.is_empty(), "the neighbour has none: {:?}", neighbour.foreign);
    Ok(())
}

pub async fn launch_failures_are_data(stage: &mut Stage<'_>) -> Verdict {
    need(stage.offers.launch_failures, "launch failures")?;
    let group = stage.group(Spec::full(2)).await?;
    done(stage.fixture.fail_launches(&group).await)?;
    let seen = stage.look(&group).await?;
    let target = stage.target(&group, &seen);
    // Where launches fail at once the write itself says so; where they fail later it is accepted.
    let answer = stage.raise(&target, 4).await;
    let typed = matches!(answer, Ok(_) | Err(ProviderError::OutOfCapacity { .. }));
    ensure!(typed, "no machines: {}", told(&answer));
    stage.fixture.settle().await;
    let seen = stage.look(&group).await?;
    ensure!(alive_ids(&seen).len() == 2, "two run and none came: {seen:?}");
    let shown = seen.launch_failures.iter().any(|failure| failure.kind == FailureKind::OutOfCapacity);
    ensure!(shown || answer.is_err(), "the failed launches are not shown: {seen:?}");
    let now = stage.fixture.now();
    ensure!(seen.launch_failures.iter().all(|failure| failure.at <= now), "a failure from the future: {seen:?}");
    Ok(())
}

pub async fn an_atomic_guard_shows_a_token(stage: &mut Stage<'_>) -> Verdict {
    if stage.provider.guard() != GuardKind::Atomic {
        return Err(not_applicable("the guard is not atomic"));
    }
    let group = stage.group(Spec::full(1)).await?;
    let seen = stage.look(&group).await?;
    ensure!(seen.token.is_some(), "an atomic guard needs a token: {seen:?}");
    Ok(())
}
