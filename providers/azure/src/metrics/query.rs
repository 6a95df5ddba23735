//! The language of Azure Monitor queries: one metric of one resource, one aggregation, one period.
//!
//! `RESOURCE:METRIC{DIMENSION="value", ...} AGGREGATION PERIOD`, for example
//! `shop/Microsoft.ServiceBus/namespaces/orders:ActiveMessages{EntityName="jobs"} Average 1m`. The resource is
//! `RESOURCE_GROUP/PROVIDER/TYPE/NAME` of the provider's subscription, with more pairs of type and name for a part of one,
//! or a full ARM id. Between it and the metric may stand the metric's namespace, where that is not the resource's own type:
//! `RESOURCE:NAMESPACE:METRIC`. Names are made of letters, digits and `. _ / # ( ) -`; others stand in double quotes, as in
//! `shop/Microsoft.Compute/virtualMachineScaleSets/web:"Percentage CPU" Average 1m`, where `\"` and `\\` stand for a quote
//! and a backslash.
//!
//! Dimensions that are not named are added up by Azure. `"*"` is every value of a dimension, each a series of its own.
//! The aggregation is `Average`, `Total`, `Minimum`, `Maximum`, `Count`, or `Rate`, which is `Total` divided by the seconds
//! of the period; not every metric has all of them. The period is one that Azure has: `1m`, `5m`, `15m`, `30m`, `1h`, `6h`,
//! `12h` or `1d`.

use crate::arm::Grain;
use std::fmt;

/// A query, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub resource: Resource,
    pub namespace: Option<String>,
    pub metric: String,
    /// Sorted by name.
    pub dimensions: Vec<Dimension>,
    pub aggregation: Aggregation,
    pub period: Grain,
}

/// Whose metric it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// An ARM id.
    Id(String),
    /// A resource group of the provider's subscription, and what follows `providers/`.
    Own { group: String, rest: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dimension {
    pub name: String,
    /// `None`: every value.
    pub value: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregation {
    Average,
    Total,
    Minimum,
    Maximum,
    Count,
    /// A total per second.
    Rate,
}

/// Most dimensions that a metric can have.
const DIMENSIONS_MAX: usize = 10;
const EXAMPLE: &str = "shop/Microsoft.ServiceBus/namespaces/orders:ActiveMessages{EntityName=\"jobs\"} Average 1m";

impl Query {
    /// Reads a query's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (resource, rest) = name(text, "the resource")?;
        let rest = colon(rest).ok_or("a `:` must stand between the resource and the metric's name")?;
        let resource = Resource::parse(&resource)?;
        let (first, rest) = name(rest, "the metric")?;
        let (namespace, metric, rest) = match colon(rest) {
            None => (None, first, rest),
            Some(rest) => {
                let (metric, rest) = name(rest, "the metric")?;
                (Some(first), metric, rest)
            }
        };
        // What is asked for is a list of names with commas between.
        if metric.contains(',') {
            return Err(format!("one metric must be named, and `{metric}` has a comma"));
        }
        let (dimensions, rest) = match rest.trim_start().strip_prefix('{') {
            None => (Vec::new(), rest),
            Some(rest) => dimensions(rest)?,
        };
        let mut words = rest.split_ascii_whitespace();
        let (Some(word), Some(period), None) = (words.next(), words.next(), words.next()) else {
            return Err("it must end with an aggregation and a period, as in `Average 1m`".into());
        };
        Ok(Self {
            resource,
            namespace,
            metric,
            dimensions,
            aggregation: aggregation(word)?,
            period: period_of(period)?,
        })
    }

    /// The condition on dimensions, in OData's words.
    pub fn filter(&self) -> Option<String> {
        let one = |dimension: &Dimension| {
            let value = dimension.value.as_deref().unwrap_or("*").replace('\'', "''");
            format!("{} eq '{value}'", dimension.name)
        };
        let all: Vec<String> = self.dimensions.iter().map(one).collect();
        (!all.is_empty()).then(|| all.join(" and "))
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.resource {
            Resource::Id(id) => write!(f, "{id}:{}", self.metric),
            Resource::Own { group, rest } => write!(f, "{group}/{rest}:{}", self.metric),
        }
    }
}

impl Resource {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("the resource `{text}` {why}; it is written like {EXAMPLE}");
        // What would lead elsewhere within a URL is no name; and `.` and `..` would walk up the path.
        let legal = |c: char| c.is_alphanumeric() || " _-.()$~@".contains(c);
        let fine = |part: &&str| !part.is_empty() && part.chars().all(legal) && part.chars().any(|c| c != '.');
        let parts: Vec<&str> = text.strip_prefix('/').unwrap_or(text).split('/').collect();
        if !parts.iter().all(fine) {
            return Err(wrong("has a part that cannot be a name in Azure"));
        }
        // A provider has a dot in its name; types and names come in pairs.
        let own = |provider: &str, pairs: &[&str]| {
            provider.contains('.') && !pairs.is_empty() && pairs.len().is_multiple_of(2)
        };
        match parts.as_slice() {
            [subscriptions, _, groups, _, providers, provider, pairs @ ..]
                if text.starts_with('/')
                    && subscriptions.eq_ignore_ascii_case("subscriptions")
                    && groups.eq_ignore_ascii_case("resourceGroups")
                    && providers.eq_ignore_ascii_case("providers")
                    && own(provider, pairs) =>
            {
                Ok(Resource::Id(text.to_owned()))
            }
            [group, provider, pairs @ ..] if !text.starts_with('/') && own(provider, pairs) => {
                let rest = parts[1..].join("/");
                Ok(Resource::Own { group: (*group).to_owned(), rest })
            }
            _ => Err(wrong("is neither RESOURCE_GROUP/PROVIDER/TYPE/NAME nor an ARM id")),
        }
    }

    /// Its path, which is also its id.
    pub fn path(&self, subscription: &str) -> String {
        match self {
            Resource::Id(id) => id.clone(),
            Resource::Own { group, rest } => {
                format!("/subscriptions/{subscription}/resourceGroups/{group}/providers/{rest}")
            }
        }
    }
}

