//! A TOML text's tables and keys by their looks alone, found before it is parsed: right even where parsing fails. It
//! bounds the nesting, finds brackets that are never closed, and tells which tables a syntax error may have spoiled.

use std::collections::BTreeSet;
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

/// Deepest nesting of brackets, and longest dotted key. A policy needs four; the parser's own limit multiplies the two.
pub(super) const DEPTH_MAX: usize = 16;
/// With more spoiled tables than this, all count as spoiled.
const SPOILED_MAX: usize = 100;

/// An unclosed bracket: the statement it stands in, up to the next table's header.
pub(super) struct Cut {
    pub bracket: usize,
    pub from: usize,
    pub to: usize,
}

/// A table's header and everything up to the next one.
#[derive(Debug, Default)]
pub(super) struct Region {
    pub start: usize,
    header_end: usize,
    path: Vec<String>,
    path_at: Vec<std::ops::Range<usize>>,
    pub is_list: bool,
    /// The header cannot be read, so nobody knows whose keys these are.
    pub header_broken: bool,
    /// There is an earlier table of the same name.
    pub doubled: bool,
    /// Something in it cannot be read.
    spoiled: bool,
}

/// A file's tables and keys by their looks: found before it is parsed, and right even where parsing fails.
#[derive(Default)]
pub(super) struct Outline {
    regions: Vec<Region>,
    keys: Vec<(String, std::ops::Range<usize>)>,
    /// Quoted texts.
    texts: Vec<std::ops::Range<usize>>,
    pub too_deep: Option<usize>,
    pub unclosed: Vec<Cut>,
    /// Paths of spoiled tables, each once; see [`Outline::settle`].
    spoiled: BTreeSet<Vec<String>>,
    all_spoiled: bool,
}

impl Outline {
    pub fn of(text: &str) -> Self {
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

    pub fn region(&self, at: usize) -> Option<&Region> {
        self.regions[..self.regions.partition_point(|region| region.start <= at)].last()
    }

    /// Text that is never closed ends at the end of its line, or of the file; the mistake is where it begins.
    pub fn opening(&self, message: &str, span: std::ops::Range<usize>) -> std::ops::Range<usize> {
        let before = self.texts.partition_point(|text| text.start < span.start);
        let text = self.texts[..before].last().filter(|text| span.start <= text.end);
        match text {
            Some(text) if message.contains("string, expected") && span.is_empty() => text.start..text.start + 1,
            _ => span,
        }
    }

    pub fn spoil(&mut self, at: usize) {
        let index = self.regions.partition_point(|region| region.start <= at).saturating_sub(1);
        if let Some(region) = self.regions.get_mut(index) {
            region.spoiled = true;
            region.header_broken |= index > 0 && at <= region.header_end;
        }
    }

    pub fn double(&mut self, at: usize) {
        let index = self.regions.partition_point(|region| region.start <= at).saturating_sub(1);
        if let Some(region) = self.regions.get_mut(index) {
            region.spoiled = true;
            region.doubled |= index > 0 && at <= region.header_end;
        }
    }

    /// Gathers what was spoiled, once all errors are known.
    pub fn settle(&mut self) {
        for region in self.regions.iter().filter(|region| region.spoiled) {
            // A header that cannot be read, and what stands before the first header, may have meant any table.
            self.all_spoiled |= region.header_broken || region.path.is_empty();
            self.spoiled.insert(region.path.clone());
        }
        self.all_spoiled |= self.spoiled.len() > SPOILED_MAX;
    }

    /// Whether a table of this path may have lost something to a syntax error.
    pub fn is_spoiled(&self, path: &[String]) -> bool {
        self.all_spoiled || self.spoiled.iter().any(|spoiled| spoiled.iter().zip(path).all(|(a, b)| a == b))
    }

    /// Where a doubled table or key stands first.
    pub fn first_of(&self, at: usize, word: &str) -> Option<std::ops::Range<usize>> {
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
