//! One value for each period: how series are aligned, and how several become one.

use contract::Timestamp;
use std::collections::BTreeMap;

/// What a series' values are: how they are measured, and their type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub kind: &'static str,
    pub values: &'static str,
}

/// The end of a period, and its value.
pub(super) type Values = BTreeMap<Timestamp, f64>;

/// The periods of an interval, which are counted back from its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Periods {
    pub from: Timestamp,
    pub to: Timestamp,
    pub micros: i64,
}

impl Periods {
    /// Each period's beginning, which is not in it, and end, which is.
    fn all(self) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let ends = (0..).map(move |index| Timestamp(self.to.0 - index * self.micros));
        ends.take_while(move |end| *end > self.from).map(move |end| (Timestamp(end.0 - self.micros), end))
    }
}

/// Aligns a series; the form of what comes out. `None`: this aligner is not for such a series.
pub(super) fn align(points: &Values, form: Form, aligner: &str, periods: Periods) -> Option<(Values, Form)> {
    let differs = matches!(aligner, "ALIGN_RATE" | "ALIGN_DELTA");
    match (differs, form.kind) {
        (true, "GAUGE") | (false, "CUMULATIVE") => return None,
        _ => {}
    }
    let secs = periods.micros as f64 / 1e6;
    let mut aligned = Values::new();
    for (begin, end) in periods.all() {
        let inside: Vec<f64> = points.range(Timestamp(begin.0 + 1)..=end).map(|(_, value)| *value).collect();
        let value = match (differs, form.kind) {
            (true, "CUMULATIVE") => {
                let before = points.range(..=begin).next_back();
                inside.last().zip(before).map(|(last, (_, before))| last - before)
            }
            (true, _) => (!inside.is_empty()).then(|| inside.iter().sum()),
            (false, _) => of_many(&inside, aligner.strip_prefix("ALIGN_")?)?,
        };
        if let Some(value) = value {
            aligned.insert(end, if aligner == "ALIGN_RATE" { value / secs } else { value });
        }
    }
    let form = match aligner {
        "ALIGN_RATE" => Form { kind: "GAUGE", values: "DOUBLE" },
        "ALIGN_DELTA" => Form { kind: "DELTA", ..form },
        _ => formed(form, aligner.strip_prefix("ALIGN_")?),
    };
    Some((aligned, form))
}

/// Makes one series of several. `None`: the reducer is not for such series.
pub(super) fn reduce(all: &[Values], form: Form, reducer: &str) -> Option<(Values, Form)> {
    let word = reducer.strip_prefix("REDUCE_")?;
    let mut by_end: BTreeMap<Timestamp, Vec<f64>> = BTreeMap::new();
    for (end, value) in all.iter().flatten() {
        by_end.entry(*end).or_default().push(*value);
    }
    let mut reduced = Values::new();
    for (end, values) in by_end {
        reduced.extend(of_many(&values, word)?.map(|value| (end, value)));
    }
    Some((reduced, formed(form, word)))
}

fn formed(form: Form, word: &str) -> Form {
    match word {
        "MEAN" | "STDDEV" => Form { values: "DOUBLE", ..form },
        "COUNT" => Form { values: "INT64", ..form },
        _ => form,
    }
}

/// One value of many; the inner `None`: of none there is none, the outer: this is not known here.
fn of_many(values: &[f64], word: &str) -> Option<Option<f64>> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let one = match word {
        "MEAN" => mean,
        "SUM" => values.iter().sum(),
        "COUNT" => count,
        "MIN" => values.iter().copied().fold(f64::INFINITY, f64::min),
        "MAX" => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        "STDDEV" => (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt(),
        _ => return None,
    };
    Some((!values.is_empty()).then_some(one))
}
