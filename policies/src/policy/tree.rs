//! TOML as a tree of our own: owned, and every node knows where it stands, so that trees of several files can be laid
//! over each other and still be reported exactly.

use super::diagnostic::At;
use std::sync::Arc;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it stands; a table's is its header, or the key that first names it.
    pub at: At,
    /// The value.
    pub value: Value,
}

/// A TOML value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(Arc<str>),
    /// A whole number.
    Integer(i64),
    /// A whole number beyond 64 bits, or another one beyond what can be told from infinity.
    Huge,
    /// Any other number; may be NaN or infinite.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A date, a time, or both, as text.
    Datetime(Box<str>),
    /// A list.
    List(Vec<Node>),
    /// A table.
    Table(Table),
    /// Reported as a syntax error: nobody reports it again.
    Broken,
}

impl Value {
    /// What it is, for a message.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "text",
            Value::Integer(_) => "a whole number",
            Value::Float(_) | Value::Huge => "a number",
            Value::Bool(_) => "true or false",
            Value::Datetime(_) => "a date or time",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Broken => "broken",
        }
    }
}

/// A key, where it stands, and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Arc<str>,
    /// Where the key stands.
    pub at: At,
    /// The value.
    pub node: Node,
}

/// A table, sorted by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// The entries, sorted by key, each key once.
    pub entries: Vec<Entry>,
    /// Something in it could not be read, so what seems to be missing may only be unreadable.
    pub broken: bool,
}

impl Table {
    /// The entry of this key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.binary_search_by(|entry| entry.key.as_ref().cmp(key)).ok().map(|at| &self.entries[at])
    }

    /// Adds an entry, or replaces the one of the same key.
    pub fn put(&mut self, entry: Entry) {
        match self.entries.binary_search_by(|known| known.key.cmp(&entry.key)) {
            Ok(at) => self.entries[at] = entry,
            Err(at) => self.entries.insert(at, entry),
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &str) {
        self.entries.retain(|entry| entry.key.as_ref() != key);
    }

    /// The table as the `toml` crate knows it, for settings that somebody else reads.
    pub fn to_toml(&self) -> toml::Table {
        self.entries.iter().filter_map(|entry| Some((entry.key.to_string(), entry.node.to_toml()?))).collect()
    }
}

impl Node {
    /// The text, if it is text.
    pub fn text(&self) -> Option<&Arc<str>> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The table, if it is one.
    pub fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    fn to_toml(&self) -> Option<toml::Value> {
        Some(match &self.value {
            Value::Text(text) => toml::Value::String(text.to_string()),
            Value::Integer(number) => toml::Value::Integer(*number),
            Value::Float(number) => toml::Value::Float(*number),
            Value::Bool(flag) => toml::Value::Boolean(*flag),
            Value::Datetime(text) => toml::Value::Datetime(text.parse().ok()?),
            Value::List(items) => toml::Value::Array(items.iter().filter_map(Node::to_toml).collect()),
            Value::Table(table) => toml::Value::Table(table.to_toml()),
            Value::Huge | Value::Broken => return None,
        })
    }
}
