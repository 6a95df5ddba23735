//! A policy that does what a cloud's own scaler does, as far as it can be said. In comes what the scaler is set to, out
//! go the text of a policy file that `skala check` takes and every difference as a sentence.
//!
//! It always observes: a query is what the usual exporters offer and may find nothing where it runs, so nothing is scaled
//! by it before a person has looked. What cannot be expressed is not approximated in silence, it stands as a comment.

mod form;
#[cfg(test)]
mod tests;

use crate::config;
use contract::native::{NativeKind, NativePolicy, NativeRule, Query};
use form::Form;
use policies::policy::{INTERVAL_DEFAULT, Severity, SourceFile};
use thiserror::Error;

/// What the policy is to be called, and what it names in skala.toml.
#[derive(Clone, Debug)]
pub struct Names<'a> {
    /// The fleet.
    pub fleet: &'a str,
    /// The provider's name.
    pub provider: &'a str,
    /// The group's name at that provider.
    pub group: &'a str,
    /// The source's name.
    pub source: &'a str,
}

/// A policy file and what its reader has to know; the same stands in the file as comments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The file.
    pub text: String,
    /// What differs, and what has no counterpart.
    pub notes: Vec<String>,
    /// Rules that were not written, each with why.
    pub left_out: Vec<String>,
    /// Metrics whose query is only probable.
    pub probable: Vec<String>,
}

/// Why there is no policy.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ImportRefused {
    /// There is nothing that could size a fleet.
    #[error("{name} has no rule that can be written as a policy{}", list(.left_out))]
    NothingToImport {
        /// The scaler.
        name: String,
        /// What it has, and why that cannot be written.
        left_out: Vec<String>,
    },
    /// Its bounds make no policy.
    #[error("what {name} says makes no policy:\n{found}")]
    Invalid {
        /// The scaler.
        name: String,
        /// What `skala check` would say.
        found: String,
    },
}

fn list(items: &[String]) -> String {
    items.iter().map(|item| format!("\n  {item}")).collect()
}

/// A fleet's name made of a group's: its last part, in the letters that a name may have.
pub fn fleet_name(group: &str) -> String {
    let last = group.rsplit(['/', ':']).find(|part| !part.is_empty()).unwrap_or("fleet");
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let name: String = last.chars().map(|letter| if allowed(letter) { letter } else { '-' }).take(128).collect();
    let name = name.trim_start_matches(['-', '.']);
    if name.is_empty() { "fleet".into() } else { name.into() }
}

/// Writes the policy.
///
/// # Errors
/// When no rule can be written, or the bounds make no sense.
pub fn write(native: &NativePolicy, names: &Names<'_>) -> Result<Imported, ImportRefused> {
    let mut native = native.clone();
    uniquely_named(&mut native.rules);
    for rule in &mut native.rules {
        if let Err(why) = alone(native.min, native.max, rule, names) {
            let text = format!("{}: {why}", rule.name);
            rule.kind = NativeKind::Other(text.into());
        }
    }
    let other = |rule: &NativeRule| matches!(rule.kind, NativeKind::Other(_));
    let left_out: Vec<String> = native.rules.iter().filter_map(told).collect();
    if native.rules.iter().all(other) {
        return Err(ImportRefused::NothingToImport { name: native.name.into(), left_out });
    }
    above_zero(&mut native);
    let form = Form::new(&native, names);
    let text = form.text();
    if let Err(found) = valid(&text) {
        return Err(ImportRefused::Invalid { name: native.name.into(), found });
    }
    let notes = native.notes.iter().map(|note| note.to_string()).collect();
    Ok(Imported { text, notes, left_out, probable: form.probable() })
}

fn told(rule: &NativeRule) -> Option<String> {
    match &rule.kind {
        NativeKind::Other(text) => Some(text.to_string()),
        _ => None,
    }
}

/// Clouds' names need not differ once they are written in a policy's letters.
fn uniquely_named(rules: &mut [NativeRule]) {
    for at in 0..rules.len() {
        let (before, rest) = rules.split_at_mut(at);
        let is_taken = |name: &str| before.iter().any(|rule| *rule.name == *name);
        let first = rest[0].name.clone();
        let mut number = 1;
        while is_taken(&rest[0].name) {
            number += 1;
            rest[0].name = format!("{first}-{number}").into();
        }
    }
}

/// Whether a rule by itself is one: a schedule's times or a query may be what only the cloud understands.
fn alone(min: Option<u32>, max: Option<u32>, rule: &NativeRule, names: &Names<'_>) -> Result<(), String> {
    if matches!(rule.kind, NativeKind::Other(_)) {
        return Ok(());
    }
    let mut one = NativePolicy::named("one");
    (one.min, one.max) = (min, max);
    one.rules = vec![rule.clone()];
    above_zero(&mut one);
    let file = [SourceFile { name: "".into(), text: Form::new(&one, names).text() }];
    let (_, found) = config::parse_policies(&file, INTERVAL_DEFAULT, None);
    // Only what the rule itself says: the fleet around it is not this rule's.
    let start = file[0].text.find("[[fleet").map_or(0, |at| file[0].text[..at].lines().count());
    let errors = found.iter().filter(|one| one.severity == Severity::Error && one.line as usize > start);
    errors.map(|error| error.message.clone()).next().map_or(Ok(()), Err)
}

/// Rules about averages over instances can never leave 0, whatever the cloud's scaler may do there.
fn above_zero(native: &mut NativePolicy) {
    let leaves_zero = |rule: &NativeRule| match &rule.kind {
        NativeKind::Total { .. } => true,
        NativeKind::Steps { rows, .. } => rows.iter().any(|row| form::adds(row.change)),
        NativeKind::Schedule(schedule) => schedule.min.is_some_and(|min| min > 0),
        NativeKind::Average { .. } | NativeKind::Veto { .. } | NativeKind::Other(_) => false,
    };
    if native.min == Some(0) && !native.rules.iter().any(leaves_zero) {
        native.min = Some(1);
        native.note(
            "Its min is 0; here it is 1, since every metric needs an instance to be measured and the fleet could never \
             leave 0.",
        );
    }
}

fn valid(text: &str) -> Result<(), String> {
    let files = vec![SourceFile { name: "imported.toml".into(), text: text.to_owned() }];
    let (_, diagnostics) = config::parse_policies(&files, INTERVAL_DEFAULT, None);
    if diagnostics.iter().any(|one| one.severity == Severity::Error) {
        return Err(config::diagnostics::render(&config::Report { files, diagnostics }));
    }
    Ok(())
}

/// What is said of a query that is only probable.
fn probable(query: &Query) -> Option<&str> {
    match query {
        Query::Exact(_) => None,
        Query::Probable { exporter, .. } => Some(exporter),
    }
}
