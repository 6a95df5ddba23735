//! The tests that need more than one room: one binary, one module for each subject.

// A test may unwrap, and says its seed or a daemon's log when it fails; clippy knows only the functions marked as tests
// for such.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod api;
mod backends;
mod backtest;
mod cli;
mod draining;
#[cfg(feature = "gcp")]
mod google;
mod handover;
mod living;
mod prometheus_source;
mod report;
mod service_manager;
mod simulation;
mod sources;
mod systemd;
mod tune;
