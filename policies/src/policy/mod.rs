//! Policy files: text in, a [`PolicySet`] and every problem found out. Nothing here reads a file or asks a clock.
//!
//! `syntax` makes a tree of a text, `layers` lays defaults and templates under fleets, `reader` takes keys out of it,
//! `fleet`, `metric`, `rule`, `schedule` and `objective` know the keys, `checks` what only a whole fleet can get wrong.

mod cases;
mod checks;
mod diagnostic;
mod drain;
mod expression;
mod fleet;
mod group;
mod layers;
mod metric;
mod model;
mod objective;
mod outline;
mod parse;
mod places;
mod query;
mod queueing;
mod reader;
mod rule;
mod schedule;
mod syntax;
mod tables;
pub mod testing;
mod texts;
mod tree;
pub mod units;

pub use diagnostic::{At, Diagnostic, Finding, Findings, Related, Severity};
pub use drain::Drain;
pub use expression::{Expression, One, Term, Two};
pub use fleet::read_rate;
pub use group::{Age, Group, Spread, Survive};
pub use model::*;
pub use objective::{CalendarEvent, InstanceCapacity, Objective};
pub use parse::{Composite, FILES_MAX, ParseOptions, QueryCheck, QueryError, QueryFacts, parse, settings};
pub use places::{Place, Places, Setting};
pub use queueing::{Latency, Queue};
pub use reader::{Fault, Reader, nearest};
pub use syntax::{FILE_BYTES_MAX, read as read_toml};
pub use tables::{PolicyTest, TestCycle, TestReadings};
pub use texts::query_for;
pub use tree::{Entry, Node, Table, Value};

/// One policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its name as diagnostics show it.
    pub name: Box<str>,
    /// Its text.
    pub text: String,
}
