//! From files to a [`PolicySet`]: tables are found, laid over each other, read, and checked against each other.

use super::diagnostic::{At, Diagnostic, Finding, Findings};
use super::fleet::{self, Context};
use super::layers;
use super::reader::{Reader, nearest};
use super::tree::{Entry, Table, Value};
use super::{INTERVAL_DEFAULT, Policy, PolicySet, SourceFile};
use super::{cases, syntax, units};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Most files of a directory.
pub const FILES_MAX: usize = 1_000;
/// Most fleets of a directory: ten times what one daemon is measured with.
const FLEETS_MAX: usize = 100_000;

/// What a query's text alone tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryFacts {
    /// The labels that the answer's series carry, when the outermost aggregation names them.
    pub labels: Option<Vec<Box<str>>>,
    /// What its source is, when that can be asked for the present alone and knows no query for the sample's time.
    pub only_now: Option<&'static str>,
}

/// What is wrong with a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryError {
    /// What the text should be: `PromQL`.
    pub language: &'static str,
    /// One sentence.
    pub message: String,
    /// Where in the query, in bytes, if that is known.
    pub offset: Option<usize>,
}

/// Checks a query's text in the language of the source of this name; `None`: its name could not be read.
pub type QueryCheck<'a> = &'a dyn Fn(Option<&str>, &str) -> Result<QueryFacts, QueryError>;

/// A source that asks others: its name, and theirs.
pub type Composite<'a> = (&'a str, Vec<&'a str>);

/// What reading depends on beside the files.
#[derive(Clone, Copy)]
pub struct ParseOptions<'a> {
    /// The interval of a fleet that says none.
    pub default_interval: Duration,
    /// Checks a query; without it any text is taken.
    pub query: Option<QueryCheck<'a>>,
    /// The providers that skala.toml has; `None`: any name is taken.
    pub providers: Option<&'a [&'a str]>,
    /// The sources that skala.toml has; `None`: any name is taken.
    pub sources: Option<&'a [&'a str]>,
    /// Those of them that ask others.
    pub composites: &'a [Composite<'a>],
    /// The drainers that skala.toml has; `None`: any name is taken.
    pub drainers: Option<&'a [&'a str]>,
}

impl Default for ParseOptions<'_> {
    fn default() -> Self {
        Self {
            default_interval: INTERVAL_DEFAULT,
            query: None,
            providers: None,
            sources: None,
            drainers: None,
            composites: &[],
        }
    }
}

/// Reads all policy files of a directory. The set holds the fleets without errors; with any error among the diagnostics
/// the whole set must be refused, since a fleet that is left out is a fleet that nobody scales.
pub fn parse(files: &[SourceFile], options: &ParseOptions<'_>) -> (PolicySet, Vec<Diagnostic>) {
    let kept = &files[..files.len().min(FILES_MAX)];
    let findings = Findings::new(kept);
    let roots: Vec<Table> = (0..kept.len()).map(|file| syntax::read(&findings, file as u32)).collect();
    let tables = Tables::find(&findings, &roots);
    let mut context = Context::new(&findings, *options);
    let mut fleets = tables.read(&mut context);
    fleets.sort_by(|a, b| a.id.cmp(&b.id));
    let tests = cases::read(&findings, &tables.tests, &fleets, &tables.names());
    let set = PolicySet {
        fleets,
        tests,
        files: files.iter().map(|file| file.name.clone()).collect(),
        default_interval: options.default_interval,
        revision: revision(files, options.default_interval).into(),
    };
    drop(tables);
    let mut diagnostics = findings.into_diagnostics();
    if files.len() > FILES_MAX {
        let mut many = Diagnostic::of_file(FILES_MAX as u32, format!("more than {FILES_MAX} policy files"));
        many.hint = Some("one file may hold many fleets".into());
        diagnostics.push(many);
    }
    (set, diagnostics)
}

