//! A comparison as text for people, as JSON for programs and as Markdown for a pull request.

use super::super::super::Out;
use super::super::super::table::{Table, plain};
use super::{Compared, Verdict};
use policies::policy::units::duration_text;
use policies::text::Time;
use serde_json::{Value, json};
use skala::backtest::compare::{Difference, Side};
use std::io::{self, Write};
use std::time::Duration;

/// What is compared, and each side's value.
struct Row {
    what: &'static str,
    before: String,
    after: String,
    difference: String,
}

/// Writes it for people.
pub fn text(verdicts: &[(String, Verdict)], last: Duration, out: &mut Out) -> io::Result<()> {
    for (at, (fleet, verdict)) in verdicts.iter().enumerate() {
        let compared = match verdict {
            Verdict::Compared(compared) => compared,
            other => {
                writeln!(out, "{fleet}: {}", in_a_word(other))?;
                continue;
            }
        };
        if at > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{fleet}: {}", period(compared, last))?;
        for note in &compared.notes {
            writeln!(out, "  note: {}", plain(note))?;
        }
        let mut settings = Table::new(&["SETTING", "BEFORE", "AFTER"]);
        for one in &compared.settings {
            settings.row([one.setting.clone(), or_default(one.before.as_ref()), or_default(one.after.as_ref())]);
        }
        settings.write("  ", out)?;
        writeln!(out)?;
        let mut table = Table::new(&["", "BEFORE", "AFTER", "DIFFERENCE"]);
        for row in rows(compared) {
            table.row([row.what.into(), row.before, row.after, row.difference]);
        }
        table.write("  ", out)?;
        if compared.comparison.moments.is_empty() {
            writeln!(out, "\n  capacity is the same at every step")?;
            continue;
        }
        writeln!(out, "\n  capacity differs most at")?;
        for one in &compared.comparison.moments {
            writeln!(out, "    {}  {} -> {}, {}", Time(one.at), one.before, one.after, plain(&one.why))?;
        }
    }
    Ok(())
}

/// Writes it for a pull request.
pub fn markdown(verdicts: &[(String, Verdict)], last: Duration, out: &mut Out) -> io::Result<()> {
    for (fleet, verdict) in verdicts {
        let Verdict::Compared(compared) = verdict else {
            writeln!(out, "**{fleet}**: {}\n", escaped(&in_a_word(verdict)))?;
            continue;
        };
        writeln!(out, "### {fleet}\n\n{}\n", escaped(&period(compared, last)))?;
        for note in &compared.notes {
            writeln!(out, "> {}\n", escaped(note))?;
        }
        if !compared.settings.is_empty() {
            writeln!(out, "| setting | before | after |\n|---|---|---|")?;
            for Difference { setting, before, after } in &compared.settings {
                let cell = |value: &Option<String>| value.as_ref().map_or("default".into(), |value| code(value));
                writeln!(out, "| {} | {} | {} |", code(setting), cell(before), cell(after))?;
            }
            writeln!(out)?;
        }
        writeln!(out, "| | before | after | difference |\n|---|--:|--:|--:|")?;
        for row in rows(compared) {
            writeln!(out, "| {} | {} | {} | {} |", row.what, row.before, row.after, row.difference)?;
        }
        writeln!(out)?;
        if compared.comparison.moments.is_empty() {
            writeln!(out, "Capacity is the same at every step.\n")?;
            continue;
        }
        writeln!(out, "| capacity differs most at | before | after | why |\n|---|--:|--:|---|")?;
        for one in &compared.comparison.moments {
            writeln!(out, "| {} | {} | {} | {} |", Time(one.at), one.before, one.after, code(&one.why))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Writes it for programs. Its keys are stable; a score's are those of a backtest.
pub fn json(verdicts: &[(String, Verdict)], last: Duration, out: &mut Out) -> anyhow::Result<()> {
    let fleets: Vec<Value> = verdicts.iter().map(|(fleet, verdict)| of(fleet, verdict)).collect();
    let any = |is: fn(&Verdict) -> bool| verdicts.iter().any(|(_, verdict)| is(verdict));
    let all = json!({
        "replay_s": last.as_secs_f64(),
        "capacity_differs": any(Verdict::differs),
        "changes": any(Verdict::changes),
        "fleets": fleets,
    });
    serde_json::to_writer_pretty(&mut *out, &all)?;
    writeln!(out)?;
    Ok(())
}

fn of(fleet: &str, verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Unchanged => json!({ "fleet": fleet, "verdict": "unchanged" }),
        Verdict::Added => json!({ "fleet": fleet, "verdict": "added" }),
        Verdict::Removed => json!({ "fleet": fleet, "verdict": "removed" }),
        Verdict::Refused(why) => json!({ "fleet": fleet, "verdict": "not_replayed", "why": why }),
        Verdict::Compared(compared) => {
            let settings = compared.settings.iter();
            let moments = compared.comparison.moments.iter();
            json!({
                "fleet": fleet,
                "verdict": "compared",
                "settings": settings
                    .map(|one| json!({ "setting": one.setting, "before": one.before, "after": one.after }))
                    .collect::<Vec<_>>(),
                "from": compared.times.0.as_secs_f64(),
                "scored_from": compared.times.1.as_secs_f64(),
                "to": compared.times.2.as_secs_f64(),
                "steps": compared.steps,
                "unknown_steps": compared.unknown,
                "differing_steps": compared.comparison.differing_steps,
                "model_of_rule": compared.implied_by,
                "mode": { "before": compared.modes.0.word(), "after": compared.modes.1.word() },
                "notes": compared.notes,
                "before": side(&compared.comparison.before, compared),
                "after": side(&compared.comparison.after, compared),
                "moments": moments
                    .map(|one| json!({ "at": one.at.as_secs_f64(), "before": one.before, "after": one.after, "why": one.why }))
                    .collect::<Vec<_>>(),
            })
        }
    }
}

fn side(side: &Side, compared: &Compared) -> Value {
    let mut value = serde_json::to_value(side.score).unwrap_or_default();
    value["capacity_mean"] = json!(side.mean);
    value["capacity_p95"] = json!(side.p95);
    value["capacity_max"] = json!(side.max);
    if compared.implied_by.is_some() {
        // A rule knows no price.
        value["cost"] = Value::Null;
    }
    value
}

fn in_a_word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Unchanged => "unchanged".into(),
        Verdict::Added => "added, so there is nothing to compare it with".into(),
        Verdict::Removed => "removed, so nobody would scale it any more".into(),
        Verdict::Refused(why) => format!("not replayed: {why}"),
        Verdict::Compared(_) => "changed".into(),
    }
}

