use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use kubewright_runtime_shim::sim::{SimConfig, SimRuntime};

use super::*;

fn container() -> Container {
    serde_json::from_value(json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]})).unwrap()
}

fn of(probe: serde_json::Value) -> Result<Check, String> {
    let probe: Probe = serde_json::from_value(probe).unwrap();
    Check::of_probe(&probe, &container(), &"id".into(), Some("10.0.0.1".parse().unwrap()))
}

#[test]
fn probes_name_their_target() {
    let http = of(json!({"httpGet": {"port": "web", "path": "healthz?full=1"}})).unwrap();
    let expected = Check::Http {
        scheme: "http",
        host: "10.0.0.1".into(),
        port: 8080,
        path: "/healthz?full=1".into(),
        headers: vec![],
    };
    assert_eq!(http, expected);
    let tcp = of(json!({"tcpSocket": {"port": 1, "host": "example.com"}})).unwrap();
    assert_eq!(tcp, Check::Tcp { host: "example.com".into(), port: 1 });
    assert!(of(json!({"tcpSocket": {"port": "none"}})).unwrap_err().contains("couldn't find port"));
    assert!(of(json!({"tcpSocket": {"port": 70000}})).is_err());
    assert_eq!(of(json!({})).unwrap_err(), "missing probe handler");
}

/// A server that answers every connection with these bytes, in turn.
async fn serve(answers: Vec<String>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(String::from_utf8_lossy(&request[..read]).contains("user-agent: kube-probe/"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    port
}

fn prober() -> NodeProber {
    NodeProber::new(Arc::new(SimRuntime::new(SimConfig::default())))
}

async fn http(answers: &[&str]) -> Outcome {
    let answers = answers.iter().map(|a| format!("HTTP/1.1 {a}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
    let port = serve(answers.collect()).await;
    let check = Check::Http { scheme: "http", host: "127.0.0.1".into(), port, path: "/".into(), headers: vec![] };
    prober().check(&check, Duration::from_secs(5)).await
}

#[tokio::test]
async fn http_answers_from_200_to_399_are_well() {
    assert_eq!(http(&["200 OK"]).await, Outcome::Success);
    assert_eq!(http(&["304 Not Modified"]).await, Outcome::Success);
    let failure = Outcome::Failure("HTTP probe failed with statuscode: 503".into());
    assert_eq!(http(&["503 Service Unavailable"]).await, failure);
    assert_eq!(http(&["302 Found\r\nlocation: /other", "503 No"]).await, failure, "redirects are followed");
    assert_eq!(http(&["302 Found\r\nlocation: http://elsewhere/"]).await, Outcome::Success);
}

#[tokio::test]
async fn nobody_there_is_a_failure() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let tcp = Check::Tcp { host: "127.0.0.1".into(), port };
    let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
    assert_eq!(prober().check(&tcp, Duration::from_secs(5)).await, Outcome::Failure(refused.clone()));
    let get = Check::Http { scheme: "http", host: "127.0.0.1".into(), port, path: "/x".into(), headers: vec![] };
    let expected = format!("Get \"http://127.0.0.1:{port}/x\": {refused}");
    assert_eq!(prober().check(&get, Duration::from_secs(5)).await, Outcome::Failure(expected));
    let grpc = Check::Grpc { host: "127.0.0.1".into(), port, service: String::new() };
    assert!(matches!(prober().check(&grpc, Duration::from_secs(5)).await, Outcome::Failure(_)));
}

#[tokio::test]
async fn whoever_listens_is_well_for_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let check = Check::Tcp { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
    assert_eq!(prober().check(&check, Duration::from_secs(5)).await, Outcome::Success);
}
