//! Faults at the wire: unknown is never empty, what may have taken effect says so, and a refusal changes nothing.

use crate::cases::reading::{ensure_is, several};
use crate::fixture::{Call, Fault, Spec, Truth, told};
use crate::stage::{Answer, Stage, Stop, Verdict, alive_ids, ensure, not_applicable};
use contract::{GroupId, ProviderError};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(7);

/// Reads two groups while the fault lasts: both must be errors that `typed` accepts; afterwards all is as before.
pub(super) async fn check_read(stage: &mut Stage<'_>, fault: Fault, typed: impl Fn(&ProviderError) -> bool) -> Verdict {
    stage.need_fault(Call::Read, &fault)?;
    let groups = [stage.group(Spec::full(2)).await?, stage.group(Spec::full(1)).await?];
    for group in &groups {
        stage.inject(group, Call::Read, &fault).await?;
    }
    let asks = [stage.ask(&groups[0]), stage.ask(&groups[1])];
    let answers = stage.provider.observe(&asks).await;
    stage.recover().await;
    ensure!(answers.len() == 2, "2 asked, {} answered", answers.len());
    for (group, answer) in groups.iter().zip(&answers) {
        let right = answer.as_ref().is_err_and(&typed);
        ensure!(right, "{group} under {fault:?}: {}", told(answer));
        let seen = stage.look(group).await?;
        ensure_is(stage, group, &seen).await?;
    }
    Ok(())
}

/// Nobody knows what is there. `NotFound` would say that somebody does.
pub(super) fn unknown(error: &ProviderError) -> bool {
    !matches!(error, ProviderError::NotFound { .. } | ProviderError::Invalid { .. } | ProviderError::Conflict { .. })
}

pub async fn a_throttled_read_is_typed_and_unknown(stage: &mut Stage<'_>) -> Verdict {
    let told = stage.offers.retry_after;
    check_read(stage, Fault::Throttle { retry_after: Some(WAIT) }, |error| throttled(error, told)).await
}

fn throttled(error: &ProviderError, told: bool) -> bool {
    match error {
        ProviderError::Throttled { retry_after: Some(wait) } => *wait >= WAIT || !told,
        ProviderError::Throttled { retry_after: None } => !told,
        _ => false,
    }
}

pub async fn a_failed_read_is_unknown(stage: &mut Stage<'_>) -> Verdict {
    check_read(stage, Fault::ErrorBeforeEffect, unknown).await
}

pub async fn a_read_that_times_out_is_unknown(stage: &mut Stage<'_>) -> Verdict {
    check_read(stage, Fault::Timeout, unknown).await
}

pub async fn an_unreadable_answer_is_unknown(stage: &mut Stage<'_>) -> Verdict {
    check_read(stage, Fault::BrokenBody, unknown).await
}

pub async fn an_unsent_read_is_unknown(stage: &mut Stage<'_>) -> Verdict {
    check_read(stage, Fault::Unsent, unknown).await
}

pub async fn a_denied_read_is_typed(stage: &mut Stage<'_>) -> Verdict {
    check_read(stage, Fault::Denied, |error| matches!(error, ProviderError::Denied { .. })).await
}

pub async fn an_expired_read_is_typed(stage: &mut Stage<'_>) -> Verdict {
    check_read(stage, Fault::Expired, |error| matches!(error, ProviderError::Expired { .. })).await
}

pub async fn a_lost_later_page_is_unknown(stage: &mut Stage<'_>) -> Verdict {
    let Some(page) = stage.offers.page else { return Err(not_applicable("the fixture offers no page size")) };
    let count = page + 3;
    if stage.offers.groups_at_once < count {
        return Err(not_applicable("the fixture offers too few groups for a second page"));
    }
    stage.need_fault(Call::Read, &Fault::LaterPages)?;
    let groups = several(stage, count).await?;
    stage.inject(&groups[0], Call::Read, &Fault::LaterPages).await?;
    let asks: Vec<_> = groups.iter().map(|group| stage.ask(group)).collect();
    let answers = stage.provider.observe(&asks).await;
    stage.recover().await;
    ensure!(answers.len() == count, "{count} asked, {} answered", answers.len());
    for (group, answer) in groups.iter().zip(&answers) {
        match answer {
            Ok(seen) => ensure_is(stage, group, seen).await?,
            Err(error) => ensure!(unknown(error), "{group} was on a lost page: {}", told(answer)),
        }
    }
    ensure!(answers.iter().any(Result::is_err), "pages were lost, and nobody is unknown");
    Ok(())
}

