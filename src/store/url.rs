//! `[store] url` of skala.toml: text in, a place out. It opens nothing.

use std::path::PathBuf;
use std::str::FromStr;
use thiserror::Error;

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// SQLite without a file: everything is lost at the end.
    Memory,
}

/// A URL that is none of a store.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{url}`: {why}; write sqlite:///var/lib/skala/skala.db")]
pub struct UrlError {
    url: String,
    why: &'static str,
}

impl FromStr for StoreUrl {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let wrong = |why| Err(UrlError { url: url.to_owned(), why });
        if url == "sqlite::memory:" {
            return Ok(StoreUrl::Memory);
        }
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            return wrong("PostgreSQL is not supported yet");
        }
        let Some(path) = url.strip_prefix("sqlite://") else {
            return wrong("a store's URL begins with sqlite://");
        };
        if !path.starts_with('/') {
            return wrong("the path has to be absolute, which makes three slashes");
        }
        if path.ends_with('/') {
            return wrong("this names a directory, not a file");
        }
        if path.contains(['?', '#', '%', '\0']) {
            return wrong("the path is taken as it is and may not contain ?, #, % or NUL");
        }
        Ok(StoreUrl::Sqlite(path.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_or_refused_with_the_reason() {
        let check = |url: &str, want: Result<StoreUrl, &str>| match (url.parse::<StoreUrl>(), want) {
            (Ok(found), Ok(want)) => assert_eq!(found, want, "{url}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{url}: {error}"),
            (found, want) => panic!("{url}: {found:?}, not {want:?}"),
        };
        check("sqlite:///var/lib/skala/skala.db", Ok(StoreUrl::Sqlite("/var/lib/skala/skala.db".into())));
        check("sqlite:///a b/ü.db", Ok(StoreUrl::Sqlite("/a b/ü.db".into())));
        check("sqlite::memory:", Ok(StoreUrl::Memory));
        check("sqlite://skala.db", Err("three slashes"));
        check("sqlite:skala.db", Err("begins with sqlite://"));
        check("/var/lib/skala.db", Err("begins with sqlite://"));
        check("", Err("begins with sqlite://"));
        check("sqlite:///var/lib/", Err("directory"));
        check("sqlite:///a.db?mode=ro", Err("?"));
        check("postgres://db/skala", Err("not supported yet"));
    }
}
