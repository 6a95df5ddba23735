//! Amazon EC2 Auto Scaling: scaling policies, their CloudWatch alarms and scheduled actions, as
//! `aws autoscaling describe-auto-scaling-groups`, `describe-policies`, `describe-scheduled-actions` and
//! `aws cloudwatch describe-alarms` print them. Several documents make one policy; which is which is told by their fields.
//!
//! AWS does not publish how target tracking decides. What is written here was seen of its alarms: three points of a minute
//! above the target add, fifteen below 70 % of it remove; it adds in proportion, and takes the step back slowly.

use crate::aws_schedules;
use crate::cloudwatch::{self, Alarm, Stat};
use crate::json::{At, Read, Unreadable};
use crate::promql::series;
use contract::native::{
    Band, NativeChange, NativeKind, NativeMetric, NativeMode, NativePolicy, NativeRate, NativeRule, NativeStep,
    NativeUnit, Query,
};
use serde_json::Value;
use std::time::Duration;

/// Target tracking removes below this share of its target; seen in the alarms of many groups, not documented.
const LOW_SHARE: f64 = 0.7;
const MINUTE: Duration = Duration::from_secs(60);
/// Three points of a minute: two minutes between the first and the last.
const OUT_WINDOW: Duration = Duration::from_secs(2 * 60);
const IN_WINDOW: Duration = Duration::from_secs(14 * 60);
/// A group's cooldown when it says none.
const COOLDOWN_DEFAULT: Duration = Duration::from_secs(300);

/// What the documents say of one group.
///
/// # Errors
/// When a document is none of those, or says something that makes no sense; when the group is in none of them.
pub fn policy(group: &str, documents: &[Value]) -> Result<NativePolicy, Unreadable> {
    let found = Documents::sort(group, documents)?;
    let Some(own) = &found.group else {
        return Err(Unreadable(format!(
            "no document has the Auto Scaling group `{group}`: give the output of `aws autoscaling \
             describe-auto-scaling-groups --auto-scaling-group-names {group}` too"
        )));
    };
    let mut native = NativePolicy::named(format!("Auto Scaling group {group}"));
    native.min = Some(own.need("MinSize")?.capacity()?);
    native.max = Some(own.need("MaxSize")?.capacity()?);
    let mut reading =
        Reading { found: &found, native: &mut native, warmup: own.maybe("DefaultInstanceWarmup", At::secs)? };
    reading.suspended(own)?;
    let cooldown = own.maybe("DefaultCooldown", At::secs)?.unwrap_or(COOLDOWN_DEFAULT);
    for policy in &found.policies {
        reading.policy(policy, cooldown)?;
    }
    let warmup = reading.warmup.unwrap_or(cooldown);
    native.warmup = Some(warmup);
    settle(&mut native, warmup);
    aws_schedules::read(&mut native, &found.schedules)?;
    Ok(native)
}

/// What holds for all of a group's policies together.
fn settle(native: &mut NativePolicy, warmup: Duration) {
    let removes = |rule: &NativeRule| match &rule.kind {
        NativeKind::Average { removes, .. } | NativeKind::Total { removes, .. } => *removes,
        NativeKind::Steps { rows, .. } => rows.iter().any(|row| takes(row.change)),
        NativeKind::Veto { .. } | NativeKind::Schedule(_) | NativeKind::Other(_) => false,
    };
    let tracks = native.rules.iter().filter(|rule| matches!(rule.kind, NativeKind::Average { .. })).count();
    let removing = native.rules.iter().filter(|rule| removes(rule)).count();
    if removing == 0 && !native.rules.is_empty() {
        native.scale_in.off = true;
    } else if native.rules.iter().any(|rule| matches!(rule.kind, NativeKind::Average { removes: false, .. })) {
        native.note(
            "A target tracking policy has scale-in disabled while others remove: at AWS it does not stop them. Here the \
             rule keeps what it needs, so less is removed.",
        );
    }
    if tracks > 0 {
        native.scale_in.after_scale_out = Some(native.scale_in.after_scale_out.unwrap_or_default().max(warmup));
        native.scale_in.rates = vec![NativeRate { amount: NativeChange::Percent(10.0), per: MINUTE }];
        native.note(
            "AWS does not publish how target tracking removes, only that it does so gradually: 10 % a minute stands for \
             it. Its low threshold, 70 % of the target for 15 minutes, is what its alarms were seen with.",
        );
        native.note(
            "AWS adds in one step what it finds missing, and so does this policy: `[fleet.NAME.scale_out] rate` can limit it.",
        );
        if native.rules.iter().any(|rule| matches!(rule.kind, NativeKind::Steps { .. })) {
            native.note(
                "At AWS a step policy removes even while target tracking would not, and both then work against each \
                 other. Here the largest recommendation counts, so target tracking's need stays.",
            );
        }
    }
}

