use std::time::Duration;

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::channels::Protocol;
use super::respond::{Body, empty};
use super::route::{Refusal, bad_request};

/// The largest message that is taken, in bytes.
const MESSAGE_MAX: usize = 16 << 20;
/// How much of a tunnel's bytes one message carries at most.
const TUNNEL_CHUNK: usize = 32 * 1024;
/// How many messages wait for a slow reader.
pub(super) const MESSAGES_MAX: usize = 16;
/// How long the other side has to say goodbye.
const CLOSE_MAX: Duration = Duration::from_secs(5);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// An upgrade that was agreed on.
pub(super) struct Upgrade {
    pub(super) protocol: Protocol,
    on: OnUpgrade,
}

pub(super) fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// Agrees on a WebSocket, and on one of the protocols that are spoken.
pub(super) fn upgrade(mut request: Request<Incoming>, spoken: &[&str]) -> Result<(Response<Body>, Upgrade), Refusal> {
    let headers = request.headers();
    if !has_token(headers, header::UPGRADE, "websocket") || !has_token(headers, header::CONNECTION, "upgrade") {
        return Err(bad_request("Upgrade request required"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or_else(|| bad_request("Sec-WebSocket-Key is missing"))?;
    let accept = derive_accept_key(key.as_bytes());
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<String> = offered.flat_map(|value| value.split(',')).map(|name| name.trim().to_owned()).collect();
    let Some(protocol) = Protocol::choose(&offered, spoken) else {
        let spoken: Vec<_> = spoken.iter().filter(|name| !name.is_empty()).collect();
        return Err((
            StatusCode::FORBIDDEN,
            format!(
                "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {spoken:?}"
            ),
        ));
    };
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
    let accept = header::HeaderValue::from_str(&accept).map_err(|error| bad_request(error.to_string()))?;
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if !protocol.name.is_empty() {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, header::HeaderValue::from_static(protocol.name));
    }
    Ok((response, Upgrade { protocol, on: hyper::upgrade::on(&mut request) }))
}

/// The side of a WebSocket that takes messages to send.
pub(super) type Outgoing = mpsc::Sender<Message>;

impl Upgrade {
    async fn socket(self) -> Option<Socket> {
        let upgraded = match self.on.await {
            Ok(upgraded) => TokioIo::new(upgraded),
            Err(error) => {
                tracing::debug!(%error, "upgrade failed");
                return None;
            }
        };
        let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_MAX)).max_frame_size(Some(MESSAGE_MAX));
        Some(WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await)
    }

    /// Waits for the upgrade, and carries the bytes of the client's messages to and from `other` until either ends.
    pub(super) async fn tunnel(self, other: DuplexStream) {
        let Some(socket) = self.socket().await else { return };
        let (sink, mut messages) = socket.split();
        let (mut reader, mut writer) = tokio::io::split(other);
        let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
        let incoming = async {
            while let Some(Ok(message)) = messages.next().await {
                match message {
                    Message::Binary(data) if writer.write_all(&data).await.is_ok() => {}
                    Message::Binary(_) | Message::Text(_) | Message::Close(_) => break,
                    _ => {}
                }
            }
            drop(writer.shutdown().await);
        };
        let outgoing = async {
            let sender = sender;
            let mut chunk = vec![0; TUNNEL_CHUNK];
            while let Ok(read @ 1..) = reader.read(&mut chunk).await {
                if sender.send(Message::binary(chunk[..read].to_vec())).await.is_err() {
                    return;
                }
            }
        };
        tokio::join!(incoming, outgoing, send(sink, receiver));
    }

    /// Waits for the upgrade. Returns what the client sends, where to put what it is sent, and the work of sending.
    pub(super) async fn open(self) -> Option<(Channels, Outgoing, impl Future<Output = ()> + Send)> {
        let protocol = self.protocol;
        let (sink, stream) = self.socket().await?.split();
        let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
        Some((Channels { stream, protocol }, sender, send(sink, receiver)))
    }
}

/// Sends messages until there will be no more, and then says goodbye.
async fn send(mut sink: SplitSink<Socket, Message>, mut messages: mpsc::Receiver<Message>) {
    while let Some(message) = messages.recv().await {
        if sink.send(message).await.is_err() {
            return;
        }
    }
    // A goodbye without a code is an error to clients.
    let goodbye = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
    let close = async {
        sink.send(Message::Close(Some(goodbye))).await?;
        sink.close().await
    };
    drop(tokio::time::timeout(CLOSE_MAX, close).await);
}

/// What a client sends.
pub(super) struct Channels {
    stream: SplitStream<Socket>,
    protocol: Protocol,
}

impl Channels {
    /// The next data, with its stream; `None` when the client is gone.
    pub(super) async fn next(&mut self) -> Option<(u8, bytes::Bytes)> {
        loop {
            match self.stream.next().await? {
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(message) => {
                    if let Some(data) = self.protocol.decode(message) {
                        return Some(data);
                    }
                }
            }
        }
    }
}
