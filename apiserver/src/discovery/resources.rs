//! The resources of one version of a group, written in upstream's order of fields: scripts read these documents with `grep`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::groups::api_version;
use crate::registry::ResourceInfo;

/// `APIResourceList`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResourceList<'a> {
    kind: &'static str,
    /// Upstream leaves it out for the core group.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<&'static str>,
    group_version: String,
    resources: Vec<Resource<'a>>,
}

/// `APIResource`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Resource<'a> {
    name: String,
    singular_name: &'a str,
    namespaced: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    kind: &'a str,
    verbs: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    short_names: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    categories: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_version_hash: Option<String>,
}

/// The list of these resources and their subresources.
pub(super) fn list<'a>(group: &str, version: &str, rows: &'a [Arc<ResourceInfo>]) -> ResourceList<'a> {
    let mut resources = Vec::new();
    for row in rows {
        resources.push(resource(row));
        for sub in &row.subresources {
            let elsewhere = (&*sub.group, &*sub.version) != (group, version);
            resources.push(Resource {
                name: format!("{}/{}", row.plural, sub.name),
                singular_name: "",
                namespaced: row.namespaced(),
                group: elsewhere.then_some(&*sub.group),
                version: elsewhere.then_some(&*sub.version),
                kind: &sub.kind,
                verbs: sub.verbs.iter().map(|verb| &**verb).collect(),
                short_names: Vec::new(),
                categories: Vec::new(),
                storage_version_hash: None,
            });
        }
    }
    let own = (!group.is_empty()).then_some("v1");
    ResourceList { kind: "APIResourceList", api_version: own, group_version: api_version(group, version), resources }
}

fn resource(row: &ResourceInfo) -> Resource<'_> {
    Resource {
        name: row.plural.to_string(),
        singular_name: &row.singular,
        namespaced: row.namespaced(),
        group: None,
        version: None,
        kind: &row.kind,
        verbs: row.verbs.iter().map(|verb| &**verb).collect(),
        short_names: row.short_names.iter().map(|name| &**name).collect(),
        categories: row.categories.iter().map(|name| &**name).collect(),
        storage_version_hash: row.has_verb("watch").then(|| storage_version_hash(row)),
    }
}

/// Identifies what a resource is stored as.
fn storage_version_hash(row: &ResourceInfo) -> String {
    let digest = Sha256::digest(format!("{}/{}/{}", row.group, row.version, row.kind));
    STANDARD.encode(&digest[..8])
}
