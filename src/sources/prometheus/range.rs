//! Range queries: what a query answered over recorded time, for whoever replays it. An answer that may be incomplete is
//! refused, as with instant queries; a sample that is no finite number is left out, since it was no reading then either.

use super::Prometheus;
use super::decode::decode_refusal;
use crate::http::FetchError;
use crate::sources::failure::{Failure, shown};
use crate::sources::{RangeError, RangeSeries};
use contract::Timestamp;
use policies::facts::MissingWhy;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// Points asked for at once; Prometheus refuses more than 11,000 a series.
const POINTS_MAX: usize = 10_000;
/// A range of weeks takes longer than one reading: a piece of it gets at least this long.
const TIMEOUT_LEAST: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
    #[serde(default, rename = "isPartial")]
    is_partial: Option<bool>,
    #[serde(default, borrow)]
    data: Option<Data<'a>>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow, rename = "resultType")]
    result_type: Cow<'a, str>,
    #[serde(borrow)]
    result: Vec<One<'a>>,
}

#[derive(Deserialize)]
struct One<'a> {
    metric: BTreeMap<String, String>,
    #[serde(default, borrow)]
    values: Vec<(f64, Cow<'a, str>)>,
}

impl Prometheus {
    /// Evaluates a query at `from`, `from + step`, and so on up to `to`, and gives each series that comes back.
    ///
    /// # Errors
    /// When the source cannot be reached, refuses, warns that an answer may be incomplete, or answers with anything else.
    pub async fn range(
        &self,
        query: &str,
        from: Timestamp,
        to: Timestamp,
        step: Duration,
    ) -> Result<Vec<RangeSeries>, RangeError> {
        let mut found: BTreeMap<BTreeMap<String, String>, Vec<(Timestamp, f64)>> = BTreeMap::new();
        let piece = step * u32::try_from(POINTS_MAX - 1).unwrap_or(u32::MAX);
        let mut start = from;
        while start <= to {
            let end = start.after(piece).min(to);
            for one in self.piece(query, start, end, step).await? {
                found.entry(one.labels).or_default().extend(one.samples);
            }
            start = end.after(step);
        }
        Ok(found.into_iter().map(|(labels, samples)| RangeSeries { labels, samples }).collect())
    }

    async fn piece(
        &self,
        query: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
    ) -> Result<Vec<RangeSeries>, RangeError> {
        let (start, end, step) = (start.to_string(), end.to_string(), step.as_secs_f64().to_string());
        let within = self.timeout.max(TIMEOUT_LEAST);
        let timeout = format!("{}ms", within.as_millis());
        let form = [("query", query), ("start", &start), ("end", &end), ("step", &step), ("timeout", &timeout)];
        let (answer, is_too_large) = match self.fetcher.post_form_within("api/v1/query_range", &form, within).await {
            Ok(body) => (body.text().map_err(Failure::from).and_then(decode_range), false),
            Err(FetchError::Refused { status, body }) => (Err(decode_refusal(status, &body)), false),
            Err(error) => {
                let is_too_large = matches!(error, FetchError::TooLarge { .. });
                (Err(error.into()), is_too_large)
            }
        };
        answer.map_err(|failure| RangeError { why: failure.why, detail: failure.detail, is_too_large })
    }
}

fn decode_range(text: &str) -> Result<Vec<RangeSeries>, Failure> {
    let answer: Answer<'_> = serde_json::from_str(text)
        .map_err(|error| Failure::malformed(format!("not an answer to a range query: {error}")))?;
    if answer.status != "success" {
        return Err(decode_refusal(200, text));
    }
    if let Some(first) = answer.warnings.unwrap_or_default().first() {
        return Err(Failure::new(MissingWhy::Partial, format!("the source warns: {}", shown(first))));
    }
    if answer.is_partial.unwrap_or(false) {
        return Err(Failure::new(MissingWhy::Partial, "the source says that some of its storages did not answer"));
    }
    let data = answer.data.ok_or_else(|| Failure::malformed("a success without data"))?;
    if data.result_type != "matrix" {
        return Err(Failure::malformed(format!("resultType `{}` for a range query", shown(&data.result_type))));
    }
    data.result.into_iter().map(series).collect()
}

