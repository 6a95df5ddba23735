use super::scripted::{Act, Scripted};
use super::*;

fn quick() -> FetchSettings {
    FetchSettings { timeout: Duration::from_millis(300), body_max: 1000, ..FetchSettings::default() }
}

/// What comes of one request to a server that acts so.
async fn fetched(act: Act) -> Result<Body, FetchError> {
    let server = Scripted::start(vec![act]).await;
    Fetcher::new(&server.url(), quick()).unwrap().get("x").await
}

#[tokio::test]
async fn an_answer_is_its_body() {
    assert_eq!(fetched(Act::ok("hello")).await.unwrap().text().unwrap(), "hello");
    assert_eq!(fetched(Act::ok("")).await.unwrap().bytes(), b"");
    assert!(matches!(fetched(Act::Answer(200, vec![0xff])).await.unwrap().text(), Err(FetchError::NotText)));
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(fetched(Act::Raw(chunked.to_vec())).await.unwrap().text().unwrap(), "abcde");
}

#[tokio::test]
async fn a_request_says_who_asks_and_stays_below_its_base() {
    let server = Scripted::start(vec![Act::ok("")]).await;
    let fetcher = Fetcher::new(&format!("{}/prom/", server.url()), quick()).unwrap();
    fetcher.post_form("/api/v1/query", &[("query", "a{b=\"c\"} + 1")]).await.unwrap();
    let request = &server.requests()[0];
    assert!(request.starts_with("POST /prom/api/v1/query HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(concat!("user-agent: skala/", env!("CARGO_PKG_VERSION"), "\r\n")), "{request}");
    assert!(request.ends_with("\r\n\r\nquery=a%7Bb%3D%22c%22%7D+%2B+1"), "{request}");
    assert!(!request.contains("authorization"), "{request}");
}

#[tokio::test]
async fn every_failure_has_its_kind() {
    assert!(matches!(fetched(Act::Hang).await, Err(FetchError::Timeout)));
    assert!(matches!(fetched(Act::Drip).await, Err(FetchError::Timeout)));
    assert!(matches!(fetched(Act::Raw(Vec::new())).await, Err(FetchError::Unreachable { .. })));
    assert!(matches!(fetched(Act::Raw(b"SSH-2.0-x\r\n".to_vec())).await, Err(FetchError::Unreachable { .. })));
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nonly this".to_vec();
    assert!(matches!(fetched(Act::Raw(cut)).await, Err(FetchError::Unreachable { .. })));
    match fetched(Act::Answer(503, b"overloaded".to_vec())).await {
        Err(FetchError::Refused { status: 503, body }) => assert_eq!(body, "overloaded"),
        other => panic!("{other:?}"),
    }
    // Nothing listens on a port that was just freed.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let gone = Fetcher::new(&format!("http://127.0.0.1:{port}"), quick()).unwrap().get("x").await;
    assert!(matches!(gone, Err(FetchError::Unreachable { .. })), "{gone:?}");
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_not_read() {
    assert_eq!(fetched(Act::Answer(200, vec![b'a'; 1000])).await.unwrap().bytes().len(), 1000);
    assert!(matches!(fetched(Act::Answer(200, vec![b'a'; 1001])).await, Err(FetchError::TooLarge { limit: 1000 })));
    // Without an announced length, and with one that is a lie.
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'a'; 2000]].concat();
    assert!(matches!(fetched(Act::Raw(endless)).await, Err(FetchError::TooLarge { .. })));
    let huge = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\nabc".to_vec();
    assert!(matches!(fetched(Act::Raw(huge)).await, Err(FetchError::Unreachable { .. })));
    // A refusal stays a refusal; only its beginning is kept.
    match fetched(Act::Answer(500, vec![b'a'; 20_000])).await {
        Err(FetchError::Refused { status: 500, body }) => assert_eq!(body.len(), REFUSAL_MAX),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_redirect_is_an_error_that_names_its_target() {
    let elsewhere = Scripted::start(vec![Act::ok("leaked")]).await;
    for status in [301, 302, 303, 307, 308] {
        let raw = format!("HTTP/1.1 {status} Moved\r\nLocation: {}/x\r\nContent-Length: 0\r\n\r\n", elsewhere.url());
        match fetched(Act::Raw(raw.into_bytes())).await {
            Err(FetchError::Redirect { status: seen, target }) => {
                assert_eq!((seen, target), (status, format!("{}/x", elsewhere.url())));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(elsewhere.requests(), Vec::<String>::new());
}

#[test]
fn forbidden_addresses_are_refused_in_every_spelling_of_a_url() {
    for url in [
        "http://169.254.169.254/",
        "http://169.254.169.254:80/latest",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://0251.0376.0251.0376/",
        "http://169.254.43518/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
        "http://metadata.google.internal/",
        "https://METADATA.google.internal./",
        "http://%6Detadata.google.internal/",
    ] {
        let refused = Fetcher::new(url, quick());
        assert!(matches!(refused, Err(FetchError::Forbidden { .. })), "{url}: {refused:?}");
        let proxy = Some(url.to_owned());
        let refused = Fetcher::new("http://127.0.0.1", FetchSettings { proxy, ..quick() });
        assert!(matches!(refused, Err(FetchError::Forbidden { .. })), "{url}: {refused:?}");
    }
}

#[tokio::test]
async fn a_name_that_leads_to_a_forbidden_address_is_refused() {
    let server = Scripted::start(vec![Act::ok("hello")]).await;
    let check = async |addresses: &[&str]| {
        let addresses: Vec<SocketAddr> = addresses.iter().map(|one| SocketAddr::new(one.parse().unwrap(), 0)).collect();
        let lookup: Lookup = Arc::new(move |_| Box::pin(std::future::ready(Ok(addresses.clone()))));
        let url = format!("http://prometheus.example:{}", server.port);
        Fetcher::with_lookup(&url, quick(), lookup).unwrap().get("x").await
    };
    assert_eq!(check(&["127.0.0.1"]).await.unwrap().text().unwrap(), "hello");
    for addresses in
        [&["169.254.169.254"][..], &["127.0.0.1", "169.254.170.2"], &["::ffff:169.254.169.254"], &["fd00:ec2::254"]]
    {
        match check(addresses).await {
            Err(FetchError::Forbidden { target }) => assert!(target.starts_with("prometheus.example ("), "{target}"),
            other => panic!("{addresses:?}: {other:?}"),
        }
    }
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_second_dns_answer_is_judged_like_the_first() {
    let server = Scripted::start(vec![Act::ok("hello")]).await;
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = asked.clone();
    let lookup: Lookup = Arc::new(move |_| {
        let first = counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        let address = if first { "127.0.0.1" } else { "169.254.169.254" };
        Box::pin(std::future::ready(Ok(vec![SocketAddr::new(address.parse().unwrap(), 0)])))
    });
    let url = format!("http://rebinding.example:{}", server.port);
    let fetcher = Fetcher::with_lookup(&url, quick(), lookup).unwrap();
    assert!(fetcher.get("x").await.is_ok());
    let second = fetcher.get("x").await;
    assert!(matches!(second, Err(FetchError::Forbidden { .. })), "{second:?}");
    assert_eq!((asked.load(std::sync::atomic::Ordering::Relaxed), server.requests().len()), (2, 1));
}

#[tokio::test]
async fn a_rotated_token_is_in_force_at_the_next_request_and_shows_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let echo = b"you sent: Bearer first-token".to_vec();
    let server = Scripted::start(vec![Act::ok(""), Act::ok(""), Act::Answer(401, echo)]).await;
    let auth = Auth::Bearer { file: file.clone() };
    let fetcher = Fetcher::new(&server.url(), FetchSettings { auth, ..quick() }).unwrap();
    let sent =
        |at: usize| server.requests()[at].lines().find(|line| line.starts_with("authorization")).map(String::from);
    std::fs::write(&file, "first-token\n").unwrap();
    fetcher.get("x").await.unwrap();
    std::fs::write(&file, "second-token").unwrap();
    fetcher.get("x").await.unwrap();
    assert_eq!(sent(0).as_deref(), Some("authorization: Bearer first-token"));
    assert_eq!(sent(1).as_deref(), Some("authorization: Bearer second-token"));
    std::fs::write(&file, "first-token").unwrap();
    let refused = fetcher.get("x").await.unwrap_err();
    assert!(matches!(&refused, FetchError::Refused { body, .. } if body == "you sent: Bearer [secret]"), "{refused:?}");
    assert!(!format!("{fetcher:?}{refused:?}{refused}").contains("first-token"));
    // Without its secret a request is not sent at all.
    std::fs::write(&file, "").unwrap();
    assert!(matches!(fetcher.get("x").await, Err(FetchError::Secret(SecretError { why: SecretFault::Empty, .. }))));
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn basic_auth_sends_name_and_password() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "open sesame\n").unwrap();
    let server = Scripted::start(vec![Act::ok("")]).await;
    let auth = Auth::Basic { username: "aladdin".into(), file };
    Fetcher::new(&server.url(), FetchSettings { auth, ..quick() }).unwrap().get("x").await.unwrap();
    // base64("aladdin:open sesame")
    let request = server.requests().remove(0);
    assert!(request.contains("authorization: Basic YWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"), "{request}");
}

#[test]
fn settings_that_can_never_work_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let check = |url: &str, settings: FetchSettings, expected: &str| match Fetcher::new(url, settings) {
        Err(FetchError::Settings(why)) => assert!(why.contains(expected), "{why}"),
        other => panic!("{url}: {other:?}"),
    };
    check("127.0.0.1:9090", quick(), "cannot be read");
    check("ftp://127.0.0.1", quick(), "must begin with");
    check("file:///etc/passwd", quick(), "must begin with");
    check("http://", quick(), "cannot be read");
    check("http://me:secret@127.0.0.1", quick(), "must not hold credentials");
    check("http://127.0.0.1/?a=b", quick(), "query");
    check("http://127.0.0.1", FetchSettings { proxy: Some("nonsense".into()), ..quick() }, "cannot be read");
    check("https://127.0.0.1", FetchSettings { ca_file: Some(empty), ..quick() }, "holds no PEM certificate");
    check("https://127.0.0.1", FetchSettings { ca_file: Some("/nowhere".into()), ..quick() }, "/nowhere");
}

#[tokio::test]
async fn a_proxy_is_used_only_when_it_is_configured() {
    let proxy = Scripted::start(vec![Act::ok("by proxy")]).await;
    let settings = FetchSettings { proxy: Some(proxy.url()), ..quick() };
    let body = Fetcher::new("http://prometheus.example:9090", settings).unwrap().get("x").await.unwrap();
    assert_eq!(body.text().unwrap(), "by proxy");
    assert!(proxy.requests()[0].starts_with("GET http://prometheus.example:9090/x HTTP/1.1\r\n"));
}

#[tokio::test]
async fn only_a_trusted_certificate_for_the_right_name_is_talked_to() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&leaf_key, &authority).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            rustls::pki_types::PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into()),
        )
        .unwrap();
    let server = Scripted::start_tls(vec![Act::ok("secure")], Some(Arc::new(config).into())).await;
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let trusting = || FetchSettings { ca_file: Some(ca_file.clone()), timeout: Duration::from_secs(5), ..quick() };
    let get = async |host: &str, settings| {
        Fetcher::new(&format!("https://{host}:{}", server.port), settings).unwrap().get("x").await
    };
    assert_eq!(get("localhost", trusting()).await.unwrap().text().unwrap(), "secure");
    let check = |answer: Result<Body, FetchError>, expected: &str| match answer {
        Err(FetchError::Unreachable { why }) => assert!(why.contains(expected), "{why}"),
        other => panic!("{other:?}"),
    };
    check(get("127.0.0.1", trusting()).await, "not valid for name");
    if let Ok(stranger) = Fetcher::new(&format!("https://localhost:{}", server.port), quick()) {
        check(stranger.get("x").await, "UnknownIssuer");
    }
    assert_eq!(server.requests().len(), 1);
}
