//! One request, one answer: a message in a frame of five bytes and its length, and the status behind it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use prost::Message;
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;

use super::http2::send_in_turn;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const PREFIX: usize = 5;
/// Larger answers do not wait in the connection, in bytes.
pub(super) const WAITS_MAX: usize = 16 << 10;

/// Reads the one message of a request.
pub(super) async fn request<B, Q>(body: B, bytes_max: usize) -> Result<Q, Status>
where
    B: HttpBody + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError> + Send,
    Q: Message + Default,
{
    let mut body = std::pin::pin!(body);
    // Nearly always it comes in one piece, which is not copied.
    let (mut bytes, mut more) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::cancelled(format!("the request broke off: {}", error.into())))?;
        let Ok(mut data) = frame.into_data() else { continue };
        if bytes.len() + more.len() + data.remaining() > bytes_max + PREFIX {
            return Err(Status::resource_exhausted(format!("etcdserver: request is larger than {bytes_max} bytes")));
        }
        if bytes.is_empty() {
            bytes = data.copy_to_bytes(data.remaining());
        } else {
            more.put(data);
        }
        if body.is_end_stream() {
            break;
        }
    }
    if !more.is_empty() {
        bytes = [bytes, more.freeze()].concat().into();
    }
    if bytes.len() < PREFIX {
        return Err(Status::internal("a request without a message"));
    }
    if bytes.get_u8() != 0 {
        return Err(Status::unimplemented("compressed messages are not taken"));
    }
    if bytes.get_u32() as usize != bytes.len() {
        return Err(Status::internal("a message of another length than it says"));
    }
    Q::decode(bytes).map_err(|error| Status::internal(format!("a message that does not decode: {error}")))
}

/// Something that is sent as a message.
pub(super) trait Encode {
    fn size(&self) -> usize;
    fn put(&self, to: &mut BytesMut);
}

impl<M: Message> Encode for M {
    fn size(&self) -> usize {
        self.encoded_len()
    }

    fn put(&self, to: &mut BytesMut) {
        self.encode_raw(to);
    }
}

/// A request that was carried out.
pub(super) fn answer(message: &impl Encode) -> Response<Body> {
    head(Body::new(Answer(Stage::Message(framed(message, message.size())))))
}

/// The same, straight into the connection. What is small may wait in there; of what is large no more is made at a time
/// than there are places for, and it goes as the client makes room: one that asks and does not read costs little.
pub(super) async fn send(
    message: &impl Encode,
    mut respond: SendResponse<Bytes>,
    places: &Semaphore,
) -> Result<(), h2::Error> {
    let length = message.size();
    if length <= WAITS_MAX {
        let mut to = respond.send_response(head(()), false)?;
        to.send_data(framed(message, length), false)?;
        return to.send_trailers(trailers());
    }
    // Nobody closes it.
    let _place = places.acquire().await;
    let mut to = respond.send_response(head(()), false)?;
    send_in_turn(&mut to, framed(message, length)).await?;
    to.send_trailers(trailers())
}

fn framed(message: &impl Encode, length: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    bytes.put_u32(length as u32);
    message.put(&mut bytes);
    bytes.freeze()
}

fn head<T>(body: T) -> Response<T> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers
}

struct Answer(Stage);

enum Stage {
    Message(Bytes),
    Status,
    Done,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let (frame, next) = match std::mem::replace(&mut self.0, Stage::Done) {
            Stage::Message(bytes) => (Frame::data(bytes), Stage::Status),
            Stage::Status => (Frame::trailers(trailers()), Stage::Done),
            Stage::Done => return Poll::Ready(None),
        };
        self.0 = next;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Stage::Done)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Stage::Message(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Stage::Status | Stage::Done => SizeHint::with_exact(0),
        }
    }
}
