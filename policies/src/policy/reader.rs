//! Reads a [`Table`] key by key: a key is taken with a type, and [`Reader::finish`] reports what nobody took. Every
//! problem becomes a finding; nothing is reported of what a syntax error has spoiled already.

use super::diagnostic::{At, Finding, Findings};
use super::tree::{Entry, Node, Table, Value};
use super::units;

/// What is wrong with a value, as the end of a sentence that begins with its key.
#[derive(Clone, Debug)]
pub struct Fault {
    message: String,
    hint: Option<String>,
    at: Option<At>,
    /// The key within the value.
    within: Option<String>,
}

impl Fault {
    /// `must be ...`.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, at: None, within: None }
    }

    /// Says what would be right.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Points at a part of the value.
    pub fn at(mut self, at: At) -> Self {
        self.at = Some(at);
        self
    }

    /// The fault is one of a key within the value.
    pub fn within(mut self, key: &str) -> Self {
        self.within = Some(key.to_owned());
        self
    }

    /// The fault as a finding about `key`.
    pub fn of(self, key: &str) -> Finding {
        let found = match self.within {
            Some(within) => Finding::new(format!("`{key}.{within}` {}", self.message)),
            None => Finding::new(format!("`{key}` {}", self.message)),
        };
        match self.hint {
            Some(hint) => found.hint(hint),
            None => found,
        }
    }
}

/// Reads one table.
#[derive(Debug)]
pub struct Reader<'t> {
    table: &'t Table,
    at: At,
    findings: &'t Findings<'t>,
    known: Vec<&'static str>,
    /// What is missing; said at the end, since a misspelt key may be the reason.
    lacking: Vec<(At, Vec<&'static str>, Finding)>,
    partial: bool,
}

impl<'t> Reader<'t> {
    /// A reader of this table; `at` is where a missing key is reported.
    pub fn new(findings: &'t Findings<'t>, at: At, table: &'t Table) -> Self {
        Self { table, at, findings, known: Vec::new(), lacking: Vec::new(), partial: false }
    }

    /// A table that others complete: nothing is missing.
    pub fn partial(mut self, partial: bool) -> Self {
        self.partial = partial;
        self
    }

    /// Where the findings go.
    pub fn findings(&self) -> &'t Findings<'t> {
        self.findings
    }

    /// Where the table stands.
    pub fn at(&self) -> At {
        self.at
    }

