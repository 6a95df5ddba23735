//! Nova's microversions: what this provider needs, and what the cloud has.
//!
//! 2.52 (Pike, 2017) sets tags in the request that makes a server, without which a launch could not be told from
//! another. 2.69 (Stein, 2019) shows servers of a cell that is down as UNKNOWN instead of leaving them out. Newer ones
//! add nothing that is used here, and each changes something.

use crate::errors::{Effect, Failure};
use crate::wire::{Request, Wire, invalid};
use contract::ProviderError;
use reqwest::Method;
use serde::Deserialize;
use tokio::time::Instant;

const WANTED: (u32, u32) = (2, 69);
const NEEDED: (u32, u32) = (2, 52);

#[derive(Deserialize)]
struct Reply {
    version: Version,
}

#[derive(Deserialize)]
struct Version {
    /// The newest microversion; empty for an API without any.
    #[serde(default)]
    version: String,
    #[serde(default)]
    min_version: String,
}

/// Asks Nova for its versions and picks one.
pub(crate) async fn negotiate(wire: &Wire, url: &str, token: &str, deadline: Instant) -> Result<&'static str, Failure> {
    // Not with the token first: an application credential may be limited to the calls that are really needed.
    for token in [None, Some(token)] {
        let request = Request {
            operation: "get_version",
            effect: Effect::Read,
            method: Method::GET,
            url: format!("{}/", root(url)),
            token,
            version: None,
            body: None,
        };
        let answer = match wire.send(&request, deadline).await {
            Err(failure) if failure.status == Some(401) && token.is_none() => continue,
            Err(failure) => return Err(no_version(failure, url)),
            Ok(answer) => answer,
        };
        let reply: Reply = serde_json::from_slice(&answer.body).map_err(|error| {
            Failure::unanswered("get_version", Effect::Read, &format!("not an answer of this API: {error}"))
        })?;
        return pick(&reply.version).map_err(Failure::settled);
    }
    Err(Failure::settled(invalid(format!("{url} does not tell its version"))))
}

fn no_version(failure: Failure, url: &str) -> Failure {
    match failure.error {
        ProviderError::NotFound { what } => Failure::settled(invalid(format!("{url} is no Nova: {what}"))),
        _ => failure,
    }
}

/// The version's own URL: some catalogs add the project's id to it.
fn root(url: &str) -> &str {
    let url = url.trim_end_matches('/');
    match url.rsplit_once('/') {
        Some((before, last)) if is_version(before.rsplit('/').next().unwrap_or("")) && !is_version(last) => before,
        _ => url,
    }
}

fn is_version(part: &str) -> bool {
    part.strip_prefix('v').is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()))
}

fn pick(version: &Version) -> Result<&'static str, ProviderError> {
    let read = |text: &str| -> Option<(u32, u32)> {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let (newest, oldest) = (read(&version.version), read(&version.min_version).unwrap_or((2, 1)));
    match newest {
        Some(newest) if newest >= WANTED && oldest <= WANTED => Ok("2.69"),
        Some(newest) if newest >= NEEDED && oldest <= NEEDED => Ok("2.52"),
        Some(_) if oldest > WANTED => {
            Err(invalid(format!("this Nova begins at microversion {}, later than 2.69", version.min_version)))
        }
        _ => {
            let has = if version.version.is_empty() { "none" } else { &version.version };
            Err(invalid(format!("this Nova is too old: its microversion is {has}, and 2.52 (Pike) is needed")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_that_is_known_is_taken_and_an_old_nova_is_refused() {
        let check = |newest: &str, oldest: &str, expected: Result<&str, &str>| {
            let version = Version { version: newest.into(), min_version: oldest.into() };
            match (pick(&version), expected) {
                (Ok(picked), Ok(expected)) => assert_eq!(picked, expected, "{newest}"),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
                (picked, _) => panic!("{newest}: {picked:?}"),
            }
        };
        check("2.93", "2.1", Ok("2.69"));
        check("2.69", "2.1", Ok("2.69"));
        check("2.68", "2.1", Ok("2.52"));
        check("2.52", "2.1", Ok("2.52"));
        check("2.51", "2.1", Err("too old: its microversion is 2.51"));
        check("", "", Err("its microversion is none"));
        check("2.120", "2.100", Err("begins at microversion 2.100"));
    }

    #[test]
    fn a_projects_id_is_no_part_of_the_versions_url() {
        for (url, expected) in [
            ("http://c/v2.1", "http://c/v2.1"),
            ("http://c/compute/v2.1/", "http://c/compute/v2.1"),
            ("http://c/v2.1/6f70656e737461636b20342065766572", "http://c/v2.1"),
            ("http://c:8774", "http://c:8774"),
        ] {
            assert_eq!(root(url), expected, "{url}");
        }
    }
}
