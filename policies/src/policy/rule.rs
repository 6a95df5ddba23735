//! `[[fleet.NAME.rule]]`: the calculations, each with keys of its own.

use super::diagnostic::{At, Finding};
use super::fleet::{PARTS_MAX, too_many};
use super::metric::Drafts;
use super::reader::{Fault, Reader};
use super::tree::{Node, Value};
use super::{Amount, Blocks, Change, Rule, RuleKind, StepRow, Threshold, Tolerance, Unit};
use super::{expression, objective, queueing, schedule, units};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Utilization,
    PerInstance,
    Step,
    Schedule,
    Guard,
    Queue,
    Latency,
    Expression,
    Objective,
}

const KINDS: [(&str, Kind); 9] = [
    ("utilization", Kind::Utilization),
    ("per-instance", Kind::PerInstance),
    ("step", Kind::Step),
    ("schedule", Kind::Schedule),
    ("guard", Kind::Guard),
    ("objective", Kind::Objective),
    ("queue", Kind::Queue),
    ("latency", Kind::Latency),
    ("expression", Kind::Expression),
];

pub(super) fn read(r: &mut Reader<'_>, metrics: &Drafts) -> Vec<Rule> {
    let list = r.list("rule");
    if list.is_empty() && !r.has("rule") && !r.is_partial() {
        let found = Finding::new("the fleet has no rule, so nothing would ever size it");
        r.findings().error(r.at(), found.hint("add a [[fleet.NAME.rule]] with `kind`, `metric` and `target`"));
    }
    too_many(r, "rule", list.len());
    let mut rules = Vec::new();
    let mut names: BTreeMap<Arc<str>, At> = BTreeMap::new();
    for mut reader in list.into_iter().take(PARTS_MAX) {
        let name = reader.take("name", units::name);
        let has_name = reader.has("name");
        let hint = "kind = \"per-instance\", or another: utilization, step, schedule, guard, objective, queue, latency, \
                    expression";
        let Some(kind) = reader.need_or("kind", units::choice(&KINDS), Some(hint)) else {
            continue;
        };
        let word = KINDS.iter().find(|(_, known)| *known == kind).map_or("", |(word, _)| word);
        let name_at = if has_name { reader.at_of("name") } else { reader.at() };
        let (findings, at) = (reader.findings(), reader.at());
        let read = read_kind(&mut reader, kind, metrics);
        reader.finish();
        let name = match name {
            Some(name) => name,
            // The name was there and is reported already.
            None if has_name => continue,
            None => word.into(),
        };
        if let Some(first) = names.get(&name) {
            let found = Finding::new(format!("rule `{name}` is there twice")).related(*first, "the first one is here");
            findings.error(name_at, found.hint("give each rule a `name`; without one it has its kind's"));
            continue;
        }
        names.insert(Arc::clone(&name), name_at);
        if let Some(kind) = read {
            rules.push(Rule { name: name.as_ref().into(), kind, place: findings.place(at) });
        }
    }
    rules
}

