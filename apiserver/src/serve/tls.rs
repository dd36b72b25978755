//! The TLS side: the serving certificate, and asking clients for theirs.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("TLS: {0}")]
pub struct TlsError(String);

impl TlsError {
    pub(crate) fn new(what: &str, error: impl std::fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}

/// How connections are secured. Clones are handles onto the same certificate, which can be replaced while connections
/// come in.
#[derive(Clone, Debug)]
pub struct Tls(Arc<RwLock<Arc<ServerConfig>>>);

impl Tls {
    /// Serves with this certificate chain and key, and asks clients for certificates of these authorities. All PEM.
    ///
    /// Clients may come without one. Whether a certificate is to be believed is decided by
    /// [`ClientCertificates`](crate::authn::ClientCertificates), so that a bad one is answered with 401.
    ///
    /// # Errors
    /// One of them is not what it should be.
    pub fn new(certificate: &str, key: &str, client_authorities: &str) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(RwLock::new(config(certificate, key, client_authorities)?))))
    }

    /// Secures connections that come in from now on so; those there are stay as they are.
    ///
    /// # Errors
    /// One of them is not what it should be, or the key is not the certificate's; nothing changes then.
    pub fn replace(&self, certificate: &str, key: &str, client_authorities: &str) -> Result<(), TlsError> {
        let config = config(certificate, key, client_authorities)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn config(certificate: &str, key: &str, client_authorities: &str) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates("serving certificate", certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| TlsError::new("serving key", e))?;
    let provider = ring::default_provider();
    let verifier = AskForCertificate::new(client_authorities, &provider)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|e| TlsError::new("protocol versions", e))?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(chain, key)
        .map_err(|e| TlsError::new("serving certificate and key", e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

pub(crate) fn certificates(what: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let parsed = parsed.map_err(|error| TlsError::new(what, error))?;
    if parsed.is_empty() { Err(TlsError::new(what, "no certificate in PEM form")) } else { Ok(parsed) }
}

/// Asks for a certificate, and checks only that the client holds its key.
#[derive(Debug)]
struct AskForCertificate {
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl AskForCertificate {
    fn new(authorities: &str, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates("client authorities", authorities)? {
            roots.add(certificate).map_err(|error| TlsError::new("client authorities", error))?;
        }
        Ok(Self { hints: roots.subjects(), algorithms: provider.signature_verification_algorithms })
    }
}

impl ClientCertVerifier for AskForCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
