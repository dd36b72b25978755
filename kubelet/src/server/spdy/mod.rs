//! SPDY/3.1, the server's side: streams that the client opens, over one connection. `kubectl port-forward` speaks it,
//! in a WebSocket or by itself; `exec` and `attach` of older clients do.
//!
//! There are no windows, for kubectl has none: a stream that is not read holds the connection back.

mod frames;
mod inflate;

use std::collections::{BTreeMap, HashMap};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use frames::Frame;
use inflate::Inflate;

/// How many streams a connection may have at a time.
const STREAMS_MAX: usize = 256;
/// How many pieces of data wait for a slow stream, and frames for a slow client.
const WAITING_MAX: usize = 16;

/// A stream that the client opened.
pub(super) struct Stream {
    pub(super) id: u32,
    /// Its headers; names are in lower case.
    pub(super) headers: BTreeMap<String, String>,
    /// What the client sends, until it ends its side or resets the stream.
    pub(super) incoming: mpsc::Receiver<Bytes>,
    pub(super) outgoing: Outgoing,
}

/// The side of a stream that is written.
#[derive(Clone)]
pub(super) struct Outgoing {
    id: u32,
    frames: mpsc::Sender<Bytes>,
}

impl Outgoing {
    /// Sends data; an error if the connection is gone.
    pub(super) async fn send(&self, data: &[u8]) -> Result<(), ()> {
        self.frames.send(frames::data(self.id, data, false)).await.map_err(drop)
    }

    /// Ends this side.
    pub(super) async fn finish(&self) {
        drop(self.frames.send(frames::data(self.id, &[], true)).await);
    }
}

/// Serves a connection until the client leaves. Every stream is given to `opened`, which says why it refuses one.
pub(super) async fn serve<R, W>(reader: R, writer: W, opened: impl FnMut(Stream) -> Result<(), String>)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (sender, frames) = mpsc::channel(WAITING_MAX);
    let session =
        Session { frames: sender, streams: HashMap::new(), inflate: Inflate::default(), accepted: false, opened };
    // What waits to be written may hold up what is read, so either's end is the end.
    tokio::select! {
        () = session.read(reader) => {}
        () = write(writer, frames) => {}
    }
}

async fn write(mut writer: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Bytes>) {
    while let Some(frame) = frames.recv().await {
        if writer.write_all(&frame).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
}

struct Session<F> {
    frames: mpsc::Sender<Bytes>,
    streams: HashMap<u32, mpsc::Sender<Bytes>>,
    inflate: Inflate,
    /// Whether a stream was accepted already: the zlib stream of answers has begun.
    accepted: bool,
    opened: F,
}

impl<F: FnMut(Stream) -> Result<(), String>> Session<F> {
    async fn read(mut self, mut reader: impl AsyncRead + Unpin) {
        let mut bytes = BytesMut::new();
        loop {
            loop {
                match frames::take(&mut bytes) {
                    Ok(None) => break,
                    Ok(Some(frame)) => {
                        if self.handle(frame).await.is_none() {
                            return;
                        }
                    }
                    Err(frames::Malformed) => return tracing::debug!("a connection does not speak SPDY/3.1"),
                }
            }
            match reader.read_buf(&mut bytes).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    /// `None` ends the connection.
    async fn handle(&mut self, frame: Frame) -> Option<()> {
        match frame {
            Frame::Open { stream, last, headers } => self.open(stream, last, &headers).await?,
            Frame::Headers { headers } => drop(self.inflate.block(&headers)?),
            Frame::Data { stream, last, data } => {
                if let Some(incoming) = self.streams.get(&stream)
                    && !data.is_empty()
                {
                    // Who reads no more has no use for it.
                    drop(incoming.send(data).await);
                }
                if last {
                    self.streams.remove(&stream);
                }
            }
            Frame::Reset { stream } => drop(self.streams.remove(&stream)),
            // Pings of the client have odd numbers; an even one answers ours, and we send none.
            Frame::Ping { id } if id % 2 == 1 => self.frames.send(frames::ping(id)).await.ok()?,
            Frame::GoAway => return None,
            Frame::Ping { .. } | Frame::Other => {}
        }
        Some(())
    }

    async fn open(&mut self, id: u32, last: bool, headers: &Bytes) -> Option<()> {
        let block = self.inflate.block(headers)?;
        let headers = frames::headers(&block).ok()?;
        self.streams.retain(|_, incoming| !incoming.is_closed());
        if self.streams.len() >= STREAMS_MAX || self.streams.contains_key(&id) {
            return self.frames.send(frames::reset(id, frames::REFUSED_STREAM)).await.ok();
        }
        // Before anything else is sent on it.
        let first = !std::mem::replace(&mut self.accepted, true);
        self.frames.send(frames::accept(id, first)).await.ok()?;
        let (sender, incoming) = mpsc::channel(WAITING_MAX);
        let outgoing = Outgoing { id, frames: self.frames.clone() };
        let stream = Stream { id, headers, incoming, outgoing };
        if let Err(why) = (self.opened)(stream) {
            tracing::debug!(why, "a stream is refused");
            return self.frames.send(frames::reset(id, frames::REFUSED_STREAM)).await.ok();
        }
        if !last {
            self.streams.insert(id, sender);
        }
        Some(())
    }
}
