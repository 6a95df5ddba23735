//! Which of skala's own series are the fleet's: the selector that asks for them, and one series out of several, when a
//! restart gave them another label and not a second daemon.

use contract::Timestamp;
use policies::text::Time;
use skala::sources::prometheus::RangeSeries;
use std::collections::BTreeMap;
use std::time::Duration;

/// For so long two series may stand side by side and still be one daemon before and after a restart.
const HANDOVER: Duration = Duration::from_secs(300);
/// Series that an error lists.
const LISTED_MAX: usize = 4;

/// A label and the value that it must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    label: String,
    value: String,
}

impl std::str::FromStr for Matcher {
    type Err = String;

    /// Reads `job=skala` or `job="skala"`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not LABEL=VALUE, as in job=skala");
        let (label, value) = text.split_once('=').ok_or_else(wrong)?;
        let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let is_label = label.chars().all(is_part) && label.starts_with(|letter: char| !letter.is_ascii_digit());
        if !is_label || value.is_empty() || value.starts_with('~') {
            return Err(wrong());
        }
        Ok(Self { label: label.into(), value: value.into() })
    }
}

/// `skala_fleet_current{fleet="web",job="skala"}`.
pub fn selector(name: &str, fleet: &str, matchers: &[Matcher]) -> String {
    let own = [("fleet", fleet)].into_iter();
    let all = own.chain(matchers.iter().map(|matcher| (matcher.label.as_str(), matcher.value.as_str())));
    let all: Vec<String> = all.map(|(label, value)| format!("{label}={}", quoted(value))).collect();
    format!("{name}{{{}}}", all.join(","))
}

/// A string as PromQL reads it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// One series out of all: those of one daemon before and after restarts are put one after the other, and what the later one
/// says counts where they overlap.
///
/// # Errors
/// When several were there side by side for longer than a restart takes, with what tells them apart.
pub fn joined(name: &str, mut all: Vec<RangeSeries>, step: Duration) -> Result<Vec<(Timestamp, f64)>, String> {
    all.retain(|one| !one.samples.is_empty());
    all.sort_by_key(|one| one.samples[0].0);
    let together = usize::try_from(HANDOVER.as_micros() / step.as_micros().max(1)).unwrap_or(usize::MAX).max(1);
    let mut joined: BTreeMap<Timestamp, f64> = BTreeMap::new();
    for (at, one) in all.iter().enumerate() {
        if let Some(other) = all[..at].iter().find(|other| coincide(other, one) > together) {
            return Err(ambiguous(name, &all, coincided_at(other, one)));
        }
        joined.extend(one.samples.iter().copied());
    }
    Ok(joined.into_iter().collect())
}

/// At how many times both have a value.
fn coincide(a: &RangeSeries, b: &RangeSeries) -> usize {
    a.samples.iter().filter(|(at, _)| has(b, *at)).count()
}

fn coincided_at(a: &RangeSeries, b: &RangeSeries) -> Option<Timestamp> {
    a.samples.iter().map(|(at, _)| *at).find(|at| has(b, *at))
}

fn has(series: &RangeSeries, at: Timestamp) -> bool {
    series.samples.binary_search_by_key(&at, |(own, _)| *own).is_ok()
}

fn ambiguous(name: &str, all: &[RangeSeries], at: Option<Timestamp>) -> String {
    let differs = |label: &String| all.iter().any(|one| one.labels.get(label) != all[0].labels.get(label));
    let mut told: Vec<String> = Vec::new();
    let mut example = None;
    for one in all.iter().take(LISTED_MAX) {
        let own = one.labels.iter().filter(|(label, _)| differs(label));
        let own: Vec<String> = own.map(|(label, value)| format!("{label}={}", quoted(value))).collect();
        example = example.or_else(|| own.first().cloned());
        told.push(format!("{{{}}}", own.join(",")));
    }
    let more = if all.len() > LISTED_MAX { " and more" } else { "" };
    let at = at.map(|at| format!(" at {}", Time(at))).unwrap_or_default();
    let example = example.unwrap_or_else(|| "job=\"skala\"".into());
    format!(
        "{} series of {name} are there side by side{at}, as of two daemons: {}{more}; pick one's with --match '{example}'",
        all.len(),
        told.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn series(labels: &[(&str, &str)], minutes: std::ops::Range<i64>, value: f64) -> RangeSeries {
        RangeSeries {
            labels: labels.iter().map(|(label, value)| ((*label).into(), (*value).into())).collect(),
            samples: minutes.map(|minute| (Timestamp::from_secs(minute * 60), value)).collect(),
        }
    }

    #[test]
    fn matchers_are_labels_and_values() {
        let read = |text: &str| text.parse::<Matcher>().map(|read| (read.label, read.value));
        assert_eq!(read("job=skala"), Ok(("job".into(), "skala".into())));
        assert_eq!(read("job=\"a=b\""), Ok(("job".into(), "a=b".into())));
        for wrong in ["", "job", "=x", "job=", "job=\"\"", "a b=c", "9a=b", "job=~x", "job!=x"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let matchers = ["job=skala".parse().unwrap(), "zone=a\"b".parse().unwrap()];
        assert_eq!(selector("x", "web\\1", &matchers), r#"x{fleet="web\\1",job="skala",zone="a\"b"}"#);
    }

    #[test]
    fn a_restart_is_one_daemon_and_the_later_series_counts() {
        let all = vec![series(&[("pod", "b")], 7..12, 2.0), series(&[("pod", "a")], 0..10, 1.0)];
        let joined = joined("x", all, MINUTE).unwrap();
        let values: Vec<f64> = joined.iter().map(|(_, value)| *value).collect();
        assert_eq!(values, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0]);
        assert_eq!(super::joined("x", Vec::new(), MINUTE), Ok(Vec::new()));
    }

    #[test]
    fn two_daemons_are_told_apart_by_their_labels() {
        let labels = |pod| [("fleet", "web"), ("pod", pod)];
        let all = vec![series(&labels("a"), 0..10, 1.0), series(&labels("b"), 4..10, 1.0)];
        let said = joined("skala_fleet_current", all, MINUTE).unwrap_err();
        assert_eq!(
            said,
            "2 series of skala_fleet_current are there side by side at 1970-01-01T00:04:00Z, as of two daemons: {pod=\"a\"}, \
             {pod=\"b\"}; pick one's with --match 'pod=\"a\"'"
        );
        // A label that only one carries tells them apart as well.
        let all = vec![series(&[], 0..10, 1.0), series(&[("pod", "b")], 0..10, 1.0)];
        assert!(joined("x", all, MINUTE).unwrap_err().contains("{}, {pod=\"b\"}"));
    }
}
