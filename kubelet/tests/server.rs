//! The kubelet's HTTPS server: who may call, logs, and commands over WebSocket.
#![cfg(feature = "server")]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::Node;
use futures::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use kubewright_kubelet::server::{Authorization, ServerConfig};
use kubewright_runtime_shim::SandboxId;
use kubewright_runtime_shim::sim::SimConfig;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca() -> Ca {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Takes any server: whom it talks to is not what is tested here.
#[derive(Debug)]
struct Anyone;

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

struct Caller {
    port: u16,
    tls: Arc<rustls::ClientConfig>,
}

impl Caller {
    /// Somebody with a certificate of that CA in that name, or without one.
    fn new(node: &Node, identity: Option<(&Ca, &str)>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone));
        let tls = match identity {
            None => builder.with_no_client_auth(),
            Some((ca, name)) => {
                let mut params = CertificateParams::new(vec![]).unwrap();
                params.distinguished_name.push(DnType::CommonName, name);
                let key = KeyPair::generate().unwrap();
                let certificate = params.signed_by(&key, ca).unwrap();
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
        };
        Self { port: node.kubelet.as_ref().unwrap().port(), tls: Arc::new(tls) }
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(self.tls.clone());
        connector.connect(ServerName::try_from("n1").unwrap(), stream).await.unwrap()
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.get_while(path, || {}).await
    }

    /// Does something as soon as the answer has begun.
    async fn get_while(&self, path: &str, begun: impl FnOnce()) -> (u16, String) {
        let io = TokioIo::new(self.connect().await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::get(path).header("host", "n1").body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        begun();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        drop(sender);
        connection.await.unwrap().unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn socket(&self, path: &str, protocol: &str) -> Result<WebSocketStream<TlsStream<TcpStream>>, SocketError> {
        let mut request = format!("wss://n1:{}{path}", self.port).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
        let (socket, response) = tokio_tungstenite::client_async(request, self.connect().await).await?;
        assert_eq!(response.headers()["sec-websocket-protocol"], protocol);
        Ok(socket)
    }
}

async fn node(ca: &Ca) -> Node {
    // Port 7 echoes, and nothing else listens.
    let echo = |_: &SandboxId, port: u16| {
        let (ours, theirs) = tokio::io::duplex(1024);
        tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(ours);
            _ = tokio::io::copy(&mut reader, &mut writer).await;
            _ = writer.shutdown().await;
        });
        (port == 7).then(|| Box::pin(theirs) as _)
    };
    let mut sim = SimConfig::default();
    sim.ports = Some(Arc::new(echo));
    let mut node = Node::prepare(sim);
    let mut config = node.config();
    let mut server = ServerConfig::new("127.0.0.1:0".parse().unwrap(), ca.pem());
    server.authorization = Authorization::names(["apiserver"]);
    config.server = Some(server);
    node.begin_with(config).await;
    node.pod(
        "p",
        json!({"containers": [{"name": "c", "image": "web:1",
        "command": ["sh", "-c", "echo one; echo two; echo three; cat"], "stdin": true}]}),
    );
    node.until("ready", |node| node.ready("p")).await;
    node
}

/// Everything that comes on each stream until the server says goodbye.
async fn drain(socket: &mut WebSocketStream<TlsStream<TcpStream>>) -> [Vec<u8>; 5] {
    let mut streams: [Vec<u8>; 5] = Default::default();
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Binary(data) = message {
            streams[usize::from(data[0])].extend_from_slice(&data[1..]);
        }
    }
    streams
}

#[tokio::test]
async fn only_those_who_may_get_an_answer() {
    let (ca, other) = (ca(), ca());
    let mut node = node(&ca).await;
    assert_eq!(Caller::new(&node, None).get("/healthz").await, (401, "Unauthorized".into()));
    let (status, message) = Caller::new(&node, Some((&ca, "mallory"))).get("/pods").await;
    assert_eq!(status, 403);
    assert!(message.starts_with("Forbidden (user=mallory, verb=get, resource=nodes"), "{message}");
    let stranger = Caller::new(&node, Some((&other, "apiserver")));
    let io = TokioIo::new(stranger.connect().await);
    let handshake = hyper::client::conn::http1::handshake::<_, Empty<Bytes>>(io).await;
    let (mut sender, connection) = handshake.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("/healthz").body(Empty::new()).unwrap();
    assert!(sender.send_request(request).await.is_err(), "a certificate of another CA");

    let caller = Caller::new(&node, Some((&ca, "apiserver")));
    assert_eq!(caller.get("/healthz").await, (200, "ok".into()));
    let (status, pods) = caller.get("/pods").await;
    assert_eq!((status, pods.contains("\"p\"")), (200, true));
    let summary: Value = serde_json::from_str(&caller.get("/stats/summary").await.1).unwrap();
    assert_eq!(summary["node"]["nodeName"], "n1");
    assert_eq!(summary["pods"][0]["podRef"]["name"], "p");
    assert!(caller.get("/metrics/resource").await.1.contains("node_cpu_usage_seconds_total "));
    assert_eq!(caller.get("/no/such/path").await.0, 404);
    node.stop().await;
}

