//! A report as text for people; `json` for programs.

mod json;

pub use json::Json;

use super::super::Out;
use super::super::table::{Table, plain};
use super::Found;
use policies::policy::units::duration_text;
use policies::text::Time;
use skala::backtest::observed::{Agreement, Difference, Side, last_change};
use skala::backtest::{Score, Supply};
use std::io::Write;
use std::time::Duration;

/// A reason longer than this is cut in text; JSON has all of it.
const WHY_MAX: usize = 140;
/// Modes in which skala itself changes capacity.
const ACTING: [&str; 2] = ["on", "scale-out-only"];

fn below(one: &Agreement) -> f64 {
    100.0 * one.below as f64 / one.steps.max(1) as f64
}

impl Found<'_> {
    fn span(&self, steps: usize) -> String {
        duration_text(self.backtest.scene().model.step * u32::try_from(steps).unwrap_or(u32::MAX))
    }

    fn window_steps(&self) -> usize {
        let steps =
            self.window.end.since(self.window.start).as_micros() / self.backtest.scene().model.step.as_micros().max(1);
        usize::try_from(steps).unwrap_or(usize::MAX)
    }

    fn without_load(&self) -> usize {
        self.window_steps() - self.compared.steps - self.compared.without_supply
    }

    /// Steps before the window whose load is known.
    fn history_steps(&self) -> usize {
        let history = &self.backtest.scene().load.values[..self.steps.start];
        history.iter().filter(|value| value.is_some()).count()
    }

    fn load_name(&self) -> &str {
        let metric = usize::from(self.backtest.scene().model.metric);
        self.policy.metrics.get(metric).map_or("load", |metric| &metric.name)
    }

    fn is_priced(&self) -> bool {
        self.backtest.scene().model.price_per_hour != 1.0
    }
}

/// Writes a report for people: the verdict, the numbers, where they differ most, and what is missing.
///
/// # Errors
/// The writer's own.
pub fn text(found: &Found<'_>, out: &mut Out) -> std::io::Result<()> {
    verdict(found, out)?;
    writeln!(out)?;
    numbers(found).write("", out)?;
    live(found, out)?;
    if !found.compared.moments.is_empty() {
        writeln!(out, "\nWhere they differ most (REAL and SKALA: serving/asked for)")?;
        moments(found).write("  ", out)?;
    }
    let notes = notes(found);
    if !notes.is_empty() {
        writeln!(out, "\nTo know when reading this")?;
        for note in notes {
            writeln!(out, "- {}", plain(&note))?;
        }
    }
    Ok(())
}

fn verdict(found: &Found<'_>, out: &mut Out) -> std::io::Result<()> {
    let (compared, all) = (&found.compared, found.window_steps());
    let known = match compared.steps == all {
        true => format!("In {}", found.span(all)),
        false => format!("In the {} that are known of {}", found.span(compared.steps), found.span(all)),
    };
    let (real, skala) = (&compared.real, &compared.skala);
    writeln!(
        out,
        "{}: from {} to {}, in steps of {}\n",
        found.policy.id,
        Time(found.window.start),
        Time(found.window.end),
        found.span(1),
    )?;
    let (cost_real, changes_real) = (cost(found, &real.score), changes(&real.score));
    match shortage(found, real) {
        None => write!(out, "{known} the real fleet was never short")?,
        Some(short) => write!(out, "{known} the real fleet was {short}")?,
    }
    writeln!(out, " and cost {cost_real}, in {changes_real}.")?;
    match shortage(found, skala) {
        None => write!(out, "skala would never have been short")?,
        Some(short) => write!(out, "skala would have been {short}")?,
    }
    let more = percent_of(skala.score.cost, real.score.cost).map(|percent| format!(" ({})", signed(percent)));
    let (cost, more) = (cost(found, &skala.score), more.unwrap_or_default());
    writeln!(out, " and cost {cost}{more}, in {}.", changes(&skala.score))?;
    writeln!(out, "{}", conclusion(found))?;
    let acting: usize = ACTING.iter().filter_map(|mode| found.asked.modes.get(*mode)).sum();
    if acting > 0 {
        writeln!(
            out,
            "But skala itself scaled for {} of that time (mode on or scale-out-only): the real fleet was then its own doing.",
            found.span(acting)
        )?;
    }
    Ok(())
}

/// `short 27m (longest 8m, 0.27 % of the need lacking)`; `None`: never.
fn shortage(found: &Found<'_>, side: &Side) -> Option<String> {
    let (longest, lack) = (duration_text(Duration::from_secs_f64(side.score.longest_shortage_s)), side.score.lack_pct);
    let text = || format!("short {} (longest {longest}, {lack:.2} % of the need lacking)", found.span(side.short));
    (side.short > 0).then(text)
}

