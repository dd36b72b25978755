//! A server on a port of loopback, and raw connections to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use kubewright_apiserver::pki::{Pki, PkiConfig, Profile};
use kubewright_apiserver::request::User;
use kubewright_apiserver::serve::{Limits, Listener, Tls};
use kubewright_apiserver::server::{ApiServer, Builder};
use kubewright_store::MemoryStore;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// How long anything that must happen may take on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Served {
    pub(crate) server: ApiServer,
    pub(crate) address: SocketAddr,
    /// Someone well-behaved, and someone who isn't, over HTTP/1.1 and HTTP/2.
    alice: Arc<ClientConfig>,
    eve: [Arc<ClientConfig>; 2],
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Served {
    pub(crate) async fn start(limits: impl FnOnce(&mut Limits)) -> Self {
        Self::start_with(limits, |builder| builder).await
    }

    pub(crate) async fn start_with(limits: impl FnOnce(&mut Limits), build: impl FnOnce(Builder) -> Builder) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pki = Pki::load_or_create(directory.path(), &PkiConfig::default(), Timestamp::now()).unwrap();
        let authority = pki.authority.certificate_pem();
        let tls = Tls::new(&pki.serving.certificate, &pki.serving.key, authority).unwrap();
        let mut held_to = Limits::default();
        limits(&mut held_to);
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), tls).await.unwrap().limits(held_to);
        let address = listener.local_address();
        let builder = ApiServer::builder(Arc::new(MemoryStore::new())).client_authorities(authority);
        let server = build(builder).build().await.unwrap();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(listener.serve(server.clone(), shutdown.clone()));
        // Both may do everything, and neither is above the limits that API priority and fairness sets.
        let binding = r#"{"metadata":{"name":"all"},
            "roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},
            "subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"alice"},
                {"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"eve"}]}"#;
        let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        let request = Request::post(path).body(Full::new(Bytes::from(binding))).unwrap();
        let bound = server.as_user(User::admin()).oneshot(request).await.unwrap();
        assert_eq!(bound.status(), StatusCode::CREATED);
        let alice = Arc::new(client(&pki, "alice", b"http/1.1"));
        let eve = [&b"http/1.1"[..], b"h2"].map(|protocol| Arc::new(client(&pki, "eve", protocol)));
        Self { server, address, alice, eve, shutdown, serving }
    }

    /// Shows that the server is still well, and stops it.
    pub(crate) async fn stop(self) {
        self.is_well().await;
        self.server.drain();
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.serving).await.expect("it stops").unwrap();
        self.server.shutdown().await;
    }

    pub(crate) async fn http1(&self) -> TlsStream<TcpStream> {
        self.connect(Arc::clone(&self.eve[0])).await
    }

    pub(crate) async fn http2(&self) -> TlsStream<TcpStream> {
        self.connect(Arc::clone(&self.eve[1])).await
    }

    async fn connect(&self, config: Arc<ClientConfig>) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let connector = TlsConnector::from(config);
        connector.connect("localhost".try_into().unwrap(), stream).await.unwrap()
    }

    /// A well-behaved client.
    pub(crate) async fn client(&self) -> SendRequest<Full<Bytes>> {
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(self.connect(Arc::clone(&self.alice)).await))
                .await
                .unwrap();
        tokio::spawn(connection);
        sender
    }

    /// A new client is served, and what it writes is there.
    pub(crate) async fn is_well(&self) {
        let work = async {
            let mut client = self.client().await;
            let name = format!("w{:x}", rand_u64());
            let body = format!(r#"{{"metadata":{{"name":"{name}"}}}}"#);
            let made = ask(&mut client, "POST", "/api/v1/namespaces", body.into()).await;
            assert_eq!(made.0, StatusCode::CREATED);
            assert_eq!(
                ask(&mut client, "GET", &format!("/api/v1/namespaces/{name}"), Bytes::new()).await.0,
                StatusCode::OK
            );
        };
        tokio::time::timeout(PATIENCE, work).await.expect("others are served");
    }
}

/// Something that no other client has.
fn rand_u64() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

fn client(pki: &Pki, user: &str, protocol: &[u8]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pki.authority.certificate_pem().as_bytes()).unwrap()).unwrap();
    let user = pki.authority.issue(&Profile::client(user, &[]), Timestamp::now()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(user.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(user.key.as_bytes()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    config
}

/// Sends a request, and gives code and body of the answer.
pub(crate) async fn ask(
    client: &mut SendRequest<Full<Bytes>>,
    method: &str,
    uri: &str,
    body: Bytes,
) -> (StatusCode, String) {
    let request = Request::builder().method(method).uri(uri).header("host", "localhost").body(Full::new(body)).unwrap();
    client.ready().await.unwrap();
    let answer = client.send_request(request).await.unwrap();
    let code = answer.status();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (code, String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads until the server closes the connection, and gives what came.
pub(crate) async fn until_closed(stream: &mut TlsStream<TcpStream>) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let read = async {
        // However it ends: orderly, or cut off.
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            all.extend_from_slice(&buffer[..read]);
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the server closes the connection");
    all
}

/// Writes as long as the server takes it.
pub(crate) async fn pour(stream: &mut TlsStream<TcpStream>, piece: &[u8], times: usize) {
    for _ in 0..times {
        if stream.write_all(piece).await.is_err() {
            return;
        }
    }
    let _ = stream.flush().await;
}
