//! The read-only TCP side: /metrics, /healthz and /readyz. It answers only to names of this machine, so that a web page
//! that points its own name here (DNS rebinding) reads nothing.

use super::{Api, Refused, health, not_found, wrong_method};
use crate::telemetry::Scrape;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use std::convert::Infallible;
use std::net::IpAddr;

pub(super) fn router(api: Api) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(known_host))
        .with_state(api)
}

async fn index() -> &'static str {
    concat!(
        "skala ",
        env!("CARGO_PKG_VERSION"),
        "\n\n/metrics  for Prometheus\n/healthz  the daemon runs\n/readyz   every fleet can be observed and decided\n"
    )
}

/// The text is made while it is sent, chunk by chunk.
async fn metrics(State(api): State<Api>) -> Response {
    let scrape = Scrape::new(&api.published, api.clock.now());
    let body = Body::from_stream(stream::iter(scrape.map(Ok::<_, Infallible>)));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], body).into_response()
}

/// Refuses a `Host` that a browser could have been led here by: addresses and `localhost` pass, other names do not.
async fn known_host(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or("?"));
    match host {
        Some(host) if !is_local(host) => {
            let text = "this address answers only when it is asked for by its IP address or as localhost";
            Refused::new(StatusCode::MISDIRECTED_REQUEST, text).into_response()
        }
        _ => next.run(request).await,
    }
}

fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        // The colon may be an IPv6 address' own.
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_answered() {
        for host in
            ["127.0.0.1:9464", "127.0.0.1", "localhost:9464", "LOCALHOST", "[::1]:9464", "[::1]", "10.0.0.7:9464"]
        {
            assert!(is_local(host), "{host}");
        }
        for host in
            ["evil.example", "evil.example:9464", "localhost.evil.example", "127.0.0.1.evil.example", "", "?", ":80"]
        {
            assert!(!is_local(host), "{host}");
        }
    }
}
