//! Claims for devices made from the templates that pods name, and taken away with the pods: what upstream's benchmark runs
//! a controller for.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use futures::{StreamExt, TryStreamExt};
use http::Method;
use kube::Client;
use kubewright_scheduler::lab::perf::Object;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::calls::{call, delete, patch};
use super::seen::SeenPod;

const CLAIMS: &str = "resourceclaims";
const TEMPLATES: &str = "resourceclaimtemplates";
/// How many pods are dealt with at a time; upstream's controller has ten workers.
const WORKERS: usize = 10;

/// What a pod needs now.
pub(super) enum Needing {
    Claims(SeenPod),
    /// It is gone, and its claims may go.
    Nothing(SeenPod),
}

pub(super) fn needs_claims(pod: &SeenPod) -> bool {
    pod.spec.resource_claims.iter().any(|claim| claim.resource_claim_template_name.is_some())
}

fn folder(namespace: &str, resource: &str) -> String {
    format!("/apis/resource.k8s.io/v1/namespaces/{namespace}/{resource}")
}

async fn get(client: &Client, path: String) -> Result<Value, String> {
    let text = call(client, Method::GET, path, None).await?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// Makes claims for pods, and takes them away again, until told to stop.
pub(super) async fn make_claims(
    client: Client,
    mut pods: mpsc::Receiver<Needing>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (mut made, mut working) = (HashMap::new(), JoinSet::new());
    loop {
        let pod = tokio::select! {
            () = stop.cancelled() => break,
            Some(done) = working.join_next() => {
                let done: Result<(), String> = done?;
                done.map_err(anyhow::Error::msg)?;
                continue;
            }
            pod = pods.recv(), if working.len() < WORKERS => pod,
        };
        let Some(pod) = pod else { break };
        let client = client.clone();
        match pod {
            Needing::Claims(pod) => {
                let uid = pod.metadata.uid.clone().unwrap_or_default();
                if let Entry::Vacant(place) = made.entry(uid) {
                    place.insert(names(&pod));
                    working.spawn(async move { make(&client, &pod).await });
                }
            }
            Needing::Nothing(pod) => {
                let names = made.remove(pod.metadata.uid.as_deref().unwrap_or_default()).unwrap_or_default();
                let namespace = pod.metadata.namespace.unwrap_or_default();
                working.spawn(async move { take_away(&client, &namespace, &names).await });
            }
        }
    }
    working.shutdown().await;
    Ok(())
}

/// What the claims of a pod that are made from templates are called.
fn names(pod: &SeenPod) -> Vec<String> {
    let own = pod.metadata.name.clone().unwrap_or_default();
    let made = pod.spec.resource_claims.iter().filter(|claim| claim.resource_claim_template_name.is_some());
    made.map(|claim| format!("{own}-{}", claim.name)).collect()
}

async fn make(client: &Client, pod: &SeenPod) -> Result<(), String> {
    let (own, uid) = (pod.metadata.name.clone().unwrap_or_default(), pod.metadata.uid.clone().unwrap_or_default());
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let mut statuses = Vec::new();
    for claim in &pod.spec.resource_claims {
        let Some(template) = &claim.resource_claim_template_name else { continue };
        let template = get(client, format!("{}/{template}", folder(&namespace, TEMPLATES))).await?;
        let name = format!("{own}-{}", claim.name);
        let body = json!({
            "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
            "metadata": {"name": name, "annotations": {"resource.kubernetes.io/pod-claim-name": claim.name},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": own, "uid": uid, "controller": true,
                    "blockOwnerDeletion": true}]},
            "spec": template["spec"]["spec"],
        });
        call(client, Method::POST, folder(&namespace, CLAIMS), Some(&body)).await?;
        statuses.push(json!({"name": claim.name, "resourceClaimName": name}));
    }
    let path = format!("/api/v1/namespaces/{namespace}/pods/{own}/status");
    match patch(client, &path, &json!({"status": {"resourceClaimStatuses": statuses}})).await {
        // It is gone already.
        Err(error) if error.contains("not found") => Ok(()),
        other => other,
    }
}

/// Deletes claims whose pod is gone.
async fn take_away(client: &Client, namespace: &str, names: &[String]) -> Result<(), String> {
    for name in names {
        let own = format!("{}/{name}", folder(namespace, CLAIMS));
        let free = json!({"status": {"reservedFor": null, "allocation": null}});
        for (path, change) in
            [(format!("{own}/status"), free), (own.clone(), json!({"metadata": {"finalizers": null}}))]
        {
            match patch(client, &path, &change).await {
                Err(error) if error.contains("not found") => {}
                other => other?,
            }
        }
        delete(client.clone(), own).await?;
    }
    Ok(())
}

/// The claims of a namespace that nobody has yet.
pub(super) async fn unallocated(client: &Client, namespace: &str) -> Result<Vec<String>, String> {
    let list = get(client, folder(namespace, CLAIMS)).await?;
    let claims = list["items"].as_array().into_iter().flatten();
    let free = claims.filter(|claim| claim["status"]["allocation"].is_null());
    Ok(free.filter_map(|claim| claim["metadata"]["name"].as_str().map(ToOwned::to_owned)).collect())
}

pub(super) fn allocator_labels() -> BTreeMap<String, String> {
    BTreeMap::from([("allocates".to_owned(), "claims".to_owned())])
}

/// A pod for whose sake a claim is allocated; when it goes the claim stays allocated.
pub(super) fn allocator(namespace: &str, number: usize, claim: &str) -> Object {
    let body = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("allocates-{number}"), "namespace": namespace, "labels": allocator_labels()},
        "spec": {"containers": [{"name": "pause", "image": "pause", "resources": {"claims": [{"name": "claim"}]}}],
            "resourceClaims": [{"name": "claim", "resourceClaimName": claim}]},
    });
    Object { namespace: namespace.to_owned(), body }
}

/// Strikes the pods off the claims that these were reserved for.
pub(super) async fn release(client: &Client, namespace: &str, claims: &[String]) -> Result<(), String> {
    let release = |name: &String| {
        let (client, path) = (client.clone(), format!("{}/{name}/status", folder(namespace, CLAIMS)));
        async move {
            match patch(&client, &path, &json!({"status": {"reservedFor": null}})).await {
                Err(error) if error.contains("not found") => Ok(()),
                other => other,
            }
        }
    };
    futures::stream::iter(claims.iter().map(release))
        .buffer_unordered(WORKERS)
        .try_for_each(|()| async { Ok(()) })
        .await
}
