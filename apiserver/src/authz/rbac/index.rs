//! Roles and bindings, found by whom they are for: a decision looks only at the bindings of the one who asks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kubewright_api::selector::{LabelSelector, Operator, Requirement};
use serde::Deserialize;
use serde_json::Value;

use super::rule::PolicyRule;
use crate::request::User;

/// Namespace and name; the namespace of cluster roles and their bindings is empty.
pub(super) type Id = (String, String);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Principal {
    User(String),
    Group(String),
}

#[derive(Debug, Deserialize)]
struct Subject {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
}

impl Subject {
    fn principal(&self, binding_namespace: &str) -> Option<Principal> {
        match self.kind.as_str() {
            "User" => Some(Principal::User(self.name.clone())),
            "Group" => Some(Principal::Group(self.name.clone())),
            "ServiceAccount" => {
                let namespace = if self.namespace.is_empty() { binding_namespace } else { &self.namespace };
                let name = || format!("system:serviceaccount:{namespace}:{}", self.name);
                (!namespace.is_empty()).then(|| Principal::User(name()))
            }
            _ => None,
        }
    }

    /// As upstream's reasons call it.
    fn describe(&self, binding_namespace: &str) -> String {
        if self.kind != "ServiceAccount" {
            return format!("{} {:?}", self.kind, self.name);
        }
        let namespace = if self.namespace.is_empty() { binding_namespace } else { &self.namespace };
        format!("{} {:?}", self.kind, format!("{}/{namespace}", self.name))
    }
}

/// What a binding refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct RoleRef {
    #[serde(default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) name: String,
}

#[derive(Debug)]
struct Binding {
    subjects: Vec<Subject>,
    role: RoleRef,
}

#[derive(Debug, Default)]
struct Role {
    rules: Arc<Vec<PolicyRule>>,
    labels: BTreeMap<String, String>,
    /// Whose rules this role takes in.
    aggregates: Vec<LabelSelector>,
}

/// A rule that applies to someone, and why.
pub(super) struct Grant<'a> {
    pub(super) rule: &'a PolicyRule,
    binding: &'a Binding,
    id: &'a Id,
    principal: &'a Principal,
}

impl Grant<'_> {
    /// `ClusterRoleBinding "a" of ClusterRole "b" to Group "c"`.
    pub(super) fn describe(&self) -> String {
        let (namespace, name) = self.id;
        let subject = self.binding.subjects.iter().find(|s| s.principal(namespace).as_ref() == Some(self.principal));
        let subject = subject.map_or_else(String::new, |subject| subject.describe(namespace));
        let RoleRef { kind, name: role } = &self.binding.role;
        if namespace.is_empty() {
            return format!("ClusterRoleBinding {name:?} of {kind} {role:?} to {subject}");
        }
        format!("RoleBinding {:?} of {kind} {role:?} to {subject}", format!("{name}/{namespace}"))
    }
}

/// All roles and bindings.
#[derive(Debug, Default)]
pub(super) struct Index {
    roles: HashMap<Id, Role>,
    /// What each aggregating cluster role takes in, kept current.
    aggregated: HashMap<String, Arc<Vec<PolicyRule>>>,
    bindings: HashMap<Id, Binding>,
    /// For whom, and in which namespace, there are which bindings.
    by_principal: HashMap<Principal, HashMap<String, BTreeSet<Id>>>,
}

impl Index {
    /// A role (or, without namespace, a cluster role) as it now is; `None` when it is gone.
    pub(super) fn set_role(&mut self, namespace: &str, name: &str, object: Option<&Value>) {
        let id = (namespace.to_owned(), name.to_owned());
        let concerned = |index: &Self| index.roles.get(&id).is_some_and(|role| index.is_aggregated(role));
        let before = concerned(self);
        match object {
            Some(object) => self.roles.insert(id.clone(), read_role(object)),
            None => self.roles.remove(&id),
        };
        if namespace.is_empty() && (before || concerned(self)) {
            self.aggregate();
        }
    }

    /// Whether a cluster role takes in others, or is taken in.
    fn is_aggregated(&self, role: &Role) -> bool {
        let mut selectors = self.roles.values().flat_map(|other| &other.aggregates);
        !role.aggregates.is_empty() || selectors.any(|selector| selector.matches(&role.labels))
    }

