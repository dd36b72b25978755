//! Parts of the server that answer requests which are not plain reads and writes of stored objects.

use async_trait::async_trait;
use http::{Request, Response};

use crate::body::Body;
use crate::request::RequestInfo;

/// Answers some requests: discovery, health, reviews, tokens, connections into pods.
///
/// Endpoints are asked in order, after authentication and authorization and before the registry. Requests carry a
/// [`Context`](crate::request::Context) in their extensions, and hyper's `OnUpgrade` where they came over a connection
/// that can be upgraded.
#[async_trait]
pub trait Endpoint: Send + Sync + 'static {
    /// Whether it answers such requests.
    fn handles(&self, info: &RequestInfo) -> bool;

    /// Whether it takes bodies as they come, in whatever encoding. Others get them in JSON.
    fn takes_any_encoding(&self) -> bool {
        false
    }

    /// Answers.
    async fn call(&self, request: Request<Body>) -> Response<Body>;
}
