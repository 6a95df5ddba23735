//! Reads an answer of the Prometheus HTTP API: text in, series or the reason why there are none out. It judges no
//! value: NaN and infinities pass as they are. Anything that is not exactly an answer is refused, never guessed at.

mod shape;

use crate::sources::failure::{Failure, shown, why_of_status};
use policies::facts::MissingWhy;
use shape::{Envelope, Number, Outcome};

/// More series than any sensible fleet metric has; beyond it a query is taken for a mistake.
pub(super) const SERIES_MAX: usize = 50_000;

/// One series as it came: labels sorted by name, without the metric's name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub labels: Box<[(Box<str>, Box<str>)]>,
    pub value: f64,
}

/// A successful answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decoded {
    /// An instant vector.
    Vector(Vec<Series>),
    /// A scalar.
    Scalar(f64),
}

/// Reads the answer to an instant query.
pub(super) fn decode(text: &str) -> Result<Decoded, Failure> {
    let envelope = serde_json::from_str::<Envelope<'_>>(text)
        .map_err(|error| Failure::malformed(format!("not an answer of the Prometheus HTTP API: {error}")))?;
    if envelope.status != "success" {
        return Err(refusal_of(&envelope));
    }
    let warnings = envelope.warnings.unwrap_or_default();
    if let Some(first) = warnings.first() {
        return Err(Failure::new(MissingWhy::Partial, format!("the source warns: {first}")));
    }
    if envelope.is_partial.unwrap_or(false) {
        return Err(Failure::new(MissingWhy::Partial, "the source says that some of its storages did not answer"));
    }
    let Some(data) = envelope.data else {
        return Err(Failure::malformed("a success without data"));
    };
    match (&*data.result_type, data.result) {
        ("vector", Outcome::Vector(series)) => Ok(Decoded::Vector(series)),
        ("scalar", Outcome::Pair(Number(Some(value)))) => Ok(Decoded::Scalar(value)),
        ("vector", Outcome::TooMany) => {
            Err(Failure::new(MissingWhy::Refused, format!("more than {SERIES_MAX} series: aggregate in the query")))
        }
        ("vector", Outcome::Histograms) => Err(wrong_shape("native histograms", "histogram_quantile(...) or similar")),
        ("matrix", Outcome::Ranges | Outcome::TooMany | Outcome::Vector(_)) => {
            Err(wrong_shape("a range of samples", "an aggregation over it, like rate(x[1m])"))
        }
        ("string", Outcome::Pair(_)) => Err(wrong_shape("a string", "a number")),
        (kind, _) => Err(Failure::malformed(format!("resultType {kind:?} does not fit its result"))),
    }
}

fn wrong_shape(got: &str, right: &str) -> Failure {
    Failure::new(MissingWhy::WrongShape, format!("the query answers with {got}; right would be {right}"))
}

/// Reads the answer that came with a status other than success; its text may be a proxy's.
pub(super) fn decode_refusal(status: u16, text: &str) -> Failure {
    match serde_json::from_str::<Envelope<'_>>(text) {
        Ok(envelope) if envelope.error_type.is_some() => refusal_of(&envelope),
        _ => Failure::new(why_of_status(status), format!("answered with status {status}: {}", shown(text))),
    }
}

fn refusal_of(envelope: &Envelope<'_>) -> Failure {
    let kind = envelope.error_type.as_deref().unwrap_or_default();
    let text = envelope.error.as_deref().unwrap_or_default();
    let why = match kind {
        "timeout" | "canceled" => MissingWhy::Timeout,
        "unavailable" => MissingWhy::Unreachable,
        "bad_data" | "execution" | "not_found" | "not_acceptable" => MissingWhy::Refused,
        "" => return Failure::malformed(format!("status {:?} without an errorType", shown(&envelope.status))),
        _ => MissingWhy::Other("server_error".into()),
    };
    Failure::new(why, format!("{}: {}", shown(kind), shown(text)))
}

#[cfg(test)]
mod tests;
