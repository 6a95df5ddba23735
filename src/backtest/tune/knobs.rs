//! The settings that trade shortage against cost, and the values that are tried of each: a ladder from dear to cheap with
//! the present value on it.

use super::edit::{Leaf, Owner, Spot, Written};
use crate::backtest::Model;
use policies::policy::units::duration_text;
use policies::policy::{Amount, Mode, Policy, RuleKind, Select, Tolerance, Unit};
use std::time::Duration;

/// Of a target on the load itself: the share of what an instance can do, in percent, and how far apart.
const SHARES_PERCENT: (u32, u32, usize) = (30, 100, 2);
/// Of a target on a utilization, in percent; from 95 % on a utilization is taken for censored.
const UTILIZATIONS_PERCENT: (u32, u32, usize) = (30, 94, 2);
/// Of any other target: steps either way, and the ratio of one to the next.
const STEPS: i32 = 20;
const STEP_RATIO: f64 = 1.05;
const COVERAGES: [f64; 15] =
    [0.9999, 0.9995, 0.999, 0.998, 0.997, 0.995, 0.993, 0.99, 0.985, 0.98, 0.97, 0.96, 0.95, 0.93, 0.9];
const HEADROOMS_PERCENT: [f64; 13] =
    [1_000.0, 700.0, 500.0, 300.0, 200.0, 150.0, 100.0, 75.0, 50.0, 30.0, 20.0, 15.0, 10.0];
const TOLERANCES: [f64; 9] = [0.4, 0.3, 0.2, 0.15, 0.1, 0.08, 0.05, 0.02, 0.0];
const WINDOWS_SECS: [f64; 13] =
    [3_600.0, 2_700.0, 1_800.0, 1_200.0, 900.0, 720.0, 600.0, 420.0, 300.0, 240.0, 180.0, 120.0, 60.0];
const RATES_PERCENT: [f64; 10] = [2.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 75.0, 100.0];
const DRAINS_SECS: [f64; 13] =
    [30.0, 60.0, 90.0, 120.0, 180.0, 300.0, 420.0, 600.0, 900.0, 1_200.0, 1_800.0, 2_700.0, 3_600.0];
const LATE_SHARES: [f64; 11] = [1e-4, 2e-4, 5e-4, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Coverage,
    HeadroomMax,
    Target,
    ToleranceIn,
    DrainWithin,
    Share,
    Stabilization,
    Rate,
}

/// One setting and its ladder. Values are in the unit that the file is written in; durations in seconds.
#[derive(Clone, Debug)]
pub struct Knob {
    /// As diagnostics name it: `rule.requests.target`.
    pub name: String,
    /// The ladder, the dearest value first.
    pub values: Vec<f64>,
    /// The present value's place on it.
    pub now: usize,
    what: What,
    rule: usize,
    /// What is written, divided by what is read.
    scale: f64,
    pub(super) spot: Spot,
}

impl Knob {
    /// The settings of a policy that are searched.
    pub(super) fn all(policy: &Policy, model: &Model) -> Vec<Self> {
        let mut knobs = Vec::new();
        for (rule, one) in policy.rules.iter().enumerate() {
            for what in of_kind(&one.kind) {
                let spot = Spot { owner: Owner::Rule(one.name.clone()), key: what.key(), leaf: what.leaf() };
                let name = format!("rule.{}.{}", one.name, what.shown());
                knobs.extend(Self::new(name, *what, rule, spot, policy, model));
            }
        }
        if policy.scale_in.select != Select::Off && policy.mode != Mode::ScaleOutOnly {
            for what in [What::Stabilization, What::Rate] {
                let spot = Spot { owner: Owner::ScaleIn, key: what.key(), leaf: what.leaf() };
                knobs.extend(Self::new(format!("scale_in.{}", what.shown()), what, 0, spot, policy, model));
            }
        }
        knobs
    }

    fn new(name: String, what: What, rule: usize, spot: Spot, policy: &Policy, model: &Model) -> Option<Self> {
        let scale = match (what, target_unit(policy, rule)) {
            (What::HeadroomMax, _) | (What::Target, Some(Unit::Percent)) => 100.0,
            _ => 1.0,
        };
        let mut knob = Self { name, values: Vec::new(), now: 0, what, rule, scale, spot };
        let present = knob.read(policy)?;
        knob.values = knob.ladder(present, policy, model);
        // The present value is on the ladder exactly as it is written.
        knob.values.retain(|value| !is_near(*value, present));
        knob.now = knob.values.partition_point(|value| if what.grows() { *value < present } else { *value > present });
        knob.values.insert(knob.now, present);
        (knob.values.len() > 1).then_some(knob)
    }

