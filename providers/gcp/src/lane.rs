//! How every call is made: leave of the limiter first, a deadline around it, one typed error after it.
//!
//! The SDK's own retries are off. A read is tried once more when its connection broke (an idle one that the server had
//! closed); a write never is, not here: whoever retries a write must read again first.

use crate::Clock;
use crate::errors::{Effect, Failure, classify, unanswered};
use crate::limiter::Limiter;
pub use contract::Deadlines;
use contract::{OnCall, ProviderError, Telling};
use google_cloud_gax::error::Error as SdkError;
use std::future::Future;
use tokio::time::Instant;

pub(crate) struct Lane {
    reads: Limiter,
    writes: Limiter,
    pub deadlines: Deadlines,
    on_call: Option<OnCall>,
    now: Clock,
}

impl Lane {
    pub fn new(rate: f64, deadlines: Deadlines, on_call: Option<OnCall>, now: Clock) -> Self {
        Self { reads: Limiter::new(rate), writes: Limiter::new(rate), deadlines, on_call, now }
    }

    /// Makes a call that changes nothing.
    pub async fn read<T, F>(
        &self,
        operation: &'static str,
        deadline: Instant,
        call: impl Fn() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, SdkError>>,
    {
        self.read_within(operation, (deadline, 1), call).await
    }

    /// Makes a call that changes nothing, and that has half of the time which is left when it is sent: there is another
    /// way when it hangs.
    pub async fn read_in_half<T, F>(
        &self,
        operation: &'static str,
        deadline: Instant,
        call: impl Fn() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, SdkError>>,
    {
        self.read_within(operation, (deadline, 2), call).await
    }

    async fn read_within<T, F>(
        &self,
        operation: &'static str,
        time: (Instant, u32),
        call: impl Fn() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, SdkError>>,
    {
        match self.attempt(operation, Effect::Read, time, call()).await {
            Err(Failure { broke: true, .. }) => self.attempt(operation, Effect::Read, time, call()).await,
            first => first,
        }
    }

    /// Makes a call that may change something: one attempt.
    pub async fn write<T, F>(&self, operation: &'static str, deadline: Instant, call: F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, SdkError>>,
    {
        self.attempt(operation, Effect::Write, (deadline, 1), call).await
    }

    async fn attempt<T, F>(
        &self,
        operation: &'static str,
        effect: Effect,
        (deadline, share): (Instant, u32),
        call: F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, SdkError>>,
    {
        let limiter = match effect {
            Effect::Read => &self.reads,
            Effect::Write => &self.writes,
        };
        // Half of the time for the limiter: a call that is let through at the last moment would only time out.
        let patience = deadline.saturating_duration_since(Instant::now()) / 2;
        if let Err(wait) = limiter.acquire(patience).await {
            let error = ProviderError::Throttled { retry_after: Some(wait) };
            return Err(Failure { error, harmless: true, broke: false });
        }
        let started = Instant::now();
        if started >= deadline {
            let what = format!("{operation}: no time was left to send it").into();
            let error = ProviderError::Transport { what, source: None };
            return Err(Failure { error, harmless: true, broke: false });
        }
        let telling = Telling::of(self.on_call.as_ref(), operation, || started.elapsed());
        let within = deadline.saturating_duration_since(started) / share;
        let result = match tokio::time::timeout(within, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(classify(operation, effect, error, (self.now)())),
            Err(_) => {
                let why = format!("no answer within {within:?}");
                Err(unanswered(operation, effect, &why, None))
            }
        };
        if let Err(Failure { error: ProviderError::Throttled { retry_after: Some(wait) }, .. }) = &result {
            limiter.throttled(*wait);
        }
        telling.end(result.as_ref().err().map_or("ok", |failure| failure.error.code()));
        result
    }
}
