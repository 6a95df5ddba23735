//! What `[provider.NAME] kind = "libvirt"` may say, and the groups made from it.
//!
//! ```toml
//! [provider.private]
//! kind = "libvirt"
//! hosts = { kvm1 = "qemu+ssh://skala@kvm1/system?no_tty=1", kvm2 = "qemu+tls://kvm2/system" }
//!
//! [provider.private.groups.web]
//! domain = "/etc/skala/web.xml"                                # the template; {name} is the instance's name
//! volume = { pool = "default", template = "debian12.qcow2" }   # {name}.qcow2 becomes a thin copy of it
//! seed = { pool = "default", user_data = "/etc/skala/web.yml" } # {name}-seed.iso becomes its cloud-init seed
//! hosts = ["kvm1", "kvm2"]                                     # all hosts when not said
//! max_per_host = 20
//! shutdown = "90s"                                             # a guest that still runs then is destroyed
//! ```

use crate::seed::UserData;
use crate::template::{Template, fingerprint};
use contract::{CAPACITY_MAX, Capacity, ProviderError};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A group's or host's name, at most; with a launch id behind it, it has to remain a name that libvirt takes.
const NAME_MAX: usize = 64;
/// How long a guest may take to shut down when the configuration does not say.
const SHUTDOWN: Duration = Duration::from_secs(60);
/// A day: whoever waits longer has forgotten that he waits.
const SHUTDOWN_MAX: Duration = Duration::from_secs(86_400);
/// What of a host's memory its guests may be promised, when the configuration does not say; the host needs some, too.
const MEMORY_SHARE: f64 = 0.9;
/// What a copy of the template volume is called, behind the instance's name.
pub(crate) const VOLUME_ENDING: &str = ".qcow2";
/// What a seed is called, behind the instance's name.
pub(crate) const SEED_ENDING: &str = "-seed.iso";

/// The settings of one private cloud: some hosts, and the groups on them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The hosts' libvirts: name to URI. The name is what an instance shows as its zone. Required.
    pub hosts: BTreeMap<String, String>,
    /// Share of a host's memory that its guests may be promised, 0.1 to 10; above 1 promises more than is there. 0.9 when
    /// not given.
    pub memory_share: Option<f64>,
    /// The groups by name, which is what a policy calls them.
    pub groups: BTreeMap<String, GroupSettings>,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroupSettings {
    /// The file with the domain's description that instances are made from. It is read once, at the start.
    pub domain: PathBuf,
    /// The volume of which every instance gets a copy.
    pub volume: Option<VolumeSettings>,
    /// What every instance is told at its first boot.
    pub seed: Option<SeedSettings>,
    /// The hosts that its instances are spread over; all when not given.
    pub hosts: Option<Vec<String>>,
    /// Most instances of this group on one host.
    pub max_per_host: Option<Capacity>,
    /// How long a guest has to shut down before it is destroyed, such as `"90s"` or `"5m"`; at most a day, `"60s"` when
    /// not given.
    pub shutdown: Option<String>,
}

/// The volume that instances begin with.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VolumeSettings {
    /// The storage pool, under the same name on every host. It has to hold files: the copy is a qcow2 over the template.
    pub pool: String,
    /// The template volume in it, raw or qcow2.
    pub template: String,
}

/// The cloud-init seed (NoCloud) of each instance.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SeedSettings {
    /// The storage pool that seeds are put into, under the same name on every host.
    pub pool: String,
    /// The file with cloud-init's user-data. It is read once, at the start.
    pub user_data: PathBuf,
    /// The file with cloud-init's network-config, when it needs one.
    pub network_config: Option<PathBuf>,
}

/// A group that can be worked with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    pub template: Template,
    /// Of everything that instances are made from.
    pub fingerprint: Box<str>,
    pub volume: Option<VolumeSettings>,
    pub seed: Option<Seed>,
    pub hosts: Vec<Box<str>>,
    pub max_per_host: Capacity,
    pub shutdown: Duration,
    pub memory_share: f64,
}

