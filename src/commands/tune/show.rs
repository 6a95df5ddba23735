//! A search's outcome as text for people and as JSON for programs.

use super::super::Out;
use super::super::table::Table;
use super::Picked;
use policies::policy::units::duration_text;
use policies::text::Time;
use serde::Serialize;
use skala::backtest::tune::{Candidate, Tuned, Tuning};
use skala::backtest::{Scene, Score};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

/// The outcome for programs. Its keys are stable; a score's are those of a backtest.
#[derive(Debug, Serialize)]
pub struct Json<'a> {
    fleet: &'a str,
    /// The first step that is scored, the first that judges, and the end, in seconds.
    trained_from: f64,
    judged_from: f64,
    to: f64,
    /// Steps of either part in which the load is unknown: they are not scored.
    trained_unknown_steps: usize,
    judged_unknown_steps: usize,
    replays: usize,
    settings: Vec<JsonSetting>,
    /// Settings that cannot be searched, and why.
    left_out: BTreeMap<&'a str, &'static str>,
    /// From least short, on the part where that is worse, to cheapest; `number` is what --pick takes.
    front: Vec<JsonPoint>,
    present: JsonPoint,
    /// The cheapest point that is at least as good as the present setting in both, on both parts.
    beaten_by: Option<usize>,
    picked: Option<JsonPicked<'a>>,
}

#[derive(Debug, Serialize)]
struct JsonSetting {
    name: String,
    /// As TOML.
    now: String,
    from: String,
    to: String,
    /// `FILE:LINE`, `inherited` or `default`.
    written: String,
}

#[derive(Debug, Serialize)]
struct JsonPoint {
    /// Null: not on the front.
    number: Option<usize>,
    present: bool,
    /// Setting to value, as TOML.
    changes: BTreeMap<String, String>,
    trained: Score,
    judged: Score,
}

#[derive(Debug, Serialize)]
struct JsonPicked<'a> {
    number: usize,
    diff: &'a str,
    /// Tests of the policies that expect the present setting.
    failing_tests: &'a [String],
}

impl<'a> Json<'a> {
    /// An outcome.
    pub fn new(
        scene: &Scene,
        tuning: &'a Tuning<'_>,
        tuned: &Tuned,
        picked: Option<&'a Picked>,
        fleet: &'a str,
    ) -> Self {
        let (first, split, end) = tuning.parts();
        let point = |one: &Candidate, number: Option<usize>| JsonPoint {
            number,
            present: *one == tuned.present,
            changes: tuning.changes(one).into_iter().collect(),
            trained: one.trained,
            judged: one.judged,
        };
        let setting = |one: skala::backtest::tune::Searched| JsonSetting {
            name: one.name,
            now: one.now,
            from: one.ladder.0,
            to: one.ladder.1,
            written: one.written,
        };
        let picked = picked.map(|one| JsonPicked { number: one.number, diff: &one.diff, failing_tests: &one.failing });
        Self {
            fleet,
            trained_from: scene.time(first).as_secs_f64(),
            judged_from: scene.time(split).as_secs_f64(),
            to: scene.time(end).as_secs_f64(),
            trained_unknown_steps: scene.unknown(first..split),
            judged_unknown_steps: scene.unknown(split..end),
            replays: tuned.replays,
            settings: tuning.searched().into_iter().map(setting).collect(),
            left_out: tuning.left_out().iter().map(|(name, why)| (name.as_str(), *why)).collect(),
            front: tuned.front.iter().enumerate().map(|(at, one)| point(one, Some(at + 1))).collect(),
            present: point(&tuned.present, tuned.on_front.map(|at| at + 1)),
            beaten_by: tuned.beaten_by.map(|at| at + 1),
            picked,
        }
    }
}

