//! `[fleet.NAME.metric.NAME]`: where a number comes from and what it means.

use super::diagnostic::{At, Finding};
use super::fleet::{Context, too_many};
use super::reader::{Fault, Reader, nearest};
use super::tree::{Node, Value};
use super::{Labels, MAX_AGE_DEFAULT, Metric, Unit, query, units};
use std::sync::Arc;
use std::time::Duration;

const SELECT_MAX: usize = 16;
/// The share of serving instances that a value must cover to push in.
const MIN_MEMBERS_DEFAULT: f64 = 0.8;

/// A fleet's metrics as far as they could be read. Those nobody uses are left out when they were only inherited.
pub(super) struct Drafts {
    list: Vec<Draft>,
    /// All names, those of unused ones too.
    names: Vec<Arc<str>>,
    /// A metric may have been lost to a syntax error.
    lost: bool,
}

struct Draft {
    name: Arc<str>,
    metric: Option<Metric>,
    has_unit: bool,
}

impl Drafts {
    /// Resolves a rule's reference; `by` metrics are refused where one number is needed.
    pub fn find(&self, node: &Node, needs_one: bool) -> Result<u16, Fault> {
        self.find_name(&units::text(node)?, needs_one)
    }

    /// Resolves a name.
    pub fn find_name(&self, name: &str, needs_one: bool) -> Result<u16, Fault> {
        let Some(at) = self.list.iter().position(|draft| draft.name.as_ref() == name) else {
            if self.lost || self.names.iter().any(|known| known.as_ref() == name) {
                return Ok(0);
            }
            let fault = Fault::new(format!("names `{}`, which is no metric of this fleet", units::cut(name)));
            let names = || self.names.iter().map(|name| name.as_ref());
            return Err(match nearest(name, names()) {
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None if self.names.is_empty() => fault.hint(format!("add [fleet.NAME.metric.{}]", units::cut(name))),
                None => fault.hint(format!("its metrics: {}", names().collect::<Vec<_>>().join(", "))),
            });
        };
        if let Some(metric) = self.list[at].metric.as_ref()
            && needs_one
            && metric.by.is_some()
        {
            let fault = Fault::new(format!(
                "names `{name}`, which has one value per instance (`by`); this rule needs one value"
            ));
            return Err(fault.hint("leave out `by`, or use kind = \"utilization\""));
        }
        Ok(u16::try_from(at).unwrap_or(0))
    }

    /// The unit of a metric that was found; `None` when it could not be read.
    pub fn unit(&self, index: u16) -> Option<(Unit, bool)> {
        let draft = self.list.get(index as usize)?;
        Some((draft.metric.as_ref()?.unit, draft.has_unit))
    }

    /// The metrics that could be read.
    pub fn into_metrics(self) -> Box<[Metric]> {
        self.list.into_iter().filter_map(|draft| draft.metric).collect()
    }
}

pub(super) fn read(context: &mut Context<'_>, r: &mut Reader<'_>) -> Drafts {
    let referenced = references(r);
    let lost =
        r.is_partial() || r.entry("metric").and_then(|entry| entry.node.table()).is_some_and(|table| table.broken);
    let (mut list, mut names) = (Vec::new(), Vec::new());
    let named = r.named("metric");
    too_many(r, "metric", named.len());
    for (entry, reader) in named.into_iter().take(super::fleet::PARTS_MAX) {
        if let Some(fault) = units::name_fault(&entry.key) {
            r.findings().error(entry.at, fault.of(&units::cut(&entry.key)));
        }
        // A metric that nobody uses is read for its mistakes; `checks` reports it where the fleet itself has it.
        let (metric, has_unit) = read_one(context, reader, &entry.key, entry.at);
        names.push(Arc::clone(&entry.key));
        if r.is_partial() || referenced.contains(&entry.key) {
            list.push(Draft { name: Arc::clone(&entry.key), metric, has_unit });
        }
    }
    Drafts { list, names, lost }
}

/// The names of metrics that the rules mention, in whatever key.
fn references(r: &mut Reader<'_>) -> Vec<Arc<str>> {
    r.entry("rule").map_or_else(Vec::new, |entry| mentioned(&entry.node))
}

/// The names that a list of rules mentions.
pub(super) fn mentioned(rules: &Node) -> Vec<Arc<str>> {
    let Value::List(rules) = &rules.value else { return Vec::new() };
    let keys = ["metric", "backlog", "arrivals", "service_time", "learn_from"];
    let tables = rules.iter().filter_map(Node::table);
    let mut names = Vec::new();
    for table in tables {
        names.extend(keys.into_iter().filter_map(|key| table.get(key)?.node.text().cloned()));
        if let Some(text) = table.get("expr").and_then(|entry| entry.node.text()) {
            names.extend(super::expression::names(text));
        }
    }
    names
}

