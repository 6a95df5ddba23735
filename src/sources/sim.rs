//! A source without a network, for the demo, simulations and benches: a function from question and time to answer.

use super::{Answer, MetricSource, QueryAsk, RangeError, RangeSeries, Recorder, SeriesPoint, Span};
use contract::{BoxFuture, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a query is answered with at a time. The same question and time must give the same answer.
pub type Load = Arc<dyn Fn(&str, Timestamp) -> Answer + Send + Sync>;

/// A source that answers from a function.
#[derive(Clone)]
pub struct SimSource {
    load: Load,
    records: bool,
}

impl SimSource {
    /// Answers from this function, and records nothing.
    pub fn new(load: Load) -> Self {
        Self { load, records: false }
    }

    /// Answers from this function, which knows the time before now as well.
    pub fn recording(load: Load) -> Self {
        Self { load, records: true }
    }

    /// One series of such an answer.
    pub fn point(labels: &[(&str, &str)], value: f64, at: Timestamp) -> SeriesPoint {
        let mut labels: Vec<_> = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        labels.sort_unstable();
        SeriesPoint { labels: labels.into_boxed_slice(), value, at: Some(at), from: None }
    }
}

impl MetricSource for SimSource {
    fn query<'a>(&'a self, ask: &'a QueryAsk, now: Timestamp) -> BoxFuture<'a, Answer> {
        let answer = (self.load)(&ask.query, now.before(ask.offset));
        Box::pin(std::future::ready(answer))
    }

    fn recorder(&self) -> Option<&dyn Recorder> {
        self.records.then_some(self)
    }
}

impl Recorder for SimSource {
    fn recorded<'a>(&'a self, ask: &'a QueryAsk, span: Span) -> BoxFuture<'a, Result<Vec<RangeSeries>, RangeError>> {
        let mut found: BTreeMap<BTreeMap<String, String>, Vec<(Timestamp, f64)>> = BTreeMap::new();
        let mut at = span.from;
        while at <= span.to {
            // As in a range of Prometheus, a time without an answer is a time without values.
            for point in (self.load)(&ask.query, at).unwrap_or_default().iter().filter(|point| point.value.is_finite())
            {
                let labels = point.labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
                found.entry(labels).or_default().push((at, point.value));
            }
            at = at.after(span.step);
        }
        let series = found.into_iter().map(|(labels, samples)| RangeSeries { labels, samples }).collect();
        Box::pin(std::future::ready(Ok(series)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn it_answers_for_the_time_asked_for() {
        let source = SimSource::new(Arc::new(|query: &str, at| {
            Ok(Arc::new([SimSource::point(&[("query", query)], at.as_secs_f64(), at)]))
        }));
        let offset = Duration::from_secs(30);
        let ask = QueryAsk { offset, ..QueryAsk::new("load") };
        let answer = source.query(&ask, Timestamp::from_secs(100)).await.unwrap();
        let expected = SimSource::point(&[("query", "load")], 70.0, Timestamp::from_secs(70));
        assert_eq!(*answer, [expected]);
    }

    #[tokio::test]
    async fn it_records_what_it_would_have_answered() {
        let load: Load = Arc::new(|_, at| match at.as_secs_f64() {
            120.0 => Err(policies::facts::MissingWhy::Timeout),
            secs => Ok(Arc::new([SimSource::point(&[("a", "1")], secs, at)])),
        });
        assert!(SimSource::new(load.clone()).recorder().is_none());
        let ask = QueryAsk::new("load");
        let at = Timestamp::from_secs;
        let span = Span { from: at(60), to: at(200), step: Duration::from_secs(60) };
        let source = SimSource::recording(load);
        let answer = source.recorder().unwrap().recorded(&ask, span).await.unwrap();
        assert_eq!(answer.len(), 1);
        assert_eq!(answer[0].samples, [(at(60), 60.0), (at(180), 180.0)]);
    }
}
