//! A service principal's certificate as a client assertion: a short JSON web token, signed with the certificate's key.
//!
//! In: a PEM file with the certificate and its RSA private key, and the time. Out: one fresh assertion per token request.
//! The form is Entra's ("certificate credentials"): PS256 over a header that names the certificate by its SHA-256
//! thumbprint. The key never leaves this file.

use crate::Clock;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::{digest, signature};
use azure_core::base64::encode_url_safe;
use azure_core::error::ErrorKind;
use azure_core::http::ClientMethodOptions;
use azure_identity::ClientAssertion;
use contract::{ProviderError, Timestamp};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;

/// How long an assertion holds; Entra recommends 5 to 10 minutes.
const LIFE_SECS: i64 = 600;

/// The certificate of a service principal.
pub(crate) struct Certificate {
    key: KeyPair,
    /// SHA-256 of the DER certificate, as `x5t#S256` wants it.
    thumbprint: String,
}

impl Certificate {
    /// Reads certificate and key from a PEM file.
    ///
    /// # Errors
    /// `Invalid` when either is missing or is no RSA key; the message never has the file's content.
    pub fn read(path: &Path) -> Result<Self, ProviderError> {
        let invalid = |why: &str| ProviderError::Invalid {
            what: format!("client_certificate_file: {}: {why}", path.display()).into(),
        };
        let pem = std::fs::read(path).map_err(|error| invalid(&error.to_string()))?;
        let certificate =
            CertificateDer::from_pem_slice(&pem).map_err(|_| invalid("holds no certificate (BEGIN CERTIFICATE)"))?;
        let key = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|_| invalid("holds no private key (BEGIN PRIVATE KEY); one with a password is not supported"))?;
        let key = match &key {
            PrivateKeyDer::Pkcs8(key) => KeyPair::from_pkcs8(key.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(key) => KeyPair::from_der(key.secret_pkcs1_der()),
            _ => return Err(invalid("holds a key that is not RSA")),
        };
        let key = key.map_err(|error| invalid(&format!("holds a key that cannot be used, RSA is needed: {error}")))?;
        Ok(Self { key, thumbprint: encode_url_safe(digest::digest(&digest::SHA256, &certificate)) })
    }

    /// An assertion of `client_id` for the token endpoint `audience`, from `now` on.
    fn assertion(&self, client_id: &str, audience: &str, now: Timestamp) -> Option<String> {
        let random = SystemRandom::new();
        let mut id = [0; 16];
        random.fill(&mut id).ok()?;
        let now = now.0.div_euclid(1_000_000);
        let header = serde_json::json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": self.thumbprint });
        let claims = serde_json::json!({
            "aud": audience,
            "iss": client_id,
            "sub": client_id,
            "jti": encode_url_safe(id),
            "iat": now,
            "nbf": now,
            "exp": now + LIFE_SECS,
        });
        let signed = format!("{}.{}", encode_url_safe(header.to_string()), encode_url_safe(claims.to_string()));
        let mut proof = vec![0; self.key.public_modulus_len()];
        self.key.sign(&signature::RSA_PSS_SHA256, &random, signed.as_bytes(), &mut proof).ok()?;
        Some(format!("{signed}.{}", encode_url_safe(proof)))
    }
}

/// What makes assertions for one application, as the SDK wants it.
pub(crate) struct Assertions {
    pub certificate: Arc<Certificate>,
    pub client_id: String,
    pub audience: String,
    pub now: Clock,
}

impl std::fmt::Debug for Assertions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assertions").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl ClientAssertion for Assertions {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let made = self.certificate.assertion(&self.client_id, &self.audience, (self.now)());
        made.ok_or_else(|| azure_core::Error::with_message(ErrorKind::Credential, "the assertion could not be signed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::signature::KeyPair as _;
    use azure_core::base64::decode_url_safe;
    use std::io::Write;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    /// A certificate with its key, as `openssl req -x509` writes them into one file.
    fn pem() -> (tempfile::NamedTempFile, Vec<u8>) {
        let key = KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let der = AsDer::<Pkcs8V1Der>::as_der(&key).unwrap();
        let key_pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            azure_core::base64::encode(der.as_ref())
        );
        let signer = rcgen::KeyPair::from_pem(&key_pem).unwrap();
        let certificate = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&signer).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "{key_pem}{}", certificate.pem()).unwrap();
        (file, certificate.der().to_vec())
    }

    #[test]
    fn an_assertion_is_what_entra_checks() {
        let (file, der) = pem();
        let certificate = Certificate::read(file.path()).unwrap();
        let audience = "https://login.example.com/tenant/oauth2/v2.0/token";
        let token = certificate.assertion("app", audience, NOW).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let json = |part: &str| serde_json::from_slice::<serde_json::Value>(&decode_url_safe(part).unwrap()).unwrap();
        let thumbprint = encode_url_safe(digest::digest(&digest::SHA256, &der));
        assert_eq!(json(parts[0]), serde_json::json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint }));
        let claims = json(parts[1]);
        assert_eq!((&claims["aud"], &claims["iss"], &claims["sub"]), (&audience.into(), &"app".into(), &"app".into()));
        assert_eq!((&claims["nbf"], &claims["exp"]), (&1_700_000_000.into(), &1_700_000_600.into()));

        let signed = format!("{}.{}", parts[0], parts[1]);
        let public = certificate.key.public_key().as_ref();
        let verifier = signature::UnparsedPublicKey::new(&signature::RSA_PSS_2048_8192_SHA256, public);
        verifier.verify(signed.as_bytes(), &decode_url_safe(parts[2]).unwrap()).unwrap();

        let other = certificate.assertion("app", audience, NOW).unwrap();
        let again = json(other.split('.').nth(1).unwrap());
        assert_ne!(again["jti"], claims["jti"], "each assertion has an id of its own");
    }

    #[test]
    fn a_file_that_lacks_something_is_told_so_without_its_content() {
        let (file, _) = pem();
        let whole = std::fs::read_to_string(file.path()).unwrap();
        let from = whole.find("-----BEGIN CERTIFICATE").unwrap();
        let check = |text: &str, expected: &str| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            write!(file, "{text}").unwrap();
            let error = Certificate::read(file.path()).err().unwrap();
            assert_eq!(error.code(), "invalid");
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!error.to_string().contains("MII"), "{error}");
        };
        check(&whole[..from], "no certificate");
        check(&whole[from..], "no private key");
        let ec = rcgen::KeyPair::generate().unwrap().serialize_pem();
        check(&format!("{}{ec}", &whole[from..]), "RSA");
        assert!(Certificate::read(Path::new("nowhere.pem")).err().unwrap().to_string().contains("nowhere.pem"));
    }
}
