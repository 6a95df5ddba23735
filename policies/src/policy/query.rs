//! A metric's query: one text, or a table of texts by source where the sources of a composite speak different languages.

use super::diagnostic::{At, Finding};
use super::fleet::Context;
use super::parse::QueryFacts;
use super::reader::{Fault, Reader, nearest};
use super::tree::{Node, Table, Value};
use super::{texts, units};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest query. Beyond this it is a program.
const QUERY_BYTES_MAX: usize = 4 * 1024;
/// Most texts of a table.
const TEXTS_MAX: usize = 16;

/// A query that was read.
pub(super) struct Query {
    /// The one text that it is kept as.
    pub text: Arc<str>,
    /// What is known of its texts.
    facts: Vec<QueryFacts>,
}

/// Takes a query and asks the shell whether it is one in the language of its source.
pub(super) fn read(
    context: &mut Context<'_>,
    r: &mut Reader<'_>,
    key: &'static str,
    needed: bool,
    source: Option<&Arc<str>>,
) -> Option<Query> {
    let texts =
        if needed { r.need(key, |node| texts_of(node, source))? } else { r.take(key, |node| texts_of(node, source))? };
    let is_table = texts.iter().any(|one| one.part.is_some());
    // A table names its sources, and only skala.toml tells what they speak.
    let is_known = !is_table || context.options.sources.is_some();
    let errors = context.findings.errors();
    let mut facts = Vec::new();
    for one in &texts {
        let asked = one.part.as_ref().or(source);
        if let Some(part) = &one.part {
            check_part(context, key, source, part, one.named);
        }
        if !is_known {
            continue;
        }
        match context.query(asked, &one.text) {
            Ok(known) => facts.push(known),
            Err(error) => {
                let at = error.offset.and_then(|offset| within(r, &one.text, one.at, offset..offset)).unwrap_or(one.at);
                let key = one.part.as_ref().map_or_else(|| key.to_owned(), |part| format!("{key}.{part}"));
                let found = Finding::new(format!("`{key}` is not {}: {}", error.language, error.message));
                r.findings().error(at, found);
            }
        }
    }
    let is_sound = context.findings.errors() == errors;
    is_sound.then(|| Query { text: whole(context, &texts, source), facts })
}

/// One text of a query.
struct Text {
    /// The source that a table has it for.
    part: Option<Arc<str>>,
    /// Where that name stands.
    named: At,
    text: Arc<str>,
    at: At,
}

fn texts_of(node: &Node, source: Option<&Arc<str>>) -> Result<Vec<Text>, Fault> {
    match &node.value {
        Value::Table(table) => table_of(table, source),
        _ => Ok(vec![Text { part: None, named: node.at, text: text_of(node)?, at: node.at }]),
    }
}

fn table_of(table: &Table, source: Option<&Arc<str>>) -> Result<Vec<Text>, Fault> {
    let hint = || format!("write {{ {} = '...' }}", source.map_or("SOURCE", |name| name));
    if table.entries.is_empty() || table.entries.len() > TEXTS_MAX {
        return Err(Fault::new(format!("must have from 1 to {TEXTS_MAX} texts, by source")).hint(hint()));
    }
    let read = table.entries.iter().map(|entry| {
        let wrong = |fault: Fault| fault.within(&units::cut(&entry.key)).at(entry.node.at);
        let text = text_of(&entry.node).map_err(|fault| wrong(fault).hint(hint()))?;
        Ok(Text { part: Some(Arc::clone(&entry.key)), named: entry.at, text, at: entry.node.at })
    });
    read.collect()
}

fn text_of(node: &Node) -> Result<Arc<str>, Fault> {
    let text = units::text(node)?;
    if text.trim().is_empty() {
        return Err(Fault::new("must not be empty"));
    }
    if text.len() > QUERY_BYTES_MAX {
        return Err(Fault::new(format!("must not be longer than {} KiB", QUERY_BYTES_MAX / 1024)));
    }
    Ok(text)
}

/// Whether a table may have a text for this source.
fn check_part(context: &Context<'_>, key: &str, source: Option<&Arc<str>>, part: &str, at: At) {
    let (Some(source), Some(_)) = (source, context.options.sources) else { return };
    let alone = [&**source];
    let parts = context.composite(source).unwrap_or(&alone);
    if parts.contains(&part) {
        return;
    }
    let found = Finding::new(format!("`{key}` has a text for `{}`, which `{source}` does not ask", units::cut(part)));
    let hint = match nearest(part, parts.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it asks: {}", parts.join(", ")),
    };
    context.findings.error(at, found.hint(hint));
}

/// The one text for all. A table for nobody but the source itself says only what a plain text would.
fn whole(context: &mut Context<'_>, texts: &[Text], source: Option<&Arc<str>>) -> Arc<str> {
    match texts {
        [only] if only.part.is_none() || only.part.as_ref() == source => context.intern(Arc::clone(&only.text)),
        _ => {
            let by_source: BTreeMap<&str, &str> =
                texts.iter().filter_map(|one| Some((&**one.part.as_ref()?, &*one.text))).collect();
            context.intern(texts::join(&by_source).into())
        }
    }
}

impl Query {
    /// What the source is, when it can be asked for the present alone.
    pub fn only_now(&self) -> Option<&'static str> {
        self.facts.iter().find_map(|facts| facts.only_now)
    }

    /// A label that the query aggregates away can pick nothing.
    pub fn check_labels(&self, r: &Reader<'_>, select: &[(Box<str>, Box<str>)], by: Option<&str>) {
        for facts in &self.facts {
            let Some(labels) = &facts.labels else { continue };
            let hint = match labels.len() {
                0 => "the query sums every label away".to_owned(),
                _ => format!("the query's answer has: {}", labels.join(", ")),
            };
            let wanted = select.iter().map(|(label, _)| ("select", label.as_ref()));
            for (key, label) in wanted.chain(by.map(|by| ("by", by))) {
                if !labels.iter().any(|known| **known == *label) {
                    let found = Finding::new(format!(
                        "`{key}` names the label `{label}`, which the query's answer does not have"
                    ));
                    r.findings().error(r.at_of(key), found.hint(hint.clone()));
                }
            }
        }
    }
}

/// The place of a stretch of a text within the file, when the file has that text as it is; at least one character.
pub(super) fn within(r: &Reader<'_>, query: &str, at: At, span: std::ops::Range<usize>) -> Option<At> {
    let text = &r.findings().files().get(at.file as usize)?.text;
    let written = text.get(at.start as usize..at.end as usize)?;
    // After the quotes, of which there are one or three, and a line feed after three.
    let begin = written.find(query)?;
    let start = at.start as usize + begin + span.start.min(query.len());
    let next = text.get(start..at.end as usize)?.chars().next()?;
    Some(At::new(at.file, start..start + span.len().max(next.len_utf8())))
}
