//! Finds a query's vector selectors and writes each so that it can be asked for by itself. Text in, texts out; it asks
//! nothing. A selector keeps its own `offset` and `@`, and inherits those of the subqueries around it: the samples
//! that it reads are the ones whose time is wanted.

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{AtModifier, Expr, Offset, VectorSelector};
use promql_parser::util::escape_string;
use std::fmt::Write;

/// A longer query is refused: the parser and its tree are recursive, so depth must end before the stack does.
pub const QUERY_MAX: usize = 4096;

/// Parses a query; the error says what is wrong with it, for a policy's author.
pub fn check_query(query: &str) -> Result<(), String> {
    parse(query).map(|_| ())
}

fn parse(query: &str) -> Result<Expr, String> {
    if query.len() > QUERY_MAX {
        return Err(format!("the query is longer than {QUERY_MAX} bytes: put it in a recording rule"));
    }
    promql_parser::parser::parse(query)
}

/// The query's distinct vector selectors, in their order.
pub(super) fn selectors(query: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    visit(&parse(query)?, &Moment::default(), &mut found);
    Ok(found)
}

/// When an expression is evaluated, relative to the query: the subqueries around it may shift it.
#[derive(Clone, Default)]
struct Moment {
    at: Option<AtModifier>,
    offset_millis: i128,
}

impl Moment {
    /// The moment of something inside that has these modifiers. An `@` of its own ends the influence of what is around.
    fn within(&self, at: Option<&AtModifier>, offset: Option<&Offset>) -> Self {
        let own = match offset {
            None => 0,
            Some(Offset::Pos(by)) => by.as_millis() as i128,
            Some(Offset::Neg(by)) => -(by.as_millis() as i128),
        };
        match at {
            Some(at) => Self { at: Some(at.clone()), offset_millis: own },
            None => Self { at: self.at.clone(), offset_millis: self.offset_millis + own },
        }
    }
}

