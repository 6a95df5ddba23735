//! Lists servers: page after page, complete or an error.
//!
//! Pages are followed by the marker in Nova's link, below the same URL as the first page: a link's own host is whatever
//! stands before the cloud, and a token must not go there. The server chooses the page's size, since a list with `limit`
//! leaves servers of a cell that is down out without a word.
//!
//! While Nova hands a server to a cell it has it twice, and shows it once: the page is one short, and Nova, which counts
//! what it shows, says that no other follows. So behind a page with such a server another one is asked for. And where a
//! whole page is of servers that no cell has yet, the next one may begin behind others of them: that list is no list.

use crate::errors::{Effect, Failure};
use crate::nova::server::Server;
use crate::session::{Call, Service, Session, json, no_such_list};
use contract::ProviderError;
use reqwest::{Method, Url};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// Pages of a thousand, as Nova makes them by default.
const PAGES_MAX: usize = 200;
/// The longest list of tags to filter by; a web server takes lines of 8 KiB.
const FILTER_MAX: usize = 1_500;

#[derive(Deserialize)]
struct Page {
    servers: Vec<Server>,
    #[serde(default)]
    servers_links: Vec<Link>,
}

#[derive(Deserialize)]
struct Link {
    rel: String,
    href: String,
}

/// The servers that carry any of these tags; where the tags are too many for one request, those of the whole project.
/// It may hold others, which the caller sorts out.
pub(crate) async fn by_tags(session: &Session, tags: &[&str]) -> Result<Vec<Server>, ProviderError> {
    let encoded: Vec<String> = tags.iter().map(|tag| encode(tag)).collect();
    let joined = encoded.join("%2C");
    let filter = (joined.len() <= FILTER_MAX).then(|| format!("tags-any={joined}"));
    let servers = all(session, "/servers/detail", filter).await?;
    // A proxy that drops the version's header makes an old API of Nova, which knows neither tags nor the filter.
    if let Some(odd) = servers.iter().find(|server| server.tags.is_none() && !server.is_unknown()) {
        return Err(nonsense(&format!("server {} has no tags: is OpenStack-API-Version dropped on the way?", odd.id)));
    }
    Ok(servers)
}

/// Whether every cell of the project answers, as far as the first page tells: one that does not is left out of every
/// list with a filter, as if its servers were gone.
///
/// # Errors
/// `Transport` when one does not.
pub(crate) async fn ensure_whole(session: &Session) -> Result<(), ProviderError> {
    #[derive(Deserialize)]
    struct Brief {
        id: String,
        #[serde(default)]
        status: Option<String>,
    }
    #[derive(Deserialize)]
    struct Brieves {
        servers: Vec<Brief>,
    }
    let call = call("/servers".into());
    let answer = read(session, &call).await.map_err(no_such_list)?;
    let page: Brieves = json(&call, &answer)?;
    match page.servers.iter().find(|server| server.status.as_deref() == Some("UNKNOWN")) {
        Some(server) => Err(cell_down(&server.id)),
        None => Ok(()),
    }
}

/// One server by its id, by `deadline` at the latest; `None` when it is gone.
///
/// # Errors
/// `Transport` also when its cell does not answer.
pub(crate) async fn by_id(session: &Session, id: &str, deadline: Instant) -> Result<Option<Server>, ProviderError> {
    #[derive(Deserialize)]
    struct One {
        server: Server,
    }
    let call = Call { operation: "get_server", ..call(format!("/servers/{}", encode(id))) };
    match session.send(&call, deadline.min(a_read(session))).await {
        Err(Failure { error: ProviderError::NotFound { .. }, .. }) => Ok(None),
        Err(failure) => Err(failure.error),
        Ok(answer) => {
            let server = json::<One>(&call, &answer)?.server;
            if server.is_unknown() { Err(cell_down(id)) } else { Ok(Some(server)) }
        }
    }
}

