//! Finds clouds.yaml and secure.yaml as OpenStack's own tools do, and joins what they say of one cloud.
//!
//! The order is: `OS_CLIENT_CONFIG_FILE` alone; else the service manager's `$CREDENTIALS_DIRECTORY`, the working directory,
//! the user's and the site's configuration. secure.yaml (`OS_CLIENT_SECURE_FILE`) is looked for in the same places by
//! itself, and what it says goes over clouds.yaml.

use super::Environment;
use super::entry::Entry;
use contract::ProviderError;
use serde_json::{Map, Value};
use std::io::ErrorKind;
use std::path::PathBuf;

/// Reads one cloud.
pub(super) fn cloud(name: &str, environment: &Environment) -> Result<Entry, ProviderError> {
    let places = |variable: &str, stem: &str| match environment(variable).filter(|path| !path.is_empty()) {
        Some(path) => vec![PathBuf::from(path)],
        None => candidates(stem, environment),
    };
    let looked = places("OS_CLIENT_CONFIG_FILE", "clouds");
    let Some((path, clouds)) = first(&looked)? else {
        let looked: Vec<String> = looked.iter().map(|path| path.display().to_string()).collect();
        return Err(wrong(format!("no clouds.yaml (looked for {})", looked.join(", "))));
    };
    let place = format!("{}: clouds.{name}", path.display());
    let mut settings = match clouds.get("clouds").and_then(|clouds| clouds.get(name)) {
        Some(Value::Object(settings)) => settings.clone(),
        Some(_) => return Err(wrong(format!("{place} is not a table"))),
        None => return Err(wrong(format!("{}: no cloud {name:?}; there are {}", path.display(), names(&clouds)))),
    };
    if let Some((_, secure)) = first(&places("OS_CLIENT_SECURE_FILE", "secure"))?
        && let Some(Value::Object(over)) = secure.get("clouds").and_then(|clouds| clouds.get(name))
    {
        join(&mut settings, over);
    }
    Ok(Entry { place, settings })
}

fn candidates(stem: &str, environment: &Environment) -> Vec<PathBuf> {
    let variable = |name: &str| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")));
    let folders = [
        variable("CREDENTIALS_DIRECTORY"),
        Some(PathBuf::from(".")),
        user.map(|folder| folder.join("openstack")),
        Some(PathBuf::from("/etc/xdg/openstack")),
        Some(PathBuf::from("/etc/openstack")),
    ];
    let names = ["yaml", "yml", "json"].map(|ending| format!("{stem}.{ending}"));
    folders.iter().flatten().flat_map(|folder| names.iter().map(|name| folder.join(name))).collect()
}

/// The first of these files that is there, read. One that is there and cannot be read is a fault, not a miss.
fn first(paths: &[PathBuf]) -> Result<Option<(PathBuf, Value)>, ProviderError> {
    for path in paths {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(wrong(format!("{}: {error}", path.display()))),
        };
        // The parser's own message shows the lines around the fault, and those may hold a secret: so only the place.
        let value: Value = serde_saphyr::from_str(&text).map_err(|error| {
            let place = error.location().map_or_else(String::new, |at| format!(" in line {}", at.line()));
            wrong(format!("{}: not YAML{place}", path.display()))
        })?;
        return Ok(Some((path.clone(), value)));
    }
    Ok(None)
}

fn names(clouds: &Value) -> String {
    let names =
        clouds.get("clouds").and_then(Value::as_object).map(|clouds| clouds.keys().cloned().collect::<Vec<_>>());
    names.filter(|names| !names.is_empty()).map_or_else(|| "none".into(), |names| names.join(", "))
}

/// Puts `over` over `base`, table by table.
fn join(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Object(base)), Value::Object(over)) => join(base, over),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

fn wrong(what: String) -> ProviderError {
    ProviderError::Invalid { what: what.into() }
}
