//! Watches over a WebSocket, as browsers ask for them: every event is a message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{SinkExt, StreamExt};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use kubewright_api::status::Status;
use ring::digest;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::Core;
use crate::body::{self, Body};

/// The largest message that is taken: watchers have nothing to say.
const MESSAGE_MAX: usize = 64 << 10;
/// What the protocol puts behind a client's key.
const KEY_TAIL: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether a request asks for a WebSocket.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    has_token(headers, &header::UPGRADE, "websocket") && has_token(headers, &header::CONNECTION, "upgrade")
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// Agrees on a WebSocket, and sends the events of the answer to a watch over it until either side ends.
pub(super) fn send(core: &Core, request: &Parts, answer: Response<Body>) -> Result<Response<Body>, Status> {
    let upgrade = request.extensions.get::<OnUpgrade>().cloned();
    let upgrade = upgrade.ok_or_else(|| Status::bad_request("the connection cannot be upgraded"))?;
    let key = request.headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
    let key = key.ok_or_else(|| Status::bad_request("Sec-WebSocket-Key is missing"))?;
    let accept = accept_key(key);
    let is_text = answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let draining = core.draining.clone();
    core.spawn(async move {
        let sending = async {
            match upgrade.await {
                Ok(upgraded) => events(upgraded, answer.into_body(), is_text).await,
                Err(error) => tracing::debug!(%error, "a watch was not upgraded"),
            }
        };
        draining.run_until_cancelled(sending).await;
    });
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, HeaderValue::try_from(accept).map_err(Status::internal)?);
    Ok(response)
}

/// What shows the client that its key was understood.
fn accept_key(key: &str) -> String {
    STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{KEY_TAIL}").as_bytes()))
}

async fn events(upgraded: Upgraded, mut body: Body, is_text: bool) {
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_MAX)).max_frame_size(Some(MESSAGE_MAX));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let (mut sink, mut messages) = socket.split();
    let sending = async {
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            let message = match Utf8Bytes::try_from(data.clone()) {
                Ok(text) if is_text => Message::Text(text),
                _ => Message::Binary(data),
            };
            if sink.send(message).await.is_err() {
                return;
            }
        }
        drop(sink.close().await);
    };
    // Reading answers pings, and notices when the client leaves.
    let reading = async { while messages.next().await.is_some_and(|message| message.is_ok_and(|m| !m.is_close())) {} };
    tokio::select! {
        () = sending => {}
        () = reading => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_answered_as_the_protocol_says() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let mut headers = HeaderMap::new();
        headers.insert(header::UPGRADE, HeaderValue::from_static("WebSocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        assert!(is_asked_for(&headers));
    }
}
