//! The tests that need more than one room: one binary, one module for each subject.

mod api;
mod cli;
mod living;
mod prometheus_source;
