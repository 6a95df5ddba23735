//! The text of a policy file, table by table.

use super::{Names, probable};
use contract::native::{
    Band, NativeChange, NativeKind, NativeMetric, NativeMode, NativePace, NativePolicy, NativeRule, NativeSchedule,
    NativeStep, NativeUnit,
};
use policies::policy::units::duration_text;
use std::fmt::Write;
use std::time::Duration;

/// Comments are broken before this column.
const WIDTH: usize = 118;

/// One policy on its way to text.
pub(super) struct Form<'a> {
    native: &'a NativePolicy,
    names: &'a Names<'a>,
    /// Metrics in the order of the rules, each once, with its name here.
    metrics: Vec<(String, &'a NativeMetric)>,
}

/// Whether a change adds.
pub(super) fn adds(change: NativeChange) -> bool {
    match change {
        NativeChange::Instances(n) => n > 0,
        NativeChange::Percent(percent) => percent > 0.0,
    }
}

fn metric_of(rule: &NativeRule) -> Option<&NativeMetric> {
    match &rule.kind {
        NativeKind::Average { metric, .. }
        | NativeKind::Total { metric, .. }
        | NativeKind::Steps { metric, .. }
        | NativeKind::Veto { metric, .. } => Some(metric),
        NativeKind::Schedule(_) | NativeKind::Other(_) => None,
    }
}

impl<'a> Form<'a> {
    pub fn new(native: &'a NativePolicy, names: &'a Names<'a>) -> Self {
        let mut metrics: Vec<(String, &NativeMetric)> = Vec::new();
        for metric in native.rules.iter().filter_map(metric_of) {
            if metrics.iter().any(|(_, known)| *known == metric) {
                continue;
            }
            let (mut name, mut number) = (metric.short.to_string(), 1);
            while metrics.iter().any(|(known, _)| *known == name) {
                number += 1;
                name = format!("{}_{number}", metric.short);
            }
            metrics.push((name, metric));
        }
        Self { native, names, metrics }
    }

    /// Metrics whose query is only probable, for people.
    pub fn probable(&self) -> Vec<String> {
        let of = |(name, metric): &(String, &NativeMetric)| {
            Some(format!("metric.{name}: {} as {} offers it", metric.name, probable(&metric.query)?))
        };
        self.metrics.iter().filter_map(of).collect()
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        self.head(&mut text);
        self.fleet(&mut text);
        for (name, metric) in &self.metrics {
            self.metric(&mut text, name, metric);
        }
        for rule in &self.native.rules {
            self.rule(&mut text, rule);
        }
        self.pace(&mut text, "scale_out", &self.native.scale_out);
        self.pace(&mut text, "scale_in", &self.native.scale_in);
        if let (Some(raise_to), Some(max)) = (self.native.when_blind.filter(|n| *n > 0), self.native.max) {
            let fleet = self.names.fleet;
            comment(&mut text, "", "Capacity while every metric is unknown; it never lowers.");
            line(&mut text, &format!("[fleet.{}.on_missing]\nafter = \"2m\"", key(fleet)));
            line(&mut text, &format!("raise_to = {}\n", raise_to.min(max)));
        }
        while text.ends_with("\n\n") {
            text.pop();
        }
        text
    }

    fn head(&self, text: &mut String) {
        let native = self.native;
        let what = format!("{} as a policy, by `skala import`.", native.name);
        comment(text, "", &what);
        comment(
            text,
            "",
            "It observes: nothing is scaled before `mode` says \"on\". Look first what it would have done, with `skala plan` \
             and, after some days, `skala report`; then `skala handover` takes the native scaler's right to act.",
        );
        match native.mode {
            NativeMode::On => {}
            NativeMode::ScaleOutOnly => comment(text, "", "The native scaler may only add, and so may this policy."),
            NativeMode::Off => comment(text, "", "The native scaler may not act at present: it is off or suspended."),
        }
        if !native.notes.is_empty() {
            comment(text, "", "What differs:");
        }
        for note in &native.notes {
            comment(text, "- ", note);
        }
        text.push('\n');
    }