impl Group {
    /// The names of its hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(|name| &**name)
    }
}

/// A seed that can be made: the pool, and what goes into it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seed {
    pub pool: Box<str>,
    pub data: UserData,
}

impl Settings {
    /// Reads the templates and checks everything.
    ///
    /// # Errors
    /// `Invalid`, with all that is wrong in one text.
    pub(crate) fn load(&self) -> Result<BTreeMap<Box<str>, Group>, ProviderError> {
        let mut problems = Vec::new();
        if self.hosts.is_empty() {
            problems
                .push("hosts: at least one is needed, such as hosts = { kvm1 = \"qemu+ssh://kvm1/system\" }".into());
        }
        for (name, uri) in &self.hosts {
            if !is_name(name) {
                problems.push(format!("hosts: {name:?} is no name; letters, digits and . _ - make one"));
            }
            if !uri.contains(":/") || uri.contains('\0') {
                problems.push(format!("hosts.{name}: {uri:?} is not a URI of libvirt; \"qemu:///system\" is"));
            }
        }
        let memory_share = self.memory_share.unwrap_or(MEMORY_SHARE);
        if !(0.1..=10.0).contains(&memory_share) {
            problems.push(format!("memory_share: {memory_share} is not between 0.1 and 10"));
        }
        let mut groups = BTreeMap::new();
        for (name, group) in &self.groups {
            if !is_name(name) {
                problems.push(format!("groups: {name:?} is no name; letters, digits and . _ - make one"));
            }
            let mut wrong = |what: String| problems.push(format!("groups.{name}.{what}"));
            if let Some(group) = group.load(&self.hosts, memory_share, &mut wrong) {
                groups.insert(name.as_str().into(), group);
            }
        }
        if problems.is_empty() {
            return Ok(groups);
        }
        Err(ProviderError::Invalid { what: problems.join("; ").into() })
    }
}

impl GroupSettings {
    /// The group; none when it was said what is wrong.
    fn load(&self, all: &BTreeMap<String, String>, memory_share: f64, wrong: &mut dyn FnMut(String)) -> Option<Group> {
        let text = read("domain", &self.domain, wrong)?;
        let template = Template::parse(&text).map_err(|problems| {
            problems.iter().for_each(|what| wrong(format!("domain: {} {what}", self.domain.display())))
        });
        let hosts: Vec<Box<str>> = match &self.hosts {
            None => all.keys().map(|name| name.as_str().into()).collect(),
            Some(names) => names.iter().map(|name| name.as_str().into()).collect(),
        };
        for name in hosts.iter().filter(|name| !all.contains_key(&***name)) {
            wrong(format!("hosts: {name:?} is not one of the provider's hosts"));
        }
        if hosts.is_empty() {
            wrong("hosts: at least one is needed".into());
        }
        let shutdown = self.shutdown.as_deref().map_or(Some(SHUTDOWN), span).filter(|span| *span <= SHUTDOWN_MAX);
        if shutdown.is_none() {
            wrong(format!("shutdown: {:?} is not a time up to a day, such as \"90s\"", self.shutdown));
        }
        let template = template.ok()?;
        if let Some(volume) = &self.volume {
            named("volume.pool", &volume.pool, wrong);
            named("volume.template", &volume.template, wrong);
            used(&template, VOLUME_ENDING, "volume", wrong);
        }
        let seed = match &self.seed {
            None => None,
            Some(seed) => {
                used(&template, SEED_ENDING, "seed", wrong);
                Some(seed.load(wrong)?)
            }
        };
        let whole = [Some(text.as_str()), self.volume.as_ref().map(|volume| volume.template.as_str())];
        let parts = whole.into_iter().flatten().chain(seed.iter().flat_map(|seed| seed.data.parts()));
        Some(Group {
            fingerprint: fingerprint(parts),
            template,
            volume: self.volume.clone(),
            seed,
            hosts,
            max_per_host: self.max_per_host.unwrap_or(CAPACITY_MAX),
            shutdown: shutdown?,
            memory_share,
        })
    }
}

