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
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello").await;
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
