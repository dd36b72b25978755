//! Messages on a stream: each with its length before it, as four bytes, the most significant first.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::sync::mpsc;

const PREFIX: usize = 4;
/// How many messages, and about how many bytes of them, are put together into one piece of the stream.
const TOGETHER_MAX: usize = 256;
const TOGETHER_BYTES: usize = 64 << 10;

/// Where messages wait for a stream. Cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    queue: mpsc::Sender<Bytes>,
    bytes: Arc<AtomicUsize>,
    bytes_max: usize,
}

impl Lane {
    pub(super) fn new(waiting_max: usize, bytes_max: usize) -> (Self, Outgoing) {
        let (queue, waiting) = mpsc::channel(waiting_max);
        let bytes = Arc::new(AtomicUsize::new(0));
        let outgoing = Outgoing { waiting, bytes: bytes.clone(), taken: Vec::with_capacity(TOGETHER_MAX) };
        (Self { queue, bytes, bytes_max }, outgoing)
    }

    /// Whether both lead to the same stream.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.queue.same_channel(&other.queue)
    }

    /// Puts a message in line and says whether there was room. One message is taken whatever its size.
    pub(super) fn offer(&self, message: Bytes) -> bool {
        let size = message.len();
        let before = self.bytes.fetch_add(size, Ordering::Relaxed);
        let is_taken = (before == 0 || before + size <= self.bytes_max) && self.queue.try_send(message).is_ok();
        if !is_taken {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
        }
        is_taken
    }
}

/// The other end of a [`Lane`]: a request's body.
#[derive(Debug)]
pub(super) struct Outgoing {
    waiting: mpsc::Receiver<Bytes>,
    bytes: Arc<AtomicUsize>,
    taken: Vec<Bytes>,
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if this.taken.is_empty() && ready!(this.waiting.poll_recv_many(cx, &mut this.taken, TOGETHER_MAX)) == 0 {
            return Poll::Ready(None);
        }
        // As many as make a good piece; the others go with the next one.
        let mut size = 0;
        let is_too_much = |message: &Bytes| {
            let before = size;
            size += PREFIX + message.len();
            before > 0 && size > TOGETHER_BYTES
        };
        let count = this.taken.iter().position(is_too_much).unwrap_or(this.taken.len());
        let mut together = BytesMut::with_capacity(size.min(TOGETHER_BYTES));
        for message in this.taken.drain(..count) {
            this.bytes.fetch_sub(message.len(), Ordering::Relaxed);
            together.reserve(PREFIX + message.len());
            together.put_u32(message.len() as u32);
            together.put(message);
        }
        Poll::Ready(Some(Ok(Frame::data(together.freeze()))))
    }
}

/// Takes a stream apart into messages again.
#[derive(Debug)]
pub(super) struct Incoming {
    buffer: BytesMut,
    message_bytes_max: usize,
}

/// A message that says it is longer than may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {length} bytes; the limit is {limit}")]
pub(super) struct TooLong {
    length: usize,
    limit: usize,
}

impl Incoming {
    pub(super) fn new(message_bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), message_bytes_max }
    }

    pub(super) fn push(&mut self, piece: impl Buf) {
        self.buffer.put(piece);
    }

    /// The next message, if all of it is there.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, TooLong> {
        let Some(mut prefix) = self.buffer.get(..PREFIX) else { return Ok(None) };
        let (length, limit) = (prefix.get_u32() as usize, self.message_bytes_max);
        if length > limit {
            return Err(TooLong { length, limit });
        }
        if self.buffer.len() < PREFIX + length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;

    async fn stream_of(messages: &[Vec<u8>]) -> Vec<Bytes> {
        let (lane, mut outgoing) = Lane::new(messages.len().max(1), usize::MAX);
        for message in messages {
            assert!(lane.offer(message.clone().into()));
        }
        drop(lane);
        let mut pieces = Vec::new();
        while let Some(piece) = outgoing.frame().await {
            pieces.push(piece.expect("never fails").into_data().expect("data alone"));
        }
        assert_eq!(outgoing.bytes.load(Ordering::Relaxed), 0);
        pieces
    }

    proptest! {
        // A case is a megabyte of messages.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn messages_come_back_however_the_stream_is_cut(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 0..400),
            cut in 1_usize..5000,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let stream = runtime.block_on(stream_of(&messages)).concat();
            let (mut incoming, mut back) = (Incoming::new(3000), Vec::new());
            for piece in stream.chunks(cut) {
                incoming.push(piece);
                while let Some(message) = incoming.next().expect("short enough") {
                    back.push(message.to_vec());
                }
            }
            prop_assert_eq!(back, messages);
        }

        #[test]
        fn any_bytes_are_messages_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let mut incoming = Incoming::new(64);
            incoming.push(&bytes[..]);
            while let Ok(Some(message)) = incoming.next() {
                prop_assert!(message.len() <= 64);
            }
        }
    }

    #[test]
    fn what_is_too_much_is_not_taken() {
        let (lane, outgoing) = Lane::new(3, 10);
        assert!(lane.offer(Bytes::from_static(&[0; 20])), "one is taken whatever its size");
        assert!(!lane.offer(Bytes::from_static(&[0; 1])), "too many bytes");
        drop(outgoing);
        let (lane, _outgoing) = Lane::new(3, 10);
        assert!((0..3).all(|_| lane.offer(Bytes::from_static(&[0; 1]))));
        assert!(!lane.offer(Bytes::from_static(&[0; 1])), "too many");
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_by_its_length() {
        let mut incoming = Incoming::new(100);
        incoming.push(&[0, 0, 0, 101][..]);
        assert_eq!(incoming.next(), Err(TooLong { length: 101, limit: 100 }));
    }
}
