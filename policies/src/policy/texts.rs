//! A question whose sources speak different languages: a table of texts, by source, kept as one text so that it is
//! shared, compared and shown like any other query. In: texts by source. Out: the one text, and any source's part of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// Puts texts together into one. The same texts give the same text.
pub(super) fn join(texts: &BTreeMap<&str, &str>) -> String {
    // Text to text cannot fail to become JSON.
    serde_json::to_string(texts).unwrap_or_default()
}

/// What a query asks of this source: its own part of a table, `None` when the table has none for it; the whole text when
/// it is no table.
pub fn query_for<'q>(query: &'q str, source: &str) -> Option<Cow<'q, str>> {
    match split(query) {
        None => Some(Cow::Borrowed(query)),
        Some(mut texts) => texts.remove(source),
    }
}

/// The texts of a table by source; `None` for a query that is one text. No query language has texts that are JSON
/// objects: PromQL's braces hold no colon after a name.
fn split(query: &str) -> Option<BTreeMap<Cow<'_, str>, Cow<'_, str>>> {
    if !query.starts_with("{\"") {
        return None;
    }
    serde_json::from_str(query).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_comes_apart_as_it_was_put_together() {
        let texts = BTreeMap::from([("cw", "SELECT \"x\\y\" é"), ("prom-a", "sum(rate(x{a=\"b\"}[1m]))")]);
        let query = join(&texts);
        for (source, text) in texts {
            assert_eq!(query_for(&query, source).as_deref(), Some(text));
        }
        assert_eq!(query_for(&query, "prom-b"), None);
    }

    #[test]
    fn a_plain_text_is_everybodys() {
        for query in ["up", "{__name__=\"up\"}", "{\"up\"}", "{\"up\", a=\"b\"}", "$.a['b']", ""] {
            assert_eq!(query_for(query, "any").as_deref(), Some(query));
        }
    }
}
