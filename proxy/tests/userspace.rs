//! The userspace data plane with real sockets on loopback.
#![cfg(feature = "userspace")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use kubewright_proxy::rules::{Backends, Frontend, Protocol, RuleTable};
use kubewright_proxy::userspace::UserspaceNetwork;
use kubewright_proxy::{Applied, ServiceNetwork};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);

/// An endpoint that sends its name and then echoes.
async fn tcp_endpoint(name: &'static str) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(name.as_bytes()).await.unwrap();
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.ok();
            });
        }
    });
    (address, task)
}

async fn udp_endpoint(name: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 100];
        while let Ok((_, from)) = socket.recv_from(&mut buffer).await {
            socket.send_to(name.as_bytes(), from).await.unwrap();
        }
    });
    address
}

/// A frontend on a port that was free a moment ago.
fn frontend(protocol: Protocol) -> Frontend {
    let port = match protocol {
        Protocol::Udp => std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(),
        _ => std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(),
    };
    Frontend { address: Ipv4Addr::LOCALHOST.into(), port, protocol }
}

fn table(frontend: Frontend, endpoints: &[SocketAddr], affinity_seconds: Option<u32>) -> RuleTable {
    let mut backends = Backends::default();
    backends.service = "ns/svc".into();
    backends.endpoints = endpoints.to_vec();
    backends.affinity_seconds = affinity_seconds;
    RuleTable { frontends: [(frontend, backends)].into() }
}

async fn connect(frontend: Frontend) -> std::io::Result<TcpStream> {
    TcpStream::connect((frontend.address, frontend.port)).await
}

async fn greeting(frontend: Frontend) -> String {
    let mut stream = connect(frontend).await.unwrap();
    let mut name = [0; 1];
    timeout(LIMIT, stream.read_exact(&mut name)).await.unwrap().unwrap();
    String::from_utf8_lossy(&name).into_owned()
}

async fn apply(network: &UserspaceNetwork, table: &RuleTable) -> Applied {
    network.apply(table).await.unwrap()
}

#[tokio::test]
async fn connections_are_spread_over_the_endpoints_and_bytes_go_both_ways() {
    let ((a, _), (b, _)) = (tcp_endpoint("a").await, tcp_endpoint("b").await);
    let network = UserspaceNetwork::default();
    let front = frontend(Protocol::Tcp);
    assert_eq!(apply(&network, &table(front, &[a, b], None)).await.changed, 1);
    assert_eq!(apply(&network, &table(front, &[a, b], None)).await.changed, 0);
    let mut seen = BTreeSet::new();
    while seen.len() < 2 {
        seen.insert(greeting(front).await);
    }
    let mut stream = connect(front).await.unwrap();
    stream.read_exact(&mut [0; 1]).await.unwrap();
    let sent = vec![7; 1_000_000];
    let (mut read, mut write) = stream.split();
    let mut received = Vec::new();
    let send = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let (_, read) = timeout(LIMIT, async { tokio::join!(send, read.read_to_end(&mut received)) }).await.unwrap();
    read.unwrap();
    assert!(received == sent, "the echo differs");
    network.clear().await.unwrap();
    assert!(connect(front).await.is_err(), "nothing listens after clear");
}

#[tokio::test]
async fn a_dead_endpoint_is_passed_over() {
    let (alive, _) = tcp_endpoint("a").await;
    let dead = frontend(Protocol::Tcp);
    let network = UserspaceNetwork::default();
    let front = frontend(Protocol::Tcp);
    apply(&network, &table(front, &[(dead.address, dead.port).into(), alive], None)).await;
    for _ in 0..8 {
        assert_eq!(greeting(front).await, "a");
    }
    network.clear().await.unwrap();
}

#[tokio::test]
async fn affinity_keeps_a_client_with_its_endpoint() {
    let ((a, _), (b, _)) = (tcp_endpoint("a").await, tcp_endpoint("b").await);
    let network = UserspaceNetwork::default();
    let front = frontend(Protocol::Tcp);
    apply(&network, &table(front, &[a, b], Some(60))).await;
    let first = greeting(front).await;
    for _ in 0..16 {
        assert_eq!(greeting(front).await, first);
    }
    network.clear().await.unwrap();
}

#[tokio::test]
async fn open_connections_outlive_their_frontend_until_clear() {
    let (a, _) = tcp_endpoint("a").await;
    let network = UserspaceNetwork::default();
    let front = frontend(Protocol::Tcp);
    apply(&network, &table(front, &[a], None)).await;
    let mut stream = connect(front).await.unwrap();
    stream.read_exact(&mut [0; 1]).await.unwrap();
    apply(&network, &RuleTable::default()).await;
    assert!(connect(front).await.is_err(), "a frontend that is gone refuses");
    stream.write_all(b"x").await.unwrap();
    let mut echo = [0; 1];
    timeout(LIMIT, stream.read_exact(&mut echo)).await.unwrap().unwrap();
    assert_eq!(&echo, b"x");
    network.clear().await.unwrap();
    assert_eq!(timeout(LIMIT, stream.read(&mut echo)).await.unwrap().unwrap_or(0), 0, "clear ends connections");
}

#[tokio::test]
async fn without_endpoints_the_kernel_refuses() {
    let (a, _) = tcp_endpoint("a").await;
    let network = UserspaceNetwork::default();
    let front = frontend(Protocol::Tcp);
    apply(&network, &table(front, &[a], None)).await;
    apply(&network, &table(front, &[], None)).await;
    assert!(connect(front).await.is_err());
    apply(&network, &table(front, &[a], None)).await;
    assert_eq!(greeting(front).await, "a");
    network.clear().await.unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_refused_by_name_and_taken_once_it_is_free() {
    let (a, _) = tcp_endpoint("a").await;
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = other.local_addr().unwrap().port();
    let front = Frontend { address: Ipv4Addr::LOCALHOST.into(), port, protocol: Protocol::Tcp };
    let network = UserspaceNetwork::default();
    let refused = apply(&network, &table(front, &[a], None)).await.refused;
    assert_eq!(refused[0].frontend, front);
    assert!(refused[0].reason.contains("another program listens there"), "{}", refused[0].reason);
    drop(other);
    assert!(apply(&network, &table(front, &[a], None)).await.refused.is_empty());
    assert_eq!(greeting(front).await, "a");
    network.clear().await.unwrap();
}

#[tokio::test]
async fn datagrams_find_their_way_back_and_move_on_when_their_endpoint_goes() {
    let (a, b) = (udp_endpoint("a").await, udp_endpoint("b").await);
    let network = UserspaceNetwork::default();
    let front = frontend(Protocol::Udp);
    apply(&network, &table(front, &[a], None)).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect((front.address, front.port)).await.unwrap();
    let ask = async || {
        let mut buffer = [0; 10];
        client.send(b"?").await.unwrap();
        let length = timeout(LIMIT, client.recv(&mut buffer)).await.unwrap().unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(ask().await, "a");
    apply(&network, &table(front, &[b], None)).await;
    assert_eq!(ask().await, "b");
    network.clear().await.unwrap();
    assert!(std::net::UdpSocket::bind((front.address, front.port)).is_ok(), "the port is free after clear");
}
