//! The bootstrap policy: upstream's cluster roles, roles and bindings, read from `policy.txt`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::authz::rbac::{GROUP, PolicyRule};

const POLICY: &str = include_str!("policy.txt");
const NODE: &str = "clusterrole system:node";
const AGGREGATE_LABEL: &str = "rbac.authorization.k8s.io/aggregate-to-";
const API_VERSION: &str = "rbac.authorization.k8s.io/v1";

/// One object of the policy.
#[derive(Clone, Debug)]
pub struct PolicyObject {
    /// Plural name of its resource.
    pub resource: &'static str,
    /// The object.
    pub object: Value,
}

/// All objects of the policy, roles before bindings. Aggregated roles come with the rules they aggregate.
#[must_use]
pub fn policy() -> Vec<PolicyObject> {
    let mut objects = read(POLICY.lines());
    aggregate(&mut objects);
    objects
}

/// The rules of the role `system:node`, by which the node authorizer goes.
#[must_use]
pub fn node_rules() -> Vec<PolicyRule> {
    // Only its own lines are read: every server that starts asks for them.
    let from = POLICY.lines().skip_while(|line| *line != NODE);
    let own = from.take_while(|line| *line == NODE || line.starts_with("  "));
    let node = read(own).pop();
    node.and_then(|mut node| serde_json::from_value(node.object["rules"].take()).ok()).unwrap_or_default()
}

fn read<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<PolicyObject> {
    let mut objects: Vec<PolicyObject> = Vec::new();
    for line in lines.filter(|line| !line.starts_with('#')) {
        match line.strip_prefix("  ") {
            Some(rule) => add_rule(&mut objects, rule),
            None => objects.extend(heading(line)),
        }
    }
    objects
}

fn metadata(name: &str, namespace: Option<&str>) -> Value {
    let mut metadata = json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    });
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    metadata
}

fn heading(line: &str) -> Option<PolicyObject> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (resource, kind, rest) = match words.as_slice() {
        ["clusterrole", rest @ ..] => ("clusterroles", "ClusterRole", rest),
        ["role", rest @ ..] => ("roles", "Role", rest),
        ["clusterbinding", rest @ ..] => ("clusterrolebindings", "ClusterRoleBinding", rest),
        ["binding", rest @ ..] => ("rolebindings", "RoleBinding", rest),
        _ => return None,
    };
    let namespaced = matches!(resource, "roles" | "rolebindings");
    let (namespace, rest) = if namespaced { (Some(*rest.first()?), &rest[1..]) } else { (None, rest) };
    let mut object = json!({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata(rest.first()?, namespace)});
    if resource.ends_with("roles") {
        object["rules"] = json!([]);
        for word in &rest[1..] {
            match word.split_once('=') {
                Some(("aggregates", label)) => {
                    let selector = json!({"matchLabels": {format!("{AGGREGATE_LABEL}{label}"): "true"}});
                    object["aggregationRule"] = json!({"clusterRoleSelectors": [selector]});
                }
                Some(("to", label)) => {
                    object["metadata"]["labels"][format!("{AGGREGATE_LABEL}{label}")] = "true".into();
                }
                _ => {}
            }
        }
    } else {
        let role = rest.get(1)?;
        let (kind, name) = if namespaced { role.split_once('/')? } else { ("ClusterRole", *role) };
        object["roleRef"] = json!({"apiGroup": GROUP, "kind": kind, "name": name});
        object["subjects"] = rest[2..].iter().filter_map(|text| subject(text)).collect();
    }
    Some(PolicyObject { resource, object })
}

fn subject(text: &str) -> Option<Value> {
    let (kind, name) = text.split_once('/')?;
    Some(match kind {
        "user" => json!({"apiGroup": GROUP, "kind": "User", "name": name}),
        "group" => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
        "account" => {
            let (namespace, name) = name.split_once('/')?;
            json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
        }
        _ => return None,
    })
}

fn add_rule(objects: &mut [PolicyObject], rule: &str) {
    let list = |text: &str| -> Value {
        let items = text.trim().split(',').map(|item| if item == "core" { "" } else { item });
        items.map(Value::from).collect()
    };
    let parts: Vec<&str> = rule.split(" : ").collect();
    let rule = match parts.as_slice() {
        [verbs, urls] => json!({"nonResourceURLs": list(urls), "verbs": list(verbs)}),
        [verbs, groups, resources] => {
            json!({"apiGroups": list(groups), "resources": list(resources), "verbs": list(verbs)})
        }
        [verbs, groups, resources, names] => json!({
            "apiGroups": list(groups), "resources": list(resources), "resourceNames": list(names), "verbs": list(verbs),
        }),
        _ => return,
    };
    if let Some(rules) = objects.last_mut().and_then(|last| last.object["rules"].as_array_mut()) {
        rules.push(rule);
    }
}

