//! Calls to the API server.

use http::{Method, Request};
use kube::Client;
use kubewright_scheduler::lab::perf::Object;
use serde_json::Value;

use super::taints;

/// Where objects of a kind are, and one of them.
pub(super) fn path(object: &Object) -> Result<(String, String), String> {
    if object.kind() == taints::KIND {
        return Ok((taints::PATH.to_owned(), format!("{}/{}", taints::PATH, object.name())));
    }
    let resource =
        object.resource().ok_or_else(|| format!("no resource for {} {}", object.body["apiVersion"], object.kind()))?;
    let api_version = resource.api_version();
    let root = if resource.group.is_empty() { format!("/api/{api_version}") } else { format!("/apis/{api_version}") };
    let folder = match resource.namespaced() {
        true => format!("{root}/namespaces/{}/{}", object.namespace, resource.plural),
        false => format!("{root}/{}", resource.plural),
    };
    let own = format!("{folder}/{}", object.name());
    Ok((folder, own))
}

pub(super) async fn call(
    client: &Client,
    method: Method,
    path: String,
    body: Option<&Value>,
) -> Result<String, String> {
    let shown = format!("{method} {path}");
    let body = body.map(Value::to_string).unwrap_or_default().into_bytes();
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json").body(body);
    let request = request.map_err(|error| format!("{shown}: {error}"))?;
    client.request_text(request).await.map_err(|error| format!("{shown}: {error}"))
}

pub(super) async fn create(client: Client, object: Object) -> Result<String, String> {
    let (folder, _) = path(&object)?;
    let created = call(&client, Method::POST, folder, Some(&object.body)).await?;
    // Their statuses are set apart, as only who serves them may say that they are bound.
    if ["PersistentVolume", "PersistentVolumeClaim"].contains(&object.kind()) && object.body["status"].is_object() {
        let (_, own) = path(&object)?;
        call(&client, Method::PUT, format!("{own}/status"), Some(&object.body)).await?;
    }
    Ok(created)
}

pub(super) async fn update(client: &Client, object: Object, subresources: &[String]) -> Result<(), String> {
    let (_, own) = path(&object)?;
    let through = subresources.iter().fold(own.clone(), |path, subresource| format!("{path}/{subresource}"));
    call(client, Method::PUT, through, Some(&object.body)).await?;
    if object.body["status"].is_object() {
        call(client, Method::PUT, format!("{own}/status"), Some(&object.body)).await?;
    }
    Ok(())
}

pub(super) async fn delete(client: Client, path: String) -> Result<(), String> {
    match call(&client, Method::DELETE, format!("{path}?gracePeriodSeconds=0"), None).await {
        Err(error) if error.contains("not found") => Ok(()),
        other => other.map(drop),
    }
}

/// A merge patch.
pub(super) async fn patch(client: &Client, path: &str, patch: &Value) -> Result<(), String> {
    let request = Request::patch(path).header("content-type", "application/merge-patch+json");
    let request = request.body(patch.to_string().into_bytes()).map_err(|error| format!("PATCH {path}: {error}"))?;
    client.request_text(request).await.map(drop).map_err(|error| format!("PATCH {path}: {error}"))
}
