//! Azure Monitor's autoscale setting, as its REST API has it and `az monitor autoscale show` prints it.
//!
//! In a profile any out-rule that is true adds (the largest change), and only when all in-rules are true the smallest
//! change removes. One timer counts the cooldown of whatever was done last, for both directions. Before it removes, the
//! engine projects the metrics on fewer instances, as the stage `flap` does here. (Azure Monitor's autoscale pages.)

use crate::azure_profiles;
use crate::json::{At, Read, Unreadable};
use crate::promql::{self, short, span};
use contract::native::{
    NativeChange, NativeKind, NativeMetric, NativeMode, NativePolicy, NativeRule, NativeStep, NativeUnit, Query,
};
use serde_json::Value;
use std::time::Duration;

const GROUP_LABEL: &str = "vmss";
const MINUTE: Duration = Duration::from_secs(60);

/// What the documents say of one scale set's autoscale setting.
///
/// # Errors
/// When none of them is a setting of this scale set, or one says something that makes no sense.
pub fn policy(group: &str, documents: &[Value]) -> Result<NativePolicy, Unreadable> {
    let short_name = group.rsplit('/').next().unwrap_or(group);
    let mut found = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        let root = At::root(document, &format!("document {}", index + 1));
        // `az monitor autoscale list` prints a list.
        let settings = root.list().unwrap_or_else(|_| vec![root.clone()]);
        for setting in settings {
            let own = setting.get("properties").unwrap_or_else(|| setting.clone());
            if own.get("profiles").is_none() {
                return Err(setting.wrong("has no `profiles`: give the output of `az monitor autoscale show`"));
            }
            let target = own.any(&["targetResourceUri", "targetResourceId"]);
            let target = target.map(|at| at.text()).transpose()?.and_then(|uri| uri.rsplit('/').next());
            if target.is_none_or(|target| target.eq_ignore_ascii_case(short_name)) {
                let name = setting.maybe_text("name")?.or(own.maybe_text("name")?);
                found.push((name.unwrap_or(short_name).to_owned(), own));
            }
        }
    }
    let [(name, own)] = &found[..] else {
        return Err(Unreadable(format!("{} autoscale settings are for `{group}`, and one has to be", found.len())));
    };
    let mut native = NativePolicy::named(format!("autoscale setting {name}"));
    if !own.maybe("enabled", At::is_true)?.unwrap_or(true) {
        native.mode = NativeMode::Off;
        native.note("The autoscale setting is disabled.");
    }
    if own
        .get("predictiveAutoscalePolicy")
        .is_some_and(|policy| policy.maybe_text("scaleMode").is_ok_and(|mode| mode == Some("Enabled")))
    {
        native.note(
            "Predictive autoscale is on: it adds ahead of forecast load. A rule of kind `objective` does so here \
             (policies/examples/objective.toml); it is not written, since it needs what one instance can do.",
        );
    }
    azure_profiles::read(&mut native, short_name, own)?;
    Ok(native)
}

/// One rule of a profile.
struct Trigger {
    metric: NativeMetric,
    above: bool,
    threshold: f64,
    change: NativeChange,
    cooldown: Duration,
}

/// The rules of one profile.
pub(crate) fn rules(native: &mut NativePolicy, group: &str, profile: &At<'_>) -> Read<()> {
    let mut triggers = Vec::new();
    for rule in profile.items("rules")? {
        match trigger(group, &rule)? {
            Ok(trigger) => triggers.push(trigger),
            Err((name, why)) => {
                native
                    .rules
                    .push(NativeRule { name: crate::promql::label(&name), kind: NativeKind::Other(why.into()) });
            }
        }
    }
    let (mut outs, mut ins): (Vec<Trigger>, Vec<Trigger>) = (Vec::new(), Vec::new());
    for trigger in triggers {
        if removes(&trigger) { ins.push(trigger) } else { outs.push(trigger) }
    }
    let longest = |of: &[Trigger]| of.iter().map(|one| one.cooldown).max();
    native.scale_out.cooldown = longest(&outs);
    native.scale_in.cooldown = longest(&ins);
    native.scale_in.after_scale_out = longest(&outs);
    // The averages over the time window are in the queries.
    native.scale_in.window = Some(Duration::ZERO);
    native.scale_in.off = ins.is_empty();
    if !ins.is_empty() && !outs.is_empty() {
        native.note(
            "Azure's cooldown is one timer for both directions: there a scale-in delays a scale-out that is needed soon \
             after. Here a scale-in never delays a scale-out; the cooldowns are kept in each direction, and after a \
             scale-out nothing is removed for as long as Azure would wait.",
        );
    }
    tables(native, outs, ins);
    Ok(())
}