/// Gives aggregated roles their rules, so that they hold without a controller too. Roles that feed others come first.
fn aggregate(objects: &mut [PolicyObject]) {
    let mut rules_by_label: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for label in ["view", "edit", "admin"] {
        let key = format!("{AGGREGATE_LABEL}{label}");
        let mut rules: Vec<Value> = Vec::new();
        for part in objects.iter().filter(|part| part.object["metadata"]["labels"][&key] == "true") {
            for rule in part.object["rules"].as_array().into_iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
        let name = |part: &PolicyObject| part.object["metadata"]["name"] == label;
        if let Some(role) = objects.iter_mut().find(|part| name(part)) {
            role.object["rules"] = rules.clone().into();
        }
        rules_by_label.insert(label.to_owned(), rules);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(resource: &str, name: &str) -> Value {
        let found =
            policy().into_iter().find(|part| part.resource == resource && part.object["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("{resource} lacks {name}")).object
    }

    #[test]
    fn the_policy_has_roles_bindings_and_rules() {
        assert_eq!(
            find("clusterroles", "cluster-admin")["rules"][1],
            json!({"nonResourceURLs": ["*"], "verbs": ["*"]})
        );
        let binding = find("clusterrolebindings", "cluster-admin");
        assert_eq!(binding["subjects"][0], json!({"apiGroup": GROUP, "kind": "Group", "name": "system:masters"}));
        let node: Vec<PolicyRule> =
            serde_json::from_value(find("clusterroles", "system:node")["rules"].clone()).unwrap();
        assert!(node == node_rules() && !node.is_empty());
        for part in policy() {
            let rules = &part.object["rules"];
            serde_json::from_value::<Vec<PolicyRule>>(rules.clone())
                .map(drop)
                .or_else(|error| if rules.is_null() { Ok(()) } else { Err(error) })
                .unwrap();
        }
    }

    #[test]
    fn aggregated_roles_hold_what_feeds_them() {
        let has = |name: &str, resource: &str| find("clusterroles", name)["rules"].to_string().contains(resource);
        assert!(has("view", "\"pods\"") && !has("view", "\"secrets\""));
        assert!(has("edit", "\"secrets\"") && has("edit", "\"pods/log\""));
        assert!(has("admin", "\"rolebindings\"") && has("admin", "\"pods/log\""));
    }

    /// Held against the published lists where they are: in `shared/data/rbac` of a directory above.
    #[test]
    fn the_table_says_what_the_published_lists_say() {
        let mut directory = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let mut candidates = std::iter::from_fn(|| directory.pop().then(|| directory.join("shared/data/rbac")));
        let Some(published) = candidates.find(|path| path.is_dir()) else { return };
        let (ours, mut compared) = (policy(), 0);
        for (resource, file) in [
            ("clusterroles", "cluster-roles.yaml"),
            ("clusterroles", "controller-roles.yaml"),
            ("roles", "namespace-roles.yaml"),
            ("clusterrolebindings", "cluster-role-bindings.yaml"),
            ("clusterrolebindings", "controller-role-bindings.yaml"),
            ("rolebindings", "namespace-role-bindings.yaml"),
        ] {
            let text = std::fs::read_to_string(published.join(file)).unwrap();
            let list: Value = serde_yaml_ng::from_str(&text).unwrap();
            // The lists were read off a distribution, which adds a role of its own.
            let of_upstream = |their: &&Value| !their["metadata"]["name"].as_str().unwrap().contains(":openshift:");
            for their in list["items"].as_array().unwrap().iter().filter(of_upstream) {
                let meta = &their["metadata"];
                let same = |part: &&PolicyObject| {
                    let own = &part.object["metadata"];
                    part.resource == resource && own["name"] == meta["name"] && own["namespace"] == meta["namespace"]
                };
                let our = &ours.iter().find(same).unwrap_or_else(|| panic!("{resource} lack {meta}")).object;
                assert_eq!(our["metadata"]["labels"], meta["labels"], "{meta}");
                assert_eq!(our["roleRef"], their["roleRef"], "{meta}");
                assert_eq!(our["aggregationRule"], their["aggregationRule"], "{meta}");
                let list = |object: &Value, field: &str| object[field].as_array().cloned().unwrap_or_default();
                assert_eq!(list(our, "subjects"), list(their, "subjects"), "{meta}");
                if their["aggregationRule"].is_null() {
                    assert_eq!(list(our, "rules"), list(their, "rules"), "{meta}");
                }
                compared += 1;
            }
        }
        assert_eq!(compared, ours.len());
    }
}
