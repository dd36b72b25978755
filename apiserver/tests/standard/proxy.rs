//! Whom the API server connects to for `pods/proxy` and `services/proxy`.

use std::sync::Arc;

use http::Method;
use kubewright_apiserver::request::User;
use kubewright_apiserver::server::{ApiServer, Builder};
use kubewright_store::MemoryStore;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::common::{get, json, send};

const NAMESPACE: &str = "/api/v1/namespaces/default";

/// A server that answers every connection with `hello`, at that port of loopback.
async fn listening() -> u16 {
    answering("hello").await
}

async fn answering(text: &'static str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", text.len());
            let _ = stream.write_all(format!("{head}{text}").as_bytes()).await;
        }
    });
    port
}

/// A server with the pod `web` at 127.0.0.1 and the service `web`.
async fn cluster(build: impl FnOnce(Builder) -> Builder) -> ApiServer {
    let builder = ApiServer::builder(Arc::new(MemoryStore::new())).without_admission("ServiceAccount");
    let server = build(builder).build().await.expect("a server").as_user(User::admin());
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    assert_eq!(json(&server, Method::POST, &format!("{NAMESPACE}/pods"), &pod).await.code, 201);
    let status = json!({"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}}).to_string();
    let uri = format!("{NAMESPACE}/pods/web/status");
    assert_eq!(send(&server, Method::PATCH, &uri, "application/merge-patch+json", status).await.code, 200);
    let service = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}});
    assert_eq!(json(&server, Method::POST, &format!("{NAMESPACE}/services"), &service).await.code, 201);
    server
}

/// Makes the slice of the service anew, with this one endpoint.
async fn endpoint(server: &ApiServer, port: u16, endpoint: Value) {
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    send(server, Method::DELETE, &format!("{slices}/web"), "", "").await;
    let slice = json!({"metadata": {"name": "web", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"name": "", "port": port}], "endpoints": [endpoint]});
    let made = json(server, Method::POST, slices, &slice).await;
    assert_eq!(made.code, 201, "{:?}", made.fault());
}

