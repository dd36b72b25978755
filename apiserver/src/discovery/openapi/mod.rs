//! `/openapi/v2` and `/openapi/v3`: the structure of everything served, for clients that validate, explain and patch.

mod descriptions;
mod document;
mod merge;
mod names;
mod operation;
mod operations;
mod pages;
mod protobuf;
mod schemas;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use kubewright_api::status::Status;
use serde_json::{Map, Value, json};

use super::Document;
use super::groups::{api_version, groups};
use crate::aggregate::Extensions;
use crate::body::{self, Body};
use crate::registry::ResourceInfo;
use crate::registry::table::Resources;
use crate::request::RequestInfo;
use crate::server::Endpoint;
use document::Row;
pub(crate) use merge::of_group;

const JSON: &str = "application/json";
/// What clients of Go ask for, under either name.
const PROTOBUF_V2: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
];
const PROTOBUF_V3: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
];

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

impl OpenApi {
    /// Of these resources.
    pub(crate) fn new(resources: Arc<Resources>, extensions: Arc<Extensions>) -> Self {
        Self { resources, extensions, made: Mutex::default() }
    }

    fn rows(&self, infos: &[Arc<ResourceInfo>]) -> Vec<Row> {
        let schema = |info: &ResourceInfo| {
            let known = kubewright_api::resources::find(&info.group, &info.version, &info.plural).is_some();
            let published = self.resources.published_schema(&info.group, &info.version, &info.plural);
            // Of an embedder's kind without a schema there is no more to say than that it is one.
            let anything = || Arc::new(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
            published.or_else(|| (!known).then(anything))
        };
        infos.iter().map(|info| (Arc::clone(info), schema(info))).collect()
    }

    /// The document of that path, made if need be; `None` if there is nothing to make it of.
    fn document(&self, path: &str, make: impl FnOnce() -> Option<Document>) -> Option<Document> {
        let generation = (self.resources.generation(), self.extensions.generation());
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.0 != generation {
            *made = (generation, Documents::new());
        }
        if let Some(document) = made.1.get(path) {
            return Some(document.clone());
        }
        let document = make()?;
        made.1.insert(path.to_owned(), document.clone());
        Some(document)
    }

    /// A document that `make` makes of what there is when it is called: once for the process if that is just what is
    /// built in.
    fn made(&self, path: &str, built_in: bool, make: impl FnOnce() -> Option<Document>) -> Option<Document> {
        if !built_in {
            return self.document(path, make);
        }
        let mut made = BUILT_IN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = made.get(path) {
            return Some(document.clone());
        }
        let document = make()?;
        made.insert(path.to_owned(), document.clone());
        Some(document)
    }

    /// The page of that path that tells what there is.
    fn page(&self, path: &str) -> Option<pages::Page> {
        let groups = groups(&self.resources.infos().0).into_iter().map(|group| group.name);
        pages::of_server(groups).into_iter().find(|page| page.path.trim_matches('/') == path)
    }

    /// The resources of the group and version of that path.
    fn version(&self, path: &str) -> Option<Vec<Row>> {
        groups(&self.resources.infos().0).into_iter().find_map(|group| {
            let mut versions = group.versions.iter();
            let (_, infos) = versions.find(|(version, _)| path_of(&group.name, version) == path)?;
            Some(self.rows(infos))
        })
    }

    fn v3(&self, path: &str) -> Option<Document> {
        let Some(rows) = self.version(path) else {
            return self.document(path, || Some(Document::new(&document::v3_of_page(&self.page(path)?))));
        };
        self.made(path, is_all_built_in(&rows), || Some(Document::new(&document::v3(&self.version(path)?))))
    }

    /// Everything there is, here and behind, in one document.
    fn v2(&self) -> Option<Document> {
        let rows = || self.rows(&self.resources.infos().0);
        let parts = || self.extensions.all().into_iter().filter_map(|other| other.openapi.clone());
        let built_in = parts().next().is_none() && is_everything_built_in(&rows());
        self.made("v2", built_in, || {
            let mut document = document::v2(&rows());
            parts().for_each(|part| merge::add(&mut document, &part));
            Some(Document::new(&document))
        })
    }

    /// The document of that path in protobuf, under the same tag: answers vary by what is accepted.
    fn protobuf(&self, path: &str, json: &Document) -> Option<Document> {
        let make = || {
            let document: Value = serde_json::from_slice(&json.bytes).ok()?;
            Some(Document::tagged(protobuf::encode(&document), json.etag.clone()))
        };
        let known = BUILT_IN.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        let built_in = known.is_some_and(|known| known.etag == json.etag);
        self.made(&format!("{path} {}", json.etag), built_in, make)
    }

    /// Where the documents are. Their structure is named in URLs that clients may cache: the build's, or what was
    /// defined since.
    fn index(&self) -> Option<Document> {
        self.document("index", || {
            let mut paths = Map::new();
            let own: Vec<String> = groups(&self.resources.infos().0).into_iter().map(|group| group.name).collect();
            for page in pages::of_server(own.into_iter()) {
                let path = page.path.trim_matches('/');
                let place = format!("/openapi/v3/{path}?hash={}", page_hash(path));
                paths.insert(path.to_owned(), json!({"serverRelativeURL": place}));
            }
            for group in groups(&self.resources.infos().0) {
                for (version, infos) in &group.versions {
                    let path = path_of(&group.name, version);
                    let hash = hash(&self.rows(infos));
                    paths.insert(path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}));
                }
            }
            for extension in self.extensions.all().into_iter().filter(|extension| extension.available) {
                let path = path_of(&extension.group, &extension.version);
                paths.insert(path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}")}));
            }
            Some(Document::new(&json!({"paths": paths})))
        })
    }

    /// The document of one group and version. Under the address that names its structure it can be kept for good.
    fn v3_answer(&self, path: &str, form: &'static str, uri: &Uri, headers: &HeaderMap) -> Option<Response<Body>> {
        let asked = uri.query().unwrap_or_default().split('&').find_map(|part| part.strip_prefix("hash="));
        let current = match (asked, self.version(path)) {
            (Some(_), Some(rows)) => hash(&rows),
            (Some(_), None) => page_hash(path),
            (None, _) => String::new(),
        };
        if asked.is_some_and(|asked| asked != current) {
            let mut response = Response::new(body::empty());
            *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
            let place = format!("/openapi/v3/{path}?hash={current}");
            response.headers_mut().insert(header::LOCATION, HeaderValue::try_from(place).ok()?);
            return Some(response);
        }
        let json = self.v3(path)?;
        let mut response = match form {
            JSON => json.serve(headers, JSON),
            _ => self.protobuf(path, &json)?.serve(headers, PROTOBUF_V3[0]),
        };
        let kept = if asked.is_some() { "public, immutable, max-age=31536000" } else { "no-cache, private" };
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
        Some(response)
    }

    fn answer(&self, uri: &Uri, headers: &HeaderMap) -> Response<Body> {
        let path = uri.path().trim_end_matches('/');
        let protobuf = match path {
            "/openapi/v2" => &PROTOBUF_V2[..],
            "/openapi/v3" => &[],
            _ => &PROTOBUF_V3,
        };
        let choices = [&[JSON], protobuf].concat();
        let Some(form) = accepted(headers, &choices) else {
            return body::text(StatusCode::NOT_ACCEPTABLE, format!("only {} can be had\n", choices.join(" and ")));
        };
        let found = match path {
            "/openapi/v2" if form == JSON => self.v2().map(|document| document.serve(headers, JSON)),
            "/openapi/v2" => {
                let made = self.v2().and_then(|json| self.protobuf("v2", &json));
                made.map(|document| document.serve(headers, PROTOBUF_V2[0]))
            }
            "/openapi/v3" => self.index().map(|document| document.serve(headers, JSON)),
            path => path.strip_prefix("/openapi/v3/").and_then(|path| self.v3_answer(path, form, uri, headers)),
        };
        found.unwrap_or_else(|| body::status(&Status::no_such_path()))
    }
}

