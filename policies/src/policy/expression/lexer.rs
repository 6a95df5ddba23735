//! The text of an expression, cut into tokens. Knows nothing of grammar.

use crate::policy::reader::Fault;
use std::ops::Range;
use std::sync::Arc;

/// What the grammar is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'t> {
    Number(f64),
    /// A name without its backquotes, and whether it had some.
    Name(&'t str, bool),
    Sign(&'static str),
    End,
}

/// The longer ones first.
const SIGNS: [&str; 18] =
    ["<=", ">=", "==", "!=", "&&", "||", "<", ">", "!", "+", "-", "*", "/", "?", ":", "(", ")", ","];

/// Reads the token at or after byte `from`, with its place, past blanks and `// comments`. At the end that is an empty
/// one.
pub(super) fn next(text: &str, from: usize) -> Result<(Token<'_>, Range<usize>), (Range<usize>, Fault)> {
    let mut rest = text.get(from..).unwrap_or("").trim_start();
    while rest.starts_with("//") {
        rest = rest.find('\n').map_or("", |end| rest[end..].trim_start());
    }
    let start = text.len() - rest.len();
    let Some(first) = rest.chars().next() else { return Ok((Token::End, start..start)) };
    if first.is_ascii_digit() {
        return number(rest, start);
    }
    if is_name(first) {
        let length = rest.find(|c: char| !is_name(c) && !c.is_ascii_digit()).unwrap_or(rest.len());
        return Ok((Token::Name(&rest[..length], false), start..start + length));
    }
    if first == '`' {
        return match rest[1..].find('`') {
            Some(length) => Ok((Token::Name(&rest[1..=length], true), start..start + length + 2)),
            None => Err((start..start + 1, Fault::new("has a backquote that is never closed"))),
        };
    }
    match SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
        Some(sign) => Ok((Token::Sign(sign), start..start + sign.len())),
        None => Err((start..start + first.len_utf8(), stranger(first))),
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

/// Digits, a fraction, an exponent.
fn number(rest: &str, start: usize) -> Result<(Token<'_>, Range<usize>), (Range<usize>, Fault)> {
    let bytes = rest.as_bytes();
    let digits = |from: usize| from + bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let from = end + 1 + sign;
        if bytes.get(from).is_some_and(u8::is_ascii_digit) {
            end = digits(from);
        }
    }
    let span = start..start + end;
    match rest[..end].parse::<f64>() {
        Ok(number) if number.is_finite() => Ok((Token::Number(number), span)),
        _ => Err((span, Fault::new("has too large a number"))),
    }
}

fn stranger(c: char) -> Fault {
    let hint = match c {
        '=' => "compare with `==`",
        '&' => "write `&&`",
        '|' => "write `||`",
        '"' | '\'' => "there is no text here, only numbers and conditions",
        '.' => "a number begins with a digit, and a name with a `.` stands in backquotes",
        _ => "allowed: metrics, numbers, + - * / < <= > >= == != && || ! ?: ( ) ceil floor abs min max",
    };
    let shown = if c.is_control() { "a control character".into() } else { format!("`{c}`") };
    Fault::new(format!("has {shown}, which means nothing here")).hint(hint)
}

/// The names that may be metrics, as far as the text can be read: those that are not called.
pub(in crate::policy) fn names(text: &str) -> Vec<Arc<str>> {
    let (mut names, mut at) = (Vec::new(), 0);
    while at < text.len() {
        match next(text, at) {
            Ok((Token::End, _)) => break,
            Ok((Token::Name(name, _), span)) => {
                let called = matches!(next(text, span.end), Ok((Token::Sign("("), _)));
                if !called {
                    names.push(name.into());
                }
                at = span.end;
            }
            Ok((_, span)) | Err((span, _)) => at = span.end,
        }
    }
    names
}