/// What a fleet's files say of it: its own table with its template and `[defaults]` laid under, as [`parse`] reads it.
/// `None` when no file has the fleet. Mistakes are for [`parse`] to report.
pub fn settings(files: &[SourceFile], fleet: &str) -> Option<Table> {
    let kept = &files[..files.len().min(FILES_MAX)];
    let findings = Findings::new(kept);
    let roots: Vec<Table> = (0..kept.len()).map(|file| syntax::read(&findings, file as u32)).collect();
    let tables = Tables::find(&findings, &roots);
    let (name, (_, own)) = tables.fleets.get_key_value(fleet)?;
    Some(tables.complete(name, own, tables.template_of(own)))
}

/// Provider and group to where its fleet claims it, and the fleet's name.
type Owners<'t> = BTreeMap<(Box<str>, Box<str>), (At, &'t str)>;

/// The template under a fleet.
#[derive(Clone, Copy)]
enum Below<'t> {
    /// None is wanted.
    Nothing,
    /// This one.
    Layer(&'t str, &'t Table),
    /// One that cannot be had, which is reported.
    Lost,
}

/// The tables of all files, each name once.
struct Tables<'t> {
    findings: &'t Findings<'t>,
    defaults: Option<(&'t Entry, &'t Table)>,
    templates: BTreeMap<&'t str, (&'t Entry, &'t Table)>,
    fleets: BTreeMap<&'t str, (&'t Entry, &'t Table)>,
    tests: Vec<Reader<'t>>,
    /// A fleet or template may have been lost to a syntax error.
    broken: bool,
}

impl<'t> Tables<'t> {
    fn find(findings: &'t Findings<'t>, roots: &'t [Table]) -> Self {
        let (templates, fleets) = (BTreeMap::new(), BTreeMap::new());
        let mut found = Self { findings, defaults: None, templates, fleets, tests: Vec::new(), broken: false };
        for (file, root) in roots.iter().enumerate() {
            let at = At::new(u32::try_from(file).unwrap_or(u32::MAX), 0..0);
            let mut reader = Reader::new(findings, at, root);
            found.broken |= root.broken;
            for (entry, _) in reader.named("fleet") {
                keep(findings, &mut found.fleets, entry, "fleet");
            }
            for (entry, _) in reader.named("template") {
                keep(findings, &mut found.templates, entry, "template");
            }
            if let (true, Some(entry)) = (reader.table("defaults").is_some(), reader.entry("defaults"))
                && let Value::Table(table) = &entry.node.value
            {
                match found.defaults {
                    None => found.defaults = Some((entry, table)),
                    Some((first, _)) => {
                        let finding =
                            Finding::new("`[defaults]` is there twice").hint("one for all files of a directory");
                        findings.error(entry.at, finding.related(first.at, "the first one is here"));
                    }
                }
            }
            found.tests.extend(reader.list("test"));
            reader.finish();
        }
        if found.fleets.len() > FLEETS_MAX {
            findings.error(At::default(), Finding::new(format!("more than {FLEETS_MAX} fleets")));
        }
        found
    }

