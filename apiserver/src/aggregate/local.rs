//! APIServices of the groups that are served here: made by the server itself, for clients to see what there is and in
//! which order it comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kubewright_api::status::Status;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{API_SERVICES, Extensions};
use crate::objects::Objects;
use crate::registry::ResourceInfo;
use crate::registry::table::Resources;

/// Who keeps an APIService: the server, either from its start on or as long as the group is served.
const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
const ON_START: &str = "onstart";
const ALWAYS: &str = "true";

/// Of groups that are not built in, as upstream gives them.
const CUSTOM: (i64, i64) = (1000, 100);
/// How soon something that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A group, its versions with their priorities, and its own.
type Priorities = (&'static str, &'static [(&'static str, i64)], i64);

/// Priorities of the built-in groups, and of their versions, as upstream gives them: greater ones come first.
const BUILT_IN: [Priorities; 21] = [
    // First in discovery, and without an APIService of its own.
    ("apiregistration.k8s.io", &[], 18_000),
    ("", &[("v1", 1)], 18_000),
    ("apps", &[("v1", 15)], 17_800),
    ("events.k8s.io", &[("v1", 15)], 17_750),
    ("authentication.k8s.io", &[("v1", 15)], 17_700),
    ("authorization.k8s.io", &[("v1", 15)], 17_600),
    ("autoscaling", &[("v2", 30), ("v1", 15)], 17_500),
    ("batch", &[("v1", 15)], 17_400),
    ("certificates.k8s.io", &[("v1", 15)], 17_300),
    ("networking.k8s.io", &[("v1", 15)], 17_200),
    ("policy", &[("v1", 15)], 17_100),
    ("rbac.authorization.k8s.io", &[("v1", 15)], 17_000),
    ("storage.k8s.io", &[("v1", 15)], 16_800),
    ("admissionregistration.k8s.io", &[("v1", 15)], 16_700),
    ("apiextensions.k8s.io", &[("v1", 15)], 16_700),
    ("scheduling.k8s.io", &[("v1", 15)], 16_600),
    ("coordination.k8s.io", &[("v1", 15)], 16_500),
    ("node.k8s.io", &[("v1", 15)], 16_300),
    ("discovery.k8s.io", &[("v1", 15)], 16_200),
    ("resource.k8s.io", &[("v1", 21)], 16_200),
    ("flowcontrol.apiserver.k8s.io", &[("v1", 21)], 16_100),
];

/// The priority of a group that is served here.
pub(crate) fn priority(group: &str) -> i64 {
    BUILT_IN.iter().find(|(name, ..)| *name == group).map_or(CUSTOM.0, |(.., priority)| *priority)
}

fn version_priority(group: &str, version: &str) -> Option<i64> {
    let (_, versions, _) = BUILT_IN.iter().find(|(name, ..)| *name == group)?;
    versions.iter().find(|(name, _)| *name == version).map(|(_, priority)| *priority)
}

/// The APIService of a group's version; `None` for what has none.
fn service(group: &str, version: &str) -> Option<Value> {
    let built_in = BUILT_IN.iter().any(|(name, ..)| *name == group);
    let (managed, priority_of_version) = match version_priority(group, version) {
        Some(priority) => (ON_START, priority),
        None if built_in => return None,
        None => (ALWAYS, CUSTOM.1),
    };
    Some(json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("{version}.{group}"), "labels": {AUTOMANAGED: managed}},
        "spec": {"group": group, "version": version,
            "groupPriorityMinimum": priority(group), "versionPriority": priority_of_version},
    }))
}

/// The APIServices of everything served here, by name.
fn wanted(infos: &[Arc<ResourceInfo>]) -> BTreeMap<String, Value> {
    let services = infos.iter().filter_map(|info| service(&info.group, &info.version));
    services.map(|service| (service["metadata"]["name"].as_str().unwrap_or_default().to_owned(), service)).collect()
}

/// The APIServices that a server of these resources makes when it starts.
pub(crate) fn at_start(infos: &[Arc<ResourceInfo>]) -> Vec<(&'static str, &'static str, Value)> {
    let services = wanted(infos).into_values();
    services.map(|service| (API_SERVICES.group, API_SERVICES.resource, service)).collect()
}

/// Keeps the APIServices of groups that come and go.
pub(crate) struct LocalServices {
    pub(crate) resources: Arc<Resources>,
    pub(crate) objects: Arc<dyn Objects>,
    pub(crate) extensions: Arc<Extensions>,
}

impl LocalServices {
    /// Runs until cancelled.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        let mut defined = self.resources.changes();
        let mut services = self.extensions.changes();
        let work = async {
            loop {
                defined.mark_unchanged();
                services.mark_unchanged();
                let well = self.reconcile().await;
                let changed = async {
                    tokio::select! {
                        _ = defined.changed() => {}
                        _ = services.changed() => {}
                    }
                };
                match well {
                    Ok(()) => changed.await,
                    Err(error) => {
                        tracing::debug!(%error, "the APIServices of defined groups are not as they should be yet");
                        _ = tokio::time::timeout(RETRY, changed).await;
                    }
                }
            }
        };
        cancel.run_until_cancelled(work).await;
    }

    async fn reconcile(&self) -> Result<(), Status> {
        let is_ours = |service: &Value| service["metadata"]["labels"][AUTOMANAGED] == ALWAYS;
        let mut wanted = wanted(&self.resources.infos().0);
        wanted.retain(|_, service| is_ours(service));
        for mut found in self.objects.cached_list(API_SERVICES, None) {
            let name = found["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let desired = wanted.remove(&name);
            // Whoever took the label away keeps it by themselves.
            if !is_ours(&found) {
                continue;
            }
            let done = match desired {
                None => self.objects.delete(API_SERVICES, "", &name).await,
                Some(desired) if found["spec"] == desired["spec"] => continue,
                Some(desired) => {
                    found["spec"] = desired["spec"].clone();
                    self.objects.update(API_SERVICES, found).await
                }
            };
            done.map(drop).or_else(|status| if status.code == 404 { Ok(()) } else { Err(status) })?;
        }
        for service in wanted.into_values() {
            let made = self.objects.create(API_SERVICES, service).await;
            made.map(drop).or_else(|status| if status.code == 409 { Ok(()) } else { Err(status) })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_groups_have_upstreams_priorities_and_others_come_behind() {
        let apps = service("apps", "v1").unwrap();
        assert_eq!(apps["metadata"]["labels"][AUTOMANAGED], "onstart");
        assert_eq!(apps["spec"]["groupPriorityMinimum"], 17_800);
        let custom = service("example.com", "v1alpha1").unwrap();
        assert_eq!(custom["metadata"]["name"], "v1alpha1.example.com");
        assert_eq!(
            (&custom["spec"]["groupPriorityMinimum"], &custom["spec"]["versionPriority"]),
            (&json!(1000), &json!(100))
        );
        assert!(service("apiregistration.k8s.io", "v1").is_none());
    }

    #[test]
    fn every_built_in_group_and_version_has_a_priority() {
        for row in kubewright_api::resources::built_in() {
            let known = row.group == "apiregistration.k8s.io" || version_priority(row.group, row.version).is_some();
            assert!(known, "{}/{}", row.group, row.version);
        }
    }
}
