//! `/version`, `/metrics`, `/metrics/slis`, and the public keys of service account tokens.

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderValue, Request, Response, StatusCode, header};
use kubewright_store::Store;
use serde_json::json;

use crate::authn::token::Issuer;
use crate::body::{self, Body};
use crate::layers::{Metrics, info_of};
use crate::registry::StorageMetrics;
use crate::request::RequestInfo;
use crate::server::Endpoint;

/// The version of the Kubernetes API that is served, and that it is this project's.
pub const GIT_VERSION: &str = concat!("v1.36.2+kubewright.", env!("CARGO_PKG_VERSION"));

/// Answers `/version`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Version;

#[async_trait]
impl Endpoint for Version {
    fn handles(&self, info: &RequestInfo) -> bool {
        matches!(info.path.as_str(), "/version" | "/version/")
    }

    async fn call(&self, _: Request<Body>) -> Response<Body> {
        let version = json!({
            "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36",
            "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
            "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "", "buildDate": "",
            // Clients show these as they are; what Go says of itself has no equal here.
            "goVersion": "", "compiler": "rustc",
            "platform": platform(),
        });
        body::json(StatusCode::OK, &version)
    }
}

/// What the server runs on, in Go's words.
pub(crate) fn platform() -> String {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{machine}", std::env::consts::OS)
}

/// Answers `/metrics` and `/metrics/slis`.
#[derive(Clone)]
pub struct MetricsPage {
    metrics: Metrics,
    /// Asked how large it is whenever someone looks.
    store: Option<(StorageMetrics, Arc<dyn Store>)>,
}

impl std::fmt::Debug for MetricsPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("MetricsPage").field(&self.metrics).finish()
    }
}

impl MetricsPage {
    /// Shows these.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, store: None }
    }

    /// Shows how large that store is too.
    pub(crate) fn of_store(mut self, metrics: StorageMetrics, store: Arc<dyn Store>) -> Self {
        self.store = Some((metrics, store));
        self
    }
}

#[async_trait]
impl Endpoint for MetricsPage {
    fn handles(&self, info: &RequestInfo) -> bool {
        matches!(info.path.as_str(), "/metrics" | "/metrics/slis")
    }

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let text = if info_of(&request).path == "/metrics/slis" {
            self.metrics.render_slis()
        } else {
            if let Some((metrics, store)) = &self.store {
                metrics.measure(&**store).await;
            }
            self.metrics.render()
        };
        let mut response = body::text(StatusCode::OK, text);
        let kind = HeaderValue::from_static(crate::metrics::MEDIA_TYPE);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

/// Answers `/.well-known/openid-configuration` and `/openid/v1/jwks`.
#[derive(Clone, Debug)]
pub struct TokenKeys {
    issuer: Arc<Issuer>,
    key_set_url: String,
}

impl TokenKeys {
    /// Publishes this issuer's keys, which whoever reads the discovery document finds at that URL. It never comes from the
    /// request: nobody else says where keys are.
    pub fn new(issuer: Arc<Issuer>, key_set_url: impl Into<String>) -> Self {
        Self { issuer, key_set_url: key_set_url.into() }
    }
}

const CONFIGURATION: &str = "/.well-known/openid-configuration";
/// Where the keys are served.
pub(crate) const KEY_SET: &str = "/openid/v1/jwks";

#[async_trait]
impl Endpoint for TokenKeys {
    fn handles(&self, info: &RequestInfo) -> bool {
        matches!(info.path.trim_end_matches('/'), CONFIGURATION | KEY_SET)
    }

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let mut response = if info_of(&request).path.trim_end_matches('/') == KEY_SET {
            let mut response = body::json(StatusCode::OK, &self.issuer.key_set());
            let kind = HeaderValue::from_static("application/jwk-set+json");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        } else {
            body::json(StatusCode::OK, &self.issuer.discovery(&self.key_set_url))
        };
        let cache = HeaderValue::from_static("public, max-age=3600");
        response.headers_mut().insert(header::CACHE_CONTROL, cache);
        response
    }
}