    fn names(&self) -> Vec<&'t str> {
        self.fleets.keys().copied().collect()
    }

    fn read(&self, context: &mut Context<'t>) -> Vec<Arc<Policy>> {
        let findings = self.findings;
        let mut sound = |entry: &Entry, table: &Table| {
            let before = findings.errors();
            let mut table = table.clone();
            layers::substitute(&mut table, "fleet", Some("group"));
            fleet::read_layer(context, entry.at, &table);
            findings.errors() == before && !table.broken
        };
        let defaults_sound = self.defaults.is_none_or(|(entry, table)| sound(entry, table));
        let templates: BTreeMap<&str, bool> =
            self.templates.iter().map(|(name, (entry, table))| (*name, sound(entry, table))).collect();
        let mut fleets = Vec::new();
        let mut owners = Owners::new();
        for (name, (entry, own)) in self.fleets.iter().take(FLEETS_MAX) {
            let template = self.template_of(own);
            let lost = match template {
                Below::Lost => true,
                Below::Nothing => false,
                Below::Layer(name, _) => templates.get(name) != Some(&true),
            };
            if lost || !defaults_sound {
                // What stands below is reported where it stands; here only the fleet's own words are left to judge.
                let mut table = (*own).clone();
                layers::substitute(&mut table, name, group_of(own));
                fleet::read_partly(context, entry.at, &table);
                continue;
            }
            let table = self.complete(name, own, template);
            let Some(policy) = fleet::read(context, name, entry.at, &table, own) else { continue };
            self.claim(&mut owners, &policy, name, own, entry.at);
            fleets.push(Arc::new(policy));
        }
        fleets
    }

    /// A fleet's table with everything laid under it, names put in.
    fn complete(&self, name: &str, own: &Table, template: Below<'_>) -> Table {
        let mut table = self.defaults.map_or_else(Table::default, |(_, defaults)| defaults.clone());
        if let Below::Layer(_, template) = template {
            table = layers::merge(&table, template);
        }
        table = layers::merge(&table, own);
        layers::substitute(&mut table, name, group_of(own));
        table
    }

    fn template_of(&self, own: &Table) -> Below<'t> {
        let Some(entry) = own.get("extends") else { return Below::Nothing };
        if entry.node.value == Value::Broken {
            return Below::Lost;
        }
        let Some(name) = entry.node.text() else {
            let found = Finding::new(format!("`extends` must be a template's name, not {}", entry.node.value.kind()));
            self.findings.error(entry.node.at, found);
            return Below::Lost;
        };
        if let Some((name, (_, table))) = self.templates.get_key_value(name.as_ref()) {
            return Below::Layer(name, table);
        }
        if !self.broken {
            let found = Finding::new(format!("there is no template `{}`", units::cut(name)));
            let found = match nearest(name, self.templates.keys().copied()) {
                Some(near) => found.hint(format!("did you mean `{near}`?")),
                None if self.templates.is_empty() => found.hint("no file of this directory has a [template.NAME]"),
                None => {
                    found.hint(format!("there are: {}", self.templates.keys().copied().collect::<Vec<_>>().join(", ")))
                }
            };
            self.findings.error(entry.node.at, found);
        }
        Below::Lost
    }

    /// Two fleets that size one group would fight.
    fn claim(&self, owners: &mut Owners<'t>, policy: &Policy, name: &'t str, own: &Table, header: At) {
        let list = own.get("group").and_then(|entry| match &entry.node.value {
            Value::List(items) => Some(items),
            _ => None,
        });
        for (index, group) in policy.groups.iter().enumerate() {
            let node = list.and_then(|items| items.get(index));
            let at = node.and_then(|node| node.table()?.get("group")).map_or(header, |entry| entry.node.at);
            let key = (group.provider.clone(), group.group.0.clone());
            match owners.get(&key) {
                None => {
                    owners.insert(key, (at, name));
                }
                Some((first, owner)) => {
                    let found = Finding::new(format!("group `{}` of `{}` has two fleets", key.1, key.0));
                    let found = found.hint("a group is sized by one fleet; give this one to one of them");
                    self.findings.error(at, found.related(*first, format!("fleet `{owner}` has it already")));
                }
            }
        }
    }
}

fn keep<'t>(
    findings: &Findings<'_>,
    kept: &mut BTreeMap<&'t str, (&'t Entry, &'t Table)>,
    entry: &'t Entry,
    what: &str,
) {
    let Value::Table(table) = &entry.node.value else { return };
    if let Some(fault) = units::name_fault(&entry.key) {
        findings.error(entry.at, fault.of(&units::cut(&entry.key)));
        return;
    }
    match kept.get(entry.key.as_ref()) {
        None => {
            kept.insert(&entry.key, (entry, table));
        }
        Some((first, _)) => {
            let found = Finding::new(format!("{what} `{}` is there twice", entry.key));
            findings.error(entry.at, found.related(first.at, "the first one is here"));
        }
    }
}

/// The name that `{group}` stands for: the first group's.
fn group_of(own: &Table) -> Option<&str> {
    let Value::List(groups) = &own.get("group")?.node.value else { return None };
    groups.first()?.table()?.get("group")?.node.text().map(|text| text.as_ref())
}

/// FNV-1a over the interval, then names and contents with their lengths: not a defence, only the same on every machine.
fn revision(files: &[SourceFile], interval: Duration) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |bytes: &[u8]| {
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    take(&interval.as_nanos().to_le_bytes());
    for file in files {
        take(file.name.as_bytes());
        take(file.text.as_bytes());
    }
    format!("{hash:016x}")
}