    fn aggregate(&mut self) {
        let cluster: Vec<(&Id, &Role)> = self.roles.iter().filter(|(id, _)| id.0.is_empty()).collect();
        let mut aggregated = HashMap::new();
        for (id, role) in cluster.iter().filter(|(_, role)| !role.aggregates.is_empty()) {
            let mut rules: BTreeSet<PolicyRule> = role.rules.iter().cloned().collect();
            let mut reached = BTreeSet::from([&id.1]);
            let mut selectors: Vec<&LabelSelector> = role.aggregates.iter().collect();
            // An aggregated role may itself aggregate: edit takes in view, admin takes in edit.
            while let Some(selector) = selectors.pop() {
                for (other_id, other) in &cluster {
                    if selector.matches(&other.labels) && reached.insert(&other_id.1) {
                        rules.extend(other.rules.iter().cloned());
                        selectors.extend(&other.aggregates);
                    }
                }
            }
            aggregated.insert(id.1.clone(), Arc::new(rules.into_iter().collect()));
        }
        self.aggregated = aggregated;
    }

    /// A binding (cluster-wide without namespace) as it now is; `None` when it is gone.
    pub(super) fn set_binding(&mut self, namespace: &str, name: &str, object: Option<&Value>) {
        let id = (namespace.to_owned(), name.to_owned());
        if let Some(old) = self.bindings.remove(&id) {
            for principal in old.subjects.iter().filter_map(|subject| subject.principal(namespace)) {
                let Some(spaces) = self.by_principal.get_mut(&principal) else { continue };
                if let Some(ids) = spaces.get_mut(namespace) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        spaces.remove(namespace);
                    }
                }
                if spaces.is_empty() {
                    self.by_principal.remove(&principal);
                }
            }
        }
        let Some(object) = object else { return };
        let subjects = serde_json::from_value(object["subjects"].clone()).unwrap_or_default();
        let role = serde_json::from_value(object["roleRef"].clone()).unwrap_or_default();
        let binding = Binding { subjects, role };
        for principal in binding.subjects.iter().filter_map(|subject| subject.principal(namespace)) {
            self.by_principal.entry(principal).or_default().entry(namespace.to_owned()).or_default().insert(id.clone());
        }
        self.bindings.insert(id, binding);
    }

    /// The rules of a role; the error is upstream's for one that isn't there.
    pub(super) fn rules_of(&self, role: &RoleRef, namespace: &str) -> Result<Arc<Vec<PolicyRule>>, String> {
        let (namespace, resource) = match role.kind.as_str() {
            "ClusterRole" => ("", "clusterroles"),
            "Role" => (namespace, "roles"),
            other => return Err(format!("unsupported role reference kind: {other:?}")),
        };
        if namespace.is_empty()
            && let Some(rules) = self.aggregated.get(&role.name)
        {
            return Ok(Arc::clone(rules));
        }
        let id = (namespace.to_owned(), role.name.clone());
        let missing = || {
            let singular = resource.trim_end_matches('s');
            format!("{singular}.rbac.authorization.k8s.io {:?} not found", role.name)
        };
        self.roles.get(&id).map(|role| Arc::clone(&role.rules)).ok_or_else(missing)
    }

    /// Shows every rule that applies to a user, cluster-wide and in that namespace, until `visit` says stop (`false`).
    /// Gives the faults met on the way.
    pub(super) fn visit(&self, user: &User, namespace: &str, visit: &mut dyn FnMut(&Grant<'_>) -> bool) -> Vec<String> {
        let mut faults = Vec::new();
        let principals: Vec<Principal> = std::iter::once(Principal::User(user.name.clone()))
            .chain(user.groups.iter().cloned().map(Principal::Group))
            .collect();
        let spaces: &[&str] = if namespace.is_empty() { &[""] } else { &["", namespace] };
        for space in spaces {
            let mut seen = BTreeSet::new();
            for principal in &principals {
                let Some(ids) = self.by_principal.get(principal).and_then(|spaces| spaces.get(*space)) else {
                    continue;
                };
                for id in ids {
                    if !seen.insert(id) {
                        continue;
                    }
                    let binding = &self.bindings[id];
                    match self.rules_of(&binding.role, space) {
                        Ok(rules) => {
                            for rule in rules.iter() {
                                if !visit(&Grant { rule, binding, id, principal }) {
                                    return faults;
                                }
                            }
                        }
                        Err(fault) => faults.push(fault),
                    }
                }
            }
        }
        faults
    }
}

