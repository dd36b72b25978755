//! Upgraded connections: the handshake is passed on to the kubelet, then bytes both ways.

use std::future::Future;
use std::time::Duration;

use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use kubewright_api::status::Status;
use tokio::time::timeout;

use super::tunnels::Place;
use super::{DialNode, NodeAddress, authority};
use crate::body::{self, Body};

/// How long a kubelet has to answer the first request on a connection.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How much of a kubelet's refusal is read.
const REFUSAL_MAX: usize = 64 * 1024;
const HANDSHAKE: [HeaderName; 8] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::SEC_WEBSOCKET_ACCEPT,
    HeaderName::from_static("x-stream-protocol-version"),
];

/// Passes the handshake on. Gives the answer and, where the kubelet agreed, the tunnel to run.
pub(super) async fn open(
    dial: &dyn DialNode,
    node: &NodeAddress,
    path: &str,
    mut request: Request<Body>,
    place: &Place,
) -> Result<(Response<Body>, Option<impl Future<Output = ()> + Send + use<>>), Status> {
    let client = request.extensions_mut().remove::<OnUpgrade>();
    let (Some(client), true) = (client, request.headers().contains_key(header::UPGRADE)) else {
        return Err(Status::bad_request("unable to upgrade: missing upgrade headers in request"));
    };
    let mut handshake = Request::new(Empty::<Bytes>::new());
    *handshake.method_mut() = request.method().clone();
    copy_handshake(request.headers(), handshake.headers_mut());
    let mut answer = send(dial, node, path, handshake, place).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(answer).await);
    }
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    copy_handshake(answer.headers(), response.headers_mut());
    let kubelet = hyper::upgrade::on(&mut answer);
    Ok((response, Some(tunnel(client, kubelet))))
}

fn copy_handshake(from: &HeaderMap, to: &mut HeaderMap) {
    for name in &HANDSHAKE {
        for value in from.get_all(name) {
            to.append(name, value.clone());
        }
    }
}

pub(super) async fn tunnel(client: OnUpgrade, kubelet: OnUpgrade) {
    let (client, kubelet) = match tokio::try_join!(client, kubelet) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "a connection into a pod was not upgraded");
            return;
        }
    };
    let (mut client, mut kubelet) = (TokioIo::new(client), TokioIo::new(kubelet));
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut kubelet).await {
        tracing::debug!(%error, "a connection into a pod ended");
    }
}

/// Sends a request to a kubelet over a connection of its own, which takes that place.
pub(super) async fn send(
    dial: &dyn DialNode,
    node: &NodeAddress,
    path: &str,
    mut request: Request<Empty<Bytes>>,
    place: &Place,
) -> Result<Response<Incoming>, Status> {
    let unreachable = |error: &dyn std::fmt::Display| {
        Status::internal(format!("error dialing backend: node {:?} at {}:{}: {error}", node.name, node.host, node.port))
    };
    let stream = dial.dial(node).await.map_err(|error| unreachable(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
    // It ends by itself once the answer, or the tunnel, is done or dropped.
    place.spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a kubelet ended");
        }
    });
    *request.uri_mut() = path.parse().map_err(|_| Status::bad_request("the path can't be sent to the kubelet"))?;
    let host = authority(&node.host, node.port);
    request.headers_mut().insert(header::HOST, host.parse().map_err(|_| unreachable(&"its address is malformed"))?);
    match timeout(ANSWER_LIMIT, sender.send_request(request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(unreachable(&error)),
        Err(_) => Err(unreachable(&"it did not answer in time")),
    }
}

/// A kubelet's refusal as a `Status`.
pub(super) async fn refusal(answer: Response<Incoming>) -> Status {
    let code = answer.status().as_u16();
    let text = match Limited::new(answer.into_body(), REFUSAL_MAX).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    let reason = match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    Status::failure(if code < 400 { 500 } else { code }, reason, text)
}
