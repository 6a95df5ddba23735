//! Readings from a cloud's own metrics, by whatever provider has them. In: questions in that cloud's language. Out: its
//! points, each with the time up to which it says something, or the reason why there are none. It names no cloud.

use super::failure::{Failure, Notes};
use super::{Answer, MetricSource, QueryAsk, SeriesPoint};
use contract::{BoxFuture, Metrics, Point, Provider, ProviderError, Timestamp};
use policies::facts::MissingWhy;
use std::sync::Arc;
use std::time::Duration;

/// One account's metrics.
pub struct CloudMetrics {
    provider: Arc<dyn Provider>,
    timeout: Duration,
    notes: Notes,
}

impl CloudMetrics {
    /// The metrics of a provider, for a source that skala.toml calls `name`; `None`: it has none.
    pub fn new(name: &str, provider: Arc<dyn Provider>, timeout: Duration) -> Option<Self> {
        provider.metrics()?;
        Some(Self { provider, timeout, notes: Notes::new(name) })
    }

    async fn answer(&self, metrics: &dyn Metrics, ask: &QueryAsk, now: Timestamp) -> Result<Vec<Point>, Failure> {
        match tokio::time::timeout(self.timeout, metrics.query(&ask.query, now.before(ask.offset))).await {
            Ok(answer) => answer.map_err(failure_of),
            Err(_) => Err(Failure::new(MissingWhy::Timeout, format!("no answer within {:?}", self.timeout))),
        }
    }
}

fn failure_of(error: ProviderError) -> Failure {
    let why = match &error {
        ProviderError::Denied { .. } | ProviderError::Expired { .. } => MissingWhy::Other("credentials".into()),
        ProviderError::Invalid { .. } | ProviderError::NotFound { .. } => MissingWhy::Refused,
        ProviderError::Transport { .. } => MissingWhy::Unreachable,
        other => MissingWhy::Other(other.code().into()),
    };
    Failure::new(why, error.to_string())
}

impl MetricSource for CloudMetrics {
    fn query<'a>(&'a self, ask: &'a QueryAsk, now: Timestamp) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let answer = match self.provider.metrics() {
                Some(metrics) => self.answer(metrics, ask, now).await,
                None => Err(Failure::new(MissingWhy::Refused, "the provider has no metrics")),
            };
            self.notes.note(&ask.query, answer.as_ref().err(), now);
            let point =
                |point: Point| SeriesPoint { labels: point.labels, value: point.value, at: Some(point.at), from: None };
            answer.map(|points| points.into_iter().map(point).collect()).map_err(|failure| failure.why)
        })
    }
}

#[cfg(test)]
mod tests;
