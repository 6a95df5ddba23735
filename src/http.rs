//! The one guarded fetcher: every HTTP request that skala makes itself goes through it. A base URL and paths come in,
//! a body of limited size or a typed error goes out, within a timeout. It follows no redirect, uses no proxy that was
//! not configured, talks to no metadata service, and never shows a secret.

mod address;
mod error;
#[cfg(test)]
pub(crate) mod scripted;
mod secret;

pub use error::FetchError;
pub use reqwest::header::{HeaderName, HeaderValue};
pub use secret::{Auth, Header, HeaderText, SecretError, SecretFault};

use address::{is_forbidden, is_forbidden_name};
use contract::BoxFuture;
use error::{ForbiddenAddress, innermost, settings_error, transport_error};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, Client, RequestBuilder, Response, Url};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A refusal's body is kept up to this, for its message.
const REFUSAL_MAX: usize = 16 * 1024;
/// A redirect's target is shown up to this many characters.
const TARGET_SHOWN: usize = 200;

/// Resolves a host's name: the operating system's resolver, or a test's script.
type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// How to reach one server.
#[derive(Clone, Debug)]
pub struct FetchSettings {
    /// The longest time until a connection stands.
    pub connect_timeout: Duration,
    /// The longest time for a request and its whole answer.
    pub timeout: Duration,
    /// The largest answer, in bytes.
    pub body_max: usize,
    /// A file of PEM certificates that are trusted beside the platform's.
    pub ca_file: Option<PathBuf>,
    /// A proxy's URL; the environment's is never used. With one, the proxy resolves the server's name.
    pub proxy: Option<String>,
    /// Who asks.
    pub auth: Auth,
    /// Headers that go with every request.
    pub headers: Vec<Header>,
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(5),
            body_max: 32 * 1024 * 1024,
            ca_file: None,
            proxy: None,
            auth: Auth::None,
            headers: Vec::new(),
        }
    }
}

/// A client of one server.
#[derive(Debug)]
pub struct Fetcher {
    client: Client,
    base: Url,
    auth: Auth,
    headers: Vec<Header>,
    body_max: usize,
}

