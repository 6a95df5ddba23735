//! The language of CloudWatch queries: one metric, one statistic, one period.
//!
//! `NAMESPACE:METRIC{DIMENSION="value", ...} STATISTIC PERIOD`, for example
//! `AWS/SQS:ApproximateNumberOfMessagesVisible{QueueName="jobs"} Maximum 1m`. Names are made of letters, digits and
//! `. _ / # -`; others stand in double quotes, where `\"` and `\\` stand for a quote and a backslash. Dimensions are
//! exactly those of the metric, since CloudWatch adds up no others. The statistic is `Average`, `Sum`, `Minimum`,
//! `Maximum`, `SampleCount`, a percentile such as `p99` or `p99.9`, or `Rate`, which is `Sum` divided by the seconds of the
//! period. The period is `1s`, `5s`, `10s`, `20s` or `30s` for metrics of that resolution, else whole minutes up to `1d`.

use std::fmt;

/// A query, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub namespace: String,
    pub metric: String,
    /// Sorted by name.
    pub dimensions: Vec<(String, String)>,
    pub statistic: Statistic,
    /// Seconds.
    pub period: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Statistic {
    /// As CloudWatch calls it.
    Own(String),
    /// A sum per second.
    Rate,
}

/// Most dimensions that a metric can have.
const DIMENSIONS_MAX: usize = 30;
const DAY_SECS: u32 = 86_400;

impl Query {
    /// Reads a query's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("select ")) {
            return Err("Metrics Insights' SELECT is not supported: name one metric, as in AWS/EC2:CPUUtilization{...} Average 1m".into());
        }
        let (namespace, rest) = name(text, "the namespace")?;
        let rest = rest
            .trim_start()
            .strip_prefix(':')
            .ok_or("a `:` must stand between the namespace and the metric's name")?;
        let (metric, rest) = name(rest, "the metric")?;
        let (dimensions, rest) = match rest.trim_start().strip_prefix('{') {
            None => (Vec::new(), rest),
            Some(rest) => dimensions(rest)?,
        };
        let mut words = rest.split_ascii_whitespace();
        let (Some(word), Some(period), None) = (words.next(), words.next(), words.next()) else {
            return Err("it must end with a statistic and a period, as in `Average 1m`".into());
        };
        Ok(Self { namespace, metric, dimensions, statistic: statistic(word)?, period: seconds(period)? })
    }
}

impl Statistic {
    /// What CloudWatch is asked for.
    pub fn asked(&self) -> &str {
        match self {
            Statistic::Own(name) => name,
            Statistic::Rate => "Sum",
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.namespace, self.metric)
    }
}

/// A name that a text begins with, and the rest.
fn name<'t>(text: &'t str, what: &str) -> Result<(String, &'t str), String> {
    let text = text.trim_start();
    let (name, rest) = match text.strip_prefix('"') {
        Some(inner) => contract::quoted(inner)?,
        None => {
            let plain = |c: char| c.is_ascii_alphanumeric() || "._/#-".contains(c);
            let end = text.find(|c| !plain(c)).unwrap_or(text.len());
            (text[..end].to_owned(), &text[end..])
        }
    };
    if name.trim().is_empty() {
        return Err(format!(
            "{what} has no name; it is written like AWS/SQS:NumberOfMessagesSent{{QueueName=\"jobs\"}} Sum 1m"
        ));
    }
    // CloudWatch's own limits of names.
    if name.len() > 255 || !name.chars().all(|c| c.is_ascii() && !c.is_ascii_control()) {
        return Err(format!("the name of {what} must be at most 255 printable ASCII characters"));
    }
    Ok((name, rest))
}

type Dimensions<'t> = (Vec<(String, String)>, &'t str);

fn dimensions(mut rest: &str) -> Result<Dimensions<'_>, String> {
    let mut found: Vec<(String, String)> = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix('}') {
            found.sort_unstable();
            if let Some(twice) = found.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                return Err(format!("the dimension `{}` comes twice", twice[0].0));
            }
            return Ok((found, rest));
        }
        if found.len() == DIMENSIONS_MAX {
            return Err(format!("no metric has more than {DIMENSIONS_MAX} dimensions"));
        }
        let (key, after) = name(rest, "a dimension")?;
        let after = after.trim_start().strip_prefix('=').ok_or_else(|| format!("the dimension `{key}` has no `=`"))?;
        let after = after.trim_start();
        let after =
            after.strip_prefix('"').ok_or_else(|| format!("the value of `{key}` must stand in double quotes"))?;
        let (value, after) = contract::quoted(after)?;
        if value.trim().is_empty() || value.len() > 1024 || !value.is_ascii() {
            return Err(format!("the value of `{key}` must be 1 to 1024 ASCII characters"));
        }
        found.push((key, value));
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return Err("the dimensions are not closed".into()),
        }
    }
}

