use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig as TlsConfig};

use super::ServerConfig;
use crate::Error;
use crate::config::KubeletConfig;

/// The certificate that the server shows.
#[derive(Clone)]
#[non_exhaustive]
pub enum ServingIdentity {
    /// One that it makes and signs itself at every start.
    SelfSigned,
    /// One that is given, in PEM.
    Pem {
        /// The certificate, and those between it and its CA.
        certificates: String,
        /// Its private key.
        key: String,
    },
}

impl std::fmt::Debug for ServingIdentity {
    /// Never shows a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::SelfSigned => "SelfSigned",
            Self::Pem { .. } => "Pem",
        })
    }
}

/// Who calls, by their certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Caller {
    /// The certificate's common name.
    pub(super) name: String,
    /// Its organizations.
    pub(super) groups: Vec<String>,
}

/// Reads who calls out of a certificate that was verified.
pub(super) fn caller(certificate: &CertificateDer<'_>) -> Option<Caller> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|group| Some(group.as_str().ok()?.to_owned()));
    Some(Caller { name, groups: groups.collect() })
}

pub(super) fn server_config(config: &ServerConfig, kubelet: &KubeletConfig) -> Result<TlsConfig, Error> {
    let invalid = |what: &str, why: &dyn std::fmt::Display| Error::InvalidConfig(format!("{what}: {why}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(config.client_ca_pem.as_bytes()) {
        let certificate = certificate.map_err(|error| invalid("client CA", &error))?;
        roots.add(certificate).map_err(|error| invalid("client CA", &error))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| invalid("client CA", &error))?;
    let (certificates, key) = match &config.identity {
        ServingIdentity::SelfSigned => self_signed(kubelet)?,
        ServingIdentity::Pem { certificates, key } => {
            let certificates = CertificateDer::pem_slice_iter(certificates.as_bytes()).collect::<Result<_, _>>();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
            (
                certificates.map_err(|error| invalid("serving certificate", &error))?,
                key.map_err(|error| invalid("serving key", &error))?,
            )
        }
    };
    let mut tls = TlsConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid("TLS", &error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates, key)
        .map_err(|error| invalid("serving certificate", &error))?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}

fn self_signed(kubelet: &KubeletConfig) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let failed = |error: rcgen::Error| Error::InvalidConfig(format!("serving certificate: {error}"));
    let mut names: Vec<String> = kubelet.node_ips.iter().map(ToString::to_string).collect();
    names.push(kubelet.node_name.clone());
    let made = rcgen::generate_simple_self_signed(names).map_err(failed)?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der());
    let key = key.map_err(|error| Error::InvalidConfig(format!("serving key: {error}")))?;
    Ok((vec![made.cert.der().clone()], key))
}
