//! Certificates.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::Error;

/// What a [`Face`](crate::Face) shows its clients, and what it wants of them, as PEM.
#[derive(Clone)]
#[non_exhaustive]
pub struct FaceTls {
    /// The server's certificate and those between it and the authority.
    pub certificates: Vec<u8>,
    /// The certificate's key.
    pub key: Vec<u8>,
    /// Authorities: only clients are let in whose certificates they signed. Everyone is, without.
    pub client_ca: Option<Vec<u8>>,
}

impl fmt::Debug for FaceTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is nobody's business.
        f.debug_struct("FaceTls").field("client_ca", &self.client_ca.is_some()).finish_non_exhaustive()
    }
}

impl FaceTls {
    /// A server with this certificate, for any client.
    pub fn new(certificates: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        Self { certificates: certificates.into(), key: key.into(), client_ca: None }
    }

    /// The same, only for clients whose certificates these authorities signed.
    #[must_use]
    pub fn client_ca(mut self, ca: impl Into<Vec<u8>>) -> Self {
        self.client_ca = Some(ca.into());
        self
    }

    /// What [`Face::serve`](crate::Face::serve) takes.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] that says which of the PEMs does not make sense, and why.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, Error> {
        let bad = |what: &str, why: String| Error::invalid(format!("{what}: {why}"));
        let certificates = certificates("the certificate", &self.certificates)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| bad("the key", error.to_string()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| bad("tls", error.to_string()))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                for authority in self::certificates("the clients' authority", ca)? {
                    roots.add(authority).map_err(|error| bad("the clients' authority", error.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(
                    verifier.map_err(|error| bad("the clients' authority", error.to_string()))?,
                )
            }
        };
        let config = builder.with_single_cert(certificates, key);
        config.map(Arc::new).map_err(|error| bad("certificate and key", error.to_string()))
    }
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| Error::invalid(format!("{what}: {error}")))?;
    if found.is_empty() {
        return Err(Error::invalid(format!("{what}: no certificate in it")));
    }
    Ok(found)
}
