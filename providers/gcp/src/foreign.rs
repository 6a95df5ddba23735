//! The native autoscaler: the one other controller that a managed instance group knows of.
//!
//! The group says that it has one, so groups without cost no call. What it may do is in the autoscaler itself, which is
//! read when it is new and now and then. Until it was read nobody knows whether it removes.

use crate::Gcp;
use crate::errors::Failure;
use crate::memory::Autoscaler;
use crate::names::GroupName;
use crate::shape::Head;
use contract::Foreign;
use futures_util::StreamExt;
use google_cloud_compute_v1::model;
use google_cloud_compute_v1::model::autoscaling_policy::Mode;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How often an autoscaler is read, and how many at once: a company that comes from autoscalers has one for each group.
const READ_EVERY: Duration = Duration::from_secs(300);
/// As often one that may remove is read: its fleet waits for it to be handed over.
const READ_HOLDING_EVERY: Duration = Duration::from_secs(30);
const AT_ONCE: usize = 8;

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
fn every(foreign: Option<&Foreign>) -> Duration {
    if foreign.is_some_and(|foreign| foreign.removes != Some(false)) { READ_HOLDING_EVERY } else { READ_EVERY }
}

impl Gcp {
    /// Reads the autoscalers that are due, the unknown ones first. What fails stays unknown.
    pub(crate) async fn look_at_autoscalers<'a>(
        &self,
        heads: impl Iterator<Item = (&'a GroupName, &'a Head)>,
        deadline: Instant,
    ) {
        let now = Instant::now();
        let mut due: BTreeMap<&GroupName, (Option<Instant>, &Head)> = BTreeMap::new();
        for (name, head) in heads.filter(|(_, head)| head.autoscaler.is_some()) {
            let asked = self.memory.group(name, |group| {
                let known = group.autoscaler.as_ref().filter(|known| Some(&known.link) == head.autoscaler.as_ref());
                known.map(|known| (known.asked, every(known.foreign.as_ref())))
            });
            if asked.is_none_or(|(asked, every)| now.saturating_duration_since(asked) >= every) {
                due.insert(name, (asked.map(|(asked, _)| asked), head));
            }
        }
        let mut due: Vec<_> = due.into_iter().map(|(name, (asked, head))| (asked, name, head)).collect();
        due.sort_by_key(|(asked, _, _)| *asked);
        let reads: Vec<_> =
            due.into_iter().take(AT_ONCE).map(|(_, name, head)| self.read_autoscaler(name, head, deadline)).collect();
        let answers: Vec<_> = futures_util::stream::iter(reads).buffer_unordered(AT_ONCE).collect().await;
        for failure in answers.into_iter().filter_map(Result::err) {
            tracing::debug!(error = %failure.error, "cannot read an autoscaler");
        }
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
            let (foreign, known) = match (&answer, old) {
                (Ok(autoscaler), _) => (read(&link.1, autoscaler), true),
                (Err(_), Some(old)) => (old.foreign, old.known),
                (Err(_), None) => (None, false),
            };
            group.autoscaler = Some(Autoscaler { link: link.clone(), foreign, asked: Instant::now(), known });
        });
        answer.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_holds_its_fleet_is_read_more_often() {
        let of = |removes| Foreign { name: "autoscaler web".into(), removes };
        assert_eq!(every(Some(&of(Some(true)))), READ_HOLDING_EVERY);
        assert_eq!(every(Some(&of(None))), READ_HOLDING_EVERY);
        assert_eq!(every(Some(&of(Some(false)))), READ_EVERY, "a net that only adds stays for good");
        assert_eq!(every(None), READ_EVERY, "off");
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
