//! Two policies of one fleet on the same recorded load: capacity, cost and shortage side by side, and where they differ most.

use super::{Backtest, Change, Score, Supply};
use contract::{Capacity, Timestamp};
use policies::policy::{Entry, Node, Place, Places, Policy, SourceFile, Table, Value, settings};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Moments that are told.
const MOMENTS_MAX: usize = 3;
/// How far apart they are at least.
const APART: std::time::Duration = std::time::Duration::from_secs(3_600);
/// The share of the steps at or below the 95th percentile.
const P95: f64 = 0.95;

/// One policy's side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Side {
    /// The score after the warm-up, where the load is known. What is needed is the same on both sides: the load's own need, at least the smaller of
    /// the two mins.
    pub score: Score,
    /// Mean of the instances paid, in the same steps.
    pub mean: f64,
    /// Their 95th percentile.
    pub p95: Capacity,
    /// Their maximum.
    pub max: Capacity,
}

/// A moment at which the two differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// Instances paid by the one.
    pub before: Capacity,
    /// Instances paid by the other.
    pub after: Capacity,
    /// Why the other has as many: its last change until then.
    pub why: Box<str>,
}

/// Two policies side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The one.
    pub before: Side,
    /// The other.
    pub after: Side,
    /// Steps, those of the warm-up too, in which they pay for different numbers of instances.
    pub differing_steps: usize,
    /// Where they differ most, the largest first.
    pub moments: Vec<Moment>,
}

/// Replays both, each on a thread of its own, and compares them. Both must be of the same load and model.
///
/// # Panics
/// When their loads are not of one length, or a replay panics.
pub fn compare(before: &Backtest, after: &Backtest) -> Comparison {
    assert!(before.scene.steps() == after.scene.steps(), "one load for both");
    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(|| before.replay(before.scene.steps(), &mut |_| {}));
        let other = after.replay(after.scene.steps(), &mut |_| {});
        (one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), other)
    });
    let needed: Vec<Capacity> =
        before.scene.demand.iter().zip(&after.scene.demand).map(|(one, other)| *one.min(other)).collect();
    let ((one, _), (other, changes)) = (one, other);
    Comparison {
        before: side(after, &needed, &one),
        after: side(after, &needed, &other),
        differing_steps: one.paid.iter().zip(&other.paid).filter(|(one, other)| one != other).count(),
        moments: moments(after, &one.paid, &other.paid, &changes),
    }
}

fn side(of: &Backtest, needed: &[Capacity], supply: &Supply) -> Side {
    let scene = &of.scene;
    let known = scene.known(scene.first_scored()..scene.steps());
    let score = Score::over(needed, supply, &known, scene.model.step, scene.model.price_per_hour);
    let mut paid: Vec<Capacity> = known.into_iter().flat_map(|stretch| supply.paid[stretch].to_vec()).collect();
    paid.sort_unstable();
    // The cast is of a number below the length.
    let rank = (paid.len() as f64 * P95).ceil() as usize;
    Side {
        score,
        mean: paid.iter().map(|paid| f64::from(*paid)).sum::<f64>() / paid.len().max(1) as f64,
        p95: paid.get(rank.saturating_sub(1)).copied().unwrap_or(0),
        max: paid.last().copied().unwrap_or(0),
    }
}

fn moments(of: &Backtest, before: &[Capacity], after: &[Capacity], changes: &[Change]) -> Vec<Moment> {
    let apart = |step: usize| before[step].abs_diff(after[step]);
    let mut order: Vec<usize> = (0..before.len().min(after.len())).filter(|step| apart(*step) > 0).collect();
    order.sort_by_key(|step| (std::cmp::Reverse(apart(*step)), *step));
    let steps = (APART.as_micros() / of.scene.model.step.as_micros().max(1)).max(1);
    let mut taken: Vec<usize> = Vec::new();
    for step in order {
        if taken.len() < MOMENTS_MAX && taken.iter().all(|known| known.abs_diff(step) as u128 >= steps) {
            taken.push(step);
        }
    }
    let why = |step: usize| {
        let last = changes.iter().take_while(|change| change.step <= step).last();
        last.map_or_else(|| "unchanged since the beginning".into(), |change| change.why.clone())
    };
    let moment =
        |step: usize| Moment { at: of.scene.time(step), before: before[step], after: after[step], why: why(step) };
    taken.into_iter().map(moment).collect()
}

