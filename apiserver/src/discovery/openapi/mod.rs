//! `/openapi/v2` and `/openapi/v3`: the structure of everything served, for clients that validate, explain and patch.

mod operations;
mod schemas;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use http::{HeaderMap, Request, Response, StatusCode, header};
use kubewright_api::resources::Resource;
use kubewright_api::status::Status;
use serde_json::{Map, Value, json};

use super::Document;
use super::groups::{api_version, groups};
use crate::body::{self, Body};
use crate::request::RequestInfo;
use crate::server::Endpoint;

/// Which version of OpenAPI a document is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flavor {
    V2,
    V3,
}

/// Answers OpenAPI requests. Each document is made when it is first asked for.
#[derive(Debug, Default)]
pub struct OpenApi {
    v2: OnceLock<Document>,
    v3: Mutex<BTreeMap<String, Document>>,
    index: OnceLock<Document>,
}

/// `api/v1` or `apis/apps/v1`.
fn path_of(group: &str, version: &str) -> String {
    let prefix = if group.is_empty() { "api" } else { "apis" };
    format!("{prefix}/{}", api_version(group, version))
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": super::GIT_VERSION})
}

fn parts_of(rows: &[&'static Resource], flavor: Flavor) -> (Map<String, Value>, Map<String, Value>) {
    let mut paths = Map::new();
    let mut wanted = BTreeSet::new();
    for row in rows {
        operations::add(row, flavor, &mut paths, &mut wanted);
    }
    (paths, schemas::closure(wanted, flavor))
}

fn v3_document(rows: &[&'static Resource]) -> Value {
    let (paths, schemas) = parts_of(rows, Flavor::V3);
    let schemes = json!({"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}});
    json!({
        "openapi": "3.0.0", "info": info(), "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": schemes},
    })
}

fn v2_document() -> Value {
    let rows: Vec<&Resource> = kubewright_api::resources::built_in().iter().collect();
    let (paths, definitions) = parts_of(&rows, Flavor::V2);
    json!({"swagger": "2.0", "info": info(), "paths": paths, "definitions": definitions})
}

impl OpenApi {
    /// Of the built-in resources.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn v3(&self, path: &str) -> Option<Document> {
        let mut made = self.v3.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = made.get(path) {
            return Some(document.clone());
        }
        for group in groups() {
            for (version, rows) in &group.versions {
                if path_of(group.name, version) == path {
                    let document = Document::new(&v3_document(rows));
                    made.insert(path.to_owned(), document.clone());
                    return Some(document);
                }
            }
        }
        None
    }

    /// The structure changes with the build alone, so that its version names it in URLs that clients may cache.
    fn index(&self) -> &Document {
        self.index.get_or_init(|| {
            let hash = super::hash(super::GIT_VERSION.as_bytes());
            let mut paths = Map::new();
            for group in groups() {
                for (version, _) in &group.versions {
                    let path = path_of(group.name, version);
                    let url = format!("/openapi/v3/{path}?hash={hash}");
                    paths.insert(path, json!({"serverRelativeURL": url}));
                }
            }
            Document::new(&json!({"paths": paths}))
        })
    }

    fn answer(&self, path: &str, headers: &HeaderMap) -> Response<Body> {
        const JSON: &str = "application/json";
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut accepted = accepted.flat_map(|list| list.split(',')).map(str::trim).peekable();
        let json =
            |entry: &str| entry.starts_with(JSON) || entry.starts_with("*/*") || entry.starts_with("application/*");
        if accepted.peek().is_some() && !accepted.any(json) {
            return body::text(StatusCode::NOT_ACCEPTABLE, "only application/json can be had\n");
        }
        match path.trim_end_matches('/') {
            "/openapi/v2" => self.v2.get_or_init(|| Document::new(&v2_document())).serve(headers, JSON),
            "/openapi/v3" => self.index().serve(headers, JSON),
            path => match path.strip_prefix("/openapi/v3/").and_then(|path| self.v3(path)) {
                Some(document) => document.serve(headers, JSON),
                None => body::status(&Status::no_such_path()),
            },
        }
    }
}

#[async_trait]
impl Endpoint for OpenApi {
    fn handles(&self, info: &RequestInfo) -> bool {
        info.path.starts_with("/openapi/")
    }

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        self.answer(request.uri().path(), request.headers())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` in a document points at something in it.
    fn check_references(document: &Value, root: &Value) {
        match document {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    let pointer = reference.trim_start_matches('#');
                    assert!(root.pointer(pointer).is_some(), "{reference} points nowhere");
                }
                map.values().for_each(|value| check_references(value, root));
            }
            Value::Array(list) => list.iter().for_each(|value| check_references(value, root)),
            _ => {}
        }
    }

    #[test]
    fn references_point_at_something() {
        let v2 = v2_document();
        check_references(&v2, &v2);
        for group in groups() {
            for (_, rows) in &group.versions {
                let v3 = v3_document(rows);
                check_references(&v3, &v3);
            }
        }
    }

    #[test]
    fn a_patch_says_that_fields_are_validated() {
        let openapi = OpenApi::new();
        let document = openapi.v3("apis/apps/v1").unwrap();
        let document: Value = serde_json::from_slice(&document.bytes).unwrap();
        let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        let names: Vec<_> = patch["parameters"].as_array().unwrap().iter().map(|p| p["name"].clone()).collect();
        assert!(names.contains(&"fieldValidation".into()));
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
        assert!(openapi.v3("apis/nonsense/v1").is_none());
    }

    #[test]
    fn lists_tell_how_they_merge() {
        let document = v2_document();
        let containers = &document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["x-kubernetes-list-type"], "map");
    }
}
