//! skala's shell: everything that touches clock, network or disk around the pure core in `policies`.
//!
//! Start at `cycle`: observe, propose, settle, record, act, remember. `scheduler` says when cycles run, `board` holds
//! the newest of everything, `store` what survives a restart, `sources` where readings come from, `api` what people
//! and Prometheus read. This library names no cloud: it takes providers as an argument.

pub mod api;
pub mod app;
pub mod backtest;
pub mod board;
pub mod clock;
pub mod config;
pub mod control;
pub mod cycle;
pub mod drainers;
pub mod entropy;
pub mod handover;
pub mod http;
pub mod import;
pub mod policy_sources;
mod program;
pub mod published;
pub mod scheduler;
pub mod sources;
pub mod store;
pub mod telemetry;
