//! A HorizontalPodAutoscaler (autoscaling/v1 and v2), as `kubectl get hpa NAME -o json` prints it, and KEDA's
//! ScaledObject ([`crate::keda`]), as `kubectl get scaledobject NAME -o json` does.
//!
//! desired = ceil(current x metric / target), nothing within 10 % of the target, the largest of several metrics; in the
//! scale-in window the largest recommendation counts, in the scale-out window the smallest. (The HPA's pages.)

use crate::json::{At, Read, Unreadable};
use crate::keda;
use crate::promql::{literal, quoted, safe, series, short};
use contract::native::{
    Band, NativeChange, NativeKind, NativeMetric, NativeMode, NativePace, NativePolicy, NativeRate, NativeRule,
    NativeUnit, Query,
};
use serde_json::Value;
use std::time::Duration;

/// `--horizontal-pod-autoscaler-tolerance`.
const TOLERANCE: f64 = 0.1;
const SYNC: Duration = Duration::from_secs(15);
const READINESS: Duration = Duration::from_secs(30);

/// What the documents say of one workload's scaler: an HPA's or a ScaledObject's.
///
/// # Errors
/// When none of them is one, or one says something that makes no sense.
pub fn policy(group: &str, documents: &[Value]) -> Result<NativePolicy, Unreadable> {
    let mut found = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        let root = At::root(document, &format!("document {}", index + 1));
        match root.get("items") {
            Some(items) => found.extend(items.list()?),
            None => found.push(root),
        }
    }
    let workload = group.rsplit('/').next().unwrap_or(group);
    let namespace = group.split_once('/').map(|(namespace, _)| namespace);
    let mut own = Vec::new();
    for object in found {
        let target = object.need("spec")?.get("scaleTargetRef");
        let name = target.map(|target| target.need("name")?.text()).transpose()?;
        // `kubectl get hpa -A` prints all namespaces'.
        let place = object.need("metadata")?.maybe_text("namespace")?;
        if name == Some(workload) && (namespace.is_none() || place.is_none() || place == namespace) {
            own.push(object);
        }
    }
    // KEDA makes an HPA of its own for each ScaledObject; the latter is what people wrote.
    let chosen = own.iter().find(|object| is(object, "ScaledObject")).or(own.first());
    let Some(object) = chosen else {
        return Err(Unreadable(format!(
            "no document has a scaler whose target is `{workload}`: give the output of `kubectl get hpa -o json`"
        )));
    };
    let others = others(&own, object)?;
    let metadata = object.need("metadata")?;
    let namespace = metadata.maybe_text("namespace")?.unwrap_or("default");
    let place = Place { namespace, workload };
    let name = metadata.need("name")?.text()?;
    let mut native = if is(object, "ScaledObject") {
        keda::read(format!("ScaledObject {namespace}/{name}"), &place, object)?
    } else if is(object, "HorizontalPodAutoscaler") {
        read(format!("HorizontalPodAutoscaler {namespace}/{name}"), &place, object)?
    } else {
        return Err(object.wrong("is neither a HorizontalPodAutoscaler nor a ScaledObject"));
    };
    if !others.is_empty() {
        native.note(format!(
            "It is not alone: {} scale the same workload, and only one of them is here.",
            others.join(", ")
        ));
    }
    Ok(native)
}

/// Other scalers of the workload, but for the HPA that KEDA makes for its ScaledObject.
fn others(own: &[At<'_>], chosen: &At<'_>) -> Read<Vec<String>> {
    let mut names = Vec::new();
    for object in own.iter().filter(|object| !object.is(chosen)) {
        let metadata = object.need("metadata")?;
        let mut owners = metadata.items("ownerReferences")?.into_iter();
        if !owners.any(|owner| is(&owner, "ScaledObject")) {
            names.push(format!(
                "{} {}",
                object.maybe_text("kind")?.unwrap_or("scaler"),
                metadata.need("name")?.text()?
            ));
        }
    }
    Ok(names)
}

fn is(object: &At<'_>, kind: &str) -> bool {
    object.maybe_text("kind").is_ok_and(|found| found == Some(kind))
}

/// Where the pods are.
pub(crate) struct Place<'a> {
    pub namespace: &'a str,
    pub workload: &'a str,
}

impl Place<'_> {
    /// Labels that pick the workload's pods, as the kubelet and kube-state-metrics name them.
    pub fn pods(&self) -> String {
        format!("namespace={},pod=~{}", quoted(self.namespace), quoted(&format!("{}-.*", literal(self.workload))))
    }
}

