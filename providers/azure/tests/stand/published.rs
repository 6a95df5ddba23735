//! The examples that Azure publishes with each version of its API: found in a folder, and held against what was said.

use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// One call of the API as an example shows it.
pub struct Example {
    /// The file's name, without its end.
    pub name: String,
    /// What is asked: what stands in the path and the query, and the body under a name of its own.
    pub parameters: Map<String, Value>,
    /// What may be answered, by the status.
    pub responses: BTreeMap<String, Value>,
}

/// The examples of a folder.
pub struct Examples(Vec<Example>);

impl Examples {
    /// Reads every example below `folder` whose name begins with one of `names`.
    pub fn read(folder: &Path, names: &[&str]) -> Self {
        let mut found = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            for entry in entries {
                let path = entry.unwrap().path();
                let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|end| end == "json") && is_one(&stem, names) {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let text = text.trim_start_matches('\u{feff}');
                    let mut whole: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{stem}: {e}"));
                    let (parameters, responses) = (whole["parameters"].take(), whole["responses"].take());
                    let read = |what: &str| format!("{stem} has no {what}: it is no example");
                    found.push(Example {
                        parameters: serde_json::from_value(parameters)
                            .unwrap_or_else(|_| panic!("{}", read("parameters"))),
                        responses: serde_json::from_value(responses)
                            .unwrap_or_else(|_| panic!("{}", read("responses"))),
                        name: stem,
                    });
                }
            }
        }
        found.sort_by(|a: &Example, b| a.name.cmp(&b.name));
        Self(found)
    }

    /// Those of one call in one version of the API; there must be some.
    pub fn of(&self, names: &[&str], version: &str) -> Vec<&Example> {
        let of = |one: &&Example| {
            is_one(&one.name, names) && one.parameters.get("api-version").is_some_and(|of| of == version)
        };
        let found: Vec<&Example> = self.0.iter().filter(of).collect();
        assert!(!found.is_empty(), "the folder has no example {names:?} of {version}");
        found
    }
}

fn is_one(stem: &str, names: &[&str]) -> bool {
    names.iter().any(|name| stem.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')))
}

impl Example {
    /// The body of an answer with this status.
    pub fn body(&self, status: u16) -> Option<&Value> {
        self.responses.get(&status.to_string())?.get("body")
    }

    /// The body of what is asked.
    pub fn asked(&self) -> Option<&Value> {
        self.parameters.values().find(|value| value.is_object())
    }

    /// Made to show what must be there at least.
    pub fn is_least(&self) -> bool {
        self.name.contains("MinimumSet")
    }
}

/// What in `said` no example has or has otherwise; `at` is where it stands.
pub fn strange(said: &Value, examples: &[&Value], at: &str, found: &mut BTreeSet<String>) {
    let (mine, kinds): (_, BTreeSet<&str>) = (kind(said), examples.iter().map(|one| kind(one)).collect());
    if !kinds.contains(mine) {
        let what = if kinds.is_empty() { "in no example".into() } else { format!("{mine}, and not {kinds:?}") };
        found.insert(format!("{at}: {what}"));
        return;
    }
    match said {
        // They have names of their own.
        Value::Object(tags) if at.ends_with(".tags") => {
            found
                .extend(tags.iter().filter(|(_, tag)| !tag.is_string()).map(|(key, _)| format!("{at}.{key}: no text")));
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                let known: Vec<&Value> = examples.iter().filter_map(|one| one.get(key)).collect();
                strange(value, &known, &format!("{at}.{key}"), found);
            }
        }
        Value::Array(items) => {
            let known: Vec<&Value> = examples.iter().filter_map(|one| one.as_array()).flatten().collect();
            items.iter().for_each(|item| strange(item, &known, &format!("{at}[]"), found));
        }
        _ => {}
    }
}

/// What `said` lacks of an example that shows the least that there must be.
pub fn lacking(said: &Value, least: &Value, at: &str, found: &mut BTreeSet<String>) {
    match (said, least) {
        (Value::Object(fields), Value::Object(least)) => {
            for (key, least) in least {
                let at = format!("{at}.{key}");
                match fields.get(key) {
                    Some(value) => lacking(value, least, &at, found),
                    None => drop(found.insert(format!("{at}: not there"))),
                }
            }
        }
        (Value::Array(items), Value::Array(least)) => {
            let Some(least) = least.first() else { return };
            items.iter().for_each(|item| lacking(item, least, &format!("{at}[]"), found));
        }
        _ => {}
    }
}

/// A value's type; a text that is a time is one of its own.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(text) if azure_core::time::parse_rfc3339(text).is_ok() => "time",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}
