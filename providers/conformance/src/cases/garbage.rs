//! Answers that are not what the API promises: each is one typed error or the truth, and never a smaller group.

use crate::cases::reading::{ensure_is, several};
use crate::cases::trouble::{check_read, check_refusal, unknown};
use crate::fixture::{Call, Fault, Spec, told};
use crate::stage::{Stage, Verdict, alive_ids, ensure, ensure_accepted};
use contract::ProviderError;

pub async fn a_page_of_html_is_unknown(stage: &mut Stage<'_>) -> Verdict {
    check_read(stage, Fault::Html, unknown).await
}

pub async fn a_redirect_is_not_followed(stage: &mut Stage<'_>) -> Verdict {
    check_read(stage, Fault::Redirect, unknown).await
}

pub async fn wrong_credentials_are_typed(stage: &mut Stage<'_>) -> Verdict {
    check_read(stage, Fault::WrongCredentials, |error| matches!(error, ProviderError::Denied { .. })).await
}

pub async fn a_clock_that_is_off_is_typed(stage: &mut Stage<'_>) -> Verdict {
    check_read(stage, Fault::ClockOff, |error| matches!(error, ProviderError::Expired { .. })).await
}

pub async fn a_number_out_of_range_is_unknown(stage: &mut Stage<'_>) -> Verdict {
    check_read(stage, Fault::OutOfRange, unknown).await
}

/// Reads three groups while the fault lasts: each is as it is, or unknown where that is allowed.
async fn check_still_true(stage: &mut Stage<'_>, fault: Fault, or_unknown: bool) -> Verdict {
    stage.need_fault(Call::Read, &fault)?;
    let groups = several(stage, 3).await?;
    stage.inject(&groups[0], Call::Read, &fault).await?;
    let asks: Vec<_> = groups.iter().map(|group| stage.ask(group)).collect();
    let answers = stage.provider.observe(&asks).await;
    stage.recover().await;
    ensure!(answers.len() == asks.len(), "{} asked, {} answered", asks.len(), answers.len());
    for (group, answer) in groups.iter().zip(&answers) {
        match answer {
            Ok(seen) => {
                stage.check_laws(group, seen)?;
                ensure_is(stage, group, seen).await?;
            }
            Err(error) => ensure!(or_unknown && unknown(error), "{group} under {fault:?}: {}", told(answer)),
        }
    }
    Ok(())
}

pub async fn empty_pages_hide_nothing(stage: &mut Stage<'_>) -> Verdict {
    check_still_true(stage, Fault::EmptyPages, false).await
}

pub async fn an_item_twice_counts_once(stage: &mut Stage<'_>) -> Verdict {
    check_still_true(stage, Fault::Duplicates, true).await
}

/// A word that is new says nothing of whether the instance is there: it is not left out.
pub async fn an_unknown_word_loses_no_instance(stage: &mut Stage<'_>) -> Verdict {
    stage.need_fault(Call::Read, &Fault::UnknownWords)?;
    let group = stage.group(Spec::full(3)).await?;
    let there = stage.truth(&group).await?.instances;
    stage.inject(&group, Call::Read, &Fault::UnknownWords).await?;
    let answer = stage.observe(&group).await;
    stage.recover().await;
    match &answer {
        Ok(seen) => {
            stage.check_laws(&group, seen)?;
            let shown = seen.instances.iter().filter(|instance| there.contains(&instance.id)).count();
            ensure!(shown == there.len(), "{} instances, and {shown} are shown: {}", there.len(), told(&answer));
        }
        Err(error) => ensure!(unknown(error), "{group} with an unknown word: {}", told(&answer)),
    }
    let seen = stage.look(&group).await?;
    ensure!(alive_ids(&seen) == there, "afterwards {there:?} are there, and {:?} are shown", alive_ids(&seen));
    Ok(())
}

fn plain(error: &ProviderError) -> bool {
    matches!(error, ProviderError::Transport { .. } | ProviderError::Unclear { .. })
}

pub async fn a_write_answered_with_html_is_no_success(stage: &mut Stage<'_>) -> Verdict {
    check_refusal(stage, Fault::Html, plain).await
}

pub async fn a_redirected_write_changes_nothing(stage: &mut Stage<'_>) -> Verdict {
    check_refusal(stage, Fault::Redirect, plain).await
}

/// The write was taken, and its end cannot be read: unknown until it can, and then as it is.
pub async fn credentials_that_expire_after_a_write_hide_nothing(stage: &mut Stage<'_>) -> Verdict {
    stage.need_fault(Call::Read, &Fault::Expired)?;
    let group = stage.group(Spec::full(2)).await?;
    let seen = stage.look(&group).await?;
    let target = stage.target(&group, &seen);
    ensure_accepted(stage.raise(&target, 4).await)?;
    stage.inject(&group, Call::Read, &Fault::Expired).await?;
    let answer = stage.observe(&group).await;
    stage.recover().await;
    let right = matches!(answer, Err(ProviderError::Expired { .. }));
    ensure!(right, "a read after the credentials have expired: {}", told(&answer));
    stage.ensure_holds(&group, 4).await?;
    let seen = stage.look(&group).await?;
    ensure_is(stage, &group, &seen).await
}
