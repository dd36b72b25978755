//! Calls to a key management service: gRPC over a Unix socket, one connection a call, for calls are rare.

use std::future::Future;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;

use super::message::{self, Sealed, ServiceStatus, Wrapped};

/// Largest answer, in bytes; a wrapped key has a kilobyte and its annotations 32.
const ANSWER_BYTES_MAX: usize = 1 << 20;

pub(super) struct Client {
    socket: String,
    timeout: Duration,
}

impl Client {
    pub(super) const fn new(socket: String, timeout: Duration) -> Self {
        Self { socket, timeout }
    }

    pub(super) async fn status(&self) -> Result<ServiceStatus, String> {
        ServiceStatus::decode(&self.call("Status", Vec::new()).await?)
    }

    pub(super) async fn encrypt(&self, uid: &str, plain: &[u8]) -> Result<Wrapped, String> {
        Wrapped::decode(&self.call("Encrypt", message::encrypt_request(uid, plain)).await?)
    }

    pub(super) async fn decrypt(&self, uid: &str, sealed: &Sealed) -> Result<Vec<u8>, String> {
        message::unwrapped(&self.call("Decrypt", message::decrypt_request(uid, sealed)).await?)
    }

    async fn call(&self, method: &str, message: Vec<u8>) -> Result<Bytes, String> {
        let answer = tokio::time::timeout(self.timeout, self.exchange(method, message)).await;
        answer
            .map_err(|_| format!("{method}: no answer within {:?}", self.timeout))?
            .map_err(|e| format!("{method}: {e}"))
    }

    async fn exchange(&self, method: &str, message: Vec<u8>) -> Result<Bytes, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|error| format!("dial unix {}: {error}", self.socket))?;
        let shake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = shake.await.map_err(|error| text(&error))?;
        let length = u32::try_from(message.len()).map_err(|error| text(&error))?;
        let frame = [&[0][..], &length.to_be_bytes(), &message].concat();
        let request = Request::post(format!("http://localhost/v2.KeyManagementService/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(Bytes::from(frame)))
            .map_err(|error| text(&error))?;
        let answer = async move {
            let (parts, mut body) = sender.send_request(request).await.map_err(|error| text(&error))?.into_parts();
            let (mut data, mut trailers) = (BytesMut::new(), HeaderMap::new());
            while let Some(frame) = body.frame().await {
                match frame.map_err(|error| text(&error))?.into_data() {
                    Ok(bytes) if data.len() + bytes.len() > ANSWER_BYTES_MAX => {
                        return Err("the answer is too large".into());
                    }
                    Ok(bytes) => data.extend_from_slice(&bytes),
                    Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
                }
            }
            check_status(&parts.headers, &trailers)?;
            unframe(data.freeze())
        };
        beside(answer, connection).await
    }
}

/// Drives a connection beside the exchange that goes over it, and ends it with that.
async fn beside<T>(answer: impl Future<Output = T>, connection: impl Future<Output = Result<(), hyper::Error>>) -> T {
    tokio::pin!(answer, connection);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = &mut connection => answer.await,
    }
}

fn check_status(headers: &HeaderMap, trailers: &HeaderMap) -> Result<(), String> {
    let header = |name: &str| trailers.get(name).or_else(|| headers.get(name)).and_then(|value| value.to_str().ok());
    match header("grpc-status") {
        Some("0") => Ok(()),
        Some(code) => Err(format!("rpc error: code = {code} desc = {}", header("grpc-message").unwrap_or_default())),
        None => Err("the answer has no gRPC status".into()),
    }
}

fn unframe(data: Bytes) -> Result<Bytes, String> {
    let torn = || "the answer is torn".to_owned();
    let (head, _) = data.split_at_checked(5).ok_or_else(torn)?;
    if head[0] != 0 {
        return Err("the answer is compressed".into());
    }
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if data.len() != 5 + length {
        return Err(torn());
    }
    Ok(data.slice(5..))
}
