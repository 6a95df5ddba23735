//! A rule of kind `schedule`: when it opens and closes, in whose time, and the bounds while it is open.

use super::diagnostic::Finding;
use super::reader::{Fault, Reader, nearest};
use super::tree::Node;
use super::{Closes, Schedule, units};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use std::time::Duration;

/// A schedule open for longer than this is a setting, not a schedule.
const FOR_MAX: Duration = Duration::from_secs(366 * 86_400);

pub(super) fn read(r: &mut Reader<'_>) -> Option<Schedule> {
    let (cron, closes) = read_times(r, "a schedule");
    let tz = r.need_or("tz", read_tz, Some("an IANA name, so that 8 o'clock is somebody's: tz = \"Asia/Jakarta\""));
    let lead = r.take("lead", units::up_to_a_day).unwrap_or_default();
    let min = r.take("min", units::capacity);
    let max = r.take("max", units::capacity);
    if !r.has("min") && !r.has("max") {
        let found = Finding::new("a schedule needs `min` or `max`");
        r.lacks(&["min", "max"], found.hint("the fleet's bounds while it is open: min = 40"));
    }
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        let found = Finding::new(format!("the schedule's `min` is {min}, above its `max` of {max}"));
        r.findings().error(r.at_of("min"), found.related(r.at_of("max"), "`max` is here"));
    }
    Some(Schedule { cron: cron?, closes: closes?, tz: tz?, lead, min, max })
}

/// When it opens and closes again.
pub(super) fn read_times(r: &mut Reader<'_>, what: &str) -> (Option<Cron>, Option<Closes>) {
    let cron = r.need_or("cron", read_cron, Some("minute hour day month weekday: cron = \"0 8 * * 1-5\""));
    let until = r.take("until", read_cron);
    let lasts = r.take("for", units::duration(Duration::from_secs(60)..=FOR_MAX));
    match (r.has("until"), r.has("for")) {
        (true, true) => {
            let found = Finding::new(format!("{what} has `until` or `for`, not both"));
            r.findings().error(r.at_of("for"), found.related(r.at_of("until"), "`until` is here"));
        }
        (false, false) => {
            let found = Finding::new(format!("{what} needs `until` or `for`: it must close again"));
            r.lacks(&["until", "for"], found.hint("until = \"0 18 * * 1-5\", or for = \"10h\""));
        }
        _ => {}
    }
    (cron, until.map(Closes::Until).or(lasts.map(Closes::After)))
}

fn read_cron(node: &Node) -> Result<Cron, Fault> {
    let text = units::text(node)?;
    let wanted = "minute hour day month weekday, such as \"0 8 * * 1-5\"";
    let fields = text.split_whitespace().count();
    if fields != 5 || text.len() > 256 {
        let fault = Fault::new(format!("must be a cron expression of 5 fields, not {fields}"));
        return Err(fault.hint(wanted));
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Optional).build();
    let cron = parser
        .parse(&text)
        .map_err(|error| Fault::new(format!("is not a cron expression: {}", plain(&error.to_string()))).hint(wanted))?;
    // Any date will do: what does not come within the years after it never comes.
    let from = jiff::civil::date(2024, 1, 1).at(0, 0, 0, 0).to_zoned(TimeZone::UTC);
    match from.map(|from| cron.find_next_occurrence(&from, true)) {
        Ok(Ok(_)) => Ok(cron),
        _ => Err(Fault::new("never comes: there is no such date")),
    }
}

/// Whether it opens again before it has closed, by its first times from 2024 on.
pub(super) fn reopens(cron: &Cron, closes: &Closes) -> bool {
    let from = jiff::civil::date(2024, 1, 1).at(0, 0, 0, 0).to_zoned(TimeZone::UTC).ok();
    let opens = from.and_then(|from| cron.find_next_occurrence(&from, true).ok());
    let again = opens.as_ref().and_then(|opens| cron.find_next_occurrence(opens, false).ok());
    let (Some(opens), Some(again)) = (opens, again) else { return false };
    let closed = match closes {
        Closes::After(after) => {
            jiff::SignedDuration::try_from(*after).ok().and_then(|after| opens.checked_add(after).ok())
        }
        Closes::Until(until) => until.find_next_occurrence(&opens, false).ok(),
    };
    closed.is_none_or(|closed| closed > again)
}

/// The library's words without its own names.
fn plain(message: &str) -> String {
    let message = message.rsplit(": ").next().unwrap_or(message).replace("CronPattern contains", "it contains");
    units::cut(message.trim_end_matches('.'))
}

pub(super) fn read_tz(node: &Node) -> Result<TimeZone, Fault> {
    let text = units::text(node)?;
    // The bundled zones only: the same policy means the same on every machine.
    let zones = TimeZoneDatabase::bundled();
    if text.len() <= 64
        && let Ok(zone) = zones.get(&text)
    {
        return Ok(zone);
    }
    let fault =
        Fault::new(format!("must be an IANA time zone such as \"Asia/Jakarta\", not \"{}\"", units::cut(&text)));
    let names: Vec<String> = zones.available().map(|name| name.to_string()).collect();
    Err(match nearest(&text, names.iter().map(String::as_str)) {
        Some(near) => fault.hint(format!("did you mean \"{near}\"?")),
        None => fault,
    })
}
