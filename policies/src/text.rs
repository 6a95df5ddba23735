//! Text of the typed reasons, made only where it is shown.

use crate::policy::Policy;
use crate::trace::{Answer, Why};
use std::fmt;

pub(crate) fn why(f: &mut fmt::Formatter<'_>, why: &Why, _policy: &Policy) -> fmt::Result {
    write!(f, "{why:?}")
}

pub(crate) fn answer(f: &mut fmt::Formatter<'_>, answer: &Answer, _policy: &Policy) -> fmt::Result {
    write!(f, "{answer:?}")
}