fn cost(found: &Found<'_>, score: &Score) -> String {
    let hours = format!("{} instance hours", grouped(score.instance_hours));
    if found.is_priced() { format!("{} ({hours})", money(score.cost)) } else { hours }
}

fn changes(score: &Score) -> String {
    if score.changes == 1 { "1 change".into() } else { format!("{} changes", score.changes) }
}

/// How much more or less, in percent; `None` when there is nothing to compare with.
fn percent_of(number: f64, of: f64) -> Option<f64> {
    (of > 0.0).then(|| 100.0 * (number / of - 1.0))
}

fn signed(percent: f64) -> String {
    // A zero has no sign.
    if percent.abs() < 0.5 { "the same within 1 %".into() } else { format!("{percent:+.0} %") }
}

fn conclusion(found: &Found<'_>) -> String {
    let (real, skala) = (&found.compared.real, &found.compared.skala);
    let short = match real.short.cmp(&skala.short) {
        std::cmp::Ordering::Greater => format!("short for {} less", found.span(real.short - skala.short)),
        std::cmp::Ordering::Less => format!("short for {} more", found.span(skala.short - real.short)),
        std::cmp::Ordering::Equal => "short for as long".into(),
    };
    let cost = match percent_of(skala.score.cost, real.score.cost) {
        Some(percent) if percent <= -0.5 => format!("{:.0} % cheaper", -percent),
        Some(percent) if percent >= 0.5 => format!("{percent:.0} % dearer"),
        _ => "at about the same cost".into(),
    };
    format!("With skala: {short}, and {cost}.")
}

/// A number with a comma between thousands; with one decimal while it is small.
fn grouped(number: f64) -> String {
    let text = if number.abs() < 100.0 { format!("{number:.1}") } else { format!("{number:.0}") };
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), String::new()), |(w, r)| (w, format!(".{r}")));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + &rest
}

fn money(number: f64) -> String {
    if number < 1_000.0 { format!("{number:.2}") } else { grouped(number) }
}

fn numbers(found: &Found<'_>) -> Table {
    let header = ["", "SHORT", "SHARE", "LACK", "LONGEST", "HOURS", "COST", "OVER-COST", "CHANGES/DAY", "STARTS"];
    let mut table = Table::new(&header);
    for (name, side) in [("real", &found.compared.real), ("skala", &found.compared.skala)] {
        let score = &side.score;
        table.row([
            name.to_owned(),
            found.span(side.short),
            format!("{:.2} %", score.tau_u),
            format!("{:.2} %", score.lack_pct),
            duration_text(Duration::from_secs_f64(score.longest_shortage_s)),
            grouped(score.instance_hours),
            if found.is_priced() { money(score.cost) } else { "-".into() },
            score.over_cost_pct.map_or("-".into(), |over| format!("{over:+.1} %")),
            format!("{:.1}", score.changes_per_day),
            score.instance_starts.to_string(),
        ]);
    }
    table
}

fn live(found: &Found<'_>, out: &mut Out) -> std::io::Result<()> {
    let both = [("decision", &found.compared.desired), ("recommendation", &found.compared.recommended)];
    for (what, one) in both {
        let Some(one) = one else { continue };
        let against = match one.median_difference {
            0.0 => "as many as were there".to_owned(),
            fewer if fewer < 0.0 => format!("{} fewer than were there", -fewer),
            more => format!("{more} more than were there"),
        };
        writeln!(
            out,
            "{}At the time, its {what} was below need in {:.2} % of {}; in the median {against}.",
            if what == "decision" { "\n" } else { "" },
            below(one),
            found.span(one.steps),
        )?;
    }
    Ok(())
}

