//! Tokens to terms, by precedence climbing, with names resolved and types checked on the way. A mistake of grammar ends
//! it; mistakes of names and types are all reported, each once.

use super::lexer::{Token, next};
use super::{DEPTH_MAX, Expression, One, TERMS_MAX, Term, Two};
use crate::policy::reader::{Fault, nearest};
use std::ops::Range;

/// Finds a metric by its name.
pub(super) type Resolve<'a> = &'a dyn Fn(&str) -> Result<u16, Fault>;
type Faults = Vec<(Range<usize>, Fault)>;

/// Reads a text; without a fault there is an expression.
pub(super) fn parse(text: &str, resolve: Resolve<'_>) -> (Option<Expression>, Faults) {
    let mut parser =
        Parser { text, resolve, token: Token::End, span: 0..0, terms: Vec::new(), faults: Vec::new(), depth: 0 };
    let whole = parser.advance().and_then(|()| parser.whole());
    match whole {
        Ok(()) if parser.faults.is_empty() => (Some(Expression(parser.terms.into())), Vec::new()),
        Ok(()) => (None, parser.faults),
        Err(fault) => {
            parser.faults.push(fault);
            (None, parser.faults)
        }
    }
}

/// What a part gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Condition,
    /// It was wrong and is reported; nothing more is said of it.
    Wrong,
}

/// A part that was read: its term, its kind, and where it stands.
#[derive(Clone, Debug)]
struct Part {
    term: u16,
    kind: Kind,
    span: Range<usize>,
}

type Read<T> = Result<T, (Range<usize>, Fault)>;

/// Binds least; what stands between `?` and `:` binds one more.
const CHOICE: u8 = 1;
const RELATION: u8 = 4;

/// What stands between two operands, how tightly it binds, and what it takes.
const BETWEEN: [(&str, u8, Two, Kind); 12] = [
    ("||", 2, Two::Or, Kind::Condition),
    ("&&", 3, Two::And, Kind::Condition),
    ("<", RELATION, Two::Less, Kind::Number),
    ("<=", RELATION, Two::AtMost, Kind::Number),
    (">", RELATION, Two::More, Kind::Number),
    (">=", RELATION, Two::AtLeast, Kind::Number),
    ("==", RELATION, Two::Equal, Kind::Number),
    ("!=", RELATION, Two::Differs, Kind::Number),
    ("+", 5, Two::Add, Kind::Number),
    ("-", 5, Two::Subtract, Kind::Number),
    ("*", 6, Two::Multiply, Kind::Number),
    ("/", 6, Two::Divide, Kind::Number),
];

const FUNCTIONS: [&str; 5] = ["ceil", "floor", "abs", "min", "max"];

