//! Which language a source's queries are in, and whether a text is one. Without skala.toml nobody knows the sources: then
//! what begins with `$` is taken for a path into a JSON document, and everything else for PromQL.

use super::promql;
use super::skala_toml::SkalaToml;
use super::sources::{SourceConfig, SourceKind};
use crate::sources::exec::check_name;
use crate::sources::http_json::check_path;
use policies::policy::{QueryError, QueryFacts};

/// Checks a query of the source of this name.
///
/// # Errors
/// What is wrong with it, in which language, and where.
pub(super) fn check(config: Option<&SkalaToml>, source: Option<&str>, query: &str) -> Result<QueryFacts, QueryError> {
    let find = |name: &str| config.and_then(|config| config.sources.iter().find(|one| *one.name == *name));
    let Some(source) = source.and_then(find) else {
        return if query.trim_start().starts_with('$') { path(query) } else { promql::check(query) };
    };
    let SourceKind::Composite { sources, .. } = &source.kind else { return plain(source, query) };
    let mut facts: Option<QueryFacts> = None;
    for part in sources.iter().filter_map(|part| find(part)) {
        let own = plain(part, query).map_err(|error| QueryError {
            message: format!(
                "{}; `{}` would be asked it too: write {{ {} = '...' }} with a text for each that is to be asked",
                error.message, part.name, part.name
            ),
            ..error
        })?;
        facts = Some(match facts {
            // Known of the answer is only what holds whoever gives it.
            Some(known) if known.labels != own.labels => {
                QueryFacts { labels: None, only_now: known.only_now.or(own.only_now) }
            }
            Some(known) => QueryFacts { only_now: known.only_now.or(own.only_now), ..own },
            None => own,
        });
    }
    Ok(facts.unwrap_or_default())
}

fn plain(source: &SourceConfig, query: &str) -> Result<QueryFacts, QueryError> {
    match &source.kind {
        SourceKind::HttpJson { .. } => path(query),
        SourceKind::Exec(_) => match check_name(query) {
            Ok(()) => Ok(only_now("a command")),
            Err((message, offset)) => {
                Err(QueryError { language: "the name of a series", message, offset: Some(offset) })
            }
        },
        SourceKind::Cloud { kind, .. } => match (kind.check)(query) {
            Ok(()) => Ok(QueryFacts::default()),
            Err(message) => Err(QueryError { language: kind.language, message, offset: None }),
        },
        SourceKind::Prometheus { .. } | SourceKind::Sim { .. } | SourceKind::Composite { .. } => promql::check(query),
    }
}

fn path(query: &str) -> Result<QueryFacts, QueryError> {
    match check_path(query) {
        Ok(()) => Ok(only_now("a JSON document")),
        Err((message, offset)) => {
            Err(QueryError { language: "a path into a JSON document", message, offset: Some(offset) })
        }
    }
}

fn only_now(what: &'static str) -> QueryFacts {
    QueryFacts { only_now: Some(what), ..QueryFacts::default() }
}
