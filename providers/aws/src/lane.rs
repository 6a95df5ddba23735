//! How every call is made: leave of the limiter first, a deadline around it, one typed error after it.
//!
//! A read is tried once more when its connection broke (an idle one that the server had closed); a write never is, not
//! here: whoever retries a write must read again first.

use crate::errors::{Effect, Failure, classify, unanswered};
use crate::limiter::Limiter;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
pub use contract::Deadlines;
use contract::{OnCall, ProviderError, Telling};
use std::error::Error;
use std::future::Future;
use tokio::time::Instant;

pub(crate) struct Lane {
    pub limiter: Limiter,
    pub deadlines: Deadlines,
    pub on_call: Option<OnCall>,
}

impl Lane {
    pub fn new(rate: f64, deadlines: Deadlines, on_call: Option<OnCall>) -> Self {
        Self { limiter: Limiter::new(rate), deadlines, on_call }
    }

    /// Makes a call that changes nothing.
    pub async fn read<T, E, F>(&self, operation: &'static str, call: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        self.read_until(operation, Instant::now() + self.deadlines.read, call).await
    }

    /// The same for one of several reads that together end at a time.
    pub async fn read_until<T, E, F>(
        &self,
        operation: &'static str,
        until: Instant,
        call: impl Fn() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let deadline = until.min(Instant::now() + self.deadlines.read);
        match self.attempt(operation, Effect::Read, deadline, call()).await {
            Err((_, true)) => self.attempt(operation, Effect::Read, deadline, call()).await,
            first => first,
        }
        .map_err(|(failure, _)| failure)
    }

    /// Makes a call that may change something: one attempt.
    pub async fn write<T, E, F>(&self, operation: &'static str, deadline: Instant, call: F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        self.attempt(operation, Effect::Write, deadline, call).await.map_err(|(failure, _)| failure)
    }

    /// One attempt; the flag beside the failure says that the connection broke.
    async fn attempt<T, E, F>(
        &self,
        operation: &'static str,
        effect: Effect,
        deadline: Instant,
        call: F,
    ) -> Result<T, (Failure, bool)>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        // Half of the time for the limiter: a call that is let through at the last moment would only time out.
        let patience = deadline.saturating_duration_since(Instant::now()) / 2;
        if let Err(wait) = self.limiter.acquire(effect, patience).await {
            let error = ProviderError::Throttled { retry_after: Some(wait) };
            return Err((Failure::settled(error), false));
        }
        let started = Instant::now();
        if started >= deadline {
            let what = format!("{operation}: no time was left to send it").into();
            let error = ProviderError::Transport { what, source: None };
            return Err((Failure::settled(error), false));
        }
        let telling = Telling::of(self.on_call.as_ref(), operation, || started.elapsed());
        let result = match tokio::time::timeout_at(deadline, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let broke = matches!(&error, SdkError::DispatchFailure(failure) if !failure.is_timeout());
                let failure = classify(operation, effect, error);
                let broke = broke && matches!(failure.error, ProviderError::Transport { .. });
                Err((failure, broke))
            }
            Err(_) => {
                let why = format!("no answer within {:?}", deadline.saturating_duration_since(started));
                Err((unanswered(operation, effect, &why, None), false))
            }
        };
        if let Err((Failure { error: ProviderError::Throttled { retry_after }, .. }, _)) = &result {
            self.limiter.throttled(*retry_after);
        }
        telling.end(result.as_ref().err().map_or("ok", |(failure, _)| failure.error.code()));
        result
    }
}
