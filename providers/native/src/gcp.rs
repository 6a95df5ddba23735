//! The autoscaler of a managed instance group, as the Compute API has it: alone (`autoscalers.get`) or within what
//! `gcloud compute instance-groups managed describe GROUP --format json` prints.
//!
//! Each signal asks for a size, the largest counts, and of the last `stabilizationPeriodSec` the peak; what is too much
//! then goes in one step, unless `scaleInControl` limits it. (The compute v1 discovery document and the autoscaler's pages.)

use crate::json::{At, Read, Unreadable};
use crate::promql::{self, RATE_MIN, quoted, safe, series, short};
use contract::native::{
    Band, NativeChange, NativeKind, NativeMetric, NativeMode, NativePolicy, NativeRate, NativeRule, NativeSchedule,
    NativeUnit, Query,
};
use serde_json::Value;
use std::time::Duration;

const GROUP_LABEL: &str = "mig";
const CPU_DEFAULT: f64 = 0.6;
const STABILIZATION_DEFAULT: Duration = Duration::from_secs(600);
const INITIALIZATION_DEFAULT: Duration = Duration::from_secs(60);
/// Cloud Monitoring's samples come up to four minutes late.
const LATE: Duration = Duration::from_secs(10 * 60);

/// What the documents say of one group's autoscaler.
///
/// # Errors
/// When none of them has an autoscaler, or one says something that makes no sense.
pub fn policy(group: &str, documents: &[Value]) -> Result<NativePolicy, Unreadable> {
    let roots = documents.iter().enumerate().map(|(index, one)| At::root(one, &format!("document {}", index + 1)));
    let mut found = Vec::new();
    for root in roots {
        let autoscaler = root.get("autoscaler").unwrap_or(root);
        if let Some(own) = autoscaler.get("autoscalingPolicy") {
            let name = autoscaler.maybe_text("name")?;
            found.push((name.unwrap_or(group).to_owned(), own));
        }
    }
    let [(name, own)] = &found[..] else {
        return Err(Unreadable(format!(
            "{} documents have an `autoscalingPolicy`, and one has to: give the output of `gcloud compute \
             instance-groups managed describe {group} --format json`",
            found.len()
        )));
    };
    read(name, group.rsplit('/').next().unwrap_or(group), own)
}

fn read(name: &str, group: &str, own: &At<'_>) -> Read<NativePolicy> {
    let mut native = NativePolicy::named(format!("autoscaler {name}"));
    let max = own.need("maxNumReplicas")?.capacity()?;
    // Without a number the API takes two, or max when that is less.
    let min = own.maybe("minNumReplicas", At::capacity)?.unwrap_or(max.min(2));
    (native.min, native.max) = (Some(min), Some(max));
    native.warmup = Some(own.maybe("coolDownPeriodSec", At::secs)?.unwrap_or(INITIALIZATION_DEFAULT));
    native.scale_in.window = Some(own.maybe("stabilizationPeriodSec", At::secs)?.unwrap_or(STABILIZATION_DEFAULT));
    native.mode = match own.get("mode").map(|mode| mode.text()).transpose()? {
        None | Some("ON") => NativeMode::On,
        Some("ONLY_SCALE_OUT" | "ONLY_UP") => NativeMode::ScaleOutOnly,
        Some("OFF") => NativeMode::Off,
        Some(other) => return Err(own.wrong(format!("`mode` is {other}, which is not known here"))),
    };
    native.scale_in.off = native.mode == NativeMode::ScaleOutOnly;
    scale_in_control(&mut native, own)?;
    signals(&mut native, group, own)?;
    schedules(&mut native, own, min)?;
    Ok(native)
}

fn scale_in_control(native: &mut NativePolicy, own: &At<'_>) -> Read<()> {
    let Some(control) = own.any(&["scaleInControl", "scaleDownControl"]) else {
        native.note(
            "Without a scale-in control the autoscaler removes in one step what it has not needed for its stabilization \
             period, and so does this policy.",
        );
        return Ok(());
    };
    let window = control.maybe("timeWindowSec", At::secs)?.unwrap_or(Duration::from_secs(600));
    if let Some(most) = control.any(&["maxScaledInReplicas", "maxScaledDownReplicas"]) {
        let amount = match (most.maybe("percent", At::number)?, most.maybe("fixed", At::whole)?) {
            (Some(percent), _) => NativeChange::Percent(percent),
            (None, Some(fixed)) => NativeChange::Instances(fixed),
            (None, None) => return Err(most.wrong("needs `fixed` or `percent`")),
        };
        native.scale_in.rates.push(NativeRate { amount, per: window });
        native.note(
            "The scale-in control counts from the largest recommendation of its time window, the rate here from the \
             capacity at the window's start.",
        );
    }
    Ok(())
}

