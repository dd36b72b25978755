//! Which servers are believed to be who they say: the one place that decides it for every client in this crate.
//!
//! It is webpki's check, and one rule beside it. Go believes a certificate that is itself in the bundle, authority or
//! not, and so do the bundles of many webhooks: one self-signed certificate, which is an authority and serves. webpki
//! wants a server's certificate to be no authority. So a certificate that webpki refuses is compared, byte by byte, with
//! those of the bundle. If it is one of them, who signed it needs no answer; its names, its times, its key usage and
//! the handshake's signature are checked like those of any other.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WantsClientCert, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The beginning of a client's configuration: TLS 1.2 and 1.3 with servers that these certificates vouch for.
///
/// # Errors
/// One of them can vouch for nobody.
pub(crate) fn trusting(
    authorities: Vec<CertificateDer<'static>>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Trusted::new(authorities, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(match verifier {
        Some(verifier) => builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)),
        None => builder.with_root_certificates(RootCertStore::empty()),
    })
}

/// What a failed handshake is called, in the words of Go's for the faults that people look for.
pub(crate) fn handshake_fault(fault: &std::io::Error) -> String {
    let tls = fault.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let Some(Error::InvalidCertificate(refused)) = tls else { return format!("tls: {fault}") };
    let reason = match refused {
        CertificateError::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired or is not yet valid: it has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate has expired or is not yet valid: it is not yet valid".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate specifies an incompatible key usage".to_owned()
        }
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {reason}")
}

/// Believes those whom the certificates vouch for, and those certificates themselves.
#[derive(Debug)]
struct Trusted {
    webpki: Arc<WebPkiServerVerifier>,
    authorities: Vec<CertificateDer<'static>>,
}

impl Trusted {
    /// `None` if there are no certificates, and so nobody is believed.
    fn new(authorities: Vec<CertificateDer<'static>>, provider: &Arc<CryptoProvider>) -> Result<Option<Self>, Error> {
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots.add(authority.clone())?;
        }
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
        // It has nothing to say but that there are no certificates: revocation lists are not given.
        Ok(webpki.ok().map(|webpki| Self { webpki, authorities }))
    }
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.or_else(|refusal| match self.authorities.iter().any(|authority| authority == end_entity) {
            true => trusted_itself(end_entity, server_name, now),
            false => Err(refusal),
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// Checks a certificate of the bundle but for who signed it.
fn trusted_itself(
    certificate: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    // Reading it refuses critical extensions that nobody here understands.
    verify_server_name(&ParsedCertificate::try_from(certificate)?, server_name)?;
    let unreadable = || Error::from(CertificateError::BadEncoding);
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| unreadable())?;
    let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or_default();
    if now.as_secs() < seconds(parsed.validity().not_before) {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > seconds(parsed.validity().not_after) {
        return Err(CertificateError::Expired.into());
    }
    // Without the extension it may be used for anything.
    let usage = parsed.extended_key_usage().map_err(|_| unreadable())?;
    if usage.is_some_and(|usage| !usage.value.any && !usage.value.server_auth) {
        return Err(CertificateError::InvalidPurpose.into());
    }
    Ok(ServerCertVerified::assertion())
}

#[cfg(all(test, feature = "pki"))]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair};

    use super::*;

    const NAME: &str = "hook.default.svc";

    /// Signs itself.
    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec![NAME.to_owned(), "10.0.0.7".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn authority(params: &mut CertificateParams) {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }

    fn check(
        shown: &CertificateDer<'_>,
        bundle: &[&CertificateDer<'static>],
        name: &str,
        day: (i32, u8, u8),
    ) -> Result<(), CertificateError> {
        let provider = Arc::new(ring::default_provider());
        let bundle = bundle.iter().map(|certificate| (*certificate).clone()).collect();
        let trusted = Trusted::new(bundle, &provider).unwrap().unwrap();
        let time = rcgen::date_time_ymd(day.0, day.1, day.2).unix_timestamp();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(time.try_into().unwrap()));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        match trusted.verify_server_cert(shown, &[], &name, &[], now) {
            Ok(_) => Ok(()),
            Err(Error::InvalidCertificate(reason)) => Err(reason),
            Err(other) => panic!("{other}"),
        }
    }

    const DAY: (i32, u8, u8) = (2026, 6, 1);

    #[test]
    fn a_certificate_of_the_bundle_is_believed_for_its_names_only() {
        for shown in
            [certificate(authority), certificate(|_| ()), certificate(|params| params.is_ca = IsCa::ExplicitNoCa)]
        {
            let other = certificate(authority);
            for name in [NAME, "10.0.0.7"] {
                assert_eq!(check(&shown, &[&other, &shown], name, DAY), Ok(()));
            }
            for name in ["elsewhere.default.svc", "10.0.0.8"] {
                let refused = check(&shown, &[&shown], name, DAY);
                assert!(matches!(refused, Err(CertificateError::NotValidForNameContext { .. })), "{refused:?}");
            }
        }
    }

    #[test]
    fn its_times_count() {
        for shown in [certificate(authority), certificate(|_| ())] {
            let early = check(&shown, &[&shown], NAME, (2025, 12, 31)).unwrap_err();
            assert!(
                handshake_fault(&std::io::Error::other(Error::from(early))).contains("not yet valid: it is not yet")
            );
            let late = check(&shown, &[&shown], NAME, (2027, 1, 2)).unwrap_err();
            assert!(handshake_fault(&std::io::Error::other(Error::from(late))).ends_with("it has expired"));
        }
    }

    #[test]
    fn what_is_not_in_the_bundle_is_refused() {
        // The same names and the same subject, but other bytes.
        for kind in [authority as fn(&mut CertificateParams), |_| ()] {
            let (shown, other) = (certificate(kind), certificate(kind));
            let refused = check(&shown, &[&other], NAME, DAY).unwrap_err();
            assert!(!handshake_fault(&std::io::Error::other(Error::from(refused))).is_empty());
        }
        let stranger = certificate(|params| {
            params.distinguished_name.push(rcgen::DnType::CommonName, "stranger");
        });
        let refused = check(&stranger, &[&certificate(authority)], NAME, DAY).unwrap_err();
        let words = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
        assert_eq!(handshake_fault(&std::io::Error::other(Error::from(refused))), words);
    }

    #[test]
    fn its_key_usage_and_critical_extensions_count() {
        let usage = |purpose: ExtendedKeyUsagePurpose| {
            certificate(|params| {
                authority(params);
                params.extended_key_usages = vec![purpose];
            })
        };
        for allowed in [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Any] {
            let shown = usage(allowed);
            assert_eq!(check(&shown, &[&shown], NAME, DAY), Ok(()));
        }
        let client = usage(ExtendedKeyUsagePurpose::ClientAuth);
        assert_eq!(check(&client, &[&client], NAME, DAY), Err(CertificateError::InvalidPurpose));
        let strange = certificate(|params| {
            authority(params);
            let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 57683, 99], vec![5, 0]);
            extension.set_criticality(true);
            params.custom_extensions = vec![extension];
        });
        assert!(check(&strange, &[&strange], NAME, DAY).is_err());
    }
}
