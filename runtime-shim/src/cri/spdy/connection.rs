//! A connection, and its streams.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use futures::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc::{self, OwnedPermit},
    task::JoinSet,
};
use tokio_util::{codec::Framed, sync::PollSender};

use super::frame::{Codec, Received, Sent};

/// Chunks of a stream that its reader has yet to take; when there are more, the connection waits.
const CHUNKS_MAX: usize = 16;
/// Frames on their way to the server.
const FRAMES_MAX: usize = 32;
/// The most that is sent in a frame, in bytes.
const DATA_BYTES_MAX: usize = 32 * 1024;

/// A connection that is being set up: open all streams, then [`run`](Self::run) it.
pub(in super::super) struct Connection<T> {
    framed: Framed<T, Codec>,
    readers: HashMap<u32, mpsc::Sender<Bytes>>,
    opened: Vec<(u32, mpsc::Receiver<Bytes>)>,
    next_id: u32,
}

/// A connection at work. It is shut when its last stream is dropped.
#[derive(Debug)]
struct Work {
    _tasks: JoinSet<()>,
}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Connection<T> {
    pub(in super::super) fn new(socket: T) -> Self {
        let framed = Framed::new(socket, Codec::default());
        Self { framed, readers: HashMap::new(), opened: Vec::new(), next_id: 1 }
    }

    /// Opens a stream. They come out of [`run`](Self::run) in the order they were opened.
    pub(in super::super) async fn open(&mut self, headers: &[(&str, &str)]) -> io::Result<()> {
        let id = self.next_id;
        self.next_id += 2;
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.framed.send(Sent::Open { id, headers }).await?;
        let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
        self.readers.insert(id, sender);
        self.opened.push((id, receiver));
        Ok(())
    }

    /// Sets the connection to work, and hands out both halves of each stream.
    pub(in super::super) async fn run(self) -> io::Result<Vec<(StreamReader, StreamWriter)>> {
        let (frames, waiting) = mpsc::channel(FRAMES_MAX);
        let (sink, stream) = self.framed.split();
        let mut tasks = JoinSet::new();
        tasks.spawn(write(sink, waiting));
        tasks.spawn(read(stream, self.readers, frames.clone()));
        let work = Arc::new(Work { _tasks: tasks });
        let mut streams = Vec::new();
        for (id, chunks) in self.opened {
            let closed = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            let last = frames.clone().reserve_owned().await.map_err(closed)?;
            let frames = PollSender::new(frames.clone());
            let reader = StreamReader { chunks, chunk: Bytes::new(), _work: work.clone() };
            streams.push((reader, StreamWriter { id, frames, last: Some(last), _work: work.clone() }));
        }
        Ok(streams)
    }
}

type FramedSink<T> = futures::stream::SplitSink<Framed<T, Codec>, Sent>;
type FramedStream<T> = futures::stream::SplitStream<Framed<T, Codec>>;

async fn write<T: AsyncRead + AsyncWrite + Unpin>(mut sink: FramedSink<T>, mut waiting: mpsc::Receiver<Sent>) {
    while let Some(frame) = waiting.recv().await {
        if sink.send(frame).await.is_err() {
            // The reader sees the end as well, and tells the streams.
            return;
        }
    }
}

async fn read<T: AsyncRead + AsyncWrite + Unpin>(
    mut stream: FramedStream<T>,
    mut readers: HashMap<u32, mpsc::Sender<Bytes>>,
    frames: mpsc::Sender<Sent>,
) {
    while let Some(Ok(frame)) = stream.next().await {
        match frame {
            Received::Data { id, bytes, last } => {
                if let Some(reader) = readers.get(&id).filter(|_| !bytes.is_empty()) {
                    // Whoever does not want it has dropped the reader.
                    let _ = reader.send(bytes).await;
                }
                if last {
                    readers.remove(&id);
                }
            }
            Received::Reset(id) => drop(readers.remove(&id)),
            Received::Ping(id) => drop(frames.try_send(Sent::Pong(id))),
            Received::GoAway | Received::Other => {}
        }
    }
}

/// What the server sends in a stream.
#[derive(Debug)]
pub(in super::super) struct StreamReader {
    chunks: mpsc::Receiver<Bytes>,
    chunk: Bytes,
    _work: Arc<Work>,
}

impl AsyncRead for StreamReader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.chunk.is_empty() {
            match ready!(self.chunks.poll_recv(cx)) {
                Some(chunk) => self.chunk = chunk,
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.chunk.len().min(buf.remaining());
        buf.put_slice(&self.chunk[..length]);
        self.chunk.advance(length);
        Poll::Ready(Ok(()))
    }
}

/// What is sent to the server in a stream. Dropping it ends it.
#[derive(Debug)]
pub(in super::super) struct StreamWriter {
    id: u32,
    frames: PollSender<Sent>,
    /// The place kept for the frame that ends it.
    last: Option<OwnedPermit<Sent>>,
    _work: Arc<Work>,
}

impl StreamWriter {
    fn end(&mut self) {
        if let Some(place) = self.last.take() {
            place.send(Sent::Data { id: self.id, bytes: Bytes::new(), last: true });
        }
    }
}

impl AsyncWrite for StreamWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.last.is_none() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let closed = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.frames.poll_reserve(cx)).map_err(closed)?;
        let bytes = Bytes::copy_from_slice(&buf[..buf.len().min(DATA_BYTES_MAX)]);
        let (id, length) = (self.id, bytes.len());
        self.frames.send_item(Sent::Data { id, bytes, last: false }).map_err(closed)?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn an_input_ends_before_its_output_does() {
        let (near, far) = tokio::io::duplex(1024);
        let mut connection = Connection::new(near);
        connection.open(&[("streamtype", "data")]).await.unwrap();
        let mut server = Framed::new(far, Codec::default());
        let (mut reader, mut writer) = connection.run().await.unwrap().remove(0);
        writer.write_all(b"question").await.unwrap();
        drop(writer);
        assert_eq!(server.next().await.unwrap().unwrap(), Received::Other, "the stream is opened");
        let mut asked = Vec::new();
        while let Received::Data { bytes, last, .. } = server.next().await.unwrap().unwrap() {
            asked.extend_from_slice(&bytes);
            if last {
                break;
            }
        }
        assert_eq!(asked, b"question");
        server.send(Sent::Data { id: 1, bytes: Bytes::from("answer"), last: true }).await.unwrap();
        let mut answer = String::new();
        reader.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
        drop(reader);
        assert!(server.next().await.is_none(), "the last stream takes the connection along");
    }
}
