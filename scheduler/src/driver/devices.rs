//! Claims to devices: saying what they got, and for whom.

use http::Method;
use kube::Client;
use serde_json::{Value, json};

use super::api::{CallError, JSON, call};
use crate::object::{DeviceAllocation, DeviceClaim, GivenDevice, NodeSelector, PodInfo};

/// How often a claim is read again when somebody else has changed it meanwhile.
const TRIES: usize = 4;
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

fn conflict(message: String) -> CallError {
    CallError { code: 409, message }
}

fn selector(nodes: &NodeSelector) -> Value {
    let term = |term: &crate::object::NodeSelectorTerm| {
        let mut shown = json!({});
        if !term.match_expressions.is_empty() {
            shown["matchExpressions"] = json!(term.match_expressions);
        }
        if !term.match_fields.is_empty() {
            shown["matchFields"] = json!(term.match_fields);
        }
        shown
    };
    json!({"nodeSelectorTerms": nodes.node_selector_terms.iter().map(term).collect::<Vec<_>>()})
}

fn allocated(allocation: &DeviceAllocation) -> Value {
    let result = |given: &GivenDevice| {
        let GivenDevice { request, id, admin_access, share } = given;
        let mut result = json!({"request": request, "driver": id.driver, "pool": id.pool, "device": id.device});
        if *admin_access {
            result["adminAccess"] = json!(true);
        }
        if let Some(share) = share {
            result["shareID"] = json!(share.id);
            result["consumedCapacity"] = json!(share.consumed);
        }
        result
    };
    let results: Vec<Value> = allocation.devices.iter().map(result).collect();
    let mut shown = json!({"devices": {"results": results}});
    if let Some(nodes) = &allocation.nodes {
        shown["nodeSelector"] = selector(nodes);
    }
    shown
}

/// Notes on a claim which devices it got, if it has none yet, and that a pod uses it.
pub(super) async fn reserve(
    client: &Client,
    claim: &DeviceClaim,
    allocation: Option<&DeviceAllocation>,
    pod: &PodInfo,
) -> Result<(), CallError> {
    let mut last = None;
    for _ in 0..TRIES {
        match try_reserve(client, claim, allocation, pod).await {
            Err(error) if error.code == 409 => last = Some(error),
            other => return other,
        }
    }
    Err(last.unwrap_or_else(|| conflict(format!("resource claim {} keeps changing", claim.name))))
}

async fn try_reserve(
    client: &Client,
    claim: &DeviceClaim,
    allocation: Option<&DeviceAllocation>,
    pod: &PodInfo,
) -> Result<(), CallError> {
    let path = format!("/apis/resource.k8s.io/v1/namespaces/{}/resourceclaims/{}", claim.namespace, claim.name);
    let mut now = call(client, Method::GET, &path, JSON, &Value::Null).await?;
    if now["metadata"]["uid"] != json!(claim.uid) || !now["metadata"]["deletionTimestamp"].is_null() {
        let message = format!("claim {} got deleted in the meantime", claim.name);
        return Err(CallError { code: 410, message });
    }
    let expected = allocation.map(allocated);
    if let Some(expected) = &expected {
        if now["status"]["allocation"].is_null() {
            now = protect(client, &path, now).await?;
            now["status"]["allocation"] = expected.clone();
        } else if now["status"]["allocation"]["devices"]["results"] != expected["devices"]["results"] {
            let message = format!("claim {} got allocated elsewhere in the meantime", claim.name);
            return Err(CallError { code: 410, message });
        }
    } else if now["status"]["allocation"].is_null() {
        let message = format!("claim {} got deallocated elsewhere in the meantime", claim.name);
        return Err(CallError { code: 410, message });
    }
    let mut consumers = now["status"]["reservedFor"].as_array().cloned().unwrap_or_default();
    if consumers.iter().any(|consumer| consumer["uid"] == json!(pod.uid)) {
        return Ok(());
    }
    consumers.push(json!({"resource": "pods", "name": pod.name, "uid": pod.uid}));
    now["status"]["reservedFor"] = consumers.into();
    call(client, Method::PUT, &format!("{path}/status"), JSON, &now).await.map(drop)
}

/// Keeps a claim from going while it has devices.
async fn protect(client: &Client, path: &str, mut now: Value) -> Result<Value, CallError> {
    let mut finalizers = now["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if finalizers.contains(&json!(FINALIZER)) {
        return Ok(now);
    }
    finalizers.push(json!(FINALIZER));
    now["metadata"]["finalizers"] = finalizers.into();
    call(client, Method::PUT, path, JSON, &now).await
}
