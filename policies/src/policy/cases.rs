//! `[[test]]` tables: readings in, expected desired and hold out.

use super::diagnostic::{At, Finding, Findings};
use super::reader::{Fault, Reader, nearest};
use super::tree::{Node, Value};
use super::{Policy, PolicyTest, TestCycle, TestReadings, units};
use crate::trace::HoldReason;
use contract::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Most cycles of one test, repeated ones counted each time.
pub const CYCLES_MAX: u32 = 50_000;
const TESTS_MAX: usize = 10_000;
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// When a test begins that does not say: any time, as long as it is always the same.
const START_DEFAULT: Timestamp = Timestamp::from_secs(1_700_000_000);

/// Reads the tables; `names` are the fleets that exist, readable or not.
pub(super) fn read(
    findings: &Findings<'_>,
    tables: &[Reader<'_>],
    fleets: &[Arc<Policy>],
    names: &[&str],
) -> Vec<PolicyTest> {
    let mut seen: BTreeMap<Arc<str>, At> = BTreeMap::new();
    let mut tests = Vec::new();
    if tables.len() > TESTS_MAX {
        let at = tables.get(TESTS_MAX).map_or_else(At::default, Reader::at);
        findings.error(at, Finding::new(format!("more than {TESTS_MAX} tests")));
    }
    for table in tables.iter().take(TESTS_MAX) {
        let before = findings.errors();
        let mut r = Reader::new(findings, table.at(), table.whole());
        let name = r.need_or("name", units::line(200), Some("what it shows: name = \"load doubles\""));
        let fleet = r.need("fleet", |node| {
            let name = units::text(node)?;
            if names.contains(&name.as_ref()) {
                return Ok(name);
            }
            let fault = Fault::new(format!("names `{}`, and there is no such fleet", units::cut(&name)));
            Err(match nearest(&name, names.iter().copied()) {
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None => fault,
            })
        });
        if let (Some(name), at) = (&name, r.at_of("name"))
            && let Some(first) = seen.insert(Arc::clone(name), at)
        {
            findings.error(
                at,
                Finding::new(format!("test `{name}` is there twice")).related(first, "the first one is here"),
            );
        }
        let policy = fleet.as_ref().and_then(|id| fleets.iter().find(|policy| policy.id.as_ref() == id.as_ref()));
        let start = r.take("start", read_start).unwrap_or(START_DEFAULT);
        let cycles = read_cycles(&mut r, policy.map(Arc::as_ref));
        let (place, whole) = (findings.place(r.at()), !r.is_partial());
        r.finish();
        if let (Some(name), Some(fleet)) = (name, fleet)
            && whole
            && findings.errors() == before
        {
            tests.push(PolicyTest { name: name.as_ref().into(), fleet: fleet.as_ref().into(), start, cycles, place });
        }
    }
    tests
}

fn read_cycles(r: &mut Reader<'_>, policy: Option<&Policy>) -> Vec<TestCycle> {
    let hint = "a [[test.cycle]] with `at`, `current`, `readings` and what is expected: `desired`, `hold`";
    if !r.has("cycle") {
        r.lacks(&["cycle"], Finding::new("`cycle` is missing").hint(hint));
    }
    let before = r.findings().errors();
    let mut cycles: Vec<TestCycle> = Vec::new();
    let mut count = 0_u128;
    for (index, mut cycle) in r.list("cycle").into_iter().enumerate() {
        let read = read_cycle(&mut cycle, policy, index == 0);
        let findings = cycle.findings();
        if let Some(read) = &read {
            let last = cycles.last().map(|last| last.until.unwrap_or(last.at));
            if last.is_some_and(|last| read.at <= last) {
                let found = Finding::new("`at` must be later than the cycle before");
                findings.error(cycle.at_of("at"), found);
            }
            let interval = policy.map_or(super::INTERVAL_DEFAULT, |policy| policy.interval).as_millis().max(1);
            count += 1 + read.until.map_or(0, |until| until.saturating_sub(read.at).as_millis() / interval);
        }
        if count > u128::from(CYCLES_MAX) {
            findings.error(cycle.at(), Finding::new(format!("more than {CYCLES_MAX} cycles in one test")));
            return cycles;
        }
        cycle.finish();
        cycles.extend(read);
    }
    if !cycles.is_empty()
        && !r.is_partial()
        && r.findings().errors() == before
        && cycles.iter().all(|cycle| cycle.desired.is_none() && cycle.hold.is_none())
    {
        r.findings().error(r.at(), Finding::new("the test expects nothing").hint("say `desired` or `hold` in a cycle"));
    }
    cycles
}

fn read_cycle(r: &mut Reader<'_>, policy: Option<&Policy>, first: bool) -> Option<TestCycle> {
    let times = || units::duration(Duration::ZERO..=LONGEST);
    let at = r.need_or("at", times(), Some("the time since the test's start: at = \"0s\""));
    let until = r.take("until", times());
    if let (Some(at), Some(until)) = (at, until)
        && until <= at
    {
        r.findings().error(r.at_of("until"), Finding::new("`until` must be later than `at`"));
    }
    let current = r.take("current", units::capacity);
    if first && !r.has("current") {
        let found = Finding::new("the first cycle needs `current`: what the cloud is asked to hold");
        r.lacks(&["current"], found.hint("current = 4"));
    }
    let serving = r.take("serving", units::capacity);
    let readings = r.take("readings", |node| read_readings(node, policy)).unwrap_or_default();
    let desired = r.take("desired", units::capacity);
    let hold = r.take("hold", read_hold);
    let place = r.findings().place(r.at());
    Some(TestCycle { at: at?, until, current, serving, readings, desired, hold, place })
}

fn read_readings(node: &Node, policy: Option<&Policy>) -> Result<TestReadings, Fault> {
    let example = "readings = { rps = 1320.0, cpu = \"timeout\" }";
    let Value::Table(table) = &node.value else {
        return Err(Fault::new(format!("must be a table of metrics, not {}", node.value.kind())).hint(example));
    };
    let mut readings = Vec::new();
    for entry in &table.entries {
        if let Some(policy) = policy
            && !policy.metrics.iter().any(|metric| metric.name.as_ref() == entry.key.as_ref())
        {
            let names: Vec<&str> = policy.metrics.iter().map(|metric| metric.name.as_ref()).collect();
            let fault = Fault::new(format!("has `{}`, which no rule of the fleet uses", units::cut(&entry.key)));
            return Err(fault.at(entry.at).hint(format!("its metrics: {}", names.join(", "))));
        }
        let reading = match &entry.node.value {
            Value::Integer(number) => Ok(*number as f64),
            // NaN and infinities are allowed here: what becomes of them is worth a test.
            Value::Float(number) => Ok(*number),
            Value::Text(text) => Err(text.as_ref().into()),
            other => {
                let fault =
                    Fault::new(format!("must be a number or the reason why there is none, not {}", other.kind()));
                return Err(fault.within(&entry.key).at(entry.node.at).hint(example));
            }
        };
        readings.push((entry.key.as_ref().into(), reading));
    }
    Ok(readings)
}

fn read_hold(node: &Node) -> Result<Box<str>, Fault> {
    let text = units::text(node)?;
    if text.as_ref() == "none" {
        return Ok("".into());
    }
    if HoldReason::ALL.iter().any(|reason| reason.word() == text.as_ref()) {
        return Ok(text.as_ref().into());
    }
    let words: Vec<&str> = HoldReason::ALL.iter().map(|reason| reason.word()).collect();
    let fault = Fault::new(format!("must be \"none\" or a hold reason, not \"{}\"", units::cut(&text)));
    Err(match nearest(&text, words.iter().copied()) {
        Some(near) => fault.hint(format!("did you mean \"{near}\"?")),
        None => fault.hint(format!("the reasons: {}", words.join(", "))),
    })
}

fn read_start(node: &Node) -> Result<Timestamp, Fault> {
    let example = "start = 2026-12-24T19:50:00+07:00";
    match &node.value {
        Value::Datetime(text) => {
            let time: jiff::Timestamp = text
                .parse()
                .map_err(|_| Fault::new("must be a date and time with its offset from UTC").hint(example))?;
            Ok(Timestamp(time.as_microsecond()))
        }
        other => Err(Fault::new(format!("must be a date and time, not {}", other.kind())).hint(example)),
    }
}