/// A policy without the places where it is written: equal for policies that decide alike.
pub fn placeless(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    policy.places = Places::default();
    policy.groups.iter_mut().for_each(|group| group.place = Place::default());
    policy.metrics.iter_mut().for_each(|metric| metric.place = Place::default());
    policy.rules.iter_mut().for_each(|rule| rule.place = Place::default());
    policy
}

/// A setting that the two say differently; `None`: it is not written, so its default counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// As diagnostics name it: `rule.requests.target`.
    pub setting: String,
    /// As TOML.
    pub before: Option<String>,
    /// As TOML.
    pub after: Option<String>,
}

/// The settings of a fleet that two sets of files say differently, templates and `[defaults]` laid under, sorted.
pub fn differences(before: &[SourceFile], after: &[SourceFile], fleet: &str) -> Vec<Difference> {
    let flat = |files: &[SourceFile]| {
        let mut flat = BTreeMap::new();
        if let Some(table) = settings(files, fleet) {
            flatten(&table, "", &mut flat);
        }
        // Which template it extends decides nothing by itself.
        flat.remove("extends");
        flat
    };
    let (before, after) = (flat(before), flat(after));
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let of = |flat: &BTreeMap<String, String>, name: &String| flat.get(name).cloned();
    let all = names.into_iter().map(|name| Difference {
        setting: name.clone(),
        before: of(&before, name),
        after: of(&after, name),
    });
    all.filter(|one| one.before != one.after).collect()
}

fn flatten(table: &Table, prefix: &str, flat: &mut BTreeMap<String, String>) {
    for Entry { key, node, .. } in &table.entries {
        let name = if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") };
        match &node.value {
            Value::Table(inner) => flatten(inner, &name, flat),
            Value::List(items) if matches!(name.as_str(), "rule" | "group") => {
                for item in items.iter().filter_map(Node::table) {
                    let named = item.get("name").or(item.get("kind")).or(item.get("group"));
                    let own = named.and_then(|entry| entry.node.text()).map_or("?", |text| text.as_ref());
                    flatten(item, &format!("{name}.{own}"), flat);
                }
            }
            _ => {
                flat.insert(name, shown(node));
            }
        }
    }
}

/// A value as TOML, on one line.
fn shown(node: &Node) -> String {
    let joined = |parts: Vec<String>| parts.join(", ");
    match &node.value {
        Value::Text(text) => format!("{text:?}"),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Datetime(date) => date.to_string(),
        Value::List(items) => format!("[{}]", joined(items.iter().map(shown).collect())),
        Value::Table(table) => {
            let pairs = table.entries.iter().map(|entry| format!("{} = {}", entry.key, shown(&entry.node)));
            format!("{{ {} }}", joined(pairs.collect()))
        }
        Value::Huge | Value::Broken => "?".into(),
    }
}

/// A fleet's policies in two sets.
pub type Pair<'s> = (Option<&'s Arc<Policy>>, Option<&'s Arc<Policy>>);