fn takes(change: NativeChange) -> bool {
    match change {
        NativeChange::Instances(n) => n < 0,
        NativeChange::Percent(percent) => percent < 0.0,
    }
}

/// The documents' items that speak of the group.
#[derive(Default)]
struct Documents<'a> {
    group: Option<At<'a>>,
    policies: Vec<At<'a>>,
    schedules: Vec<At<'a>>,
    alarms: Vec<At<'a>>,
}

impl<'a> Documents<'a> {
    fn sort(group: &str, documents: &'a [Value]) -> Read<Self> {
        let mut found = Self::default();
        let own = |items: Vec<At<'a>>| -> Read<Vec<At<'a>>> {
            let mut own = Vec::new();
            for item in items {
                if item.need("AutoScalingGroupName")?.text()? == group {
                    own.push(item);
                }
            }
            Ok(own)
        };
        for (index, document) in documents.iter().enumerate() {
            let root = At::root(document, &format!("document {}", index + 1));
            let known = ["AutoScalingGroups", "ScalingPolicies", "ScheduledUpdateGroupActions", "MetricAlarms"];
            if !known.iter().any(|key| root.get(key).is_some()) {
                return Err(root.wrong(format!("has none of {}: what command printed it?", known.join(", "))));
            }
            found.group = own(root.items("AutoScalingGroups")?)?.pop().or(found.group);
            found.policies.extend(own(root.items("ScalingPolicies")?)?);
            found.schedules.extend(own(root.items("ScheduledUpdateGroupActions")?)?);
            found.alarms.extend(root.items("MetricAlarms")?);
        }
        Ok(found)
    }
}

struct Reading<'a> {
    found: &'a Documents<'a>,
    native: &'a mut NativePolicy,
    warmup: Option<Duration>,
}

