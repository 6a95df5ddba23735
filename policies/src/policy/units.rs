//! Single values: text, numbers, durations, percentages, words of a closed list. Each says what would be right.

use super::reader::{Fault, nearest};
use super::tree::{Node, Value};
use super::{Amount, Tolerance};
use contract::{CAPACITY_MAX, Capacity};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// A day, the longest window that memory keeps.
pub const DAY: Duration = Duration::from_secs(86_400);

const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Any text of at most `max` bytes, without control characters.
pub fn line(max: usize) -> impl Fn(&Node) -> Result<Arc<str>, Fault> {
    move |node| {
        let text = text(node)?;
        match text.chars().any(char::is_control) {
            true => Err(Fault::new("must not contain control characters")),
            false if text.len() > max => Err(Fault::new(format!("must not be longer than {max} bytes"))),
            false if text.trim().is_empty() => Err(Fault::new("must not be empty")),
            false => Ok(text),
        }
    }
}

/// Any text.
pub fn text(node: &Node) -> Result<Arc<str>, Fault> {
    match &node.value {
        Value::Text(text) => Ok(Arc::clone(text)),
        other => Err(Fault::new(format!("must be text, not {}", other.kind()))),
    }
}

/// What is wrong with a name, if anything. A name becomes a label, a file's name and an argument.
pub fn name_fault(name: &str) -> Option<Fault> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() {
        return Some(Fault::new("must not be empty"));
    }
    if name.len() > 128 {
        return Some(Fault::new("must not be longer than 128 characters"));
    }
    (!name.chars().all(allowed) || name.starts_with(['-', '.'])).then(|| {
        Fault::new("is not a name")
            .hint("a name has letters, digits, `_`, `-` and `.`, and begins with one of the first three")
    })
}

/// A name.
pub fn name(node: &Node) -> Result<Arc<str>, Fault> {
    let text = text(node)?;
    name_fault(&text).map_or(Ok(text), Err)
}

/// A name of skala.toml, which has to be among the known ones where they are known.
pub fn listed(what: &'static str, known: Option<&[&str]>) -> impl Fn(&Node) -> Result<Arc<str>, Fault> {
    move |node| {
        let name = name(node)?;
        match known {
            Some(known) if !known.contains(&name.as_ref()) => {
                let fault = Fault::new(format!("is `{name}`, and skala.toml has no [{what}.{name}]"));
                Err(match nearest(&name, known.iter().copied()) {
                    Some(near) => fault.hint(format!("did you mean `{near}`?")),
                    None if known.is_empty() => fault.hint(format!("skala.toml has no {what} at all")),
                    None => fault.hint(format!("it has: {}", known.join(", "))),
                })
            }
            _ => Ok(name),
        }
    }
}

/// True or false.
pub fn flag(node: &Node) -> Result<bool, Fault> {
    match &node.value {
        Value::Bool(flag) => Ok(*flag),
        other => Err(Fault::new(format!("must be true or false, not {}", other.kind()))),
    }
}