fn moments(found: &Found<'_>) -> Table {
    let scene = found.backtest.scene();
    let capacity = |supply: &Supply, at: usize| format!("{}/{}", supply.ready[at], supply.paid[at]);
    let mut table = Table::new(&["AT", "LASTS", "WHAT", "LOAD", "NEEDED", "REAL", "SKALA", "WHY SKALA HAD THAT"]);
    for moment in &found.compared.moments {
        let (at, by) = (moment.most, moment.by);
        let why = last_change(&found.changes, at).map_or("as at the start".to_owned(), |change| {
            let when = match at - change.step {
                0 => "then".to_owned(),
                steps => format!("{} before", found.span(steps)),
            };
            format!("{} -> {} {when}: {}", change.from, change.to, change.why)
        });
        table.row([
            Time(scene.time(at)).to_string(),
            found.span(moment.steps),
            match moment.difference {
                Difference::RealShort => format!("real short by {by} more"),
                Difference::SkalaShort => format!("skala short by {by} more"),
                Difference::RealMore => format!("real paid for {by} more"),
                Difference::SkalaMore => format!("skala paid for {by} more"),
            },
            scene.load.values[at].map_or("-".into(), grouped),
            scene.demand[at].to_string(),
            capacity(&found.compared.supply, at),
            capacity(&found.supply, at),
            cut(&why),
        ]);
    }
    table
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(WHY_MAX) {
        Some((end, _)) => format!("{} ...", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

/// What a reader has to know: what was assumed, what is missing, what is not the scaler's fault.
fn notes(found: &Found<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    missing(found, &mut notes);
    notes.extend(found.asked.notes.iter().cloned());
    at_the_time(found, &mut notes);
    limits(found, &mut notes);
    if found.derived {
        let model = &found.backtest.scene().model;
        notes.push(format!(
            "The model is the objective rule's: an instance can do {} {}, up to {:.0} % of it is fine, and it serves {} after \
             it is asked for (boot and warmup); metrics are taken for {} late. --model says otherwise, and what an hour costs.",
            model.capacity_per_instance,
            found.load_name(),
            model.slo_utilization * 100.0,
            duration_text(model.boot_delay),
            duration_text(model.metric_lag),
        ));
    }
    notes
}

/// Steps and history that nobody recorded.
fn missing(found: &Found<'_>, notes: &mut Vec<String>) {
    let without = [
        (found.without_load(), "no load"),
        (found.compared.without_supply, "a load but no skala_fleet_current or skala_fleet_serving"),
    ];
    for (steps, what) in without.into_iter().filter(|(steps, _)| *steps > 0) {
        notes.push(format!("{} have {what}: they are scored for neither.", found.span(steps)));
    }
    let (have, asked) = (found.history_steps(), duration_text(found.warmup));
    let learned = |text: String| format!("{text}: what learns from load knew less than it does after some days.");
    let step = found.backtest.scene().model.step.as_secs_f64();
    if have == 0 && !found.warmup.is_zero() {
        notes.push(learned("There is no load before the window".into()));
    } else if step * (have as f64) < 0.9 * found.warmup.as_secs_f64() {
        notes.push(learned(format!("There are {} of load before the window, of {asked} asked for", found.span(have))));
    }
}

/// What the daemon itself was up to.
fn at_the_time(found: &Found<'_>, notes: &mut Vec<String>) {
    if found.asked.modes.is_empty() {
        notes.push("There is no skala_fleet_info: whether skala itself scaled the fleet cannot be told.".into());
    }
    if found.compared.desired.is_none() {
        notes.push("There is no skala_fleet_desired: what skala decided at the time cannot be told.".into());
    }
    let held = |reason: &str| found.asked.holds.get(reason).copied().unwrap_or(0);
    if held("foreign") > 0 {
        notes.push(format!(
            "At the time skala held for {} because another controller scales the fleet (foreign): its decision was then what \
             was there, and its recommendation is what to look at.",
            found.span(held("foreign")),
        ));
    }
    let blind: usize = ["blind", "partial", "group_unknown", "group_missing"].iter().map(|reason| held(reason)).sum();
    if blind > 0 {
        notes.push(format!(
            "At the time skala was blind for {} (holds blind, partial, group_unknown, group_missing); the replay sees what the \
             store has now.",
            found.span(blind),
        ));
    }
}

/// What no scaler can help, and what the recorded load cannot show.
fn limits(found: &Found<'_>, notes: &mut Vec<String>) {
    let compared = &found.compared;
    if compared.above_max > 0 {
        notes.push(format!(
            "For {} more is needed than the fleet's max of {}: no scaler can help there.",
            found.span(compared.above_max),
            found.backtest.scene().max,
        ));
    }
    if compared.censored > 0 {
        notes.push(format!(
            "For {} the load was about all that the real fleet can do: more may have been wanted than was recorded, and \
             both may have been short for longer than is said here.",
            found.span(compared.censored),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        for (number, text) in
            [(0.0, "0.0"), (99.94, "99.9"), (100.0, "100"), (1_203.4, "1,203"), (1_234_567.0, "1,234,567")]
        {
            assert_eq!(grouped(number), text);
        }
        assert_eq!((money(12.345), money(12_345.6)), ("12.35".into(), "12,346".into()));
        assert_eq!((signed(-17.6), signed(0.4)), ("-18 %".into(), "the same within 1 %".into()));
        assert_eq!((percent_of(5.0, 0.0), percent_of(5.0, 4.0)), (None, Some(25.0)));
    }

    #[test]
    fn a_long_reason_is_cut_between_letters() {
        assert_eq!(cut("short"), "short");
        let long = "ü".repeat(WHY_MAX + 1);
        assert_eq!(cut(&long), format!("{} ...", "ü".repeat(WHY_MAX)));
    }
}
