//! A backtest's outcome as text for people and as JSON for programs.

use super::super::Out;
use super::super::table::Table;
use policies::policy::units::duration_text;
use policies::text::Time;
use serde::Serialize;
use skala::backtest::{Backtest, Outcome, RivalOutcome, Score};
use std::io::Write;
use std::time::Duration;

/// The outcome for programs. Its keys are stable; the score's own stand beside the others.
#[derive(Debug, Serialize)]
pub struct Json<'a> {
    fleet: &'a str,
    /// The first step and the end of the last, in seconds.
    from: f64,
    to: f64,
    /// The first step that is scored, in seconds.
    scored_from: f64,
    step_s: f64,
    steps: usize,
    missing_readings: usize,
    /// Scored steps in which more is needed than the fleet's max.
    steps_above_max: usize,
    /// Metrics without a series.
    unfed: Vec<&'a str>,
    #[serde(flatten)]
    score: Score,
    rival_target: f64,
    rivals: Vec<JsonRival>,
}

#[derive(Debug, Serialize)]
struct JsonRival {
    name: &'static str,
    /// What it was told to keep; null where it has no such setting.
    target: Option<f64>,
    /// The target was chosen in hindsight.
    tuned: bool,
    #[serde(flatten)]
    score: Score,
}

impl<'a> Json<'a> {
    /// An outcome.
    pub fn new(backtest: &'a Backtest, outcome: &Outcome, rival_target: f64) -> Self {
        let scene = backtest.scene();
        let rivals = outcome.rivals.iter();
        Self {
            fleet: &backtest.policy().id,
            from: scene.time(0).as_secs_f64(),
            to: scene.time(scene.steps()).as_secs_f64(),
            scored_from: scene.time(scene.first_scored()).as_secs_f64(),
            step_s: scene.model.step.as_secs_f64(),
            steps: scene.steps(),
            missing_readings: scene.load.missing(),
            steps_above_max: scene.above_max(),
            unfed: backtest.unfed(),
            score: outcome.score,
            rival_target,
            rivals: rivals.map(rival).collect(),
        }
    }
}

fn rival(one: &RivalOutcome) -> JsonRival {
    JsonRival { name: one.rival.name(), target: one.target, tuned: one.tuned, score: one.score }
}

/// Writes an outcome for people.
///
/// # Errors
/// The writer's own.
pub fn text(backtest: &Backtest, outcome: &Outcome, out: &mut Out) -> std::io::Result<()> {
    let scene = backtest.scene();
    let steps = |count: usize| duration_text(scene.model.step * u32::try_from(count).unwrap_or(u32::MAX));
    writeln!(
        out,
        "{}: {} from {} to {}, {} steps of {}; the first {} are not scored",
        backtest.policy().id,
        steps(scene.steps()),
        Time(scene.time(0)),
        Time(scene.time(scene.steps())),
        scene.steps(),
        steps(1),
        steps(scene.first_scored()),
    )?;
    match scene.load.missing() {
        0 => {}
        1 => writeln!(out, "1 reading of the load is missing")?,
        missing => writeln!(out, "{missing} readings of the load are missing")?,
    }
    if scene.above_max() > 0 {
        let above = steps(scene.above_max());
        writeln!(out, "for {above} more is needed than the fleet's max of {}: no scaler can help there", scene.max)?;
    }
    let mut scores = vec![("skala".to_owned(), outcome.score)];
    scores.extend(outcome.rivals.iter().map(|one| (named(one), one.score)));
    writeln!(out)?;
    costs(&scores).write("", out)?;
    writeln!(out)?;
    profile(&scores).write("", out)?;
    let note = "\nSHORT is the share of the time with too few instances, LACK what was missing of what was needed. Tuned is an \
        alternative at\nthe target, chosen in hindsight, that is cheapest while it is short no more often than skala.";
    writeln!(out, "{note}")
}

fn named(one: &RivalOutcome) -> String {
    let target = one.target.map(|target| format!(" {:.0} %", target * 100.0)).unwrap_or_default();
    format!("{}{target}{}", one.rival.name(), if one.tuned { ", tuned" } else { "" })
}

fn costs(scores: &[(String, Score)]) -> Table {
    let header = ["", "SHORT", "LACK", "LONGEST", "HOURS", "COST", "OVER-COST", "CHANGES", "CHANGES/DAY", "STARTS"];
    let mut table = Table::new(&header);
    for (name, score) in scores {
        table.row([
            name.clone(),
            format!("{:.2} %", score.tau_u),
            format!("{:.2} %", score.lack_pct),
            duration_text(Duration::from_secs_f64(score.longest_shortage_s)),
            format!("{:.1}", score.instance_hours),
            format!("{:.2}", score.cost),
            score.over_cost_pct.map_or("-".into(), |over| format!("{over:+.1} %")),
            score.changes.to_string(),
            format!("{:.1}", score.changes_per_day),
            score.instance_starts.to_string(),
        ]);
    }
    table
}

fn profile(scores: &[(String, Score)]) -> Table {
    let mut table = Table::new(&["", "theta_U", "theta_O", "tau_U", "tau_O", "upsilon", "sigma"]);
    for (name, score) in scores {
        let metrics = [score.theta_u, score.theta_o, score.tau_u, score.tau_o, score.upsilon, score.sigma];
        table.row([name.clone()].into_iter().chain(metrics.map(|metric| format!("{metric:.2}"))));
    }
    table
}
