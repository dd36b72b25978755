//! `/openapi/v2` and `/openapi/v3`: the structure of everything served, for clients that validate, explain and patch.

mod operations;
mod schemas;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use async_trait::async_trait;
use http::{HeaderMap, Request, Response, StatusCode, header};
use kubewright_api::status::Status;
use serde_json::{Map, Value, json};

use super::Document;
use super::groups::{api_version, groups};
use crate::aggregate::Extensions;
use crate::body::{self, Body};
use crate::custom::{self, Openapi};
use crate::registry::ResourceInfo;
use crate::registry::table::Resources;
use crate::request::RequestInfo;
use crate::server::Endpoint;

/// Which version of OpenAPI a document is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flavor {
    V2,
    V3,
}

/// Documents by path, made when they are first asked for.
type Documents = BTreeMap<String, Document>;

/// Documents of group versions that are all built in, made once for all servers of the process.
static BUILT_IN: LazyLock<Mutex<Documents>> = LazyLock::new(Mutex::default);

/// Answers OpenAPI requests.
pub struct OpenApi {
    resources: Arc<Resources>,
    /// Other servers' documents are theirs to answer; only the index names them.
    extensions: Arc<Extensions>,
    /// Of what isn't built in, and of everything, with the count of changes that they were made at.
    made: Mutex<((u64, u64), Documents)>,
}

/// `api/v1` or `apis/apps/v1`.
fn path_of(group: &str, version: &str) -> String {
    let prefix = if group.is_empty() { "api" } else { "apis" };
    format!("{prefix}/{}", api_version(group, version))
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": super::GIT_VERSION})
}

/// A resource and, where it isn't built in, its published schema.
type Row = (Arc<ResourceInfo>, Option<Arc<Value>>);

fn parts_of(rows: &[Row], flavor: Flavor) -> (Map<String, Value>, Map<String, Value>) {
    let mut paths = Map::new();
    let mut wanted = BTreeSet::new();
    let mut own = Map::new();
    for (row, schema) in rows {
        operations::add(row, schema.is_some(), flavor, &mut paths, &mut wanted);
        if let Some(schema) = schema {
            wanted.insert("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
            wanted.insert("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta");
            let openapi = if flavor == Flavor::V2 { Openapi::V2 } else { Openapi::V3 };
            let published = custom::publish(schema, &row.group, &row.version, &row.kind, openapi);
            let name = operations::custom_name(row, &row.kind);
            own.insert(operations::custom_name(row, &row.list_kind), list_schema(row, &name, flavor));
            own.insert(name, published);
        }
    }
    let mut schemas = schemas::closure(wanted, flavor);
    schemas.append(&mut own);
    (paths, schemas)
}

fn list_schema(row: &ResourceInfo, item: &str, flavor: Flavor) -> Value {
    let metadata = schemas::reference("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta", flavor);
    json!({
        "type": "object", "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": metadata,
            "items": {"type": "array", "items": schemas::reference(item, flavor)},
        },
        "x-kubernetes-group-version-kind":
            [{"group": row.group, "version": row.version, "kind": row.list_kind}],
    })
}

