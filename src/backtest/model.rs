//! The model of a backtest: what one instance can do, how long it boots, how late metrics are, what it costs. TOML in, a
//! [`Model`] and every problem found out.

use contract::{CAPACITY_MAX, Capacity};
use policies::policy::units::{self, DAY};
use policies::policy::{
    At, Diagnostic, Fault, Findings, InstanceCapacity, Node, Policy, Reader, RuleKind, SourceFile, nearest, read_toml,
};
use std::time::Duration;

/// An instance boots for so long when the model is silent.
const BOOT_DEFAULT: Duration = Duration::from_secs(120);
/// The age of the newest visible reading when the model is silent.
const LAG_DEFAULT: Duration = Duration::from_secs(60);
/// The series' step when the model is silent.
const STEP_DEFAULT: Duration = Duration::from_secs(60);
/// An instance's price for an hour when the model is silent: cost is then instance hours.
const PRICE_DEFAULT: f64 = 1.0;
/// Not scored when the model is silent.
const WARMUP_DEFAULT: Duration = Duration::from_secs(2 * 86_400);
/// Forgives the last digit of a division that should have come out whole (the reference simulator's).
const WHOLE_SLACK: f64 = 1e-9;

/// The model, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Index of the fleet's metric that is the load.
    pub metric: u16,
    /// The work that one instance can do at 100 % utilization, in the metric's unit.
    pub capacity_per_instance: f64,
    /// The highest utilization at which the objective still holds, above 0 up to 1.
    pub slo_utilization: f64,
    /// From asking for an instance until it serves.
    pub boot_delay: Duration,
    /// The last part of it, in which the cloud already calls the instance running: the policy's warm-up in an implied
    /// model. A written model has none.
    pub warming: Duration,
    /// How old the newest visible reading is.
    pub metric_lag: Duration,
    /// The time between two rows of a series.
    pub step: Duration,
    /// What an instance costs in an hour, in any currency.
    pub price_per_hour: f64,
    /// The visible load cannot exceed what the instances that serve can do.
    pub saturate: bool,
    /// Not scored; at most a tenth of the series.
    pub warmup: Duration,
}

impl Model {
    /// Reads a model for a fleet; `None` with errors.
    pub fn parse(file: &SourceFile, policy: &Policy) -> (Option<Self>, Vec<Diagnostic>) {
        let files = std::slice::from_ref(file);
        let findings = Findings::new(files);
        let root = read_toml(&findings, 0);
        let mut r = Reader::new(&findings, At::default(), &root);
        let metric = r.need("metric", |node| metric(node, policy));
        let capacity = r.need_or(
            "capacity_per_instance",
            units::positive,
            Some("the work one instance can do at 100 % utilization, in the metric's unit"),
        );
        let slo = r.need_or("slo_utilization", share, Some("the highest utilization that still holds the objective"));
        let boot = r.take("boot_delay", units::up_to_a_day).unwrap_or(BOOT_DEFAULT);
        let lag = r.take("metric_lag", units::up_to_a_day).unwrap_or(LAG_DEFAULT);
        let step = r.take("step", units::duration(Duration::from_secs(1)..=DAY)).unwrap_or(STEP_DEFAULT);
        let price = r.take("price_per_hour", not_negative).unwrap_or(PRICE_DEFAULT);
        let saturate = r.take("saturate", units::flag).unwrap_or(false);
        let warmup = r.take("warmup", units::duration(Duration::ZERO..=DAY * 366)).unwrap_or(WARMUP_DEFAULT);
        r.finish();
        let whole = findings.errors() == 0;
        let model = metric.zip(capacity).zip(slo).filter(|_| whole).map(|((metric, capacity), slo)| Self {
            metric,
            capacity_per_instance: capacity,
            slo_utilization: slo,
            boot_delay: boot,
            warming: Duration::ZERO,
            metric_lag: lag,
            step,
            price_per_hour: price,
            saturate,
            warmup,
        });
        (model, findings.into_diagnostics())
    }

    /// The model that a policy's first `objective` rule implies, with the rule's name: what an instance can do is the
    /// rule's, how long it boots and warms up the policy's, the rest as when a model is silent. `None` when there is no such
    /// rule, or it learns what an instance can do.
    pub fn implied(policy: &Policy) -> Option<(Self, &str)> {
        policy.rules.iter().find_map(|rule| match &rule.kind {
            RuleKind::Objective(objective) => {
                let InstanceCapacity::Told(capacity) = objective.capacity else { return None };
                let model = Self {
                    metric: objective.metric,
                    capacity_per_instance: capacity,
                    slo_utilization: objective.utilization,
                    boot_delay: policy.boot + policy.warmup,
                    warming: policy.warmup,
                    metric_lag: LAG_DEFAULT,
                    step: STEP_DEFAULT,
                    price_per_hour: PRICE_DEFAULT,
                    saturate: false,
                    warmup: WARMUP_DEFAULT,
                };
                Some((model, rule.name.as_ref()))
            }
            _ => None,
        })
    }

