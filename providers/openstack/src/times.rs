//! OpenStack's times: ISO 8601 in UTC, with or without microseconds, with or without a `Z`.

use contract::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Reads a time; `None` for anything else.
pub(crate) fn read(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix('Z').or(text.strip_suffix("+00:00")).unwrap_or(text);
    let time: DateTime = text.parse().ok()?;
    let micros = time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond();
    Some(Timestamp(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nova_and_keystone_write_times_differently() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(read(text), expected.map(Timestamp), "{text}");
        check("2026-11-23T09:10:24Z", Some(1_795_425_024_000_000));
        check("2026-11-23T09:10:24.000000", Some(1_795_425_024_000_000));
        check("2026-11-23T09:10:24.250000Z", Some(1_795_425_024_250_000));
        check("2026-11-23T09:10:24+00:00", Some(1_795_425_024_000_000));
        check("yesterday", None);
        check("", None);
    }
}
