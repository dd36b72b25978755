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
enum ListEncoding {
    Json,
    /// Every object has been encoded before.
    Protobuf,
}

pub(super) struct ListBody {
    encoding: ListEncoding,
    /// What comes before the objects; empty once it is sent.
    head: Vec<u8>,
    tail: &'static [u8],
    /// How objects in JSON begin that shall not say their version and kind, for the list says it; else empty.
    types: String,
    objects: Vec<Arc<Cached>>,
    /// The next object.
    at: usize,
    /// How many bytes are yet to be sent.
    left: usize,
}

impl ListBody {
    /// A list of these objects in JSON, between its head and its tail. They leave out `types`: the beginning of an object
    /// with its version and kind.
    pub(super) fn json(head: Vec<u8>, objects: Vec<Arc<Cached>>, tail: &'static [u8], types: String) -> Self {
        let items: usize = objects.iter().map(|cached| 1 + inside(&cached.bytes, &types).len()).sum();
        let left = head.len() + items + objects.len().saturating_sub(1) + tail.len();
        Self { encoding: ListEncoding::Json, head, tail, types, objects, at: 0, left }
    }

    /// A list of these objects in protobuf.
    pub(super) fn protobuf(head: Vec<u8>, objects: Vec<Arc<Cached>>, tail: &'static [u8]) -> Self {
        let left = head.len() + protobuf_bytes(&objects) + tail.len();
        Self { encoding: ListEncoding::Protobuf, head, tail, types: String::new(), objects, at: 0, left }
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
                    out.push(b'{');
                    out.extend_from_slice(inside(&cached.bytes, &self.types));
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

/// What follows an object's opening brace, or its version and kind.
fn inside<'a>(object: &'a [u8], types: &str) -> &'a [u8] {
    let without = (!types.is_empty()).then(|| object.strip_prefix(types.as_bytes())).flatten();
    without.or_else(|| object.strip_prefix(b"{")).unwrap_or(object)
}

/// How many bytes the objects of a list take in protobuf.
pub(super) fn protobuf_bytes(objects: &[Arc<Cached>]) -> usize {
    objects.iter().map(|cached| protobuf::item_size(cached.encoded().len())).sum()
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