async fn all(session: &Session, path: &str, filter: Option<String>) -> Result<Vec<Server>, ProviderError> {
    let mut found: BTreeMap<String, Server> = BTreeMap::new();
    let mut markers = BTreeSet::new();
    let mut marker: Option<String> = None;
    for page in 0..PAGES_MAX {
        let after = marker.take().map(|marker| format!("marker={}", encode(&marker)));
        let query: Vec<String> = filter.iter().cloned().chain(after).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        let call = call(format!("{path}{mark}{}", query.join("&")));
        let answer = match read(session, &call).await {
            // The server that the page was to begin after has gone meanwhile.
            Err(Failure { error: ProviderError::Invalid { what }, .. }) if page > 0 => {
                return Err(ProviderError::Transport { what, source: None });
            }
            answer => answer.map_err(no_such_list)?,
        };
        let Page { servers, servers_links } = json(&call, &answer)?;
        let next = match servers_links.iter().find(|link| link.rel == "next") {
            Some(next) => {
                let next = marker_in(&next.href).ok_or_else(|| nonsense("a next page without a marker"))?;
                if !markers.insert(next.clone()) {
                    return Err(nonsense("the same page is offered again and again"));
                }
                if !servers.is_empty() && servers.iter().all(Server::is_handed_over) {
                    return Err(nonsense("more servers are being made than a page holds"));
                }
                Some(next)
            }
            // No two of our own questions are the same.
            None => behind(&servers).filter(|next| markers.insert(next.clone())),
        };
        for server in servers {
            if server.id.is_empty() {
                return Err(nonsense("a server without an id"));
            }
            found.entry(server.id.clone()).or_insert(server);
        }
        match next {
            Some(next) => marker = Some(next),
            None => return Ok(found.into_values().collect()),
        }
    }
    Err(nonsense("more pages than any project has"))
}

/// Where to go on behind a last page that may be one short: one that a cell has stays where it is in Nova's order.
fn behind(page: &[Server]) -> Option<String> {
    page.iter().find(|server| server.is_handed_over())?;
    let settled = page.iter().rfind(|server| !server.is_handed_over());
    settled.or(page.last()).map(|server| server.id.clone())
}

fn call<'a>(path: String) -> Call<'a> {
    Call {
        operation: "list_servers",
        effect: Effect::Read,
        service: Service::Compute,
        method: Method::GET,
        path,
        body: None,
    }
}

async fn read(session: &Session, call: &Call<'_>) -> Result<crate::wire::Answer, Failure> {
    session.send(call, a_read(session)).await
}

/// Until when one read may take.
pub(crate) fn a_read(session: &Session) -> Instant {
    Instant::now() + session.wire.deadlines.read
}

fn marker_in(href: &str) -> Option<String> {
    // Behind a proxy the link may be a path alone.
    let base = Url::parse("http://localhost/").ok()?;
    let url = base.join(href).ok()?;
    url.query_pairs().find(|(key, _)| key == "marker").map(|(_, value)| value.into_owned()).filter(|m| !m.is_empty())
}

/// Text as it may stand in a path or a query.
pub(crate) fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn nonsense(why: &str) -> ProviderError {
    ProviderError::Transport { what: format!("list_servers: {why}").into(), source: None }
}

fn cell_down(id: &str) -> ProviderError {
    nonsense(&format!("a cell of Nova does not answer: server {id} is known by its id alone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_taken_from_any_link() {
        for (href, expected) in [
            ("http://nova:8774/v2.1/servers/detail?limit=20&marker=4f2a", Some("4f2a")),
            ("/servers?marker=a%2Fb", Some("a/b")),
            ("http://nova/servers?limit=20", None),
            ("http://nova/servers?marker=", None),
            ("::", None),
        ] {
            assert_eq!(marker_in(href).as_deref(), expected, "{href}");
        }
    }

    #[test]
    fn text_is_safe_in_a_query() {
        assert_eq!(encode("skala-group=web tier&x"), "skala-group%3Dweb%20tier%26x");
        assert_eq!(encode("é"), "%C3%A9");
    }
}