/// The fleets of two sets by name.
pub fn pairs<'s>(before: &'s [Arc<Policy>], after: &'s [Arc<Policy>]) -> BTreeMap<&'s str, Pair<'s>> {
    let mut pairs: BTreeMap<&str, Pair<'_>> = BTreeMap::new();
    for policy in before {
        pairs.entry(&policy.id).or_default().0 = Some(policy);
    }
    for policy in after {
        pairs.entry(&policy.id).or_default().1 = Some(policy);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::super::tests::{backtest, model, policy};
    use super::*;
    use policies::policy::RuleKind;

    fn with_target(target: f64, min: Capacity) -> Policy {
        let mut policy = Policy { min, ..policy("") };
        if let RuleKind::PerInstance { target: own, .. } = &mut policy.rules[0].kind {
            *own = target;
        }
        policy
    }

    #[test]
    fn both_sides_are_judged_by_the_same_need() {
        let of = |policy: &Policy| backtest(policy, model(), 1_440);
        let (tight, roomy) = (of(&with_target(200.0, 2)), of(&with_target(120.0, 30)));
        let compared = compare(&tight, &roomy);
        assert!(compared.after.mean > compared.before.mean && compared.after.score.tau_u < compared.before.score.tau_u);
        assert_eq!(compare(&roomy, &tight).after, compared.before);
        // The larger min of one side is not a need.
        let lack = |one: &Backtest| {
            let supply = one.replay(1_440, &mut |_| {}).0;
            side(one, &tight.scene.demand, &supply).score.lack_pct
        };
        assert_eq!((compared.before.score.lack_pct, compared.after.score.lack_pct), (lack(&tight), lack(&roomy)));
        let same = compare(&tight, &tight);
        assert_eq!((same.differing_steps, same.moments.len()), (0, 0));
        assert_eq!(same.before, same.after);
    }

    #[test]
    fn the_largest_differences_are_an_hour_apart_and_explained() {
        let of = |target: f64| backtest(&with_target(target, 2), model(), 1_440);
        let (one, other) = (of(160.0), of(100.0));
        let compared = compare(&one, &other);
        assert_eq!(compared.moments.len(), MOMENTS_MAX);
        let apart = |moment: &Moment| moment.before.abs_diff(moment.after);
        assert!(compared.moments.windows(2).all(|pair| apart(&pair[0]) >= apart(&pair[1])));
        for (at, moment) in compared.moments.iter().enumerate() {
            assert!(moment.why.contains(" / 100 per instance"), "{moment:?}");
            let others =
                compared.moments[..at].iter().map(|known| known.at.since(moment.at).max(moment.at.since(known.at)));
            assert!(others.min().is_none_or(|least| least >= APART), "{:?}", compared.moments);
        }
        let mut paid = one.replay(1_440, &mut |_| {}).0.paid.split_off(one.scene.first_scored());
        paid.sort_unstable();
        let at_or_below = paid.iter().filter(|paid| **paid <= compared.before.p95).count() as f64;
        assert!(at_or_below >= 0.95 * paid.len() as f64 && compared.before.max == paid[paid.len() - 1]);
    }

    #[test]
    fn settings_are_compared_as_they_count() {
        let file = |text: &str| vec![SourceFile { name: "a.toml".into(), text: text.into() }];
        let head = "[fleet.web]\nmin = 1\n[[fleet.web.group]]\nprovider = \"a\"\ngroup = \"g\"\n";
        let rule = "[[fleet.web.rule]]\nkind = \"per-instance\"\ntarget = 10\n";
        let before = file(&format!("{head}{rule}[defaults]\nmax = 9\n"));
        let after = file(&format!(
            "{}[template.t]\nmax = 9\nscale_in = {{ rate = [{{ percent = \"5%\", per = \"1m\" }}] }}\n\
             [[template.t.rule]]\nkind = \"per-instance\"\ntarget = 12\n",
            head.replace("min = 1", "min = 1\nextends = \"t\"")
        ));
        let said: Vec<String> = differences(&before, &after, "web")
            .into_iter()
            .map(|one| format!("{} {:?} {:?}", one.setting, one.before, one.after))
            .collect();
        let expected = [
            "rule.per-instance.target Some(\"10\") Some(\"12\")",
            "scale_in.rate None Some(\"[{ per = \\\"1m\\\", percent = \\\"5%\\\" }]\")",
        ];
        assert_eq!(said, expected);
        assert_eq!(differences(&before, &before, "web"), []);
    }
}
