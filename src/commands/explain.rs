//! `skala explain`: why a fleet was decided as it was, step by step, replayed through the core of today.

use super::client::{Asked, Daemon, escaped};
use super::table::{Table, known, plain};
use super::{Exit, Out, duration, usage};
use anyhow::{Context, bail};
use contract::Timestamp;
use serde_json::Value;
use skala::api::answers::span;
use skala::api::{Explained, Replay, Wanted, explain};
use skala::clock::{Clock, SystemClock};
use skala::store::sqlite::SqliteStore;
use skala::store::url::StoreUrl;
use std::io::{self, Write};
use std::time::Duration;

/// Say why a fleet was decided as it was; works with the daemon down too
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// The fleet
    fleet: String,
    /// The decision in force then: 2026-01-31T08:00:00Z, seconds since the epoch, or 10m for ten minutes ago
    #[arg(long, value_name = "TIME", value_parser = when)]
    at: Option<When>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

/// A time as a person says it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    /// A point in time.
    At(Timestamp),
    /// So long ago, by the daemon's clock.
    Ago(Duration),
}

fn when(text: &str) -> Result<When, String> {
    let wrong = || format!("`{text}` is no time; write 2026-01-31T08:00:00Z, or 10m for ten minutes ago");
    if let Ok(ago) = duration(text) {
        return Ok(When::Ago(ago));
    }
    if let Ok(secs) = text.parse::<f64>() {
        return Timestamp::from_secs_f64(secs).map(When::At).ok_or_else(wrong);
    }
    let at: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
    Ok(When::At(Timestamp(at.as_microsecond())))
}

impl Explain {
    /// Asks the daemon, or its journal when there is no daemon.
    pub fn run(self, out: &mut Out) -> anyhow::Result<Exit> {
        let time = match self.at {
            None => String::new(),
            Some(When::At(at)) => format!("&at={at}"),
            Some(When::Ago(ago)) => format!("&ago_secs={}", ago.as_secs()),
        };
        let path = format!("/v1/explain?fleet={}{time}", escaped(&self.fleet));
        let explained: Explained = match self.daemon.try_get(&path)? {
            Asked::Answer(explained) => explained,
            Asked::Down(why) => self.offline(&why)?,
        };
        if self.json {
            serde_json::to_writer_pretty(&mut *out, &explained)?;
            writeln!(out)?;
        } else {
            print(&explained, out)?;
        }
        Ok(Exit::Ok)
    }

    /// Reads the journal itself. The policies are those on disk now, as a daemon that starts would take them.
    fn offline(&self, why: &anyhow::Error) -> anyhow::Result<Explained> {
        let url = self.daemon.store_url()?;
        let path = match url.parse::<StoreUrl>() {
            Ok(StoreUrl::Sqlite(path)) => path,
            Ok(StoreUrl::Memory) => bail!("{why:#}, and a store in memory ended with its daemon"),
            Err(error) => {
                return Err(super::invalid(format!("{}: [store] url: {error}", self.daemon.config.display())));
            }
        };
        let store = SqliteStore::open_read_only(&path)
            .with_context(|| format!("{why:#}, and its store {} cannot be read", path.display()))?;
        let at = self.at.map(|when| match when {
            When::At(at) => at,
            When::Ago(ago) => SystemClock::new().now().before(ago),
        });
        let set = super::policies_of(&self.daemon.policies()?).unwrap_or_default();
        let wanted = Wanted { fleet: self.fleet.as_str().into(), at };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let explained = runtime.block_on(explain(&store, &set, wanted))?;
        let nothing = || usage(format!("the journal has no decision of fleet `{}` at that time", self.fleet));
        explained.ok_or_else(nothing)
    }
}

fn print(explained: &Explained, out: &mut Out) -> io::Result<()> {
    let decision = &explained.decision;
    let (current, desired) = (number(&decision["current"]), number(&decision["desired"]));
    let what = if current == desired { format!("kept at {current}") } else { format!("{current} -> {desired}") };
    writeln!(out, "{}: {what} at {}", plain(&explained.fleet), utc(explained.at))?;
    if explained.count > 1 {
        writeln!(out, "the same until {}, {} decisions", utc(explained.until), explained.count)?;
    }
    let limits = &decision["limits"];
    writeln!(
        out,
        "serving {}, min {}, max {} (by {})",
        number(&decision["serving"]),
        number(&limits["min"]),
        number(&limits["max"]),
        text(&limits["by"])
    )?;
    hold(&decision["hold"], out)?;
    recommendations(decision, out)?;
    trace(explained, out)?;
    places(decision, out)?;
    leaves(decision, out)?;
    inputs(explained, out)?;
    replay(explained, out)
}

