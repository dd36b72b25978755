mod pairs;

use std::sync::Arc;

use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kubewright_runtime_shim::{PodSandboxFilter, PodSandboxState, SandboxId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::channels::{PORT_FORWARD, Protocol, TUNNEL};
use super::respond::Body;
use super::route::{Refusal, Streams, bad_request, internal, not_found};
use super::websocket::{Outgoing, has_token, upgrade};
use crate::node::Context;
use crate::objects::Pod;

/// How many ports one request may have: each takes two of the 256 streams.
const PORTS_MAX: usize = 64;
/// How much is read at a time, in bytes.
const CHUNK: usize = 32 * 1024;
/// How many messages wait for a slow port.
const INPUTS_MAX: usize = 16;

fn ports(query: &[(String, String)]) -> Result<Vec<u16>, Refusal> {
    let values = query.iter().filter(|(name, _)| matches!(name.as_str(), "port" | "ports"));
    let numbers = values.flat_map(|(_, value)| value.split(','));
    let parsed = numbers.map(|text| match text.parse::<u16>() {
        Ok(port @ 1..) => Ok(port),
        _ => Err(bad_request(format!("port {text:?} is not a valid port"))),
    });
    let ports = parsed.collect::<Result<Vec<_>, _>>()?;
    match ports.len() {
        0 => Err(bad_request("query parameter \"port\" is required")),
        1..=PORTS_MAX => Ok(ports),
        _ => Err(bad_request(format!("at most {PORTS_MAX} ports are forwarded at a time"))),
    }
}

pub(super) async fn forward(
    node: &Arc<Context>,
    streams: &Streams,
    pod: &Pod,
    query: &[(String, String)],
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let listed = node.runtime.list_pod_sandboxes(&PodSandboxFilter::pod_uid(pod.uid())).await.map_err(internal)?;
    let ready = listed.into_iter().find(|sandbox| sandbox.state == PodSandboxState::Ready);
    let sandbox = ready.ok_or_else(|| not_found(format!("pod {:?} does not run", pod.name())))?.id;
    let (reached, cancel) = (pairs::Pod::new(node, sandbox.clone(), pod), streams.cancel.clone());
    if has_token(request.headers(), header::UPGRADE, "SPDY/3.1") {
        let (response, upgraded) = pairs::agree(request)?;
        streams.tasks.spawn(async move {
            let serving = async {
                if let Ok(upgraded) = upgraded.await {
                    pairs::serve(reached, TokioIo::new(upgraded)).await;
                }
            };
            cancel.run_until_cancelled(serving).await
        });
        return Ok(response);
    }
    let (response, agreed) = upgrade(request, &PORT_FORWARD)?;
    if agreed.protocol.name == TUNNEL {
        let (ours, theirs) = tokio::io::duplex(CHUNK);
        let serving = async move { tokio::join!(agreed.tunnel(theirs), pairs::serve(reached, ours)) };
        streams.tasks.spawn(async move { cancel.run_until_cancelled(serving).await });
        return Ok(response);
    }
    let ports = ports(query)?;
    let (node, cancel) = (node.clone(), streams.cancel.clone());
    streams.tasks.spawn(async move {
        let protocol = agreed.protocol;
        let joined = async {
            let Some((mut incoming, outgoing, sending)) = agreed.open().await else {
                return;
            };
            let work = async move {
                let mut tasks = JoinSet::new();
                let mut inputs = Vec::new();
                for (at, port) in ports.into_iter().enumerate() {
                    let channel = u8::try_from(at * 2).unwrap_or(u8::MAX);
                    for stream in [channel, channel + 1] {
                        drop(outgoing.send(protocol.encode(stream, &port.to_le_bytes())).await);
                    }
                    let (input, data) = mpsc::channel(INPUTS_MAX);
                    inputs.push(input);
                    let (node, sandbox, outgoing) = (node.clone(), sandbox.clone(), outgoing.clone());
                    tasks.spawn(async move { carry(&node, &sandbox, port, channel, data, &outgoing, protocol).await });
                }
                drop(outgoing);
                while let Some((channel, data)) = incoming.next().await {
                    if channel % 2 == 0
                        && let Some(input) = inputs.get(usize::from(channel / 2))
                    {
                        drop(input.send(data).await);
                    }
                }
                tasks.shutdown().await;
            };
            tokio::join!(work, sending);
        };
        cancel.run_until_cancelled(joined).await.unwrap_or_default();
    });
    Ok(response)
}

async fn carry(
    node: &Context,
    sandbox: &SandboxId,
    port: u16,
    channel: u8,
    mut data: mpsc::Receiver<bytes::Bytes>,
    outgoing: &Outgoing,
    protocol: Protocol,
) {
    let stream = match node.runtime.port_forward(sandbox, port).await {
        Ok(stream) => stream,
        Err(error) => {
            let why = format!("an error occurred forwarding {port}: {error}");
            drop(outgoing.send(protocol.encode(channel + 1, why.as_bytes())).await);
            return;
        }
    };
    let (mut read, mut write) = tokio::io::split(stream);
    let input = async {
        while let Some(data) = data.recv().await {
            if write.write_all(&data).await.is_err() || write.flush().await.is_err() {
                return;
            }
        }
        drop(write.shutdown().await);
    };
    let output = async {
        let mut chunk = vec![0; CHUNK];
        while let Ok(read @ 1..) = read.read(&mut chunk).await {
            if outgoing.send(protocol.encode(channel, &chunk[..read])).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(input, output);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_checked() {
        let of = |text: &str| ports(&super::super::query::pairs(text));
        assert_eq!(of("ports=80&ports=443").unwrap(), [80, 443]);
        assert_eq!(of("port=80,443").unwrap(), [80, 443]);
        assert!(of("").is_err() && of("port=0").is_err() && of("port=x").is_err());
    }
}
