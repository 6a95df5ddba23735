//! The tests that need more than one room: one binary, one module for each subject.

// A test may unwrap; clippy knows only the functions marked as tests for such.
#![allow(clippy::unwrap_used)]

mod api;
mod backends;
mod cli;
mod living;
mod prometheus_source;
mod simulation;
mod systemd;
