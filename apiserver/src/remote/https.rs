//! HTTP/1.1 over TLS, one connection a call; TLS sessions are resumed.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::trust::{handshake_fault, trusting};
use super::{ANSWER_BYTES_MAX, Remote, RemoteError, Target};
use crate::connect::NodeStream as Stream;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How many ways to trust are remembered; beyond that all are made anew.
const CONFIGS_MAX: usize = 200;
/// Where systems keep the authorities that they trust.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

type Trust = (Option<Arc<str>>, bool, Option<(Arc<str>, Arc<str>)>);

/// The network.
#[derive(Default)]
pub struct Https {
    configs: Mutex<HashMap<Trust, Arc<ClientConfig>>>,
}

impl fmt::Debug for Https {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Https")
    }
}

impl Https {
    fn config(&self, target: &Target) -> Result<Arc<ClientConfig>, RemoteError> {
        let trust = (target.authorities.clone(), target.insecure, target.identity.clone());
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = configs.get(&trust) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(client_config(&trust)?);
        if configs.len() >= CONFIGS_MAX {
            configs.clear();
        }
        configs.insert(trust, Arc::clone(&config));
        Ok(config)
    }
}

fn client_config((authorities, insecure, identity): &Trust) -> Result<ClientConfig, RemoteError> {
    let wrong = |what: &str, error: &dyn fmt::Display| RemoteError::configuration(format!("{what}: {error}"));
    let mut trusted = Vec::new();
    match authorities {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                trusted.push(certificate.map_err(|error| wrong("authorities", &error))?);
            }
            if trusted.is_empty() {
                return Err(RemoteError::configuration("authorities: no certificate in PEM form"));
            }
        }
        None => trusted = system_authorities(),
    }
    let builder = match insecure {
        false => trusting(trusted).map_err(|error| wrong("authorities", &error))?,
        true => ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong("protocol versions", &error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone)),
    };
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
            let chain = chain.map_err(|error| wrong("client certificate", &error))?;
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| wrong("client key", &error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| wrong("client certificate", &error))?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Those of them that can be used: one that can't must not keep the others from being believed.
fn system_authorities() -> Vec<CertificateDer<'static>> {
    let found = SYSTEM_AUTHORITIES.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default();
    let usable = |certificate: &CertificateDer<'static>| RootCertStore::empty().add(certificate.clone()).is_ok();
    CertificateDer::pem_slice_iter(&found).filter_map(Result::ok).filter(usable).collect()
}

/// Takes any certificate, for those who ask for that by name.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[async_trait]
impl Remote for Https {
    async fn send(&self, target: &Target, request: Request<Bytes>) -> Result<Response<Bytes>, RemoteError> {
        exchange(self.connect(target).await?, target, request).await
    }
}

impl Https {
    /// Opens a connection, over which HTTP/1.1 is then spoken.
    pub(crate) async fn connect(&self, target: &Target) -> Result<Box<dyn Stream>, RemoteError> {
        let (host, port) = target.address();
        let connect = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect((host.as_str(), port)));
        let refused = |error: &dyn fmt::Display| RemoteError::unreachable(format!("dial tcp {host}:{port}: {error}"));
        let stream = connect.await.map_err(|_| refused(&"i/o timeout"))?.map_err(|error| refused(&error))?;
        stream.set_nodelay(true).map_err(RemoteError::unreachable)?;
        if target.url.scheme_str() == Some("http") {
            return Ok(Box::new(stream));
        }
        let name = target.server_name.as_deref().or_else(|| target.url.host()).unwrap_or_default();
        let name = ServerName::try_from(name.trim_matches(['[', ']']).to_owned());
        let name = name.map_err(|error| RemoteError::configuration(format!("{}: {error}", target.url)))?;
        let connector = TlsConnector::from(self.config(target)?);
        let shake = tokio::time::timeout(CONNECT_LIMIT, connector.connect(name, stream));
        let stream = shake.await.map_err(|_| RemoteError::unreachable("net/http: TLS handshake timeout"))?;
        Ok(Box::new(stream.map_err(|error| RemoteError::unreachable(handshake_fault(&error)))?))
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    target: &Target,
    mut request: Request<Bytes>,
) -> Result<Response<Bytes>, RemoteError> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(RemoteError::unreachable)?;
    let authority = target.url.authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Ok(host) = HeaderValue::from_str(host) {
        request.headers_mut().insert(header::HOST, host);
    }
    let answer = async move {
        let answer = sender.send_request(request.map(Full::new)).await.map_err(RemoteError::unreachable)?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| match error.is::<http_body_util::LengthLimitError>() {
            true => RemoteError::TooLarge,
            false => RemoteError::unreachable(error),
        })?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    };
    // The connection is driven beside the exchange, and ends with it.
    let drive = async {
        let ended = connection.await;
        // A connection that ends first lets the exchange fail by itself.
        if ended.is_ok() {
            std::future::pending::<()>().await
        }
    };
    tokio::pin!(answer, drive);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        () = &mut drive => answer.await,
    }
}