    fn ladder(&self, present: f64, policy: &Policy, model: &Model) -> Vec<f64> {
        let percents = |(from, to, step): (u32, u32, usize), of: f64| -> Vec<f64> {
            (from..=to).step_by(step).map(|percent| rounded(f64::from(percent) * of / 100.0)).collect()
        };
        let windows = || {
            let least = (policy.interval * 2).as_secs_f64();
            WINDOWS_SECS.iter().copied().filter(|secs| *secs >= least).collect()
        };
        match self.what {
            What::Coverage => COVERAGES.to_vec(),
            What::HeadroomMax => HEADROOMS_PERCENT.to_vec(),
            What::ToleranceIn => TOLERANCES.to_vec(),
            What::DrainWithin => DRAINS_SECS.to_vec(),
            What::Share => LATE_SHARES.to_vec(),
            What::Rate => RATES_PERCENT.to_vec(),
            What::Stabilization => windows(),
            What::Target => match (&policy.rules[self.rule].kind, target_unit(policy, self.rule)) {
                (RuleKind::PerInstance { metric, .. }, _) if *metric == model.metric => {
                    percents(SHARES_PERCENT, model.capacity_per_instance)
                }
                (RuleKind::Utilization { .. }, Some(Unit::Ratio | Unit::Percent)) => {
                    percents(UTILIZATIONS_PERCENT, self.scale)
                }
                _ => (-STEPS..=STEPS).map(|step| rounded(present * STEP_RATIO.powi(step))).collect(),
            },
        }
    }

    /// Whether it says how much is needed, not how fast what is not needed goes.
    pub(super) fn is_demand(&self) -> bool {
        matches!(self.what, What::Coverage | What::Target | What::DrainWithin | What::Share)
    }

    /// What a policy says, in the unit that is written.
    pub(super) fn read(&self, policy: &Policy) -> Option<f64> {
        let rule = || policy.rules.get(self.rule).map(|rule| &rule.kind);
        let read = match (self.what, rule()) {
            (What::Stabilization, _) => policy.scale_in.stabilization.as_secs_f64(),
            (What::Rate, _) => match policy.scale_in.rate.as_ref() {
                [rate] => match rate.amount {
                    Amount::Percent(percent) => percent,
                    Amount::Instances(_) => return None,
                },
                _ => return None,
            },
            (What::Coverage, Some(RuleKind::Objective(objective))) => objective.coverage,
            (What::HeadroomMax, Some(RuleKind::Objective(objective))) => objective.headroom_max,
            (What::Target, Some(RuleKind::PerInstance { target, .. } | RuleKind::Utilization { target, .. })) => {
                *target
            }
            (What::ToleranceIn, Some(kind)) => tolerance(kind)?.r#in,
            (What::DrainWithin, Some(RuleKind::Queue(queue))) => queue.drain_within.as_secs_f64(),
            (What::Share, Some(RuleKind::Latency(latency))) => latency.share,
            _ => return None,
        };
        Some(rounded_away(read * self.scale))
    }

    /// Puts a value into a policy: what reading the edited file must give.
    pub(super) fn write(&self, policy: &mut Policy, value: f64) {
        let read = value / self.scale;
        match self.what {
            What::Stabilization => policy.scale_in.stabilization = Duration::from_secs_f64(read),
            What::Rate => {
                if let [rate] = policy.scale_in.rate.as_mut() {
                    rate.amount = Amount::Percent(read);
                }
            }
            _ => match policy.rules.get_mut(self.rule).map(|rule| (self.what, &mut rule.kind)) {
                Some((What::Coverage, RuleKind::Objective(objective))) => objective.coverage = read,
                Some((What::HeadroomMax, RuleKind::Objective(objective))) => objective.headroom_max = read,
                Some((What::Target, RuleKind::PerInstance { target, .. } | RuleKind::Utilization { target, .. })) => {
                    *target = read
                }
                Some((
                    What::ToleranceIn,
                    RuleKind::PerInstance { tolerance, .. } | RuleKind::Utilization { tolerance, .. },
                )) => tolerance.r#in = read,
                Some((What::DrainWithin, RuleKind::Queue(queue))) => {
                    queue.drain_within = Duration::from_secs_f64(read);
                }
                Some((What::Share, RuleKind::Latency(latency))) => latency.share = read,
                _ => {}
            },
        }
    }

    /// A value of the ladder as TOML.
    pub fn text(&self, value: f64) -> String {
        match self.what {
            What::Stabilization | What::DrainWithin => {
                format!("\"{}\"", duration_text(Duration::from_secs_f64(value)))
            }
            What::Rate | What::HeadroomMax => format!("\"{value}%\""),
            What::Coverage | What::Target | What::ToleranceIn | What::Share => value.to_string(),
        }
    }

    /// A value, and the whole key that it is part of, as they are written for a policy.
    pub(super) fn written(&self, policy: &Policy, value: f64) -> Written {
        let part = self.text(value);
        let whole = match self.what {
            What::ToleranceIn => {
                let out = policy.rules.get(self.rule).and_then(|rule| tolerance(&rule.kind)).map_or(0.0, |own| own.out);
                format!("{{ out = {out}, in = {part} }}")
            }
            What::Rate => {
                let per = policy.scale_in.rate.first().map_or(Duration::from_secs(60), |rate| rate.per);
                format!("[{{ percent = {part}, per = \"{}\" }}]", duration_text(per))
            }
            _ => part.clone(),
        };
        Written { part, whole }
    }
}

