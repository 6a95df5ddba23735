//! A simulated cloud: what `skala demo`, backtests and every test of the daemon run on.
//!
//! In come [`Settings`] (groups, seed, scripted faults), a function that says what time it is and one that waits; out
//! comes a [`Sim`], a provider like any other. The same seed and the same calls at the same times give the same cloud,
//! byte for byte. Nothing here reads a clock, starts a task or draws real randomness: the cloud moves on to "now"
//! whenever it is called, in the order in which things would have happened.
//!
//! Three kinds of group, told apart by their names: `web` keeps its desired capacity itself and removes instances by
//! name (an Auto Scaling group), `servers:web` keeps none (tagged servers), and of `deployment:web` desired can be
//! lowered, but the cloud picks the victims.
//!
//! Start reading at [`Cloud`]; [`Sim`] is the daemon's way in, `Cloud`'s own methods are everybody else's.

mod audit;
mod cloud;
mod dice;
mod door;
mod gate;
mod group;
mod native;
mod provider;
mod script;
mod settings;
mod span;
mod view;
mod writes;

pub use audit::{Calls, Entry};
pub use cloud::{Cloud, Now, Truth};
pub use door::{Refused, Removal};
pub use group::Kind;
pub use provider::{Sim, Sleep};
pub use script::{Fault, Operation, Process, Refusal, Script};
pub use settings::{Boot, GroupSettings, Guard, InvalidSettings, Rate, Settings};
pub use span::Span;
