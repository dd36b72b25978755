//! A controller as others write them with kube-rs: it counts the keys of every ConfigMap into an annotation.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::{Controller, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;

/// Where the count goes.
pub const ANNOTATION: &str = "example.com/keys";

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(#[from] kube::Error);

async fn reconcile(object: Arc<ConfigMap>, client: Arc<Client>) -> Result<Action, Error> {
    let count = object.data.as_ref().map_or(0, |data| data.len()).to_string();
    if object.annotations().get(ANNOTATION) != Some(&count) {
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<ConfigMap> = Api::namespaced((*client).clone(), &namespace);
        let patch = json!({"metadata": {"annotations": {ANNOTATION: count}}});
        api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await?;
    }
    Ok(Action::await_change())
}

/// Runs the controller until it is dropped.
pub async fn run(client: Client) {
    let api: Api<ConfigMap> = Api::all(client.clone());
    let retry = |_: Arc<ConfigMap>, _: &Error, _: Arc<Client>| Action::requeue(Duration::from_secs(1));
    let controller = Controller::new(api, watcher::Config::default()).run(reconcile, retry, Arc::new(client));
    controller.for_each(|_| std::future::ready(())).await;
}