/// A group of two, raised to four while the fault lasts.
async fn raise_under(stage: &mut Stage<'_>, fault: &Fault) -> Result<(GroupId, Truth, Answer), Stop> {
    stage.need_fault(Call::Write, fault)?;
    let group = stage.group(Spec::full(2)).await?;
    let before = stage.truth(&group).await?;
    let seen = stage.look(&group).await?;
    let target = stage.target(&group, &seen);
    stage.inject(&group, Call::Write, fault).await?;
    let answer = stage.raise(&target, 4).await;
    stage.recover().await;
    Ok((group, before, answer))
}

/// A refusal of this type, which changed nothing.
pub(super) async fn check_refusal(
    stage: &mut Stage<'_>,
    fault: Fault,
    typed: impl Fn(&ProviderError) -> bool,
) -> Verdict {
    let (group, before, answer) = raise_under(stage, &fault).await?;
    ensure!(answer.as_ref().is_err_and(&typed), "a raise under {fault:?}: {}", told(&answer));
    stage.ensure_unchanged(&group, &before).await
}

pub async fn a_throttled_write_changes_nothing(stage: &mut Stage<'_>) -> Verdict {
    let told = stage.offers.retry_after;
    check_refusal(stage, Fault::Throttle { retry_after: Some(WAIT) }, |error| throttled(error, told)).await
}

pub async fn a_denied_write_changes_nothing(stage: &mut Stage<'_>) -> Verdict {
    check_refusal(stage, Fault::Denied, |error| matches!(error, ProviderError::Denied { .. })).await
}

pub async fn an_expired_write_changes_nothing(stage: &mut Stage<'_>) -> Verdict {
    check_refusal(stage, Fault::Expired, |error| matches!(error, ProviderError::Expired { .. })).await
}

pub async fn a_raise_without_machines_is_typed(stage: &mut Stage<'_>) -> Verdict {
    check_refusal(stage, Fault::OutOfCapacity, |error| matches!(error, ProviderError::OutOfCapacity { .. })).await
}

pub async fn a_raise_beyond_the_quota_is_typed(stage: &mut Stage<'_>) -> Verdict {
    check_refusal(stage, Fault::QuotaExceeded, |error| matches!(error, ProviderError::QuotaExceeded { .. })).await
}

pub async fn an_unsent_write_changes_nothing(stage: &mut Stage<'_>) -> Verdict {
    let plain =
        |error: &ProviderError| matches!(error, ProviderError::Transport { .. } | ProviderError::Unclear { .. });
    check_refusal(stage, Fault::Unsent, plain).await
}

pub async fn an_error_before_the_effect_is_not_a_success(stage: &mut Stage<'_>) -> Verdict {
    let plain =
        |error: &ProviderError| matches!(error, ProviderError::Transport { .. } | ProviderError::Unclear { .. });
    check_refusal(stage, Fault::ErrorBeforeEffect, plain).await
}

/// The caller is told that it may have happened, and the next observation shows whether it did.
async fn check_unclear(stage: &mut Stage<'_>, fault: Fault, took_effect: Option<bool>) -> Verdict {
    let (group, before, answer) = raise_under(stage, &fault).await?;
    let after = stage.truth(&group).await?;
    let effect = after != before;
    ensure!(took_effect.is_none_or(|expected| expected == effect), "the fixture: {fault:?} gave {before:?}, {after:?}");
    let told_so = match &answer {
        // A provider that looked again and knows may say so.
        Ok(_) => effect,
        Err(error) => error.may_have_taken_effect(),
    };
    ensure!(told_so, "a raise under {fault:?}, {before:?} and then {after:?}: {}", told(&answer));
    if effect {
        stage.ensure_holds(&group, 4).await?;
    }
    let seen = stage.look(&group).await?;
    ensure_is(stage, &group, &seen).await?;
    // Observed again, the same wish ends where it should, whether or not it had begun.
    let target = stage.target(&group, &seen);
    let answer = stage.raise(&target, 4).await;
    ensure!(answer.is_ok(), "the same raise after another look: {}", told(&answer));
    stage.ensure_holds(&group, 4).await.map(|_| ())
}

