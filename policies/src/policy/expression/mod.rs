//! A rule of kind `expression`: one number from several metrics, in the syntax of CEL over a short list of what is
//! allowed. Read, resolved and type-checked once, when the policy is loaded; what remains is a list of terms to walk.
//!
//! Allowed are metrics, numbers, `+ - * /`, `< <= > >= == !=`, `&& || !`, `? :`, and `ceil floor abs min max`. Unlike
//! CEL's, all numbers are floating-point, so `3 / 2` is 1.5. A metric stands for its value in its own unit (a percentage
//! is 0 to 100); a name that is no identifier stands in backquotes; `//` begins a comment.

mod lexer;
mod parser;

pub(super) use lexer::names;

use super::diagnostic::Finding;
use super::metric::Drafts;
use super::query;
use super::reader::{Fault, Reader};
use super::tree::Node;
use super::units;

/// Longest text, in bytes. Beyond this it is a program, and belongs into a recording rule of the metrics store.
const BYTES_MAX: usize = 1024;
/// Most terms: what one evaluation may cost.
const TERMS_MAX: usize = 256;
/// How deep parentheses, calls, signs and choices may nest: what reading and walking may take of the stack.
const DEPTH_MAX: usize = 32;

/// An expression without mistakes. It has a term, its terms refer to earlier ones alone, and its types fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression(Box<[Term]>);

impl Expression {
    /// A term.
    ///
    /// # Panics
    /// When there is no such term. [`Expression::root`] and what it leads to are there.
    pub fn term(&self, at: u16) -> Term {
        self.0[usize::from(at)]
    }

    /// The term whose value is the expression's.
    pub fn root(&self) -> u16 {
        u16::try_from(self.0.len() - 1).unwrap_or(u16::MAX)
    }

    /// The metrics that it mentions, with repetitions.
    pub fn metrics(&self) -> impl Iterator<Item = u16> {
        self.0.iter().filter_map(|term| match term {
            Term::Metric(metric) => Some(*metric),
            _ => None,
        })
    }
}

/// A part of an expression; operands are earlier terms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Term {
    /// A finite number.
    Number(f64),
    /// A metric's value, by its index.
    Metric(u16),
    /// A function of one operand.
    One(One, u16),
    /// A function of two.
    Two(Two, u16, u16),
    /// `condition ? then : otherwise`.
    Choice {
        /// True or false.
        condition: u16,
        /// Its value when true.
        then: u16,
        /// Its value when false.
        otherwise: u16,
    },
}

/// Functions of one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // They are what they are called.
pub enum One {
    Negative,
    Not,
    Ceil,
    Floor,
    Abs,
}

/// Functions of two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // They are what they are called.
pub enum Two {
    Add,
    Subtract,
    Multiply,
    Divide,
    Min,
    Max,
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
    Differs,
    And,
    Or,
}

/// Reads the key `expr`.
pub(super) fn read(r: &mut Reader<'_>, metrics: &Drafts) -> Option<Expression> {
    let text = |node: &Node| {
        let text = units::text(node)?;
        match text.len() > BYTES_MAX {
            true => Err(Fault::new(format!("must not be longer than {BYTES_MAX} bytes"))),
            false => Ok((text, node.at)),
        }
    };
    let hint = "the capacity to recommend: expr = \"ceil(rps / 220)\"";
    let (text, at) = r.need_or("expr", text, Some(hint))?;
    let (expression, faults) = parser::parse(&text, &|name| metrics.find_name(name, true));
    for (span, fault) in faults {
        let place = query::within(r, &text, at, span).unwrap_or(at);
        r.findings().error(place, fault.of("expr"));
    }
    let expression = expression?;
    if expression.metrics().next().is_none() && !r.is_partial() {
        let found = Finding::new("`expr` names no metric, so it is always the same");
        r.findings().warn(at, found.hint("to keep a capacity whatever happens, set the fleet's `min`"));
    }
    Some(expression)
}
