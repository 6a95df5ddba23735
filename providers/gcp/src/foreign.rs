//! The native autoscaler: the one other controller that a managed instance group knows of.
//!
//! The group says that it has one, so groups without cost no call. What it may do is in the autoscaler itself, which is
//! read when it is new and now and then. Until it was read nobody knows whether it removes, and its fleet is held: one that
//! is unknown is read at each look.

use crate::Gcp;
use crate::errors::Failure;
use crate::memory::Autoscaler;
use crate::names::GroupName;
use crate::shape::Head;
use contract::{Foreign, ProviderError};
use futures_util::StreamExt;
use google_cloud_compute_v1::model;
use google_cloud_compute_v1::model::autoscaling_policy::Mode;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How often an autoscaler is read, and how many of the known ones at one look: a company that comes from autoscalers has
/// one for each group.
const READ_EVERY: Duration = Duration::from_secs(300);
const READ_AGAIN: usize = 8;
/// As often one that may remove is read: its fleet waits for it to be handed over. Also one whose read was refused.
const READ_HOLDING_EVERY: Duration = Duration::from_secs(30);
/// Calls in the air at once.
const CONCURRENT: usize = 16;

/// What an observation shows.
pub(crate) fn shown(head: &Head, known: Option<&Autoscaler>) -> Vec<Foreign> {
    let Some(link) = &head.autoscaler else { return Vec::new() };
    match known {
        Some(known) if known.known && known.link == *link => known.foreign.iter().cloned().collect(),
        _ => vec![Foreign { name: name_of(&link.1), removes: None }],
    }
}

fn name_of(autoscaler: &str) -> Box<str> {
    format!("autoscaler {autoscaler}").into()
}

/// What an autoscaler is to us: nobody when it is off.
fn read(name: &str, autoscaler: &model::Autoscaler) -> Option<Foreign> {
    let mode = autoscaler.autoscaling_policy.as_ref().and_then(|policy| policy.mode.as_ref());
    let removes = match mode {
        Some(Mode::Off) => return None,
        Some(Mode::OnlyScaleOut | Mode::OnlyUp) => Some(false),
        Some(Mode::On) => Some(true),
        _ => None,
    };
    Some(Foreign { name: name_of(name), removes })
}

/// How often it is worth reading.
fn every(autoscaler: &Autoscaler) -> Duration {
    let holds = autoscaler.foreign.as_ref().is_some_and(|foreign| foreign.removes != Some(false));
    match (autoscaler.known, autoscaler.trouble) {
        (false, Some("denied" | "invalid")) => READ_HOLDING_EVERY,
        (false, _) => Duration::ZERO,
        (true, _) if holds => READ_HOLDING_EVERY,
        (true, _) => READ_EVERY,
    }
}

/// An autoscaler that is to be read.
struct Due<'a> {
    known: bool,
    asked: Option<Instant>,
    name: &'a GroupName,
    head: &'a Head,
    trouble: Option<&'static str>,
}

