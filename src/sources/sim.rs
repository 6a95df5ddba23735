//! A source without a network, for the demo, simulations and benches: a function from question and time to answer.

use super::{Answer, MetricSource, QueryAsk, SeriesPoint};
use contract::{BoxFuture, Timestamp};
use std::sync::Arc;

/// What a query is answered with at a time. The same question and time must give the same answer.
pub type Load = Arc<dyn Fn(&str, Timestamp) -> Answer + Send + Sync>;

/// A source that answers from a function.
#[derive(Clone)]
pub struct SimSource {
    load: Load,
}

impl SimSource {
    /// Answers from this function.
    pub fn new(load: Load) -> Self {
        Self { load }
    }

    /// One series of such an answer.
    pub fn point(labels: &[(&str, &str)], value: f64, at: Timestamp) -> SeriesPoint {
        let mut labels: Vec<_> = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        labels.sort_unstable();
        SeriesPoint { labels: labels.into_boxed_slice(), value, at: Some(at) }
    }
}

impl MetricSource for SimSource {
    fn query<'a>(&'a self, ask: &'a QueryAsk, now: Timestamp) -> BoxFuture<'a, Answer> {
        let answer = (self.load)(&ask.query, now.before(ask.offset));
        Box::pin(std::future::ready(answer))
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
        let ask = QueryAsk { query: "load".into(), freshness: None, offset, by: Vec::new() };
        let answer = source.query(&ask, Timestamp::from_secs(100)).await.unwrap();
        let expected = SimSource::point(&[("query", "load")], 70.0, Timestamp::from_secs(70));
        assert_eq!(*answer, [expected]);
    }
}
