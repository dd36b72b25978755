//! `ServiceAccount`: every pod runs as an account of its namespace, and finds that account's token.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kubewright_api::status::Status;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{Admission, AdmissionAttributes, Operation};
use crate::authz::node::{Referenced, references};
use crate::environment::{self, Environment};
use crate::objects::{GroupResource, Objects, Observer};

const MIRROR_POD: &str = "kubernetes.io/config.mirror";
const ENFORCE_MOUNTABLE_SECRETS: &str = "kubernetes.io/enforce-mountable-secrets";
const TOKEN_MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const TOKEN_VOLUME_PREFIX: &str = "kube-api-access-";
/// Asked for so that the token lives on for clients that never read a renewed one.
const TOKEN_SECONDS: i64 = 3607;
/// How long a pod waits for its namespace's default account, which a controller makes.
const DEFAULT_ACCOUNT_WAIT: Duration = Duration::from_secs(2);

/// The plugin.
pub struct ServiceAccount {
    objects: Arc<dyn Objects>,
    environment: Arc<dyn Environment>,
    changed: Arc<Notify>,
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceAccount")
    }
}

struct Feed(Arc<Notify>);

impl Observer for Feed {
    fn changed(&self, _: &str, _: &str, object: Option<&Value>) {
        if object.is_some() {
            self.0.notify_waiters();
        }
    }
}

impl ServiceAccount {
    /// Looks accounts up there.
    #[must_use]
    pub fn new(objects: Arc<dyn Objects>, environment: Arc<dyn Environment>) -> Self {
        let changed = Arc::new(Notify::new());
        objects.observe(GroupResource::core("serviceaccounts"), Arc::new(Feed(Arc::clone(&changed))));
        Self { objects, environment, changed }
    }

    async fn account(&self, a: &AdmissionAttributes<'_>, name: &str) -> Result<Value, Status> {
        let lookup = || self.objects.cached(GroupResource::core("serviceaccounts"), a.namespace, name);
        let deadline = tokio::time::Instant::now() + DEFAULT_ACCOUNT_WAIT;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(account) = lookup() {
                return Ok(account);
            }
            if name != "default" || tokio::time::timeout_at(deadline, changed).await.is_err() {
                let why = format!(
                    "error looking up service account {}/{name}: serviceaccount {name:?} not found",
                    a.namespace
                );
                return Err(a.forbidden(why));
            }
        }
    }
}

fn is_mirror_pod(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get(MIRROR_POD).is_some()
}

fn check_mirror_pod(a: &AdmissionAttributes<'_>) -> Result<(), Status> {
    let pod = &a.object;
    if pod["spec"]["serviceAccountName"].as_str().is_some_and(|name| !name.is_empty()) {
        return Err(a.forbidden("a mirror pod may not reference service accounts"));
    }
    if references(pod).iter().any(|(what, _)| *what == Referenced::Secret) {
        return Err(a.forbidden("a mirror pod may not reference secrets"));
    }
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let mut sources = volumes.flat_map(|volume| volume["projected"]["sources"].as_array().into_iter().flatten());
    if sources.any(|source| source["serviceAccountToken"].is_object()) {
        return Err(a.forbidden("a mirror pod may not use ServiceAccountToken volume projections"));
    }
    Ok(())
}

/// Gives every container that mounts nothing there the account's token, the cluster's authority and the namespace.
fn mount_token(pod: &mut Value, new_volume_name: impl FnOnce() -> String) {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let existing = volumes.filter_map(|volume| volume["name"].as_str()).find(|n| n.starts_with(TOKEN_VOLUME_PREFIX));
    let existing = existing.map(str::to_owned);
    let is_new = existing.is_none();
    let name = existing.unwrap_or_else(new_volume_name);
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            if container["volumeMounts"].is_null() {
                container["volumeMounts"] = json!([]);
            }
            let Some(mounts) = container["volumeMounts"].as_array_mut() else { continue };
            if mounts.iter().all(|mount| mount["mountPath"] != TOKEN_MOUNT_PATH) {
                mounts.push(json!({"name": name, "readOnly": true, "mountPath": TOKEN_MOUNT_PATH}));
                needed = true;
            }
        }
        // Reading a list that isn't there must not leave a trace.
        if pod["spec"][list].is_null()
            && let Some(spec) = pod["spec"].as_object_mut()
        {
            spec.remove(list);
        }
    }
    if !is_new || !needed {
        return;
    }
    let volume = json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]}});
    match pod["spec"]["volumes"].as_array_mut() {
        Some(volumes) => volumes.push(volume),
        None => pod["spec"]["volumes"] = json!([volume]),
    }
}