fn read(name: String, place: &Place<'_>, object: &At<'_>) -> Read<NativePolicy> {
    let spec = object.need("spec")?;
    let mut native = NativePolicy::named(name);
    native.min = Some(spec.maybe("minReplicas", At::capacity)?.unwrap_or(1));
    native.max = Some(spec.need("maxReplicas")?.capacity()?);
    let metrics = spec.items("metrics")?;
    let old = spec.maybe("targetCPUUtilizationPercentage", At::number)?;
    if metrics.is_empty() {
        // An HPA that names no metric keeps CPU at 80 %.
        native.rules.push(resource_rule(place, "cpu", None, old.unwrap_or(80.0), true));
    }
    for metric in &metrics {
        let rule = rule(place, metric)?;
        native.rules.push(rule);
    }
    behavior(&mut native, spec.get("behavior").as_ref())?;
    Ok(native)
}

/// What an HPA's `behavior` says, with its defaults; a ScaledObject carries one too.
pub(crate) fn behavior(native: &mut NativePolicy, behavior: Option<&At<'_>>) -> Read<()> {
    native.interval = Some(SYNC);
    native.warmup = Some(READINESS);
    let (up, down) = (behavior.and_then(|of| of.get("scaleUp")), behavior.and_then(|of| of.get("scaleDown")));
    native.scale_out = pace(
        up.as_ref(),
        Duration::ZERO,
        &[
            NativeRate { amount: NativeChange::Instances(4), per: SYNC },
            NativeRate { amount: NativeChange::Percent(100.0), per: SYNC },
        ],
    )?;
    native.scale_in = pace(
        down.as_ref(),
        Duration::from_secs(300),
        &[NativeRate { amount: NativeChange::Percent(100.0), per: SYNC }],
    )?;
    native.mode = match (native.scale_out.off, native.scale_in.off) {
        // As `skala handover` leaves it: what it did before is what is wanted.
        (true, true) => {
            (native.scale_out.off, native.scale_in.off) = (false, false);
            NativeMode::Off
        }
        (false, true) if native.mode == NativeMode::On => NativeMode::ScaleOutOnly,
        _ => native.mode,
    };
    let tolerance = |of: Option<&At<'_>>| of.map(|of| of.maybe("tolerance", quantity)).transpose().map(Option::flatten);
    let band = Band {
        out: tolerance(up.as_ref())?.unwrap_or(TOLERANCE),
        r#in: tolerance(down.as_ref())?.unwrap_or(TOLERANCE),
    };
    for rule in &mut native.rules {
        if let NativeKind::Average { band: own, .. } | NativeKind::Total { band: own, .. } = &mut rule.kind {
            *own = band;
        }
    }
    native.note(
        "The HPA judges pods one by one: pods without a metric or not ready count as idle for scale-out and as busy for \
         scale-in. Here the query is one average; with `by` a utilization rule does as the HPA (policies/examples/hpa.toml).",
    );
    native.note(
        "A cluster may have set other flags than the defaults that are meant here: 15 s between decisions, 10 % tolerance, \
         5 minutes of stabilization where the behavior says none, 30 s until a pod counts.",
    );
    native.note("The HPA lowers to a lowered maxReplicas at once; here that keeps the scale-in's pace.");
    Ok(())
}

fn pace(of: Option<&At<'_>>, window: Duration, rates: &[NativeRate]) -> Read<NativePace> {
    let mut pace = NativePace { window: Some(window), rates: rates.to_vec(), ..NativePace::default() };
    let Some(of) = of else { return Ok(pace) };
    if let Some(own) = of.maybe("stabilizationWindowSeconds", At::secs)? {
        pace.window = Some(own);
    }
    let policies = of.items("policies")?;
    if !policies.is_empty() {
        pace.rates.clear();
    }
    for policy in policies {
        let value = policy.need("value")?.whole()?;
        let amount = match policy.need("type")?.text()? {
            "Pods" => NativeChange::Instances(value),
            "Percent" => NativeChange::Percent(value as f64),
            other => return Err(policy.wrong(format!("`type` is {other}, which is not known here"))),
        };
        pace.rates.push(NativeRate { amount, per: policy.need("periodSeconds")?.secs()? });
    }
    match of.maybe_text("selectPolicy")? {
        None | Some("Max") => {}
        Some("Min") => pace.strictest = true,
        Some("Disabled") => pace.off = true,
        Some(other) => return Err(of.wrong(format!("`selectPolicy` is {other}, which is not known here"))),
    }
    Ok(pace)
}

