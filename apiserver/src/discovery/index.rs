//! `/`: the paths that the server answers.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, Request, Response, StatusCode};
use kubewright_api::status::Status;
use serde_json::json;

use super::groups::{api_version, groups};
use crate::aggregate::Extensions;
use crate::body::{self, Body};
use crate::registry::table::Resources;
use crate::request::RequestInfo;
use crate::server::Endpoint;

const PATHS: [&str; 13] = [
    "/.well-known/openid-configuration",
    "/apis",
    "/apis/",
    "/healthz",
    "/healthz/ping",
    "/livez",
    "/livez/ping",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/openapi/v3/",
    "/openid/v1/jwks",
    "/version",
];

/// Answers `/`.
pub struct Index {
    resources: Arc<Resources>,
    extensions: Arc<Extensions>,
    /// The names of checks of health.
    checks: Vec<String>,
}

impl Index {
    /// Of these resources, and of these checks beside `ping`.
    pub(crate) fn new(resources: Arc<Resources>, extensions: Arc<Extensions>, checks: Vec<String>) -> Self {
        Self { resources, extensions, checks }
    }

    fn paths(&self) -> BTreeSet<String> {
        let mut paths: BTreeSet<String> = PATHS.map(str::to_owned).into();
        paths.extend(["/readyz", "/readyz/ping"].map(str::to_owned));
        for check in &self.checks {
            paths.extend(["healthz", "livez", "readyz"].map(|page| format!("/{page}/{check}")));
        }
        let mut add = |group: &str, version: &str| {
            let prefix = if group.is_empty() { "/api" } else { "/apis" };
            let whole = if group.is_empty() { prefix.to_owned() } else { format!("{prefix}/{group}") };
            paths.extend([whole, format!("{prefix}/{}", api_version(group, version))]);
        };
        for group in groups(&self.resources.infos().0) {
            group.versions.iter().for_each(|(version, _)| add(&group.name, version));
        }
        for extension in self.extensions.all() {
            add(&extension.group, &extension.version);
        }
        paths
    }
}

#[async_trait]
impl Endpoint for Index {
    fn handles(&self, info: &RequestInfo) -> bool {
        info.path == "/"
    }

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        match *request.method() {
            Method::GET | Method::HEAD => body::json(StatusCode::OK, &json!({ "paths": self.paths() })),
            _ => body::status(&Status::method_not_allowed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_and_check_is_named() {
        let resources = Arc::new(Resources::new(&Default::default(), Default::default()));
        let paths = Index::new(resources, Arc::default(), vec!["etcd".into()]).paths();
        for path in ["/api", "/api/v1", "/apis/apps", "/apis/apps/v1", "/readyz/etcd", "/openapi/v3"] {
            assert!(paths.contains(path), "{path}");
        }
    }
}
