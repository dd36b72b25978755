//! What the controllers' service accounts need beyond upstream's roles for them.

use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Error;
use crate::api::{Api, object_path};
use crate::objects::{Kind, ObjectKey, kinds};

const GROUP: &str = "rbac.authorization.k8s.io";
/// How upstream's roles for its controllers begin; the rest is the service account's name.
const CONTROLLER: &str = "system:controller:";
/// Where a role of ours for the same account begins.
const OURS: &str = "kubewright:controller:";
const BINDING: Kind =
    Kind { group: GROUP, version: "v1", kind: "ClusterRoleBinding", plural: "clusterrolebindings", namespaced: false };

#[derive(Default, Deserialize)]
#[serde(default)]
struct Role {
    metadata: RoleMeta,
    rules: Vec<Rule>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RoleMeta {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    resource_names: Vec<String>,
    verbs: Vec<String>,
}

/// Lets the controllers' service accounts patch what upstream's bootstrap roles let them update.
///
/// Upstream's controllers replace objects whole; these send merge patches, for which upstream's roles lack the verb.
/// Each role `system:controller:NAME` gets a companion `kubewright:controller:NAME`, bound to the same account, with
/// nothing but those patches. May be called at every start; the client's user must be allowed to write cluster roles.
/// The accounts themselves: see [`account_client`](crate::account_client).
///
/// # Errors
/// The server can't be reached or refuses.
pub async fn grant_access(client: &Client) -> Result<(), Error> {
    let api = Api::new(client.clone());
    let mut next = String::new();
    loop {
        let page = api.page::<Role>(&kinds::CLUSTER_ROLE.path(""), "", &next, "application/json").await?;
        for role in &page.items {
            let Some(account) = role.metadata.name.strip_prefix(CONTROLLER) else { continue };
            let rules = patches(&role.rules);
            if !rules.is_empty() {
                ensure(&api, kinds::CLUSTER_ROLE, &companion(account, rules)).await?;
                ensure(&api, BINDING, &binding(account)).await?;
            }
        }
        next = page.metadata.next;
        if next.is_empty() {
            return Ok(());
        }
    }
}

/// A rule to patch for each to update.
fn patches(rules: &[Rule]) -> Vec<Value> {
    let has = |rule: &Rule, verb: &str| rule.verbs.iter().any(|own| own == verb);
    let lacking = rules.iter().filter(|rule| has(rule, "update") && !has(rule, "patch"));
    let patch = lacking.map(|rule| {
        let mut patch = json!({"apiGroups": rule.api_groups, "resources": rule.resources, "verbs": ["patch"]});
        if !rule.resource_names.is_empty() {
            patch["resourceNames"] = json!(rule.resource_names);
        }
        patch
    });
    patch.collect()
}

fn companion(account: &str, rules: Vec<Value>) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRole",
        "metadata": {"name": format!("{OURS}{account}")}, "rules": rules,
    })
}

fn binding(account: &str) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRoleBinding",
        "metadata": {"name": format!("{OURS}{account}")},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": format!("{OURS}{account}")},
        "subjects": [{"kind": "ServiceAccount", "namespace": "kube-system", "name": account}],
    })
}

/// Creates it, or sets its rules to these.
async fn ensure(api: &Api, kind: Kind, object: &Value) -> Result<(), Error> {
    match api.create(kind, "", object).await {
        Err(Error::AlreadyExists { .. }) if object["rules"].is_array() => {
            let key = ObjectKey::new("", object["metadata"]["name"].as_str().unwrap_or_default());
            api.replace(&object_path(&kind.path(""), &key, ""), object).await.map(drop)
        }
        Err(Error::AlreadyExists { .. }) => Ok(()),
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_become_patches_and_nothing_else_does() {
        let rules: Vec<Rule> = serde_json::from_value(json!([
            {"apiGroups": ["apps"], "resources": ["deployments/status"], "verbs": ["update"]},
            {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["get", "patch", "update"]},
            {"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["list", "update"]},
            {"nonResourceURLs": ["/healthz"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
        ]))
        .unwrap();
        assert_eq!(
            patches(&rules),
            [
                json!({"apiGroups": ["apps"], "resources": ["deployments/status"], "verbs": ["patch"]}),
                json!({"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["patch"]}),
            ]
        );
    }
}
