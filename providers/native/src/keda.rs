//! KEDA's ScaledObject: triggers, each of which becomes a metric of an HPA, and its step between 0 and 1.
//!
//! A trigger's threshold is one replica's share (`metricType: AverageValue`, the default) or the value to keep (`Value`).
//! Schedules (`cron`) ask for a number of replicas while they are open. (KEDA's pages on ScaledObject and its scalers.)

use crate::json::{At, Read};
use crate::kubernetes::{Place, behavior, quantity, resource_rule};
use crate::promql::{label, quoted, short};
use contract::Capacity;
use contract::native::{
    Band, NativeKind, NativeMetric, NativeMode, NativePolicy, NativeRule, NativeSchedule, NativeUnit, Query,
};
use std::time::Duration;

const COOLDOWN_DEFAULT: Duration = Duration::from_secs(300);
const PAUSED: &str = "autoscaling.keda.sh/paused";
const PAUSED_AT: &str = "autoscaling.keda.sh/paused-replicas";

pub(crate) fn read(name: String, place: &Place<'_>, object: &At<'_>) -> Read<NativePolicy> {
    let spec = object.need("spec")?;
    let mut native = NativePolicy::named(name);
    native.min = Some(spec.maybe("minReplicaCount", At::capacity)?.unwrap_or(0));
    native.max = Some(spec.maybe("maxReplicaCount", At::capacity)?.unwrap_or(100));
    let annotations = object.need("metadata")?.get("annotations");
    let says = |key: &str| annotations.as_ref().map(|all| all.maybe_text(key)).transpose().map(Option::flatten);
    if let Some(number) = says(PAUSED_AT)? {
        native.mode = NativeMode::Off;
        native.note(format!(
            "The ScaledObject is paused by an annotation: KEDA keeps the workload at {number} replicas."
        ));
    } else if says(PAUSED)?.is_some_and(|value| value != "false") {
        native.mode = NativeMode::Off;
        native.note("The ScaledObject is paused by an annotation.");
    }
    for trigger in spec.need("triggers")?.list()? {
        self::trigger(&mut native, place, &trigger)?;
    }
    let config = spec.get("advanced").and_then(|advanced| advanced.get("horizontalPodAutoscalerConfig"));
    behavior(&mut native, config.and_then(|config| config.get("behavior")).as_ref())?;
    if native.min == Some(0) {
        let cooldown = spec.maybe("cooldownPeriod", At::secs)?.unwrap_or(COOLDOWN_DEFAULT);
        native.note(format!(
            "KEDA goes from 0 to 1 when a trigger is above its activation threshold, and back {} s after all were last \
             active. Here a total above 0 asks for at least one, and the scale-in window decides when the last one goes.",
            cooldown.as_secs()
        ));
    }
    if spec.get("idleReplicaCount").is_some() {
        native.note("`idleReplicaCount` has no counterpart: min counts, busy or idle.");
    }
    if let Some(fallback) = spec.get("fallback") {
        native.when_blind = fallback.maybe("replicas", At::capacity)?;
    }
    Ok(native)
}

fn trigger(native: &mut NativePolicy, place: &Place<'_>, trigger: &At<'_>) -> Read<()> {
    let (kind, metadata) = (trigger.need("type")?.text()?, trigger.need("metadata")?);
    let name = label(trigger.maybe_text("name")?.unwrap_or(kind));
    if metadata.get("activationThreshold").is_some() {
        native.note(format!("The activation threshold of the trigger {name} has no counterpart."));
    }
    let value_type = trigger.maybe_text("metricType")?.unwrap_or("AverageValue");
    let kind = match kind {
        "cron" => schedule(native, &metadata)?,
        "cpu" | "memory" => {
            let value = metadata.need("value").and_then(|at| quantity(&at))?;
            let container = metadata.maybe_text("containerName")?;
            // Older triggers say the type in the metadata.
            let of = trigger.maybe_text("metricType")?.or(metadata.maybe_text("type")?).unwrap_or("Utilization");
            resource_rule(place, kind, container, value, of == "Utilization").kind
        }
        _ => match query(kind, &metadata)? {
            Ok((query, share)) => number(name.clone(), query, share, value_type),
            Err(why) => NativeKind::Other(why.into()),
        },
    };
    native.rules.push(NativeRule { name, kind });
    Ok(())
}

fn schedule(native: &mut NativePolicy, metadata: &At<'_>) -> Read<NativeKind> {
    let replicas: Capacity = metadata.need("desiredReplicas")?.capacity()?;
    native.note(
        "A cron trigger of KEDA asks for its replicas as one metric among others, and other triggers may ask for more: the \
         schedule's min does the same.",
    );
    let own = native.min.unwrap_or(0);
    Ok(NativeKind::Schedule(NativeSchedule {
        cron: metadata.need("start")?.text()?.into(),
        until: Some(metadata.need("end")?.text()?.into()),
        lasts: None,
        tz: metadata.need("timezone")?.text()?.into(),
        min: Some(replicas.max(own)),
        max: None,
    }))
}

fn number(name: Box<str>, query: Query, target: f64, value_type: &str) -> NativeKind {
    let metric = NativeMetric {
        name: format!("trigger {name}").into(),
        short: short(&name),
        unit: NativeUnit::Count,
        query,
        window: None,
        max_age: None,
    };
    let (band, removes) = (Band::default(), true);
    if value_type == "Value" {
        NativeKind::Average { metric, target, band, removes }
    } else {
        NativeKind::Total { metric, target, band, removes }
    }
}

/// A trigger's query and its threshold; else why there is none.
fn query(kind: &str, metadata: &At<'_>) -> Read<Result<(Query, f64), String>> {
    let text = |key: &str| metadata.need(key)?.text();
    let value = |key: &str| text(key).map(quoted);
    let share = |keys: &[&str], default: f64| metadata.any(keys).map_or(Ok(default), |at| quantity(&at));
    let probable = |text: String, exporter: &str| Query::Probable { text: text.into(), exporter: exporter.into() };
    Ok(Ok(match kind {
        "prometheus" => (Query::Exact(text("query")?.into()), metadata.need("threshold").and_then(|at| quantity(&at))?),
        "kafka" => {
            let (topic, group) = (value("topic")?, value("consumerGroup")?);
            let query = format!("sum(kafka_consumergroup_lag{{topic={topic},consumergroup={group}}})");
            (probable(query, "kafka_exporter"), share(&["lagThreshold"], 10.0)?)
        }
        "rabbitmq" => {
            if metadata.maybe_text("mode")?.is_some_and(|mode| mode != "QueueLength") {
                return Ok(Err("the rabbitmq trigger counts messages a second, not the queue's length".into()));
            }
            let query = format!("sum(rabbitmq_queue_messages{{queue={}}})", value("queueName")?);
            (probable(query, "rabbitmq's own exporter"), share(&["value", "queueLength"], 20.0)?)
        }
        "aws-sqs-queue" => {
            let url = text("queueURL")?;
            let name = quoted(url.rsplit('/').next().unwrap_or(url));
            let query = format!("sum(aws_sqs_approximate_number_of_messages_visible_average{{queue_name={name}}})");
            (probable(query, "cloudwatch_exporter"), share(&["queueLength"], 5.0)?)
        }
        "redis" => {
            let query = format!("sum(redis_key_size{{key={}}})", value("listName")?);
            (probable(query, "redis_exporter with --check-keys"), share(&["listLength"], 5.0)?)
        }
        other => return Ok(Err(format!("a trigger of type {other} has no series that is known here"))),
    }))
}
