//! Long answers are compressed for whoever takes gzip, as upstream does from 128 KiB on.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt;

use super::{Next, Step};
use crate::body::{Body, BoxError, PassedOn};

/// Shorter answers take longer to compress than to send.
const BYTES_MIN: u64 = 128 << 10;
/// How much is compressed before others on the thread get their turn.
const PIECE: usize = 64 << 10;

/// The step.
#[derive(Clone, Copy, Debug)]
pub struct Compress;

#[async_trait]
impl Step for Compress {
    async fn call(&self, request: Request<Body>, next: Next) -> Response<Body> {
        let wanted = *request.method() == Method::GET && takes_gzip(request.headers());
        let response = next(request).await;
        if !wanted || !is_worth_it(&response) {
            return response;
        }
        let (mut parts, body) = response.into_parts();
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        parts.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        Response::from_parts(parts, Gzip::new(body).boxed_unsync())
    }
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|clause| {
        let mut parts = clause.split(';').map(str::trim);
        let refused = |weight: &str| weight.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        matches!(parts.next(), Some("gzip" | "*")) && !parts.any(refused)
    })
}

fn is_worth_it(response: &Response<Body>) -> bool {
    use http_body::Body as _;
    // Streams have no length, and their events wait for nothing.
    let length = response.body().size_hint().exact();
    response.status() == StatusCode::OK
        && length.is_some_and(|length| length >= BYTES_MIN)
        && !response.headers().contains_key(header::CONTENT_ENCODING)
        && response.extensions().get::<PassedOn>().is_none()
}

/// A body that is compressed while it is sent.
struct Gzip {
    inner: Body,
    /// What came and is not compressed yet.
    waiting: Bytes,
    /// `None` once it is finished.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Gzip {
    fn new(inner: Body) -> Self {
        Self { inner, waiting: Bytes::new(), encoder: Some(GzEncoder::new(Vec::new(), Compression::fast())) }
    }
}

impl http_body::Body for Gzip {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let this = &mut *self;
            let Some(encoder) = &mut this.encoder else { return Poll::Ready(None) };
            if !encoder.get_ref().is_empty() {
                let made = std::mem::take(encoder.get_mut());
                return Poll::Ready(Some(Ok(Frame::data(made.into()))));
            }
            if this.waiting.is_empty() {
                match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                    Some(Ok(frame)) => this.waiting = frame.into_data().unwrap_or_default(),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None => {
                        let finished = this.encoder.take().map(GzEncoder::finish).transpose()?.unwrap_or_default();
                        return Poll::Ready(Some(Ok(Frame::data(finished.into()))));
                    }
                }
            }
            let piece = this.waiting.split_to(this.waiting.len().min(PIECE));
            encoder.write_all(&piece)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use futures::FutureExt;

    use super::*;
    use crate::body;

    async fn answer(accept: &'static str, length: usize) -> (Option<HeaderValue>, Bytes) {
        let text: Vec<u8> = (0..length).map(|at| b"kubewright"[at % 10]).collect();
        let request = Request::builder().header(header::ACCEPT_ENCODING, accept).body(body::empty()).unwrap();
        let next: Next = Box::new(move |_| async move { body::json_bytes(StatusCode::OK, text) }.boxed());
        let (parts, body) = Compress.call(request, next).await.into_parts();
        (parts.headers.get(header::CONTENT_ENCODING).cloned(), body.collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn long_answers_are_compressed_and_come_out_whole() {
        let length = (BYTES_MIN as usize) + 3 * PIECE + 1;
        let (encoding, bytes) = answer("deflate, gzip", length).await;
        assert_eq!(encoding.unwrap(), "gzip");
        assert!(bytes.len() < length / 20);
        let mut read = String::new();
        GzDecoder::new(&*bytes).read_to_string(&mut read).unwrap();
        assert_eq!((read.len(), &read[..12]), (length, "kubewrightku"));
    }

    #[tokio::test]
    async fn short_answers_and_clients_that_take_none_are_left_alone() {
        for (accept, length) in [("gzip", 1000), ("identity", 1 << 20), ("gzip;q=0", 1 << 20)] {
            let (encoding, bytes) = answer(accept, length).await;
            assert_eq!((encoding, bytes.len()), (None, length), "{accept}");
        }
    }
}
