//! The engine through its own surface: policies as TOML, cycles as `decide` lines, decisions as JSON.

#![allow(clippy::disallowed_methods)] // The core is pure; its tests read files.

mod fleet;
mod golden;
mod hpa;
mod peers;
mod properties;
mod rules;
mod safety;
mod wire;