    fn fleet(&self, text: &mut String) {
        let (native, fleet) = (self.native, key(self.names.fleet));
        line(text, &format!("[fleet.{fleet}]"));
        line(text, "mode = \"observe\"");
        let bound = |text: &mut String, name: &str, n: Option<u32>| {
            if let Some(n) = n {
                line(text, &format!("{name} = {n}"));
            }
        };
        bound(text, "min", native.min);
        bound(text, "max", native.max);
        let times = [("interval", native.interval), ("warmup", native.warmup)];
        for (name, time) in times.into_iter().filter_map(|(name, time)| Some((name, time?))) {
            line(text, &format!("{name} = \"{}\"", duration_text(time)));
        }
        line(text, &format!("\n[[fleet.{fleet}.group]]\nprovider = {}", quoted(self.names.provider)));
        line(text, &format!("group = {}\n", quoted(self.names.group)));
    }

    fn metric(&self, text: &mut String, name: &str, metric: &NativeMetric) {
        comment(text, "", &format!("{}.", metric.name));
        if let Some(exporter) = probable(&metric.query) {
            comment(
                text,
                "",
                &format!(
                    "PROBABLE, not known: this is what {exporter} usually offers. Metric and label names may differ in \
                     your Prometheus; until the query answers there, the reading is unknown and nothing is removed."
                ),
            );
        }
        line(text, &format!("[fleet.{}.metric.{}]", key(self.names.fleet), key(name)));
        line(text, &format!("source = {}", quoted(self.names.source)));
        line(text, &format!("query = {}", quoted(metric.query.text())));
        let unit = match metric.unit {
            NativeUnit::Ratio => "ratio",
            NativeUnit::Percent => "percent",
            NativeUnit::Count => "count",
            NativeUnit::Seconds => "seconds",
        };
        line(text, &format!("unit = \"{unit}\""));
        if let Some(age) = metric.max_age {
            line(text, &format!("max_age = \"{}\"  # its exporter's samples come late", duration_text(age)));
        }
        text.push('\n');
    }

    fn rule(&self, text: &mut String, rule: &NativeRule) {
        if let NativeKind::Other(why) = &rule.kind {
            comment(text, "", &format!("NOT IMPORTED: {why}."));
            text.push('\n');
            return;
        }
        line(text, &format!("[[fleet.{}.rule]]", key(self.names.fleet)));
        line(text, &format!("name = {}", quoted(&rule.name)));
        match &rule.kind {
            NativeKind::Average { target, band, .. } => self.target(text, rule, "utilization", *target, *band),
            NativeKind::Total { target, band, .. } => self.target(text, rule, "per-instance", *target, *band),
            NativeKind::Steps { rows, .. } => {
                line(text, "kind = \"step\"");
                self.metric_line(text, rule);
                line(text, "steps = [");
                rows.iter().for_each(|row| line(text, &format!("  {},", step(row))));
                line(text, "]");
            }
            NativeKind::Veto { above, limit, .. } => {
                line(text, "kind = \"guard\"");
                self.metric_line(text, rule);
                line(text, &format!("{} = {}", if *above { "above" } else { "below" }, number(*limit)));
                line(text, "blocks = \"in\"");
            }
            NativeKind::Schedule(schedule) => self::schedule(text, schedule),
            NativeKind::Other(_) => {}
        }
        text.push('\n');
    }