/// One word of a closed list.
pub fn choice<T: Copy>(words: &[(&'static str, T)]) -> impl Fn(&Node) -> Result<T, Fault> {
    move |node| {
        let list = || words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let Value::Text(text) = &node.value else {
            return Err(Fault::new(format!("must be one of {}, not {}", list(), node.value.kind())));
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.as_ref()) {
            return Ok(*value);
        }
        let fault = Fault::new(format!("must be one of {}, not \"{}\"", list(), cut(text)));
        match nearest(text, words.iter().map(|(word, _)| *word)) {
            Some(near) => Err(fault.hint(format!("did you mean \"{near}\"?"))),
            None => Err(fault),
        }
    }
}

/// A number of instances.
pub fn capacity(node: &Node) -> Result<Capacity, Fault> {
    whole(0..=CAPACITY_MAX)(node)
}

/// A whole number.
pub fn whole(range: RangeInclusive<u32>) -> impl Fn(&Node) -> Result<u32, Fault> {
    move |node| {
        let wanted = format!("must be a whole number from {} to {}", range.start(), range.end());
        match &node.value {
            Value::Integer(number) => match u32::try_from(*number).ok().filter(|number| range.contains(number)) {
                Some(number) => Ok(number),
                None => Err(Fault::new(format!("{wanted}, not {number}"))),
            },
            Value::Huge => Err(Fault::new(format!("{wanted}, and this is far more"))),
            Value::Float(number) => Err(Fault::new(format!("{wanted}, not {number}"))),
            Value::Text(text) => {
                let fault = Fault::new(format!("{wanted}, not text"));
                match text.trim().parse::<u32>() {
                    Ok(number) => Err(fault.hint(format!("write it without quotes: {number}"))),
                    Err(_) => Err(fault),
                }
            }
            other => Err(Fault::new(format!("{wanted}, not {}", other.kind()))),
        }
    }
}

/// Any whole number of 32 bits.
pub fn signed(node: &Node) -> Result<i32, Fault> {
    match &node.value {
        Value::Integer(number) if i32::try_from(*number).is_ok() => Ok(i32::try_from(*number).unwrap_or(0)),
        Value::Integer(_) | Value::Huge => Err(Fault::new("must be a whole number of at most 32 bits")),
        Value::Float(number) => Err(Fault::new(format!("must be a whole number, not {number}"))),
        other => Err(Fault::new(format!("must be a whole number, not {}", other.kind()))),
    }
}

/// A finite number.
pub fn number(node: &Node) -> Result<f64, Fault> {
    match &node.value {
        // An integer beyond 2^53 loses its last digits, which no threshold needs.
        Value::Integer(number) => Ok(*number as f64),
        Value::Float(number) if number.is_finite() => Ok(*number),
        Value::Float(number) => Err(Fault::new(format!("must be a finite number, not {number}"))),
        Value::Huge => Err(Fault::new("is too large a number")),
        Value::Text(text) => {
            let fault = Fault::new("must be a number, not text");
            match text.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => Err(fault.hint(format!("write it without quotes: {number}"))),
                _ => Err(fault),
            }
        }
        other => Err(Fault::new(format!("must be a number, not {}", other.kind()))),
    }
}

/// A number above zero.
pub fn positive(node: &Node) -> Result<f64, Fault> {
    let number = number(node)?;
    if number > 0.0 { Ok(number) } else { Err(Fault::new(format!("must be above 0, not {number}"))) }
}

/// A duration within bounds.
pub fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Node) -> Result<Duration, Fault> {
    move |node| {
        let text = match &node.value {
            Value::Text(text) => text,
            Value::Integer(number) if *number >= 0 => {
                let fault = Fault::new("must be a duration such as \"90s\", \"5m\" or \"1h30m\", not a number");
                return Err(fault.hint(format!("give the unit: \"{number}s\"")));
            }
            other => {
                let wanted = "must be a duration such as \"90s\", \"5m\" or \"1h30m\"";
                return Err(Fault::new(format!("{wanted}, not {}", other.kind())));
            }
        };
        let duration = parse_duration(text)?;
        if range.contains(&duration) {
            return Ok(duration);
        }
        let (least, most) = (duration_text(*range.start()), duration_text(*range.end()));
        Err(Fault::new(format!("must be from \"{least}\" to \"{most}\", not \"{text}\"")))
    }
}

/// From nothing to a day.
pub fn up_to_a_day(node: &Node) -> Result<Duration, Fault> {
    duration(Duration::ZERO..=DAY)(node)
}

/// Reads a duration: numbers with units, the larger unit first, each unit once.
///
/// # Errors
/// When the text is not one; the fault says what would be.
pub fn parse_duration(text: &str) -> Result<Duration, Fault> {
    let wrong = || {
        let fault =
            Fault::new(format!("must be a duration such as \"90s\", \"5m\" or \"1h30m\", not \"{}\"", cut(text)));
        fault.hint("units: ms, s, m, h, d, w; whole numbers, the larger unit first")
    };
    let (mut rest, mut millis, mut units) = (text, 0_u64, &UNITS[..]);
    if rest.is_empty() || !text.is_ascii() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
        let unit = units.iter().position(|(unit, _)| *unit == &rest[..letters]).ok_or_else(wrong)?;
        let part = number.checked_mul(units[unit].1).ok_or_else(wrong)?;
        millis = millis.checked_add(part).ok_or_else(wrong)?;
        units = &units[unit + 1..];
        rest = &rest[letters..];
    }
    Ok(Duration::from_millis(millis))
}

/// A duration as a policy writes it.
pub fn duration_text(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    // Weeks are read but days are written: they are easier to compare.
    for (unit, size) in &UNITS[1..] {
        if millis >= *size {
            text.push_str(&format!("{}{unit}", millis / size));
            millis %= size;
        }
    }
    text
}

