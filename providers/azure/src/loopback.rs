//! Plain HTTP, for an authority on this machine and nobody else.
//!
//! The SDK speaks to an authority over TLS alone, and rightly. For one on a loopback address that is written `http://`
//! (a simulated cloud), requests to exactly it leave without TLS; every other request goes as it is.

use crate::settings::is_loopback;
use azure_core::http::{AsyncRawResponse, HttpClient, Request};
use std::sync::Arc;
use url::Url;

/// The authority as the SDK wants it written.
pub(crate) fn as_https(authority: &Url) -> Url {
    if authority.scheme() != "http" || !is_loopback(authority) {
        return authority.clone();
    }
    let text = authority.as_str().replacen("http://", "https://", 1);
    Url::parse(&text).unwrap_or_else(|_| authority.clone())
}

/// The client that reaches the authority.
pub(crate) fn client(authority: &Url, client: Arc<dyn HttpClient>) -> Arc<dyn HttpClient> {
    if authority.scheme() == "http" && is_loopback(authority) {
        return Arc::new(Plain { secure: as_https(authority), client });
    }
    client
}

#[derive(Debug)]
struct Plain {
    secure: Url,
    client: Arc<dyn HttpClient>,
}

#[async_trait::async_trait]
impl HttpClient for Plain {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        if request.url().origin() != self.secure.origin() {
            return self.client.execute_request(request).await;
        }
        let text = request.url().as_str().replacen("https://", "http://", 1);
        let mut plain = Request::new(Url::parse(&text)?, request.method());
        for (name, value) in request.headers().iter() {
            plain.insert_header(name.clone(), value.clone());
        }
        plain.set_body(request.body().clone());
        self.client.execute_request(&plain).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_on_loopback_is_rewritten() {
        let check = |from: &str, to: &str| {
            assert_eq!(as_https(&Url::parse(from).unwrap()).as_str(), to);
        };
        check("http://127.0.0.1:4000", "https://127.0.0.1:4000/");
        check("https://127.0.0.1:4000", "https://127.0.0.1:4000/");
        check("http://10.0.0.1:4000", "http://10.0.0.1:4000/");
        check("https://login.microsoftonline.us", "https://login.microsoftonline.us/");
    }
}