fn signals(native: &mut NativePolicy, group: &str, own: &At<'_>) -> Read<()> {
    if let Some(cpu) = own.get("cpuUtilization") {
        let target = cpu.maybe("utilizationTarget", At::number)?.unwrap_or(CPU_DEFAULT);
        let text = promql::node_cpu(GROUP_LABEL, group, RATE_MIN);
        let metric = NativeMetric {
            name: "CPU utilization".into(),
            short: "cpu".into(),
            unit: NativeUnit::Ratio,
            query: Query::Probable { text: text.into(), exporter: "node_exporter".into() },
            window: Some(RATE_MIN),
            max_age: None,
        };
        let kind = NativeKind::Average { metric, target, band: Band::default(), removes: true };
        native.rules.push(NativeRule { name: "cpu".into(), kind });
        if cpu.maybe_text("predictiveMethod")?.is_some_and(|method| method == "OPTIMIZE_AVAILABILITY") {
            native.note(
                "Predictive autoscaling is on: it adds ahead of forecast load. A rule of kind `objective` does so here \
                 (policies/examples/objective.toml); it is not written, since it needs what one instance can do.",
            );
        }
    }
    if own.get("loadBalancingUtilization").is_some() {
        let why = "load balancing utilization is a share of the backend's balancing mode, which the autoscaler does not \
                   say: write a rule of kind `per-instance` with the requests a second and the backend's rate";
        native.rules.push(NativeRule { name: "load-balancing".into(), kind: NativeKind::Other(why.into()) });
    }
    for custom in own.items("customMetricUtilizations")? {
        let name = custom.need("metric")?.text()?;
        let kind = custom_metric(group, name, &custom)?;
        native.rules.push(NativeRule { name: crate::promql::label(name.rsplit('/').next().unwrap_or(name)), kind });
    }
    Ok(())
}

fn custom_metric(group: &str, name: &str, at: &At<'_>) -> Read<NativeKind> {
    let filter = match filter(at.maybe_text("filter")?.unwrap_or_default()) {
        Ok(filter) => filter,
        Err(why) => return Ok(NativeKind::Other(format!("the metric {name}: {why}").into())),
    };
    let alone = at.maybe("singleInstanceAssignment", At::number)?;
    let of_instance = filter.resource == "gce_instance" && alone.is_none();
    let mut labels = filter.labels;
    if of_instance {
        // The group's machines are named after it, as `baseInstanceName` is by default.
        labels.retain(|(label, _)| label != "instance_name");
    }
    let mut text = series(&format!("stackdriver_{}_{}", safe(&filter.resource), safe(name)), &labels);
    if of_instance {
        let matcher = format!("instance_name=~{}", quoted(&format!("{}-.*", promql::literal(group))));
        text = match text.strip_suffix('}') {
            Some(open) => format!("{open},{matcher}}}"),
            None => format!("{text}{{{matcher}}}"),
        };
    }
    text = match at.maybe_text("utilizationTargetType")?.unwrap_or("GAUGE") {
        "GAUGE" => text,
        // The exporter shows such a metric as what came in its last minute.
        "DELTA_PER_SECOND" => format!("{text} / 60"),
        "DELTA_PER_MINUTE" => text,
        other => return Err(at.wrong(format!("`utilizationTargetType` is {other}, which is not known here"))),
    };
    let text = if of_instance { format!("avg({text})") } else { format!("sum({text})") };
    let metric = NativeMetric {
        name: name.into(),
        short: short(name.rsplit('/').next().unwrap_or(name)),
        unit: NativeUnit::Count,
        query: Query::Probable { text: text.into(), exporter: "stackdriver_exporter".into() },
        window: None,
        max_age: Some(LATE),
    };
    let (band, removes) = (Band::default(), true);
    Ok(match (alone, at.maybe("utilizationTarget", At::number)?) {
        (Some(target), _) => NativeKind::Total { metric, target, band, removes },
        (None, Some(target)) => NativeKind::Average { metric, target, band, removes },
        (None, None) => return Err(at.wrong("needs `utilizationTarget` or `singleInstanceAssignment`")),
    })
}

struct Filter {
    resource: String,
    labels: Vec<(String, String)>,
}

/// A filter as the autoscaler allows it: comparisons with `=` joined by AND.
fn filter(text: &str) -> Result<Filter, String> {
    let mut filter = Filter { resource: "gce_instance".into(), labels: Vec::new() };
    for part in text.split(" AND ").map(str::trim).filter(|part| !part.is_empty()) {
        let plain = || format!("its filter `{part}` is no comparison with =");
        let (left, right) = part.split_once('=').ok_or_else(plain)?;
        let (left, right) = (left.trim(), right.trim().trim_matches('"').to_owned());
        if left.ends_with(['!', '>', '<']) || right.contains(['"', '(', ')']) {
            return Err(plain());
        }
        match left {
            "resource.type" => filter.resource = right,
            other => {
                let label = other.rsplit('.').next().unwrap_or(other);
                filter.labels.push((safe(label), right));
            }
        }
    }
    Ok(filter)
}

fn schedules(native: &mut NativePolicy, own: &At<'_>, min: u32) -> Read<()> {
    let Some(schedules) = own.get("scalingSchedules") else { return Ok(()) };
    for (name, one) in schedules.fields()? {
        if one.flag("disabled")? {
            native.note(format!("The schedule {name} is disabled, so it is not here."));
            continue;
        }
        let required = one.need("minRequiredReplicas")?.capacity()?;
        let schedule = NativeSchedule {
            cron: one.need("schedule")?.text()?.into(),
            until: None,
            lasts: Some(one.need("durationSec")?.secs()?),
            tz: one.maybe_text("timeZone")?.filter(|tz| !tz.is_empty()).unwrap_or("UTC").into(),
            // An open schedule's min stands in place of the policy's; the autoscaler takes the greater of both.
            min: Some(required.max(min)),
            max: None,
        };
        native.rules.push(NativeRule { name: crate::promql::label(name), kind: NativeKind::Schedule(schedule) });
    }
    Ok(())
}
