//! What `[provider.NAME] kind = "openstack"` may say. Secrets are not in it: they come from clouds.yaml, secure.yaml or
//! the environment.
//!
//! ```toml
//! [provider.bank]
//! kind = "openstack"
//! cloud = "bank"                        # of clouds.yaml; without it OS_CLOUD, or the environment's OS_*
//! region = "north"                      # where the catalog has several
//!
//! [provider.bank.groups.web]            # for servers with the tag `web`; "*" is for every tag not named
//! image = "0a6bd9b5-8b0c-4a57-a2d5-0a0f5d0f5d7e"
//! flavor = "m1.small"                   # the flavor's id
//! networks = ["6f1d..."]                # ids; [] for none, and left out: whatever the project has
//! security_groups = ["web"]
//! key_name = "ops"
//! user_data_file = "web.cloud-init"     # beside skala.toml, or an absolute path; read at each scale-out
//! server_group = "77b1..."              # with the policy soft-anti-affinity, for spreading over hosts
//! zones = ["az-1", "az-2"]              # spread over these
//! volume_gb = 20                        # boot from a new volume of this size, which goes with the server
//! ```

use crate::names;
use contract::ProviderError;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Nova takes so many bytes of user data, before base64.
pub(crate) const USER_DATA_MAX: usize = 49_149;
/// Settings for every tag that has none of its own.
const ANY: &str = "*";

/// The settings of one project in one region.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The cloud's name in clouds.yaml.
    pub cloud: Option<String>,
    /// Keystone's URL, when not the one of clouds.yaml or the environment.
    pub endpoint_url: Option<String>,
    /// The region, where the catalog has several.
    pub region: Option<String>,
    /// Which endpoints of the catalog: `public`, `internal` or `admin`.
    pub interface: Option<String>,
    /// How servers of a group are made, by its tag.
    pub groups: BTreeMap<String, Template>,
}

/// How the servers of one group are made.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Template {
    /// The image's id; required.
    pub image: String,
    /// The flavor's id; required.
    pub flavor: String,
    /// What servers' names begin with; the tag when not given.
    pub name: Option<String>,
    /// Networks by id; none at all when empty, and Nova's own choice when not given.
    pub networks: Option<Vec<String>>,
    /// Security groups by name.
    pub security_groups: Vec<String>,
    /// The key pair's name. It belongs to the user whom skala logs in as.
    pub key_name: Option<String>,
    /// A file for cloud-init.
    pub user_data_file: Option<PathBuf>,
    /// A server group's id.
    pub server_group: Option<String>,
    /// Availability zones to spread over; Nova's own choice when empty.
    pub zones: Vec<String>,
    /// Boot from a volume of so many GiB, made of the image.
    pub volume_gb: Option<u32>,
    /// Give the server a config drive.
    pub config_drive: Option<bool>,
    /// More metadata for the server.
    pub metadata: BTreeMap<String, String>,
}

impl Settings {
    /// Checks what can be checked without a call; all that is wrong at once.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(url) = &self.endpoint_url
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            problems.push(format!("endpoint_url: {url:?} must begin with http:// or https://"));
        }
        if let Some(interface) = &self.interface
            && !matches!(interface.as_str(), "public" | "internal" | "admin")
        {
            problems.push(format!("interface: {interface:?} is none of public, internal and admin"));
        }
        for (tag, template) in &self.groups {
            if let Some(why) = names::complaint(tag).filter(|_| tag != ANY) {
                problems.push(format!("groups.{tag:?}: no server tag: {why}"));
            }
            problems.extend(template.problems().into_iter().map(|what| format!("groups.{tag}.{what}")));
        }
        problems
    }

    /// How servers of a group are made; `None` when nothing is said of it.
    pub(crate) fn template(&self, tag: &str) -> Option<&Template> {
        self.groups.get(tag).or_else(|| self.groups.get(ANY))
    }
}

impl Template {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (key, value) in [("image", &self.image), ("flavor", &self.flavor)] {
            if value.is_empty() {
                problems.push(format!("{key}: missing; it is an id"));
            }
        }
        if self.volume_gb == Some(0) {
            problems.push("volume_gb: 0; leave it out for the flavor's own disk".into());
        }
        let empty = |list: &[String]| list.iter().any(String::is_empty);
        if self.networks.as_deref().is_some_and(empty) || empty(&self.security_groups) || empty(&self.zones) {
            problems.push("networks, security_groups, zones: an empty name".into());
        }
        // Nova takes 255 characters for each; two keys are skala's own.
        let long = |text: &String| text.chars().count() > 255;
        if self.metadata.iter().any(|(key, value)| key.is_empty() || long(key) || long(value)) {
            problems.push("metadata: keys have 1 to 255 characters, values at most 255".into());
        }
        problems
    }

    /// The user data as Nova wants it; read anew, since it may have changed.
    pub(crate) fn user_data(&self) -> Result<Option<String>, ProviderError> {
        let Some(path) = &self.user_data_file else { return Ok(None) };
        let wrong =
            |why: String| ProviderError::Invalid { what: format!("user_data_file {}: {why}", path.display()).into() };
        let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        if bytes.len() > USER_DATA_MAX {
            return Err(wrong(format!("{} bytes, and Nova takes {USER_DATA_MAX}", bytes.len())));
        }
        Ok(Some(base64(&bytes)))
    }
}

/// Standard base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= chunk.len() { char::from(DIGITS[value as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_said_at_once() {
        let settings = Settings {
            endpoint_url: Some("keystone:5000".into()),
            interface: Some("sideways".into()),
            groups: BTreeMap::from([
                ("a/b".to_owned(), Template { volume_gb: Some(0), zones: vec![String::new()], ..Template::default() }),
                ("*".to_owned(), Template { image: "i".into(), flavor: "f".into(), ..Template::default() }),
            ]),
            ..Settings::default()
        };
        let problems = settings.problems();
        for part in
            ["endpoint_url:", "interface:", "neither / nor ,", "a/b.image:", "a/b.flavor:", "a/b.volume_gb:", "zones:"]
        {
            assert!(problems.iter().any(|problem| problem.contains(part)), "{part} in {problems:?}");
        }
        assert_eq!(problems.len(), 7, "{problems:?}");
    }

    #[test]
    fn a_group_has_its_own_settings_or_those_for_any() {
        let template = |image: &str| Template { image: image.into(), flavor: "f".into(), ..Template::default() };
        let mut settings = Settings::default();
        settings.groups.insert("web".into(), template("w"));
        assert_eq!(settings.template("batch"), None);
        settings.groups.insert("*".into(), template("any"));
        assert_eq!(settings.template("batch").map(|t| &*t.image), Some("any"));
        assert_eq!(settings.template("web").map(|t| &*t.image), Some("w"));
    }

    #[test]
    fn base64_is_what_everybody_else_makes() {
        for (bytes, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), expected);
        }
    }
}
