//! The engine through its own surface: policies as TOML, cycles as `decide` lines, decisions as JSON.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // Tests read their cases, and may unwrap.

mod absent;
mod draining;
mod events;
mod explained;
mod expressions;
mod flap;
mod fleet;
mod golden;
mod history;
mod hpa;
mod learned;
mod memory;
mod objective;
mod peers;
mod places;
mod properties;
mod queueing;
mod rules;
mod safety;
mod several;
mod spread;
mod victims;
mod wire;