#[tokio::test]
async fn logs_are_served() {
    let ca = ca();
    let mut node = node(&ca).await;
    let caller = Caller::new(&node, Some((&ca, "apiserver")));
    // The simulated program has written them by the time it is looked at.
    assert_eq!(caller.get("/containerLogs/default/p/c").await, (200, "one\ntwo\nthree\n".into()));
    assert_eq!(caller.get("/containerLogs/default/p/c?tailLines=1").await.1, "three\n");
    assert_eq!(caller.get("/containerLogs/default/p/c?limitBytes=5").await.1, "one\nt");
    let (_, stamped) = caller.get("/containerLogs/default/p/c?timestamps=true&tailLines=1").await;
    assert!(stamped.ends_with("Z three\n"), "{stamped}");
    assert_eq!(caller.get("/containerLogs/default/p/none").await.0, 404);
    assert_eq!(caller.get("/containerLogs/default/none/c").await.0, 404);
    let (status, message) = caller.get("/containerLogs/default/p/c?previous=true").await;
    assert_eq!((status, message.as_str()), (400, "previous terminated container \"c\" in pod \"p\" not found"));
    // Followed, a log ends with its container.
    let delete = || node.api.delete("pods", "default", "p", Some(1));
    let (_, followed) = caller.get_while("/containerLogs/default/p/c?follow=true", delete).await;
    assert_eq!(followed, "one\ntwo\nthree\n");
    node.stop().await;
}

#[tokio::test]
async fn commands_run_over_websocket() {
    let ca = ca();
    let mut node = node(&ca).await;
    let caller = Caller::new(&node, Some((&ca, "apiserver")));
    for protocol in ["v5.channel.k8s.io", "v4.channel.k8s.io"] {
        let path = "/exec/default/p/c?output=1&error=1&command=sh&command=-c&command=echo%20hi%3B+exit+3";
        let [_, stdout, _, error, _] = drain(&mut caller.socket(path, protocol).await.unwrap()).await;
        assert_eq!(stdout, b"hi\n", "{protocol}");
        let status: Value = serde_json::from_slice(&error).unwrap();
        assert_eq!((&status["status"], &status["reason"]), (&json!("Failure"), &json!("NonZeroExitCode")));
        assert_eq!(status["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
    }
    // Input goes in, comes out, and can be ended alone.
    let mut socket =
        caller.socket("/exec/default/p/c?input=1&output=1&command=cat", "v5.channel.k8s.io").await.unwrap();
    socket.send(Message::binary(b"\0hello ".to_vec())).await.unwrap();
    socket.send(Message::binary(b"\0world".to_vec())).await.unwrap();
    socket.send(Message::binary(vec![255, 0])).await.unwrap();
    let [_, stdout, _, error, _] = drain(&mut socket).await;
    assert_eq!(stdout, b"hello world");
    assert_eq!(serde_json::from_slice::<Value>(&error).unwrap()["status"], "Success");

    let refused = caller.socket("/exec/default/p/c?output=1&command=true", "SPDY/3.1+x").await.unwrap_err();
    assert!(matches!(refused, SocketError::Http(response) if response.status() == 403));
    assert_eq!(caller.get("/exec/default/p/c?output=1&command=true").await.0, 400);
    assert_eq!(caller.get("/exec/default/p/none?output=1&command=true").await.0, 404);
    node.stop().await;
}

#[tokio::test]
async fn one_can_attach_to_what_runs() {
    let ca = ca();
    let mut node = node(&ca).await;
    let caller = Caller::new(&node, Some((&ca, "apiserver")));
    let mut socket = caller.socket("/attach/default/p/c?input=1&output=1", "v5.channel.k8s.io").await.unwrap();
    socket.send(Message::binary(b"\0echo".to_vec())).await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"echo") {
        if let Message::Binary(data) = socket.next().await.unwrap().unwrap() {
            assert_eq!(data[0], 1);
            said.extend_from_slice(&data[1..]);
        }
    }
    node.stop().await;
}

/// What opens a stream: its headers are in a stored block, for a stream's zlib may leave everything as it is.
fn open(stream: u32, kind: &str, port: &str) -> Vec<u8> {
    open_with(stream, &["streamtype", kind, "port", port, "requestid", "0"])
}

fn open_with(stream: u32, headers: &[&str]) -> Vec<u8> {
    let mut block = u32::try_from(headers.len() / 2).unwrap().to_be_bytes().to_vec();
    for text in headers {
        block.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        block.extend(text.as_bytes());
    }
    let mut body = stream.to_be_bytes().to_vec();
    body.extend([0; 6]);
    if stream == 1 {
        body.extend([0x78, 0x01]);
    }
    let length = u16::try_from(block.len()).unwrap();
    body.push(0);
    body.extend(length.to_le_bytes());
    body.extend((!length).to_le_bytes());
    body.extend(block);
    let mut frame = vec![0x80, 3, 0, 1];
    frame.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    frame.extend(body);
    frame
}

fn data(stream: u32, data: &[u8], last: bool) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap() | if last { 1 << 24 } else { 0 };
    [&stream.to_be_bytes(), &length.to_be_bytes(), data].concat()
}