fn read_kind(r: &mut Reader<'_>, kind: Kind, metrics: &Drafts) -> Option<RuleKind> {
    match kind {
        Kind::Utilization => {
            let metric = r.need("metric", |node| metrics.find(node, false));
            let target = read_target(r, metric, metrics);
            check_utilization(r, metric, target, metrics);
            let default = Tolerance { out: 0.1, r#in: 0.1 };
            let tolerance = r.take("tolerance", units::tolerance(default)).unwrap_or(default);
            Some(RuleKind::Utilization { metric: metric?, target: target?, tolerance })
        }
        Kind::PerInstance => {
            let metric = r.need("metric", |node| metrics.find(node, true));
            let target = read_target(r, metric, metrics);
            let default = Tolerance { out: 0.0, r#in: 0.1 };
            let tolerance = r.take("tolerance", units::tolerance(default)).unwrap_or(default);
            Some(RuleKind::PerInstance { metric: metric?, target: target?, tolerance })
        }
        Kind::Step => {
            let metric = r.need("metric", |node| metrics.find(node, true));
            let steps = read_steps(r, scale(metric, metrics));
            Some(RuleKind::Step { metric: metric?, steps: steps? })
        }
        Kind::Schedule => schedule::read(r).map(|schedule| RuleKind::Schedule(Box::new(schedule))),
        Kind::Guard => {
            let metric = r.need("metric", |node| metrics.find(node, true));
            let when = read_threshold(r, scale(metric, metrics), "a guard");
            let words = [("in", Blocks::In), ("out", Blocks::Out), ("both", Blocks::Both)];
            let blocks = r.take("blocks", units::choice(&words)).unwrap_or(Blocks::In);
            let linger = r.take("linger", units::up_to_a_day).unwrap_or_default();
            Some(RuleKind::Guard { metric: metric?, when: when?, blocks, linger })
        }
        Kind::Objective => objective::read(r, metrics).map(RuleKind::Objective),
        Kind::Queue => queueing::read_queue(r, metrics).map(RuleKind::Queue),
        Kind::Latency => queueing::read_latency(r, metrics).map(RuleKind::Latency),
        Kind::Expression => expression::read(r, metrics).map(RuleKind::Expression),
    }
}

/// What thresholds are divided by: a percent metric is read as a ratio.
fn scale(metric: Option<u16>, metrics: &Drafts) -> f64 {
    match metric.and_then(|metric| metrics.unit(metric)) {
        Some((Unit::Percent, _)) => 100.0,
        _ => 1.0,
    }
}

fn read_target(r: &mut Reader<'_>, metric: Option<u16>, metrics: &Drafts) -> Option<f64> {
    let target = r.need_or("target", units::positive, Some("the value to keep: target = 0.6"))?;
    let scaled = target / scale(metric, metrics);
    if scaled > 0.0 {
        return Some(scaled);
    }
    r.findings().error(r.at_of("target"), Finding::new("`target` is too small a number"));
    None
}

fn check_utilization(r: &Reader<'_>, metric: Option<u16>, target: Option<f64>, metrics: &Drafts) {
    let Some((unit, has_unit)) = metric.and_then(|metric| metrics.unit(metric)) else { return };
    if let (Some(target), Unit::Ratio | Unit::Percent) = (target, unit)
        && target > 1.0
    {
        let found =
            Finding::new(format!("`target` is {:.0} % of an instance, which no instance can give", target * 100.0));
        let hint = match unit {
            Unit::Ratio => {
                format!("a ratio is 0 to 1: write {}, or give the metric unit = \"percent\"", target / 100.0)
            }
            _ => "a percentage is 0 to 100".into(),
        };
        r.findings().error(r.at_of("target"), found.hint(hint));
    }
    if !has_unit && !r.is_partial() {
        let found = Finding::new("the metric has no `unit`, so a value above 150 % would be believed");
        r.findings()
            .warn(r.at_of("metric"), found.hint("give the metric unit = \"ratio\" (0 to 1), \"percent\" or \"count\""));
    }
}

fn read_threshold(r: &mut Reader<'_>, scale: f64, what: &str) -> Option<Threshold> {
    let above = r.take("above", units::number);
    let below = r.take("below", units::number);
    match (r.has("above"), r.has("below")) {
        (true, true) => {
            let found = Finding::new(format!("{what} has `above` or `below`, not both"));
            r.findings().error(r.at_of("below"), found.related(r.at_of("above"), "`above` is here"));
        }
        (false, false) => {
            let found = Finding::new(format!("{what} needs `above` or `below`"));
            r.lacks(&["above", "below"], found.hint("above = 0.02"));
        }
        _ => {}
    }
    above.map(|limit| Threshold::Above(limit / scale)).or(below.map(|limit| Threshold::Below(limit / scale)))
}

fn read_steps(r: &mut Reader<'_>, scale: f64) -> Option<Box<[StepRow]>> {
    let example = "steps = [ { above = 60, add = 2 }, { below = 5, remove = 1 } ]";
    if !r.has("steps") {
        r.lacks(&["steps"], Finding::new("`steps` is missing").hint(example));
    }
    let empty = |node: &Node| matches!(&node.value, Value::List(items) if items.is_empty());
    if r.entry("steps").is_some_and(|entry| empty(&entry.node)) {
        r.findings().error(r.at_of("steps"), Fault::new("must have at least one row").hint(example).of("steps"));
    }
    let list = r.rows("steps");
    too_many(r, "steps", list.len());
    let before = r.findings().errors();
    let mut rows: Vec<(StepRow, At)> = Vec::new();
    for mut row in list.into_iter().take(PARTS_MAX) {
        let when = read_threshold(&mut row, scale, "a step");
        let add = row.take("add", units::amount(10_000.0));
        let remove = row.take("remove", units::amount(100.0));
        match (row.has("add"), row.has("remove")) {
            (true, true) => {
                let found = Finding::new("a step has `add` or `remove`, not both");
                row.findings().error(row.at_of("remove"), found.related(row.at_of("add"), "`add` is here"));
            }
            (false, false) => {
                let found = Finding::new("a step needs `add` or `remove`");
                row.lacks(&["add", "remove"], found.hint("add = 2, or remove = \"10%\""));
            }
            _ => {}
        }
        let change = add.map(Change::Add).or(remove.map(Change::Remove));
        let at = row.at();
        row.finish();
        if let Some((when, change)) = when.zip(change) {
            rows.push((StepRow { when, change }, at));
        }
    }
    check_rows(r, &rows, scale);
    (before == r.findings().errors()).then(|| rows.into_iter().map(|(row, _)| row).collect())
}

/// At most one row may match a value on either side, and none on both.
fn check_rows(r: &Reader<'_>, rows: &[(StepRow, At)], scale: f64) {
    for (index, (row, at)) in rows.iter().enumerate() {
        let clash = rows[..index].iter().find(|(other, _)| match (row.when, other.when) {
            (Threshold::Above(above), Threshold::Below(below)) | (Threshold::Below(below), Threshold::Above(above)) => {
                below > above
            }
            _ => row.when == other.when,
        });
        let Some((other, first)) = clash else { continue };
        let value = match (row.when, other.when) {
            (Threshold::Above(a), Threshold::Below(b)) | (Threshold::Below(b), Threshold::Above(a)) => (a + b) / 2.0,
            (Threshold::Above(a), _) => a + 1.0,
            (Threshold::Below(b), _) => b - 1.0,
        };
        let found = Finding::new(format!("a value such as {} matches this row and another", value * scale));
        r.findings()
            .error(*at, found.related(*first, "the other row is here").hint("the ranges of the rows must not overlap"));
    }
}

/// Whether any amount of a step changes a fleet of no instance: it does, since each is at least 1.
pub(super) fn leaves_zero(kind: &RuleKind, by: impl Fn(u16) -> bool) -> bool {
    match kind {
        RuleKind::PerInstance { metric, .. } => !by(*metric),
        // How busy instances are takes an instance to learn.
        RuleKind::Objective(objective) => objective.learn_from().is_none() && !by(objective.metric),
        RuleKind::Step { metric, steps } => !by(*metric) && steps.iter().any(|row| adds(row.change)),
        RuleKind::Schedule(schedule) => schedule.min.is_some_and(|min| min > 0),
        RuleKind::Queue(_) | RuleKind::Latency(_) | RuleKind::Expression(_) => true,
        RuleKind::Utilization { .. } | RuleKind::Guard { .. } => false,
    }
}

fn adds(change: Change) -> bool {
    matches!(change, Change::Add(Amount::Instances(_) | Amount::Percent(_)))
}