impl What {
    fn key(self) -> &'static str {
        match self {
            What::Coverage => "coverage",
            What::HeadroomMax => "headroom_max",
            What::Target => "target",
            What::ToleranceIn => "tolerance",
            What::DrainWithin => "drain_within",
            What::Share => "share",
            What::Stabilization => "stabilization",
            What::Rate => "rate",
        }
    }

    fn shown(self) -> &'static str {
        match self {
            What::ToleranceIn => "tolerance.in",
            What::Rate => "rate.percent",
            other => other.key(),
        }
    }

    fn leaf(self) -> Leaf {
        match self {
            What::ToleranceIn => Leaf::In,
            What::Rate => Leaf::Percent,
            _ => Leaf::Whole,
        }
    }

    /// Whether a larger value is the cheaper one.
    fn grows(self) -> bool {
        matches!(self, What::Target | What::DrainWithin | What::Share | What::Rate)
    }
}

fn of_kind(kind: &RuleKind) -> &'static [What] {
    match kind {
        RuleKind::Objective(_) => &[What::Coverage, What::HeadroomMax],
        RuleKind::PerInstance { .. } | RuleKind::Utilization { .. } => &[What::Target, What::ToleranceIn],
        RuleKind::Queue(_) => &[What::DrainWithin],
        RuleKind::Latency(_) => &[What::Share],
        RuleKind::Step { .. } | RuleKind::Schedule(_) | RuleKind::Guard { .. } | RuleKind::Expression(_) => &[],
    }
}

fn tolerance(kind: &RuleKind) -> Option<Tolerance> {
    match kind {
        RuleKind::PerInstance { tolerance, .. } | RuleKind::Utilization { tolerance, .. } => Some(*tolerance),
        _ => None,
    }
}

/// The unit of the metric that a rule keeps at a target.
fn target_unit(policy: &Policy, rule: usize) -> Option<Unit> {
    match policy.rules.get(rule)?.kind {
        RuleKind::PerInstance { metric, .. } | RuleKind::Utilization { metric, .. } => {
            policy.metrics.get(usize::from(metric)).map(|metric| metric.unit)
        }
        _ => None,
    }
}

/// Three significant digits: what a person would write.
fn rounded(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// Twelve significant digits: a conversion's last digits are nobody's.
fn rounded_away(value: f64) -> f64 {
    format!("{value:.11e}").parse().unwrap_or(value)
}

/// The same but for the last digits.
pub(super) fn is_near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{model, policy};
    use super::*;

    const MORE: &str = "[[fleet.web.rule]]\nkind = \"objective\"\nmetric = \"rps\"\ncapacity = 250\nutilization = 0.8\n\
        headroom_max = \"70%\"\n[[fleet.web.rule]]\nkind = \"utilization\"\nmetric = \"cpu\"\ntarget = 64\ntolerance = 0.07\n\
        [fleet.web.metric.cpu]\nsource = \"s\"\nquery = \"c\"\nunit = \"percent\"\n\
        [[fleet.web.rule]]\nname = \"jobs\"\nkind = \"per-instance\"\nmetric = \"jobs\"\ntarget = 3\n\
        [fleet.web.metric.jobs]\nsource = \"s\"\nquery = \"j\"\n";

    #[test]
    fn every_setting_has_a_ladder_from_dear_to_cheap() {
        let policy = policy(MORE);
        let load = policy.metrics.iter().position(|metric| metric.name.as_ref() == "rps").unwrap();
        let knobs = Knob::all(&policy, &Model { metric: u16::try_from(load).unwrap(), ..model() });
        let shown: Vec<String> = knobs
            .iter()
            .map(|knob| {
                let text = |at: usize| knob.text(knob.values[at]);
                format!("{} {} .. {} .. {}", knob.name, text(0), text(knob.now), text(knob.values.len() - 1))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "rule.requests.target 75 .. 160 .. 250",
                "rule.requests.tolerance.in 0.4 .. 0.1 .. 0",
                "rule.objective.coverage 0.9999 .. 0.99 .. 0.9",
                "rule.objective.headroom_max \"1000%\" .. \"70%\" .. \"10%\"",
                "rule.utilization.target 30 .. 64 .. 94",
                "rule.utilization.tolerance.in 0.4 .. 0.07 .. 0",
                "rule.jobs.target 1.13 .. 3 .. 7.96",
                "rule.jobs.tolerance.in 0.4 .. 0.1 .. 0",
                "scale_in.stabilization \"1h\" .. \"10m\" .. \"2m\"",
                "scale_in.rate.percent \"2%\" .. \"10%\" .. \"100%\"",
            ]
        );
        for knob in &knobs {
            let sorted = |pair: &[f64]| if knob.what.grows() { pair[0] < pair[1] } else { pair[0] > pair[1] };
            assert!(knob.values.windows(2).all(sorted), "{}: {:?}", knob.name, knob.values);
            for value in &knob.values {
                let mut other = policy.clone();
                knob.write(&mut other, *value);
                assert!(is_near(knob.read(&other).unwrap(), *value), "{} {value}", knob.name);
            }
        }
    }
}
