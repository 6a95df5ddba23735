//! Readings from a command that prints the Prometheus text exposition format. In: questions, each the name of a series,
//! with labels if need be: `depth{queue="jobs"}`. Out: its samples, or the reason why there are none. The command runs once
//! for all who ask in a cycle, and never twice side by side. It never takes anything but an exit status of 0 and a whole
//! output for an answer, and never the time of the run for a sample's, unless it is told to.

mod exposition;

use super::failure::{Failure, Notes, shown};
use super::round::Round;
use super::{Answer, MetricSource, QueryAsk, SeriesPoint};
use crate::program::{Program, ProgramError};
use contract::{BoxFuture, Timestamp};
use exposition::{Name, Samples};
use policies::facts::MissingWhy;
use std::sync::Arc;
use std::time::Duration;

impl From<ProgramError> for Failure {
    fn from(error: ProgramError) -> Self {
        let why = match &error {
            ProgramError::Timeout(_) => MissingWhy::Timeout,
            ProgramError::NotStarted(_) => MissingWhy::Refused,
            ProgramError::TooLarge => return Failure::too_large(error.to_string()),
            ProgramError::Status { .. } | ProgramError::Failed(_) => MissingWhy::Other("command_failed".into()),
        };
        Failure::new(why, shown(&error.to_string()))
    }
}

/// What to run, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecSettings {
    /// The program's absolute path, and its arguments. No shell reads them.
    pub command: Vec<String>,
    /// It is killed after this.
    pub timeout: Duration,
    /// Names of the environment's variables that it is given; no others.
    pub environment: Vec<String>,
    /// A sample without a time has the time at which the run began: whoever sets this vouches for a command that never
    /// prints an old value.
    pub trust_time: bool,
}

/// Whether a query names a series.
///
/// # Errors
/// What is wrong with it, with the place in bytes.
pub fn check_name(query: &str) -> Result<(), (String, usize)> {
    exposition::parse_name(query).map(|_| ())
}

/// A command.
pub struct Exec {
    program: Arc<Program>,
    trust_time: bool,
    round: Round<Result<Ran, Failure>>,
    notes: Notes,
}

/// What a run printed, and when it began.
struct Ran {
    samples: Samples,
    began: Timestamp,
}

impl Exec {
    /// A command of a source that skala.toml calls `name`. `environment` gives the variables' values; one that is not set
    /// is left out. Nothing is run yet.
    pub fn new(name: &str, settings: ExecSettings, environment: impl Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        let named = settings.environment.into_iter();
        let environment = named.filter_map(|name| environment(&name).map(|value| (name, value))).collect();
        let program = Program { command: settings.command, environment, timeout: settings.timeout };
        Self {
            program: Arc::new(program),
            trust_time: settings.trust_time,
            round: Round::new(),
            notes: Notes::new(name),
        }
    }

    async fn answer(&self, ask: &QueryAsk, now: Timestamp) -> Result<Arc<[SeriesPoint]>, Failure> {
        if !ask.offset.is_zero() {
            return Err(Failure::new(MissingWhy::Refused, "a command tells the present alone: leave out `offset`"));
        }
        let name = exposition::parse_name(&ask.query)
            .map_err(|(why, _)| Failure::new(MissingWhy::Refused, format!("the query names no series: {why}")))?;
        let program = Arc::clone(&self.program);
        let ran = self.round.join(|| async move {
            let printed = program.run().await?;
            let printed =
                String::from_utf8(printed).map_err(|_| Failure::malformed("it printed what is no UTF-8 text"))?;
            let samples = exposition::parse(&printed)
                .map_err(|why| Failure::malformed(format!("it printed no exposition format: {why}")))?;
            Ok(Ran { samples, began: now })
        });
        match ran.await.as_deref() {
            Some(Ok(ran)) => Ok(self.take(&name, ran)),
            Some(Err(failure)) => Err(failure.clone()),
            None => Err(Failure::new(MissingWhy::Other("fault".into()), "it panicked; please report this")),
        }
    }

    fn take(&self, name: &Name, ran: &Ran) -> Arc<[SeriesPoint]> {
        let samples = ran.samples.get(&name.name).map_or(&[][..], Vec::as_slice);
        let has = |own: &exposition::Labels, wanted: &(Box<str>, Box<str>)| match own
            .binary_search_by(|one| one.0.cmp(&wanted.0))
        {
            Ok(at) => own[at].1 == wanted.1,
            Err(_) => wanted.1.is_empty(),
        };
        let matching = samples.iter().filter(|sample| name.labels.iter().all(|wanted| has(&sample.labels, wanted)));
        let point = |sample: &exposition::Sample| SeriesPoint {
            labels: sample.labels.clone(),
            value: sample.value,
            at: sample.at.or(self.trust_time.then_some(ran.began)),
            from: None,
        };
        matching.map(point).collect()
    }
}

impl MetricSource for Exec {
    fn query<'a>(&'a self, ask: &'a QueryAsk, now: Timestamp) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let answer = self.answer(ask, now).await;
            self.notes.note(&ask.query, answer.as_ref().err(), now);
            answer.map_err(|failure| failure.why)
        })
    }
}

#[cfg(test)]
mod tests;