/// Writes an outcome for people.
///
/// # Errors
/// The writer's own.
pub fn text(fleet: &str, scene: &Scene, tuning: &Tuning<'_>, tuned: &Tuned, out: &mut Out) -> std::io::Result<()> {
    let (first, split, end) = tuning.parts();
    let steps = |count: usize| duration_text(scene.model.step * u32::try_from(count).unwrap_or(u32::MAX));
    writeln!(
        out,
        "{fleet}: {} from {} to {}; searched on the first {}, of which {} are not scored, and judged on the last {}\n",
        steps(end),
        Time(scene.time(0)),
        Time(scene.time(end)),
        steps(split),
        steps(first),
        steps(end - split),
    )?;
    let unknown = (scene.unknown(first..split), scene.unknown(split..end));
    if unknown != (0, 0) {
        let (searched, judged) = (steps(unknown.0), steps(unknown.1));
        writeln!(out, "the load is unknown for {searched} of the first part and {judged} of the last: not scored\n")?;
    }
    let mut table = Table::new(&["SEARCHED", "NOW", "FROM", "TO", "WRITTEN"]);
    for one in tuning.searched() {
        table.row([one.name, one.now, one.ladder.0, one.ladder.1, one.written]);
    }
    table.write("", out)?;
    writeln!(out)?;
    points(tuning, tuned).write("", out)?;
    let more = match tuned.dropped {
        0 => String::new(),
        1 => " Another point was on the searched part's front only.".into(),
        more => format!(" {more} more points were on the searched part's front only."),
    };
    writeln!(
        out,
        "\nEach number is the judging part's, and in brackets that of the part that was searched, in {} replays. The front is of \
         SHORT, the larger\nof the two, against COST/DAY on the judging part.{more}",
        tuned.replays
    )?;
    writeln!(out, "{}", verdict(tuned))
}

fn points(tuning: &Tuning<'_>, tuned: &Tuned) -> Table {
    let header = ["", "SHORT", "LACK", "LONGEST", "COST/DAY", "CHANGES/DAY", "CHANGED"];
    let mut table = Table::new(&header);
    let both =
        |one: &Candidate, shown: fn(&Score) -> String| format!("{} ({})", shown(&one.judged), shown(&one.trained));
    let mut row = |number: String, one: &Candidate| {
        let changes = tuning.changes(one);
        let changed = changes.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ");
        table.row([
            number,
            both(one, |score| format!("{:.2} %", score.tau_u)),
            both(one, |score| format!("{:.2} %", score.lack_pct)),
            both(one, |score| duration_text(Duration::from_secs_f64(score.longest_shortage_s))),
            both(one, |score| format!("{:.2}", score.cost / score.days)),
            both(one, |score| format!("{:.1}", score.changes_per_day)),
            if changed.is_empty() { "nothing: the present setting".into() } else { changed },
        ]);
    };
    for (at, one) in tuned.front.iter().enumerate() {
        let mark = if tuned.on_front == Some(at) { "*" } else { "" };
        row(format!("{}{mark}", at + 1), one);
    }
    if tuned.on_front.is_none() {
        row("*".into(), &tuned.present);
    }
    table
}

/// How the present setting stands.
fn verdict(tuned: &Tuned) -> String {
    let Some(better) = tuned.beaten_by.and_then(|at| Some((at + 1, tuned.front.get(at)?))) else {
        return match tuned.on_front {
            Some(_) => "The present setting (*) is on the front: nothing found is both cheaper and less short.".into(),
            None => {
                "The present setting (*) is not on the front, and nothing found is as good as it on both parts.".into()
            }
        };
    };
    let (number, one) = better;
    let (now, then) = (&tuned.present.judged, &one.judged);
    let saved = 100.0 * (1.0 - then.instance_hours / now.instance_hours.max(f64::MIN_POSITIVE));
    let points = now.tau_u - then.tau_u;
    let short = match points < 0.005 {
        true => "short no more often".to_owned(),
        false => format!("short for {points:.2} points less of the time"),
    };
    format!(
        "The present setting (*) is beaten by {number} on both parts: on the judging part it is {saved:.1} % cheaper, and {short}."
    )
}
