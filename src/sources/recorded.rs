//! What a source recorded of a query over time, and which of it is one metric's. It judges no number; the core does.

use super::QueryAsk;
use contract::{BoxFuture, Timestamp};
use policies::facts::MissingWhy;
use policies::policy::Metric;
use std::collections::BTreeMap;
use std::time::Duration;

/// Evaluation times: `from`, `from + step`, and so on up to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub from: Timestamp,
    /// None later than this.
    pub to: Timestamp,
    /// From one to the next.
    pub step: Duration,
}

/// One series over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RangeSeries {
    /// Its labels, without the metric's name.
    pub labels: BTreeMap<String, String>,
    /// Evaluation times and finite values, in order.
    pub samples: Vec<(Timestamp, f64)>,
}

/// Why there is no range of samples.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}: {detail}")]
pub struct RangeError {
    /// The reason, in a reading's own words.
    pub why: MissingWhy,
    /// What exactly happened.
    pub detail: String,
    /// The answer was more than is taken at once: a shorter range may do.
    pub is_too_large: bool,
}

/// A source that can say what a query would have answered at earlier times.
pub trait Recorder: Send + Sync {
    /// The values of a query over a span, each series with what it has; none at all is an answer. Ends within a timeout of
    /// the source's own.
    ///
    /// # Errors
    /// When the source does not answer, refuses, or says that its answer may be incomplete: never an empty list then.
    fn recorded<'a>(&'a self, ask: &'a QueryAsk, span: Span) -> BoxFuture<'a, Result<Vec<RangeSeries>, RangeError>>;
}

/// The values of one metric among recorded series, in order of time. As with a live answer, a time at which more than one
/// series matches `select` has no value.
pub fn pick_recorded(metric: &Metric, answer: &[RangeSeries]) -> Vec<(Timestamp, f64)> {
    let is_own = |one: &&RangeSeries| {
        let has = |name: &str, wanted: &str| one.labels.get(name).map_or("", String::as_str) == wanted;
        metric.select.iter().all(|(name, wanted)| has(name, wanted))
    };
    let mut matching = answer.iter().filter(is_own);
    let mut values = matching.next().map_or_else(Vec::new, |one| one.samples.clone());
    let before = values.len();
    matching.for_each(|one| values.extend_from_slice(&one.samples));
    if values.len() == before {
        return values;
    }
    values.sort_by_key(|(at, _)| *at);
    let alone = values.chunk_by(|a, b| a.0 == b.0).filter(|same| same.len() == 1);
    alone.flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(select: &str) -> Metric {
        let text = format!(
            "[fleet.a]\nmode = \"on\"\nmin = 1\nmax = 9\ngroup = [{{ provider = \"cloud\", group = \"a\" }}]\n\
             [fleet.a.metric.rps]\nsource = \"load\"\nquery = \"sum by (asg) (rps)\"\nunit = \"count\"\n{select}\n\
             [[fleet.a.rule]]\nkind = \"per-instance\"\nmetric = \"rps\"\ntarget = 10\n"
        );
        let file = policies::policy::SourceFile { name: "a.toml".into(), text };
        let (set, found) = crate::config::parse_policies(&[file], Duration::from_secs(15), None);
        assert!(found.is_empty(), "{found:?}");
        set.fleets[0].metrics[0].clone()
    }

    fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> RangeSeries {
        RangeSeries {
            labels: labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            samples: samples.iter().map(|(at, value)| (Timestamp::from_secs(*at), *value)).collect(),
        }
    }

    #[test]
    fn a_fleet_gets_its_own_series_and_nothing_where_there_were_two() {
        let picked = |select: &str, answer: &[RangeSeries]| {
            let values = pick_recorded(&metric(select), answer);
            values.into_iter().map(|(at, value)| (at.0 / 1_000_000, value)).collect::<Vec<_>>()
        };
        let answer = [
            series(&[("asg", "b")], &[(60, 5.0), (120, 6.0)]),
            series(&[("asg", "a"), ("zone", "x")], &[(60, 1.0), (120, 2.0), (240, 3.0)]),
            series(&[("asg", "a"), ("zone", "y")], &[(120, 9.0), (180, 4.0)]),
        ];
        assert_eq!(picked("select = { asg = \"b\" }", &answer), [(60, 5.0), (120, 6.0)]);
        // The series changed its labels: while both were there, a live reading would have been ambiguous.
        assert_eq!(picked("select = { asg = \"a\" }", &answer), [(60, 1.0), (180, 4.0), (240, 3.0)]);
        assert_eq!(picked("select = { asg = \"c\" }", &answer), []);
        assert_eq!(picked("", &answer[..1]), [(60, 5.0), (120, 6.0)]);
        assert_eq!(picked("", &answer), [(180, 4.0), (240, 3.0)]);
    }
}