fn should_mount_token(account: &Value, pod: &Value) -> bool {
    let wish = |value: &Value| value["automountServiceAccountToken"].as_bool();
    wish(&pod["spec"]).or_else(|| wish(account)).unwrap_or(true)
}

/// What the pod refers to that its account doesn't list, where the account asks for that check.
fn unlisted_secret(account: &Value, pod: &Value) -> Option<String> {
    if account["metadata"]["annotations"][ENFORCE_MOUNTABLE_SECRETS] != "true" {
        return None;
    }
    let names = |list: &Value| -> Vec<String> {
        let items = list.as_array().into_iter().flatten();
        items.filter_map(|item| item["name"].as_str().map(str::to_owned)).collect()
    };
    let listed = [names(&account["secrets"]), names(&account["imagePullSecrets"])].concat();
    let mut secrets = references(pod).into_iter().filter(|(what, _)| *what == Referenced::Secret);
    secrets.find(|(_, name)| !listed.contains(name)).map(|(_, name)| name)
}

#[async_trait]
impl Admission for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, a: &AdmissionAttributes<'_>) -> bool {
        a.creates("", "pods")
            || (a.group.is_empty()
                && (a.resource, a.subresource) == ("pods", "ephemeralcontainers")
                && a.operation == Operation::Update)
    }

    async fn admit(&self, a: &mut AdmissionAttributes<'_>) -> Result<(), Status> {
        if a.operation != Operation::Create {
            return Ok(());
        }
        if is_mirror_pod(&a.object) {
            return check_mirror_pod(a);
        }
        let name = a.object["spec"]["serviceAccountName"].as_str().filter(|name| !name.is_empty());
        let name = name.unwrap_or("default").to_owned();
        let account = self.account(a, &name).await?;
        let spec = &mut a.object["spec"];
        // The old name of the field follows the new one.
        spec["serviceAccount"] = name.clone().into();
        spec["serviceAccountName"] = name.into();
        let pull_secrets = &account["imagePullSecrets"];
        if spec["imagePullSecrets"].as_array().is_none_or(Vec::is_empty)
            && pull_secrets.as_array().is_some_and(|list| !list.is_empty())
        {
            spec["imagePullSecrets"] = pull_secrets.clone();
        }
        if should_mount_token(&account, &a.object) {
            let suffix = || format!("{TOKEN_VOLUME_PREFIX}{}", environment::name_suffix(&*self.environment));
            mount_token(&mut a.object, suffix);
        }
        let spec = a.object["spec"].as_object_mut();
        // Looking must not leave `null` behind.
        if let Some(spec) = spec {
            spec.retain(|_, value| !value.is_null());
        }
        Ok(())
    }

    async fn validate(&self, a: &AdmissionAttributes<'_>) -> Result<(), Status> {
        if is_mirror_pod(&a.object) {
            return if a.operation == Operation::Create { check_mirror_pod(a) } else { Ok(()) };
        }
        let name = a.object["spec"]["serviceAccountName"].as_str().unwrap_or_default();
        if name.is_empty() {
            let pod = a.display_name();
            return Err(a.forbidden(format!("no service account specified for pod {}/{pod}", a.namespace)));
        }
        let account = self.account(a, name).await?;
        if let Some(secret) = unlisted_secret(&account, &a.object) {
            return Err(a.forbidden(format!(
                "secret.secretName={secret:?} is not allowed because service account {name} does not reference that secret"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "volumeMounts": [{"name": "x", "mountPath": TOKEN_MOUNT_PATH}]}]}})
    }

    #[test]
    fn containers_get_the_token_unless_they_mount_something_there() {
        let mut pod = pod();
        mount_token(&mut pod, || "kube-api-access-12345".into());
        let containers = &pod["spec"]["containers"];
        assert_eq!(containers[0]["volumeMounts"][0]["name"], "kube-api-access-12345");
        assert_eq!(containers[1]["volumeMounts"].as_array().unwrap().len(), 1);
        assert_eq!(pod["spec"]["volumes"][0]["projected"]["sources"].as_array().unwrap().len(), 3);
        assert!(pod["spec"].get("initContainers").is_none());
        // Done again, nothing is added.
        let once = pod.clone();
        mount_token(&mut pod, || "kube-api-access-other".into());
        assert_eq!(pod, once);
    }

    #[test]
    fn the_pods_wish_comes_before_the_accounts() {
        let (yes, no) = (json!({"automountServiceAccountToken": true}), json!({"automountServiceAccountToken": false}));
        assert!(should_mount_token(&json!({}), &pod()));
        assert!(!should_mount_token(&no, &pod()));
        assert!(should_mount_token(&no, &json!({"spec": yes})));
        assert!(!should_mount_token(&yes, &json!({"spec": no})));
    }
}
