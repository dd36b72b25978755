//! The table of Kubernetes' built-in resources: group, version, kind, names, scope, verbs, subresources.
//!
//! ```
//! use kubewright_api::resources;
//!
//! let deployments = resources::find("apps", "v1", "deployments").unwrap();
//! assert_eq!(deployments.kind, "Deployment");
//! assert!(deployments.subresource("scale").is_some());
//! ```

mod generated;

/// Whether objects of a resource live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// In a namespace.
    Namespaced,
    /// In the cluster as a whole.
    Cluster,
}

/// One built-in resource at one version.
#[derive(Debug)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version, such as `v1`.
    pub version: &'static str,
    /// Kind, such as `Pod`.
    pub kind: &'static str,
    /// Name in paths and rules, such as `pods`.
    pub plural: &'static str,
    /// Singular name, such as `pod`.
    pub singular: &'static str,
    /// Short names that kubectl takes, such as `po`.
    pub short_names: &'static [&'static str],
    /// Categories that kubectl takes, such as `all`.
    pub categories: &'static [&'static str],
    /// Whether it lives in namespaces.
    pub scope: Scope,
    /// Verbs, sorted, in discovery's words (`deletecollection`, `watch`, …).
    pub verbs: &'static [&'static str],
    /// Subresources, sorted by name.
    pub subresources: &'static [Subresource],
}

/// A subresource, such as `pods/log`.
#[derive(Debug)]
pub struct Subresource {
    /// Its name in paths.
    pub name: &'static str,
    /// Group of the kind it takes and gives.
    pub group: &'static str,
    /// Version of that kind.
    pub version: &'static str,
    /// That kind.
    pub kind: &'static str,
    /// Verbs, sorted.
    pub verbs: &'static [&'static str],
}

impl Resource {
    /// `v1` or `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Whether it lives in namespaces.
    #[must_use]
    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// The subresource of that name.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// Whether the resource itself takes that verb.
    #[must_use]
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }
}

/// Every built-in resource of the stable API versions, sorted by group, version and plural name.
#[must_use]
pub fn built_in() -> &'static [Resource] {
    &generated::BUILT_IN
}

/// The built-in resource of that group (empty for core), version and plural name.
#[must_use]
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    let table = built_in();
    let at = table.binary_search_by(|row| (row.group, row.version, row.plural).cmp(&(group, version, plural))).ok()?;
    Some(&table[at])
}

/// The built-in resource that holds that kind.
#[must_use]
pub fn of_kind(group: &str, version: &str, kind: &str) -> Option<&'static Resource> {
    built_in().iter().find(|row| row.group == group && row.version == version && row.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_lookups_find_everything() {
        assert!(built_in().is_sorted_by(|a, b| (a.group, a.version, a.plural) < (b.group, b.version, b.plural)));
    }

    #[test]
    fn scopes_and_verbs_are_upstreams() {
        assert!(find("", "v1", "pods").unwrap().namespaced());
        assert!(!find("", "v1", "nodes").unwrap().namespaced());
        assert!(!find("", "v1", "namespaces").unwrap().has_verb("deletecollection"));
        assert!(find("", "v1", "namespaces").unwrap().has_verb("watch"));
        assert_eq!(find("authorization.k8s.io", "v1", "subjectaccessreviews").unwrap().verbs, ["create"]);
        assert_eq!(of_kind("policy", "v1", "PodDisruptionBudget").unwrap().short_names, ["pdb"]);
    }

    #[test]
    fn every_kind_has_a_schema() {
        for row in built_in() {
            assert!(crate::schema::of_kind(row.group, row.version, row.kind).is_some(), "{} has none", row.kind);
        }
    }
}
