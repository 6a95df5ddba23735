//! What a reader has to know of a comparison, and its numbers do not show.

use policies::policy::units::duration_text;
use policies::policy::{Mode, Policy};
use skala::backtest::Model;

/// What another mode does, which the replay does not show.
pub fn modes(before: Mode, after: Mode) -> Option<String> {
    let acts = |mode: Mode| matches!(mode, Mode::On | Mode::ScaleOutOnly);
    let what = match (before, after) {
        (before, after) if before == after => return None,
        (before, after) if !acts(before) && acts(after) => "skala begins to act",
        (before, after) if acts(before) && !acts(after) => "skala no longer acts",
        (_, Mode::ScaleOutOnly) => "skala no longer takes instances away",
        (_, Mode::On) => "skala begins to take instances away",
        (_, Mode::Observe) => "skala begins to decide, and does not act on it",
        (_, Mode::Off) => "skala no longer decides, and did not act",
    };
    let observed = [before, after].contains(&Mode::Observe);
    let taken = if observed { "; the replay takes observe for on" } else { "" };
    Some(format!("mode: {} -> {}: {what}{taken}", before.word(), after.word()))
}

/// Whose claim of what an instance can do need is judged by, where that is a question.
pub fn claims(before: &Policy, after: &Policy) -> Option<String> {
    let (own, _) = Model::implied(after)?;
    let Some((old, _)) = Model::implied(before) else {
        return Some(
            "need is judged by the new policy's own claim, since the old one has no objective rule: --model FILE.toml says \
             what an instance really does"
                .into(),
        );
    };
    let named = |policy: &Policy, model: &Model| policy.metrics[usize::from(model.metric)].name.clone();
    let (load, own_load) = (named(before, &old), named(after, &own));
    let same = load == own_load
        && (old.capacity_per_instance, old.slo_utilization, old.boot_delay)
            == (own.capacity_per_instance, own.slo_utilization, own.boot_delay);
    let said = |model: &Model, load: &str| {
        format!(
            "one instance does {} of {load} at {} %, and takes {} until it serves",
            model.capacity_per_instance,
            model.slo_utilization * 100.0,
            duration_text(model.boot_delay)
        )
    };
    (!same).then(|| {
        format!(
            "need is judged by the old policy's claim: {}. The new one claims: {}. Whether that is so is not in this \
             comparison; --model FILE.toml says what an instance really does",
            said(&old, &load),
            said(&own, &own_load)
        )
    })
}

/// That each policy saw the load by its own query.
pub fn own_load(metric: &str) -> String {
    format!(
        "metric `{metric}`, the load, is asked for otherwise: each policy sees its own query's values, and need is judged by \
         the old one's on both sides"
    )
}

/// Metrics that the two ask otherwise for, where one file is all that both see.
pub fn same_files(before: &Policy, after: &Policy, given: impl Fn(&str) -> bool) -> Vec<String> {
    let mut said = Vec::new();
    for old in before.metrics.iter().filter(|metric| given(&metric.name)) {
        let new = after.metrics.iter().find(|metric| metric.name == old.name);
        if new.is_some_and(|new| !super::is_asked_alike(old, new)) {
            let name = &old.name;
            said.push(format!(
                "metric `{name}` is asked for otherwise, and both policies see the values of --series {name}: what the other \
                 query does is not in this comparison; without --series each query is asked"
            ));
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_mode_is_said() {
        use Mode::{Observe, Off, On, ScaleOutOnly};
        for (before, after, expected) in [
            (Observe, On, "mode: observe -> on: skala begins to act; the replay takes observe for on"),
            (On, Observe, "mode: on -> observe: skala no longer acts; the replay takes observe for on"),
            (Off, ScaleOutOnly, "mode: off -> scale-out-only: skala begins to act"),
            (On, Off, "mode: on -> off: skala no longer acts"),
            (On, ScaleOutOnly, "mode: on -> scale-out-only: skala no longer takes instances away"),
            (ScaleOutOnly, On, "mode: scale-out-only -> on: skala begins to take instances away"),
        ] {
            assert_eq!(modes(before, after).as_deref(), Some(expected));
        }
        for mode in [Observe, Off, On, ScaleOutOnly] {
            assert_eq!(modes(mode, mode), None);
        }
    }
}
