//! The owner tag: the annotation `skala.dev/owner`, written with the object's resourceVersion as precondition, so of two
//! daemons that claim at one moment one is refused.

pub(crate) use contract::claim::{Claim, LIFE, format, judge, parse};

pub(crate) const KEY: &str = "skala.dev/owner";
