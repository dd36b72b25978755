//! Statuses, reviews and other small documents in protobuf, for those who would rather have that, and indented for people.

use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;

use super::{Next, Step};
use crate::body::{self, Body, Document};
use crate::object::protobuf;
use crate::server::{prefers_protobuf, pretty};

/// The step. Handlers encode stored objects by themselves; this encodes what is left, after it was logged.
#[derive(Clone, Copy, Debug)]
pub struct Encode;

#[async_trait]
impl Step for Encode {
    async fn call(&self, request: Request<Body>, next: Next) -> Response<Body> {
        let wanted = prefers_protobuf(request.headers());
        let indented = pretty::wanted(&request);
        let response = next(request).await;
        // Who hears that nothing acceptable can be made hears it in JSON.
        let made = response.status() != StatusCode::NOT_ACCEPTABLE;
        if !(indented || wanted && made) || response.extensions().get::<Document>().is_none() {
            return response;
        }
        let (parts, body) = response.into_parts();
        // Documents are in memory: reading them cannot fail.
        let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        if !(wanted && made) {
            return Response::from_parts(parts, body::full(pretty::indent(&bytes)));
        }
        let encoded = serde_json::from_slice::<Value>(&bytes).ok().and_then(|value| protobuf::encode(&value).ok());
        let Some(encoded) = encoded else { return Response::from_parts(parts, body::full(bytes)) };
        let mut response = body::protobuf(parts.status, encoded);
        for (name, value) in &parts.headers {
            response.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        response
    }
}
