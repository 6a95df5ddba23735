//! A rule of kind `objective`: the share of minutes in which utilization stays under a limit.

use super::diagnostic::Finding;
use super::metric::Drafts;
use super::reader::{Fault, Reader};
use super::tree::{Node, Value};
use super::{Objective, Unit, schedule, units};
use jiff::tz::TimeZone;

/// The knob when the policy is silent.
const COVERAGE_DEFAULT: f64 = 0.99;
/// Below a half it is no objective; above this a week has too few minutes to tell.
const COVERAGE: (f64, f64) = (0.5, 0.9999);
/// Head-room at most when the policy is silent, as a ratio: a guard against a runaway, not a second objective. Spiky
/// loads and slow boots need several times the mean.
const HEADROOM_MAX_DEFAULT: f64 = 10.0;

pub(super) fn read(r: &mut Reader<'_>, metrics: &Drafts) -> Option<Objective> {
    let metric = r.need("metric", |node| metrics.find(node, true));
    let capacity =
        r.need_or("capacity", read_capacity, Some("the work one instance can do at 100 %: capacity = 250.0"));
    let utilization =
        r.need_or("utilization", read_utilization, Some("the highest at which all is well: utilization = 0.8"));
    let coverage = r.take("coverage", read_coverage).unwrap_or(COVERAGE_DEFAULT);
    let headroom_max =
        r.take("headroom_max", units::percent(1.0..=10_000.0)).map_or(HEADROOM_MAX_DEFAULT, |max| max / 100.0);
    let tz = r.take("tz", schedule::read_tz).unwrap_or(TimeZone::UTC);
    check_unit(r, metric, metrics);
    let tiny =
        capacity.zip(utilization).is_some_and(|(capacity, utilization)| capacity * utilization < f64::MIN_POSITIVE);
    if tiny {
        r.findings().error(r.at_of("capacity"), Finding::new("`capacity` is too small a number"));
        return None;
    }
    Some(Objective { metric: metric?, capacity: capacity?, utilization: utilization?, coverage, headroom_max, tz })
}

fn read_capacity(node: &Node) -> Result<f64, Fault> {
    if let Value::Text(text) = &node.value
        && text.as_ref() == "learn"
    {
        let fault = Fault::new("is \"learn\", which is not supported yet");
        return Err(fault.hint("measure what one instance can do at 100 %: capacity = 250.0"));
    }
    units::positive(node)
}

fn read_utilization(node: &Node) -> Result<f64, Fault> {
    let utilization = units::positive(node)?;
    if utilization <= 1.0 {
        return Ok(utilization);
    }
    let fault = Fault::new(format!("must be above 0 and at most 1, not {utilization}"));
    Err(match utilization <= 100.0 {
        true => fault.hint(format!("a ratio: write {}", utilization / 100.0)),
        false => fault,
    })
}

fn read_coverage(node: &Node) -> Result<f64, Fault> {
    let coverage = units::number(node)?;
    if (COVERAGE.0..=COVERAGE.1).contains(&coverage) {
        return Ok(coverage);
    }
    let fault = Fault::new(format!("must be from {} to {}, not {coverage}", COVERAGE.0, COVERAGE.1));
    Err(match coverage > 1.0 && coverage <= 100.0 {
        true => fault.hint(format!("a ratio: write {}", coverage / 100.0)),
        false => fault.hint("the share of minutes to cover: coverage = 0.99"),
    })
}

/// An average says nothing of the fleet's total.
fn check_unit(r: &Reader<'_>, metric: Option<u16>, metrics: &Drafts) {
    if let Some((Unit::Ratio | Unit::Percent, _)) = metric.and_then(|metric| metrics.unit(metric)) {
        let found = Finding::new("the metric is an average over instances; an objective needs the fleet's total work");
        let hint = "name a metric of unit \"count\" such as requests a second, or use kind = \"utilization\"";
        r.findings().error(r.at_of("metric"), found.hint(hint));
    }
}