fn statistic(word: &str) -> Result<Statistic, String> {
    let percentile = |word: &str| {
        let number = word.strip_prefix('p')?;
        let digits = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && number.len() <= 6;
        number.parse::<f64>().ok().filter(|share| digits && (0.0..=100.0).contains(share))
    };
    match word {
        "Average" | "Sum" | "Minimum" | "Maximum" | "SampleCount" => Ok(Statistic::Own(word.to_owned())),
        "Rate" => Ok(Statistic::Rate),
        _ if percentile(word).is_some() => Ok(Statistic::Own(word.to_owned())),
        _ => Err(format!(
            "`{word}` is no statistic: Average, Sum, Minimum, Maximum, SampleCount, Rate or a percentile like p99"
        )),
    }
}

fn seconds(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is no period: 1s, 5s, 10s, 20s, 30s, or whole minutes up to 1d, as in 1m or 5m");
    match contract::period_secs(text) {
        Some(secs @ (1 | 5 | 10 | 20 | 30)) => Ok(secs),
        Some(secs) if secs > 0 && secs % 60 == 0 && secs <= DAY_SECS => Ok(secs),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_one_metric() {
        let read = |text: &str| Query::parse(text).unwrap();
        let query = read("AWS/SQS:ApproximateNumberOfMessagesVisible{QueueName=\"jobs\"} Maximum 1m");
        assert_eq!((&*query.namespace, &*query.metric), ("AWS/SQS", "ApproximateNumberOfMessagesVisible"));
        assert_eq!(query.dimensions, [("QueueName".into(), "jobs".into())]);
        assert_eq!((query.statistic, query.period), (Statistic::Own("Maximum".into()), 60));
        let query = read(" \"My \\\"Shop\\\"\" : \"Orders: new\" { b = \"2\\\\\", a=\"x=y,}\", } Rate 5m ");
        assert_eq!((&*query.namespace, &*query.metric), ("My \"Shop\"", "Orders: new"));
        assert_eq!(query.dimensions, [("a".into(), "x=y,}".into()), ("b".into(), "2\\".into())]);
        assert_eq!((query.statistic.asked(), query.period), ("Sum", 300));
        for (text, secs) in [("1s", 1), ("30s", 30), ("120s", 120), ("1h", 3_600), ("1d", 86_400)] {
            assert_eq!(read(&format!("Jobs:Depth p99.9 {text}")).period, secs);
        }
    }

    #[test]
    fn every_mistake_has_a_sentence() {
        for (text, expected) in [
            ("", "the namespace has no name"),
            ("AWS/SQS", "a `:`"),
            ("AWS/SQS:", "the metric has no name"),
            ("AWS/SQS:Sent", "a statistic and a period"),
            ("AWS/SQS:Sent Sum", "a statistic and a period"),
            ("AWS/SQS:Sent Sum 1m 2m", "a statistic and a period"),
            ("AWS/SQS:Sent sum 1m", "`sum` is no statistic"),
            ("AWS/SQS:Sent p101 1m", "`p101` is no statistic"),
            ("AWS/SQS:Sent p 1m", "`p` is no statistic"),
            ("AWS/SQS:Sent pNaN 1m", "`pNaN` is no statistic"),
            ("AWS/SQS:Sent Sum 0m", "`0m` is no period"),
            ("AWS/SQS:Sent Sum 90s", "`90s` is no period"),
            ("AWS/SQS:Sent Sum 2d", "`2d` is no period"),
            ("AWS/SQS:Sent Sum m", "`m` is no period"),
            ("AWS/SQS:Sent Sum 1é", "`1é` is no period"),
            ("AWS/SQS:Sent Sum 99999999999h", "is no period"),
            ("AWS/SQS:Sent{Queue} Sum 1m", "`Queue` has no `=`"),
            ("AWS/SQS:Sent{Queue=jobs} Sum 1m", "double quotes"),
            ("AWS/SQS:Sent{Queue=\"jobs\" Sum 1m", "not closed"),
            ("AWS/SQS:Sent{Queue=\"jobs Sum 1m", "not closed"),
            ("AWS/SQS:Sent{Queue=\"\"} Sum 1m", "1 to 1024"),
            ("AWS/SQS:Sent{=\"x\"} Sum 1m", "a dimension has no name"),
            ("AWS/SQS:Sent{a=\"1\",a=\"2\"} Sum 1m", "comes twice"),
            ("\"é\":Sent Sum 1m", "ASCII"),
            ("\"a\\n\":Sent Sum 1m", "backslash"),
            ("SELECT AVG(CPUUtilization) FROM \"AWS/EC2\"", "not supported"),
            ("sum(rate(x[1m]))", "a `:`"),
        ] {
            let error = Query::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
