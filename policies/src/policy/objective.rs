//! A rule of kind `objective`: the share of minutes in which utilization stays under a limit.

use super::diagnostic::{At, Finding};
use super::metric::Drafts;
use super::reader::{Fault, Reader};
use super::tree::{Node, Value};
use super::{Closes, Unit, schedule, units};
use jiff::tz::TimeZone;

/// The knob when the policy is silent.
const COVERAGE_DEFAULT: f64 = 0.99;
/// Below a half it is no objective; above this a week has too few minutes to tell.
const COVERAGE: (f64, f64) = (0.5, 0.9999);
/// Head-room at most when the policy is silent, as a ratio: a guard against a runaway, not a second objective. Spiky
/// loads and slow boots need several times the mean.
const HEADROOM_MAX_DEFAULT: f64 = 10.0;
/// Most events of a rule.
const EVENTS_MAX: usize = 4;
/// Offset and factor of FNV-1a, 32 bits: tells one definition from another, nothing more.
const FNV: (u32, u32) = (0x811c_9dc5, 0x0100_0193);

/// What an `objective` rule keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// The fleet's total work.
    pub metric: u16,
    /// The work one instance can do.
    pub capacity: InstanceCapacity,
    /// The highest utilization at which the objective still holds, 0 to 1.
    pub utilization: f64,
    /// The share of minutes in which it holds, 0 to 1.
    pub coverage: f64,
    /// Head-room at most, as a ratio of the larger of forecast and the week's mean load: 2.0 is 200 %.
    pub headroom_max: f64,
    /// Whose days and weeks the profiles follow.
    pub tz: TimeZone,
    /// What comes at times of a calendar that no day or week tells.
    pub events: Box<[CalendarEvent]>,
}

/// A time at which the load is another one, such as a month-end sale.
#[derive(Clone, Debug, PartialEq)]
pub struct CalendarEvent {
    /// Its name.
    pub name: Box<str>,
    /// When it opens, in wall-clock time of `tz`.
    pub cron: croner::Cron,
    /// When it closes.
    pub closes: Closes,
    /// The time zone.
    pub tz: TimeZone,
    /// Tells its times from other ones.
    pub defined: u32,
}

/// The work that one instance can do at 100 % utilization, in the metric's unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InstanceCapacity {
    /// So much.
    Told(f64),
    /// It is learned from how busy instances are.
    Learned {
        /// The metric of their average utilization.
        from: u16,
    },
}

impl Objective {
    /// The metric that capacity is learned from.
    pub fn learn_from(&self) -> Option<u16> {
        match self.capacity {
            InstanceCapacity::Told(_) => None,
            InstanceCapacity::Learned { from } => Some(from),
        }
    }
}

pub(super) fn read(r: &mut Reader<'_>, metrics: &Drafts) -> Option<Objective> {
    let metric = r.need("metric", |node| metrics.find(node, true));
    let hint = "the work one instance can do at 100 %: capacity = 250.0, or \"learn\" with learn_from = \"cpu\"";
    let told = r.need_or("capacity", read_capacity, Some(hint));
    let capacity = read_learn_from(r, told, metrics);
    let utilization =
        r.need_or("utilization", read_utilization, Some("the highest at which all is well: utilization = 0.8"));
    let coverage = r.take("coverage", read_coverage).unwrap_or(COVERAGE_DEFAULT);
    let headroom_max =
        r.take("headroom_max", units::percent(1.0..=10_000.0)).map_or(HEADROOM_MAX_DEFAULT, |max| max / 100.0);
    let tz = r.take("tz", schedule::read_tz).unwrap_or(TimeZone::UTC);
    let events = read_events(r, &tz);
    check_unit(r, metric, metrics);
    if let (Some(InstanceCapacity::Told(told)), Some(utilization)) = (capacity, utilization)
        && told * utilization < f64::MIN_POSITIVE
    {
        r.findings().error(r.at_of("capacity"), Finding::new("`capacity` is too small a number"));
        return None;
    }
    let (metric, capacity, utilization) = (metric?, capacity?, utilization?);
    Some(Objective { metric, capacity, utilization, coverage, headroom_max, tz, events })
}