/// How a fleet of several groups is laid out over them.
fn places(decision: &Value, out: &mut Out) -> io::Result<()> {
    let mut table = Table::new(&["GROUP", "BEFORE", "AFTER", "WHY"]);
    let mut any = false;
    for group in list(&decision["groups"]) {
        for step in list(&group["steps"]) {
            any = true;
            let name = format!("{}/{}", text(&group["provider"]), text(&group["group"]));
            table.row([name, number(&step["before"]), number(&step["after"]), text(&step["why"])]);
        }
    }
    if !any {
        return Ok(());
    }
    writeln!(out)?;
    table.write("  ", out)
}

/// Who leaves, and why it was chosen.
fn leaves(decision: &Value, out: &mut Out) -> io::Result<()> {
    for group in list(&decision["groups"]) {
        let name = format!("{}/{}", text(&group["provider"]), text(&group["group"]));
        for (list_of, what) in [("terminate", "is terminated"), ("drain", "drains before it is terminated")] {
            for instance in list(&group[list_of]) {
                let instance = text(instance);
                let why = text(&group["leaves"][instance.as_str()]);
                let why = if why.is_empty() { why } else { format!(": {why}") };
                writeln!(out, "{name}: {} {what}{why}", instance)?;
            }
        }
        let held = group["held"].as_u64().unwrap_or(0);
        if held > 0 {
            writeln!(out, "{name}: {held} that drain are held by the cloud beside desired")?;
        }
        for instance in list(&group["take_back"]) {
            writeln!(out, "{name}: {} drains and is wanted again", text(instance))?;
        }
    }
    Ok(())
}

fn hold(hold: &Value, out: &mut Out) -> io::Result<()> {
    if hold.is_null() {
        return Ok(());
    }
    let reason = text(&hold["reason"]);
    let meaning = policies::trace::HoldReason::ALL.iter().find(|known| known.word() == reason);
    let meaning = meaning.map_or("", |known| known.meaning());
    write!(out, "hold: {reason}: {meaning} Governed by {}", text(&hold["setting"]))?;
    match hold["line"].as_u64() {
        Some(line) if line > 0 => writeln!(out, " ({}:{line}).", text(&hold["file"])),
        _ => writeln!(out, "."),
    }
}

fn recommendations(decision: &Value, out: &mut Out) -> io::Result<()> {
    writeln!(out, "\nRecommendations")?;
    let mut table = Table::new(&["RULE", "SAYS", "WHY"]);
    for one in list(&decision["recommendations"]) {
        let (says, why) = match (one.get("value"), one.get("abstain"), one.get("unknown")) {
            (Some(value), ..) => {
                let only = if one["out_only"] == true { " (out only)" } else { "" };
                (format!("{}{only}", number(value)), text(&one["why"]))
            }
            (None, Some(why), _) => ("abstains".into(), text(why)),
            (None, None, why) => ("unknown".into(), why.map(text).unwrap_or_default()),
        };
        table.row([text(&one["rule"]), says, why]);
    }
    table.write("  ", out)
}

fn trace(explained: &Explained, out: &mut Out) -> io::Result<()> {
    writeln!(out, "\nTrace")?;
    let replayed = !explained.without.is_empty();
    let mut table = Table::new(if replayed {
        &["STAGE", "BEFORE", "AFTER", "WITHOUT IT", "WHY"]
    } else {
        &["STAGE", "BEFORE", "AFTER", "WHY"]
    });
    for step in list(&explained.decision["trace"]) {
        let stage = text(&step["stage"]);
        let mut row = vec![stage.clone(), number(&step["before"]), number(&step["after"])];
        if replayed {
            let without = explained.without.iter().find(|without| without.stage == stage);
            row.push(known(without.and_then(|without| without.desired)));
        }
        row.push(text(&step["why"]));
        table.row(row);
    }
    table.write("  ", out)
}

fn inputs(explained: &Explained, out: &mut Out) -> io::Result<()> {
    let facts = &explained.facts;
    if facts.is_null() {
        return Ok(());
    }
    writeln!(out, "\nInputs")?;
    let now = facts["now"].as_f64().unwrap_or(explained.at);
    let mut table = Table::new(&["NAME", "VALUE", "AGE"]);
    for (metric, reading) in facts["readings"].as_object().into_iter().flatten() {
        let age = reading["at"].as_f64().map(|at| span(Duration::try_from_secs_f64(now - at).unwrap_or_default()));
        let value = match (&reading["value"], &reading["values"], &reading["missing"]) {
            (value, _, _) if !value.is_null() => {
                let members = reading["members"].as_f64().map(|members| format!(" of {members} members"));
                format!("{}{}", text(value), members.unwrap_or_default())
            }
            (_, Value::Object(values), _) => format!("one for each of {} instances", values.len()),
            (_, _, missing) => format!("missing: {}", text(missing)),
        };
        table.row([metric.clone(), value, known(age)]);
    }
    for group in list(&facts["groups"]) {
        let name = format!("{}/{}", text(&group["provider"]), text(&group["group"]));
        let value = match group.get("error") {
            Some(error) => format!("unknown: {}", text(error)),
            None => {
                format!(
                    "desired {}, {} instances{}",
                    number(&group["desired"]),
                    list(&group["instances"]).len(),
                    states(group)
                ) + &absent(group)
                    + &troubles(group)
            }
        };
        table.row([name, value, "-".into()]);
    }
    table.write("  ", out)
}