fn v3_document(rows: &[Row]) -> Value {
    let (paths, schemas) = parts_of(rows, Flavor::V3);
    let schemes = json!({"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}});
    json!({
        "openapi": "3.0.0", "info": info(), "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": schemes},
    })
}

fn v2_document(rows: &[Row]) -> Value {
    let (paths, definitions) = parts_of(rows, Flavor::V2);
    json!({"swagger": "2.0", "info": info(), "paths": paths, "definitions": definitions})
}

impl OpenApi {
    /// Of these resources.
    pub(crate) fn new(resources: Arc<Resources>, extensions: Arc<Extensions>) -> Self {
        Self { resources, extensions, made: Mutex::default() }
    }

    fn rows(&self, infos: &[Arc<ResourceInfo>]) -> Vec<Row> {
        let schema = |info: &ResourceInfo| self.resources.published_schema(&info.group, &info.version, &info.plural);
        infos.iter().map(|info| (Arc::clone(info), schema(info))).collect()
    }

    /// The document of that path, made if need be; `None` if there is nothing to make it of.
    fn document(&self, path: &str, make: impl FnOnce() -> Option<Value>) -> Option<Document> {
        let generation = (self.resources.generation(), self.extensions.generation());
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.0 != generation {
            *made = (generation, Documents::new());
        }
        if let Some(document) = made.1.get(path) {
            return Some(document.clone());
        }
        let document = Document::new(&make()?);
        made.1.insert(path.to_owned(), document.clone());
        Some(document)
    }

    fn v3(&self, path: &str) -> Option<Document> {
        let groups = groups(&self.resources.infos().0);
        let versions = groups.iter().flat_map(|group| group.versions.iter().map(move |entry| (group, entry)));
        let (_, (_, infos)) =
            versions.into_iter().find(|(group, (version, _))| path_of(&group.name, version) == path)?;
        let rows = self.rows(infos);
        if !is_all_built_in(&rows) {
            return self.document(path, || Some(v3_document(&rows)));
        }
        let mut made = BUILT_IN.lock().unwrap_or_else(PoisonError::into_inner);
        Some(made.entry(path.to_owned()).or_insert_with(|| Document::new(&v3_document(&rows))).clone())
    }

    fn v2(&self) -> Option<Document> {
        let rows = self.rows(&self.resources.infos().0);
        if !is_all_built_in(&rows) {
            return self.document("v2", || Some(v2_document(&rows)));
        }
        let mut made = BUILT_IN.lock().unwrap_or_else(PoisonError::into_inner);
        Some(made.entry("v2".to_owned()).or_insert_with(|| Document::new(&v2_document(&rows))).clone())
    }

    /// Where the documents are. Their structure is named in URLs that clients may cache: the build's, or what was
    /// defined since.
    fn index(&self) -> Option<Document> {
        self.document("index", || {
            let mut paths = Map::new();
            for group in groups(&self.resources.infos().0) {
                for (version, infos) in &group.versions {
                    let rows = self.rows(infos);
                    let path = path_of(&group.name, version);
                    let mut structure = super::GIT_VERSION.to_owned();
                    for (info, schema) in rows.iter().filter(|_| !is_all_built_in(&rows)) {
                        structure.push_str(&format!("{info:?}{schema:?}"));
                    }
                    let hash = super::hash(structure.as_bytes());
                    paths.insert(path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}));
                }
            }
            for extension in self.extensions.all().into_iter().filter(|extension| extension.available) {
                let path = path_of(&extension.group, &extension.version);
                paths.insert(path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}")}));
            }
            Some(json!({"paths": paths}))
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
            "/openapi/v2" => self.v2(),
            "/openapi/v3" => self.index(),
            path => path.strip_prefix("/openapi/v3/").and_then(|path| self.v3(path)),
        }
        .map_or_else(|| body::status(&Status::no_such_path()), |document| document.serve(headers, JSON))
    }
}

/// Whether these are all that a group version has when nothing was left out or added.
fn is_all_built_in(rows: &[Row]) -> bool {
    let whole = |info: &ResourceInfo| {
        let built_in = kubewright_api::resources::built_in().iter();
        built_in.filter(|row| row.group == info.group && row.version == info.version).count()
    };
    rows.iter().all(|(_, schema)| schema.is_none())
        && rows.first().is_some_and(|(first, _)| {
            let same = |(info, _): &&Row| info.group == first.group && info.version == first.version;
            rows.iter().filter(same).count() == whole(first)
        })
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

    fn all() -> OpenApi {
        OpenApi::new(Arc::new(Resources::new(&Default::default(), Default::default())), Arc::default())
    }

    fn value(document: Option<Document>) -> Value {
        serde_json::from_slice(&document.unwrap().bytes).unwrap()
    }

    #[test]
    fn references_point_at_something() {
        let openapi = all();
        let v2 = value(openapi.v2());
        check_references(&v2, &v2);
        for path in value(openapi.index())["paths"].as_object().unwrap().keys() {
            let v3 = value(openapi.v3(path));
            check_references(&v3, &v3);
        }
    }

    #[test]
    fn a_patch_says_that_fields_are_validated() {
        let openapi = all();
        let document = value(openapi.v3("apis/apps/v1"));
        let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        let names: Vec<_> = patch["parameters"].as_array().unwrap().iter().map(|p| p["name"].clone()).collect();
        assert!(names.contains(&"fieldValidation".into()));
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
        assert!(openapi.v3("apis/nonsense/v1").is_none());
    }

    #[test]
    fn lists_tell_how_they_merge() {
        let document = value(all().v2());
        let containers = &document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["x-kubernetes-list-type"], "map");
    }
}
