//! The body of a list: the bytes that the cache holds of its objects, put together piece by piece while they are sent.
//!
//! So a list of any length takes little memory beside the cache, and what was put together is still in the processor's
//! cache when it is encrypted.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::object::protobuf;
use crate::registry::cache::Cached;

/// About how large the pieces are, in bytes.
const PIECE: usize = 64 << 10;

/// In what encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListEncoding {
    Json,
    /// Every object has been encoded before.
    Protobuf,
}

pub(super) struct ListBody {
    encoding: ListEncoding,
    /// What comes before the objects; empty once it is sent.
    head: Vec<u8>,
    tail: &'static [u8],
    objects: Vec<Arc<Cached>>,
    /// The next object.
    at: usize,
    /// How many bytes are yet to be sent.
    left: usize,
}

impl ListBody {
    /// A list of these objects, between its head and its tail.
    pub(super) fn new(encoding: ListEncoding, head: Vec<u8>, objects: Vec<Arc<Cached>>, tail: &'static [u8]) -> Self {
        let left = head.len() + items_bytes(encoding, &objects) + tail.len();
        Self { encoding, head, tail, objects, at: 0, left }
    }

    fn piece(&mut self) -> Bytes {
        let mut out = std::mem::take(&mut self.head);
        out.reserve(self.left.min(PIECE + PIECE / 8));
        while let Some(cached) = self.objects.get(self.at) {
            match self.encoding {
                ListEncoding::Json => {
                    if self.at > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(&cached.bytes);
                }
                ListEncoding::Protobuf => protobuf::put_item(&mut out, cached.encoded()),
            }
            self.at += 1;
            if out.len() >= PIECE {
                break;
            }
        }
        if self.at == self.objects.len() {
            out.extend_from_slice(self.tail);
            self.objects = Vec::new();
            self.at = 0;
            self.tail = b"";
        }
        self.left -= out.len();
        out.into()
    }
}

/// How many bytes the objects of a list take.
pub(super) fn items_bytes(encoding: ListEncoding, objects: &[Arc<Cached>]) -> usize {
    match encoding {
        ListEncoding::Json => {
            objects.iter().map(|cached| cached.bytes.len()).sum::<usize>() + objects.len().saturating_sub(1)
        }
        ListEncoding::Protobuf => objects.iter().map(|cached| protobuf::item_size(cached.encoded().len())).sum(),
    }
}

impl Body for ListBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::data(self.piece()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}
