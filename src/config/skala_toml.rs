//! skala.toml: text in, settings out, with every problem at once. Secrets are named here and never read.

use super::drainers::{DrainerConfig, read_drainer};
use super::fetch::Paths;
use super::kinds::Kinds;
use super::sources::{Declared, SourceConfig, read_source};
use crate::store::url::StoreUrl;
use policies::policy::units::{self, DAY};
use policies::policy::{
    At, Diagnostic, Fault, Findings, INTERVAL_DEFAULT, Node, Place, Rate, Reader, SourceFile, Table, Value, nearest,
    read_rate, read_toml,
};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(366 * 86_400);
const GIB: u64 = 1 << 30;

/// skala.toml, read.
#[derive(Clone, Debug)]
pub struct SkalaToml {
    /// The file, for whoever reports on a provider's own settings.
    pub file: SourceFile,
    /// `[daemon]`.
    pub daemon: DaemonConfig,
    /// `[store]`.
    pub store: StoreConfig,
    /// `[api]`.
    pub api: ApiConfig,
    /// `[provider.NAME]`, sorted by name.
    pub providers: Vec<ProviderConfig>,
    /// `[source.NAME]`, sorted by name.
    pub sources: Vec<SourceConfig>,
    /// `[drainer.NAME]`, sorted by name.
    pub drainers: Vec<DrainerConfig>,
    /// `[brakes]`.
    pub brakes: Brakes,
}

/// `[daemon]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonConfig {
    /// The policy directory; a relative one is beside skala.toml.
    pub policies: PathBuf,
    /// The interval of fleets that say none.
    pub interval: Duration,
    /// What this daemon calls itself in owner tags and the lease; `None`: the store's own id.
    pub id: Option<Box<str>>,
}

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Where it is.
    pub url: StoreUrl,
    /// How long decisions are kept.
    pub journal_keep: Duration,
    /// How many bytes of decisions are kept.
    pub journal_max: u64,
}

/// `[api]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// The socket for admins.
    pub socket: PathBuf,
    /// The read-only HTTP address; always loopback.
    pub listen: SocketAddr,
}

/// `[provider.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderConfig {
    /// Its name.
    pub name: Box<str>,
    /// Its kind, one of [`Kinds::built`].
    pub kind: Box<str>,
    /// Where it stands.
    pub place: Place,
    /// Where it stands, for [`Reader::new`].
    pub at: At,
    /// Its own settings: everything but `kind`. Read them with a [`Reader`] over `Findings::new(&[config.file])`.
    pub settings: Table,
}

impl ProviderConfig {
    /// Its own settings as the `toml` crate knows them.
    pub fn to_toml(&self) -> toml::Table {
        self.settings.to_toml()
    }
}

/// `[brakes]`: limits over all fleets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Brakes {
    /// Most that may be removed.
    pub max_scale_in: Option<Rate>,
    /// Most that may be added.
    pub max_scale_out: Option<Rate>,
    /// Where `max_scale_in` stands, else the table.
    pub in_place: Place,
    /// Where `max_scale_out` stands, else the table.
    pub out_place: Place,
}

