//! The one suite that every provider of skala passes.
//!
//! In come a provider and a [`Fixture`]: what a test offers beside the provider, such as a way to read the cloud past it
//! and to break it on demand. Out comes a [`Report`] of which cases passed and which do not apply, with the reason, or a
//! [`Failure`] that names every case that did not hold. The suite knows no cloud, starts no task and reads no clock; it
//! never takes "not applicable" for granted: a fixture says up front what it [`Offers`], and what it then cannot do
//! fails. A provider's own test asserts the report with [`Report::assert_not_applicable`].

mod cases;
mod fixture;
mod stage;

pub use fixture::{Call, Calls, Fault, Fixture, Offers, Spec, Truth, Unsupported};

use contract::Provider;
use stage::{Stage, Stop};
use std::fmt;

/// Which cases ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Cases that held.
    pub passed: Vec<&'static str>,
    /// Cases that say nothing of this provider or fixture, with the reason.
    pub not_applicable: Vec<(&'static str, String)>,
}

impl Report {
    /// Asserts that exactly these cases did not apply, so that none drops out unnoticed.
    ///
    /// # Panics
    /// When it were others, with all reasons.
    pub fn assert_not_applicable(&self, expected: &[&str]) {
        let mut expected = expected.to_vec();
        let mut found: Vec<&str> = self.not_applicable.iter().map(|(name, _)| *name).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert!(expected == found, "expected these to be not applicable: {expected:?}\n{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.passed {
            writeln!(f, "passed          {name}")?;
        }
        for (name, why) in &self.not_applicable {
            writeln!(f, "not applicable  {name}: {why}")?;
        }
        Ok(())
    }
}

/// The cases that did not hold.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    /// Each with what was seen.
    pub failed: Vec<(&'static str, String)>,
    /// The others.
    pub report: Report,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, what) in &self.failed {
            writeln!(f, "FAILED          {name}: {what}")?;
        }
        self.report.fmt(f)
    }
}

/// `unwrap` prints this, so it is as readable as `Display`.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

/// The names of all cases, in the order in which they run.
pub fn case_names() -> Vec<&'static str> {
    cases::all().map(|(name, _)| name).collect()
}

/// Runs every case.
///
/// # Errors
/// All cases that did not hold; one that fails does not stop the next.
pub async fn run(provider: &dyn Provider, fixture: &mut dyn Fixture) -> Result<Report, Failure> {
    run_if(provider, fixture, |_| true).await
}

/// Runs the cases whose name `wanted` says yes to: for looking at one of them.
///
/// # Errors
/// As [`run`].
pub async fn run_if(
    provider: &dyn Provider,
    fixture: &mut dyn Fixture,
    wanted: impl Fn(&str) -> bool,
) -> Result<Report, Failure> {
    let mut report = Report::default();
    let mut failed = Vec::new();
    let mut stage = Stage::new(provider, fixture);
    for (name, case) in cases::all().filter(|(name, _)| wanted(name)) {
        let verdict = case(&mut stage).await;
        stage.tidy_up().await;
        match verdict {
            Ok(()) => report.passed.push(name),
            Err(Stop::NotApplicable(why)) => report.not_applicable.push((name, why)),
            Err(Stop::Failed(what)) => failed.push((name, what)),
        }
    }
    if failed.is_empty() { Ok(report) } else { Err(Failure { failed, report }) }
}
