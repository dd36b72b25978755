//! `/api`, `/apis` and below: groups, versions, resources.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use kubewright_api::status::Status;
use serde_json::{Value, json};

use super::{Document, aggregated, resources};
use crate::aggregate::{Extension, Extensions, priority};
use crate::body::{self, Body};
use crate::layers::info_of;
use crate::registry::ResourceInfo;
use crate::registry::table::Resources;
use crate::request::RequestInfo;
use crate::server::{Endpoint, of_document};

/// One API group with its versions, the preferred one first.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) versions: Vec<(String, Vec<Arc<ResourceInfo>>)>,
}

/// How versions are ordered: stable ones first, then beta and alpha ones, each the higher the better; last whatever is
/// named otherwise.
fn version_rank(version: &str) -> (u8, u64, u64) {
    let numbers = |version: &str| -> Option<(u8, u64, u64)> {
        let rest = version.strip_prefix('v')?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major = rest[..end].parse().ok()?;
        match &rest[end..] {
            "" => Some((3, major, 0)),
            rest => match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
                (Some(minor), _) => Some((2, major, minor.parse().ok()?)),
                (_, Some(minor)) => Some((1, major, minor.parse().ok()?)),
                _ => None,
            },
        }
    };
    numbers(version).unwrap_or((0, 0, 0))
}

/// Where a group of that priority stands: the core group first, then by priority, then by name.
fn place(name: &str, priority: i64) -> (bool, bool, Reverse<i64>, String) {
    (!name.is_empty(), name != "apiregistration.k8s.io", Reverse(priority), name.to_owned())
}

/// Where a group stands if other servers have some of it.
pub(super) fn place_of(name: &str, here: bool, extensions: &[Arc<Extension>]) -> impl Ord + use<> {
    let own = here.then(|| priority(name));
    let others = extensions.iter().filter(|other| other.group == name).map(|other| other.priorities.0);
    place(name, own.into_iter().chain(others).max().unwrap_or_default())
}

/// Every group of these resources, the core group first.
pub(super) fn groups(infos: &[Arc<ResourceInfo>]) -> Vec<Group> {
    let mut by_group: BTreeMap<&str, BTreeMap<&str, Vec<Arc<ResourceInfo>>>> = BTreeMap::new();
    for info in infos {
        let versions = by_group.entry(&info.group).or_default();
        versions.entry(&info.version).or_default().push(Arc::clone(info));
    }
    let mut groups: Vec<Group> = by_group
        .into_iter()
        .map(|(name, versions)| {
            let mut versions: Vec<_> = versions.into_iter().map(|(name, rows)| (name.to_owned(), rows)).collect();
            versions.sort_by_key(|(version, _)| Reverse(version_rank(version)));
            versions.iter_mut().for_each(|(_, rows)| rows.sort_by(|a, b| a.plural.cmp(&b.plural)));
            Group { name: name.to_owned(), versions }
        })
        .collect();
    groups.sort_by_key(|group| place(&group.name, priority(&group.name)));
    groups
}

pub(super) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn group_json(group: &Group) -> Value {
    let version = |version: &str| json!({"groupVersion": api_version(&group.name, version), "version": version});
    let versions: Vec<Value> = group.versions.iter().map(|(name, _)| version(name)).collect();
    json!({"name": group.name, "versions": versions, "preferredVersion": versions[0]})
}

/// Adds the groups and versions that other servers have, without their resources.
fn add_extensions(groups: &mut Vec<Group>, extensions: &[Arc<Extension>]) {
    if extensions.is_empty() {
        return;
    }
    let here: BTreeSet<String> = groups.iter().map(|group| group.name.clone()).collect();
    for extension in extensions {
        let version = (extension.version.clone(), Vec::new());
        match groups.iter_mut().find(|group| group.name == extension.group) {
            None => groups.push(Group { name: extension.group.clone(), versions: vec![version] }),
            Some(group) if group.versions.iter().any(|(known, _)| *known == extension.version) => {}
            Some(group) => {
                group.versions.push(version);
                group.versions.sort_by_key(|(version, _)| Reverse(version_rank(version)));
            }
        }
    }
    groups.sort_by_cached_key(|group| place_of(&group.name, here.contains(&group.name), extensions));
}