fn period(compared: &Compared, last: Duration) -> String {
    let (from, scored, to) = compared.times;
    let had = to.since(from);
    let asked = if had < last { format!(" (of {} asked for)", duration_text(last)) } else { String::new() };
    let model = compared.implied_by.as_ref().map(|rule| {
        format!(
            "; by rule {rule} one instance does {} at {} %, and takes {} until it serves",
            compared.model.capacity_per_instance,
            compared.model.slo_utilization * 100.0,
            duration_text(compared.model.boot_delay)
        )
    });
    let unknown = compared.model.step * u32::try_from(compared.unknown).unwrap_or(u32::MAX);
    let unknown = match compared.unknown {
        0 => String::new(),
        _ => format!(", nor {} in which the load is unknown", duration_text(unknown)),
    };
    format!(
        "{}{asked} from {} to {}; the first {} are not scored{unknown}{}",
        duration_text(had),
        Time(from),
        Time(to),
        duration_text(scored.since(from)),
        model.unwrap_or_default()
    )
}

fn or_default(value: Option<&String>) -> String {
    value.map_or_else(|| "default".into(), Clone::clone)
}

fn rows(compared: &Compared) -> Vec<Row> {
    let (one, other) = (&compared.comparison.before, &compared.comparison.after);
    let number = |what, decimals: usize, unit: &str, of: fn(&Side) -> f64, relative: bool| {
        let (before, after) = (of(one), of(other));
        let share = format!(" ({:+.1} %)", 100.0 * (after / before - 1.0));
        Row {
            what,
            before: format!("{before:.decimals$}{unit}"),
            after: format!("{after:.decimals$}{unit}"),
            difference: format!(
                "{}{}",
                signed(after - before, decimals),
                if relative && before > 0.0 { share } else { String::new() }
            ),
        }
    };
    let mut rows = vec![
        number("capacity, mean", 2, "", |side| side.mean, true),
        number("capacity, p95", 0, "", |side| f64::from(side.p95), false),
        number("capacity, max", 0, "", |side| f64::from(side.max), false),
        number("instance hours", 1, "", |side| side.score.instance_hours, true),
    ];
    if compared.implied_by.is_none() {
        rows.push(number("cost", 2, "", |side| side.score.cost, true));
    }
    rows.push(number("short (tau_U)", 2, " %", |side| side.score.tau_u, false));
    rows.push(number("lack", 2, " %", |side| side.score.lack_pct, false));
    let longest = |side: &Side| Duration::from_secs_f64(side.score.longest_shortage_s);
    let (before, after) = (longest(one), longest(other));
    let sign = if after < before { "-" } else { "+" };
    let apart = if after == before { "0".into() } else { format!("{sign}{}", duration_text(after.abs_diff(before))) };
    rows.push(Row {
        what: "longest shortage",
        before: duration_text(before),
        after: duration_text(after),
        difference: apart,
    });
    rows.push(number("changes a day", 1, "", |side| side.score.changes_per_day, false));
    rows
}

/// A difference with its sign; none is a plain 0.
fn signed(difference: f64, decimals: usize) -> String {
    let text = format!("{difference:+.decimals$}");
    if text.trim_start_matches(['+', '-']).chars().all(|digit| matches!(digit, '0' | '.')) { "0".into() } else { text }
}

/// Text that Markdown takes for text, within a table or not.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in plain(text).chars() {
        if matches!(letter, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#') {
            safe.push('\\');
        }
        safe.push(letter);
    }
    safe
}

/// Text as code, in a cell of a table.
fn code(text: &str) -> String {
    let text = plain(text).replace('|', "\\|");
    let longest = text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    // A backtick beside the fence would be part of it.
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_markdown_is_markup() {
        assert_eq!(escaped("a*b|<c>\n`d`"), "a\\*b\\|\\<c\\> \\`d\\`");
        for (text, expected) in
            [("a", "`a`"), ("a|b", "`a\\|b`"), ("a`b", "``a`b``"), ("``a", "``` ``a ```"), ("a\nb", "`a b`")]
        {
            assert_eq!(code(text), expected);
        }
    }

    #[test]
    fn differences_have_a_sign() {
        for (difference, decimals, expected) in
            [(1.26, 1, "+1.3"), (-0.5, 2, "-0.50"), (0.0, 2, "0"), (-0.001, 2, "0"), (3.0, 0, "+3"), (-10.0, 0, "-10")]
        {
            assert_eq!(signed(difference, decimals), expected);
        }
    }
}
