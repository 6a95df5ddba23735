//! `[source.NAME]`: where readings come from. One table in, its settings out; what is asked of it is checked in `queries`.

use super::fetch::{Paths, address, read_headers, read_settings, read_timeout};
use super::kinds::{Kinds, MetricsKind};
use crate::http::{FetchSettings, check_base, check_document};
use crate::sources::exec::ExecSettings;
use crate::sources::http_json::{JsonTime, TimePath, TimeUnit};
use policies::policy::units;
use policies::policy::{Fault, Finding, Node, Place, Reader, Table, Value, nearest};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A composite asks the next source after this, unless it is told otherwise: with it three sources have their chance
/// within a cycle's 5 s.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// A command or a cloud has this long, unless it is told otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);
const ARGUMENTS_MAX: usize = 64;
const PARTS_MAX: usize = 8;

/// `[source.NAME]`.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Its name.
    pub name: Box<str>,
    /// What it is.
    pub kind: SourceKind,
    /// Where it stands.
    pub place: Place,
}

/// What a source is.
#[derive(Clone, Debug)]
pub enum SourceKind {
    /// A server that speaks the Prometheus HTTP API.
    Prometheus {
        /// Its base URL.
        url: String,
        /// How to reach it.
        settings: FetchSettings,
    },
    /// A JSON document.
    HttpJson {
        /// Its URL.
        url: String,
        /// How to reach it.
        settings: FetchSettings,
        /// Where its values' time is from.
        time: JsonTime,
    },
    /// A command.
    Exec(ExecSettings),
    /// Others, one after the other.
    Composite {
        /// Their names, in the order in which they are asked.
        sources: Vec<Box<str>>,
        /// The next one is asked after this at the latest.
        patience: Duration,
    },
    /// A provider's own metrics.
    Cloud {
        /// What they are.
        kind: MetricsKind,
        /// The provider's name.
        provider: Box<str>,
        /// For a whole question.
        timeout: Duration,
    },
    /// Simulated load, for the demo.
    Sim {
        /// Its own settings.
        settings: Table,
    },
}

/// What skala.toml has under which name, before it is read: tables may name those that come later.
pub(super) struct Declared<'t> {
    providers: Vec<(&'t str, Option<&'t str>)>,
    sources: Vec<(&'t str, Option<&'t str>)>,
}

impl<'t> Declared<'t> {
    /// The names and kinds in a file.
    pub fn of(root: &'t Table) -> Self {
        let all = |key: &str| {
            let tables = root.get(key).and_then(|entry| entry.node.table());
            let entries = tables.map_or(&[][..], |table| &table.entries).iter();
            let kind = |node: &'t Node| node.table()?.get("kind")?.node.text().map(|text| &**text);
            entries.map(|entry| (&*entry.key, kind(&entry.node))).collect()
        };
        Self { providers: all("provider"), sources: all("source") }
    }
}

/// The words of `kind` that need nobody.
const KINDS: [&str; 5] = ["prometheus", "http-json", "exec", "composite", "sim"];

pub(super) fn read_source(
    mut r: Reader<'_>,
    name: &str,
    paths: &Paths<'_>,
    kinds: Kinds<'_>,
    declared: &Declared<'_>,
) -> Option<SourceConfig> {
    let kind = r.need_or("kind", |node| kind_of(node, kinds), Some("kind = \"prometheus\""))?;
    let place = r.findings().place(r.at());
    let kind = match &*kind {
        "sim" => return Some(SourceConfig { name: name.into(), kind: SourceKind::Sim { settings: r.rest() }, place }),
        "prometheus" => read_prometheus(&mut r, paths),
        "http-json" => read_http_json(&mut r, paths),
        "exec" => read_exec(&mut r),
        "composite" => read_composite(&mut r, name, declared),
        other => kinds.metrics.iter().find(|one| one.kind == other).and_then(|one| read_cloud(&mut r, one, declared)),
    };
    r.finish();
    Some(SourceConfig { name: name.into(), kind: kind?, place })
}

