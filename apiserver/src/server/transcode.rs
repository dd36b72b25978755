//! Requests in protobuf, turned into JSON before anyone reads them. Answers become protobuf, for those who take it, in
//! [`Encode`](crate::layers::Encode); single objects are kept in protobuf beside the cache.

use bytes::BytesMut;
use http::{HeaderValue, Request, header};
use http_body_util::BodyExt;
use kubewright_api::status::Status;

use crate::body::{self, Body};
use crate::object::protobuf;

/// The request with its body in JSON.
pub(super) async fn to_json(request: Request<Body>, bytes_max: usize) -> Result<Request<Body>, Status> {
    let is_protobuf = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(';').next().unwrap_or_default().trim() == protobuf::MEDIA_TYPE);
    if !is_protobuf {
        return Ok(request);
    }
    let (mut parts, request_body) = request.into_parts();
    let bytes = read(request_body, bytes_max).await?;
    let mut json = bytes::Bytes::new();
    if !bytes.is_empty() {
        let object = protobuf::decode(&bytes).map_err(|error| Status::bad_request(error.to_string()))?;
        json = serde_json::to_vec(&object).map_err(Status::internal)?.into();
    }
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    parts.headers.insert(header::CONTENT_LENGTH, json.len().into());
    Ok(Request::from_parts(parts, body::full(json)))
}

/// Reads a body, up to the limit.
pub(super) async fn read(mut body: Body, bytes_max: usize) -> Result<bytes::Bytes, Status> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::bad_request(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > bytes_max {
            return Err(Status::too_large(&format!("limit is {bytes_max}")));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}
