//! What operations are called: clients are generated with functions of these names.

use crate::registry::ResourceInfo;

/// The names of a resource's operations.
pub(super) struct Names {
    pub(super) tag: String,
    /// `AppsV1`.
    version: String,
    namespaced: bool,
    kind: String,
}

/// `rbac.authorization.k8s.io` is `RbacAuthorization`.
pub(super) fn camel(group: &str) -> String {
    let parts = group.trim_end_matches(".k8s.io").split(['.', '-']);
    parts.map(first_upper).collect()
}

pub(super) fn first_upper(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

impl Names {
    pub(super) fn of(row: &ResourceInfo) -> Self {
        let group = if row.group.is_empty() { "core" } else { &*row.group };
        let group = camel(group);
        let lower = {
            let mut letters = group.chars();
            letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect::<String>())
        };
        Self {
            tag: format!("{lower}_{}", row.version),
            version: format!("{group}{}", first_upper(&row.version)),
            namespaced: row.namespaced(),
            kind: row.kind.to_string(),
        }
    }

    /// The operation of that verb: on everything, a collection or one object, or on a subresource.
    pub(super) fn id(&self, action: &str, method: &str, sub: &str) -> String {
        let verb = match action {
            "post" => "create",
            "put" => "replace",
            "get" => "read",
            "deletecollection" => "delete",
            other => other,
        };
        let collection = if action == "deletecollection" { "Collection" } else { "" };
        let method = if action == "connect" { first_upper(method) } else { String::new() };
        let space = if self.namespaced { "Namespaced" } else { "" };
        format!("{verb}{}{collection}{method}{space}{}{}", self.version, self.kind, camel(sub))
    }

    pub(super) fn list_everywhere(&self) -> String {
        format!("list{}{}ForAllNamespaces", self.version, self.kind)
    }
}