impl Fetcher {
    /// A client of the server at `base`, which may have a path that all requests begin with. Fails with
    /// [`FetchError::Settings`] or [`FetchError::Forbidden`]; opens no connection.
    pub fn new(base: &str, settings: FetchSettings) -> Result<Self, FetchError> {
        let system: Lookup =
            Arc::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) }));
        Self::with_lookup(base, settings, system)
    }

    fn with_lookup(base: &str, settings: FetchSettings, lookup: Lookup) -> Result<Self, FetchError> {
        let base = parse_base(base)?;
        let roots = match &settings.ca_file {
            None => Vec::new(),
            Some(path) => read_certificates(path)?,
        };
        let mut builder = Client::builder()
            .user_agent(concat!("skala/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.timeout)
            .dns_resolver(GuardedResolver(lookup));
        // Plain HTTP must work on a machine without any certificate, which reading the platform's would refuse.
        builder = match base.scheme() {
            "https" => builder.tls_certs_merge(roots).https_only(true),
            _ => builder.tls_certs_only(roots),
        };
        if let Some(proxy) = &settings.proxy {
            let target = parse_base(proxy)?;
            builder = builder.proxy(reqwest::Proxy::all(target).map_err(|error| settings_error("proxy", &error))?);
        }
        let client = builder.build().map_err(|error| settings_error("cannot set up TLS", &error))?;
        Ok(Self { client, base, auth: settings.auth, headers: settings.headers, body_max: settings.body_max })
    }

    /// Fetches what is at `path`, below the base.
    pub async fn get(&self, path: &str) -> Result<Body, FetchError> {
        self.send(self.client.get(self.below(path))).await
    }

    /// Fetches the base itself, with this query, past any cache that can be told so.
    pub async fn get_base(&self, query: Option<&str>) -> Result<Body, FetchError> {
        let mut url = self.base.clone();
        url.set_query(query);
        self.send(self.client.get(url).header(reqwest::header::CACHE_CONTROL, "no-cache")).await
    }

    /// Sends a JSON document to the base itself, with this query, under a timeout of its own.
    pub async fn post_json(
        &self,
        query: Option<&str>,
        document: String,
        timeout: Duration,
    ) -> Result<Body, FetchError> {
        let mut url = self.base.clone();
        url.set_query(query);
        let request = self.client.post(url).header(reqwest::header::CONTENT_TYPE, "application/json");
        self.send(request.body(document).timeout(timeout)).await
    }

    /// Sends a form to `path`, below the base.
    pub async fn post_form(&self, path: &str, form: &[(&str, &str)]) -> Result<Body, FetchError> {
        self.send(self.client.post(self.below(path)).form(form)).await
    }

    /// As [`Fetcher::post_form`], under a timeout of its own.
    pub async fn post_form_within(
        &self,
        path: &str,
        form: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<Body, FetchError> {
        self.send(self.client.post(self.below(path)).form(form).timeout(timeout)).await
    }

    fn below(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{}", path.trim_start_matches('/')));
        url
    }

    async fn send(&self, request: RequestBuilder) -> Result<Body, FetchError> {
        let secret = self.auth.read()?;
        let mut request = match (&self.auth, &secret) {
            (Auth::Bearer { .. }, Some(token)) => request.bearer_auth(token.reveal()),
            (Auth::Basic { username, .. }, Some(password)) => request.basic_auth(username, Some(password.reveal())),
            _ => request,
        };
        let mut secrets = Vec::from_iter(secret);
        for header in &self.headers {
            let (value, secret) = header.read()?;
            request = request.header(&header.name, value);
            secrets.extend(secret);
        }
        let response = request.send().await.map_err(transport_error)?;
        let status = response.status();
        if status.is_redirection() {
            return Err(FetchError::Redirect { status: status.as_u16(), target: redirect_target(&response) });
        }
        if !status.is_success() {
            // The status is the news; a body that breaks off takes nothing from it.
            let (bytes, _) = read_up_to(response, REFUSAL_MAX).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let body = secrets.iter().fold(text.into_owned(), |text, secret| secret.redact(&text));
            return Err(FetchError::Refused { status: status.as_u16(), body });
        }
        let age = age_of(&response);
        match read_up_to(response, self.body_max).await? {
            (bytes, true) => Ok(Body { bytes, age, status: status.as_u16() }),
            (_, false) => Err(FetchError::TooLarge { limit: self.body_max }),
        }
    }
}

/// A successful answer's body.
#[derive(Clone, Debug)]
pub struct Body {
    bytes: Vec<u8>,
    age: Duration,
    status: u16,
}

impl Body {
    /// Which of the statuses of success it has.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body as it came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// For how long a cache on the way has had it, as far as it says so.
    pub fn age(&self) -> Duration {
        self.age
    }

    /// The body as text; [`FetchError::NotText`] when it is not UTF-8.
    pub fn text(&self) -> Result<&str, FetchError> {
        std::str::from_utf8(&self.bytes).map_err(|_| FetchError::NotText)
    }
}

fn age_of(response: &Response) -> Duration {
    let age = response.headers().get(reqwest::header::AGE).and_then(|age| age.to_str().ok()?.trim().parse().ok());
    Duration::from_secs(age.unwrap_or(0))
}

/// Reads at most `limit` bytes, and says whether that was all. What comes after is not read.
async fn read_up_to(mut response: Response, limit: usize) -> Result<(Vec<u8>, bool), FetchError> {
    let announced = response.content_length().unwrap_or(0);
    let mut bytes = Vec::with_capacity(usize::try_from(announced).unwrap_or(limit).min(limit));
    while let Some(chunk) = response.chunk().await.map_err(transport_error)? {
        let room = limit - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok((bytes, false));
        }
    }
    Ok((bytes, true))
}

/// Whether this can be the base URL of a server, for whoever reads a configuration.
///
/// # Errors
/// As [`Fetcher::new`] would.
pub fn check_base(text: &str) -> Result<(), FetchError> {
    parse_base(text).map(|_| ())
}

/// As [`check_base`], for the URL of one document, which may have a query.
///
/// # Errors
/// As [`Fetcher::new`] would, for the part before the query.
pub fn check_document(url: &str) -> Result<(), FetchError> {
    check_base(split_query(url).0)
}

/// A document's URL, and its query.
pub fn split_query(url: &str) -> (&str, Option<&str>) {
    url.split_once('?').map_or((url, None), |(base, query)| (base, Some(query)))
}

fn parse_base(text: &str) -> Result<Url, FetchError> {
    let wrong = |why: &str| Err(FetchError::Settings(format!("the URL {why}")));
    let Ok(url) = Url::parse(text) else {
        return wrong("cannot be read: write it like \"http://127.0.0.1:9090\"");
    };
    if !matches!(url.scheme(), "http" | "https") {
        return wrong("must begin with http:// or https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("must not hold credentials: put them in a file");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("must not have a query or a fragment");
    }
    match url.host_str() {
        None | Some("") => wrong("has no host"),
        Some(host) => check_host(host).map(|()| url),
    }
}

/// Refuses a host that is itself forbidden; a name's addresses are judged when they are resolved.
fn check_host(host: &str) -> Result<(), FetchError> {
    let forbidden = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => is_forbidden(address),
        Err(_) => is_forbidden_name(host),
    };
    if forbidden { Err(FetchError::Forbidden { target: host.to_owned() }) } else { Ok(()) }
}

fn read_certificates(path: &std::path::Path) -> Result<Vec<Certificate>, FetchError> {
    let fail = |why: String| FetchError::Settings(format!("ca_file {}: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
    let roots = Certificate::from_pem_bundle(&pem).map_err(|error| fail(innermost(&error)))?;
    if roots.is_empty() {
        return Err(fail("holds no PEM certificate".to_owned()));
    }
    Ok(roots)
}

fn redirect_target(response: &Response) -> String {
    let location = response.headers().get(reqwest::header::LOCATION);
    let text = location.map_or("nowhere".into(), |value| String::from_utf8_lossy(value.as_bytes()));
    text.chars().take(TARGET_SHOWN).flat_map(char::escape_debug).collect()
}

/// Resolves names and refuses one with any forbidden address. The connection goes to exactly the addresses that were
/// judged here, so a second, different DNS answer changes nothing.
struct GuardedResolver(Lookup);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let looked_up = (self.0)(host.clone());
        Box::pin(async move {
            let addresses = looked_up.await?;
            if let Some(bad) = addresses.iter().find(|address| is_forbidden(address.ip())) {
                return Err(ForbiddenAddress(format!("{host} ({})", bad.ip())).into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests;