fn visit(expr: &Expr, moment: &Moment, found: &mut Vec<String>) {
    match expr {
        Expr::VectorSelector(selector) => note(selector, moment, found),
        Expr::MatrixSelector(range) => note(&range.vs, moment, found),
        Expr::Subquery(sub) => visit(&sub.expr, &moment.within(sub.at.as_ref(), sub.offset.as_ref()), found),
        Expr::Aggregate(aggregate) => {
            // The crate's own walk leaves the parameter out: `topk(scalar(limit), x)` reads `limit` too.
            if let Some(param) = &aggregate.param {
                visit(param, moment, found);
            }
            visit(&aggregate.expr, moment, found);
        }
        Expr::Unary(unary) => visit(&unary.expr, moment, found),
        Expr::Binary(binary) => {
            visit(&binary.lhs, moment, found);
            visit(&binary.rhs, moment, found);
        }
        Expr::Paren(paren) => visit(&paren.expr, moment, found),
        Expr::Call(call) => {
            // The second argument of `info` looks like a selector and only names labels.
            let read = if call.func.name == "info" { 1 } else { usize::MAX };
            call.args.args.iter().take(read).for_each(|argument| visit(argument, moment, found));
        }
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

fn note(selector: &VectorSelector, around: &Moment, found: &mut Vec<String>) {
    let moment = around.within(selector.at.as_ref(), selector.offset.as_ref());
    let text = write_selector(selector, &moment);
    if !found.contains(&text) {
        found.push(text);
    }
}

fn write_selector(selector: &VectorSelector, moment: &Moment) -> String {
    let matchers = &selector.matchers;
    // Alternatives inside the braces are VictoriaMetrics'; the name in front of them belongs to each.
    let groups =
        std::iter::once(&matchers.matchers).filter(|plain| !plain.is_empty() || matchers.or_matchers.is_empty());
    let groups = groups.chain(&matchers.or_matchers).map(|group| write_matchers(selector.name.as_deref(), group));
    let mut text = format!("{{{}}}", groups.collect::<Vec<_>>().join(" or "));
    if let Some(at) = &moment.at {
        let _ = write!(text, " {at}");
    }
    if moment.offset_millis != 0 {
        let _ = write!(text, " offset {}ms", moment.offset_millis);
    }
    text
}

fn write_matchers(name: Option<&str>, matchers: &[Matcher]) -> String {
    let name = name.map(|name| format!("__name__=\"{}\"", escape_string(name)));
    let matchers = matchers.iter().map(|matcher| {
        let op = match matcher.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Re(_) => "=~",
            MatchOp::NotRe(_) => "!~",
        };
        format!("{}{op}\"{}\"", label_name(&matcher.name), escape_string(&matcher.value))
    });
    name.into_iter().chain(matchers).collect::<Vec<_>>().join(",")
}

/// A label's name as PromQL writes it: quoted when it is more than letters, digits and underscores.
pub(super) fn label_name(name: &str) -> String {
    let plain = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", escape_string(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, expected: &[&str]) {
        assert_eq!(
            selectors(query).as_deref(),
            Ok(&expected.iter().map(|s| s.to_string()).collect::<Vec<_>>()[..]),
            "{query}"
        );
    }

    #[test]
    fn every_selector_of_a_query_is_found_once() {
        check("up", &[r#"{__name__="up"}"#]);
        check(r#"up{job="a"} / up{job="a"}"#, &[r#"{__name__="up",job="a"}"#]);
        check("sum by (asg) (rate(http_requests_total[1m]))", &[r#"{__name__="http_requests_total"}"#]);
        check(r#"{__name__=~"a|b",x!~"c\\d"}"#, &[r#"{__name__=~"a|b",x!~"c\\d"}"#]);
        check("topk(scalar(limit), load)", &[r#"{__name__="limit"}"#, r#"{__name__="load"}"#]);
        check("-(a + b) or vector(0)", &[r#"{__name__="a"}"#, r#"{__name__="b"}"#]);
        check(r#"absent(up{job="a"})"#, &[r#"{__name__="up",job="a"}"#]);
        check("time() - timestamp(a)", &[r#"{__name__="a"}"#]);
        check("a:b:c", &[r#"{__name__="a:b:c"}"#]);
    }

    #[test]
    fn constants_have_no_selector() {
        for query in ["1", "vector(1)", "time()", "1 + 2 * time()", "scalar(vector(3))"] {
            check(query, &[]);
        }
    }

    #[test]
    fn offsets_and_moments_are_kept_and_inherited() {
        check("a offset 5m", &[r#"{__name__="a"} offset 300000ms"#]);
        check("a offset -1m", &[r#"{__name__="a"} offset -60000ms"#]);
        check("rate(a[5m] offset 1h)", &[r#"{__name__="a"} offset 3600000ms"#]);
        check("a @ 100 offset 1m", &[r#"{__name__="a"} @ 100.000 offset 60000ms"#]);
        check("a @ end()", &[r#"{__name__="a"} @ end()"#]);
        check("max_over_time(rate(a[1m] offset 1m)[10m:1m] offset 5m)", &[r#"{__name__="a"} offset 360000ms"#]);
        check(
            "max_over_time((a + b @ 7)[10m:] @ 100 offset 1m)",
            &[r#"{__name__="a"} @ 100.000 offset 60000ms"#, r#"{__name__="b"} @ 7.000"#],
        );
    }

    #[test]
    fn what_is_no_promql_says_so() {
        for query in ["", "sum(", "rate(a)", "up{", "sum by (a) b c", "a[5m"] {
            assert!(check_query(query).is_err(), "{query}");
        }
    }

    #[test]
    fn the_deepest_query_that_is_let_through_fits_a_small_stack() {
        let deep = |open: &str, core: &str, close: &str| {
            let levels = (QUERY_MAX - core.len()) / (open.len() + close.len());
            format!("{}{core}{}", open.repeat(levels), close.repeat(levels))
        };
        let queries = [deep("(", "a", ")"), deep("a+", "a", ""), deep("-", "a", ""), deep("abs(", "a", ")")];
        // A worker thread's stack; a debug build's frames are the largest.
        let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
        let done = thread.spawn(move || queries.map(|query| selectors(&query).map(|found| found.len()))).unwrap();
        for found in done.join().unwrap() {
            assert_eq!(found, Ok(1));
        }
    }
}
