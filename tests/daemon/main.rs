//! The tests that need more than one room: one binary, one module for each subject.

mod prometheus_source;
mod simulation;
