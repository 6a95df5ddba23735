//! CloudWatch's metrics, alarms and metric math, and their names in Prometheus.

use crate::json::{At, Read, Unreadable};
use crate::promql::{self, safe, series, short};
use contract::native::{NativeMetric, NativeUnit, Query};
use std::time::Duration;

/// The exporter's own default delay is ten minutes (`delay_seconds`), since CloudWatch fills in late.
const LATE: Duration = Duration::from_secs(15 * 60);
/// The label that names the Auto Scaling group on series of the machines' own exporters.
pub(crate) const GROUP_LABEL: &str = "asg";
const MINUTE: Duration = Duration::from_secs(60);

/// One metric of CloudWatch.
pub(crate) struct Stat<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub statistic: &'a str,
    pub dimensions: Vec<(&'a str, &'a str)>,
    pub period: Duration,
}

impl<'a> Stat<'a> {
    /// Reads the fields that an alarm and a customized specification share.
    pub fn read(at: &At<'a>, period: Duration) -> Read<Self> {
        let statistic = at.any(&["Statistic", "ExtendedStatistic"]);
        let statistic = statistic.ok_or_else(|| at.wrong("`Statistic` is missing"))?;
        Self::of(at, statistic.text()?, period)
    }

    /// A `MetricStat`, as metric math has it.
    fn of_metric_stat(at: &At<'a>) -> Read<Self> {
        let period = at.maybe("Period", At::secs)?.unwrap_or(MINUTE);
        Self::of(&at.need("Metric")?, at.need("Stat")?.text()?, period)
    }

    fn of(at: &At<'a>, statistic: &'a str, period: Duration) -> Read<Self> {
        let mut dimensions = Vec::new();
        for one in at.items("Dimensions")? {
            dimensions.push((one.need("Name")?.text()?, one.need("Value")?.text()?));
        }
        let (namespace, name) = (at.need("Namespace")?.text()?, at.need("MetricName")?.text()?);
        Ok(Self { namespace, name, statistic, dimensions, period })
    }

    /// The metric in the contract's form. What the machines' own exporter knows is read there, at once; the rest from
    /// CloudWatch's exporter.
    pub fn metric(&self) -> NativeMetric {
        let group = self.dimensions.iter().find(|(name, _)| *name == "AutoScalingGroupName").map(|(_, value)| *value);
        let (name, window) = (format!("{} {} ({})", self.namespace, self.name, self.statistic), Some(self.period));
        if let (Some(group), "AWS/EC2", "Average") = (group, self.namespace, self.statistic) {
            let found = match self.name {
                "CPUUtilization" => Some((
                    "cpu",
                    NativeUnit::Percent,
                    format!("100 * ({})", promql::node_cpu(GROUP_LABEL, group, self.period)),
                )),
                "NetworkIn" => Some(("network_in", NativeUnit::Count, self.network("receive", group))),
                "NetworkOut" => Some(("network_out", NativeUnit::Count, self.network("transmit", group))),
                _ => None,
            };
            if let Some((name_here, unit, text)) = found {
                let query = Query::Probable { text: text.into(), exporter: "node_exporter".into() };
                return NativeMetric { name: name.into(), short: name_here.into(), unit, query, window, max_age: None };
            }
        }
        let unit = if self.name.ends_with("Utilization") { NativeUnit::Percent } else { NativeUnit::Count };
        let query = Query::Probable { text: self.series().into(), exporter: "cloudwatch_exporter".into() };
        NativeMetric { name: name.into(), short: short(&snake(self.name)), unit, query, window, max_age: Some(LATE) }
    }

    /// CloudWatch counts bytes for each of its periods, a minute in detailed monitoring.
    fn network(&self, direction: &str, group: &str) -> String {
        format!("60 * {}", promql::node_network(direction, GROUP_LABEL, group, self.period))
    }

    /// The series of prometheus/cloudwatch_exporter: `aws_sqs_approximate_number_of_messages_visible_average`.
    fn series(&self) -> String {
        let statistic = snake(&safe(self.statistic));
        let name = format!("{}_{}_{statistic}", safe(&self.namespace.to_lowercase()), snake(&safe(self.name)));
        let labels: Vec<(String, String)> =
            self.dimensions.iter().map(|(name, value)| (snake(&safe(name)), (*value).to_owned())).collect();
        series(&name, &labels)
    }
}

/// `RequestCountPerTarget` becomes `request_count_per_target`, `CPUUtilization` `cpuutilization`, as that exporter does.
fn snake(name: &str) -> String {
    let mut text = String::new();
    let mut last = ' ';
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && (last.is_ascii_lowercase() || last.is_ascii_digit()) {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
        last = letter;
    }
    text
}