fn kind_of(node: &Node, kinds: Kinds<'_>) -> Result<Arc<str>, Fault> {
    let kind = units::text(node)?;
    let built = || KINDS.into_iter().chain(kinds.metrics.iter().map(|one| one.kind));
    if built().any(|known| *known == *kind) {
        return Ok(kind);
    }
    let list = || built().map(|kind| format!("\"{kind}\"")).collect::<Vec<_>>().join(", ");
    if kinds.known_metrics.contains(&kind.as_ref()) {
        let fault = Fault::new(format!("is \"{kind}\", which this skala cannot do yet"));
        return Err(fault.hint(format!("it can do: {}", list())));
    }
    let fault = Fault::new(format!("must be one of {}, not \"{}\"", list(), units::cut(&kind)));
    Err(match nearest(&kind, built()) {
        Some(near) => fault.hint(format!("did you mean \"{near}\"?")),
        None => fault,
    })
}

fn read_prometheus(r: &mut Reader<'_>, paths: &Paths<'_>) -> Option<SourceKind> {
    let address = address(check_base, "write \"http://127.0.0.1:9090\"");
    let url = r.need_or("url", address, Some("url = \"http://127.0.0.1:9090\""));
    let settings = read_settings(r, paths);
    Some(SourceKind::Prometheus { url: url?, settings })
}

fn read_http_json(r: &mut Reader<'_>, paths: &Paths<'_>) -> Option<SourceKind> {
    let address = address(check_document, "write \"http://127.0.0.1:8080/stats?group=all\"");
    let url = r.need_or("url", address, Some("the document's address: url = \"http://127.0.0.1:8080/stats\""));
    let mut settings = read_settings(r, paths);
    settings.headers = read_headers(r, paths);
    let time = read_time(r);
    Some(SourceKind::HttpJson { url: url?, settings, time: time? })
}

/// Where a value's time is from: it must be said, since nothing that has no time is ever fresh.
fn read_time(r: &mut Reader<'_>) -> Option<JsonTime> {
    let path = r.take("time", |node| {
        let text = units::line(1024)(node)?;
        TimePath::parse(&text).map_err(|(message, _)| Fault::new(format!("is no path to a time: {message}")))
    });
    let time_units =
        [("s", TimeUnit::Seconds), ("ms", TimeUnit::Millis), ("us", TimeUnit::Micros), ("rfc3339", TimeUnit::Rfc3339)];
    let unit = r.take("time_unit", units::choice(&time_units));
    let trust = r.take("trust_time", units::choice(&[("fetch", ())]));
    let lone_unit = r.has("time_unit") && !r.has("time");
    if r.has("time") && r.has("trust_time") {
        let found = Finding::new("`trust_time` has no effect beside `time`").hint("remove one of them");
        r.findings().error(r.at_of("trust_time"), found);
    } else if lone_unit {
        r.findings().error(r.at_of("time_unit"), Finding::new("`time_unit` needs `time`, the path to a value's time"));
    } else if !r.has("time") && !r.has("trust_time") {
        let found = Finding::new("`time` is missing: without a time of its own a value is never fresh");
        let hint = "time = \"$.updated\", or \"@.updated\" for the value's own item; trust_time = \"fetch\" if the server \
                    never gives an old value";
        r.lacks(&["time", "trust_time"], found.hint(hint));
    }
    match (path, trust) {
        (Some(path), _) => Some(JsonTime::At(path, unit.unwrap_or(TimeUnit::Seconds))),
        (None, Some(())) => Some(JsonTime::Fetch),
        (None, None) => None,
    }
}

fn read_exec(r: &mut Reader<'_>) -> Option<SourceKind> {
    let command = read_command(r, "command = [\"/usr/local/bin/queue-depth\", \"--all\"]");
    let timeout = read_timeout(r).unwrap_or(TIMEOUT);
    let trust_time = r.take("trust_time", units::choice(&[("run", ())])).is_some();
    let (command, environment) = command?;
    Some(SourceKind::Exec(ExecSettings { command, timeout, environment, trust_time }))
}

