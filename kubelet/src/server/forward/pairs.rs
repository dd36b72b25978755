//! Port-forward over SPDY/3.1: for each connection the client opens a stream for errors and one for data.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use kubewright_runtime_shim::SandboxId;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::CHUNK;
use crate::node::Context;
use crate::server::respond::{Body, empty};
use crate::server::route::{Refusal, bad_request};
use crate::server::spdy::{self, Stream};

const PROTOCOL: &str = "portforward.k8s.io";
const VERSIONS: &str = "x-stream-protocol-version";
/// How many streams may wait for their other half.
const HALVES_MAX: usize = 64;

/// The pod whose ports are forwarded.
#[derive(Clone)]
pub(super) struct Pod {
    node: Arc<Context>,
    sandbox: SandboxId,
    name: String,
    uid: String,
}

impl Pod {
    pub(super) fn new(node: &Arc<Context>, sandbox: SandboxId, pod: &crate::objects::Pod) -> Self {
        let name = format!("{}_{}", pod.name(), pod.namespace());
        Self { node: Arc::clone(node), sandbox, name, uid: pod.uid().to_owned() }
    }
}

/// Agrees on SPDY.
pub(super) fn agree(mut request: Request<Incoming>) -> Result<(Response<Body>, OnUpgrade), Refusal> {
    let offered = request.headers().get_all(VERSIONS).iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = offered.flat_map(|value| value.split(',')).map(str::trim).collect();
    if offered.is_empty() {
        return Err(bad_request(format!("unable to upgrade: {VERSIONS:?} header is required")));
    }
    if !offered.contains(&PROTOCOL) {
        let why = format!(
            "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts [{PROTOCOL:?}]"
        );
        return Err((StatusCode::FORBIDDEN, why));
    }
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(VERSIONS, HeaderValue::from_static(PROTOCOL));
    Ok((response, hyper::upgrade::on(&mut request)))
}

/// Serves a connection until the client leaves.
pub(super) async fn serve(pod: Pod, io: impl AsyncRead + AsyncWrite) {
    let (reader, writer) = tokio::io::split(io);
    let (reader, writer) = (std::pin::pin!(reader), std::pin::pin!(writer));
    let mut halves: BTreeMap<String, (String, Stream)> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let opened = |stream: Stream| {
        while tasks.try_join_next().is_some() {}
        let (request, kind, port) = read(&stream)?;
        match halves.remove(&request) {
            None if halves.len() >= HALVES_MAX => return Err("too many streams wait for their other half".to_owned()),
            None => _ = halves.insert(request, (kind, stream)),
            Some((other, _)) if other == kind => return Err(format!("{kind} stream already assigned")),
            Some((_, other)) => {
                let (errors, data) = if kind == "data" { (other, stream) } else { (stream, other) };
                tasks.spawn(carry(pod.clone(), port, errors, data));
            }
        }
        Ok(())
    };
    spdy::serve(reader, writer, opened).await;
    tasks.shutdown().await;
}

/// The request, the kind and the port of a stream.
fn read(stream: &Stream) -> Result<(String, String, u16), String> {
    let header = |name: &str| {
        let value = stream.headers.get(name).filter(|value| !value.is_empty()).cloned();
        value.ok_or_else(|| format!("{name:?} header is required"))
    };
    let port = header("port")?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| "unable to parse the port".to_owned())?;
    let kind = header("streamtype")?;
    if !matches!(kind.as_str(), "error" | "data") {
        return Err(format!("invalid stream type {kind:?}"));
    }
    // Old clients number their streams only: the data's follows the errors'.
    let numbered = if kind == "data" { stream.id.saturating_sub(2) } else { stream.id };
    let request = header("requestid").unwrap_or_else(|_| numbered.to_string());
    Ok((request, kind, port))
}

/// Carries one connection.
async fn carry(pod: Pod, port: u16, errors: Stream, data: Stream) {
    match pod.node.runtime.port_forward(&pod.sandbox, port).await {
        Ok(connection) => copy(connection, data).await,
        Err(error) => {
            let Pod { name, uid, .. } = &pod;
            let why = format!("error forwarding port {port} to pod {name}, uid {uid}: {error}");
            _ = errors.outgoing.send(why.as_bytes()).await;
            data.outgoing.finish().await;
        }
    }
    errors.outgoing.finish().await;
}

async fn copy(connection: impl AsyncRead + AsyncWrite, mut data: Stream) {
    let (mut read, mut write) = tokio::io::split(connection);
    let input = async {
        while let Some(piece) = data.incoming.recv().await {
            if write.write_all(&piece).await.is_err() || write.flush().await.is_err() {
                return;
            }
        }
        drop(write.shutdown().await);
    };
    let output = async {
        let mut chunk = vec![0; CHUNK];
        while let Ok(read @ 1..) = read.read(&mut chunk).await {
            if data.outgoing.send(&chunk[..read]).await.is_err() {
                return;
            }
        }
    };
    // The pod's end is the end; the client's is only one side's.
    let mut output = std::pin::pin!(output);
    tokio::select! {
        () = &mut output => {}
        () = input => output.await,
    }
    data.outgoing.finish().await;
}