fn read_one(context: &mut Context<'_>, mut reader: Reader<'_>, name: &str, at: At) -> (Option<Metric>, bool) {
    let r = &mut reader;
    let source = r.need_or(
        "source",
        units::listed("source", context.options.sources),
        Some("the NAME of a [source.NAME] in skala.toml"),
    );
    let source = source.as_ref();
    let query = query::read(context, r, "query", true, source);
    let select = r.take("select", read_select);
    let units_known =
        [("ratio", Unit::Ratio), ("percent", Unit::Percent), ("count", Unit::Count), ("seconds", Unit::Seconds)];
    let has_unit = r.has("unit");
    let unit = r.take("unit", units::choice(&units_known)).unwrap_or(Unit::Count);
    let max_age = r.take("max_age", units::duration(Duration::from_secs(1)..=units::DAY)).unwrap_or(MAX_AGE_DEFAULT);
    let offset = r.take("offset", units::up_to_a_day).unwrap_or_default();
    let members = query::read(context, r, "members", false, source);
    let min_members =
        r.take("min_members", units::percent(0.0..=100.0)).map_or(MIN_MEMBERS_DEFAULT, |share| share / 100.0);
    let absent_zero_if = r.table("absent").and_then(|mut absent| {
        let query = query::read(context, &mut absent, "zero_if", true, source);
        absent.finish();
        query
    });
    check_absent(context, r, source);
    let by = r.take("by", units::line(128));
    let freshness = query::read(context, r, "freshness", false, source);
    if let Some(query) = &query {
        query.check_labels(r, select.as_deref().unwrap_or(&[]), by.as_deref());
        check_now(r, query, offset);
    }
    let findings = r.findings();
    if offset >= max_age && !offset.is_zero() {
        let found = Finding::new(format!(
            "`offset` reaches `max_age` ({}): every reading is that old",
            units::duration_text(max_age)
        ));
        findings.warn(r.at_of("offset"), found.hint("raise max_age by the offset"));
    }
    if r.has("min_members") && !r.has("members") && !r.is_partial() {
        let found = Finding::new("`min_members` has no effect without `members`");
        findings
            .warn(r.at_of("min_members"), found.hint("add a query for the number of instances that the value covers"));
    }
    reader.finish();
    let metric = source.zip(query).map(|(source, query)| Metric {
        name: name.into(),
        source: context.intern(Arc::clone(source)),
        query: query.text,
        select: select.unwrap_or_default(),
        unit,
        max_age,
        offset,
        members: members.map(|query| query.text),
        min_members,
        absent_zero_if: absent_zero_if.map(|query| query.text),
        by: by.map(|by| by.as_ref().into()),
        freshness: freshness.map(|query| query.text),
        place: findings.place(at),
    });
    (metric, has_unit)
}

fn read_select(node: &Node) -> Result<Labels, Fault> {
    let hint = "write select = { asg = \"web\" }";
    let Value::Table(table) = &node.value else {
        return Err(Fault::new(format!("must be a table of labels, not {}", node.value.kind())).hint(hint));
    };
    if table.entries.len() > SELECT_MAX {
        return Err(Fault::new(format!("must not name more than {SELECT_MAX} labels")));
    }
    let mut labels = Vec::new();
    for entry in &table.entries {
        if !is_label(&entry.key) {
            return Err(Fault::new(format!("has `{}`, which is no label's name", units::cut(&entry.key))).at(entry.at));
        }
        let value = units::text(&entry.node).map_err(|fault| fault.within(&entry.key).at(entry.node.at).hint(hint))?;
        labels.push((entry.key.as_ref().into(), value.as_ref().into()));
    }
    Ok(labels.into())
}

fn is_label(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

/// That one source has no series of something, and another sees life, proves nothing about either.
fn check_absent(context: &Context<'_>, r: &Reader<'_>, source: Option<&Arc<str>>) {
    let Some(source) = source.filter(|source| context.composite(source).is_some() && r.has("absent")) else { return };
    let found = Finding::new(format!("`absent` needs one source, and `{source}` asks several"));
    let hint = "name one of them as the metric's source, or have the query itself answer 0";
    r.findings().error(r.at_of("absent"), found.hint(hint));
}

/// A source that knows the present alone cannot be asked about the past, nor by PromQL for the sample's time.
fn check_now(r: &Reader<'_>, query: &query::Query, offset: Duration) {
    let Some(what) = query.only_now() else { return };
    if !offset.is_zero() {
        let found = Finding::new(format!("`offset` needs a source that knows the past, and {what} does not"));
        r.findings().error(r.at_of("offset"), found.hint("leave it out"));
    }
    if r.has("freshness") {
        let found = Finding::new(format!("`freshness` is asked of Prometheus alone, not of {what}"));
        r.findings().error(r.at_of("freshness"), found.hint("its samples' time comes with them"));
    }
}
