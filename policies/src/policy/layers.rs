//! `[defaults]` and `[template.NAME]` under a fleet: tables laid over each other, names put into their texts. What comes
//! out is one table, whose nodes still know which file they stand in.

use super::tree::{Entry, Node, Table, Value};
use std::borrow::Cow;

/// The tables within a fleet that are laid over each other key by key; anything else is replaced whole.
const MERGED: [&str; 3] = ["scale_out", "scale_in", "on_missing"];
/// Keys that say the same thing in two ways: writing one takes back the other below.
const EITHER: [(&str, &str); 2] = [("until", "for"), ("above", "below")];

/// A fleet's table with what it does not say itself taken from below.
pub fn merge(below: &Table, above: &Table) -> Table {
    let mut merged = below.clone();
    merged.broken |= above.broken;
    for entry in &above.entries {
        let known = below.get(&entry.key).map(|entry| &entry.node);
        let node = match (entry.key.as_ref(), known) {
            ("metric", Some(known)) => over(known, &entry.node, merge_named),
            ("rule", Some(known)) => merge_rules(known, &entry.node),
            (key, Some(known)) if MERGED.contains(&key) => over(known, &entry.node, lay_over),
            _ => entry.node.clone(),
        };
        merged.put(Entry { node, ..entry.clone() });
    }
    merged
}

fn over(below: &Node, above: &Node, merge: impl Fn(&Table, &Table) -> Table) -> Node {
    match (below.table(), above.table()) {
        (Some(low), Some(high)) => Node { at: above.at, value: Value::Table(merge(low, high)) },
        _ => above.clone(),
    }
}

/// Key by key; the upper one counts.
fn lay_over(below: &Table, above: &Table) -> Table {
    let mut merged = below.clone();
    merged.broken |= above.broken;
    for (one, other) in EITHER.iter().flat_map(|(one, other)| [(one, other), (other, one)]) {
        if above.get(one).is_some() {
            merged.remove(other);
        }
    }
    for entry in &above.entries {
        merged.put(entry.clone());
    }
    merged
}

/// Name by name, and each key by key.
fn merge_named(below: &Table, above: &Table) -> Table {
    let mut merged = below.clone();
    merged.broken |= above.broken;
    for entry in &above.entries {
        let node = match below.get(&entry.key) {
            Some(known) => over(&known.node, &entry.node, lay_over),
            None => entry.node.clone(),
        };
        merged.put(Entry { node, ..entry.clone() });
    }
    merged
}

/// Rules merge by name; new ones come after those from below.
fn merge_rules(below: &Node, above: &Node) -> Node {
    let (Value::List(low), Value::List(high)) = (&below.value, &above.value) else { return above.clone() };
    let mut merged = low.clone();
    for rule in high {
        let name = rule_name(rule);
        match merged[..low.len()].iter().position(|known| name.is_some() && rule_name(known) == name) {
            // The upper rule may be of another kind; then none of the lower one's keys apply.
            Some(at) if changes_kind(&merged[at], rule) => merged[at] = rule.clone(),
            // Two rules of one name in the fleet itself are a mistake that is reported where rules are read.
            Some(at) if merged[at] == low[at] => merged[at] = over(&low[at], rule, lay_over),
            _ => merged.push(rule.clone()),
        }
    }
    Node { at: above.at, value: Value::List(merged) }
}

fn changes_kind(below: &Node, above: &Node) -> bool {
    let kind = |node: &Node| node.table()?.get("kind")?.node.text().cloned();
    kind(above).is_some() && kind(above) != kind(below)
}

/// A rule's name: its own, or its kind.
pub fn rule_name(rule: &Node) -> Option<&str> {
    let table = rule.table()?;
    let entry = table.get("name").or_else(|| table.get("kind"))?;
    entry.node.text().map(|text| text.as_ref())
}

/// Puts the fleet's and the group's name where `{fleet}` and `{group}` stand.
pub fn substitute(table: &mut Table, fleet: &str, group: Option<&str>) {
    for entry in &mut table.entries {
        substitute_node(&mut entry.node, fleet, group);
    }
}

fn substitute_node(node: &mut Node, fleet: &str, group: Option<&str>) {
    match &mut node.value {
        Value::Text(text) => {
            let mut put = Cow::Borrowed(text.as_ref());
            for (place, name) in [("{fleet}", Some(fleet)), ("{group}", group)] {
                if let (Some(name), true) = (name, put.contains(place)) {
                    put = Cow::Owned(put.replace(place, name));
                }
            }
            if let Cow::Owned(put) = put {
                *text = put.into();
            }
        }
        Value::List(items) => items.iter_mut().for_each(|item| substitute_node(item, fleet, group)),
        Value::Table(table) => substitute(table, fleet, group),
        _ => {}
    }
}