/// `; 2 of the 7 asked for are not there`, where the cloud keeps what was asked for.
fn absent(group: &Value) -> String {
    let alive = |instance: &&Value| matches!(instance["state"].as_str(), Some("pending" | "running"));
    let there = list(&group["instances"]).iter().filter(alive).count() as u64;
    match group["desired"].as_u64() {
        Some(asked) if asked > there => format!("; {} of the {asked} asked for are not there", asked - there),
        _ => String::new(),
    }
}

/// What else the cloud says of a group: `; foreign: scaling policy cpu (it may remove instances); suspended: terminate; launches fail: out_of_capacity in zone:a`.
fn troubles(group: &Value) -> String {
    let word = |value: &Value| if value.is_string() { text(value) } else { text(&value["name"]) };
    let mut said = String::new();
    for what in ["foreign", "suspended"] {
        let named =
            |value: &Value| Some(word(value)).filter(|name| !name.is_empty()).map(|name| name + means(what, value));
        let names: Vec<String> = list(&group[what]).iter().filter_map(named).collect();
        if !names.is_empty() {
            said += &format!("; {what}: {}", names.join(", "));
        }
    }
    if let Some(failure) = list(&group["launch_failures"]).first() {
        said += &format!("; launches fail: {} in {}", text(&failure["kind"]), text(&failure["scope"]));
    }
    said
}

/// What another controller may do: with `foreign = "allow-scale-out"` it decides whether skala may write.
fn means(what: &str, value: &Value) -> &'static str {
    match (what, value.get("removes").and_then(Value::as_bool)) {
        ("foreign", Some(true)) => " (it may remove instances)",
        ("foreign", Some(false)) => " (it only adds)",
        ("foreign", None) => " (it may remove instances, as far as is known)",
        _ => "",
    }
}

/// `: 2 running, 1 pending`.
fn states(group: &Value) -> String {
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for instance in list(&group["instances"]) {
        *counts.entry(text(&instance["state"])).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
    if counts.is_empty() { String::new() } else { format!(": {}", counts.join(", ")) }
}

fn replay(explained: &Explained, out: &mut Out) -> io::Result<()> {
    writeln!(out)?;
    match &explained.replay {
        Replay::Identical => writeln!(
            out,
            "Replayed: the same decision, by engine {} on policies {}.",
            explained.engine, explained.revision
        ),
        Replay::Impossible { why } => writeln!(out, "Not replayed: {}.", plain(why)),
        Replay::Differs { because, decision } => {
            let same = "the engine and the policies are the same, so this is a fault: please report it";
            writeln!(
                out,
                "Replayed: today it would be {} -> {} ({}).",
                number(&decision["current"]),
                number(&decision["desired"]),
                plain(because.as_deref().unwrap_or(same))
            )
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => plain(text),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A capacity; `?` for one that is not known.
fn number(value: &Value) -> String {
    if value.is_null() { "?".into() } else { text(value) }
}

fn utc(secs: f64) -> String {
    let at = Timestamp::from_secs_f64(secs).and_then(|at| jiff::Timestamp::from_microsecond(at.0).ok());
    at.map_or_else(|| secs.to_string(), |at| format!("{at:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_asked_for_and_is_not_there_is_told() {
        let states = ["running", "pending", "terminating", "failed"];
        let instances: Vec<Value> = states.iter().map(|state| json!({"id": "i", "state": state})).collect();
        let of = |desired: Value| absent(&json!({"desired": desired, "instances": instances}));
        assert_eq!(of(json!(5)), "; 3 of the 5 asked for are not there");
        assert_eq!(of(json!(2)), "");
        // A cloud that keeps no desired was asked for nothing that it would owe.
        assert_eq!(of(Value::Null), "");
    }

    #[test]
    fn times() {
        let at = |secs| Ok(When::At(Timestamp::from_secs(secs)));
        assert_eq!(when("10m"), Ok(When::Ago(Duration::from_secs(600))));
        assert_eq!(when("1700000000"), at(1_700_000_000));
        assert_eq!(when("2023-11-14T22:13:20Z"), at(1_700_000_000));
        assert_eq!(when("2023-11-15T05:13:20+07:00"), at(1_700_000_000));
        for text in ["", "yesterday", "2023-11-14", "NaN", "1e300", "-5m"] {
            assert!(when(text).is_err(), "{text}");
        }
        assert_eq!(utc(1_700_000_000.25), "2023-11-14T22:13:20Z");
    }
}
