//! `skala status`: every fleet, what it has, what was decided last and why.

use super::client::Daemon;
use super::table::{Table, known, plain};
use super::{Exit, Out};
use skala::api::answers::{Fleet, Reading, Status as Answer, span};
use std::io::{self, Write};
use std::time::Duration;

/// Show every fleet: what it has, what was decided last and why
#[derive(Debug, clap::Args)]
pub struct Status {
    #[command(flatten)]
    daemon: Daemon,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    /// Prints it.
    pub fn run(self, out: &mut Out) -> anyhow::Result<Exit> {
        let answer: Answer = self.daemon.get("/v1/status")?;
        if self.json {
            serde_json::to_writer_pretty(&mut *out, &answer)?;
            writeln!(out)?;
        } else {
            table(&answer, out)?;
            notes(&answer, out)?;
        }
        Ok(Exit::Ok)
    }
}

fn table(answer: &Answer, out: &mut Out) -> io::Result<()> {
    let mut table = Table::new(&[
        "FLEET", "MODE", "CURRENT", "SERVING", "DESIRED", "MIN", "MAX", "DECIDED", "HOLD", "READINGS", "WHY",
    ]);
    for fleet in &answer.fleets {
        let decided = fleet.decided.map(|at| format!("{} ago", ago(answer.now, at)));
        let readings: Vec<String> = fleet.readings.iter().map(|(metric, reading)| freshness(metric, reading)).collect();
        table.row([
            fleet.fleet.clone(),
            fleet.mode.clone(),
            known(fleet.current),
            known(fleet.serving),
            known(fleet.desired),
            fleet.min.to_string(),
            fleet.max.to_string(),
            known(decided),
            known(fleet.hold.as_ref().map(|hold| &hold.reason)),
            if readings.is_empty() { "-".into() } else { readings.join(", ") },
            fleet.reason.clone(),
        ]);
    }
    table.write("", out)
}

fn freshness(metric: &str, reading: &Reading) -> String {
    match (reading.age_secs, &reading.missing) {
        (Some(age), _) => {
            let age = span(Duration::try_from_secs_f64(age).unwrap_or_default());
            let from = reading.from.as_ref().map_or(String::new(), |from| format!(" from {from}"));
            format!("{metric} {age}{from}{}", if reading.stale { " (stale)" } else { "" })
        }
        (None, missing) => format!("{metric} missing ({})", missing.as_deref().unwrap_or("unknown")),
    }
}

/// What a table cannot hold: who overrides what, what cannot be read, and what is wrong with the daemon itself.
fn notes(answer: &Answer, out: &mut Out) -> io::Result<()> {
    let mut notes = Vec::new();
    if answer.fleets.is_empty() {
        notes.push("no fleets are defined".into());
    }
    if let Some(reason) = &answer.hold_all {
        notes.push(format!("everything is held (hold --all): {reason}"));
    }
    if !answer.lease_held {
        notes.push(format!("another daemon holds the lease and acts: {}", answer.lease_owner));
    }
    if let Some(fault) = &answer.store_fault {
        notes.push(format!("the store takes no decisions: {fault}"));
    }
    if let Some(problem) = answer.reload_problem.as_ref().filter(|_| !answer.last_reload_successful) {
        notes.push(format!("the last reload was refused, policies {} stay in force: {problem}", answer.revision));
    }
    for fleet in &answer.fleets {
        fleet_notes(fleet, answer.now, &mut notes);
    }
    if !notes.is_empty() {
        writeln!(out)?;
    }
    notes.iter().try_for_each(|note| writeln!(out, "{}", plain(note)))
}

fn fleet_notes(fleet: &Fleet, now: f64, notes: &mut Vec<String>) {
    let name = &fleet.fleet;
    if let Some(fault) = &fleet.fault {
        notes.push(format!("{name}: held by a fault of skala itself: {fault}"));
    }
    if let Some(row) = &fleet.r#override {
        notes.push(format!("{name}: {}", row.line(now)));
    }
    for group in &fleet.groups {
        if let Some(why) = &group.unknown {
            // The provider's words mostly begin with the code.
            let why = match &group.trouble {
                Some(text) if text.starts_with(why.as_str()) => text.clone(),
                Some(text) => format!("{why}: {text}"),
                None => why.clone(),
            };
            notes.push(format!("{name}: group {} of {} cannot be observed: {why}", group.group, group.provider));
        }
        let there: u32 = ["pending", "running"].iter().filter_map(|state| group.instances.get(*state)).sum();
        if let Some(asked) = group.current.filter(|asked| *asked > there && group.unknown.is_none()) {
            notes.push(format!("{name}: {} of the {asked} asked of {} are not there", asked - there, group.group));
        }
        if group.draining > 0 {
            notes.push(format!("{name}: {} of {} drain before they are terminated", group.draining, group.group));
        }
    }
    if let Some(hold) = &fleet.hold
        && hold.line > 0
    {
        notes.push(format!("{name}: {} is governed by {} ({}:{})", hold.reason, hold.setting, hold.file, hold.line));
    }
}

fn ago(now: f64, at: f64) -> String {
    span(Duration::try_from_secs_f64(now - at).unwrap_or_default())
}