/// Documents of everything there is, made when they are first asked for and again when that changes.
#[derive(Debug, Default)]
struct Made {
    generation: (u64, u64),
    core: Option<Document>,
    others: Option<Document>,
}

/// Answers them.
pub struct Groups {
    resources: Arc<Resources>,
    extensions: Arc<Extensions>,
    made: Mutex<Made>,
}

impl Groups {
    /// Of these resources.
    pub(crate) fn new(resources: Arc<Resources>, extensions: Arc<Extensions>) -> Self {
        Self { resources, extensions, made: Mutex::default() }
    }

    /// The aggregated document of the core group, or of the others.
    fn aggregated(&self, core: bool) -> Document {
        let (infos, generation) = self.resources.infos();
        let generation = (generation, self.extensions.generation());
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.generation != generation {
            *made = Made { generation, ..Made::default() };
        }
        let document = if core { &mut made.core } else { &mut made.others };
        let make = || {
            let (own, others): (Vec<Group>, Vec<Group>) =
                groups(&infos).into_iter().partition(|group| group.name.is_empty());
            if core { aggregated::document(&own, &[]) } else { aggregated::document(&others, &self.extensions.all()) }
        };
        document.get_or_insert_with(make).clone()
    }

    fn answer(&self, path: &str, headers: &HeaderMap) -> Response<Body> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        if let (["api" | "apis"], Some(content_type)) = (parts.as_slice(), aggregated::wanted(headers)) {
            let mut document = self.aggregated(parts == ["api"]);
            if content_type == aggregated::YAML {
                document = document.in_yaml();
            }
            let mut response = document.serve(headers, content_type);
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
            return response;
        }
        if let Err(status) = of_document(headers) {
            return body::status(&status);
        }
        let mut all = groups(&self.resources.infos().0);
        add_extensions(&mut all, &self.extensions.all());
        let listed = |group: &str, version: &str| {
            let group = all.iter().find(|known| known.name == group)?;
            let (version, rows) = group.versions.iter().find(|(known, _)| *known == version)?;
            Some(body::json(StatusCode::OK, &resources::list(&group.name, version, rows)))
        };
        let not_found = || body::status(&Status::no_such_path());
        if let ["apis", group, ..] = parts.as_slice()
            && !all.iter().any(|known| known.name == *group)
        {
            return body::no_such_page();
        }
        let found = match parts.as_slice() {
            ["api", version] => return listed("", version).unwrap_or_else(not_found),
            ["apis", group, version] => return listed(group, version).unwrap_or_else(not_found),
            ["api"] => {
                let server = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
                Some(json!({
                    "kind": "APIVersions", "versions": ["v1"],
                    "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server}],
                }))
            }
            ["apis"] => {
                let list: Vec<Value> = all.iter().filter(|group| !group.name.is_empty()).map(group_json).collect();
                Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list}))
            }
            ["apis", group] => all.iter().find(|known| known.name == *group).map(|group| {
                let mut value = group_json(group);
                value["kind"] = "APIGroup".into();
                value["apiVersion"] = "v1".into();
                value
            }),
            _ => None,
        };
        found.map_or_else(not_found, |value| body::json(StatusCode::OK, &value))
    }
}

#[async_trait]
impl Endpoint for Groups {
    fn handles(&self, info: &RequestInfo) -> bool {
        let segments = info.path.trim_matches('/').split('/').count();
        !info.is_resource_request
            && ((info.path.starts_with("/apis") && segments <= 3) || (info.path.starts_with("/api") && segments <= 2))
            && matches!(info.path.trim_matches('/').split('/').next(), Some("api" | "apis"))
    }

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        if !matches!(*request.method(), http::Method::GET | http::Method::HEAD) {
            return body::status(&Status::method_not_allowed());
        }
        self.answer(&info_of(&request).path, request.headers())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn all() -> Groups {
        Groups::new(Arc::new(Resources::new(&Default::default(), Default::default())), Arc::default())
    }

