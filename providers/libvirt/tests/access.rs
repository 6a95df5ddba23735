//! Hosts that do not let us in, each for a human to put in order: another's certificate, no key, a key that has changed.

#![allow(clippy::unwrap_used)]

use contract::{ActionId, Ask, Epoch, Owner, Provider, Target, Timestamp, Version};
use libvirt::{GroupSettings, Libvirt, Settings};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A look and a launch at this host are refused, with these words.
async fn check(folder: &Path, uri: String, told: &str) {
    let domain = folder.join("web.xml");
    std::fs::write(&domain, "<domain type='test'><name>{name}</name><memory>1</memory></domain>").unwrap();
    let settings = Settings {
        hosts: BTreeMap::from([("kvm1".to_owned(), uri)]),
        groups: BTreeMap::from([("web".to_owned(), GroupSettings { domain, ..GroupSettings::default() })]),
        ..Settings::default()
    };
    let owner = Owner { id: "daemon-1".into() };
    let provider = Libvirt::connect(settings, owner, Arc::new(|| Timestamp::from_secs(1_000_000))).await.unwrap();
    let looked = provider.observe(&[Ask::new("web")]).await.remove(0).unwrap_err();
    let seen = Version { desired: None, token: None, at: Timestamp(0) };
    let target = Target { group: "web".into(), action: ActionId(1), seen, lease: Epoch(1) };
    let raised = provider.raise(&target, 1).await.unwrap_err();
    for error in [looked, raised] {
        let words = error.to_string();
        assert!(
            error.code() == "denied" && words.contains(told) && words.contains("kvm1"),
            "{}: {words}",
            error.code()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_does_not_match_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    // Whom the client trusts, and a server that has its certificate from nobody.
    let mut trusted = rcgen::CertificateParams::new(Vec::new()).unwrap();
    trusted.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let trusted = trusted.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    std::fs::write(folder.path().join("cacert.pem"), trusted.pem()).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            _ = acceptor.accept(stream).await;
        }
    });
    let uri = format!("qemu+tls://127.0.0.1:{port}/system?pkipath={}", folder.path().display());
    check(folder.path(), uri, "verify peer's certificate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_ssh_does_not_come_into_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for told in ["skala@kvm1: Permission denied (publickey).", "Host key verification failed."] {
        // It hears what libvirt has to say before it gives up, as the network makes it do.
        let ssh = folder.path().join("ssh");
        std::fs::write(&ssh, format!("#!/bin/sh\nhead -c 4 >/dev/null\necho '{told}' >&2\nexit 255\n")).unwrap();
        std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
        let uri = format!("qemu+ssh://kvm1/system?no_tty=1&command={}", ssh.display());
        check(folder.path(), uri, told).await;
    }
}
