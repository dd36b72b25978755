//! Statuses, reviews and other small documents in protobuf or YAML, for those who would rather have that, and indented
//! for people.

use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;

use super::{Next, Step};
use crate::body::{self, Body, Document};
use crate::object::{protobuf, yaml};
use crate::server::{Encoding, preferred, pretty};

/// The step. Handlers encode stored objects by themselves; this encodes what is left, after it was logged.
#[derive(Clone, Copy, Debug)]
pub struct Encode;

#[async_trait]
impl Step for Encode {
    async fn call(&self, request: Request<Body>, next: Next) -> Response<Body> {
        let wanted = preferred(request.headers());
        let indented = pretty::wanted(&request);
        let response = next(request).await;
        // Who hears that nothing acceptable can be made hears it in JSON.
        let made = response.status() != StatusCode::NOT_ACCEPTABLE;
        let wanted = if made { wanted } else { Encoding::Json };
        if !indented && wanted == Encoding::Json || response.extensions().get::<Document>().is_none() {
            return response;
        }
        let (parts, body) = response.into_parts();
        // Documents are in memory: reading them cannot fail.
        let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        // What names no kind, such as the list of paths, is JSON for everyone.
        let value = serde_json::from_slice::<Value>(&bytes).ok().filter(|value| value["kind"].is_string());
        let encoded = match (wanted, &value) {
            (Encoding::Protobuf, Some(value)) => {
                protobuf::encode(value).ok().map(|bytes| body::protobuf(parts.status, bytes))
            }
            (Encoding::Yaml, Some(value)) => Some(body::yaml(parts.status, yaml::write(value))),
            _ => None,
        };
        let Some(mut response) = encoded else {
            let bytes = if indented { pretty::indent(&bytes).into() } else { bytes };
            return Response::from_parts(parts, body::full(bytes));
        };
        for (name, value) in &parts.headers {
            response.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        response
    }
}
