//! The pages that tell what there is.

use std::collections::BTreeSet;

use kubewright_api::schema;
use serde_json::{Map, Value};

use super::names::{camel, first_upper};
use super::operation::{Operation, put_path};
use super::{Flavor, path_of};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// A page that tells what there is: its path, its operation and the type of its answer.
pub(super) struct Page {
    pub(super) path: String,
    id: String,
    kind: &'static str,
}

impl Page {
    fn new(path: &str, id: impl Into<String>, kind: &'static str) -> Self {
        Self { path: path.to_owned(), id: id.into(), kind }
    }

    /// Adds the page, and the type that it speaks of.
    pub(super) fn add(&self, flavor: Flavor, paths: &mut Map<String, Value>, types: &mut BTreeSet<&'static str>) {
        let ty = schema::of_name(&format!("{META}.{}", self.kind)).map(|ty| ty.name);
        types.extend(ty);
        let operation = Operation {
            id: self.id.clone(),
            tag: "",
            action: "get",
            kind: ("", "v1", self.kind),
            query: Vec::new(),
            takes: None,
            gives: ty,
            custom: false,
            sub: "",
        };
        let mut operation = operation.write(flavor);
        if let Some(fields) = operation.as_object_mut() {
            fields.retain(|name, _| !name.starts_with("x-") && name != "tags");
            fields.insert("description".into(), format!("read {}", self.path).into());
        }
        put_path(paths, &self.path, Map::from_iter([("get".to_owned(), operation)]), flavor);
    }
}

/// The pages beside those of versions: of all groups, of one group each, and of the server itself.
pub(super) fn of_server(groups: impl Iterator<Item = String>) -> Vec<Page> {
    let configuration = "getServiceAccountIssuerOpenIDConfiguration";
    let mut pages = vec![
        Page::new("/api/", "getCoreAPIVersions", "APIVersions"),
        Page::new("/apis/", "getAPIVersions", "APIGroupList"),
        Page::new("/version/", "getCodeVersion", ""),
        Page::new("/.well-known/openid-configuration/", configuration, ""),
        Page::new("/openid/v1/jwks/", "getServiceAccountIssuerOpenIDKeyset", ""),
    ];
    let groups: BTreeSet<String> = groups.filter(|group| !group.is_empty()).collect();
    let of_group =
        |group: &String| Page::new(&format!("/apis/{group}/"), format!("get{}APIGroup", camel(group)), "APIGroup");
    pages.extend(groups.iter().map(of_group));
    pages
}

/// The pages of these groups' versions.
pub(super) fn of_versions(versions: impl Iterator<Item = (String, String)>) -> Vec<Page> {
    let versions: BTreeSet<(String, String)> = versions.collect();
    let of_version = |(group, version): (String, String)| {
        let name = camel(if group.is_empty() { "core" } else { group.as_str() });
        let id = format!("get{name}{}APIResources", first_upper(&version));
        Page::new(&format!("/{}/", path_of(&group, &version)), id, "APIResourceList")
    };
    versions.into_iter().map(of_version).collect()
}
