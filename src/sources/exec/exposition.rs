//! The Prometheus text exposition format (version 0.0.4): `name{label="value"} 12.5 1700000000000`, one sample a line, the
//! time in milliseconds, lines with `#` are comments. Text in, samples out. Anything else is refused whole: a line that
//! cannot be read may be the one that matters.

use contract::Timestamp;
use std::collections::BTreeMap;

/// More samples than any sensible command prints.
const SAMPLES_MAX: usize = 50_000;

/// Labels, sorted by name.
pub(super) type Labels = Box<[(Box<str>, Box<str>)]>;

/// A series' name and labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub name: Box<str>,
    pub labels: Labels,
}

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub labels: Labels,
    pub value: f64,
    pub at: Option<Timestamp>,
}

/// All samples by the name of their series.
pub(super) type Samples = BTreeMap<Box<str>, Vec<Sample>>;

/// Reads a whole exposition.
pub(super) fn parse(text: &str) -> Result<Samples, String> {
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line does not end: the output was cut off".into());
    }
    let mut samples = Samples::new();
    let mut count = 0;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_matches([' ', '\t', '\r']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        count += 1;
        if count > SAMPLES_MAX {
            return Err(format!("more than {SAMPLES_MAX} samples"));
        }
        let (name, sample) = sample(line).map_err(|why| format!("line {number}: {why}"))?;
        samples.entry(name).or_default().push(sample);
    }
    Ok(samples)
}

/// Reads what a query asks for: the name of a series, with labels that it must have.
pub(super) fn parse_name(text: &str) -> Result<Name, (String, usize)> {
    let trimmed = text.trim();
    let (name, rest) = name(trimmed).map_err(|why| (why.to_owned(), 0))?;
    match rest.trim_start() {
        "" => Ok(name),
        rest => {
            Err(("only a name and labels may stand there, as in depth{queue=\"jobs\"}".into(), text.len() - rest.len()))
        }
    }
}

fn sample(line: &str) -> Result<(Box<str>, Sample), &'static str> {
    let (Name { name, labels }, rest) = name(line)?;
    let mut words = rest.split_ascii_whitespace();
    let value = words.next().ok_or("there is no value")?;
    let value: f64 = value.parse().map_err(|_| "the value is no number")?;
    let at = match words.next() {
        None => None,
        Some(millis) => {
            let millis: i64 = millis.parse().map_err(|_| "the time is no whole number of milliseconds")?;
            // As far as a timestamp reaches; beyond it nothing can be said.
            Timestamp::from_secs_f64(millis as f64 / 1e3)
        }
    };
    if words.next().is_some() {
        return Err("something stands after the time");
    }
    Ok((name, Sample { labels, value, at }))
}

/// The name and labels that a text begins with, and the rest.
fn name(text: &str) -> Result<(Name, &str), &'static str> {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = text.find(|c| !letter(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("it does not begin with the name of a series");
    }
    let (labels, rest) = match rest.trim_start().strip_prefix('{') {
        None => (Vec::new(), rest),
        Some(rest) => labels(rest)?,
    };
    let mut labels = labels;
    labels.sort_unstable();
    if labels.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err("a label comes twice");
    }
    Ok((Name { name: name.into(), labels: labels.into() }, rest))
}

type Read<'t> = (Vec<(Box<str>, Box<str>)>, &'t str);

fn labels(mut rest: &str) -> Result<Read<'_>, &'static str> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = rest.find(|c| !letter(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err("a label has no name");
        }
        let after = after.trim_start().strip_prefix('=').ok_or("a label has no `=`")?;
        let after = after.trim_start().strip_prefix('"').ok_or("a label's value has no quotes")?;
        let (value, after) = quoted(after)?;
        labels.push((name.into(), value.into()));
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return Err("the labels are not closed"),
        }
    }
}

fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                _ => return Err("after a backslash only n, a backslash or a quote may stand"),
            },
            c => value.push(c),
        }
    }
    Err("a label's value is not closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_with_labels_and_times() {
        let text = "# HELP depth Jobs.\n# TYPE depth gauge\n\ndepth{queue=\"a\\\"b\\\\c\\nd\", az = \"x\",} 12.5 1700000000250\r\n\
                    depth 1e3\nup{} NaN -5\nok:rate5m +Inf\n";
        let samples = parse(text).unwrap();
        let labels: Labels = Box::new([("az".into(), "x".into()), ("queue".into(), "a\"b\\c\nd".into())]);
        assert_eq!(samples["depth"][0], Sample { labels, value: 12.5, at: Timestamp::from_secs_f64(1_700_000_000.25) });
        assert_eq!((samples["depth"][1].value, samples["depth"][1].at), (1000.0, None));
        assert_eq!((samples["up"][0].value.is_nan(), samples["up"][0].at), (true, Timestamp::from_secs_f64(-0.005)));
        assert_eq!(samples["ok:rate5m"][0].value, f64::INFINITY);
        assert_eq!(parse("").unwrap(), Samples::new());
    }

    #[test]
    fn what_is_no_exposition_is_refused_whole() {
        for (text, expected) in [
            ("depth 1", "cut off"),
            ("depth 1\n<html>\n", "line 2: it does not begin with the name"),
            ("depth\n", "no value"),
            ("depth one\n", "no number"),
            ("depth 1 1700000000.5\n", "whole number of milliseconds"),
            ("depth 1 1700000000000 x\n", "after the time"),
            ("depth{a=\"1\",a=\"2\"} 1\n", "comes twice"),
            ("depth{a=\"1\" 1\n", "not closed"),
            ("depth{a=\"1} 1\n", "not closed"),
            ("depth{a=1} 1\n", "no quotes"),
            ("depth{a} 1\n", "no `=`"),
            ("depth{=\"\"} 1\n", "no name"),
            ("depth{a=\"\\t\"} 1\n", "backslash"),
            ("5depth 1\n", "does not begin"),
            ("{\"depth\": 1}\n", "does not begin"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let many = "a 1\n".repeat(SAMPLES_MAX + 1);
        assert!(parse(&many).unwrap_err().contains("more than"));
    }

    #[test]
    fn a_query_is_a_name_and_labels() {
        let name = parse_name(" depth{b=\"2\", a=\"1\"} ").unwrap();
        assert_eq!((&*name.name, name.labels.len(), &*name.labels[0].0), ("depth", 2, "a"));
        assert_eq!(parse_name("rate(depth[1m])").unwrap_err().1, 4);
        assert_eq!(parse_name("depth{a=\"1\"} 5").unwrap_err().1, 13);
        assert!(parse_name("").is_err() && parse_name("depth{a!=\"1\"}").is_err());
    }
}
