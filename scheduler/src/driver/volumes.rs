//! Claims and volumes: saying what goes with what, and waiting for it to happen.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answers::Answers;
use super::api::{CallError, JSON, MERGE, call, call_patiently, call_unless_changed};
use crate::object::{Claim, Name, SELECTED_NODE, Volume};

/// How long between looks at claims that are being bound.
const PAUSE: Duration = Duration::from_secs(1);

fn claim_path(claim: &Claim) -> String {
    format!("/api/v1/namespaces/{}/persistentvolumeclaims/{}", claim.namespace, claim.name)
}

/// Notes on a volume that it is kept for a claim; a controller binds the two. Nobody may have changed the volume since
/// it was chosen: somebody else's claim would lose it.
pub(super) async fn keep(
    client: &Client,
    volume: &Volume,
    claim: &Claim,
    answers: &mut Answers,
) -> Result<(), CallError> {
    let is_ours = |volume: &Volume| volume.claim.as_ref().is_some_and(|own| own.uid == claim.uid);
    if is_ours(volume) {
        return Ok(());
    }
    let mut metadata = json!({"uid": volume.uid, "resourceVersion": volume.resource_version});
    // A volume that its owner kept for the claim stays so when the claim is gone.
    if !volume.is_for(claim) {
        metadata["annotations"] = json!({"pv.kubernetes.io/bound-by-controller": "yes"});
    }
    let reference = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": claim.namespace,
        "name": claim.name,
        "uid": claim.uid,
        "resourceVersion": claim.resource_version,
    });
    let patch = json!({"metadata": metadata, "spec": {"claimRef": reference}});
    let path = format!("/api/v1/persistentvolumes/{}", volume.name);
    let (now, result) = write(client, &path, &patch).await?;
    let Ok(now) = Volume::deserialize(&now) else { return result };
    let result = if is_ours(&now) { Ok(()) } else { result };
    answers.volume(now);
    result
}

/// Notes on a claim for which node its volume is to be made. Nobody may have changed the claim since that was decided.
pub(super) async fn select_node(
    client: &Client,
    claim: &Claim,
    node: &Name,
    answers: &mut Answers,
) -> Result<(), CallError> {
    let metadata = json!({"uid": claim.uid, "resourceVersion": claim.resource_version,
        "annotations": {SELECTED_NODE: node}});
    let (now, result) = write(client, &claim_path(claim), &json!({"metadata": metadata})).await?;
    let Ok(now) = Claim::deserialize(&now) else { return result };
    let result = if now.uid == claim.uid && now.selected_node == *node { Ok(()) } else { result };
    answers.claim(now);
    result
}

/// Changes an object. If it may have been changed by somebody else, or by us with the answer lost, it tells what the
/// object is like now.
async fn write(client: &Client, path: &str, patch: &Value) -> Result<(Value, Result<(), CallError>), CallError> {
    match call_unless_changed(client, Method::PATCH, path, MERGE, patch).await {
        Ok(now) => Ok((now, Ok(()))),
        Err(error) if error.is_conflict() || error.is_unsure() => {
            match call(client, Method::GET, path, JSON, &Value::Null).await {
                Ok(now) => Ok((now, Err(error))),
                Err(_) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
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