fn read_role(object: &Value) -> Role {
    let rules = serde_json::from_value(object["rules"].clone()).unwrap_or_default();
    let labels = serde_json::from_value(object["metadata"]["labels"].clone()).unwrap_or_default();
    let selectors = object["aggregationRule"]["clusterRoleSelectors"].as_array();
    let aggregates = selectors.into_iter().flatten().filter_map(read_selector).collect();
    Role { rules: Arc::new(rules), labels, aggregates }
}

/// A label selector in its object form (`matchLabels`, `matchExpressions`); `None` if it makes no sense.
fn read_selector(object: &Value) -> Option<LabelSelector> {
    let mut requirements = Vec::new();
    for (key, value) in object["matchLabels"].as_object().into_iter().flatten() {
        let values = vec![value.as_str()?.to_owned()];
        requirements.push(Requirement::new(key.as_str(), Operator::In, values).ok()?);
    }
    for expression in object["matchExpressions"].as_array().into_iter().flatten() {
        let operator = match expression["operator"].as_str()? {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            _ => return None,
        };
        let values = serde_json::from_value(expression["values"].clone()).unwrap_or_default();
        requirements.push(Requirement::new(expression["key"].as_str()?, operator, values).ok()?);
    }
    Some(LabelSelector::new(requirements))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn binding(role: &str, subject: Value) -> Value {
        json!({"roleRef": {"kind": "ClusterRole", "name": role}, "subjects": [subject]})
    }

    fn role(verb: &str) -> Value {
        json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]})
    }

    fn verbs(index: &Index, user: &User, namespace: &str) -> Vec<String> {
        let mut found = Vec::new();
        index.visit(user, namespace, &mut |grant| {
            found.extend(grant.rule.verbs.clone());
            true
        });
        found
    }

    #[test]
    fn bindings_apply_to_whom_and_where_they_say() {
        let mut index = Index::default();
        index.set_role("", "reader", Some(&role("get")));
        index.set_role("", "lister", Some(&role("list")));
        index.set_binding("", "all", Some(&binding("reader", json!({"kind": "Group", "name": "staff"}))));
        index.set_binding("a", "one", Some(&binding("lister", json!({"kind": "User", "name": "eve"}))));
        let (eve, staff) = (User::new("eve", &[]), User::new("eve", &["staff"]));
        assert_eq!(verbs(&index, &staff, "a"), ["get", "list"]);
        assert_eq!(verbs(&index, &staff, "b"), ["get"]);
        assert_eq!(verbs(&index, &eve, ""), [""; 0]);
        index.set_binding("a", "one", None);
        assert_eq!(verbs(&index, &eve, "a"), [""; 0]);
        assert!(index.by_principal.len() == 1);
    }

    #[test]
    fn an_account_without_namespace_is_of_the_bindings() {
        let mut index = Index::default();
        index.set_role("", "reader", Some(&role("get")));
        let subject = json!({"kind": "ServiceAccount", "name": "bot"});
        index.set_binding("a", "x", Some(&binding("reader", subject.clone())));
        index.set_binding("", "y", Some(&binding("reader", subject)));
        assert_eq!(verbs(&index, &User::new("system:serviceaccount:a:bot", &[]), "a"), ["get"]);
        assert_eq!(verbs(&index, &User::new("system:serviceaccount:b:bot", &[]), "a"), [""; 0]);
    }

    #[test]
    fn a_missing_role_is_told() {
        let mut index = Index::default();
        index.set_binding("", "x", Some(&binding("ghost", json!({"kind": "User", "name": "eve"}))));
        let faults = index.visit(&User::new("eve", &[]), "", &mut |_| true);
        assert_eq!(faults, [r#"clusterrole.rbac.authorization.k8s.io "ghost" not found"#]);
    }

    #[test]
    fn aggregation_follows_changes_and_chains() {
        let mut index = Index::default();
        let aggregating = |label: &str, of: &str| {
            json!({"metadata": {"labels": {label: "true"}},
                   "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {of: "true"}}]}})
        };
        index.set_role("", "admin", Some(&aggregating("x", "to-admin")));
        index.set_role("", "edit", Some(&aggregating("to-admin", "to-edit")));
        let mut part = role("patch");
        part["metadata"] = json!({"labels": {"to-edit": "true"}});
        index.set_role("", "part", Some(&part));
        let admin = RoleRef { kind: "ClusterRole".into(), name: "admin".into() };
        assert_eq!(index.rules_of(&admin, "").unwrap()[0].verbs, ["patch"]);
        index.set_role("", "part", None);
        assert!(index.rules_of(&admin, "").unwrap().is_empty());
    }
}