    fn target(&self, text: &mut String, rule: &NativeRule, kind: &str, target: f64, band: Band) {
        line(text, &format!("kind = \"{kind}\""));
        self.metric_line(text, rule);
        line(text, &format!("target = {}", number(target)));
        line(text, &format!("tolerance = {{ out = {}, in = {} }}", number(band.out), number(band.r#in)));
    }

    fn metric_line(&self, text: &mut String, rule: &NativeRule) {
        let name = metric_of(rule).and_then(|metric| self.metrics.iter().find(|(_, known)| *known == metric));
        if let Some((name, _)) = name {
            line(text, &format!("metric = {}", quoted(name)));
        }
    }

    fn pace(&self, text: &mut String, name: &str, pace: &NativePace) {
        line(text, &format!("[fleet.{}.{name}]", key(self.names.fleet)));
        if pace.off {
            line(text, "select = \"off\"  # the native scaler does not do this at all\n");
            return;
        }
        let window = pace.window.unwrap_or_default();
        line(text, &format!("stabilization = \"{}\"", duration_text(window)));
        let waits = [("cooldown", pace.cooldown), ("after_scale_out", pace.after_scale_out)];
        for (name, wait) in waits {
            if let Some(wait) = wait.filter(|wait| *wait > Duration::ZERO) {
                line(text, &format!("{name} = \"{}\"", duration_text(wait)));
            }
        }
        let most = if name == "scale_in" { 100.0 } else { 10_000.0 };
        let rates: Vec<String> = pace
            .rates
            .iter()
            .map(|rate| {
                let per = duration_text(rate.per);
                match rate.amount {
                    NativeChange::Instances(n) => format!("{{ instances = {}, per = \"{per}\" }}", n.unsigned_abs()),
                    NativeChange::Percent(percent) => {
                        format!("{{ percent = \"{}%\", per = \"{per}\" }}", percent.abs().min(most))
                    }
                }
            })
            .collect();
        let remark = if rates.is_empty() { "  # no limit: all at once, as there" } else { "" };
        line(text, &format!("rate = [{}]{remark}", rates.join(", ")));
        if rates.len() > 1 {
            line(text, if pace.strictest { "select = \"min\"" } else { "select = \"max\"" });
        }
        text.push('\n');
    }
}

fn step(row: &NativeStep) -> String {
    let when = if row.above { "above" } else { "below" };
    let (what, amount) = match row.change {
        NativeChange::Instances(n) if n < 0 => ("remove", n.unsigned_abs().to_string()),
        NativeChange::Instances(n) => ("add", n.to_string()),
        NativeChange::Percent(percent) if percent < 0.0 => ("remove", format!("\"{}%\"", -percent)),
        NativeChange::Percent(percent) => ("add", format!("\"{percent}%\"")),
    };
    format!("{{ {when} = {}, {what} = {amount} }}", number(row.limit))
}

fn schedule(text: &mut String, schedule: &NativeSchedule) {
    line(text, "kind = \"schedule\"");
    line(text, &format!("cron = {}", quoted(&schedule.cron)));
    if let Some(until) = &schedule.until {
        line(text, &format!("until = {}", quoted(until)));
    }
    if let Some(lasts) = schedule.lasts {
        line(text, &format!("for = \"{}\"", duration_text(lasts)));
    }
    line(text, &format!("tz = {}", quoted(&schedule.tz)));
    for (name, bound) in [("min", schedule.min), ("max", schedule.max)] {
        if let Some(bound) = bound {
            line(text, &format!("{name} = {bound}"));
        }
    }
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// A comment, broken into lines; the marker stands before the first, and the others are indented below it.
fn comment(text: &mut String, marker: &str, words: &str) {
    let mut current = format!("# {marker}");
    let indent = format!("# {}", " ".repeat(marker.len()));
    let mut is_empty = true;
    // A control character would end the comment.
    let words: String = words.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    for word in words.split_whitespace() {
        if !is_empty && current.chars().count() + 1 + word.chars().count() > WIDTH {
            line(text, &current);
            current = indent.clone();
            is_empty = true;
        }
        if !is_empty {
            current.push(' ');
        }
        current.push_str(word);
        is_empty = false;
    }
    line(text, &current);
}

/// A key, bare where TOML allows that.
fn key(name: &str) -> String {
    let bare = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { quoted(name) }
}

/// A text: literal where it can be, so that queries stay readable.
fn quoted(value: &str) -> String {
    if !value.contains('"') && !value.contains('\\') && !value.chars().any(char::is_control) {
        return format!("\"{value}\"");
    }
    if !value.contains('\'') && !value.chars().any(char::is_control) {
        return format!("'{value}'");
    }
    let mut text = String::from("\"");
    for letter in value.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            letter if letter.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{:04X}", u32::from(letter));
            }
            letter => text.push(letter),
        }
    }
    text.push('"');
    text
}

/// A number without the noise of binary fractions: 0.30000000000000004 is 0.3.
fn number(value: f64) -> String {
    let rounded = (value * 1e9).round() / 1e9;
    let value = if value.abs() < 1e6 && rounded != 0.0 { rounded } else { value };
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value:.0}") } else { value.to_string() }
}