impl Aggregation {
    /// What Azure is asked for.
    pub fn asked(self) -> &'static str {
        match self {
            Aggregation::Average => "Average",
            Aggregation::Total | Aggregation::Rate => "Total",
            Aggregation::Minimum => "Minimum",
            Aggregation::Maximum => "Maximum",
            Aggregation::Count => "Count",
        }
    }
}

fn colon(text: &str) -> Option<&str> {
    text.trim_start().strip_prefix(':')
}

/// A name that a text begins with, and the rest.
fn name<'t>(text: &'t str, what: &str) -> Result<(String, &'t str), String> {
    let text = text.trim_start();
    let (name, rest) = match text.strip_prefix('"') {
        Some(inner) => contract::quoted(inner)?,
        None => {
            let plain = |c: char| c.is_alphanumeric() || "._/#()-".contains(c);
            let end = text.find(|c| !plain(c)).unwrap_or(text.len());
            (text[..end].to_owned(), &text[end..])
        }
    };
    if name.trim().is_empty() {
        return Err(format!("{what} has no name; a query is written like {EXAMPLE}"));
    }
    if name.len() > 1024 || name.chars().any(char::is_control) {
        return Err(format!("the name of {what} must be at most 1024 printable characters"));
    }
    Ok((name, rest))
}

type Dimensions<'t> = (Vec<Dimension>, &'t str);

fn dimensions(mut rest: &str) -> Result<Dimensions<'_>, String> {
    let mut found: Vec<Dimension> = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix('}') {
            found.sort_by(|a, b| a.name.cmp(&b.name));
            return Ok((found, rest));
        }
        if found.len() == DIMENSIONS_MAX {
            return Err(format!("no metric has more than {DIMENSIONS_MAX} dimensions"));
        }
        let (key, after) = name(rest, "a dimension")?;
        // It stands in the condition without quotes.
        if !key.chars().all(|c| c.is_alphanumeric() || "._/#-".contains(c)) {
            return Err(format!("the dimension `{key}` is no name: letters, digits and . _ / # - alone"));
        }
        // Azure compares names without regard to case.
        if found.iter().any(|known| known.name.eq_ignore_ascii_case(&key)) {
            return Err(format!("the dimension `{key}` comes twice"));
        }
        let after = after.trim_start().strip_prefix('=').ok_or_else(|| format!("the dimension `{key}` has no `=`"))?;
        let after = after.trim_start();
        let after =
            after.strip_prefix('"').ok_or_else(|| format!("the value of `{key}` must stand in double quotes"))?;
        let (value, after) = contract::quoted(after)?;
        if value.trim().is_empty() || value.chars().count() > 256 || value.chars().any(char::is_control) {
            return Err(format!("the value of `{key}` must be 1 to 256 printable characters, or \"*\" for each"));
        }
        found.push(Dimension { name: key, value: (value != "*").then_some(value) });
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return Err("the dimensions are not closed".into()),
        }
    }
}

fn aggregation(word: &str) -> Result<Aggregation, String> {
    match word {
        "Average" => Ok(Aggregation::Average),
        "Total" => Ok(Aggregation::Total),
        "Minimum" => Ok(Aggregation::Minimum),
        "Maximum" => Ok(Aggregation::Maximum),
        "Count" => Ok(Aggregation::Count),
        "Rate" => Ok(Aggregation::Rate),
        _ => Err(format!("`{word}` is no aggregation: Average, Total, Minimum, Maximum, Count or Rate")),
    }
}

fn period_of(text: &str) -> Result<Grain, String> {
    let wrong = || format!("`{text}` is no period that Azure has: 1m, 5m, 15m, 30m, 1h, 6h, 12h or 1d");
    contract::period_secs(text).and_then(Grain::of_secs).ok_or_else(wrong)
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
