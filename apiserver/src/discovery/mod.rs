//! Discovery: what the server serves, which version it is, whether it is well.
//!
//! | path | answered by |
//! |---|---|
//! | `/` | [`Index`] |
//! | `/api`, `/apis`, `/apis/GROUP`, `/api/v1`, `/apis/GROUP/VERSION` | [`Groups`], aggregated too |
//! | `/openapi/v2`, `/openapi/v3`, `/openapi/v3/…` | [`OpenApi`] |
//! | `/version` | [`Version`] |
//! | `/livez`, `/readyz`, `/healthz`, and one check each below them | [`Health`] |
//! | `/metrics` | [`MetricsPage`] |
//! | `/.well-known/openid-configuration`, `/openid/v1/jwks` | [`TokenKeys`] |

mod aggregated;
mod groups;
mod health;
mod index;
mod openapi;
mod pages;
mod resources;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use sha2::{Digest, Sha256};

pub use groups::Groups;
pub use health::{Check, Health, HealthMetrics, RemoteHealth};
pub use index::Index;
pub use openapi::OpenApi;
pub(crate) use openapi::of_group;
pub use pages::{GIT_VERSION, MetricsPage, TokenKeys, Version};
pub(crate) use pages::{KEY_SET, platform};

use crate::body::{self, Body};

/// A document that is made once and then served with an `ETag`.
#[derive(Clone, Debug)]
struct Document {
    bytes: Bytes,
    etag: String,
}

impl Document {
    fn new(value: &serde_json::Value) -> Self {
        let bytes = Bytes::from(serde_json::to_vec(value).unwrap_or_default());
        let etag = hash(&bytes);
        Self { bytes, etag }
    }

    /// The document in YAML, which few ask for: it isn't kept.
    fn in_yaml(&self) -> Self {
        let value = serde_json::from_slice(&self.bytes).unwrap_or_default();
        Self::tagged(crate::object::yaml::write(&value).into(), self.etag.clone())
    }

    /// Bytes of another form of a document, under its tag.
    fn tagged(bytes: Vec<u8>, etag: String) -> Self {
        Self { bytes: bytes.into(), etag }
    }

    /// The document, or 304 for who has it already.
    fn serve(&self, headers: &HeaderMap, content_type: &'static str) -> Response<Body> {
        let etag = format!("\"{}\"", self.etag);
        let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
            value.to_str().is_ok_and(|list| list.split(',').any(|item| item.trim().trim_start_matches("W/") == etag))
        });
        let mut response = if known {
            let mut response = Response::new(body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            body::json_bytes(StatusCode::OK, self.bytes.clone())
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        if let Ok(etag) = etag.try_into() {
            headers.insert(header::ETAG, etag);
        }
        response
    }
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}