    /// The least instances that keep the objective at this load, never below `min`.
    pub fn demand(&self, load: f64, min: Capacity) -> Capacity {
        let needed = (load / (self.capacity_per_instance * self.slo_utilization) - WHOLE_SLACK).ceil();
        // The cast saturates; a load that asks for more than can be had asks for all that can be had.
        min.max(needed.clamp(0.0, f64::from(CAPACITY_MAX)) as Capacity)
    }
}

fn metric(node: &Node, policy: &Policy) -> Result<u16, Fault> {
    let name = units::name(node)?;
    let names = || policy.metrics.iter().map(|metric| metric.name.as_ref());
    let at = names().position(|known| known == name.as_ref()).and_then(|at| u16::try_from(at).ok());
    at.ok_or_else(|| {
        let fault = Fault::new(format!("is `{name}`, and fleet `{}` has no such metric", policy.id));
        match nearest(&name, names()) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault.hint(format!("its metrics: {}", names().collect::<Vec<_>>().join(", "))),
        }
    })
}

fn share(node: &Node) -> Result<f64, Fault> {
    let number = units::positive(node)?;
    if number <= 1.0 {
        return Ok(number);
    }
    let fault = Fault::new(format!("must be at most 1, not {number}"));
    Err(fault.hint(format!("for {number} % write {}", number / 100.0)))
}

fn not_negative(node: &Node) -> Result<f64, Fault> {
    let number = units::number(node)?;
    if number >= 0.0 { Ok(number) } else { Err(Fault::new(format!("must not be below 0, not {number}"))) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::policy;
    use super::*;

    const FULL: &str = "metric = \"rps\"\ncapacity_per_instance = 250.0\nslo_utilization = 0.8\nboot_delay = \"3m\"\n\
        metric_lag = \"30s\"\nstep = \"1m\"\nprice_per_hour = 0.1\nsaturate = true\nwarmup = \"1d\"\n";

    fn parse(text: &str) -> Result<Model, String> {
        let file = SourceFile { name: "model.toml".into(), text: text.into() };
        let (model, found) = Model::parse(&file, &policy(""));
        let said = |one: &Diagnostic| {
            format!("{}:{} {} ({})", one.line, one.column, one.message, one.hint.as_deref().unwrap_or(""))
        };
        model.ok_or_else(|| found.iter().map(said).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn everything_is_read() {
        let model = parse(FULL).unwrap();
        let secs = Duration::from_secs;
        assert_eq!((model.metric, model.capacity_per_instance, model.slo_utilization), (0, 250.0, 0.8));
        assert_eq!((model.boot_delay, model.metric_lag, model.step), (secs(180), secs(30), secs(60)));
        assert_eq!((model.price_per_hour, model.saturate, model.warmup), (0.1, true, secs(86_400)));
        let silent = parse("metric = \"rps\"\ncapacity_per_instance = 250\nslo_utilization = 0.8").unwrap();
        assert_eq!((silent.boot_delay, silent.metric_lag, silent.step), (secs(120), secs(60), secs(60)));
        assert_eq!((silent.price_per_hour, silent.saturate, silent.warmup), (1.0, false, secs(172_800)));
    }

    #[test]
    fn what_is_wrong_has_a_place_and_a_hint() {
        for (from, to, expected) in [
            ("saturate", "saturated", "8:1 unknown key `saturated` (did you mean `saturate`? "),
            ("\"rps\"", "\"rpm\"", "1:10 `metric` is `rpm`, and fleet `web` has no such metric (did you mean `rps`?)"),
            ("0.8", "80", "3:19 `slo_utilization` must be at most 1, not 80 (for 80 % write 0.8)"),
            ("250.0", "0", "2:25 `capacity_per_instance` must be above 0, not 0"),
            ("slo_utilization = 0.8", "", "1:1 `slo_utilization` is missing"),
            ("\"3m\"", "3", "4:14 `boot_delay` must be a duration"),
            ("0.1", "-1", "7:18 `price_per_hour` must not be below 0"),
            ("\"1d\"", "\"1d", "9:"),
        ] {
            let said = parse(&FULL.replace(from, to)).unwrap_err();
            assert!(said.starts_with(expected), "{from} -> {to}: {said}");
        }
    }

    #[test]
    fn demand_forgives_the_last_digit_and_keeps_min() {
        let model = parse(FULL).unwrap();
        for (load, min, demand) in
            [(0.0, 2, 2), (0.0, 0, 0), (200.0, 1, 1), (200.000_1, 1, 2), (600.0, 1, 3), (1e300, 1, CAPACITY_MAX)]
        {
            assert_eq!(model.demand(load, min), demand, "{load}");
        }
    }
}
