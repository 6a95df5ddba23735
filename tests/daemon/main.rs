//! The daemon as a whole, seen from outside.

mod api;
mod cli;
mod living;
mod simulation;