/// Metric math in PromQL, when it is arithmetic alone; else why not.
pub(crate) fn math(metrics: &At<'_>) -> Read<Result<NativeMetric, String>> {
    let (mut known, mut expressions, mut answer) = (Vec::new(), Vec::new(), None);
    let mut late = false;
    let mut unit = NativeUnit::Count;
    for one in metrics.list()? {
        let id = one.need("Id")?.text()?;
        if one.maybe("ReturnData", At::is_true)?.unwrap_or(true) {
            answer = Some((id, one.clone()));
        }
        if let Some(stat) = one.get("MetricStat") {
            let metric = Stat::of_metric_stat(&stat)?.metric();
            (late, unit) = (late || metric.max_age.is_some(), metric.unit);
            known.push((id, format!("sum({})", metric.query.text())));
        } else {
            expressions.push((id, one.need("Expression")?.text()?));
        }
    }
    let Some((id, at)) = answer else { return Err(metrics.wrong("no metric has `ReturnData`")) };
    let text = match resolve(id, &known, &expressions, 0) {
        Ok(text) => text,
        Err(why) => return Ok(Err(why)),
    };
    let label = at.maybe_text("Label")?.unwrap_or(id);
    let is_math = expressions.iter().any(|(name, _)| *name == id);
    Ok(Ok(NativeMetric {
        name: format!("metric math {label}").into(),
        short: short(label),
        unit: if is_math { NativeUnit::Count } else { unit },
        query: Query::Probable { text: text.into(), exporter: "cloudwatch_exporter".into() },
        window: None,
        max_age: late.then_some(LATE),
    }))
}

/// Puts queries in the place of names; anything but names, numbers and arithmetic is refused.
fn resolve(id: &str, known: &[(&str, String)], math: &[(&str, &str)], depth: u32) -> Result<String, String> {
    if let Some((_, query)) = known.iter().find(|(name, _)| *name == id) {
        return Ok(query.clone());
    }
    let unknown = || format!("its metric math names `{id}`, which is a function or no metric of it");
    let (_, text) = math.iter().find(|(name, _)| *name == id).ok_or_else(unknown)?;
    if depth > 8 {
        return Err("its metric math is nested too deep".into());
    }
    let (mut out, mut rest) = (String::new(), *text);
    while let Some(letter) = rest.chars().next() {
        let word =
            rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.').len();
        if letter.is_ascii_alphabetic() {
            out.push_str(&format!("({})", resolve(&rest[..word], known, math, depth + 1)?));
            rest = &rest[word..];
        } else if letter.is_ascii_digit() {
            out.push_str(&rest[..word]);
            rest = &rest[word..];
        } else if "+-*/() ".contains(letter) {
            out.push(letter);
            rest = &rest[1..];
        } else {
            return Err(format!("its metric math has `{letter}`, which is no arithmetic"));
        }
    }
    Ok(out)
}

/// An alarm: what it compares, and how long that has to hold.
pub(crate) struct Alarm {
    pub metric: Result<NativeMetric, String>,
    /// True above the threshold, false below it; an alarm that compares otherwise is no alarm of a scaler.
    pub above: bool,
    pub threshold: f64,
    /// From the first crossing that counts until it acts.
    pub window: Duration,
    /// Not all of its points have to cross.
    pub partly: Option<(i64, i64)>,
}

impl Alarm {
    pub fn read(at: &At<'_>) -> Read<Self> {
        let period = at.maybe("Period", At::secs)?.unwrap_or(MINUTE);
        let metric = match at.get("Metrics") {
            Some(metrics) if !metrics.list()?.is_empty() => math(&metrics)?,
            _ => Ok(Stat::read(at, period)?.metric()),
        };
        let operator = at.need("ComparisonOperator")?;
        let above = match operator.text()? {
            "GreaterThanThreshold" | "GreaterThanOrEqualToThreshold" => true,
            "LessThanThreshold" | "LessThanOrEqualToThreshold" => false,
            other => return Err(operator.wrong(format!("`{other}` is no comparison with a number"))),
        };
        let of = at.need("EvaluationPeriods")?.whole()?.max(1);
        let needed = at.maybe("DatapointsToAlarm", At::whole)?.unwrap_or(of).clamp(1, of);
        let window = period * u32::try_from(needed - 1).unwrap_or(0);
        let partly = (needed < of).then_some((needed, of));
        Ok(Self { metric, above, threshold: at.need("Threshold")?.number()?, window, partly })
    }
}

/// Finds the alarms that call a policy, by name or by what they call.
pub(crate) fn alarms_of<'a>(policy: &At<'a>, all: &[At<'a>]) -> Read<Vec<At<'a>>> {
    let mut names = Vec::new();
    for alarm in policy.items("Alarms")? {
        names.push(alarm.need("AlarmName")?.text()?);
    }
    let arn = policy.maybe_text("PolicyARN")?;
    let mut found = Vec::new();
    for alarm in all {
        let actions = alarm.items("AlarmActions")?;
        let calls = actions.iter().map(At::text).collect::<Result<Vec<_>, Unreadable>>()?;
        if names.contains(&alarm.need("AlarmName")?.text()?) || arn.is_some_and(|arn| calls.contains(&arn)) {
            found.push(alarm.clone());
        }
    }
    Ok(found)
}
