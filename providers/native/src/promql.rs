//! Pieces of PromQL, in the names that the usual exporters give.

use std::time::Duration;

/// A label's value, quoted.
pub(crate) fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// A value as a part of a regular expression.
pub(crate) fn literal(value: &str) -> String {
    value.chars().fold(String::new(), |mut text, letter| {
        if !letter.is_ascii_alphanumeric() && !"-_/: ".contains(letter) {
            text.push('\\');
        }
        text.push(letter);
        text
    })
}

/// `name{a="b",c="d"}`.
pub(crate) fn series(name: &str, labels: &[(String, String)]) -> String {
    if labels.is_empty() {
        return name.to_owned();
    }
    let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}={}", quoted(value))).collect();
    format!("{name}{{{}}}", labels.join(","))
}

/// A name of Prometheus: other characters become `_`, runs of it one.
pub(crate) fn safe(name: &str) -> String {
    name.chars().fold(String::new(), |mut text, letter| {
        let letter = if letter.is_ascii_alphanumeric() || letter == ':' { letter } else { '_' };
        if letter != '_' || !text.ends_with('_') {
            text.push(letter);
        }
        text
    })
}

/// A short name for a metric of a policy: lower-case letters, digits and `_`, beginning with a letter.
pub(crate) fn short(name: &str) -> Box<str> {
    let name: String = safe(name).to_lowercase().replace(':', "_");
    let name = name.trim_matches('_');
    let name: String = name.chars().take(40).collect();
    let name = name.trim_end_matches('_');
    if name.starts_with(|letter: char| letter.is_ascii_lowercase()) { name.into() } else { format!("m_{name}").into() }
}

/// A rule's name: what the cloud calls it, in the letters that a name may have.
pub(crate) fn label(name: &str) -> Box<str> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let name: String = name.chars().map(|letter| if allowed(letter) { letter } else { '-' }).take(100).collect();
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() { "rule".into() } else { name.into() }
}

/// A duration in PromQL: whole minutes where it is so.
pub(crate) fn span(duration: Duration) -> String {
    match duration.as_secs() {
        secs if secs >= 60 && secs.is_multiple_of(60) => format!("{}m", secs / 60),
        secs => format!("{}s", secs.max(1)),
    }
}

/// Rates are taken over at least so long: two scrapes must be within.
pub(crate) const RATE_MIN: Duration = Duration::from_secs(120);

/// The share of all CPU time that a group's machines are busy, 0 to 1, by node_exporter. The group is told by a label.
pub(crate) fn node_cpu(label: &str, group: &str, window: Duration) -> String {
    let window = span(window.max(RATE_MIN));
    format!("1 - avg(rate(node_cpu_seconds_total{{mode=\"idle\",{label}={}}}[{window}]))", quoted(group))
}

/// Bytes a second that one instance receives or sends on average, by node_exporter.
pub(crate) fn node_network(direction: &str, label: &str, group: &str, window: Duration) -> String {
    let (group, window) = (quoted(group), span(window.max(RATE_MIN)));
    let name = format!("node_network_{direction}_bytes_total");
    format!(
        "sum(rate({name}{{device!=\"lo\",{label}={group}}}[{window}])) / count(count by (instance) ({name}{{{label}={group}}}))"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_made_safe() {
        assert_eq!(quoted("a\"b\\c"), "\"a\\\"b\\\\c\"");
        assert_eq!(literal("web.v1-a"), "web\\.v1-a");
        assert_eq!(safe("AWS/EC2 CPU--x"), "AWS_EC2_CPU_x");
        for (name, expect) in [("Percentage CPU", "percentage_cpu"), ("5xx", "m_5xx"), ("", "m_"), ("_a_", "a")] {
            assert_eq!(&*short(name), expect);
        }
        assert_eq!(series("x", &[]), "x");
        assert_eq!(span(Duration::from_secs(90)), "90s");
    }
}
