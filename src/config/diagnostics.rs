//! Shows diagnostics: path, line, column, caret, one sentence and a hint for people; a stable list for programs.

use super::Report;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use policies::policy::{Diagnostic, Severity, SourceFile};
use serde::Serialize;
use std::ops::Range;

/// A span over more lines than this is shown by its beginning.
const LINES_MAX: usize = 3;

/// Everything in a report as text, without colour; ends with a line feed unless there is nothing.
pub fn render(report: &Report) -> String {
    let shown = report.diagnostics.iter().map(|diagnostic| render_one(&report.files, diagnostic));
    shown.map(|text| text + "\n\n").collect()
}

fn render_one(files: &[SourceFile], diagnostic: &Diagnostic) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let nothing = SourceFile { name: "".into(), text: String::new() };
    let file = files.get(diagnostic.file as usize).unwrap_or(&nothing);
    if file.text.is_empty() {
        let hint = diagnostic.hint.iter().map(|hint| format!("\n  = hint: {hint}")).collect::<String>();
        return format!("{}: {}\n --> {}{hint}", diagnostic.severity.word(), diagnostic.message, file.name);
    }
    let main = Window::of(file, &diagnostic.span);
    let group = level.primary_title(&diagnostic.message).element(main.snippet(&file.name, AnnotationKind::Primary));
    let group = match &diagnostic.hint {
        Some(hint) => group.element(Level::HELP.with_name("hint").message(hint)),
        None => group,
    };
    let mut groups = vec![group];
    if let Some(related) = &diagnostic.related
        && let Some(other) = files.get(related.file as usize)
    {
        let window = Window::of(other, &related.span);
        let title = Level::NOTE.secondary_title(&related.text);
        groups.push(Group::with_title(title).element(window.snippet(&other.name, AnnotationKind::Primary)));
    }
    Renderer::plain().render(&groups)
}

/// The lines around a span, so that showing one problem does not cost the whole file.
struct Window<'f> {
    text: &'f str,
    line: usize,
    span: Range<usize>,
}

impl<'f> Window<'f> {
    fn of(file: &'f SourceFile, span: &Range<usize>) -> Self {
        let text = file.text.as_str();
        let start = floor(text, span.start);
        let from = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let shown = text[from..].split_inclusive('\n').take(LINES_MAX);
        let most = from + shown.map(str::len).sum::<usize>();
        let end = floor(text, span.end).clamp(start, most);
        // Only the lines that the span touches.
        let to = text[end..].find('\n').map_or(text.len(), |newline| end + newline).min(most).max(end);
        let line = text[..from].matches('\n').count() + 1;
        Self { text: &text[from..to], line, span: start - from..end - from }
    }

    fn snippet(&self, name: &'f str, kind: AnnotationKind) -> Snippet<'f, annotate_snippets::Annotation<'f>> {
        Snippet::source(self.text).path(name).line_start(self.line).annotation(kind.span(self.span.clone()))
    }
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// One diagnostic as `check --json` prints it. Its keys are stable.
#[derive(Debug, Serialize)]
pub struct JsonDiagnostic<'a> {
    severity: &'static str,
    file: &'a str,
    line: u32,
    column: u32,
    message: &'a str,
    hint: Option<&'a str>,
}

/// A report's diagnostics for programs.
pub fn json(report: &Report) -> Vec<JsonDiagnostic<'_>> {
    report
        .diagnostics
        .iter()
        .map(|diagnostic| JsonDiagnostic {
            severity: diagnostic.severity.word(),
            file: report.files.get(diagnostic.file as usize).map_or("", |file| &file.name),
            line: diagnostic.line,
            column: diagnostic.column,
            message: &diagnostic.message,
            hint: diagnostic.hint.as_deref(),
        })
        .collect()
}
