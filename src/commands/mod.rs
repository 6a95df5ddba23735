//! The command line: one file per command, each a `clap::Args` struct with `run(self, out) -> anyhow::Result<Exit>`.
//!
//! Data goes to `out` (standard output), logs and errors to standard error. Nothing here decides anything.

pub mod backtest;
pub mod check;
pub mod client;
pub mod completion;
pub mod decide;
pub mod demo;
pub mod explain;
pub mod handover;
pub mod hold;
pub mod iam;
pub mod import;
pub mod man;
pub mod outfit;
pub mod pin;
pub mod plan;
pub mod release;
pub mod reload;
pub mod report;
pub mod run;
pub mod sim_cloud;
pub mod status;
pub mod table;
pub mod test;
pub mod tune;

use clap::{CommandFactory, Parser, Subcommand};
use policies::policy::PolicySet;
use skala::config::Report;
use std::ffi::OsString;
use std::io::{self, BufWriter, Stdout, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How a command ended, as scripts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed at run time.
    Failed = 1,
    /// `plan --detailed-exitcode`: there are changes.
    Changes = 2,
    /// Wrong usage.
    Usage = 64,
    /// Invalid configuration.
    Invalid = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// An error with an exit code other than 1; make one with [`invalid`] or [`usage`] and return it through `anyhow`.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Refusal {
    exit: Exit,
    text: String,
}

/// The configuration is wrong: exit 78.
pub fn invalid(text: impl Into<String>) -> anyhow::Error {
    Refusal { exit: Exit::Invalid, text: text.into() }.into()
}

/// The arguments are wrong in a way that clap cannot see: exit 64.
pub fn usage(text: impl Into<String>) -> anyhow::Error {
    Refusal { exit: Exit::Usage, text: text.into() }.into()
}

/// The exit code of an error.
pub fn exit_of(error: &anyhow::Error) -> Exit {
    error.downcast_ref::<Refusal>().map_or(Exit::Failed, |refusal| refusal.exit)
}

/// Keeps the right number of machines running in every cloud a company uses, and can always say why.
#[derive(Debug, Parser)]
#[command(name = "skala", version, about, arg_required_else_help = true, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed at run time, 2 changes (plan --detailed-exitcode), \
                        64 wrong usage, 78 invalid configuration.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Plan(plan::Plan),
    Status(status::Status),
    Explain(explain::Explain),
    Report(report::Report),
    Hold(hold::Hold),
    Pin(pin::Pin),
    Release(release::Release),
    Reload(reload::Reload),
    Decide(decide::Decide),
    Backtest(backtest::BacktestArgs),
    Tune(tune::Tune),
    Check(check::Check),
    Demo(demo::Demo),
    SimCloud(sim_cloud::SimCloud),
    Iam(iam::Iam),
    Import(import::Import),
    Handover(handover::HandoverArgs),
    Test(test::Test),
    Completion(completion::Completion),
    Man(man::Man),
}

/// Parses the arguments and runs one command.
pub fn run(arguments: impl IntoIterator<Item = OsString>, out: &mut Out) -> anyhow::Result<Exit> {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return said(&error, out),
    };
    match arguments.command {
        Command::Run(command) => command.run(),
        Command::Plan(command) => command.run(out),
        Command::Status(command) => command.run(out),
        Command::Explain(command) => command.run(out),
        Command::Report(command) => command.run(out),
        Command::Hold(command) => command.run(out),
        Command::Pin(command) => command.run(out),
        Command::Release(command) => command.run(out),
        Command::Reload(command) => command.run(out),
        Command::Decide(command) => command.run(out),
        Command::Backtest(command) => command.run(out),
        Command::Tune(command) => command.run(out),
        Command::Check(command) => command.run(crate::registry::KINDS, out),
        Command::Test(command) => command.run(out),
        Command::Demo(command) => command.run(out),
        Command::SimCloud(command) => command.run(out),
        Command::Iam(command) => command.run(out),
        Command::Import(command) => command.run(out),
        Command::Handover(command) => command.run(out),
        Command::Completion(command) => command.run(out),
        Command::Man(command) => command.run(out),
    }
}

/// Help and version were asked for: data. Everything else of clap's is wrong usage.
fn said(error: &clap::Error, out: &mut Out) -> anyhow::Result<Exit> {
    use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
    if matches!(error.kind(), DisplayHelp | DisplayVersion) {
        write!(out, "{}", error.render())?;
        return Ok(Exit::Ok);
    }
    write!(io::stderr(), "{}", error.render())?;
    Ok(Exit::Usage)
}

/// The whole command line, for completions and manual pages.
fn definition() -> clap::Command {
    Arguments::command()
}

/// Standard output, locked and buffered once. A reader that went away is told apart from other failures.
#[derive(Debug)]
pub struct Out(BufWriter<Stdout>);

#[derive(Debug, thiserror::Error)]
#[error("the reader of the output has gone")]
struct OutputClosed;

impl Out {
    /// The process's standard output.
    pub fn stdout() -> Self {
        Self(BufWriter::with_capacity(64 * 1024, io::stdout()))
    }
}

fn closed(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::new(io::ErrorKind::BrokenPipe, OutputClosed),
        _ => error,
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(closed)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(closed)
    }
}

/// Whether an error only means that nobody reads our output any more.
pub fn output_closed(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.get_ref().is_some_and(|inner| inner.is::<OutputClosed>()))
}

/// The policies of a directory, by themselves: names of providers and sources are not resolved.
///
/// # Errors
/// With everything that is wrong, and exit 78.
pub fn policies_of(directory: &Path) -> anyhow::Result<PolicySet> {
    read_policies(directory).map(|(set, _)| set)
}

/// As [`policies_of`], with the files they stand in.
///
/// # Errors
/// With everything that is wrong, and exit 78.
pub fn read_policies(directory: &Path) -> anyhow::Result<(PolicySet, Report)> {
    let (set, report) = skala::config::load_policies(directory, None);
    if report.has_errors() {
        return Err(invalid(skala::config::diagnostics::render(&report)));
    }
    Ok((set, report))
}

/// Reads a duration argument: `90s`, `5m`, `1h30m`.
///
/// # Errors
/// With what would be right, for clap to show.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write \"90s\", \"5m\" or \"1h30m\"");
    let (mut total, mut digits, mut last) = (Duration::ZERO, String::new(), u64::MAX);
    for letter in text.chars() {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        let unit = match letter {
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return Err(wrong()),
        };
        // Units come once each, largest first: `5m1h` is a slip, not a duration.
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        if unit >= last {
            return Err(wrong());
        }
        total = number.checked_mul(unit).and_then(|s| total.checked_add(Duration::from_secs(s))).ok_or_else(wrong)?;
        last = unit;
        digits.clear();
    }
    if !digits.is_empty() || text.is_empty() { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        definition().debug_assert();
    }

    #[test]
    fn durations() {
        for (text, secs) in [("90s", 90), ("5m", 300), ("1h30m", 5400), ("2d", 172_800), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(secs)), "{text}");
        }
        for text in ["", "5", "m", "5m1h", "1h1h", "-5m", "1.5h", "5 m", "5M", "99999999999999999999s", "5mm"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn exit_codes_travel_through_context() {
        use anyhow::Context;
        let wrapped = Err::<(), _>(invalid("x")).context("while loading").unwrap_err();
        assert_eq!(exit_of(&wrapped), Exit::Invalid);
        assert_eq!(exit_of(&usage("x")), Exit::Usage);
        assert_eq!(exit_of(&anyhow::anyhow!("x")), Exit::Failed);
    }
}
