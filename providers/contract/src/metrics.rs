//! A cloud's own metrics, as readings: the ability of a provider whose cloud has a service for them. A query's text is
//! in that cloud's language, which its provider documents; what fleets make of the points is decided elsewhere.

use crate::{BoxFuture, ProviderError, Timestamp};

/// The newest value of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// What tells it from the other series of the answer, sorted by name.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// Its value, in the unit that the cloud gives it; may be NaN or infinite, which the core rejects.
    pub value: f64,
    /// The time up to which it says something: the end of the period that it sums up, never its beginning, and never
    /// the time at which it was asked for.
    pub at: Timestamp,
}

/// Answers queries for metrics.
pub trait Metrics: Send + Sync {
    /// The newest whole value of each series of a query, as of `now`. A period that has not ended by then is left out.
    /// An empty list is an answer: the cloud knows no such series, or none with a recent value.
    ///
    /// # Errors
    /// `Invalid` when the text is no query; any other when the answer is unknown or may be incomplete. Never an empty
    /// list then.
    fn query<'a>(&'a self, query: &'a str, now: Timestamp) -> BoxFuture<'a, Result<Vec<Point>, ProviderError>>;
}

/// What stands up to a closing double quote, and the rest behind it: how all query languages here write a value. A backslash
/// stands before a quote or another one.
///
/// # Errors
/// When the quote is never closed, or a backslash stands before anything else.
pub fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                _ => return Err("after a backslash only a backslash or a quote may stand".into()),
            },
            c => value.push(c),
        }
    }
    Err("a quote is not closed".into())
}

/// A period as queries write it, `30s`, `5m`, `1h` or `1d`, in seconds; `None` for all else. Which periods there are is the
/// cloud's.
pub fn period_secs(text: &str) -> Option<u32> {
    let unit = text.chars().last()?;
    let each = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let digits = &text[..text.len() - unit.len_utf8()];
    // A number's own parser takes a sign, too.
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse::<u32>().ok().filter(|_| is_number)?.checked_mul(each)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_a_number_and_a_unit() {
        for (text, secs) in [("1s", 1), ("5m", 300), ("2h", 7_200), ("1d", 86_400), ("0m", 0)] {
            assert_eq!(period_secs(text), Some(secs), "{text}");
        }
        for text in ["", "m", "5", "+5m", "-5m", "1.5h", "5 m", "5min", "5ä", "99999999999m", "100000d"] {
            assert_eq!(period_secs(text), None, "{text}");
        }
    }

    #[test]
    fn a_value_ends_at_its_quote() {
        assert_eq!(quoted(r#"jobs", b"#), Ok(("jobs".into(), ", b")));
        assert_eq!(quoted(r#"a\"b\\c"} 1m"#), Ok((r#"a"b\c"#.into(), "} 1m")));
        for open in ["", "jobs", r#"jobs\""#, r#"a\n""#] {
            assert!(quoted(open).is_err(), "{open}");
        }
    }
}