pub async fn an_error_after_the_effect_is_unclear(stage: &mut Stage<'_>) -> Verdict {
    check_unclear(stage, Fault::ErrorAfterEffect, Some(true)).await
}

pub async fn a_write_that_times_out_is_unclear(stage: &mut Stage<'_>) -> Verdict {
    check_unclear(stage, Fault::Timeout, None).await
}

pub async fn an_unreadable_answer_to_a_write_is_unclear(stage: &mut Stage<'_>) -> Verdict {
    check_unclear(stage, Fault::BrokenBody, Some(true)).await
}

/// A group of four of which one is terminated while the fault lasts.
async fn terminate_under(stage: &mut Stage<'_>, fault: &Fault) -> Result<(GroupId, Truth, Answer), Stop> {
    stage.need_fault(Call::Write, fault)?;
    let group = stage.group(Spec::full(4)).await?;
    let before = stage.truth(&group).await?;
    let seen = stage.look(&group).await?;
    if !seen.abilities.terminate_named {
        return Err(not_applicable("the group says that its instances cannot be removed by name"));
    }
    let named: Vec<_> = alive_ids(&seen).into_iter().skip(1).take(1).collect();
    let target = stage.target(&group, &seen);
    stage.inject(&group, Call::Write, fault).await?;
    let answer = stage.terminate(&target, &named).await?;
    stage.recover().await;
    let after = stage.truth(&group).await?;
    let others: Vec<_> = before.instances.difference(&after.instances).filter(|id| !named.contains(id)).collect();
    ensure!(others.is_empty(), "{named:?} was named, and {others:?} went: {}", told(&answer));
    Ok((group, before, answer))
}

pub async fn a_throttled_termination_changes_nothing(stage: &mut Stage<'_>) -> Verdict {
    let told_wait = stage.offers.retry_after;
    let fault = Fault::Throttle { retry_after: Some(WAIT) };
    let (group, before, answer) = terminate_under(stage, &fault).await?;
    let right = answer.as_ref().is_err_and(|error| throttled(error, told_wait));
    ensure!(right, "a termination under {fault:?}: {}", told(&answer));
    stage.ensure_unchanged(&group, &before).await
}

async fn check_unclear_termination(stage: &mut Stage<'_>, fault: Fault, took_effect: Option<bool>) -> Verdict {
    let (group, before, answer) = terminate_under(stage, &fault).await?;
    let after = stage.truth(&group).await?;
    let effect = after.instances != before.instances;
    ensure!(took_effect.is_none_or(|expected| expected == effect), "the fixture: {fault:?} gave {before:?}, {after:?}");
    let told_so = match &answer {
        Ok(_) => effect,
        Err(error) => error.may_have_taken_effect(),
    };
    ensure!(told_so, "a termination under {fault:?}, {before:?} and then {after:?}: {}", told(&answer));
    let gone = before.instances.len().saturating_sub(after.instances.len());
    let kept = before.desired.zip(after.desired).is_none_or(|(before, after)| before as usize == after as usize + gone);
    ensure!(kept, "desired and instances part: {before:?}, then {after:?}");
    let seen = stage.look(&group).await?;
    ensure_is(stage, &group, &seen).await
}

pub async fn an_error_after_a_termination_is_unclear(stage: &mut Stage<'_>) -> Verdict {
    check_unclear_termination(stage, Fault::ErrorAfterEffect, Some(true)).await
}

pub async fn a_termination_that_times_out_is_unclear(stage: &mut Stage<'_>) -> Verdict {
    check_unclear_termination(stage, Fault::Timeout, None).await
}
