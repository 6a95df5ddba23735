//! The profile files of Alibaba Cloud's tools: `credentials.ini` of the SDKs and `config.json` of the command line.
//! Pure but for reading the file; a secret never comes into a message.

use super::{Key, Origin, invalid};
use contract::ProviderError;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Longer than any such file; a larger one is the wrong file.
const FILE_MAX: u64 = 256 * 1024;

/// Reads a small text file; each time anew, so that a rotated secret is in force with the next renewal.
pub(super) fn read(path: &Path) -> Result<String, ProviderError> {
    let fail = |why: &dyn std::fmt::Display| invalid(format!("credentials file {}: {why}", path.display()));
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(|error| fail(&error))?.is_file() {
        return Err(fail(&"not a regular file"));
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| fail(&error))?;
    file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(|error| fail(&error.kind()))?;
    if text.len() as u64 > FILE_MAX {
        return Err(fail(&"too long"));
    }
    Ok(text)
}

/// One profile of `credentials.ini`.
pub(super) fn ini(text: &str, path: &Path, profile: &str) -> Result<Origin, ProviderError> {
    let mut section: Option<&str> = None;
    let mut found: Option<BTreeMap<String, String>> = None;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') || line.starts_with(';') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = Some(name.trim());
            if section == Some(profile) {
                found.get_or_insert_default();
            }
        } else if let (true, Some((key, value)), Some(found)) =
            (section == Some(profile), line.split_once('='), &mut found)
        {
            // A comment may follow a value.
            let value = value.split('#').next().unwrap_or_default().trim();
            found.insert(key.trim().to_ascii_lowercase(), value.to_owned());
        }
    }
    let place = format!("{}: [{profile}]", path.display());
    let found = found.ok_or_else(|| invalid(format!("{place}: there is no such profile")))?;
    let get = |key: &str| found.get(key).filter(|value| !value.is_empty()).cloned();
    let need = |key: &str| get(key).ok_or_else(|| invalid(format!("{place}: {key} is missing")));
    match get("type").as_deref() {
        Some("access_key" | "sts") | None => Ok(Origin::Key(Key {
            id: need("access_key_id")?,
            secret: need("access_key_secret")?,
            token: get("security_token"),
            until: None,
        })),
        Some("ecs_ram_role") => Ok(Origin::Ecs { role: get("role_name") }),
        Some("oidc_role_arn") => Ok(Origin::Oidc {
            role: need("role_arn")?,
            provider: need("oidc_provider_arn")?,
            token_file: need("oidc_token_file_path")?.into(),
            session: get("role_session_name").unwrap_or_else(|| "skala".into()),
        }),
        Some(other) => Err(unknown(&place, "type", other)),
    }
}

#[derive(Deserialize)]
struct Cli {
    #[serde(default)]
    current: String,
    #[serde(default)]
    profiles: Vec<CliProfile>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct CliProfile {
    name: String,
    mode: String,
    access_key_id: String,
    access_key_secret: String,
    sts_token: String,
    ram_role_name: String,
    ram_role_arn: String,
    oidc_provider_arn: String,
    oidc_token_file: String,
    ram_session_name: String,
}

/// One profile of the command line's `config.json`, its current one when none is named; `None` when nothing is current.
pub(super) fn cli(text: &str, path: &Path, profile: Option<&str>) -> Result<Option<Origin>, ProviderError> {
    let shown = path.display();
    // serde's words may repeat a value, so only the place is told.
    let file: Cli = serde_json::from_str(text)
        .map_err(|error| invalid(format!("{shown}: line {}: not a file of profiles", error.line())))?;
    let name = profile.unwrap_or(&file.current);
    if name.is_empty() {
        return Ok(None);
    }
    let place = format!("{shown}: profile {name:?}");
    let found = file.profiles.into_iter().find(|profile| profile.name == name);
    let found = found.ok_or_else(|| invalid(format!("{place}: there is no such profile")))?;
    let need = |key: &str, value: String| {
        if value.is_empty() { Err(invalid(format!("{place}: {key} is missing"))) } else { Ok(value) }
    };
    let or = |value: String| Some(value).filter(|value| !value.is_empty());
    Ok(Some(match found.mode.as_str() {
        "AK" | "StsToken" | "" => Origin::Key(Key {
            id: need("access_key_id", found.access_key_id)?,
            secret: need("access_key_secret", found.access_key_secret)?,
            token: or(found.sts_token).filter(|_| found.mode == "StsToken"),
            until: None,
        }),
        "EcsRamRole" => Origin::Ecs { role: or(found.ram_role_name) },
        "OIDC" => Origin::Oidc {
            role: need("ram_role_arn", found.ram_role_arn)?,
            provider: need("oidc_provider_arn", found.oidc_provider_arn)?,
            token_file: need("oidc_token_file", found.oidc_token_file)?.into(),
            session: or(found.ram_session_name).unwrap_or_else(|| "skala".into()),
        },
        other => return Err(unknown(&place, "mode", other)),
    }))
}

fn unknown(place: &str, key: &str, value: &str) -> ProviderError {
    invalid(format!(
        "{place}: {key} {value:?} is not one that skala knows; an access key, an STS token, an ECS role and OIDC are"
    ))
}