    async fn get(path: &str, accept: &str) -> (Response<()>, Value) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        let response = all().answer(path, &headers);
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(parts, ()), serde_json::from_slice(&bytes).unwrap_or_default())
    }

    #[tokio::test]
    async fn resources_are_listed_with_their_subresources() {
        let (_, list) = get("/api/v1", "application/json").await;
        let names: Vec<&str> =
            list["resources"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
        assert!(names.contains(&"pods") && names.contains(&"pods/log"));
        let eviction = list["resources"].as_array().unwrap().iter().find(|entry| entry["name"] == "pods/eviction");
        assert_eq!(eviction.unwrap()["group"], "policy");
        // Upstream's published hash of what pods are stored as.
        let pods = list["resources"].as_array().unwrap().iter().find(|entry| entry["name"] == "pods");
        assert_eq!(pods.unwrap()["storageVersionHash"], "xPOwRZ+Yhw8=");
    }

    #[test]
    fn stable_versions_are_preferred() {
        let mut versions = ["v1alpha1", "v2beta1", "foo", "v10", "v2", "v1beta2", "v2alpha1"];
        versions.sort_by_key(|version| Reverse(version_rank(version)));
        assert_eq!(versions, ["v10", "v2", "v2beta1", "v1beta2", "v2alpha1", "v1alpha1", "foo"]);
    }

    #[tokio::test]
    async fn groups_come_in_upstreams_order_with_the_preferred_version_first() {
        let (_, list) = get("/apis", "application/json").await;
        assert_eq!(list["groups"][0]["name"], "apiregistration.k8s.io");
        let names: Vec<&str> =
            list["groups"].as_array().unwrap().iter().filter_map(|group| group["name"].as_str()).collect();
        assert_eq!(names.len(), 20);
        assert_eq!(names[1..4], ["apps", "events.k8s.io", "authentication.k8s.io"]);
        assert_eq!(names[17..], ["discovery.k8s.io", "resource.k8s.io", "flowcontrol.apiserver.k8s.io"]);
        let (_, autoscaling) = get("/apis/autoscaling", "application/json").await;
        assert_eq!(autoscaling["preferredVersion"]["version"], "v2");
        assert_eq!(get("/apis/nonsense", "*/*").await.0.status(), 404);
        assert_eq!(get("/apis/apps/v9", "*/*").await.0.status(), 404);
    }

    #[tokio::test]
    async fn the_aggregated_document_is_negotiated_and_cached() {
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        let (response, list) = get("/apis", accept).await;
        assert_eq!(list["kind"], "APIGroupDiscoveryList");
        assert!(response.headers()[header::CONTENT_TYPE].to_str().unwrap().contains("v=v2"));
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        headers.insert(header::IF_NONE_MATCH, response.headers()[header::ETAG].clone());
        assert_eq!(all().answer("/apis", &headers).status(), 304);
        let yaml = "application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        assert_eq!(get("/apis", yaml).await.0.headers()[header::CONTENT_TYPE], yaml);
    }

    #[tokio::test]
    async fn what_cannot_be_made_is_refused() {
        for (path, accept, code) in [
            ("/apis/apps", "application/yaml", 200),
            ("/apis/apps", "text/html", 406),
            ("/apis/apps", "text/html,*/*;q=0.8", 200),
            ("/apis/apps/v1", "application/json;as=Table;v=v1;g=meta.k8s.io", 406),
            ("/apis/apps", aggregated::JSON, 406),
        ] {
            assert_eq!(get(path, accept).await.0.status(), code, "{path} {accept}");
        }
    }
}