/// A percentage such as "10%", as the number before the sign.
pub fn percent(range: RangeInclusive<f64>) -> impl Fn(&Node) -> Result<f64, Fault> {
    move |node| {
        let wanted = "must be a percentage such as \"10%\"";
        let number = match &node.value {
            Value::Text(text) => {
                let digits = text.trim().strip_suffix('%').map(str::trim_end);
                let plain =
                    digits.filter(|digits| digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-')));
                plain.and_then(|digits| digits.parse::<f64>().ok()).filter(|number| number.is_finite())
            }
            Value::Integer(number) => {
                let fault = Fault::new(format!("{wanted}, not a number"));
                return Err(fault.hint(format!("write \"{number}%\"")));
            }
            Value::Float(number) => {
                let fault = Fault::new(format!("{wanted}, not a number"));
                let shown = if *number <= 1.0 { number * 100.0 } else { *number };
                return Err(fault.hint(format!("write \"{shown}%\"")));
            }
            other => return Err(Fault::new(format!("{wanted}, not {}", other.kind()))),
        };
        let number = number.ok_or_else(|| Fault::new(wanted))?;
        if range.contains(&number) {
            return Ok(number);
        }
        Err(Fault::new(format!("must be from \"{}%\" to \"{}%\", not \"{number}%\"", range.start(), range.end())))
    }
}

/// A number of instances, or a percentage.
pub fn amount(percent_max: f64) -> impl Fn(&Node) -> Result<Amount, Fault> {
    move |node| match &node.value {
        Value::Text(text) if text.contains('%') => {
            more_than_zero(percent(0.0..=percent_max)(node)?).map(Amount::Percent)
        }
        Value::Text(_) => Err(Fault::new("must be a number of instances or a percentage").hint("write 2, or \"50%\"")),
        _ => whole(1..=CAPACITY_MAX)(node).map(Amount::Instances),
    }
}

fn more_than_zero(percent: f64) -> Result<f64, Fault> {
    if percent > 0.0 { Ok(percent) } else { Err(Fault::new("must be above \"0%\"")) }
}

/// A percentage above zero.
pub fn positive_percent(max: f64) -> impl Fn(&Node) -> Result<f64, Fault> {
    move |node| more_than_zero(percent(0.0..=max)(node)?)
}

/// A tolerance: one ratio, or one for each direction.
pub fn tolerance(default: Tolerance) -> impl Fn(&Node) -> Result<Tolerance, Fault> {
    let one = |key: &str, node: &Node| {
        let number = number(node).map_err(|fault| prefix(key, fault, node))?;
        if (0.0..1.0).contains(&number) {
            return Ok(number);
        }
        let fault = Fault::new(format!("must be a ratio from 0 to below 1, not {number}"));
        let fault = if number >= 1.0 { fault.hint(format!("for {number} % write {}", number / 100.0)) } else { fault };
        Err(prefix(key, fault, node))
    };
    move |node| {
        let Value::Table(table) = &node.value else {
            return one("", node).map(|both| Tolerance { out: both, r#in: both });
        };
        let mut tolerance = default;
        for entry in &table.entries {
            match entry.key.as_ref() {
                "out" => tolerance.out = one("out", &entry.node)?,
                "in" => tolerance.r#in = one("in", &entry.node)?,
                other => {
                    let fault = Fault::new(format!("has no key `{other}`")).at(entry.at);
                    return Err(fault.hint("write { out = 0.0, in = 0.1 }"));
                }
            }
        }
        Ok(tolerance)
    }
}

fn prefix(key: &str, fault: Fault, node: &Node) -> Fault {
    if key.is_empty() { fault } else { fault.within(key).at(node.at) }
}

/// Text of the writer's own within a message: short, and on one line.
pub fn cut(text: &str) -> String {
    let mut short: String = text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_back() {
        for (text, millis, written) in [
            ("0s", 0, "0s"),
            ("500ms", 500, "500ms"),
            ("90s", 90_000, "1m30s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("1w", 604_800_000, "7d"),
            ("1d2h3m4s5ms", 93_784_005, "1d2h3m4s5ms"),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
            assert_eq!(duration_text(duration), written);
            assert_eq!(parse_duration(written).unwrap(), duration);
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", "5", "s", "5m1h", "1h1h", "-5m", "1.5h", "5 m", " 5m", "5M", "5min", "99999999999999999999s", "5é"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(parse_duration("18446744073709551615w").is_err());
    }

    #[test]
    fn names_become_labels_and_files() {
        for name in ["a", "web-1", "9to5", "_x", "a.b_c-d"] {
            assert!(name_fault(name).is_none(), "{name}");
        }
        for name in ["", "-a", ".a", "a b", "a/b", "ü", "a\n", &"a".repeat(129)] {
            assert!(name_fault(name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_nearest_word_is_one_slip_away() {
        let words = ["scale_in", "scale_out", "min", "max"];
        for (word, expected) in [
            ("scale-in", Some("scale_in")),
            ("scalein", Some("scale_in")),
            ("sclae_out", Some("scale_out")),
            ("mim", Some("min")),
            ("warmup", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, words), expected, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), words), None);
    }
}
