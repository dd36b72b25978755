//! The health protocol of gRPC, of which two messages of one field each are all that is needed.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::Outcome;
use super::check::plain;

/// How much of an answer is read, in bytes.
const BODY_MAX: usize = 10 * 1024;

pub(super) async fn health(host: &str, port: u16, service: &str, timeout: Duration) -> Outcome {
    match tokio::time::timeout(timeout, ask(host, port, service)).await {
        Ok(Ok(1)) => Outcome::Success,
        Ok(Ok(status)) => {
            let status = match status {
                2 => "NOT_SERVING",
                3 => "SERVICE_UNKNOWN",
                _ => "UNKNOWN",
            };
            Outcome::Failure(format!("service unhealthy (responded with {status:?})"))
        }
        Ok(Err(why)) => Outcome::Failure(why),
        Err(_) => {
            let name = format!("{host}:{port}");
            Outcome::Failure(format!("timeout: failed to connect service {name:?} within {}s", timeout.as_secs()))
        }
    }
}

async fn ask(host: &str, port: u16, service: &str) -> Result<u64, String> {
    let name = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let failed = |why: String| format!("error: failed to connect service {name:?}: {why}");
    let stream = TcpStream::connect((host, port)).await.map_err(|error| failed(plain(&error)))?;
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| failed(error.to_string()))?;
    // Ends by itself when the sender is dropped.
    tokio::spawn(async move { drop(connection.await) });
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{name}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.36")
        .body(Full::new(encode(service)))
        .map_err(|error| failed(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
    let immediate = answer.headers().get("grpc-status").cloned();
    let body = Limited::new(answer.into_body(), BODY_MAX).collect().await.map_err(|error| failed(error.to_string()))?;
    let code = immediate.or_else(|| body.trailers().and_then(|trailers| trailers.get("grpc-status").cloned()));
    match code.as_ref().and_then(|code| code.to_str().ok()) {
        None | Some("0") => decode(&body.to_bytes()).ok_or_else(|| failed("malformed answer".to_owned())),
        Some("12") => {
            Err("error: this server does not implement the grpc health protocol (grpc.health.v1.Health)".into())
        }
        Some("5") => Ok(3),
        Some(code) => Err(format!("error: health rpc probe failed with status {code}")),
    }
}

/// A frame with `HealthCheckRequest { service = 1 }`.
fn encode(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        put_varint(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(0));
    frame.put_slice(&message);
    frame.freeze()
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// The status in a frame with `HealthCheckResponse { status = 1 }`; one that is left out is 0.
fn decode(frame: &[u8]) -> Option<u64> {
    let message = match frame {
        [0, a, b, c, d, rest @ ..] => rest.get(..u32::from_be_bytes([*a, *b, *c, *d]) as usize)?,
        _ => return None,
    };
    match message {
        [] => Some(0),
        [0x08, status, ..] if *status < 0x80 => Some(u64::from(*status)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_the_protocols() {
        assert_eq!(&encode("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&encode("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(decode(&[0, 0, 0, 0, 2, 0x08, 1]), Some(1));
        assert_eq!(decode(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(decode(&[0, 0, 0, 0, 9, 0x08, 1]), None);
        assert_eq!(decode(&[]), None);
    }
}
