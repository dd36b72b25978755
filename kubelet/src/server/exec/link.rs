//! How a command's streams reach the client: all in one WebSocket, or each as a SPDY stream of its own.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{CLOSE, RESIZE, STDIN};
use crate::server::channels::Protocol;
use crate::server::spdy;
use crate::server::websocket::{Channels, Outgoing};

/// What the client sends.
pub(super) enum Input {
    /// Something on that stream.
    Data(u8, Bytes),
    /// That stream is over.
    End(u8),
}

/// The streams to the client.
pub(super) enum Outputs {
    Socket(Outgoing, Protocol),
    /// By number, and whether the end is told as a `Status`.
    Spdy(BTreeMap<u8, spdy::Outgoing>, bool),
}

impl Outputs {
    /// Sends data; an error if the client is gone.
    pub(super) async fn send(&self, channel: u8, data: &[u8]) -> Result<(), ()> {
        match self {
            Self::Socket(outgoing, protocol) => outgoing.send(protocol.encode(channel, data)).await.map_err(drop),
            Self::Spdy(streams, _) => match streams.get(&channel) {
                Some(stream) => stream.send(data).await,
                None => Ok(()),
            },
        }
    }

    /// Whether the client wants to hear of the end as a `Status`.
    pub(super) const fn tells_status(&self) -> bool {
        match self {
            Self::Socket(_, protocol) => protocol.status,
            Self::Spdy(_, status) => *status,
        }
    }
}

/// The streams from the client.
pub(super) enum Inputs {
    Socket(Channels, Protocol),
    Spdy { stdin: Option<mpsc::Receiver<Bytes>>, resize: Option<mpsc::Receiver<Bytes>> },
}

impl Inputs {
    /// What comes next; `None` when the client left.
    pub(super) async fn next(&mut self) -> Option<Input> {
        match self {
            Self::Socket(channels, protocol) => loop {
                match channels.next().await? {
                    (CLOSE, data) => match data.first() {
                        Some(channel) if protocol.close => return Some(Input::End(*channel)),
                        _ => {}
                    },
                    (channel, data) => return Some(Input::Data(channel, data)),
                }
            },
            Self::Spdy { stdin, resize } => {
                let (channel, data) = tokio::select! {
                    data = receive(stdin) => (STDIN, data),
                    data = receive(resize) => (RESIZE, data),
                };
                Some(data.map_or(Input::End(channel), |data| Input::Data(channel, data)))
            }
        }
    }
}

/// The next piece of a stream; its end is told once. Who has no such stream never gets anything.
async fn receive(stream: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    let Some(receiver) = stream else { return std::future::pending().await };
    let received = receiver.recv().await;
    if received.is_none() {
        *stream = None;
    }
    received
}