#[tokio::test]
async fn services_lead_to_their_pods_whatever_the_slices_say() {
    let (server, port) = (cluster(Builder::loopback_pods).await, listening().await);
    let pod = |namespace: &str, name: &str| json!({"kind": "Pod", "namespace": namespace, "name": name});
    let uri = format!("{NAMESPACE}/services/web/proxy/");
    endpoint(&server, port, json!({"addresses": ["127.0.0.1"], "targetRef": pod("default", "web")})).await;
    let answer = get(&server, &uri).await;
    assert_eq!((answer.code.as_u16(), &answer.bytes[..]), (200, &b"hello"[..]));
    for wrong in [
        json!({"addresses": ["127.0.0.1"]}),
        json!({"addresses": ["127.0.0.1"], "targetRef": pod("other", "web")}),
        json!({"addresses": ["127.0.0.1"], "targetRef": pod("default", "other")}),
        json!({"addresses": ["127.0.0.2"], "targetRef": pod("default", "web")}),
    ] {
        endpoint(&server, port, wrong.clone()).await;
        let (code, _, message) = get(&server, &uri).await.fault();
        assert_eq!((code, &*message), (503, "no endpoints available for service \"web\""), "{wrong}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn pods_at_loopback_are_reached_only_where_that_was_said() {
    let port = listening().await;
    let uri = format!("{NAMESPACE}/pods/web:{port}/proxy/");
    let server = cluster(|builder| builder).await;
    assert_eq!(get(&server, &uri).await.fault().0, 400);
    server.shutdown().await;
    let server = cluster(Builder::loopback_pods).await;
    assert_eq!(&get(&server, &uri).await.bytes[..], b"hello");
    server.shutdown().await;
}

/// Says where the node `n` is.
async fn node(server: &ApiServer, address: &str, kubelet: u16) {
    let node = json!({"metadata": {"name": "n"}});
    assert_eq!(json(server, Method::POST, "/api/v1/nodes", &node).await.code, 201);
    let addresses = json!([{"type": "InternalIP", "address": address}]);
    let status = json!({"status": {"addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet}}}});
    let patch = ("/api/v1/nodes/n/status", "application/merge-patch+json", status.to_string());
    assert_eq!(send(server, Method::PATCH, patch.0, patch.1, patch.2).await.code, 200);
}

#[tokio::test]
async fn a_port_of_a_node_is_that_port_and_not_the_kubelets() {
    let port = listening().await;
    let server = cluster(Builder::loopback_pods).await;
    node(&server, "127.0.0.1", 10_250).await;
    let answer = get(&server, &format!("/api/v1/nodes/n:{port}/proxy/x")).await;
    assert_eq!((answer.code.as_u16(), &answer.bytes[..]), (200, &b"hello"[..]));
    // Nobody gave this server a way to kubelets, which is what these mean.
    for kubelet in ["n", "n:10250", "https:n:10250"] {
        assert_eq!(get(&server, &format!("/api/v1/nodes/{kubelet}/proxy/")).await.fault().0, 503, "{kubelet}");
    }
    for wrong in ["n:http", "n:0", "ftp:n:80", "a:n:80:1", ":80"] {
        let (code, _, message) = get(&server, &format!("/api/v1/nodes/{wrong}/proxy/")).await.fault();
        assert_eq!((code, message), (400, format!("invalid node request {wrong:?}")));
    }
    server.shutdown().await;
    // Whoever may write the status of a node must not reach what listens on the server's own host, nor its cloud.
    for address in ["127.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "localhost"] {
        let server = cluster(|builder| builder).await;
        node(&server, address, 10_250).await;
        let (code, _, message) = get(&server, &format!("/api/v1/nodes/n:{port}/proxy/")).await.fault();
        assert_eq!((code, message.as_str()), (400, "address not allowed"), "{address}");
        server.shutdown().await;
    }
}

#[tokio::test]
async fn requests_to_a_service_are_spread_over_its_endpoints() {
    let (server, one, other) = (cluster(Builder::loopback_pods).await, answering("one").await, answering("two").await);
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    for (name, port) in [("web-a", one), ("web-b", other)] {
        let pod = json!({"kind": "Pod", "namespace": "default", "name": "web"});
        let slice = json!({"metadata": {"name": name, "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"name": "", "port": port}],
            "endpoints": [{"addresses": ["127.0.0.1"], "targetRef": pod}]});
        assert_eq!(json(&server, Method::POST, slices, &slice).await.code, 201);
    }
    let mut answers = Vec::new();
    for _ in 0..4 {
        let answer = get(&server, &format!("{NAMESPACE}/services/web:80/proxy/")).await;
        answers.push(String::from_utf8(answer.bytes.to_vec()).unwrap());
    }
    answers.sort_unstable();
    assert_eq!(answers, ["one", "one", "two", "two"]);
    let (code, _, message) = get(&server, &format!("{NAMESPACE}/services/web:81/proxy/")).await.fault();
    assert_eq!((code, message.as_str()), (503, "no service port 81 found for service \"web\""));
    server.shutdown().await;
}

#[tokio::test]
async fn what_is_passed_on_ends_with_the_server() {
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let ended = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n").await.unwrap();
        // It never says more, and sees the connection end.
        stream.read(&mut head).await
    });
    let server = cluster(Builder::loopback_pods).await;
    let request = http::Request::get(format!("{NAMESPACE}/pods/web:{port}/proxy/"));
    let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    let mut body = server.clone().oneshot(request).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "x");
    server.shutdown().await;
    assert!(matches!(ended.await.unwrap(), Ok(0) | Err(_)), "the connection has ended");
    assert!(body.frame().await.is_none_or(|frame| frame.is_err()), "and with it the answer");
}

/// As [`listening`], over TLS with a certificate that nobody has reason to believe.
#[cfg(feature = "pki")]
async fn listening_with_tls() -> u16 {
    use kubewright_apiserver::pki::{Authority, Profile};
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};

    let now = jiff::Timestamp::now();
    let authority = Authority::generate("nobody", now).unwrap();
    let issued = authority.issue(&Profile::server("pod", vec!["pod".into()]), now).unwrap();
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 6\r\n\r\nsecret").await;
        }
    });
    port
}

#[cfg(feature = "pki")]
#[tokio::test]
async fn who_asks_for_https_gets_it() {
    let (server, port) = (cluster(Builder::loopback_pods).await, listening_with_tls().await);
    node(&server, "127.0.0.1", 10_250).await;
    let pod = json!({"kind": "Pod", "namespace": "default", "name": "web"});
    endpoint(&server, port, json!({"addresses": ["127.0.0.1"], "targetRef": pod})).await;
    for uri in [
        format!("{NAMESPACE}/pods/https:web:{port}/proxy/"),
        format!("{NAMESPACE}/services/https:web:80/proxy/"),
        format!("{NAMESPACE}/services/https:web:/proxy/"),
        format!("/api/v1/nodes/https:n:{port}/proxy/"),
    ] {
        let answer = get(&server, &uri).await;
        assert_eq!((answer.code.as_u16(), &answer.bytes[..]), (200, &b"secret"[..]), "{uri}");
    }
    assert_ne!(get(&server, &format!("{NAMESPACE}/pods/http:web:{port}/proxy/")).await.code, 200);
    server.shutdown().await;
}