/// `events = [ { name = "month-end", cron = "0 20 24 * *", for = "7d" } ]`.
fn read_events(r: &mut Reader<'_>, tz: &TimeZone) -> Box<[CalendarEvent]> {
    let rows = r.rows("events");
    if rows.len() > EVENTS_MAX {
        r.findings().error(r.at_of("events"), Finding::new(format!("more than {EVENTS_MAX} `events` of one rule")));
    }
    let mut events: Vec<(CalendarEvent, At)> = Vec::new();
    for mut row in rows.into_iter().take(EVENTS_MAX) {
        let name = row.need_or("name", units::name, Some("what decisions call it: name = \"month-end\""));
        let name_at = row.at_of("name");
        let (cron, closes) = schedule::read_times(&mut row, "an event");
        let own = row.take("tz", schedule::read_tz);
        let (findings, at) = (row.findings(), row.at());
        let defined = ["cron", "until", "for", "tz"].iter().fold(FNV.0, |hash, key| {
            let text = row.whole().get(key).and_then(|entry| entry.node.text().cloned());
            text.iter()
                .flat_map(|text| text.bytes())
                .chain([0])
                .fold(hash, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(FNV.1))
        });
        row.finish();
        let (Some(name), Some(cron), Some(closes)) = (name, cron, closes) else { continue };
        if let Some((_, first)) = events.iter().find(|(event, _)| *event.name == *name) {
            let found = Finding::new(format!("event `{name}` is there twice")).related(*first, "the first one is here");
            findings.error(name_at, found);
            continue;
        }
        let tz = own.unwrap_or_else(|| tz.clone());
        if schedule::reopens(&cron, &closes) {
            let found = Finding::new(format!("event `{name}` opens again before it has closed"));
            findings.error(at, found.hint("what is always open is no event: give it a shorter `for`"));
            continue;
        }
        events.push((CalendarEvent { name: name.as_ref().into(), cron, closes, tz, defined }, name_at));
    }
    events.into_iter().map(|(event, _)| event).collect()
}

/// A number, or nothing when it is to be learned.
fn read_capacity(node: &Node) -> Result<Option<f64>, Fault> {
    let learn = "write capacity = \"learn\" with learn_from = \"cpu\", or the work one instance can do at 100 %";
    match &node.value {
        Value::Text(text) if text.as_ref() == "learn" => Ok(None),
        Value::Text(text) if text.trim().parse::<f64>().is_err() => {
            Err(Fault::new(format!("must be a number or \"learn\", not \"{}\"", units::cut(text))).hint(learn))
        }
        _ => units::positive(node).map(Some),
    }
}

fn read_learn_from(r: &mut Reader<'_>, told: Option<Option<f64>>, metrics: &Drafts) -> Option<InstanceCapacity> {
    let key = "learn_from";
    let from = r.take(key, |node| metrics.find(node, false));
    match (told?, r.has(key)) {
        (Some(told), false) => Some(InstanceCapacity::Told(told)),
        (Some(told), true) => {
            let found = Finding::new("`learn_from` has no effect on a `capacity` that is told");
            let found = found.related(r.at_of("capacity"), "`capacity` is here");
            r.findings().error(r.at_of(key), found.hint("write capacity = \"learn\", or remove `learn_from`"));
            Some(InstanceCapacity::Told(told))
        }
        (None, false) => {
            let found =
                Finding::new("`learn_from` is missing: `capacity` is to be learned, and nothing says from what");
            r.lacks_at(
                r.at_of("capacity"),
                &[key],
                found.hint("name the metric of the instances' average utilization: learn_from = \"cpu\""),
            );
            None
        }
        (None, true) => {
            let from = from?;
            if let Some((Unit::Count | Unit::Seconds, _)) = metrics.unit(from) {
                let found = Finding::new("`learn_from` needs the instances' average utilization, which is a share");
                let hint = "give the metric unit = \"ratio\" (0 to 1) or \"percent\", or name another one";
                r.findings().error(r.at_of(key), found.hint(hint));
                return None;
            }
            Some(InstanceCapacity::Learned { from })
        }
    }
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
