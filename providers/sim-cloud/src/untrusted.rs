//! A server whose certificate nobody should trust: made on the spot, for another name, by nobody.

use crate::api::Api;
use crate::server::serve_once;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A running server; it ends when this is dropped.
pub struct Untrusted {
    /// Where it listens, as `https://127.0.0.1:PORT`.
    pub url: String,
    /// Its certificate in PEM: who trusts it still finds another name in it.
    pub certificate: String,
    accepting: JoinHandle<()>,
}

impl Drop for Untrusted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Untrusted {
    /// Serves an API, over TLS with a certificate for `elsewhere.example` that signs itself.
    ///
    /// # Panics
    /// When no certificate can be made or no port is free: it is a test's.
    #[allow(clippy::expect_used)]
    pub async fn start(api: Arc<dyn Api>) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["elsewhere.example".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("its own key");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("https://{}", listener.local_addr().expect("an address"));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, api) = (acceptor.clone(), Arc::clone(&api));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve_once(TokioIo::new(stream), api).await;
                    }
                });
            }
        });
        Self { url, certificate: made.cert.pem(), accepting }
    }
}
