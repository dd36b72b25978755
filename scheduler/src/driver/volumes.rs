//! Claims and volumes: saying what goes with what, and waiting for it to happen.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{CallError, JSON, MERGE, call_patiently};
use crate::object::{Claim, Name, SELECTED_NODE};

/// How long between looks at claims that are being bound.
const PAUSE: Duration = Duration::from_secs(1);

fn claim_path(claim: &Claim) -> String {
    format!("/api/v1/namespaces/{}/persistentvolumeclaims/{}", claim.namespace, claim.name)
}

/// Notes on a volume that it is kept for a claim; a controller binds the two.
pub(super) async fn keep(client: &Client, volume: &Name, claim: &Claim) -> Result<(), CallError> {
    let reference = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": claim.namespace,
        "name": claim.name,
        "uid": claim.uid,
        "resourceVersion": claim.resource_version,
    });
    let annotations = json!({"pv.kubernetes.io/bound-by-controller": "yes"});
    let patch = json!({"metadata": {"annotations": annotations}, "spec": {"claimRef": reference}});
    let path = format!("/api/v1/persistentvolumes/{volume}");
    call_patiently(client, Method::PATCH, &path, MERGE, &patch).await.map(drop)
}

/// Notes on a claim for which node its volume is to be made.
pub(super) async fn select_node(client: &Client, claim: &Claim, node: &Name) -> Result<(), CallError> {
    let patch = json!({"metadata": {"uid": claim.uid, "annotations": {SELECTED_NODE: node}}});
    call_patiently(client, Method::PATCH, &claim_path(claim), MERGE, &patch).await.map(drop)
}

fn failed(message: String) -> CallError {
    CallError { code: 409, message }
}

/// Waits until all claims are bound.
pub(super) async fn await_claims(
    client: &Client,
    claims: &[Arc<Claim>],
    node: &Name,
    timeout: Duration,
) -> Result<(), CallError> {
    let all = async {
        for claim in claims {
            while !is_bound(client, claim, node).await? {
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    };
    let late = || Err(failed("binding volumes: context deadline exceeded".to_owned()));
    tokio::time::timeout(timeout, all).await.unwrap_or_else(|_| late())
}

async fn is_bound(client: &Client, claim: &Claim, node: &Name) -> Result<bool, CallError> {
    let found = call_patiently(client, Method::GET, &claim_path(claim), JSON, &Value::Null).await?;
    let now = Claim::deserialize(&found).map_err(|error| failed(error.to_string()))?;
    if now.is_bound() {
        return Ok(true);
    }
    // Whoever makes volumes takes the node off the claim to say that it can't be done there.
    if now.volume_name.is_empty() && !claim.selected_node.is_empty() && now.selected_node != *node {
        return Err(failed(format!("binding volumes: provisioning failed for PVC {:?}", &*claim.name)));
    }
    Ok(false)
}