impl Reading<'_> {
    /// Processes that are suspended: a scaler that may not act is still what somebody meant.
    fn suspended(&mut self, group: &At<'_>) -> Read<()> {
        for process in group.items("SuspendedProcesses")? {
            let name = process.need("ProcessName")?.text()?;
            if name == "AlarmNotification" {
                self.native.mode = NativeMode::Off;
            }
            self.native.note(format!("The process {name} is suspended in the group."));
        }
        Ok(())
    }

    fn policy(&mut self, policy: &At<'_>, cooldown: Duration) -> Read<()> {
        let name = policy.need("PolicyName")?.text()?;
        if policy.maybe("Enabled", At::is_true)? == Some(false) {
            self.native.note(format!("The scaling policy {name} is disabled, so it is not here."));
            return Ok(());
        }
        match policy.maybe_text("PolicyType")?.unwrap_or("SimpleScaling") {
            "TargetTrackingScaling" => self.tracking(name, policy),
            "StepScaling" => self.steps(name, policy),
            "SimpleScaling" => {
                let wait = policy.maybe("Cooldown", At::secs)?.unwrap_or(cooldown);
                self.simple(name, policy, wait)
            }
            "PredictiveScaling" => {
                self.native.note(format!(
                    "The predictive scaling policy {name} forecasts the load and adds ahead of it; a rule of kind \
                     `objective` does so here (policies/examples/objective.toml). It is not written, since it needs what \
                     one instance can do."
                ));
                Ok(())
            }
            other => {
                self.other(name, &format!("scaling policies of type {other} are not known here"));
                Ok(())
            }
        }
    }

    fn tracking(&mut self, name: &str, policy: &At<'_>) -> Read<()> {
        let own = policy.need("TargetTrackingConfiguration")?;
        let removes = !own.flag("DisableScaleIn")?;
        let metric = match own.get("PredefinedMetricSpecification") {
            Some(predefined) => self.predefined(&predefined)?,
            None => customized(&own.need("CustomizedMetricSpecification")?)?,
        };
        self.warm(policy)?;
        let target = own.need("TargetValue")?.number()?;
        match metric {
            Ok(metric) => {
                let band = Band { out: 0.0, r#in: 1.0 - LOW_SHARE };
                self.push(name, NativeKind::Average { metric, target, band, removes });
                self.shortest_out(OUT_WINDOW);
                self.longest_in(IN_WINDOW);
            }
            Err(why) => self.other(name, &why),
        }
        Ok(())
    }

    fn predefined(&self, at: &At<'_>) -> Read<Result<NativeMetric, String>> {
        let group = self.found.group.as_ref().and_then(|group| group.maybe_text("AutoScalingGroupName").ok().flatten());
        let dimensions = vec![("AutoScalingGroupName", group.unwrap_or_default())];
        let of = |name| Stat { namespace: "AWS/EC2", name, statistic: "Average", dimensions, period: MINUTE }.metric();
        Ok(match at.need("PredefinedMetricType")?.text()? {
            // The second is the same average from points of less than a minute.
            "ASGAverageCPUUtilization" | "ASGAverageCPUUtilizationHighResolution" => Ok(of("CPUUtilization")),
            "ASGAverageNetworkIn" => Ok(of("NetworkIn")),
            "ASGAverageNetworkOut" => Ok(of("NetworkOut")),
            "ALBRequestCountPerTarget" => {
                // app/NAME/ID/targetgroup/NAME/ID
                let label = at.need("ResourceLabel")?;
                let Some((_, target)) = label.text()?.split_once("/targetgroup/") else {
                    return Err(label.wrong("names no target group"));
                };
                let labels = [("target_group".to_owned(), format!("targetgroup/{target}"))];
                let text = series("aws_applicationelb_request_count_per_target_sum", &labels);
                Ok(NativeMetric {
                    name: "requests a minute and target of the load balancer".into(),
                    short: "requests_per_target".into(),
                    unit: NativeUnit::Count,
                    query: Query::Probable { text: text.into(), exporter: "cloudwatch_exporter".into() },
                    window: Some(MINUTE),
                    max_age: Some(Duration::from_secs(15 * 60)),
                })
            }
            other => Err(format!("the predefined metric {other} is not known here")),
        })
    }

    fn steps(&mut self, name: &str, policy: &At<'_>) -> Read<()> {
        let alarms = cloudwatch::alarms_of(policy, &self.found.alarms)?;
        if alarms.is_empty() {
            self.other(name, NO_ALARM);
            return Ok(());
        }
        self.warm(policy)?;
        let percent = match self.by_percent(name, policy)? {
            Some(percent) => percent,
            None => return Ok(()),
        };
        for alarm in alarms {
            let alarm = Alarm::read(&alarm)?;
            let mut rows = Vec::new();
            for step in policy.need("StepAdjustments")?.list()? {
                // Bounds are relative to the threshold, and the one nearer to it begins the step.
                let bound = if alarm.above { "MetricIntervalLowerBound" } else { "MetricIntervalUpperBound" };
                let limit = alarm.threshold + step.maybe(bound, At::number)?.unwrap_or(0.0);
                let adjustment = step.need("ScalingAdjustment")?.whole()?;
                if adjustment != 0 {
                    rows.push(NativeStep { above: alarm.above, limit, change: change(adjustment, percent) });
                }
            }
            self.alarm(name, alarm, rows);
        }
        Ok(())
    }

    fn simple(&mut self, name: &str, policy: &At<'_>, cooldown: Duration) -> Read<()> {
        let alarms = cloudwatch::alarms_of(policy, &self.found.alarms)?;
        if alarms.is_empty() {
            self.other(name, NO_ALARM);
            return Ok(());
        }
        let percent = match self.by_percent(name, policy)? {
            Some(percent) => percent,
            None => return Ok(()),
        };
        let change = change(policy.need("ScalingAdjustment")?.whole()?, percent);
        for alarm in alarms {
            let alarm = Alarm::read(&alarm)?;
            let rows = vec![NativeStep { above: alarm.above, limit: alarm.threshold, change }];
            self.alarm(name, alarm, rows);
        }
        let pace = if takes(change) { &mut self.native.scale_in } else { &mut self.native.scale_out };
        pace.cooldown = Some(pace.cooldown.unwrap_or_default().max(cooldown));
        let after = &mut self.native.scale_in.after_scale_out;
        *after = Some(after.unwrap_or_default().max(cooldown));
        self.native.note(
            "A simple scaling policy's cooldown at AWS also delays a scale-out after a scale-in. Here a scale-in never \
             delays a scale-out.",
        );
        Ok(())
    }

    /// True: adjustments are percentages, false: instances. Neither is written as a rule that cannot be.
    fn by_percent(&mut self, name: &str, policy: &At<'_>) -> Read<Option<bool>> {
        let kind = policy.need("AdjustmentType")?;
        if policy.maybe("MinAdjustmentMagnitude", At::whole)?.is_some_and(|least| least > 1) {
            self.native.note(format!(
                "The scaling policy {name} changes by at least MinAdjustmentMagnitude instances; here a percentage \
                 changes by at least 1."
            ));
        }
        match kind.text()? {
            "ChangeInCapacity" => Ok(Some(false)),
            "PercentChangeInCapacity" => {
                self.native.note(
                    "AWS rounds a percentage above 1 toward zero. Here adding rounds up and removing rounds down.",
                );
                Ok(Some(true))
            }
            "ExactCapacity" => {
                self.other(name, "it sets an exact capacity, which no rule here does: bounds and schedules can");
                Ok(None)
            }
            other => Err(kind.wrong(format!("`{other}` is no adjustment"))),
        }
    }

    /// One alarm's rows, and what its periods mean for the whole group.
    fn alarm(&mut self, name: &str, alarm: Alarm, rows: Vec<NativeStep>) {
        if let Some((needed, of)) = alarm.partly {
            self.native.note(format!(
                "The alarm of {name} needs {needed} of {of} points. Here all readings of the window have to agree."
            ));
        }
        let metric = match alarm.metric {
            Ok(metric) => metric,
            Err(why) => return self.other(name, &why),
        };
        for row in &rows {
            if takes(row.change) {
                self.longest_in(alarm.window);
            } else {
                self.shortest_out(alarm.window);
            }
        }
        self.native.note(
            "CloudWatch's alarms may compare with >= and <=, thresholds here are > and <: a value exactly at a threshold \
             counts as not beyond it.",
        );
        // Rows of one metric are one table, so that the largest step of both directions is found in one place.
        let same = self.native.rules.iter_mut().find_map(|rule| match &mut rule.kind {
            NativeKind::Steps { metric: known, rows } if *known == metric => Some(rows),
            _ => None,
        });
        match same {
            Some(known) => known.extend(rows),
            None => self.push(name, NativeKind::Steps { metric, rows }),
        }
    }

    fn push(&mut self, name: &str, kind: NativeKind) {
        self.native.rules.push(NativeRule { name: crate::promql::label(name), kind });
    }

    fn other(&mut self, name: &str, why: &str) {
        self.push(name, NativeKind::Other(format!("the scaling policy {name}: {why}").into()));
    }

    /// One direction has one window here: the shortest of its policies' for out, so that none is slower than at AWS ...
    fn shortest_out(&mut self, window: Duration) {
        let out = &mut self.native.scale_out.window;
        *out = Some(out.map_or(window, |known| known.min(window)));
    }

    /// ... and the longest for in, so that none is quicker.
    fn longest_in(&mut self, window: Duration) {
        let r#in = &mut self.native.scale_in.window;
        *r#in = Some(r#in.map_or(window, |known| known.max(window)));
    }

    /// The group's own warm-up is for all policies; else the longest of theirs.
    fn warm(&mut self, policy: &At<'_>) -> Read<()> {
        if self.found.group.as_ref().is_some_and(|group| group.get("DefaultInstanceWarmup").is_none())
            && let Some(own) = policy.maybe("EstimatedInstanceWarmup", At::secs)?
        {
            self.warmup = Some(self.warmup.unwrap_or_default().max(own));
        }
        Ok(())
    }
}

const NO_ALARM: &str = "its thresholds are in its CloudWatch alarm, and none was found; beside --from files give the output \
                        of `aws cloudwatch describe-alarms` too";

fn change(adjustment: i64, percent: bool) -> NativeChange {
    if percent { NativeChange::Percent(adjustment as f64) } else { NativeChange::Instances(adjustment) }
}

fn customized(at: &At<'_>) -> Read<Result<NativeMetric, String>> {
    match at.get("Metrics") {
        Some(metrics) => cloudwatch::math(&metrics),
        None => Ok(Ok(Stat::read(at, MINUTE)?.metric())),
    }
}
