//! Probes: when to look at a container, what came of it, and what that makes of the container.
//!
//! [`ProbeState`] decides, purely. [`Prober`] looks; [`NodeProber`] does so from the node, as a kubelet should. Tasks
//! that join the two live with the pod's worker.

mod assumed;
mod check;
mod grpc;
mod http;
mod set;
mod state;

pub use assumed::AssumedHealthy;
pub use check::{Check, NodeProber, Outcome, Prober};
pub use set::{Observation, ProbeSet};
pub use state::{Due, ProbeKind, ProbeState};

/// The TLS configuration for probes and hooks: they do not care who answers, as upstream's do not.
pub(crate) fn unverified_tls() -> rustls::ClientConfig {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("ring supports the default protocol versions");
    builder.dangerous().with_custom_certificate_verifier(std::sync::Arc::new(Anyone(schemes))).with_no_client_auth()
}

#[derive(Debug)]
struct Anyone(Vec<rustls::SignatureScheme>);

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.clone()
    }
}
