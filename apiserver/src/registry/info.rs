//! What a resource is called, where it lives and what can be done with it.

use std::borrow::Cow;

use kubewright_api::resources::{Resource, Scope};

/// Text of the built-in tables, or of a definition.
pub type Text = Cow<'static, str>;

/// One resource at one version, built in or defined by an object.
#[derive(Clone, Debug)]
pub struct ResourceInfo {
    /// API group; empty for the core group.
    pub group: Text,
    /// API version, such as `v1`.
    pub version: Text,
    /// Kind, such as `Pod`.
    pub kind: Text,
    /// Kind of its lists, such as `PodList`.
    pub list_kind: Text,
    /// Name in paths and rules, such as `pods`.
    pub plural: Text,
    /// Singular name, such as `pod`.
    pub singular: Text,
    /// Short names that kubectl takes, such as `po`.
    pub short_names: Vec<Text>,
    /// Categories that kubectl takes, such as `all`.
    pub categories: Vec<Text>,
    /// Whether it lives in namespaces.
    pub scope: Scope,
    /// Verbs, sorted, in discovery's words (`deletecollection`, `watch`, …).
    pub verbs: &'static [&'static str],
    /// Subresources, sorted by name.
    pub subresources: Vec<SubresourceInfo>,
    /// What clients of this version are warned with, if it is deprecated.
    pub deprecation: Option<String>,
}

/// A subresource, such as `pods/log`.
#[derive(Clone, Debug)]
pub struct SubresourceInfo {
    /// Its name in paths.
    pub name: Text,
    /// Group of the kind it takes and gives.
    pub group: Text,
    /// Version of that kind.
    pub version: Text,
    /// That kind.
    pub kind: Text,
    /// Verbs, sorted.
    pub verbs: &'static [&'static str],
}

impl ResourceInfo {
    /// What can be done with most resources.
    pub const ALL_VERBS: &'static [&'static str] =
        &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

    /// A namespaced resource with all verbs and no subresources; the plural is the kind in lower case with an `s`.
    #[must_use]
    pub fn new(group: &str, version: &str, kind: &str) -> Self {
        let singular = kind.to_lowercase();
        Self {
            group: group.to_owned().into(),
            version: version.to_owned().into(),
            kind: kind.to_owned().into(),
            list_kind: format!("{kind}List").into(),
            plural: format!("{singular}s").into(),
            singular: singular.into(),
            short_names: Vec::new(),
            categories: Vec::new(),
            scope: Scope::Namespaced,
            verbs: Self::ALL_VERBS,
            subresources: Vec::new(),
            deprecation: None,
        }
    }

    /// The same, with another plural name.
    #[must_use]
    pub fn plural(mut self, plural: &str) -> Self {
        self.plural = plural.to_owned().into();
        self
    }

    /// The same, in the cluster as a whole.
    #[must_use]
    pub const fn cluster(mut self) -> Self {
        self.scope = Scope::Cluster;
        self
    }

    /// The same, with a short name.
    #[must_use]
    pub fn short_name(mut self, name: &str) -> Self {
        self.short_names.push(name.to_owned().into());
        self
    }

    /// The same, with a `status` subresource.
    #[must_use]
    pub fn with_status(mut self) -> Self {
        self.subresources.push(SubresourceInfo {
            name: "status".into(),
            group: self.group.clone(),
            version: self.version.clone(),
            kind: self.kind.clone(),
            verbs: &["get", "patch", "update"],
        });
        self
    }

    /// The same, with a `scale` subresource.
    #[must_use]
    pub fn with_scale(mut self) -> Self {
        self.subresources.insert(
            0,
            SubresourceInfo {
                name: "scale".into(),
                group: "autoscaling".into(),
                version: "v1".into(),
                kind: "Scale".into(),
                verbs: &["get", "patch", "update"],
            },
        );
        self
    }

    /// `v1` or `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Whether it lives in namespaces.
    #[must_use]
    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// The subresource of that name.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&SubresourceInfo> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// Whether the resource itself takes that verb.
    #[must_use]
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }
}

impl From<&'static Resource> for ResourceInfo {
    fn from(row: &'static Resource) -> Self {
        let texts = |list: &'static [&'static str]| list.iter().map(|text| Text::Borrowed(text)).collect();
        let subresources = row.subresources.iter().map(|sub| SubresourceInfo {
            name: sub.name.into(),
            group: sub.group.into(),
            version: sub.version.into(),
            kind: sub.kind.into(),
            verbs: sub.verbs,
        });
        Self {
            group: row.group.into(),
            version: row.version.into(),
            kind: row.kind.into(),
            list_kind: format!("{}List", row.kind).into(),
            plural: row.plural.into(),
            singular: row.singular.into(),
            short_names: texts(row.short_names),
            categories: texts(row.categories),
            scope: row.scope,
            verbs: row.verbs,
            subresources: subresources.collect(),
            deprecation: deprecation(row).map(str::to_owned),
        }
    }
}

/// What upstream says of built-in kinds that are deprecated.
fn deprecation(row: &Resource) -> Option<&'static str> {
    match (row.group, row.plural) {
        ("", "endpoints") => Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        _ => None,
    }
}