fn rule(place: &Place<'_>, metric: &At<'_>) -> Read<NativeRule> {
    let kind = metric.need("type")?;
    match kind.text()? {
        "Resource" => resource(place, &metric.need("resource")?, None),
        "ContainerResource" => {
            let own = metric.need("containerResource")?;
            let container = own.need("container")?.text()?;
            resource(place, &own, Some(container))
        }
        "Pods" => named(&metric.need("pods")?, &format!("{{{}}}", place.pods()), Shape::Pods),
        "Object" => {
            let own = metric.need("object")?;
            let of = own.need("describedObject")?;
            // The usual adapter exposes an object's series by its kind and name.
            let label = of.need("kind")?.text()?.to_lowercase();
            let labels = format!(
                "{{namespace={},{}={}}}",
                quoted(place.namespace),
                safe(&label),
                quoted(of.need("name")?.text()?)
            );
            named(&own, &labels, Shape::Whole)
        }
        "External" => named(&metric.need("external")?, "", Shape::Whole),
        other => Err(kind.wrong(format!("{other} is not known here"))),
    }
}

fn resource(place: &Place<'_>, own: &At<'_>, container: Option<&str>) -> Read<NativeRule> {
    let (name, target) = (own.need("name")?, own.need("target")?);
    let name_text = name.text()?;
    if !["cpu", "memory"].contains(&name_text) {
        let why = format!("the resource {name_text}: only cpu and memory have series that are known here");
        return Ok(NativeRule { name: crate::promql::label(name_text), kind: NativeKind::Other(why.into()) });
    }
    match target.maybe("averageUtilization", At::number)? {
        Some(percent) => Ok(resource_rule(place, name_text, container, percent, true)),
        None => Ok(resource_rule(
            place,
            name_text,
            container,
            target.need("averageValue").and_then(|at| quantity(&at))?,
            false,
        )),
    }
}

/// CPU or memory of the pods, as a percentage of what they request or as such.
pub(crate) fn resource_rule(
    place: &Place<'_>,
    resource: &str,
    container: Option<&str>,
    target: f64,
    of_requests: bool,
) -> NativeRule {
    let pods = place.pods();
    let only = container.map_or("container!=\"\"".to_owned(), |container| format!("container={}", quoted(container)));
    let used = match resource {
        "cpu" => format!("sum(rate(container_cpu_usage_seconds_total{{{pods},{only}}}[2m]))"),
        _ => format!("sum(container_memory_working_set_bytes{{{pods},{only}}})"),
    };
    let (text, unit) = if of_requests {
        let requests = format!("sum(kube_pod_container_resource_requests{{{pods},{only},resource=\"{resource}\"}})");
        (format!("100 * {used} / {requests}"), NativeUnit::Count)
    } else {
        (format!("{used} / count(kube_pod_info{{{pods}}})"), NativeUnit::Count)
    };
    let metric = NativeMetric {
        name: if of_requests { format!("{resource}, % of requests") } else { format!("{resource} of a pod") }.into(),
        short: resource.into(),
        unit,
        query: Query::Probable { text: text.into(), exporter: "kubelet and kube-state-metrics".into() },
        window: None,
        max_age: None,
    };
    let kind = NativeKind::Average { metric, target, band: Band::default(), removes: true };
    NativeRule { name: resource.into(), kind }
}

enum Shape {
    Pods,
    Whole,
}

/// A metric by name, from the custom or external metrics API; the usual adapter serves Prometheus' own names.
fn named(own: &At<'_>, labels: &str, shape: Shape) -> Read<NativeRule> {
    let (metric, target) = (own.need("metric")?, own.need("target")?);
    let name = metric.need("name")?.text()?;
    let rule_name = crate::promql::label(name);
    let mut matchers = Vec::new();
    if let Some(selector) = metric.get("selector") {
        if selector.get("matchExpressions").is_some() {
            let why = format!("the metric {name}: its selector has matchExpressions, which are not read here");
            return Ok(NativeRule { name: rule_name, kind: NativeKind::Other(why.into()) });
        }
        if let Some(wanted) = selector.get("matchLabels") {
            for (label, value) in wanted.fields()? {
                matchers.push((safe(label), value.text()?.to_owned()));
            }
        }
    }
    let mut text = series(&safe(name), &matchers);
    if !labels.is_empty() {
        text = match text.strip_suffix('}') {
            Some(open) => format!("{open},{}", &labels[1..]),
            None => format!("{text}{labels}"),
        };
    }
    let text = if matches!(shape, Shape::Pods) { format!("avg({text})") } else { format!("sum({text})") };
    let read = |unit| NativeMetric {
        name: name.into(),
        short: short(name),
        unit,
        query: Query::Probable { text: text.as_str().into(), exporter: "prometheus-adapter's source".into() },
        window: None,
        max_age: None,
    };
    let (band, removes) = (Band::default(), true);
    let of_one = target.maybe("averageValue", quantity)?;
    let kind = match (shape, of_one, target.maybe("value", quantity)?) {
        (Shape::Pods, Some(target), _) => {
            NativeKind::Average { metric: read(NativeUnit::Count), target, band, removes }
        }
        (Shape::Whole, Some(target), _) => NativeKind::Total { metric: read(NativeUnit::Count), target, band, removes },
        (_, None, Some(target)) => NativeKind::Average { metric: read(NativeUnit::Count), target, band, removes },
        _ => return Err(target.wrong("needs `value` or `averageValue`")),
    };
    Ok(NativeRule { name: rule_name.clone(), kind })
}

