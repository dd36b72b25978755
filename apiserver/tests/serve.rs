//! Over real TLS on loopback.
#![cfg(all(feature = "serve", feature = "pki"))]

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use kubewright_apiserver::pki::{Authority, Certificate, Pki, PkiConfig, Profile};
use kubewright_apiserver::remote::{Https, Remote, RemoteError, Target};
use kubewright_apiserver::serve::{FollowedTls, Listener, Tls, TlsFiles};
use kubewright_apiserver::server::ApiServer;
use kubewright_store::MemoryStore;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

struct Cluster {
    pki: Pki,
    /// Signs front proxies.
    proxies: Authority,
    server: ApiServer,
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pki = Pki::load_or_create(directory.path(), &PkiConfig::default(), Timestamp::now()).unwrap();
        let authority = pki.authority.certificate_pem();
        let tls = Tls::new(&pki.serving.certificate, &pki.serving.key, authority).unwrap();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), tls).await.unwrap();
        let address = listener.local_address();
        let store = Arc::new(MemoryStore::new());
        let proxies = Authority::generate("front-proxy", Timestamp::now()).unwrap();
        let builder = ApiServer::builder(store).client_authorities(authority);
        let builder = builder.front_proxy(proxies.certificate_pem(), vec!["front-proxy-client".into()]);
        let server = builder.build().await.unwrap();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(listener.serve(server.clone(), shutdown.clone()));
        Self { pki, proxies, server, address, shutdown, serving, _directory: directory }
    }

    async fn stop(self) {
        self.server.drain();
        self.shutdown.cancel();
        self.serving.await.unwrap();
        self.server.shutdown().await;
    }

    async fn tls(&self, client: Option<&Certificate>, protocols: &[&[u8]]) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pki.authority.certificate_pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match client {
            None => config.with_no_client_auth(),
            Some(client) => {
                let chain = vec![CertificateDer::from_pem_slice(client.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let stream = TcpStream::connect(self.address).await.unwrap();
        TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), stream).await.unwrap()
    }

    async fn connect(&self, client: Option<&Certificate>) -> SendRequest<Full<Bytes>> {
        let stream = self.tls(client, &[b"http/1.1"]).await;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    fn admin(&self) -> Certificate {
        self.pki.authority.issue(&Profile::client("admin", &["system:masters"]), Timestamp::now()).unwrap()
    }
}

async fn get(sender: &mut SendRequest<Full<Bytes>>, uri: &str) -> Response<Incoming> {
    let request = Request::get(uri).header("host", "localhost").body(Full::default()).unwrap();
    sender.send_request(request).await.unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn who_asks_is_told_by_the_certificate() {
    let cluster = Cluster::start().await;
    let mut admin = cluster.connect(Some(&cluster.admin())).await;
    assert_eq!(get(&mut admin, "/api/v1/namespaces").await.status(), StatusCode::OK);

    let nobody = cluster.pki.authority.issue(&Profile::client("bob", &[]), Timestamp::now()).unwrap();
    let refused = get(&mut cluster.connect(Some(&nobody)).await, "/api/v1/namespaces").await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(text(refused).await.contains("User \\\"bob\\\" cannot list resource \\\"namespaces\\\""));

    // A certificate of somebody else's authority, whatever it says, is no credential.
    let stranger = Authority::generate("kubernetes", Timestamp::now()).unwrap();
    let forged = stranger.issue(&Profile::client("admin", &["system:masters"]), Timestamp::now()).unwrap();
    let refused = get(&mut cluster.connect(Some(&forged)).await, "/api/v1/namespaces").await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    // One that is too old, or made for servers, isn't either.
    let old: Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
    let expired = cluster.pki.authority.issue(&Profile::client("admin", &["system:masters"]), old).unwrap();
    for certificate in [&expired, &cluster.pki.serving] {
        let refused = get(&mut cluster.connect(Some(certificate)).await, "/api/v1/namespaces").await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    }

    let mut nameless = cluster.connect(None).await;
    assert_eq!(get(&mut nameless, "/livez").await.status(), StatusCode::OK);
    let refused = get(&mut nameless, "/api/v1/namespaces").await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(text(refused).await.contains("\"message\":\"Unauthorized\",\"reason\":\"Unauthorized\""));
    cluster.stop().await;
}

#[tokio::test]
async fn a_front_proxy_is_believed_by_its_own_certificate_only() {
    let cluster = Cluster::start().await;
    let signed =
        |authority: &Authority, name: &str| authority.issue(&Profile::client(name, &[]), Timestamp::now()).unwrap();
    for (certificate, expected) in [
        (Some(signed(&cluster.proxies, "front-proxy-client")), StatusCode::OK),
        // Another name of the same authority, the same name of another authority, nobody at all.
        (Some(signed(&cluster.proxies, "somebody")), StatusCode::UNAUTHORIZED),
        (Some(signed(&cluster.pki.authority, "front-proxy-client")), StatusCode::FORBIDDEN),
        (None, StatusCode::UNAUTHORIZED),
    ] {
        let mut sender = cluster.connect(certificate.as_ref()).await;
        let request = Request::get("/api/v1/namespaces").header("host", "localhost");
        let request = request.header("x-remote-user", "root").header("x-remote-group", "system:masters");
        let answer = sender.send_request(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), expected, "{certificate:?}");
    }
    cluster.stop().await;
}

#[tokio::test]
async fn others_are_called_over_tls_if_their_certificate_is_trusted() {
    let cluster = Cluster::start().await;
    let remote = Https::default();
    let ask = || Request::get("/livez").body(Bytes::new()).unwrap();
    let mut target = Target::new(format!("https://localhost:{}/livez", cluster.address.port()).parse().unwrap());
    target.connect = Some(("127.0.0.1".into(), cluster.address.port()));
    target.authorities = Some(cluster.pki.authority.certificate_pem().into());
    let answer = remote.send(&target, ask()).await.unwrap();
    assert_eq!((answer.status(), &answer.body()[..]), (StatusCode::OK, &b"ok"[..]));
    let mut other_name = target.clone();
    other_name.server_name = Some("elsewhere.example.com".into());
    let mut stranger = target.clone();
    stranger.authorities = Some(cluster.proxies.certificate_pem().into());
    let mut nobody = target.clone();
    nobody.connect = Some(("127.0.0.1".into(), 1));
    for wrong in [other_name, stranger, nobody] {
        assert!(matches!(remote.send(&wrong, ask()).await, Err(RemoteError::Unreachable { .. })));
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_server_whose_own_certificate_is_the_bundle_is_trusted() {
    let own = |is_authority: bool| {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        if is_authority {
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    };
    let server = ApiServer::builder(Arc::new(MemoryStore::new())).build().await.unwrap();
    for is_authority in [true, false] {
        let (certificate, key) = own(is_authority);
        let tls = Tls::new(&certificate, &key, &certificate).unwrap();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), tls).await.unwrap();
        let port = listener.local_address().port();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(listener.serve(server.clone(), shutdown.clone()));
        let ask = |bundle: &str, name: &str| {
            let mut target = Target::new(format!("https://{name}:{port}/livez").parse().unwrap());
            target.connect = Some(("127.0.0.1".into(), port));
            target.authorities = Some(bundle.into());
            async move { Https::default().send(&target, Request::get("/livez").body(Bytes::new()).unwrap()).await }
        };
        assert_eq!(ask(&certificate, "localhost").await.unwrap().status(), StatusCode::OK);
        let elsewhere = ask(&certificate, "elsewhere.test").await.unwrap_err().to_string();
        assert!(elsewhere.starts_with("tls: failed to verify certificate: x509: "), "{elsewhere}");
        let (other, _) = own(is_authority);
        assert!(ask(&other, "localhost").await.is_err(), "the same names, but another certificate");
        shutdown.cancel();
        serving.await.unwrap();
    }
    server.shutdown().await;
}

#[tokio::test]
async fn http_2_is_spoken_to_who_can() {
    let cluster = Cluster::start().await;
    let stream = cluster.tls(Some(&cluster.admin()), &[b"h2", b"http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    for path in ["/version", "/api/v1/namespaces"] {
        let uri = format!("https://localhost{path}");
        let request = Request::get(uri).body(Full::<Bytes>::default()).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), StatusCode::OK);
    }
    drop(sender);
    cluster.stop().await;
}

#[tokio::test]
async fn a_server_that_goes_down_ends_watches_and_returns() {
    let cluster = Cluster::start().await;
    let mut watcher = cluster.connect(Some(&cluster.admin())).await;
    let mut watch = get(&mut watcher, "/api/v1/namespaces?watch=1").await.into_body();
    assert!(watch.frame().await.unwrap().is_ok());
    let mut other = cluster.connect(Some(&cluster.admin())).await;
    assert_eq!(get(&mut other, "/readyz").await.status(), StatusCode::OK);
    cluster.server.drain();
    assert_eq!(get(&mut other, "/readyz").await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(get(&mut other, "/api/v1/namespaces").await.status(), StatusCode::OK);
    while let Some(frame) = watch.frame().await {
        frame.unwrap();
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_the_connection_lives() {
    let cluster = Cluster::start().await;
    let mut admin = cluster.connect(Some(&cluster.admin())).await;
    let body = Full::new(Bytes::from(vec![b' '; (3 << 20) + 1]));
    let request = Request::post("/api/v1/namespaces").header("host", "localhost").body(body).unwrap();
    let refused = admin.send_request(request).await.unwrap();
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    drop(admin);
    let mut again = cluster.connect(Some(&cluster.admin())).await;
    assert_eq!(get(&mut again, "/version").await.status(), StatusCode::OK);
    cluster.stop().await;
}

#[tokio::test]
async fn no_second_request_is_smuggled_into_the_first() {
    let cluster = Cluster::start().await;
    let smuggled = "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";
    for (what, head) in [
        ("two lengths", "POST /livez HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ncontent-length: 35\r\n\r\n"),
        ("lengths as a list", "POST /livez HTTP/1.1\r\nhost: a\r\ncontent-length: 0, 35\r\n\r\n"),
        ("a signed length", "POST /livez HTTP/1.1\r\nhost: a\r\ncontent-length: +0\r\n\r\n"),
        ("another encoding", "POST /livez HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n"),
        ("space before the colon", "GET /livez HTTP/1.1\r\nhost: a\r\ncontent-length : 35\r\n\r\n"),
        ("a folded line", "GET /livez HTTP/1.1\r\nhost: a\r\nx-a: b\r\n content-length: 35\r\n\r\n"),
        ("a null", "GET /livez HTTP/1.1\r\nhost: a\r\nx-remote-user: admin\0\r\n\r\n"),
    ] {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = cluster.tls(None, &[b"http/1.1"]).await;
        stream.write_all(format!("{head}{smuggled}").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The server hangs up without a goodbye of TLS's own, which some count as an error.
        stream.read_to_end(&mut answer).await.ok();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 400"), "{what}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{what}: {answer}");
    }
    cluster.stop().await;
}

#[tokio::test]
async fn watches_come_over_a_websocket_too() {
    use futures::StreamExt;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;

    let cluster = Cluster::start().await;
    let stream = cluster.tls(Some(&cluster.admin()), &[b"http/1.1"]).await;
    let uri = "wss://localhost/api/v1/namespaces?watch=true&fieldSelector=metadata.name%3Ddefault";
    let (mut socket, _) = tokio_tungstenite::client_async(uri.into_client_request().unwrap(), stream).await.unwrap();
    let message = socket.next().await.unwrap().unwrap();
    let event: serde_json::Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&"ADDED".into(), &"default".into()));
    cluster.stop().await;
    // It ends with the server.
    while let Some(Ok(message)) = socket.next().await {
        assert!(!message.is_text());
    }
}

#[tokio::test]
async fn certificates_and_authorities_are_replaced_without_a_restart() {
    let now = Timestamp::now();
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::generate("old", now).unwrap(), Authority::generate("new", now).unwrap());
    let serving =
        |authority: &Authority| authority.issue(&Profile::server("kube", vec!["localhost".into()]), now).unwrap();
    let files = TlsFiles {
        certificate: directory.path().join("tls.crt"),
        key: directory.path().join("tls.key"),
        client_authorities: directory.path().join("ca.crt"),
    };
    let write = |certificate: &Certificate, authority: &Authority| {
        std::fs::write(&files.certificate, &certificate.certificate).unwrap();
        std::fs::write(&files.key, &certificate.key).unwrap();
        std::fs::write(&files.client_authorities, authority.certificate_pem()).unwrap();
    };
    write(&serving(&old), &old);
    let followed = FollowedTls::open(files.clone()).await.unwrap();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), followed.tls()).await.unwrap();
    let address = listener.local_address();
    let builder = ApiServer::builder(Arc::new(MemoryStore::new())).client_authorities_file(&files.client_authorities);
    let server = builder.build().await.unwrap();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(listener.serve(server.clone(), shutdown.clone()));
    let connect = |trusted: &Authority, client: &Authority| {
        let client = client.issue(&Profile::client("admin", &["system:masters"]), now).unwrap();
        let mut target = Target::new(format!("https://localhost:{}/", address.port()).parse().unwrap());
        target.connect = Some(("127.0.0.1".into(), address.port()));
        target.authorities = Some(trusted.certificate_pem().into());
        target.identity = Some((client.certificate.as_str().into(), client.key.as_str().into()));
        let request = Request::get("/api/v1/namespaces").body(Bytes::new()).unwrap();
        async move { Https::default().send(&target, request).await.map(|answer| answer.status().as_u16()) }
    };
    assert_eq!(connect(&old, &old).await.unwrap(), 200);
    assert!(connect(&new, &old).await.is_err());

    // A key that is not the certificate's yet: the files are being written.
    let next = serving(&new);
    std::fs::write(&files.certificate, &next.certificate).unwrap();
    assert!(followed.reload().await.is_err());
    assert_eq!(connect(&old, &old).await.unwrap(), 200);
    write(&next, &new);
    assert!(followed.reload().await.unwrap());
    assert!(!followed.reload().await.unwrap());
    assert!(connect(&old, &new).await.is_err());
    let until = async {
        while connect(&new, &new).await.unwrap() != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), until).await.expect("the authorities are followed");
    // Whom the old authority signed is nobody any more.
    assert_eq!(connect(&new, &old).await.unwrap(), 401);
    server.drain();
    shutdown.cancel();
    running.await.unwrap();
    server.shutdown().await;
}
