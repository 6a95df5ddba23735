//! A server that drains instances. It is sent a JSON document, and says by the status of its answer how far it is.

use super::{DrainAsk, DrainError, Drainer, Progress};
use crate::http::{FetchError, FetchSettings, Fetcher, split_query};
use contract::BoxFuture;
use std::time::Duration;

/// "It goes on; ask again": 202 Accepted.
const GOES_ON: u16 = 202;
/// An answer's text is for nobody.
const BODY_MAX: usize = 64 * 1024;

/// A server.
#[derive(Debug)]
pub struct Webhook {
    fetcher: Fetcher,
    query: Option<String>,
    timeout: Duration,
}

impl Webhook {
    /// The server at `url`. Fails when the settings can never work; opens no connection.
    pub fn new(url: &str, settings: FetchSettings) -> Result<Self, FetchError> {
        let (base, query) = split_query(url);
        let timeout = settings.timeout;
        let body_max = settings.body_max.min(BODY_MAX);
        let fetcher = Fetcher::new(base, FetchSettings { body_max, ..settings })?;
        Ok(Self { fetcher, query: query.map(str::to_owned), timeout })
    }
}

impl Drainer for Webhook {
    fn ask<'a>(&'a self, ask: &'a DrainAsk, within: Duration) -> BoxFuture<'a, Result<Progress, DrainError>> {
        Box::pin(async move {
            let document = serde_json::to_string(ask).map_err(|error| DrainError(error.to_string()))?;
            match self.fetcher.post_json(self.query.as_deref(), document, self.timeout.min(within)).await {
                Ok(body) if body.status() == GOES_ON => Ok(Progress::Going),
                Ok(_) => Ok(Progress::Done),
                Err(error) => Err(DrainError(crate::sources::shown(&error.to_string()))),
            }
        })
    }
}

#[cfg(test)]
mod tests;