/// A quantity as Kubernetes writes it: `500m`, `2`, `1500Mi`, `10k`.
pub(crate) fn quantity(at: &At<'_>) -> Read<f64> {
    let Ok(text) = at.text() else { return at.number() };
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        other => return Err(at.wrong(format!("`{other}` is no unit of a quantity"))),
    };
    let number: f64 = digits.parse().map_err(|_| at.wrong(format!("`{text}` is no quantity")))?;
    // A milli is a division: 2500 x 0.001 is not 2.5.
    let value = if factor < 1.0 { number / (1.0_f64 / factor).round() } else { number * factor };
    if value.is_finite() { Ok(value) } else { Err(at.wrong(format!("`{text}` is no quantity"))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hpa(namespace: &str, name: &str, behavior: Value) -> Value {
        let target = json!({"kind": "Deployment", "name": "web"});
        let spec = json!({"scaleTargetRef": target, "maxReplicas": 9, "behavior": behavior});
        json!({"kind": "HorizontalPodAutoscaler", "metadata": {"name": name, "namespace": namespace}, "spec": spec})
    }

    #[test]
    fn what_it_may_do_is_in_both_directions() {
        let disabled = json!({"selectPolicy": "Disabled"});
        for (behavior, mode, off) in [
            (json!({}), NativeMode::On, (false, false)),
            (json!({"scaleDown": disabled}), NativeMode::ScaleOutOnly, (false, true)),
            (json!({"scaleUp": disabled}), NativeMode::On, (true, false)),
            (json!({"scaleUp": disabled, "scaleDown": disabled}), NativeMode::Off, (false, false)),
        ] {
            let native = policy("shop/web", &[hpa("shop", "web", behavior.clone())]).expect("readable");
            assert_eq!((native.mode, (native.scale_out.off, native.scale_in.off)), (mode, off), "{behavior}");
        }
    }

    #[test]
    fn another_namespace_is_another_workload_and_a_second_scaler_is_told() {
        let all = [hpa("bank", "web", json!({})), hpa("shop", "own", json!({}))];
        let native = policy("shop/web", &all).expect("readable");
        assert_eq!(&*native.name, "HorizontalPodAutoscaler shop/own");
        assert!(policy("till/web", &all).is_err());
        let two = [hpa("shop", "own", json!({})), hpa("shop", "more", json!({}))];
        let native = policy("shop/web", &two).expect("readable");
        assert!(native.notes.iter().any(|note| note.contains("HorizontalPodAutoscaler more")), "{:?}", native.notes);
        let mut made = hpa("shop", "keda-hpa-web", json!({}));
        made["metadata"]["ownerReferences"] = json!([{"kind": "ScaledObject", "name": "web", "controller": true}]);
        let trigger = json!({"type": "cpu", "metadata": {"value": "60"}});
        let spec = json!({"scaleTargetRef": {"name": "web"}, "triggers": [trigger]});
        let meta = json!({"name": "web", "namespace": "shop"});
        let scaled = json!({"kind": "ScaledObject", "metadata": meta, "spec": spec});
        let native = policy("shop/web", &[made, scaled]).expect("readable");
        assert_eq!(&*native.name, "ScaledObject shop/web");
        assert!(!native.notes.iter().any(|note| note.contains("not alone")), "{:?}", native.notes);
    }

    #[test]
    fn quantities() {
        for (text, expect) in [("500m", 0.5), ("2500m", 2.5), ("2", 2.0), ("1Gi", 1_073_741_824.0), ("10k", 1e4)] {
            let value = json!(text);
            assert_eq!(quantity(&At::root(&value, "x")), Ok(expect), "{text}");
        }
        for text in ["", "m", "5 m", "5x", "1e400"] {
            let value = json!(text);
            assert!(quantity(&At::root(&value, "x")).is_err(), "{text}");
        }
    }
}
