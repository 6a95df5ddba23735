//! What to take out of a JSON document: a part of JSONPath (RFC 9535). Text in, a path out; a document in, the values
//! that the path leads to out, each with the labels that tell it from the others.
//!
//! A path is `$` and any number of: `.name`, `['name']` or `["name"]`, a member of an object; `[0]`, an item of a list,
//! counted from 0; `[*]` or `.*`, every item of a list or every member of an object. Nothing else: no filters, no slices,
//! no `..`. Within quotes `\\`, `\'` and `\"` stand for themselves.
//!
//! Each value that `[*]` leads to is a series. Its labels are the texts among the members of each item on its way, under
//! their own names, and `key`, the member's name, where `[*]` went through an object; of two with the same name the
//! inner one counts. Members whose names no `select` could spell are no labels.

use super::document::Value;
use std::collections::BTreeMap;

/// More steps than any document needs.
const STEPS_MAX: usize = 32;

/// Where a path begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// `$`: the document.
    Document,
    /// `@`: what the query's last `[*]` led to; the document when it has none.
    Item,
}

/// A path, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub start: Start,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Member(Box<str>),
    Item(usize),
    All,
}

/// What is wrong with a path's text, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathError {
    pub message: String,
    pub offset: usize,
}

/// One value that a path leads to.
#[derive(Debug)]
pub(super) struct Found<'d> {
    /// Sorted by name.
    pub labels: BTreeMap<&'d str, &'d str>,
    /// `None`: the item is there and the rest of the way is not.
    pub value: Option<&'d Value>,
    /// What the last `[*]` led to.
    pub item: &'d Value,
}

/// Why a path leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The document is not as the path says.
    Shape(String),
    /// More than so many values.
    TooMany,
}

impl Path {
    /// Reads a path.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let fail = |offset, message: &str| Err(PathError { message: message.into(), offset });
        let start = match text.chars().next() {
            Some('$') => Start::Document,
            Some('@') => Start::Item,
            _ => return fail(0, "it must begin with `$`, as in $.queues[*].depth"),
        };
        let mut steps = Vec::new();
        let mut rest = &text[1..];
        while !rest.is_empty() {
            if steps.len() == STEPS_MAX {
                return fail(text.len() - rest.len(), "it has more than 32 steps");
            }
            match step(rest) {
                Ok((step, after)) => {
                    steps.push(step);
                    rest = after;
                }
                Err(message) => return fail(text.len() - rest.len(), message),
            }
        }
        Ok(Self { start, steps })
    }

    /// Whether it can lead to several values.
    pub fn is_many(&self) -> bool {
        self.steps.contains(&Step::All)
    }

    /// The one value below `from`, on a path without `[*]`.
    pub fn one<'d>(&self, from: &'d Value) -> Option<&'d Value> {
        self.steps.iter().try_fold(from, |value, step| step.go(value))
    }

    /// The values in a document.
    pub fn find<'d>(&self, document: &'d Value, most: usize) -> Result<Vec<Found<'d>>, Lost> {
        let mut found = vec![Found { labels: BTreeMap::new(), value: Some(document), item: document }];
        for (at, step) in self.steps.iter().enumerate() {
            let Step::All = step else {
                for one in &mut found {
                    one.value = one.value.and_then(|value| step.go(value));
                }
                continue;
            };
            let mut next = Vec::new();
            for one in &found {
                // What lacks the way to its own items cannot be counted as having none.
                let Some(value) = one.value else {
                    return Err(Lost::Shape(format!("`{}` is not everywhere", self.shown(at))));
                };
                spread(one, value, &mut next)
                    .map_err(|kind| Lost::Shape(format!("`{}` is {kind}, not a list or an object", self.shown(at))))?;
                if next.len() > most {
                    return Err(Lost::TooMany);
                }
            }
            found = next;
        }
        Ok(found)
    }

    /// The first steps as text.
    fn shown(&self, steps: usize) -> String {
        let mut text = String::from("$");
        for step in &self.steps[..steps] {
            match step {
                Step::Member(name) => text.push_str(&format!("['{name}']")),
                Step::Item(at) => text.push_str(&format!("[{at}]")),
                Step::All => text.push_str("[*]"),
            }
        }
        text
    }
}

impl Step {
    fn go<'d>(&self, value: &'d Value) -> Option<&'d Value> {
        match (self, value) {
            (Step::Member(name), value) => value.member(name),
            (Step::Item(at), Value::List(items)) => items.get(*at),
            _ => None,
        }
    }
}

/// Every item below a value; its kind when it has no items.
fn spread<'d>(one: &Found<'d>, value: &'d Value, into: &mut Vec<Found<'d>>) -> Result<(), &'static str> {
    let mut add = |key: Option<&'d str>, item: &'d Value| {
        let mut labels = one.labels.clone();
        labels.extend(key.map(|key| ("key", key)));
        if let Value::Object(members) = item {
            labels.extend(members.iter().filter_map(|(name, value)| match value {
                Value::Text(text) if is_label(name) => Some((&**name, &**text)),
                _ => None,
            }));
        }
        into.push(Found { labels, value: Some(item), item });
    };
    match value {
        Value::List(items) => items.iter().for_each(|item| add(None, item)),
        Value::Object(members) => members.iter().for_each(|(key, item)| add(Some(key), item)),
        other => return Err(other.kind()),
    }
    Ok(())
}

fn is_label(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

/// Reads one step, and gives what comes after it.
fn step(text: &str) -> Result<(Step, &str), &'static str> {
    if let Some(rest) = text.strip_prefix(".*").or_else(|| text.strip_prefix("[*]")) {
        return Ok((Step::All, rest));
    }
    if text.starts_with("..") {
        return Err("`..` is not supported: name the way");
    }
    if let Some(rest) = text.strip_prefix('.') {
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
        let end = rest.find(|c| !letter(c)).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err("a name must follow the dot; write other names as ['name']");
        }
        return Ok((Step::Member(name.into()), rest));
    }
    let Some(inner) = text.strip_prefix('[') else { return Err("expected `.name` or `[`") };
    if let Some(quote) = inner.chars().next().filter(|c| matches!(c, '\'' | '"')) {
        return quoted(&inner[1..], quote);
    }
    let Some((number, rest)) = inner.split_once(']') else { return Err("a `]` is missing") };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    match number.parse::<usize>() {
        Ok(at) if digits => Ok((Step::Item(at), rest)),
        _ => Err("only ['name'], [0] and [*] may stand in brackets"),
    }
}

fn quoted(text: &str, quote: char) -> Result<(Step, &str), &'static str> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some((_, escaped @ ('\\' | '\'' | '"'))) => name.push(escaped),
                _ => return Err("after a backslash only a backslash or a quote may stand"),
            },
            _ if c == quote => {
                let rest = text[at + 1..].strip_prefix(']').ok_or("a `]` is missing")?;
                return Ok((Step::Member(name.into()), rest));
            }
            _ => name.push(c),
        }
    }
    Err("the quote is not closed")
}
