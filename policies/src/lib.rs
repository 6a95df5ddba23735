//! skala's pure core: policies and facts in, decisions with their explanation out.
//!
//! No clock, no I/O, no randomness: the same input gives the same plan, byte for byte. The flow is three functions,
//! [`absorb`] what happened since, [`propose`] from the rules to the pace, [`settle`] the brakes, holds and bounds; each
//! returns new memory. [`policy`] turns text into policies, [`wire`] is the JSON of `skala decide` and the journal.

mod absorb;
pub mod facts;
mod forecast;
pub mod history;
mod inputs;
pub mod memory;
mod observe;
pub mod placement;
pub mod plan;
pub mod policy;
mod propose;
mod rules;
mod service;
mod settle;
mod stages;
pub mod text;
pub mod trace;
pub mod wire;

pub use absorb::{absorb, absorb_history};
pub use propose::{Proposal, propose};
pub use settle::{settle, spent};
pub use stages::remaining as cooldown_remaining;
