use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Context;

/// How long the API may take for a call.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How soon to try again after a failure.
const RETRY: Duration = Duration::from_millis(500);

/// Renews the node's lease until cancelled: by it the cluster knows that the node lives.
pub(crate) async fn keep_lease(node: Arc<Context>, cancel: CancellationToken) {
    let renewals = async {
        loop {
            let wait = match tokio::time::timeout(TIMEOUT, renew(&node)).await {
                Ok(Ok(())) => node.config.lease_renew_interval,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "cannot renew the node's lease, will be tried again");
                    RETRY
                }
                Err(_) => RETRY,
            };
            tokio::time::sleep(wait).await;
        }
    };
    cancel.run_until_cancelled(renewals).await;
}

async fn renew(node: &Context) -> Result<(), kube::Error> {
    let api: kube::Api<Lease> = kube::Api::namespaced(node.client.clone(), "kube-node-lease");
    let name = &node.config.node_name;
    let now: Timestamp = node.clock.now();
    // MicroTime has six digits, always.
    let renewed = now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    let duration = node.config.lease_renew_interval.as_secs().max(1) * 4;
    let spec = json!({"holderIdentity": name, "leaseDurationSeconds": duration, "renewTime": renewed});
    let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(&json!({"spec": spec}))).await;
    match patched {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        other => return other.map(|_| ()),
    }
    // The node owns its lease, so that it goes with it.
    let nodes: kube::Api<Node> = kube::Api::all(node.client.clone());
    let uid = nodes.get_opt(name).await?.and_then(|node| node.metadata.uid);
    let owners = uid.map(|uid| json!([{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}]));
    let lease =
        json!({"metadata": {"name": name, "namespace": "kube-node-lease", "ownerReferences": owners}, "spec": spec});
    let lease: Lease = serde_json::from_value(lease).map_err(kube::Error::SerdeError)?;
    match api.create(&PostParams::default(), &lease).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()), // made meanwhile: renewed next time
        other => other.map(|_| ()),
    }
}