impl SeedSettings {
    fn load(&self, wrong: &mut dyn FnMut(String)) -> Option<Seed> {
        named("seed.pool", &self.pool, wrong);
        let user_data = read("seed.user_data", &self.user_data, wrong)?;
        let network_config = match &self.network_config {
            None => None,
            Some(path) => Some(read("seed.network_config", path, wrong)?.into()),
        };
        let data = UserData { user_data: user_data.into(), network_config };
        Some(Seed { pool: self.pool.as_str().into(), data })
    }
}

/// `"500ms"`, `"90s"`, `"5m"` or `"1h"`.
fn span(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(millis)?))
}

fn read(key: &str, path: &Path, wrong: &mut dyn FnMut(String)) -> Option<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) => {
            wrong(format!("{key}: {}: {error}", path.display()));
            None
        }
    }
}

fn named(key: &str, name: &str, wrong: &mut dyn FnMut(String)) {
    // It is written as POOL/NAME.
    if name.is_empty() || name.contains(['/', '\0', '\n']) {
        wrong(format!("{key}: {name:?} is no name"));
    }
}

/// A volume that the template does not speak of would be made for nothing.
fn used(template: &Template, ending: &str, key: &str, wrong: &mut dyn FnMut(String)) {
    if !template.uses(ending) {
        wrong(format!("{key}: the domain's description does not use it; a <disk> with {{name}}{ending} does"));
    }
}

fn is_name(name: &str) -> bool {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    plain && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.len() <= NAME_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_problem_is_said_at_once() {
        let text = r#"{"hosts": {"kvm 1": "qemu:///system", "b": "kvm1"}, "memory_share": 0,
            "groups": {"we/b": {"domain": "/nowhere/web.xml"}}}"#;
        let error = settings(text).load().unwrap_err();
        assert_eq!(error.code(), "invalid");
        let what = error.to_string();
        for key in [
            "hosts: \"kvm 1\"",
            "hosts.b:",
            "memory_share:",
            "groups: \"we/b\"",
            "groups.we/b.domain: /nowhere/web.xml",
        ] {
            assert!(what.contains(key), "{key} in {what}");
        }
        assert!(settings("{}").load().unwrap_err().to_string().contains("hosts: at least one"));
        assert!(serde_json::from_str::<Settings>(r#"{"host": {}}"#).unwrap_err().to_string().contains("unknown field"));
    }

    #[test]
    fn a_time_is_read_in_every_unit() {
        for (text, millis) in [("500ms", 500), ("90s", 90_000), ("0s", 0), ("5m", 300_000), ("24h", 86_400_000)] {
            assert_eq!(span(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "90", "s", "-1s", "1.5s", "1h30m", "99999999999999999999s", "1d"] {
            assert_eq!(span(text), None, "{text}");
        }
    }

    #[test]
    fn a_group_says_what_is_wrong_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name)
        };
        let domain = file("web.xml", "<domain><name>{name}</name><memory>1</memory></domain>");
        let user_data = file("user-data", "#cloud-config\n");
        let all = BTreeMap::from([("a".to_owned(), "test:///default".to_owned())]);
        let group = GroupSettings {
            domain,
            volume: Some(VolumeSettings { pool: "p/q".into(), template: String::new() }),
            seed: Some(SeedSettings { pool: "p".into(), user_data, network_config: None }),
            hosts: Some(vec!["b".into()]),
            max_per_host: None,
            shutdown: Some("25h".into()),
        };
        let mut problems = Vec::new();
        group.load(&all, 1.0, &mut |what| problems.push(what));
        for key in
            ["hosts: \"b\"", "shutdown:", "volume.pool:", "volume.template:", "volume: the domain", "seed: the domain"]
        {
            assert!(problems.iter().any(|problem| problem.starts_with(key)), "{key} in {problems:?}");
        }
    }
}