/// Steps by metric, and what keeps one in-rule from acting alone.
fn tables(native: &mut NativePolicy, outs: Vec<Trigger>, ins: Vec<Trigger>) {
    let all_needed = ins.len() > 1;
    let least = ins.iter().map(|one| one.change).reduce(|a, b| if size(a) <= size(b) { a } else { b });
    let mut tables: Vec<(NativeMetric, Vec<NativeStep>)> = Vec::new();
    let mut add = |metric: NativeMetric, row: NativeStep| match tables.iter_mut().find(|(known, _)| *known == metric) {
        Some((_, rows)) => {
            // Rows of one direction on one threshold: any out-rule may act, and the largest change counts.
            match rows.iter_mut().find(|known| known.above == row.above && known.limit == row.limit) {
                Some(known) if size(row.change) > size(known.change) => *known = row,
                Some(_) => {}
                None => rows.push(row),
            }
        }
        None => tables.push((metric, vec![row])),
    };
    for one in outs {
        add(one.metric, NativeStep { above: one.above, limit: one.threshold, change: one.change });
    }
    let mut vetoes: Vec<(NativeMetric, f64, bool)> = Vec::new();
    for one in ins {
        // Two in-rules on one metric are both true only beyond the farther threshold.
        match vetoes.iter_mut().find(|(metric, _, above)| *metric == one.metric && *above == one.above) {
            Some((_, limit, true)) => *limit = limit.max(one.threshold),
            Some((_, limit, false)) => *limit = limit.min(one.threshold),
            None => vetoes.push((one.metric.clone(), one.threshold, one.above)),
        }
        if let Some(change) = least {
            add(one.metric, NativeStep { above: one.above, limit: one.threshold, change });
        }
    }
    for (metric, rows) in tables {
        native.rules.push(NativeRule { name: metric.short.clone(), kind: NativeKind::Steps { metric, rows } });
    }
    if all_needed {
        for (metric, limit, above) in vetoes {
            let name = format!("{}-not-{}", metric.short, if above { "high" } else { "low" }).into();
            native.rules.push(NativeRule { name, kind: NativeKind::Veto { metric, above: !above, limit } });
        }
        native.note(
            "Azure removes only when all in-rules are true, and then by the smallest of their changes. Here each in-rule's \
             metric vetoes scale-in until it is low itself.",
        );
    }
}

fn size(change: NativeChange) -> f64 {
    match change {
        NativeChange::Instances(n) => n.unsigned_abs() as f64,
        NativeChange::Percent(percent) => percent.abs(),
    }
}

fn removes(trigger: &Trigger) -> bool {
    match trigger.change {
        NativeChange::Instances(n) => n < 0,
        NativeChange::Percent(percent) => percent < 0.0,
    }
}

type Named = (String, String);

fn trigger(group: &str, rule: &At<'_>) -> Read<Result<Trigger, Named>> {
    let (when, act) = (rule.need("metricTrigger")?, rule.need("scaleAction")?);
    let name = when.need("metricName")?.text()?;
    let not = |why: String| Ok(Err((name.to_owned(), format!("the rule on {name}: {why}"))));
    let operator = when.need("operator")?.text()?;
    let above = match operator {
        "GreaterThan" | "GreaterThanOrEqual" => true,
        "LessThan" | "LessThanOrEqual" => false,
        other => return not(format!("it compares with {other}, and thresholds here are above or below")),
    };
    if when.flag("dividePerInstance")? {
        return not("it divides the metric by the instances: write a rule of kind `per-instance` with the total".into());
    }
    let sign: i64 = match act.need("direction")?.text()? {
        "Increase" => 1,
        "Decrease" => -1,
        other => return Err(act.wrong(format!("`direction` is {other}, which is not known here"))),
    };
    let value = act.maybe("value", At::whole)?.unwrap_or(1);
    let change = match act.need("type")?.text()? {
        "ChangeCount" => NativeChange::Instances(sign * value),
        "PercentChangeCount" => NativeChange::Percent((sign * value) as f64),
        other => return not(format!("its action is {other} {value}, and steps here add and remove")),
    };
    let window = when.need("timeWindow")?;
    let window = duration(&window)?;
    let metric = match metric(group, &when, name, window)? {
        Ok(metric) => metric,
        Err(why) => return not(why),
    };
    let threshold = when.need("threshold")?.number()?;
    let cooldown = act.get("cooldown").map(|at| duration(&at)).transpose()?.unwrap_or_default();
    Ok(Ok(Trigger { metric, above, threshold, change, cooldown }))
}

