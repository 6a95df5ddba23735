//! Text to a [`Table`]: syntax errors are found here, each reported once, and what they spoil is marked so that nobody
//! complains of it again. Never recurses deeper than [`DEPTH_MAX`] allows.

use super::diagnostic::{At, Finding, Findings};
use super::tree::{Entry, Node, Table, Value};
use std::borrow::Cow;
use std::collections::BTreeSet;
use toml::de::{DeTable, DeValue};
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

/// Largest file, in bytes.
pub const FILE_BYTES_MAX: usize = 256 * 1024;
/// Deepest nesting of brackets, and longest dotted key. A policy needs four; the parser's own limit multiplies the two.
const DEPTH_MAX: usize = 16;

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
    let mut lines = BTreeSet::new();
    for error in &errors {
        let span = outline.opening(error.message(), error.span().unwrap_or(0..0));
        let line = line_of(&text, span.start);
        let doubled = error.message() == "duplicate key";
        let consequence =
            outline.region(span.start).is_some_and(|region| region.header_broken || (doubled && region.doubled));
        if lines.insert(line) && !consequence {
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
    Conversion { text: &text, file, outline: &outline, lines: &lines }.table(tree.get_ref(), &mut Vec::new())
}

fn broken() -> Table {
    Table { entries: Vec::new(), broken: true }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
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

/// An unclosed bracket: the statement it stands in, up to the next table's header.
struct Cut {
    bracket: usize,
    from: usize,
    to: usize,
}

/// A table's header and everything up to the next one.
#[derive(Debug, Default)]
struct Region {
    start: usize,
    header_end: usize,
    path: Vec<String>,
    path_at: Vec<std::ops::Range<usize>>,
    is_list: bool,
    /// The header cannot be read, so nobody knows whose keys these are.
    header_broken: bool,
    /// There is an earlier table of the same name.
    doubled: bool,
    /// Something in it cannot be read.
    spoiled: bool,
}

/// A file's tables and keys by their looks: found before it is parsed, and right even where parsing fails.
#[derive(Default)]
struct Outline {
    regions: Vec<Region>,
    keys: Vec<(String, std::ops::Range<usize>)>,
    /// Quoted texts.
    texts: Vec<std::ops::Range<usize>>,
    too_deep: Option<usize>,
    unclosed: Vec<Cut>,
}

impl Outline {
    fn of(text: &str) -> Self {
        let mut outline = Outline { regions: vec![Region::default()], ..Outline::default() };
        let tokens = Source::new(text).lex().into_vec();
        let mut open: Vec<(TokenKind, usize)> = Vec::new();
        let (mut statement, mut dots, mut at_start, mut in_header) = (0, 0, true, false);
        for (index, token) in tokens.iter().enumerate() {
            let (kind, span) = (token.kind(), token.span().start()..token.span().end());
            if at_start
                && kind == TokenKind::LeftSquareBracket
                && (open.is_empty() || looks_like_header(text, span.start))
            {
                if let Some((_, bracket)) = open.first() {
                    outline.unclosed.push(Cut { bracket: *bracket, from: statement, to: line_start(text, span.start) });
                }
                open.clear();
                outline.regions.push(Region { start: span.start, header_end: span.end, ..Region::default() });
                in_header = true;
            }
            match kind {
                TokenKind::Newline => {
                    (at_start, in_header, dots) = (true, false, 0);
                    continue;
                }
                TokenKind::Whitespace => continue,
                TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket if !in_header => {
                    open.push((kind, span.start))
                }
                TokenKind::RightSquareBracket if !in_header => close(&mut open, TokenKind::LeftSquareBracket),
                TokenKind::RightCurlyBracket if !in_header => close(&mut open, TokenKind::LeftCurlyBracket),
                TokenKind::BasicString
                | TokenKind::LiteralString
                | TokenKind::MlBasicString
                | TokenKind::MlLiteralString => outline.texts.push(span.clone()),
                TokenKind::Dot => dots += 1,
                TokenKind::Equals | TokenKind::Comma => dots = 0,
                _ => {}
            }
            if (open.len() > DEPTH_MAX || dots > DEPTH_MAX) && outline.too_deep.is_none() {
                outline.too_deep = Some(span.start);
            }
            if in_header {
                outline.header_token(kind, &text[span.clone()], span.clone());
            } else if at_start && open.is_empty() {
                statement = line_start(text, span.start);
                if let Some(next) = tokens[index + 1..].iter().find(|token| token.kind() != TokenKind::Whitespace)
                    && next.kind() == TokenKind::Equals
                {
                    outline.keys.push((text[span.clone()].to_owned(), span));
                }
            }
            at_start = false;
        }
        if let Some((_, bracket)) = open.first() {
            outline.unclosed.push(Cut { bracket: *bracket, from: statement, to: text.len() });
        }
        outline
    }

    fn header_token(&mut self, kind: TokenKind, text: &str, span: std::ops::Range<usize>) {
        let Some(region) = self.regions.last_mut() else { return };
        match kind {
            TokenKind::LeftSquareBracket => region.is_list |= span.start > region.start,
            TokenKind::Atom | TokenKind::BasicString | TokenKind::LiteralString => {
                region.path.push(text.trim_matches(['"', '\'']).to_owned());
                region.path_at.push(span.clone());
            }
            _ => {}
        }
        if kind != TokenKind::Comment {
            region.header_end = span.end;
        }
    }

    fn region(&self, at: usize) -> Option<&Region> {
        self.regions[..self.regions.partition_point(|region| region.start <= at)].last()
    }

    /// Text that is never closed ends at the end of its line, or of the file; the mistake is where it begins.
    fn opening(&self, message: &str, span: std::ops::Range<usize>) -> std::ops::Range<usize> {
        let text = self.texts.iter().find(|text| text.start < span.start && span.start <= text.end);
        match text {
            Some(text) if message.contains("string, expected") && span.is_empty() => text.start..text.start + 1,
            _ => span,
        }
    }

    fn spoil(&mut self, at: usize) {
        let index = self.regions.partition_point(|region| region.start <= at).saturating_sub(1);
        if let Some(region) = self.regions.get_mut(index) {
            region.spoiled = true;
            region.header_broken |= index > 0 && at <= region.header_end;
        }
    }

    fn double(&mut self, at: usize) {
        let index = self.regions.partition_point(|region| region.start <= at).saturating_sub(1);
        if let Some(region) = self.regions.get_mut(index) {
            region.spoiled = true;
            region.doubled |= index > 0 && at <= region.header_end;
        }
    }

    /// Whether a table of this path may have lost something to a syntax error.
    fn is_spoiled(&self, path: &[&str]) -> bool {
        self.regions.iter().filter(|region| region.spoiled).any(|region| {
            let common = region.path.iter().zip(path).all(|(a, b)| a == b);
            // A header that cannot be read, and what stands before the first header, may have meant any table.
            region.header_broken || region.path.is_empty() || common
        })
    }

    /// Where a doubled table or key stands first.
    fn first_of(&self, at: usize, word: &str) -> Option<std::ops::Range<usize>> {
        let region = self.region(at)?;
        if at < region.header_end {
            let first = self.regions.iter().find(|other| other.path == region.path && other.start < region.start)?;
            return first.path_at.last().cloned();
        }
        let first = self.keys.iter().find(|(key, span)| key == word && span.start > region.start && span.start < at);
        first.map(|(_, span)| span.clone())
    }
}

fn close(open: &mut Vec<(TokenKind, usize)>, kind: TokenKind) {
    if open.last().is_some_and(|(last, _)| *last == kind) {
        open.pop();
    }
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// A line such as `[fleet.web]` at the left edge, where a list's elements are hardly ever written like that.
fn looks_like_header(text: &str, at: usize) -> bool {
    let line = text[at..].lines().next().unwrap_or("");
    let line = line.split('#').next().unwrap_or("").trim_end();
    let inner = line.trim_start_matches('[').trim_end_matches(']');
    let bare = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '"');
    at == line_start(text, at)
        && line.ends_with(']')
        && inner.starts_with(|c: char| c.is_alphabetic() || c == '"')
        && inner.chars().all(bare)
}

struct Conversion<'a> {
    text: &'a str,
    file: u32,
    outline: &'a Outline,
    lines: &'a BTreeSet<usize>,
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
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        Table { entries, broken: self.outline.is_spoiled(&names) }
    }

    fn is_header_table(&self, value: &toml::Spanned<DeValue<'_>>) -> bool {
        let written = self.text.as_bytes().get(value.span().start);
        match value.get_ref() {
            DeValue::Table(_) => written != Some(&b'{'),
            // A list of tables has the span of its first header.
            DeValue::Array(_) => {
                self.outline.regions.iter().any(|region| region.is_list && region.start == value.span().start)
            }
            _ => false,
        }
    }

    fn node(&self, value: &toml::Spanned<DeValue<'_>>, key_start: Option<usize>, path: &mut Vec<String>) -> Node {
        let span = value.span();
        let at = At::new(self.file, span.clone());
        let first = line_of(self.text, key_start.unwrap_or(span.start).min(span.start));
        let header = self.is_header_table(value);
        if !header && self.lines.range(first..=line_of(self.text, span.end)).next().is_some() {
            return Node { at, value: Value::Broken };
        }
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.as_ref().into()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::HugeInteger,
            },
            DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Datetime(date) => Value::Datetime(date.to_string().into()),
            DeValue::Array(items) => Value::List(items.iter().map(|item| self.node(item, None, path)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table, path)),
        };
        Node { at, value }
    }
}