fn series(one: One<'_>) -> Result<RangeSeries, Failure> {
    let mut labels = one.metric;
    labels.remove("__name__");
    let mut samples = Vec::with_capacity(one.values.len());
    for (at, value) in one.values {
        let at = Timestamp::from_secs_f64(at).ok_or_else(|| Failure::malformed("a sample's time is out of range"))?;
        let value: f64 = value.parse().map_err(|_| Failure::malformed(format!("`{}` is no number", shown(&value))))?;
        if value.is_finite() {
            samples.push((at, value));
        }
    }
    Ok(RangeSeries { labels, samples })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::FetchSettings;
    use crate::http::scripted::{Act, Scripted};

    const MINUTE: Duration = Duration::from_secs(60);

    fn matrix(result: &str) -> Act {
        Act::ok(&format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{result}]}}}}"#))
    }

    async fn asked(script: Vec<Act>, points: i64) -> (Result<Vec<RangeSeries>, RangeError>, Vec<String>) {
        let server = Scripted::start(script).await;
        let source = Prometheus::new("test", &server.url(), FetchSettings::default()).unwrap();
        let answer = source.range("up", Timestamp::from_secs(60), Timestamp::from_secs(60 * points), MINUTE).await;
        (answer, server.requests())
    }

    #[tokio::test]
    async fn a_long_range_is_asked_in_pieces_and_put_together() {
        let first = r#"{"metric":{"__name__":"up","a":"1"},"values":[[60,"1"],[120,"NaN"],[180,"3.5"]]},
            {"metric":{"a":"2"},"values":[[60,"9"]]}"#;
        let second = r#"{"metric":{"a":"1"},"values":[[600060,"4"],[600120,"+Inf"]]}"#;
        let (answer, requests) = asked(vec![matrix(first), matrix(second)], 10_002).await;
        let answer = answer.unwrap();
        let at = Timestamp::from_secs;
        assert_eq!(answer.len(), 2);
        assert_eq!(answer[0].labels, [("a".into(), "1".into())].into());
        assert_eq!(answer[0].samples, [(at(60), 1.0), (at(180), 3.5), (at(600_060), 4.0)]);
        assert_eq!(answer[1].samples, [(at(60), 9.0)]);
        assert_eq!(requests.len(), 2);
        assert!(requests[0].starts_with("POST /api/v1/query_range HTTP/1.1\r\n"), "{}", requests[0]);
        assert!(requests[0].contains("query=up&start=60&end=600000&step=60&timeout=60000ms"), "{}", requests[0]);
        assert!(requests[1].contains("start=600060&end=600120&step=60&"), "{}", requests[1]);
    }

    #[tokio::test]
    async fn every_trouble_is_said() {
        let success = |rest: &str| Act::ok(&format!(r#"{{"status":"success",{rest}}}"#));
        let data = r#""data":{"resultType":"matrix","result":[]}"#;
        for (act, expected) in [
            (Act::ok("x"), "malformed_answer: not an answer to a range query"),
            (
                success(&format!(r#""warnings":["a store is down"],{data}"#)),
                "partial: the source warns: a store is down",
            ),
            (success(&format!(r#""isPartial":true,{data}"#)), "partial: the source says"),
            (success(r#""data":{"resultType":"vector","result":[]}"#), "malformed_answer: resultType `vector`"),
            (success(r#""data":null"#), "malformed_answer: a success without data"),
            (Act::ok(r#"{"status":"error","errorType":"bad_data","error":"no"}"#), "refused: bad_data: no"),
            (matrix(r#"{"metric":{},"values":[[1,"x"]]}"#), "malformed_answer: `x` is no number"),
            (Act::Raw(Vec::new()), "unreachable: "),
        ] {
            let (answer, _) = asked(vec![act], 3).await;
            let said = answer.unwrap_err().to_string();
            assert!(said.starts_with(expected), "{expected}: {said}");
        }
        assert_eq!(asked(vec![success(data)], 3).await.0, Ok(Vec::new()));
        let refused =
            Act::Answer(422, br#"{"status":"error","errorType":"execution","error":"too many samples"}"#.into());
        for (act, why) in [
            (refused, MissingWhy::Refused),
            (Act::Answer(500, b"x".into()), MissingWhy::Other("server_error".into())),
            (Act::Answer(503, b"x".into()), MissingWhy::Unreachable),
        ] {
            // What came before it is not given as if it were all.
            let (answer, _) = asked(vec![matrix(r#"{"metric":{},"values":[[60,"1"]]}"#), act], 10_002).await;
            let error = answer.unwrap_err();
            assert_eq!((error.why, error.is_too_large), (why, false));
        }
    }

    #[tokio::test]
    async fn an_answer_beyond_the_limit_can_be_asked_for_in_part() {
        let server = Scripted::start(vec![matrix(r#"{"metric":{},"values":[[60,"1"]]}"#)]).await;
        let settings = FetchSettings { body_max: 40, ..FetchSettings::default() };
        let source = Prometheus::new("test", &server.url(), settings).unwrap();
        let at = Timestamp::from_secs(60);
        let error = source.range("up", at, at, MINUTE).await.unwrap_err();
        assert_eq!((error.why, error.is_too_large), (MissingWhy::Other("answer_too_large".into()), true));
    }
}