/// What came on the stream for data and on the one for errors, once both have ended.
fn forwarded(received: &[u8]) -> Option<[Vec<u8>; 2]> {
    let (mut at, mut found, mut ended) = (0, [Vec::new(), Vec::new()], [false, false]);
    while let Some(head) = received.get(at..at + 8) {
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        let body = received.get(at + 8..at + 8 + length)?;
        // Stream 1 is for errors, stream 3 for data.
        if head[0] & 0x80 == 0 {
            let place = usize::from(head[3] == 1);
            found[place].extend(body);
            ended[place] |= head[4] & 1 == 1;
        }
        at += 8 + length;
    }
    (ended == [true, true]).then_some(found)
}

/// A pair of streams for a port, and `hello` on it.
fn request(port: &str) -> Vec<u8> {
    [open(1, "error", port), data(1, b"", true), open(3, "data", port), data(3, b"hello", true)].concat()
}

#[tokio::test]
async fn ports_are_forwarded_as_kubectl_does() {
    let ca = ca();
    let mut node = node(&ca).await;
    let caller = Caller::new(&node, Some((&ca, "apiserver")));
    for (port, echoed, error) in
        [("7", &b"hello"[..], ""), ("9", b"", "error forwarding port 9 to pod p_default, uid ")]
    {
        let mut socket = caller.socket("/portForward/default/p", "SPDY/3.1+portforward.k8s.io").await.unwrap();
        // Frames may be cut anywhere.
        for piece in request(port).chunks(11) {
            socket.send(Message::binary(piece.to_vec())).await.unwrap();
        }
        let mut received = Vec::new();
        let [data, told] = loop {
            if let Message::Binary(data) = socket.next().await.unwrap().unwrap() {
                received.extend_from_slice(&data);
            }
            if let Some(both) = forwarded(&received) {
                break both;
            }
        };
        assert_eq!((data.as_slice(), String::from_utf8_lossy(&told).starts_with(error)), (echoed, true), "{told:?}");
        assert_eq!(told.is_empty(), error.is_empty());
    }

    let mut stream = caller.connect().await;
    let upgrade = "POST /portForward/default/p HTTP/1.1\r\nHost: n1\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
                   X-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(answer.starts_with("http/1.1 101") && answer.contains("upgrade: spdy/3.1"), "{answer}");
    stream.write_all(&request("7")).await.unwrap();
    let mut received = Vec::new();
    while forwarded(&received).is_none() {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
    }
    assert_eq!(forwarded(&received).unwrap()[0], b"hello");
    drop(stream);
    node.stop().await;
}

/// What came on a stream so far, and whether it is over.
fn on_stream(received: &[u8], stream: u32) -> (Vec<u8>, bool) {
    let (mut data, mut over, mut at) = (Vec::new(), false, 0);
    while received.len() >= at + 8 {
        let head = u32::from_be_bytes(received[at..at + 4].try_into().unwrap());
        let length = u32::from_be_bytes(received[at + 4..at + 8].try_into().unwrap());
        let (flags, length) = (length >> 24, (length & 0x00ff_ffff) as usize);
        let Some(body) = received.get(at + 8..at + 8 + length) else { break };
        if head == stream {
            data.extend_from_slice(body);
            over |= flags & 1 == 1;
        }
        at += 8 + length;
    }
    (data, over)
}

#[tokio::test]
async fn commands_run_over_spdy_too() {
    let ca = ca();
    let mut node = node(&ca).await;
    let caller = Caller::new(&node, Some((&ca, "apiserver")));
    for (versions, agreed, told) in [
        (
            "v5.channel.k8s.io\r\nX-Stream-Protocol-Version: v4.channel.k8s.io",
            "v4.channel.k8s.io",
            "\"status\":\"Success\"",
        ),
        ("v2.channel.k8s.io", "v2.channel.k8s.io", ""),
    ] {
        let mut stream = caller.connect().await;
        let upgrade = format!(
            "POST /exec/default/p/c?input=1&output=1&command=cat HTTP/1.1\r\nHost: n1\r\nConnection: Upgrade\r\n\
             Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: {versions}\r\n\r\n"
        );
        stream.write_all(upgrade.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap().to_lowercase();
        assert!(answer.contains(&format!("x-stream-protocol-version: {agreed}")), "{answer}");
        let frames = [
            open_with(1, &["streamtype", "error"]),
            open_with(3, &["streamtype", "stdin"]),
            open_with(5, &["streamtype", "stdout"]),
            data(3, b"typed", true),
        ];
        stream.write_all(&frames.concat()).await.unwrap();
        let mut received = Vec::new();
        while !(on_stream(&received, 1).1 && on_stream(&received, 5).1) {
            assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
        }
        assert_eq!(on_stream(&received, 5).0, b"typed");
        let error = String::from_utf8(on_stream(&received, 1).0).unwrap();
        assert_eq!((error.contains(told), error.is_empty()), (true, told.is_empty()), "{error}");
    }
    node.stop().await;
}
