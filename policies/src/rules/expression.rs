//! `expression`: one number from several metrics, walked term by term.
//!
//! Unknown propagates: what is computed from an unknown reading is unknown, through `min` and `max` and a product with 0
//! too, and so is what is divided by 0 or is no finite number. Only what decides the value counts: the branch that `? :`
//! does not take is not looked at, and `false && x` is false and `true || x` is true on either side, whatever x is, as
//! in CEL. So `rps > 0 ? work / rps : 0` is known when rps is.
//!
//! A ratio or percentage of 95 % or more is censored (safety.md): what is computed from it may push out, never in. A
//! comparison with it is a condition and not a load, so that says nothing of the branch it picks. Where a share near 1
//! is what is healthy, the metric has unit = "count".

use super::{Context, Input, input, is_saturated, whole};
use crate::facts::RawReading;
use crate::policy::{Expression, One, Term, Two, Unit};
use crate::trace::{Answer, Calculation, Inputs, UndefinedWhy};
use contract::Capacity;

/// A term's value; a condition's is 1 or 0.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Worth {
    value: f64,
    /// A reading that it was computed from may be too small.
    saturated: bool,
    /// Every reading that it was computed from covers enough instances to recommend less.
    covers: bool,
}

pub(super) fn recommend(context: &Context<'_>, expression: &Expression) -> Answer {
    let mut walk = Walk { context, expression, at: context.current, inputs: Inputs::default() };
    let worth = match walk.worth(expression.root()) {
        Ok(worth) => worth,
        Err(unknown) => return unknown,
    };
    let raw = whole(worth.value);
    let value = if worth.saturated { raw.max(context.current) } else { raw };
    let calculation = Calculation::Expression { value: worth.value, inputs: walk.inputs, saturated: worth.saturated };
    if worth.covers {
        Answer::Value(value, calculation)
    } else {
        Answer::OutOnly(value.max(context.current), calculation)
    }
}

/// What the expression would recommend at another capacity: what is a ratio or a percentage is taken for an average over
/// instances, which moves with 1 / capacity. `None` when it is unknown there.
pub(crate) fn projected(context: &Context<'_>, expression: &Expression, at: Capacity) -> Option<Capacity> {
    let mut walk = Walk { context, expression, at: at.max(1), inputs: Inputs::default() };
    walk.worth(expression.root()).ok().map(|worth| whole(worth.value))
}

struct Walk<'a> {
    context: &'a Context<'a>,
    expression: &'a Expression,
    /// The capacity at which averages are taken.
    at: Capacity,
    inputs: Inputs,
}

impl Walk<'_> {
    /// A term's value, or the answer that it is unknown. Recurses no deeper than the expression has terms.
    fn worth(&mut self, at: u16) -> Result<Worth, Answer> {
        match self.expression.term(at) {
            Term::Number(value) => Ok(Worth { value, saturated: false, covers: true }),
            Term::Metric(metric) => self.read(metric),
            Term::One(one, of) => {
                let worth = self.worth(of)?;
                let value = match one {
                    One::Negative => -worth.value,
                    One::Not => 1.0 - worth.value,
                    One::Ceil => tidy(worth.value).ceil(),
                    One::Floor => tidy(worth.value).floor(),
                    One::Abs => worth.value.abs(),
                };
                Ok(Worth { value, ..worth })
            }
            Term::Two(two @ (Two::And | Two::Or), left, right) => self.either(two, left, right),
            Term::Two(two, left, right) => two_of(two, self.worth(left)?, self.worth(right)?),
            Term::Choice { condition, then, otherwise } => {
                let condition = self.worth(condition)?;
                let worth = self.worth(if condition.value == 1.0 { then } else { otherwise })?;
                Ok(Worth { covers: worth.covers && condition.covers, ..worth })
            }
        }
    }

    fn read(&mut self, metric: u16) -> Result<Worth, Answer> {
        let Input { value, covers, .. } = input(self.context, metric)?;
        let unit = self.context.metric(metric).unit;
        let share = matches!(unit, Unit::Ratio | Unit::Percent);
        // As it was read, so that 7 % is 7 and not what is left of it after a division and a product.
        let mut own = match &self.context.facts.readings[usize::from(metric)] {
            RawReading::Value { value, .. } => *value,
            _ => value * unit.full(),
        };
        if share && self.at != self.context.current {
            own *= f64::from(self.context.current) / f64::from(self.at);
        }
        self.inputs.note(metric, own);
        Ok(Worth { value: own, saturated: is_saturated(unit, value), covers })
    }

    /// `&&` and `||`: either side alone may decide it.
    fn either(&mut self, two: Two, left: u16, right: u16) -> Result<Worth, Answer> {
        let decides = |worth: &Worth| worth.value == if two == Two::Or { 1.0 } else { 0.0 };
        let left = self.worth(left);
        if left.as_ref().is_ok_and(decides) {
            return left;
        }
        match (left, self.worth(right)) {
            (_, Ok(right)) if decides(&right) => Ok(right),
            (Err(unknown), _) | (_, Err(unknown)) => Err(unknown),
            (Ok(left), Ok(right)) => Ok(Worth { covers: left.covers && right.covers, ..right }),
        }
    }
}

fn two_of(two: Two, left: Worth, right: Worth) -> Result<Worth, Answer> {
    let (a, b) = (left.value, right.value);
    let truth = |condition: bool| (f64::from(u8::from(condition)), true);
    let (value, compares) = match two {
        Two::Add => (a + b, false),
        Two::Subtract => (a - b, false),
        Two::Multiply => (a * b, false),
        Two::Divide if b == 0.0 => return Err(Answer::Undefined(UndefinedWhy::DividedByZero)),
        Two::Divide => (a / b, false),
        Two::Min => (a.min(b), false),
        Two::Max => (a.max(b), false),
        Two::Less => truth(a < b),
        Two::AtMost => truth(a <= b),
        Two::More => truth(a > b),
        Two::AtLeast => truth(a >= b),
        Two::Equal => truth(a == b),
        Two::Differs => truth(a != b),
        Two::And => truth(a == 1.0 && b == 1.0),
        Two::Or => truth(a == 1.0 || b == 1.0),
    };
    if !value.is_finite() {
        return Err(Answer::Undefined(UndefinedWhy::NotFinite));
    }
    let saturated = !compares && (left.saturated || right.saturated);
    Ok(Worth { value, saturated, covers: left.covers && right.covers })
}

/// The nearest whole number, when it is nearer than the rounding of some operations can tell: `ceil(0.7 / 0.1)` is 7.
fn tidy(value: f64) -> f64 {
    let nearest = value.round();
    if (value - nearest).abs() <= value.abs() * 1e-12 { nearest } else { value }
}
