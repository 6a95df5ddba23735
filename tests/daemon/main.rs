//! The daemon as a whole, seen from outside.

mod simulation;