impl SkalaToml {
    /// Reads it. Relative paths are below `directory`, `credential:NAME` is a file in `credentials`. `None` with errors.
    pub fn parse(
        file: &SourceFile,
        kinds: Kinds<'_>,
        directory: &Path,
        credentials: &Path,
    ) -> (Option<Self>, Vec<Diagnostic>) {
        let files = std::slice::from_ref(file);
        let findings = Findings::new(files);
        let root = read_toml(&findings, 0);
        let paths = Paths { directory, credentials };
        let declared = Declared::of(&root);
        let mut r = Reader::new(&findings, At::default(), &root);
        let daemon = read_daemon(&mut r, &paths);
        let store = read_store(&mut r);
        let api = read_api(&mut r, &paths);
        let providers = r.named("provider").into_iter().filter_map(|(entry, reader)| {
            check_name(&findings, &entry.key, entry.at).then(|| read_provider(reader, &entry.key, kinds)).flatten()
        });
        let providers: Vec<ProviderConfig> = providers.collect();
        let sources = r.named("source").into_iter().filter_map(|(entry, reader)| {
            let read = || read_source(reader, &entry.key, &paths, kinds, &declared);
            check_name(&findings, &entry.key, entry.at).then(read).flatten()
        });
        let sources: Vec<SourceConfig> = sources.collect();
        let drainers = r.named("drainer").into_iter().filter_map(|(entry, reader)| {
            let read = || read_drainer(reader, &entry.key, &paths);
            check_name(&findings, &entry.key, entry.at).then(read).flatten()
        });
        let drainers: Vec<DrainerConfig> = drainers.collect();
        let brakes = read_brakes(&mut r);
        r.finish();
        let sound = findings.errors() == 0;
        let config = Self { file: file.clone(), daemon, store, api, providers, sources, drainers, brakes };
        (sound.then_some(config), findings.into_diagnostics())
    }
}

/// The policy directory that a skala.toml names, though the rest of it may be wrong: its policies can still be checked.
pub fn policies_directory(file: &SourceFile, directory: &Path) -> Option<PathBuf> {
    let findings = Findings::new(std::slice::from_ref(file));
    let root = read_toml(&findings, 0);
    let daemon = root.get("daemon")?.node.table()?;
    let text = daemon.get("policies")?.node.text()?;
    Some(directory.join(text.as_ref()))
}

fn check_name(findings: &Findings<'_>, name: &str, at: At) -> bool {
    match units::name_fault(name) {
        None => true,
        Some(fault) => {
            findings.error(at, fault.of(&units::cut(name)));
            false
        }
    }
}

/// A section; one that is not there reads as an empty one.
fn section<'t, T>(r: &mut Reader<'t>, key: &'static str, read: impl FnOnce(&mut Reader<'t>) -> T, silent: T) -> T {
    let Some(mut section) = r.table(key) else { return silent };
    let value = read(&mut section);
    section.finish();
    value
}

fn read_daemon(r: &mut Reader<'_>, paths: &Paths<'_>) -> DaemonConfig {
    let silent = DaemonConfig { policies: "/etc/skala/policies".into(), interval: INTERVAL_DEFAULT, id: None };
    let other = silent.clone();
    let read = |r: &mut Reader<'_>| DaemonConfig {
        policies: r.take("policies", |node| paths.path(node)).unwrap_or(other.policies),
        interval: r.take("interval", units::duration(SECOND..=HOUR)).unwrap_or(other.interval),
        id: r.take("id", units::name).map(|id| id.as_ref().into()),
    };
    section(r, "daemon", read, silent)
}

fn read_store(r: &mut Reader<'_>) -> StoreConfig {
    let silent = StoreConfig {
        url: StoreUrl::Sqlite("/var/lib/skala/skala.db".into()),
        journal_keep: DAY * 30,
        journal_max: 10 * GIB,
    };
    let other = silent.clone();
    let url = |node: &Node| {
        let text = units::line(4096)(node)?;
        text.parse::<StoreUrl>().map_err(|error| {
            let text = error.to_string();
            // The error leads with the URL and ends with an example; the caret and the hint are the places for those.
            let why = text.split_once("`: ").map_or(text.as_str(), |(_, why)| why);
            let (why, example) = why.rsplit_once("; write ").unwrap_or((why, "sqlite:///var/lib/skala/skala.db"));
            Fault::new(format!("is not a store: {why}")).hint(format!("write \"{example}\""))
        })
    };
    let read = |r: &mut Reader<'_>| StoreConfig {
        url: r.take("url", url).unwrap_or(other.url),
        journal_keep: r.take("journal_keep", units::duration(HOUR..=YEAR * 10)).unwrap_or(other.journal_keep),
        journal_max: r.take("journal_max", read_bytes).unwrap_or(other.journal_max),
    };
    section(r, "store", read, silent)
}

