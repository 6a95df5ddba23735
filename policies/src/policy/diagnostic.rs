//! What was found wrong in a text, each with its place and what would be right. Collected in [`Findings`], so that one
//! run reports everything; one cause is never reported twice.

use super::{Place, SourceFile};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

/// More than this many are not listed: nobody reads them, and a broken file must not become a flood.
const FOUND_MAX: usize = 500;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The text is refused.
    Error,
    /// The text is taken; the writer would want to know.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// Another place that belongs to a diagnostic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// Index of the file.
    pub file: u32,
    /// Bytes.
    pub span: Range<usize>,
    /// What stands there.
    pub text: String,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Index of the file.
    pub file: u32,
    /// Bytes within the file.
    pub span: Range<usize>,
    /// Line of the span's start, from 1.
    pub line: u32,
    /// Column of the span's start, in characters, from 1.
    pub column: u32,
    /// One sentence.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
    /// Another place that belongs to it.
    pub related: Option<Related>,
}

impl Diagnostic {
    /// A problem of a whole file.
    pub fn of_file(file: u32, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file,
            span: 0..0,
            line: 1,
            column: 1,
            message: message.into(),
            hint: None,
            related: None,
        }
    }
}

/// A stretch of one file, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// Index of the file.
    pub file: u32,
    /// First byte.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
}

impl At {
    /// A stretch.
    pub fn new(file: u32, span: Range<usize>) -> Self {
        let cut = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { file, start: cut(span.start), end: cut(span.end) }
    }

    fn span(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// One sentence, with what would be right and another place.
#[derive(Clone, Debug, Default)]
pub struct Finding {
    message: String,
    hint: Option<String>,
    related: Option<(At, String)>,
}

impl Finding {
    /// A finding without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, related: None }
    }

    /// Says what would be right.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Points at another place.
    pub fn related(mut self, at: At, text: impl Into<String>) -> Self {
        self.related = Some((at, text.into()));
        self
    }
}

/// Collects findings over some files.
#[derive(Debug)]
pub struct Findings<'f> {
    files: &'f [SourceFile],
    /// Where each file's lines begin.
    lines: Vec<Vec<u32>>,
    found: RefCell<Found>,
}

#[derive(Debug, Default)]
struct Found {
    list: Vec<Diagnostic>,
    seen: BTreeSet<(At, String)>,
    errors: usize,
    dropped: usize,
}

impl<'f> Findings<'f> {
    /// Nothing found yet.
    pub fn new(files: &'f [SourceFile]) -> Self {
        let lines = files.iter().map(|file| line_starts(&file.text)).collect();
        Self { files, lines, found: RefCell::default() }
    }

    /// Notes what makes the text unusable.
    pub fn error(&self, at: At, finding: Finding) {
        self.push(Severity::Error, at, finding);
    }

    /// Notes what the writer would want to know.
    pub fn warn(&self, at: At, finding: Finding) {
        self.push(Severity::Warning, at, finding);
    }

    /// How many errors were noted; a repeated one counts too, so that a caller sees that its own part is wrong.
    pub fn errors(&self) -> usize {
        self.found.borrow().errors
    }

    /// The files.
    pub fn files(&self) -> &'f [SourceFile] {
        self.files
    }

    /// File and line of a stretch.
    pub fn place(&self, at: At) -> Place {
        Place { file: at.file, line: self.line(at) }
    }

    fn line(&self, at: At) -> u32 {
        let starts = self.lines.get(at.file as usize).map_or(&[][..], Vec::as_slice);
        u32::try_from(starts.partition_point(|start| *start <= at.start)).unwrap_or(u32::MAX).max(1)
    }

    fn column(&self, at: At) -> u32 {
        let line = self.line(at) as usize;
        let start = self.lines.get(at.file as usize).and_then(|starts| starts.get(line - 1)).copied().unwrap_or(0);
        let text = self.files.get(at.file as usize).map_or("", |file| &file.text);
        let before = text.get(start as usize..at.start as usize).unwrap_or("");
        // A byte order mark is not something a person counts.
        let shown = before.chars().filter(|c| *c != '\u{feff}').count();
        u32::try_from(shown).unwrap_or(u32::MAX).saturating_add(1)
    }

    fn push(&self, severity: Severity, at: At, finding: Finding) {
        let mut found = self.found.borrow_mut();
        found.errors += usize::from(severity == Severity::Error);
        if !found.seen.insert((at, finding.message.clone())) {
            return;
        }
        if found.list.len() >= FOUND_MAX {
            found.dropped += 1;
            return;
        }
        let related = finding.related.map(|(at, text)| Related { file: at.file, span: at.span(), text });
        let diagnostic = Diagnostic {
            severity,
            file: at.file,
            span: at.span(),
            line: self.line(at),
            column: self.column(at),
            message: finding.message,
            hint: finding.hint,
            related,
        };
        found.list.push(diagnostic);
    }

    /// Everything found, in the order of the files.
    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        let found = self.found.into_inner();
        let mut list = found.list;
        list.sort_by_key(|one| (one.file, one.span.start, one.severity));
        if let (Some(last), true) = (list.last(), found.dropped > 0) {
            let mut more = last.clone();
            more.severity = Severity::Error;
            more.message = format!("{} more problems are not listed", found.dropped);
            more.hint = None;
            more.related = None;
            list.push(more);
        }
        list
    }
}

fn line_starts(text: &str) -> Vec<u32> {
    let after = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(after).map(|at| u32::try_from(at).unwrap_or(u32::MAX)).collect()
}
