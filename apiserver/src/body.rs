//! The one body type of requests and responses inside the server, and how to make responses.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use kubewright_api::status::Status;
use serde::Serialize;

/// What a transport may fail with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body of a request or a response, whatever it was made of.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body of these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body of nothing.
#[must_use]
pub fn empty() -> Body {
    full(Bytes::new())
}

/// A response of a JSON document that was encoded before.
pub fn json_bytes(code: StatusCode, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// Marks a response as a document that other encodings can be made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Document;

/// Marks another server's response, which is passed on as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PassedOn;

/// A response of a JSON document.
pub fn json(code: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let mut response = json_bytes(code, bytes);
            response.extensions_mut().insert(Document);
            response
        }
        Err(error) => status(&Status::internal(error)),
    }
}

/// A response in Kubernetes' protobuf encoding.
pub fn protobuf(code: StatusCode, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = json_bytes(code, bytes);
    let media_type = header::HeaderValue::from_static(crate::object::protobuf::MEDIA_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

/// A response in YAML.
pub fn yaml(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = json_bytes(code, text);
    let media_type = header::HeaderValue::from_static("application/yaml");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

/// A response of plain text.
pub fn text(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = json_bytes(code, text);
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// 404, where nothing is known of the path at all.
#[must_use]
pub fn no_such_page() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A response of a `Status`, with its code and, where it says so, `Retry-After`.
#[must_use]
pub fn status(status: &Status) -> Response<Body> {
    let code = if status.code == 0 { 200 } else { status.code };
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let bytes = serde_json::to_vec(status).unwrap_or_default();
    let mut response = json_bytes(code, bytes);
    response.extensions_mut().insert(Document);
    if let Some(seconds) = status.details.as_ref().map(|details| details.retry_after_seconds).filter(|s| *s > 0) {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
