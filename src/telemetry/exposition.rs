//! Prometheus' text format, written in chunks: what the recorder holds of the process, then one family of the fleets after
//! the other, each over all fleets, only as fast as the reader takes it. Nothing of a scrape but the chunk under way is in
//! memory.

use super::families::FLEET_FAMILIES;
use crate::published::{FleetStatus, Published};
use contract::Timestamp;
use policies::policy::PolicySet;
use std::fmt::{self, Write};
use std::sync::Arc;

/// Where a chunk ends: large enough that a scrape of 10,000 fleets is a few hundred writes.
const CHUNK_BYTES: usize = 32 * 1024;

/// One scrape: an iterator over chunks of text. It holds what was published when it began, so that all its families tell
/// of the same moment.
#[derive(Debug)]
pub struct Scrape {
    pub(super) now: Timestamp,
    pub(super) set: Arc<PolicySet>,
    pub(super) fleets: Vec<Arc<FleetStatus>>,
    process: Option<String>,
    family: usize,
    fleet: usize,
}

impl Scrape {
    /// A scrape of what is published now.
    pub fn new(published: &Published, now: Timestamp) -> Self {
        let (set, fleets) = published.fleets();
        let process = published.metrics().render(&published.process());
        Self { now, set, fleets, process: Some(process), family: 0, fleet: 0 }
    }
}

impl Iterator for Scrape {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if let Some(process) = self.process.take() {
            let mut text = Text(process);
            // A revision that is past must not stay, and the recorder forgets nothing: this one is written here.
            let help = "Always 1; the revision of the policies in force is in the label. (stable)";
            text.header("config_revision_info", "gauge", help);
            text.put("config_revision_info", &[("revision", &self.set.revision)], 1);
            return Some(text.0);
        }
        let mut text = Text(String::new());
        while let Some(family) = FLEET_FAMILIES.get(self.family) {
            if text.0.is_empty() {
                text.0.reserve(CHUNK_BYTES + 4096);
            }
            if self.fleet == 0 {
                text.header(family.name, family.kind, family.help);
            }
            while let Some(fleet) = self.fleets.get(self.fleet) {
                self.fleet += 1;
                (family.write)(self, fleet, &mut Series { text: &mut text, name: family.name });
                if text.0.len() >= CHUNK_BYTES {
                    return Some(text.0);
                }
            }
            (self.family, self.fleet) = (self.family + 1, 0);
        }
        (!text.0.is_empty()).then_some(text.0)
    }
}

/// The text under way. Writing into a string has no way to fail, so the results are dropped here and nowhere else.
#[derive(Debug)]
struct Text(String);

impl Text {
    fn header(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP skala_{name} {help}\n# TYPE skala_{name} {kind}");
    }

    fn put(&mut self, name: &str, labels: &[(&str, &str)], value: impl fmt::Display) {
        let _ = write!(self.0, "skala_{name}");
        let mut before = '{';
        for (label, text) in labels {
            let _ = write!(self.0, "{before}{label}=\"{}\"", Escaped(text));
            before = ',';
        }
        let close = if before == '{' { "" } else { "}" };
        let _ = writeln!(self.0, "{close} {value}");
    }
}

/// Writes the samples of one family.
pub(super) struct Series<'a> {
    text: &'a mut Text,
    name: &'static str,
}

impl Series<'_> {
    /// One sample.
    pub(super) fn put(&mut self, labels: &[(&str, &str)], value: impl fmt::Display) {
        self.text.put(self.name, labels, value);
    }
}

/// A label's value as the format wants it.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['\\', '"', '\n']) {
            let (plain, special) = rest.split_at(at);
            f.write_str(plain)?;
            f.write_str(match special.as_bytes().first() {
                Some(b'\n') => "\\n",
                Some(b'"') => "\\\"",
                _ => "\\\\",
            })?;
            rest = &special[1..];
        }
        f.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        for (text, expect) in
            [("web", "web"), ("a\"b", "a\\\"b"), ("a\\b\nc", "a\\\\b\\nc"), ("ü\"", "ü\\\""), ("", "")]
        {
            assert_eq!(Escaped(text).to_string(), expect, "{text}");
        }
    }
}
