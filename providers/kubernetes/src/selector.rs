//! Label selectors: which pods belong to an object. In: a selector as objects have it, or as the scale subresource
//! writes it in one line. Out: yes or no for a pod's labels. What is not understood is an error, never "none" or "all".

use serde::Deserialize;
use std::collections::BTreeMap;

/// Requirements that must all hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

/// A selector as Deployments and StatefulSets have it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct LabelSelector {
    match_labels: Option<BTreeMap<String, String>>,
    match_expressions: Option<Vec<Expression>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Expression {
    key: String,
    operator: String,
    #[serde(default)]
    values: Option<Vec<String>>,
}

impl LabelSelector {
    /// # Errors
    /// An operator that is not known, or no requirement at all: that would be every pod of the namespace.
    pub fn read(&self) -> Result<Selector, String> {
        let labels = self.match_labels.iter().flatten();
        let mut all: Vec<Requirement> =
            labels.map(|(key, value)| Requirement { key: key.clone(), test: Test::In(vec![value.clone()]) }).collect();
        for expression in self.match_expressions.iter().flatten() {
            let values = expression.values.clone().unwrap_or_default();
            let test = match &*expression.operator {
                "In" => Test::In(values),
                "NotIn" => Test::NotIn(values),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::Absent,
                other => return Err(format!("selector: operator {other:?} is not known")),
            };
            all.push(Requirement { key: expression.key.clone(), test });
        }
        whole(all)
    }
}

fn whole(all: Vec<Requirement>) -> Result<Selector, String> {
    if all.is_empty() { Err("selector: it selects every pod".into()) } else { Ok(Selector(all)) }
}

impl Selector {
    /// Reads the one-line form: `app=web,tier in (a, b),!canary`.
    ///
    /// # Errors
    /// As [`LabelSelector::read`].
    pub fn parse(text: &str) -> Result<Self, String> {
        whole(split(text).into_iter().map(requirement).collect::<Result<_, _>>()?)
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| {
            let label = labels.get(&requirement.key);
            match &requirement.test {
                Test::In(values) => label.is_some_and(|label| values.contains(label)),
                Test::NotIn(values) => !label.is_some_and(|label| values.contains(label)),
                Test::Exists => label.is_some(),
                Test::Absent => label.is_none(),
            }
        })
    }
}

/// The one-line form, as a query wants it.
impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, Requirement { key, test }) in self.0.iter().enumerate() {
            f.write_str(if index > 0 { "," } else { "" })?;
            match test {
                Test::In(values) => write!(f, "{key} in ({})", values.join(","))?,
                Test::NotIn(values) => write!(f, "{key} notin ({})", values.join(","))?,
                Test::Exists => f.write_str(key)?,
                Test::Absent => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

/// Splits at commas outside brackets.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0_u32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn requirement(text: &str) -> Result<Requirement, String> {
    let one = |key: &str, test: Test| {
        let key = key.trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        match !key.is_empty() && key.chars().all(plain) {
            true => Ok(Requirement { key: key.into(), test }),
            false => Err(format!("selector: {text:?} is not understood")),
        }
    };
    if let Some(key) = text.strip_prefix('!') {
        return one(key, Test::Absent);
    }
    if let Some((head, values)) = text.strip_suffix(')').and_then(|head| head.split_once('(')) {
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        let mut words = head.split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => one(key, Test::In(values)),
            (Some(key), Some("notin"), None) => one(key, Test::NotIn(values)),
            _ => Err(format!("selector: {text:?} is not understood")),
        };
    }
    let value = |value: &str| vec![value.trim().to_owned()];
    if let Some((key, other)) = text.split_once("!=") {
        return one(key, Test::NotIn(value(other)));
    }
    if let Some((key, same)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return one(key, Test::In(value(same)));
    }
    one(text, Test::Exists)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        text.split(',').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect()
    }

    #[test]
    fn both_forms_select_the_same() {
        let check = |text: &str, pod: &str, expected: bool| {
            let selector = Selector::parse(text).unwrap();
            assert_eq!(selector.matches(&labels(pod)), expected, "{text} on {pod}");
            assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector, "{text} there and back");
        };
        check("app=web", "app=web,x=y", true);
        check("app==web", "app=api", false);
        check("app=web,tier in (a, b)", "app=web,tier=b", true);
        check("app=web,tier in (a,b)", "app=web,tier=c", false);
        check("tier notin (a,b)", "app=web", true);
        check("app!=web", "app=web", false);
        check("!canary,app", "app=web", true);
        check("!canary,app", "app=web,canary=1", false);
        check("app.kubernetes.io/name=web", "app.kubernetes.io/name=web", true);
        check("app=", "app=", true);
        for text in ["", " , ", "a b", "a in b", "a like (b)", "=x", "!"] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
        let object: LabelSelector = serde_json::from_str(
            r#"{"matchLabels":{"app":"web"},"matchExpressions":[{"key":"tier","operator":"In","values":["a","b"]}]}"#,
        )
        .unwrap();
        assert_eq!(object.read(), Selector::parse("app=web,tier in (a,b)"));
        assert!(LabelSelector::default().read().is_err(), "no requirement would be every pod");
        let strange: LabelSelector =
            serde_json::from_str(r#"{"matchExpressions":[{"key":"a","operator":"Gt","values":["1"]}]}"#).unwrap();
        assert!(strange.read().is_err());
    }
}
