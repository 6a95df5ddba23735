//! Points in time as the API writes them: ISO 8601, in UTC, to the second or only to the minute.

use contract::Timestamp;

/// `2026-01-31T23:59:59Z`; `None` outside the years that have four digits.
pub(crate) fn format(at: Timestamp) -> Option<String> {
    let secs = at.0.div_euclid(1_000_000);
    let text = jiff::Timestamp::from_second(secs).ok()?.to_string();
    (text.len() == 20).then_some(text)
}

/// Reads `2026-01-31T23:59:59Z` and `2026-01-31T23:59Z`.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let at: jiff::Timestamp = text.trim().parse().ok()?;
    Some(Timestamp(at.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_way_there_and_back() {
        let at = Timestamp::from_secs(1_700_000_000);
        assert_eq!(format(at).as_deref(), Some("2023-11-14T22:13:20Z"));
        assert_eq!(parse("2023-11-14T22:13:20Z"), Some(at));
        assert_eq!(format(at.after(std::time::Duration::from_millis(900))).as_deref(), Some("2023-11-14T22:13:20Z"));
        assert_eq!(parse("2023-11-14T22:13Z"), Some(Timestamp::from_secs(1_699_999_980)));
        for text in ["", "yesterday", "2023-11-14", "2023-11-14T22:13:20", "1700000000"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(format(Timestamp(i64::MAX)), None);
    }
}
