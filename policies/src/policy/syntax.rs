//! Text to a [`Table`]: syntax errors are found here, each reported once, and what they spoil is marked so that nobody
//! complains of it again. Never recurses deeper than [`DEPTH_MAX`] allows.

use super::diagnostic::{At, Finding, Findings};
use super::outline::{DEPTH_MAX, Outline};
use super::tree::{Entry, Node, Table, Value};
use std::borrow::Cow;
use std::collections::BTreeSet;
use toml::de::{DeTable, DeValue};

/// Largest file, in bytes.
pub const FILE_BYTES_MAX: usize = 256 * 1024;
/// Syntax errors shown of one file: after that many it is no policy file.
const SHOWN_MAX: usize = 100;

/// Reads one file.
pub fn read(findings: &Findings<'_>, file: u32) -> Table {
    let Some(source) = findings.files().get(file as usize) else { return broken() };
    let text = source.text.as_str();
    if text.len() > FILE_BYTES_MAX {
        let found = Finding::new(format!("the file is larger than {} KiB", FILE_BYTES_MAX / 1024));
        findings.error(At::new(file, 0..0), found.hint("split it: a directory may hold many files"));
        return broken();
    }
    let mut outline = Outline::of(text);
    if let Some(at) = outline.too_deep {
        let found = Finding::new(format!("nested deeper than {DEPTH_MAX}"));
        findings.error(At::new(file, at..at + 1), found.hint("a policy needs no more than four levels"));
        return broken();
    }
    let mut text = Cow::Borrowed(text);
    for cut in std::mem::take(&mut outline.unclosed) {
        let found = Finding::new("this bracket is never closed").hint("close it before the next table begins");
        findings.error(At::new(file, cut.bracket..cut.bracket + 1), found);
        // The statement is blanked, byte for byte, so that everything after it is still read at its own place.
        let blank: String = text[cut.from..cut.to]
            .chars()
            .map(|c| if c == '\n' { "\n".into() } else { " ".repeat(c.len_utf8()) })
            .collect();
        text.to_mut().replace_range(cut.from..cut.to, &blank);
        outline.spoil(cut.from);
    }
    let (tree, errors) = DeTable::parse_recoverable(&text);
    let lines = Lines::of(&text);
    let mut wrong = BTreeSet::new();
    for error in &errors {
        let span = outline.opening(error.message(), error.span().unwrap_or(0..0));
        let line = lines.at(span.start);
        let doubled = error.message() == "duplicate key";
        let consequence =
            outline.region(span.start).is_some_and(|region| region.header_broken || (doubled && region.doubled));
        if wrong.insert(line) && !consequence && wrong.len() <= SHOWN_MAX {
            findings.error(
                At::new(file, widen(&text, span.clone())),
                explain(&text, error.message(), &span, &outline, file),
            );
        }
        match doubled {
            true => outline.double(span.start),
            false => outline.spoil(span.start),
        }
    }
    outline.settle();
    Conversion { text: &text, file, outline: &outline, lines, wrong }.table(tree.get_ref(), &mut Vec::new())
}

fn broken() -> Table {
    Table { entries: Vec::new(), broken: true }
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    /// The line of a byte, from 0.
    fn at(&self, byte: usize) -> usize {
        self.0.partition_point(|newline| *newline < byte)
    }
}

/// The parser points between two characters at times; a caret wants one to stand under.
fn widen(text: &str, span: std::ops::Range<usize>) -> std::ops::Range<usize> {
    if span.start < span.end {
        return span;
    }
    match text.get(span.start..).and_then(|rest| rest.chars().next()) {
        Some(next) if next != '\n' && next != '\r' => span.start..span.start + next.len_utf8(),
        _ => span,
    }
}

/// The parser's words, and in the common cases better ones.
fn explain(text: &str, message: &str, span: &std::ops::Range<usize>, outline: &Outline, file: u32) -> Finding {
    let word = text.get(span.clone()).unwrap_or("");
    if message.starts_with("string values must be quoted") {
        if word.is_empty() {
            return Finding::new("the value is missing");
        }
        if word.contains('=') || word.contains(char::is_whitespace) {
            return Finding::new("this is not a value").hint("one setting a line; text stands in quotes");
        }
        return Finding::new("text must stand in quotes")
            .hint(format!("write \"{}\"", word.trim_end_matches(['"', '\''])));
    }
    if message == "duplicate key" {
        let found = Finding::new(format!("`{word}` is there twice"));
        return match outline.first_of(span.start, word) {
            Some(first) => found.related(At::new(file, first), "the first one is here"),
            None => found,
        };
    }
    if message.starts_with("unexpected key or value") {
        return Finding::new("this does not belong here").hint("one setting a line; text stands in quotes");
    }
    if message.contains("string, expected") {
        return Finding::new("this text is never closed").hint("close it with the quotes that open it");
    }
    Finding::new(message.replace(", expected nothing", ""))
}

struct Conversion<'a> {
    text: &'a str,
    file: u32,
    outline: &'a Outline,
    lines: Lines,
    /// The lines with a syntax error.
    wrong: BTreeSet<usize>,
}

impl Conversion<'_> {
    fn table(&self, table: &DeTable<'_>, path: &mut Vec<String>) -> Table {
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table {
            // What stands under a header that cannot be read belongs nobody knows where.
            let stray = self.outline.region(key.span().start).is_some_and(|region| region.header_broken);
            let header = self.is_header_table(value);
            let lost = header && self.outline.region(value.span().start).is_some_and(|region| region.header_broken);
            if lost || (stray && !header) {
                continue;
            }
            path.push(key.get_ref().to_string());
            let node = self.node(value, Some(key.span().start), path);
            path.pop();
            entries.push(Entry { key: key.get_ref().as_ref().into(), at: At::new(self.file, key.span()), node });
        }
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        Table { entries, broken: self.outline.is_spoiled(path) }
    }

    fn is_header_table(&self, value: &toml::Spanned<DeValue<'_>>) -> bool {
        let written = self.text.as_bytes().get(value.span().start);
        match value.get_ref() {
            DeValue::Table(_) => written != Some(&b'{'),
            // A list of tables has the span of its first header.
            DeValue::Array(_) => {
                let start = value.span().start;
                self.outline.region(start).is_some_and(|region| region.is_list && region.start == start)
            }
            _ => false,
        }
    }

    fn node(&self, value: &toml::Spanned<DeValue<'_>>, key_start: Option<usize>, path: &mut Vec<String>) -> Node {
        let span = value.span();
        let at = At::new(self.file, span.clone());
        let first = self.lines.at(key_start.unwrap_or(span.start).min(span.start));
        let header = self.is_header_table(value);
        if !header && self.wrong.range(first..=self.lines.at(span.end)).next().is_some() {
            return Node { at, value: Value::Broken };
        }
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.as_ref().into()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Huge,
            },
            DeValue::Float(number) => float(number.as_str()),
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Datetime(date) => Value::Datetime(date.to_string().into()),
            DeValue::Array(items) => Value::List(items.iter().map(|item| self.node(item, None, path)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table, path)),
        };
        Node { at, value }
    }
}

fn float(text: &str) -> Value {
    let number: f64 = text.parse().unwrap_or(f64::NAN);
    if number.is_infinite() && !text.ends_with("inf") { Value::Huge } else { Value::Float(number) }
}
