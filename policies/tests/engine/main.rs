//! The engine through its own surface: policies as TOML, cycles as `decide` lines, decisions as JSON.

mod explained;
mod fleet;
mod golden;
mod hpa;
mod peers;
mod properties;
mod rules;
mod safety;
mod wire;