/// Says why autoscalers stay unknown: one line for each kind of trouble that is new, however many have it.
fn tell(troubles: Vec<(&Due<'_>, ProviderError)>) {
    let mut kinds: BTreeMap<&str, Vec<(&Due<'_>, ProviderError)>> = BTreeMap::new();
    for (due, error) in troubles {
        // Too many calls at once are of no group's making, and it is read at the next look.
        let is_news = !due.known && due.trouble != Some(error.code());
        if is_news && !matches!(error, ProviderError::Throttled { .. }) {
            kinds.entry(error.code()).or_default().push((due, error));
        } else {
            tracing::debug!(group = %due.name, %error, "cannot read an autoscaler");
        }
    }
    for all in kinds.into_values() {
        let groups = all.len();
        let Some((due, error)) = all.into_iter().next() else { continue };
        let words = "autoscalers cannot be read, so nobody knows whether they remove, and their fleets are held; \
                     reading needs compute.autoscalers.get";
        tracing::warn!(groups, first = %due.name, %error, "{words}");
    }
}

impl Gcp {
    /// Reads the autoscalers that are due: all that are unknown, and a few of the others. What fails stays as it was.
    pub(crate) async fn look_at_autoscalers<'a>(
        &self,
        heads: impl Iterator<Item = (&'a GroupName, &'a Head)>,
        deadline: Instant,
    ) {
        let due = self.autoscalers_due(heads.filter(|(_, head)| head.autoscaler.is_some()));
        let reads: Vec<_> = due
            .iter()
            .map(|due| async move {
                // What is not asked for now is the first of the next look.
                if Instant::now() >= deadline {
                    return None;
                }
                let failure = self.read_autoscaler(due.name, due.head, deadline).await.err()?;
                Some((due, failure.error))
            })
            .collect();
        let answers: Vec<_> = futures_util::stream::iter(reads).buffer_unordered(CONCURRENT).collect().await;
        tell(answers.into_iter().flatten().collect());
    }

    /// The longest unasked first.
    fn autoscalers_due<'a>(&self, heads: impl Iterator<Item = (&'a GroupName, &'a Head)>) -> Vec<Due<'a>> {
        let now = Instant::now();
        let mut due: BTreeMap<&GroupName, Due<'a>> = BTreeMap::new();
        for (name, head) in heads {
            let (one, every) = self.memory.group(name, |group| {
                let of_now = |old: &&Autoscaler| Some(&old.link) == head.autoscaler.as_ref();
                let Some(old) = group.autoscaler.as_ref().filter(of_now) else {
                    return (Due { known: false, asked: None, name, head, trouble: None }, Duration::ZERO);
                };
                let asked = Some(old.asked);
                (Due { known: old.known, asked, name, head, trouble: old.trouble }, every(old))
            });
            if one.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= every) {
                due.insert(name, one);
            }
        }
        let (mut again, mut unknown): (Vec<_>, Vec<_>) = due.into_values().partition(|due| due.known);
        unknown.sort_by_key(|due| due.asked);
        again.sort_by_key(|due| due.asked);
        unknown.extend(again.into_iter().take(READ_AGAIN));
        unknown
    }

    /// Reads a group's autoscaler and remembers it.
    pub(crate) async fn read_autoscaler(
        &self,
        name: &GroupName,
        head: &Head,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let Some(link) = &head.autoscaler else { return Ok(()) };
        let answer = self.calls.autoscaler(&link.0, &link.1, deadline).await;
        self.memory.group(name, |group| {
            let old = group.autoscaler.take().filter(|old| old.link == *link);
            let trouble = answer.as_ref().err().map(|failure| failure.error.code());
            let (foreign, known) = match (&answer, old) {
                (Ok(autoscaler), _) => (read(&link.1, autoscaler), true),
                // Kept back here for the most part, so it was not asked.
                (Err(Failure { error: ProviderError::Throttled { .. }, .. }), old) => {
                    group.autoscaler = old;
                    return;
                }
                (Err(_), Some(old)) => (old.foreign, old.known),
                (Err(_), None) => (None, false),
            };
            group.autoscaler = Some(Autoscaler { link: link.clone(), foreign, asked: Instant::now(), known, trouble });
        });
        answer.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Place;

    #[test]
    fn one_that_holds_its_fleet_is_read_more_often() {
        let check = |removes: Option<Option<bool>>, known: bool, trouble: Option<&'static str>, expected: Duration| {
            let link = (Place::Zone("europe-west1-b".into()), "web".into());
            let foreign = removes.map(|removes| Foreign { name: "autoscaler web".into(), removes });
            let autoscaler = Autoscaler { link, foreign, asked: Instant::now(), known, trouble };
            assert_eq!(every(&autoscaler), expected, "{removes:?} {known} {trouble:?}");
        };
        check(Some(Some(true)), true, None, READ_HOLDING_EVERY);
        check(Some(None), true, None, READ_HOLDING_EVERY);
        // A net that only adds stays for good.
        check(Some(Some(false)), true, None, READ_EVERY);
        check(Some(Some(false)), true, Some("transport"), READ_EVERY);
        // Off.
        check(None, true, None, READ_EVERY);
        check(None, false, Some("transport"), Duration::ZERO);
        check(None, false, Some("denied"), READ_HOLDING_EVERY);
    }

    #[test]
    fn an_autoscalers_mode_says_whether_it_removes() {
        let check = |mode: Option<Mode>, expected: Option<Option<bool>>| {
            let policy = model::AutoscalingPolicy::new().set_or_clear_mode(mode.clone());
            let foreign = read("web", &model::Autoscaler::new().set_autoscaling_policy(policy));
            assert_eq!(foreign.as_ref().map(|foreign| foreign.removes), expected, "{mode:?}");
        };
        check(Some(Mode::On), Some(Some(true)));
        check(Some(Mode::OnlyScaleOut), Some(Some(false)));
        check(Some(Mode::OnlyUp), Some(Some(false)));
        check(Some(Mode::Off), None);
        check(Some(Mode::from("SOMETIMES")), Some(None));
        check(None, Some(None));
        let nothing = read("web", &model::Autoscaler::new());
        assert_eq!(nothing, Some(Foreign { name: "autoscaler web".into(), removes: None }));
    }
}
