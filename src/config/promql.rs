//! Checks a policy's query with the PromQL library, which is too heavy for the core. Text in; what the text alone tells
//! of its answer, or what is wrong with it, out.

use crate::sources::prometheus::check_query;
use policies::policy::{QueryError, QueryFacts};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{Expr, LabelModifier};

/// Checks one query.
///
/// # Errors
/// When it is not PromQL, or answers with something else than numbers of now.
pub fn check(query: &str) -> Result<QueryFacts, QueryError> {
    let fail = |message: String| QueryError { language: "PromQL", offset: offset_in(&message, query), message };
    check_query(query).map_err(|message| fail(plain(&message)))?;
    let expr = promql_parser::parser::parse(query).map_err(|message| fail(plain(&message)))?;
    match expr.value_type() {
        ValueType::Vector | ValueType::Scalar => Ok(QueryFacts { labels: labels(&expr), only_now: None }),
        ValueType::Matrix => {
            Err(fail("it answers with ranges, not numbers; wrap it in rate() or an _over_time()".into()))
        }
        ValueType::String => Err(fail("it answers with text, not numbers".into())),
    }
}

/// The library's message, on one line and without the query, which is shown anyway.
fn plain(message: &str) -> String {
    let message = message.lines().next().unwrap_or("").trim();
    let message = message.split(" for input: ").next().unwrap_or(message);
    match message {
        "" | "invalid promql query" => "it cannot be parsed".into(),
        other => other.chars().take(200).collect(),
    }
}

/// Some of the library's messages quote the character they stumbled over; when it is there once, that is the place.
fn offset_in(message: &str, query: &str) -> Option<usize> {
    let quoted = message.split('\'').nth(1).filter(|quoted| !quoted.is_empty())?;
    let mut places = query.match_indices(quoted);
    let first = places.next()?.0;
    places.next().is_none().then_some(first)
}

/// The labels of the answer's series, where an aggregation on the outside names them.
fn labels(expr: &Expr) -> Option<Vec<Box<str>>> {
    match expr {
        Expr::Paren(paren) => labels(&paren.expr),
        Expr::Unary(unary) => labels(&unary.expr),
        Expr::Aggregate(aggregate) => {
            // These keep the series they choose, with all their labels; this one adds a label of its own.
            let op = aggregate.op.to_string();
            if ["topk", "bottomk", "limitk", "limit_ratio", "count_values"].contains(&op.as_str()) {
                return None;
            }
            match &aggregate.modifier {
                None => Some(Vec::new()),
                Some(LabelModifier::Include(kept)) => {
                    Some(kept.labels.iter().map(|label| label.as_str().into()).collect())
                }
                Some(LabelModifier::Exclude(_)) => None,
            }
        }
        // With a constant on one side a binary expression keeps the other side's labels.
        Expr::Binary(binary) => match (binary.lhs.value_type(), binary.rhs.value_type()) {
            (ValueType::Scalar, ValueType::Vector) => labels(&binary.rhs),
            (ValueType::Vector, ValueType::Scalar) => labels(&binary.lhs),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::check as read;

    #[test]
    fn the_answers_labels_are_known_where_the_query_names_them() {
        let check = |query: &str, expected: Option<&[&str]>| {
            let facts = read(query).unwrap();
            let found = facts.labels.map(|labels| labels.iter().map(|label| label.to_string()).collect::<Vec<_>>());
            assert_eq!(found, expected.map(|labels| labels.iter().map(|label| label.to_string()).collect()), "{query}");
        };
        check("sum by (asg) (rate(http_requests_total[1m]))", Some(&["asg"]));
        check("sum(rate(http_requests_total[1m]))", Some(&[]));
        check("100 * (1 - avg by (a, b) (x))", Some(&["a", "b"]));
        check("sum without (pod) (x)", None);
        check("topk(3, x)", None);
        check("x", None);
        check("sum(a) / sum(b)", None);
        check("time()", None);
    }

    #[test]
    fn what_is_not_a_number_of_now_is_refused() {
        for query in ["sum(", "rate(x)", "x[5m]", "\"text\"", "max_over_time(x[1h])[5m:]", "", "x{a=}", "é"] {
            let error = read(query).unwrap_err();
            assert!(!error.message.is_empty() && !error.message.contains('\n'), "{query}: {error:?}");
        }
    }
}
