//! The face of etcd and the network between replicas over TLS: who has no certificate is not let in.
#![cfg(all(feature = "etcd", feature = "face"))]

#[cfg(feature = "network")]
#[path = "mutual_tls/replicas.rs"]
mod replicas;

use std::sync::Arc;
use std::time::Duration;

use kubewright_store::{EtcdConfig, EtcdStore, EtcdTls, Face, FaceConfig, MemoryStore, StoreExt};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    fn issue(&self, host: &str) -> (rcgen::Certificate, KeyPair) {
        self.issue_to("somebody", host)
    }

    fn issue_to(&self, name: &str, host: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.0).expect("a certificate"), key)
    }
}

fn server_config(authority: &Authority) -> Arc<rustls::ServerConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(authority.0.der().to_vec())).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let (certificate, key) = authority.issue("localhost");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_client_cert_verifier(verifier.expect("a verifier"));
    Arc::new(config.with_single_cert(vec![certificate.der().clone()], key).expect("a certificate"))
}

#[tokio::test]
async fn only_who_has_a_certificate_is_let_in() {
    for threads in [0, 2] {
        let mut config = FaceConfig::default();
        config.threads = threads;
        check_who_is_let_in(config).await;
    }
}

async fn check_who_is_let_in(config: FaceConfig) {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (face, cancelled) = (Face::new(Arc::new(MemoryStore::new()), config), CancellationToken::new());
    let server = tokio::spawn({
        let (tls, cancelled) = (server_config(&authority), cancelled.clone());
        async move { face.serve(listener, Some(tls), cancelled).await }
    });
    let connect = |tls: EtcdTls| {
        let mut config = EtcdConfig::new([format!("https://localhost:{port}")]).tls(tls);
        config.request_timeout = Duration::from_secs(20);
        EtcdStore::connect(config).expect("a configuration that makes sense")
    };
    let known = |authority: &Authority, by: &Authority| {
        let (certificate, key) = by.issue("client");
        EtcdTls::new(authority.0.pem()).identity(certificate.pem(), key.serialize_pem())
    };
    let friend = connect(known(&authority, &authority));
    friend.put("a", "1").await.expect("let in");
    assert!(connect(EtcdTls::new(authority.0.pem())).read("a").await.is_err(), "without a certificate");
    assert!(connect(known(&authority, &stranger)).read("a").await.is_err(), "with a stranger's certificate");
    assert!(connect(known(&stranger, &authority)).read("a").await.is_err(), "of a server that it does not know");
    assert_eq!(friend.read("a").await.expect("still let in").expect("there").value, "1");
    cancelled.cancel();
    server.await.expect("the server ends");
}