    /// The table itself.
    pub fn whole(&self) -> &'t Table {
        self.table
    }

    /// Whether what seems to be missing may be elsewhere or unreadable.
    pub fn is_partial(&self) -> bool {
        self.partial || self.table.broken
    }

    /// Whether the key is there, readable or not.
    pub fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// Where the key's value stands, or the table when it is not there.
    pub fn at_of(&self, key: &str) -> At {
        self.table.get(key).map_or(self.at, |entry| entry.node.at)
    }

    /// Takes a key as it is; `None` when it is absent or already reported.
    pub fn entry(&mut self, key: &'static str) -> Option<&'t Entry> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table.get(key).filter(|entry| entry.node.value != Value::Broken)
    }

    /// Takes a key that may be absent.
    pub fn take<T>(&mut self, key: &'static str, read: impl FnOnce(&'t Node) -> Result<T, Fault>) -> Option<T> {
        let entry = self.entry(key)?;
        match read(&entry.node) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.findings.error(fault.at.unwrap_or(entry.node.at), fault.of(key));
                None
            }
        }
    }

    /// Takes a key that must be there.
    pub fn need<T>(&mut self, key: &'static str, read: impl FnOnce(&'t Node) -> Result<T, Fault>) -> Option<T> {
        self.need_or(key, read, None)
    }

    /// Takes a key that must be there, with a hint for when it is not.
    pub fn need_or<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&'t Node) -> Result<T, Fault>,
        hint: Option<&str>,
    ) -> Option<T> {
        if !self.has(key) {
            let found = Finding::new(format!("`{key}` is missing"));
            self.lacks(&[key], hint.iter().fold(found, |found, hint| found.hint(*hint)));
        }
        self.take(key, read)
    }

    /// Notes that one of these keys should be there, unless the table is partial or one of them is only misspelt.
    pub fn lacks(&mut self, keys: &[&'static str], finding: Finding) {
        self.lacks_at(self.at, keys, finding);
    }

    /// Notes it for another place.
    pub fn lacks_at(&mut self, at: At, keys: &[&'static str], finding: Finding) {
        if !self.is_partial() {
            self.lacking.push((at, keys.to_vec(), finding));
        }
    }

    /// Takes a table within the table.
    pub fn table(&mut self, key: &'static str) -> Option<Reader<'t>> {
        let partial = self.partial;
        let findings = self.findings;
        self.take(key, |node| match node.table() {
            Some(table) => Ok(Reader::new(findings, node.at, table).partial(partial)),
            None => Err(Fault::new(format!("must be a table, not {}", node.value.kind()))),
        })
    }

    /// Takes the entries of a table whose keys are names of the writer's own.
    pub fn named(&mut self, key: &'static str) -> Vec<(&'t Entry, Reader<'t>)> {
        let (partial, findings) = (self.partial, self.findings);
        let table = self.take(key, |node| match node.table() {
            Some(table) => Ok(table),
            None => Err(Fault::new(format!("must be tables such as [{key}.NAME], not {}", node.value.kind()))),
        });
        let mut read = Vec::new();
        for entry in table.map_or(&[][..], |table| &table.entries) {
            match &entry.node.value {
                Value::Table(table) => {
                    read.push((entry, Reader::new(findings, entry.at, table).partial(partial)));
                }
                Value::Broken => {}
                other => {
                    let found = Finding::new(format!("`{}` must be a table, not {}", entry.key, other.kind()));
                    findings.error(entry.node.at, found.hint(format!("write [{key}.{}]", entry.key)));
                }
            }
        }
        read
    }

    /// Takes the tables of a list.
    pub fn list(&mut self, key: &'static str) -> Vec<Reader<'t>> {
        let (partial, findings) = (self.partial, self.findings);
        let items = self.take(key, |node| match &node.value {
            Value::List(items) => Ok(items.as_slice()),
            Value::Table(_) => {
                let fault = Fault::new("must be a list of tables, not a single one");
                Err(fault.hint(format!("its header has two brackets: [[...{key}]]")))
            }
            other => Err(Fault::new(format!("must be a list of tables, not {}", other.kind()))),
        });
        let mut read = Vec::new();
        for item in items.unwrap_or(&[]) {
            match &item.value {
                Value::Table(table) => read.push(Reader::new(findings, item.at, table).partial(partial)),
                Value::Broken => {}
                other => {
                    let found = Finding::new(format!("`{key}` must be a list of tables, but this is {}", other.kind()));
                    findings.error(item.at, found);
                }
            }
        }
        read
    }

    /// Leaves the keys that nobody took to somebody else.
    pub fn rest(self) -> Table {
        let mut rest = self.table.clone();
        rest.entries.retain(|entry| !self.known.contains(&entry.key.as_ref()));
        rest
    }

    /// Takes the tables of a list that is only ever replaced whole: each has to be complete, in a template too.
    pub fn rows(&mut self, key: &'static str) -> Vec<Reader<'t>> {
        self.list(key).into_iter().map(|row| row.partial(false)).collect()
    }

    /// Reports the keys that nobody took, and what is missing. A reader that is dropped without it reports what is
    /// missing alone: of the other keys it cannot say anything.
    pub fn finish(mut self) {
        for entry in &self.table.entries {
            if !self.known.contains(&entry.key.as_ref()) && entry.node.value != Value::Broken {
                self.unknown(entry);
            }
        }
        self.report_lacking(false);
    }

    fn near(&self, entry: &Entry) -> Option<&'static str> {
        nearest(&entry.key, self.known.iter().copied())
    }

    fn unknown(&self, entry: &Entry) {
        let mut hint = String::new();
        if let Some(near) = self.near(entry) {
            hint = format!("did you mean `{near}`? ");
        }
        hint.push_str(&format!("allowed here: {}", self.known.join(", ")));
        self.findings.error(entry.at, Finding::new(format!("unknown key `{}`", units::cut(&entry.key))).hint(hint));
    }

    /// A key that is misspelt is one mistake, not an unknown key and a missing one.
    fn report_lacking(&mut self, say_misspelt: bool) {
        let lacking = std::mem::take(&mut self.lacking);
        let unknown = || self.table.entries.iter().filter(|entry| !self.known.contains(&entry.key.as_ref()));
        for (at, keys, finding) in lacking {
            match unknown().find(|entry| self.near(entry).is_some_and(|near| keys.contains(&near))) {
                None => self.findings.error(at, finding),
                Some(entry) if say_misspelt => self.unknown(entry),
                Some(_) => {}
            }
        }
    }
}

impl Drop for Reader<'_> {
    /// What is missing is never forgotten on an early return.
    fn drop(&mut self) {
        self.report_lacking(true);
    }
}

/// The known word that is most probably meant, if one is near enough.
pub fn nearest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    // Longer texts are not slips of the finger, and the distance costs the product of the lengths.
    if word.len() > 64 {
        return None;
    }
    let fold = |text: &str| text.to_lowercase().replace('-', "_");
    let limit = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|known| (distance(&fold(word), &fold(known)), known))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// The number of slips (a letter more, less, other, or two swapped) between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().take(128).collect());
    let mut rows = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let other = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = other.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}
