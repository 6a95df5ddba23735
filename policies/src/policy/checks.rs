//! What can only be said of a whole fleet: bounds, whether it could ever leave 0, what nothing uses, and what an SRE
//! would want to be asked about.

use super::diagnostic::{At, Finding, Findings};
use super::tree::{Table, Value};
use super::{Policy, Rule, RuleKind, metric, rule, units};

/// Checks a complete fleet; `own` is its table before anything was laid under it.
pub(super) fn check(findings: &Findings<'_>, policy: &Policy, header: At, table: &Table, own: &Table) {
    let here = Here { findings, policy, header, table };
    here.bounds();
    here.zero();
    here.schedules();
    here.group_bounds();
    here.queueing();
    here.warnings();
    unused(findings, policy, table, own);
}

struct Here<'a> {
    findings: &'a Findings<'a>,
    policy: &'a Policy,
    header: At,
    table: &'a Table,
}

impl Here<'_> {
    /// Where a key of the fleet, or of a table within it, has its value.
    fn at(&self, path: &[&str]) -> At {
        let mut table = self.table;
        let mut at = self.header;
        for key in path {
            let Some(entry) = table.get(key) else { break };
            at = entry.node.at;
            match &entry.node.value {
                Value::Table(inner) => table = inner,
                _ => break,
            }
        }
        at
    }

    fn bounds(&self) {
        let (min, max) = (self.policy.min, self.policy.max);
        if min > max {
            let found = Finding::new(format!("`min` is {min}, above `max` of {max}"));
            self.findings.error(self.at(&["min"]), found.related(self.at(&["max"]), "`max` is here"));
        } else if max == 0 {
            let found = Finding::new("`max` is 0, so the fleet could never have an instance");
            self.findings.error(self.at(&["max"]), found.hint("to switch a fleet off, write mode = \"off\""));
        }
        if let Some(missing) = self.policy.on_missing
            && missing.raise_to > max
        {
            let found = Finding::new(format!("`raise_to` is {}, above the fleet's `max` of {max}", missing.raise_to));
            self.findings
                .error(self.at(&["on_missing", "raise_to"]), found.related(self.at(&["max"]), "`max` is here"));
        }
    }

    /// Averages over instances say nothing where there is none.
    fn zero(&self) {
        let by = |metric: u16| self.policy.metrics.get(metric as usize).is_some_and(|metric| metric.by.is_some());
        let out = self.policy.rules.iter().any(|rule| rule::leaves_zero(&rule.kind, by));
        if self.policy.min == 0 && self.policy.max > 0 && !out && !self.policy.rules.is_empty() {
            let found =
                Finding::new("the fleet could never leave 0: every rule's metric needs an instance to be measured");
            let hint = "set min = 1, or add a rule whose metric is there without instances, such as a queue's length";
            self.findings.error(self.at(&["min"]), found.hint(hint));
        }
    }

    fn schedules(&self) {
        let (min, max) = (self.policy.min, self.policy.max);
        for (index, rule) in self.policy.rules.iter().enumerate() {
            let RuleKind::Schedule(schedule) = &rule.kind else { continue };
            let at = |key: &str| self.rule_at(index, key);
            if let (Some(low), None) = (schedule.min, schedule.max)
                && low > max
            {
                let found = Finding::new(format!("the schedule's `min` is {low}, above the fleet's `max` of {max}"));
                self.findings.error(at("min"), found.related(self.at(&["max"]), "`max` is here"));
            }
            if let (None, Some(high)) = (schedule.min, schedule.max)
                && high < min
            {
                let found = Finding::new(format!("the schedule's `max` is {high}, below the fleet's `min` of {min}"));
                self.findings.error(at("max"), found.related(self.at(&["min"]), "`min` is here"));
            }
        }
    }

    fn rule_at(&self, index: usize, key: &str) -> At {
        let rules = self.table.get("rule").map(|entry| &entry.node.value);
        let node = match rules {
            Some(Value::List(items)) => items.get(index),
            _ => None,
        };
        let entry = node.and_then(|node| node.table()).and_then(|table| table.get(key));
        entry.map_or(node.map_or(self.header, |node| node.at), |entry| entry.node.at)
    }

    fn group_bounds(&self) {
        let (min, max) = (self.policy.min, self.policy.max);
        let groups = self.policy.groups.as_ref();
        if groups.is_empty() {
            return;
        }
        let whose = if groups.len() == 1 { "the group's" } else { "the groups' summed" };
        let units = |n: u32, group: &super::Group| n.saturating_mul(group.weight);
        let sum = |bound: fn(&super::Group) -> Option<u32>| {
            let add = |sum: u32, group| bound(group).map(|n| sum.saturating_add(units(n, group)));
            groups.iter().try_fold(0, add)
        };
        if let Some(high) = sum(|group| group.max)
            && high < min
        {
            let found =
                Finding::new(format!("{whose} `max` is {high}, so the fleet's `min` of {min} could never be held"));
            self.findings.error(self.at(&["min"]), found);
        }
        if let Some(low) = sum(|group| Some(group.min.unwrap_or(0)))
            && low > max
        {
            let found =
                Finding::new(format!("{whose} `min` is {low}, so the fleet's `max` of {max} could never be held"));
            self.findings.error(self.at(&["max"]), found);
        }
        let clouds: std::collections::BTreeSet<&str> = groups.iter().map(|group| group.provider.as_ref()).collect();
        if let Some(share) = self.policy.spread.cloud_max
            && (clouds.len() as f64) * share < 1.0 - 1e-9
        {
            let found = Finding::new(format!(
                "at most {:.0} % in one of {} clouds is less than all",
                share * 100.0,
                clouds.len()
            ));
            let hint = "allow more in one, or add a group in another cloud";
            self.findings.error(self.at(&["spread", "share_max", "cloud"]), found.hint(hint));
        }
        if let Some(share) = self.policy.spread.group_max
            && (groups.len() as f64) * share < 1.0 - 1e-9
        {
            let found = Finding::new(format!(
                "at most {:.0} % in one of {} groups is less than all",
                share * 100.0,
                groups.len()
            ));
            self.findings
                .error(self.at(&["spread", "share_max", "group"]), found.hint("allow more in one, or add a group"));
        }
    }

    /// What a queue or latency rule cannot do with this fleet's other settings.
    fn queueing(&self) {
        let timed = |kind: &RuleKind| matches!(kind, RuleKind::Queue(_) | RuleKind::Latency(_));
        let by = |metric: u16| self.policy.metrics.get(metric as usize).is_some_and(|metric| metric.by.is_some());
        let others = |rule: &Rule| !timed(&rule.kind) && rule::leaves_zero(&rule.kind, by);
        let stuck = self.policy.min == 0 && self.policy.on_missing.is_none() && !self.policy.rules.iter().any(others);
        for (index, rule) in self.policy.rules.iter().enumerate() {
            if let RuleKind::Queue(queue) = &rule.kind
                && queue.drain_within <= self.policy.boot
            {
                let (within, boot) = (units::duration_text(queue.drain_within), units::duration_text(self.policy.boot));
                let found = Finding::new(format!("`drain_within` is {within}, and `boot` is {boot}"));
                let hint = "what is added comes too late for that: give it longer than a boot";
                self.findings.warn(self.rule_at(index, "drain_within"), found.hint(hint));
            }
            if stuck && timed(&rule.kind) {
                let found = Finding::new("a service time is measured where something is served, and `min` is 0");
                let hint = "while it is missing the fleet could not leave 0: set min = 1, or raise in [on_missing]";
                self.findings.warn(self.rule_at(index, "service_time"), found.hint(hint));
            }
        }
    }

    fn warnings(&self) {
        let policy = self.policy;
        let (out, inward) = (policy.scale_out.stabilization, policy.scale_in.stabilization);
        if out > inward {
            let (out, inward) = (units::duration_text(out), units::duration_text(inward));
            let found = Finding::new(format!("scale-out waits longer ({out}) than scale-in ({inward})"));
            let hint = "late scale-out costs users, late scale-in only money";
            self.findings.warn(self.at(&["scale_out", "stabilization"]), found.hint(hint));
        }
        for metric in &policy.metrics {
            if metric.max_age < policy.interval {
                let (age, interval) = (units::duration_text(metric.max_age), units::duration_text(policy.interval));
                let found = Finding::new(format!("`max_age` is {age}, shorter than the interval of {interval}"));
                let at = self.at(&["metric", &metric.name, "max_age"]);
                self.findings.warn(at, found.hint("a reading would be stale before the next one comes"));
            }
        }
    }
}

/// A metric that the fleet itself has and nothing uses is a mistake; an inherited one is not.
fn unused(findings: &Findings<'_>, policy: &Policy, table: &Table, own: &Table) {
    let Some(metrics) = own.get("metric").and_then(|entry| entry.node.table()) else { return };
    let Some(rules) = table.get("rule").map(|entry| &entry.node) else { return };
    // A rule that could not be read may have been meant to use it; that one is reported already.
    if !matches!(&rules.value, Value::List(list) if list.len() == policy.rules.len()) {
        return;
    }
    let mentioned = metric::mentioned(rules);
    for entry in metrics.entries.iter().filter(|entry| !mentioned.contains(&entry.key)) {
        if entry.node.table().is_some() {
            let found = Finding::new(format!("no rule uses the metric `{}`", entry.key));
            findings.error(entry.at, found.hint("remove it, or add a rule with it"));
        }
    }
}