/// Names the structure of a page that tells what there is.
fn page_hash(path: &str) -> String {
    super::hash(format!("{}{path}", super::GIT_VERSION).as_bytes())
}

/// Names the structure of these resources.
fn hash(rows: &[Row]) -> String {
    let mut structure = format!("{}{}", super::GIT_VERSION, cfg!(feature = "descriptions"));
    for (info, schema) in rows.iter().filter(|_| !is_all_built_in(rows)) {
        structure.push_str(&format!("{info:?}{schema:?}"));
    }
    super::hash(structure.as_bytes())
}

/// The first of the choices that is accepted, in the order of what is accepted.
fn accepted(headers: &HeaderMap, choices: &[&'static str]) -> Option<&'static str> {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut accepted =
        accepted.flat_map(|list| list.split(',')).map(str::trim).filter(|entry| !entry.is_empty()).peekable();
    if accepted.peek().is_none() {
        return choices.first().copied();
    }
    accepted.find_map(|entry| match entry.split(';').next().unwrap_or_default().trim() {
        "*/*" | "application/*" => choices.first().copied(),
        entry => choices.iter().copied().find(|choice| *choice == entry),
    })
}

/// Whether these are all the built-in resources and nothing else.
fn is_everything_built_in(rows: &[Row]) -> bool {
    rows.iter().all(|(_, schema)| schema.is_none()) && rows.len() == kubewright_api::resources::built_in().len()
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
        self.answer(request.uri(), request.headers())
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
    fn groups_have_pages_and_all_can_be_had_in_protobuf() {
        let openapi = all();
        let page = value(openapi.v3("apis/apps"));
        assert_eq!(page["paths"]["/apis/apps/"]["get"]["operationId"], "getAppsAPIGroup");
        for path in ["apis/apps", "apis/apps/v1", "version"] {
            let json = openapi.v3(path).unwrap();
            let encoded = openapi.protobuf(path, &json).unwrap();
            assert_eq!(encoded.etag, json.etag);
            assert!(encoded.bytes.starts_with(b"\x0a\x053.0.0"), "{path}");
        }
        assert!(openapi.v3("apis/nonsense").is_none());
    }

    #[test]
    fn a_kind_of_the_embedders_is_published_even_without_a_schema() {
        struct Plain;
        impl crate::registry::Strategy for Plain {}
        let lamps =
            crate::registry::OwnResource::new(ResourceInfo::new("home.example.com", "v1", "Lamp"), Arc::new(Plain));
        let choice = crate::registry::table::Choice { own: vec![lamps], ..Default::default() };
        let openapi = OpenApi::new(Arc::new(Resources::new(&choice, Default::default())), Arc::default());
        let document = value(openapi.v3("apis/home.example.com/v1"));
        let schema = &document["components"]["schemas"]["com.example.home.v1.Lamp"];
        assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "Lamp");
        check_references(&document, &document);
    }

    #[test]
    fn operations_and_parameters_are_described() {
        let document = value(all().v2());
        let pods = &document["paths"]["/api/v1/namespaces/{namespace}/pods"];
        assert_eq!(pods["get"]["description"], "list or watch objects of kind Pod");
        let all = pods["get"]["parameters"].as_array().unwrap().iter().chain(pods["parameters"].as_array().unwrap());
        let undescribed: Vec<_> = all.filter(|parameter| parameter["description"].is_null()).collect();
        assert!(undescribed.is_empty(), "{undescribed:?}");
        let services = &document["definitions"]["io.k8s.api.core.v1.ServiceList"]["properties"]["items"];
        assert_eq!(services["description"], "List of services");
    }

    #[test]
    fn lists_tell_how_they_merge() {
        let document = value(all().v2());
        let containers = &document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["x-kubernetes-list-type"], "map");
    }
}