/// `command`, a program's absolute path and its arguments, and `env`, the names of the variables that it is given.
pub(super) fn read_command(r: &mut Reader<'_>, hint: &'static str) -> Option<(Vec<String>, Vec<String>)> {
    let command = r.need_or(
        "command",
        |node| {
            let command = texts(node, ARGUMENTS_MAX).map_err(|fault| fault.hint(hint))?;
            match command.first() {
                Some(program) if Path::new(program).is_absolute() => Ok(command),
                Some(_) => Err(Fault::new("must begin with an absolute path: no shell looks for it").hint(hint)),
                None => Err(Fault::new("must not be empty").hint(hint)),
            }
        },
        Some(hint),
    );
    let environment = r.take("env", |node| {
        let names = texts(node, ARGUMENTS_MAX)?;
        match names.iter().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
            Some(name) => {
                let fault = Fault::new(format!("has \"{}\", which is no variable's name", units::cut(name)));
                Err(fault.hint("it names variables of skala's own environment that the command gets: env = [\"PATH\"]"))
            }
            None => Ok(names),
        }
    });
    Some((command?, environment.unwrap_or_default()))
}

fn read_composite(r: &mut Reader<'_>, name: &str, declared: &Declared<'_>) -> Option<SourceKind> {
    let known: Vec<&str> = declared.sources.iter().map(|(name, _)| *name).collect();
    let hint = "sources = [\"prometheus-a\", \"prometheus-b\"], in the order in which they are asked";
    let part = |node: &Node| {
        let part = units::listed("source", Some(&known))(node)?;
        let kind = declared.sources.iter().find(|(name, _)| *name == &*part).and_then(|(_, kind)| *kind);
        if *part == *name {
            return Err(Fault::new("names itself"));
        }
        if kind == Some("composite") {
            let fault = Fault::new(format!("names `{part}`, which is a composite itself"));
            return Err(fault.hint("name its sources here: what is asked first must be plain to see"));
        }
        Ok(part)
    };
    let sources = r.need_or(
        "sources",
        |node| {
            let Value::List(items) = &node.value else {
                return Err(Fault::new(format!("must be a list of names, not {}", node.value.kind())).hint(hint));
            };
            if !(2..=PARTS_MAX).contains(&items.len()) {
                return Err(Fault::new(format!("must name from 2 to {PARTS_MAX} sources")).hint(hint));
            }
            let mut sources: Vec<Box<str>> = Vec::new();
            for item in items {
                let part = part(item).map_err(|fault| fault.at(item.at))?;
                if sources.iter().any(|known| **known == *part) {
                    return Err(Fault::new(format!("names `{part}` twice")).at(item.at));
                }
                sources.push((&*part).into());
            }
            Ok(sources)
        },
        Some(hint),
    );
    let times = units::duration(Duration::from_millis(100)..=Duration::from_secs(5));
    let patience = r.take("patience", times).unwrap_or(PATIENCE);
    Some(SourceKind::Composite { sources: sources?, patience })
}

fn read_cloud(r: &mut Reader<'_>, kind: &MetricsKind, declared: &Declared<'_>) -> Option<SourceKind> {
    let known: Vec<&str> = declared.providers.iter().map(|(name, _)| *name).collect();
    let provider = r.need_or(
        "provider",
        |node| {
            let name = units::listed("provider", Some(&known))(node)?;
            let of = declared.providers.iter().find(|(known, _)| *known == &*name).and_then(|(_, kind)| *kind);
            match of {
                Some(of) if of != kind.provider => {
                    let fault = Fault::new(format!("is `{name}`, which is of kind \"{of}\""));
                    Err(fault.hint(format!("{} is of a provider of kind \"{}\"", kind.kind, kind.provider)))
                }
                _ => Ok(name),
            }
        },
        Some("the NAME of a [provider.NAME]: its account and credentials are used"),
    );
    let timeout = read_timeout(r).unwrap_or(TIMEOUT);
    Some(SourceKind::Cloud { kind: *kind, provider: (&*provider?).into(), timeout })
}

/// A list of texts.
fn texts(node: &Node, most: usize) -> Result<Vec<String>, Fault> {
    let Value::List(items) = &node.value else {
        return Err(Fault::new(format!("must be a list of texts, not {}", node.value.kind())));
    };
    if items.len() > most {
        return Err(Fault::new(format!("must not have more than {most} items")));
    }
    let text = |item: &Node| match units::text(item) {
        Ok(text) if !text.contains('\0') => Ok(text.to_string()),
        Ok(_) => Err(Fault::new("must not contain NUL").at(item.at)),
        Err(fault) => Err(fault.at(item.at)),
    };
    items.iter().map(text).collect()
}

#[cfg(test)]
mod tests;