/// A metric as one number: what each grain says of all instances (`statistic`), over the window (`timeAggregation`).
fn metric(group: &str, at: &At<'_>, name: &str, window: Duration) -> Read<Result<NativeMetric, String>> {
    let statistic = at.maybe_text("statistic")?.unwrap_or("Average");
    let over = at.maybe_text("timeAggregation")?.unwrap_or("Average");
    if !at.items("dimensions")?.is_empty() {
        return Ok(Err("it picks dimensions, whose labels no exporter has by the same names".into()));
    }
    let of_group = at.maybe_text("metricResourceUri")?.and_then(|uri| uri.rsplit('/').next()).unwrap_or(group);
    let host = of_group.eq_ignore_ascii_case(group) && statistic == "Average";
    let (unit, text, exporter) = match name {
        "Percentage CPU" if host => (
            NativeUnit::Percent,
            format!("100 * ({})", promql::node_cpu(GROUP_LABEL, group, MINUTE * 2)),
            "node_exporter",
        ),
        _ => {
            let labels = [
                ("metric".to_owned(), name.to_owned()),
                ("aggregation".to_owned(), statistic.to_lowercase()),
                ("resourceName".to_owned(), of_group.to_owned()),
            ];
            let unit = if name.starts_with("Percentage") { NativeUnit::Percent } else { NativeUnit::Count };
            (unit, promql::series("azurerm_resource_metric", &labels), "azure-metrics-exporter")
        }
    };
    let text = match over {
        "Average" => format!("avg_over_time(({text})[{}:1m])", span(window)),
        "Maximum" => format!("max_over_time(({text})[{}:1m])", span(window)),
        "Minimum" => format!("min_over_time(({text})[{}:1m])", span(window)),
        "Total" => format!("sum_over_time(({text})[{}:1m])", span(window)),
        "Last" => text,
        other => return Ok(Err(format!("its time aggregation is {other}, which no query here stands for"))),
    };
    Ok(Ok(NativeMetric {
        name: format!("{name} ({statistic}, {over} of {})", span(window)).into(),
        short: short(&format!("{name} {}", span(window))),
        unit,
        query: Query::Probable { text: text.into(), exporter: exporter.into() },
        window: Some(window),
        max_age: None,
    }))
}

/// `PT5M`, `PT1H30M`, `P1D`, or `0:05:00` as older command lines print it.
pub(crate) fn duration(at: &At<'_>) -> Read<Duration> {
    let text = at.text()?;
    let wrong = || at.wrong(format!("`{text}` is no duration such as PT5M"));
    let secs = match text.strip_prefix('P') {
        Some(rest) => iso_secs(rest).ok_or_else(wrong)?,
        None => {
            let parts: Vec<u64> =
                text.split(':').map(|part| part.parse().ok()).collect::<Option<_>>().ok_or_else(wrong)?;
            let [hours, minutes, secs] = parts[..] else { return Err(wrong()) };
            hours.saturating_mul(3600).saturating_add(minutes * 60).saturating_add(secs)
        }
    };
    if secs > 366 * 86_400 { Err(wrong()) } else { Ok(Duration::from_secs(secs)) }
}

fn iso_secs(text: &str) -> Option<u64> {
    let (mut total, mut digits, mut in_time) = (0_u64, String::new(), false);
    for letter in text.chars() {
        match letter {
            'T' if digits.is_empty() => in_time = true,
            '0'..='9' => digits.push(letter),
            _ => {
                let unit = match (letter, in_time) {
                    ('D', false) => 86_400,
                    ('H', true) => 3_600,
                    ('M', true) => 60,
                    ('S', true) => 1,
                    _ => return None,
                };
                total = total.checked_add(digits.parse::<u64>().ok()?.checked_mul(unit)?)?;
                digits.clear();
            }
        }
    }
    digits.is_empty().then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_of_both_spellings() {
        for (text, secs) in [("PT5M", 300), ("PT1H30M", 5400), ("P1D", 86_400), ("0:05:00", 300), ("PT90S", 90)] {
            let value = json!(text);
            assert_eq!(duration(&At::root(&value, "x")), Ok(Duration::from_secs(secs)), "{text}");
        }
        for text in ["5m", "P5M", "PT5", "", "1:2", "PT99999999999999999999S", "P999999D"] {
            let value = json!(text);
            assert!(duration(&At::root(&value, "x")).is_err(), "{text}");
        }
    }
}