struct Parser<'t> {
    text: &'t str,
    resolve: Resolve<'t>,
    token: Token<'t>,
    span: Range<usize>,
    terms: Vec<Term>,
    faults: Faults,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn advance(&mut self) -> Read<()> {
        (self.token, self.span) = next(self.text, self.span.end)?;
        Ok(())
    }

    fn whole(&mut self) -> Read<()> {
        let part = self.part(CHOICE)?;
        if self.token != Token::End {
            return Err(self.unexpected("an operator"));
        }
        if part.kind == Kind::Condition {
            let fault = Fault::new("gives true or false, and a rule needs a number");
            self.faults.push((part.span, fault.hint("write CONDITION ? 4 : 2")));
        }
        Ok(())
    }

    /// Reads operands and all that stands between them and binds at least as tightly.
    fn part(&mut self, least: u8) -> Read<Part> {
        let mut left = self.operand()?;
        while let Token::Sign(sign) = self.token {
            if sign == "?" && least <= CHOICE {
                left = self.choice(left)?;
                continue;
            }
            let Some((_, binds, two, takes)) = BETWEEN.into_iter().find(|(known, ..)| *known == sign) else { break };
            if binds < least {
                break;
            }
            self.advance()?;
            let right = self.part(binds + 1)?;
            left = self.between(two, takes, binds == RELATION, left, right)?;
        }
        Ok(left)
    }

    fn between(&mut self, two: Two, takes: Kind, compares: bool, left: Part, right: Part) -> Read<Part> {
        self.expect(&left, takes);
        self.expect(&right, takes);
        if two == Two::Divide && self.terms.get(usize::from(right.term)) == Some(&Term::Number(0.0)) {
            self.faults.push((right.span.clone(), Fault::new("divides by 0")));
        }
        let kind = if compares { Kind::Condition } else { takes };
        self.push(Term::Two(two, left.term, right.term), kind, left.span.start..right.span.end)
    }

    fn choice(&mut self, condition: Part) -> Read<Part> {
        self.expect(&condition, Kind::Condition);
        self.advance()?;
        let then = self.part(CHOICE + 1)?;
        self.sign(":")?;
        let otherwise = self.nested(|parser| parser.part(CHOICE))?;
        if let (Kind::Number, Kind::Condition) | (Kind::Condition, Kind::Number) = (then.kind, otherwise.kind) {
            self.expect(&otherwise, then.kind);
        }
        let span = condition.span.start..otherwise.span.end;
        let kind = if then.kind == Kind::Wrong { otherwise.kind } else { then.kind };
        let term = Term::Choice { condition: condition.term, then: then.term, otherwise: otherwise.term };
        self.push(term, kind, span)
    }

    fn operand(&mut self) -> Read<Part> {
        let start = self.span.start;
        match self.token {
            Token::Number(number) => {
                let span = self.span.clone();
                self.advance()?;
                self.push(Term::Number(number), Kind::Number, span)
            }
            Token::Name(name, quoted) => {
                let span = self.span.clone();
                self.advance()?;
                if self.token == Token::Sign("(") && !quoted { self.call(name, span) } else { self.metric(name, span) }
            }
            Token::Sign("(") => {
                self.advance()?;
                let mut inner = self.nested(|parser| parser.part(CHOICE))?;
                inner.span = start..self.span.end;
                self.sign(")")?;
                Ok(inner)
            }
            Token::Sign(sign @ ("-" | "!")) => {
                self.advance()?;
                let inner = self.nested(Self::operand)?;
                let (one, kind) = if sign == "-" { (One::Negative, Kind::Number) } else { (One::Not, Kind::Condition) };
                self.expect(&inner, kind);
                let span = start..inner.span.end;
                self.push(Term::One(one, inner.term), kind, span)
            }
            Token::Sign(_) | Token::End => Err(self.unexpected("a metric or a number")),
        }
    }

    fn metric(&mut self, name: &str, span: Range<usize>) -> Read<Part> {
        match (self.resolve)(name) {
            Ok(metric) => self.push(Term::Metric(metric), Kind::Number, span),
            Err(fault) => {
                let fault = match self.quotable(&span) {
                    Some(whole) => {
                        // The rest of the name is not a mistake of its own.
                        self.span = span.start..span.start + whole.len();
                        self.advance()?;
                        fault.hint(format!("a name with `-` or `.` stands in backquotes: `{whole}`"))
                    }
                    None => fault,
                };
                self.faults.push((span.clone(), fault));
                self.push(Term::Number(1.0), Kind::Wrong, span)
            }
        }
    }

    /// The metric's whole name, when what was read is only the part of it before a `-` or `.`.
    fn quotable(&self, span: &Range<usize>) -> Option<&'t str> {
        let rest = &self.text[span.start..];
        let more = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let whole = &rest[..rest.find(|c| !more(c)).unwrap_or(rest.len())];
        (whole.len() > span.len() && (self.resolve)(whole).is_ok()).then_some(whole)
    }

    fn call(&mut self, name: &str, span: Range<usize>) -> Read<Part> {
        self.advance()?;
        let mut given = Vec::new();
        if self.token != Token::Sign(")") {
            given.push(self.nested(|parser| parser.part(CHOICE))?);
            while self.token == Token::Sign(",") {
                self.advance()?;
                given.push(self.nested(|parser| parser.part(CHOICE))?);
            }
        }
        let span = span.start..self.span.end;
        self.sign(")")?;
        for part in &given {
            self.expect(part, Kind::Number);
        }
        let one = match name {
            "ceil" => Some(One::Ceil),
            "floor" => Some(One::Floor),
            "abs" => Some(One::Abs),
            _ => None,
        };
        match (one, given.as_slice()) {
            (Some(one), [only]) => self.push(Term::One(one, only.term), Kind::Number, span),
            (None, [first, others @ ..]) if matches!(name, "min" | "max") && !others.is_empty() => {
                let two = if name == "min" { Two::Min } else { Two::Max };
                let mut chain = first.clone();
                for other in others {
                    chain = self.push(Term::Two(two, chain.term, other.term), Kind::Number, span.clone())?;
                }
                Ok(chain)
            }
            _ => {
                self.faults.push((span.clone(), miscalled(name, given.len())));
                self.push(Term::Number(1.0), Kind::Wrong, span)
            }
        }
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        if self.depth >= DEPTH_MAX {
            let fault = Fault::new(format!("nests deeper than {DEPTH_MAX}"));
            return Err((self.span.clone(), fault.hint("let a recording rule of the metrics store do a part of it")));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn sign(&mut self, sign: &'static str) -> Read<()> {
        if self.token != Token::Sign(sign) {
            return Err(self.unexpected(&format!("`{sign}`")));
        }
        self.advance()
    }

    fn expect(&mut self, part: &Part, kind: Kind) {
        let fault = match (kind, part.kind) {
            (Kind::Number, Kind::Condition) => Fault::new("needs a number here, not true or false"),
            (Kind::Condition, Kind::Number) => {
                Fault::new("needs a condition here, not a number").hint("compare it: rps > 100")
            }
            _ => return,
        };
        self.faults.push((part.span.clone(), fault));
    }

    fn push(&mut self, term: Term, kind: Kind, span: Range<usize>) -> Read<Part> {
        if self.terms.len() >= TERMS_MAX {
            let fault = Fault::new(format!("has more than {TERMS_MAX} terms"));
            return Err((span, fault.hint("let a recording rule of the metrics store do a part of it")));
        }
        self.terms.push(term);
        let term = u16::try_from(self.terms.len() - 1).unwrap_or(u16::MAX);
        Ok(Part { term, kind, span })
    }

    fn unexpected(&self, wanted: &str) -> (Range<usize>, Fault) {
        let fault = match self.token {
            Token::End => Fault::new(format!("ends where {wanted} should be")),
            _ => Fault::new(format!("has `{}` where {wanted} should be", &self.text[self.span.clone()])),
        };
        (self.span.clone(), fault)
    }
}

fn miscalled(name: &str, given: usize) -> Fault {
    match name {
        "ceil" | "floor" | "abs" => Fault::new(format!("calls `{name}` with {given}, and it takes one value")),
        "min" | "max" => Fault::new(format!("calls `{name}` with {given}, and it takes two or more values")),
        _ => {
            let fault = Fault::new(format!("calls `{}`, which is no function here", crate::policy::units::cut(name)));
            match nearest(name, FUNCTIONS) {
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None => fault.hint(format!("functions: {}", FUNCTIONS.join(", "))),
            }
        }
    }
}