/// `10GiB`: a number and a binary unit.
fn read_bytes(node: &Node) -> Result<u64, Fault> {
    let wanted = "must be a size such as \"10GiB\" or \"500MiB\"";
    let Value::Text(text) = &node.value else {
        return Err(Fault::new(format!("{wanted}, not {}", node.value.kind())));
    };
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)].iter().find(|(known, _)| *known == unit.trim());
    let bytes = number.parse::<u64>().ok().zip(shift).and_then(|(number, (_, shift))| number.checked_mul(1 << shift));
    match bytes {
        Some(bytes) if bytes >= 1 << 20 => Ok(bytes),
        Some(_) => Err(Fault::new("must be at least \"1MiB\"")),
        None => Err(Fault::new(format!("{wanted}, not \"{}\"", units::cut(text))).hint("units: KiB, MiB, GiB, TiB")),
    }
}

fn read_api(r: &mut Reader<'_>, paths: &Paths<'_>) -> ApiConfig {
    let silent = ApiConfig { socket: "/run/skala/skala.sock".into(), listen: SocketAddr::from(([127, 0, 0, 1], 9464)) };
    let other = silent.clone();
    let socket = |node: &Node| {
        let path = paths.path(node)?;
        // The kernel's limit for a socket's path, with its closing NUL.
        if path.as_os_str().len() > 107 {
            return Err(Fault::new("must not be longer than 107 bytes: a socket's path ends there"));
        }
        Ok(path)
    };
    let read = |r: &mut Reader<'_>| ApiConfig {
        socket: r.take("socket", socket).unwrap_or(other.socket),
        listen: r.take("listen", read_listen).unwrap_or(other.listen),
    };
    section(r, "api", read, silent)
}

fn read_listen(node: &Node) -> Result<SocketAddr, Fault> {
    let text = units::line(256)(node)?;
    let Ok(address) = text.parse::<SocketAddr>() else {
        let fault = Fault::new(format!("must be an address and a port, not \"{}\"", units::cut(&text)));
        return Err(fault.hint("write \"127.0.0.1:9464\""));
    };
    if !address.ip().is_loopback() {
        let fault = Fault::new(format!("must be a loopback address, and {} is not", address.ip()));
        return Err(fault.hint("it has no authentication; put a proxy that has in front of 127.0.0.1"));
    }
    Ok(address)
}

fn read_provider(mut r: Reader<'_>, name: &str, kinds: Kinds<'_>) -> Option<ProviderConfig> {
    let list = || kinds.built.join(", ");
    let kind = r.need_or(
        "kind",
        |node| {
            let kind = units::text(node)?;
            if kinds.built.contains(&kind.as_ref()) {
                return Ok(kind);
            }
            if kinds.known.contains(&kind.as_ref()) {
                let fault = Fault::new(format!("is \"{kind}\", which this skala cannot do yet"));
                return Err(fault.hint(format!("it can do: {}", list())));
            }
            let fault = Fault::new(format!("is \"{}\", which is no kind of provider", units::cut(&kind)));
            Err(match nearest(&kind, kinds.built.iter().chain(kinds.known).copied()) {
                Some(near) => fault.hint(format!("did you mean \"{near}\"?")),
                None => fault.hint(format!("kinds: {}", list())),
            })
        },
        Some("which cloud it is: kind = \"...\""),
    )?;
    let (at, place) = (r.at(), r.findings().place(r.at()));
    Some(ProviderConfig { name: name.into(), kind: kind.as_ref().into(), place, at, settings: r.rest() })
}

fn read_brakes(r: &mut Reader<'_>) -> Brakes {
    let read = |r: &mut Reader<'_>| {
        let place = |key: &str| r.findings().place(r.at_of(key));
        let (in_place, out_place) = (place("max_scale_in"), place("max_scale_out"));
        let max_scale_in = r.table("max_scale_in").and_then(|rate| read_rate(rate, 100.0));
        let max_scale_out = r.table("max_scale_out").and_then(|rate| read_rate(rate, 10_000.0));
        Brakes { max_scale_in, max_scale_out, in_place, out_place }
    };
    section(r, "brakes", read, Brakes::default())
}
